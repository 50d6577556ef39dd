"""Result files of one-pass benchmarks as trackers really write them: found, parsed, checked, converted.

One text file per sequence, one row per frame: 4 numbers (`x, y, w, h`, or corners `x1, y1, x2, y2`) or 8 numbers
(corners `x1, y1, x2, y1, x2, y2, x1, y2`), separated by comma, tab or blanks. A common prefix of the names, a folder
above the files and a zip archive around them are found by themselves. Files that belong to no sequence, such as
`<sequence>_scores.txt`, are not read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from lib.evaluation.boxes import corners_to_xywh, iou
from lib.evaluation.filetree import FileTree
from lib.evaluation.fitting import Longer, fit_length
from lib.evaluation.ground_truth import GroundTruth
from lib.evaluation.protocols import OnePass
from lib.evaluation.rows import parse_rows
from patrack.files import atomic_write

__all__ = ["BoxFormat", "Longer", "ResultFiles", "read_results", "write_boxes"]

BoxFormat = Literal["auto", "xywh", "corners"]
SIDE_FILES = ("_scores.txt", "_times.txt", "_time.txt")
SURE = 0.5  # IoU with the first true box from which a reading of the first row counts as right


@dataclass
class ResultFiles:
    """The raw rows of one tracker and what is wrong with its files.

    Attributes:
        rows: per sequence (N, 4) or (N, 8) as written, N the number of rows the protocol needs.
        corners: rows are corners rather than xywh.
        file_format: in words, for the output.
        problems: per sequence, why it cannot be scored; "" is the key of a problem of the whole tracker.
        notes: facts a reader of the scores should know.
    """

    rows: dict[str, np.ndarray] = field(default_factory=dict)
    corners: bool = False
    file_format: str = ""
    problems: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_results(
    tree: FileTree,
    truth: Mapping[str, GroundTruth],
    *,
    box_format: BoxFormat = "auto",
    prefix: str | None = None,
    longer: Longer = "error",
    rules: OnePass | None = None,
    thin: bool = True,
) -> ResultFiles:
    """Read the result files of one tracker.

    Args:
        tree: where they are.
        truth: the sequences wanted and their annotation.
        box_format: meaning of the columns; "auto" takes 8 columns as corners and tells 4 columns by the first rows.
        prefix: of the file names; None: found by itself.
        longer: what a file with more rows than frames is: an "error", or "cut" as the toolkits do.
        rules: how many rows belong to an annotation, and what becomes of unusable ones; None: one row per annotation.
        thin: keep only the rows that are compared; else, all from the first annotated frame on.

    Returns:
        Rows and problems; nothing is raised for a bad file, so that all of them can be reported together.
    """
    found, rules = ResultFiles(), rules or OnePass("one row per frame", ())
    shifted: Counter[str] = Counter()
    try:
        folder, prefix = _locate(tree, list(truth), prefix)
    except ValueError as error:
        found.problems[""] = str(error)
        return found
    delimiters: Counter[str] = Counter()
    for name, annotation in truth.items():
        file = f"{folder}{prefix}{name}.txt"
        try:
            if not tree.has(file):
                raise ValueError(f"{tree.describe(file)}: missing; expected one file per sequence")
            rows, delimiter = parse_rows(tree.read(file), tree.describe(file), (4, 8))
            found.rows[name], shift = fit_length(rows, annotation, tree.describe(file), longer, rules, thin=thin)
            delimiters[delimiter] += 1
            shifted.update({name: shift} if shift else {})
        except ValueError as error:
            found.problems[name] = str(error)
    found.notes += _extra_files(tree, folder, prefix, truth)
    found.notes += _unusable_rows(found.rows, repaired=rules.repair) + _shifted_rows(shifted)
    if found.rows:
        try:
            found.corners = _is_corners(found.rows, truth, box_format)
        except ValueError as error:
            found.problems[""] = f"{tree.describe(folder)}: {error}"
    found.file_format = _in_words(found, delimiters, prefix)
    return found


def write_boxes(path: str | Path, boxes: np.ndarray) -> None:
    """Write a result file as our commands do: `x,y,w,h` with four decimals, one row per frame, atomically.

    Args:
        path: file to write.
        boxes: (N, 4) xywh, pixels.

    Raises:
        ValueError: if the shape is another.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must be (N, 4), got {boxes.shape}")
    with atomic_write(path) as file:
        file.write("".join(",".join(f"{value:.4f}" for value in row) + "\n" for row in boxes.tolist()))


def _locate(tree: FileTree, names: list[str], prefix: str | None) -> tuple[str, str]:
    """Folder (with `/`, or empty) and name prefix under which most sequences have a file."""
    candidates: Counter[tuple[str, str]] = Counter()
    for level in ("", *(f"{name}/" for name in tree.folders())):
        files = [file[:-4] for file in tree.files(level) if file.endswith(".txt")]
        candidates.update({(level, start): count for start, count in _prefixes(files, names, prefix).items()})
        if level == "" and candidates:
            break
    if not candidates:
        asked = "<sequence>.txt" if prefix is None else f"{prefix}<sequence>.txt"
        raise ValueError(
            f"{tree.describe()}: no result files; expected {len(names)} files named {asked}, such as "
            f"{prefix or ''}{names[0]}.txt"
        )
    most = max(candidates.values())
    rivals = sorted(place for place, count in candidates.items() if 2 * count >= most)
    plain = [place for place in rivals if not place[1] and candidates[place] == most]
    if len(rivals) == 1 or (plain and all(place[0] == plain[0][0] for place in rivals)):
        return plain[0] if plain else rivals[0]
    shown = ", ".join(f"{folder}{start}<sequence>.txt" for folder, start in rivals[:6])
    raise ValueError(
        f"{tree.describe()}: ambiguous, it holds several sets of result files ({shown}); "
        "name the folder of one of them, or its --prefix"
    )


def _prefixes(files: list[str], names: list[str], prefix: str | None) -> dict[str, int]:
    """How many sequences each possible prefix of file names serves; below half of them it is taken for chance."""
    present = set(files)
    wanted = "" if prefix is None else prefix
    exact = sum(wanted + name in present for name in names)
    if prefix is not None or exact == len(names):
        return {wanted: exact} if exact else {}
    counts = Counter(file[: len(file) - len(name)] for name in names for file in files if file.endswith(name))
    return {start: count for start, count in counts.items() if not start or 2 * count >= len(names)}


def _shifted_rows(shifted: Mapping[str, int]) -> list[str]:
    """A note on files that begin before or after the first annotated frame."""
    dropped = [f"{name} ({shift})" for name, shift in shifted.items() if shift > 0]
    added = [f"{name} ({-shift})" for name, shift in shifted.items() if shift < 0]
    notes = []
    if dropped:
        notes.append(f"{len(dropped)} files have rows before the first annotated frame, left out: {_some(dropped)}")
    if added:
        notes.append(f"{len(added)} files begin at the first frame with the target; misses before: {_some(added)}")
    return notes


def _extra_files(tree: FileTree, folder: str, prefix: str, truth: Mapping[str, GroundTruth]) -> list[str]:
    """A note on result-like files that belong to no sequence."""
    extra = [
        file
        for file in tree.files(folder)
        if file.startswith(prefix) and file.endswith(".txt") and not file.endswith(SIDE_FILES)
    ]
    extra = [file for file in extra if file[len(prefix) : -4] not in truth]
    if not extra:
        return []
    return [f"{len(extra)} files belong to no scored sequence and were not read: {_some(extra)}"]


def _unusable_rows(rows: dict[str, np.ndarray], *, repaired: bool) -> list[str]:
    """A note on rows with NaN or, for 4 columns read as xywh, sizes that are not positive."""
    bad = {
        name: np.flatnonzero(np.isnan(array).any(axis=1) | ((array[:, 2:4] <= 0).any(axis=1) & (array.shape[1] == 4)))
        for name, array in rows.items()
    }
    bad = {name: found for name, found in bad.items() if len(found)}
    if not bad:
        return []
    fate = "take the row before (this protocol's rule)" if repaired else "count as written"
    count = sum(len(found) for found in bad.values())
    places = _some([f"{name} (first at row {found[0] + 1})" for name, found in bad.items()])
    return [f"{count} rows of {len(bad)} files have NaN or no size and {fate}: {places}"]


def _some(names: list[str], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


def _is_corners(rows: dict[str, np.ndarray], truth: Mapping[str, GroundTruth], box_format: BoxFormat) -> bool:
    """Whether the columns are corners; raises ValueError where that cannot be told or is contradicted."""
    columns: dict[int, str] = {array.shape[1]: name for name, array in rows.items()}
    if len(columns) > 1:
        raise ValueError(f"files differ in columns: {columns[4]} has 4, {columns[8]} has 8; expected one format")
    if 8 in columns:
        if box_format == "xywh":
            raise ValueError(f"--format xywh needs 4 numbers a row, {columns[8]} has 8")
        _check_upright(rows)
        return True
    if box_format != "auto":
        return box_format == "corners"
    fits = {reading: _first_row_fit(rows, truth, corners=reading == "corners") for reading in ("xywh", "corners")}
    best = max(fits, key=lambda reading: fits[reading])
    if fits[best] < SURE or abs(fits["xywh"] - fits["corners"]) < 0.02:
        raise ValueError(
            "4 numbers a row, and the first rows do not tell x,y,w,h from corners x1,y1,x2,y2 (median overlap with "
            f"the first true box: {fits['xywh']:.2f} as xywh, {fits['corners']:.2f} as corners); check that these "
            "results belong to this data set and pass --format xywh or --format corners"
        )
    return best == "corners"


def _check_upright(rows: dict[str, np.ndarray]) -> None:
    """Eight numbers must be the corners of an axis-parallel box, in the order the toolkits read."""
    for name, array in rows.items():
        spread = np.abs(array[:, [0, 1, 2, 5]] - array[:, [6, 3, 4, 7]])  # left, top, right, bottom
        swapped = np.abs(array[:, [0, 1, 2, 5]] - array[:, [4, 3, 6, 7]])
        bad = ~((np.minimum(spread.max(axis=1), swapped.max(axis=1)) <= 1.0) | np.isnan(array).any(axis=1))
        if bad.any():
            line = int(np.argmax(bad))
            raise ValueError(
                f"row {line + 1} of {name} is no axis-parallel box; expected corners x1,y1,x2,y1,x2,y2,x1,y2, "
                f"got {array[line].tolist()}"
            )


def _first_row_fit(rows: dict[str, np.ndarray], truth: Mapping[str, GroundTruth], *, corners: bool) -> float:
    """Median over sequences of the overlap of the first row with the first true box."""
    first = np.stack([array[0] for array in rows.values()])  # (S, 4)
    boxes = corners_to_xywh(first) if corners else first
    overlaps = [iou(boxes, np.stack([gts[k] for gts in _first_boxes(rows, truth)])) for k in (0, -1)]
    return float(np.median(np.nan_to_num(np.fmax(*overlaps))))


def _first_boxes(rows: dict[str, np.ndarray], truth: Mapping[str, GroundTruth]) -> list[list[np.ndarray]]:
    return [[boxes[0] for boxes in truth[name].boxes] for name in rows]


def _in_words(found: ResultFiles, delimiters: Counter[str], prefix: str) -> str:
    """E.g. "x,y,w,h, comma" or "8 corner numbers, comma, prefix our_"."""
    if not found.rows:
        return "nothing readable"
    columns = next(iter(found.rows.values())).shape[1]
    meaning = "8 corner numbers" if columns == 8 else "corners x1,y1,x2,y2" if found.corners else "x,y,w,h"
    return ", ".join([meaning, "/".join(sorted(delimiters)), *([f"prefix {prefix}"] if prefix else [])])
