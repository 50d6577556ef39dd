"""Scenes: a place, a camera, objects with looks, temperature, distance and motion, and the plan of what goes wrong.

`render` paints a scene at one time: clean albedo, temperature, distance, and the target's exact silhouette.

Times are indexed 0…T-1 with T = length + 1: index 0 is one frame before the first, which the event camera needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from lib.synthetic.backgrounds import Background, look_up
from lib.synthetic.objects import Sprite, overlap

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
_VISIBLE_SHARE = 0.03  # of the silhouette; below it the target counts as fully occluded


def pick(rng: np.random.Generator, shares: dict[str, float]) -> str:
    """Draw a key; the values are the keys' shares."""
    return str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))


def make_wave(rng: np.random.Generator, period: float, time: np.ndarray, count: int = 3) -> np.ndarray:
    """Draw a random smooth motion, a sum of `count` sines, the slowest with about the given period (frames).

    Returns:
        Values in [-1, 1] at the given times, (T,) float64.
    """
    weight = rng.uniform(0.5, 1, count) * 0.55 ** np.arange(count)
    periods = period * rng.uniform(0.7, 1.3, count) / (1 + 0.9 * np.arange(count))
    phase = rng.uniform(0, 2 * np.pi, count)
    angle = np.asarray(time, np.float64)[..., None] * (2 * np.pi / periods) + phase
    return np.sin(angle) @ (weight / weight.sum())


def bump(time: np.ndarray, start: float, end: float, edge: float) -> np.ndarray:
    """Evaluate a window in time: 0 outside [start, end], 1 inside, smooth edges of `edge` frames within it."""

    def ramp(first: float) -> np.ndarray:
        u = np.clip((np.asarray(time, np.float64) - first) / max(edge, 1e-6), 0, 1)
        return u * u * (3 - 2 * u)

    return ramp(start) * (1 - ramp(end - edge))


@dataclass(frozen=True)
class Outage:
    """A stretch of frames in which one stream delivers no picture."""

    stream: str  # "rgb" or "x"
    kind: str  # black, frozen (the last picture again) or noise
    start: int  # its first frame, from 0
    end: int  # the first frame after it


@dataclass(frozen=True)
class Plan:
    """The failures of a sequence."""

    rgb_failure: str | None  # a key of `RGB_FAILURES`
    rgb_window: tuple[float, float, float]  # when it happens: first frame, last frame and length of the edges, frames
    x_failure: str | None  # a key of `X_FAILURES`
    x_window: tuple[float, float, float]
    outages: tuple[Outage, ...] = ()  # when a stream delivers nothing; never both streams
    time_shift: int = 0  # frames that X lags behind RGB; negative if RGB lags behind X
    poor_x: bool = False  # whether the X sensor may be so poor that it tells little of the target, throughout

    @property
    def attributes(self) -> set[str]:
        """Names of the outages (`x_black`, …), and `time_shift`."""
        names = {f"{outage.stream}_{outage.kind}" for outage in self.outages}
        return names | {"time_shift"} if self.time_shift else names

    @property
    def needs_x(self) -> bool:
        """True if there are frames in which only X can show the target."""
        return self.rgb_failure is not None or any(outage.stream == "rgb" for outage in self.outages)


def make_plan(rng: np.random.Generator, modality: str, length: int) -> Plan:
    """Draw the failures of one sequence (shares: see the module's constants)."""

    def window(low: float, high: float) -> tuple[float, float, float]:
        """Never includes the first frames; a window that nearly reaches the end lasts to it."""
        start = max(3.0, rng.uniform(0.1, 0.3) * length)
        end = start + rng.uniform(low, high) * length
        edge = min(float(rng.uniform(2, 9)), (end - start) / 3)
        return start, (end if end < 0.85 * length else 10.0 * length), edge

    u = rng.random()
    rgb = u < _SHARE_RGB or u >= 1 - _SHARE_BOTH
    x = u >= 1 - _SHARE_X - _SHARE_BOTH
    plan = Plan(
        pick(rng, RGB_FAILURES[modality]) if rgb else None,
        window(0.4, 0.9),
        pick(rng, X_FAILURES[modality]) if x else None,
        window(0.25, 0.6),
    )

    # What no sensor is to blame for, from a stream of its own so that what is drawn stays as it is. Where RGB fails, X
    # stays of use; where X fails, RGB stays: otherwise nothing could follow the target.
    rng = rng.spawn(1)[0]
    stream = None
    if plan.rgb_failure is None and rng.random() < _SHARE_X_OUTAGE:
        stream = "x"
    elif plan.x_failure is None and rng.random() < _SHARE_RGB_OUTAGE:
        stream = "rgb"
    if stream:  # from 3 frames to half of the sequence, but never the first frame
        start = int(rng.integers(max(1, min(3, length - 2)), length))
        duration = np.exp(rng.uniform(np.log(3), np.log(max(4, length / 2))))
        outage = Outage(stream, pick(rng, OUTAGES), start, min(length, start + round(duration)))
        plan = replace(plan, outages=(outage,))
    most = min(_MAX_SHIFT, length // 4)
    if most and rng.random() < _SHARE_SHIFT:
        plan = replace(plan, time_shift=int(rng.choice([-1, 1]) * rng.integers(1, most + 1)))
    return replace(plan, poor_x=not plan.needs_x and bool(rng.random() < _SHARE_POOR))


@dataclass(frozen=True)
class Schedules:
    """Strength of every effect at every time; arrays (T,) float64."""

    gain: np.ndarray  # light reaching the RGB sensor, 1 = as the scene is; below 1 darkness, above 1 over-exposure
    glare: np.ndarray  # 0…1, brightness of a lamp over the target in RGB
    fog: np.ndarray  # 0…1, share of airlight in RGB
    crossover: np.ndarray  # 0…1, how far the target takes the temperature of what lies behind it
    holes: np.ndarray  # 0…1, share of lost depth pixels near the target
    range_noise: np.ndarray  # depth noise as a multiple of its usual size


def make_schedules(rng: np.random.Generator, plan: Plan, time: np.ndarray) -> Schedules:
    """Turn a plan into numbers at the frames' times (T,)."""
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


@dataclass(frozen=True)
class Camera:
    """Maps world points w (pixels from the background's center) to the image: zoom * R(angle) w + center + pan."""

    zoom: np.ndarray  # (T,) float64
    angle: np.ndarray  # (T,) float64, radians
    pan: np.ndarray  # (T, 2) pixels
    center: np.ndarray  # (2,) of the image, pixels
    # (T, 2, 2) distortion of the finished picture about its center by a rolling shutter; None: all rows are exposed at
    # once
    skew: np.ndarray | None = None

    def linear(self) -> np.ndarray:
        """Compute zoom * R, (T, 2, 2)."""
        c, s = self.zoom * np.cos(self.angle), self.zoom * np.sin(self.angle)
        return np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)

    def project(self, world: np.ndarray) -> np.ndarray:
        """Map world points (T, 2) or (2,) to image points (T, 2)."""
        points = np.broadcast_to(world, self.pan.shape)
        return np.einsum("tij,tj->ti", self.linear(), points) + self.center + self.pan

    def lift(self, image: np.ndarray, index: int) -> np.ndarray:
        """Find the world point (2,) that is seen at an image point (2,) at one time index."""
        return np.linalg.solve(self.linear()[index], image - self.center - self.pan[index])

    def showing(self, world: np.ndarray, path: np.ndarray) -> Camera:
        """Pan the camera so that the world point (2,) is seen at the image points `path` (T, 2)."""
        return replace(self, pan=path - self.center - np.einsum("tij,j->ti", self.linear(), world))

    @property
    def scale(self) -> np.ndarray:
        """Image pixels per world pixel in x and y, (T, 2)."""
        return np.repeat(self.zoom[:, None], 2, 1)


@dataclass(frozen=True)
class Pose:
    """Orientation and shape of an object over time; arrays (T,)."""

    angle: np.ndarray  # radians
    shear: np.ndarray  # of x by y
    phase: np.ndarray  # index of the sprite's phase
    warp: np.ndarray  # phase of a wave-like deformation, radians
    warp_amount: float  # its amplitude as a share of the size


@dataclass(frozen=True)
class Actor:
    """An object over time."""

    role: str  # target, twin, x_twin, relative, equal, whole, bystander or occluder
    sprite: Sprite
    position: np.ndarray  # (T, 2) center in the image, pixels
    scale: np.ndarray  # (T, 2) image pixels per pixel of the sprite in x and y
    pose: Pose
    distance: np.ndarray  # (T,) millimeters
    temperature: float  # sensor level
    heat_gain: float  # sensor levels per level of the sprite's heat
    reflective: bool = False  # a depth sensor gets no answer from it
    # False for an object that is in the place's picture already; its silhouette counts all the same
    painted: bool = True
    sensed: bool = True  # False if it has no temperature and distance of its own either


@dataclass(frozen=True)
class Scene:
    """Everything the renderer and the sensors need."""

    modality: str  # rgbt, rgbd or rgbe
    width: int  # pixels
    height: int
    length: int  # frames
    background: Background
    camera: Camera
    distance: float  # of the background's plane, millimeters
    actors: tuple[Actor, ...]  # everyone in it, the target first
    plan: Plan
    schedules: Schedules
    attributes: set[str] = field(default_factory=set)  # names of what can be seen or goes wrong
    # how far the target stands out from what is behind it, as a share of that distance; None: it stands where its own
    # distance says
    relief: float | None = None
    natural: bool = False  # whether it is made of real pictures

    def note(self, **present: bool) -> None:
        """Add those of the named attributes that are present."""
        self.attributes.update(name for name, on in present.items() if on)


# ---- The picture of a scene at one time


@dataclass(frozen=True)
class View:
    """A scene at one time, before any sensor looks."""

    color: np.ndarray  # (H, W, 3) uint8, B,G,R, evenly lit, sharp
    temperature: np.ndarray | None  # (H, W) uint8, or None if the modality has no use for it
    distance: np.ndarray | None  # (H, W) float32, millimeters, or None
    reflective: np.ndarray | None  # (H, W) bool where a depth sensor gets no answer, or None
    # (4,) float64 xywh pixels, tight around the target's silhouette as if nothing stood in front of it, clipped to the
    # image; all 0 when no silhouette pixel is inside the image
    box: np.ndarray
    inside: float  # share of the whole silhouette that is inside the image, 0…1
    occluded: float  # share of the silhouette inside the image that something nearer hides, 0…1
    # mean difference the target makes to color, 0…255, over its silhouette; for a target that is a part of what is
    # there, the standard deviation of color over it
    contrast: float
    silhouette: np.ndarray  # (H, W) bool, un-occluded

    @property
    def visible(self) -> float:
        """Share of the whole silhouette that is inside the image and not occluded, 0…1."""
        return self.inside * (1 - self.occluded)

    @property
    def absent(self) -> bool:
        """Fully out of view or fully occluded."""
        return self.visible < _VISIBLE_SHARE


def warp_sprite(
    actor: Actor, camera: Camera, t: int, warm: bool, shape: tuple[int, int] | None
) -> tuple[np.ndarray, np.ndarray | None, int, int] | None:
    """Warp an actor's sprite as the camera sees it at time index `t`.

    Args:
        actor, camera, t: what is seen, how and when.
        warm: whether its heat is wanted.
        shape: height and width of the image, to skip an actor outside of it; None: it is never skipped.

    Returns:
        Color (h, w, 4) and heat (h, w) or None, uint8, and the left and top of both in the image; None if skipped.
    """
    # Where it lies: turned, sheared and scaled about its center, then leant by the camera's shutter.
    pose = actor.pose
    color = actor.sprite.color[pose.phase[t]]
    h, w = color.shape[:2]
    c, s = np.cos(pose.angle[t]), np.sin(pose.angle[t])
    scaling = np.array([[actor.scale[t, 0], pose.shear[t] * actor.scale[t, 0]], [0.0, actor.scale[t, 1]]])
    linear = np.array([[c, -s], [s, c]]) @ scaling
    position = actor.position[t]
    if camera.skew is not None:
        linear, position = camera.skew[t] @ linear, camera.center + camera.skew[t] @ (position - camera.center)
    half = np.abs(linear) @ (w / 2, h / 2) * (1 + pose.warp_amount)
    left, top = np.floor(position - half).astype(int) - 1
    right, bottom = np.ceil(position + half).astype(int) + 1
    if shape and (right <= 0 or bottom <= 0 or left >= shape[1] or top >= shape[0]):
        return None
    offset = position - (left, top) - 0.5 - linear @ ((w - 1) / 2, (h - 1) / 2)
    size = (int(right - left), int(bottom - top))
    matrix = np.column_stack([linear, offset])
    color, heat = cv2.warpAffine(color, matrix, size, flags=cv2.INTER_LINEAR), None
    if warm:
        heat = cv2.warpAffine(actor.sprite.heat[pose.phase[t]], matrix, size, flags=cv2.INTER_LINEAR,
                              borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
    if pose.warp_amount:
        y, x = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32)
        amount = pose.warp_amount * max(size)
        wave = np.float32(2 * np.pi / max(size))
        mx = x + np.float32(amount) * np.sin(wave * y + np.float32(pose.warp[t]))
        my = y + np.float32(0.6 * amount) * np.sin(wave * x + np.float32(1.3 * pose.warp[t]))
        color = cv2.remap(color, mx, my, cv2.INTER_LINEAR)
        if heat is not None:
            heat = cv2.remap(heat, mx, my, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return color, heat, int(left), int(top)


def render(scene: Scene, t: int) -> View:
    """Paint the scene at time index `t` (0 is one frame before the first)."""
    camera, place, shape = scene.camera, scene.background, (scene.height, scene.width)

    # The place through the camera.
    linear = camera.linear()[t] * place.scale
    middle = np.array([place.shape[1] - 1, place.shape[0] - 1]) / 2
    shown = camera.center + camera.pan[t]
    if camera.skew is not None:
        linear, shown = camera.skew[t] @ linear, camera.center + camera.skew[t] @ camera.pan[t]
    matrix = np.column_stack([linear, shown - 0.5 - linear @ middle])

    def through_camera(layer: np.ndarray) -> np.ndarray:
        size = (scene.width, scene.height)
        return cv2.warpAffine(layer, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)

    color = through_camera(place.albedo_at(t))
    temperature = distance = reflective = None
    if scene.modality == "rgbt":
        if place.frames and place.heat_table is not None:
            temperature = look_up(place.heat_table, color)
        else:
            temperature = through_camera(place.temperature)
    if scene.modality == "rgbd":
        distance = scene.distance / through_camera(place.nearness)
        reflective = np.zeros(shape, bool)

    # The actors, each in front of all that is painted so far.
    silhouette, hidden = np.zeros(shape, bool), np.zeros(shape, bool)
    area, contrast, box = 1, 0.0, np.zeros(4)
    for actor in sorted(scene.actors, key=lambda a: -float(a.distance[t])):
        target = actor is scene.actors[0]
        warped = warp_sprite(actor, camera, t, temperature is not None, None if target else shape)
        if warped is None:
            continue
        sprite, heat, left, top = warped
        if target:
            area = max(int((sprite[..., 3] > 127).sum()), 1)
        windows = overlap(left, top, sprite.shape, shape)
        if windows is None:
            continue
        image, part = windows
        paint = sprite[part]
        solid = paint[..., 3] > 127
        before = color[image].copy()
        if actor.painted:  # colors are multiplied by alpha already
            keep = cv2.cvtColor(255 - paint[..., 3], cv2.COLOR_GRAY2BGR)
            color[image] = cv2.add(cv2.multiply(before, keep, scale=1 / 255), np.ascontiguousarray(paint[..., :3]))
        if actor.sensed and temperature is not None and heat is not None:
            alpha = paint[..., 3].astype(np.float32) * (1 / 255)
            if target:
                alpha *= 1 - scene.schedules.crossover[t]
            warm = actor.temperature + actor.heat_gain * (heat[part].astype(np.float32) - 128)
            base = temperature[image].astype(np.float32)
            temperature[image] = np.clip(base + alpha * (warm - base), 0, 255).astype(np.uint8)
        if actor.sensed and distance is not None and reflective is not None:
            layer, relief = distance[image], scene.relief
            layer[solid] = layer[solid] * (1 - relief) if target and relief is not None else actor.distance[t]
            reflective[image][solid] = actor.reflective
        if not target:
            hidden[image] |= solid & silhouette[image]
            continue

        # The truth: the target's silhouette, box, and contrast with what it covers.
        silhouette[image] = solid
        x, y, w, h = cv2.boundingRect(solid.astype(np.uint8))
        if w and h:
            box = np.array([x + image[1].start, y + image[0].start, w, h], np.float64)
            if actor.painted:
                contrast = float(cv2.absdiff(color[image], before)[solid].mean())
            else:  # a part of what is there: how much there is to see on it
                contrast = float(color[image][solid].std(axis=0).mean())
    inside, covered = int(silhouette.sum()), int(hidden.sum())
    return View(color, temperature, distance, reflective, box, inside / area, covered / max(inside, 1), contrast,
                silhouette)  # fmt: skip
