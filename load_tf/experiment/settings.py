"""What is run on what: the object that a gin file calls `experiment`."""

import dataclasses
from collections.abc import Callable

from load_tf.data.dataset import SegmentationDataset
from load_tf.discriminator.grid import Size
from load_tf.errors import UserError, check, check_whole
from load_tf.methods.load import LoAd
from load_tf.methods.method import Method
from load_tf.segmentors.convention import Convention
from load_tf.segmentors.segmentor import Segmentor


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What is run on what.

    Attributes:
      dataset: the data set.
      segmentor: a function from `num_classes` to a `Segmentor`.
      name: for the tables.
      crop: (height, width) images are padded to, as the segmentor's convention allows: 16 k + 1 each for the official
        networks; the paper's is 513 x 513. None: the smallest that holds all images of the splits, exactly theirs if
        they have one size that the segmentor takes; finding it reads every image once more.
      training_split: D_t.
      validation_split: what Table 1 is over; the hold-out is drawn from it.
      holdout_images: how many validation images decide on peaks (paper: 500 of 1,449); the rest stays untouched.
      holdout_split: a split that is the hold-out as a whole; `validation_split` then is untouched as a whole.
      watched_images: how many untouched images, drawn by the seed, are scored whenever the hold-out is; all of them if
        there are fewer, 0: none. They decide nothing, so they stay untouched: the journal and the report show whether
        the hold-out speaks for them. 100 beside the paper's 500 make a look a fifth longer.
      method: how the segmentor is trained after stage 1.
      start_from: a run directory whose baseline this run starts from, in place of a stage 1 of its own.
      evaluation_batch_size: images in a step of the evaluator.
      seed: of every draw.
      commit_every: adversarial iterations between two commits.
    """

    dataset: SegmentationDataset
    segmentor: Callable[..., Segmentor]
    name: str = "LoAd"
    crop: Size | None = (513, 513)
    training_split: str = "train"
    validation_split: str = "validation"
    holdout_images: int = 500
    holdout_split: str | None = None
    watched_images: int = 100
    method: Method = LoAd()  # noqa: RUF009 - immutable, without parameters
    start_from: str | None = None
    evaluation_batch_size: int = 4
    seed: int = 0
    commit_every: int = 1

    def __post_init__(self) -> None:
        if self.crop is not None:
            object.__setattr__(self, "crop", tuple(self.crop))
            # What else is asked of it, the segmentor knows.
            Convention().check_crop(self.crop, "experiment.crop")
        check_whole(self, "holdout_images", "evaluation_batch_size", "commit_every", called="experiment")
        check_whole(self, "watched_images", least=0, expected="a whole number, 0 for none", called="experiment")
        names = self.splits
        if len(set(names)) < len(names):
            raise UserError(
                f"experiment.training_split, validation_split and holdout_split are {', '.join(map(repr, names))}; "
                "expected splits that differ: what was trained or chosen on says nothing of other images."
            )
        check(self, "seed", allowed=lambda seed: isinstance(seed, int), expected="a whole number", called="experiment")

    @property
    def splits(self) -> list[str]:
        """The names of the splits it reads: training, validation, and the hold-out's if it has one."""
        return [n for n in (self.training_split, self.validation_split, self.holdout_split) if n is not None]
