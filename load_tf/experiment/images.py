"""What a run reads: its images and label maps, checked, and the hold-out that is drawn from them."""

import dataclasses

from load_tf.data.dataset import Joined, Split, Subset
from load_tf.data.preparation import draw_holdout, prepare_all
from load_tf.experiment.plan import Plan


@dataclasses.dataclass(frozen=True)
class Data:
    """The images of a run, checked and, if they fit, in memory."""

    training: Split
    validation: Split
    holdout: Split
    holdout_indices: tuple[int, ...]
    """Which of the validation images are the hold-out."""


def read_data(plan: Plan) -> Data:
    """Reads and checks all images the run needs, and draws the hold-out.

    Raises:
      UserError: listing every image or label map that can't be used.
    """
    experiment = plan.experiment
    dataset = experiment.dataset
    names = [experiment.training_split, experiment.validation_split]
    if experiment.holdout_split is not None:
        names.append(experiment.holdout_split)
    drawn = experiment.validation_split if experiment.holdout_split is None else None
    splits = prepare_all(dataset, tuple(names), drawn)
    training, validation = splits[experiment.training_split], splits[experiment.validation_split]
    if experiment.holdout_split is not None:
        chosen = splits[experiment.holdout_split]
        return Data(training, Joined(chosen, validation), chosen, tuple(range(len(chosen))))
    chosen, _ = draw_holdout(validation, experiment.holdout_images, experiment.seed)
    places = {identity: i for i, identity in enumerate(validation.ids)}
    indices = tuple(places[identity] for identity in chosen.ids)
    return Data(training, validation, Subset(validation, indices), indices)
