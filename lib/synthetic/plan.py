"""What goes wrong in a sequence: failures with their schedules over time, streams that drop out, a lag between them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lib.synthetic.motion import bump

__all__ = [
    "MODALITIES",
    "OUTAGES",
    "RGB_FAILURES",
    "X_FAILURES",
    "Outage",
    "Plan",
    "Schedules",
    "make_plan",
    "make_schedules",
]

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
OUTAGES: dict[str, float] = {"black": 0.4, "frozen": 0.35, "noise": 0.25}  # share of each kind
_SHARE_RGB, _SHARE_X, _SHARE_BOTH = 0.45, 0.21, 0.03
_SHARE_X_OUTAGE = 0.25  # of the sequences in which X is not needed
_SHARE_RGB_OUTAGE = 0.12  # of the sequences in which X does not fail
_SHARE_POOR = 0.45  # of the sequences in which X is not needed
_SHARE_SHIFT = 0.3
_MAX_SHIFT = 4  # frames


@dataclass(frozen=True)
class Outage:
    """One stream, "rgb" or "x", delivers no picture from frame `start` on and before frame `end` (frames from 0).

    kind: black, frozen (the last picture again) or noise.
    """

    stream: str
    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class Plan:
    """Which sensors fail and when; windows are (first frame, last frame, edge), frames.

    outages: when a stream delivers nothing; never both streams.
    time_shift: frames that X lags behind RGB; negative if RGB lags behind X.
    poor_x: whether the X sensor may be so poor that it tells little of the target, throughout.
    """

    rgb_failure: str | None
    rgb_window: tuple[float, float, float]
    x_failure: str | None
    x_window: tuple[float, float, float]
    outages: tuple[Outage, ...] = ()
    time_shift: int = 0
    poor_x: bool = False

    @property
    def attributes(self) -> set[str]:
        """Names of the outages (`x_black`, …), and `time_shift`."""
        names = {f"{outage.stream}_{outage.kind}" for outage in self.outages}
        return names | {"time_shift"} if self.time_shift else names

    @property
    def needs_x(self) -> bool:
        """Whether there are frames in which only X can show the target."""
        return self.rgb_failure is not None or any(outage.stream == "rgb" for outage in self.outages)


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
    plan = Plan(
        _pick(rng, RGB_FAILURES[modality]) if rgb else None,
        _window(rng, length, 0.4, 0.9),
        _pick(rng, X_FAILURES[modality]) if x else None,
        _window(rng, length, 0.25, 0.6),
    )
    return _disturb(rng.spawn(1)[0], plan, length)  # a stream of its own: what is drawn stays as it is


def _outage(rng: np.random.Generator, stream: str, length: int) -> Outage:
    """From 3 frames to half of the sequence, but never the first frame."""
    start = int(rng.integers(max(1, min(3, length - 2)), length))
    duration = np.exp(rng.uniform(np.log(3), np.log(max(4, length / 2))))
    return Outage(stream, _pick(rng, OUTAGES), start, min(length, start + round(duration)))


def _disturb(rng: np.random.Generator, plan: Plan, length: int) -> Plan:
    """Add what no sensor is to blame for: outages, a lag between the streams, a poor X sensor.

    Where RGB fails, X stays of use; where X fails, RGB stays: otherwise nothing could follow the target.
    """
    outages: tuple[Outage, ...] = ()
    if plan.rgb_failure is None and rng.random() < _SHARE_X_OUTAGE:
        outages = (_outage(rng, "x", length),)
    elif plan.x_failure is None and rng.random() < _SHARE_RGB_OUTAGE:
        outages = (_outage(rng, "rgb", length),)
    shift, most = 0, min(_MAX_SHIFT, length // 4)
    if most and rng.random() < _SHARE_SHIFT:
        shift = int(rng.choice([-1, 1]) * rng.integers(1, most + 1))
    plan = replace(plan, outages=outages, time_shift=shift)
    return replace(plan, poor_x=not plan.needs_x and bool(rng.random() < _SHARE_POOR))


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
