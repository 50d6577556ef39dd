"""From a folder on disk to a `Sequence`, by the rules of a data set's row. No image is opened."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path, PurePath

import cv2
import numpy as np

from lib.datasets.catalog import DataSet
from lib.datasets.parsing import first_number, read_attributes, read_boxes, read_flags
from lib.datasets.sequence import DatasetError, FileList, Frames, Sequence, VideoFrame

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "annotation_file",
    "build_sequence",
    "find_both",
    "find_frames",
    "frame_number",
    "list_frames",
    "pair_by_name",
    "read_sequence",
    "sub_folders",
]

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v")
LAST_NUMBER = re.compile(r"(\d+)\D*$")


def frame_number(name: str) -> int:
    """Return the last number in a file name, suffix aside: 7 for `v007.jpg`; -1 where there is none."""
    match = LAST_NUMBER.search(name.rpartition(".")[0] or name)
    return int(match.group(1)) if match else -1


def sub_folders(folder: Path) -> dict[str, Path]:
    """Find the folders directly below `folder`, by name; none if it does not exist."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: folder / entry.name for entry in entries if entry.is_dir()}


def list_frames(source: Path) -> Frames:
    """List the frames of an image folder or a video file, in temporal order.

    Images are sorted by the last number in their name, equal numbers by the name itself: names need no padding, no
    common prefix and no particular first number. Hidden files and files of other types are left out.

    Raises:
        DatasetError: nothing at `source`, no image in it, or a video that cannot be decoded.
    """
    if source.is_dir():
        with os.scandir(source) as entries:
            files = [entry.name for entry in entries if entry.is_file()]
        names = [name for name in files if name.lower().endswith(IMAGE_SUFFIXES) and name[0] != "."]
        if not names:
            raise DatasetError(f"{source}: no image in this folder (looked for *{', *'.join(IMAGE_SUFFIXES)})")
        return FileList(source, sorted(names, key=lambda name: (frame_number(name), name)))
    if not source.is_file():
        raise DatasetError(f"{source}: no such folder of images or video file")
    # Counted by decoding: what containers say about their length is often off by a few frames.
    capture = cv2.VideoCapture(str(source))
    try:
        count = 0
        while capture.grab():
            count += 1
    finally:
        capture.release()
    if count == 0:
        raise DatasetError(f"{source}: no frame can be decoded; is it a video file?")
    return tuple(VideoFrame(source, i) for i in range(count))


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
        DatasetError: one of them is not there, or X is too short.
    """
    name = folder.name
    rgb = find_frames(folder, data_set.rgb.format(name=name))
    if not data_set.x:
        return rgb, None
    stems = [stem.format(name=name) for stem in data_set.x]
    x = find_frames(folder, next((stem for stem in stems if (folder / stem).is_dir()), stems[0]))
    if data_set.first_x_frames is not None and len(x) != len(rgb):  # equally many: they have been cut out already
        start = first_number(data_set.first_x_frames, name)
        if len(x) < start + len(rgb):
            raise DatasetError(
                f"sequence {name}: {len(x)} X frames; needs {len(rgb)}, one per RGB frame, or at least "
                f"{start + len(rgb)}, because RGB begins at X frame {start}"
            )
        x = x[start : start + len(rgb)]
    return rgb, x


def pair_by_name(rgb: Frames, x: Frames) -> tuple[Frames, np.ndarray]:
    """Find the X frames of the same names (suffix aside) as the RGB frames, and (N,) bool: whether the file exists.

    Where none exists the path is the one that was expected, so that reading the frame names the missing file.
    """
    if not isinstance(rgb, FileList) or not isinstance(x, FileList) or rgb.names == x.names:
        return x, np.ones(len(x), dtype=bool)
    by_stem = {PurePath(name).stem: name for name in x.names}
    stems = [PurePath(name).stem for name in rgb.names]
    exists = np.array([stem in by_stem for stem in stems], dtype=bool)
    return FileList(x.folder, [by_stem.get(stem, name) for stem, name in zip(stems, rgb.names, strict=True)]), exists


def annotation_file(folder: Path, data_set: DataSet) -> Path:
    """Find the box file of a sequence: the first of `data_set.boxes` that exists.

    Raises:
        DatasetError: there is none.
    """
    for name in data_set.boxes:
        path = folder / name.format(name=folder.name)
        if path.is_file():
            return path
    raise DatasetError(f"{folder}: no annotation (looked for {', '.join(data_set.boxes)})")


def read_sequence(folder: Path, data_set: DataSet, root: Path | None = None) -> Sequence:
    """Read the sequence in `folder`; no image is opened.

    Args:
        folder: of the sequence; its name becomes the sequence's.
        data_set: how it is laid out.
        root: of the data set, where attribute files lie; None: no attributes.

    Raises:
        DatasetError: something is missing, or does not agree and `data_set` has no rule for it.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such sequence")
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

    Raises:
        DatasetError: counts that do not agree under a rule that demands it, or nothing left.
    """
    has_x_image = None
    if x is not None and data_set.pairing == "name":
        x, has_x_image = pair_by_name(rgb, x)
        if not has_x_image.all():
            log.warning("%s: %d of %d frames have no X image", name, int((~has_x_image).sum()), len(rgb))

    # Number of frames by the length rule
    step, rule = data_set.box_step, data_set.length
    counts = {"RGB frames": len(rgb), "X frames": len(rgb) if x is None else len(x)}
    counts["boxes"] = first + (len(boxes) - 1) * step + 1 if len(boxes) else 0
    if present is not None:
        counts["flags"] = len(present)
    said = ", ".join(f"{count} {what}" for what, count in counts.items())
    if rule != "shortest" and counts["X frames"] != len(rgb):
        raise DatasetError(f"sequence {name}: RGB and X must have equally many frames, got {said}")
    if rule == "strict" and max(counts.values()) > len(rgb):
        raise DatasetError(f"sequence {name}: more lines than frames: {said}")
    n = min(counts.values()) if rule == "shortest" else len(rgb)
    if n == 0:
        raise DatasetError(f"sequence {name}: nothing to read: {said}")
    between_lines = step > 1 and 0 <= len(rgb) - counts["boxes"] < step
    differ = {count for what, count in counts.items() if not (what == "boxes" and between_lines)}
    if len(differ) > 1 and rule != "strict":
        done = "cut to the shortest" if rule == "shortest" else "frames without a line have no box"
        log.warning("%s: %s; %s", name, said, done)

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
    if has_x_image is not None:
        visible &= has_x_image[:n]

    start = min(first, n - 1)
    if data_set.cut_leading_absent:
        if absent.all():
            raise DatasetError(f"sequence {name}: the target is absent in all {len(absent)} frames")
        start = int(np.argmin(absent))
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
        x_boxes=None if x_boxes is None else _on_frames(x_boxes, n, first, step),
    )
    return whole.from_frame(start) if start else whole


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
