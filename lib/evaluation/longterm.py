"""Long-term tracking: precision, recall and F-measure over confidence thresholds (the VOT toolkit's rule).

Result files: `<sequence>/<sequence>_001.txt` or `.bin` with `<sequence>_001_confidence.value` (VOT), or
`<sequence>.txt` with `<sequence>_scores.txt` (ours).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lib.evaluation.boxes import raster_overlap
from lib.evaluation.filetree import FileTree
from lib.evaluation.ground_truth import GroundTruth
from lib.evaluation.protocols import LongTerm
from lib.evaluation.rows import parse_column, parse_regions
from lib.evaluation.scores import Curve, Scored

__all__ = ["confidence_thresholds", "find_folder", "read_long_term", "score_long_term"]

FORMS = {
    "VOT": ("{seq}/{seq}_001.txt", "{seq}/{seq}_001_confidence.value"),
    "binary VOT": ("{seq}/{seq}_001.bin", "{seq}/{seq}_001_confidence.value"),
    "boxes and scores": ("{seq}.txt", "{seq}_scores.txt"),
}


def read_long_term(
    tree: FileTree, truth: Mapping[str, GroundTruth]
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], str, dict[str, str]]:
    """Read boxes and confidences of one tracker.

    Args:
        tree: folder or archive.
        truth: the sequences wanted.

    Returns:
        Per sequence (N, 4) xywh (NaN rows: nothing reported) and (N,) confidences; the form in words; and per sequence
        what is wrong with its files (key "": with all of them).
    """
    found = find_folder(tree, {form: files[0] for form, files in FORMS.items()}, list(truth))
    if found is None:
        looked = " or ".join(files[0].replace("{seq}", "<sequence>") for files in FORMS.values())
        return {}, "", {"": f"{tree.describe()}: no result files of this benchmark; looked for {looked}"}
    folder, form = found
    results, problems = {}, {}
    for name, annotation in truth.items():
        try:
            texts = [_read(tree, folder + file.format(seq=name), annotation.frames) for file in FORMS[form]]
            results[name] = (texts[0], texts[1][:, 0])
        except ValueError as error:
            problems[name] = str(error)
    return results, f"{form} files, x,y,w,h and confidence", problems


def find_folder(tree: FileTree, forms: Mapping[str, str], names: list[str]) -> tuple[str, str] | None:
    """Folder (at most two levels down) and form in which at least one sequence has its file; None if there is none.

    Args:
        tree: folder or archive.
        forms: file name by form, with `{seq}`; a `*` stands for anything.
        names: of the sequences.
    """
    first = [""]
    second = [f"{name}/" for name in tree.folders() if name not in names]
    third = [f"{outer}{name}/" for outer in second for name in tree.folders(outer) if name not in names]
    for folder in first + second + third:
        for form, file in forms.items():
            if any(tree.has(folder + file.format(seq=name)) for name in names):
                return folder, form
    return None


def _read(tree: FileTree, file: str, frames: int) -> np.ndarray:
    """(N, 4) boxes of a `.txt` trajectory or (N, 1) confidences, one row per frame."""
    if not tree.has(file):
        raise ValueError(f"{tree.describe(file)}: missing; expected one row per frame, {frames}")
    text, where = tree.read(file), tree.describe(file)
    numbers = file.endswith((".value", "_scores.txt"))
    rows = parse_column(text, where)[:, None] if numbers else parse_regions(text, where)
    if len(rows) != frames:
        word = "short" if len(rows) < frames else "long"
        raise ValueError(f"{where}: too {word}, {len(rows)} rows; expected {frames} (one per frame)")
    return rows


def confidence_thresholds(confidences: np.ndarray, resolution: int) -> np.ndarray:
    """Thresholds of a tracker, descending, from +inf to -inf.

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
) -> Scored:
    """Score one tracker.

    Args:
        protocol: the rules.
        truth: annotation by sequence name, with image sizes.
        results: boxes (N, 4) and confidences (N,) of the sequences to score, at least one.

    Returns:
        Pr, Re and F at the first threshold with the highest F; per sequence at that same threshold.
    """
    thresholds = confidence_thresholds(np.concatenate([scores for _, scores in results.values()]), protocol.resolution)
    curves = np.stack(
        [_sequence_curves(protocol, truth[name], *result, thresholds) for name, result in results.items()]
    )  # (S, 2, T)
    precision, recall = curves.mean(axis=0)
    f = _f_measure(precision, recall)
    best = int(np.argmax(f))
    sequences = {
        name: _named(curves[index, 0, best], curves[index, 1, best]) | {"frames": truth[name].frames}
        for index, name in enumerate(results)
    }
    lines = {
        "Pr": Curve(tuple(recall.tolist()), tuple(precision.tolist()), "recall", "precision"),
        "F": Curve(tuple(range(len(f))), tuple(f.tolist()), "confidence threshold (number, descending)", "F-measure"),
    }
    return Scored(_named(precision[best], recall[best]), sequences, {}, lines)


def _sequence_curves(
    protocol: LongTerm, truth: GroundTruth, boxes: np.ndarray, scores: np.ndarray, thresholds: np.ndarray
) -> np.ndarray:
    """(2, T) precision and recall of one sequence."""
    assert truth.image_size is not None
    overlap = raster_overlap(boxes, truth.boxes[0], *truth.image_size, empty_is_match=protocol.empty_is_match)
    present = ~np.isnan(truth.boxes[0]).any(axis=1)
    reported = scores[None, :] >= thresholds[:, None]  # (T, N)
    total = reported @ overlap  # (T,)
    count = reported.sum(axis=1)
    precision = np.divide(total, count, out=np.ones(len(thresholds)), where=count > 0)
    recall = total / max(int(present.sum()), 1)
    return np.stack([precision, recall])


def _f_measure(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    total = precision + recall
    return np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)


def _named(precision: float, recall: float) -> dict[str, float]:
    f = _f_measure(np.array([precision]), np.array([recall]))[0]
    return {"Pr": float(precision), "Re": float(recall), "F": float(f)}
