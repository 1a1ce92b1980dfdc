"""What a run reads: too large images before anything is trained, and the same data at every resume."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from load_tf.data.dataset import SegmentationDataset
from load_tf.data.folder import folder
from load_tf.data.groups import Groups
from load_tf.errors import UserError
from load_tf.experiment.images import hold_to, read_data
from load_tf.experiment.run import PINNED
from load_tf.experiment.settings import Experiment
from load_tf.segmentors.convention import OFFICIAL, Convention
from load_tf.segmentors.segmentor import Segmentor
from load_tf.storage.run_directory import RunDirectory
from tests import bad_inputs, forked
from tests.tiny import KILLED, environment

Resume = Callable[..., None]


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> Path:
    (tmp_path / "scenes").mkdir()
    bad_inputs.make_sound(tmp_path / "scenes")
    return tmp_path / "scenes"


def plan(
    dataset: SegmentationDataset,
    crop: tuple[int, int] = (33, 33),
    convention: Convention = OFFICIAL,
    largest: tuple[int, int] | None = None,
    parameters: str | None = None,
    **settings: Any,
) -> Any:
    """As much of a plan as reading takes."""
    experiment = Experiment(dataset, lambda: None, crop=crop, **{"holdout_images": 1, **settings})  # type: ignore[arg-type,return-value]
    segmentor = Segmentor(None, True, "none", 16, convention, largest)  # type: ignore[arg-type]
    return SimpleNamespace(experiment=experiment, segmentor=segmentor, parameters=parameters, crop=crop)


def test_images_larger_than_the_crop_are_refused_when_they_are_read(root: Path) -> None:
    dataset = folder(str(root))
    larger = r"^3 training and 1 hold-out images are larger than the crop 17x33, up to 20x30 \(height x width\): 'a', "
    with pytest.raises(UserError, match=larger + r".*; use experiment\.crop = \(33, 33\)\.$"):
        read_data(plan(dataset, (17, 33)))
    # In Python the parameter has another name, and another convention other sizes.
    with pytest.raises(UserError, match=r"; use crop = \(20, 30\)\.$"):
        read_data(plan(dataset, (16, 32), Convention("half_pixel", 4, 0), parameters="a call"))
    data = read_data(plan(dataset))
    assert len(data.training) == 3 and len(data.holdout) == 1
    # Untouched images may be larger than the crop, but not than what the network takes.
    name = next(identity for identity in data.validation.ids if identity not in data.holdout.ids)
    (root / f"images/{name}.png").write_bytes(bad_inputs.encoded(np.zeros((40, 30, 3), np.uint8)))
    (root / f"masks/{name}.png").write_bytes(bad_inputs.encoded(np.zeros((40, 30), np.uint8)))
    read_data(plan(folder(str(root))))
    with pytest.raises(UserError, match=r"^1 validation image is larger than the crop 33x33, up to 40x30 .* smaller"):
        read_data(plan(folder(str(root)), largest=(33, 33)))


@pytest.fixture(name="resume")
def _resume(tmp_path: Path) -> Resume:
    """Reads the data and commits once, in one run directory."""

    def resume(dataset: SegmentationDataset, **settings: Any) -> None:
        here = plan(dataset, **settings)
        directory = RunDirectory(tmp_path / "run", "config", PINNED)
        try:
            hold_to(directory, read_data(here), here)
            directory.commit({"phase": "baseline"}, {}, set())
        finally:
            directory.close()

    return resume


def test_a_run_goes_on_with_the_data_it_began_with(resume: Resume, root: Path) -> None:
    for _ in range(3):
        resume(folder(str(root)))


def test_images_without_labels_are_read_and_kept_as_they_were(resume: Resume, root: Path) -> None:
    (root / "photos").mkdir()
    for name in ("a", "b"):
        (root / f"photos/{name}.png").write_bytes(bad_inputs.encoded(bad_inputs.image(7)))
    with_photos = folder(str(root), unlabelled="photos")
    data = read_data(plan(with_photos))
    assert data.unlabelled is not None and data.unlabelled.ids == ("photos/a", "photos/b")
    assert len(data.training) == 3 and read_data(plan(folder(str(root)))).unlabelled is None
    with pytest.raises(UserError, match=r"^3 training and 1 hold-out and 2 unlabelled images are larger than the crop"):
        read_data(plan(with_photos, (17, 33)))
    for _ in range(2):
        resume(with_photos)
    (root / "photos/b.png").write_bytes(bad_inputs.encoded(bad_inputs.image(9)))
    with pytest.raises(UserError, match=r"now there are 1 unlabelled images that are not the same \('photos/b'\)\."):
        resume(with_photos)
    with pytest.raises(UserError, match=r"now there are 2 unlabelled images fewer \('photos/a', 'photos/b'\)\."):
        resume(folder(str(root)))
    with pytest.raises(UserError, match=r"are 'unlabelled' and 'validation'; expected splits with labels"):
        read_data(plan(with_photos, training_split="unlabelled"))


def _more(root: Path) -> None:
    for kind, array in (("images", bad_inputs.image(9)), ("masks", bad_inputs.mask(9))):
        (root / kind / "x.png").write_bytes(bad_inputs.encoded(array))
    (root / "train.txt").write_text("a\nb\nc\nx\n")


def _another_image(root: Path) -> None:
    (root / "images/b.png").write_bytes(bad_inputs.encoded(bad_inputs.image(9)))


def _another_mask(root: Path) -> None:
    (root / "masks/e.png").write_bytes(bad_inputs.encoded(bad_inputs.mask(9)))


def _moved(root: Path) -> None:
    (root / "train.txt").write_text("a\nb\nc\nd\n")
    (root / "val.txt").write_text("e\nf\n")


@pytest.mark.parametrize(
    "change, message",
    [
        (_more, r"now there are 1 training images more \('x'\)\. What was trained on must not be judged on"),
        (_another_image, r"now there are 1 training images that are not the same \('b'\)\."),
        (_another_mask, r"now there are 1 masks of validation images that are not the same \('e'\)\."),
        (_moved, r"now there are 1 training images more \('d'\), 1 validation images fewer \('d'\)\."),
        (
            lambda root: (root / "train.txt").write_text("c\na\nb\n"),
            "now there are the training images in another order",
        ),
        (
            lambda root: (root / "classes.txt").write_text("sky\nhouse\nground"),
            r"other class names \('house' for 'ground'\)",
        ),
    ],
)
def test_other_data_are_refused_by_name(
    change: Callable[[Path], object], message: str, resume: Resume, root: Path, tmp_path: Path
) -> None:
    resume(folder(str(root)))
    change(root)
    with pytest.raises(UserError, match=message) as caught:
        resume(folder(str(root)))
    assert str(caught.value).startswith(f"{tmp_path}/run was begun with other data: ")
    assert all(
        fault.startswith(f"{tmp_path}/run was begun with other data: now there are ") for fault in caught.value.faults
    )


def test_another_hold_out_is_refused(resume: Resume, root: Path) -> None:
    """A table of groups that was changed draws another one."""
    table = root / "groups.csv"
    table.write_text("a,1\nb,1\nc,1\nd,2\ne,3\nf,3\n")
    resume(folder(str(root), groups=Groups(table=str(table))), holdout_images=2)
    table.write_text("a,1\nb,1\nc,1\nd,2\ne,2\nf,3\n")
    with pytest.raises(UserError, match=r"now there are another hold-out \('"):
        resume(folder(str(root), groups=Groups(table=str(table))), holdout_images=2)


def test_a_run_from_before_there_were_fingerprints_gets_its_own(resume: Resume, root: Path, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run", "config", PINNED)
    directory.commit({"phase": "baseline"}, {}, set())
    directory.close()
    resume(folder(str(root)))
    _another_mask(root)
    with pytest.raises(UserError, match="1 masks of validation images that are not the same"):
        resume(folder(str(root)))


def test_a_start_that_was_trained_on_validation_images_is_refused(root: Path, resume: Resume, tmp_path: Path) -> None:
    resume(folder(str(root)))
    (root / "images/d.png").write_bytes((root / "images/a.png").read_bytes())
    other = plan(folder(str(root), name="other"), start_from=str(tmp_path / "run"))
    directory = RunDirectory(tmp_path / "other", "config", PINNED)
    hold_to(directory, read_data(other), other)  # the copy lies in its own training images, too: that was said
    (root / "train.txt").write_text("b\nc\n")
    other = plan(folder(str(root), name="other"), start_from=str(tmp_path / "run"))
    with pytest.raises(
        UserError, match=r"run, which was trained on 1 of the validation images of this run: 'd'; expected"
    ):
        hold_to(directory, read_data(other), other)
    directory.close()


def test_the_command_refuses_data_that_were_changed_after_its_first_commit(tmp_path: Path, root: Path) -> None:
    gin_file = tmp_path / "x.gin"
    gin_file.write_text(f"""
experiment.dataset = @folder()
folder.data_dir = '{root}'
experiment.segmentor = @small_deeplab
small_deeplab.width = 4
experiment.crop = (33, 33)
experiment.holdout_images = 1
StageOne.epochs = 2
StageOne.batch_size = 2
Discriminator.architecture = 'convolutional'
Discriminator.sees = 'masks'
Discriminator.input_size = 32
""")
    arguments = [f"--gin_file={gin_file}", f"--run_dir={tmp_path / 'run'}"]

    def command(*start: str) -> subprocess.CompletedProcess[str]:
        return forked.run([*start, *arguments], tmp_path, environment())

    assert command("-c", KILLED, "state.json@1:after").returncode == -signal.SIGKILL
    _more(root)
    again = command("-m", "load_tf.main")
    assert again.returncode == 2
    assert "was begun with other data: now there are 1 training images more ('x')." in again.stderr
