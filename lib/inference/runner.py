"""Running a tracker over sequences, one pass each (OPE): the first box is given, nothing is ever re-initialised.

A sequence that fails (an unreadable frame, a first box without area) is reported with its reason and leaves no result
file; the others go on.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from lib.datasets.decoded import DecodedFrame
from lib.datasets.sequence import Sequence
from lib.evaluation.outcome import Outcome, Summary, TrackingError, failure
from lib.evaluation.result_folder import SequenceResult, is_complete, write_result
from lib.inference.ahead import FramesAhead
from lib.inference.lockstep import run_in_lockstep
from patrack.tracker import Tracker

__all__ = [
    "Stopped",
    "run_sequence",
    "run_sequences",
    "share_of_sequences",
    "track_frames",
]

logger = logging.getLogger(__name__)

READERS = 2
"""Threads that decode for one tracker."""
READ_AHEAD = 4
"""Frames decoded before they are needed."""

OnFrame = Callable[[int, DecodedFrame, np.ndarray, float], None]
"""Called with frame number, frame, box and score."""


class Stopped(Exception):
    """The run was stopped from outside in the middle of a sequence."""


def share_of_sequences(sequences: list[Sequence], rank: int, world: int) -> list[Sequence]:
    """The sequences that one of several processes tracks: dealt out, the longest ones first."""
    if world == 1:
        return sequences
    return sorted(sequences, key=lambda sequence: (-len(sequence), sequence.name))[rank::world]


def track_frames(
    tracker: Tracker, sequence: Sequence, box_xywh: np.ndarray, on_frame: OnFrame | None = None
) -> SequenceResult:
    """Follow the target of `box_xywh` from the first frame to the last.

    Args:
        tracker: initialised here.
        sequence: its frames are read ahead by other threads.
        box_xywh: (4,), pixels: where the target is in the first frame.
        on_frame: called after each frame; may raise to stop.

    Raises:
        TrackingError: a frame can't be read, it or the box doesn't suit the tracker, or the output is not finite.
    """
    boxes = np.empty((len(sequence), 4))
    scores, times = np.ones(len(sequence)), np.empty(len(sequence))
    began = time.perf_counter()
    with ThreadPoolExecutor(READERS) as threads:
        frames = FramesAhead(sequence, threads, READ_AHEAD)
        for number in range(len(sequence)):
            try:
                frame = frames.take().result()
                present = sequence.streams_at(number)
                missing = () if all(present) else (present,)  # other trackers may not know what this is
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


def run_sequence(tracker: Tracker, sequence: Sequence, folder: Path, on_frame: OnFrame | None = None) -> Outcome:
    """Track one annotated sequence and write its result files; what goes wrong with its data becomes the outcome.

    Raises:
        OSError: the result can't be written.
    """
    try:
        result = track_frames(tracker, sequence, sequence.boxes[0], on_frame)
    except TrackingError as error:
        return Outcome(sequence.name, error=str(error))
    write_result(folder, sequence.name, result)
    return Outcome(sequence.name, len(sequence), result.seconds, float(result.times.sum()))


def run_sequences(
    make_tracker: Callable[[], Tracker],
    sequences: list[Sequence],
    folder: Path,
    workers: int = 1,
    slots: int = 1,
    progress: bool | None = None,
) -> Summary:
    """Track sequences and write their results; complete results in the folder are kept.

    Args:
        make_tracker: builds the tracker; called once, or once per worker (then it must be picklable).
        sequences: annotated sequences with different names.
        folder: claimed for this run (`lib.evaluation.result_folder.claim`).
        workers: processes; 1: this one. Each worker uses one thread.
        slots: sequences that share each step of the network (`lib.inference.lockstep`); more than 1 needs 1 worker.
        progress: show a bar; None: if there is a terminal.

    Raises:
        OSError: a result can't be written.
        RuntimeError: a worker died.
    """
    summary, todo = Summary(), []
    for sequence in sequences:
        if is_complete(folder, sequence.name, sequence.boxes[0], len(sequence)):
            summary.kept.append(sequence.name)
        else:
            todo.append(sequence)
    if summary.kept:
        logger.info("%d of %d sequences are complete in %s and kept", len(summary.kept), len(sequences), folder)
    began, hide = time.perf_counter(), None if progress is None else not progress
    with tqdm(total=sum(len(sequence) for sequence in todo), unit="frame", smoothing=0.05, disable=hide) as bar:
        if workers > 1 and len(todo) > 1:
            run = _run_in_workers(make_tracker, todo, folder, workers, bar)
        else:
            run = _run_here(make_tracker, todo, folder, slots, bar)
        with closing(run) as outcomes:
            for outcome in outcomes:
                (summary.failed if outcome.error else summary.finished).append(outcome)
                if outcome.error:
                    logger.error("%s", outcome.error)
                elif outcome.tracking_seconds:
                    bar.set_postfix_str(f"{outcome.name}: tracking {outcome.frames / outcome.tracking_seconds:.1f} FPS")
    summary.seconds = time.perf_counter() - began
    return summary


def _run_here(
    make_tracker: Callable[[], Tracker], todo: list[Sequence], folder: Path, slots: int, bar: tqdm
) -> Iterator[Outcome]:
    if not todo:
        return
    tracker = make_tracker()
    if slots > 1:
        yield from run_in_lockstep(tracker, todo, folder, slots, bar.update)
        return
    for sequence in todo:
        yield run_sequence(tracker, sequence, folder, lambda *_: bar.update())


def _run_in_workers(
    make_tracker: Callable[[], Tracker], todo: list[Sequence], folder: Path, workers: int, bar: tqdm
) -> Iterator[Outcome]:
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(min(workers, len(todo)), context, _start_worker, (make_tracker, stop))
    try:
        longest_first = sorted(todo, key=len, reverse=True)
        futures = {pool.submit(_run_in_worker, sequence, folder): sequence for sequence in longest_first}
        for future in as_completed(futures):
            bar.update(len(futures[future]))
            yield future.result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


_worker: dict[str, Any] = {}


def _start_worker(make_tracker: Callable[[], Tracker], stop: Any) -> None:
    """In a new process: one thread each for torch and OpenCV; Ctrl-C is left to the parent, which sets `stop`.

    So is the log: the parent has built the same tracker and said what there is to say.
    """
    logging.disable(logging.WARNING)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _worker.update(tracker=make_tracker(), stop=stop)


def _run_in_worker(sequence: Sequence, folder: Path) -> Outcome:
    def check(*_: Any) -> None:
        if _worker["stop"].is_set():
            raise Stopped

    return run_sequence(_worker["tracker"], sequence, folder, check)
