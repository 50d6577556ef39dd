"""Drawing a scene of real pictures: cut-out objects and shapes clothed in photographs, in photographed places.

Like `compose`, everything comes from one generator in a fixed order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from lib.synthetic.compose import Builder, make_like, make_relief
from lib.synthetic.motion import make_wave
from lib.synthetic.painter import Sprite
from lib.synthetic.photo_backgrounds import make_photo_background
from lib.synthetic.photo_sprites import adapted, cutout_sprite, part_of, photo_sprite, region_sprite
from lib.synthetic.pictures import Cutout, Pictures
from lib.synthetic.plan import Plan, Schedules, make_schedules
from lib.synthetic.scene import Actor, Camera, Scene
from lib.synthetic.shapes import SHAPES, make_sprite
from lib.synthetic.textures import palette

__all__ = ["TARGETS", "make_photo_scene"]

_CANVAS = 1.9  # background size / view size
_GENTLE = 0.5  # share of the RGB failures that are left out: real pictures are hard enough
# what the target is, and its share
TARGETS: dict[str, float] = {
    "moving": 0.26,  # a cut-out that plays its pictures
    "object": 0.2,  # a cut-out photographed once
    "shape": 0.13,  # a shape clothed in a photograph
    "row": 0.13,  # one of several equals side by side
    "crowd": 0.1,  # one of several figures that walk about
    "part": 0.06,  # a part of an object
    "region": 0.07,  # a part of the place
    "drawn": 0.05,  # as without pictures
}


@dataclass(frozen=True)
class _Look:
    """What similar objects need to copy."""

    sprite: Sprite
    size: float
    warm: float
    cutout: Cutout | None


class _PhotoBuilder(Builder):
    """A scene's builder with pictures at hand."""

    def __init__(
        self, rng: np.random.Generator, modality: str, length: int, width: int, height: int, pictures: Pictures
    ) -> None:
        super().__init__(rng, modality, length, width, height)
        self.pictures = pictures
        if self.plan.rgb_failure and rng.random() < _GENTLE:
            self.plan = Plan(None, self.plan.rgb_window, self.plan.x_failure, self.plan.x_window)
            self.schedules = make_schedules(rng, self.plan, self.time)
        self.background = make_photo_background(
            pictures, rng, int(height * _CANVAS), int(width * _CANVAS), len(self.time)
        )
        if self.background.frames:
            self.background.playing = self.background.playing[np.clip(self.tau + 1, 0, length).astype(int)]
        self.schedules = self._exposure(self.schedules)
        self.warm = float(np.median(self.background.temperature))
        self.shake = self._shake()

    def _exposure(self, schedules: Schedules) -> Schedules:
        """Automatic exposure brings the place part of the way to a middle gray; it drifts, and sometimes jumps."""
        rng = self.rng
        mean = float(self.background.albedo[::8, ::8].mean()) + 5
        level = float(np.clip((rng.uniform(75, 125) / mean) ** 0.65, 0.45, 2.2))
        drift = rng.uniform(0, 0.22) * make_wave(rng, rng.uniform(15, 90))(self.time)
        if rng.random() < 0.1:
            drift = drift + rng.uniform(-0.4, 0.4) * (self.time > rng.uniform(0.2, 0.9) * self.length)
        names = ("glare", "fog", "crossover", "holes", "range_noise")
        gain = schedules.gain * 0.85 * level * np.exp(drift)
        return Schedules(gain, *(getattr(schedules, name) for name in names))

    def _shake(self) -> np.ndarray:
        """How a hand or a vehicle shakes the camera, (T, 2) pixels."""
        rng = self.rng
        amount = rng.choice([0.0, rng.uniform(0.3, 2), rng.uniform(2, 7)], p=[0.35, 0.4, 0.25]) * self.unit
        waves = [make_wave(rng, rng.uniform(3, 14), 4)(self.tau) for _ in range(2)]
        return amount * np.stack(waves, -1)

    def pick(self, *kinds: str, moving: bool | None = None) -> Cutout:
        """A cut-out of the given kinds (any, if there is none of them) that has several pictures, or one, or either."""
        some = [c for c in self.pictures.cutouts if c.kind in kinds and moving in (None, len(c.files) > 3)]
        some = some or list(self.pictures.cutouts)
        return some[int(self.rng.integers(len(some)))]

    def cut(self, cutout: Cutout, size: float, wild: float = 0.25) -> Sprite:
        stretch = float(np.exp(self.rng.normal(0, wild)))
        sprite = cutout_sprite(self.pictures, self.rng, cutout, size, stretch, min(24, self.length))
        return adapted(self.rng, sprite, self.background.albedo)

    def aspect(self, kind: str | None = None) -> float:
        """Width / height of a shape, 1:6 to 6:1; mostly upright, as figures and goods are."""
        kind = kind or str(self.rng.choice(["tall", "wide", "any"], p=[0.45, 0.2, 0.35]))
        low, high = {"tall": (1 / 6, 1 / 2), "wide": (1.6, 6), "any": (0.5, 2)}[kind]
        return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    def shape(self, size: float, kind: str | None = None) -> Sprite:
        sprite = photo_sprite(self.pictures, self.rng, size, self.aspect(kind))
        return adapted(self.rng, sprite, self.background.albedo)

    def playing(self, sprite: Sprite) -> np.ndarray:
        """Which picture of a sprite is shown when, (T,): forth and back, from a random one."""
        count = len(sprite.color)
        k = np.floor(self.tau * self.rng.uniform(0.5, 1.1) + self.rng.integers(1, 2 * count + 1) + 1).astype(int)
        k = k % max(2 * count - 2, 1)
        return np.where(k < count, k, 2 * count - 2 - k)

    def moves(self, sprite: Sprite, rigid: bool = False) -> dict:
        """Angle, shear, phase and warp of an actor."""
        pose = self.pose("case" if len(sprite.color) == 1 else "", sprite, rigid)
        return {**pose, "phase": self.playing(sprite)}

    def still(self, camera: Camera, sprite: Sprite) -> dict:
        """The pose of what stands still in the place: it turns with the camera only."""
        return {**self.moves(sprite, rigid=True), "angle": camera.angle.copy()}

    def around(self, path: np.ndarray) -> Camera:
        """A camera that moves around, and towards, something that stands still and is seen at `path` (T, 2)."""
        rng = self.rng
        self.attributes |= {"camera_motion", "static_target"}
        zoom = np.exp(rng.uniform(0.02, 0.5) * make_wave(rng, rng.uniform(40, 200), 2)(self.tau))
        angle = np.radians(rng.uniform(0, 8)) * make_wave(rng, rng.uniform(25, 120))(self.tau)
        camera = Camera(zoom / zoom.max(), angle, np.zeros((len(zoom), 2)), self.centre)
        world = rng.uniform(-0.3, 0.3, 2) * (self.width, self.height)
        pan = path - self.centre - np.einsum("tij,j->ti", camera.linear(), world)
        return Camera(camera.zoom, camera.angle, pan, self.centre)

    def followed(self, path: np.ndarray) -> Camera:
        """A camera as for drawn scenes that shakes; what it is about to show at `path` shakes already."""
        camera = self.camera(path)
        if "static_target" in self.attributes:
            return camera
        return Camera(camera.zoom, camera.angle, camera.pan + self.shake, self.centre)

    def actor(self, role: str, sprite: Sprite, path: np.ndarray, scale: np.ndarray, distance: np.ndarray | float,
              pose: dict, **options: object) -> Actor:  # fmt: skip
        """An actor with a temperature of its own, unless one is given."""
        rng = self.rng
        difference = rng.uniform(26, 105) if rng.random() < 0.7 else -rng.uniform(25, 60)
        temperature = float(np.clip(self.warm + difference * (1 if role == "target" else 0.7), 8, 240))
        given = {"temperature": temperature, "heat_gain": float(rng.uniform(0.25, 0.8)), **options}
        distance = np.broadcast_to(np.asarray(distance, np.float64), self.tau.shape).copy()
        return Actor(role, sprite, path, scale, distance=distance, **given, **pose)


def _size(b: _PhotoBuilder) -> float:
    return float(np.clip(np.exp(b.rng.normal(np.log(40), 0.72)), 9, 190)) * b.unit


def _first_sprite(b: _PhotoBuilder, kind: str, size: float) -> tuple[Sprite, Cutout | None]:
    """The picture of a target of a kind of `TARGETS`, larger than `size` by a quarter, and its cut-out."""
    rng, large = b.rng, max(size * 1.2, 10 * b.unit)
    if kind == "drawn":
        return make_sprite(
            int(rng.integers(2**31)), str(rng.choice(list(SHAPES))), max(large, 18 * b.unit), palette(rng)
        ), None
    if kind == "shape" or (kind in ("row", "part") and rng.random() < 0.35):
        return b.shape(large), None
    if kind == "crowd":
        if rng.random() < 0.25:
            return b.shape(large, "tall"), None
        cutout = b.pick("person", moving=True)
    elif kind in ("moving", "part"):
        cutout = b.pick("person", "thing", moving=True)
    else:
        cutout = b.pick("thing", "person", moving=False) if rng.random() < 0.7 else b.pick("region")
    return b.cut(cutout, large, 0.35 if len(cutout.files) == 1 else 0.15), cutout


def _target(b: _PhotoBuilder, kind: str) -> tuple[list[Actor], Camera, _Look]:
    """The target, first, and the object it is a part of, if any; the camera; and what similar objects copy."""
    rng, size = b.rng, _size(b)
    if kind == "region":
        return _region(b, size)
    sprite, cutout = _first_sprite(b, kind, size)
    path = b.target_path(size) + b.shake
    if kind == "row" or (kind in ("object", "shape", "part") and rng.random() < 0.4):
        camera = b.around(path)
        log_scale, pose = np.log(camera.zoom), b.still(camera, sprite)
        scale = np.repeat(camera.zoom[:, None], 2, 1)
    else:
        camera = b.followed(path)
        growth = rng.uniform(0.35, 0.9) if b.chance(0.4, "scale_change") else rng.uniform(0.02, 0.25)
        log_scale = growth * make_wave(rng, rng.uniform(0.8, 2.5) * max(b.length, 30), 2)(b.tau)
        log_scale -= log_scale.max()
        relative = np.exp(log_scale) * camera.zoom / camera.zoom.max()
        squeeze = np.ones(len(b.tau))
        if b.chance(0.25, "aspect_change"):
            squeeze = np.exp(0.5 * (make_wave(rng, rng.uniform(30, 120))(b.tau) - 0.5))
        scale, pose = np.stack([relative * squeeze, relative], -1), b.moves(sprite)
        if b.chance(0.12, "rotation"):
            pose["angle"] = pose["angle"] + rng.choice([-1, 1]) * rng.uniform(0.01, 0.08) * b.tau
    scale = scale / 1.2
    if len(sprite.color) > 1:
        b.attributes.add("articulation")
    if pose["warp_amount"]:
        b.attributes.add("deformation")
    distance = rng.uniform(900, 4200) / np.exp(log_scale - log_scale.mean())
    look = _Look(sprite, size * 1.2, b.warm, cutout)
    whole = b.actor("target", sprite, path, scale, distance, pose)
    if kind != "part":
        return [whole], camera, look
    part = b.actor("target", part_of(rng, sprite), path, scale, distance * 0.9995, pose, painted=False)
    return [part, b.actor("whole", sprite, path, scale, distance, pose)], camera, look


def _region(b: _PhotoBuilder, size: float) -> tuple[list[Actor], Camera, _Look]:
    """A target that is a part of the place: of several, the one with the most to see on it."""
    rng, path = b.rng, b.target_path(size) + b.shake
    aspect = b.aspect()
    width, height = max(6, round(size * aspect**0.5)), max(6, round(size / aspect**0.5))
    sprite = region_sprite(rng, width, height)
    camera = b.around(path)
    if b.background.frames:  # what moves can't be a part that stands still
        b.background.frames = ()
    scale = np.repeat(camera.zoom[:, None], 2, 1)
    target = b.actor("target", sprite, path, scale, rng.uniform(900, 4200) / camera.zoom, b.still(camera, sprite),
                     painted=False)  # fmt: skip
    gray = cv2.cvtColor(b.background.albedo, cv2.COLOR_BGR2GRAY).astype(np.float32)
    h, w = gray.shape
    places = rng.uniform(-0.32, 0.32, (24, 2)) * (w, h)
    detail = []
    for x, y in places + np.array([w, h]) / 2:
        part = gray[max(0, int(y - height / 2)) : int(y + height / 2), max(0, int(x - width / 2)) : int(x + width / 2)]
        detail.append(float(part.std()) if part.size else 0.0)
    world = places[int(np.argmax(detail))] * b.background.scale
    pan = path - b.centre - np.einsum("tij,j->ti", camera.linear(), world)
    return [target], Camera(camera.zoom, camera.angle, pan, b.centre), _Look(sprite, size, b.warm, None)


def _copy(b: _PhotoBuilder, look: _Look, same: bool) -> Sprite:
    """An equal of the target (`same`: its very pictures) or another of its kind."""
    if same or b.rng.random() < 0.6:
        return look.sprite
    size = look.size * float(np.exp(b.rng.normal(0, 0.12)))
    if look.cutout is None:
        return b.shape(size)
    return b.cut(look.cutout if b.rng.random() < 0.5 else b.pick(look.cutout.kind), size, 0.1)


def _row(b: _PhotoBuilder, camera: Camera, target: Actor, look: _Look) -> list[Actor]:
    """Equals of the target beside it, in one or two rows, standing still as it does."""
    rng, actors = b.rng, []
    b.attributes.add("distractor")
    width, height = (s * float(target.scale[1, 0] / camera.zoom[1]) for s in look.sprite.size)
    world = camera.lift(target.position[1], 1)
    same, gap, slope = rng.random() < 0.5, rng.uniform(0.85, 1.7), rng.normal(0, 0.08)
    for row in range(int(rng.choice([1, 2], p=[0.7, 0.3]))):
        for k in range(-int(rng.integers(1, 5)), int(rng.integers(2, 6))):
            if (k == 0 and row == 0) or rng.random() < 0.12:
                continue
            across, down = k * width * gap * rng.normal(1, 0.04), row * height * rng.uniform(0.9, 1.4)
            path = camera.project(world + np.array([across, down + slope * across]))
            sprite = _copy(b, look, same)
            scale = target.scale * float(np.exp(rng.normal(0, 0.04)))
            warm = float(np.clip(target.temperature + rng.normal(0, 20), 5, 245))
            distance, pose = target.distance * (0.98 if row else 1.01), b.still(camera, sprite)
            actors.append(b.actor("equal", sprite, path, scale, distance, pose, temperature=warm))
    return actors


def _crowd(b: _PhotoBuilder, camera: Camera, target: Actor, look: _Look) -> list[Actor]:
    """Figures like the target that walk about near it, before and behind it."""
    rng, actors = b.rng, []
    b.attributes.add("distractor")
    for _ in range(int(rng.integers(2, 8))):
        sprite = look.sprite if rng.random() < 0.25 else b.cut(b.pick("person", moving=True), look.size, 0.12)
        at = int(rng.integers(1, b.length + 1))
        offset = rng.normal(0, 1, 2) * (2.2, 0.5) * look.size
        path = b.along(camera, at, target.position[at] + offset, rng.uniform(0, 2.5) * b.unit)
        apart = float(rng.choice([rng.uniform(0.8, 0.97), rng.uniform(1.03, 1.4)], p=[0.25, 0.75]))
        scale = target.scale.mean() * np.repeat((camera.zoom / camera.zoom.mean())[:, None], 2, 1) / apart**0.5
        warm = float(np.clip(target.temperature + rng.normal(0, 20), 5, 245))
        actors.append(b.actor("equal", sprite, path, scale, target.distance * apart, b.moves(sprite), temperature=warm))
    return actors


def _twins(b: _PhotoBuilder, camera: Camera, target: Actor, look: _Look) -> list[Actor]:
    """Twins that cross the target where RGB is to fail, and now and then a relative."""
    rng, actors = b.rng, []
    count = int(rng.integers(2, 5)) if b.plan.rgb_failure == "similar_rgb" else 0
    low, high = b.plan.rgb_window[0], min(b.plan.rgb_window[1], b.length)
    old = {"kind": "case", "warm": look.warm, "size": look.size}
    for k in range(count):
        at = int(np.clip(low + (high - low) * (k + rng.uniform(0.1, 0.9)) / count, 1, b.length))
        path = b.along(camera, at, target.position[at] + rng.normal(0, 0.25, 2) * look.size, rng.uniform(1, 4) * b.unit)
        actors.append(make_like(b, target, old, "twin", path, float(rng.choice([0.65, 1.45]))))
    if rng.random() < 0.35:
        b.attributes.add("distractor")
        for _ in range(int(rng.integers(1, 4))):
            sprite, at = _copy(b, look, False), int(rng.integers(1, b.length + 1))
            offset = rng.normal(0, 1.8, 2) * look.size
            path = b.along(
                camera, at, target.position[at] + offset, float(rng.choice([0.0, rng.uniform(0.2, 4)])) * b.unit
            )
            scale = np.full_like(target.scale, target.scale.mean())
            apart = float(rng.choice([0.8, 1.1, 1.4], p=[0.2, 0.5, 0.3]))
            actors.append(b.actor("relative", sprite, path, scale, target.distance * apart, b.moves(sprite)))
    return actors


def _bystanders(b: _PhotoBuilder, camera: Camera, target: Actor) -> list[Actor]:
    """Other things, mostly behind the target: standing, or moving by themselves."""
    rng, actors = b.rng, []
    for _ in range(int(rng.integers(0, 6))):
        size = float(np.exp(rng.uniform(np.log(14), np.log(90)))) * b.unit
        kind = rng.choice(["person", "thing", "region", "shape"], p=[0.3, 0.45, 0.05, 0.2])
        sprite = b.shape(size) if kind == "shape" else b.cut(b.pick(str(kind)), size)
        at, moves = int(rng.integers(1, b.length + 1)), rng.random() < 0.45
        point = rng.uniform(-0.1, 1.1, 2) * (b.width, b.height)
        path = b.along(camera, at, point, (rng.uniform(0.3, 4) if moves else 0.0) * b.unit)
        pose = b.moves(sprite) if moves else b.still(camera, sprite)
        scale = np.repeat(camera.zoom[:, None], 2, 1)
        distance = target.distance.mean() * rng.uniform(1.08, 1.7)
        actors.append(b.actor("bystander", sprite, path, scale, distance, pose, reflective=rng.random() < 0.1))
    return actors


def _occluders(b: _PhotoBuilder, camera: Camera, target: Actor, size: float) -> list[Actor]:
    """Things that pass, or stand, in front of the target at some moment: posts, people, goods."""
    rng, actors = b.rng, []
    if not b.chance(0.4):
        return actors
    for _ in range(int(rng.integers(1, 3))):
        big = size * rng.uniform(0.6, 1.9)
        if rng.random() < 0.45:
            sprite = b.shape(big * 1.3, "tall")
        else:
            sprite = b.cut(b.pick("person", "thing"), big)
        at = int(rng.integers(min(8, b.length), b.length + 1))
        speed = 0.0 if rng.random() < 0.3 else rng.uniform(1.0, 5)
        path = b.along(camera, at, target.position[at] + rng.normal(0, 0.3, 2) * size, speed * b.unit)
        scale = np.repeat((camera.zoom / camera.zoom[at])[:, None], 2, 1)
        pose = b.moves(sprite) if speed else b.still(camera, sprite)
        actors.append(b.actor("occluder", sprite, path, scale, target.distance * rng.uniform(0.55, 0.8), pose))
    return actors


def _rolling(b: _PhotoBuilder, camera: Camera) -> Camera:
    """Half of the cameras read row after row: a pan leans the picture, a tilt stretches it."""
    readout = b.rng.uniform(0.3, 1) if b.rng.random() < 0.5 else 0.0  # share of the time between two frames
    if not readout:
        return camera
    speed = np.diff(camera.pan, axis=0, prepend=camera.pan[:1]) * readout / b.height
    skew = np.tile(np.eye(2), (len(speed), 1, 1))
    skew[:, :, 1] += np.clip(speed, -0.12, 0.12)
    return replace(camera, skew=skew)


def make_photo_scene(
    rng: np.random.Generator, modality: str, length: int, width: int, height: int, pictures: Pictures
) -> Scene:
    """Draw one scene of real pictures; arguments as for `compose.make_scene`."""
    b = _PhotoBuilder(rng, modality, length, width, height, pictures)
    kind = str(rng.choice(list(TARGETS), p=np.array(list(TARGETS.values())) / sum(TARGETS.values())))
    (target, *rest), camera, look = _target(b, kind)
    others = [*rest, *_bystanders(b, camera, target)]
    if kind == "row":
        others += _row(b, camera, target, look)
    elif kind == "crowd":
        others += _crowd(b, camera, target, look)
    elif kind != "region":
        others += _twins(b, camera, target, look)
    others += _occluders(b, camera, target, look.size)
    camera = _rolling(b, camera)
    nearest = float(np.percentile(b.background.nearness[::4, ::4], 95))  # nothing stands behind its background
    distance = float(target.distance.max() * max(rng.uniform(1.25, 2.4), 1.12 * nearest))
    if b.plan.rgb_failure:
        b.attributes |= {b.plan.rgb_failure, "rgb_failure"}
    if b.plan.x_failure:
        b.attributes |= {b.plan.x_failure, "x_failure"}
    return Scene(modality, width, height, length, b.background, camera, distance, (target, *others), b.plan,
                 b.schedules, b.attributes, make_relief(b), natural=True)  # fmt: skip
