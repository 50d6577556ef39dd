"""A frame: read from its files, checked, and kept as decoded until it is used.

Colors are converted in the crops that are looked at, not over the whole image.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
from collections.abc import Sequence as Numbers
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from patrack.crop import crop_window, forwards, sample_rectangle
from patrack.modality import DEPTH, PAIRS, THERMAL, USUAL, Pair, prepare_x, usual_range
from patrack.recordings.events import EventFile
from patrack.recordings.sequence import ARRAY_SUFFIXES, DataError, EventFrame, Sequence, VideoFrame, XTransform

__all__ = [
    "DecodedFrame",
    "FrameError",
    "Plane",
    "Video",
    "decode_frame",
    "jpeg_is_complete",
    "jpeg_warning",
    "onto_rgb",
    "read_frame",
    "read_image",
    "with_value_range",
]

RGB_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
"""Of OpenCV's reader, for RGB: more than 8 bits are not cut down to 8 without a word."""
log = logging.getLogger(__name__)

X_FLAGS = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
"""Of OpenCV's reader, for X: 16 bits and one channel stay as they are, as with `IMREAD_UNCHANGED`; but EXIF data turn
the image and transparency is left out, as in RGB."""


RANGE_SAMPLE = 16
"""Frames of a recording that its range of values is taken from."""
GRAY16 = b"Y1\x00\x10"
"""FFmpeg's code for pixels of one channel with 16 bits, which OpenCV can hand out as they are. The last byte is the
number of bits; in the other order of bytes the code is reversed."""
RAW_SIZES = (
    *((80, 60), (160, 120), (256, 192), (320, 240), (320, 256), (336, 256), (384, 288), (640, 480), (640, 512)),
    *((1024, 768), (1280, 1024)),
)
"""Width and height of thermal cameras, by which a file of nothing but 16-bit values is told."""


class FrameError(ValueError):
    """A frame cannot be used; the message names its file."""


class Plane(NamedTuple):
    """Pixels of one file.

    Attributes:
        pixels: (H, W) for three equal channels, or (H, W, c), uint8.
        backwards: the channels are to be read in reverse order: B, G, R.
    """

    pixels: np.ndarray
    backwards: bool = False

    @property
    def stored(self) -> int:
        """Channels in memory: 1, 3 or 6."""
        return 1 if self.pixels.ndim == 2 else self.pixels.shape[2]

    def write_channels(self, out: np.ndarray) -> int:
        """Write the stored channels, in their order, into the first of (>= c, H, W) uint8; returns how many."""
        pixels = forwards(self.pixels)
        if self.stored == 1:
            np.copyto(out[0], pixels)
            return 1
        channels = list(out[: self.stored])
        cv2.split(pixels, channels[::-1] if self.backwards else channels)
        return self.stored


@dataclass(frozen=True, eq=False)
class DecodedFrame:
    """A frame of H x W pixels and C channels: R, G, B, then X if there is one.

    Attributes:
        planes: its channels in order; all of the same height and width.
        flat: X is one flat color though its file is not: more than half of its depth was not measured.
    """

    planes: tuple[Plane, ...]
    flat: bool = False

    @classmethod
    def from_image(cls, image: np.ndarray) -> DecodedFrame:
        """Wrap an (H, W, 3 or 6) uint8 image, which is not copied.

        Raises:
            ValueError: another shape or type.
        """
        if image.ndim != 3 or image.shape[2] not in (3, 6) or image.dtype != np.uint8:
            raise ValueError(f"a frame must be (H, W, 3 or 6) uint8, got {image.shape} {image.dtype}")
        return cls((Plane(image),))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the image."""
        height, width = self.planes[0].pixels.shape[:2]
        return height, width, sum([max(plane.stored, 3) for plane in self.planes])

    def image(self) -> np.ndarray:
        """Return the whole frame: (H, W, C) uint8; not a copy if it was made of an image."""
        return self.planes[0].pixels if self._is_image else self.write(np.empty(self.shape, np.uint8))

    def write(self, out: np.ndarray) -> np.ndarray:
        """Write the whole frame into a contiguous (H, W, C) uint8 array, which is returned."""
        pixels = [forwards(plane.pixels) for plane in self.planes]
        if self._is_image:
            np.copyto(out, pixels[0])
        else:
            cv2.mixChannels(pixels, [out], _order(tuple([(plane.stored, plane.backwards) for plane in self.planes])))
        return out

    @property
    def _is_image(self) -> bool:
        first, *others = self.planes
        return not others and first.pixels.ndim == 3 and not first.backwards

    def crop(self, box_xywh: Numbers[float] | np.ndarray, factor: float, size: int) -> tuple[np.ndarray, float]:
        """Cut a square around a box, bit for bit as `patrack.crop.sample_crop` does from the whole image.

        Returns:
            patch (size, size, C) uint8, and resize_factor = size / side.
        """
        patch, resize_factor = self.patch(crop_window(box_xywh, factor), size)
        return patch.image(), resize_factor

    def patch(self, window: tuple[int, int, int], size: int) -> tuple[DecodedFrame, float]:
        """Cut a window that `patrack.crop.crop_window` gave, as `crop` does, with colors still to be converted."""
        left, top, side = window
        if side == 2 * size and len(self.planes) > 1:
            # OpenCV averages 2 x 2 pixels here, and rounds six channels otherwise than one or three
            patch = DecodedFrame.from_image(sample_rectangle(self.image(), (left, top, side, side), size))
        else:
            patch = self.stretched_patch((left, top, side, side), size)
        return patch, size / side

    def stretched_patch(self, rectangle: tuple[int, int, int, int], size: int) -> DecodedFrame:
        """Cut a rectangle (left, top, width, height) and stretch it to a square, as `sample_rectangle` does."""
        planes = []
        for pixels, backwards in self.planes:
            gray = pixels.ndim == 2
            patch = sample_rectangle(pixels[:, :, None] if gray else pixels, rectangle, size)
            planes.append(Plane(patch[:, :, 0] if gray else patch, backwards))
        return DecodedFrame(tuple(planes))

    def flipped(self) -> DecodedFrame:
        """Mirror left to right; a view."""
        return DecodedFrame(tuple(Plane(plane.pixels[:, ::-1], plane.backwards) for plane in self.planes))

    def rgb(self) -> DecodedFrame:
        """Take the first three channels; a view."""
        pixels, backwards = self.planes[0]
        return DecodedFrame((Plane(pixels if pixels.ndim == 2 else pixels[:, :, :3], backwards),))

    def streams(self) -> tuple[Plane, Plane]:
        """Split into RGB and X; views.

        Raises:
            ValueError: it has no X.
        """
        if self.shape[2] != 6:
            raise ValueError(f"a frame of {self.shape[2]} channels has no X modality")
        if len(self.planes) == 2:
            return self.planes[0], self.planes[1]
        pixels = self.planes[0].pixels
        return Plane(pixels[:, :, :3]), Plane(pixels[:, :, 3:])

    def gray(self) -> DecodedFrame:
        """Turn RGB gray; X is left as it is."""
        (pixels, backwards), *others = self.planes
        if pixels.ndim == 2:
            return self
        if pixels.shape[2] == 6:
            others = [Plane(pixels[:, :, 3:])]
        code = cv2.COLOR_BGR2GRAY if backwards else cv2.COLOR_RGB2GRAY
        return DecodedFrame((Plane(cv2.cvtColor(np.ascontiguousarray(forwards(pixels[:, :, :3])), code)), *others))


@functools.cache
def _order(layout: tuple[tuple[int, bool], ...]) -> list[int]:
    """Pairs of channels (from, to) as `cv2.mixChannels` wants them, for planes with (stored channels, backwards)."""
    sources: list[int] = []
    first = 0
    for stored, backwards in layout:
        channels = list(range(first, first + stored)) * (3 if stored == 1 else 1)
        sources += channels[::-1] if backwards else channels
        first += stored
    return [number for target, source in enumerate(sources) for number in (source, target)]


def read_frame(sequence: Sequence, index: int) -> np.ndarray:
    """Read frame `index` (from 0; negative counts from the end) of a sequence.

    RGB: 8-bit R, G, B; a one-channel file becomes three equal channels. X: see `patrack.modality.x_to_three_channels`.
    Both are turned as their EXIF data say; transparency is left out. Both must have the same size, unless the sequence
    says how X comes onto RGB's pixels (`Sequence.x_transform`). X that isn't to be used (`Sequence.present`) is black.

    Returns:
        (H, W, 6) uint8, RGB then X; (H, W, 3) for modality "rgb".

    Raises:
        FrameError: a missing, damaged or truncated file, X with a wrong type or number of channels, different sizes.
        IndexError: no such frame.
    """
    return decode_frame(sequence, index).image()


def decode_frame(
    sequence: Sequence, index: int, with_x: bool = True, videos: dict[Path, Video | EventFile] | None = None
) -> DecodedFrame:
    """Read what `read_frame` does, with colors still to be converted; without X its file is not even opened.

    Args:
        sequence, index: see `read_frame`.
        with_x: read X as well.
        videos: the caller's open videos, which end with it; None: the last 64 that were read stay open.

    Raises:
        FrameError, IndexError: as `read_frame`.
    """
    rgb_file = sequence.rgb_files[index]
    rgb = read_image(rgb_file, RGB_FLAGS, videos)  # [H, W, 3]
    if sequence.x_files is None or not with_x:
        return DecodedFrame((Plane(rgb, backwards=True),))
    if not sequence.streams_at(index)[1]:  # there may be no file
        return DecodedFrame((Plane(rgb, backwards=True), Plane(np.zeros(rgb.shape[:2], np.uint8))))
    x_file = sequence.x_files[index]
    raw = read_image(x_file, X_FLAGS, videos, None if sequence.x_transform else rgb.shape[1::-1])
    if raw.shape[:2] != rgb.shape[:2] and sequence.x_transform is None:
        raise FrameError(
            f"RGB and X differ in size (width x height): {rgb_file} is {rgb.shape[1]}x{rgb.shape[0]}, "
            f"{x_file} is {raw.shape[1]}x{raw.shape[0]}. If both show the same scene edge to edge, say so: "
            "--x-transform resize; else give the file of the 3 x 3 homography from X's pixels to RGB's "
            "(x_transform in dataset.yaml)"
        )
    pair = PAIRS[sequence.modality]
    try:
        x, backwards = prepare_x(raw, pair.kind, sequence.clip_depth, sequence.x_range)
    except ValueError as error:
        raise FrameError(f"{x_file}: {error}") from error
    flat = pair.kind == DEPTH and raw.ndim == 2 and x[0, 0].tolist() == list(pair.nothing)
    # the first row tells nearly every other frame apart
    flat = flat and bool((x[0] == x[0, 0]).all()) and bool((x == x[0, 0]).all()) and bool(raw.any())
    if sequence.x_transform is not None:
        x = onto_rgb(x, sequence.x_transform, rgb.shape[:2], pair)
    return DecodedFrame((Plane(rgb, backwards=True), Plane(x, backwards)), flat)


def onto_rgb(x: np.ndarray, transform: XTransform, shape: tuple[int, int], pair: Pair) -> np.ndarray:
    """Bring 8-bit X onto RGB's pixels. Colors that stand for depth or events are never mixed.

    Args:
        x: (h, w) or (h, w, 3), as `patrack.modality.prepare_x` returns it.
        transform: see `Sequence.x_transform`.
        shape: of RGB, height and width.
        pair: of the sensors.
    """
    mixed = pair.kind == THERMAL
    height, width = shape
    if transform == "resize":
        smaller = width < x.shape[1]
        mixing = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        return cv2.resize(x, (width, height), interpolation=mixing if mixed else cv2.INTER_NEAREST_EXACT)
    return cv2.warpPerspective(
        x,
        np.array(transform, dtype=np.float64),
        (width, height),
        flags=cv2.INTER_LINEAR if mixed else cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=pair.nothing,
    )


def with_value_range(sequence: Sequence) -> Sequence:
    """Give a recording whose X is no depth and has more than 8 bits one range of values for all of its frames.

    It is taken from 16 frames, evenly spaced, see `patrack.modality.usual_range`. Depth has its own rule, and a range
    that the sequence has already is kept.

    Raises:
        FrameError: one of these frames can't be read.
    """
    if sequence.x_files is None or sequence.x_range is not None or PAIRS[sequence.modality].kind != THERMAL:
        return sequence
    there = [k for k in range(len(sequence)) if sequence.present is None or sequence.present[k, 1]]
    videos: dict[Path, Video | EventFile] = {}
    first = read_image(sequence.x_files[there[0]], X_FLAGS, videos) if there else np.zeros((1, 1), np.uint8)
    if first.dtype == np.uint8:
        return sequence
    picked = [there[k] for k in np.linspace(0, len(there) - 1, min(len(there), RANGE_SAMPLE)).astype(int)]
    try:
        low, high = usual_range(read_image(sequence.x_files[k], X_FLAGS, videos) for k in picked)
    except ValueError as error:
        raise FrameError(f"{sequence.x_files[there[0]]}: {error}") from error
    log.info(
        "%s: %s of %s: %.6g to %.6g are shown as 0 to 255 (percentiles %g and %g of %d frames)",
        sequence.name,
        PAIRS[sequence.modality].kind,
        first.dtype,
        low,
        high,
        *USUAL,
        len(picked),
    )
    return replace(sequence, x_range=(low, high))


def read_image(
    source: Path | VideoFrame | EventFrame,
    flags: int,
    videos: dict[Path, Video | EventFile] | None = None,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Decode one image or video frame with OpenCV's `flags`.

    A video gives 8-bit B, G, R, or its one channel of 16 bits; X may be an array in a file (.npy, or nothing but
    16-bit values of a usual thermal camera), or the events of a time window. `videos` is as for `decode_frame`, `size`
    as for `patrack.recordings.events.EventFile`.

    Raises:
        FrameError: the file cannot be read, is empty, damaged or truncated.
    """
    if isinstance(source, EventFrame):
        if flags != X_FLAGS:
            raise FrameError(f"{source}: RGB frames must be images or a video, not events; is it X?")
        try:
            events = _opened(source, videos, size)
            assert isinstance(events, EventFile)
            return events.image(source)
        except DataError as error:
            raise FrameError(str(error)) from error
    if isinstance(source, VideoFrame):
        video = _opened(source, videos, None)
        assert isinstance(video, Video)
        frame = video.read(source.index)
        if frame is None:
            raise FrameError(f"{source}: cannot be decoded")
        if frame.dtype != np.uint8 and flags != X_FLAGS:
            raise FrameError(f"{source}: RGB must have 8 bits per channel, this is one channel of 16 bits; is it X?")
        return frame.copy()
    if source.suffix.lower() in ARRAY_SUFFIXES:
        if flags != X_FLAGS:
            raise FrameError(f"{source}: RGB frames must be images or a video, not arrays; is it X?")
        return _read_array(source)
    try:
        with source.open("rb", buffering=0) as file:
            data = file.read()
    except OSError as error:
        raise FrameError(f"{source}: cannot be read: {error.strerror}") from error
    if data[:2] == b"\xff\xd8" and not (data.endswith(b"\xff\xd9") or jpeg_is_complete(data)):
        raise FrameError(f"{source}: the JPEG file is truncated ({len(data)} bytes)")
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags) if data else None
    except cv2.error as error:  # more pixels than OpenCV allows, for one
        raise FrameError(f"{source}: not a readable image ({len(data)} bytes): {error.err}") from error
    if image is None:
        raise FrameError(f"{source}: not a readable image ({len(data)} bytes)")
    if image.dtype != np.uint8 and flags == RGB_FLAGS:
        raise FrameError(f"{source}: RGB must have 8 bits per channel, got {image.dtype}; is it X?")
    return image


def _read_array(path: Path) -> np.ndarray:
    """Read (H, W) or (H, W, 3) values from a file of numpy's, or little-endian 16-bit values without any header."""
    try:
        if path.suffix.lower() == ".npy":
            array = np.load(path, mmap_mode="r", allow_pickle=False)  # takes no memory for what a header only states
            array = np.array(array) if isinstance(array, np.ndarray) else np.zeros(())  # an archive
        else:
            values = np.fromfile(path, "<u2")
            size = {width * height: (height, width) for width, height in RAW_SIZES}.get(len(values))
            if size is None or path.stat().st_size != 2 * len(values):
                sizes = ", ".join(f"{width}x{height}" for width, height in RAW_SIZES)
                raise ValueError(
                    f"{path.stat().st_size} bytes are no 16-bit image of a size that thermal cameras have ({sizes}); "
                    "save it as PNG, TIFF or .npy"
                )
            array = values.reshape(size)
    except Exception as error:  # a damaged header may be anything to Python's parser, by which numpy reads it
        raise FrameError(f"{path}: cannot be read: {error}") from error
    if array.ndim not in (2, 3) or array.size == 0 or array.dtype.kind not in "uif":
        raise FrameError(f"{path}: must hold an image of numbers, (H, W), got {array.dtype} of shape {array.shape}")
    return array


def jpeg_is_complete(data: bytes) -> bool:
    """Tell whether the image data of a JPEG file reach their end marker; decoders fill what is missing with gray."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        if data[position + 1] == 0xDA:  # start of the image data; the headers before it may hold a whole thumbnail
            return data.rfind(b"\xff\xd9", position) != -1
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return False


def jpeg_warning(path: Path) -> str | None:
    """Decode a JPEG file strictly: what the decoder warns of, which `read_image` cannot see; None: nothing.

    A destroyed block in the middle of a file leaves an image of the right size whose rest is gray, shifted or of other
    colors. Other files than JPEG give None.

    Raises:
        ImportError: simplejpeg isn't installed.
        OSError: the file can't be read.
    """
    simplejpeg = importlib.import_module("simplejpeg")  # which nothing else needs
    data = path.read_bytes()
    if data[:2] != b"\xff\xd8":
        return None
    try:
        simplejpeg.decode_jpeg(data, strict=True)
    except ValueError as error:
        return str(error)
    return None


class Video:
    """An open video that is cheap to read forwards; going back opens it anew, because seeking is not exact."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last: np.ndarray | None = None
        self._open()

    def _open(self) -> None:
        self.capture, self.next_index = cv2.VideoCapture(str(self.path)), 0
        pixels = int(self.capture.get(cv2.CAP_PROP_CODEC_PIXEL_FORMAT)) & 0xFFFFFFFF
        code = pixels.to_bytes(4, "little")
        if code == GRAY16:
            self.capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        elif code[:3] == GRAY16[:3] or code[::-1][:3] == GRAY16[:3]:
            raise FrameError(
                f"{self.path}: one channel of {code[3] if code[:3] == GRAY16[:3] else code[0]} bits, of which only 8 "
                "could be read here; convert it: ffmpeg -i IN -c:v ffv1 -pix_fmt gray16le OUT.mkv"
            )

    def read(self, index: int) -> np.ndarray | None:
        """Decode frame `index` (from 0): (H, W, 3) uint8 B, G, R, or (H, W) uint16; None where there is none."""
        if index == self.next_index - 1 and self.last is not None:
            return self.last
        if index < self.next_index:
            self.capture.release()
            self._open()
        while self.next_index < index and self.capture.grab():
            self.next_index += 1
        if self.next_index != index:
            return None
        found, image = self.capture.read()
        self.next_index += 1
        self.last = image if found else None
        return self.last


def _opened(
    source: VideoFrame | EventFrame, videos: dict[Path, Video | EventFile] | None, size: tuple[int, int] | None
) -> Video | EventFile:
    """Take the file of a frame from the caller's open ones, or from the last 64, and open it if it isn't there."""
    events = isinstance(source, EventFrame)
    if videos is None:
        return _keep_open(source.path, os.getpid(), events, size)
    if source.path not in videos:
        videos[source.path] = EventFile(source.path, size) if events else Video(source.path)
    return videos[source.path]


@functools.lru_cache(maxsize=64)
def _keep_open(path: Path, process: int, events: bool, size: tuple[int, int] | None) -> Video | EventFile:
    # the process is part of the key, because an open file must not be shared with forked ones
    return EventFile(path, size) if events else Video(path)
