"""One tracker on one sequence (OPE): the first box is given, nothing is ever re-initialized.

Other threads decode the next frames while this one is tracked.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Protocol

import cv2
import numpy as np

from lib.datasets.frames import DecodedFrame, decode_frame
from lib.datasets.sequence import Sequence, VideoFrame
from lib.inference.results import Outcome, SequenceResult, TrackingError, failure, write_result

__all__ = ["FrameTracker", "OnFrame", "PrefetchedFrames", "run_sequence", "track_frames"]

READERS = 2
"""Threads that decode for one tracker."""
DEPTH = 4
"""Frames decoded before they are needed."""

OnFrame = Callable[[int, DecodedFrame, np.ndarray, float], object]
"""Called with frame number, frame, box and score."""


class FrameTracker(Protocol):
    """A tracker that can be run: `patrack.tracker.Tracker` or anything with its two methods."""

    def initialize(self, frame: DecodedFrame, box_xywh: np.ndarray) -> None:
        """Start on the target at (4,) xywh, pixels."""

    def track(self, frame: DecodedFrame) -> tuple[np.ndarray, float]:
        """Box (4,) xywh, pixels, and score in the next frame."""


class PrefetchedFrames:
    """The frames of a sequence in order, decoded by other threads before they are asked for.

    Args:
        sequence: of images or of a video; a video is decoded by one thread at a time.
        threads: that decode. OpenCV releases the interpreter while it does.
        depth: frames decoded before they are asked for; each takes memory.
    """

    def __init__(self, sequence: Sequence, threads: Executor, depth: int) -> None:
        self._sequence, self._threads = sequence, threads
        video = any(isinstance(files[0], VideoFrame) for files in (sequence.rgb_files, sequence.x_files) if files)
        self._turn: AbstractContextManager[object] = Lock() if video else nullcontext()
        self._depth = 1 if video else depth
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
                return decode_frame(self._sequence, index)

        while len(self._pending) < self._depth and self._submitted < len(self._sequence):
            self._pending.append(self._threads.submit(decode, self._submitted))
            self._submitted += 1


def track_frames(
    tracker: FrameTracker, sequence: Sequence, box_xywh: np.ndarray, on_frame: OnFrame | None = None
) -> SequenceResult:
    """Follow the target of `box_xywh` from the first frame to the last.

    Args:
        tracker: initialized here.
        sequence: its frames are prefetched by other threads.
        box_xywh: (4,), pixels: where the target is in the first frame.
        on_frame: called after each frame; may raise to stop.

    Raises:
        TrackingError: a frame can't be read, it or the box doesn't suit the tracker, or the output is not finite.
    """
    boxes = np.empty((len(sequence), 4))
    scores, times = np.ones(len(sequence)), np.empty(len(sequence))
    began = time.perf_counter()
    with ThreadPoolExecutor(READERS) as threads:
        frames = PrefetchedFrames(sequence, threads, DEPTH)
        for number in range(len(sequence)):
            try:
                frame = frames.take().result()
                present = sequence.streams_at(number)
                # Other trackers may not know this argument, so it is given only where it says something.
                missing: tuple[tuple[bool, bool], ...] = () if all(present) else (present,)
                start = time.perf_counter()
                if number == 0:
                    tracker.initialize(frame, box_xywh, *missing)
                    boxes[0] = box_xywh
                else:
                    boxes[number], scores[number] = tracker.track(frame, *missing)
            except (ValueError, RuntimeError, cv2.error) as error:
                raise failure(sequence, number, error) from error
            times[number] = time.perf_counter() - start
            if on_frame is not None:
                on_frame(number, frame, boxes[number], float(scores[number]))
    return SequenceResult(boxes, scores, times, time.perf_counter() - began)


def run_sequence(tracker: FrameTracker, sequence: Sequence, folder: Path, on_frame: OnFrame | None = None) -> Outcome:
    """Track one annotated sequence and write its result files; what goes wrong with its data becomes the outcome.

    Raises:
        OSError: the result can't be written.
    """
    try:
        result = track_frames(tracker, sequence, sequence.boxes[0], on_frame)
    except TrackingError as error:
        return Outcome(sequence.name, error=str(error))
    write_result(folder, sequence.name, result)
    return Outcome(sequence.name, len(sequence), float(result.times.sum()))
