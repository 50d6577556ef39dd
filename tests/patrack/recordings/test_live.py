"""Cameras: the newest images only, pairs, and cameras that come and go."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from patrack.recordings.live import Camera, CameraError, LivePair, is_camera


class Capture:
    """Stands for `cv2.VideoCapture`: images whose value counts them, at a rate, for a while."""

    def __init__(self, count: int = 10**6, interval: float = 0.01, start: int = 0, works: bool = True) -> None:
        self.left, self.interval, self.value, self.works = count, interval, start, works
        self.released = False

    def isOpened(self) -> bool:
        return self.works

    def read(self) -> tuple[bool, np.ndarray | None]:
        time.sleep(self.interval)
        if self.left <= 0:
            return False, None
        self.left, self.value = self.left - 1, self.value + 1
        return True, np.full((8, 8, 3), self.value % 256, np.uint8)

    def release(self) -> None:
        self.released = True


@contextmanager
def camera(*captures: Capture, patience: float = 0.3, name: str = "RGB") -> Iterator[Camera]:
    waiting = iter(captures)
    made = Camera("0", name, patience, opened=lambda: next(waiting, Capture(works=False)))
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize(
    ("source", "live"),
    [("0", True), ("12", True), ("rtsp://a/b", True), ("HTTP://a", True), ("video.mp4", False), ("./0", False)],
)
def test_numbers_and_addresses_are_cameras(source, live):
    assert is_camera(source) is live


def test_a_slow_reader_skips_images_instead_of_lagging():
    with camera(Capture(interval=0.01)) as source:
        frames = iter(LivePair(source))
        first = next(frames)
        time.sleep(0.3)
        second = next(frames)
        behind = source.latest().number - int(second.rgb[0, 0, 0]) + 1
    assert second.skipped >= 10
    assert second.time - first.time > 0.2
    assert behind <= 2


def test_pairs_hold_the_newest_x_and_none_that_is_too_old():
    with camera(Capture()) as rgb, camera(Capture(count=3), name="X", patience=5) as x:
        pair = LivePair(rgb, x, apart=0.1)
        frames = iter(pair)
        assert next(frames).x is not None
        time.sleep(0.3)
        assert next(frames).x is None
        assert pair.without_x == 1


def test_a_camera_that_drops_out_is_opened_again(caplog):
    first = Capture(count=3)
    with camera(first, Capture(works=False), Capture(start=100), patience=5) as source:
        values = [int(source.newest(after=number).pixels[0, 0, 0]) for number in range(-1, 4)]
    assert values[-1] > 100
    assert first.released
    assert source.reopened == 2
    assert "gives no more images: opening it again" in caplog.text


def test_a_camera_that_stays_away_ends_the_frames(caplog):
    with camera(Capture(count=3)) as source:
        assert 1 <= len(list(LivePair(source))) <= 3
    assert "can't be opened, for" in caplog.text


@pytest.mark.parametrize("name", ["RGB", "X"])
def test_a_camera_that_is_not_there_is_an_error_that_names_it(name):
    with camera(Capture() if name == "X" else Capture(works=False)) as rgb, camera(Capture(works=False), name="X") as x:
        with pytest.raises(CameraError, match=f"{name} camera '0' can't be opened.*right number or address"):
            next(iter(LivePair(rgb, x if name == "X" else None)))


class Stream(http.server.BaseHTTPRequestHandler):
    """Motion JPEG: 12 pictures that get brighter, then the connection ends."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for value in range(0, 240, 20):
            data = cv2.imencode(".jpg", np.full((48, 64, 3), value, np.uint8))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
            self.wfile.write(head + data + b"\r\n")
            time.sleep(0.02)

    def log_message(self, *_: object) -> None:
        pass


def test_a_stream_is_read_over_the_network_and_connected_to_again():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stream) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source = Camera(f"http://127.0.0.1:{server.server_port}/stream.mjpg", "RGB", patience=10)
        try:
            numbers = [source.newest(after=number).number for number in range(-1, 14)]
        finally:
            source.close()
            server.shutdown()
        assert numbers[-1] > 12
        assert source.latest().pixels.shape == (48, 64, 3)
        assert source.reopened >= 1
