"""The check of data sets: every fault of every split, by file; what is accepted is read as it is."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import gin
import numpy as np
import pytest
from absl import flags
from PIL import Image

from load_tf import check_dataset, commands
from load_tf.data.dataset import Example, ExampleList, SegmentationDataset
from load_tf.data.folder import folder
from load_tf.data.inspection import Inspection, read_examples
from load_tf.data.preparation import read_all
from load_tf.errors import UserError
from tests import bad_inputs

GIN = """
data_dir = None
experiment.dataset = @folder()
folder.data_dir = %data_dir
experiment.segmentor = @small_deeplab
"""


@pytest.fixture(name="check")
def _check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process: status, what it printed, what it complained about."""
    monkeypatch.setattr(commands, "FLAGS", flags.FlagValues())
    monkeypatch.setattr(check_dataset, "FLAGS", commands.FLAGS)
    monkeypatch.setattr(flags, "FLAGS", commands.FLAGS)
    for define in ("DEFINE_string", "DEFINE_multi_string", "DEFINE_integer", "DEFINE_bool"):
        original = getattr(flags, define)
        monkeypatch.setattr(
            flags, define, lambda *a, original=original, **k: original(*a, flag_values=commands.FLAGS, **k)
        )
    check_dataset.define_flags()
    (tmp_path / "set.gin").write_text(GIN)

    def check(*arguments: str) -> tuple[int, str, str]:
        gin.clear_config()
        commands.FLAGS.unparse_flags()
        rest = commands.FLAGS(["check", f"--gin_file={tmp_path / 'set.gin'}", *arguments])
        status = commands.execute(check_dataset.check, rest)
        gin.clear_config()
        return status, *capsys.readouterr()

    return check


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> Path:
    (tmp_path / "scenes").mkdir()
    bad_inputs.make_sound(tmp_path / "scenes")
    return tmp_path / "scenes"


@pytest.mark.parametrize("case", bad_inputs.CASES, ids=lambda case: case.name)
def test_bad_inputs(case: bad_inputs.Case, tmp_path: Path) -> None:
    faults = bad_inputs.outcome(case, tmp_path)
    if case.expected is None:
        assert faults == ()
    else:
        assert any(re.search(case.expected, fault) for fault in faults), faults
        assert all(fault.endswith(".") and "\n" not in fault for fault in faults)


def test_what_is_accepted_is_read_as_it_is(tmp_path: Path) -> None:
    expected = {
        "image: grey": np.repeat(bad_inputs.image()[..., :1], 3, axis=2),
        "image: RGBA": bad_inputs.image(),
        "image: 16 bits grey": np.repeat(bad_inputs.image()[..., :1], 3, axis=2),
        "image and mask: 1 x 1": bad_inputs.image()[:1, :1],
    }
    for case in bad_inputs.CASES:
        if case.name in expected:
            root = tmp_path / case.name.replace(" ", "_").replace(":", "")
            root.mkdir()
            assert bad_inputs.outcome(case, root) == ()
            example = folder(str(root)).split("train")[0]
            np.testing.assert_array_equal(example.image, expected.pop(case.name))
    assert not expected


def test_every_fault_of_every_split_is_listed(check: Callable[..., tuple[int, str, str]], root: Path) -> None:
    """Of an image and its own mask, too."""
    (root / "images/a.png").write_bytes(b"")
    (root / "masks/a.png").write_bytes(b"text")
    (root / "masks/b.png").write_bytes(bad_inputs.encoded(bad_inputs.mask() + 7))
    (root / "images/e.png").write_bytes(b"text")
    status, printed, complaints = check(f"--data_dir={root}")
    said = f"{status}\n{printed}\n{complaints}"
    assert status == 1, said
    # Whatever else writes to this process's standard error, every fault names its file; all of them are counted below.
    lines = [line for line in complaints.splitlines() if str(root) in line]
    assert len(lines) == 4, said
    for name, line in zip(("images/a.png", "masks/a.png", "masks/b.png", "images/e.png"), lines, strict=True):
        assert str(root / name) in line and "expected" in line, said
    assert "scenes train: 3 examples, 3 faults" in printed and "scenes validation: 3 examples, 1 faults" in printed
    assert printed.strip().endswith("4 faults")


def test_the_run_refuses_what_the_check_lists(root: Path) -> None:
    (root / "images/a.png").write_bytes(b"")
    (root / "images/e.png").write_bytes(b"text")
    with pytest.raises(UserError) as caught:
        read_all(folder(str(root)), ("train", "validation"))
    assert [("a.png" in fault, "e.png" in fault) for fault in caught.value.faults] == [(True, False), (False, True)]
    assert all(name in str(caught.value) for name in ("a.png", "e.png"))


def test_a_sound_data_set_is_counted(check: Callable[..., tuple[int, str, str]], root: Path) -> None:
    shutil.copy(root / "images/a.png", root / "images/b.png")
    (root / "masks/c.png").write_bytes(bad_inputs.encoded(np.full(bad_inputs.SIZE, 1, np.uint8)))
    mostly_void = np.full(bad_inputs.SIZE, 255, np.uint8)
    mostly_void[0, :10] = 2
    (root / "masks/f.png").write_bytes(bad_inputs.encoded(mostly_void))
    sheet = root.parent / "sheet.png"
    status, printed, complaints = check(f"--data_dir={root}", f"--output={sheet}")
    assert (status, complaints) == (0, "")
    masks = [bad_inputs.mask(0), bad_inputs.mask(1), np.full(bad_inputs.SIZE, 1, np.uint8)]
    for label, name in enumerate(bad_inputs.NAMES):
        counts = [int((mask == label).sum()) for mask in masks]
        row = rf"{name} +{sum(count > 0 for count in counts)} +{sum(counts)} +{100 * sum(counts) / 1800:.2f} %"
        assert re.search(row, printed.partition("scenes validation")[0])
    assert "images of scenes train are equal in every pixel: 'a', 'b'" in printed
    assert "1 masks of scenes train hold a single class and nothing else: 'c'" in printed
    assert "1 masks of scenes validation hold void in more than 95% of its pixels: 'f'" in printed
    assert "no faults: scenes can be used" in printed
    with Image.open(sheet) as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24)}
    assert (255, 255, 255) in colours and len(colours) > 1000


def test_images_without_labels_are_counted_and_shown(
    check: Callable[..., tuple[int, str, str]], root: Path, tmp_path: Path
) -> None:
    (root / "photos").mkdir()
    Image.fromarray(np.full((20, 30, 3), 77, np.uint8)).save(root / "photos/sea.png")
    (root / "photos/hill.jpg").write_bytes(b"no image")
    arguments = (f"--data_dir={root}", "--gin_param=folder.unlabelled = 'photos'", f"--output={tmp_path / 'sheet.png'}")
    status, out, err = check(*arguments)
    assert status == 1 and "hill.jpg is no image" in err
    assert "scenes unlabelled: 2 examples, 1 faults\n  sizes 20 x 30 to 20 x 30 (height x width), no labels" in out
    (root / "photos/hill.jpg").unlink()
    status, out, err = check(*arguments)
    assert (status, err) == (0, "") and "scenes unlabelled: 1 examples, 0 faults" in out
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    # On both sides the photo as it is: two pictures of 176 x 117 in its one colour.
    assert (sheet == 77).all(-1).sum() >= 2 * 176 * 117
    assert check(*arguments, "--gin_param=experiment.crop = (17, 33)")[0] == 1


def test_training_images_have_to_fit_into_the_crop(check: Callable[..., tuple[int, str, str]], root: Path) -> None:
    """So does the hold-out; one line says how."""
    status, printed, complaints = check(f"--data_dir={root}", "--gin_param=experiment.crop = (17, 33)")
    assert status == 1 and printed.endswith("\n1 faults\n")
    larger = "larger than the crop 17x33, up to 20x30 (height x width)"
    assert complaints == f"3 training images are {larger}: 'a', 'b', 'c'; use experiment.crop = (33, 33).\n"
    held = ("--gin_param=experiment.crop = (17, 33)", "--gin_param=experiment.holdout_images = 1")
    assert f"3 training and 1 hold-out images are {larger}" in check(f"--data_dir={root}", *held)[2]
    assert check(f"--data_dir={root}", "--gin_param=experiment.crop = (33, 33)")[0] == 0


def test_palettes_that_number_the_colours_differently(check: Callable[..., tuple[int, str, str]], root: Path) -> None:
    """What a paint program leaves that reduces painted masks to palettes one by one."""
    colours = np.array([(0, 0, 0), (0, 255, 0), (255, 0, 0)], np.uint8)
    for number, name in enumerate("abcdef"):
        meant = bad_inputs.mask(number)
        if number % 2:
            meant[meant == 1] = 0
        Image.fromarray(colours[meant]).quantize(len(np.unique(meant))).save(root / f"masks/{name}.png")
    status, printed, _ = check(f"--data_dir={root}")
    assert status == 0
    assert "worth a look: the palettes of the masks number the colours differently: (" in printed
    assert re.search(r"\(255, 0, 0\) is \d in '.*masks/\w.png' and \d in '.*masks/\w.png'", printed)
    # Negative control: one palette for all.
    for number, name in enumerate("abcdef"):
        picture = Image.fromarray(bad_inputs.mask(number))
        picture.putpalette(colours.tobytes())
        picture.save(root / f"masks/{name}.png")
    assert "palettes" not in check(f"--data_dir={root}")[1]


def test_binary_masks_of_0_and_255(
    check: Callable[..., tuple[int, str, str]], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "classes.txt").write_text("background\nobject\n")
    for number, name in enumerate("abcdef"):
        binary = (bad_inputs.mask(number) > 0) * np.uint8(255)
        (root / f"masks/{name}.png").write_bytes(bad_inputs.encoded(binary))
    status, printed, complaints = check(f"--data_dir={root}")
    assert status == 1 and "scenes train: 3 examples, 1 faults" in printed
    assert complaints == (
        "the masks of scenes train hold 0 ('background') and 255 only, and 255 is void; expected labels of two classes "
        "or more: if 255 is a class, say so with folder.label_map = {0: 0, 255: 1}, or write its number.\n"
    )
    with pytest.raises(UserError, match=r"the masks of scenes train hold 0 \('background'\) and 255 only"):
        read_all(folder(str(root)), ("train", "validation"))
    capsys.readouterr()
    status, printed, complaints = check(f"--data_dir={root}", "--gin_param=folder.label_map = {0: 0, 255: 1}")
    assert (status, complaints) == (0, "")
    count = sum(int((bad_inputs.mask(number) > 0).sum()) for number in range(3))
    assert re.search(rf"object +3 +{count} ", printed)


def test_files_of_another_kind_are_named(check: Callable[..., tuple[int, str, str]], root: Path) -> None:
    for name in "abc":
        (root / f"masks/{name}.png").unlink()
        (root / f"masks/{name}.jpg").write_bytes(bad_inputs.encoded(bad_inputs.mask(), "JPEG"))
    status, _, complaints = check(f"--data_dir={root}")
    expected = f"{root}/masks holds 3 .jpg files, which are not read ('a.jpg', 'b.jpg', 'c.jpg'); expected .png, .bmp"
    assert status == 1 and complaints.startswith(expected) and len(complaints.splitlines()) == 1
    for name in ("train.txt", "val.txt"):
        (root / name).unlink()
    assert expected in check(f"--data_dir={root}")[2]


def test_files_of_another_kind_beside_nothing_are_worth_a_look(
    check: Callable[..., tuple[int, str, str]], root: Path
) -> None:
    for kind, extension in (("images", ".heic"), ("masks", ".npy")):
        (root / kind / f"g{extension}").write_bytes(b"")
        (root / kind / f"a{extension}").write_bytes(b"")
        (root / kind / "notes.txt").write_text("")
    status, printed, _ = check(f"--data_dir={root}")
    assert status == 0
    for kind, extension in (("images", ".heic"), ("masks", ".npy")):
        sentence = f"worth a look: {root}/{kind} holds 1 {extension} file, which is not read ('g{extension}')"
        assert printed.count(sentence) == 1


def test_images_that_are_in_two_splits_under_other_names(
    check: Callable[..., tuple[int, str, str]], root: Path
) -> None:
    shutil.copy(root / "images/a.png", root / "images/e.png")
    status, printed, _ = check(f"--data_dir={root}")
    sentence = "1 images of validation are equal in every pixel to images of train ('e' and 'a')"
    assert status == 0 and f"worth a look: {sentence}: scores there say nothing of new images" in printed
    # Whatever groups they are said to be of; so is one that is equal but for the size.
    groups = [f"--gin_param={binding}" for binding in ("folder.groups = @groups()", "groups.pattern = '^.'")]
    assert sentence in check(f"--data_dir={root}", *groups)[1]
    large = np.kron(bad_inputs.image(), np.ones((16, 16, 1), np.uint8))
    for name, picture in (("a", large), ("e", large[::2, ::2])):
        (root / f"images/{name}.png").write_bytes(bad_inputs.encoded(picture))
        (root / f"masks/{name}.png").write_bytes(bad_inputs.encoded(picture[..., 0] % 3))
    printed = check(f"--data_dir={root}", *groups)[1]
    assert "1 images of validation are nearly equal to images of train ('e' and 'a')" in printed
    (root / "images/e.png").write_bytes(bad_inputs.encoded(bad_inputs.image(9)))
    (root / "masks/e.png").write_bytes(bad_inputs.encoded(bad_inputs.mask(9)))
    assert "equal" not in check(f"--data_dir={root}", *groups)[1]


def test_photos_with_an_exif_orientation_are_worth_a_look(
    check: Callable[..., tuple[int, str, str]], root: Path
) -> None:
    """Upside down, its size tells nothing; on its side, the mask of b has the size of the pixels as stored."""
    for name, orientation in (("a", 3), ("b", 6)):
        exif = Image.Exif()
        exif[274] = orientation
        (root / f"images/{name}.png").unlink()
        (root / f"images/{name}.jpg").write_bytes(bad_inputs.encoded(bad_inputs.image(), "JPEG", exif=exif))
    printed = check(f"--data_dir={root}")[1]
    upright = "worth a look: 1 photos are turned upright by their EXIF orientation, and their masks "
    assert (
        f"{upright}are taken to be drawn on the upright photo, as labelling tools do: '{root}/images/a.jpg'" in printed
    )
    assert f"{upright}with them, whose size is that of the pixels as stored: '{root}/images/b.jpg'" in printed


def test_many_faults_of_one_cause_are_one_line(check: Callable[..., tuple[int, str, str]], root: Path) -> None:
    for number in range(9):
        (root / f"images/x{number}.png").write_bytes(bad_inputs.encoded(bad_inputs.image(number)))
        label = bad_inputs.mask(number)
        label[0, : number + 1] = 11
        (root / f"masks/x{number}.png").write_bytes(bad_inputs.encoded(label))
    (root / "train.txt").write_text("a\n" + "".join(f"x{number}\n" for number in range(9)))
    status, printed, complaints = check(f"--data_dir={root}")
    assert status == 1 and printed.endswith("\n9 faults\n") and len(complaints.splitlines()) == 1
    assert "masks/x0.png holds the label 11 (1 pixels); expected 0 to 2" in complaints
    assert "So it is with 8 others: " in complaints and "masks/x1.png'" in complaints
    assert check(f"--data_dir={root}", "--gin_param=folder.void = 11")[0] == 0


def test_neighbours_in_two_splits_are_worth_a_look(check: Callable[..., tuple[int, str, str]], root: Path) -> None:
    """A photograph of the training list is in the validation list under another name."""
    assert "neighbours" not in check(f"--data_dir={root}")[1]
    with Image.open(root / "images/a.png") as picture:
        small = picture.resize((60, 40), Image.Resampling.NEAREST)
    small.save(root / "images/e.png")
    (root / "masks/e.png").write_bytes(bad_inputs.encoded(np.kron(bad_inputs.mask(0), np.ones((2, 2), np.uint8))))
    status, printed, complaints = check(f"--data_dir={root}")
    assert (status, complaints) == (0, "")
    count = len((root / "val.txt").read_text().split())
    sentence = f"worth a look: 1 of {count} images of 'validation' look like neighbours of 'train' ('e' and 'a' most)"
    assert sentence in printed and "groups.block = 10" in printed
    groups = [f"--gin_param={binding}" for binding in ("folder.groups = @groups()", "groups.pattern = '^.'")]
    assert "neighbours" not in check(f"--data_dir={root}", *groups)[1], "said to be of two sequences"
    one = [groups[0], "--gin_param=groups.pattern = '^()'"]
    assert "splits 'train' and 'validation' share 1 group" in check(f"--data_dir={root}", *one)[1]


def test_what_is_wrong_with_the_command_itself(check: Callable[..., tuple[int, str, str]], root: Path) -> None:
    for arguments, message in (
        (["--data_dir=nowhere/at/all"], "is not a folder"),
        ([f"--data_dir={root}", f"--output={root}"], "expected the path of a file"),
        ([f"--data_dir={root}", "--output=no/such/folder/sheet.png"], "in a folder that is there"),
        (["--gin_file=none.gin"], "none.gin"),
    ):
        status, _, complaints = check(*arguments)
        assert status == 2 and message in complaints and len(complaints.strip().splitlines()) == 1


def test_images_that_are_in_two_splits_are_refused() -> None:
    example = Example(bad_inputs.image(), bad_inputs.mask(), "x")
    splits = {"train": lambda: ExampleList([example]), "validation": lambda: ExampleList([example])}
    dataset = SegmentationDataset("leaky", bad_inputs.NAMES, ((0, 0, 0), (1, 1, 1), (2, 2, 2)), splits)
    with pytest.raises(UserError, match="splits 'train' and 'validation' share 1 examples: 'x'; expected none"):
        read_all(dataset, ("train", "validation"))
    assert set(read_all(dataset, ("train", "train"))) == {"train"}


def test_what_a_run_would_be_refused_for_is_a_fault(check: Callable[..., tuple[int, str, str]], root: Path) -> None:
    """A split that the run reads and that is not there, whatever its name."""
    for name in ("training", "validation", "holdout"):
        status, _, complaints = check(f"--data_dir={root}", f"--gin_param=experiment.{name}_split='trian'")
        assert status == 1
        assert complaints == "data set 'scenes' has no split 'trian'; it has 'train', 'validation'.\n"


def test_splits_of_any_name_that_a_run_reads_share_nothing() -> None:
    example = Example(bad_inputs.image(), bad_inputs.mask(), "x")
    splits = {name: lambda: ExampleList([example]) for name in ("a", "b", "c")}
    dataset = SegmentationDataset("leaky", bad_inputs.NAMES, ((0, 0, 0), (1, 1, 1), (2, 2, 2)), splits)
    faults, _ = check_dataset.check_splits(dataset, "b", (513, 513), ["b", "a"])
    assert faults == ["splits 'a' and 'b' share 1 examples: 'x'; expected none."]
    assert check_dataset.check_splits(dataset, "b", (513, 513))[0] == []


def test_classes_that_occur_nowhere_are_worth_a_look() -> None:
    split = ExampleList([Example(bad_inputs.image(), np.full(bad_inputs.SIZE, 2, np.uint8), "x")])
    found = Inspection.empty("made up", split.ids)
    assert [example is not None for example in read_examples(split, 3, "made up", found)] == [True]
    suspicions = found.suspicions(bad_inputs.NAMES)
    assert suspicions[:2] == [f"class {name!r} occurs in no mask of made up" for name in ("sky", "ground")]
    assert len(suspicions) == 3
