"""From image folders, videos and event files to frames in temporal order, and which of X belong to which of RGB.

No image is opened; videos are counted by decoding.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from patrack.recordings.events import event_windows
from patrack.recordings.naming import PairingRule, Side, frame_number, in_order, pair, read_times
from patrack.recordings.sequence import ARRAY_SUFFIXES, DataError, EventFrame, FileList, Frames, VideoFrame, first_few

__all__ = ["IMAGE_SUFFIXES", "VIDEO_SUFFIXES", "clock_times", "list_events", "list_frames", "pair_frames"]

log = logging.getLogger(__name__)

COMPLETE = 0.95
"""Share of the frames that a video states which can be decoded; less is a warning."""
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v")


def list_frames(source: Path) -> Frames:
    """List the frames of an image folder or a video file, in temporal order.

    Images are sorted by what their names say, see `patrack.recordings.naming.in_order`. Hidden files and files of other
    types are left out; where there is no image, files of arrays are the frames (`ARRAY_SUFFIXES`).

    Raises:
        DataError: nothing at `source`, no image in it, links that lead nowhere, names that don't tell the order, or
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
            raise DataError(f"{source}: {len(broken)} links to files that aren't there: {first_few(broken)}")
        if not names:
            suffixes = ", *".join((*IMAGE_SUFFIXES, *ARRAY_SUFFIXES))
            raise DataError(f"{source}: no image in this folder (looked for *{suffixes})")
        return FileList(source, in_order(names, str(source)))
    if not source.is_file():
        raise DataError(f"{source}: no such folder of images or video file")
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
        raise DataError(f"{source}: no frame can be decoded; is it a video file?")
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

    None where nothing tells it. Times of names may be since 1970, see `patrack.recordings.naming.read_times`.
    """
    if isinstance(frames, FileList):
        found = read_times(frames.names)
        return None if found is None else found[1]
    times = np.array([frame.time for frame in frames if isinstance(frame, VideoFrame)])
    return times if len(times) == len(frames) and np.isfinite(times).all() else None


def list_events(path: Path, rgb: Frames, rule: str, fps: float | None = None) -> Frames:
    """Lay the time windows of RGB's frames over a file of events, see `patrack.recordings.events.event_windows`.

    RGB's times are those that names of files hold, by the clock of the events; by rule "index", and where RGB is a
    video or has no times but a rate, both are taken to begin at the same moment.

    Raises:
        DataError: nothing tells when RGB's frames were taken, or the file can't be used.
    """
    times = clock_times(rgb)
    together = rule == "index" or not isinstance(rgb, FileList) or times is None
    if times is None:
        if fps is None:
            raise DataError(
                f"{path}: the names of the RGB frames don't tell when they were taken, so nothing tells which events "
                "are theirs: name them by their times (seconds, as in 12.350000.png), or give their rate if both "
                "recordings began together: --fps N (fps in dataset.yaml)"
            )
        times = np.arange(len(rgb)) / fps
    return event_windows(path, times, fps, align="start" if together else "clock")


def pair_frames(
    rgb: Frames, x: Frames, rule: PairingRule | Literal["position"], where: str, tolerance: float | None = None
) -> tuple[Frames, np.ndarray]:
    """Find the X frame of every RGB frame, and say once what has no partner.

    Args:
        rgb, x: in temporal order.
        rule: see `patrack.recordings.naming.pair`; "position" is the rule of benchmarks: as they come, whatever the
            names say and however many there are.
        where: the sequence, for messages.
        tolerance: seconds that times may differ by; None: see `pair`.

    Returns:
        X frames by RGB frame ("position": all of them), and (N,) bool: whether there is one. Where there is none,
        any stands there: a file of the RGB frame's name, or the first frame of a video.

    Raises:
        DataError: see `pair`.
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
