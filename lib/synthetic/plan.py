"""What goes wrong in a sequence: the failure plan and its schedules over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.synthetic.motion import bump

__all__ = ["MODALITIES", "RGB_FAILURES", "X_FAILURES", "Plan", "Schedules", "make_plan", "make_schedules"]

MODALITIES: tuple[str, ...] = ("rgbt", "rgbd", "rgbe")
# share of each kind among the RGB failures of a modality pair
RGB_FAILURES: dict[str, dict[str, float]] = {
    "rgbt": {"darkness": 0.36, "glare": 0.22, "overexposure": 0.1, "fog": 0.1, "similar_rgb": 0.22},
    "rgbd": {"darkness": 0.36, "glare": 0.22, "overexposure": 0.14, "similar_rgb": 0.28},
    "rgbe": {"darkness": 0.5, "glare": 0.28, "overexposure": 0.22},
}
X_FAILURES: dict[str, dict[str, float]] = {
    "rgbt": {"thermal_crossover": 1.0},
    "rgbd": {"depth_holes": 0.5, "range_noise": 0.5},
    "rgbe": {"static_scene": 1.0},
}
_SHARE_RGB, _SHARE_X, _SHARE_BOTH = 0.45, 0.21, 0.03


@dataclass(frozen=True)
class Plan:
    """Which sensors fail and when; windows are (first frame, last frame, edge), frames."""

    rgb_failure: str | None
    rgb_window: tuple[float, float, float]
    x_failure: str | None
    x_window: tuple[float, float, float]


@dataclass(frozen=True)
class Schedules:
    """Strength of every effect at every time; arrays (T,) float64.

    gain: light reaching the RGB sensor, 1 = as the scene is; below 1 darkness, above 1 over-exposure.
    glare: 0…1, brightness of a lamp over the target in RGB.  fog: 0…1, share of airlight in RGB.
    crossover: 0…1, how far the target takes the temperature of what lies behind it.
    holes: 0…1, share of lost depth pixels near the target.  range_noise: depth noise as a multiple of its usual size.
    """

    gain: np.ndarray
    glare: np.ndarray
    fog: np.ndarray
    crossover: np.ndarray
    holes: np.ndarray
    range_noise: np.ndarray


def _window(rng: np.random.Generator, length: int, low: float, high: float) -> tuple[float, float, float]:
    """A window that never includes the first frames; one that nearly reaches the end lasts to it."""
    start = max(3.0, rng.uniform(0.1, 0.3) * length)
    end = start + rng.uniform(low, high) * length
    edge = min(float(rng.uniform(2, 9)), (end - start) / 3)
    return start, (end if end < 0.85 * length else 10.0 * length), edge


def _pick(rng: np.random.Generator, shares: dict[str, float]) -> str:
    return str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))


def make_plan(rng: np.random.Generator, modality: str, length: int) -> Plan:
    """Draw the failures of one sequence (shares: see the module's constants)."""
    u = rng.random()
    rgb = u < _SHARE_RGB or u >= 1 - _SHARE_BOTH
    x = u >= 1 - _SHARE_X - _SHARE_BOTH
    return Plan(
        _pick(rng, RGB_FAILURES[modality]) if rgb else None,
        _window(rng, length, 0.4, 0.9),
        _pick(rng, X_FAILURES[modality]) if x else None,
        _window(rng, length, 0.25, 0.6),
    )


def make_schedules(rng: np.random.Generator, plan: Plan, time: np.ndarray) -> Schedules:
    """The plan as numbers: `time` (T,) are the frames' times."""
    rgb, x = bump(time, *plan.rgb_window), bump(time, *plan.x_window)
    zero = np.zeros_like(rgb)
    gain = np.ones_like(rgb)
    if plan.rgb_failure == "darkness":
        floor = np.exp(rng.uniform(np.log(0.012), np.log(0.06)))
        gain = np.exp(np.log(floor) * rgb)
    elif plan.rgb_failure == "overexposure":
        gain = np.exp(np.log(rng.uniform(9, 25)) * rgb)
    return Schedules(
        gain=gain,
        glare=rgb if plan.rgb_failure == "glare" else zero,
        fog=rng.uniform(0.94, 0.985) * rgb if plan.rgb_failure == "fog" else zero,
        crossover=rng.uniform(0.93, 1.0) * x if plan.x_failure == "thermal_crossover" else zero,
        holes=x if plan.x_failure == "depth_holes" else zero,
        range_noise=1 + rng.uniform(45, 110) * x if plan.x_failure == "range_noise" else zero + 1,
    )
