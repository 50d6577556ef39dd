"""Frames with boxes to look at, without a display: the overlay video of a recording, and the film strips of a report.

A film strip is a few small frames of a sequence in both modalities, and the boxes of all trackers to draw over them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from lib.datasets import Sequence
from lib.datasets.frames import read_frame
from lib.evaluation.ground_truth import GroundTruth
from lib.report.folder import picture_name
from patrack.modality import PAIRS

__all__ = ["OverlayVideo", "Picture", "Strip", "draw_frame", "film_strip", "panels"]

CODEC = cv2.VideoWriter.fourcc(*"mp4v")
MAX_WIDTH, MIN_WIDTH = 1280, 640  # of a picture of the video, pixels
PREDICTED, TRUE, TEXT = (80, 220, 60), (255, 0, 255), (255, 255, 255)  # B, G, R
STRIP_FRAMES, STRIP_WIDTH, STRIP_QUALITY = 6, 320, 82  # pictures of a strip: pixels at most, JPEG quality


def panels(frame: np.ndarray, modality: str) -> list[np.ndarray]:
    """Split a frame (H, W, 3 or 6) into its RGB and, if it is there, X as pictures (H, W, 3) in R, G, B order.

    The colors of X come in B, G, R order where the table of modalities says so.
    """
    parts = [frame[:, :, start : start + 3] for start in range(0, frame.shape[2], 3)]
    backwards = modality in PAIRS and PAIRS[modality].bgr
    return [part[:, :, ::-1] if k == 1 and backwards else part for k, part in enumerate(parts)]


def draw_frame(
    frame: np.ndarray,
    box_xywh: np.ndarray,
    caption: str = "",
    true_box_xywh: np.ndarray | None = None,
    modality: str = "rgbt",
) -> np.ndarray:
    """Draw one picture of the video: RGB and X side by side.

    Args:
        frame: (H, W, 6) or (H, W, 3) uint8, RGB then X.
        box_xywh, true_box_xywh: (4,), pixels, drawn green and magenta; NaN: none.
        caption: written into the top left corner.
        modality: says in which order the colors of X are.

    Returns:
        (h, w, 3) uint8 in B, G, R order, h and w even, w <= 1280.
    """
    height, width = frame.shape[:2]
    parts = panels(frame, modality)
    total = len(parts) * width
    scale = min(MAX_WIDTH / total, max(1.0, MIN_WIDTH / total))
    w, h = (max(2, 2 * int(side * scale / 2 + 1e-6)) for side in (width, height))  # even, as video encoders ask
    factors = np.array([w / width, h / height] * 2)
    pictures = []
    for part in parts:
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        picture = cv2.resize(np.ascontiguousarray(part[:, :, ::-1]), (w, h), interpolation=method)
        for box, color, thickness in ((box_xywh, PREDICTED, 2), (true_box_xywh, TRUE, 1)):
            if box is None or not np.isfinite(box).all():
                continue
            limit = 4.0 * max(picture.shape)  # what lies farther out isn't seen, and OpenCV can't count so far
            x, y, across, down = np.clip(box * factors, -limit, limit)
            left, top, right, bottom = np.rint([x, y, x + across, y + down]).astype(int).tolist()
            cv2.rectangle(picture, (left, top), (right, bottom), color, thickness, cv2.LINE_AA)
        pictures.append(picture)
    whole = np.ascontiguousarray(np.concatenate(pictures, axis=1))
    if caption:
        (text_width, text_height), _ = cv2.getTextSize(caption, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
        cv2.rectangle(whole, (0, 0), (text_width + 16, text_height + 14), (0, 0, 0), cv2.FILLED)
        cv2.putText(whole, caption, (8, text_height + 6), cv2.FONT_HERSHEY_SIMPLEX, 0.5, TEXT, 1, cv2.LINE_AA)
    return whole


class OverlayVideo:
    """Context manager that writes an MP4 file; it appears under its name when the block ends without an exception.

    The folder of `path` is made; `modality` is as for `draw_frame`.
    """

    def __init__(self, path: Path, modality: str, fps: float = 25.0) -> None:
        if not fps > 0:
            raise ValueError(f"fps must be > 0, got {fps!r}")
        self.path, self.modality, self.fps = Path(path), modality, fps
        self._temporary = self.path.with_name(f".tmp-{os.getpid()}-{self.path.stem}.mp4")
        self._writer: cv2.VideoWriter | None = None

    def __enter__(self) -> OverlayVideo:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self

    def write(
        self, frame: np.ndarray, box_xywh: np.ndarray, caption: str = "", true_box_xywh: np.ndarray | None = None
    ) -> None:
        """Add a frame; see `draw_frame`.

        Raises:
            OSError: this OpenCV can't write MP4 video, or not to this folder.
        """
        picture = draw_frame(frame, box_xywh, caption, true_box_xywh, self.modality)
        if self._writer is None:
            height, width = picture.shape[:2]
            self._writer = cv2.VideoWriter(str(self._temporary), CODEC, self.fps, (width, height))
            if not self._writer.isOpened():
                raise OSError(
                    f"can't write video {self.path}: the folder isn't writable, or OpenCV has no MP4 encoder (the "
                    "opencv-python-headless package from PyPI has one)"
                )
        self._writer.write(picture)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()
        if kind is None and self._writer is not None:
            self._temporary.replace(self.path)
        else:
            self._temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class Picture:
    """One frame of a strip."""

    frame: int  # number in the sequence, from 0
    files: list[str]  # name of the picture per modality, relative to the report
    truth: list[float] | None  # true box x, y, w, h in pixels of the full image; None: no target
    boxes: list[tuple[int, list[float]]]  # number of the tracker and its box; trackers without one are left out
    overlaps: dict[int, float]  # number of the tracker and its overlap with the true box; empty without a target


@dataclass(frozen=True)
class Strip:
    """Frames of one sequence; `width` and `height` of the full images in pixels."""

    name: str
    width: int
    height: int
    pictures: list[Picture]


def film_strip(
    sequence: Sequence,
    truth: GroundTruth,
    boxes: Mapping[int, np.ndarray],
    overlaps: Mapping[int, np.ndarray],
    stem: str,
) -> tuple[Strip, dict[str, bytes]]:
    """Make the pictures of a sequence, and what to draw over them.

    Args:
        sequence, truth: its images, and its annotation row by row.
        boxes: (N, 4) xywh by number of the tracker.
        overlaps: (N,) by number of the tracker, NaN where there is no target.
        stem: start of the picture names; nothing of the data set gets into a file name.

    Returns:
        The strip, and JPEG files by name.

    Raises:
        ValueError: annotation and images disagree in number, or an image cannot be read.
    """
    frames, rows = len(sequence), truth.frames
    step = 1 if frames == rows else round(frames / max(rows, 1))  # frames per annotation row
    if step < 1 or (rows - 1) * step >= frames or frames > rows * step:
        raise ValueError(f"sequence {sequence.name}: {frames} images, but {rows} annotation rows")
    pictures, width, height = [], 1, 1
    contents: dict[str, bytes] = {}
    for row in np.unique(np.linspace(0, rows - 1, STRIP_FRAMES).round().astype(int)).tolist():
        frame = read_frame(sequence, row * step)
        height, width = frame.shape[:2]
        # a small picture per modality
        scale = min(1.0, STRIP_WIDTH / width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        files = []
        for kind, part in zip(("rgb", "x"), panels(frame, sequence.modality), strict=False):
            small = cv2.resize(np.ascontiguousarray(part[:, :, ::-1]), size, interpolation=cv2.INTER_AREA)
            _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, STRIP_QUALITY])
            files.append(picture_name(f"{stem}-{row}-{kind}", data.tobytes()))
            contents[files[-1]] = data.tobytes()
        # the boxes to draw over it
        absent = truth.absent is not None and bool(truth.absent[row])
        placed = [(k, box) for k, its in boxes.items() if (box := _drawable(its[row])) is not None]
        measured = {k: float(values[row]) for k, values in overlaps.items() if not np.isnan(values[row])}
        true_box = None if absent else _drawable(truth.boxes[0][row])
        pictures.append(Picture(row * step, files, true_box, placed, measured))
    return Strip(sequence.name, width, height, pictures), contents


def _drawable(box: np.ndarray) -> list[float] | None:
    """Round a box (4,) xywh to tenths of a pixel; None if it has no size or lies anywhere."""
    usable = bool(np.isfinite(box).all()) and box[2] > 0 and box[3] > 0 and bool((np.abs(box) < 1e6).all())
    return [round(float(value), 1) for value in box] if usable else None
