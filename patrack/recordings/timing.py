"""When the frames of a recording were taken, and how many a second; read from the source, not from a setting."""

from __future__ import annotations

import cv2
import numpy as np

from patrack.recordings.naming import frame_times
from patrack.recordings.sequence import FileList, Frames, VideoFrame

__all__ = ["frame_rate", "source_times"]

PAUSE = 1.5
"""An interval longer than this many median ones is a pause, or frames were dropped."""
HIGHEST_RATE = 1000
"""Frames per second; files without a rate of their own (some WebM) say this or more, which is their clock's."""


def source_times(frames: Frames) -> tuple[np.ndarray, float] | None:
    """Find out when frames were taken: from times in the names of images, or the frame rate of a video.

    Args:
        frames: in order, at least one.

    Returns:
        (N,) float64 seconds since the first frame, never falling, and frames per second; None where neither names nor
        video tell.
    """
    if isinstance(frames, FileList):
        times = frame_times(frames.names)
        return None if times is None else (times, frame_rate(times))
    first = frames[0]
    if not isinstance(first, VideoFrame):
        return None
    capture = cv2.VideoCapture(str(first.path))
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    capture.release()
    return (np.arange(len(frames)) / rate, rate) if 0 < rate < HIGHEST_RATE else None


def frame_rate(times: np.ndarray) -> float:
    """Return the frames per second of a camera that took frames at (N,) times, seconds, the last after the first.

    The mean over the intervals without pauses. Where most times are the same (names in whole seconds), over all.
    """
    intervals = np.diff(times)
    median = float(np.median(intervals))
    return 1 / float(np.mean(intervals[intervals <= PAUSE * median] if median > 0 else intervals))
