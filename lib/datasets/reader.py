"""From a folder on disk to a `Sequence`, by the rules of a `Layout`."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

import numpy as np

from lib.datasets.attributes import read_attributes
from lib.datasets.boxes_file import read_boxes, read_flags, read_numbers
from lib.datasets.layout import Layout
from lib.datasets.listing import find_frames
from lib.datasets.pairing import pair_by_name, pair_from_start
from lib.datasets.places import PACKAGED
from lib.datasets.sequence import DatasetError, Frames, Sequence

__all__ = ["annotation_file", "build_sequence", "find_both", "first_frame", "read_sequence"]

log = logging.getLogger(__name__)


def annotation_file(folder: Path, layout: Layout) -> Path:
    """The box file of a sequence: the first of `layout.boxes` that exists.

    Raises:
        DatasetError: there is none.
    """
    for name in layout.boxes:
        path = folder / name.format(name=folder.name)
        if path.is_file():
            return path
    raise DatasetError(f"{folder}: no annotation (looked for {', '.join(layout.boxes)})")


def find_both(folder: Path, layout: Layout) -> tuple[Frames, Frames | None]:
    """Frames of RGB and of X (None for RGB only) of a sequence, not paired yet.

    Raises:
        DatasetError: one of them is not there.
    """
    rgb = find_frames(folder, layout.rgb.format(name=folder.name))
    if not layout.x:
        return rgb, None
    names = [name.format(name=folder.name) for name in layout.x]
    present = [name for name in names if (folder / name).is_dir()]
    return rgb, find_frames(folder, present[0] if present else names[0])


def first_frame(name: str, layout: Layout) -> int:
    """The number that `layout.starts` has for a sequence."""
    return 0 if layout.starts is None else _starts(layout.starts).get(name, 0)


@functools.lru_cache(maxsize=8)
def _starts(file: str) -> dict[str, int]:
    return read_numbers(PACKAGED / file)


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
    rgb, x = find_both(folder, layout)
    if x is not None and layout.pairing == "start":
        x = pair_from_start(folder.name, rgb, x, first_frame(folder.name, layout))
    return build_sequence(
        folder.name,
        layout,
        rgb,
        x,
        read_boxes(annotation_file(folder, layout), layout.corners, layout.polygons),
        _read_flags(folder, layout),
        () if root is None else read_attributes(root, folder.name, layout),
        seen=_read_seen(folder, layout),
        x_boxes=_read_x_boxes(folder, layout),
        first=0 if layout.pairing == "start" else first_frame(folder.name, layout),
    )


def _read_flags(folder: Path, layout: Layout) -> np.ndarray | None:
    if layout.flags is None or not (folder / layout.flags.name).is_file():
        return None
    return read_flags(folder / layout.flags.name, layout.flags.highest) == bool(layout.flags.present)


def _read_seen(folder: Path, layout: Layout) -> np.ndarray | None:
    seen = None
    for rule in layout.hidden:
        if (folder / rule.name).is_file():
            shown = read_flags(folder / rule.name, rule.highest) == bool(rule.present)
            n = len(shown) if seen is None else min(len(shown), len(seen))
            seen = shown[:n] if seen is None else shown[:n] & seen[:n]
    return seen


def _read_x_boxes(folder: Path, layout: Layout) -> np.ndarray | None:
    for name in layout.x_boxes:
        if (folder / name).is_file():
            return read_boxes(folder / name, layout.corners)
    return None


def build_sequence(
    name: str,
    layout: Layout,
    rgb: Frames,
    x: Frames | None,
    boxes: np.ndarray,
    present: np.ndarray | None = None,
    attributes: tuple[str, ...] = (),
    *,
    seen: np.ndarray | None = None,
    x_boxes: np.ndarray | None = None,
    first: int = 0,
) -> Sequence:
    """Pair frames and annotation by the rules of `layout`.

    Args:
        name: of the sequence.
        layout: the rules.
        rgb, x: frames in temporal order.
        boxes: (L, 4) lines of the annotation, xywh, pixels, NaN = absent or unknown.
        present: (M,) bool: flags of the data set, True where the target is in view; None if it has none.
        attributes: names of challenges.
        seen: (M,) bool: frames that may be trained on as far as `layout.hidden` goes; None: all.
        x_boxes: (L', 4) lines of the annotation of X; None: there is none.
        first: frame of the first line; frames before that are dropped.

    Raises:
        DatasetError: counts that do not agree under a rule that demands it, or nothing left.
    """
    readable = None
    if x is not None and layout.pairing == "name":
        x, readable = pair_by_name(rgb, x)
        if not readable.all():
            log.warning("%s: %d of %d frames have no X image", name, int((~readable).sum()), len(rgb))
    lines = _line_frames(len(boxes), layout.box_step, first)
    counts = {"RGB frames": len(rgb), "X frames": len(rgb) if x is None else len(x)}
    counts["boxes"] = len(boxes) if layout.box_step == 1 and not first else int(lines.max(initial=-1)) + 1
    if present is not None:
        counts["flags"] = len(present)
    n = _common_length(name, layout, counts)
    known = np.zeros(n, dtype=bool)
    known[lines[lines < n]] = True
    boxes = _on_frames(boxes, lines, n)
    with np.errstate(invalid="ignore"):
        empty = (boxes[:, 2] <= 0) | (boxes[:, 3] <= 0) | np.isnan(boxes).any(axis=1)
        visible = (boxes[:, 2] > layout.min_size) & (boxes[:, 3] > layout.min_size)
    absent = empty & known
    if present is not None:
        flag = _fit(present, n, True)
        absent, visible = ~flag, visible & flag
    if seen is not None:
        visible &= _fit(seen, n, False)
    if readable is not None:
        visible &= readable[:n]
    start = _first_present(name, absent) if layout.cut_leading_absent else min(first, n - 1)
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
        x_boxes=None
        if x_boxes is None
        else _on_frames(x_boxes, _line_frames(len(x_boxes), layout.box_step, first), n)[span],
        cut=start,
    )


def _line_frames(count: int, step: int, first: int) -> np.ndarray:
    """(count,) frame of each line of the annotation."""
    return first + step * np.arange(count)


def _on_frames(boxes: np.ndarray, lines: np.ndarray, n: int) -> np.ndarray:
    """(n, 4) boxes by frame, NaN where no line belongs to the frame."""
    spread = np.full((n, 4), np.nan)
    spread[lines[lines < n]] = boxes[lines < n]
    return spread


def _fit(values: np.ndarray, n: int, fill: bool) -> np.ndarray:
    """(n,) values cut to n, or filled up."""
    fitted = np.full(n, fill, dtype=values.dtype)
    fitted[: len(values)] = values[:n]
    return fitted


def _common_length(name: str, layout: Layout, counts: dict[str, int]) -> int:
    """Number of frames by the length rule; `counts` are those of RGB and X frames, boxes and flags."""
    rgb = counts["RGB frames"]
    said = ", ".join(f"{count} {what}" for what, count in counts.items())
    if layout.length != "shortest" and counts["X frames"] != rgb:
        raise DatasetError(f"sequence {name}: RGB and X must have equally many frames, got {said}")
    if layout.length == "strict" and max(counts.values()) > rgb:
        raise DatasetError(f"sequence {name}: more lines than frames: {said}")
    n = min(counts.values()) if layout.length == "shortest" else rgb
    if n == 0:
        raise DatasetError(f"sequence {name}: nothing to read: {said}")
    between_lines = layout.box_step > 1 and 0 <= rgb - counts["boxes"] < layout.box_step
    differ = {what: count for what, count in counts.items() if not (what == "boxes" and between_lines)}
    if len(set(differ.values())) > 1 and layout.length != "strict":
        rule = "cut to the shortest" if layout.length == "shortest" else "frames without a line have no box"
        log.warning("%s: %s; %s", name, said, rule)
    return n


def _first_present(name: str, absent: np.ndarray) -> int:
    if absent.all():
        raise DatasetError(f"sequence {name}: the target is absent in all {len(absent)} frames")
    return int(np.argmin(absent))
