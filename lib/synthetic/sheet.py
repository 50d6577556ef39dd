"""Contact sheets: what the sequences of a data set look like, on one picture."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from lib.datasets.frames import read_frame
from lib.datasets.sequence import Sequence, shows_target
from lib.synthetic.benchmark import Job, draw_scene, frames
from patrack.modality import DEPTH, x_to_three_channels

__all__ = ["contact_sheet"]

_PRESENT, _ABSENT = (0, 255, 0), (0, 0, 255)  # B,G,R


def _tile(rgb: np.ndarray, x: np.ndarray, box: np.ndarray, absent: bool, width: int) -> np.ndarray:
    """RGB above X with the box drawn on both, `width` pixels wide; depth as the tracker sees it, in JET colours."""
    x = x_to_three_channels(x, DEPTH) if x.ndim == 2 else x
    left, top, w, h = box.astype(int)
    images, line = [], max(1, rgb.shape[1] // (2 * width))  # visible after shrinking
    for image in (rgb.copy(), x.copy()):
        cv2.rectangle(image, (left - 1, top - 1), (left + w, top + h), _ABSENT if absent else _PRESENT, line)
        size = (width, round(image.shape[0] * width / image.shape[1]))
        images.append(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    return np.vstack(images)


def _row(title: str, tiles: list[np.ndarray]) -> np.ndarray:
    row = np.hstack(tiles)
    strip = np.full((14, row.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, title, (3, 10), 0, 0.33, (0, 0, 0), 1)
    return np.vstack([strip, row])


def contact_sheet(
    modality: str,
    split: str,
    indices: Iterable[int],
    length: int,
    size: tuple[int, int] = (320, 240),
    seed: int = 0,
    columns: int = 5,
    width: int = 192,
    pictures: Path | None = None,
    beside: Iterable[Sequence] = (),
) -> np.ndarray:
    """Draw `columns` frames of each sequence, RGB above X, with the target's box (red where it is absent).

    Args:
        modality, split, length, size, seed, pictures: as for `generate`; the same sequences are shown.
        indices: sequence numbers, one row each.
        columns: frames per sequence, evenly spread from first to last.
        width: of a frame on the sheet, pixels.
        beside: recordings of the same pair of streams, shown below in the same way, each row under its name.

    Returns:
        (H, W, 3) uint8, B,G,R.

    Raises:
        FrameError: a recording's frame can't be read.
    """
    rows, columns = [], min(columns, length)
    for index in indices:
        scene, rng = draw_scene(Job(modality, split, index, length, size, seed, pictures))
        wanted = set(np.linspace(0, length - 1, columns).round().astype(int).tolist())
        shown = (frame for k, frame in enumerate(frames(scene, rng)) if k in wanted)
        tiles = [_tile(f.rgb, f.x, f.view.box, f.view.absent, width) for f in shown]
        rows.append(_row(f"{index}: {', '.join(sorted(scene.attributes))}", tiles))
    for recording in beside:
        known = np.flatnonzero(shows_target(recording))
        numbers = known[np.linspace(0, len(known) - 1, columns).round().astype(int)].tolist()
        tiles = []
        for number in numbers:
            rgb, x = np.split(read_frame(recording, number), 2, axis=2)
            x = x if modality == "rgbd" else x[:, :, ::-1]  # depth has its colours already
            tiles.append(_tile(rgb[:, :, ::-1], x, recording.boxes[number], False, width))
        rows.append(_row(f"recording {recording.name}, frames {', '.join(map(str, numbers))}", tiles))
    return np.vstack(rows)
