"""The official weights on real images: our evaluator against numpy and Pillow alone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from load_tf.data.dataset import Subset
from load_tf.data.voc import voc
from load_tf.evaluation.evaluator import Evaluator
from load_tf.evaluation.miou import mean_iou
from load_tf.segmentors.official_checkpoint import from_official_checkpoint

CHECKPOINT = "checkpoints/deeplabv3_mnv2_pascal_train_aug_fp16"


def independent_miou(folder: Path, ids: tuple[str, ...], label_maps: list[np.ndarray]) -> float:
    """Per cent, from the mask files themselves: per class intersection over union over the whole set."""
    intersection, union = np.zeros(21), np.zeros(21)
    for identity, predicted in zip(ids, label_maps, strict=True):
        truth = np.asarray(Image.open(folder / "SegmentationClass" / f"{identity}.png"))
        assert truth.shape == predicted.shape
        known = truth != 255
        for k in range(21):
            intersection[k] += np.sum((truth == k) & (predicted == k) & known)
            union[k] += np.sum(((truth == k) | (predicted == k)) & known)
    return 100 * np.mean(intersection[union > 0] / union[union > 0])


@pytest.mark.parametrize("images", [16, pytest.param(949, marks=pytest.mark.slow)])
def test_the_evaluator_agrees_with_numpy_on_the_official_weights(shared: Path, images: int) -> None:
    folder = shared / "data" / "VOC2012"
    split = voc(data_dir=str(folder)).split("validation")
    split = Subset(split, tuple(range(0, len(split), max(1, len(split) // images)))[:images])
    evaluator = Evaluator(from_official_checkpoint(shared / CHECKPOINT), split, (513, 513), 21)
    score = 100 * mean_iou(evaluator.evaluate())
    label_maps = evaluator.predictions(range(len(split)))
    assert abs(score - independent_miou(folder, split.ids, label_maps)) < 0.01
    assert score > (74 if images == 949 else 60), "published: 75.32 on all 1,449"
    shifted = [np.roll(label_map, 8, axis=1) for label_map in label_maps]
    assert abs(score - independent_miou(folder, split.ids, shifted)) > 1, "the comparison sees a shift of 8 pixels"
