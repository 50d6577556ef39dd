"""One implementation of every threshold metric: how many frames pass a threshold, and which number sums that up.

A metric is described by a `CurveMetric`: the quantity per frame, the thresholds, and how the curve becomes one value.
Frame values are turned into *counts of hits* per threshold, so that a mean over sequences, a mean over the sequences of
an attribute and a mean over all frames come from the same array, computed once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = [
    "CENTRE_GRID",
    "FINE_OVERLAP_GRID",
    "GTOT_CENTRE_GRID",
    "NORMALIZED_GRID",
    "OVERLAP_GRID",
    "CurveMetric",
    "average",
    "hits",
    "summary",
]

CENTRE_GRID: tuple[float, ...] = tuple(float(t) for t in range(51))  # pixels
NORMALIZED_GRID: tuple[float, ...] = tuple(k / 100 for k in range(51))
OVERLAP_GRID: tuple[float, ...] = tuple(k / 20 for k in range(21))
FINE_OVERLAP_GRID: tuple[float, ...] = tuple(k / 50 for k in range(51))
GTOT_CENTRE_GRID: tuple[float, ...] = tuple(k / 2 for k in range(51))  # pixels


@dataclass(frozen=True)
class CurveMetric:
    """A metric that is read off a curve of hits over thresholds.

    Attributes:
        name: as printed, e.g. "PR".
        measure: the quantity of a frame; distances pass at or below a threshold, overlaps above it (always strictly).
        thresholds: ascending; pixels for "centre", fractions for the others.
        at: threshold at which the curve is read; None: its whole course counts.
        strict: distances must be below the threshold rather than at or below it.
        trapezoid: with `at=None`, area under the curve by the trapezoidal rule instead of the plain mean.
    """

    name: str
    measure: Literal["centre", "normalized", "overlap"]
    thresholds: tuple[float, ...]
    at: float | None = None
    strict: bool = False
    trapezoid: bool = False


def hits(metric: CurveMetric, values: np.ndarray) -> np.ndarray:
    """Frames that pass each threshold.

    Args:
        metric: which direction and thresholds.
        values: (N,) one per frame; NaN never passes.

    Returns:
        (T,) float64 counts from 0 to N.

    Example:
        >>> hits(CurveMetric("PR", "centre", (0.0, 20.0)), np.array([0.0, 20.0, 20.5, np.nan])).tolist()
        [1.0, 2.0]
    """
    ordered = np.sort(values[~np.isnan(values)])
    if metric.measure == "overlap":
        return (len(ordered) - np.searchsorted(ordered, metric.thresholds, side="right")).astype(np.float64)
    side = "left" if metric.strict else "right"
    return np.searchsorted(ordered, metric.thresholds, side=side).astype(np.float64)


def summary(metric: CurveMetric, curve: np.ndarray) -> float:
    """The one number of a curve of rates: its value at `metric.at`, its mean, or the area below it.

    Args:
        metric: says which.
        curve: (T,) rates in [0, 1], one per threshold.

    Returns:
        A float in [0, 1].
    """
    if metric.at is not None:
        return float(curve[metric.thresholds.index(metric.at)])
    if metric.trapezoid:
        return float(((curve[1:] + curve[:-1]) / 2 * np.diff(metric.thresholds)).sum())
    return float(curve.mean())


def average(counts: np.ndarray, frames: np.ndarray, *, pooled: bool, drop_zero_curves: bool) -> np.ndarray:
    """Curve of rates over several sequences.

    Args:
        counts: (S, T) hits of each sequence.
        frames: (S,) frames of each sequence.
        pooled: every frame weighs the same, instead of every sequence.
        drop_zero_curves: leave out sequences without a hit at any threshold (a habit of the MATLAB toolkits); if that
            is all of them, the curve is 0.

    Returns:
        (T,) rates in [0, 1].

    Raises:
        ValueError: if there is no sequence.
    """
    if not len(counts):
        raise ValueError("cannot average over no sequences")
    if pooled:
        return counts.sum(axis=0) / frames.sum()
    if drop_zero_curves:
        alive = counts.any(axis=1)
        if not alive.any():
            return np.zeros(counts.shape[1])
        counts, frames = counts[alive], frames[alive]
    return (counts / frames[:, None]).mean(axis=0)
