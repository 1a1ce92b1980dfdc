"""The README's commands as they stand there; `test_own_model.py` runs its Python."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from load_tf.data.synthetic import synthetic
from tests import networks
from tests.pages import ROOT, module_commands, run_module

README = ROOT / "README.md"
DEMO, MINE, PREDICT, EVALUATE = module_commands(README)
SMALL = """
experiment.crop = (49, 65)
experiment.holdout_images = 2
Discriminator.input_size = 32
Discriminator.alpha = 0.1
DiscriminatorTraining.first_max_epochs = 1
DiscriminatorTraining.max_epochs = 1
AdversarialTraining.batch_size = 2
Lookahead.patience = 1
Lookahead.max_iterations = 2
"""


def run(words: list[str], folder: Path, from_nothing: bool = False, **places: str) -> str:
    """Runs a command with the capitals it names replaced, as `run_module` does; returns what it printed."""
    for name, place in places.items():
        assert f"={name}" in " ".join(words)
        words = [re.sub(f"={name}$", f"={place}", word) for word in words]
    return run_module(words, folder, from_nothing)


def test_these_are_the_commands() -> None:
    modules = ["load_tf.main", "load_tf.main", "load_tf.predict", "load_tf.evaluate"]
    assert [words[0] for words in (DEMO, MINE, PREDICT, EVALUATE)] == modules


def test_a_folder_of_ones_own_and_a_model_of_ones_own(tmp_path: Path) -> None:
    """Checked, trained on and labelled, with smaller numbers behind the command's own."""
    data = synthetic(train=4, validation=4, size=(48, 64))
    for kind in ("images", "masks"):
        (tmp_path / "scenes" / kind).mkdir(parents=True)
    for split in ("train", "validation"):
        for index, example in enumerate(data.split(split)):
            Image.fromarray(example.image).save(tmp_path / f"scenes/images/{split}{index}.png")
            Image.fromarray(example.label).save(tmp_path / f"scenes/masks/{split}{index}.png")
        names = "".join(f"{split}{index}\n" for index in range(4))
        (tmp_path / f"scenes/{split.removesuffix('idation')}.txt").write_text(names)
    (tmp_path / "scenes/classes.txt").write_text("\n".join(data.class_names))
    networks.one_convolution(8, 8).save(tmp_path / "mine.keras")

    (check,) = re.findall(r"`python -m (load_tf\.check_dataset [^`]+)`", README.read_text())
    words = shlex.split(check.replace("=...", "=folder.gin", 1).replace("=...", "=scenes", 1))
    assert "no faults" in run(words, tmp_path)
    assert Image.open(tmp_path / "sheet.png").width > 100
    small = [f"--gin_param={binding}" for binding in SMALL.strip().splitlines()]
    assert "untouched" in run([*MINE, *small], tmp_path, from_nothing=True, FOLDER="scenes")
    assert json.loads((tmp_path / "runs/mine/report/summary.json").read_text())["untouched"]["images"] == 2
    run(PREDICT, tmp_path, PHOTOS="scenes/images", MAPS="maps")
    assert len(list((tmp_path / "maps").glob("*_overlay.png"))) == 8
    assert np.array(Image.open(tmp_path / "maps/train0.png")).shape == (48, 64)


def test_the_official_network_is_evaluated(shared: Path, tmp_path: Path) -> None:
    """On the first images of VOC; on all of them it takes minutes."""
    voc, some = shared / "data/VOC2012", tmp_path / "VOC2012"
    for split in ("train", "val"):
        names = (voc / f"ImageSets/Segmentation/{split}.txt").read_text().split()[:3]
        (some / "ImageSets/Segmentation").mkdir(parents=True, exist_ok=True)
        (some / f"ImageSets/Segmentation/{split}.txt").write_text("\n".join(names) + "\n")
        for kind, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
            (some / kind).mkdir(exist_ok=True)
            for name in names:
                shutil.copy(voc / kind / f"{name}.{suffix}", some / kind)
    checkpoint = shared / "checkpoints/deeplabv3_mnv2_pascal_train_aug_fp16"
    small = "--gin_param=experiment.holdout_images = 1"
    assert "mIoU" in run([*EVALUATE, small], tmp_path, VOC2012="VOC2012", DIR=str(checkpoint))
    assert (tmp_path / "runs/baseline/report/table1.csv").is_file()


@pytest.mark.slow
def test_the_demo_leaves_what_the_readme_promises(tmp_path: Path) -> None:
    printed = run(DEMO, tmp_path, from_nothing=True)
    summary = json.loads((tmp_path / "runs/demo/report/summary.json").read_text())
    assert summary["untouched"]["images"] == 400 and "untouched images (the honest gain), 400" in printed
    promised = README.read_text().partition("## What a run leaves")[2].partition("\n## ")[0]
    left = [name for row in re.findall(r"^\| (`[^|]+) \|", promised, re.M) for name in re.findall("`([^`]+)`", row)]
    assert len(left) >= 12
    made = tmp_path / "runs/demo"
    assert [name for name in left if not ((made / name).exists() or (made / "report" / name).exists())] == []
