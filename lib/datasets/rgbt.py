"""RGB + thermal: LasHeR, RGBT234, RGBT210, GTOT and VTUAV.

LasHeR (https://arxiv.org/abs/2104.13202): boxes are read from `init.txt`, or `visible.txt` where it is missing. `train`
is the official list of 979 sequences, `train_peer` and `val` are the usual division of these into 882 and 97; `test` is
the official list of 245. Nothing but `test` has a test sequence in it.

RGBT234 (https://arxiv.org/abs/1805.08982) and RGBT210 have the same folders; RGBT234 has a box per modality, as GTOT,
which has corners. VTUAV (https://arxiv.org/abs/2204.04120) has a line per 10 frames, in 47 sequences not from the first
frame on: the frames before the first line are dropped.
"""

from __future__ import annotations

from lib.datasets.layout import Layout, Split

__all__ = ["GTOT", "LASHER", "LASHER_ATTRIBUTES", "RGBT210", "RGBT234", "RGBT234_ATTRIBUTES", "VTUAV"]

LASHER_ATTRIBUTES = tuple("NO PO TO HO MB LI HI AIV LR DEF BC SA CM TC FL OV FM SV ARC".split())
RGBT234_ATTRIBUTES = tuple("BC CM DEF FM HO LI LR MB NO TC PO SC".split())
TRAINING = ("trainingset", "")

LASHER = Layout(
    title="LasHeR",
    folder="LasHeR",
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
    attribute_names=LASHER_ATTRIBUTES,
    attribute_folder="AttriSeqsTxt",
    length="shortest",
    known={"cameraman_1202": "has no visible.txt; init.txt is read"},
)

RGBT234 = Layout(
    title="RGBT234",
    folder="RGBT234",
    modality="rgbt",
    rgb="visible",
    x=("infrared",),
    boxes=("visible.txt", "init.txt"),
    x_boxes=("infrared.txt",),
    splits={"test": Split((), ("", "RGBT234", "rgbt234"), "rgbt234_test.txt")},
    attribute_names=RGBT234_ATTRIBUTES,
    attribute_folder="attr_txt",
    attributes_by_column=True,
    length="shortest",
    known={
        "afterrain": "line 1 of visible.txt is 144,53,10,80 in the usual copy, init.txt says 144,53,24,45",
        "man4": "590 images, 589 lines",
        "orangeman1": "920 images, 921 lines",
    },
)

RGBT210 = Layout(
    title="RGBT210",
    folder="RGBT210",
    modality="rgbt",
    rgb="visible",
    x=("infrared",),
    boxes=("init.txt",),
    splits={"test": Split((), ("", "RGBT210", "rgbt210"), "rgbt210_test.txt")},
    attribute_names=RGBT234_ATTRIBUTES,
    attribute_folder="attr_txt",
    attributes_by_column=True,
    length="shortest",
)

GTOT = Layout(
    title="GTOT",
    folder="GTOT",
    modality="rgbt",
    rgb="v",
    x=("i",),
    boxes=("groundTruth_v.txt",),
    x_boxes=("groundTruth_i.txt",),
    corners=True,
    splits={"test": Split((), ("", "GTOT"), "gtot_test.txt")},
    length="shortest",
)

VTUAV = Layout(
    title="VTUAV",
    folder="VTUAV",
    modality="rgbt",
    rgb="rgb",
    x=("ir",),
    boxes=("rgb.txt",),
    x_boxes=("ir.txt",),
    splits={
        "train": Split((), ("", "train*", "train*/train*", "*/train*"), "vtuav_train.txt"),
        "val": Split((), ("", "train*", "train*/train*", "*/train*"), "vtuav_val.txt"),
        "train_lt": Split((), ("", "train*", "train*/train*", "*/train*"), "vtuav_train_lt.txt"),
        "val_lt": Split((), ("", "train*", "train*/train*", "*/train*"), "vtuav_val_lt.txt"),
        "test": Split((), ("", "test*", "test*/test*", "*/test*"), "vtuav_test.txt"),
        "test_lt": Split((), ("", "test*", "test*/test*", "*/test*"), "vtuav_test_lt.txt"),
    },
    length="frames",
    box_step=10,
    starts="vtuav_first_frames.csv",
)
