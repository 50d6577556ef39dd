"""What the parts of a scene of real pictures share: its kind, place, light, shake, and how actors are made."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lib.synthetic.compose import Builder
from lib.synthetic.motion import make_wave
from lib.synthetic.painter import Sprite
from lib.synthetic.photo_backgrounds import make_film, make_photo_background
from lib.synthetic.photo_sprites import adapted, cutout_sprite, photo_sprite
from lib.synthetic.pictures import Cutout, Pictures
from lib.synthetic.plan import Schedules, make_schedules
from lib.synthetic.scene import Actor, Camera

__all__ = ["TARGETS", "Look", "PhotoBuilder"]

_CANVAS = 1.9  # background size / view size
_GENTLE = 0.5  # share of the RGB failures that are left out: real pictures are hard enough
# what the target is, and its share
TARGETS: dict[str, float] = {
    "filmed": 0.16,  # what moves in a clip, as it was filmed
    "moving": 0.18,  # a cut-out that plays its pictures
    "object": 0.16,  # a cut-out photographed once
    "shape": 0.13,  # a shape clothed in a photograph
    "row": 0.13,  # one of several equals side by side
    "crowd": 0.1,  # one of several figures that walk about
    "part": 0.06,  # a part of an object
    "region": 0.07,  # a part of the place
    "drawn": 0.05,  # as without pictures
}


@dataclass(frozen=True)
class Look:
    """What similar objects need to copy."""

    sprite: Sprite
    size: float
    warm: float
    cutout: Cutout | None


class PhotoBuilder(Builder):
    """A scene's builder with pictures at hand."""

    def __init__(
        self, rng: np.random.Generator, modality: str, length: int, width: int, height: int, pictures: Pictures
    ) -> None:
        super().__init__(rng, modality, length, width, height)
        self.pictures = pictures
        self.kind = str(rng.choice(list(TARGETS), p=np.array(list(TARGETS.values())) / sum(TARGETS.values())))
        if self.kind == "filmed" and not pictures.films:
            self.kind = "moving"
        if self.plan.rgb_failure and rng.random() < _GENTLE:
            self.plan = replace(self.plan, rgb_failure=None)
            self.schedules = make_schedules(rng, self.plan, self.time)
        if self.kind == "filmed":
            self.film = self._film()
            self.background, self.chosen = make_film(pictures, rng, self.film, len(self.time))
        else:
            canvas = int(height * _CANVAS), int(width * _CANVAS)
            self.background = make_photo_background(pictures, rng, *canvas, len(self.time))
        if self.background.frames:
            self.background.playing = self.background.playing[np.clip(self.tau + 1, 0, length).astype(int)]
        self.schedules = self._exposure(self.schedules)
        self.warm = float(np.median(self.background.temperature))
        self.shake = self._shake()

    def _film(self) -> Cutout:
        """Something that moves in a clip: people and things as often, each clip as often, whatever moves in it."""
        films = self.pictures.films
        kind = "person" if self.rng.random() < 0.4 else "thing"
        films = [f for f in films if f.kind == kind] or films
        clips = sorted({f.clip for f in films})
        clip = clips[int(self.rng.integers(len(clips)))]
        films = [f for f in films if f.clip == clip]
        return films[int(self.rng.integers(len(films)))]

    def _exposure(self, schedules: Schedules) -> Schedules:
        """Automatic exposure brings the place part of the way to a middle gray; it drifts, and sometimes jumps."""
        rng = self.rng
        mean = float(self.background.albedo[::8, ::8].mean()) + 5
        level = float(np.clip((rng.uniform(75, 125) / mean) ** 0.65, 0.45, 2.2))
        drift = rng.uniform(0, 0.22) * make_wave(rng, rng.uniform(15, 90))(self.time)
        if rng.random() < 0.1:
            drift = drift + rng.uniform(-0.4, 0.4) * (self.time > rng.uniform(0.2, 0.9) * self.length)
        return replace(schedules, gain=schedules.gain * 0.85 * level * np.exp(drift))

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
        """A camera as for drawn scenes that shakes; what it is about to show at `path` shakes already.

        It slows down near the place's edge, as a picture mirrored there looks wrong.
        """
        camera = self.camera(path)
        if "static_target" in self.attributes:
            return camera
        h, w = (self.background.frames or (self.background.albedo,))[0].shape[:2]
        room = np.maximum(np.array([w, h]) * self.background.scale / 2 - self.centre, 0.1 * self.centre)
        pan = room * np.tanh(camera.pan / room)
        return Camera(camera.zoom, camera.angle, pan + self.shake, self.centre)

    def actor(self, role: str, sprite: Sprite, path: np.ndarray, scale: np.ndarray, distance: np.ndarray | float,
              pose: dict, **options: object) -> Actor:  # fmt: skip
        """An actor with a temperature of its own, unless one is given."""
        rng = self.rng
        difference = rng.uniform(26, 105) if rng.random() < 0.7 else -rng.uniform(25, 60)
        temperature = float(np.clip(self.warm + difference * (1 if role == "target" else 0.7), 8, 240))
        given = {"temperature": temperature, "heat_gain": float(rng.uniform(0.25, 0.8)), **options}
        distance = np.broadcast_to(np.asarray(distance, np.float64), self.tau.shape).copy()
        return Actor(role, sprite, path, scale, distance=distance, **given, **pose)
