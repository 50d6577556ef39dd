"""The shape of a data set on disk, as data: where lists, sequences, frames, boxes and flags lie, and by which rules
they are read. A data set is a `Layout`; the modules `rgbt`, `rgbd`, `rgbe`, `folder` and `synthetic` hold them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["FlagFile", "Layout", "LengthRule", "Split"]

LengthRule = Literal["shortest", "frames", "strict"]


@dataclass(frozen=True)
class Split:
    """Which sequences a split has. Folder and file names are compared without regard to case.

    Attributes:
        lists: list files below the root; the first that exists is read.
        folders: folders below the root that may hold the sequences ("" is the root itself).
        packaged: list in `lib/datasets/splits/` that is used when none of `lists` exists.
    """

    lists: tuple[str, ...]
    folders: tuple[str, ...]
    packaged: str | None = None


@dataclass(frozen=True)
class FlagFile:
    """A file with a 0 or 1 per frame; `present` is the value of a frame that shows the target."""

    name: str
    present: int


@dataclass(frozen=True)
class Layout:
    """One data set.

    Attributes:
        title: name for messages.
        folder: usual folder name in the data root.
        modality: "rgbt", "rgbd", "rgbe" or "rgb".
        rgb, x: folders of frames in a sequence.
        boxes: annotation files in a sequence; the first that exists is read.
        splits: by name.
        flags: flag file in a sequence, read if it exists.
        attribute_names: names of the 0/1 columns of a sequence's attribute file; empty: the file holds names.
        attribute_folder: folder of attribute files, below the root.
        pairing: "position": k-th RGB frame with k-th X frame; "name": with the X frame of the same name.
        length: what counts when frames and annotation differ in number. "shortest": cut to the shortest of RGB, X and
            annotation. "frames": RGB and X must agree; boxes are cut, missing ones are NaN. "strict": RGB and X must
            agree, more boxes than frames are an error, missing ones are NaN.
        cut_leading_absent: drop the frames before the first one with the target.
        min_size: a visible target is wider and higher than this, pixels.
        box_step: line k of the annotation belongs to frame k * box_step; the frames between have no box.
        clip_depth: see `lib.modality.x_to_three_channels`.
    """

    title: str
    folder: str
    modality: str
    rgb: str
    x: str | None
    boxes: tuple[str, ...]
    splits: dict[str, Split] = field(default_factory=dict, hash=False)
    flags: FlagFile | None = None
    attribute_names: tuple[str, ...] = ()
    attribute_folder: str = "attributes"
    pairing: Literal["position", "name"] = "position"
    length: LengthRule = "shortest"
    cut_leading_absent: bool = False
    min_size: float = 0.0
    box_step: int = 1
    clip_depth: bool = True
