"""Tracking around the network: a step on frames in memory, stage by stage, and whole sequences from image files."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.datasets import Sequence
from lib.datasets.frames import decode_frame
from lib.inference.batched import run_batched
from lib.inference.sequence import track_frames
from lib.profiling.case import Case, predict
from lib.profiling.timing import Row, in_turns, median
from patrack.network import Network
from patrack.predictor import PlainNetwork
from patrack.tracker import Target, Tracker

__all__ = ["StillAnswer", "measure_endtoend", "measure_step", "stage_times"]

STILL = [0.5, 0.5, 0.25, 0.25, 0.9]
"""A step's answer for a target that didn't move: cx, cy, w, h normalized to the search crop, and the score."""
RUNS = 3


class StillAnswer(PlainNetwork):
    """A network that costs nothing: it finds every target in the middle of its crop, as large as it was.

    Args:
        model: for its sizes.
        search_factor: side of a search crop in units of the target's size.
    """

    def __init__(self, model: Network, search_factor: float) -> None:
        super().__init__(model)
        grid, device = model.search_grid, next(model.parameters()).device
        score = torch.zeros(1, 1, grid, grid, device=device)
        score[..., grid // 2, grid // 2] = STILL[-1]
        size, offset = (torch.full((1, 2, grid, grid), value, device=device) for value in (1.0 / search_factor, 0.0))
        self.answer = {"score_map": score, "size_map": size, "offset_map": offset}

    def forward(self, template: Tensor, crops: Tensor) -> dict[str, Tensor]:
        """Give the same for each of the crops (B, H, W, C)."""
        return {name: value.expand(len(crops), -1, -1, -1) for name, value in self.answer.items()}


# ---- Section step: what the tracker adds to the network's forward, and where


def measure_step(case: Case) -> list[Row]:
    """Time tracker and predictor in turns, in each precision; then the stages of a step around a free network."""
    frame, noise, rows = case.image(case.image_size), case.image(case.config.model.search_size), []
    for precision in case.precisions:
        tracker = case.tracker(case.folded(precision))
        runs: dict[str, Callable[[], object]] = {
            "tracker": partial(tracker.track, frame),
            "forward": partial(predict, case.predictor(precision), {0: noise}),
        }
        times = in_turns(runs, case.device, case.effort, before=partial(tracker.initialize, frame, case.box))
        more: dict[str, Any] = {"unit": "ms", "precision": precision}
        rows += [
            median(f"step.tracker_{precision}", f"Tracker.track, {precision}", 1e3 * times["tracker"], **more),
            median(f"step.forward_{precision}", f"Predictor alone, {precision}", 1e3 * times["forward"], **more),
            median(
                f"step.difference_{precision}",
                f"Tracker.track - Predictor, {precision}",
                1e3 * (times["tracker"] - times["forward"]),
                note="of pairs of long times: no better than their noise",
                **more,
            ),
        ]

    # Stages that no precision changes, and the whole step around a network that costs nothing.
    network, device = case.folded("fp32"), case.device
    target = Target(network, case.tracker(network).settings, frame, case.box)
    crop = target.search_crop(frame)
    assert crop is not None  # as of a frame with all its streams
    held = torch.zeros(1, *crop.shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
    still = case.tracker(StillAnswer(case.model, case.config.crop.search_factor))
    empty = still.predictor(1)
    empty.set_template(0, target.template)
    still.initialize(frame, case.box)

    def to_device() -> Tensor:
        held[0] = torch.from_numpy(crop)
        return held.to(device, non_blocking=True)

    def reset() -> None:
        target.box = np.array(case.box)
        still.initialize(frame, case.box)

    eager = "" if device.type == "cpu" else "not part of a CUDA graph here, as it is when it tracks"
    stages: dict[str, tuple[str, Callable[[], object], str]] = {
        "crop": ("search crop", lambda: target.search_crop(frame), ""),
        "to_device": ("its bytes to the device", to_device, ""),
        "box": ("bytes, window, peak, box, without network", lambda: predict(empty, {0: crop}), eager),
        "accept": ("box to image", lambda: target.accept(STILL), ""),
        "overhead": ("Tracker.track without network", lambda: still.track(frame), eager),
    }
    times = in_turns({name: run for name, (_, run, _) in stages.items()}, device, case.effort, before=reset)
    for name, (text, _, note) in stages.items():
        rows.append(median(f"step.{name}", text, 1e3 * times[name], "ms", note=note))
    return rows


# ---- Section endtoend: following sequences from image files


def measure_endtoend(case: Case) -> list[Row]:
    """Time the stages of one frame pair, then count frame pairs per second of one sequence, and of many at once."""
    sequence, effort = case.test_sequence(), case.effort
    times = stage_times(case, sequence, case.precisions)
    texts = {
        "read": "read both files (from the page cache)",
        "decode": "read and decode both",
        "crop": "search crop, with its colours",
        **{f"forward_{precision}": f"bytes to box, {precision}" for precision in case.precisions},
        "accept": "box to image",
    }
    rows = [median(f"endtoend.{name}", text, 1e3 * times[name], "ms") for name, text in texts.items()]

    # One sequence at a time.
    for precision in case.precisions:
        tracker = case.tracker(case.folded(precision))
        rates: list[float] = []
        spent = 0.0
        while len(rates) < min(RUNS, effort.repeats) and spent < effort.seconds:
            result = track_frames(tracker, sequence, sequence.boxes[0])
            rates.append(len(sequence) / result.seconds)
            spent += result.seconds
        text = f"files to boxes, {precision}"
        rows.append(median(f"endtoend.rate_{precision}", text, np.array(rates), "pairs/s", precision=precision))

    # Many sequences that share each step; results are written. The last count is measured several times.
    counts, length = ([1, 4, 16, 64], 40) if case.device.type == "cuda" else ([2, 4, 8], 10)
    if case.quick:
        counts, length = counts[:1], 3
    sequences, runs = case.sequences("val", counts[-1], length), 1 if case.quick else RUNS
    for precision in case.precisions:
        tracker = case.tracker(case.folded(precision))
        for slots in counts:
            repeats = runs if slots == counts[-1] else 1
            rate = np.array([_batched_rate(case, tracker, sequences[:slots]) for _ in range(repeats)])
            text = f"files to boxes, {slots} sequences in a step, {precision}"
            key = f"endtoend.batched_{precision}_{slots}"
            rows.append(median(key, text, rate, "pairs/s", precision=precision, at=slots))

    # The same around a network that costs nothing; a GPU waits if this is slower than it is.
    tracker = case.tracker(StillAnswer(case.model, case.config.crop.search_factor))
    frames = sum(len(sequence) for sequence in sequences)
    text = f"{len(sequences)} sequences in a step, without network"
    rates, cores = [], []
    for _ in range(runs):
        start = time.process_time()
        rates.append(_batched_rate(case, tracker, sequences))
        cores.append((time.process_time() - start) / frames)
    return [
        *rows,
        median("endtoend.around_rate", f"files to boxes, {text}", np.array(rates), "pairs/s"),
        median("endtoend.around_cpu", f"CPU time per pair, {text}", 1e3 * np.array(cores), "ms"),
    ]


def stage_times(case: Case, sequence: Sequence, precisions: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """Time the stages of every frame but the first; crops lie around the true boxes.

    Returns:
        Seconds of each stage, (frames - 1,), by name; the network runs in `precisions`.
    """
    network = case.folded("fp32")
    target = Target(network, case.tracker(network).settings, decode_frame(sequence, 0), sequence.boxes[0])
    predictors = {f"forward_{precision}": case.predictor(precision) for precision in precisions}
    for predictor in predictors.values():
        predict(predictor, {0: case.image(case.config.model.search_size)})  # to warm up
    rows = []
    for number in range(1, len(sequence)):
        target.box = sequence.boxes[number - 1].copy()
        files = [item[number] for item in (sequence.rgb_files, sequence.x_files) if item is not None]
        paths = [file for file in files if isinstance(file, Path)]  # no videos
        marks = [("", time.perf_counter())]  # name and end of each stage
        for path in paths:
            path.read_bytes()
        marks.append(("read", time.perf_counter()))
        frame = decode_frame(sequence, number)
        marks.append(("decode", time.perf_counter()))
        crop = target.search_crop(frame)
        marks.append(("crop", time.perf_counter()))
        assert crop is not None
        for name, predictor in predictors.items():
            predict(predictor, {0: crop})
            marks.append((name, time.perf_counter()))
        target.accept(STILL)
        marks.append(("accept", time.perf_counter()))
        rows.append({name: end - start for (_, start), (name, end) in pairwise(marks)})
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _batched_rate(case: Case, tracker: Tracker, sequences: list[Sequence]) -> float:
    """Count frame pairs per second of all of these sequences in one step."""
    with tempfile.TemporaryDirectory(dir=case.folder) as results:
        start = time.perf_counter()
        outcomes = list(run_batched(tracker, sequences, Path(results), len(sequences)))
        seconds = time.perf_counter() - start
    if failed := [outcome.error for outcome in outcomes if outcome.error]:
        raise RuntimeError(f"lock step failed: {failed[0]}")
    return sum(len(sequence) for sequence in sequences) / seconds
