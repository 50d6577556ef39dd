"""Cameras and streams: pairs of the newest images, without ever falling behind.

Each camera has a thread that reads it and keeps its newest image only, so that a tracker which is slower than the
cameras skips frames instead of lagging. A camera that stops answering is opened again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from patrack.recordings.sequence import DataError

__all__ = ["Camera", "CameraError", "LivePair", "is_camera"]

logger = logging.getLogger(__name__)

URLS = ("rtsp://", "rtsps://", "rtmp://", "http://", "https://", "udp://", "tcp://")
PAUSE = 0.5
"""Seconds between two attempts to open a camera."""
TIMEOUT = 5000
"""Milliseconds that a stream may take to open, or to give an image."""
Open = Callable[[], Any]
"""Opens a camera: gives an object with the `isOpened`, `read` and `release` of `cv2.VideoCapture`."""


class CameraError(DataError):
    """A camera can't be opened, or has stopped for good."""


def is_camera(source: str) -> bool:
    """Tell whether a source is the number of a camera, or the address of a stream."""
    return source.isdecimal() or source.lower().startswith(URLS)


class Image(NamedTuple):
    """An image of a camera: its number from 0, when it came (seconds, `time.monotonic`), and its pixels."""

    number: int
    time: float
    pixels: np.ndarray


class Camera:
    """A camera or stream that is read by a thread of its own.

    Args:
        source: number of a camera, or address of a stream.
        name: "RGB" or "X", for messages.
        patience: seconds without an image after which it has stopped for good; until then it is opened anew.
        raw: keep 16-bit images of one channel as they are, as thermal and depth cameras give them.
        opened: makes the capture; default: OpenCV does.
    """

    def __init__(
        self, source: str, name: str, patience: float = 10.0, raw: bool = False, opened: Open | None = None
    ) -> None:
        self.source, self.name, self.patience = source, name, patience
        self._open = opened or (lambda: _capture(source, raw))
        self._news = threading.Condition()
        self._image: Image | None = None
        self._error: str | None = None
        self._stopped, self._works = False, True
        self._last = time.monotonic()
        self.reopened = 0
        self._thread = threading.Thread(target=self._read, name=f"camera {name}", daemon=True)
        self._thread.start()

    def newest(self, after: int = -1) -> Image:
        """Return the newest image, waiting for one with a number above `after`.

        Raises:
            CameraError: none has come within `patience` seconds.
        """
        with self._news:
            while self._image is None or self._image.number <= after:
                silent = time.monotonic() - self._last
                if self._error is None and silent > self.patience + TIMEOUT / 1000:  # it hangs inside the driver
                    self._error = f"{self.name} camera {self.source!r} has given nothing for {silent:.0f} seconds"
                if self._error is not None:
                    raise CameraError(self._error)
                self._news.wait(PAUSE)
            return self._image

    def latest(self) -> Image | None:
        """Return the newest image that there is, without waiting; None before the first one."""
        with self._news:
            return self._image

    def close(self) -> None:
        """Stop reading."""
        self._stopped = True
        self._thread.join(TIMEOUT / 1000)

    def _read(self) -> None:
        capture, number = None, 0
        while not self._stopped:
            if capture is None:
                capture = self._open()
                self.reopened += number > 0
            opened = capture.isOpened()
            there, pixels = capture.read() if opened else (False, np.empty(0))
            if not there:
                capture.release()
                capture = None
                self._wait("gives no more images" if opened else "can't be opened")
                continue
            with self._news:
                self._last, self._works = time.monotonic(), True
                self._image = Image(number, self._last, pixels)
                self._news.notify_all()
            number += 1
        if capture is not None:
            capture.release()

    def _wait(self, problem: str) -> None:
        """Wait a little for a camera that doesn't work, or give it up for good."""
        silent = time.monotonic() - self._last
        if silent <= self.patience:
            if self._works:
                logger.warning("%s camera %r %s: opening it again", self.name, self.source, problem)
            self._works = False
            time.sleep(min(PAUSE, self.patience))
            return
        with self._news:
            hint = "" if self._image else " (is it the right number or address, and free?)"
            self._error = f"{self.name} camera {self.source!r} {problem}, for {silent:.0f} seconds{hint}"
            self._stopped = True
            self._news.notify_all()


def _capture(source: str, raw: bool) -> Any:
    if source.isdecimal():
        capture = cv2.VideoCapture(int(source))
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    else:
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT]
        capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, limits)
    if raw:
        capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
    return capture


@dataclass(frozen=True)
class LiveFrame:
    """Images of one moment.

    Attributes:
        time: seconds since the first frame.
        rgb, x: as OpenCV gives them; None: that camera had no image close enough in time.
        skipped: frames of RGB that came since the last one and were passed over.
    """

    time: float
    rgb: np.ndarray
    x: np.ndarray | None
    skipped: int


class LivePair:
    """Frames of two cameras, the newest image of RGB each time and the newest of X beside it.

    Args:
        rgb, x: cameras; without X, RGB alone.
        apart: seconds that the images of a pair may be apart; beyond that X is missing in that frame.
    """

    def __init__(self, rgb: Camera, x: Camera | None = None, apart: float = 0.25) -> None:
        self.rgb, self.x, self.apart = rgb, x, apart
        self.skipped = self.without_x = 0

    def __iter__(self) -> Iterator[LiveFrame]:
        """Yield frames until the RGB camera stops for good.

        Raises:
            CameraError: it never gave an image, or X did not at the start.
        """
        number, began = -1, 0.0
        if self.x is not None:
            self.x.newest()
        while True:
            try:
                image = self.rgb.newest(after=number)
            except CameraError as error:
                if number < 0:
                    raise
                logger.error("%s", error)
                return
            skipped = image.number - number - 1 if number >= 0 else 0
            began = began if number >= 0 else image.time
            number = image.number
            self.skipped += skipped
            x = self.x.latest() if self.x is not None else None
            there = x is not None and abs(image.time - x.time) <= self.apart
            self.without_x += self.x is not None and not there
            yield LiveFrame(image.time - began, image.pixels, x.pixels if x is not None and there else None, skipped)

    def close(self) -> None:
        """Stop both cameras."""
        for camera in (self.rgb, self.x):
            if camera is not None:
                camera.close()
