"""Cost against the number of targets in a step, and against the size of the search crop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lib.profiling.case import Case
from lib.profiling.rows import Row, exact, median
from lib.profiling.timing import in_turns, peak_memory, reset_peak_memory
from patrack.predictor import Predictor

__all__ = ["SLOTS", "measure", "search_sizes"]

SLOTS = (1, 2, 4, 8, 16, 32, 64)
LONGEST_STEP = 2.0
"""Seconds: on a CPU the curve ends with the first step that takes longer."""
SMALLEST, LARGEST = 128, 384
CURVES = ("fp32", "bf16")


def measure(case: Case) -> list[Row]:
    """Both curves, in fp32 and bf16."""
    rows = [row for precision in CURVES for row in batch_curve(case, precision)]
    return rows + size_curve(case)


def batch_curve(case: Case, precision: str) -> list[Row]:
    """Time of a step, targets per second and memory for each number of slots, all of them in use."""
    rows: list[Row] = []
    for slots in SLOTS[:2] if case.quick else SLOTS:
        reset_peak_memory(case.device)
        step = in_turns({"step": _step(case, case.predictor(precision, slots), slots)}, case.device, case.effort)
        seconds = step.seconds["step"]
        memory, note = peak_memory(case.device)
        name, more = f"{precision}_{slots}", {"precision": precision, "at": slots}
        text = f"batch {slots}, {precision}"
        rows += [
            median(f"batch.step_{name}", f"{text}: a step", 1e3 * seconds, "ms", **more),
            median(f"batch.rate_{name}", f"{text}: frame pairs", slots / seconds, "pairs/s", **more),
            exact(f"batch.memory_{name}", f"{text}: peak memory", memory, "MiB", note=note, **more),
        ]
        if case.device.type == "cpu" and np.median(seconds) > LONGEST_STEP:
            break
    return rows


def _step(case: Case, predictor: Predictor, slots: int) -> Callable[[], object]:
    crops = {slot: case.image(case.config.model.search_size, seed=slot) for slot in range(slots)}
    return lambda: (predictor.launch(crops), predictor.fetch())


def search_sizes(patch_size: int, quick: bool = False) -> list[int]:
    """Sides of search crops, pixels: every second number of patches (the adapters halve the grid)."""
    sizes = [size for size in range(SMALLEST, LARGEST + 1) if size % (2 * patch_size) == 0]
    return sizes[:2] if quick else sizes


def size_curve(case: Case) -> list[Row]:
    """Time of the folded network for one target, bytes to box, by the tokens of a stream."""
    rows = []
    for size in search_sizes(case.config.model.patch_size, case.quick):
        other = case.changed(f"model.search_size={size}")
        runs = {precision: _step(other, other.predictor(precision), 1) for precision in CURVES}
        times = in_turns(runs, case.device, case.effort)
        for precision, seconds in times.seconds.items():
            text = f"search {size} px, {other.rows} x {other.tokens} tokens, {precision}"
            more = {"precision": precision, "at": other.tokens}
            rows.append(median(f"batch.size_{precision}_{size}", text, 1e3 * seconds, "ms", **more))
    return rows
