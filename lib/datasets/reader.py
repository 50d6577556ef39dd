"""From a folder on disk to a `Sequence`, by the rules of a data set's row. No image is opened."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path

import numpy as np

from lib.datasets.catalog import DataSet
from lib.datasets.parsing import first_number, read_attributes, read_boxes, read_flags
from patrack.recordings.events import EVENT_SUFFIXES
from patrack.recordings.listing import VIDEO_SUFFIXES, list_events, list_frames, pair_frames
from patrack.recordings.naming import PairingRule
from patrack.recordings.sequence import (
    DataError,
    Frames,
    Sequence,
)

__all__ = [
    "annotation_file",
    "build_sequence",
    "find_both",
    "find_frames",
    "possible_steps",
    "read_sequence",
    "sub_folders",
]

log = logging.getLogger(__name__)


def sub_folders(folder: Path) -> dict[str, Path]:
    """Find the folders directly below `folder`, by name; none if it does not exist."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: folder / entry.name for entry in entries if entry.is_dir()}


def find_frames(folder: Path, stem: str) -> Frames:
    """List the frames in `folder/stem/`, or of a video `folder/stem.mp4` (or another of `VIDEO_SUFFIXES`)."""
    for suffix in VIDEO_SUFFIXES:
        video = folder / (stem + suffix)
        if video.is_file() and not (folder / stem).is_dir():
            return list_frames(video)
    return list_frames(folder / stem)


def find_both(folder: Path, data_set: DataSet) -> tuple[Frames, Frames | None]:
    """List the frames of RGB and of X (None for RGB only) of a sequence.

    They are not paired by name yet; but where X is a recording that ran on its own (`first_x_frames`), what came before
    the first RGB frame and after the last one is cut off.

    Raises:
        DataError: one of them is not there, or X is too short.
    """
    name = folder.name
    rgb = find_frames(folder, data_set.rgb.format(name=name))
    if not data_set.x:
        return rgb, None
    stems = [stem.format(name=name) for stem in data_set.x]
    there = next((stem for stem in stems if (folder / stem).is_dir()), None)
    if there is None and data_set.modality == "rgbe":
        for path in [folder / (stem + suffix) for stem in stems for suffix in EVENT_SUFFIXES]:
            if path.is_file():
                return rgb, list_events(path, rgb, data_set.pairing, data_set.fps)
    x = find_frames(folder, there or stems[0])
    if data_set.first_x_frames is not None and len(x) != len(rgb):  # equally many: they have been cut out already
        start = first_number(data_set.first_x_frames, name)
        if len(x) < start + len(rgb):
            raise DataError(
                f"sequence {name}: {len(x)} X frames; needs {len(rgb)}, one per RGB frame, or at least "
                f"{start + len(rgb)}, because RGB begins at X frame {start}"
            )
        x = x[start : start + len(rgb)]
    return rgb, x


def annotation_file(folder: Path, data_set: DataSet) -> Path:
    """Find the box file of a sequence: the first of `data_set.boxes` that exists.

    Raises:
        DataError: there is none.
    """
    for name in data_set.boxes:
        path = folder / name.format(name=folder.name)
        if path.is_file():
            return path
    raise DataError(f"{folder}: no annotation (looked for {', '.join(data_set.boxes)})")


def read_sequence(folder: Path, data_set: DataSet, root: Path | None = None) -> Sequence:
    """Read the sequence in `folder`; no image is opened.

    Args:
        folder: of the sequence; its name becomes the sequence's.
        data_set: how it is laid out.
        root: of the data set, where attribute files lie; None: no attributes.

    Raises:
        DataError: something is missing, or does not agree and `data_set` has no rule for it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such sequence")
    rgb, x = find_both(folder, data_set)
    boxes = read_boxes(annotation_file(folder, data_set), data_set.corners, data_set.polygons)
    flags = []  # of `flags` and of all `hidden`
    for rules in ((data_set.flags,) if data_set.flags else (), data_set.hidden):
        there = [rule for rule in rules if (folder / rule.name).is_file()]
        read = [read_flags(folder / rule.name, rule.highest) == bool(rule.present) for rule in there]
        count = min(map(len, read), default=0)
        flags.append(np.all([flag[:count] for flag in read], axis=0) if read else None)
    x_boxes = next((folder / name for name in data_set.x_boxes if (folder / name).is_file()), None)
    return build_sequence(
        folder.name,
        data_set,
        rgb,
        x,
        boxes,
        present=flags[0],
        attributes=() if root is None else read_attributes(root, folder.name, data_set),
        seen=flags[1],
        x_boxes=None if x_boxes is None else read_boxes(x_boxes, data_set.corners),
        first=first_number(data_set.first_frames, folder.name),
    )


def build_sequence(
    name: str,
    data_set: DataSet,
    rgb: Frames,
    x: Frames | None,
    boxes: np.ndarray,
    *,
    present: np.ndarray | None = None,
    attributes: tuple[str, ...] = (),
    seen: np.ndarray | None = None,
    x_boxes: np.ndarray | None = None,
    first: int = 0,
    pairing: PairingRule | None = None,
    tolerance: float | None = None,
) -> Sequence:
    """Pair frames and annotation by the rules of `data_set`.

    Args:
        name: of the sequence.
        data_set: the rules.
        rgb, x: frames in temporal order.
        boxes: (L, 4) lines of the annotation, xywh, pixels, NaN = absent or unknown.
        present: (M,) bool: flags of the data set, True where the target is in view; None if it has none.
        attributes: names of challenges.
        seen: (M,) bool: frames that may be trained on as far as `data_set.hidden` goes; None: all.
        x_boxes: (L', 4) lines of the annotation of X; None: there is none.
        first: frame of the first line; frames before that are dropped.
        pairing: rule instead of the data set's, see `pair_frames`.
        tolerance: see `pair_frames`.

    Raises:
        DataError: counts that do not agree under a rule that demands it, or nothing left.
    """
    has_x = np.ones(len(rgb), dtype=bool)
    if x is not None:
        x, has_x = pair_frames(rgb, x, pairing or data_set.pairing, f"sequence {name}", tolerance)

    # Number of frames by the length rule
    step, rule = data_set.box_step, data_set.length
    counts = {"RGB frames": len(rgb), "X frames": len(rgb) if x is None else len(x)}
    counts["boxes"] = first + (len(boxes) - 1) * step + 1 if len(boxes) else 0
    if present is not None:
        counts["flags"] = len(present)
    said = ", ".join(f"{count} {what}" for what, count in counts.items())
    if rule != "shortest" and counts["X frames"] != len(rgb):
        raise DataError(f"sequence {name}: RGB and X must have equally many frames, got {said}")
    if rule == "strict" and max(counts.values()) > len(rgb):
        raise DataError(f"sequence {name}: more lines than frames: {said}")
    n = min(counts.values()) if rule == "shortest" else len(rgb)
    if n == 0:
        raise DataError(f"sequence {name}: nothing to read: {said}")
    between_lines = step > 1 and 0 <= len(rgb) - counts["boxes"] < step
    differ = {count for what, count in counts.items() if not (what == "boxes" and between_lines)}
    if len(differ) > 1 and rule != "strict":
        done = "cut to the shortest" if rule == "shortest" else "frames without a line have no box"
        log.warning("%s: %s; %s", name, said, done)
    elif step == 1 and (steps := possible_steps(len(boxes), n)):
        log.warning("%s: %s: is there one for every %s frames? Then say so: box_step", name, said, steps)

    # Spread the lines over the frames, then tell absent frames from those that nothing is known about.
    known = np.zeros(n, dtype=bool)
    known[first : first + len(boxes) * step : step] = True
    boxes = _on_frames(boxes, n, first, step)
    with np.errstate(invalid="ignore"):
        empty = (boxes[:, 2] <= 0) | (boxes[:, 3] <= 0) | np.isnan(boxes).any(axis=1)
        visible = (boxes[:, 2] > data_set.min_size) & (boxes[:, 3] > data_set.min_size)
    absent = empty & known
    if present is not None:
        flag = _fit(present, n, True)
        absent, visible = ~flag, visible & flag
    if seen is not None:
        visible &= _fit(seen, n, False)
    visible &= has_x[:n]

    start = min(first, n - 1)
    if data_set.cut_leading_absent:
        if absent.all():
            raise DataError(f"sequence {name}: the target is absent in all {len(absent)} frames")
        start = int(np.argmin(absent))
    # A benchmark is read as its makers meant it, so a file that is missing there is an error when it is opened; any
    # other recording goes on without X in such a frame.
    lenient = pairing is not None or data_set.pairing == "auto"
    whole = Sequence(
        name=name,
        modality=data_set.modality,
        rgb_files=rgb[:n],
        x_files=None if x is None else x[:n],
        boxes=boxes,
        visible=visible,
        absent=absent,
        attributes=attributes,
        clip_depth=data_set.clip_depth,
        x_range=data_set.x_range,
        x_transform=data_set.x_transform,
        x_boxes=None if x_boxes is None else _on_frames(x_boxes, n, first, step),
        present=None if has_x[:n].all() or not lenient else np.stack([np.ones(n, dtype=bool), has_x[:n]], axis=1),
    )
    return whole.from_frame(start) if start else whole


def possible_steps(lines: int, frames: int) -> str:
    """Tell by which steps, above 1, the lines of a box file could be spread over all frames: "10", "9 to 10"; or ""."""
    if not 1 < lines < frames:
        return ""
    least, most = math.ceil(frames / lines), (frames - 1) // (lines - 1)
    return "" if least > most else f"{least}" if least == most else f"{least} to {most}"


def _on_frames(boxes: np.ndarray, n: int, first: int, step: int) -> np.ndarray:
    """(n, 4) boxes by frame, NaN where no line belongs to the frame."""
    spread = np.full((n, 4), np.nan)
    frames = first + step * np.arange(len(boxes))
    spread[frames[frames < n]] = boxes[frames < n]
    return spread


def _fit(values: np.ndarray, n: int, fill: bool) -> np.ndarray:
    """(n,) values cut to n, or filled up."""
    fitted = np.full(n, fill, dtype=values.dtype)
    fitted[: len(values)] = values[:n]
    return fitted
