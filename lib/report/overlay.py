"""A video to look at: RGB and X side by side with box, score and, where known, the true box. Needs no display."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

__all__ = ["OverlayVideo", "draw_frame"]

logger = logging.getLogger(__name__)

MAX_WIDTH, MIN_WIDTH = 1280, 640  # of the whole picture, pixels
PREDICTED, TRUE, TEXT = (80, 220, 60), (255, 0, 255), (255, 255, 255)  # B, G, R


def draw_frame(
    frame: np.ndarray,
    box_xywh: np.ndarray,
    caption: str = "",
    true_box_xywh: np.ndarray | None = None,
    modality: str = "rgbt",
) -> np.ndarray:
    """One picture of the video.

    Args:
        frame: (H, W, 6) or (H, W, 3) uint8, RGB then X.
        box_xywh: (4,), pixels: drawn green.
        caption: written into the top left corner.
        true_box_xywh: (4,), pixels: drawn magenta; NaN: none.
        modality: "rgbd" has its depth colours in B, G, R order.

    Returns:
        (h, w, 3) uint8 in B, G, R order, h and w even, w <= 1280.
    """
    height, width = frame.shape[:2]
    panels = frame.shape[2] // 3
    scale = min(MAX_WIDTH / (panels * width), max(1.0, MIN_WIDTH / (panels * width)))
    size = (_even(width * scale), _even(height * scale))
    pictures = []
    for k in range(panels):
        panel = frame[:, :, 3 * k : 3 * k + 3]
        if not (k == 1 and modality == "rgbd"):
            panel = panel[:, :, ::-1]
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        picture = cv2.resize(np.ascontiguousarray(panel), size, interpolation=method)
        factors = np.array([size[0] / width, size[1] / height] * 2)
        _draw_box(picture, box_xywh * factors, PREDICTED, 2)
        if true_box_xywh is not None:
            _draw_box(picture, true_box_xywh * factors, TRUE, 1)
        pictures.append(picture)
    picture = np.ascontiguousarray(np.concatenate(pictures, axis=1))
    if caption:
        (text_width, text_height), _ = cv2.getTextSize(caption, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
        cv2.rectangle(picture, (0, 0), (text_width + 16, text_height + 14), (0, 0, 0), cv2.FILLED)
        cv2.putText(picture, caption, (8, text_height + 6), cv2.FONT_HERSHEY_SIMPLEX, 0.5, TEXT, 1, cv2.LINE_AA)
    return picture


def _even(value: float) -> int:
    return max(2, 2 * int(value / 2 + 1e-6))


def _draw_box(picture: np.ndarray, box_xywh: np.ndarray, color: tuple[int, int, int], thickness: int) -> None:
    if not np.isfinite(box_xywh).all():
        return
    limit = 4.0 * max(picture.shape)
    x, y, w, h = np.clip(box_xywh, -limit, limit)
    corners = np.rint([x, y, x + w, y + h]).astype(int).tolist()
    cv2.rectangle(picture, tuple(corners[:2]), tuple(corners[2:]), color, thickness, cv2.LINE_AA)


class OverlayVideo:
    """Context manager that writes an MP4 file; it appears under its name when the block ends without an exception.

    Args:
        path: the .mp4 file; its folder is made.
        modality: see `draw_frame`.
        fps: frames per second of the video.
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
            codec = cv2.VideoWriter_fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._temporary), codec, self.fps, picture.shape[1::-1])
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
