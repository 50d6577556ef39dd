"""Boxes of a tracker against the annotation of a recording: overlap, and how long the target is held."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lib.datasets.sequence import Sequence, shows_target
from lib.evaluation.boxes import iou

__all__ = ["RecordingScores", "mean_scores", "measure"]

HIT = 0.5
LOST = 0.2
"""Overlap below which a target counts as lost, if it stays so ..."""
LOST_FOR = 10
"""... for this many frames, or to the last annotated one."""


@dataclass(frozen=True)
class RecordingScores:
    """Scores of one tracker on one recording, over its annotated frames after the first.

    Attributes:
        boxes: (N, 4) xywh, pixels, of every frame.
        overlaps: (N,) intersection over union; NaN in the first frame and where there is no true box.
        mean_iou: mean of them.
        above_half: share above 0.5.
        held: number of frames until the target is lost: the first annotated frame of a stretch with an overlap below
            0.2 that lasts at least 10 frames or to the last annotated one; N if there is none.
        lost: whether there is one.
        fps: frames per second of tracking, from the median time of a frame, without reading files.
    """

    boxes: np.ndarray
    overlaps: np.ndarray
    mean_iou: float
    above_half: float
    held: int
    lost: bool
    fps: float


def measure(boxes: np.ndarray, recording: Sequence, times: np.ndarray | None = None) -> RecordingScores:
    """Compare boxes with the annotation.

    Args:
        boxes: (N, 4) xywh, pixels; row 0 is the given one and doesn't count.
        recording: of N frames.
        times: (N,) seconds per frame; None: `fps` is NaN.

    Raises:
        ValueError: another number of boxes than frames, or no annotated frame after the first.
    """
    if boxes.shape != recording.boxes.shape:
        raise ValueError(f"recording {recording.name}: {len(recording)} frames, but boxes of shape {boxes.shape}")
    known = shows_target(recording)
    known[0] = False
    if not known.any():
        raise ValueError(f"recording {recording.name}: no annotated frame after the first")
    overlaps = np.where(known, iou(boxes, recording.boxes), np.nan)

    # The target is lost where the first stretch of misses begins that is long enough or reaches the last annotated
    # frame; between annotated frames nothing is assumed.
    rows = np.flatnonzero(np.isfinite(overlaps)).tolist()
    start, lost = len(boxes), False
    for row in rows:
        start = min(start, row) if overlaps[row] < LOST else len(boxes)
        lost = start <= row and (row - start + 1 >= LOST_FOR or row == rows[-1])
        if lost:
            break

    return RecordingScores(
        boxes,
        overlaps,
        mean_iou=float(overlaps[known].mean()),
        above_half=float((overlaps[known] > HIT).mean()),
        held=start,
        lost=lost,
        fps=np.nan if times is None else 1 / float(np.median(times[1:])),
    )


def mean_scores(scores: Iterable[RecordingScores]) -> dict[str, float]:
    """Average every measure over recordings, each counting once, and count the lost ones.

    Args:
        scores: at least one.
    """
    scores = list(scores)
    means = {
        key: float(np.mean([getattr(o, key) for o in scores])) for key in ("mean_iou", "above_half", "held", "fps")
    }
    return {**means, "lost": sum(o.lost for o in scores), "recordings": len(scores)}
