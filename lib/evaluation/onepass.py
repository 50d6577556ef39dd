"""Scoring one run per sequence by threshold metrics, under the rules of a `OnePass` protocol."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lib.evaluation.boxes import centre_error, corners_to_xywh, iou, normalized_centre_error, round_half_away
from lib.evaluation.ground_truth import GroundTruth
from lib.evaluation.metrics import CurveMetric, average, hits, summary
from lib.evaluation.protocols import OnePass
from lib.evaluation.scores import Curve, Scored

__all__ = ["OnePassScores", "frame_values", "perfect_scores", "score_one_pass", "to_boxes"]

X_LABELS = {
    "centre": "centre error threshold (pixels)",
    "normalized": "normalised centre error threshold",
    "overlap": "overlap threshold",
}
Y_LABELS = {"centre": "precision", "normalized": "normalised precision", "overlap": "success rate"}


class OnePassScores:
    """Hits of one tracker, from which every mean is read.

    Args:
        protocol: the rules.
        truth: annotation by sequence name.
        boxes: (N, 4) xywh, pixels, of the same sequences. Annotation rows beyond N are left out; whether a result may
            be that short is decided where it is read.
    """

    def __init__(self, protocol: OnePass, truth: Mapping[str, GroundTruth], boxes: Mapping[str, np.ndarray]) -> None:
        self.protocol = protocol
        self.names = list(boxes)
        compared = [truth[name].cut(len(boxes[name])) for name in self.names]
        self.frames = np.array([annotation.frames for annotation in compared], dtype=np.float64)  # (S,)
        values = [frame_values(protocol, *pair) for pair in zip(compared, boxes.values(), strict=True)]
        self.counts = {
            metric.name: np.stack([hits(metric, value[metric.measure]) for value in values])  # (S, T)
            for metric in protocol.metrics
        }

    def curve(self, metric: CurveMetric, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
        """(T,) mean curve over all sequences, or over the chosen ones (indices or mask)."""
        return average(
            self.counts[metric.name][chosen],
            self.frames[chosen],
            pooled=self.protocol.pooled,
            drop_zero_curves=self.protocol.drop_zero_curves,
        )

    def means(self, chosen: np.ndarray | slice = slice(None)) -> dict[str, float]:
        """Every metric over all sequences, or over the chosen ones."""
        return {metric.name: summary(metric, self.curve(metric, chosen)) for metric in self.protocol.metrics}

    def sequences(self) -> dict[str, dict[str, float]]:
        """Every metric of every sequence, and its number of frames."""
        return {
            name: {
                metric.name: summary(metric, self.counts[metric.name][index] / self.frames[index])
                for metric in self.protocol.metrics
            }
            | {"frames": int(self.frames[index])}
            for index, name in enumerate(self.names)
        }

    def notes(self) -> tuple[str, ...]:
        """Per metric, the sequences that the protocol leaves out because no frame passes any threshold."""
        if not self.protocol.drop_zero_curves:
            return ()
        zero = {metric: np.flatnonzero(~counts.any(axis=1)) for metric, counts in self.counts.items()}
        return tuple(
            f"{len(found)} sequences without any hit do not count in {metric} (this protocol's rule): "
            + ", ".join(self.names[index] for index in found[:5])
            + (", ..." if len(found) > 5 else "")
            for metric, found in zero.items()
            if len(found)
        )


def to_boxes(protocol: OnePass, rows: np.ndarray, *, corners: bool) -> np.ndarray:
    """Boxes as the protocol reads them from the raw rows of a result file.

    Args:
        protocol: says what is rounded.
        rows: (N, 4) or (N, 8) as written.
        corners: rows are corners rather than xywh.

    Returns:
        (N, 4) xywh, pixels.
    """
    if protocol.round_results:
        rows = np.round(rows.astype(np.float32)).astype(np.float64)
    if not corners:
        return rows
    boxes = corners_to_xywh(rows)
    return round_half_away(boxes) if protocol.round_corners and rows.shape[1] == 8 else boxes


def frame_values(protocol: OnePass, truth: GroundTruth, boxes: np.ndarray) -> dict[str, np.ndarray]:
    """Distance and overlap of every frame after the protocol's repairs and special frames.

    Args:
        protocol: the rules.
        truth: annotation of the sequence.
        boxes: (N, 4) xywh, pixels, one row per annotation row.

    Returns:
        (N,) arrays "centre" (pixels), "normalized" and "overlap"; NaN counts as a miss everywhere, and -1 as a hit in a
        distance and a miss in an overlap.
    """
    reference = truth.boxes[0]
    boxes = _repaired(protocol, boxes, reference)
    values = {
        "centre": centre_error(boxes, reference),
        "normalized": normalized_centre_error(boxes, reference),
        "overlap": iou(boxes, reference),
    }
    for other in truth.boxes[1:]:
        values["centre"] = np.fmin(values["centre"], centre_error(boxes, other))
        values["normalized"] = np.fmin(values["normalized"], normalized_centre_error(boxes, other))
        values["overlap"] = np.fmax(values["overlap"], iou(boxes, other))
    if protocol.edge_frames == "split":
        edge = (reference <= 0).any(axis=1) | np.isnan(reference).any(axis=1)
        values = {measure: np.where(edge, -1.0, value) for measure, value in values.items()}
    if protocol.absent == "miss" and truth.absent is not None:
        values = {measure: np.where(truth.absent, np.nan, value) for measure, value in values.items()}
    return values


def _repaired(protocol: OnePass, boxes: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Bad rows replaced by the row before them, and row 0 by the true box, in the protocol's order."""
    boxes = boxes.copy()
    if protocol.first_row == "before":
        boxes[0] = reference[0]
    if protocol.repair:
        bad = (boxes[:, 2:] <= 0).any(axis=1)
        if protocol.repair_nan:
            bad = (bad | np.isnan(boxes).any(axis=1)) & ~np.isnan(reference).any(axis=1)
        bad[0] = False
        boxes = boxes[np.maximum.accumulate(np.where(bad, 0, np.arange(len(boxes))))]
    if protocol.first_row == "after":
        boxes[0] = reference[0]
    return boxes


def score_one_pass(protocol: OnePass, truth: Mapping[str, GroundTruth], boxes: Mapping[str, np.ndarray]) -> Scored:
    """Score one tracker.

    Args:
        protocol: the rules.
        truth: annotation by sequence name.
        boxes: (N, 4) xywh, pixels, of the sequences to score, at least one.

    Returns:
        All values; the curves are named like the metrics.
    """
    scores = OnePassScores(protocol, truth, boxes)
    attributes: dict[str, dict[str, float]] = {}
    for attribute in sorted({name for sequence in boxes for name in truth[sequence].attributes}):
        chosen = np.array([attribute in truth[name].attributes for name in scores.names])
        attributes[attribute] = scores.means(chosen) | {"sequences": int(chosen.sum())}
    curves = {
        metric.name: Curve(
            metric.thresholds,
            tuple(scores.curve(metric).tolist()),
            X_LABELS[metric.measure],
            Y_LABELS[metric.measure],
        )
        for metric in protocol.metrics
    }
    return Scored(scores.means(), scores.sequences(), attributes, curves, scores.notes())


def perfect_scores(protocol: OnePass, truth: Mapping[str, GroundTruth]) -> dict[str, float]:
    """What a tracker would score that reports the (first) true box of every frame; rarely 1 under these rules."""
    return OnePassScores(protocol, truth, {name: annotation.boxes[0] for name, annotation in truth.items()}).means()
