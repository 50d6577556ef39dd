"""scripts/prepare_real_videos.py on tiny made-up videos, with a stand-in for NanoTrack."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from commands import load_command
from lib.datasets import load
from patrack.recordings.frames import read_frame

HEIGHT, WIDTH, SIDE = 48, 64, 12


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_command("scripts/prepare_real_videos.py")


def draw(x: int, y: int = 18) -> np.ndarray:
    """(H, W, 3): a white square on black."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[y : y + SIDE, x : x + SIDE] = 255
    return image


class SquareTracker:
    """Finds the white square; unsure where there is none."""

    def init(self, image: np.ndarray, box: tuple[int, ...]) -> None:
        self.score = 1.0

    def update(self, image: np.ndarray) -> tuple[bool, tuple[int, ...]]:
        bright = (image.max(axis=2) > 128).astype(np.uint8)
        self.score = float(bright.any())
        return True, tuple(cv2.boundingRect(bright))

    def getTrackingScore(self) -> float:
        return self.score


class StuckTracker(SquareTracker):
    """Backwards, it stays where it starts."""

    made = 0

    def __init__(self) -> None:
        self.backwards = StuckTracker.made > 0
        StuckTracker.made += 1

    def init(self, image: np.ndarray, box: tuple[int, ...]) -> None:
        super().init(image, box)
        self.box = box

    def update(self, image: np.ndarray) -> tuple[bool, tuple[int, ...]]:
        found, box = super().update(image)
        return found, self.box if self.backwards else box


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (WIDTH, HEIGHT))
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write AVI files")
    for frame in frames:
        writer.write(frame)
    writer.release()


def write_davis(folder: Path, names: tuple[str, ...], size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    for name in names:
        (folder / name / "img").mkdir(parents=True)
        for k in range(3):
            cv2.imwrite(str(folder / name / "img" / f"{k:05d}.jpg"), np.full((*size, 3), 40 * k, np.uint8))
        (folder / name / "groundtruth_rect.txt").write_text("10.0,20.0,30.0,16.0\n" * 3)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    write_video(folder / "walk.avi", [draw(k) for k in range(24)])
    return folder


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    path = tmp_path / "boxes.csv"
    path.write_text(
        "video,object,start,end,x,y,w,h\nwalk,square0,0,,0,18,12,12\nwalk,square5,5,16,5,18,12,12\n"
        "walk,late,20,,20,18,12,12\nelsewhere,a,0,,0,0,9,9\n"
    )
    return path


def test_follows_a_moving_target_to_the_last_frame(script: ModuleType) -> None:
    boxes = script.follow([draw(2 * k) for k in range(20)], (0, 18, SIDE, SIDE), SquareTracker)
    assert boxes == [(2 * k, 18, SIDE, SIDE) for k in range(20)]


def test_track_ends_before_the_target_is_gone(script: ModuleType) -> None:
    frames = [draw(k) for k in range(25)] + [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 10
    boxes = script.follow(frames, (0, 18, SIDE, SIDE), SquareTracker)
    assert len(boxes) == 1 + script.CHUNK + script.CHUNK // 2  # the second chunk is good for its first half only


def test_track_ends_where_the_way_back_leads_elsewhere(script: ModuleType) -> None:
    StuckTracker.made = 0
    boxes = script.follow([draw(k) for k in range(30)], (0, 18, SIDE, SIDE), StuckTracker)
    assert len(boxes) == 1 + script.CHUNK // 5  # 3 pixels of 12 aside: IoU 9/15; 7 pixels: less


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        pytest.param((0, 0, 4, 4), (0, 0, 4, 4), 1.0, id="same"),
        pytest.param((0, 0, 4, 4), (2, 0, 4, 4), 8 / 24, id="half"),
        pytest.param((0, 0, 4, 4), (4, 0, 4, 4), 0.0, id="touching"),
    ],
)
def test_overlap(script: ModuleType, a: tuple[int, ...], b: tuple[int, ...], expected: float) -> None:
    assert script.iou(a, b) == pytest.approx(expected)


def test_readers_read_what_was_made(
    script: ModuleType, tmp_path: Path, clips: Path, boxes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "nano_tracker", lambda folder: SquareTracker)
    write_davis(tmp_path / "davis", ("goat", "libby", "paragliding-launch"))  # the last one is left out
    held_out = tmp_path / "held_out.txt"
    held_out.write_text("libby\n")
    options = ["--davis", str(tmp_path / "davis"), "--clips", str(clips), "--nano", str(tmp_path)]
    options += ["--boxes", str(boxes), "--held-out", str(held_out)]
    root = tmp_path / "data" / "RealVideo"
    assert script.main(["--output", str(root), *options]) == 0
    train = load("realvideo", "train", data_root=tmp_path / "data")
    assert [s.name for s in train] == ["davis_goat", "walk_square0", "walk_square5"]  # "late" has 4 frames only
    assert [s.name for s in load("realvideo", "val", root)] == ["davis_libby"]
    assert [len(s.boxes) for s in train] == [3, 24, 12]
    np.testing.assert_array_equal(train[2].boxes[4], (9, 18, 12, 12))
    assert np.abs(read_frame(train[2], 4).astype(int) - draw(9)).mean() < 3  # the frame that belongs to the box
    assert train[1].rgb_files[5].samefile(train[2].rgb_files[0])  # stored once
    sources = json.loads((root / "sources.json").read_text())
    assert [(e["name"], e["split"], e["frames"]) for e in sources] == [
        ("davis_goat", "train", 3),
        ("davis_libby", "val", 3),
        ("walk_square0", "train", 24),
        ("walk_square5", "train", 12),
    ]
    assert all(e["license"] and e["source"] for e in sources)

    assert script.main(["--output", str(tmp_path / "again"), *options]) == 0
    for file in sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file()):
        assert (root / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def test_large_frames_shrink_with_their_boxes(script: ModuleType, tmp_path: Path) -> None:
    write_davis(tmp_path / "davis", ("goat",), size=(96, 2 * script.LONGER_SIDE))
    (tmp_path / "none.txt").write_text("")
    script.add_davis(tmp_path / "davis", [], tmp_path / "out")
    folder = tmp_path / "out" / "train" / "davis_goat"
    assert cv2.imread(str(folder / "img" / "000001.jpg")).shape == (48, script.LONGER_SIDE, 3)
    assert (folder / "groundtruth.txt").read_text() == "5,10,15,8\n" * 3


def test_packed_video_is_read(script: ModuleType, tmp_path: Path, clips: Path) -> None:
    packed = tmp_path / "walk.avi.gz"
    packed.write_bytes(gzip.compress((clips / "walk.avi").read_bytes()))
    assert len(script.read_video(packed)) == 24


def test_first_boxes_of_the_repository_can_be_read(script: ModuleType) -> None:
    rows = script.read_first_boxes(script.BOXES)
    assert len({row.video for row in rows}) >= 8
    assert all(row.end is None or row.end > row.start for row in rows)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param("walk,a,0,,1,2,x,4", "line 2: not video,object", id="no number"),
        pytest.param("walk,a,0,,1,2,0,4", "line 2: needs a box", id="empty box"),
        pytest.param("walk,../a,0,,1,2,3,4", "line 2: names may hold", id="name that leads elsewhere"),
        pytest.param("walk,a,0,,1,2,3,4\nwalk,a,9,,1,2,3,4", "line 3: a of walk is listed twice", id="twice"),
    ],
)
def test_bad_first_box_is_an_error(script: ModuleType, tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text("video,object,start,end,x,y,w,h\n" + row + "\n")
    with pytest.raises(ValueError, match=message):
        script.read_first_boxes(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param([], "no source", id="nothing to read"),
        pytest.param(["--clips", "CLIPS"], "give --nano", id="no tracker"),
        pytest.param(
            ["--clips", "CLIPS", "--nano", "CLIPS"], "nanotrackv2_nanotrack_backbone_sim.onnx: not there", id="no files"
        ),
        pytest.param(["--davis", "CLIPS"], "no groundtruth_rect.txt of", id="held-out sequence missing"),
        pytest.param(["--davis", "nowhere"], "nowhere: no such folder", id="no folder"),
    ],
)
def test_mistake_is_named_and_nothing_is_written(
    script: ModuleType,
    tmp_path: Path,
    clips: Path,
    boxes: Path,
    caplog: pytest.LogCaptureFixture,
    options: list[str],
    message: str,
) -> None:
    words = [str(clips) if word == "CLIPS" else word for word in options]
    with caplog.at_level(logging.ERROR):
        assert script.main(["--output", str(tmp_path / "out"), "--boxes", str(boxes), *words]) == 1
    assert message in caplog.records[-1].getMessage()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boxes.csv", "clips"]


def test_box_outside_the_video_is_an_error(script: ModuleType, tmp_path: Path, clips: Path) -> None:
    first = script.FirstBox("walk", "a", 0, None, (60, 10, 12, 12))
    with pytest.raises(ValueError, match=r"walk.avi: start 0, box .* 24 frames of 64x48"):
        script.add_video(clips / "walk.avi", "free", [first], SquareTracker, tmp_path / "out")


def test_output_that_exists_is_left_alone(script: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert script.main(["--output", str(tmp_path), "--davis", str(tmp_path)]) == 1
    assert "is there already" in caplog.text
