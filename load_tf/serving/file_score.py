"""What a file of another runtime costs in mIoU: it and its SavedModel on the same labelled images."""

import dataclasses
from typing import Any

import numpy as np

from load_tf.data.dataset import Split
from load_tf.errors import UserError
from load_tf.evaluation.miou import confusion_matrix, mean_iou
from load_tf.progress import progress
from load_tf.serving.loaded import LoadedSegmentor
from load_tf.serving.one_size import FileSegmentor


@dataclasses.dataclass(frozen=True)
class FileScore:
    """What `compare` found, over the images that the file takes.

    Attributes:
      form: "TFLite", "ONNX" or "OpenVINO".
      images: how many.
      left_out: how many others are too large for the file.
      saved_model_miou: of the SavedModel, in per cent.
      file_miou: of the file, in per cent.
      differing_pixels: share of pixels with another label, in per cent, void ones included.
    """

    form: str
    images: int
    left_out: int
    saved_model_miou: float
    file_miou: float
    differing_pixels: float

    def text(self) -> str:
        """The numbers in a sentence."""
        left_out = f"; {self.left_out} too large for the file were left out" if self.left_out else ""
        return (
            f"{self.images} images{left_out}: mIoU {self.saved_model_miou:.2f} of the SavedModel, "
            f"{self.file_miou:.2f} of the {self.form} file; {self.differing_pixels:.2f} % of the pixels differ."
        )

    def record(self) -> dict[str, Any]:
        """What stands in the JSON file beside the export; the file's mIoU under its own name, e.g. `tflite_miou`."""
        return {
            "images": self.images,
            "left_out": self.left_out,
            "saved_model_miou": self.saved_model_miou,
            f"{self.form.lower()}_miou": self.file_miou,
            "differing_pixels": self.differing_pixels,
        }


def compare(segmentor: LoadedSegmentor, file: FileSegmentor, split: Split, form: str = "TFLite") -> FileScore:
    """Labels a split with both.

    The SavedModel pads as the evaluator does. The file is given images padded to its size; one that is larger can't be
    given to it without cutting, which would be another task, and so counts for neither.

    Args:
      segmentor: the SavedModel.
      file: the file made of it.
      split: images and labels, values in {0..K-1, 255} with the model's K.
      form: the file's kind, for people.

    Raises:
      UserError: if the file takes none of the images, or one of them can't be read.
    """
    classes = len(segmentor.class_names)
    confusion = np.zeros((2, classes, classes), np.int64)
    images = pixels = differing = 0
    for index in progress(range(len(split)), "score", unit="img"):
        image, label, _ = split[index]
        if any(have > most for have, most in zip(label.shape, file.size, strict=True)):
            continue
        maps = (segmentor.label_maps(image[np.newaxis])[0], file.label_map(image))
        confusion += [confusion_matrix(label, label_map, classes) for label_map in maps]
        images, pixels, differing = images + 1, pixels + label.size, differing + int((maps[0] != maps[1]).sum())
    if not images:
        height, width = file.size
        raise UserError(f"all {len(split)} images are larger than the {height} x {width} that the {form} file takes.")
    saved, other = (100 * mean_iou(matrix) for matrix in confusion)
    return FileScore(form, images, len(split) - images, saved, other, 100 * differing / pixels)
