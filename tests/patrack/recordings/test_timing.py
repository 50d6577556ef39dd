"""When frames were taken: from the names of images, from a video, or unknown."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from patrack.recordings.listing import list_frames
from patrack.recordings.naming import frame_times
from patrack.recordings.sequence import FileList
from patrack.recordings.timing import frame_rate, source_times


@pytest.mark.parametrize(
    ("names", "seconds"),
    [
        (["1688123455.900.png", "1688123456.000.png", "1688123456.250.png"], [0, 0.1, 0.35]),
        (["1688123455900.png", "1688123456000.png", "1688123456250.png"], [0, 0.1, 0.35]),
        (["1.900.png", "2.000.png", "2.250.png"], [0, 0.1, 0.35]),
        (["cam_2026-12-31_23-59-59.jpg", "cam_2027-01-01_00-00-01.jpg"], [0, 2]),
        (["23-59-58.png", "23-59-59.png", "00-00-01.png"], [0, 1, 3]),
    ],
    ids=lambda value: str(value[0]),
)
def test_times_of_images_count_from_the_first(names, seconds):
    assert np.allclose(frame_times(names), seconds, atol=1e-6)


@pytest.mark.parametrize(
    "names",
    [["000001.jpg", "000002.jpg"], ["cam_2026-05-01_10-00-00.jpg"], ["2026-05-01_10-00-00_a.jpg"] * 2],
    ids=["numbers", "one-frame", "one-second"],
)
def test_names_without_times_or_with_one_time_tell_none(names):
    assert frame_times(names) is None
    assert source_times(FileList(Path("rgb"), names)) is None


@pytest.mark.parametrize(
    ("times", "rate"),
    [
        ([0, 0.1, 0.2, 0.3], 10),
        ([0, 0.033, 0.067, 0.1], 30),  # rounded to milliseconds
        ([0, 0.1, 0.2, 60.2, 60.3, 60.4], 10),  # a minute's pause
        ([0, 0.04, 0.08, 0.16, 0.2, 0.24], 25),  # a frame that was dropped
        ([0, 0, 0, 0, 1, 1, 1, 1, 2], 4),  # whole seconds
        ([0, 60, 120], 1 / 60),
    ],
)
def test_rate_is_the_cameras(times, rate):
    assert frame_rate(np.array(times, float)) == pytest.approx(rate)


@pytest.mark.parametrize("fps", [12.5, 29.97])
def test_video_tells_its_rate(tmp_path, fps):
    path = tmp_path / "rgb.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (64, 48))
    for value in range(4):
        writer.write(np.full((48, 64, 3), 40 * value, np.uint8))
    writer.release()
    times, rate = source_times(list_frames(path))
    assert rate == pytest.approx(fps)
    assert np.allclose(times, np.arange(4) / fps)


@pytest.mark.parametrize("rate", [0.0, float("nan"), -1.0, 1000.0, 90000.0])
def test_rate_that_is_only_a_clock_of_the_file_is_none(tmp_path, monkeypatch, rate):
    path = tmp_path / "rgb.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    frames = list_frames(path)
    monkeypatch.setattr(cv2.VideoCapture, "get", lambda *_: rate, raising=False)
    assert source_times(frames) is None
