"""The overlay video of a recording: every frame with its boxes, RGB and X side by side, as browsers can play it."""

from __future__ import annotations

import logging
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from patrack.files import atomic_write
from patrack.modality import PAIRS

try:
    import av  # the only encoder of H.264 that pip installs everywhere; OpenCV's packages have none
except ImportError:
    av = None

__all__ = ["OverlayVideo", "draw_frame", "panels"]

logger = logging.getLogger(__name__)

H264, H264_OPTIONS = "libx264", {"preset": "veryfast", "crf": "21", "g": "50"}
"""A tenth of the time that OpenCV takes for VP9, the other codec that browsers play; a key frame every 50 frames."""
MPEG4 = cv2.VideoWriter.fourcc(*"mp4v")
FAILURES: tuple[type[Exception], ...] = (OSError, cv2.error) if av is None else (OSError, cv2.error, av.FFmpegError)
MIN_WIDTH = 640  # pixels: smaller pictures are enlarged by a whole number, as far as they stay within it
PREDICTED, TRUE, TEXT = (80, 220, 60), (255, 0, 255), (255, 255, 255)  # B, G, R


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
    """Draw one picture of the video: RGB and X side by side at their full size, below a bar with their names.

    Args:
        frame: (H, W, 6) or (H, W, 3) uint8, RGB then X.
        box_xywh, true_box_xywh: (4,), pixels, drawn green and magenta; NaN: none.
        caption: written into the bar, below the names.
        modality: says what X is, and in which order its colors are.

    Returns:
        (h, w, 3) uint8 in B, G, R order, h and w even, as video encoders ask. The frame fills the bottom left, each
        of its pixels a square of 1, or more where RGB and X together are at most 320 pixels wide.
    """
    height, width = frame.shape[:2]
    parts = panels(frame, modality)
    scale = max(1, MIN_WIDTH // (len(parts) * width))
    total = len(parts) * width * scale
    line = max(2, round(total / 1280))
    pictures = []
    for part in parts:
        picture = np.ascontiguousarray(part[:, :, ::-1].repeat(scale, axis=0).repeat(scale, axis=1))
        for box, color, thickness in ((box_xywh, PREDICTED, line), (true_box_xywh, TRUE, line - 1)):
            if box is None or not np.isfinite(box).all():
                continue
            limit = 4.0 * max(picture.shape)  # what lies farther out isn't seen, and OpenCV can't count so far
            x, y, across, down = np.clip(np.asarray(box, np.float64) * scale, -limit, limit)
            left, top, right, bottom = np.rint([x, y, x + across, y + down]).astype(int).tolist()
            cv2.rectangle(picture, (left, top), (right, bottom), color, thickness, cv2.LINE_AA)
        pictures.append(picture)

    # the bar, as high as two lines of text; it also makes up for an odd height
    size = min(max(total / 2560, 0.45), 1.5)
    row = round(40 * size)
    bar = np.zeros((2 * row + (2 * row + height * scale) % 2, total, 3), np.uint8)
    names = ["RGB", PAIRS[modality].kind if modality in PAIRS else "X"]
    texts = [(name, k * width * scale, 0) for k, name in enumerate(names[: len(parts)])]
    for text, left, top in [*texts, (caption, 0, row)]:
        length = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0]
        fitting = size * min(1.0, (total - left - 8) / max(length, 1))
        place = (left + 4, top + round(28 * size))
        cv2.putText(bar, text, place, cv2.FONT_HERSHEY_SIMPLEX, fitting, TEXT, max(1, round(size)), cv2.LINE_AA)
    whole = np.concatenate([bar, np.concatenate(pictures, axis=1)])
    return cv2.copyMakeBorder(whole, 0, 0, 0, total % 2, cv2.BORDER_REPLICATE)


class _H264:
    """Writes H.264 with PyAV; the index comes first, so that a browser plays what it is still loading."""

    def __init__(self, path: str, width: int, height: int, fps: float) -> None:
        # 29.97002997 is 30000 / 1001; a picture per minute is 1 / 60
        rate = Fraction(fps).limit_denominator(1001) if fps >= 1 else 1 / Fraction(1 / fps).limit_denominator(1001)
        self._container = av.open(path, "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream(H264, rate=rate, options=H264_OPTIONS)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.codec_context.time_base = 1 / rate
        self._stream.codec_context.colorspace = 6  # BT.601, by which colors are converted; players guess by the size
        self._rate, self._next = rate, 0

    def write(self, picture: np.ndarray, time: float | None) -> None:
        frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
        frame.pts = self._next if time is None else max(self._next, round(time * self._rate))
        self._next = frame.pts + 1
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        try:
            self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()


class _Mpeg4:
    """Writes MPEG-4 Part 2 with OpenCV, which is silent about what it couldn't write."""

    def __init__(self, path: str, width: int, height: int, fps: float) -> None:
        self._path, self._count = path, 0
        fps = max(round(fps, 2), 0.01)  # the format counts in 1/65535 s at best
        self._writer = cv2.VideoWriter(path, MPEG4, fps, (width, height))
        if not self._writer.isOpened():
            raise OSError(f"OpenCV has no MPEG-4 encoder for {width} x {height} pixels at {fps:g} frames per second")

    def write(self, picture: np.ndarray, time: float | None) -> None:  # its rate is the same all the time
        self._writer.write(picture)
        self._count += 1

    def close(self) -> None:
        self._writer.release()
        capture = cv2.VideoCapture(self._path)
        written = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        capture.release()
        if written != self._count:
            raise OSError(f"OpenCV wrote {written} of {self._count} frames; is there room?")


class OverlayVideo:
    """Context manager that writes an MP4 file; it appears under its name when the block ends without an exception.

    The video is H.264, which browsers and everything else play. Without PyAV it is MPEG-4 Part 2, by OpenCV, which
    browsers don't play, and a warning says so.

    Args:
        path: of the file; its folder is made.
        modality: as for `draw_frame`.
        fps: frames per second.
    """

    def __init__(self, path: Path, modality: str, fps: float = 25.0) -> None:
        if not 0 < fps < float("inf"):
            raise ValueError(f"fps must be > 0, got {fps!r}")
        self.path, self.modality, self.fps = Path(path), modality, fps
        self._file = ExitStack()
        self._encoder: _H264 | _Mpeg4 | None = None
        self._shape: tuple[int, ...] = ()

    def __enter__(self) -> OverlayVideo:
        if not _has_h264():
            logger.warning(
                "%s becomes MPEG-4 Part 2, which VLC and mpv play, but no browser: PyAV, which writes H.264, is not "
                "installed (pip install av)",
                self.path,
            )
        return self

    def write(
        self,
        frame: np.ndarray,
        box_xywh: np.ndarray,
        caption: str = "",
        true_box_xywh: np.ndarray | None = None,
        time: float | None = None,
    ) -> None:
        """Add a frame; see `draw_frame`.

        Args:
            frame, box_xywh, caption, true_box_xywh: what is drawn.
            time: seconds since the first frame; None: one frame after the last one, by `fps`.

        Raises:
            ValueError: the frame has another size than the first one.
            OSError: the video can't be written: no room, no right to, too large for the codec.
        """
        self.write_picture(draw_frame(frame, box_xywh, caption, true_box_xywh, self.modality), time)

    def write_picture(self, picture: np.ndarray, time: float | None = None) -> None:
        """Add a picture that is drawn already.

        Args:
            picture: (h, w, 3) uint8 in B, G, R order, h and w even.
            time: see `write`.

        Raises:
            ValueError, OSError: as `write`.
        """
        self._shape = self._shape or picture.shape
        if picture.shape != self._shape:
            raise ValueError(f"{self.path}: a picture of {picture.shape} pixels follows one of {self._shape}")
        if self._encoder is None:
            temporary = self._file.enter_context(atomic_write(self.path, "wb")).name
        try:
            if self._encoder is None:
                height, width = picture.shape[:2]
                self._encoder = (_H264 if _has_h264() else _Mpeg4)(temporary, width, height, self.fps)
            self._encoder.write(picture, time)
        except FAILURES as error:
            raise self._failure(error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            if self._encoder is not None:
                with suppress(*FAILURES):  # something has failed already, and the file is thrown away
                    self._encoder.close()
            self._file.__exit__(kind, error, trace)
            return
        with self._file:
            try:
                if self._encoder is not None:
                    self._encoder.close()
            except FAILURES as failure:
                raise self._failure(failure) from failure

    def _failure(self, error: Exception) -> OSError:
        reason = (isinstance(error, OSError) and error.strerror) or error
        return OSError(
            f"can't write video {self.path}: {reason}; make room, choose another output folder, or go without it "
            "(--no-video)"
        )


def _has_h264() -> bool:
    return av is not None and H264 in av.codecs_available
