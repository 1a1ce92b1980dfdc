"""Checks a data set: every fault, listed; what it consists of; a contact sheet to look at.

python -m load_tf.check_dataset --gin_file=FILE [--data_dir=DIR] [--output=sheet.png]

Every image and mask of every split is read. A fault is what stops a run: each is listed with the file, what was found
and what was expected. What is allowed but seldom meant (a class that occurs nowhere, masks of a single class or of
hardly anything but void, images that occur twice, or look like neighbours of training or hold-out images) is listed as
worth a look.

Exit status: 0 if there is no fault, 1 if there are some, 2 if flags, the config or the folder are wrong, 141 if nobody
reads any more what it prints.
"""

import contextlib
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from absl import flags

from load_tf import commands
from load_tf.errors import UserError
from load_tf.experiment import config

if TYPE_CHECKING:
    from load_tf.data.dataset import Example, SegmentationDataset, Split
    from load_tf.data.inspection import Inspection

FLAGS = flags.FLAGS
SHOWN = 12
"""Examples of each split on the contact sheet."""


def define_flags() -> None:
    """The flags of this command."""
    commands.define_experiment_flags()
    flags.DEFINE_string("output", None, "A PNG to write: some images of every split with their masks over them.")


def check() -> int:
    """Checks the data set of the gin file; returns the exit status."""
    commands.quiet_tensorflow()
    output = Path(FLAGS.output) if FLAGS.output else None
    if output is not None and (output.is_dir() or not output.absolute().parent.is_dir()):
        raise UserError(f"--output {output} can't be written; expected the path of a file in a folder that is there.")
    config.parse_gin()
    from load_tf.data.faults import by_cause
    from load_tf.experiment import plan
    from load_tf.report import contact_sheet
    from load_tf.storage.arrays import write_atomically

    configured = config.configured(plan.make_experiment)
    dataset = configured.dataset
    parts = [configured.training_split, configured.validation_split, configured.holdout_split]
    faults, shown = check_splits(
        dataset,
        configured.training_split,
        configured.crop,
        [p for p in parts if p],
        Holdout(configured.holdout_images, configured.seed),
    )
    if output is not None:
        try:
            write_atomically(output, contact_sheet.draw(shown, dataset.class_names, dataset.colours))
        except OSError as error:
            raise UserError(f"--output {output} can't be written: {error.strerror}.") from None
        print(f"contact sheet: {output}")
    for fault in by_cause(faults):
        print(fault, file=sys.stderr)
    print(f"{len(faults)} faults" if faults else f"no faults: {dataset.name} can be used.")
    return 1 if faults else 0


class Holdout(NamedTuple):
    """How the hold-out is drawn from the validation images."""

    images: int
    seed: int


def check_splits(
    dataset: "SegmentationDataset",
    training_split: str,
    crop: tuple[int, int] | None,
    parts: Sequence[str] = (),
    holdout: Holdout | None = None,
) -> tuple[list[str], list[tuple[str, "Example"]]]:
    """Reads all splits and prints what they consist of.

    Args:
      dataset: the data set.
      training_split: whose images have to fit into the crop.
      crop: height and width in pixels; None: one is found that all images fit into.
      parts: the splits a run reads, no two of which may share images or neighbours: training, validation, and the
        hold-out unless it is yet to be drawn from the second.
      holdout: how it is, so that its images, which have to fit into the crop, too, are known; None: nobody looks.

    Returns:
      The faults, a sentence each; some examples of every split, each with a caption.
    """
    from load_tf.data import neighbours, notes
    from load_tf.data.dataset import UNLABELLED_SPLIT, groups_of, notes_of
    from load_tf.data.inspection import Inspection, larger_than, read_examples
    from load_tf.data.preparation import shared_ids
    from load_tf.data.text import refuse_duplicates
    from load_tf.randomness import generator

    faults: list[str] = []
    shown: list[tuple[str, Example]] = []
    opened: dict[str, Split] = {}
    looks: dict[str, neighbours.Part] = {}
    read: dict[str, Inspection] = {}
    for name in dict.fromkeys((*dataset.sources, *parts)):
        description = f"{dataset.name} {name}"
        try:
            split = dataset.split(name)
        except UserError as error:
            # A split that is there only for those who have its files.
            if name in ("train", "validation", UNLABELLED_SPLIT, *parts):
                faults += error.faults
            else:
                print(f"{description}: not checked ({error})\n")
            continue
        try:
            refuse_duplicates(split.ids, description)
        except UserError as error:
            faults += error.faults
        opened[name] = split
        chosen = set(generator(0, "contact sheet", name).permutation(len(split))[:SHOWN].tolist())
        found = read[name] = Inspection.empty(description, split.ids)
        labelled = name != UNLABELLED_SPLIT
        for index, example in enumerate(read_examples(split, dataset.num_classes, description, found, labelled)):
            if example is not None and index in chosen:
                shown.append((f"{name}: {example.id}"[-48:], example))
        looks[name] = neighbours.Part(found.ids, found.signatures, groups_of(split), tuple(found.digests))
        if name == training_split:
            found.faults += found.one_class(dataset.class_names)
        print(summary(found, dataset.class_names, labelled))
        faults += found.faults
    if crop is not None:
        faults += larger_than(crop, _in_the_crop(read, opened, training_split, parts, holdout), _crop_for)
    # The augmented training list of VOC holds the plain one; what both must not share is the validation images.
    ids = {name: split.ids for name, split in opened.items()}
    of_run = {name: ids[name] for name in ids if name in (*parts, UNLABELLED_SPLIT)}
    faults += [*(f for f in shared_ids(ids) if "'validation'" in f or "'test'" in f), *shared_ids(of_run)]
    together = {name: looks[name] for name in (*parts, UNLABELLED_SPLIT) if name in looks}
    suspicions = notes.suspicions([note for split in opened.values() for note in notes_of(split)])
    suspicions += neighbours.copies(looks)
    suspicions += neighbours.suspicions(together, parts[1] if len(parts) == 2 else None)
    for suspicion in suspicions:
        print(f"worth a look: {suspicion}\n")
    # What is wrong with the folder as a whole is said by each of its splits.
    return list(dict.fromkeys(faults)), shown


def _in_the_crop(
    read: "Mapping[str, Inspection]",
    opened: "Mapping[str, Split]",
    training_split: str,
    parts: Sequence[str],
    holdout: Holdout | None,
) -> "dict[str, tuple[Inspection, Collection[str]]]":
    """The images that have to fit into the crop: training images and the hold-out, as far as they are known."""
    from load_tf.data.dataset import UNLABELLED_SPLIT
    from load_tf.data.preparation import draw_holdout

    found: dict[str, tuple[Inspection, Collection[str]]] = {}
    if training_split in read:
        found["training"] = read[training_split], set(read[training_split].ids)
    if UNLABELLED_SPLIT in read:
        found["unlabelled"] = read[UNLABELLED_SPLIT], set(read[UNLABELLED_SPLIT].ids)
    chosen: tuple[str, ...] = ()
    if len(parts) == 3 and parts[2] in read:
        chosen = opened[parts[2]].ids
    elif len(parts) == 2 and parts[1] in opened and holdout is not None:
        # A hold-out that can't be drawn is refused by the run, before it reads anything.
        with contextlib.suppress(UserError):
            chosen = draw_holdout(opened[parts[1]], holdout.images, holdout.seed)[0].ids
    if chosen:
        found["hold-out"] = read[parts[-1]], set(chosen)
    return found


def _crop_for(size: tuple[int, int]) -> str:
    from load_tf.segmentors.convention import OFFICIAL

    return f"experiment.crop = {OFFICIAL.crop_for([size])}"


def summary(found: "Inspection", class_names: tuple[str, ...], labelled: bool = True) -> str:
    """What a split consists of, as text; of images without labels how many there are, and their sizes."""
    usable = found.sizes[:, 0] > 0
    sizes, pixels = found.sizes[usable], found.pixels[usable]
    lines = [f"{found.description}: {len(found.ids)} examples, {len(found.faults)} faults"]
    if not len(sizes):
        return lines[0] + "\n"
    areas = sizes.prod(axis=1)
    smallest, largest = (f"{h} x {w}" for h, w in (sizes[areas.argmin()], sizes[areas.argmax()]))
    if not labelled:
        return "\n".join([*lines, f"  sizes {smallest} to {largest} (height x width), no labels"]) + "\n"
    total, void = pixels.sum(), pixels[:, 255].sum()
    lines += [
        f"  sizes {smallest} to {largest} (height x width), void {100 * void / total:.2f} % of the pixels",
        f"  {'class':<20} {'images':>8} {'pixels':>14} {'share':>8}",
    ]
    for label, name in enumerate(class_names):
        count = pixels[:, label].sum()
        share = 100 * count / max(total - void, 1)
        lines.append(f"  {name:<20} {(pixels[:, label] > 0).sum():8d} {count:14d} {share:6.2f} %")
    lines += [f"  worth a look: {suspicion}" for suspicion in found.suspicions(class_names)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Entry point of the console script."""
    define_flags()
    commands.run(check, for_its_output=True)


if __name__ == "__main__":
    main()
