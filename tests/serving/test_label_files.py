"""Labelling folders of files: what is written, what is named, what is never touched."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from PIL import Image

from load_tf import commands
from load_tf import predict as command
from load_tf.data.files import IMAGE_EXTENSIONS
from load_tf.errors import UserError
from load_tf.randomness import generator
from load_tf.serving.image_files import SUFFIXES, find_images, output_files
from load_tf.serving.label_files import overlay, palette_png, predict
from load_tf.serving.loaded import LoadedSegmentor, load
from load_tf.serving.saved_model import export
from tests import forked, networks, tiny

COLOURS = ((0, 0, 0), (200, 40, 10), (30, 250, 90))
MAX_PIXELS = 9000


def picture(height: int, width: int, number: int = 0) -> np.ndarray:
    """Coloured blobs, uint8 [H, W, 3]."""
    coarse = generator(11, "predict", number).uniform(0, 255, (1, 5, 4, 3)).astype(np.float32)
    return np.clip(tf.image.resize(coarse, (height, width), "bicubic")[0].numpy(), 0, 255).astype(np.uint8)


def write(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    encode = tf.io.encode_png if path.suffix == ".png" else tf.io.encode_jpeg
    path.write_bytes(encode(image).numpy())
    return path


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved_model")
    export(
        networks.one_convolution(3, 16, kernel=17),
        folder,
        crop=(65, 65),
        class_names="abc",
        colours=COLOURS,
        max_pixels=MAX_PIXELS,
    )
    return folder


@pytest.fixture(scope="module")
def loaded(saved_model: Path) -> LoadedSegmentor:
    return load(saved_model)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Good images of several sizes, one larger than the crop; a truncated one, an empty one, one that is too large."""
    folder = tmp_path / "images"
    for number, size in enumerate([(40, 60), (40, 60), (90, 71), (40, 60), (1, 1), (33, 47)]):
        write(folder / f"good{number}.png", picture(*size, number))
    write(folder / "photo.JPG", picture(50, 64))
    content = write(folder / "truncated.jpg", picture(60, 60)).read_bytes()
    (folder / "truncated.jpg").write_bytes(content[: len(content) // 2])
    (folder / "empty.png").touch()
    write(folder / "too_large.png", picture(100, 91))
    (folder / "readme.txt").write_text("no image")
    return folder


def expected_map(loaded: LoadedSegmentor, path: Path) -> np.ndarray:
    image = tf.io.decode_image(path.read_bytes(), channels=3).numpy()
    return loaded.label_maps(image[np.newaxis])[0]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_folder_with_bad_files(loaded: LoadedSegmentor, images: Path, tmp_path: Path, batch_size: int) -> None:
    found = find_images([images])
    assert "readme.txt" not in {path.name for path in found}
    result = predict(loaded, found, tmp_path / "out", overlays=True, probabilities=True, batch_size=batch_size)
    assert {path.name for path in result.failures} == {"truncated.jpg", "empty.png", "too_large.png"}
    for path, message in result.failures.items():
        assert str(path) in message
    assert "100 x 91 = 9100 pixels" in result.failures[images / "too_large.png"]
    assert {path.name for path in result.written} == {f"good{i}.png" for i in range(6)} | {"photo.JPG"}
    seen = set()
    for source, file in result.written.items():
        assert file == tmp_path / "out" / f"{source.stem}.png"
        expected = expected_map(loaded, source)
        seen |= set(np.unique(expected).tolist())
        picture = Image.open(file)
        assert picture.mode == "P"
        label_map = np.asarray(picture)
        assert (label_map != expected).sum() <= 3
        assert picture.getpalette()[:9] == [value for colour in COLOURS for value in colour]
        image = tf.io.decode_image(source.read_bytes(), channels=3).numpy()
        blended = np.asarray(Image.open(file.with_name(f"{source.stem}_overlay.png")))
        np.testing.assert_allclose(blended, image / 2 + np.array(COLOURS)[label_map] / 2, atol=0.5)
        soft = np.load(file.with_name(f"{source.stem}_probabilities.npy"))
        assert soft.dtype == np.float32
        np.testing.assert_array_equal(soft.argmax(axis=-1), label_map)
        np.testing.assert_allclose(soft.sum(axis=-1), 1, atol=1e-5)
    assert seen == {0, 1, 2}
    assert len(list((tmp_path / "out").iterdir())) == 3 * 7


def test_results_are_never_overwritten_unasked(loaded: LoadedSegmentor, tmp_path: Path) -> None:
    source = write(tmp_path / "x.jpg", picture(20, 30))
    out = tmp_path / "out"
    out.mkdir()
    (out / "x.png").write_bytes(b"precious")
    with pytest.raises(UserError, match=r"out/x\.png exists already; .* --overwrite"):
        predict(loaded, [source], out)
    assert (out / "x.png").read_bytes() == b"precious"
    assert not predict(loaded, [source], out, overwrite=True).failures
    assert np.asarray(Image.open(out / "x.png")).shape == (20, 30)


def test_an_image_is_never_overwritten(loaded: LoadedSegmentor, tmp_path: Path) -> None:
    source = write(tmp_path / "x.png", picture(20, 30))
    before = source.read_bytes()
    with pytest.raises(UserError, match="would replace an image"):
        predict(loaded, [source], tmp_path, overwrite=True)
    assert source.read_bytes() == before


def test_equal_names_do_not_collide(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def names(*relative: str) -> list[str]:
        files = output_files([tmp_path / name for name in relative], out, [".png", "_overlay.png"])
        return [str(group[0].relative_to(out)) for group in files]

    assert names("a/x.jpg", "b/y.jpg") == ["x.png", "y.png"]
    assert names("a/x.jpg", "b/x.jpg", "b/y.jpg") == ["a/x.png", "b/x.png", "b/y.png"]
    assert names("a/x.jpg", "a/x.png") == ["x.jpg.png", "x.png.png"]
    assert names("a/x.jpg", "a/x_overlay.jpg") == ["x.jpg.png", "x_overlay.jpg.png"]
    with pytest.raises(UserError, match="rename an image"):
        names("a/x", "a/x_overlay")


def test_same_stem_in_two_folders(loaded: LoadedSegmentor, tmp_path: Path) -> None:
    first = write(tmp_path / "a/x.png", picture(20, 30, 1))
    second = write(tmp_path / "b/x.png", picture(35, 30, 2))
    predict(loaded, find_images([tmp_path / "a", tmp_path / "b"]), tmp_path / "out")
    for source, file in ((first, "a/x.png"), (second, "b/x.png")):
        assert (np.asarray(Image.open(tmp_path / "out" / file)) != expected_map(loaded, source)).sum() <= 3


def test_find_images(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPEG", "note.txt", "deep/c.png", "deep/er/d.bmp", "[1].png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def names(*patterns: str) -> list[str]:
        return [str(path.relative_to(tmp_path)) for path in find_images([tmp_path / p for p in patterns])]

    assert names("") == ["[1].png", "a.JPEG", "b.png"]
    assert names("b.png", "", "deep/../b.png") == ["b.png", "[1].png", "a.JPEG"]
    assert names("*.png") == ["[1].png", "b.png"]
    assert names("[1].png") == ["[1].png"]
    assert names("**") == ["[1].png", "a.JPEG", "b.png", "deep/c.png", "deep/er/d.bmp"]
    assert names("de*") == ["deep/c.png"]
    assert names("note.txt") == ["note.txt"]
    with pytest.raises(UserError, match="no image matches"):
        names("*.gif")
    with pytest.raises(UserError, match="there is no file or folder"):
        names("b.png", "absent.png")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        names("none")
    with pytest.raises(UserError, match="no images were given"):
        find_images([])
    assert set(IMAGE_EXTENSIONS) == SUFFIXES


def test_overlay_by_hand() -> None:
    image = np.array([[[10, 20, 30], [255, 0, 101]]], np.uint8)
    label_map = np.array([[1, 2]], np.uint8)
    colours = np.array(COLOURS, np.uint8)
    np.testing.assert_array_equal(overlay(image, label_map, colours, 0.25)[0, 0], [58, 25, 25])
    np.testing.assert_array_equal(overlay(image, label_map, colours, 1.0)[0, 1], COLOURS[2])


def test_palette_png_keeps_many_classes(tmp_path: Path) -> None:
    label_map = np.arange(255, dtype=np.uint8).reshape(15, 17)
    colours = generator(3, "palette").integers(0, 256, (255, 3)).astype(np.uint8)
    (tmp_path / "p.png").write_bytes(palette_png(label_map, colours))
    stored = Image.open(tmp_path / "p.png")
    np.testing.assert_array_equal(np.asarray(stored), label_map)
    np.testing.assert_array_equal(np.asarray(stored.convert("RGB")), colours[label_map])


def call(*arguments: str) -> int:
    """The command in this process, with fresh flags."""
    names = ("saved_model", "images", "output", "overlays", "probabilities", "overwrite", "batch_size", "engine")
    if "saved_model" not in flags.FLAGS:
        command.define_flags()
    for name in names:
        flags.FLAGS[name].unparse()
    return commands.execute(command.label, flags.FLAGS(["predict", *arguments]), positional=True)


def test_command_reports_and_counts(
    saved_model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = str(images / "good0.png")
    assert call(f"--saved_model={saved_model}", f"--images={images}/g*1.png", good, f"--output={tmp_path}/o1") == 0
    assert "2 of 2 images labelled" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "o1").iterdir()) == ["good0.png", "good1.png"]
    assert call(f"--saved_model={saved_model}/1", f"--images={images}", f"--output={tmp_path}/o2", "--overlays") == 1
    output = capsys.readouterr()
    assert "7 of 10 images labelled" in output.out
    assert "images/s" in output.out
    assert all(name in output.err for name in ("truncated.jpg", "empty.png", "too_large.png"))
    assert len(output.err.strip().splitlines()) == 3


def test_another_engine_labels_alike_and_says_how_far(
    saved_model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"--saved_model={saved_model}", f"--images={images}/g*.png"]
    assert call(*given, f"--output={tmp_path}/ours") == 0
    assert "differ between" not in capsys.readouterr().out
    assert call(*given, f"--output={tmp_path}/theirs", "--engine=litert") == 0
    said = re.search(
        r"([\d.]+) % of the pixels of the first (\d) images differ between litert", capsys.readouterr().out
    )
    assert said is not None
    names = sorted(path.name for path in (tmp_path / "ours").iterdir())
    maps = [[np.asarray(Image.open(tmp_path / o / name)) for name in names] for o in ("ours", "theirs")]
    within = [a.shape[0] <= 65 and a.shape[1] <= 65 for a in maps[0]]
    assert sum(within) == int(said[2]) > 0
    assert all((a == b).all() for a, b, fits in zip(*maps, within, strict=True) if not fits)
    differing = sum(int((a != b).sum()) for a, b in zip(*maps, strict=True))
    share = 100 * differing / sum(a.size for a, fits in zip(maps[0], within, strict=True) if fits)
    assert float(said[1]) == pytest.approx(share, abs=6e-4) and share < 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images={images}", "--output={out}"], "--saved_model is missing"),
        (
            ["--saved_model={model}", "--output={out}", "--images={images}", "--probabilities", "--engine=litert"],
            "--probabilities are TensorFlow's; --engine=litert gives labels.",
        ),
        (["--saved_model={model}", "--images={images}"], "--output is missing"),
        (["--saved_model={model}", "--output={out}"], "no images were given"),
        (["--saved_model={model}", "--output={out}", "--images={images}/absent.png"], "there is no file"),
        (["--saved_model={images}", "--output={out}", "--images={images}"], "holds no SavedModel"),
        (["--saved_model={model}", "--output={images}/good0.png", "--images={images}"], "can't make the folder"),
    ],
)
def test_command_says_what_is_wrong(
    saved_model: Path,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    places = {"images": images, "out": tmp_path / "out", "model": saved_model}
    assert call(*(argument.format(**places) for argument in arguments)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def without_tensorflow(*arguments: str) -> subprocess.CompletedProcess[str]:
    block = "import sys; sys.modules['tensorflow'] = None; sys.modules['keras'] = None; "
    code = f"{block}import runpy; runpy.run_module('load_tf.predict', run_name='__main__', alter_sys=True)"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env=tiny.environment(), capture_output=True, text=True, timeout=120
    )


def test_help_and_wrong_flags_do_not_wait_for_tensorflow(tmp_path: Path) -> None:
    usage = without_tensorflow("--help")
    assert usage.returncode == 0, usage.stderr
    assert "--saved_model" in usage.stdout
    assert "--overlays" in usage.stdout
    wrong = without_tensorflow("--imagse=x")
    assert wrong.returncode == 2
    assert "imagse" in wrong.stderr
    absent = without_tensorflow(f"--images={tmp_path}/absent", "--saved_model=m", "--output=o")
    assert absent.returncode == 2
    assert "there is no file or folder" in absent.stderr


def test_command_in_a_process_of_its_own(saved_model: Path, images: Path, tmp_path: Path) -> None:
    flags = [f"--saved_model={saved_model}", f"--images={images}", f"--output={tmp_path}/out"]
    done = forked.run(["-m", "load_tf.predict", *flags], tmp_path, tiny.environment())
    assert done.returncode == 1, done.stderr
    assert "7 of 10 images labelled" in done.stdout
    assert (np.asarray(Image.open(tmp_path / "out/good2.png"))).shape == (90, 71)
