"""Which images `predict` labels, and where the results of each go. Needs no TensorFlow."""

import glob
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from load_tf.data.files import IMAGE_EXTENSIONS
from load_tf.errors import UserError

SUFFIXES = frozenset(IMAGE_EXTENSIONS)
"""What counts as an image in a folder or a glob; a file named in full is taken whatever its name."""


VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"})
"""What counts as a video, if it is named in full."""


def divide(patterns: Iterable[str]) -> tuple[list[str], list[Path]]:
    """What stands for images, and the videos."""
    listed = list(patterns)
    videos = [Path(name) for name in listed if Path(name).suffix.lower() in VIDEO_SUFFIXES and Path(name).is_file()]
    return [name for name in listed if Path(name) not in videos], videos


def find_images(patterns: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The images that files, folders and globs stand for.

    A folder stands for the images directly in it, a glob for the images and folders it matches (`**` descends).

    Returns:
      Paths in the order of the arguments, sorted within each, no file twice.

    Raises:
      UserError: if an argument stands for nothing.
    """
    found: dict[Path, Path] = {}
    for pattern in (os.fspath(pattern) for pattern in patterns):
        images = _expand(pattern)
        if not images:
            raise UserError(_nothing(pattern))
        for image in images:
            found.setdefault(image.resolve(), image)
    if not found:
        raise UserError("no images were given; expected files, folders or globs.")
    return list(found.values())


def _expand(pattern: str) -> list[Path]:
    path = Path(pattern)
    if path.is_dir():
        return _images_in(path)
    if path.exists():
        return [path]
    images: list[Path] = []
    for match in map(Path, sorted(glob.glob(pattern, recursive=True))):
        if match.is_dir():
            # With `**` the files of the folder are matches of their own.
            images += [] if "**" in pattern else _images_in(match)
        elif match.suffix.lower() in SUFFIXES:
            images.append(match)
    return images


def _images_in(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.suffix.lower() in SUFFIXES and entry.is_file())


def _nothing(pattern: str) -> str:
    if Path(pattern).is_dir():
        kinds = ", ".join(sorted(SUFFIXES))
        return f"the folder {pattern} holds no images ({kinds}); for those in its subfolders, write '{pattern}/**'."
    if glob.has_magic(pattern):
        return f"no image matches {pattern}."
    return f"there is no file or folder {pattern}."


def output_files(images: Sequence[Path], output: Path, endings: Sequence[str]) -> list[list[Path]]:
    """Where the results of each image go; no two images share a file.

    `a/x.jpg` gives `x.png`. If two images are called alike, the folders below the deepest that all images share are
    kept (`a/x.png`, `b/x.png`), and if that does not tell them apart, the suffix of the image too (`a/x.jpg.png`).

    Args:
      images: distinct paths.
      output: the folder the results go to.
      endings: what follows an image's name, one a result, e.g. `(".png", "_overlay.png")`.

    Returns:
      For every image the files, in the order of `endings`.

    Raises:
      UserError: if no naming keeps results apart from each other and from the images.
    """
    resolved = [image.resolve() for image in images]
    root = Path(os.path.commonpath([image.parent for image in resolved]))

    def flat(image: Path) -> Path:
        return output / image.stem

    def mirrored(image: Path) -> Path:
        return output / image.relative_to(root).with_suffix("")

    def in_full(image: Path) -> Path:
        return output / image.relative_to(root)

    namings: tuple[Callable[[Path], Path], ...] = (flat, mirrored, in_full)
    for naming in namings:
        stems = [naming(image) for image in resolved]
        files = [[stem.with_name(stem.name + ending) for ending in endings] for stem in stems]
        every = [file for group in files for file in group]
        if len(set(every)) == len(every):
            _keep_images(every, set(resolved))
            return files
    raise UserError(
        f"the images' names and the endings {', '.join(endings)} give results of one name; rename an image."
    )


def _keep_images(files: Iterable[Path], images: set[Path]) -> None:
    for file in files:
        if file.resolve() in images:
            raise UserError(
                f"the result {file} would replace an image that is to be labelled; choose another --output."
            )
