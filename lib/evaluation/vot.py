"""The VOT toolkit's two evaluations: long-term (precision, recall, F) and multi-start (EAO, accuracy, robustness)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lib.evaluation.boxes import raster_overlap
from lib.evaluation.ground_truth import GroundTruth
from lib.evaluation.protocols import LongTerm, MultiStart
from lib.evaluation.scores import Curve, TrackerScores

__all__ = [
    "Run",
    "confidence_thresholds",
    "expected_overlap",
    "score_long_term",
    "score_multi_start",
]


@dataclass(frozen=True)
class Run:
    """One run from an anchor: (L,) overlaps (the first is 0) and how many frames passed before the failure, or L."""

    overlaps: np.ndarray
    passed: int


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
    return TrackerScores(metrics, sequences, {}, lines)


def _f_measure(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Harmonic mean, 0 where both are 0."""
    total = precision + recall
    return np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)


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
    curve = expected_overlap([run for group in runs.values() for run in group], protocol.high)
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
    return TrackerScores(metrics, sequences, {}, {"EAO": line})


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


def expected_overlap(runs: list[Run], high: int) -> np.ndarray:
    """Average overlap to be expected over the first j frames after an anchor.

    A failed run goes on with overlap 0; a run that ended well before j says nothing about it. The toolkit divides the
    sum of a failed run that is over by j - 1, not j; that is kept.

    Args:
        runs: of all sequences.
        high: length of the curve, frames.

    Returns:
        (high,) in [0, 1]; 0 where no run contributes, and at j = 0.
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
    return np.divide(total, count, out=np.zeros(high), where=count > 0)
