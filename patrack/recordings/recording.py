"""One recording of two sensors, from its two sources to a `Sequence`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from patrack.modality import EVENT, PAIRS, ClipDepth, ValueRange, modalities
from patrack.recordings.events import EVENT_SUFFIXES
from patrack.recordings.frames import with_value_range
from patrack.recordings.listing import list_events, list_frames, pair_frames
from patrack.recordings.naming import PairingRule
from patrack.recordings.sequence import Frames, Sequence, XTransform

__all__ = ["list_both", "modality_told_by", "open_recording"]


def open_recording(
    rgb: Path,
    x: Path | None,
    modality: str,
    *,
    name: str | None = None,
    clip_depth: ClipDepth = "measured",
    x_range: ValueRange | None = None,
    x_transform: XTransform | None = None,
    pairing: PairingRule = "auto",
    tolerance: float | None = None,
    fps: float | None = None,
) -> Sequence:
    """Index a recording without annotation, frame by frame.

    Args:
        rgb, x, modality, pairing, fps: see `list_both`.
        name: of the sequence; default: the folder that holds `rgb`.
        clip_depth, x_range, x_transform: see `patrack.recordings.sequence.Sequence`. Without a range, thermal images of
            more than 8 bits get one for the whole recording, see `patrack.recordings.frames.with_value_range`.
        tolerance: seconds that times may differ by; None: see `patrack.recordings.naming.pair`.

    Returns:
        Without boxes; frames of RGB that have no partner are marked so (`Sequence.present`).

    Raises:
        DataError, ValueError: as `list_both`; frames that can't be paired.
    """
    rgb_frames, x_frames = list_both(rgb, x, modality, pairing, fps)
    name = name or rgb.resolve().parent.name or rgb.stem
    count = len(rgb_frames)
    present = None
    if x_frames is not None:
        x_frames, there = pair_frames(rgb_frames, x_frames, pairing, f"sequence {name}", tolerance)
        present = None if there.all() else np.stack([np.ones(count, dtype=bool), there], axis=1)
    return with_value_range(
        Sequence(
            name=name,
            modality=modality,
            rgb_files=rgb_frames,
            x_files=x_frames,
            boxes=np.full((count, 4), np.nan),
            visible=np.zeros(count, dtype=bool),
            absent=np.zeros(count, dtype=bool),
            clip_depth=clip_depth,
            x_range=x_range,
            x_transform=x_transform,
            present=present,
        )
    )


def list_both(
    rgb: Path, x: Path | None, modality: str, pairing: PairingRule = "auto", fps: float | None = None
) -> tuple[Frames, Frames | None]:
    """List the frames of both sensors, which aren't paired yet.

    Args:
        rgb: folder of images or video file.
        x: folder of images or video file of the other sensor, or a file of events (`patrack.recordings.events`); None
            with modality "rgb".
        modality: "rgbt", "rgbd", "rgbe" or "rgb".
        pairing: which X frame belongs to an RGB frame: see `patrack.recordings.naming.pair`.
        fps: RGB frames per second, where X is a file of events and nothing else tells RGB's times.

    Raises:
        DataError: nothing at `rgb` or `x`, or frames that can't be put in order.
        ValueError: unknown modality, or X missing where the modality needs it.
    """
    if modality not in modalities():
        raise ValueError(f"modality must be one of {modalities()}, got {modality!r}")
    if (x is None) != (modality == "rgb"):
        wanted = "must not have" if modality == "rgb" else "needs"
        raise ValueError(f"modality {modality!r} {wanted} a second folder or video, got x = {x}")
    rgb_frames = list_frames(rgb)
    if x is None:
        return rgb_frames, None
    if modality == "rgbe" and x.is_file() and x.suffix.lower() in EVENT_SUFFIXES:
        return rgb_frames, list_events(x, rgb_frames, pairing, fps)
    return rgb_frames, list_frames(x)


def modality_told_by(x: Path) -> str | None:
    """Tell by its name what the images of X show, or by its type that it holds events; None: nothing says it."""
    path = x.resolve()
    if path.is_file() and path.suffix.lower() in EVENT_SUFFIXES:
        return next(modality for modality, pair in PAIRS.items() if pair.kind == EVENT)
    return next((modality for modality, pair in PAIRS.items() if path.stem.lower() in pair.folders), None)
