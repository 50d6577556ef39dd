"""RGB + events: VisEvent (https://arxiv.org/abs/2108.05015), its rendered event images.

`absent_label.txt` has 1 where the target is present. Frames before the first such frame are cut, so that a result is as
long as the annotation of the evaluation toolkit. The event image of a frame is the one of the same name.
"""

from __future__ import annotations

from lib.datasets.layout import FlagFile, Layout, Split

__all__ = ["VISEVENT", "VISEVENT_ATTRIBUTES"]

VISEVENT_ATTRIBUTES = tuple("CM ROT DEF FOC LI OV POC VC SV BC MB ARC FM NMO IV OE BOM".split())

VISEVENT = Layout(
    title="VisEvent",
    folder="VisEvent",
    modality="rgbe",
    rgb="vis_imgs",
    x="event_imgs",
    boxes=("groundtruth.txt",),
    splits={
        "train": Split(("train/trainlist.txt", "trainlist.txt"), ("train", "train_subset", ""), "visevent_train.txt"),
        "test": Split(("test/testlist.txt", "testlist.txt"), ("test", "test_subset", ""), "visevent_test.txt"),
    },
    flags=FlagFile("absent_label.txt", present=1),
    attribute_names=VISEVENT_ATTRIBUTES,
    attribute_folder="att",
    pairing="name",
    length="shortest",
    cut_leading_absent=True,
    min_size=5.0,
)
