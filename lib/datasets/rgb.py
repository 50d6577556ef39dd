"""RGB only: GOT-10k, LaSOT, TrackingNet and RealVideo, to train the foundation; any sequence without its X modality.

GOT-10k (https://arxiv.org/abs/1810.11981): `train` and `val` are the usual parts of its training set, without the
sequences of the VOT challenge; `val_official` and `test` are its own. LaSOT: https://arxiv.org/abs/1809.07845.
TrackingNet: https://arxiv.org/abs/1803.10794. RealVideo is what `scripts/prepare_real_videos.py` makes. COCO, which has
single images, is in `coco`.
"""

from __future__ import annotations

from dataclasses import replace

from lib.datasets.layout import FlagFile, Layout, Split
from lib.datasets.sequence import Sequence

__all__ = ["GOT10K", "LASOT", "REALVIDEO", "TRACKINGNET", "rgb_only"]

GOT10K = Layout(
    title="GOT-10k",
    folder="GOT-10k",
    modality="rgb",
    rgb=".",
    x=(),
    boxes=("groundtruth.txt",),
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

LASOT = Layout(
    title="LaSOT",
    folder="LaSOT",
    modality="rgb",
    rgb="img",
    x=(),
    boxes=("groundtruth.txt",),
    splits={
        "train": Split((), ("*", ""), "lasot_train.txt"),
        "test": Split((), ("*", ""), "lasot_test.txt"),
    },
    flags=FlagFile("out_of_view.txt", present=0),
    hidden=(FlagFile("full_occlusion.txt", present=0),),
    length="frames",
)

TRACKINGNET = Layout(
    title="TrackingNet",
    folder="TrackingNet",
    modality="rgb",
    rgb=".",
    x=(),
    boxes=("../../anno/{name}.txt",),
    splits={
        "train": Split((), ("TRAIN_*/frames",), everything=True),
        "test": Split((), ("TEST/frames",), everything=True),
    },
    length="frames",
)


REALVIDEO = Layout(
    title="RealVideo",
    folder="RealVideo",
    modality="rgb",
    rgb="img",
    x=(),
    boxes=("groundtruth.txt",),
    splits={name: Split((f"{name}/list.txt",), (name,)) for name in ("train", "val")},
    length="frames",
)


def rgb_only(sequence: Sequence, prefix: str = "") -> Sequence:
    """The same frames and boxes with modality "rgb"; `prefix` keeps names of several sets apart."""
    return replace(sequence, name=prefix + sequence.name, modality="rgb", x_files=None, x_boxes=None)
