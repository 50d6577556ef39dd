"""RGB + thermal: LasHeR (https://arxiv.org/abs/2104.13202).

Boxes are read from `init.txt`, or `visible.txt` where it is missing. Width or height <= 0 means absent.
`train` is the official list of 979 sequences, `train_peer` and `val` are the usual division of these into 882 and 97;
`test` is the official list of 245. Nothing but `test` has a test sequence in it.
"""

from __future__ import annotations

from lib.datasets.layout import Layout, Split

__all__ = ["LASHER", "LASHER_ATTRIBUTES"]

LASHER_ATTRIBUTES = tuple("NO PO TO HO MB LI HI AIV LR DEF BC SA CM TC FL OV FM SV ARC".split())
TRAINING = ("trainingset", "")

LASHER = Layout(
    title="LasHeR",
    folder="LasHeR",
    modality="rgbt",
    rgb="visible",
    x="infrared",
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
)
