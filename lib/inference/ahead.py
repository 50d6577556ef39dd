"""Reading ahead: the next frames of a sequence are decoded by other threads while this one is tracked."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from threading import Lock

from lib.datasets.decoded import DecodedFrame
from lib.datasets.frames import decode_frame
from lib.datasets.sequence import Sequence, VideoFrame

__all__ = ["FramesAhead"]


class FramesAhead:
    """The frames of a sequence, in order.

    Args:
        sequence: of images or of a video; a video is decoded by one thread at a time.
        threads: that decode. OpenCV releases the interpreter while it does.
        depth: frames decoded before they are asked for; each takes memory.
    """

    def __init__(self, sequence: Sequence, threads: Executor, depth: int) -> None:
        self._sequence, self._threads = sequence, threads
        video = any(isinstance(files[0], VideoFrame) for files in (sequence.rgb_files, sequence.x_files) if files)
        self._one_at_a_time = Lock() if video else nullcontext()  # a video can't be read by two threads
        self._depth = 1 if video else depth
        self._submitted = 0
        self._pending: deque[Future[DecodedFrame]] = deque()
        self._refill()

    def take(self) -> Future[DecodedFrame]:
        """The next frame; its `result()` waits, and raises what `decode_frame` raises."""
        future = self._pending.popleft()
        self._refill()
        return future

    def _refill(self) -> None:
        while len(self._pending) < self._depth and self._submitted < len(self._sequence):
            self._pending.append(self._threads.submit(self._decode, self._submitted))
            self._submitted += 1

    def _decode(self, index: int) -> DecodedFrame:
        with self._one_at_a_time:
            return decode_frame(self._sequence, index)
