"""What quantised TFLite files gain in size and time, and lose in mIoU, against the SavedModel they are made of.

python -m benchmarks.quantized --gin_file=voc_mobilenetv2.gin --data_dir=VOC2012 --checkpoint=DIR [--images=300]

Validation images are drawn by key: some to be scored, others, without their labels, to calibrate int8 with. Times are
of one image padded to the crop, all candidates in turn.
"""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import flags

from load_tf import commands
from load_tf.experiment import config

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
    from load_tf.serving import lite, lite_score, loaded, saved_model

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
    files, scores = {}, {}
    for quantization in lite.QUANTIZATIONS:
        name = f"TFLite, {'float32' if quantization == 'none' else quantization}"
        content = lite.convert(segmentor, crop, quantization=quantization, calibration=calibration)
        files[name], megabytes[name] = lite.LiteSegmentor(content, threads), len(content) / 1e6
        scores[name] = lite_score.compare(segmentor, files[name], images)
    image = lite.fit(images[0].image, crop)
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
        miou = score.tflite_miou if score else next(iter(scores.values())).saved_model_miou
        differing = f"{score.differing_pixels:.2f}" if score else ""
        speed = measured[SAVED_MODEL].median / own.median
        times = [f"{1e3 * own.median:.1f}", f"{100 * own.spread:.0f} %", f"{speed:.2f}"]
        rows.append([name, f"{megabytes[name]:.1f}", *times, f"{miou:.2f}", differing])
    print(timing.table(["", "MB", "ms an image", "spread", "/ SavedModel", "mIoU %", "pixels that differ, %"], rows))


if __name__ == "__main__":
    commands.define_experiment_flags()
    commands.run(_main)
