"""From a folder on disk to a `Sequence`, by the rules of a `Layout`."""

from __future__ import annotations

import logging
from pathlib import Path, PurePath

import numpy as np

from lib.datasets.boxes_file import read_boxes, read_flags, read_text
from lib.datasets.layout import Layout
from lib.datasets.listing import find_frames
from lib.datasets.sequence import DatasetError, FileList, Frames, Sequence

__all__ = ["annotation_file", "build_sequence", "pair_by_name", "read_attributes", "read_sequence"]

log = logging.getLogger(__name__)


def annotation_file(folder: Path, layout: Layout) -> Path:
    """The box file of a sequence: the first of `layout.boxes` that exists.

    Raises:
        DatasetError: there is none.
    """
    for name in layout.boxes:
        if (folder / name).is_file():
            return folder / name
    raise DatasetError(f"{folder}: no annotation (looked for {', '.join(layout.boxes)})")


def read_sequence(folder: Path, layout: Layout, root: Path | None = None) -> Sequence:
    """Read the sequence in `folder`; no image is opened.

    Args:
        folder: of the sequence; its name becomes the sequence's.
        layout: how it is laid out.
        root: of the data set, where attribute files lie; None: no attributes.

    Raises:
        DatasetError: something is missing, or does not agree and `layout` has no rule for it.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such sequence")
    rgb = find_frames(folder, layout.rgb)
    x = None if layout.x is None else find_frames(folder, layout.x)
    boxes = read_boxes(annotation_file(folder, layout))
    flags_file = None if layout.flags is None else folder / layout.flags.name
    present = None
    if flags_file is not None and flags_file.is_file():
        present = read_flags(flags_file) == bool(layout.flags.present)
    attributes = () if root is None else read_attributes(root, folder.name, layout)
    return build_sequence(folder.name, layout, rgb, x, boxes, present, attributes)


def build_sequence(
    name: str,
    layout: Layout,
    rgb: Frames,
    x: Frames | None,
    boxes: np.ndarray,
    present: np.ndarray | None = None,
    attributes: tuple[str, ...] = (),
) -> Sequence:
    """Pair frames and annotation by the rules of `layout`.

    Args:
        name: of the sequence.
        layout: the rules.
        rgb, x: frames in temporal order.
        boxes: (L, 4) lines of the annotation, xywh, pixels, NaN = absent or unknown.
        present: (M,) bool: flags of the data set, True where the target is in view; None if it has none.
        attributes: names of challenges.

    Raises:
        DatasetError: counts that do not agree under a rule that demands it, or nothing left.
    """
    readable = None
    if x is not None and layout.pairing == "name":
        x, readable = pair_by_name(rgb, x)
        if not readable.all():
            log.warning("%s: %d of %d frames have no X image", name, int((~readable).sum()), len(rgb))
    boxes = _spread(boxes, layout.box_step)
    n = _common_length(name, layout, len(rgb), None if x is None else len(x), len(boxes), present)
    known = np.arange(n) < len(boxes)
    boxes = _fit(boxes, n, np.nan)
    with np.errstate(invalid="ignore"):
        empty = (boxes[:, 2] <= 0) | (boxes[:, 3] <= 0) | np.isnan(boxes).any(axis=1)
        visible = (boxes[:, 2] > layout.min_size) & (boxes[:, 3] > layout.min_size)
    absent = empty & known & (np.arange(n) % layout.box_step == 0)
    if present is not None:
        flag = _fit(present, n, True)
        absent, visible = ~flag, visible & flag
    if readable is not None:
        visible &= readable[:n]
    start = _first_present(name, absent) if layout.cut_leading_absent else 0
    span = slice(start, n)
    return Sequence(
        name=name,
        modality=layout.modality,
        rgb_files=rgb[span],
        x_files=None if x is None else x[span],
        boxes=boxes[span],
        visible=visible[span],
        absent=absent[span],
        attributes=attributes,
        clip_depth=layout.clip_depth,
    )


def pair_by_name(rgb: Frames, x: Frames) -> tuple[Frames, np.ndarray]:
    """X frames of the same names (suffix aside) as the RGB frames, and (N,) bool: whether the file exists.

    Where none exists the path is the one that was expected, so that reading the frame names the missing file.
    """
    if not isinstance(rgb, FileList) or not isinstance(x, FileList):
        return x, np.ones(len(x), dtype=bool)
    if rgb.names == x.names:
        return x, np.ones(len(x), dtype=bool)
    by_stem = {PurePath(name).stem: name for name in x.names}
    stems = [PurePath(name).stem for name in rgb.names]
    found = np.array([stem in by_stem for stem in stems], dtype=bool)
    return FileList(x.folder, [by_stem.get(stem, name) for stem, name in zip(stems, rgb.names, strict=True)]), found


def _spread(boxes: np.ndarray, step: int) -> np.ndarray:
    if step == 1 or len(boxes) == 0:
        return boxes
    spread = np.full(((len(boxes) - 1) * step + 1, 4), np.nan)
    spread[::step] = boxes
    return spread


def _fit(values: np.ndarray, n: int, fill: float | bool) -> np.ndarray:
    """`values` cut to n rows, or filled up."""
    fitted = np.full((n, *values.shape[1:]), fill, dtype=values.dtype)
    fitted[: len(values)] = values[:n]
    return fitted


def _common_length(name: str, layout: Layout, rgb: int, x: int | None, boxes: int, present: np.ndarray | None) -> int:
    counts = {"RGB frames": rgb, "X frames": rgb if x is None else x, "boxes": boxes}
    if present is not None:
        counts["flags"] = len(present)
    said = ", ".join(f"{count} {what}" for what, count in counts.items())
    if layout.length != "shortest" and counts["X frames"] != rgb:
        raise DatasetError(f"sequence {name}: RGB and X must have equally many frames, got {said}")
    if layout.length == "strict" and max(counts.values()) > rgb:
        raise DatasetError(f"sequence {name}: more lines than frames: {said}")
    n = min(counts.values()) if layout.length == "shortest" else rgb
    if n == 0:
        raise DatasetError(f"sequence {name}: nothing to read: {said}")
    if len(set(counts.values())) > 1 and layout.length != "strict":
        rule = "cut to the shortest" if layout.length == "shortest" else "frames without a line have no box"
        log.warning("%s: %s; %s", name, said, rule)
    return n


def _first_present(name: str, absent: np.ndarray) -> int:
    if absent.all():
        raise DatasetError(f"sequence {name}: the target is absent in all {len(absent)} frames")
    return int(np.argmin(absent))


def read_attributes(root: Path, name: str, layout: Layout) -> tuple[str, ...]:
    """Attributes of a sequence: none if it has no attribute file.

    Raises:
        DatasetError: a file of flags that does not fit `layout.attribute_names`.
    """
    path = root / layout.attribute_folder / f"{name}.txt"
    if not path.is_file():
        return ()
    text, names = read_text(path), layout.attribute_names
    if not names:
        return tuple(field.strip() for field in text.replace("\n", ",").split(",") if field.strip())
    fields = text.replace(",", " ").split()
    if len(fields) != len(names) or not set(fields) <= {"0", "1"}:
        raise DatasetError(f"{path}: expected {len(names)} flags of 0 or 1 ({' '.join(names)}), got {fields}")
    return tuple(attribute for attribute, flag in zip(names, fields, strict=True) if flag == "1")
