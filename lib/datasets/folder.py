"""Your own recordings: one pair of image folders or videos, or a folder of such pairs as a data set.

A data set (name `folder`) is a root with `dataset.yaml` and one folder per sequence:

    ROOT/dataset.yaml           modality: rgbt (or rgbd, rgbe, rgb); more keys: see FolderSettings
    ROOT/<split>.txt            names of the split's sequences; or put these into a folder ROOT/<split>/
    ROOT/<seq>/rgb/*            images, or one video rgb.mp4 instead of the folder
    ROOT/<seq>/x/*              images, or x.mp4; not for modality rgb
    ROOT/<seq>/groundtruth.txt  x,y,w,h per line; nan or zero size where the target is absent
    ROOT/<seq>/absent.txt       optional: 1 where the target is absent, else 0
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lib.datasets.boxes_file import read_boxes, read_text
from lib.datasets.layout import FlagFile, Layout, Split
from lib.datasets.listing import list_frames, sub_folders
from lib.datasets.reader import build_sequence
from lib.datasets.sequence import DatasetError, Sequence
from patrack.config.schema import Modality
from patrack.modality import MODALITIES

__all__ = ["FOLDER", "FolderSettings", "folder_layout", "folder_splits", "load_pair"]

SETTINGS_FILE = "dataset.yaml"

FOLDER = Layout(
    title="folder",
    folder="folder",
    modality="rgb",
    rgb="rgb",
    x=(),
    boxes=("groundtruth.txt",),
    flags=FlagFile("absent.txt", present=0),
    length="strict",
)


class FolderSettings(BaseModel):
    """Keys of `dataset.yaml`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    modality: Modality
    min_size: float = Field(0.0, ge=0, description="training uses boxes wider and higher than this, pixels")
    box_step: int = Field(1, ge=1, description="line k of groundtruth.txt belongs to frame k * box_step")
    clip_depth: bool = Field(True, description="limit depth to min(3 * median, 10000) before scaling it")


def folder_layout(root: Path, split: str) -> Layout:
    """The layout that `ROOT/dataset.yaml` describes, with one split: a list on disk, or a folder of sequences.

    Raises:
        DatasetError: no or a wrong `dataset.yaml`; neither `<split>.txt` nor a folder `<split>/`.
    """
    path = root / SETTINGS_FILE
    if not path.is_file():
        raise DatasetError(f"{path}: not found; write a line such as 'modality: rgbt' (one of {MODALITIES}) into it")
    try:
        settings = FolderSettings.model_validate(yaml.safe_load(read_text(path)))
    except yaml.YAMLError as error:
        raise DatasetError(f"{path}: not YAML: {error}") from error
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}" for e in error.errors())
        raise DatasetError(f"{path}: {said} (keys: {', '.join(FolderSettings.model_fields)})") from error
    if not (root / f"{split}.txt").is_file() and split not in sub_folders(root):
        raise DatasetError(f"{root}: no split {split!r}: neither a list {split}.txt nor a folder {split}/")
    return _layout(splits={split: Split((f"{split}.txt",), ("", split))}, **settings.model_dump())


def folder_splits(root: Path) -> list[str]:
    """Which of the splits train, val and test a folder data set has."""
    folders = sub_folders(root)
    return [name for name in ("train", "val", "test") if name in folders or (root / f"{name}.txt").is_file()]


def _layout(modality: str, min_size: float = 0.0, box_step: int = 1, clip_depth: bool = True, **more: dict) -> Layout:
    return Layout(
        title=FOLDER.title,
        folder=FOLDER.folder,
        modality=modality,
        rgb=FOLDER.rgb,
        x=() if modality == "rgb" else ("x",),
        boxes=FOLDER.boxes,
        flags=FOLDER.flags,
        length=FOLDER.length,
        min_size=min_size,
        box_step=box_step,
        clip_depth=clip_depth,
        **more,
    )


def load_pair(
    rgb: Path,
    x: Path | None,
    modality: str,
    boxes: Path | None = None,
    *,
    name: str | None = None,
    box_step: int = 1,
    clip_depth: bool = True,
) -> Sequence:
    """One recording without a data set.

    Frames are paired by position, so RGB and X must have equally many. Images of X are never resized.

    Args:
        rgb: folder of images or video file.
        x: folder of images or video file of the other modality; None with modality "rgb".
        modality: "rgbt", "rgbd", "rgbe" or "rgb".
        boxes: annotation, `x,y,w,h` per line; may be shorter than the recording (e.g. the first box only), the rest
            is unknown then. None: no boxes.
        name: of the sequence; default: the folder that holds `rgb`.
        box_step: line k of `boxes` belongs to frame k * box_step.
        clip_depth: see `patrack.modality.x_to_three_channels`.

    Raises:
        DatasetError: nothing at `rgb` or `x`, counts that differ, more boxes than frames, a bad line.
        ValueError: unknown modality, or X missing where the modality needs it.
    """
    if modality not in MODALITIES:
        raise ValueError(f"modality must be one of {MODALITIES}, got {modality!r}")
    if (x is None) != (modality == "rgb"):
        wanted = "must not have" if modality == "rgb" else "needs"
        raise ValueError(f"modality {modality!r} {wanted} a second folder or video, got x = {x}")
    if box_step < 1:
        raise ValueError(f"box_step must be 1 or more, got {box_step}")
    rgb_frames = list_frames(rgb)
    x_frames = None if x is None else list_frames(x)
    if x_frames is not None and len(x_frames) != len(rgb_frames):
        raise DatasetError(f"{rgb} has {len(rgb_frames)} frames, {x} has {len(x_frames)}; they must have equally many")
    lines = np.empty((0, 4)) if boxes is None else read_boxes(boxes)
    layout = _layout(modality, box_step=box_step, clip_depth=clip_depth)
    return build_sequence(name or rgb.resolve().parent.name or rgb.stem, layout, rgb_frames, x_frames, lines)
