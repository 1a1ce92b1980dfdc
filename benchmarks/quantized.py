"""What TFLite, ONNX and OpenVINO files gain in size and time, and lose in mIoU, against the SavedModel.

python -m benchmarks.quantized --gin_file=voc_mobilenetv2.gin --data_dir=VOC2012 --checkpoint=DIR [--images=300]

ONNX and OpenVINO are left out where the extra `export` is not installed. Validation images are drawn by key: some to be
scored, others, without their labels, to calibrate int8 with. Times are of one image padded to the crop, all candidates
in turn.
"""

import functools
import importlib.util
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from load_tf import commands
from load_tf.experiment import config

if TYPE_CHECKING:
    from load_tf.data.dataset import Split
    from load_tf.serving.loaded import LoadedSegmentor
    from load_tf.serving.one_size import FileSegmentor

IMAGES = flags.DEFINE_integer("images", 300, "Images to score.")
CALIBRATION = flags.DEFINE_integer("calibration_images", 32, "Images to calibrate int8 with.")
REPEATS = flags.DEFINE_integer("repeats", 15, "Rounds of timing.")

SAVED_MODEL = "load_tf SavedModel, float32"


def _main() -> None:
    commands.quiet_tensorflow()
    config.parse_gin()
    import tensorflow as tf

    from benchmarks import timing
    from load_tf.data.dataset import Subset
    from load_tf.experiment import plan
    from load_tf.randomness import generator
    from load_tf.serving import file_score, lite, loaded, one_size, saved_model

    assembled = config.configured(plan.assemble)
    experiment = assembled.experiment
    dataset, crop = experiment.dataset, assembled.crop
    split = dataset.split(experiment.validation_split)
    drawn = generator(0, "quantized").permutation(len(split))
    scored, others = np.split(drawn, [min(IMAGES.value, len(split) - CALIBRATION.value)])
    images = Subset(split, tuple(int(index) for index in scored))
    calibration = [split[int(index)].image for index in others[: CALIBRATION.value]]
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    with tempfile.TemporaryDirectory() as folder:
        exported = saved_model.export(
            assembled.segmentor.model,
            folder,
            crop=crop,
            class_names=dataset.class_names,
            colours=dataset.colours,
            convention=assembled.segmentor.convention,
            largest=assembled.segmentor.largest,
        )
        segmentor = loaded.load(exported)
        megabytes = {SAVED_MODEL: sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()) / 1e6}
    files: dict[str, FileSegmentor] = {}
    scores = {}
    for quantization in lite.QUANTIZATIONS:
        name = f"TFLite, {'float32' if quantization == 'none' else quantization}"
        content = lite.convert(segmentor, crop, quantization=quantization, calibration=calibration)
        files[name], megabytes[name] = lite.LiteSegmentor(content, threads), len(content) / 1e6
        scores[name] = file_score.compare(segmentor, files[name], images)
    for name, contents, reader in _others(segmentor, crop):
        files[name], megabytes[name] = reader(*contents, threads), sum(map(len, contents)) / 1e6
        scores[name] = file_score.compare(segmentor, files[name], images, name)
    alike = _given_the_same(segmentor, files, images, crop)
    image = one_size.fit(images[0].image, crop)
    candidates: dict[str, Callable[[], object]] = {SAVED_MODEL: lambda: segmentor.label_maps(image[np.newaxis])}
    candidates |= {name: functools.partial(file.label_map, image) for name, file in files.items()}
    measured = timing.in_turn(candidates, REPEATS.value)
    print(
        f"\n{assembled.segmentor.description}; {len(images)} images of {dataset.name}, {len(calibration)} others to "
        f"calibrate; {crop[0]} x {crop[1]}, {REPEATS.value} rounds; {timing.machine()}.\n"
    )
    rows = []
    for name, own in measured.items():
        score = scores.get(name)
        miou = score.file_miou if score else next(iter(scores.values())).saved_model_miou
        differing = f"{score.differing_pixels:.4f}" if score else ""
        speed = measured[SAVED_MODEL].median / own.median
        times = [f"{1e3 * own.median:.1f}", f"{100 * own.spread:.0f} %", f"{speed:.2f}"]
        same = f"{alike[name]:.4f}" if name in alike else ""
        rows.append([name, f"{megabytes[name]:.1f}", *times, f"{miou:.2f}", differing, same])
    head = [
        "",
        "MB",
        "ms an image",
        "spread",
        "/ SavedModel",
        "mIoU %",
        "pixels that differ, %",
        "with equal padding, %",
    ]
    print(timing.table(head, rows))


def _given_the_same(
    segmentor: "LoadedSegmentor", files: Mapping[str, "FileSegmentor"], images: "Split", crop: tuple[int, int]
) -> dict[str, float]:
    """Per cent of pixels with another label than the SavedModel's where it, too, is given the files' padding, 127."""
    from load_tf.serving import one_size

    differing, pixels = dict.fromkeys(files, 0), 0
    for index in range(len(images)):
        image = images[index].image
        height, width = image.shape[:2]
        expected = segmentor.label_maps(one_size.fit(image, crop)[np.newaxis])[0, :height, :width]
        pixels += expected.size
        for name, file in files.items():
            differing[name] += int((file.label_map(image) != expected).sum())
    return {name: 100 * count / pixels for name, count in differing.items()}


def _others(segmentor: "LoadedSegmentor", crop: tuple[int, int]) -> Iterator[tuple[str, tuple[bytes, ...], Any]]:
    """The name, the files and the reader of each runtime of the extra `export` that is installed."""
    from load_tf.serving import onnx_file, openvino_file

    if all(importlib.util.find_spec(name) for name in ("tf2onnx", "onnx", "onnxruntime")):
        yield "ONNX", (onnx_file.convert(segmentor, crop),), onnx_file.OnnxSegmentor
    if importlib.util.find_spec("openvino"):
        yield "OpenVINO", openvino_file.convert(segmentor, crop), openvino_file.OpenVinoSegmentor


if __name__ == "__main__":
    commands.define_experiment_flags()
    commands.run(_main)
