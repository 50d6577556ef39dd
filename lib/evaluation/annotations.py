"""Annotations of the benchmarks without their images, from any of the `annotation_layouts`."""

from __future__ import annotations

import functools
from collections.abc import Sequence as Names
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from lib.evaluation.annotation_layouts import FOLDERS, LASHER_ATTRIBUTES, LAYOUTS, VISEVENT_ATTRIBUTES, Layout
from lib.evaluation.boxes import corners_to_xywh
from lib.evaluation.filetree import FileTree
from lib.evaluation.rows import parse_column, parse_rows

__all__ = ["LASHER_ATTRIBUTES", "LAYOUTS", "VISEVENT_ATTRIBUTES", "GroundTruth", "Layout", "read_annotations"]


@dataclass(frozen=True)
class GroundTruth:
    """Annotation of one sequence.

    Attributes:
        boxes: one (N, 4) xywh array, pixels, per annotated modality; NaN rows: no target (VOT only).
        absent: (N,) bool, target not in the image; None where the benchmark has no such flag.
        attributes: names of the challenges it carries.
        image_size: width and height, pixels; only where the protocol clips boxes to the image.
        anchors: (N,) > 0: a run starts here forwards, < 0: backwards; only for multi-start protocols.
        lead: frames before the first annotation row; a result file may have rows for them.
        rows: (N,) which row of a result, counted from the first annotated frame, belongs to each annotation row; None:
            every one, or every n-th by the protocol.
        images: number of frames from the first annotated one on, where it is known; a result file may have as many rows
            even if the annotation has more or fewer.
    """

    boxes: tuple[np.ndarray, ...]
    absent: np.ndarray | None = None
    attributes: tuple[str, ...] = ()
    image_size: tuple[int, int] | None = None
    anchors: np.ndarray | None = None
    lead: int = 0
    rows: np.ndarray | None = None
    images: int | None = None

    @property
    def frames(self) -> int:
        """Number of annotation rows."""
        return len(self.boxes[0])

    def cut(self, length: int) -> GroundTruth:
        """The first `length` annotation rows; itself if it has no more."""
        if self.frames <= length:
            return self
        absent = None if self.absent is None else self.absent[:length]
        return replace(self, boxes=tuple(boxes[:length] for boxes in self.boxes), absent=absent)


def read_annotations(
    dataset: str, tree: FileTree, names: Names[str] | None = None, problems: dict[str, str] | None = None
) -> dict[str, GroundTruth]:
    """Read the annotations of a benchmark.

    Args:
        dataset: a key of `LAYOUTS`.
        tree: folder or archive.
        names: the sequences wanted; None: the benchmark's own list, or all that are there if it lies elsewhere.
        problems: filled with what is wrong with single sequences, which are left out then; None: they are errors.

    Returns:
        Annotation by sequence name, in the order of the list.

    Raises:
        ValueError: if no layout fits, or files are missing or malformed; all of them are listed.
    """
    tops = ["", *FOLDERS.get(dataset, ())]
    if not tree.files() and len(tree.folders()) == 1:
        tops.append(f"{tree.folders()[0]}/")
    for top in tops:
        for layout in LAYOUTS[dataset]:
            paths = _paths(layout, tree, top, names)
            if any(tree.has(top + layout.boxes[0].format(seq=path)) for path in paths.values()):
                truth, found = _read_layout(layout, tree, top, paths)
                if problems is None and found:
                    raise ValueError("\n".join(found.values()))
                (found if problems is None else problems).update(found)
                return truth
    looked = ", ".join(layout.boxes[0].replace("{seq}", "<sequence>") for layout in LAYOUTS[dataset])
    raise ValueError(f"{tree.describe()}: no annotation of {dataset}; looked for {looked}, also below {tops[1:]}")


def _paths(layout: Layout, tree: FileTree, top: str, names: Names[str] | None) -> dict[str, str]:
    """What stands for `{seq}` in the layout's files, by the name of each sequence wanted."""
    box_file = top + layout.boxes[0]
    listed = {}
    for line in _listed(layout, tree, top):
        name = PurePosixPath(line).name
        listed[name] = line if tree.has(box_file.format(seq=line)) else name
    return listed if names is None else {name: listed.get(name, name) for name in names}


def _listed(layout: Layout, tree: FileTree, top: str) -> list[str]:
    """Lines of the list file, or everything that has a box file, for some sets one folder deeper too."""
    for file in layout.lists:
        if tree.has(top + file):
            return [line.strip() for line in tree.read(top + file).split("\n") if line.strip()]
    head, tail = layout.boxes[0].split("{seq}")
    if "/" not in tail:
        return [file.removesuffix(tail) for file in tree.files(top + head) if file.endswith(tail)]
    found = tree.folders(top + head)
    if layout.nested:
        found = [*found, *(f"{folder}/{name}" for folder in found for name in tree.folders(f"{top}{head}{folder}"))]
    return [path for path in found if tree.has(top + head + path + tail)]


def _read_layout(
    layout: Layout, tree: FileTree, top: str, paths: dict[str, str]
) -> tuple[dict[str, GroundTruth], dict[str, str]]:
    """Annotations, and what is wrong with those of other sequences."""
    carried = _attribute_columns(layout, tree, top)
    truth, problems = {}, {}
    for name, path in paths.items():
        try:
            truth[name] = _read_sequence(layout, tree, top, path, carried.get(name, ()))
        except ValueError as error:
            problems[name] = str(error)
    return truth, problems


def _read_sequence(layout: Layout, tree: FileTree, top: str, name: str, carried: tuple[str, ...]) -> GroundTruth:
    boxes = tuple(_read_boxes(layout, tree, top + file.format(seq=name)) for file in layout.boxes)
    if len({len(array) for array in boxes}) > 1:
        raise ValueError(f"{tree.describe(top + name)}: annotations of {[len(rows) for rows in boxes]} rows differ")
    absent = None
    if layout.absent is not None:
        absent = _column(tree, top + layout.absent.format(seq=name), len(boxes[0])) == layout.absent_flag
    if layout.flags is not None and tree.has(top + layout.flags.format(seq=name)):
        carried = _flagged(layout, tree, top + layout.flags.format(seq=name))
    size, anchors = _vot_extras(tree, f"{top}{name}/", len(boxes[0])) if layout.vot else (None, None)
    lead = 0 if layout.starts is None else _first_frames(layout.starts).get(PurePosixPath(name).name, 0)
    return GroundTruth(boxes, absent, carried, size, anchors, lead, images=layout.images.get(name))


@functools.cache
def _first_frames(file: str) -> dict[str, int]:
    from lib.datasets.boxes_file import read_numbers  # here, because the data sets' readers take a while to start
    from lib.datasets.places import PACKAGED

    return read_numbers(PACKAGED / file)


def _read_boxes(layout: Layout, tree: FileTree, file: str) -> np.ndarray:
    if not tree.has(file):
        raise ValueError(f"{tree.describe(file)}: missing annotation of a listed sequence")
    rows, _ = parse_rows(tree.read(file), tree.describe(file), (4,))
    return corners_to_xywh(rows) if layout.corners else rows


def _column(tree: FileTree, file: str, length: int) -> np.ndarray:
    if not tree.has(file):
        raise ValueError(f"{tree.describe(file)}: missing; expected {length} numbers")
    values = parse_column(tree.read(file).rstrip(), tree.describe(file))
    if len(values) != length:
        raise ValueError(f"{tree.describe(file)}: {len(values)} lines; expected {length}, one per annotated frame")
    return values


def _flagged(layout: Layout, tree: FileTree, file: str) -> tuple[str, ...]:
    flags = tree.read(file).replace(",", " ").split()
    if len(flags) != len(layout.attributes) or not set(flags) <= {"0", "1"}:
        raise ValueError(f"{tree.describe(file)}: expected {len(layout.attributes)} flags 0 or 1, got {flags[:20]}")
    return tuple(name for name, flag in zip(layout.attributes, flags, strict=True) if flag == "1")


def _attribute_columns(layout: Layout, tree: FileTree, top: str) -> dict[str, tuple[str, ...]]:
    """Attributes by sequence from one file per attribute."""
    folder = f"{top}{layout.columns}/"
    if layout.columns is None or not tree.has(folder + "SequencesName.txt"):
        return {}
    names = tree.read(folder + "SequencesName.txt").split()
    carried: dict[str, list[str]] = {name: [] for name in names}
    for attribute in layout.attributes:
        flags = tree.read(f"{folder}{attribute}.txt").split()
        if len(flags) != len(names):
            where = tree.describe(f"{folder}{attribute}.txt")
            raise ValueError(f"{where}: {len(flags)} flags; expected {len(names)}, one per sequence")
        for name, flag in zip(names, flags, strict=True):
            if flag == "1":
                carried[name].append(attribute)
    return {name: tuple(values) for name, values in carried.items()}


def _vot_extras(tree: FileTree, folder: str, length: int) -> tuple[tuple[int, int], np.ndarray | None]:
    """Image size from `sequence` and anchors from `anchor.value` of a VOT sequence folder."""
    file = folder + "sequence"
    if not tree.has(file):
        raise ValueError(f"{tree.describe(file)}: missing; it holds width and height of the images")
    pairs = dict(line.split("=", 1) for line in tree.read(file).split("\n") if "=" in line)
    try:
        size = int(pairs["width"]), int(pairs["height"])
    except (KeyError, ValueError) as error:
        raise ValueError(f"{tree.describe(file)}: expected lines width=N and height=N ({error})") from None
    anchors = _column(tree, folder + "anchor.value", length) if tree.has(folder + "anchor.value") else None
    return size, anchors
