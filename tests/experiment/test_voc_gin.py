"""The paper's config at full size: Xception-65 from a checkpoint in the official format, 513 x 513, real VOC images."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

IMAGES = {"train": 4, "val": 6}


def write_checkpoint(shared: Path, prefix: Path) -> None:
    """Name-seeded weights for the 732 official variables, with what training leaves beside them."""
    spec = importlib.util.spec_from_file_location("golden_weights", shared / "golden/golden_weights.py")
    golden = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(golden)
    weights = golden.checkpoint(shared / "golden/xception65_variables.json", 0)
    assert len(weights) == 732
    slots = {"xception_65/entry_flow/conv1_1/weights/Momentum": np.full((3, 3, 3, 32), 7, np.float32)}
    tensors = {**weights, **slots, "global_step": np.int64(30000)}
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=[tf.constant(value) for value in tensors.values()],
    )


def link_images(voc: Path, folder: Path) -> None:
    """A VOC2012 folder of a few images, by links and lists of its own."""
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for name in ("JPEGImages", "SegmentationClass"):
        (folder / name).symlink_to(voc / name)
    for split, count in IMAGES.items():
        ids = (voc / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()
        (lists / f"{split}.txt").write_text("\n".join(ids[:count]) + "\n")


@pytest.mark.slow
def test_the_papers_config_runs_a_whole_cycle_at_full_size(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    write_checkpoint(shared, tmp_path / "checkpoint" / "model.ckpt-30000")
    link_images(shared / "data" / "VOC2012", tmp_path / "VOC2012")
    command = [sys.executable, "-m", "load_tf.main", "--gin_file=voc.gin", f"--run_dir={tmp_path / 'run'}"]
    command += [f"--data_dir={tmp_path / 'VOC2012'}", f"--checkpoint={tmp_path / 'checkpoint'}"]
    shortened = [
        *("experiment.holdout_images=3", "AdversarialTraining.batch_size=2", "experiment.evaluation_batch_size=2"),
        *("DiscriminatorTraining.max_epochs=1", "DiscriminatorTraining.batch_size=4"),
        *("Lookahead.patience=2", "Lookahead.max_cycles=1"),
    ]
    command += [f"--gin_param={binding}" for binding in shortened]
    subprocess.run(command, check=True)
    summary = json.loads((tmp_path / "run" / "report" / "summary.json").read_text())
    assert summary["cycles"] == 1 and summary["full"]["images"] == 6 and summary["holdout"]["images"] == 3
    assert summary["settings"]["output_stride"] == 16 and summary["settings"]["crop"] == [513, 513]
    assert {"evaluation", "discriminator", "adversarial", "aggregation", "validation"} <= set(summary["seconds"])
    print(json.dumps({name: summary[name] for name in ("seconds", "peak_mib")}, indent=1))
    updates = [
        event
        for event in map(json.loads, (tmp_path / "run" / "journal.jsonl").read_text().splitlines())
        if event["event"] == "update"
    ]
    # Two steps do not wake the discriminator, whose gradient may be 0 on these weights; finite is what counts here.
    assert len(updates) == 2 and all(event["finite"] and event["loss"] < 0 for event in updates)
