"""Contact sheets: what the sequences of a data set look like, on one picture."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from lib.modality import DEPTH, x_to_three_channels
from lib.synthetic.benchmark import Job, draw_scene, frames

__all__ = ["contact_sheet"]

_PRESENT, _ABSENT = (0, 255, 0), (0, 0, 255)  # B,G,R


def _tile(rgb: np.ndarray, x: np.ndarray, box: np.ndarray, absent: bool, width: int) -> np.ndarray:
    """RGB above X with the box drawn on both, `width` pixels wide; depth as the tracker sees it, in JET colours."""
    x = x_to_three_channels(x, DEPTH) if x.ndim == 2 else x
    left, top, w, h = box.astype(int)
    images = []
    for image in (rgb.copy(), x.copy()):
        cv2.rectangle(image, (left - 1, top - 1), (left + w, top + h), _ABSENT if absent else _PRESENT, 1)
        size = (width, round(image.shape[0] * width / image.shape[1]))
        images.append(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    return np.vstack(images)


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
) -> np.ndarray:
    """Draw `columns` frames of each sequence, RGB above X, with the target's box (red where it is absent).

    Args:
        modality, split, length, size, seed, pictures: as for `generate`; the same sequences are shown.
        indices: sequence numbers, one row each.
        columns: frames per sequence, evenly spread from first to last.
        width: of a frame on the sheet, pixels.

    Returns:
        (H, W, 3) uint8, B,G,R.
    """
    rows = []
    for index in indices:
        scene, rng = draw_scene(Job(modality, split, index, length, size, seed, pictures))
        wanted = set(np.linspace(0, length - 1, columns).round().astype(int).tolist())
        shown = (frame for k, frame in enumerate(frames(scene, rng)) if k in wanted)
        row = np.hstack([_tile(f.rgb, f.x, f.view.box, f.view.absent, width) for f in shown])
        title = np.full((14, row.shape[1], 3), 255, np.uint8)
        cv2.putText(title, f"{index}: {', '.join(sorted(scene.attributes))}", (3, 10), 0, 0.33, (0, 0, 0), 1)
        rows.append(np.vstack([title, row]))
    return np.vstack(rows)
