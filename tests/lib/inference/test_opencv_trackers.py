"""OpenCV's trackers behind the interface of ours."""

import cv2
import numpy as np
import pytest

from lib.inference.comparison import NANO_FILES, OpenCVTracker, csrt_tracker, nano_tracker
from patrack.recordings.frames import DecodedFrame, Plane

IMAGE = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)


class Answers:
    """A cv2 tracker that finds, loses and finds its target."""

    def init(self, image, box):
        self.image, self.box, self.left = (
            image,
            box,
            [(True, (5, 6, 7, 8)), (False, (0, 0, 0, 0)), (True, (1, 2, 3, 4))],
        )

    def update(self, image):
        return self.left.pop(0)


def test_last_box_stays_where_nothing_is_found():
    tracker = OpenCVTracker(Answers)
    frame = DecodedFrame.from_image(IMAGE)
    tracker.initialize(frame, np.array([4.0, 5.0, 6.0, 7.0]))
    found = [tracker.track(frame) for _ in range(3)]
    assert [(box.tolist(), score) for box, score in found] == [
        ([5, 6, 7, 8], 1),
        ([5, 6, 7, 8], 0),
        ([1, 2, 3, 4], 1),
    ]


def test_first_box_is_rounded_and_has_at_least_a_pixel():
    made = []
    tracker = OpenCVTracker(lambda: made.append(Answers()) or made[-1])
    tracker.initialize(DecodedFrame.from_image(IMAGE), np.array([153.7, 82.4, 0.3, 81.6]))
    assert made[-1].box == (154, 82, 1, 82)


@pytest.mark.parametrize(
    "frame",
    [
        DecodedFrame.from_image(IMAGE),
        DecodedFrame.from_image(np.concatenate((IMAGE, IMAGE), axis=2)),
        DecodedFrame((Plane(np.ascontiguousarray(IMAGE[:, :, ::-1]), backwards=True),)),
    ],
    ids=["rgb", "rgb and x", "as decoded"],
)
def test_opencv_gets_blue_green_red(frame):
    made = []
    tracker = OpenCVTracker(lambda: made.append(Answers()) or made[-1])
    tracker.initialize(frame, np.array([4.0, 5.0, 6.0, 7.0]))
    np.testing.assert_array_equal(made[-1].image, IMAGE[:, :, ::-1])


def test_missing_nano_files_are_named(tmp_path):
    (tmp_path / "other.onnx").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=rf"{NANO_FILES[0][0]} and {NANO_FILES[0][1]}.*other\.onnx"):
        nano_tracker(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        nano_tracker(tmp_path / "none")


def test_nano_files_that_are_no_networks_are_refused_at_once(tmp_path):
    for name in NANO_FILES[0]:
        (tmp_path / name).write_bytes(b"no network")
    with pytest.raises(ValueError, match=f"{NANO_FILES[0][0]} and .*can't read"):
        nano_tracker(tmp_path)


def test_csrt_is_none_where_opencv_has_none():
    assert (csrt_tracker() is None) == (not hasattr(cv2, "TrackerCSRT_create"))
