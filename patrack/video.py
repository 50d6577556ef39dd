"""A whole video in one call."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from patrack.crop import Box
from patrack.files import user_path
from patrack.modality import PAIRS
from patrack.recordings.prefetch import PrefetchedFrames
from patrack.recordings.recording import modality_told_by, open_recording
from patrack.tracker import Result, Tracker

__all__ = ["modality_of_x", "track"]

logger = logging.getLogger(__name__)

READERS, DEPTH = 2, 4
"""Threads that decode, and frames decoded before they are needed."""


def track(
    rgb: str | os.PathLike[str],
    x: str | os.PathLike[str] | None = None,
    box: Box | None = None,
    *,
    tracker: Tracker | str | os.PathLike[str] | None = None,
    modality: str | None = None,
    device: str = "cpu",
    **recording: Any,
) -> Iterator[Result]:
    """Follow a target through a recording.

        for result in patrack.track(rgb="visible.mp4", x="infrared.mp4", box=(120, 80, 40, 60)):
            print(result.number, result.box, result.score, result.lost)

    Args:
        rgb: a video, or a folder of images.
        x: the same of the other sensor, or a file of events; None: RGB alone.
        box: x, y, w, h of the target in the first frame, pixels.
        tracker: or what `Tracker.from_pretrained` loads; None: the small shipped one for the modality.
        modality: what X shows: "rgbt" thermal, "rgbd" depth, "rgbe" events. None: the tracker's; else as the name of
            `x` says it (`ir`, `depth`, `events`, ...), else thermal.
        device: a torch device, where the tracker is loaded here.
        recording: `x_range`, `x_transform`, `pairing`, `tolerance` and `fps` of
            `patrack.recordings.recording.open_recording`.

    Yields:
        A result per frame, the first one of the given box, with score 1.

    Raises:
        ValueError: a file that can't be used, sizes that differ, a bad box; the message says which.
    """
    first, second = user_path(rgb), None if x is None else user_path(x)
    if box is None:
        raise ValueError("box must be x, y, w, h of the target in the first frame, pixels")
    if modality is None:
        modality = "rgb" if second is None else modality_of_x(second, tracker)
    if not isinstance(tracker, Tracker):
        tracker = Tracker.from_pretrained(f"{modality}_small" if tracker is None else tracker, device=device)
    return _results(tracker, open_recording(first, second, modality, **recording), box)


def modality_of_x(x: Path | None, tracker: Tracker | str | os.PathLike[str] | None) -> str:
    """Tell what X shows: as the tracker knows, or the name of its weights says; as the name of X says; else thermal."""
    own = tracker.adapters.active.modality if isinstance(tracker, Tracker) else None
    if isinstance(tracker, str):
        own = next((modality for modality in PAIRS if Path(tracker).name.startswith(f"{modality}_")), None)
    told = own if own in PAIRS or x is None else modality_told_by(x)
    if told is None:
        logger.warning("nothing says what X shows: thermal images are assumed; else give the modality, rgbd or rgbe")
    return told or "rgbt"


def _results(tracker: Tracker, sequence: Any, box: Box) -> Iterator[Result]:
    with ThreadPoolExecutor(READERS) as threads:
        frames = PrefetchedFrames(sequence, threads, DEPTH)
        for number in range(len(sequence)):
            frame, present = frames.take().result(), sequence.streams_at(number)
            if number == 0:
                yield tracker.initialize(frame, box, present=present)
            else:
                yield tracker.track(frame, present=present)
