"""`Sequence`: paired frame files with boxes and flags, which every data set becomes. Nothing is decoded here."""

from __future__ import annotations

import collections.abc
import difflib
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, overload

import numpy as np

if TYPE_CHECKING:  # no OpenCV where no frame is read
    from patrack.modality import ClipDepth, ValueRange

__all__ = [
    "DataError",
    "EventFrame",
    "FileList",
    "Frames",
    "Sequence",
    "VideoFrame",
    "XTransform",
    "first_few",
    "rgb_only",
    "select",
    "shows_target",
    "unknown",
]

Item = TypeVar("Item")


class DataError(ValueError):
    """A data set, one of its lists or one of its sequences is missing or inconsistent."""


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """Frame `index` (from 0) of the video file `path`."""

    path: Path
    index: int
    time: float = field(default=math.nan, compare=False)  # seconds since the first frame

    def __str__(self) -> str:
        return f"{self.path} (frame {self.index})"


@dataclass(frozen=True, slots=True)
class EventFrame:
    """The events of the file `path` at start_us <= t < end_us, microseconds on the file's own clock."""

    path: Path
    start_us: int
    end_us: int

    def __str__(self) -> str:
        return f"{self.path} (events from {self.start_us} to {self.end_us} us)"


class FileList(collections.abc.Sequence[Path]):
    """Files `names` in `folder`, in order; a tuple of paths that is built on access, to keep large indices small."""

    __slots__ = ("folder", "names")

    def __init__(self, folder: Path, names: collections.abc.Iterable[str]) -> None:
        self.folder = folder
        self.names = tuple(names)

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> FileList: ...
    def __getitem__(self, index: int | slice) -> Path | FileList:
        if isinstance(index, slice):
            return FileList(self.folder, self.names[index])
        return self.folder / self.names[index]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, FileList):
            return self.folder == other.folder and self.names == other.names
        return isinstance(other, collections.abc.Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash((self.folder, self.names))

    def __repr__(self) -> str:
        return f"FileList({str(self.folder)!r}, {len(self.names)} files)"


XTransform = Literal["resize"] | tuple[tuple[float, float, float], ...]
"""How X comes onto RGB's pixels, see `Sequence`."""
ARRAY_SUFFIXES = (".npy", ".raw", ".y16")
"""Frames of X that are arrays in files of their own, see `patrack.recordings.frames.read_image`."""
Frames = collections.abc.Sequence[Path] | collections.abc.Sequence[VideoFrame] | collections.abc.Sequence[EventFrame]


@dataclass(frozen=True, eq=False)
class Sequence:
    """One recording of N frames.

    Attributes:
        name: unique in its data set and split.
        modality: "rgbt", "rgbd", "rgbe" or "rgb".
        rgb_files: N files (or frames of a video) in temporal order.
        x_files: the N files of the X modality, frame by frame; None for RGB only.
        boxes: (N, 4) float64, xywh, pixels; a row of NaN where there is no box.
        visible: (N,) bool: may be drawn for training, by the rule of the data set.
        absent: (N,) bool: annotated as not in view. A frame without annotation is neither visible nor absent.
        attributes: names of the challenges that the sequence shows.
        clip_depth, x_range: see `patrack.modality.x_to_three_channels`; the latter is its value_range.
        x_transform: 3 x 3 homography, rows, from pixels of X to pixels of RGB; "resize": X is RGB's picture at another
            size; None: both have the same pixels.
        x_boxes: (N, 4) boxes of the X modality where it has an annotation of its own, as `boxes`.
        cut: number of frames before the first one that were dropped, because nothing can be tracked in them.
        still: one image, N = 1, that serves as template and as search frame.
        present: (N, 2) bool: whether RGB and X are there and to be used in tracking; None: always.

    Raises:
        DataError: lengths or shapes that do not agree.
    """

    name: str
    modality: str
    rgb_files: Frames
    x_files: Frames | None
    boxes: np.ndarray
    visible: np.ndarray
    absent: np.ndarray
    attributes: tuple[str, ...] = ()
    clip_depth: ClipDepth = True
    x_range: ValueRange | None = None
    x_transform: XTransform | None = None
    x_boxes: np.ndarray | None = None
    cut: int = 0
    still: bool = False
    present: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(self.rgb_files)
        wanted = {"boxes": (n, 4), "visible": (n,), "absent": (n,), "x_boxes": (n, 4), "present": (n, 2)}
        shapes = {key: array.shape for key in wanted if (array := getattr(self, key)) is not None}
        if self.x_files is not None:
            shapes["x_files"], wanted["x_files"] = (len(self.x_files),), (n,)
        wrong = [f"{key} has shape {shapes[key]}, needs {wanted[key]}" for key in shapes if shapes[key] != wanted[key]]
        if wrong:
            raise DataError(f"sequence {self.name}: {n} RGB frames, but " + "; ".join(wrong))
        if (self.x_files is None) != (self.modality == "rgb"):
            raise DataError(f"sequence {self.name}: modality {self.modality!r} with x_files {self.x_files!r}")
        if self.still and n != 1:
            raise DataError(f"sequence {self.name}: a still has one frame, got {n}")

    def __len__(self) -> int:
        return len(self.rgb_files)

    def from_frame(self, start: int) -> Sequence:
        """Drop the frames before frame `start`."""
        return replace(
            self,
            rgb_files=self.rgb_files[start:],
            x_files=None if self.x_files is None else self.x_files[start:],
            boxes=self.boxes[start:],
            visible=self.visible[start:],
            absent=self.absent[start:],
            x_boxes=None if self.x_boxes is None else self.x_boxes[start:],
            cut=self.cut + start,
            present=None if self.present is None else self.present[start:],
        )

    def streams_at(self, index: int) -> tuple[bool, bool]:
        """Tell whether RGB and X are to be used in a frame."""
        if self.present is None:
            return True, True
        rgb, x = self.present[index].tolist()
        return rgb, x

    @property
    def annotated(self) -> np.ndarray:
        """(N,) bool: frames that have a line in the annotation."""
        return self.absent | ~np.isnan(self.boxes).any(axis=1)


def shows_target(sequence: Sequence) -> np.ndarray:
    """Find the frames with a true box, (N,) bool."""
    boxes = sequence.boxes
    return np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1) & ~sequence.absent


def rgb_only(sequence: Sequence, prefix: str = "") -> Sequence:
    """Leave X out: frames and boxes with modality "rgb". `prefix` keeps names of several sets apart."""
    return replace(sequence, name=prefix + sequence.name, modality="rgb", x_files=None, x_boxes=None)


def select(
    items: collections.abc.Mapping[str, Item],
    names: collections.abc.Iterable[str] | None,
    owner: str,
    kind: str = "sequence",
) -> dict[str, Item]:
    """Pick items by name, in the order of `names`; None: all of them.

    Raises:
        DataError: one that `owner` does not have.
    """
    if names is None:
        return dict(items)
    picked = {}
    for name in names:
        if name not in items:
            raise DataError(f"{owner} has no {kind} {unknown(name, items)}")
        picked[name] = items[name]
    return picked


def first_few(names: collections.abc.Sequence[str]) -> str:
    """List up to five names for a message."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def unknown(name: str, known: collections.abc.Iterable[str]) -> str:
    """Quote a name for an error message, with the nearest known one."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f"{name!r}" + (f" (nearest: {nearest[0]!r})" if nearest else "")
