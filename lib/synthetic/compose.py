"""Drawing a scene at random: where the target goes, how the camera moves, and who else is there.

Everything comes from one generator in a fixed order, so that a seed always gives the same scene: a draw that is moved,
added or left out changes the benchmark.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lib.synthetic.backgrounds import Background, make_background
from lib.synthetic.objects import ARTICULATED, SHAPES, Sprite, make_sprite, palette
from lib.synthetic.scene import Actor, Camera, Pose, Scene, bump, make_plan, make_schedules, make_wave

_CANVAS = 1.5  # background size / view size


class Builder:
    """Draws the parts of a scene from one generator: what scenes of drawn things and of real pictures share.

    Attributes:
        unit: pixels per pixel of a 320x240 view.
        time: (T,) frames, from -1.
        tau: (T,) time of everything that moves: it stands still while the scene is static.
        warm: the place's temperature.
        actors: everyone so far, the target first.
    """

    background: Background
    camera: Camera
    warm: float

    def __init__(self, rng: np.random.Generator, modality: str, length: int, width: int, height: int) -> None:
        self.rng, self.modality, self.length = rng, modality, length
        self.width, self.height = width, height
        self.unit = (width * height / (320 * 240)) ** 0.5
        self.center = np.array([width / 2, height / 2])
        self.attributes: set[str] = set()
        self.actors: list[Actor] = []
        self.plan = make_plan(rng, modality, length)
        self.time = np.arange(-1.0, length)
        self.schedules = make_schedules(rng, self.plan, self.time)
        pace = np.ones_like(self.time)
        if self.plan.x_failure == "static_scene":
            pace -= bump(self.time, *self.plan.x_window)
            pace[pace < 0.02] = 0.0
        self.tau = np.concatenate([[-1.0], -1.0 + np.cumsum(pace[1:])])

    @property
    def target(self) -> Actor:
        """The first of the actors."""
        return self.actors[0]

    def chance(self, probability: float, attribute: str | None = None) -> bool:
        """Toss a coin; heads adds the attribute."""
        heads = bool(self.rng.random() < probability)
        if heads and attribute:
            self.attributes.add(attribute)
        return heads

    def wander(self, speed: float, reach: np.ndarray) -> np.ndarray:
        """Draw a smooth path (T, 2) within +-reach (2,) pixels, at about the given speed (pixels per frame)."""
        reach = np.minimum(reach, max(speed * 40, 3.0))
        period = 7 * float(np.hypot(*reach)) / 1.4 / max(speed, 1e-3)
        waves = [make_wave(self.rng, max(period, 12.0), self.tau) for _ in range(2)]
        return np.stack([reach[k] * 1.4 * waves[k] for k in range(2)], -1)

    def target_path(self, size: float) -> np.ndarray:
        """Draw the path (T, 2) of the center of a target of that size, pixels in the image."""
        rng = self.rng
        frame = np.array([self.width, self.height])
        reach = frame * rng.uniform(0.12, 0.4, 2)
        room = np.maximum(frame / 2 - size * 0.6 - reach * 0.9, 0)
        middle = self.center + rng.uniform(-1, 1, 2) * room
        shares = (0, 0.12, 0.58, 0.3) if self.plan.needs_x else (0.2, 0.3, 0.35, 0.15)
        pace = str(rng.choice(("still", "slow", "medium", "fast"), p=shares))
        if pace in ("slow", "still"):
            self.attributes.add("slow_motion")
        if pace == "fast":
            self.attributes.add("fast_motion")
        low, high = {"still": (0.02, 0.3), "slow": (0.4, 1.5), "medium": (1.5, 3.5), "fast": (4, 8)}[pace]
        path = middle + self.wander(float(rng.uniform(low, high)) * self.unit, reach)
        if self.length >= 30 and self.plan.x_failure is None and self.chance(0.1):  # it leaves the view and comes back
            start = rng.uniform(0.3, 0.7) * self.length
            away = bump(self.tau, start, start + rng.uniform(14, 26), 5)
            side = rng.choice([-1.0, 1.0])
            exit_x = (self.width if side > 0 else 0) + side * size * 1.2
            path[:, 0] += away * (exit_x - path[:, 0])
        return path

    def draw_camera(self, target: np.ndarray) -> Camera:
        """Draw a camera: fixed, hand-held, panning, following, or moving around a target (T, 2) that stands still."""
        rng, count = self.rng, len(self.tau)
        mode = str(rng.choice(["fixed", "shake", "pan", "follow", "around"], p=[0.22, 0.15, 0.2, 0.15, 0.28]))
        zoom, angle, pan = np.ones(count), np.zeros(count), np.zeros((count, 2))
        if mode != "fixed":
            self.attributes.add("camera_motion")
            shake = rng.uniform(0, 5) if mode == "shake" else rng.uniform(0, 1.2)
            for k in range(2):
                pan[:, k] += shake * self.unit * make_wave(rng, rng.uniform(7, 25), self.tau, 4)
            angle += np.radians(rng.uniform(0, 4)) * make_wave(rng, rng.uniform(30, 150), self.tau)
            zoom *= np.exp(rng.uniform(0, 0.15) * make_wave(rng, rng.uniform(60, 200), self.tau))
        if mode == "pan":
            pan += self.wander(rng.uniform(0.5, 4) * self.unit, np.array([self.width, self.height]) * 0.6)
        if mode == "follow":
            heading, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 4) * self.unit
            pan += speed * self.tau[:, None] * np.array([np.cos(heading), 0.4 * np.sin(heading)])
            pan += self.wander(rng.uniform(0.3, 2) * self.unit, np.array([40.0, 20.0]) * self.unit)
        camera = Camera(zoom, angle, pan, self.center)
        if mode == "around":
            self.attributes.add("static_target")
            camera = camera.showing(rng.uniform(-0.25, 0.25, 2) * (self.width, self.height), target)
        return camera

    def pose(self, kind: str, sprite: Sprite, rigid: bool = False) -> Pose:
        """Draw how an actor turns, shears, moves its parts and, for soft kinds of `SHAPES`, waves."""
        rng, count = self.rng, len(self.tau)
        angle, shear, warp = np.zeros(count), np.zeros(count), self.tau * rng.uniform(0.1, 0.5)
        amount = 0.0
        if not rigid:
            angle += np.radians(rng.uniform(0, 7)) * make_wave(rng, rng.uniform(15, 60), self.tau)
            shear += rng.uniform(0, 0.1) * make_wave(rng, rng.uniform(20, 60), self.tau)
            if rng.random() < 0.3 and kind in ("ball", "case", "polygon", "blob", "animal"):
                amount = float(rng.uniform(0.02, 0.06))
        phase = np.floor(self.tau * rng.uniform(0.15, 0.5) + 10).astype(int) % len(sprite.color)
        return Pose(angle, shear, phase, warp, amount)

    def spin(self, pose: Pose, probability: float, fastest: float) -> Pose:
        """Let a pose, sometimes, turn all the time, at most `fastest` radians per frame."""
        if not self.chance(probability, "rotation"):
            return pose
        return replace(pose, angle=pose.angle + self.rng.choice([-1, 1]) * self.rng.uniform(0.01, fastest) * self.tau)

    def growth(self, probability: float, largest: float) -> tuple[np.ndarray, np.ndarray]:
        """Draw how the target comes nearer and goes away.

        With the given probability its scale changes enough for an attribute, its logarithm by `largest` at most.

        Returns:
            (T,) the scale's logarithm, at most 0, and the scale in the image, at most 1: the camera zooms, too.
        """
        rng = self.rng
        amount = rng.uniform(0.35, largest) if self.chance(probability, "scale_change") else rng.uniform(0.02, 0.25)
        log_scale = amount * make_wave(rng, rng.uniform(0.8, 2.5) * max(self.length, 30), self.tau, 2)
        log_scale -= log_scale.max()
        return log_scale, np.exp(log_scale) * self.camera.zoom / self.camera.zoom.max()

    def squeeze(self, strength: float, fastest: float) -> np.ndarray:
        """Draw a factor (T,) on the target's width; its period is `fastest` to 120 frames."""
        if not self.chance(0.25, "aspect_change"):
            return np.ones(len(self.tau))
        return np.exp(strength * (make_wave(self.rng, self.rng.uniform(fastest, 120), self.tau) - 0.5))

    def along(self, at: int, point: np.ndarray, speed: float) -> np.ndarray:
        """Draw a path (T, 2) of something that moves by itself and is at the image point (2,) at time index `at`."""
        heading = self.rng.uniform(0, 2 * np.pi)
        moved = (self.tau - self.tau[at])[:, None] * speed * np.array([np.cos(heading), np.sin(heading)])
        if speed > 0:
            waves = np.stack([make_wave(self.rng, self.rng.uniform(20, 80), self.tau) for _ in range(2)], -1)
            moved = moved + 12 * self.unit * (waves - waves[at])
        return self.camera.project(self.camera.lift(point, at) + moved)

    def add_twin(self, kind: str, path: np.ndarray, apart: float) -> None:
        """Add a twin of the target: the same look and pose, only place, temperature and distance tell them apart."""
        target = self.target
        temperature = self.warm - 0.6 * (target.temperature - self.warm) + self.rng.normal(0, 6)
        self.pose(kind, target.sprite)  # not used; the draws that follow depend on it
        temperature = float(np.clip(temperature, 5, 245))
        distance = target.distance * apart
        self.actors.append(
            Actor("twin", target.sprite, path, target.scale, target.pose, distance, temperature, target.heat_gain)
        )

    def finish(self, natural: bool = False) -> Scene:
        """Put the background behind all actors and note the planned failures; see `Scene`."""
        nearest = float(np.percentile(self.background.nearness[::4, ::4], 95))  # nothing stands behind its background
        distance = float(self.target.distance.max() * max(self.rng.uniform(1.25, 2.4), 1.12 * nearest))
        if self.plan.rgb_failure:
            self.attributes |= {self.plan.rgb_failure, "rgb_failure"}
        if self.plan.x_failure:
            self.attributes |= {self.plan.x_failure, "x_failure"}
        # Where RGB works, many targets lie on what is behind them: a cup on a table, a bag on the floor. Drawn from a
        # stream of its own: the pictures of the other sensors stay as they are.
        relief, rng = None, self.rng.spawn(1)[0]
        if self.modality == "rgbd" and not self.plan.needs_x and rng.random() < 0.6:
            self.attributes.add("low_relief")
            relief = float(rng.uniform(0.004, 0.06))
        size = (self.width, self.height, self.length)
        return Scene(self.modality, *size, self.background, self.camera, distance, tuple(self.actors), self.plan,
                     self.schedules, self.attributes, relief, natural)  # fmt: skip


class _DrawnScene(Builder):
    """Draws a scene of procedural objects. Similar objects copy the target's kind, colors, seed and size."""

    def add_target(self) -> None:
        """Draw the target and the camera."""
        rng = self.rng
        self.kind = str(rng.choice(list(SHAPES)))
        size = float(np.clip(np.exp(rng.normal(np.log(36), 0.42)), 19, 80)) * self.unit
        self.colors, self.seed, self.size = palette(rng), int(rng.integers(2**31)), size * 1.25
        path = self.target_path(size)
        self.camera = self.draw_camera(path)
        log_scale, relative = self.growth(0.35, 0.7)
        sprite = make_sprite(self.seed, self.kind, max(self.size, 18 * self.unit), self.colors)
        pose = self.pose(self.kind, sprite)
        if pose.warp_amount:
            self.attributes.add("deformation")
        if self.kind in ARTICULATED:
            self.attributes.add("articulation")
        pose = self.spin(pose, 0.15, 0.06)
        scale = np.stack([relative * self.squeeze(0.4, 40), relative], -1)
        # from within arm's reach to across a hall, near as often as far
        distance = float(np.exp(rng.uniform(np.log(450), np.log(4500)))) / np.exp(log_scale - log_scale.mean())

        # Mostly warmer than the place, now and then colder.
        self.warm = float(np.median(self.background.temperature))
        difference = rng.uniform(26, 105) if rng.random() < 0.75 else -rng.uniform(25, 60)
        temperature = float(np.clip(self.warm + difference, 8, 240))
        heat_gain = float(rng.uniform(0.25, 0.7))
        self.actors.append(Actor("target", sprite, path, scale, pose, distance, temperature, heat_gain))

    def moment(self) -> int:
        """Draw a time index at which something is to be near the target."""
        return int(self.rng.integers(min(6, self.length), self.length + 1))

    def add_bystanders(self) -> None:
        """Add unrelated objects, static or moving, farther than the target."""
        rng = self.rng
        for _ in range(int(rng.integers(0, 6))):
            kind = str(rng.choice(list(SHAPES)))
            size = float(np.exp(rng.uniform(np.log(14), np.log(60)))) * self.unit
            sprite = make_sprite(int(rng.integers(2**31)), kind, size, palette(rng))
            at = self.moment()
            point = rng.uniform(-0.1, 1.1, 2) * (self.width, self.height)
            path = self.along(at, point, float(rng.choice([0.0, rng.uniform(0.3, 4)])) * self.unit)
            distance = np.full(len(self.tau), self.target.distance.mean() * rng.uniform(1.08, 1.7))
            temperature = float(np.clip(self.warm + rng.normal(0, 40), 5, 245))
            pose = self.pose(kind, sprite, rigid=rng.random() < 0.5)
            self.actors.append(
                Actor(
                    "bystander", sprite, path, self.camera.scale, pose, distance, temperature, 0.4, rng.random() < 0.1
                )
            )

    def add_distractors(self) -> None:
        """Add relatives (same kind, other details), twins, and thermal twins (same shape and temperature)."""
        rng, target = self.rng, self.target
        roles = ["relative"] * int(rng.integers(0, 4)) if self.chance(0.65) else []
        if self.plan.rgb_failure == "similar_rgb":
            roles += ["twin"] * int(rng.integers(2, 5))
        elif self.chance(0.12):
            self.attributes.add("similar_x")
            roles += ["x_twin"]
        if "relative" in roles:
            self.attributes.add("distractor")
        for k, role in enumerate(roles):
            at = self.moment()
            if role == "twin":  # crossings spread over the window in which RGB is to fail
                low, high = self.plan.rgb_window[0], min(self.plan.rgb_window[1], self.length)
                at = int(np.clip(low + (high - low) * (k + rng.uniform(0.1, 0.9)) / len(roles), 4, self.length))
            offset = rng.normal(0, 0.25 if role == "twin" else 2.0, 2) * self.size
            speed = rng.uniform(1.0, 4) if role == "twin" else rng.choice([0.0, rng.uniform(0.2, 4)])
            path = self.along(at, target.position[at] + offset, speed * self.unit)
            apart = float(rng.choice([rng.uniform(0.55, 0.75), rng.uniform(1.3, 1.6)]))
            if role == "twin":
                self.add_twin(self.kind, path, apart)
                continue
            temperature, distance, scale = target.temperature, target.distance, target.scale
            if role == "x_twin":
                sprite = make_sprite(self.seed, self.kind, self.size, palette(rng))
            else:
                size = self.size * float(np.exp(rng.normal(0, 0.15)))
                colors = self.colors if rng.random() < 0.5 else palette(rng)
                sprite = make_sprite(int(rng.integers(2**31)), self.kind, size, colors)
                temperature, distance = temperature + rng.normal(0, 15), distance * apart
                scale = np.full_like(scale, scale[1].mean())
            pose, temperature = self.pose(self.kind, sprite), float(np.clip(temperature, 5, 245))
            self.actors.append(Actor(role, sprite, path, scale, pose, distance, temperature, target.heat_gain))

    def add_occluders(self) -> None:
        """Add objects that pass, or stand, in front of the target at some moment."""
        rng, target = self.rng, self.target
        if not self.chance(0.35):
            return
        full = self.chance(0.35)
        for _ in range(int(rng.integers(1, 3))):
            kind = str(rng.choice(["tower", "case", "human", "car_side", "polygon", "blob", "tower", "bus"]))
            big = self.size * (rng.uniform(1.5, 2.2) if full else rng.uniform(0.6, 1.1))
            sprite = make_sprite(int(rng.integers(2**31)), kind, big, palette(rng), still=True)
            at = int(rng.integers(max(min(10, self.length), self.length // 5), self.length + 1))
            point = target.position[at] + rng.normal(0, 0.15, 2) * self.size
            path = self.along(at, point, rng.uniform(2.0, 5) * self.unit)
            distance = target.distance * rng.uniform(0.55, 0.8)
            temperature = float(np.clip(self.warm + rng.normal(0, 30), 5, 245))
            scale, pose = np.ones_like(target.scale), self.pose(kind, sprite, rigid=True)
            self.actors.append(Actor("occluder", sprite, path, scale, pose, distance, temperature, 0.3))


def make_scene(rng: np.random.Generator, modality: str, length: int, width: int, height: int) -> Scene:
    """Draw one scene of `length` frames; the view is width x height pixels, the modality says what can fail."""
    scene = _DrawnScene(rng, modality, length, width, height)
    scene.background = make_background(rng, int(height * _CANVAS), int(width * _CANVAS))
    scene.add_target()
    scene.add_bystanders()
    scene.add_distractors()
    scene.add_occluders()
    return scene.finish()
