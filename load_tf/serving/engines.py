"""Labelling by another runtime in TensorFlow's place: LiteRT, whose XNNPACK is faster with small networks, or OpenVINO.

Only what looks at a finished model takes one. A run's own looks are TensorFlow's: its updates are.
"""

import dataclasses

import numpy as np

from load_tf.data.dataset import Split
from load_tf.errors import UserError
from load_tf.evaluation.evaluator import check_labels
from load_tf.evaluation.measuring import Measuring
from load_tf.evaluation.miou import confusion_matrix
from load_tf.evaluation.shapes import Shapes, zeros
from load_tf.progress import progress
from load_tf.serving import lite, openvino_file
from load_tf.serving.loaded import LoadedSegmentor
from load_tf.serving.one_size import FileSegmentor, imported

ENGINES = ("tensorflow", "litert", "openvino")
COMPARED_IMAGES = 8
"""The first images that an engine labels are labelled by TensorFlow, too, to say how far they agree."""


@dataclasses.dataclass
class Compared:
    """How far an engine's label maps agree with TensorFlow's, so far."""

    images: int = 0
    pixels: int = 0
    differing: int = 0

    def add(self, maps: np.ndarray, others: np.ndarray) -> None:
        """Takes note of the label maps uint8 [B, H, W] of some images by both."""
        self.images += len(maps)
        self.pixels += maps.size
        self.differing += int((maps != others).sum())

    def text(self, engine: str) -> str:
        """The numbers in a sentence."""
        if not self.images:
            return f"{engine} labelled no image; those that are larger than the crop are TensorFlow's."
        share = 100 * self.differing / self.pixels
        return f"{share:.3f} % of the pixels of the first {self.images} images differ between {engine} and TensorFlow."


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineSegmentor(LoadedSegmentor):
    """A segmentor that another runtime labels with, image by image.

    Images larger than the crop are TensorFlow's, as are probabilities: a file takes one size, and gives labels.

    Attributes:
      engine: its name.
      file: the model in its form, for images up to the crop.
      compared: its first label maps beside TensorFlow's.
    """

    engine: str
    file: FileSegmentor = dataclasses.field(repr=False)
    compared: Compared = dataclasses.field(default_factory=Compared)

    def label_maps(self, images: np.ndarray) -> np.ndarray:
        """uint8 [B, H, W] for uint8 [B, H, W, 3]."""
        if any(have > most for have, most in zip(images.shape[1:3], self.file.size, strict=True)):
            return super().label_maps(images)
        maps = np.stack([self.file.label_map(image) for image in images])
        if self.compared.images < COMPARED_IMAGES:
            self.compared.add(maps, super().label_maps(images))
        return maps


def with_engine(segmentor: LoadedSegmentor, engine: str) -> LoadedSegmentor:
    """The segmentor as an engine labels with it.

    Args:
      segmentor: the SavedModel.
      engine: one of `ENGINES`; "tensorflow" is the segmentor as it is.

    Raises:
      UserError: if there is no such engine, its package is not installed, or the network has an operation it lacks.
    """
    if engine not in ENGINES:
        raise UserError(f"the engine is {engine!r}; expected one of {', '.join(ENGINES)}.")
    if engine == "tensorflow":
        return segmentor
    file: FileSegmentor
    if engine == "litert":
        file = lite.LiteSegmentor(lite.convert(segmentor))
    else:
        imported("openvino", "--engine=openvino")
        file = openvino_file.OpenVinoSegmentor(*openvino_file.convert(segmentor))
    fields = {field.name: getattr(segmentor, field.name) for field in dataclasses.fields(segmentor)}
    return EngineSegmentor(**fields, engine=engine, file=file)


def evaluate_shapes(segmentor: LoadedSegmentor, split: Split) -> tuple[np.ndarray, Shapes]:
    """What `Evaluator.evaluate_shapes` gives, of the segmentor's own label maps.

    Args:
      segmentor: from `with_engine`.
      split: images, and labels in {0..K-1, 255} with the model's K.

    Returns:
      int64 [N, K, K], and the counts of the shapes of every image.

    Raises:
      UserError: naming an image that can't be read or is too large, or whose label map has another size or values
        that are no class.
    """
    classes = len(segmentor.class_names)
    confusion, found = np.zeros((len(split), classes, classes), np.int64), zeros(len(split), classes)
    with Measuring(found) as measuring:
        for index in progress(range(len(split)), "evaluate", unit="img"):
            image, truth, identity = split[index]
            if (refusal := segmentor.refusal(*image.shape[:2])) is not None:
                raise UserError(f"image {identity!r} {refusal}")
            check_labels(image, truth, identity, classes)
            label_map = segmentor.label_maps(image[np.newaxis])[0]
            confusion[index] = confusion_matrix(truth, label_map, classes)
            measuring.add(index, truth, label_map)
    return confusion, found
