"""Writes rendered sequences in the shape of LasHeR, DepthTrack and VisEvent: same folders, file names and formats.

A layout is a row of `LAYOUTS`; what differs beyond names (absent frames, flags, image formats) is in small functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from patrack.files import atomic_write

__all__ = ["LAYOUTS", "SPLITS", "Layout", "write_annotations", "write_attributes", "write_frame", "write_lists"]

SPLITS: tuple[str, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Layout:
    """Where one modality pair keeps its things.

    Attributes:
        folders: split -> folder of its sequences, below the root.
        lists: split -> list file, below the root.
        rgb, x: image path in a sequence, with the zero-based frame number `k`.
    """

    folders: dict[str, str]
    lists: dict[str, str]
    rgb: str
    x: str


LAYOUTS: dict[str, Layout] = {
    "rgbt": Layout(
        {"train": "trainingset", "val": "valset", "test": "testingset"},
        {"train": "trainingsetList.txt", "val": "valsetList.txt", "test": "testingsetList.txt"},
        "visible/v{k:03d}.jpg",
        "infrared/i{k:03d}.jpg",
    ),
    "rgbd": Layout(
        dict.fromkeys(SPLITS, "."),
        {split: f"{split}.txt" for split in SPLITS},
        "color/{n:08d}.jpg",
        "depth/{n:08d}.png",
    ),
    "rgbe": Layout(
        {split: split for split in SPLITS},
        {split: f"{split}/{split}list.txt" for split in SPLITS},
        "vis_imgs/frame{k:04d}.bmp",
        "event_imgs/frame{k:04d}.bmp",
    ),
}

# The data sets' own attribute flags, in their order, and our attributes that set them.
_LASHER_FLAGS: dict[str, tuple[str, ...]] = {
    "NO": (), "PO": ("occlusion",), "TO": ("full_occlusion",), "HO": (), "MB": ("motion_blur",),
    "LI": ("darkness",), "HI": ("glare", "overexposure"), "AIV": ("glare", "overexposure", "darkness"),
    "LR": ("small_target",), "DEF": ("deformation", "articulation"), "BC": ("fog",),
    "SA": ("distractor", "similar_rgb"),
    "CM": ("camera_motion",), "TC": ("thermal_crossover",),
    "FL": ("rgb_black", "rgb_frozen", "rgb_noise", "x_black", "x_frozen", "x_noise"),
    "OV": ("out_of_view",), "FM": ("fast_motion",), "SV": ("scale_change",), "ARC": ("aspect_change",),
}  # fmt: skip
_VISEVENT_FLAGS: dict[str, tuple[str, ...]] = {
    "CM": ("camera_motion",), "ROT": ("rotation",), "DEF": ("deformation", "articulation"), "FOC": ("full_occlusion",),
    "LI": ("darkness",), "OV": ("out_of_view",), "POC": ("occlusion",), "VC": (), "SV": ("scale_change",),
    "BC": ("distractor",), "MB": ("motion_blur",), "ARC": ("aspect_change",), "FM": ("fast_motion",),
    "NMO": ("static_scene",), "IV": ("darkness", "glare", "overexposure"), "OE": ("overexposure", "glare"),
    "BOM": ("distractor",),
}  # fmt: skip
_FLAG_FILES = {"rgbt": ("AttriSeqsTxt", _LASHER_FLAGS), "rgbe": ("att", _VISEVENT_FLAGS)}


def _encode(path: Path, image: np.ndarray) -> None:
    options = {
        ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 92],
        ".png": [
            cv2.IMWRITE_PNG_COMPRESSION,
            1,
            cv2.IMWRITE_PNG_STRATEGY,
            cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY,
            cv2.IMWRITE_PNG_FILTER,
            cv2.IMWRITE_PNG_FILTER_SUB,
        ],
        ".bmp": [],
    }[path.suffix]
    path.write_bytes(cv2.imencode(path.suffix, image, options)[1].tobytes())


def write_frame(folder: Path, modality: str, k: int, rgb: np.ndarray, x: np.ndarray) -> None:
    """Write frame `k` (from 0): `rgb` (H, W, 3) uint8 B,G,R and `x` as its sensor gives it, into a sequence folder."""
    layout = LAYOUTS[modality]
    for pattern, image in ((layout.rgb, rgb), (layout.x, x)):
        path = folder / pattern.format(k=k, n=k + 1)
        if k == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        _encode(path, image)


def write_annotations(folder: Path, modality: str, boxes: np.ndarray, absent: np.ndarray) -> None:
    """Write the box files of a sequence.

    Args:
        folder: the sequence's folder.
        modality: rgbt, rgbd or rgbe.
        boxes: (N, 4) float64 xywh, pixels.
        absent: (N,) bool; an absent frame is `0,0,0,0` (LasHeR, VisEvent) or `nan,nan,nan,nan` (DepthTrack).
    """
    shown = np.where(absent[:, None], np.nan if modality == "rgbd" else 0.0, boxes)
    pattern = "%d" if modality == "rgbt" else "%.4f"
    lines = [",".join("nan" if np.isnan(v) else pattern % v for v in row) for row in shown]
    text = "\n".join(lines) + "\n"
    names = ("visible.txt", "infrared.txt", "init.txt") if modality == "rgbt" else ("groundtruth.txt",)
    for name in names:
        (folder / name).write_text(text)
    if modality == "rgbe":
        (folder / "absent_label.txt").write_text("".join(f"{int(not a)}\n" for a in absent))


def write_attributes(root: Path, modality: str, name: str, attributes: set[str]) -> None:
    """Write a sequence's attribute names (one line, commas), and the data set's own 0/1 flags where it has some."""
    (root / "attributes").mkdir(exist_ok=True)
    (root / "attributes" / f"{name}.txt").write_text(",".join(sorted(attributes)) + "\n")
    if modality in _FLAG_FILES:
        folder, flags = _FLAG_FILES[modality]
        (root / folder).mkdir(exist_ok=True)
        row = ",".join(str(int(any(a in attributes for a in sources))) for sources in flags.values())
        (root / folder / f"{name}.txt").write_text(row + "\n")
        (root / folder / "attributes.txt").write_text("\n".join(flags) + "\n")


def write_lists(root: Path, modality: str, split: str, names: Sequence[str]) -> None:
    """Write the list file of a split, one name per line."""
    with atomic_write(root / LAYOUTS[modality].lists[split]) as file:
        file.write("".join(f"{name}\n" for name in names))
