"""Film strips: a few small frames of a sequence in both modalities, and the boxes of all trackers to draw over them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from lib.datasets.frames import read_frame
from lib.datasets.sequence import Sequence
from lib.evaluation.ground_truth import GroundTruth
from patrack.files import atomic_write

__all__ = ["Picture", "Strip", "clear_pictures", "film_strip"]

WIDTH, QUALITY = 320, 82  # of the small pictures: pixels at most, JPEG quality
FRAMES = 6


@dataclass(frozen=True)
class Picture:
    """One frame of a strip.

    Attributes:
        frame: number in the sequence, from 0.
        files: name of the picture per modality, relative to the report.
        truth: true box x, y, w, h in pixels of the full image; None: no target.
        boxes: number of the tracker and its box; trackers without one are left out.
        overlaps: number of the tracker and its overlap with the true box; empty without a target.
    """

    frame: int
    files: list[str]
    truth: list[float] | None
    boxes: list[tuple[int, list[float]]]
    overlaps: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Strip:
    """Frames of one sequence; `width` and `height` of the full images in pixels."""

    name: str
    width: int
    height: int
    pictures: list[Picture]


def clear_pictures(folder: Path) -> None:
    """Delete the pictures that an earlier report left in `folder`; anything else stays."""
    for path in (folder / "images").glob("*.jpg"):
        if re.fullmatch(r"\d+-\d+-(rgb|x)\.jpg", path.name):
            path.unlink()


def film_strip(
    sequence: Sequence,
    truth: GroundTruth,
    boxes: Mapping[int, np.ndarray],
    overlaps: Mapping[int, np.ndarray],
    folder: Path,
    stem: str,
) -> Strip:
    """Write the pictures of a sequence and return what to draw over them.

    Args:
        sequence: with its images.
        truth: its annotation, row by row.
        boxes: (N, 4) xywh by number of the tracker.
        overlaps: (N,) by number of the tracker, NaN where there is no target.
        folder: of the report; pictures go to `images/` in it.
        stem: start of the picture names; nothing of the data set gets into a file name.

    Raises:
        ValueError: annotation and images disagree in number, or an image cannot be read.
    """
    step = _step(len(sequence), truth.frames, sequence.name)
    rows = np.unique(np.linspace(0, truth.frames - 1, FRAMES).round().astype(int)).tolist()
    pictures, size = [], (1, 1)
    for row in rows:
        frame = read_frame(sequence, row * step)
        size = frame.shape[1], frame.shape[0]
        files = _write(frame, sequence.modality, folder, f"{stem}-{row}")
        placed = [(k, box) for k, rows_ in boxes.items() if (box := _box(rows_[row])) is not None]
        measured = {k: float(values[row]) for k, values in overlaps.items() if not np.isnan(values[row])}
        there = _box(truth.boxes[0][row])
        absent = truth.absent is not None and bool(truth.absent[row])
        pictures.append(Picture(row * step, files, None if absent else there, placed, measured))
    return Strip(sequence.name, *size, pictures)


def _step(frames: int, rows: int, name: str) -> int:
    """Frames per annotation row."""
    step = 1 if frames == rows else round(frames / max(rows, 1))
    if step < 1 or (rows - 1) * step >= frames or frames > rows * step:
        raise ValueError(f"sequence {name}: {frames} images, but {rows} annotation rows")
    return step


def _box(box: np.ndarray) -> list[float] | None:
    usable = bool(np.isfinite(box).all()) and box[2] > 0 and box[3] > 0 and bool((np.abs(box) < 1e6).all())
    return [round(float(value), 1) for value in box] if usable else None


def _write(frame: np.ndarray, modality: str, folder: Path, stem: str) -> list[str]:
    """Names of the JPEG files written, one per modality."""
    names = []
    scale = min(1.0, WIDTH / frame.shape[1])
    size = max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale))
    for k, kind in enumerate(("rgb", "x")[: frame.shape[2] // 3]):
        panel = frame[:, :, 3 * k : 3 * k + 3]
        if not (kind == "x" and modality == "rgbd"):  # depth colours are in B, G, R order already
            panel = panel[:, :, ::-1]
        small = cv2.resize(np.ascontiguousarray(panel), size, interpolation=cv2.INTER_AREA)
        done, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        assert done
        names.append(f"images/{stem}-{kind}.jpg")
        with atomic_write(folder / names[-1], mode="wb") as file:
            file.write(data.tobytes())
    return names
