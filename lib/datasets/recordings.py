"""Annotated recordings of any origin: a folder that is one, or holds some, told by the names in it.

A recording is a folder with RGB frames, perhaps X frames beside them, and a box file. The names of every known data set
are understood; so are, in any combination, the ones listed here:

    RGB     rgb, color, colour, visible, vis, img, images, or the folder itself
    X       ir, infrared, thermal, lwir (rgbt); depth (rgbd); event_imgs, event, events, dvs (rgbe); x (any)
    boxes   groundtruth.txt, groundtruth_rect.txt, rgb.txt, visible.txt, init.txt, boxes.txt

Frames may be a video of that name instead, such as `rgb.mp4`. Anything else in the folder (masks) is left alone.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from lib.datasets.boxes_file import read_boxes
from lib.datasets.layout import Layout
from lib.datasets.listing import IMAGE_SUFFIXES, VIDEO_SUFFIXES, find_frames, sub_folders
from lib.datasets.loading import LAYOUTS
from lib.datasets.reader import annotation_file, read_sequence
from lib.datasets.sequence import DatasetError, Sequence
from patrack.modality import MODALITIES, PAIRS

__all__ = ["find_recordings", "read_recording", "shows_target"]

RGB_NAMES = ("rgb", "color", "colour", "visible", "vis", "img", "images")
X_NAMES = {modality: pair.folders for modality, pair in PAIRS.items()}
ANY_X = "x"  # says nothing about its kind
BOX_FILES = ("groundtruth.txt", "groundtruth_rect.txt", "rgb.txt", "visible.txt", "init.txt", "boxes.txt")


def find_recordings(folder: Path, modality: str | None = None, box_step: int | None = None) -> list[Sequence]:
    """The recordings in a folder, by name; or the one that the folder is.

    Args:
        folder: a recording, or what holds recordings directly below it; other folders there are passed over.
        modality: "rgbt", "rgbd", "rgbe": read X of that kind, also from a folder `x`; "rgb": read no X; None: as the
            names say.
        box_step: line k of a box file with fewer lines than frames belongs to frame k * box_step; None: 10 for VTUAV's
            names, else 1 unless that is in doubt.

    Returns:
        At least one. Each starts at its first frame with a box, and has a later one.

    Raises:
        DatasetError: no recording there, or one that can't be used; see `read_recording`.
        ValueError: unknown modality, box_step below 1.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder")
    if _layouts_in(folder):
        return [read_recording(folder, modality, box_step)]
    below = [path for _, path in sorted(sub_folders(folder).items()) if _layouts_in(path)]
    if not below:
        raise DatasetError(
            f"{folder}: no recording in it: neither here nor one folder below are there RGB frames (a folder "
            f"{', '.join(RGB_NAMES)}) and a box file ({', '.join(BOX_FILES)})"
        )
    return [read_recording(path, modality, box_step) for path in below]


def read_recording(folder: Path, modality: str | None = None, box_step: int | None = None) -> Sequence:
    """One recording; see `find_recordings`. No image is opened.

    Raises:
        DatasetError: frames or boxes are missing, more than one kind of X, doubt about which frames the lines of the
            box file belong to, no box after the first one, or whatever `lib.datasets.reader.read_sequence` refuses.
        ValueError: unknown modality, box_step below 1.
    """
    if modality is not None and modality not in MODALITIES:
        raise ValueError(f"modality must be one of {MODALITIES}, got {modality!r}")
    if box_step is not None and box_step < 1:
        raise ValueError(f"box_step must be 1 or more, got {box_step}")
    layout = _choose(folder, _layouts_in(folder), modality)
    if modality == "rgb":
        layout = replace(layout, modality="rgb", x=(), x_boxes=(), pairing="position")
    step = _box_step(folder, layout, box_step)
    return _from_first_box(read_sequence(folder, replace(layout, box_step=step, polygons=True)))


def shows_target(recording: Sequence) -> np.ndarray:
    """(N,) bool: frames with a true box."""
    boxes = recording.boxes
    return np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1) & ~recording.absent


def _layouts_in(folder: Path) -> list[Layout]:
    """Layouts whose RGB frames, X frames and box file are all there: known data sets first, then RGB without X."""
    known = [layout for layout in LAYOUTS.values() if not any("/" in name for name in layout.boxes)]
    plain = Layout("recording", "", "rgb", rgb="", x=(), boxes=BOX_FILES, length="frames")
    pairs = [
        replace(plain, modality=kind, rgb=rgb, x=(x,))
        for rgb in RGB_NAMES
        for kind, names in (*X_NAMES.items(), ("", (ANY_X,)))
        for x in names
    ]
    alone = [layout for layout in known if not layout.x] + [replace(plain, rgb=rgb) for rgb in (*RGB_NAMES, ".")]
    layouts = [layout for layout in known if layout.x] + pairs + alone
    return [layout for layout in layouts if _fits(folder, layout)]


def _fits(folder: Path, layout: Layout) -> bool:
    if not any((folder / name.format(name=folder.name)).is_file() for name in layout.boxes):
        return False
    if layout.rgb == "." and not any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir()):
        return False
    return _has_frames(folder, layout.rgb) and (not layout.x or any(_has_frames(folder, name) for name in layout.x))


def _has_frames(folder: Path, stem: str) -> bool:
    path = folder / stem.format(name=folder.name)
    return path.is_dir() or any(path.with_name(path.name + suffix).is_file() for suffix in VIDEO_SUFFIXES)


def _choose(folder: Path, layouts: list[Layout], modality: str | None) -> Layout:
    """The first layout of the modality asked for, or of the only kind of X that is there."""
    if not layouts:
        raise DatasetError(
            f"{folder}: not a recording: it needs RGB frames (a folder {', '.join(RGB_NAMES)}) and a box file "
            f"({', '.join(BOX_FILES)})"
        )
    if modality == "rgb":
        return layouts[0]
    if modality is not None:
        of_it = [layout for layout in layouts if layout.modality == modality]
        unnamed = [replace(layout, modality=modality) for layout in layouts if not layout.modality]
        if not of_it + unnamed:
            names = ", ".join((*X_NAMES[modality], ANY_X))
            raise DatasetError(f"{folder}: no X frames of modality {modality} (looked for a folder {names})")
        return (of_it + unnamed)[0]
    kinds = sorted({layout.modality for layout in layouts} - {"rgb"})
    if len(kinds) > 1 or kinds == [""]:
        what = " and ".join(kind or f"a folder {ANY_X}, which may hold anything" for kind in reversed(kinds))
        raise DatasetError(f"{folder}: X frames: {what}; say what is meant: --modality {', '.join(X_NAMES)} or rgb")
    return layouts[0]


def _box_step(folder: Path, layout: Layout, asked: int | None) -> int:
    """Frames per line of the box file."""
    path = annotation_file(folder, layout)
    lines = len(read_boxes(path, layout.corners, polygons=True))
    frames = len(find_frames(folder, layout.rgb.format(name=folder.name)))
    if lines >= frames:
        return 1
    if asked is not None:
        return asked
    if layout.box_step == 1 and lines > 1:
        step = math.ceil(frames / lines)
        if (lines - 1) * step < frames:
            raise DatasetError(
                f"{path}: {lines} lines for {frames} frames: for every {step}th frame, or for the first {lines}? "
                f"Say which: --box-step {step} or --box-step 1"
            )
    return layout.box_step


def _from_first_box(recording: Sequence) -> Sequence:
    """Without the frames before the first box."""
    usable = shows_target(recording)
    if usable.sum() < 2:
        raise DatasetError(f"recording {recording.name}: {usable.sum()} boxes; it needs one in a later frame too")
    span = slice(int(np.argmax(usable)), None)
    return replace(
        recording,
        rgb_files=recording.rgb_files[span],
        x_files=None if recording.x_files is None else recording.x_files[span],
        boxes=recording.boxes[span],
        visible=recording.visible[span],
        absent=recording.absent[span],
        x_boxes=None if recording.x_boxes is None else recording.x_boxes[span],
        cut=recording.cut + span.start,
    )
