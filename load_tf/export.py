"""Exports the model of a run as a TFLite or ONNX file, or as OpenVINO's two.

python -m load_tf.export --run_dir=DIR --output=model.tflite [--height=H --width=W]
    [--quantize=dynamic_range | --quantize=int8 --calibration=IMAGES] [--score]
python -m load_tf.export --run_dir=DIR --format=onnx --output=model.onnx [--height=H --width=W] [--score]
python -m load_tf.export --run_dir=DIR --format=openvino --output=model.xml [--height=H --width=W] [--score]

A run already leaves a SavedModel in DIR/saved_model, for TensorFlow Serving and load_tf.predict. This makes a file of
it for images of one size: uint8 [1, H, W, 3] in, label map uint8 [1, H, W] out. Beside it, model.json holds the names
and colours of the classes, and for OpenVINO model.bin the weights. Only the SavedModel is needed, no code of the model.
ONNX and OpenVINO take the extra: pip install 'load-tf[export]'.

Quantised TFLite files are a quarter to a third as large. --score labels the run's validation images with the
SavedModel and with the file, prints both mIoUs and writes them to model.json.

Exit status: 0 if the file was written, 2 if flags, folders or images are wrong.
"""

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from load_tf import commands
from load_tf.errors import UserError
from load_tf.experiment import config

if TYPE_CHECKING:
    from load_tf.data.dataset import Split
    from load_tf.serving.loaded import LoadedSegmentor
    from load_tf.serving.one_size import FileSegmentor

FLAGS = flags.FLAGS
FORMATS = {"tflite": "TFLite", "onnx": "ONNX", "openvino": "OpenVINO"}
"""What can be written, and what people call it."""

_PACKAGES: dict[str, tuple[str, ...]] = {"tflite": (), "onnx": ("tf2onnx", "onnx"), "openvino": ("openvino",)}

MAX_CALIBRATION_IMAGES = 32
"""Of more, so many are drawn by key: further ones widen the ranges by outliers, and each takes a slow pass."""


def define_flags() -> None:
    """The flags of this command."""
    flags.DEFINE_string("run_dir", None, "Folder of a finished run; its saved_model is taken.")
    flags.DEFINE_string("saved_model", None, "In place of --run_dir: a SavedModel, or its numbered versions.")
    flags.DEFINE_enum("format", "tflite", list(FORMATS), "What to write.")
    flags.DEFINE_string("output", None, "The file to write, e.g. model.tflite, model.onnx or model.xml.")
    flags.DEFINE_integer(
        "height", None, "Height of the images in pixels; the crop's if it is not given.", lower_bound=1
    )
    flags.DEFINE_integer("width", None, "Width of the images in pixels; the crop's if it is not given.", lower_bound=1)
    flags.DEFINE_enum(
        "quantize",
        "none",
        ["none", "dynamic_range", "int8"],
        "For TFLite. dynamic_range: weights of 8 bits; int8: activations, too, for which it takes --calibration.",
    )
    flags.DEFINE_string(
        "calibration",
        None,
        "For int8, a folder or a glob of a few dozen images like those to come; of more than "
        f"{MAX_CALIBRATION_IMAGES}, as many are drawn.",
    )
    flags.DEFINE_bool("score", False, "Label the validation images of --run_dir with the file and with the SavedModel.")
    flags.DEFINE_bool("overwrite", False, "Replace a file that is there already.")


def export() -> None:
    """Writes the file that the flags name."""
    output, source = _checked_flags()
    images = _calibration_images() if FLAGS.quantize == "int8" else []
    commands.quiet_tensorflow()
    from load_tf.serving import file_score, loaded
    from load_tf.storage.arrays import write_atomically

    segmentor = loaded.load(source)
    # Before the conversion, which takes a while: that data are missing is said at once.
    split = _validation_images(segmentor.class_names) if FLAGS.score else None
    size = (FLAGS.height or segmentor.crop[0], FLAGS.width or segmentor.crop[1])
    contents = _converted(segmentor, size, images)
    beside = (segmentor.folder / "assets.extra" / "classes.json").read_bytes()
    score = None
    if split is not None:
        score = file_score.compare(segmentor, _in_use(contents), split, FORMATS[FLAGS.format])
        beside = json.dumps({**json.loads(beside), "score": score.record()}, indent=1).encode() + b"\n"
    files = dict(zip(_files(output), [*contents, beside], strict=True))
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            write_atomically(file, content)
    except OSError as error:
        raise UserError(f"{output} can't be written: {error.strerror}.") from None
    megabytes = sum(map(len, contents)) / 1e6
    names = " and ".join(map(str, _files(output)[:-1]))
    print(f"written: {names}, {megabytes:.1f} MB, for images of {size[0]} x {size[1]} pixels (height x width).")
    if score is not None:
        print(score.text())


def _files(output: Path) -> list[Path]:
    """The files that are written: those of the model, then the classes."""
    weights = [output.with_suffix(".bin")] if FLAGS.format == "openvino" else []
    return [output, *weights, output.with_suffix(".json")]


def _converted(segmentor: "LoadedSegmentor", size: tuple[int, int], images: list[Path]) -> list[bytes]:
    """The contents of the model's files; `images` are those to calibrate with."""
    from load_tf.data.decoding import decode_image
    from load_tf.data.text import read_bytes
    from load_tf.serving import lite, onnx_file, openvino_file

    if FLAGS.format == "onnx":
        return [onnx_file.convert(segmentor, size)]
    if FLAGS.format == "openvino":
        return list(openvino_file.convert(segmentor, size))
    calibration = (decode_image(read_bytes(image), str(image)) for image in images)
    return [lite.convert(segmentor, size, quantization=FLAGS.quantize, calibration=calibration)]


def _in_use(contents: list[bytes]) -> "FileSegmentor":
    """What labels images with the model's files."""
    from load_tf.serving import lite, onnx_file, openvino_file

    if FLAGS.format == "openvino":
        xml, weights = contents
        return openvino_file.OpenVinoSegmentor(xml, weights)
    (content,) = contents
    return onnx_file.OnnxSegmentor(content) if FLAGS.format == "onnx" else lite.LiteSegmentor(content)


def _checked_flags() -> tuple[Path, Path]:
    """The file to write and the SavedModel to read. Raises UserError if flags don't go together."""
    if bool(FLAGS.run_dir) == bool(FLAGS.saved_model):
        raise UserError("expected either --run_dir or --saved_model; see --help.")
    if not FLAGS.output:
        raise UserError("--output is missing; see --help.")
    if FLAGS.quantize == "int8" and not FLAGS.calibration:
        raise UserError("--quantize=int8 needs --calibration, a folder or a glob of a few dozen images; see --help.")
    if FLAGS.calibration and FLAGS.quantize != "int8":
        raise UserError(f"--calibration is for --quantize=int8, not for {FLAGS.quantize}; see --help.")
    if FLAGS.score and not FLAGS.run_dir:
        raise UserError("--score takes --run_dir, whose config names the labelled images; see --help.")
    for package in (*_PACKAGES[FLAGS.format], *(["onnxruntime"] if FLAGS.format == "onnx" and FLAGS.score else [])):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"--format={FLAGS.format} takes the package {package}: pip install 'load-tf[export]'.")
    if FLAGS.quantize != "none" and FLAGS.format != "tflite":
        raise UserError(f"--quantize is for --format=tflite, not for {FLAGS.format}; see --help.")
    output = Path(FLAGS.output)
    if FLAGS.format == "openvino" and output.suffix != ".xml":
        raise UserError(f"--output is {output}; OpenVINO expects a name that ends in .xml, e.g. model.xml.")
    if output.suffix == ".json":
        raise UserError(
            f"--output is {output}, where the class names go; expected another ending, e.g. "
            f"{output.stem}.{FLAGS.format}."
        )
    for file in _files(output):
        if file.exists() and not FLAGS.overwrite:
            raise UserError(f"{file} exists already; choose another --output, or add --overwrite.")
    source = Path(FLAGS.saved_model) if FLAGS.saved_model else Path(FLAGS.run_dir) / "saved_model"
    if not source.is_dir():
        raise UserError(f"there is no folder {source}; has the run ended?")
    return output, source


def _calibration_images() -> list[Path]:
    """The images that --calibration stands for, at most `MAX_CALIBRATION_IMAGES` of them."""
    from load_tf.randomness import generator
    from load_tf.serving.image_files import find_images

    images = find_images([FLAGS.calibration])
    drawn = generator(0, "calibration").permutation(len(images))[:MAX_CALIBRATION_IMAGES]
    return [images[index] for index in sorted(drawn)]


def _validation_images(class_names: tuple[str, ...]) -> "Split":
    """The split that the run's Table 1 is over, checked.

    Raises:
      UserError: if the run's config or its data are not there any more, or have other classes.
    """
    from load_tf.data.preparation import prepare
    from load_tf.experiment import plan

    config.parse_run_config(Path(FLAGS.run_dir))
    experiment = config.configured(plan.make_experiment)
    dataset, name = experiment.dataset, experiment.validation_split
    if dataset.class_names != class_names:
        raise UserError(
            f"the data set {dataset.name!r} has other classes by now than the model: {', '.join(dataset.class_names)}; "
            f"expected {', '.join(class_names)}."
        )
    return prepare(dataset.split(name), dataset.num_classes, f"{dataset.name} {name}")


def main() -> None:
    """Entry point of the console script."""
    define_flags()
    commands.run(export)


if __name__ == "__main__":
    main()
