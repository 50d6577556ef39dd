"""Scoring one tracker under the rules of a protocol: `score_one_pass`, `score_long_term`, `score_multi_start`.

In a one-pass benchmark `frame_values` gives distance and overlap per frame. Those become *counts of hits* per
threshold, so that a mean over sequences, a mean over the sequences of an attribute and a mean over all frames come from
the same array, computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from typing import TYPE_CHECKING

import numpy as np

from lib.evaluation.boxes import (
    center_error,
    corners_to_xywh,
    iou,
    normalized_center_error,
    raster_overlap,
    round_half_away,
)
from lib.evaluation.scores import Curve, TrackerScores, primary_metric
from patrack.recordings.sequence import first_few

if TYPE_CHECKING:
    from lib.evaluation.ground_truth import GroundTruth
    from lib.evaluation.protocols import LongTerm, MultiStart, OnePass

__all__ = [
    "CENTER_GRID",
    "FINE_OVERLAP_GRID",
    "GTOT_CENTER_GRID",
    "MEASURES",
    "NORMALIZED_GRID",
    "OVERLAP_GRID",
    "CurveMetric",
    "Measure",
    "Run",
    "average",
    "confidence_thresholds",
    "expected_overlap",
    "frame_values",
    "hits",
    "overlap_sums",
    "same_curve",
    "score_long_term",
    "score_multi_start",
    "score_one_pass",
    "summary",
    "to_boxes",
]

CENTER_GRID: tuple[float, ...] = tuple(float(t) for t in range(51))  # pixels
NORMALIZED_GRID: tuple[float, ...] = tuple(k / 100 for k in range(51))
OVERLAP_GRID: tuple[float, ...] = tuple(k / 20 for k in range(21))
FINE_OVERLAP_GRID: tuple[float, ...] = tuple(k / 50 for k in range(51))
GTOT_CENTER_GRID: tuple[float, ...] = tuple(k / 2 for k in range(51))  # pixels


@dataclass(frozen=True)
class Measure:
    """A quantity of a frame that thresholds are put on.

    Attributes:
        of: boxes and true boxes, both (N, 4) xywh in pixels, to (N,) values; NaN: none, a miss.
        high: a high value is a good one, which passes above a threshold; else a low one is, at or below it.
        threshold: what to call a threshold on it, on the axis of a plot.
        rate: what to call the share of frames that pass.
    """

    of: Callable[[np.ndarray, np.ndarray], np.ndarray]
    high: bool
    threshold: str
    rate: str


MEASURES = {
    "center": Measure(center_error, False, "centre error threshold (pixels)", "precision"),
    "normalized": Measure(normalized_center_error, False, "normalised centre error threshold", "normalised precision"),
    "overlap": Measure(iou, True, "overlap threshold", "success rate"),
}


@dataclass(frozen=True)
class CurveMetric:
    """A metric that is read off a curve of hits over thresholds.

    Attributes:
        name: as printed, e.g. "PR".
        measure: a key of `MEASURES`; distances pass at or below a threshold, overlaps above it (always strictly).
        thresholds: ascending; pixels for "center", fractions for the others.
        at: threshold at which the curve is read; None: its whole course counts.
        strict: distances must be below the threshold rather than at or below it.
        trapezoid: with `at=None`, area under the curve by the trapezoidal rule instead of the plain mean.
    """

    name: str
    measure: str
    thresholds: tuple[float, ...]
    at: float | None = None
    strict: bool = False
    trapezoid: bool = False


def hits(metric: CurveMetric, values: np.ndarray) -> np.ndarray:
    """Count the frames, of (N,) values, that pass each of the T thresholds; NaN never passes.

    Returns:
        (T,) float64 counts from 0 to N.

    Example:
        >>> hits(CurveMetric("PR", "center", (0.0, 20.0)), np.array([0.0, 20.0, 20.5, np.nan])).tolist()
        [1.0, 2.0]
    """
    ordered = np.sort(values[~np.isnan(values)])
    if MEASURES[metric.measure].high:
        return (len(ordered) - np.searchsorted(ordered, metric.thresholds, side="right")).astype(np.float64)
    return np.searchsorted(ordered, metric.thresholds, side="left" if metric.strict else "right").astype(np.float64)


def summary(metric: CurveMetric, curve: np.ndarray) -> float:
    """Sum up a curve, (T,) rates in [0, 1], in one number: its value at `metric.at`, its mean, or the area below it."""
    if metric.at is not None:
        return float(curve[metric.thresholds.index(metric.at)])
    if metric.trapezoid:
        return float(((curve[1:] + curve[:-1]) / 2 * np.diff(metric.thresholds)).sum())
    return float(curve.mean())


def same_curve(metric: CurveMetric, other: CurveMetric) -> bool:
    """Tell whether two metrics are read off the same curve."""
    return (metric.measure, metric.thresholds, metric.strict) == (other.measure, other.thresholds, other.strict)


def average(counts: np.ndarray, frames: np.ndarray, *, pooled: bool, drop_zero_curves: bool) -> np.ndarray:
    """Average the curves of several sequences.

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


def to_boxes(protocol: OnePass, rows: np.ndarray, *, corners: bool) -> np.ndarray:
    """Make (N, 4) boxes xywh, pixels, from rows of a result file, (N, 4) or (N, 8), rounded as the protocol has it."""
    if protocol.round_results:
        rows = np.round(rows.astype(np.float32)).astype(np.float64)
    if not corners:
        return rows
    boxes = corners_to_xywh(rows)
    boxes[:, 2:] += protocol.corner_extent
    return round_half_away(boxes) if protocol.round_corners and rows.shape[1] == 8 else boxes


def frame_values(protocol: OnePass, truth: GroundTruth, boxes: np.ndarray) -> dict[str, np.ndarray]:
    """Measure distance and overlap of every frame after the protocol's repairs and special frames.

    Args:
        protocol: the rules.
        truth: of the sequence.
        boxes: (N, 4) xywh, pixels, one row per annotation row.

    Returns:
        (N,) by the names of `MEASURES`: "center" (pixels), "normalized" and "overlap"; NaN counts as a miss everywhere,
        and -1 as a hit in a distance and a miss in an overlap.
    """
    reference = truth.boxes[0]
    boxes = boxes.copy()
    if protocol.first_row == "before":
        boxes[0] = reference[0]
    if protocol.repair:  # a bad row takes the good one before it
        bad = np.asarray((boxes[:, 2:] <= 0).any(axis=1))
        if protocol.repair_nan:
            bad = (bad | np.isnan(boxes).any(axis=1)) & ~np.isnan(reference).any(axis=1)
        bad[0] = False
        boxes = boxes[np.maximum.accumulate(np.where(bad, 0, np.arange(len(boxes))))]
    if protocol.first_row == "after":
        boxes[0] = reference[0]

    values = {}
    for name, measure in MEASURES.items():
        better = np.fmax if measure.high else np.fmin  # of several annotations the best counts
        values[name] = reduce(better, [measure.of(boxes, annotated) for annotated in truth.boxes])
    if protocol.edge_frames == "split":
        edge = (reference <= 0).any(axis=1) | np.isnan(reference).any(axis=1)
        values = {measure: np.where(edge, -1.0, value) for measure, value in values.items()}
    if protocol.absent == "miss" and truth.absent is not None:
        values = {measure: np.where(truth.absent, np.nan, value) for measure, value in values.items()}
    return values


def score_one_pass(
    protocol: OnePass, truth: Mapping[str, GroundTruth], boxes: Mapping[str, np.ndarray]
) -> TrackerScores:
    """Score one tracker; a curve has the name of the first metric that is read off it.

    Args:
        protocol: the rules.
        truth: by sequence.
        boxes: (N, 4) xywh, pixels, of the sequences to score, at least one. Annotation rows beyond N are left out;
            whether a result may be that short is decided where it is read.
    """
    # Hits by sequence and threshold, from which every mean below is made
    metrics = protocol.metrics
    compared = {name: truth[name].cut(len(rows)) for name, rows in boxes.items()}
    frames = np.array([annotation.frames for annotation in compared.values()], dtype=np.float64)  # (S,)
    values = [frame_values(protocol, annotation, boxes[name]) for name, annotation in compared.items()]
    counts = {
        metric.name: np.stack([hits(metric, value[metric.measure]) for value in values])  # (S, T)
        for metric in metrics
    }

    def mean_curves(chosen: np.ndarray) -> dict[str, np.ndarray]:
        """(T,) mean curve over the chosen sequences, by metric."""
        rule = {"pooled": protocol.pooled, "drop_zero_curves": protocol.drop_zero_curves}
        return {metric.name: average(counts[metric.name][chosen], frames[chosen], **rule) for metric in metrics}

    def means(curves: Mapping[str, np.ndarray]) -> dict[str, float]:
        return {metric.name: summary(metric, curves[metric.name]) for metric in metrics}

    # Over all sequences, by sequence, by attribute
    overall = mean_curves(np.ones(len(compared), dtype=bool))
    sequences = {
        name: means({metric: count[index] / frames[index] for metric, count in counts.items()})
        | {"frames": int(frames[index])}
        for index, name in enumerate(compared)
    }
    attributes = {}
    for attribute in sorted({name for annotation in compared.values() for name in annotation.attributes}):
        carries = np.array([attribute in annotation.attributes for annotation in compared.values()])
        attributes[attribute] = means(mean_curves(carries)) | {"sequences": int(carries.sum())}
    curves = {
        metric.name: Curve(
            metric.thresholds,
            tuple(overall[metric.name].tolist()),
            MEASURES[metric.measure].threshold,
            MEASURES[metric.measure].rate,
        )
        for number, metric in enumerate(metrics)
        if not any(same_curve(metric, other) for other in metrics[:number])
    }

    notes = []
    for name in curves if protocol.drop_zero_curves else ():
        count = counts[name]
        zero = [sequence for sequence, row in zip(compared, count, strict=True) if not row.any()]
        if zero:
            said = f"{len(zero)} sequences without any hit do not count in {name} (this protocol's rule)"
            notes.append(f"{said}: {first_few(zero)}")

    # What the primary metric is a weighted mean of; every way of reading a number off a curve is linear in it
    main = primary_metric(means(overall))
    weights: np.ndarray = frames if protocol.pooled else np.ones(len(compared))
    if protocol.drop_zero_curves and not protocol.pooled:
        weights = np.asarray(counts[main].any(axis=1), dtype=np.float64)
    resampled = partial(_weighted_mean, np.array([values[main] for values in sequences.values()]), weights)
    return TrackerScores(means(overall), sequences, attributes, curves, tuple(notes), resampled=resampled)


def _weighted_mean(values: np.ndarray, weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Average (S,) values with (S,) weights, each as often as (B, S) counts say; (B,), 0 where nothing has a weight."""
    total = counts @ weights
    return np.divide(counts @ (values * weights), total, out=np.zeros_like(total), where=total > 0)


# --- the VOT toolkit's long-term evaluation: precision, recall, F


def confidence_thresholds(confidences: np.ndarray, resolution: int) -> np.ndarray:
    """Choose the thresholds of a tracker, descending, from +inf to -inf.

    Args:
        confidences: of all frames of all sequences; NaN is ignored.
        resolution: how many to take in between; all of them, duplicates included, if there are no more than that.

    Returns:
        (T,) float64.
    """
    ordered = np.sort(confidences[~np.isnan(confidences)])[::-1]
    if len(ordered) > resolution:
        step = len(ordered) // resolution
        ordered = ordered[np.round(np.linspace(step, len(ordered) - step, resolution)).astype(int)]
    return np.concatenate([[np.inf], ordered, [-np.inf]])


def score_long_term(
    protocol: LongTerm,
    truth: Mapping[str, GroundTruth],
    results: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> TrackerScores:
    """Score one tracker by Pr, Re and F at the first threshold with the highest F, for single sequences too.

    Args:
        protocol: the rules.
        truth: by sequence, with image sizes.
        results: boxes (N, 4) and confidences (N,) of the sequences to score, at least one.
    """
    thresholds = confidence_thresholds(np.concatenate([scores for _, scores in results.values()]), protocol.resolution)
    curves = np.empty((len(results), 2, len(thresholds)))  # (S, 2, T) precision and recall
    for index, (name, (boxes, scores)) in enumerate(results.items()):
        target, size = truth[name].boxes[0], truth[name].image_size
        assert size is not None
        overlap = raster_overlap(boxes, target, *size, empty_is_match=protocol.empty_is_match)
        reported = scores[None, :] >= thresholds[:, None]  # (T, N)
        total, count = reported @ overlap, reported.sum(axis=1)  # (T,)
        present = int((~np.isnan(target).any(axis=1)).sum())
        curves[index, 0] = np.divide(total, count, out=np.ones(len(thresholds)), where=count > 0)
        curves[index, 1] = total / max(present, 1)
    precision, recall = curves.mean(axis=0)  # (T,)
    f = _f_measure(precision, recall)
    best = int(np.argmax(f))
    sequences = {
        name: {
            "Pr": float(curve[0, best]),
            "Re": float(curve[1, best]),
            "F": float(_f_measure(*curve)[best]),
            "frames": truth[name].frames,
        }
        for name, curve in zip(results, curves, strict=True)
    }
    lines = {
        "Pr": Curve(tuple(recall.tolist()), tuple(precision.tolist()), "recall", "precision"),
        "F": Curve(tuple(range(len(f))), tuple(f.tolist()), "confidence threshold (number, descending)", "F-measure"),
    }
    metrics = {"Pr": float(precision[best]), "Re": float(recall[best]), "F": float(f[best])}

    # Silence about an absent target gains an overlap of 1 in the newer rules, and recall divides by present frames.
    notes = []
    above = [name for name, values in sequences.items() if max(values["Re"], values["F"]) > 1]
    if above or max(metrics["Re"], metrics["F"]) > 1:
        said = ", ".join(f"{metric} {metrics[metric]:.4f}" for metric in ("Re", "F") if metrics[metric] > 1)
        notes.append(
            f"{f'{said} over all, and ' if said else ''}recall or F of {len(above)} sequences above 1"
            f"{f' ({first_few(above)})' if above else ''}: by this protocol's rule, nothing reported about an absent "
            "target counts as an overlap of 1, while recall is divided by the frames with a target only"
        )
    resampled = partial(_best_f, curves)
    return TrackerScores(metrics, sequences, {}, lines, tuple(notes), resampled=resampled)


def _best_f(curves: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Find the highest F of (S, 2, T) curves of precision and recall, averaged as often as (B, S) counts say; (B,)."""
    size, _, length = curves.shape
    precision, recall = (
        (counts @ curves.reshape(size, 2 * length) / counts.sum(axis=1)[:, None])
        .reshape(-1, 2, length)
        .transpose(1, 0, 2)
    )
    best: np.ndarray = _f_measure(precision, recall).max(axis=1)
    return best


def _f_measure(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Harmonic mean, 0 where both are 0."""
    total = precision + recall
    return np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)


# --- its multi-start evaluation: expected average overlap, accuracy, robustness


@dataclass(frozen=True)
class Run:
    """One run from an anchor: (L,) overlaps (the first is 0) and how many frames passed before the failure, or L."""

    overlaps: np.ndarray
    passed: int


def score_multi_start(
    protocol: MultiStart, truth: Mapping[str, GroundTruth], results: Mapping[str, Mapping[int, np.ndarray]]
) -> TrackerScores:
    """Score one tracker by EAO, A and R. R is weighted by the length of a sequence, A by the frames tracked.

    Args:
        protocol: the rules.
        truth: by sequence, with image sizes and anchors.
        results: boxes (L, 4) by anchor of the sequences to score, at least one.
    """
    runs = {}
    for name, boxes in results.items():
        frames_of_runs = truth[name].runs()
        runs[name] = [_run(protocol, truth[name], frames, boxes[anchor]) for anchor, frames in frames_of_runs.items()]
    passed = np.array([sum(run.passed for run in group) for group in runs.values()], dtype=np.float64)
    lasted = np.array([sum(len(run.overlaps) for run in group) for group in runs.values()], dtype=np.float64)
    gained = np.array([sum(run.overlaps[: run.passed].sum() for run in group) for group in runs.values()])
    accuracy = np.divide(gained, passed, out=np.zeros_like(gained), where=passed > 0)
    robustness = passed / lasted
    lengths = np.array([truth[name].frames for name in runs], dtype=np.float64)
    parts = np.stack([overlap_sums(group, protocol.high) for group in runs.values()])  # (S, 2, high)
    curve = expected_overlap(parts.sum(axis=0))
    metrics = {
        "EAO": float(curve[protocol.low : protocol.high].mean()),
        "A": float((accuracy * passed).sum() / passed.sum()) if passed.any() else 0.0,
        "R": float((robustness * lengths).sum() / lengths.sum()),
    }
    sequences = {
        name: {"A": float(accuracy[i]), "R": float(robustness[i]), "frames": truth[name].frames}
        for i, name in enumerate(runs)
    }
    line = Curve(tuple(range(len(curve))), tuple(curve.tolist()), "sequence length (frames)", "expected overlap")
    resampled = partial(_mean_overlap, parts[:, :, protocol.low : protocol.high])
    return TrackerScores(metrics, sequences, {}, {"EAO": line}, resampled=resampled)


def _mean_overlap(parts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Compute EAO from (S, 2, L) sums and numbers of runs, taken as often as (B, S) counts say; (B,)."""
    size, _, length = parts.shape
    sums = (counts @ parts.reshape(size, 2 * length)).reshape(-1, 2, length)
    means: np.ndarray = expected_overlap(sums).mean(axis=1)
    return means


def _run(protocol: MultiStart, truth: GroundTruth, frames: np.ndarray, boxes: np.ndarray) -> Run:
    """Overlaps of a run and the frames before it fails, which is at the first `grace` low ones in a row."""
    assert truth.image_size is not None
    target = truth.boxes[0][frames]
    overlaps = raster_overlap(boxes, target, *truth.image_size, empty_is_match=protocol.empty_is_match)
    overlaps[0] = 0.0
    low = overlaps <= protocol.threshold
    if not protocol.absent_fails:
        low &= ~np.isnan(target).any(axis=1)
    failures = np.zeros(0, dtype=int)
    if len(low) >= protocol.grace:
        failures = np.flatnonzero(np.convolve(low, np.ones(protocol.grace), mode="valid") >= protocol.grace)
    return Run(overlaps, int(failures[0]) if len(failures) else len(low))


def overlap_sums(runs: list[Run], high: int) -> np.ndarray:
    """Sum the mean overlaps over the first j frames after an anchor, and count the runs that have one.

    A failed run goes on with overlap 0; a run that ended well before j says nothing about it. The toolkit divides the
    sum of a failed run that is over by j - 1, not j; that is kept.

    Args:
        runs: of some sequences.
        high: length of the curve, frames.

    Returns:
        (2, high) sums and counts, for j from 0; both are 0 where no run contributes, and at j = 0.
    """
    total, count = np.zeros(high), np.zeros(high)
    lengths = np.arange(high)
    for run in runs:
        overlaps = run.overlaps.copy()
        overlaps[run.passed :] = 0.0
        sums = np.concatenate([[0.0], np.cumsum(overlaps[1:])])  # (L,) sums[j] = overlap of frames 1 to j
        lasting = np.arange(1, min(len(overlaps), high))
        total[lasting] += sums[lasting] / lasting
        count[lasting] += 1
        if run.passed < len(overlaps):
            over = lengths[max(len(overlaps), 2) :]
            total[over] += sums[-1] / (over - 1)
            count[over] += 1
    return np.stack([total, count])


def expected_overlap(sums: np.ndarray) -> np.ndarray:
    """Average the overlap to be expected over the first j frames after an anchor.

    Args:
        sums: (..., 2, L) of `overlap_sums`.

    Returns:
        (..., L) in [0, 1]; 0 where no run contributes.
    """
    total, count = sums[..., 0, :], sums[..., 1, :]
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0)
