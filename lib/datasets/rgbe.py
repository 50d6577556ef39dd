"""RGB + events: VisEvent (https://arxiv.org/abs/2108.05015), COESOT (https://arxiv.org/abs/2211.11010) and FE108
(https://arxiv.org/abs/2109.09052), their rendered event images.

VisEvent's `absent_label.txt` and COESOT's `absent.txt` have 1 where the target is present. Frames before the first such
frame are cut: nothing can be tracked from them. In VisEvent the event image of a frame is the one of the same name; in
COESOT names need not match, nor types; FE108's event camera ran ahead of the frames by a known number of images.
"""

from __future__ import annotations

from lib.datasets.layout import FlagFile, Layout, Split

__all__ = ["COESOT", "FE108", "VISEVENT", "VISEVENT_ATTRIBUTES"]

VISEVENT_ATTRIBUTES = tuple("CM ROT DEF FOC LI OV POC VC SV BC MB ARC FM NMO IV OE BOM".split())
BLANK_AT = ("16_47_33", "16_47_51", "16_56_01", "16_56_23", "16_57_16")
BLANK_EVENTS = "event images are blank throughout (damaged recording): the modality is missing"

VISEVENT = Layout(
    title="VisEvent",
    folder="VisEvent",
    modality="rgbe",
    rgb="vis_imgs",
    x=("event_imgs",),
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

COESOT = Layout(
    title="COESOT",
    folder="COESOT",
    modality="rgbe",
    rgb="{name}_aps",
    x=("{name}_dvs",),
    boxes=("groundtruth.txt",),
    splits={
        "train": Split(("train/list.txt", "trainlist.txt"), ("train", "training_subset"), everything=True),
        "test": Split(("test/list.txt", "testlist.txt"), ("test", "testing_subset", ""), "coesot_test.txt"),
    },
    flags=FlagFile("absent.txt", present=1),
    length="shortest",
    cut_leading_absent=True,
    min_size=5.0,
    known={f"dvSave-2022_08_18_{time}": BLANK_EVENTS for time in BLANK_AT},
)

FE108 = Layout(
    title="FE108",
    folder="FE108",
    modality="rgbe",
    rgb="img",
    x=("event_imgs", "events/events_dvs", "dvs", "stack"),
    boxes=("groundtruth_rect.txt",),
    splits={
        "train": Split(("train/list.txt", "train.txt"), ("train", ""), everything=True),
        "test": Split(("test/list.txt", "test.txt"), ("test", ""), everything=True),
        "all": Split((), ("train", "test", ""), "fe108_all.txt"),
    },
    pairing="start",
    starts="fe108_first_events.csv",
    length="shortest",
)
