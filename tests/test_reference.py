"""`make docs`: the API reference of the docstrings."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import load_tf

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_reference_has_every_public_name_and_room(tmp_path: Path) -> None:
    pytest.importorskip("pdoc", reason="needs pdoc of the extra 'docs'")
    # An address that nobody listens to is the proxy: what asks the network fails.
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "https_proxy": "http://127.0.0.1:9",
        "CUDA_VISIBLE_DEVICES": "",
    }
    made = subprocess.run(
        [sys.executable, "docs/reference.py", str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    assert "does not resolve" not in made.stderr
    page = (tmp_path / "load_tf.html").read_text()
    assert set(load_tf.__all__) <= set(re.findall(r'<section id="(\w+)"', page))
    # Text of docstrings, not names alone, with the sections of Google's style made into headings.
    assert "What sizes a segmentor's images are padded to" in page.replace("&#39;", "'")
    pages = {str(file.relative_to(tmp_path).with_suffix("")).replace("/", ".") for file in tmp_path.rglob("*.html")}
    modules = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for file in (ROOT / "load_tf").rglob("*.py")
        if file.name != "__main__.py"
    }
    assert modules <= pages
    assert {'href="load_tf/serving.html"', 'href="load_tf/algorithm.html"'} <= set(
        re.findall(r'href="load_tf[^"#]+"', page)
    )
    # A reader without a network sees all of it.
    texts = [file.read_text() for file in tmp_path.rglob("*.html")]
    assert not [address for text in texts for address in re.findall(r'src="(https?:[^"]+)', text)]
