"""Files found in folders: links, circles of links, other kinds beside them."""

import os
from pathlib import Path

import pytest

from load_tf.data.files import MASK_EXTENSIONS, list_files
from load_tf.errors import UserError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def ids(folder: Path) -> list[str]:
    return sorted(list_files(folder, (".png",)).files)


def test_linked_folders_and_files_are_read(tmp_path: Path) -> None:
    touch(tmp_path / "images/a.png", tmp_path / "other/b.png", tmp_path / "other/deep/c.PNG", tmp_path / "d.png")
    (tmp_path / "images/second").symlink_to(tmp_path / "other")
    (tmp_path / "images/d.png").symlink_to(tmp_path / "d.png")
    assert ids(tmp_path / "images") == ["a", "d", "second/b", "second/deep/c"]


def test_a_link_may_lead_back(tmp_path: Path) -> None:
    """To the folder itself, to one it lies in, or to another that leads back."""
    touch(tmp_path / "images/a.png", tmp_path / "images/sub/b.png", tmp_path / "other/c.png")
    (tmp_path / "images/sub/back").symlink_to(tmp_path / "images")
    (tmp_path / "images/up").symlink_to(tmp_path)
    (tmp_path / "images/other").symlink_to(tmp_path / "other")
    (tmp_path / "other/sub").symlink_to(tmp_path / "images/sub")
    assert ids(tmp_path / "images") == ["a", "other/c", "other/sub/b", "sub/b"]


def test_other_kinds_are_known_and_what_lies_beside_images_is_none(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("a.png", "b.jpg", "c.jpg", "d.tif{x}", "e", "a.json", "Thumbs.db", ".hidden")))
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    found = list_files(tmp_path, MASK_EXTENSIONS)
    assert sorted(found.files) == ["a"] and sorted(found.others) == ["b", "c", "d", "e", "gone"]
    assert found.other_kinds(["a"]) is None
    assert found.other_kinds(["a", "b", "c"]) == (
        f"{tmp_path} holds 2 .jpg files, which are not read ('b.jpg', 'c.jpg'); "
        "expected .png, .bmp, .gif, .tif or .tiff"
    )
    sentence = found.other_kinds()
    assert sentence is not None and "2 .jpg files and 1 .tif{x} file and 1 broken link and 1 file without" in sentence


def test_a_suffix_is_no_part_of_the_id(tmp_path: Path) -> None:
    touch(tmp_path / "a_L.png", tmp_path / "a.png", tmp_path / "b_L.jpg")
    found = list_files(tmp_path, (".png",), "_L")
    assert list(found.files) == ["a"] and list(found.others) == ["b"]


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "closed/a.png")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"closed can't be read: Permission denied\."):
        ids(tmp_path)
