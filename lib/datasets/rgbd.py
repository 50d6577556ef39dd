"""RGB + depth: DepthTrack (https://arxiv.org/abs/2108.13962).

Depth is 16-bit, millimetres, 0 = no measurement. A box of `nan` means absent; lines missing at the end of an annotation
mean that nothing is known about these frames.
"""

from __future__ import annotations

from lib.datasets.layout import Layout, Split

__all__ = ["DEPTHTRACK"]

DEPTHTRACK = Layout(
    title="DepthTrack",
    folder="DepthTrack",
    modality="rgbd",
    rgb="color",
    x="depth",
    boxes=("groundtruth.txt",),
    splits={
        "train": Split((), ("", "train", "sequences"), "depthtrack_train.txt"),
        "val": Split((), ("", "train", "validation", "val", "sequences"), "depthtrack_val.txt"),
        "test": Split((), ("", "test", "sequences"), "depthtrack_test.txt"),
    },
    length="frames",
    min_size=10.0,
)
