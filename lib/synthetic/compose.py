"""Drawing a scene at random: where the target goes, how the camera moves, and who else is there.

Everything comes from one generator in a fixed order, so that a seed always gives the same scene.
"""

from __future__ import annotations

import numpy as np

from lib.synthetic.backgrounds import Background, make_background
from lib.synthetic.motion import bump, make_wave
from lib.synthetic.painter import Sprite
from lib.synthetic.plan import make_plan, make_schedules
from lib.synthetic.scene import Actor, Camera, Scene
from lib.synthetic.shapes import ARTICULATED, SHAPES, make_sprite
from lib.synthetic.textures import palette

__all__ = ["Builder", "make_like", "make_relief", "make_scene"]

_CANVAS = 1.5  # background size / view size


class Builder:
    """Draws the parts of a scene in a fixed order from one generator."""

    def __init__(self, rng: np.random.Generator, modality: str, length: int, width: int, height: int) -> None:
        self.rng, self.modality, self.length = rng, modality, length
        self.width, self.height = width, height
        self.unit = (width * height / (320 * 240)) ** 0.5  # pixels per pixel of a 320x240 view
        self.centre = np.array([width / 2, height / 2])
        self.attributes: set[str] = set()
        self.plan = make_plan(rng, modality, length)
        self.time = np.arange(-1.0, length)
        self.schedules = make_schedules(rng, self.plan, self.time)
        self.tau = self._motion_time()
        self.background: Background | None = None

    def _motion_time(self) -> np.ndarray:
        """Time as the moving things feel it: it stands still while the scene is static."""
        pace = np.ones_like(self.time)
        if self.plan.x_failure == "static_scene":
            pace -= bump(self.time, *self.plan.x_window)
            pace[pace < 0.02] = 0.0
        return np.concatenate([[-1.0], -1.0 + np.cumsum(pace[1:])])

    def chance(self, probability: float, attribute: str | None = None) -> bool:
        """A coin; heads adds the attribute."""
        heads = bool(self.rng.random() < probability)
        if heads and attribute:
            self.attributes.add(attribute)
        return heads

    def speed(self) -> float:
        """The target's speed in the image, pixels per frame."""
        shares = (0, 0.12, 0.58, 0.3) if self.plan.needs_x else (0.2, 0.3, 0.35, 0.15)
        kinds = ("still", "slow", "medium", "fast")
        kind = str(self.rng.choice(kinds, p=shares))
        if kind in ("slow", "still"):
            self.attributes.add("slow_motion")
        if kind == "fast":
            self.attributes.add("fast_motion")
        low, high = {"still": (0.02, 0.3), "slow": (0.4, 1.5), "medium": (1.5, 3.5), "fast": (4, 8)}[kind]
        return float(self.rng.uniform(low, high)) * self.unit

    def distance(self) -> float:
        """The target's mean distance, millimetres: within arm's reach to across a hall, near as often as far."""
        return float(np.exp(self.rng.uniform(np.log(450), np.log(4500))))

    def wander(self, speed: float, reach: np.ndarray) -> np.ndarray:
        """A smooth path (T, 2) within +-reach (2,) pixels, at about the given speed (pixels per frame)."""
        reach = np.minimum(reach, max(speed * 40, 3.0))
        period = 7 * float(np.hypot(*reach)) / 1.4 / max(speed, 1e-3)
        waves = [make_wave(self.rng, max(period, 12.0)) for _ in range(2)]
        return np.stack([reach[k] * 1.4 * waves[k](self.tau) for k in range(2)], -1)

    def target_path(self, size: float) -> np.ndarray:
        """Where the target's centre is in the image, (T, 2)."""
        frame = np.array([self.width, self.height])
        reach = frame * self.rng.uniform(0.12, 0.4, 2)
        room = np.maximum(frame / 2 - size * 0.6 - reach * 0.9, 0)
        path = self.centre + self.rng.uniform(-1, 1, 2) * room + self.wander(self.speed(), reach)
        if self.length >= 30 and self.plan.x_failure is None and self.chance(0.1):
            start = self.rng.uniform(0.3, 0.7) * self.length
            away = bump(self.tau, start, start + self.rng.uniform(14, 26), 5)
            side = self.rng.choice([-1.0, 1.0])
            exit_x = (self.width if side > 0 else 0) + side * size * 1.2
            path[:, 0] += away * (exit_x - path[:, 0])
        return path

    def camera(self, target: np.ndarray) -> Camera:
        """A camera: fixed, hand-held, panning, following, or moving around a target (T, 2) that stands still."""
        rng, count = self.rng, len(self.tau)
        mode = str(rng.choice(["fixed", "shake", "pan", "follow", "around"], p=[0.22, 0.15, 0.2, 0.15, 0.28]))
        zoom, angle, pan = np.ones(count), np.zeros(count), np.zeros((count, 2))
        if mode != "fixed":
            self.attributes.add("camera_motion")
            shake = rng.uniform(0, 5) if mode == "shake" else rng.uniform(0, 1.2)
            for k in range(2):
                pan[:, k] += shake * self.unit * make_wave(rng, rng.uniform(7, 25), 4)(self.tau)
            angle += np.radians(rng.uniform(0, 4)) * make_wave(rng, rng.uniform(30, 150))(self.tau)
            zoom *= np.exp(rng.uniform(0, 0.15) * make_wave(rng, rng.uniform(60, 200))(self.tau))
        if mode == "pan":
            pan += self.wander(rng.uniform(0.5, 4) * self.unit, np.array([self.width, self.height]) * 0.6)
        if mode == "follow":
            heading, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 4) * self.unit
            pan += speed * self.tau[:, None] * np.array([np.cos(heading), 0.4 * np.sin(heading)])
            pan += self.wander(rng.uniform(0.3, 2) * self.unit, np.array([40.0, 20.0]) * self.unit)
        camera = Camera(zoom, angle, pan, self.centre)
        if mode == "around":
            self.attributes.add("static_target")
            world = rng.uniform(-0.25, 0.25, 2) * (self.width, self.height)
            pan = target - self.centre - np.einsum("tij,j->ti", camera.linear(), world)
            camera = Camera(zoom, angle, pan, self.centre)
        return camera

    def pose(self, kind: str, sprite: Sprite, rigid: bool = False) -> dict[str, np.ndarray | float]:
        """Angle, shear, phase and warp of an actor."""
        rng, count = self.rng, len(self.tau)
        angle, shear, warp = np.zeros(count), np.zeros(count), self.tau * rng.uniform(0.1, 0.5)
        amount = 0.0
        if not rigid:
            angle += np.radians(rng.uniform(0, 7)) * make_wave(rng, rng.uniform(15, 60))(self.tau)
            shear += rng.uniform(0, 0.1) * make_wave(rng, rng.uniform(20, 60))(self.tau)
            if rng.random() < 0.3 and kind in ("ball", "case", "polygon", "blob", "animal"):
                amount = float(rng.uniform(0.02, 0.06))
        phase = np.floor(self.tau * rng.uniform(0.15, 0.5) + 10).astype(int) % len(sprite.color)
        return {"angle": angle, "shear": shear, "phase": phase, "warp": warp, "warp_amount": amount}

    def along(self, camera: Camera, at: int, point: np.ndarray, speed: float) -> np.ndarray:
        """A path (T, 2) of something that moves by itself in the world and is at image `point` at time index `at`."""
        heading = self.rng.uniform(0, 2 * np.pi)
        own = (self.tau - self.tau[at])[:, None] * speed * np.array([np.cos(heading), np.sin(heading)])
        if speed > 0:
            waves = np.stack([make_wave(self.rng, self.rng.uniform(20, 80))(self.tau) for _ in range(2)], -1)
            own = own + 12 * self.unit * (waves - waves[at])
        return camera.project(camera.lift(point, at) + own)


def _target(b: Builder) -> tuple[Actor, Camera, dict[str, object]]:
    """The target, the camera and what similar objects need to copy: kind, palette, seed, size, temperature."""
    rng = b.rng
    kind = str(rng.choice(list(SHAPES)))
    size = float(np.clip(np.exp(rng.normal(np.log(36), 0.42)), 19, 80)) * b.unit
    colors, seed = palette(rng), int(rng.integers(2**31))
    path = b.target_path(size)
    camera = b.camera(path)
    growth = rng.uniform(0.35, 0.7) if b.chance(0.35, "scale_change") else rng.uniform(0.02, 0.25)
    log_scale = growth * make_wave(rng, rng.uniform(0.8, 2.5) * max(b.length, 30), 2)(b.tau)
    log_scale -= log_scale.max()
    relative = np.exp(log_scale) * camera.zoom / camera.zoom.max()
    sprite = make_sprite(seed, kind, max(size * 1.25, 18 * b.unit), colors)
    pose = b.pose(kind, sprite)
    if pose["warp_amount"]:
        b.attributes.add("deformation")
    if kind in ARTICULATED:
        b.attributes.add("articulation")
    if b.chance(0.15, "rotation"):
        pose["angle"] = pose["angle"] + rng.choice([-1, 1]) * rng.uniform(0.01, 0.06) * b.tau
    squeeze = np.ones(len(b.tau))
    if b.chance(0.25, "aspect_change"):
        squeeze = np.exp(0.4 * (make_wave(rng, rng.uniform(40, 120))(b.tau) - 0.5))
    scale = np.stack([relative * squeeze, relative], -1)
    distance = b.distance() / np.exp(log_scale - log_scale.mean())
    warm = float(np.median(b.background.temperature))
    difference = rng.uniform(26, 105) if rng.random() < 0.75 else -rng.uniform(25, 60)
    temperature = float(np.clip(warm + difference, 8, 240))
    actor = Actor("target", sprite, path, scale, distance=distance, temperature=temperature,
                  heat_gain=float(rng.uniform(0.25, 0.7)), **pose)  # fmt: skip
    return actor, camera, {"kind": kind, "colors": colors, "seed": seed, "size": size * 1.25, "warm": warm}


def make_like(b: Builder, target: Actor, look: dict, role: str, path: np.ndarray, apart: float) -> Actor:
    """A twin (same look, other temperature and distance), a thermal twin (the other way round) or a relative."""
    rng = b.rng
    temperature, distance = target.temperature, target.distance
    if role == "twin":
        sprite = target.sprite
        temperature = look["warm"] - 0.6 * (target.temperature - look["warm"]) + rng.normal(0, 6)
        distance = target.distance * apart
    elif role == "x_twin":
        sprite = make_sprite(look["seed"], look["kind"], look["size"], palette(rng))
    else:
        size = look["size"] * float(np.exp(rng.normal(0, 0.15)))
        colors = look["colors"] if rng.random() < 0.5 else palette(rng)
        sprite = make_sprite(int(rng.integers(2**31)), look["kind"], size, colors)
        temperature, distance = temperature + rng.normal(0, 15), distance * apart
    pose = b.pose(look["kind"], sprite)
    if role == "twin":  # the same pose, so that only position, temperature and distance tell them apart
        pose = {k: getattr(target, k) for k in ("angle", "shear", "phase", "warp", "warp_amount")}
    scale = target.scale if role != "relative" else np.full_like(target.scale, target.scale[1].mean())
    temperature = float(np.clip(temperature, 5, 245))
    return Actor(role, sprite, path, scale, distance=distance, temperature=temperature,
                 heat_gain=target.heat_gain, **pose)  # fmt: skip


def _moment(b: Builder) -> int:
    return int(b.rng.integers(min(6, b.length), b.length + 1))


def _distractors(b: Builder, camera: Camera, target: Actor, look: dict) -> list[Actor]:
    """Similar objects that come near or cross, and unrelated ones."""
    rng, actors = b.rng, []
    roles = ["relative"] * int(rng.integers(0, 4)) if b.chance(0.65) else []
    if b.plan.rgb_failure == "similar_rgb":
        roles += ["twin"] * int(rng.integers(2, 5))
    elif b.chance(0.12):
        b.attributes.add("similar_x")
        roles += ["x_twin"]
    if "relative" in roles:
        b.attributes.add("distractor")
    for k, role in enumerate(roles):
        at = _moment(b)
        if role == "twin":  # crossings spread over the window in which RGB is to fail
            low, high = b.plan.rgb_window[0], min(b.plan.rgb_window[1], b.length)
            at = int(np.clip(low + (high - low) * (k + rng.uniform(0.1, 0.9)) / len(roles), 4, b.length))
        offset = rng.normal(0, 0.25 if role == "twin" else 2.0, 2) * look["size"]
        speed = rng.uniform(1.0, 4) if role == "twin" else rng.choice([0.0, rng.uniform(0.2, 4)])
        path = b.along(camera, at, target.position[at] + offset, speed * b.unit)
        apart = float(rng.choice([rng.uniform(0.55, 0.75), rng.uniform(1.3, 1.6)]))
        actors.append(make_like(b, target, look, role, path, apart))
    return actors


def _bystanders(b: Builder, camera: Camera, target: Actor, warm: float) -> list[Actor]:
    """Unrelated objects, static or moving, nearer or farther than the target."""
    rng, actors = b.rng, []
    for _ in range(int(rng.integers(0, 6))):
        kind = str(rng.choice(list(SHAPES)))
        size = float(np.exp(rng.uniform(np.log(14), np.log(60)))) * b.unit
        sprite = make_sprite(int(rng.integers(2**31)), kind, size, palette(rng))
        at = _moment(b)
        point = rng.uniform(-0.1, 1.1, 2) * (b.width, b.height)
        path = b.along(camera, at, point, float(rng.choice([0.0, rng.uniform(0.3, 4)])) * b.unit)
        scale = np.repeat(camera.zoom[:, None], 2, 1)
        distance = np.full(len(b.tau), target.distance.mean() * rng.uniform(1.08, 1.7))
        temperature = float(np.clip(warm + rng.normal(0, 40), 5, 245))
        pose = b.pose(kind, sprite, rigid=rng.random() < 0.5)
        actors.append(Actor("bystander", sprite, path, scale, distance=distance, temperature=temperature,
                            heat_gain=0.4, reflective=rng.random() < 0.1, **pose))  # fmt: skip
    return actors


def _occluders(b: Builder, camera: Camera, target: Actor, size: float, warm: float) -> list[Actor]:
    """Objects that pass, or stand, in front of the target at some moment."""
    rng, actors = b.rng, []
    if not b.chance(0.35):
        return actors
    full = b.chance(0.35)
    for _ in range(int(rng.integers(1, 3))):
        kind = str(rng.choice(["tower", "case", "human", "car_side", "polygon", "blob", "tower", "bus"]))
        big = size * (rng.uniform(1.5, 2.2) if full else rng.uniform(0.6, 1.1))
        sprite = make_sprite(int(rng.integers(2**31)), kind, big, palette(rng), still=True)
        at = int(rng.integers(max(min(10, b.length), b.length // 5), b.length + 1))
        path = b.along(camera, at, target.position[at] + rng.normal(0, 0.15, 2) * size, rng.uniform(2.0, 5) * b.unit)
        distance = target.distance * rng.uniform(0.55, 0.8)
        temperature = float(np.clip(warm + rng.normal(0, 30), 5, 245))
        actors.append(Actor("occluder", sprite, path, np.ones_like(target.scale), distance=distance,
                            temperature=temperature, heat_gain=0.3, **b.pose(kind, sprite, rigid=True)))  # fmt: skip
    return actors


def make_scene(rng: np.random.Generator, modality: str, length: int, width: int, height: int) -> Scene:
    """Draw one scene.

    Args:
        rng: decides everything.
        modality: rgbt, rgbd or rgbe; which failures can occur.
        length: frames.
        width, height: of the view, pixels.
    """
    b = Builder(rng, modality, length, width, height)
    b.background = make_background(rng, int(height * _CANVAS), int(width * _CANVAS))
    target, camera, look = _target(b)
    others = _bystanders(b, camera, target, look["warm"]) + _distractors(b, camera, target, look)
    others += _occluders(b, camera, target, look["size"], look["warm"])
    return finish_scene(b, camera, (target, *others))


def finish_scene(b: Builder, camera: Camera, actors: tuple[Actor, ...], natural: bool = False) -> Scene:
    """Put the background behind all actors, the target first, and note the planned failures; see `Scene`."""
    nearest = float(np.percentile(b.background.nearness[::4, ::4], 95))  # nothing stands behind its background
    distance = float(actors[0].distance.max() * max(b.rng.uniform(1.25, 2.4), 1.12 * nearest))
    if b.plan.rgb_failure:
        b.attributes |= {b.plan.rgb_failure, "rgb_failure"}
    if b.plan.x_failure:
        b.attributes |= {b.plan.x_failure, "x_failure"}
    return Scene(b.modality, b.width, b.height, b.length, b.background, camera, distance, actors, b.plan,
                 b.schedules, b.attributes, make_relief(b), natural)  # fmt: skip


def make_relief(b: Builder) -> float | None:
    """Where RGB works, many targets lie on what is behind them: a cup on a table, a bag on the floor."""
    rng = b.rng.spawn(1)[0]  # a stream of its own: the pictures of the other sensors stay as they are
    if b.modality != "rgbd" or b.plan.needs_x or rng.random() >= 0.6:
        return None
    b.attributes.add("low_relief")
    return float(rng.uniform(0.004, 0.06))
