"""Result files: read as trackers really write them, and written as our commands and the benchmarks' toolkits have them.

One-pass benchmarks have one file per sequence, one row per frame: a box or its corners, perhaps with a score and a
frame number; see `files.parse_table`. Where the files lie, and what their names have beside the sequence's, is found
out; see `result_sets`. Files that belong to no sequence, such as `<sequence>_times.txt`, are not read.

Long-term files of the VOT toolkit are `<sequence>/<sequence>_001.txt` or `.bin` with `<sequence>_001_confidence.value`;
others are as above, with the confidences in a file beside (`CONFIDENCES`) or in a column. In a multi-start experiment a
run starts at every anchor and goes to the end of the sequence, or back to its beginning; its file is
`<sequence>/<sequence>_<anchor>.txt` or `.bin` (anchor frame from 0, 8 digits), and its first row is the initialization.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lib.datasets.missing import missing_shares, parse_masks
from lib.evaluation.boxes import corners_to_xywh, iou
from lib.evaluation.files import FileTree, ResultTable, parse_column, parse_regions, parse_table, spell_out_codes
from lib.evaluation.ground_truth import GroundTruth, load_ground_truth
from lib.evaluation.protocols import LongTerm, MultiStart, OnePass, Protocol, protocols_of
from lib.evaluation.result_sets import SIDE_FILES, ResultSet, choose_set, find_sets, merge_anchors
from lib.evaluation.scores import EvaluationError
from patrack.files import atomic_write, remove_leftovers, safe_name, user_path
from patrack.recordings.sequence import first_few

__all__ = [
    "MANIFEST",
    "MASKS",
    "SEPARATORS",
    "TOOLKITS",
    "BoxFormat",
    "Longer",
    "ResultFiles",
    "Toolkit",
    "export_results",
    "missing_streams",
    "read_long_term",
    "read_multi_start",
    "read_results",
    "write_boxes",
]

BoxFormat = Literal["auto", "xywh", "corners"]
Longer = Literal["error", "cut"]
MANIFEST, MASKS = "run.json", "missing.json"
"""What `tracking/test.py` writes beside results: what made them; which frames lacked a stream, in the form of
`lib.datasets.missing`, of runs that were told so."""
CONFIDENCES = ("_scores.txt", "_confidence.txt", "_confidence.value")
"""Files with a number per frame beside that of the boxes, by what they have in place of its ending."""
IMPOSSIBLE = 0.01  # share of rows, read as corners, that may have none on the right and below
SURE = 0.5  # IoU with the first true box from which a reading of the first row counts as right
SEPARATORS = {"comma": ",", "tab": "\t", "blank": " "}
ARCHIVES = (".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")  # that are not written
TRACKER_NAME = re.compile(r"[\w.+-]+")


@dataclass
class ResultFiles:
    """Content of the files of one tracker, and what is wrong with them.

    Attributes:
        rows: by sequence. One-pass: (N, 4) or (N, 8) as written, N the number of rows the protocol needs. Long-term:
            (N, 4) boxes xywh (NaN rows: nothing reported) and (N,) confidences. Multi-start: (L, 4) boxes by anchor.
        corners: one-pass rows are corners rather than xywh.
        folder: below the given path, that the files were found in; ends with `/`, or is empty.
        file_format: in words, for the output.
        problems: per sequence, why it cannot be scored; "" is the key of a problem of the whole tracker.
        notes: facts a reader of the scores should know.
    """

    rows: dict[str, Any] = field(default_factory=dict)
    corners: bool = False
    folder: str = ""
    file_format: str = ""
    problems: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def usable(self, allow_missing: bool) -> bool:
        """Say yes if all is well or, where bad sequences may be left out, something is left."""
        return not self.problems or (allow_missing and bool(self.rows) and "" not in self.problems)


def read_results(
    tree: FileTree,
    truth: Mapping[str, GroundTruth],
    rules: Protocol,
    *,
    box_format: BoxFormat = "auto",
    prefix: str | None = None,
    longer: Longer = "error",
    compared_only: bool = True,
) -> ResultFiles:
    """Read the result files of one tracker.

    Args:
        tree: folder or archive.
        truth: the sequences wanted and their annotation.
        rules: which files there are, how many rows belong to an annotation, and what becomes of unusable ones.
        box_format: meaning of one-pass columns; "auto" takes 8 columns as corners and tells 4 by the first rows.
        prefix: of one-pass file names; None: found by itself.
        longer: what a one-pass file with more rows than frames is: an "error", or "cut" as the toolkits do.
        compared_only: keep only the rows that are compared; else, all from the first annotated frame on.

    Returns:
        Rows and problems; nothing is raised for a bad file, so that all of them can be reported together.
    """
    if isinstance(rules, LongTerm):
        return read_long_term(tree, truth, box_format=box_format, prefix=prefix)
    if isinstance(rules, MultiStart):
        if box_format == "corners" or prefix:
            said = "files of runs from anchors are called by sequence and anchor and hold x,y,w,h"
            return ResultFiles(problems={"": f"{tree.describe()}: no --format corners and no --prefix here; {said}"})
        return read_multi_start(tree, truth)
    files = ResultFiles()
    wanted = f"{len(truth)} files named {prefix or ''}<sequence>.txt, such as {prefix or ''}{next(iter(truth), '')}.txt"
    try:
        sets = find_sets(tree, list(truth), (".txt", ".csv"), prefix)
        chosen = choose_set(tree, sets, list(truth), wanted, files.notes)
    except ValueError as error:
        files.problems[""] = str(error)
        return files
    files.folder = chosen.folder
    tables = _read_tables(tree, chosen, truth, files.problems)
    shifts: dict[str, int] = {}
    for name, table in tables.items():
        where = tree.describe(chosen.files[name])
        try:
            rows, shifts[name] = _fit(table.boxes, truth[name], where, longer, rules, compared_only=compared_only)
        except ValueError as error:
            files.problems[name] = str(error)
            continue
        files.rows[name] = rows

    # Facts that change no number but that a reader should know.
    folder, (before, after) = chosen.folder, chosen.affixes
    extra = [
        file
        for file in tree.files(folder)
        if file.startswith(before) and file.lower().endswith(f"{after}{chosen.ending}".lower())
        if f"{folder}{file}" not in chosen.files.values() and not file.startswith("._")
        if not SIDE_FILES.search(file.rpartition(".")[0].lower())
    ]
    if extra and "{seq}/" not in chosen.form:
        files.notes.append(f"{len(extra)} files belong to no scored sequence and were not read: {first_few(extra)}")
    bad = {
        name: np.flatnonzero(np.isnan(rows).any(axis=1) | ((rows[:, 2:4] <= 0).any(axis=1) & (rows.shape[1] == 4)))
        for name, rows in files.rows.items()
    }
    first_bad = [f"{name} (first at row {at[0] + 1})" for name, at in bad.items() if len(at)]
    if first_bad:
        fate = "take the row before (this protocol's rule)" if rules.repair else "count as written"
        count = sum(len(at) for at in bad.values())
        said = f"{count} rows of {len(first_bad)} files have NaN or no size and {fate}"
        files.notes.append(f"{said}: {first_few(first_bad)}")
    dropped = [f"{name} ({shift})" for name, shift in shifts.items() if shift > 0]
    if dropped:
        said = f"{len(dropped)} files have rows before the first annotated frame, left out"
        files.notes.append(f"{said}: {first_few(dropped)}")
    added = [f"{name} ({-shift})" for name, shift in shifts.items() if shift < 0]
    if added:
        said = f"{len(added)} files begin at the first frame with the target; misses before"
        files.notes.append(f"{said}: {first_few(added)}")

    if not files.rows:
        files.file_format = "nothing readable"
        return files
    try:
        files.corners = _is_corners(files.rows, truth, box_format, tables[next(iter(files.rows))].corners)
    except ValueError as error:
        files.problems[""] = f"{tree.describe(chosen.folder)}: {error}"
    files.file_format = _say_format(chosen, [tables[name] for name in files.rows], files.corners)
    return files


def missing_streams(tree: FileTree, folder: str, names: Collection[str]) -> tuple[str, list[str]]:
    """Tell which frames a tracker saw without RGB or X, as the `run.json` of our results has it.

    Args:
        tree: folder or archive.
        folder: below it, that the result files are in; ends with `/`, or is empty.
        names: of the sequences that were read.

    Returns:
        What masks were drawn by, or their digest, and a remark for readers; both empty if nothing was missing.
    """
    try:
        missing = str(json.loads(tree.read(f"{folder}{MANIFEST}"))["identity"].get("missing", ""))
    except (ValueError, KeyError, TypeError, AttributeError, OSError):  # none, or a file of somebody else's
        return "", []
    if not missing:
        return "", []
    shares = ""
    if tree.has(f"{folder}{MASKS}"):
        try:
            masks = parse_masks(tree.read(f"{folder}{MASKS}"), tree.describe(f"{folder}{MASKS}"))
            rgb, x = missing_shares({name: mask for name, mask in masks.items() if name in names})
            shares = f" (RGB in {rgb:.1%} of the frames, X in {x:.1%})"
        except ValueError as error:  # said, but no reason not to score the boxes
            shares = f" (in how many frames can't be told: {error})"
    return missing, [f"tracked with streams missing{shares}, {missing}: compared with scores of the same masks only"]


def _read_tables(
    tree: FileTree,
    chosen: ResultSet,
    truth: Mapping[str, GroundTruth],
    problems: dict[str, str],
    *,
    codes: bool = False,
) -> dict[str, ResultTable]:
    """Read the file of every sequence; one with other columns than most files have is a problem, too.

    `codes`: a line with one number among rows of boxes means that nothing was reported, as in the VOT toolkit.
    """
    tables = {}
    for name in truth:
        file = chosen.files.get(name, chosen.form.replace("{seq}", name))
        where = tree.describe(file)
        try:
            if not tree.has(file):
                raise ValueError(f"{where}: missing; expected one file per sequence")
            text = tree.read(file)
            tables[name] = parse_table(spell_out_codes(text) if codes else text, where)
        except ValueError as error:
            problems[name] = str(error)
    columns = Counter(table.columns for table in tables.values())
    usual = columns.most_common(1)[0][0] if columns else ""
    for name, table in list(tables.items()):
        if table.columns != usual:
            where = tree.describe(chosen.files[name])
            problems[name] = f"{where}: its rows are {table.columns}, in most files {usual}; expected one form in all"
            del tables[name]
    return tables


def _say_format(chosen: ResultSet, tables: Collection[ResultTable], corners: bool) -> str:
    """Name columns, separators, and what paths have in common, for the output."""
    columns = next(iter(tables)).columns
    box = "corners x1,y1,x2,y2" if corners else "x,y,w,h"
    before, after = chosen.affixes
    return ", ".join(
        [
            f"{box} from {columns}" if columns.startswith("columns") else columns.replace("4 numbers", box),
            "/".join(sorted({table.separator for table in tables})),
            *([f"prefix {before}"] if before else []),
            *([f"suffix {after}"] if after else []),
            *([f"in {chosen.folder}"] if chosen.folder.count("/") > 1 else []),
        ]
    )


def _fit(
    rows: np.ndarray, annotation: GroundTruth, where: str, longer: Longer, rules: OnePass, *, compared_only: bool
) -> tuple[np.ndarray, int]:
    """Take the rows of the annotated frames; also returns how many were dropped (or, if negative, added) before them.

    Raises:
        ValueError: the file is too short or too long, or has no box at all.
    """
    sparse = rules.stride > 1 or annotation.rows is not None
    compared = np.arange(annotation.frames) * rules.stride if annotation.rows is None else annotation.rows
    needed = int(compared[-1]) + 1

    # A file may begin before the first annotated frame (drop rows), or only where the target appears (add misses).
    shift, lead = 0, annotation.lead if rules.skip_lead else 0
    if lead and annotation.images is not None:
        shift = lead if len(rows) == annotation.images + lead else 0
    elif lead and (len(rows) == needed + lead or (sparse and len(rows) > needed + lead)):
        shift = lead
    elif rules.late_start and annotation.absent is not None:
        late = int(np.argmin(annotation.absent))
        shift = -late if len(rows) == needed - late else 0
    rows = rows[shift:] if shift >= 0 else np.concatenate([np.zeros((-shift, rows.shape[1])), rows])

    as_images = annotation.images is not None and len(rows) == annotation.images
    wanted = f"{len(rows)} rows; expected {needed}, one per frame"
    if sparse:
        wanted = f"{len(rows)} rows; expected {needed} or more, one per frame, for {annotation.frames} annotated frames"
    if len(rows) < needed and not as_images:
        raise ValueError(f"{where}: too short, {wanted}")
    if len(rows) > needed and not (sparse or as_images) and longer == "error":
        raise ValueError(f"{where}: too long, {wanted} (the toolkits' rule is --cut-longer)")
    if np.isnan(rows).any(axis=1).all():
        raise ValueError(f"{where}: every row holds NaN; expected boxes")
    return (rows[compared[compared < len(rows)]] if compared_only else rows), shift


def _is_corners(
    rows: dict[str, np.ndarray], truth: Mapping[str, GroundTruth], box_format: BoxFormat, named: bool | None
) -> bool:
    """Tell whether the columns are corners, by all rows; raises ValueError where that can't be told, or rows differ.

    Args:
        rows: (N, 4) or (N, 8), as wide in all sequences.
        truth: by sequence.
        box_format: what the user says they are.
        named: what the names of the columns say, which holds unless the first rows fit the other only; None: nothing.
    """
    columns: dict[int, str] = {array.shape[1]: name for name, array in rows.items()}
    if 8 in columns:
        if box_format == "xywh":
            raise ValueError(f"--format xywh needs 4 numbers a row, {columns[8]} has 8")
        for name, array in rows.items():  # corners of an upright box in the toolkits' order, or its diagonal swapped
            straight = np.abs(array[:, [0, 1, 2, 5]] - array[:, [6, 3, 4, 7]])  # left, top, right, bottom
            swapped = np.abs(array[:, [0, 1, 2, 5]] - array[:, [4, 3, 6, 7]])
            bad = ~((np.minimum(straight.max(axis=1), swapped.max(axis=1)) <= 1.0) | np.isnan(array).any(axis=1))
            if bad.any():
                line = int(np.argmax(bad))
                raise ValueError(
                    f"row {line + 1} of {name} is no axis-parallel box; expected corners x1,y1,x2,y1,x2,y2,x1,y2, "
                    f"got {array[line].tolist()}"
                )
        return True
    if box_format != "auto":
        return box_format == "corners"

    # The first row is the given box, so the reading that overlaps the first true box (of either modality) is right.
    readings = {"xywh": dict(rows), "corners": {name: corners_to_xywh(array) for name, array in rows.items()}}
    fits, hits = {}, {}
    for reading, boxes in readings.items():
        overlaps = []
        for name, array in boxes.items():
            frames = min(len(array), len(truth[name].boxes[0]))
            true = [truth[name].boxes[modality][:frames] for modality in (0, -1)]
            overlaps.append(np.nan_to_num(np.fmax(*(iou(array[:frames], target) for target in true))))
        fits[reading] = float(np.median([values[0] for values in overlaps]))
        hits[reading] = {name: values >= SURE for name, values in zip(boxes, overlaps, strict=True)}
    if named is not None:
        given, opposite = ("corners", "xywh") if named else ("xywh", "corners")
        if fits[given] < SURE <= fits[opposite]:
            raise ValueError(
                f"the columns have names of {given}, but the first rows fit the first true boxes as {opposite} only "
                f"(median overlap {fits[opposite]:.2f}, not {fits[given]:.2f}); pass --format {opposite} or {given}"
            )
        return named
    best = max(fits, key=lambda reading: fits[reading])
    if fits[best] < SURE or abs(fits["xywh"] - fits["corners"]) < 0.02:
        raise ValueError(
            "4 numbers a row, and the first rows do not tell x,y,w,h from corners x1,y1,x2,y2 (median overlap with "
            f"the first true box: {fits['xywh']:.2f} as xywh, {fits['corners']:.2f} as corners); check that these "
            "results belong to this data set and pass --format xywh or --format corners"
        )

    # All other rows must agree with it: row 0 may be a copy of the annotation in another form.
    other = "xywh" if best == "corners" else "corners"
    total = sum(len(array) for array in rows.values())
    if best == "corners":  # right of and below the first corner
        against = {name: (array[:, 2] < array[:, 0]) | (array[:, 3] < array[:, 1]) for name, array in rows.items()}
        said, allowed = "can't be corners", IMPOSSIBLE * total
    else:
        against = {name: flags & ~hits[best][name] for name, flags in hits[other].items()}
        said = "overlap the true box as corners only"
        allowed = sum(int(flags.sum()) for flags in hits[best].values())
    count = sum(int(flags.sum()) for flags in against.values())
    if count > allowed:
        name = next(name for name, flags in against.items() if flags.any())
        line = int(np.argmax(against[name]))
        raise ValueError(
            f"the first rows are {best}, but {count} of {total} rows {said}, first row {line + 1} of {name}: "
            f"{rows[name][line].tolist()}; the files mix two forms, so write all rows in one, or pass --format xywh or "
            "--format corners if the first rows mislead"
        )
    return best == "corners"


# --- the VOT toolkit's runs


def read_long_term(
    tree: FileTree,
    truth: Mapping[str, GroundTruth],
    *,
    box_format: BoxFormat = "auto",
    prefix: str | None = None,
) -> ResultFiles:
    """Read boxes and confidences of one tracker.

    Where no sequence has confidences they are all 0, as in the VOT toolkit, so that every frame counts as reported.

    Args:
        tree: folder or archive.
        truth: the sequences wanted and their annotation.
        box_format, prefix: of files that aren't the VOT toolkit's; see `read_results`.
    """
    results = ResultFiles()
    wanted = "<sequence>/<sequence>_001.txt, <sequence>/<sequence>_001.bin or <sequence>.txt"
    try:
        sets = find_sets(tree, list(truth), (".txt", ".csv", ".bin"), prefix)
        chosen = choose_set(tree, sets, list(truth), wanted, results.notes)
    except ValueError as error:
        results.problems[""] = str(error)
        return results
    results.folder = chosen.folder
    vot = chosen.form.endswith(("{seq}/{seq}_001.txt", "{seq}/{seq}_001.bin"))
    if vot and box_format == "corners":
        results.problems[""] = f"{tree.describe(chosen.folder)}: VOT files hold x,y,w,h, not --format corners"
        return results

    # Boxes: of the VOT toolkit, with its codes, or rows as in one-pass files
    boxes: dict[str, np.ndarray] = {}
    scores: dict[str, np.ndarray | None] = {}
    if vot:
        for name, annotation in truth.items():
            file, frames = chosen.files.get(name, chosen.form.replace("{seq}", name)), annotation.frames
            try:
                expected = f"one row per frame, {frames}"
                boxes[name] = _read_rows(tree, file, parse_regions, frames, expected, "one per frame")
                scores[name] = None
            except ValueError as error:
                results.problems[name] = str(error)
        words = f"{'binary ' if chosen.ending == '.bin' else ''}VOT files, x,y,w,h"
    else:
        tables = _read_tables(tree, chosen, truth, results.problems, codes=True)
        for name, table in tables.items():
            where, frames = tree.describe(chosen.files[name]), truth[name].frames
            if len(table.boxes) != frames:
                word = "short" if len(table.boxes) < frames else "long"
                said = f"{where}: too {word}, {len(table.boxes)} rows; expected {frames} (one per frame)"
                results.problems[name] = said
                continue
            boxes[name], scores[name] = table.boxes, table.scores
        words = ""
        if boxes:
            first = tables[next(iter(boxes))]
            told = first.corners
            if told is None and box_format == "auto" and all(np.isnan(rows[0]).any() for rows in boxes.values()):
                told = False  # the first rows, which tell the two apart, report nothing
            corners = False
            try:
                corners = _is_corners(boxes, truth, box_format, told)
            except ValueError as error:
                results.problems[""] = f"{tree.describe(chosen.folder)}: {error}"
            if corners:
                boxes = {name: corners_to_xywh(rows) for name, rows in boxes.items()}
            words = _say_format(chosen, [tables[name] for name in boxes], corners)

    # Confidences: a column, or a file beside
    silent = {}
    for name, rows in boxes.items():
        stem = chosen.files[name][: -len(chosen.ending)]
        places = [stem + end for end in CONFIDENCES]
        if stem.endswith("/boxes"):  # of a recording
            places.append(f"{stem.removesuffix('boxes')}scores.txt")
        beside = next((place for place in places if tree.has(place)), None)
        column, frames = scores[name], truth[name].frames
        try:
            if beside is not None:
                values = _read_rows(tree, beside, parse_column, frames, f"{frames} confidences", "one per frame")
                if column is not None and not np.allclose(values, column, atol=1e-3, equal_nan=True):
                    raise ValueError(f"{tree.describe(beside)}: other confidences than in the boxes' file")
            elif column is not None:
                values = column
            else:
                silent[name] = tree.describe(stem + (CONFIDENCES[-1] if vot else CONFIDENCES[0]))
                values = np.zeros(frames)
            results.rows[name] = rows, values
        except ValueError as error:
            results.problems[name] = str(error)
    if silent and len(silent) == len(results.rows):
        words += ", no confidences"
        results.notes.append(
            f"no confidences (such as {next(iter(silent.values()))}): all count as 0, the VOT toolkit's rule, so every "
            "frame is reported and Pr, Re and F are those at this one threshold"
        )
    else:
        words += ", confidences" if all(column is None for column in scores.values()) else ""
        for name, file in silent.items():
            results.problems[name] = f"{file}: missing, while other sequences have confidences; expected one per frame"
            del results.rows[name]
    unsure = [name for name, (_, values) in results.rows.items() if np.isnan(values).any()]
    if unsure:
        results.notes.append(f"frames with confidence NaN in {len(unsure)} sequences never count: {first_few(unsure)}")
    results.file_format = words
    return results


def read_multi_start(tree: FileTree, truth: Mapping[str, GroundTruth]) -> ResultFiles:
    """Read the runs of one tracker from all anchors."""
    results = ResultFiles(file_format="VOT files, x,y,w,h, one per anchor")
    wanted = "<sequence>/<sequence>_<anchor, 8 digits>.txt or .bin"
    try:
        sets = merge_anchors(find_sets(tree, list(truth), (".txt", ".bin")))
        chosen = choose_set(tree, sets, list(truth), wanted, results.notes)
    except ValueError as error:
        return ResultFiles(problems={"": str(error)})
    results.folder = chosen.folder
    for name, annotation in truth.items():
        if annotation.anchors is None:
            results.problems[name] = f"{name}: the annotation has no anchor.value, which says where runs start"
            continue
        runs, problems = {}, []
        for anchor, frames in annotation.runs().items():
            stem = f"{chosen.folder}{name}/{name}_{anchor:08d}"
            binary = tree.has(f"{stem}.bin") and not tree.has(f"{stem}.txt")
            file = f"{stem}.bin" if binary else f"{stem}.txt"
            try:
                expected = f"a run of {len(frames)} rows"
                runs[anchor] = _read_rows(tree, file, parse_regions, len(frames), expected, "anchor to the end")
            except ValueError as error:
                problems.append(str(error))
        if problems:
            results.problems[name] = "\n".join(problems)
        else:
            results.rows[name] = runs
    return results


def _read_rows(
    tree: FileTree, file: str, parse: Callable[[str, str], np.ndarray], frames: int, expected: str, reason: str
) -> np.ndarray:
    """Read and parse a file of `frames` rows; the last two arguments are for errors."""
    where = tree.describe(file)
    if not tree.has(file):
        raise ValueError(f"{where}: missing; expected {expected}")
    rows = parse(tree.read(file), where)
    if len(rows) != frames:
        word = "short" if len(rows) < frames else "long"
        raise ValueError(f"{where}: too {word}, {len(rows)} rows; expected {frames} ({reason})")
    return rows


# --- writing


def write_boxes(path: str | Path, boxes: np.ndarray) -> None:
    """Write (N, 4) boxes xywh, pixels, as our commands do: `x,y,w,h` with four decimals, one row per frame, atomically.

    Raises:
        ValueError: another shape.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must be (N, 4), got {boxes.shape}")
    with atomic_write(path) as file:
        file.write("".join(",".join(f"{value:.4f}" for value in row) + "\n" for row in boxes.tolist()))


@dataclass(frozen=True)
class Toolkit:
    """Form of the files that a benchmark's toolkit reads.

    Attributes:
        path: of a result file, with `{tracker}` and `{seq}`; of the trajectory for VOT.
        separator: between numbers.
        corners: also reads 8 numbers a row (and rounds them).
    """

    path: str
    separator: str = ","
    corners: bool = False


_LASOT = Toolkit("{tracker}_tracking_result/{seq}.txt")
_RGBT234 = Toolkit("{tracker}{seq}.txt", " ", corners=True)
_VOT = Toolkit("{tracker}/rgbd-unsupervised/{seq}/{seq}_001.txt")

TOOLKITS: dict[str, Toolkit] = {
    **dict.fromkeys(("lasher", "visevent", "coesot", "synthrgbt", "synthrgbe", "folder", "fe108"), _LASOT),
    **dict.fromkeys(("rgbt234", "rgbt210"), _RGBT234),
    "gtot": Toolkit("{tracker}/{tracker}_{seq}.txt", " ", corners=True),
    "vtuav": Toolkit("{tracker}_{seq}.txt", " ", corners=True),
    **dict.fromkeys(("depthtrack", "rgbd1k", "cdtb", "synthrgbd"), _VOT),
}


def export_results(
    dataset: str,
    tracker: str,
    source: str | Path,
    output: str | Path,
    *,
    ground_truth: str | Path | None = None,
    data_root: str | Path | None = None,
    split: str = "test",
    box_format: BoxFormat = "auto",
    prefix: str | None = None,
    columns: int = 4,
    separator: str | None = None,
    allow_missing: bool = False,
) -> tuple[int, tuple[str, ...]]:
    """Write the results of one tracker for a toolkit.

    They are read and checked as for scoring, so that nothing incomplete is handed in.

    Args:
        dataset: a key of `TOOLKITS`.
        tracker: name for the toolkit; letters, digits and `. _ + -`, because it becomes part of file names.
        source: folder or archive of result files in any form that can be scored.
        output: folder for the files, or a zip archive to make if it ends in `.zip`.
        ground_truth, data_root, split: where the annotations are; see `load_ground_truth`.
        box_format, prefix: of the source; see `read_results`.
        columns: numbers a row: 4 (x, y, w, h) or 8 (corners).
        separator: between numbers; None: as the toolkit's own files have it.
        allow_missing: leave out sequences that have no usable file.

    Returns:
        Number of sequences written, and notes on the source.

    Raises:
        EvaluationError: files are missing or malformed.
        ValueError: unknown data set, unsuitable name, columns, output or ground truth.
        FileExistsError: there are files at `output`.
    """
    if dataset not in TOOLKITS:
        hint = " (its runs begin at anchors: let tracking/vot.py make them)" if dataset == "votrgbd2022" else ""
        raise ValueError(f"no toolkit form for data set {dataset!r}{hint}; known: {', '.join(TOOLKITS)}")
    toolkit = TOOLKITS[dataset]
    if columns not in (4, 8) or (columns == 8 and not toolkit.corners):
        known = "4 or 8" if toolkit.corners else "4"
        raise ValueError(f"the toolkit of {dataset} reads {known} columns, got {columns}")
    if not TRACKER_NAME.fullmatch(tracker):
        raise ValueError(f"a tracker's name may have letters, digits and . _ + - for a toolkit, got {tracker!r}")
    safe_name(tracker, "a tracker's name")
    output = Path(output).expanduser()
    if output.suffix.lower() in ARCHIVES:
        raise ValueError(f"--output {output}: written is a folder or an archive FILE.zip, no {output.suffix}")
    kind = LongTerm if toolkit is _VOT else OnePass
    protocol = next(rules for rules in protocols_of(dataset).values() if isinstance(rules, kind))
    truth, _ = load_ground_truth(
        dataset,
        protocol,
        ground_truth=ground_truth,
        data_root=data_root,
        split=split,
        problems={} if allow_missing else None,
    )

    tree = FileTree(source, f"results of {tracker}")
    results = read_results(tree, truth, protocol, box_format=box_format, prefix=prefix, compared_only=False)
    if not results.usable(allow_missing):
        raise EvaluationError({tracker: list(results.problems.values())})

    files: dict[str, str] = {}
    separator = separator or toolkit.separator
    for name, rows in results.rows.items():
        path = toolkit.path.format(tracker=tracker, seq=name)
        if isinstance(protocol, OnePass):
            boxes = corners_to_xywh(rows) if results.corners else rows
            if columns == 8:  # corners in the order that the toolkits read
                left, top, width, height = boxes.T
                right, bottom = left + width, top + height
                boxes = np.stack([left, top, right, top, right, bottom, left, bottom], axis=1)
            files[path] = _lines(boxes, separator)
        else:
            boxes, confidences = rows
            files[path] = "1\n" + _lines(boxes[1:], separator, nothing="0")
            values = [repr(value) for value in confidences[1:].tolist()]
            files[path.removesuffix(".txt") + "_confidence.value"] = "\n".join(["", *values, ""])

    output = user_path(output)
    if output.exists() and (output.is_file() or any(output.iterdir())):
        raise FileExistsError(f"--output {output} is not empty; give a new folder or archive")
    if output.suffix.lower() == ".zip":
        with atomic_write(output, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in files.items():
                entry = zipfile.ZipInfo(name)  # with one date for all: the same results give the same archive
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(entry, text)
    else:
        with _new_folder(output) as folder:
            for name, text in files.items():
                with atomic_write(folder / name) as file:
                    file.write(text)
    _, remarks = missing_streams(tree, results.folder, list(results.rows))
    notes = [*results.notes, *(f"{remark}; the files written don't say so" for remark in remarks)]
    return len(results.rows), (*notes, *(f"left out: {text}" for text in results.problems.values()))


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Make a folder that appears with all of its files or not at all; an empty one may be there.

    Yields:
        Where to put them: the folder gets its name after the block.
    """
    folder = folder.resolve()
    temporary = folder.parent / f".tmp-{os.getpid()}-{folder.name[-40:]}"
    try:
        remove_leftovers(folder.parent, folder.name)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    except OSError as error:
        reason = f"{error.strerror} (folder {folder.parent})"
        raise type(error)(
            f"cannot write {folder}: {reason}; choose another output folder or make it writable"
        ) from error
    try:
        yield temporary
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _lines(rows: np.ndarray, separator: str, nothing: str | None = None) -> str:
    """One line per row with all digits; `nothing` stands for a row of NaN."""
    return "".join(
        (nothing if nothing is not None and values[0] != values[0] else separator.join(map(repr, values))) + "\n"
        for values in rows.tolist()
    )
