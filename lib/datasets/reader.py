"""From a folder on disk to a `Sequence`, by the rules of a data set's row. No image is opened."""

from __future__ import annotations

import itertools
import logging
import math
import os
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from lib.datasets.catalog import DataSet
from lib.datasets.events import EVENT_SUFFIXES, event_windows
from lib.datasets.naming import PairingRule, Side, frame_number, in_order, pair, read_times
from lib.datasets.parsing import first_number, read_attributes, read_boxes, read_flags
from lib.datasets.sequence import (
    ARRAY_SUFFIXES,
    DatasetError,
    EventFrame,
    FileList,
    Frames,
    Sequence,
    VideoFrame,
    first_few,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "annotation_file",
    "build_sequence",
    "clock_times",
    "find_both",
    "find_frames",
    "list_events",
    "list_frames",
    "pair_frames",
    "possible_steps",
    "read_sequence",
    "sub_folders",
]

log = logging.getLogger(__name__)

COMPLETE = 0.95
"""Share of the frames that a video states which can be decoded; less is a warning."""
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v")


def sub_folders(folder: Path) -> dict[str, Path]:
    """Find the folders directly below `folder`, by name; none if it does not exist."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: folder / entry.name for entry in entries if entry.is_dir()}


def list_frames(source: Path) -> Frames:
    """List the frames of an image folder or a video file, in temporal order.

    Images are sorted by what their names say, see `lib.datasets.naming.in_order`. Hidden files and files of other
    types are left out; where there is no image, files of arrays are the frames (`ARRAY_SUFFIXES`).

    Raises:
        DatasetError: nothing at `source`, no image in it, links that lead nowhere, names that don't tell the order, or
            a video that cannot be decoded.
    """
    if source.is_dir():
        with os.scandir(source) as entries:
            files = [entry for entry in entries if entry.name[0] != "."]
            images = [entry for entry in files if entry.name.lower().endswith(IMAGE_SUFFIXES)]
            images = images or [entry for entry in files if entry.name.lower().endswith(ARRAY_SUFFIXES)]
            names = [entry.name for entry in images if entry.is_file()]
            broken = sorted(entry.name for entry in images if entry.is_symlink() and not entry.is_file())
        broken = [name for name in broken if not (source / name).is_dir()]
        if broken:
            raise DatasetError(f"{source}: {len(broken)} links to files that aren't there: {first_few(broken)}")
        if not names:
            suffixes = ", *".join((*IMAGE_SUFFIXES, *ARRAY_SUFFIXES))
            raise DatasetError(f"{source}: no image in this folder (looked for *{suffixes})")
        return FileList(source, in_order(names, str(source)))
    if not source.is_file():
        raise DatasetError(f"{source}: no such folder of images or video file")
    # Counted by decoding: what containers say about their length is often off by a few frames.
    capture = cv2.VideoCapture(str(source))
    try:
        times = []
        while capture.grab():
            times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        rate, stated = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    finally:
        capture.release()
    if not times:
        raise DatasetError(f"{source}: no frame can be decoded; is it a video file?")
    if len(times) < COMPLETE * stated:
        log.warning(
            "%s: only %d of the %d frames that the file states can be decoded: is it cut off or damaged?",
            source,
            len(times),
            stated,
        )
    if any(later <= earlier for earlier, later in itertools.pairwise(times)):  # not every container tells them
        times = [k / rate if rate > 0 else math.nan for k in range(len(times))]
    return tuple(VideoFrame(source, k, time - times[0]) for k, time in enumerate(times))


def clock_times(frames: Frames) -> np.ndarray | None:
    """Tell when the frames were taken, (N,) seconds: since the first one of a video, or as names of files say it.

    None where nothing tells it. Times of names may be since 1970, see `lib.datasets.naming.read_times`.
    """
    if isinstance(frames, FileList):
        found = read_times(frames.names)
        return None if found is None else found[1]
    times = np.array([frame.time for frame in frames if isinstance(frame, VideoFrame)])
    return times if len(times) == len(frames) and np.isfinite(times).all() else None


def list_events(path: Path, rgb: Frames, rule: str, fps: float | None = None) -> Frames:
    """Lay the time windows of RGB's frames over a file of events, see `lib.datasets.events.event_windows`.

    RGB's times are those that names of files hold, by the clock of the events; by rule "index", and where RGB is a
    video or has no times but a rate, both are taken to begin at the same moment.

    Raises:
        DatasetError: nothing tells when RGB's frames were taken, or the file can't be used.
    """
    times = clock_times(rgb)
    together = rule == "index" or not isinstance(rgb, FileList) or times is None
    if times is None:
        if fps is None:
            raise DatasetError(
                f"{path}: the names of the RGB frames don't tell when they were taken, so nothing tells which events "
                "are theirs: name them by their times (seconds, as in 12.350000.png), or give their rate if both "
                "recordings began together: --fps N (fps in dataset.yaml)"
            )
        times = np.arange(len(rgb)) / fps
    return event_windows(path, times, fps, align="start" if together else "clock")


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
    there = next((stem for stem in stems if (folder / stem).is_dir()), None)
    if there is None and data_set.modality == "rgbe":
        for path in [folder / (stem + suffix) for stem in stems for suffix in EVENT_SUFFIXES]:
            if path.is_file():
                return rgb, list_events(path, rgb, data_set.pairing, data_set.fps)
    x = find_frames(folder, there or stems[0])
    if data_set.first_x_frames is not None and len(x) != len(rgb):  # equally many: they have been cut out already
        start = first_number(data_set.first_x_frames, name)
        if len(x) < start + len(rgb):
            raise DatasetError(
                f"sequence {name}: {len(x)} X frames; needs {len(rgb)}, one per RGB frame, or at least "
                f"{start + len(rgb)}, because RGB begins at X frame {start}"
            )
        x = x[start : start + len(rgb)]
    return rgb, x


def pair_frames(
    rgb: Frames, x: Frames, rule: PairingRule | Literal["position"], where: str, tolerance: float | None = None
) -> tuple[Frames, np.ndarray]:
    """Find the X frame of every RGB frame, and say once what has no partner.

    Args:
        rgb, x: in temporal order.
        rule: see `lib.datasets.naming.pair`; "position" is the rule of benchmarks: as they come, whatever the names say
            and however many there are.
        where: the sequence, for messages.
        tolerance: seconds that times may differ by; None: see `pair`.

    Returns:
        X frames by RGB frame ("position": all of them), and (N,) bool: whether there is one. Where there is none,
        any stands there: a file of the RGB frame's name, or the first frame of a video.

    Raises:
        DatasetError: see `pair`.
    """
    if isinstance(rgb, FileList) and isinstance(x, FileList):
        if rgb.names == x.names:
            return x, np.ones(len(x), dtype=bool)
        first = _first_numbered_otherwise(rgb, x) if rule == "position" and len(rgb) == len(x) else None
        if first is not None:
            log.warning(
                "%s: RGB and X are numbered differently from frame %d on (%s with %s): paired by position, as this "
                "data set is used, but a file may be missing on either side",
                where,
                first,
                rgb.names[first],
                x.names[first],
            )
    if rule == "position":
        return x, np.ones(len(x), dtype=bool)
    if isinstance(x[0], EventFrame):
        return x, np.ones(len(x), dtype=bool)  # its windows are those of the RGB frames
    sides: list[Side] = []
    for frames in (rgb, x):
        if isinstance(frames, FileList):
            sides.append(frames.names)
        else:
            times = clock_times(frames)
            sides.append(len(frames) if times is None else times)
    pairing = pair(sides[0], sides[1], rule, tolerance, where)
    together = pairing.rule == "time" and any(isinstance(side, np.ndarray) for side in sides)
    if not pairing.complete or (together and rule == "auto"):
        log.warning("%s: %s%s", where, pairing, "; both are taken to begin at the same moment" if together else "")
    elif pairing.rule == "time":
        log.info("%s: %s", where, pairing)
    if isinstance(x, FileList):
        expected = rgb.names if isinstance(rgb, FileList) else [str(k) for k in range(len(rgb))]
        x = FileList(x.folder, [x.names[i] if i >= 0 else name for i, name in zip(pairing.x, expected, strict=True)])
    else:
        x = tuple(x[max(i, 0)] for i in pairing.x)
    return x, pairing.x >= 0


def _first_numbered_otherwise(rgb: FileList, x: FileList) -> int | None:
    """Place of the first pair whose numbers differ by another amount than those of the first pair; None: of no one."""
    first, last = ([frame_number(frames.names[k]) for frames in (rgb, x)] for k in (0, -1))
    if last[0] - first[0] == last[1] - first[1] == len(rgb) - 1:
        return None  # both count without a gap
    offset = first[1] - first[0]
    pairs = enumerate(zip(rgb.names, x.names, strict=True))
    return next((k for k, (one, other) in pairs if frame_number(other) - frame_number(one) != offset), None)


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
        DatasetError: counts that do not agree under a rule that demands it, or nothing left.
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
            raise DatasetError(f"sequence {name}: the target is absent in all {len(absent)} frames")
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
