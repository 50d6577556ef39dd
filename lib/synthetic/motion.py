"""Smooth motion: sums of sines that can be evaluated at any time, and windows in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Wave", "bump", "make_wave", "ramp"]


@dataclass(frozen=True)
class Wave:
    """A sum of sines with values in [-1, 1].

    Attributes:
        weight, frequency, phase: (n,) float64; weights sum to 1, frequency in radians per frame.
    """

    weight: np.ndarray
    frequency: np.ndarray
    phase: np.ndarray

    def __call__(self, time: np.ndarray) -> np.ndarray:
        """Values at the given times (frames), same shape."""
        return np.sin(np.asarray(time, np.float64)[..., None] * self.frequency + self.phase) @ self.weight


def make_wave(rng: np.random.Generator, period: float, count: int = 3) -> Wave:
    """A random wave whose slowest component has about the given period (frames)."""
    weight = rng.uniform(0.5, 1, count) * 0.55 ** np.arange(count)
    periods = period * rng.uniform(0.7, 1.3, count) / (1 + 0.9 * np.arange(count))
    return Wave(weight / weight.sum(), 2 * np.pi / periods, rng.uniform(0, 2 * np.pi, count))


def ramp(time: np.ndarray, start: float, duration: float) -> np.ndarray:
    """0 before `start`, 1 after `start + duration`, a smooth step between."""
    u = np.clip((np.asarray(time, np.float64) - start) / max(duration, 1e-6), 0, 1)
    return u * u * (3 - 2 * u)


def bump(time: np.ndarray, start: float, end: float, edge: float) -> np.ndarray:
    """0 outside [start, end], 1 inside, smooth edges of `edge` frames within the window."""
    return ramp(time, start, edge) * (1 - ramp(time, end - edge, edge))
