"""LoAd from Python: any Keras segmentor, any (image, label) data, no gin file."""

import contextlib
import dataclasses
import functools
import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from load_tf.algorithm.lookahead import Lookahead
from load_tf.data.colours import qualitative_palette
from load_tf.data.dataset import UNLABELLED_SPLIT, SegmentationDataset, Split, groups_of
from load_tf.data.groups import in_words
from load_tf.data.pairs import as_splits
from load_tf.devices import keras_settings, surroundings
from load_tf.devices.runtime import Runtime
from load_tf.discriminator.conditioning import Sampling
from load_tf.discriminator.grid import Size
from load_tf.discriminator.settings import Discriminator
from load_tf.errors import UserError
from load_tf.evaluation.multi_scale import Evaluation
from load_tf.experiment import run as experiment
from load_tf.experiment.defaults import defaults
from load_tf.experiment.endless import finite
from load_tf.experiment.plan import Plan, fitted
from load_tf.experiment.result import Result as Result
from load_tf.experiment.settings import Experiment
from load_tf.game.game import Players
from load_tf.segmentors.convention import OFFICIAL, Convention
from load_tf.segmentors.own import OwnModel
from load_tf.segmentors.segmentor import Segmentor
from load_tf.storage.run_directory import arrays_of_run
from load_tf.training.discriminator import DiscriminatorTraining
from load_tf.training.segmentor import AdversarialTraining
from load_tf.training.stage_one import StageOne


@contextlib.contextmanager
def _settings_of_ours() -> Iterator[None]:
    """Keras' own settings, and no notes of TensorFlow to its developers; the user's are put back.

    Raises:
      UserError: Keras runs on something else than TensorFlow.
    """
    surroundings.refuse_other_backend()
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with keras_settings.in_use():
            yield
    finally:
        logger.setLevel(level)


@_settings_of_ours()
def run(
    model: keras.Model,
    training: Any,
    validation: Any,
    *,
    run_dir: str | Path,
    unlabelled: Any = None,
    class_names: Sequence[str] | None = None,
    colours: Sequence[tuple[int, int, int]] | None = None,
    pretrained: bool = True,
    crop: Size | None = None,
    convention: Convention | None = None,
    holdout_images: int | None = None,
    watched_images: int = 100,
    groups: Any = None,
    name: str | None = None,
    seed: int = 0,
    lookahead: Lookahead | Mapping[str, Any] | None = None,
    discriminator: Discriminator | Mapping[str, Any] | None = None,
    discriminator_training: DiscriminatorTraining | Mapping[str, Any] | None = None,
    adversarial: AdversarialTraining | Mapping[str, Any] | None = None,
    sampling: Sampling | Mapping[str, Any] | None = None,
    stage_one: StageOne | None = None,
    evaluation_batch_size: int = 4,
    deterministic: bool = True,
    on_event: Callable[[dict[str, Any]], object] | None = None,
) -> Result:
    """Runs LoAd on a segmentor, which then has the weights of the best model on the hold-out.

    >>> from load_tf.data.folder import folder
    >>> model = keras.saving.load_model("mine.keras")
    >>> photos = folder("photos")
    >>> result = load_tf.run(model, photos.split("train"), photos.split("validation"), run_dir="runs/mine")
    >>> result.summary["untouched"]["gain"]  # on images that neither trained nor chose the model

    Where it is given no setting, it plays `load_tf.defaults()`: ten iterations at the most, minutes on two cores for
    some dozen photos. `load_tf.run(..., **load_tf.paper())` plays the paper's setting, which nothing bounds. The first
    line it prints says how long it will take.

    You can stop it at any time. The same call on the same folder, in a new process, goes on from the last commit. On
    the folder of a finished run it gives the result of that run.

    Args:
      model: RGB [B, H, W, 3] in [0, 255] -> logits [B, h, w, K] (no soft-max).
      training: images LoAd plays on, as `load_tf.data.pairs.as_split` takes them: (image uint8, label) pairs.
      validation: as `training`; the hold-out, which chooses the model, is drawn from them, the rest stays untouched.
      run_dir: the run's folder; a new one, or that of the same call.
      unlabelled: images without labels to train on, too, where no label is needed: the path of a folder of photos, or
        uint8 [H, W, 3] images as `load_tf.data.unlabelled.as_unlabelled` takes them. None: there are none.
      class_names: K names; None: "class 0", "class 1" and so on.
      colours: K RGB triples; None: a palette whose first twenty colours are told apart at a glance.
      pretrained: False to train the model by cross-entropy first (stage 1).
      crop: (height, width) images are padded to; None: the images' own if all have one size, so that nothing is padded,
        else the smallest that holds every image. Where the model needs multiples of some pixels, the next larger ones.
      convention: how the model was trained: the sizes images are padded to, and how its logits are up-sampled. None:
        half-pixel centres, as Keras has them, and the sizes that trying the model finds; load_tf's own networks are
        official ones, with 16 k + 1 pixels and aligned corners.
      holdout_images: how many validation images decide; None: a third of them, 500 (the paper's) at the most.
      watched_images: how many of the rest are scored whenever the hold-out is, to see whether it speaks for them; they
        decide nothing. 0: none.
      groups: which images belong together, such as frames of a sequence: `load_tf.Groups`, a pattern on their ids such
        as "^([^_]+)_", so many consecutive images, or the groups' names of the validation images, by id or in order.
        The hold-out is drawn by whole groups, and intervals are over groups. None: those the data bring, if any.
      name: for the tables; None: the model's.
      seed: of every draw.
      lookahead: parameters of Algorithm 1; here and in the next four None stands for that part of
        `load_tf.defaults()`, and a dictionary for it with other values of some fields. A part that is given as a whole
        has the paper's value of what it was not told.
      discriminator: its size and what it sees.
      discriminator_training: its training.
      adversarial: the segmentor's updates.
      sampling: how logits become maps.
      stage_one: cross-entropy training; of a pre-trained model only `calibrate` acts.
      evaluation_batch_size: images in a step of the evaluator.
      deterministic: only deterministic kernels, so that the same call gives the same bits.
      on_event: a function that is given every event of the journal, a dictionary with its name as `event`, once it
        happens, such as `{"event": "evaluate", "cycle": 0, "iteration": 1, "miou": 0.71}`. A resumed run gives those
        from its last commit on. It can change nothing: what it raises is printed, then it is not called any more, and
        the run goes on. None: nobody listens.

    Raises:
      UserError: if the model, the data, the folder or a parameter is not what it has to be.
    """
    pairs = (finite(training, "training"), finite(validation, "validation"))
    splits = as_splits(*pairs, groups, finite(unlabelled, UNLABELLED_SPLIT))
    segmentor, crop, num_classes = _segmentor(model, pretrained, convention, crop, _sizes(splits.values()))
    a_third = max(1, min(500, len(splits["validation"]) // 3))
    given = {"lookahead": lookahead, "discriminator": discriminator, "discriminator_training": discriminator_training,
             "adversarial": adversarial, "sampling": sampling}  # fmt: skip
    parts: dict[str, Any] = {**defaults(**{name: part for name, part in given.items() if part is not None})}
    settings = Experiment(
        _dataset(splits, num_classes, class_names, colours),
        lambda num_classes: segmentor,
        name=name or model.name,
        crop=crop,
        holdout_images=a_third if holdout_images is None else holdout_images,
        watched_images=watched_images,
        evaluation_batch_size=evaluation_batch_size,
        seed=seed,
    )
    runtime = Runtime(deterministic=deterministic)
    runtime.set_up()
    stage_one = fitted(stage_one or StageOne(), segmentor)
    rest = (segmentor, Evaluation(), tf.distribute.get_strategy())
    plan = Plan(settings, runtime, parts.pop("lookahead"), stage_one, Players(**parts), *rest)
    config = _as_text(plan, splits)
    experiment.run(dataclasses.replace(plan, parameters=config), run_dir, config, on_event)
    _put_result_back(segmentor.model, run_dir)
    return Result(model, experiment.read_summary(run_dir), Path(run_dir))


def _dataset(
    splits: dict[str, Split],
    num_classes: int,
    class_names: Sequence[str] | None,
    colours: Sequence[tuple[int, int, int]] | None,
) -> SegmentationDataset:
    names = tuple(class_names) if class_names is not None else tuple(f"class {k}" for k in range(num_classes))
    if len(names) != num_classes:
        raise UserError(f"the model has {num_classes} outputs a pixel, but {len(names)} class names were given.")
    palette = tuple(colours) if colours is not None else qualitative_palette(num_classes)
    sources = {key: functools.partial(_same, split) for key, split in splits.items()}
    return SegmentationDataset("pairs", names, palette, sources)


def _same(thing: Any) -> Any:
    return thing


def _segmentor(
    model: keras.Model, pretrained: bool, convention: Convention | None, crop: Size | None, sizes: set[Size]
) -> tuple[Segmentor, Size, int]:
    """The model as LoAd needs it, the crop, and K.

    Args:
      model: the user's.
      pretrained: whether it can segment.
      convention: the user's, or None.
      crop: the user's, or None.
      sizes: (height, width) of all images.
    """
    if crop is not None:
        Convention().check_crop(tuple(crop))
        crop = (crop[0], crop[1])
    own = OwnModel(model, crop or (max(height for height, _ in sizes), max(width for _, width in sizes)))
    description = f"Keras model {model.name} ({model.count_params():,} parameters)"
    segmentor = own.segmentor(pretrained, description, convention)
    return segmentor, segmentor.crop(crop) if crop else segmentor.crop_for(sizes), own.num_classes


def _sizes(splits: Iterable[Split]) -> set[Size]:
    """(height, width) of all images."""
    return {
        (int(shape[0]), int(shape[1]))
        for split in splits
        for shape in (split[index].image.shape for index in range(len(split)))
    }


def _as_text(plan: Plan, splits: dict[str, Split]) -> str:
    """All parameters, as gin would write them: what the run directory is recognised by."""
    parts: list[Any] = [
        plan.players.adversarial, plan.players.discriminator, plan.players.discriminator_training, plan.lookahead,
        plan.players.sampling, plan.stage_one,
    ]  # fmt: skip
    lines = [
        f"{type(part).__name__}.{field.name} = {getattr(part, field.name)!r}"
        for part in parts
        for field in dataclasses.fields(part)
    ]
    chosen = ["crop", "evaluation_batch_size", "holdout_images", "name", "seed"]
    if plan.experiment.watched_images != Experiment.watched_images:
        # Left out where it is the default, so that runs from before there was the parameter can be resumed.
        chosen.append("watched_images")
    lines += [f"experiment.{field} = {getattr(plan.experiment, field)!r}" for field in chosen]
    if plan.segmentor.convention != OFFICIAL:
        lines += [f"# convention: {plan.segmentor.convention}"]
    lines += [f"# segmentor: {plan.segmentor.description}, pretrained: {plan.segmentor.pretrained}"]
    lines += [f"# classes: {', '.join(plan.experiment.dataset.class_names)}"]
    for key, split in splits.items():
        digest = hashlib.sha256("\n".join(split.ids).encode()).hexdigest()[:16]
        lines += [f"# {key}: {len(split)} examples, ids {digest}"]
        if (groups := groups_of(split)) is not None:
            digest = hashlib.sha256("\n".join(map(str, groups)).encode()).hexdigest()[:16]
            lines += [f"# {key}: {in_words(groups)}, {digest}"]
    return "# A call of load_tf.run\n" + "\n".join(lines) + "\n"


def _put_result_back(model: keras.Model, run_dir: str | Path) -> None:
    """The weights LoAd chose; the call may have found the run finished."""
    numbered = {int(name.partition(":")[0]): value for name, value in arrays_of_run(run_dir, "start").items()}
    # By place: Keras numbers the layers of a model that is built a second time in one process anew.
    for (_, value), variable in zip(sorted(numbered.items()), model.variables, strict=True):
        variable.assign(value)
