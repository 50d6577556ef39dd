"""How well a tracker knows that it has lost its target: flags, recoveries, and what its confidence is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

__all__ = ["Flags", "Track", "count_flags", "fit_confidence", "reliability"]

ON_TARGET = 0.5
"""Overlap (IoU) above which a box counts as on its target."""


@dataclass(frozen=True, eq=False)
class Track:
    """A tracker's rows for the N frames of a sequence after the first.

    Attributes:
        overlaps: (N,) IoU with the true box; NaN where there is none.
        absent: (N,) bool: the target can't be seen.
        scores: (N,) in [0, 1].
        lost: (N,) bool: what the tracker says.
    """

    overlaps: np.ndarray
    absent: np.ndarray
    scores: np.ndarray
    lost: np.ndarray


@dataclass(frozen=True)
class Flags:
    """Counts over sequences; an absence is a run of frames without the target.

    Attributes:
        absences: number of them.
        flagged: of them, those in which "lost" was said.
        delay: frames until then, median of the flagged ones; NaN without any.
        returns: absences that end before their sequence does.
        recovered: of them, those after which the box lay on the target again, before the next absence.
        recovery: frames until then, median of the recovered ones; NaN without any.
        false_alarms: frames in 1000 with the box on the target in which "lost" was said.
        missed: share of the frames with a target whose box doesn't overlap with it in which "lost" was not said.
        overlap: mean IoU over the frames with a target.
    """

    absences: int
    flagged: int
    delay: float
    returns: int
    recovered: int
    recovery: float
    false_alarms: float
    missed: float
    overlap: float


def count_flags(tracks: Sequence[Track]) -> Flags:
    """Count what trackers say about absences of their targets, over sequences."""
    delays: list[int] = []
    recoveries: list[int] = []
    absences = returns = 0
    for track in tracks:
        edges = np.flatnonzero(np.diff(np.concatenate([[False], track.absent, [False]]).astype(int)))
        for start, end in edges.reshape(-1, 2).tolist():
            absences += 1
            said = np.flatnonzero(track.lost[start:end])
            delays += said[:1].tolist()
            later = np.flatnonzero(track.absent[end:])
            following = track.overlaps[end : end + int(later[0]) if len(later) else None]
            if len(following):
                returns += 1
                recoveries += np.flatnonzero(following > ON_TARGET)[:1].tolist()
    overlaps, lost = (np.concatenate([getattr(track, key) for track in tracks]) for key in ("overlaps", "lost"))
    known = np.isfinite(overlaps) & ~np.concatenate([track.absent for track in tracks])
    on_target, off = known & (overlaps > ON_TARGET), known & (overlaps <= 0)
    return Flags(
        absences,
        len(delays),
        float(np.median(delays)) if delays else np.nan,
        returns,
        len(recoveries),
        float(np.median(recoveries)) if recoveries else np.nan,
        1000 * float(lost[on_target].mean()) if on_target.any() else np.nan,
        float(1 - lost[off].mean()) if off.any() else np.nan,
        float(overlaps[known].mean()) if known.any() else np.nan,
    )


def on_target(tracks: Sequence[Track]) -> tuple[np.ndarray, np.ndarray]:
    """Return scores (M,), and whether the box lay on the target (M,), of all frames of which that is known."""
    scores, right = [], []
    for track in tracks:
        known = track.absent | np.isfinite(track.overlaps)
        scores.append(track.scores[known])
        right.append((track.overlaps[known] > ON_TARGET) & ~track.absent[known])
    return np.concatenate(scores), np.concatenate(right)


def fit_confidence(tracks: Sequence[Track]) -> tuple[float, float]:
    """Fit slope and offset of `test.confidence` (logistic regression on the logit of the score; Platt, 1999).

    Raises:
        ValueError: all frames are right, or all wrong: nothing can be fitted.
    """
    scores, right = on_target(tracks)
    if right.all() or not right.any():
        raise ValueError(f"of {len(right)} frames, {int(right.sum())} are on the target: no confidence can be fitted")
    x = _logit(scores)

    def loss(parameters: np.ndarray) -> float:
        values = parameters[0] * x + parameters[1]
        return float(np.mean(np.logaddexp(0.0, values) - right * values))

    slope, offset = minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead").x
    return float(slope), float(offset)


def reliability(
    tracks: Sequence[Track], slope: float, offset: float, bins: int = 10
) -> tuple[list[tuple[float, float, int]], float]:
    """Compare confidence with what came true.

    Args:
        tracks: of any number of sequences.
        slope, offset: of the confidence.
        bins: of equal width in [0, 1].

    Returns:
        For each bin that has frames: mean confidence, share on the target, number; and the expected calibration error
        (Naeini et al., AAAI 2015): their mean absolute difference, weighed by number.
    """
    scores, right = on_target(tracks)
    confidence = 1 / (1 + np.exp(-(slope * _logit(scores) + offset)))
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = []
    for place in range(bins):
        inside = places == place
        if inside.any():
            rows.append((float(confidence[inside].mean()), float(right[inside].mean()), int(inside.sum())))
    error = sum(abs(said - true) * count for said, true, count in rows) / len(scores)
    return rows, float(error)


def _logit(scores: np.ndarray) -> np.ndarray:
    clipped = np.clip(scores, 1e-6, 1 - 1e-6)
    return np.log(clipped / (1 - clipped))
