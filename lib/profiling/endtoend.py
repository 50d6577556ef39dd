"""Following a sequence from image files: each stage alone, and all of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from lib.datasets.frames import decode_frame
from lib.datasets.sequence import Sequence
from lib.inference.batched import run_batched
from lib.inference.sequence import track_frames
from lib.profiling.case import Case
from lib.profiling.rows import Row, median
from lib.profiling.step import STILL, StillAnswer
from patrack.tracker import Target, Tracker

__all__ = ["measure", "stage_times"]


RUNS = 3


def measure(case: Case) -> list[Row]:
    """Stages of one frame pair, then frame pairs per second of one sequence, and of many at once."""
    (sequence,) = case.test_sequence()
    return [*stages(case, sequence), *sequence_rate(case, sequence), *lockstep_rate(case)]


def stages(case: Case, sequence: Sequence) -> list[Row]:
    """Medians over the sequence's frames; crops lie around the true boxes."""
    times = stage_times(case, sequence, case.precisions)
    texts = {
        "read": "read both files (from the page cache)",
        "decode": "read and decode both",
        "crop": "search crop, with its colours",
        **{f"forward_{precision}": f"bytes to box, {precision}" for precision in case.precisions},
        "accept": "box to image",
    }
    return [median(f"endtoend.{name}", text, 1e3 * times[name], "ms") for name, text in texts.items()]


def stage_times(case: Case, sequence: Sequence, precisions: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """Seconds of each stage, (frames - 1,), by name; the network runs in `precisions`."""
    network = case.folded("fp32")
    target = Target(network, case.tracker(network).settings, decode_frame(sequence, 0), sequence.boxes[0])
    predictors = {f"forward_{precision}": case.predictor(precision) for precision in precisions}
    for predictor in predictors.values():
        predictor.launch({0: target.search_crop(decode_frame(sequence, 0))})
        predictor.fetch()
    rows = []
    for number in range(1, len(sequence)):
        target.box = sequence.boxes[number - 1].copy()
        files = [item[number] for item in (sequence.rgb_files, sequence.x_files) if item is not None]
        row: dict[str, float] = {}
        _timed(row, "read", lambda files=files: [Path(file).read_bytes() for file in files])
        frame = _timed(row, "decode", lambda number=number: decode_frame(sequence, number))
        crop = _timed(row, "crop", lambda frame=frame: target.search_crop(frame))
        for name, predictor in predictors.items():
            _timed(row, name, lambda it=predictor, crop=crop: (it.launch({0: crop}), it.fetch()))
        _timed(row, "accept", lambda: target.accept(STILL))
        rows.append(row)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _timed(row: dict[str, float], name: str, run: Callable[[], object]) -> object:
    start = time.perf_counter()
    result = run()
    row[name] = time.perf_counter() - start
    return result


def sequence_rate(case: Case, sequence: Sequence) -> list[Row]:
    """Frame pairs per second of `track_frames`, in each precision, one sequence at a time."""
    rows, effort = [], case.effort
    for precision in case.precisions:
        tracker = case.tracker(case.folded(precision))
        rates, spent = [], 0.0
        while len(rates) < min(RUNS, effort.repeats) and spent < effort.seconds:
            result = track_frames(tracker, sequence, sequence.boxes[0])
            rates.append(len(sequence) / result.seconds)
            spent += result.seconds
        text = f"files to boxes, {precision}"
        rows.append(median(f"endtoend.rate_{precision}", text, np.array(rates), "pairs/s", precision=precision))
    return rows


def lockstep_rate(case: Case) -> list[Row]:
    """Frame pairs per second of many sequences that share each step, in each precision; results are written."""
    counts, length = ((1, 4, 16, 64), 40) if case.device.type == "cuda" else ((2, 4, 8), 10)
    if case.quick:
        counts, length = counts[:1], 3
    sequences, rows = case.sequences("val", counts[-1], length), []
    for precision in case.precisions:
        tracker = case.tracker(case.folded(precision))
        for slots in counts:
            runs = RUNS if slots == counts[-1] and not case.quick else 1  # once for the rest of the curve
            rates = np.array([_lockstep(case, tracker, sequences[:slots]) for _ in range(runs)])
            text = f"files to boxes, {slots} sequences in a step, {precision}"
            key, more = f"endtoend.lockstep_{precision}_{slots}", {"precision": precision, "at": slots}
            rows.append(median(key, text, rates, "pairs/s", **more))
    return [*rows, *_without_network(case, sequences)]


def _without_network(case: Case, sequences: list[Sequence]) -> list[Row]:
    """What lock step costs around a network that costs nothing; a GPU waits if this is slower than it is."""
    tracker = case.tracker(StillAnswer(case.model, case.config.crop.search_factor))
    frames = sum(len(sequence) for sequence in sequences)
    text = f"{len(sequences)} sequences in a step, without network"
    rates, cores = [], []
    for _ in range(1 if case.quick else RUNS):
        start = time.process_time()
        rates.append(_lockstep(case, tracker, sequences))
        cores.append((time.process_time() - start) / frames)
    return [
        median("endtoend.around_rate", f"files to boxes, {text}", np.array(rates), "pairs/s"),
        median("endtoend.around_cpu", f"CPU time per pair, {text}", 1e3 * np.array(cores), "ms"),
    ]


def _lockstep(case: Case, tracker: Tracker, sequences: list[Sequence]) -> float:
    """Frame pairs per second of all of these sequences in one step."""
    with tempfile.TemporaryDirectory(dir=case.folder) as results:
        start = time.perf_counter()
        outcomes = list(run_batched(tracker, sequences, Path(results), len(sequences)))
        seconds = time.perf_counter() - start
    if failed := [outcome.error for outcome in outcomes if outcome.error]:
        raise RuntimeError(f"lock step failed: {failed[0]}")
    return sum(len(sequence) for sequence in sequences) / seconds
