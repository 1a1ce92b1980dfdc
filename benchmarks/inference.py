"""How fast label maps are made: `python -m benchmarks.inference --network=xception_65 [--output_stride=16]`.

Our evaluator and our SavedModel against the plain Keras forward pass, the same graph in TensorFlow 1's session (with
variables, and frozen), TFLite and OpenVINO (`pip install -e .[bench]`), each from images in memory to label maps, and
the floor: the network's multiply-adds at the rate of a matrix product. Each runs in a process of its own; all are timed
in turn.
"""

import functools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from benchmarks import networks, timing
from benchmarks.networks import CLASSES, network
from load_tf.data.dataset import Example, ExampleList
from load_tf.evaluation.evaluator import Evaluator
from load_tf.segmentors import labelling
from load_tf.segmentors.folding import FoldedSegmentor
from load_tf.segmentors.official_checkpoint import from_official_checkpoint
from load_tf.serving import lite, loaded, saved_model

FLAGS = flags.FLAGS
flags.DEFINE_enum("network", "xception_65", ["xception_65", "MobilenetV2"], "The backbone.")
flags.DEFINE_integer("output_stride", 16, "Of the features: 8 or 16.")
flags.DEFINE_integer("size", 513, "Height and width of the images in pixels, 16 k + 1.")
flags.DEFINE_integer("images", 4, "Images in a call.")
flags.DEFINE_integer("repeats", 7, "Rounds.")
flags.DEFINE_integer("threads", 0, "Threads; 0: one for each core.")
flags.DEFINE_string("checkpoint", None, "An official checkpoint in place of keyed weights.")
flags.DEFINE_multi_string("skip", [], "Candidates to leave out, by the beginning of their name.")

EVALUATED = 6
"""Batches in a call of the evaluator: what starting it costs stands for hundreds of images in a run."""
EVALUATOR, PLAIN, FROZEN = "load_tf evaluator", "TF1 session, variables", "TF1 session, frozen"
NARROW = f"{EVALUATOR}, bfloat16"
FLOOR = "floor"

Candidate = Callable[[], object]


def main(_: list[str]) -> None:
    """Prints one table."""
    count = FLAGS.images
    candidates = {}
    for name in (*_MAKERS, FLOOR):
        if not any(name.startswith(skipped) for skipped in FLAGS.skip):
            try:
                candidates[name] = timing.Apart(functools.partial(_candidate, name, sys.argv))
            except ImportError as error:
                print(f"{name}: left out, {error}.")
    measured = timing.in_turn(candidates, FLAGS.repeats)
    timing.start(FLAGS.threads)
    multiply_adds = networks.multiply_adds(_model(), FLAGS.size)
    rate = timing.MATRIX_PRODUCTS / measured.pop(FLOOR).median
    floor = count * multiply_adds / rate
    print(
        f"\n{FLAGS.network}, output stride {FLAGS.output_stride}, {FLAGS.size} x {FLAGS.size}, {count} images a call, "
        f"{FLAGS.repeats} rounds; {timing.machine()}, Keras {keras.__version__}.\n"
        f"Floor: {multiply_adds / 1e9:.2f} G multiply-adds an image, matrix products at {rate / 1e9:.0f} G a second.\n"
    )
    rows = [_row(name, own, measured, floor) for name, own in measured.items()]
    rows.append(
        ["floor", f"{1e3 * floor / count:.1f}", "", f"{count / floor:.2f}", *_ratios(floor, measured, floor), ""]
    )
    print(timing.table(["", "ms an image", "spread", "images/s", "/ plain", "/ frozen", "/ floor", "MiB"], rows))


def _candidate(name: str, arguments: list[str]) -> Candidate:
    """In its own process: nothing is set up yet."""
    FLAGS(arguments)
    timing.start(FLAGS.threads)
    if name == FLOOR:
        return timing.matrix_products()
    size, count = FLAGS.size, FLAGS.images
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        return _MAKERS[name](_model(), pixels, folder)


def _row(name: str, own: timing.Measured, all_: dict[str, timing.Measured], floor: float) -> list[str]:
    count = FLAGS.images * (EVALUATED if name.startswith(EVALUATOR) else 1)
    return [
        name,
        f"{1e3 * own.median / count:.1f}",
        f"{100 * own.spread:.0f} %",
        f"{count / own.median:.2f}",
        *_ratios(own.median * FLAGS.images / count, all_, floor),
        f"{own.memory:.0f}",
    ]


def _ratios(seconds: float, all_: dict[str, timing.Measured], floor: float) -> list[str]:
    """Speed over the speeds of the references."""
    references = [all_[name].median if name in all_ else None for name in (PLAIN, FROZEN)]
    return ["" if other is None else f"{other / seconds:.2f}" for other in [*references, floor]]


def _model() -> keras.Model:
    if FLAGS.checkpoint:
        return from_official_checkpoint(FLAGS.checkpoint, FLAGS.output_stride)
    return network(FLAGS.network, FLAGS.output_stride)


def _evaluator(model: keras.Model, pixels: np.ndarray, _: str, bfloat16: bool = False) -> Candidate:
    label = np.zeros(pixels.shape[1:3], np.uint8)
    many = [*pixels] * EVALUATED
    split = ExampleList([Example(image, label, str(i)) for i, image in enumerate(many)])
    evaluator = Evaluator(model, split, pixels.shape[1:3], CLASSES, len(pixels), bfloat16=bfloat16)
    return lambda: evaluator.evaluate(description="")


def _saved_model(model: keras.Model, pixels: np.ndarray, folder: str) -> Candidate:
    loaded = tf.saved_model.load(str(_export(model, pixels.shape[1], folder)))
    signature, images = loaded.signatures["serving_default"], tf.constant(pixels)
    return lambda: (loaded, signature(images=images)["label_maps"].numpy())


def _export(model: keras.Model, size: int, folder: str) -> Path:
    names = [str(k) for k in range(CLASSES)]
    return saved_model.export(
        model, Path(folder) / "saved_model", crop=(size, size), class_names=names, colours=[(0, 0, 0)] * CLASSES
    )


def _label_maps(model: keras.Model) -> tf.types.experimental.PolymorphicFunction:
    return tf.function(lambda x: labelling.label_maps(model(x, training=False), tf.shape(x)[1:3]))


def _keras(model: keras.Model, pixels: np.ndarray, _: str) -> Candidate:
    step, images = _label_maps(model), tf.constant(pixels, tf.float32)
    return lambda: step(images).numpy()


def _session(model: keras.Model, pixels: np.ndarray, _: str, frozen: bool) -> Candidate:
    """The plain graph as TensorFlow 1 runs it, its weights variables or constants."""
    v1, images = tf.compat.v1, tf.constant(pixels, tf.float32)
    concrete = _label_maps(model).get_concrete_function(tf.TensorSpec(images.shape, tf.float32))
    captured = {
        inside.name: outside for outside, inside in zip(concrete.captured_inputs, concrete.inputs[1:], strict=True)
    }
    values = {variable.handle.ref(): variable.numpy() for variable in concrete.graph.variables}
    named = {name: values[handle.ref()] for name, handle in captured.items()}
    if frozen:
        concrete = convert_variables_to_constants_v2(concrete)
    graph = tf.Graph()
    with graph.as_default():
        # A variable: a constant would be folded, and a fed array copied in every call.
        feeds = {concrete.inputs[0].name: v1.Variable(images.numpy(), use_resource=True, name="images").value()}
        if not frozen:
            variables = {name: v1.Variable(value, use_resource=True) for name, value in named.items()}
            feeds |= {name: variable.handle for name, variable in variables.items()}
        mapped = v1.import_graph_def(
            concrete.graph.as_graph_def(), input_map=feeds, return_elements=[concrete.outputs[0].name], name=""
        )
        threads = tf.config.threading
        session = v1.Session(
            graph=graph,
            config=v1.ConfigProto(
                intra_op_parallelism_threads=threads.get_intra_op_parallelism_threads(),
                inter_op_parallelism_threads=threads.get_inter_op_parallelism_threads(),
            ),
        )
        session.run(v1.global_variables_initializer())
    call = session.make_callable(mapped[0])
    return lambda: call()


def _tflite(model: keras.Model, pixels: np.ndarray, folder: str) -> Candidate:
    size = pixels.shape[1]
    content = lite.convert(loaded.load(_export(model, size, folder)), (size, size))
    interpreter = tf.lite.Interpreter(
        model_content=content, num_threads=tf.config.threading.get_intra_op_parallelism_threads()
    )
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run() -> None:
        for image in pixels:
            interpreter.set_tensor(taken, image[np.newaxis])
            interpreter.invoke()
            interpreter.get_tensor(given)

    return run


def _openvino(model: keras.Model, pixels: np.ndarray, folder: str) -> Candidate:
    import openvino

    images = tf.constant(pixels, tf.float32)

    class Module(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.folded = FoldedSegmentor(model, portable=True)
            self.kept = [variable.value for variable in self.folded.variables]

        @tf.function(input_signature=[tf.TensorSpec(images.shape, tf.float32)])
        def label_maps(self, x: tf.Tensor) -> tf.Tensor:

            return labelling.label_maps(self.folded(x), images.shape[1:3])

    module, path = Module(), str(Path(folder) / "openvino")
    tf.saved_model.save(module, path, signatures=module.label_maps)
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled, array = openvino.compile_model(openvino.convert_model(path), "CPU", options), images.numpy()
    return lambda: compiled(array)


_MAKERS: dict[str, Callable[[keras.Model, np.ndarray, str], Candidate]] = {
    EVALUATOR: _evaluator,
    NARROW: functools.partial(_evaluator, bfloat16=True),
    "load_tf SavedModel": _saved_model,
    "Keras forward, plain": _keras,
    PLAIN: functools.partial(_session, frozen=False),
    FROZEN: functools.partial(_session, frozen=True),
    "TFLite (XNNPACK)": _tflite,
    "OpenVINO, float32": _openvino,
}


if __name__ == "__main__":
    app.run(main)
