"""What the docs say can be done: snippets compile, commands and links exist, the own-data page runs as written."""

import ast
import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from load_tf.experiment import config
from tests.pages import PAGES, ROOT, blocks, gin_bindings, module_commands, run_module
from tests.test_floors import FLOORS

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def defined_flags(module: str) -> set[str]:
    """Flags of a command, read off its source."""
    path = ROOT / module.replace(".", "/")
    source = (path / "__main__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    if "define_experiment_flags" in source:
        source += (ROOT / "load_tf/commands.py").read_text()
    return set(re.findall(r"flags\.DEFINE_\w+\(\s*\"(\w+)\"", source))


def test_the_helpers_find_what_is_there() -> None:
    found = list(module_commands(ROOT / "docs/own_data.md"))
    assert [words[0] for words in found] == [
        *("load_tf.check_dataset", "load_tf.main", "load_tf.report", "load_tf.predict", "load_tf.export"),
    ]
    assert {"gin_file", "run_dir", "seed"} <= defined_flags("load_tf.main")
    assert "overlays" in defined_flags("load_tf.predict") and "seed" not in defined_flags("load_tf.predict")
    assert len(blocks(ROOT / "docs/serving.md", "python")) == 4


@pytest.mark.parametrize("name", NAMES)
def test_python_snippets_compile_and_import_what_exists(name: str) -> None:
    for snippet in blocks(ROOT / name, "python"):
        for node in ast.walk(ast.parse(snippet)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("load_tf"):
                module = __import__(str(node.module), fromlist=["x"])
                assert all(hasattr(module, alias.name) for alias in node.names)


@pytest.mark.parametrize("name", NAMES)
def test_commands_and_their_flags_exist(name: str) -> None:
    for module, *arguments in module_commands(ROOT / name):
        known = defined_flags(module)
        given = [word[2:].partition("=")[0] for word in arguments if word.startswith("--")]
        assert set(given) <= known | {"help"}, f"{module} in {name}"


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    prose = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name}: {link}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", target.read_text(), re.M)
            assert anchor in [re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "CHANGELOG.md"])
def test_python_files_named_in_the_docs_exist(name: str) -> None:
    """`discriminator/grid.py` or `grid.py`; the changes may also name what is gone."""
    files = [path.as_posix() for folder in ("load_tf", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    named = set(re.findall(r"`([\w/]+\.py)`", (ROOT / name).read_text()))
    assert [file for file in named if not any(path.endswith(f"/{file}") for path in files)] == []


def rooms_of(page: str) -> list[tuple[int, list[str], set[str]]]:
    """The table of architecture.md: a row's floor, its rooms, and the modules it names."""
    rows, floor = [], 0
    for number, rooms, modules in re.findall(
        r"^\| (\d*) ?\| (`.+?) \| (.+) \|$", page.partition("\n## What must")[0], re.M
    ):
        floor = int(number or floor)
        names = [room.removesuffix("/").removesuffix(".py") for room in re.findall(r"`([^`]+)`", rooms)]
        rows.append((floor, names, set(re.findall(r"`([a-z_]+)`", modules))))
    return rows


def faults_of_the_rooms(page: str) -> list[str]:
    """Where the table differs from `test_floors.py` and the code. A row of more than three modules names all."""
    rows = rooms_of(page)
    floors = {floor: [room for other, rooms, _ in rows for room in rooms if other == floor] for floor, *_ in rows}
    faults = [] if floors == {number: list(rooms) for number, rooms in enumerate(FLOORS, 1)} else [f"floors: {floors}"]
    for _, (room, *others), named in rows:
        modules = {path.stem for path in (ROOT / "load_tf" / room).glob("*.py")} - {"__init__"}
        if modules and not others:
            faults += [f"{room} has no {module}" for module in sorted(named - modules)]
            faults += [f"{room} has {module}" for module in sorted(modules - named) if len(named) > 3]
    return faults


def test_the_architecture_page_has_the_rooms_and_modules_of_the_code() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    assert faults_of_the_rooms(page) == []
    assert faults_of_the_rooms(page.replace("`judge`", "`jugde`")) == ["game has no jugde", "game has judge"]
    (fault,) = faults_of_the_rooms(page.replace("| 6 | `methods/`", "| 7 | `methods/`"))
    assert fault.startswith("floors: ")


def test_the_lists_a_newcomer_adds_a_line_to_exist() -> None:
    section = (ROOT / "docs/architecture.md").read_text().partition("## Where to add things")[2]
    lists = re.findall(r"`([A-Z]+)` in `([\w/]+\.py)`", section)
    assert {name for name, _ in lists} >= {"SEGMENTORS", "KINDS", "SECTIONS"}
    for name, file in lists:
        assert re.search(rf"^{name}\b.* = ", (ROOT / "load_tf" / file).read_text(), re.M), f"{name} in {file}"


def test_every_gin_file_is_explained() -> None:
    text = (ROOT / "docs/gin_files.md").read_text()
    assert [name for name in config.shipped_gin_files() if f"| `{name}` |" not in text] == []


def test_every_console_script_is_named_in_the_readme() -> None:
    scripts = re.findall(r'"(load_tf[\w-]*)=([\w.]+):main"', (ROOT / "setup.py").read_text())
    readme = (ROOT / "README.md").read_text()
    assert len(scripts) >= 5
    assert [script for script, _ in scripts if f"`{script}`" not in readme] == []


def test_parameters_named_in_the_docs_exist() -> None:

    from load_tf.devices.runtime import Runtime
    from load_tf.experiment import registry

    text = "\n".join(page.read_text() for page in PAGES)
    named = set(re.findall(r"`(?:--gin_param=)?([A-Z][A-Za-z]+\.[a-z]\w+)(?: ?= ?[^`]*)?`", text))
    classes = (*registry.PARAMETERS, Runtime, *registry.METHODS)
    known = {f"{cls.__name__}.{field.name}" for cls in classes for field in dataclasses.fields(cls)}
    assert len(named) > 10
    assert named <= known


def test_the_own_data_page_has_the_settings_of_the_folders_gin_file() -> None:
    """All but where the data are and what it is called: what the study found to help is found once."""
    page, *_ = blocks(ROOT / "docs/own_data.md", "gin")
    texts = [page, (ROOT / "gin/folder.gin").read_text()]
    own = ("experiment.name", "folder.data_dir", "data_dir")
    ours, template = ({k: v for k, v in gin_bindings(text).items() if k not in own} for text in texts)
    assert ours == template and len(ours) > 15


def test_masks_are_made_of_coco_annotations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pycocotools")
    monkeypatch.chdir(tmp_path)
    square = {"image_id": 7, "area": 4, "iscrowd": 0}
    content = {
        "images": [{"id": 7, "file_name": "sub/a.jpg", "height": 6, "width": 9}],
        "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}],
        "annotations": [
            {"id": 1, "category_id": 18, "segmentation": [[1, 1, 5, 1, 5, 3, 1, 3]], **square},
            {"id": 2, "category_id": 3, "segmentation": [[6, 2, 8, 2, 8, 6, 6, 6]], **square},
        ],
    }
    Path("annotations.json").write_text(json.dumps(content))
    snippet, _ = blocks(ROOT / "docs/own_data.md", "python")
    exec(compile(snippet, "docs/own_data.md", "exec"), {})
    expected = np.zeros((6, 9), np.uint8)
    expected[1:3, 1:5], expected[2:6, 6:8] = 2, 1
    np.testing.assert_array_equal(np.array(Image.open("photos/masks/a.png")), expected)
    assert Path("photos/classes.txt").read_text() == "background\ncar\ndog"


def test_photos_from_a_camera_are_made_upright_and_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in ("images", "masks"):
        (tmp_path / "originals" / kind).mkdir(parents=True)
    labels = np.kron([[0, 1, 2, 0], [2, 255, 1, 1]], np.ones((300, 300))).astype(np.uint8)
    photo = Image.fromarray(labels).convert("RGB")
    photo.save("originals/images/upright.JPG", quality=100)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees, clockwise, to see it upright
    photo.transpose(Image.Transpose.ROTATE_90).save("originals/images/sideways.jpeg", quality=100, exif=exif)
    for name in ("upright", "sideways"):
        mask = Image.fromarray(labels)
        mask.putpalette(range(256))
        mask.save(f"originals/masks/{name}.png")
    _, snippet = blocks(ROOT / "docs/own_data.md", "python")
    exec(compile(snippet, "docs/own_data.md", "exec"), {})
    expected = np.kron([[0, 1, 2, 0], [2, 255, 1, 1]], np.ones((120, 120)))
    for name in ("upright", "sideways"):
        image = np.array(Image.open(f"photos/images/{name}.png"), int)
        mask = np.array(Image.open(f"photos/masks/{name}.png"))
        assert image.shape == (*mask.shape, 3) and max(mask.shape) == 481 and set(np.unique(mask)) == {0, 1, 2, 255}
        assert (mask[:240, :480] == expected).mean() > 0.98
        assert (abs(image[..., 0] - mask) < 9).mean() > 0.98, "the image lies as its mask does"


TINY = """
experiment.holdout_images = 3
small_deeplab.width = 8
StageOne.epochs = 1
StageOne.batch_size = 4
Discriminator.input_size = 32
DiscriminatorTraining.first_max_epochs = 1
DiscriminatorTraining.max_epochs = 1
AdversarialTraining.batch_size = 2
Lookahead.patience = 1
Lookahead.max_cycles = 1
"""


@pytest.mark.slow
def test_the_own_data_page_runs_as_written(shared: Path, tmp_path: Path) -> None:
    """On a few CamVid images; the gin file is the page's, with smaller numbers behind it."""
    for split, count in (("train", 6), ("val", 6)):
        names = (shared / f"data/camvid/{split}.txt").read_text().split()[:count]
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / f"photos/{split}.txt").write_text("\n".join(names) + "\n")
        for kind in ("images", "masks"):
            (tmp_path / "photos" / kind).mkdir(exist_ok=True)
            for name in names:
                for file in (shared / "data/camvid" / kind).glob(f"{Path(name).stem}.*"):
                    shutil.copy(file, tmp_path / "photos" / kind)
    shutil.copy(shared / "data/camvid/classes.txt", tmp_path / "photos")
    page = ROOT / "docs/own_data.md"
    (tmp_path / "mine.gin").write_text(blocks(page, "gin")[0] + TINY)
    for words in module_commands(page):
        run_module(words, tmp_path)
    assert "my photos" in (tmp_path / "runs/mine/report/index.html").read_text()
    assert len(list((tmp_path / "maps").glob("*_overlay.png"))) == 12
    assert (tmp_path / "mine.tflite").stat().st_size > 10_000
    assert (tmp_path / "mine.json").is_file()
