"""SynthRGBX, our procedural benchmark: shaped like LasHeR, DepthTrack and VisEvent, read by the same code.

Differences are its lists, which always lie on disk, and its attribute files, which hold names.
"""

from __future__ import annotations

from dataclasses import replace

from lib.datasets.layout import Split
from lib.datasets.rgbd import DEPTHTRACK
from lib.datasets.rgbe import VISEVENT
from lib.datasets.rgbt import LASHER

__all__ = ["SYNTHETIC"]

SYNTHETIC = {
    "synthrgbt": replace(
        LASHER,
        title="SynthRGBX rgbt",
        folder="SynthRGBX/rgbt",
        splits={
            "train": Split(("trainingsetList.txt",), ("trainingset",)),
            "val": Split(("valsetList.txt",), ("valset",)),
            "test": Split(("testingsetList.txt",), ("testingset",)),
        },
        attribute_names=(),
        attribute_folder="attributes",
    ),
    "synthrgbd": replace(
        DEPTHTRACK,
        title="SynthRGBX rgbd",
        folder="SynthRGBX/rgbd",
        splits={name: Split((f"{name}.txt",), ("",)) for name in ("train", "val", "test")},
    ),
    "synthrgbe": replace(
        VISEVENT,
        title="SynthRGBX rgbe",
        folder="SynthRGBX/rgbe",
        splits={name: Split((f"{name}/{name}list.txt",), (name,)) for name in ("train", "val", "test")},
        attribute_names=(),
        attribute_folder="attributes",
    ),
}
