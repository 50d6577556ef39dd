"""Film strips of a report: a few small frames of a sequence in both modalities, and the boxes of all trackers to draw
over them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from lib.datasets import Sequence
from lib.evaluation.ground_truth import GroundTruth
from lib.report.folder import picture_name
from patrack.recordings.frames import read_frame
from patrack.recordings.overlay import panels

__all__ = ["Picture", "Strip", "film_strip"]

STRIP_FRAMES, STRIP_WIDTH, STRIP_QUALITY = 6, 320, 82  # pictures of a strip: pixels at most, JPEG quality


@dataclass(frozen=True)
class Picture:
    """One frame of a strip."""

    frame: int  # number in the sequence, from 0
    files: list[str]  # name of the picture per modality, relative to the report
    truth: list[float] | None  # true box x, y, w, h in pixels of the full image; None: no target
    boxes: list[tuple[int, list[float]]]  # number of the tracker and its box; trackers without one are left out
    overlaps: dict[int, float]  # number of the tracker and its overlap with the true box; empty without a target


@dataclass(frozen=True)
class Strip:
    """Frames of one sequence; `width` and `height` of the full images in pixels."""

    name: str
    width: int
    height: int
    pictures: list[Picture]


def film_strip(
    sequence: Sequence,
    truth: GroundTruth,
    boxes: Mapping[int, np.ndarray],
    overlaps: Mapping[int, np.ndarray],
    stem: str,
) -> tuple[Strip, dict[str, bytes]]:
    """Make the pictures of a sequence, and what to draw over them.

    Args:
        sequence, truth: its images, and its annotation row by row.
        boxes: (N, 4) xywh by number of the tracker.
        overlaps: (N,) by number of the tracker, NaN where there is no target.
        stem: start of the picture names; nothing of the data set gets into a file name.

    Returns:
        The strip, and JPEG files by name.

    Raises:
        ValueError: annotation and images disagree in number, or an image cannot be read.
    """
    frames, rows = len(sequence), truth.frames
    step = 1 if frames == rows else round(frames / max(rows, 1))  # frames per annotation row
    if step < 1 or (rows - 1) * step >= frames or frames > rows * step:
        raise ValueError(f"sequence {sequence.name}: {frames} images, but {rows} annotation rows")
    pictures, width, height = [], 1, 1
    contents: dict[str, bytes] = {}
    for row in np.unique(np.linspace(0, rows - 1, STRIP_FRAMES).round().astype(int)).tolist():
        frame = read_frame(sequence, row * step)
        height, width = frame.shape[:2]
        # a small picture per modality
        scale = min(1.0, STRIP_WIDTH / width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        files = []
        for kind, part in zip(("rgb", "x"), panels(frame, sequence.modality), strict=False):
            small = cv2.resize(np.ascontiguousarray(part[:, :, ::-1]), size, interpolation=cv2.INTER_AREA)
            _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, STRIP_QUALITY])
            files.append(picture_name(f"{stem}-{row}-{kind}", data.tobytes()))
            contents[files[-1]] = data.tobytes()
        # the boxes to draw over it
        absent = truth.absent is not None and bool(truth.absent[row])
        placed = [(k, box) for k, its in boxes.items() if (box := _drawable(its[row])) is not None]
        measured = {k: float(values[row]) for k, values in overlaps.items() if not np.isnan(values[row])}
        true_box = None if absent else _drawable(truth.boxes[0][row])
        pictures.append(Picture(row * step, files, true_box, placed, measured))
    return Strip(sequence.name, width, height, pictures), contents


def _drawable(box: np.ndarray) -> list[float] | None:
    """Round a box (4,) xywh to tenths of a pixel; None if it has no size or lies anywhere."""
    usable = bool(np.isfinite(box).all()) and box[2] > 0 and box[3] > 0 and bool((np.abs(box) < 1e6).all())
    return [round(float(value), 1) for value in box] if usable else None
