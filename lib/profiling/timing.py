"""Timing things against each other, in turns, and the numbers that come of it, each with its unit and spread.

In turns, so that a machine that is busy for a while slows all of them alike.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

__all__ = ["Effort", "Row", "exact", "in_turns", "median", "peak_memory", "reset_peak_memory"]

Run = Callable[[], object]
LEAST_ROUNDS = 3


@dataclass(frozen=True)
class Effort:
    """Number of measurements, and time for them.

    Attributes:
        repeats: rounds, unless they take too long.
        warm_up: rounds before them that don't count.
        seconds: after which a measurement ends, with three rounds at least.
    """

    repeats: int = 20
    warm_up: int = 2
    seconds: float = 60.0


def in_turns(
    runs: Mapping[str, Run], device: torch.device, effort: Effort, before: Run | None = None
) -> dict[str, np.ndarray]:
    """Call every run once a round, in an order of its own, so that none always follows the same other one.

    Args:
        runs: by name.
        device: waited for at both ends of every call.
        effort: see `Effort`.
        before: called ahead of each run, not timed.

    Returns:
        Seconds by name, (rounds,); what is compared should be divided round by round.
    """

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    names, rng = list(runs), np.random.default_rng(0)
    rounds: list[dict[str, float]] = []
    start = time.perf_counter()
    for number in range(effort.warm_up + effort.repeats):
        if number == effort.warm_up:
            start, rounds = time.perf_counter(), []
        seconds = {}
        for name in names if number < effort.warm_up else rng.permutation(names).tolist():
            if before is not None:
                before()
            wait()
            begin = time.perf_counter()
            runs[name]()
            wait()
            seconds[name] = time.perf_counter() - begin
        rounds.append(seconds)
        if number >= effort.warm_up and len(rounds) >= LEAST_ROUNDS and time.perf_counter() - start > effort.seconds:
            break
    return {name: np.array([one[name] for one in rounds]) for name in names}


def reset_peak_memory(device: torch.device) -> None:
    """Begin a new `peak_memory`; on a CPU there is no such thing."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> tuple[float, str]:
    """Read the most memory used, MiB, and say what that means.

    On a GPU, of tensors since `reset_peak_memory`; on a CPU, of the whole process since its start.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20, "tensors on the GPU"
    import resource  # not there on Windows

    unit = 1 if sys.platform == "darwin" else 2**10
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return most / 2**20, "ru_maxrss: the whole process since its start, so it never falls"


@dataclass(frozen=True)
class Row:
    """One number.

    Attributes:
        key: section.name, the same in every run; bounds refer to it.
        text: what it is.
        value: the median, or the number itself.
        unit: of it; "" for ratios.
        low, high: quartiles; None for what wasn't measured repeatedly.
        rounds: measurements behind it.
        precision: of weights and activations; "" where there are none.
        at: batch size, tokens, ... for a number on a curve.
        note: what to keep in mind.
    """

    key: str
    text: str
    value: float
    unit: str = ""
    low: float | None = None
    high: float | None = None
    rounds: int = 1
    precision: str = ""
    at: float | None = None
    note: str = ""


def median(key: str, text: str, values: np.ndarray, unit: str = "", **more: Any) -> Row:
    """Make a row of repeated measurements (rounds,)."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return Row(key, text, middle, unit, low, high, len(values), **more)


def exact(key: str, text: str, value: float, unit: str = "", **more: Any) -> Row:
    """Make a row of one number."""
    return Row(key, text, float(value), unit, **more)
