"""Your own recordings: one pair of image folders or videos, a folder of such pairs as a data set, any annotated folder.

A data set (name `folder`) is a root with `dataset.yaml` and one folder per sequence:

    ROOT/dataset.yaml           modality: rgbt (or rgbd, rgbe, rgb); more keys: see FolderSettings
    ROOT/<split>.txt            names of the split's sequences; or put these into a folder ROOT/<split>/
    ROOT/<seq>/rgb/*            images, or one video rgb.mp4 instead of the folder
    ROOT/<seq>/x/*              images, or x.mp4; not for modality rgb
    ROOT/<seq>/groundtruth.txt  x,y,w,h per line; nan or zero size where the target is absent
    ROOT/<seq>/absent.txt       optional: 1 where the target is absent, else 0

An annotated recording of any origin is told by the names in its folder: RGB frames, perhaps X frames beside them, and a
box file. The names of every known data set are understood; so are, in any combination, the ones listed here:

    RGB     rgb, color, colour, visible, vis, img, images, or the folder itself
    X       ir, infrared, thermal, lwir (rgbt); depth (rgbd); event_imgs, event, events, dvs (rgbe); x (any)
    boxes   groundtruth.txt, groundtruth_rect.txt, rgb.txt, visible.txt, init.txt, boxes.txt

Frames may be a video of that name instead, such as `rgb.mp4`. Anything else in the folder (masks) is left alone.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lib.datasets.catalog import DATA_SETS, FOLDER, DataSet, Split
from lib.datasets.parsing import read_boxes
from lib.datasets.reader import (
    annotation_file,
    build_sequence,
    find_frames,
    possible_steps,
    read_sequence,
    sub_folders,
)
from patrack.config.loading import read_yaml
from patrack.config.schema import Modality
from patrack.files import safe_name
from patrack.modality import PAIRS, ClipDepth, ValueRange, modalities
from patrack.recordings.events import EVENT_SUFFIXES
from patrack.recordings.frames import with_value_range
from patrack.recordings.listing import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from patrack.recordings.naming import PairingRule
from patrack.recordings.options import read_transform, value_range
from patrack.recordings.recording import list_both
from patrack.recordings.sequence import DataError, Sequence, XTransform, shows_target

__all__ = [
    "FolderSettings",
    "find_recordings",
    "folder_data_set",
    "folder_splits",
    "load_pair",
    "read_recording",
]

SETTINGS_FILE = "dataset.yaml"
RGB_NAMES = ("rgb", "color", "colour", "visible", "vis", "img", "images")
ANY_X = "x"  # says nothing about its kind
BOX_FILES = ("groundtruth.txt", "groundtruth_rect.txt", "rgb.txt", "visible.txt", "init.txt", "boxes.txt")


def load_pair(
    rgb: Path,
    x: Path | None,
    modality: str,
    boxes: Path | None = None,
    *,
    name: str | None = None,
    box_step: int | None = None,
    clip_depth: ClipDepth = "measured",
    x_range: ValueRange | None = None,
    x_transform: XTransform | None = None,
    pairing: PairingRule = "auto",
    tolerance: float | None = None,
    fps: float | None = None,
) -> Sequence:
    """Index one recording without a data set.

    Args:
        rgb, x, modality, pairing, fps: see `patrack.recordings.recording.list_both`.
        boxes: annotation, `x,y,w,h` per line; may be shorter than the recording (e.g. the first box only), the rest
            is unknown then. None: no boxes.
        name: of the sequence; default: the folder that holds `rgb`.
        box_step: line k of `boxes` belongs to frame k * box_step; None: 1 unless that is in doubt.
        clip_depth, x_range, x_transform: see `patrack.recordings.sequence.Sequence`. Without a range, thermal images of
            more than 8 bits get one for the whole recording, see `patrack.recordings.frames.with_value_range`.
        tolerance: seconds that times may differ by; None: see `patrack.recordings.naming.pair`.

    Raises:
        DataError: nothing at `rgb` or `x`, frames that can't be paired, more boxes than frames, a bad line, doubt
            about which frames the lines of `boxes` belong to.
        ValueError: unknown modality, or X missing where the modality needs it.
    """
    _check_choices(modality, box_step)
    rgb_frames, x_frames = list_both(rgb, x, modality, pairing, fps)
    lines = np.empty((0, 4)) if boxes is None else read_boxes(boxes)
    row = replace(
        FOLDER,
        modality=modality,
        box_step=1 if boxes is None else _frames_per_line(boxes, len(lines), len(rgb_frames), box_step),
        clip_depth=clip_depth,
        x_range=x_range,
        x_transform=x_transform,
    )
    name = name or rgb.resolve().parent.name or rgb.stem
    recording = build_sequence(name, row, rgb_frames, x_frames, lines, pairing=pairing, tolerance=tolerance)
    return with_value_range(recording)


def _frames_per_line(path: Path, lines: int, frames: int, box_step: int | None, usual: int = 1) -> int:
    """Tell how many frames lie between the lines of a box file: as asked for, else `usual` unless that is in doubt."""
    steps = possible_steps(lines, frames)
    if box_step is None and usual == 1 and steps:
        raise DataError(
            f"{path}: {lines} lines for {frames} frames: one for every {steps} frames, or for the first {lines}? "
            f"Say which: --box-step {steps.replace(' to ', ' or ')}, or --box-step 1"
        )
    return usual if box_step is None else box_step


def _check_choices(modality: str | None, box_step: int | None) -> None:
    if modality is not None and modality not in modalities():
        raise ValueError(f"modality must be one of {modalities()}, got {modality!r}")
    if box_step is not None and box_step < 1:
        raise ValueError(f"box_step must be 1 or more, got {box_step}")


# --- a folder of pairs as a data set


class FolderSettings(BaseModel):
    """Keys of `dataset.yaml`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    modality: Modality
    min_size: float = Field(0.0, ge=0, description="training uses boxes wider and higher than this, pixels")
    box_step: int = Field(1, ge=1, description="line k of groundtruth.txt belongs to frame k * box_step")
    clip_depth: ClipDepth = Field(
        True, description="limit depth to min(3 * median, 10000) before scaling it; measured: without what is 0"
    )
    x_range: Annotated[list[float], Field(min_length=2, max_length=2)] | None = Field(
        None,
        description="[LOW, HIGH]: values of X that become 0 and 255 (default: depth's rule; of thermal images of "
        "more than 8 bits each recording's own range)",
    )
    fps: float | None = Field(
        None, gt=0, description="RGB frames per second, where X is a file of events and RGB's names hold no times"
    )
    x_transform: str | None = Field(
        None,
        description="how X comes onto RGB's pixels where sizes differ: resize, or a file, below the folder, with "
        "the 3 x 3 homography from X's pixels to RGB's",
    )


def folder_data_set(root: Path, split: str) -> DataSet:
    """Make the row that `ROOT/dataset.yaml` describes, with one split: a list on disk, or a folder of sequences.

    Raises:
        DataError: no or a wrong `dataset.yaml`; neither `<split>.txt` nor a folder `<split>/`.
    """
    path = root / SETTINGS_FILE
    if not path.is_file():
        raise DataError(f"{path}: not found; write a line such as 'modality: rgbt' (one of {modalities()}) into it")
    file = read_yaml(path)
    if file.mistakes:
        raise DataError("; ".join(map(str, file.mistakes)))
    try:
        settings = FolderSettings.model_validate(file.data)
    except ValidationError as error:
        wrong = [
            (".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, "), e["input"]) for e in error.errors()
        ]
        said = "; ".join(f"{key}: {rule}, got {value!r}" for key, rule, value in wrong)
        raise DataError(f"{path}: {said} (keys: {', '.join(FolderSettings.model_fields)})") from error
    try:
        safe_name(split, "split")
    except ValueError as error:
        raise DataError(str(error)) from error
    if not (root / f"{split}.txt").is_file() and split not in sub_folders(root):
        raise DataError(f"{root}: no split {split!r}: neither a list {split}.txt nor a folder {split}/")
    try:
        x_range = None if settings.x_range is None else value_range(settings.x_range)
        x_transform = None if settings.x_transform is None else read_transform(settings.x_transform, root)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    return replace(
        FOLDER,
        x=() if settings.modality == "rgb" else (ANY_X,),
        splits={split: Split((f"{split}.txt",), ("", split))},
        **settings.model_dump(exclude={"x_range", "x_transform"}),
        x_range=x_range,
        x_transform=x_transform,
    )


def folder_splits(root: Path) -> list[str]:
    """List the splits of a folder data set, among train, val and test."""
    folders = sub_folders(root)
    return [name for name in ("train", "val", "test") if name in folders or (root / f"{name}.txt").is_file()]


# --- annotated recordings of any origin


def find_recordings(
    folder: Path,
    modality: str | None = None,
    box_step: int | None = None,
    *,
    x_range: ValueRange | None = None,
    x_transform: XTransform | None = None,
) -> list[Sequence]:
    """Index the recordings in a folder, by name; or the one that the folder is.

    Args:
        folder: a recording, or what holds recordings directly below it; other folders there are passed over.
        modality: "rgbt", "rgbd", "rgbe": read X of that kind, also from a folder `x`; "rgb": read no X; None: as the
            names say.
        box_step: line k of a box file with fewer lines than frames belongs to frame k * box_step; None: 10 for VTUAV's
            names, else 1 unless that is in doubt.
        x_range, x_transform: see `load_pair`.

    Returns:
        At least one. Each starts at its first frame with a box, and has a later one.

    Raises:
        DataError: no recording there, or one that can't be used; see `read_recording`.
        ValueError: unknown modality, box_step below 1.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    if _fitting_rows(folder):
        return [read_recording(folder, modality, box_step, x_range=x_range, x_transform=x_transform)]
    below = [path for _, path in sorted(sub_folders(folder).items()) if _fitting_rows(path)]
    if not below:
        raise DataError(
            f"{folder}: no recording in it: neither here nor one folder below are there RGB frames (a folder "
            f"{', '.join(RGB_NAMES)}) and a box file ({', '.join(BOX_FILES)})"
        )
    return [read_recording(path, modality, box_step, x_range=x_range, x_transform=x_transform) for path in below]


def read_recording(
    folder: Path,
    modality: str | None = None,
    box_step: int | None = None,
    *,
    x_range: ValueRange | None = None,
    x_transform: XTransform | None = None,
) -> Sequence:
    """Index one recording; see `find_recordings`. No image is opened, but some of thermal ones of more than 8 bits.

    Raises:
        DataError: frames or boxes are missing, more than one kind of X, doubt about which frames the lines of the
            box file belong to, no box after the first one, or whatever `lib.datasets.reader.read_sequence` refuses.
        ValueError: unknown modality, box_step below 1.
    """
    _check_choices(modality, box_step)
    rows = _fitting_rows(folder)
    if not rows:
        raise DataError(
            f"{folder}: not a recording: it needs RGB frames (a folder {', '.join(RGB_NAMES)}) and a box file "
            f"({', '.join(BOX_FILES)})"
        )

    # The first row of the modality asked for, or of the only kind of X that is there
    kinds = sorted({row.modality for row in rows} - {"rgb"})
    if modality == "rgb":
        row = replace(rows[0], modality="rgb", x=(), x_boxes=(), pairing="position")
    elif modality is not None:
        suitable = [row for row in rows if row.modality == modality]
        suitable += [replace(row, modality=modality) for row in rows if not row.modality]
        if not suitable:
            names = ", ".join((*PAIRS[modality].folders, ANY_X))
            raise DataError(f"{folder}: no X frames of modality {modality} (looked for a folder {names})")
        row = suitable[0]
    elif len(kinds) > 1 or kinds == [""]:
        what = " and ".join(kind or f"a folder {ANY_X}, which may hold anything" for kind in reversed(kinds))
        raise DataError(f"{folder}: X frames: {what}; say what is meant: --modality {', '.join(PAIRS)} or rgb")
    else:
        row = rows[0]

    # Frames per line of the box file
    path = annotation_file(folder, row)
    lines = len(read_boxes(path, row.corners, polygons=True))
    frames = len(find_frames(folder, row.rgb.format(name=folder.name)))
    step = 1 if lines >= frames else _frames_per_line(path, lines, frames, box_step, row.box_step)

    # Without the frames before the first box
    row = replace(row, box_step=step, polygons=True, x_range=x_range, x_transform=x_transform)
    recording = read_sequence(folder, row)
    usable = shows_target(recording)
    if usable.sum() < 2:
        raise DataError(f"recording {recording.name}: {usable.sum()} boxes; it needs one in a later frame too")
    return with_value_range(recording.from_frame(int(np.argmax(usable))))


def _fitting_rows(folder: Path) -> list[DataSet]:
    """Rows whose RGB frames, X frames and box file are all there: known data sets first, then RGB without X."""

    def has_frames(stem: str, events: bool = False) -> bool:
        path = folder / stem.format(name=folder.name)
        suffixes = (*VIDEO_SUFFIXES, *EVENT_SUFFIXES) if events else VIDEO_SUFFIXES
        return path.is_dir() or any(path.with_name(path.name + suffix).is_file() for suffix in suffixes)

    known = [row for row in DATA_SETS.values() if not any("/" in name for name in row.boxes)]
    plain = DataSet(
        "recording", "rgb", rgb="", x=(), boxes=BOX_FILES, length="frames", pairing="auto", clip_depth="measured"
    )
    pairs = [
        replace(plain, modality=kind, rgb=rgb, x=(x,))
        for rgb in RGB_NAMES
        for kind, names in (*((modality, pair.folders) for modality, pair in PAIRS.items()), ("", (ANY_X,)))
        for x in names
    ]
    alone = [row for row in known if not row.x] + [replace(plain, rgb=rgb) for rgb in (*RGB_NAMES, ".")]
    fitting = []
    for row in [row for row in known if row.x] + pairs + alone:
        if not any((folder / name.format(name=folder.name)).is_file() for name in row.boxes):
            continue
        if row.rgb == "." and not any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir()):
            continue
        if has_frames(row.rgb) and (not row.x or any(has_frames(name, row.modality == "rgbe") for name in row.x)):
            fitting.append(row)
    return fitting
