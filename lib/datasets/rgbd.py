"""RGB + depth: DepthTrack (https://arxiv.org/abs/2108.13962), RGBD1K, CDTB and VOT-RGBD2022.

Depth is 16-bit, millimetres, 0 = no measurement. A box of `nan` means absent; lines missing at the end of an annotation
mean that nothing is known about these frames. RGBD1K (https://arxiv.org/abs/2208.09787) is read without limiting the
depth. Some annotations of CDTB are polygons, of which the bounding box is taken.
"""

from __future__ import annotations

from dataclasses import replace

from lib.datasets.layout import Layout, Split

__all__ = ["CDTB", "DEPTHTRACK", "RGBD1K", "VOTRGBD2022"]

DEPTHTRACK = Layout(
    title="DepthTrack",
    folder="DepthTrack",
    modality="rgbd",
    rgb="color",
    x=("depth",),
    boxes=("groundtruth.txt",),
    splits={
        "train": Split((), ("", "train", "sequences"), "depthtrack_train.txt"),
        "val": Split((), ("", "train", "validation", "val", "sequences"), "depthtrack_val.txt"),
        "test": Split((), ("", "test", "sequences"), "depthtrack_test.txt"),
    },
    length="frames",
    min_size=10.0,
    known={"toy07_indoor_320": "lines are missing at the end of the annotation"},
)

RGBD1K = replace(
    DEPTHTRACK,
    title="RGBD1K",
    folder="RGBD1K",
    boxes=("groundtruth_rect.txt", "groundtruth.txt"),
    splits={
        "train": Split((), ("", "*", "train/*", "train"), "rgbd1k_train.txt"),
        "test": Split(("test/list.txt", "list.txt"), ("test", "test/*", "", "*")),
    },
    min_size=0.0,
    clip_depth=False,
    known={},
)

CDTB = replace(
    DEPTHTRACK,
    title="CDTB",
    folder="CDTB",
    polygons=True,
    splits={"test": Split(("list.txt", "sequences/list.txt"), ("", "sequences"), "cdtb_test.txt")},
    min_size=0.0,
    known={},
)

VOTRGBD2022 = replace(
    CDTB,
    title="VOT-RGBD2022",
    folder="VOT-RGBD2022",
    splits={"test": Split(("list.txt", "sequences/list.txt"), ("", "sequences"), "votrgbd2022_test.txt")},
)
