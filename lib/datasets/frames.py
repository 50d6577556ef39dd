"""Read one frame of a sequence: decode RGB and X, check them, convert what needs the whole frame."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import cv2
import numpy as np

from lib.datasets.decoded import DecodedFrame, Plane
from lib.datasets.sequence import Sequence, VideoFrame
from patrack.modality import PAIRS, prepare_x

__all__ = ["FrameError", "decode_frame", "jpeg_is_complete", "read_frame", "read_image"]


class FrameError(ValueError):
    """A frame cannot be used; the message names its file."""


def read_frame(sequence: Sequence, index: int) -> np.ndarray:
    """Read frame `index` (from 0; negative counts from the end) of a sequence.

    RGB: 8-bit R, G, B; a one-channel file becomes three equal channels. X: see `patrack.modality.x_to_three_channels`.
    Both must have the same size: nothing is resized.

    Returns:
        (H, W, 6) uint8, RGB then X; (H, W, 3) for modality "rgb".

    Raises:
        FrameError: a missing, damaged or truncated file, X with a wrong type or number of channels, different sizes.
        IndexError: no such frame.
    """
    return decode_frame(sequence, index).image()


def decode_frame(sequence: Sequence, index: int, with_x: bool = True) -> DecodedFrame:
    """Read what `read_frame` does, with colors still to be converted; without X its file is not even opened.

    Raises:
        FrameError, IndexError: as `read_frame`.
    """
    rgb_file = sequence.rgb_files[index]
    rgb = read_image(rgb_file, cv2.IMREAD_COLOR)  # [H, W, 3]
    if sequence.x_files is None or not with_x:
        return DecodedFrame((Plane(rgb, backwards=True),))
    x_file = sequence.x_files[index]
    raw = read_image(x_file, cv2.IMREAD_UNCHANGED)
    if raw.shape[:2] != rgb.shape[:2]:
        raise FrameError(
            f"RGB and X differ in size (width x height): {_describe(rgb_file)} is {rgb.shape[1]}x{rgb.shape[0]}, "
            f"{_describe(x_file)} is {raw.shape[1]}x{raw.shape[0]}"
        )
    try:
        x, backwards = prepare_x(raw, PAIRS[sequence.modality].kind, sequence.clip_depth)
    except ValueError as error:
        raise FrameError(f"{_describe(x_file)}: {error}") from error
    return DecodedFrame((Plane(rgb, backwards=True), Plane(x, backwards)))


def read_image(source: Path | VideoFrame, flags: int) -> np.ndarray:
    """Decode one image or video frame with OpenCV's `flags` (which a video ignores: it gives 8-bit B, G, R).

    Raises:
        FrameError: the file cannot be read, is empty, damaged or truncated.
    """
    if isinstance(source, VideoFrame):
        frame = _open_video(source.path, os.getpid()).read(source.index)
        if frame is None:
            raise FrameError(f"{_describe(source)}: cannot be decoded")
        return frame.copy()
    try:
        with source.open("rb", buffering=0) as file:
            data = file.read()
    except OSError as error:
        raise FrameError(f"{source}: cannot be read: {error.strerror}") from error
    if data[:2] == b"\xff\xd8" and not (data.endswith(b"\xff\xd9") or jpeg_is_complete(data)):
        raise FrameError(f"{source}: the JPEG file is truncated ({len(data)} bytes)")
    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags) if data else None
    if image is None:
        raise FrameError(f"{source}: not a readable image ({len(data)} bytes)")
    return image


def jpeg_is_complete(data: bytes) -> bool:
    """Tell whether the image data of a JPEG file reach their end marker; decoders fill what is missing with gray."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        if data[position + 1] == 0xDA:  # start of the image data; the headers before it may hold a whole thumbnail
            return data.rfind(b"\xff\xd9", position) != -1
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return False


def _describe(source: Path | VideoFrame) -> str:
    return f"{source.path} (frame {source.index})" if isinstance(source, VideoFrame) else str(source)


class _Video:
    """An open video that is cheap to read forwards; going back opens it anew, because seeking is not exact."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.capture = cv2.VideoCapture(str(path))
        self.next_index = 0
        self.last: np.ndarray | None = None

    def read(self, index: int) -> np.ndarray | None:
        if index == self.next_index - 1 and self.last is not None:
            return self.last
        if index < self.next_index:
            self.capture.release()
            self.capture, self.next_index = cv2.VideoCapture(str(self.path)), 0
        while self.next_index < index and self.capture.grab():
            self.next_index += 1
        if self.next_index != index:
            return None
        found, image = self.capture.read()
        self.next_index += 1
        self.last = image if found else None
        return self.last


@functools.lru_cache(maxsize=64)
def _open_video(path: Path, process: int) -> _Video:  # an open video must not be shared with forked processes
    return _Video(path)
