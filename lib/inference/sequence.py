"""Tracking sequences (OPE): the first box is given, nothing is ever re-initialized. One at a time, or many in one step.

Other threads decode the next frames while the present ones are tracked.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, cast

import cv2
import numpy as np

from lib.inference.results import Outcome, SequenceResult, TrackingError, failure, write_result
from patrack.predictor import Predictor
from patrack.recordings.frames import DecodedFrame
from patrack.recordings.prefetch import PrefetchedFrames
from patrack.recordings.sequence import Sequence
from patrack.target import Target, begin, update_template
from patrack.tracker import Tracker

__all__ = ["FrameTracker", "OnFrame", "run_batched", "run_sequence", "track_frames"]

READERS = 2
"""Threads that decode for one tracker."""
DEPTH, DEPTH_OF_MANY = 4, 2
"""Frames decoded before they are needed: of a sequence alone, and of each of many."""
GROUPS = {"cuda": 2}
"""Groups of targets that take turns, by type of device; one where nothing is said."""

KeepRow = Callable[[np.ndarray, float, float], object]
"""Called with box, score and seconds in the tracker."""
OnFrame = Callable[[int, DecodedFrame, np.ndarray, float], object]
"""Called with frame number, frame, box and score."""


class FrameTracker(Protocol):
    """A tracker that can be run: `patrack.tracker.Tracker` or anything with its two methods."""

    def initialize(self, frame: DecodedFrame, box_xywh: np.ndarray, /) -> object:
        """Start on the target at (4,) xywh, pixels."""

    def track(self, frame: DecodedFrame, /) -> tuple[np.ndarray, float]:
        """Box (4,) xywh, pixels, and score in the next frame."""


def track_frames(
    tracker: FrameTracker,
    sequence: Sequence,
    box_xywh: np.ndarray,
    on_frame: OnFrame | None = None,
    before: SequenceResult | None = None,
    keep: KeepRow | None = None,
) -> SequenceResult:
    """Follow the target of `box_xywh` from the first frame to the last.

    Args:
        tracker: initialized here.
        sequence: its frames are prefetched by other threads.
        box_xywh: (4,), pixels: where the target is in the first frame.
        on_frame: called after each frame; may raise to stop.
        before: rows of the first frames from an earlier run of a `Tracker`, which aren't tracked again.
        keep: called with each further row: see `lib.inference.results.partial_result`.

    Raises:
        TrackingError: a frame can't be read, it or the box doesn't suit the tracker, or the output is not finite.
    """
    boxes = np.empty((len(sequence), 4))
    scores, times = np.ones(len(sequence)), np.empty(len(sequence))
    known = 0 if before is None else len(before.boxes)
    began = time.perf_counter()
    with ThreadPoolExecutor(READERS) as threads:
        frames = PrefetchedFrames(sequence, threads, DEPTH)
        for number in range(len(sequence)):
            try:
                frame = frames.take().result()
                present = sequence.streams_at(number)
                # Other trackers may not know this argument, so it is given only where it says something.
                missing: dict[str, tuple[bool, bool]] = {} if all(present) else {"present": present}
                start = time.perf_counter()
                if number == 0:
                    tracker.initialize(frame, box_xywh, **missing)
                    boxes[0] = box_xywh
                elif number < known and before is not None:
                    boxes[number], scores[number] = before.boxes[number], before.scores[number]
                    cast(Tracker, tracker).resume(frame, boxes[number], float(scores[number]), present)
                else:
                    boxes[number], scores[number] = tracker.track(frame, **missing)
            except (ValueError, RuntimeError, cv2.error) as error:
                raise failure(sequence, number, error) from error
            times[number] = time.perf_counter() - start
            if before is not None and number < known:
                times[number] = before.times[number]
            elif keep is not None:
                keep(boxes[number], float(scores[number]), float(times[number]))
            if on_frame is not None:
                on_frame(number, frame, boxes[number], float(scores[number]))
    return SequenceResult(boxes, scores, times, time.perf_counter() - began, len(frames.flat))


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
    return Outcome(sequence.name, len(sequence), float(result.times.sum()), flat=result.flat)


# ---- Many in one step: a sequence that ends makes room for the next
#
# Boxes and crops are those of tracking one by one; only the rounding of the network differs with the number of targets
# in a step. Other threads decode and cut. On a GPU the targets form two groups, so that it computes for one of them
# while the crops of the other are made.


class _RunningSequence:
    """One sequence that is being tracked; making it starts the target of the first frame in a slot of the predictor."""

    def __init__(
        self, sequence: Sequence, tracker: Tracker, predictor: Predictor, slot: int, threads: Executor
    ) -> None:
        self.sequence, self.threads = sequence, threads
        self.boxes = np.empty((len(sequence), 4))
        self.scores, self.times = np.ones(len(sequence)), np.zeros(len(sequence))
        self.frames = PrefetchedFrames(sequence, threads, DEPTH_OF_MANY)
        first, box, present = self.frames.take().result(), sequence.boxes[0], sequence.streams_at(0)
        self.target = Target(tracker.network, tracker.settings, first, box, present)
        self.predictor, self.slot = predictor, slot
        begin(predictor, slot, self.target, first, present)
        self.boxes[0] = box
        self.number = 0
        self.frame: Future[DecodedFrame]
        self.crop: Future[np.ndarray | None]
        self._go_on()

    def _go_on(self) -> None:
        """Move to the next frame, whose crop another thread cuts."""
        self.number += 1
        if not self.done:
            self.frame = frame = self.frames.take()
            self.present = present = self.sequence.streams_at(self.number)
            self.crop = self.threads.submit(lambda: self.target.search_crop(frame.result(), present))

    @property
    def done(self) -> bool:
        """True when all frames have a box."""
        return self.number >= len(self.sequence)

    def next_crop(self) -> np.ndarray | None:
        """Skip frames in which there is nothing to look at; the crop of the next one, None after the last frame."""
        while not self.done:
            crop = self.crop.result()
            if crop is not None:
                return crop
            self.boxes[self.number], self.scores[self.number] = self.target.stay()
            self._go_on()
        return None

    def take(self, predicted: list[float], seconds: float) -> None:
        """Take what the network predicted in this frame, and move on."""
        self.boxes[self.number], score = self.target.accept(predicted)
        update_template(self.predictor, self.slot, self.target, self.frame.result(), score, self.present)
        self.scores[self.number], self.times[self.number] = score, seconds
        self._go_on()


class _Group:
    """Up to `slots` targets that share a step; `threads` decode and cut, results go to `folder`."""

    def __init__(self, tracker: Tracker, slots: int, threads: Executor, folder: Path) -> None:
        self.tracker, self.threads, self.folder = tracker, threads, folder
        self.predictor = tracker.predictor(slots)
        self.running: dict[int, _RunningSequence] = {}
        self.ended: list[Outcome] = []

    def fill(self, jobs: deque[Sequence]) -> None:
        """Start sequences in the free slots."""
        for slot in range(self.predictor.slots):
            while slot not in self.running and jobs:
                sequence = jobs.popleft()
                with self._freeing(slot, sequence):
                    self.running[slot] = _RunningSequence(sequence, self.tracker, self.predictor, slot, self.threads)

    def launch(self) -> int:
        """Start a step for all targets; returns how many frames had nothing to look at and were skipped."""
        skipped, crops = 0, {}
        for slot, running in list(self.running.items()):
            with self._freeing(slot, running.sequence):
                before, crop = running.number, running.next_crop()
                skipped += running.number - before
                if crop is not None:
                    crops[slot] = crop
        if crops:
            self.predictor.launch(crops)
        return skipped

    def take(self, predictions: Mapping[int, list[float]], seconds: float) -> None:
        """Hand the predictions of a step to their sequences."""
        for slot, predicted in predictions.items():
            running = self.running[slot]
            with self._freeing(slot, running.sequence):
                running.take(predicted, seconds)

    @contextmanager
    def _freeing(self, slot: int, sequence: Sequence) -> Iterator[None]:
        """Free the slot if its sequence is done after the block, or can't go on."""
        try:
            yield
            running = self.running[slot]
            if running.done:
                seconds = float(running.times.sum())
                result = SequenceResult(running.boxes, running.scores, running.times, seconds)
                write_result(self.folder, sequence.name, result)
                self.ended.append(Outcome(sequence.name, len(sequence), seconds, flat=len(running.frames.flat)))
                del self.running[slot]
        except (ValueError, RuntimeError, cv2.error) as error:
            failed = self.running.pop(slot, None)
            number = 0 if failed is None else failed.number
            self.ended.append(Outcome(sequence.name, error=str(failure(sequence, number, error))))


def run_batched(
    tracker: Tracker,
    sequences: list[Sequence],
    folder: Path,
    slots: int,
    on_frames: Callable[[int], object] = lambda _: None,
) -> Generator[Outcome, None, None]:
    """Track sequences and write their results, the longest ones first.

    The time of a frame is its share of the step's wall time, reading included.

    Args:
        sequences: annotated, with different names.
        folder: claimed for this run.
        slots: sequences at once.
        on_frames: called after each step with the number of frames tracked.

    Raises:
        OSError: a result can't be written.
    """
    # no more groups and slots than there are sequences
    jobs = deque(sorted(sequences, key=len, reverse=True))
    targets = min(slots, len(jobs))
    count = max(1, min(GROUPS.get(tracker.device.type, 1), targets))
    size = -(-targets // count)
    readers, opencv_threads = ThreadPoolExecutor(os.cpu_count()), cv2.getNumThreads()
    cv2.setNumThreads(1)  # each reader would otherwise call for as many
    try:
        groups = [_Group(tracker, size, readers, folder) for _ in range(count)]
        last = time.perf_counter()
        while jobs or any(group.running for group in groups):
            for group in groups:
                # take what was computed meanwhile, then hand the next crops over and go on to the other group
                if group.running:
                    predictions = group.predictor.fetch()
                    now = time.perf_counter()
                    group.take(predictions, (now - last) / len(predictions))
                    last = now
                    on_frames(len(predictions))
                group.fill(jobs)
                on_frames(group.launch())
                yield from group.ended
                group.ended.clear()
    finally:
        readers.shutdown(cancel_futures=True)
        cv2.setNumThreads(opencv_threads)
