"""What a run reads: its images and label maps, checked, and the hold-out that is drawn from them."""

import dataclasses
from collections.abc import Collection

from load_tf.data.dataset import UNLABELLED_SPLIT, Joined, Split, Subset
from load_tf.data.fingerprint import Fingerprint
from load_tf.data.inspection import Inspection, larger_than
from load_tf.data.preparation import draw_holdout, read_all
from load_tf.data.text import listing
from load_tf.errors import UserError
from load_tf.experiment.plan import Plan
from load_tf.storage.run_directory import RunDirectory, arrays_of_run, run_holds

_NAME = "data"
"""Of the fingerprint among the arrays of a commit."""


@dataclasses.dataclass(frozen=True)
class Data:
    """The images of a run, checked and, if they fit, in memory."""

    training: Split
    validation: Split
    holdout: Split
    holdout_indices: tuple[int, ...]
    """Which of the validation images are the hold-out."""
    fingerprint: Fingerprint
    """Of all of them."""
    unlabelled: Split | None = None
    """Images of D_t without labels; None: there are none."""


def read_data(plan: Plan) -> Data:
    """Reads and checks all images the run needs, and draws the hold-out.

    Raises:
      UserError: listing every image or label map that can't be used, or that is too large.
    """
    experiment = plan.experiment
    dataset = experiment.dataset
    names = [experiment.training_split, experiment.validation_split]
    if UNLABELLED_SPLIT in names:
        raise UserError(
            f"experiment.training_split and validation_split are {names[0]!r} and {names[1]!r}; expected splits with "
            "labels."
        )
    if experiment.holdout_split is not None:
        names.append(experiment.holdout_split)
    if UNLABELLED_SPLIT in dataset.sources:
        names.append(UNLABELLED_SPLIT)
    drawn = experiment.validation_split if experiment.holdout_split is None else None
    read = read_all(dataset, tuple(names), drawn)
    training, validation = read[experiment.training_split], read[experiment.validation_split]
    inspected = {"training": training.found, "validation": validation.found}
    unlabelled = read.get(UNLABELLED_SPLIT)
    if unlabelled is not None:
        inspected["unlabelled"] = unlabelled.found
    if experiment.holdout_split is not None:
        chosen = read[experiment.holdout_split]
        inspected["hold-out"] = chosen.found
        ids, found = chosen.split.ids, chosen.found
        whole: Split = Joined(chosen.split, validation.split)
        holdout, indices = chosen.split, tuple(range(len(ids)))
    else:
        ids, found, whole = (
            draw_holdout(validation.split, experiment.holdout_images, experiment.seed)[0].ids,
            validation.found,
            validation.split,
        )
        places = {identity: i for i, identity in enumerate(validation.split.ids)}
        indices = tuple(places[identity] for identity in ids)
        holdout = Subset(validation.split, indices)
    _refuse_larger(plan, training.found, found, ids, validation.found, unlabelled and unlabelled.found)
    fingerprint = Fingerprint.of(inspected, ids, dataset.class_names)
    return Data(training.split, whole, holdout, indices, fingerprint, unlabelled and unlabelled.split)


def _refuse_larger(
    plan: Plan,
    training: Inspection,
    holdout: Inspection,
    holdout_ids: tuple[str, ...],
    validation: Inspection,
    unlabelled: Inspection | None,
) -> None:
    """Refuses images that the game or the network would refuse only after stage 1.

    Raises:
      UserError: naming them, and the crop that holds them.
    """
    parts: dict[str, tuple[Inspection, Collection[str]]] = {
        "training": (training, set(training.ids)),
        "hold-out": (holdout, set(holdout_ids)),
    }
    if unlabelled is not None:
        parts["unlabelled"] = unlabelled, set(unlabelled.ids)
    limit = plan.segmentor.largest
    if limit is not None:
        parts["validation"] = (validation, set(validation.ids) - set(holdout_ids))
    parameter = "experiment.crop" if plan.parameters is None else "crop"

    def use(size: tuple[int, int]) -> str:
        try:
            return f"{parameter} = {plan.segmentor.crop_for([size])}"
        except UserError:
            return f"smaller images, since {plan.segmentor.limit},"

    faults = larger_than(limit or plan.crop, parts, use)
    if faults:
        raise UserError(faults[0])


def hold_to(directory: RunDirectory, data: Data, plan: Plan) -> None:
    """Has the next commit keep the fingerprint of a run's data, and refuses others than the run began with.

    A run that began before there were fingerprints gets its own now.

    Args:
      directory: the run's.
      data: what was read.
      plan: the assembled experiment.

    Raises:
      UserError: naming the images and masks that differ, or validation images that the run which this one starts from
        was trained on.
    """
    if _NAME in directory.state.get("files", {}):
        before = Fingerprint.from_arrays(directory.arrays(_NAME))
        differences = before.differences(data.fingerprint)
        if differences:
            sentences = [f"{directory.path} was begun with other data: now there are {d}." for d in differences]
            raise UserError(
                f"{directory.path} was begun with other data: now there are {', '.join(differences)}. What was trained "
                "on must not be judged on: put the data back, or choose another --run_dir.",
                sentences,
            )
        return
    start = plan.experiment.start_from
    if start is not None and not directory.state and run_holds(start, _NAME):
        trained = Fingerprint.from_arrays(arrays_of_run(start, _NAME)).images("training")
        own = data.fingerprint.images("training")
        judged = {**data.fingerprint.images("validation"), **data.fingerprint.images("hold-out")}
        known = sorted(identity for image, identity in judged.items() if image in trained and image not in own)
        if known:
            raise UserError(
                f"experiment.start_from is {start}, which was trained on {len(known)} of the validation images of this "
                f"run: {listing(known)}; expected images that are new to it."
            )
    directory.attach(_NAME, data.fingerprint.to_arrays)
