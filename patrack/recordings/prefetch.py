"""Frames of a sequence in order, decoded by other threads before they are asked for."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Lock

from patrack.recordings.events import EventFile
from patrack.recordings.frames import DecodedFrame, Video, decode_frame
from patrack.recordings.sequence import Sequence

__all__ = ["PrefetchedFrames"]


class PrefetchedFrames:
    """The frames of a sequence in order, decoded by other threads before they are asked for.

    Args:
        sequence: of images or of a video; a video is decoded by one thread at a time.
        threads: that decode. OpenCV releases the interpreter while it does.
        depth: frames decoded before they are asked for; each takes memory.
    """

    def __init__(self, sequence: Sequence, threads: Executor, depth: int) -> None:
        self._sequence, self._threads = sequence, threads
        video = any(not isinstance(files[0], Path) for files in (sequence.rgb_files, sequence.x_files) if files)
        self._turn: AbstractContextManager[object] = Lock() if video else nullcontext()
        self._depth = 1 if video else depth
        self._videos: dict[Path, Video | EventFile] = {}  # closed with the sequence
        self.flat: set[int] = set()  # frames whose X is one flat color
        self._submitted = 0
        self._pending: deque[Future[DecodedFrame]] = deque()
        self._refill()

    def take(self) -> Future[DecodedFrame]:
        """Hand out the next frame; its `result()` waits, and raises what `decode_frame` raises."""
        future = self._pending.popleft()
        self._refill()
        return future

    def _refill(self) -> None:
        def decode(index: int) -> DecodedFrame:
            with self._turn:
                frame = decode_frame(self._sequence, index, videos=self._videos)
            if frame.flat:
                self.flat.add(index)
            return frame

        while len(self._pending) < self._depth and self._submitted < len(self._sequence):
            self._pending.append(self._threads.submit(decode, self._submitted))
            self._submitted += 1
