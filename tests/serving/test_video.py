"""Videos: every frame labelled, in order, at the video's size and rate."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from load_tf.errors import UserError
from load_tf.serving import image_files

cv2 = pytest.importorskip("cv2", reason="needs OpenCV (pip install opencv-python-headless)")


@dataclasses.dataclass
class Bright:
    """A segmentor that calls bright pixels class 1; it notes the sizes of its batches."""

    colours: np.ndarray = dataclasses.field(default_factory=lambda: np.array([[0, 0, 0], [250, 0, 0]], np.uint8))
    max_pixels: int = 10_000
    batches: list[int] = dataclasses.field(default_factory=list)

    def refusal(self, height: int, width: int) -> str | None:
        return "is too wide." if width > 1000 else None

    def label_maps(self, images: np.ndarray) -> np.ndarray:
        self.batches.append(len(images))
        return (images.mean(-1) > 128).astype(np.uint8)


@pytest.fixture(name="video")
def _video(tmp_path: Path) -> Path:
    """Seven frames of 48 x 64 at 10 a second; in frame i the left 8 i columns are white, the rest is black."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for i in range(7):
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[:, : 8 * i] = 255
        writer.write(frame)
    writer.release()
    return path


def frames(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    found = []
    while (read := capture.read())[0]:
        found.append(read[1][..., ::-1].astype(int))
    return found


def test_every_frame_is_labelled_in_order(video: Path, tmp_path: Path) -> None:
    from load_tf.serving.video import label_video

    segmentor: Any = Bright()
    done = label_video(segmentor, video, tmp_path / "out", batch_size=3)
    assert (done.file, done.frames, segmentor.batches) == (tmp_path / "out/clip_overlay.mp4", 7, [3, 3, 1])
    found = frames(done.file)
    assert len(found) == 7 and found[0].shape == (48, 64, 3)
    assert cv2.VideoCapture(str(done.file)).get(cv2.CAP_PROP_FPS) == pytest.approx(10, abs=0.01)
    # White under half of (250, 0, 0) is (252, 128, 128); black stays black. The codec loses some.
    white, black = found[3][:, 2:20].mean((0, 1)), found[3][:, 30:].mean((0, 1))
    np.testing.assert_allclose(white, [252, 128, 128], atol=12)
    np.testing.assert_allclose(black, [0, 0, 0], atol=12)
    assert [round(float((frame[24, :, 0] > 128).sum()) / 8) for frame in found] == list(range(7))
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["clip_overlay.mp4"]


def test_what_cannot_be_labelled_is_named(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from load_tf.serving.video import label_video

    segmentor: Any = Bright()
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    with pytest.raises(UserError, match=r"broken\.mp4 can't be read as a video"):
        label_video(segmentor, tmp_path / "broken.mp4", tmp_path)
    with pytest.raises(UserError, match="48 x 64 pixels; the model takes 100"):
        label_video(Bright(max_pixels=100), video, tmp_path)  # type: ignore[arg-type]
    (tmp_path / "clip_overlay.mp4").write_bytes(b"mine")
    with pytest.raises(UserError, match="exists already"):
        label_video(segmentor, video, tmp_path)
    assert (tmp_path / "clip_overlay.mp4").read_bytes() == b"mine"
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(UserError, match="takes OpenCV"):
        label_video(segmentor, video, tmp_path / "out")


def test_videos_are_told_from_images(video: Path, tmp_path: Path) -> None:
    patterns = ["photo.jpg", str(video), str(tmp_path), "absent.mp4"]
    assert image_files.divide(patterns) == (["photo.jpg", str(tmp_path), "absent.mp4"], [video])
