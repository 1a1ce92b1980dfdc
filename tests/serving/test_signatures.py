"""What `saved_model_cli` and TensorFlow Serving's clients see of an exported model."""

import re
from pathlib import Path

import numpy as np
import pytest

from load_tf.randomness import generator
from load_tf.serving import loaded
from load_tf.serving.saved_model import export
from tests import forked, networks, tiny

pytestmark = pytest.mark.portable


@pytest.fixture(name="version", scope="module")
def _version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = networks.one_convolution(3)
    colours = [(0, 0, 0), (9, 9, 9), (200, 0, 0)]
    return export(model, tmp_path_factory.mktemp("model"), crop=(33, 49), class_names=["a", "b", "c"], colours=colours)


def test_saved_model_cli_shows_and_runs_the_signatures(version: Path, tmp_path: Path) -> None:
    # What the script holds that TensorFlow installs beside its Python.
    cli = ("-c", "import sys; from tensorflow.python.tools.saved_model_cli import main; sys.exit(main())")
    command = [*cli, "show", "--dir", str(version), "--tag_set", "serve", "--signature_def", "serving_default"]
    shown = forked.run(command, tmp_path, tiny.environment()).stdout
    assert re.search(r"inputs\['images'\].*?DT_UINT8.*?\(-1, -1, -1, 3\)", shown, re.S)
    assert re.search(r"outputs\['label_maps'\].*?DT_UINT8.*?\(-1, -1, -1\)", shown, re.S)
    image = generator(1, "signatures").integers(0, 256, (2, 40, 30, 3)).astype(np.uint8)
    np.save(tmp_path / "images.npy", image)
    done = forked.run(
        [
            *cli, "run", "--dir", str(version), "--tag_set", "serve", "--signature_def", "serving_default",
            "--inputs", f"images={tmp_path / 'images.npy'}", "--outdir", str(tmp_path),
        ],
        tmp_path, tiny.environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    np.testing.assert_array_equal(np.load(tmp_path / "label_maps.npy"), loaded.load(version).label_maps(image))
