"""The official DeepLab networks as a segmentor of an experiment."""

from pathlib import Path

from load_tf.segmentors.official_checkpoint import from_official_checkpoint, open_weights, read_architecture
from load_tf.segmentors.segmentor import Segmentor


def official_deeplab(num_classes: int, checkpoint: str, output_stride: int = 16, seed: int = 0) -> Segmentor:
    """An official DeepLab with its official weights; see `from_official_checkpoint`.

    With another number of classes than the checkpoint's the logits layer is new, so stage 1 has to train it.

    Args:
      num_classes: K, of the data set.
      checkpoint: a checkpoint's prefix, folder, archive or frozen graph.
      output_stride: 8, 16 or 32; the paper's is 16.
      seed: of new logits.
    """
    found = read_architecture(open_weights(checkpoint))
    model = from_official_checkpoint(checkpoint, output_stride, num_classes, seed)
    pretrained = found.num_classes == num_classes
    description = f"{found}, output stride {output_stride}, from {Path(checkpoint).name}"
    if not pretrained:
        description += f", new logits for {num_classes} classes"
    return Segmentor(model, pretrained, description, output_stride)
