"""Batched tracking: one step of the network finds the targets of many sequences, and a sequence that ends makes room
for the next.

Boxes and crops are those of tracking one by one; only the rounding of the network differs with the number of targets in
a step. Other threads decode and cut. On a GPU the targets form two groups, so that it computes for one of them while
the crops of the other are made.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from lib.datasets.sequence import Sequence
from lib.inference.results import Outcome, SequenceResult, failure, write_result
from lib.inference.sequence import PrefetchedFrames
from patrack.predictor import Predictor
from patrack.tracker import Target, Tracker, begin

__all__ = ["run_batched"]

GROUPS = {"cuda": 2}
"""Groups of targets that take turns, by type of device; one where nothing is said."""
DEPTH = 2
"""Frames decoded before they are needed, per sequence."""


class _RunningSequence:
    """One sequence that is being tracked; making it starts the target of the first frame in a slot of the predictor."""

    def __init__(
        self, sequence: Sequence, tracker: Tracker, predictor: Predictor, slot: int, threads: Executor
    ) -> None:
        self.sequence, self.threads = sequence, threads
        self.boxes = np.empty((len(sequence), 4))
        self.scores, self.times = np.ones(len(sequence)), np.zeros(len(sequence))
        self.frames = PrefetchedFrames(sequence, threads, DEPTH)
        first, box, present = self.frames.take().result(), sequence.boxes[0], sequence.streams_at(0)
        self.target = Target(tracker.network, tracker.settings, first, box, present)
        begin(predictor, slot, self.target, first, present)
        self.boxes[0] = box
        self.number = 0
        self.crop: Future[np.ndarray | None]
        self._go_on()

    def _go_on(self) -> None:
        """Move to the next frame, whose crop another thread cuts."""
        self.number += 1
        if not self.done:
            frame, present = self.frames.take(), self.sequence.streams_at(self.number)
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
        self.boxes[self.number], self.scores[self.number] = self.target.accept(predicted)
        self.times[self.number] = seconds
        self._go_on()


class _Group:
    """Targets that share a step.

    Args:
        tracker: gives network and settings.
        slots: targets at once.
        threads: that decode and cut.
        folder: for results.
    """

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
                self.ended.append(Outcome(sequence.name, len(sequence), seconds))
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
        tracker: its network and settings are used.
        sequences: annotated, with different names.
        folder: claimed for this run.
        slots: sequences at once.
        on_frames: called after each step with the number of frames tracked.

    Raises:
        OSError: a result can't be written.
    """
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
