"""The shape of a data set on disk, as data: where lists, sequences, frames, boxes and flags lie, and by which rules
they are read. A data set is a `Layout`; the modules `rgbt`, `rgbd`, `rgbe`, `rgb`, `folder` and `synthetic` hold them.
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
        lists: list files below the root; the first that exists is read. A line may be a path, whose last part counts.
        folders: folders below the root that may hold the sequences ("" is the root itself, `*` stands for any name).
        packaged: list in `lib/datasets/splits/` that is used when none of `lists` exists.
        picked: file in `lib/datasets/splits/` with numbers (from 0) of the lines of the list that make up the split.
        everything: without any list, the split is all that lies in `folders`, the root itself excepted.
    """

    lists: tuple[str, ...]
    folders: tuple[str, ...]
    packaged: str | None = None
    picked: str | None = None
    everything: bool = False


@dataclass(frozen=True)
class FlagFile:
    """A file with a number per frame, one per line or all in one line with commas.

    Attributes:
        name: of the file in the sequence.
        present: 0: zero means that the target is shown; 1: any other number means so.
        highest: largest number allowed.
    """

    name: str
    present: int
    highest: int = 1


@dataclass(frozen=True)
class Layout:
    """One data set.

    Attributes:
        title: name for messages.
        folder: usual folder name in the data root.
        modality: "rgbt", "rgbd", "rgbe" or "rgb".
        rgb: folder of RGB frames in a sequence; "." is the sequence's own, `{name}` stands for its name.
        x: folders of X frames; the first that exists is read; none: RGB only.
        boxes: annotation files in a sequence; the first that exists is read. `{name}` as above.
        x_boxes: annotation of the X modality, where it has its own; needed for evaluation only.
        corners: annotation lines are x1, y1, x2, y2 instead of x, y, w, h.
        polygons: annotation lines of 8 numbers are read as the bounding box of 4 points.
        splits: by name.
        flags: file that says in which frames the target is in view, read if it exists.
        hidden: files that say in which frames it can be seen; the others are not trained on, but not absent.
        attribute_names: names of the 0/1 columns of a sequence's attribute file; empty: the file holds names.
        attribute_folder: folder of attribute files, below the root.
        attributes_by_column: that folder has one file per attribute, with a line per name of `SequencesName.txt`.
        pairing: "position": k-th RGB frame with k-th X frame; "name": with the X frame of the same name; "start": if
            there are more X than RGB frames, k-th RGB frame with X frame start + k, see `starts`.
        length: what counts when frames and annotation differ in number. "shortest": cut to the shortest of RGB, X and
            annotation. "frames": RGB and X must agree; boxes are cut, missing ones are NaN. "strict": RGB and X must
            agree, more boxes than frames are an error, missing ones are NaN.
        cut_leading_absent: drop the frames before the first one with the target.
        min_size: a visible target is wider and higher than this, pixels.
        box_step: line k of the annotation belongs to frame first + k * box_step; the frames between have no box.
        starts: file in `lib/datasets/splits/` with a number per sequence, 0 for others: the X frame of the first RGB
            frame (pairing "start"), or else the frame of the first line; frames before that are dropped.
        clip_depth: see `patrack.modality.x_to_three_channels`.
        known: known defects by sequence, for the check.
    """

    title: str
    folder: str
    modality: str
    rgb: str
    x: tuple[str, ...]
    boxes: tuple[str, ...]
    x_boxes: tuple[str, ...] = ()
    corners: bool = False
    polygons: bool = False
    splits: dict[str, Split] = field(default_factory=dict, hash=False)
    flags: FlagFile | None = None
    hidden: tuple[FlagFile, ...] = ()
    attribute_names: tuple[str, ...] = ()
    attribute_folder: str = "attributes"
    attributes_by_column: bool = False
    pairing: Literal["position", "name", "start"] = "position"
    length: LengthRule = "shortest"
    cut_leading_absent: bool = False
    min_size: float = 0.0
    box_step: int = 1
    starts: str | None = None
    clip_depth: bool = True
    known: dict[str, str] = field(default_factory=dict, hash=False)
