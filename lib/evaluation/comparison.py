"""Trackers side by side on annotated recordings: same frames, same first box, same measures.

recordings = find_recordings(Path("recordings"))
mean_ious(model, recordings)        # {"cup": 0.81, ...}, for a model in training
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import nn

from lib.datasets.decoded import DecodedFrame
from lib.datasets.sequence import Sequence, rgb_only, shows_target
from lib.evaluation.boxes import iou
from lib.inference.runner import track_frames
from patrack.tracker import Tracker

__all__ = [
    "Contestant",
    "FrameTracker",
    "RecordingScores",
    "compare",
    "mean_ious",
    "mean_scores",
    "measure",
]

HIT = 0.5
LOST = 0.2
"""Overlap below which a target counts as lost, if it stays so ..."""
LOST_FOR = 10
"""... for this many frames, or to the last annotated one."""


class FrameTracker(Protocol):
    """What is compared: `patrack.tracker.Tracker` or anything with its two methods."""

    def initialize(self, frame: DecodedFrame, box_xywh: np.ndarray) -> None:
        """Start on the target at (4,) xywh, pixels."""
        ...

    def track(self, frame: DecodedFrame) -> tuple[np.ndarray, float]:
        """Box (4,) xywh, pixels, and score in the next frame."""
        ...


@dataclass(frozen=True)
class Contestant:
    """A tracker under its name.

    Attributes:
        name: a column of the table.
        trackers: by what they read: "rgb" takes the RGB frames of any recording, "rgbt", "rgbd", "rgbe" take those
            recordings with X; a recording gets the one for its modality, else the one for "rgb".
    """

    name: str
    trackers: Mapping[str, FrameTracker]

    def enter(self, recording: Sequence) -> tuple[FrameTracker, Sequence] | None:
        """Its tracker for a recording and the recording as it reads it; None if it has no tracker for it."""
        if recording.modality in self.trackers:
            return self.trackers[recording.modality], recording
        return (self.trackers["rgb"], rgb_only(recording)) if "rgb" in self.trackers else None


@dataclass(frozen=True)
class RecordingScores:
    """How one tracker did on one recording, over its annotated frames after the first.

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
    start = _lost_at(overlaps)
    fps = np.nan if times is None else 1 / float(np.median(times[1:]))
    return RecordingScores(
        boxes,
        overlaps,
        mean_iou=float(overlaps[known].mean()),
        above_half=float((overlaps[known] > HIT).mean()),
        held=len(boxes) if start is None else start,
        lost=start is not None,
        fps=fps,
    )


def _lost_at(overlaps: np.ndarray) -> int | None:
    """First frame of the first stretch of misses that is long enough; between annotated frames nothing is assumed."""
    rows = np.flatnonzero(np.isfinite(overlaps)).tolist()
    start = None
    for row in rows:
        if overlaps[row] >= LOST:
            start = None
        else:
            start = row if start is None else start
            if row - start + 1 >= LOST_FOR or row == rows[-1]:
                return start
    return None


def compare(
    contestants: Iterable[Contestant],
    recordings: Iterable[Sequence],
    on_scores: Callable[[Sequence, str, RecordingScores], None] | None = None,
) -> dict[str, dict[str, RecordingScores]]:
    """Run every contestant over every recording from the recording's first box.

    Args:
        contestants: with different names.
        recordings: annotated, with different names.
        on_scores: called after each run with recording, name of the contestant and score.

    Returns:
        RecordingScores by recording and contestant; a contestant without a tracker for a recording is left out there.

    Raises:
        TrackingError: a frame can't be read, or doesn't suit a tracker.
    """
    contestants, scores = list(contestants), {}
    for recording in recordings:
        scores[recording.name] = {}
        for contestant in contestants:
            entered = contestant.enter(recording)
            if entered is None:
                continue
            tracker, seen = entered
            result = track_frames(tracker, seen, recording.boxes[0])
            score = measure(result.boxes, recording, result.times)
            scores[recording.name][contestant.name] = score
            if on_scores is not None:
                on_scores(recording, contestant.name, score)
    return scores


def mean_scores(scores: Iterable[RecordingScores]) -> dict[str, float]:
    """Mean of every measure over recordings, each counting once, and how many were lost.

    Args:
        scores: at least one.
    """
    scores = list(scores)
    means = {
        key: float(np.mean([getattr(o, key) for o in scores])) for key in ("mean_iou", "above_half", "held", "fps")
    }
    return {**means, "lost": sum(o.lost for o in scores), "recordings": len(scores)}


def mean_ious(tracker: nn.Module | FrameTracker, recordings: Iterable[Sequence]) -> dict[str, float]:
    """Mean overlap on each recording, such as those a training is to be judged by.

    Args:
        tracker: a model, which is left as it is, training mode included, and tracked with the default crop settings;
            or a tracker. A model of one stream "rgb" sees RGB only; others need recordings with X.
        recordings: from `lib.datasets.recordings.find_recordings`.

    Returns:
        Mean IoU by the recording's name.

    Raises:
        TrackingError: a frame can't be read, or doesn't suit the tracker.
    """
    if not isinstance(tracker, nn.Module):
        return _mean_ious(tracker, recordings)
    training = [module for module in tracker.modules() if module.training]
    try:
        return _mean_ious(Tracker(tracker), recordings)
    finally:
        for module in training:
            module.training = True


def _mean_ious(tracker: FrameTracker, recordings: Iterable[Sequence]) -> dict[str, float]:
    alone = isinstance(tracker, Tracker) and tracker.network.streams == "rgb"
    scores = {}
    for recording in recordings:
        seen = rgb_only(recording) if alone else recording
        scores[recording.name] = measure(track_frames(tracker, seen, recording.boxes[0]).boxes, recording).mean_iou
    return scores
