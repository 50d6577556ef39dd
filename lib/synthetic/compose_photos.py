"""Drawing a scene of real pictures: cut-out objects and shapes clothed in photographs, in photographed places.

Like `compose`, everything comes from one generator in a fixed order.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from lib.synthetic.compose import Builder
from lib.synthetic.objects import SHAPES, Sprite, make_sprite, palette
from lib.synthetic.pictures import (
    Cutout,
    Pictures,
    adapted,
    cutout_sprite,
    film_sprite,
    forth_and_back,
    make_film,
    make_photo_background,
    part_of,
    photo_sprite,
    region_sprite,
)
from lib.synthetic.scene import Actor, Camera, Pose, Scene, make_schedules, make_wave, pick

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


class _PhotoScene(Builder):
    """Draws a scene with pictures at hand. Similar objects copy the target's `picture`, `size` and `cutout`."""

    picture: Sprite
    size: float
    cutout: Cutout | None = None

    def __init__(
        self, rng: np.random.Generator, modality: str, length: int, width: int, height: int, pictures: Pictures
    ) -> None:
        super().__init__(rng, modality, length, width, height)
        self.pictures = pictures
        self.kind = pick(rng, TARGETS)
        if self.kind == "filmed" and not pictures.films:
            self.kind = "moving"
        if self.plan.rgb_failure and rng.random() < _GENTLE:
            self.plan = replace(self.plan, rgb_failure=None)
            self.schedules = make_schedules(rng, self.plan, self.time)

        if self.kind == "filmed":  # people and things as often, each clip as often, whatever moves in it
            kind = "person" if rng.random() < 0.4 else "thing"
            films = [f for f in pictures.films if f.kind == kind] or list(pictures.films)
            clips = sorted({f.clip for f in films if f.clip is not None})
            clip = clips[int(rng.integers(len(clips)))]
            films = [f for f in films if f.clip == clip]
            self.film = films[int(rng.integers(len(films)))]
            self.background, self.chosen = make_film(pictures, rng, self.film, len(self.time))
        else:
            canvas = int(height * _CANVAS), int(width * _CANVAS)
            self.background = make_photo_background(pictures, rng, *canvas, len(self.time))
        if self.background.playing is not None:
            self.background.playing = self.background.playing[np.clip(self.tau + 1, 0, length).astype(int)]

        # Automatic exposure brings the place part of the way to a middle gray; it drifts, and sometimes jumps.
        mean = float(self.background.albedo[::8, ::8].mean()) + 5
        level = float(np.clip((rng.uniform(75, 125) / mean) ** 0.65, 0.45, 2.2))
        drift = rng.uniform(0, 0.22) * make_wave(rng, rng.uniform(15, 90), self.time)
        if rng.random() < 0.1:
            drift = drift + rng.uniform(-0.4, 0.4) * (self.time > rng.uniform(0.2, 0.9) * self.length)
        self.schedules = replace(self.schedules, gain=self.schedules.gain * 0.85 * level * np.exp(drift))

        self.warm = float(np.median(self.background.temperature))
        # A hand or a vehicle shakes the camera, (T, 2) pixels.
        amount = rng.choice([0.0, rng.uniform(0.3, 2), rng.uniform(2, 7)], p=[0.35, 0.4, 0.25]) * self.unit
        waves = [make_wave(rng, rng.uniform(3, 14), self.tau, 4) for _ in range(2)]
        self.shake = amount * np.stack(waves, -1)

    def choose(self, *kinds: str, moving: bool | None = None) -> Cutout:
        """A cut-out of the given kinds (any, if there is none of them) that has several pictures, or one, or either."""
        some = [c for c in self.pictures.cutouts if c.kind in kinds and moving in (None, len(c.files) > 3)]
        some = some or list(self.pictures.cutouts)
        return some[int(self.rng.integers(len(some)))]

    def cut(self, cutout: Cutout, size: float, wild: float = 0.25) -> Sprite:
        """A cut-out in the place's light; `wild`: how far its proportions are changed."""
        stretch = float(np.exp(self.rng.normal(0, wild)))
        sprite = cutout_sprite(self.pictures, self.rng, cutout, size, stretch, min(24, self.length))
        return adapted(self.rng, sprite, self.background.albedo)

    def aspect(self, kind: str | None = None) -> float:
        """Width / height of a shape, 1:6 to 6:1; mostly upright, as figures and goods are."""
        kind = kind or str(self.rng.choice(["tall", "wide", "any"], p=[0.45, 0.2, 0.35]))
        low, high = {"tall": (1 / 6, 1 / 2), "wide": (1.6, 6), "any": (0.5, 2)}[kind]
        return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    def shape(self, size: float, kind: str | None = None) -> Sprite:
        """A shape clothed in a photograph, in the place's light."""
        sprite = photo_sprite(self.pictures, self.rng, size, self.aspect(kind))
        return adapted(self.rng, sprite, self.background.albedo)

    def moves(self, sprite: Sprite, rigid: bool = False) -> Pose:
        """The pose of something that plays its pictures forth and back, from a random one."""
        pose, count = self.pose("case" if len(sprite.color) == 1 else "", sprite, rigid), len(sprite.color)
        step = np.floor(self.tau * self.rng.uniform(0.5, 1.1) + self.rng.integers(1, 2 * count + 1) + 1)
        return replace(pose, phase=forth_and_back(step, count))

    def still(self, sprite: Sprite) -> Pose:
        """The pose of what stands still in the place: it turns with the camera only."""
        return replace(self.moves(sprite, rigid=True), angle=self.camera.angle.copy())

    def around(self, path: np.ndarray) -> Camera:
        """A camera that moves around, and towards, something that stands still and is seen at `path` (T, 2)."""
        rng = self.rng
        self.attributes |= {"camera_motion", "static_target"}
        zoom = np.exp(rng.uniform(0.02, 0.5) * make_wave(rng, rng.uniform(40, 200), self.tau, 2))
        angle = np.radians(rng.uniform(0, 8)) * make_wave(rng, rng.uniform(25, 120), self.tau)
        camera = Camera(zoom / zoom.max(), angle, np.zeros((len(zoom), 2)), self.center)
        return camera.showing(rng.uniform(-0.3, 0.3, 2) * (self.width, self.height), path)

    def add(
        self,
        role: str,
        sprite: Sprite,
        path: np.ndarray,
        scale: np.ndarray,
        pose: Pose,
        distance: np.ndarray | float,
        temperature: float | None = None,
        reflective: bool = False,
        painted: bool = True,
        sensed: bool = True,
    ) -> None:
        """Add an actor with a temperature of its own, unless one is given."""
        rng = self.rng
        difference = rng.uniform(26, 105) if rng.random() < 0.7 else -rng.uniform(25, 60)
        drawn = float(np.clip(self.warm + difference * (1 if role == "target" else 0.7), 8, 240))
        temperature, heat_gain = drawn if temperature is None else temperature, float(rng.uniform(0.25, 0.8))
        distance = np.broadcast_to(np.asarray(distance, np.float64), self.tau.shape).copy()
        self.actors.append(
            Actor(role, sprite, path, scale, pose, distance, temperature, heat_gain, reflective, painted, sensed)
        )

    def add_target(self) -> None:
        """Draw the target, the camera, and the object that the target is a part of, if any."""
        size = float(np.clip(np.exp(self.rng.normal(np.log(40), 0.72)), 9, 190)) * self.unit
        if self.kind == "filmed":
            self.add_filmed_target(size)
        elif self.kind == "region":
            self.add_region_target(size)
        else:
            self.add_pasted_target(size)

    def draw_sprite(self, large: float) -> tuple[Sprite, Cutout | None]:
        """The picture of a target that is pasted in, and its cut-out."""
        rng, kind = self.rng, self.kind
        if kind == "drawn":
            seed, shape = int(rng.integers(2**31)), str(rng.choice(list(SHAPES)))
            return make_sprite(seed, shape, max(large, 18 * self.unit), palette(rng)), None
        if kind == "shape" or (kind in ("row", "part") and rng.random() < 0.35):
            return self.shape(large), None
        if kind == "crowd":
            if rng.random() < 0.25:
                return self.shape(large, "tall"), None
            cutout = self.choose("person", moving=True)
        elif kind in ("moving", "part"):
            cutout = self.choose("person", "thing", moving=True)
        else:
            cutout = self.choose("thing", "person", moving=False) if rng.random() < 0.7 else self.choose("region")
        return self.cut(cutout, large, 0.35 if len(cutout.files) == 1 else 0.15), cutout

    def add_pasted_target(self, size: float) -> None:
        """Draw a target that is a picture of its own, larger than `size` by a fifth so that it seldom grows."""
        rng, kind = self.rng, self.kind
        sprite, self.cutout = self.draw_sprite(max(size * 1.2, 10 * self.unit))
        self.picture, self.size = sprite, size * 1.2
        path = self.target_path(size) + self.shake
        # It stands still in the place, or moves by itself.
        if kind == "row" or (kind in ("object", "shape", "part") and rng.random() < 0.4):
            self.camera = self.around(path)
            log_scale, pose, scale = np.log(self.camera.zoom), self.still(sprite), self.camera.scale
        else:
            self.camera = self.draw_camera(path)
            if "static_target" not in self.attributes:  # it shakes, and slows down near the place's edge:
                h, w = self.background.shape  # a picture mirrored there looks wrong
                room = np.maximum(np.array([w, h]) * self.background.scale / 2 - self.center, 0.1 * self.center)
                pan = room * np.tanh(self.camera.pan / room)
                self.camera = replace(self.camera, pan=pan + self.shake)
            log_scale, relative = self.growth(0.4, 0.9)
            scale = np.stack([relative * self.squeeze(0.5, 30), relative], -1)
            pose = self.spin(self.moves(sprite), 0.12, 0.08)
        scale = scale / 1.2  # the picture is larger by that
        if len(sprite.color) > 1:
            self.attributes.add("articulation")
        if pose.warp_amount:
            self.attributes.add("deformation")
        distance = rng.uniform(900, 4200) / np.exp(log_scale - log_scale.mean())
        self.add("target", sprite, path, scale, pose, distance)
        if kind == "part":  # the target is a silhouette just before the object
            self.actors.clear()
            part = part_of(rng, sprite)
            self.add("target", part, path, scale, pose, distance * 0.9995, painted=False, sensed=False)
            self.add("whole", sprite, path, scale, pose, distance)

    def add_filmed_target(self, size: float) -> None:
        """Draw what moves in a clip, as it was filmed, through a camera that follows it more or less."""
        rng, place = self.rng, self.background
        assert place.playing is not None
        sprite = film_sprite(self.pictures, rng, self.film, self.chosen)
        self.picture, self.size, self.cutout = sprite, size, self.film

        # The clip is shown so large that the thing has the wanted size, if that leaves no edge and no large pixels.
        h, w = place.frames[0].shape[:2]
        boxes = np.array([self.film.boxes[k] for k in self.chosen], np.float64)
        whole = max(self.width / w, self.height / h)  # the view shows all of the clip
        place.scale = float(np.clip(size / np.median(np.sqrt(boxes[:, 2] * boxes[:, 3])), 0.95 * whole, 3 * whole))
        world = ((boxes[:, :2] + boxes[:, 2:] / 2 - (w / 2, h / 2)) * place.scale)[place.playing]

        # The camera zooms, turns and pans after the thing, not at all to a little too far.
        zoom = np.exp(rng.uniform(0, 0.25) * make_wave(rng, rng.uniform(40, 200), self.tau, 2))
        angle = np.radians(rng.uniform(0, 6)) * make_wave(rng, rng.uniform(25, 120), self.tau)
        camera = Camera(zoom / zoom.max(), angle, np.zeros((len(zoom), 2)), self.center)
        follow = rng.choice([rng.uniform(0, 0.4), rng.uniform(0.4, 1.05)])
        aim = follow * world + (1 - follow) * world.mean(axis=0)
        aim = aim + rng.normal(0, 0.1, 2) * (self.width, self.height)
        room = np.maximum(np.array([w, h]) * place.scale / 2 - self.center, 0)  # the clip's edge stays out of sight
        pan = self.shake - np.einsum("tij,tj->ti", camera.linear(), np.clip(aim, -room, room))
        self.camera = camera = replace(camera, pan=pan)
        self.attributes |= {"camera_motion", "articulation"}

        pose = replace(self.still(sprite), phase=place.playing)
        path = camera.center + camera.pan + np.einsum("tij,tj->ti", camera.linear(), world)
        distance = rng.uniform(900, 4200) / camera.zoom
        self.add("target", sprite, path, camera.scale * place.scale, pose, distance, painted=False)

    def add_region_target(self, size: float) -> None:
        """Draw a target that is a part of the place: of several parts, the one with the most to see on it."""
        rng, path = self.rng, self.target_path(size) + self.shake
        aspect = self.aspect()
        width, height = max(6, round(size * aspect**0.5)), max(6, round(size / aspect**0.5))
        self.picture, self.size = region_sprite(rng, width, height), size
        self.camera = self.around(path)
        self.background.frames = ()  # what moves can't be a part that stands still
        distance = rng.uniform(900, 4200) / self.camera.zoom
        pose = self.still(self.picture)
        self.add("target", self.picture, path, self.camera.scale, pose, distance, painted=False, sensed=False)

        # Which part it is: the one with the most contrast of some at random.
        gray = cv2.cvtColor(self.background.albedo, cv2.COLOR_BGR2GRAY).astype(np.float32)
        h, w = gray.shape
        places = rng.uniform(-0.32, 0.32, (24, 2)) * (w, h)
        detail = []
        for x, y in places + np.array([w, h]) / 2:
            rows = slice(max(0, int(y - height / 2)), int(y + height / 2))
            part = gray[rows, max(0, int(x - width / 2)) : int(x + width / 2)]
            detail.append(float(part.std()) if part.size else 0.0)
        self.camera = self.camera.showing(places[int(np.argmax(detail))] * self.background.scale, path)

    def add_bystanders(self) -> None:
        """Add other things, mostly behind the target: standing, or moving by themselves."""
        rng, target = self.rng, self.target
        for _ in range(int(rng.integers(0, 6))):
            size = float(np.exp(rng.uniform(np.log(14), np.log(90)))) * self.unit
            kind = rng.choice(["person", "thing", "region", "shape"], p=[0.3, 0.45, 0.05, 0.2])
            sprite = self.shape(size) if kind == "shape" else self.cut(self.choose(str(kind)), size)
            at, moves = int(rng.integers(1, self.length + 1)), rng.random() < 0.45
            point = rng.uniform(-0.1, 1.1, 2) * (self.width, self.height)
            path = self.along(at, point, (rng.uniform(0.3, 4) if moves else 0.0) * self.unit)
            pose = self.moves(sprite) if moves else self.still(sprite)
            distance = target.distance.mean() * rng.uniform(1.08, 1.7)
            if self.kind in ("region", "filmed"):  # the target is in the place's picture: whatever is painted hides it
                distance = target.distance.min() * rng.uniform(0.6, 0.95)
            reflective = rng.random() < 0.1
            self.add("bystander", sprite, path, self.camera.scale, pose, distance, reflective=reflective)

    def equal(self, same: bool) -> Sprite:
        """An equal of the target (`same`: its very pictures) or another of its kind."""
        rng = self.rng
        if same or rng.random() < 0.6:
            return self.picture
        size = self.size * float(np.exp(rng.normal(0, 0.12)))
        if self.cutout is None:
            return self.shape(size)
        return self.cut(self.cutout if rng.random() < 0.5 else self.choose(self.cutout.kind), size, 0.1)

    def add_row(self) -> None:
        """Add equals of the target beside it, in one or two rows, standing still as it does."""
        rng, target, camera = self.rng, self.target, self.camera
        self.attributes.add("distractor")
        width, height = (s * float(target.scale[1, 0] / camera.zoom[1]) for s in self.picture.size)
        world = camera.lift(target.position[1], 1)
        same, gap, slope = rng.random() < 0.5, rng.uniform(0.85, 1.7), rng.normal(0, 0.08)
        for row in range(int(rng.choice([1, 2], p=[0.7, 0.3]))):
            for k in range(-int(rng.integers(1, 5)), int(rng.integers(2, 6))):
                if (k == 0 and row == 0) or rng.random() < 0.12:
                    continue
                across, down = k * width * gap * rng.normal(1, 0.04), row * height * rng.uniform(0.9, 1.4)
                path = camera.project(world + np.array([across, down + slope * across]))
                sprite = self.equal(same)
                scale = target.scale * float(np.exp(rng.normal(0, 0.04)))
                warm = float(np.clip(target.temperature + rng.normal(0, 20), 5, 245))
                distance, pose = target.distance * (0.98 if row else 1.01), self.still(sprite)
                self.add("equal", sprite, path, scale, pose, distance, temperature=warm)

    def add_crowd(self) -> None:
        """Add figures like the target that walk about near it, before and behind it."""
        rng, target, zoom = self.rng, self.target, self.camera.zoom
        self.attributes.add("distractor")
        for _ in range(int(rng.integers(2, 8))):
            same = rng.random() < 0.25
            sprite = self.picture if same else self.cut(self.choose("person", moving=True), self.size, 0.12)
            at = int(rng.integers(1, self.length + 1))
            offset = rng.normal(0, 1, 2) * (2.2, 0.5) * self.size
            path = self.along(at, target.position[at] + offset, rng.uniform(0, 2.5) * self.unit)
            apart = float(rng.choice([rng.uniform(0.8, 0.97), rng.uniform(1.03, 1.4)], p=[0.25, 0.75]))
            scale = target.scale.mean() * np.repeat((zoom / zoom.mean())[:, None], 2, 1) / apart**0.5
            warm = float(np.clip(target.temperature + rng.normal(0, 20), 5, 245))
            pose, distance = self.moves(sprite), target.distance * apart
            self.add("equal", sprite, path, scale, pose, distance, temperature=warm)

    def add_twins(self) -> None:
        """Add twins that cross the target where RGB is to fail, and now and then a relative."""
        rng, target = self.rng, self.target
        count = int(rng.integers(2, 5)) if self.plan.rgb_failure == "similar_rgb" else 0
        low, high = self.plan.rgb_window[0], min(self.plan.rgb_window[1], self.length)
        for k in range(count):
            at = int(np.clip(low + (high - low) * (k + rng.uniform(0.1, 0.9)) / count, 1, self.length))
            point = target.position[at] + rng.normal(0, 0.25, 2) * self.size
            path = self.along(at, point, rng.uniform(1, 4) * self.unit)
            self.add_twin("case", path, float(rng.choice([0.65, 1.45])))
        if rng.random() < 0.35:
            self.attributes.add("distractor")
            for _ in range(int(rng.integers(1, 4))):
                sprite, at = self.equal(False), int(rng.integers(1, self.length + 1))
                point = target.position[at] + rng.normal(0, 1.8, 2) * self.size
                path = self.along(at, point, float(rng.choice([0.0, rng.uniform(0.2, 4)])) * self.unit)
                scale = np.full_like(target.scale, target.scale.mean())
                apart = float(rng.choice([0.8, 1.1, 1.4], p=[0.2, 0.5, 0.3]))
                pose, distance = self.moves(sprite), target.distance * apart
                self.add("relative", sprite, path, scale, pose, distance)

    def add_occluders(self) -> None:
        """Add things that pass, or stand, in front of the target at some moment: posts, people, goods."""
        rng, target, zoom = self.rng, self.target, self.camera.zoom
        if not self.chance(0.4):
            return
        for _ in range(int(rng.integers(1, 3))):
            big = self.size * rng.uniform(0.6, 1.9)
            if rng.random() < 0.45:
                sprite = self.shape(big * 1.3, "tall")
            else:
                sprite = self.cut(self.choose("person", "thing"), big)
            at = int(rng.integers(min(8, self.length), self.length + 1))
            speed = 0.0 if rng.random() < 0.3 else rng.uniform(1.0, 5)
            path = self.along(at, target.position[at] + rng.normal(0, 0.3, 2) * self.size, speed * self.unit)
            scale = np.repeat((zoom / zoom[at])[:, None], 2, 1)
            pose = self.moves(sprite) if speed else self.still(sprite)
            distance = target.distance * rng.uniform(0.55, 0.8)
            self.add("occluder", sprite, path, scale, pose, distance)


def make_photo_scene(
    rng: np.random.Generator, modality: str, length: int, width: int, height: int, pictures: Pictures
) -> Scene:
    """Draw one scene of real pictures; arguments as for `compose.make_scene`."""
    scene = _PhotoScene(rng, modality, length, width, height, pictures)
    scene.add_target()
    scene.add_bystanders()
    if scene.kind == "row":
        scene.add_row()
    elif scene.kind == "crowd":
        scene.add_crowd()
    elif scene.kind not in ("region", "filmed"):
        scene.add_twins()
    scene.add_occluders()
    # Half of the cameras read row after row: a pan leans the picture, a tilt stretches it.
    readout = rng.uniform(0.3, 1) if rng.random() < 0.5 else 0.0  # share of the time between two frames
    if readout:
        pan = scene.camera.pan
        speed = np.diff(pan, axis=0, prepend=pan[:1]) * readout / height
        skew = np.tile(np.eye(2), (len(speed), 1, 1))
        skew[:, :, 1] += np.clip(speed, -0.12, 0.12)
        scene.camera = replace(scene.camera, skew=skew)
    return scene.finish(natural=True)
