"""Results in the files that the benchmarks' own toolkits read: names, folders, separators, columns.

    LasHeR, VisEvent, COESOT   <tracker>_tracking_result/<sequence>.txt
    RGBT234, RGBT210           <tracker><sequence>.txt
    GTOT                       <tracker>/<tracker>_<sequence>.txt
    VTUAV                      <tracker>_<sequence>.txt
    VOT (RGB-D)                <tracker>/rgbd-unsupervised/<sequence>/<sequence>_001.txt, _001_confidence.value

Whatever form the source has, it is read and checked as for scoring, so that nothing incomplete is handed in.
"""

from __future__ import annotations

import os
import re
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lib.evaluation.boxes import corners_to_xywh
from lib.evaluation.filetree import FileTree
from lib.evaluation.ground_truth import GroundTruth, load_ground_truth
from lib.evaluation.longterm import read_long_term
from lib.evaluation.protocols import PROTOCOLS, LongTerm, OnePass, Protocol
from lib.evaluation.results import BoxFormat, read_results
from lib.evaluation.scores import EvaluationError
from patrack.files import atomic_write

__all__ = ["SEPARATORS", "TOOLKITS", "Toolkit", "export_results"]

Columns = Literal[4, 8]
SEPARATORS = {"comma": ",", "tab": "\t", "blank": " "}
TRACKER_NAME = re.compile(r"[\w.+-]+")


@dataclass(frozen=True)
class Toolkit:
    """What a toolkit reads.

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
    "lasher": _LASOT,
    "visevent": _LASOT,
    "coesot": _LASOT,
    "synthrgbt": _LASOT,
    "synthrgbe": _LASOT,
    "folder": _LASOT,
    "fe108": _LASOT,
    "rgbt234": _RGBT234,
    "rgbt210": _RGBT234,
    "gtot": Toolkit("{tracker}/{tracker}_{seq}.txt", " ", corners=True),
    "vtuav": Toolkit("{tracker}_{seq}.txt", " ", corners=True),
    "depthtrack": _VOT,
    "rgbd1k": _VOT,
    "cdtb": _VOT,
    "synthrgbd": _VOT,
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
    columns: Columns = 4,
    separator: str | None = None,
    allow_missing: bool = False,
) -> tuple[int, tuple[str, ...]]:
    """Write the results of one tracker for a toolkit.

    Args:
        dataset: a key of `TOOLKITS`.
        tracker: name for the toolkit; letters, digits and `. _ + -`, because it becomes part of file names.
        source: folder or zip archive of result files in any form that can be scored.
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
        ValueError: unknown data set, unsuitable name, columns or ground truth.
        FileExistsError: there are files at `output`.
    """
    toolkit = _toolkit(dataset, columns)
    if not TRACKER_NAME.fullmatch(tracker):
        raise ValueError(f"a tracker's name may have letters, digits and . _ + - for a toolkit, got {tracker!r}")
    protocol = next(
        rules for rules in PROTOCOLS[dataset].values() if isinstance(rules, LongTerm if toolkit is _VOT else OnePass)
    )
    truth, _ = load_ground_truth(
        dataset,
        protocol,
        ground_truth=ground_truth,
        data_root=data_root,
        split=split,
        problems={} if allow_missing else None,
    )
    tree = FileTree(source, f"results of {tracker}")
    texts, problems, notes = _texts(tree, truth, protocol, box_format, prefix, columns, separator or toolkit.separator)
    if problems and not (allow_missing and texts and "" not in problems):
        raise EvaluationError({tracker: list(problems.values())})
    path = toolkit.path.format(tracker=tracker, seq="{seq}")
    files = {path.format(seq=name).replace(".txt", ending): text for name, ending, text in texts}
    _write(Path(output).expanduser(), files)
    left_out = [f"left out: {text}" for text in problems.values()]
    return len({name for name, _, _ in texts}), (*notes, *left_out)


def _toolkit(dataset: str, columns: int) -> Toolkit:
    if dataset not in TOOLKITS:
        hint = " (its runs begin at anchors: let tracking/vot.py make them)" if dataset == "votrgbd2022" else ""
        raise ValueError(f"no toolkit form for data set {dataset!r}{hint}; known: {', '.join(TOOLKITS)}")
    toolkit = TOOLKITS[dataset]
    if columns not in (4, 8) or (columns == 8 and not toolkit.corners):
        raise ValueError(
            f"the toolkit of {dataset} reads {'4 or 8' if toolkit.corners else '4'} columns, got {columns}"
        )
    return toolkit


def _texts(
    tree: FileTree,
    truth: Mapping[str, GroundTruth],
    protocol: Protocol,
    box_format: BoxFormat,
    prefix: str | None,
    columns: int,
    separator: str,
) -> tuple[list[tuple[str, str, str]], dict[str, str], tuple[str, ...]]:
    """Sequence, ending and content of every file; what is wrong by sequence; notes."""
    if isinstance(protocol, OnePass):
        found = read_results(tree, truth, box_format=box_format, prefix=prefix, rules=protocol, thin=False)
        boxes = {name: corners_to_xywh(rows) if found.corners else rows for name, rows in found.rows.items()}
        texts = [(name, ".txt", _rows(_columns(array, columns), separator)) for name, array in boxes.items()]
        return texts, found.problems, tuple(found.notes)
    runs, _, problems = read_long_term(tree, truth)
    texts = []
    for name, (array, scores) in runs.items():
        texts.append((name, ".txt", "1\n" + _rows(array[1:], separator, nothing="0")))
        texts.append((name, "_confidence.value", "\n" + "".join(f"{score!r}\n" for score in scores[1:].tolist())))
    return texts, problems, ()


def _columns(boxes: np.ndarray, columns: int) -> np.ndarray:
    """(N, 4) xywh as it is, or (N, 8) corners in the order the toolkits read."""
    if columns == 4:
        return boxes
    left, top, right, bottom = boxes[:, 0], boxes[:, 1], boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3]
    return np.stack([left, top, right, top, right, bottom, left, bottom], axis=1)


def _rows(rows: np.ndarray, separator: str, nothing: str | None = None) -> str:
    """One line per row with all digits; `nothing` stands for a row of NaN."""
    lines = [
        nothing if nothing is not None and values[0] != values[0] else separator.join(repr(value) for value in values)
        for values in rows.tolist()
    ]
    return "".join(f"{line}\n" for line in lines)


def _write(output: Path, files: Mapping[str, str]) -> None:
    """All files below a folder, or as a zip archive."""
    if output.exists() and (output.is_file() or any(output.iterdir())):
        raise FileExistsError(f"--output {output} is not empty; give a new folder or archive")
    if output.suffix.lower() != ".zip":
        for name, text in files.items():
            with atomic_write(output / name) as file:
                file.write(text)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=output.parent, suffix=".tmp")
    os.close(handle)
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        Path(temporary).replace(output)
    finally:
        Path(temporary).unlink(missing_ok=True)
