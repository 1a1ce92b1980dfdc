"""The command line: every mistake ends with one sentence that says what to do, and --help waits for nothing.

Most run in this process, through the same two functions that the commands go through.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import gin
import numpy as np
import pytest
from absl import flags
from PIL import Image

from load_tf import commands, evaluate, main
from load_tf.experiment import config
from load_tf.randomness import generator

ROOT = Path(__file__).resolve().parents[1]

SYNTHETIC = """
experiment.dataset = @synthetic()
synthetic.train = 4
synthetic.validation = 4
synthetic.size = (48, 64)
experiment.segmentor = @small_deeplab
small_deeplab.width = 8
experiment.crop = (49, 65)
experiment.holdout_images = 2
Discriminator.input_size = 32
"""

VOC = """
data_dir = None
experiment.dataset = @voc()
voc.data_dir = %data_dir
experiment.segmentor = @small_deeplab
small_deeplab.width = 8
experiment.crop = (49, 65)
experiment.holdout_images = 1
"""

OFFICIAL = """
checkpoint = 'none'
experiment.dataset = @synthetic()
experiment.segmentor = @official_deeplab
official_deeplab.checkpoint = %checkpoint
"""

FOLDER = """
data_dir = None
experiment.dataset = @folder()
folder.data_dir = %data_dir
experiment.segmentor = @small_deeplab
"""

Command = Callable[..., str]


@pytest.fixture(name="call")
def _call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Calls a command in an empty folder; it has to end with status 2 and one line, which is returned."""
    if "gin_file" not in flags.FLAGS:
        commands.define_experiment_flags()
    if alone := "engine" not in flags.FLAGS:
        commands.define_engine_flag()
    for name, text in (("tiny", SYNTHETIC), ("voc_tiny", VOC), ("official", OFFICIAL), ("folder", FOLDER)):
        (tmp_path / f"{name}.gin").write_text(text)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, command: Callable[[], None] = main._main) -> str:
        gin.clear_config()
        for name in ("gin_file", "gin_param", "run_dir", "data_dir", "checkpoint", "seed", "math", "engine"):
            flags.FLAGS[name].unparse()
        capsys.readouterr()
        status = commands.execute(command, commands.parse_flags(["load_tf", *arguments]))
        output = capsys.readouterr()
        assert status == commands.USAGE_STATUS == 2, output
        assert output.err.startswith("load_tf: ") and output.err.endswith("\n")
        assert len(output.err.splitlines()) == 1, output.err
        assert "Traceback" not in output.err and "In call to" not in output.err
        return output.err

    yield call
    if alone:
        delattr(flags.FLAGS, "engine")  # absl lets nobody else define it


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--gin_param=Lookahead.patiense=3"], ["patiense", "Lookahead"]),
        (["--gin_param=Lokahead.patience=3"], ["Lokahead"]),
        (["--gin_param=folder.data_dir='x'"], ["folder.data_dir", "remove the binding"]),
        (["--gin_param=folder.data_dir='x'", "--gin_param=folder.images='y'"], ["folder.data_dir, images"]),
        (["--gin_param=speed=3"], ["macro speed"]),
        (["--gin_param=synthetic.train=%count"], ["count"]),
        (["--gin_param=Lookahead.patience="], ["not accepted", "in Lookahead.patience="]),
        (["--gin_param=Lookahead.patience='abc'"], ["Lookahead.patience is 'abc'", "a whole number"]),
        (["--gin_param=Lookahead.patience=2.5"], ["Lookahead.patience is 2.5", "a whole number"]),
        (["--gin_param=Lookahead.patience=0"], ["Lookahead.patience is 0", "at least 1"]),
        (["--gin_param=Lookahead.max_cycles='x'"], ["Lookahead.max_cycles is 'x'", "a whole number or None"]),
        (["--gin_param=AdversarialTraining.learning_rate='abc'"], ["learning_rate is 'abc'", "a number"]),
        (["--gin_param=AdversarialTraining.learning_rate=-1"], ["learning_rate is -1", "above 0"]),
        (["--gin_param=Sampling.temperature='hot'"], ["Sampling.temperature is 'hot'", "a number"]),
        (["--gin_param=Sampling.gumbel_noise='no'"], ["gumbel_noise is 'no'", "True or False"]),
        (["--gin_param=Discriminator.image_range=(0,)"], ["image_range is (0,)", "(a number, a number)"]),
        (["--gin_param=DiscriminatorTraining.optimizer='sgd'"], ["'sgd'", "'adagrad' or 'adam'"]),
        (["--gin_param=synthetic.train='many'"], ["synthetic.train is 'many'", "a whole number"]),
        (["--gin_param=synthetic.train=0"], ["synthetic.train is 0"]),
        (["--gin_param=many='x'", "--gin_param=synthetic.train=%many"], ["synthetic.train is 'x'"]),
        (["--gin_param=Runtime.intra_op_threads='all'"], ["Runtime.intra_op_threads is 'all'"]),
        (["--gin_param=experiment.crop=49"], ["experiment.crop is 49", "(a whole number, a whole number)"]),
        (["--gin_param=experiment.crop=(50, 65)"], ["experiment.crop is (50, 65)", "16 k + 1"]),
        (
            ["--gin_param=study.variants={'LoAd': 'experiment.method = @LoAd()'}"],
            ["study.variants is {'LoAd': ", "a dictionary from text in quotes to a list, each text in quotes."],
        ),
        (["--gin_param=experiment.dataset='voc'"], ["experiment.dataset is 'voc'", "SegmentationDataset"]),
        (
            ["--gin_param=experiment.dataset=@synthetic"],
            ["experiment.dataset is @synthetic; expected @synthetic(), with brackets."],
        ),
        (
            ["--gin_param=experiment.dataset=@LoAd()"],
            ["experiment.dataset is @LoAd(); expected a reference that gives a SegmentationDataset."],
        ),
        (
            ["--gin_param=experiment.segmentor=@small_deeplab()"],
            ["experiment.segmentor is @small_deeplab(); expected @small_deeplab, without brackets."],
        ),
        (
            ["--gin_param=experiment.dataset=@scenes/singleton()", "--gin_param=scenes/singleton.constructor=3"],
            ["scenes/singleton.constructor is 3; expected a reference such as @small_deeplab."],
        ),
        (
            ["--gin_param=experiment.dataset=@s/singleton()", "--gin_param=s/singleton.constructor=@synthetic()"],
            ["s/singleton.constructor is @synthetic(); expected @synthetic, without brackets."],
        ),
        (
            ["--gin_param=experiment.dataset=@s/singleton()", "--gin_param=s/singleton.constructor=@LoAd"],
            ["experiment.dataset is LoAd", "expected one of @voc(), @folder(), @synthetic(), "],
        ),
        (["--gin_param=side=50", "--gin_param=experiment.crop=(%side, 65)"], ["experiment.crop is (50, 65)"]),
        (
            ["--gin_param=side='x'", "--gin_param=experiment.crop=(%side, 65)"],
            ["crop is (%side, 65)", "a whole number"],
        ),
        (["--gin_param=experiment.segmentor='deeplab'"], ["experiment.segmentor is 'deeplab'", "@small_deeplab"]),
        (["--gin_param=import os"], ["neither import nor include", "import os"]),
        (["--gin_param=include 'demo.gin'"], ["neither import nor include"]),
        (["--gin_param=experiment.validation_split='val'"], ["no split 'val'", "'validation'"]),
        (["--gin_param=experiment.holdout_split='train'"], ["'train', 'validation', 'train'", "splits that differ"]),
        (["--gin_param=experiment.holdout_images=4"], ["4 images", "expected 1 to 3"]),
        (["--gin_param=small_deeplab.output_stride=7"], ["output_stride is 7"]),
        (["--data_dir=x"], ["--data_dir", "no use for it"]),
        (["--checkpoint=x"], ["--checkpoint", "no use for it"]),
        (["--gin_file=nothing.gin"], ["'nothing.gin'", "demo.gin", "voc.gin"]),
        (["junk"], ["'junk'", "--help"]),
    ],
)
def test_a_wrong_config_is_named(call: Command, arguments: list[str], expected: list[str]) -> None:
    message = call("--gin_file=tiny.gin", "--run_dir=run", *arguments)
    for text in expected:
        assert text in message


def test_nothing_is_left_of_a_config_that_was_refused(call: Command, tmp_path: Path) -> None:
    call("--gin_file=tiny.gin", "--run_dir=run", "--gin_param=Lookahead.patiense=3")
    call("--gin_file=tiny.gin", "--run_dir=run", "--gin_param=folder.data_dir='x'")
    assert not (tmp_path / "run").exists()


def test_missing_flags_are_named(call: Command) -> None:
    assert "no --run_dir" in call("--gin_file=tiny.gin")
    message = call("--run_dir=run")
    assert "no --gin_file" in message and "demo.gin" in message
    assert "no --gin_file" in call(command=evaluate._main)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"Lookahead.patience = = 3", "not accepted"),
        (b"a = 1\nLookahead.patience = (3", "not accepted"),  # tokenize.TokenError, which is no SyntaxError
        (b"\xff\xfe\x00L", "not UTF-8"),
        (b"import os\n", "line 1"),
        (b"# fine\nfrom os import path\n", "line 2"),
        (b"include 'tiny.gin'\n", "several --gin_file"),
        (b"", "experiment.dataset"),
        (b"experiment.dataset = @synthetic()\n", "experiment.segmentor"),
        (b"experiment.dataset = @synthetic()\nexperiment.segmentor = @keras_model\n", "path"),
        (b"experiment.dataset = @sinthetic()\n", "sinthetic"),
    ],
)
def test_a_wrong_gin_file_is_named(call: Command, tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "wrong.gin").write_bytes(content)
    assert expected in call("--gin_file=wrong.gin", "--run_dir=run")


def voc_folder(root: Path) -> Path:
    """Four images of 40x60 with palette masks, two a split."""
    random = generator(5, "voc")
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    for name in ("a", "b", "c", "d"):
        pixels = random.integers(0, 256, (40, 60, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.jpg")
        mask = Image.fromarray(random.integers(0, 21, (40, 60)).astype(np.uint8), mode="P")
        mask.putpalette(list(range(63)))
        mask.save(root / "SegmentationClass" / f"{name}.png")
    (root / "ImageSets/Segmentation/train.txt").write_text("a\nb\n")
    (root / "ImageSets/Segmentation/val.txt").write_text("c\nd\n")
    return root


def test_missing_data_are_named(call: Command) -> None:
    message = call("--gin_file=voc_tiny.gin", "--run_dir=run", "--data_dir=nowhere/VOC2012")
    assert "nowhere/VOC2012 is not a folder" in message
    message = call("--gin_file=folder.gin", "--run_dir=run", "--data_dir=nowhere/images")
    assert "nowhere/images" in message


def test_the_mended_command_runs_in_the_same_folder(call: Command, tmp_path: Path) -> None:
    """A --data_dir with a typo must not make its --run_dir that of another config."""
    call("--gin_file=voc_tiny.gin", "--run_dir=run", "--data_dir=./tpyo")
    voc_folder(tmp_path / "VOC2012")
    (tmp_path / "VOC2012/ImageSets/Segmentation/val.txt").write_text("c\n")
    message = call("--gin_file=voc_tiny.gin", "--run_dir=run", "--data_dir=./VOC2012")
    assert "hold-out" in message and "another config" not in message


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("ImageSets/Segmentation/val.txt", b"", ["val.txt is empty"]),
        ("ImageSets/Segmentation/val.txt", b"c\nc\n", ["'c' more than once"]),
        ("ImageSets/Segmentation/val.txt", b"c\nx\n", ["'x'", "without an image"]),
        ("JPEGImages/b.jpg", 2000, ["b.jpg", "truncated"]),
        ("JPEGImages/b.jpg", 0, ["b.jpg is empty"]),
        ("JPEGImages/b.jpg", b"no image at all", ["b.jpg"]),
        ("SegmentationClass/d.png", 21, ["d.png", "21"]),
    ],
)
def test_faulty_data_are_named(
    call: Command, tmp_path: Path, file: str, content: bytes | int, expected: list[str]
) -> None:
    path = voc_folder(tmp_path / "VOC2012") / file
    if path.suffix == ".png":
        labels = np.array(Image.open(path))
        labels[3, 4] = content
        Image.fromarray(labels).save(path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else path.read_bytes()[:content])
    message = call("--gin_file=voc_tiny.gin", "--run_dir=run", "--data_dir=VOC2012")
    for text in expected:
        assert text in message


def test_a_wrong_checkpoint_is_named(call: Command, tmp_path: Path) -> None:
    import keras
    import tensorflow as tf

    message = call("--gin_file=official.gin", "--run_dir=run", "--checkpoint=./nowhere/model.ckpt")
    assert "nowhere/model.ckpt" in message
    tf.train.Checkpoint(weight=tf.Variable([1.0, 2.0])).write(str(tmp_path / "other.ckpt"))
    message = call("--gin_file=official.gin", "--run_dir=run", "--checkpoint=./other.ckpt")
    assert "other.ckpt" in message
    images = keras.Input((None, None, 3))
    keras.Model(images, keras.layers.Conv2D(5, 1)(images)).save(tmp_path / "five.keras")
    (tmp_path / "five.gin").write_text(
        "experiment.dataset = @synthetic()\nexperiment.segmentor = @keras_model\nkeras_model.path = 'five.keras'\n"
    )
    message = call("--gin_file=five.gin", "--run_dir=run")
    assert "five.keras" in message and "5 output channels" in message and "8 classes" in message


def test_a_run_directory_of_another_kind_is_refused(call: Command, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/thesis.tex").write_text("mine")
    assert "holds no run" in call("--gin_file=tiny.gin", "--run_dir=run")
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["thesis.tex"]
    assert "is a file" in call("--gin_file=tiny.gin", "--run_dir=run/thesis.tex")


def test_evaluate_refuses_what_it_cannot_do(call: Command, tmp_path: Path) -> None:
    assert "not trained" in call("--gin_file=tiny.gin", command=evaluate._main)
    import keras

    images = keras.Input((None, None, 3))
    keras.Model(images, keras.layers.Conv2D(8, 1)(images)).save(tmp_path / "eight.keras")
    (tmp_path / "eight.gin").write_text(
        "experiment.dataset = @synthetic()\nexperiment.segmentor = @keras_model\nkeras_model.path = 'eight.keras'\n"
    )
    (tmp_path / "run/report").mkdir(parents=True)
    (tmp_path / "run/config.gin").write_text("")
    (tmp_path / "run/report/table1.csv").write_text("a week of work")
    message = call("--gin_file=eight.gin", "--run_dir=run", command=evaluate._main)
    assert "folder of a LoAd run" in message
    assert (tmp_path / "run/report/table1.csv").read_text() == "a week of work"
    message = call("--gin_file=eight.gin", "--run_dir=eight.gin", command=evaluate._main)
    assert "can't make the folder" in message


def test_flags_override_the_file(tmp_path: Path, call: Command) -> None:
    call("--gin_file=voc_tiny.gin", "--run_dir=run", "--data_dir=./x", "--seed=5", "--gin_param=Lookahead.patience=7")
    config = (tmp_path / "run/config.gin").read_text()
    assert (
        f"data_dir = '{tmp_path}/x'" in config
        and "experiment.seed = 5" in config
        and "Lookahead.patience = 7" in config
    )


def test_gin_files_of_the_current_folder_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert config.find_gin_file("demo.gin") == ROOT / "gin" / "demo.gin"
    (tmp_path / "demo.gin").write_text("# mine\n")
    assert config.find_gin_file("demo.gin") == Path("demo.gin")


def run_command(module: str, *arguments: str, tensorflow: bool, folder: Path) -> subprocess.CompletedProcess[str]:
    """A process of its own; without TensorFlow its import, and that of Keras, is an error."""
    block = "" if tensorflow else "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None; "
    code = f"{block}import runpy; runpy.run_module('load_tf.{module}', run_name='__main__', alter_sys=True)"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("module", "flag"), [("main", "--gin_param"), ("evaluate", "--checkpoint"), ("predict", "--saved_model")]
)
def test_help_and_wrong_flags_wait_for_no_tensorflow(tmp_path: Path, module: str, flag: str) -> None:
    usage = run_command(module, "--help", tensorflow=False, folder=tmp_path)
    assert (usage.returncode, usage.stderr) == (0, "")
    assert f"python -m load_tf.{module}" in usage.stdout and flag in usage.stdout
    for arguments in (["--gin_fiel=x"], ["--seed=abc"] if module != "predict" else ["--batch_size=0"]):
        wrong = run_command(module, *arguments, tensorflow=False, folder=tmp_path)
        assert wrong.returncode == 2 and wrong.stdout == ""
        assert arguments[0].strip("-").partition("=")[0] in wrong.stderr
        assert len(wrong.stderr.splitlines()) == 1 and "--help" in wrong.stderr


def test_what_needs_no_tensorflow_is_refused_without_it(tmp_path: Path) -> None:
    (tmp_path / "a.gin").write_text("import os\n")
    for arguments in (
        [],
        ["--run_dir=run"],
        ["--run_dir=run", "--gin_file=b.gin"],
        ["--run_dir=run", "--gin_file=a.gin"],
    ):
        refused = run_command("main", *arguments, tensorflow=False, folder=tmp_path)
        assert refused.returncode == 2, refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["a.gin"]


def test_a_mistake_in_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "tiny.gin").write_text(SYNTHETIC)
    refused = run_command(
        "main",
        "--gin_file=tiny.gin",
        "--run_dir=run",
        "--gin_param=Lookahead.patiense=3",
        tensorflow=True,
        folder=tmp_path,
    )
    assert (refused.returncode, refused.stdout) == (2, "")
    assert len(refused.stderr.splitlines()) == 1 and "patiense" in refused.stderr
    assert not (tmp_path / "run").exists()
