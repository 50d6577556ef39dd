"""Anchor-based short-term tracking: expected average overlap, accuracy, robustness (the VOT toolkit's rule).

A run starts at every anchor and goes to the end of the sequence, or back to its beginning. Result files:
`<sequence>/<sequence>_<anchor frame, 8 digits, from 0>.txt` or `.bin`; the first row is the initialisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lib.evaluation.boxes import raster_overlap
from lib.evaluation.filetree import FileTree
from lib.evaluation.ground_truth import GroundTruth
from lib.evaluation.longterm import find_folder
from lib.evaluation.protocols import MultiStart
from lib.evaluation.rows import parse_regions
from lib.evaluation.scores import Curve, Scored

__all__ = ["Run", "expected_overlap", "read_multi_start", "run_frames", "score_multi_start"]


@dataclass(frozen=True)
class Run:
    """One run from an anchor: (L,) overlaps (the first is 0) and how many frames passed before the failure, or L."""

    overlaps: np.ndarray
    passed: int


def run_frames(truth: GroundTruth) -> dict[int, np.ndarray]:
    """Frame numbers that a run covers, in the order they are tracked, by anchor frame."""
    if truth.anchors is None:
        return {}
    frames = np.arange(truth.frames)
    return {
        int(anchor): frames[anchor:] if truth.anchors[anchor] > 0 else frames[anchor::-1]
        for anchor in np.flatnonzero(truth.anchors)
    }


def read_multi_start(
    tree: FileTree, truth: Mapping[str, GroundTruth]
) -> tuple[dict[str, dict[int, np.ndarray]], str, dict[str, str]]:
    """Read the runs of one tracker.

    Args:
        tree: folder or archive.
        truth: the sequences wanted, with anchors.

    Returns:
        Per sequence and anchor frame the (L, 4) boxes xywh; the form in words; and per sequence what is wrong (key "":
        with all of them).
    """
    anchors = sorted({anchor for annotation in truth.values() for anchor in run_frames(annotation)})
    forms = {f"{suffix} {k}": f"{{seq}}/{{seq}}_{k:08d}{suffix}" for suffix in (".txt", ".bin") for k in anchors}
    found = find_folder(tree, forms, list(truth))
    if found is None:
        looked = "<sequence>/<sequence>_<anchor, 8 digits>.txt"
        return {}, "", {"": f"{tree.describe()}: no result files of this benchmark; looked for {looked}"}
    results, problems = {}, {}
    for name, annotation in truth.items():
        if annotation.anchors is None:
            problems[name] = f"{name}: the annotation has no anchor.value, which says where runs start"
            continue
        runs, wrong = {}, []
        for anchor, frames in run_frames(annotation).items():
            try:
                runs[anchor] = _read_run(tree, f"{found[0]}{name}/{name}_{anchor:08d}", len(frames))
            except ValueError as error:
                wrong.append(str(error))
        if wrong:
            problems[name] = "\n".join(wrong)
        else:
            results[name] = runs
    return results, "VOT files, x,y,w,h, one per anchor", problems


def _read_run(tree: FileTree, run: str, frames: int) -> np.ndarray:
    file = f"{run}.bin" if tree.has(f"{run}.bin") and not tree.has(f"{run}.txt") else f"{run}.txt"
    if not tree.has(file):
        raise ValueError(f"{tree.describe(file)}: missing; expected a run of {frames} rows")
    rows = parse_regions(tree.read(file), tree.describe(file))
    if len(rows) != frames:
        word = "short" if len(rows) < frames else "long"
        raise ValueError(f"{tree.describe(file)}: too {word}, {len(rows)} rows; expected {frames} (anchor to the end)")
    return rows


def score_multi_start(
    protocol: MultiStart, truth: Mapping[str, GroundTruth], results: Mapping[str, Mapping[int, np.ndarray]]
) -> Scored:
    """Score one tracker.

    Args:
        protocol: the rules.
        truth: annotation by sequence name, with image sizes and anchors.
        results: boxes (L, 4) by anchor of the sequences to score, at least one.

    Returns:
        EAO, A and R; per sequence A and R. R is weighted by the length of a sequence, A by the frames tracked.
    """
    runs = {name: _runs(protocol, truth[name], boxes) for name, boxes in results.items()}
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
    return Scored(metrics, sequences, {}, {"EAO": line})


def _runs(protocol: MultiStart, truth: GroundTruth, boxes: Mapping[int, np.ndarray]) -> list[Run]:
    assert truth.image_size is not None
    runs = []
    for anchor, frames in run_frames(truth).items():
        target = truth.boxes[0][frames]
        overlaps = raster_overlap(boxes[anchor], target, *truth.image_size, empty_is_match=protocol.empty_is_match)
        overlaps[0] = 0.0
        low = overlaps <= protocol.threshold
        if not protocol.absent_fails:
            low &= ~np.isnan(target).any(axis=1)
        runs.append(Run(overlaps, _frames_before_failure(low, protocol.grace)))
    return runs


def _frames_before_failure(low: np.ndarray, grace: int) -> int:
    """Frames before the first `grace` low ones in a row; all of them if there is no such row."""
    if len(low) < grace:
        return len(low)
    failed = np.flatnonzero(np.convolve(low, np.ones(grace), mode="valid") >= grace)
    return int(failed[0]) if len(failed) else len(low)


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
