"""Many sequences at once: one step of the network finds the targets of all of them, and a sequence that ends makes room
for the next.

Boxes and crops are those of tracking one by one; only the rounding of the network differs with the number of targets in
a step. Other threads decode and cut. On a GPU the targets form two groups, so that it computes for one of them while
the crops of the other are made.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from lib.datasets.sequence import Sequence
from lib.evaluation.outcome import Outcome, failure
from lib.evaluation.result_folder import SequenceResult, write_result
from lib.inference.ahead import FramesAhead
from patrack.predictor import Predictor
from patrack.tracker import Present, Target, Tracker, begin

__all__ = ["run_in_lockstep"]

GROUPS = {"cuda": 2}
"""Groups of targets that take turns, by type of device; one where nothing is said."""
READ_AHEAD = 2
"""Frames decoded before they are needed, per sequence."""


class _Clock:
    """Wall time in laps."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last call."""
        last, self._last = self._last, time.perf_counter()
        return self._last - last


class _Follow:
    """One sequence that is being tracked.

    Args:
        sequence: its first frame is decoded now.
        threads: that decode and cut.
    """

    def __init__(self, sequence: Sequence, threads: Executor) -> None:
        self.sequence, self.threads = sequence, threads
        self.frames = FramesAhead(sequence, threads, READ_AHEAD)
        self.target: Target | None = None
        self.crop: Future[np.ndarray | None] | None = None
        self.number = 0
        self.boxes = np.empty((len(sequence), 4))
        self.scores, self.times = np.ones(len(sequence)), np.zeros(len(sequence))

    def start(self, tracker: Tracker, predictor: Predictor, slot: int) -> None:
        """First frame, whose target gets a slot of the predictor."""
        first, box, present = self.frames.take().result(), self.sequence.boxes[0], self.sequence.streams_at(0)
        self.target = Target(tracker.network, tracker.settings, first, box, present)
        begin(predictor, slot, self.target, first, present)
        self.boxes[0] = box
        self.go_on()

    def go_on(self) -> None:
        """To the next frame, whose crop another thread cuts."""
        self.number += 1
        if not self.done:
            self.crop = self.threads.submit(self._cut, self.frames.take(), self.sequence.streams_at(self.number))

    def _cut(self, frame: Future, present: Present) -> np.ndarray | None:
        return self.target.search_crop(frame.result(), present)

    def pass_by(self) -> int:
        """Over the next frames in which there is nothing to look at; returns how many."""
        began = self.number
        while not self.done and self.crop.result() is None:
            self.boxes[self.number], self.scores[self.number] = self.target.stay()
            self.go_on()
        return self.number - began

    def accept(self, predicted: list[float], seconds: float) -> None:
        """The box found in this frame."""
        self.boxes[self.number], self.scores[self.number] = self.target.accept(predicted)
        self.times[self.number] = seconds
        self.go_on()

    @property
    def done(self) -> bool:
        """Whether all frames have a box."""
        return self.number >= len(self.sequence)

    def write(self, folder: Path) -> Outcome:
        """Result files of the whole sequence."""
        seconds = float(self.times.sum())
        write_result(folder, self.sequence.name, SequenceResult(self.boxes, self.scores, self.times, seconds))
        return Outcome(self.sequence.name, len(self.sequence), seconds, seconds)


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
        self.predictor: Predictor = tracker.predictor(slots)
        self.follows: dict[int, _Follow] = {}
        self.ended: list[Outcome] = []

    def fill(self, jobs: deque[Sequence]) -> None:
        """Starts sequences in the free slots."""
        for slot in range(self.predictor.slots):
            while slot not in self.follows and jobs:
                follow = self.follows[slot] = _Follow(jobs.popleft(), self.threads)
                with self._ending(slot):
                    follow.start(self.tracker, self.predictor, slot)

    def launch(self) -> int:
        """Starts a step for all targets; returns how many frames were passed by."""
        passed, crops = 0, {}
        for slot, follow in list(self.follows.items()):
            with self._ending(slot):
                passed += follow.pass_by()
                if not follow.done:
                    crops[slot] = follow.crop.result()
        if crops:
            self.predictor.launch(crops)
        return passed

    def fetch(self, clock: _Clock) -> int:
        """Ends the step; returns how many targets it was for."""
        if not self.follows:
            return 0
        answers = self.predictor.fetch()
        seconds = clock.lap() / len(answers)
        for slot, predicted in answers.items():
            with self._ending(slot):
                self.follows[slot].accept(predicted, seconds)
        return len(answers)

    @contextmanager
    def _ending(self, slot: int) -> Iterator[None]:
        """Frees the slot if its sequence is done, or can't go on."""
        follow = self.follows[slot]
        try:
            yield
            if follow.done:
                self.ended.append(follow.write(self.folder))
                del self.follows[slot]
        except (ValueError, RuntimeError, cv2.error) as error:
            reason = str(failure(follow.sequence, follow.number, error))
            self.ended.append(Outcome(follow.sequence.name, error=reason))
            del self.follows[slot]


def run_in_lockstep(
    tracker: Tracker,
    sequences: list[Sequence],
    folder: Path,
    slots: int,
    on_frames: Callable[[int], object] = lambda _: None,
) -> Iterator[Outcome]:
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
        clock = _Clock()
        while jobs or any(group.follows for group in groups):
            for group in groups:
                on_frames(group.fetch(clock))
                group.fill(jobs)
                on_frames(group.launch())
                yield from group.ended
                group.ended.clear()
    finally:
        readers.shutdown(cancel_futures=True)
        cv2.setNumThreads(opencv_threads)
