"""Results in the files that the benchmarks' own toolkits read: names, folders, separators, columns.

    LasHeR, VisEvent, COESOT   <tracker>_tracking_result/<sequence>.txt
    RGBT234, RGBT210           <tracker><sequence>.txt
    GTOT                       <tracker>/<tracker>_<sequence>.txt
    VTUAV                      <tracker>_<sequence>.txt
    VOT (RGB-D)                <tracker>/rgbd-unsupervised/<sequence>/<sequence>_001.txt, _001_confidence.value

Whatever form the source has, it is read and checked as for scoring, so that nothing incomplete is handed in.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lib.evaluation.boxes import corners_to_xywh
from lib.evaluation.filetree import FileTree
from lib.evaluation.ground_truth import load_ground_truth
from lib.evaluation.protocols import LongTerm, OnePass, protocols_of
from lib.evaluation.results import BoxFormat, ResultFiles, read_results
from lib.evaluation.scores import EvaluationError
from lib.evaluation.vot import read_long_term
from patrack.files import atomic_write

__all__ = ["SEPARATORS", "TOOLKITS", "Toolkit", "export_results"]

Columns = Literal[4, 8]
SEPARATORS = {"comma": ",", "tab": "\t", "blank": " "}
TRACKER_NAME = re.compile(r"[\w.+-]+")


@dataclass(frozen=True)
class Toolkit:
    """Form of the files that a toolkit reads.

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
    if dataset not in TOOLKITS:
        hint = " (its runs begin at anchors: let tracking/vot.py make them)" if dataset == "votrgbd2022" else ""
        raise ValueError(f"no toolkit form for data set {dataset!r}{hint}; known: {', '.join(TOOLKITS)}")
    toolkit = TOOLKITS[dataset]
    if columns not in (4, 8) or (columns == 8 and not toolkit.corners):
        known = "4 or 8" if toolkit.corners else "4"
        raise ValueError(f"the toolkit of {dataset} reads {known} columns, got {columns}")
    if not TRACKER_NAME.fullmatch(tracker):
        raise ValueError(f"a tracker's name may have letters, digits and . _ + - for a toolkit, got {tracker!r}")
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
    results: ResultFiles[Any]
    if isinstance(protocol, OnePass):
        results = read_results(tree, truth, protocol, box_format=box_format, prefix=prefix, compared_only=False)
    else:
        results = read_long_term(tree, truth)
    if not results.usable(allow_missing):
        raise EvaluationError({tracker: list(results.problems.values())})

    files: dict[str, str] = {}
    separator = separator or toolkit.separator
    rows: Any
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

    output = Path(output).expanduser()
    if output.exists() and (output.is_file() or any(output.iterdir())):
        raise FileExistsError(f"--output {output} is not empty; give a new folder or archive")
    if output.suffix.lower() == ".zip":
        with atomic_write(output, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in files.items():
                archive.writestr(name, text)
    else:
        for name, text in files.items():
            with atomic_write(output / name) as file:
                file.write(text)
    return len(results.rows), (*results.notes, *(f"left out: {text}" for text in results.problems.values()))


def _lines(rows: np.ndarray, separator: str, nothing: str | None = None) -> str:
    """One line per row with all digits; `nothing` stands for a row of NaN."""
    return "".join(
        (nothing if nothing is not None and values[0] != values[0] else separator.join(map(repr, values))) + "\n"
        for values in rows.tolist()
    )
