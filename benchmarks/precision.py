"""What 16-bit arithmetic does to scores and times: one checkpoint, the same images, each precision.

python -m benchmarks.precision --gin_file=voc_mobilenetv2_valsplit.gin --data_dir=VOC2012 --checkpoint=DIR --images=100
"""

import time

import keras
import numpy as np
from absl import flags

from load_tf import commands
from load_tf.experiment import config

IMAGES = flags.DEFINE_integer("images", 100, "How many validation images, from the first.")
PRECISIONS = flags.DEFINE_multi_string("precision", ["float32", "mixed_bfloat16"], "What to compare.")


def _main() -> None:
    commands.quiet_tensorflow()
    config.parse_gin()
    from load_tf.data.dataset import Subset
    from load_tf.devices import precision
    from load_tf.evaluation.miou import mean_iou
    from load_tf.experiment import plan

    assembled = config.configured(plan.assemble)
    experiment = assembled.experiment
    split = experiment.dataset.split(experiment.validation_split)
    images = Subset(split, tuple(range(min(IMAGES.value, len(split)))))
    first: list[np.ndarray] | None = None
    print(f"{'precision':>15}  mIoU %   seconds  pixels labelled otherwise")
    for name in PRECISIONS.value:
        keras.backend.clear_session()
        precision.use(name)
        evaluator = assembled.evaluator(images, plan.make_segmentor(experiment).model)
        began = time.monotonic()
        matrices = evaluator.evaluate(name)
        seconds = time.monotonic() - began
        few = evaluator.predictions(range(min(20, len(images))))
        first = first if first is not None else few
        changed = sum(int((a != b).sum()) for a, b in zip(few, first, strict=True)) / sum(m.size for m in few)
        print(f"{name:>15}  {100 * mean_iou(matrices.sum(0)):6.2f}  {seconds:8.1f}  {changed:.4%} of 20 images")


if __name__ == "__main__":
    commands.define_experiment_flags()
    commands.run(_main)
