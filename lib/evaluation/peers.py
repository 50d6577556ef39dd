"""Trackers that OpenCV brings along, behind the interface of ours: NanoTrack and CSRT. They see RGB only.

NanoTrack's two networks are files of their own (Apache-2.0, https://github.com/HonglinChu/SiamTrackers); CSRT
(https://arxiv.org/abs/1611.08461) is part of the `opencv-contrib` distributions of cv2.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lib.datasets.decoded import DecodedFrame

__all__ = ["NANO_FILES", "OpenCVTracker", "csrt_tracker", "nano_files", "nano_tracker"]

NANO_FILES = (
    ("nanotrackv2_nanotrack_backbone_sim.onnx", "nanotrackv2_nanotrack_head_sim.onnx"),
    ("nanotrack_backbone_sim.onnx", "nanotrack_head_sim.onnx"),
    ("backbone.onnx", "neckhead.onnx"),
)
"""Names of backbone and head that are looked for, in this order."""


class OpenCVTracker:
    """One of cv2's trackers. Its boxes are whole pixels; where it finds nothing, the last box stays, with score 0.

    Args:
        make: a function that returns a new cv2 tracker.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        make()  # so that files that are not what they should be are reported at once
        self._box = np.zeros(4)

    def initialize(self, frame: DecodedFrame, box_xywh: np.ndarray) -> None:
        """Start on a new target.

        Args:
            frame: (H, W, 3 or 6).
            box_xywh: (4,), pixels; rounded.
        """
        self._box = np.array(box_xywh, dtype=np.float64)
        left, top, width, height = np.rint(self._box).astype(int).tolist()
        self._tracker = self._make()
        self._tracker.init(_bgr(frame), (left, top, max(width, 1), max(height, 1)))

    def track(self, frame: DecodedFrame) -> tuple[np.ndarray, float]:
        """Box (4,) xywh, pixels, in the next frame; score: 1 found, 0 not."""
        found, box = self._tracker.update(_bgr(frame))
        if found:
            self._box = np.array(box, dtype=np.float64)
        return self._box.copy(), float(found)


def _bgr(frame: DecodedFrame) -> np.ndarray:
    """(H, W, 3) uint8; no copy of a frame that was decoded by OpenCV."""
    pixels, backwards = frame.planes[0]
    if backwards and pixels.ndim == 3:
        return pixels
    return cv2.cvtColor(frame.rgb().image(), cv2.COLOR_RGB2BGR)


def nano_files(folder: Path) -> tuple[Path, Path]:
    """Backbone and head of NanoTrack in a folder.

    Raises:
        FileNotFoundError: no pair of `NANO_FILES` is there.
    """
    for names in NANO_FILES:
        backbone, head = (folder / name for name in names)
        if backbone.is_file() and head.is_file():
            return backbone, head
    pairs = "; ".join(" and ".join(names) for names in NANO_FILES)
    there = sorted(path.name for path in folder.glob("*.onnx")) if folder.is_dir() else "no such folder"
    raise FileNotFoundError(
        f"{folder}: NanoTrack's files are missing; looked for {pairs}; there: {there or 'no .onnx file'}"
    )


def nano_tracker(folder: Path) -> OpenCVTracker:
    """`cv2.TrackerNano` with the files of a folder.

    Raises:
        FileNotFoundError: see `nano_files`.
        ValueError: this cv2 has no TrackerNano, or can't read the files.
    """
    if not hasattr(cv2, "TrackerNano"):
        raise ValueError(f"OpenCV {cv2.__version__} has no TrackerNano; 4.7 and newer have it")
    parameters = cv2.TrackerNano_Params()
    backbone, head = nano_files(folder)
    parameters.backbone, parameters.neckhead = str(backbone), str(head)

    def make() -> Any:
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # OpenCV 5 warns of its own default
        try:
            return cv2.TrackerNano_create(parameters)
        finally:
            cv2.utils.logging.setLogLevel(level)

    try:
        return OpenCVTracker(make)
    except cv2.error as error:
        raise ValueError(f"{backbone} and {head}: OpenCV {cv2.__version__} can't read them: {error}") from error


def csrt_tracker() -> OpenCVTracker | None:
    """`cv2.TrackerCSRT`; None if this cv2 has none, as those without contrib modules."""
    return OpenCVTracker(lambda: cv2.TrackerCSRT_create()) if hasattr(cv2, "TrackerCSRT_create") else None
