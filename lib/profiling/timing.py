"""Timing things against each other: in turns, so that a machine that is busy for a while slows all of them alike."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["Effort", "Times", "in_turns", "peak_memory", "reset_peak_memory"]

Run = Callable[[], object]
LEAST_ROUNDS = 3


@dataclass(frozen=True)
class Effort:
    """How often something is measured.

    Attributes:
        repeats: rounds, unless they take too long.
        warm_up: rounds before them that don't count.
        seconds: after which a measurement ends, with three rounds at least.
    """

    repeats: int = 20
    warm_up: int = 2
    seconds: float = 60.0


@dataclass(frozen=True)
class Times:
    """What was measured in turns.

    Attributes:
        seconds: by name, (rounds,).
    """

    seconds: dict[str, np.ndarray]

    def ratio(self, name: str, other: str) -> np.ndarray:
        """Time of one over that of another in the same round, (rounds,)."""
        return self.seconds[name] / self.seconds[other]

    def difference(self, name: str, other: str) -> np.ndarray:
        """Time of one less that of another in the same round, (rounds,), seconds."""
        return self.seconds[name] - self.seconds[other]


def in_turns(runs: Mapping[str, Run], device: torch.device, effort: Effort, before: Run | None = None) -> Times:
    """Calls every run once a round, in an order of its own, so that none always follows the same other one.

    Args:
        runs: by name.
        device: waited for at both ends of every call.
        effort: see `Effort`.
        before: called ahead of each run, not timed.
    """
    names, rounds, rng = list(runs), [], np.random.default_rng(0)
    for _ in range(effort.warm_up):
        _round(runs, names, device, before)
    start = time.perf_counter()
    for _ in range(effort.repeats):
        rounds.append(_round(runs, rng.permutation(names).tolist(), device, before))
        if len(rounds) >= LEAST_ROUNDS and time.perf_counter() - start > effort.seconds:
            break
    return Times({name: np.array([one[name] for one in rounds]) for name in names})


def _round(runs: Mapping[str, Run], names: list[str], device: torch.device, before: Run | None) -> dict[str, float]:
    seconds = {}
    for name in names:
        if before is not None:
            before()
        _wait(device)
        start = time.perf_counter()
        runs[name]()
        _wait(device)
        seconds[name] = time.perf_counter() - start
    return seconds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak_memory(device: torch.device) -> None:
    """Begins a new `peak_memory`; on a CPU there is no such thing."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> tuple[float, str]:
    """Most memory used, MiB, and what that means.

    On a GPU, of tensors since `reset_peak_memory`; on a CPU, of the whole process since its start.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20, "tensors on the GPU"
    import resource  # not there on Windows

    unit = 1 if sys.platform == "darwin" else 2**10
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return most / 2**20, "ru_maxrss: the whole process since its start, so it never falls"
