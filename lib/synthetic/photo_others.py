"""Who else is there in a scene of real pictures: rows of equals, crowds, twins, bystanders, occluders."""

from __future__ import annotations

import numpy as np

from lib.synthetic.compose import make_like
from lib.synthetic.painter import Sprite
from lib.synthetic.photo_builder import Look, PhotoBuilder
from lib.synthetic.scene import Actor, Camera

__all__ = ["make_others"]


def _copy(b: PhotoBuilder, look: Look, same: bool) -> Sprite:
    """An equal of the target (`same`: its very pictures) or another of its kind."""
    if same or b.rng.random() < 0.6:
        return look.sprite
    size = look.size * float(np.exp(b.rng.normal(0, 0.12)))
    if look.cutout is None:
        return b.shape(size)
    return b.cut(look.cutout if b.rng.random() < 0.5 else b.pick(look.cutout.kind), size, 0.1)


def _row(b: PhotoBuilder, camera: Camera, target: Actor, look: Look) -> list[Actor]:
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


def _crowd(b: PhotoBuilder, camera: Camera, target: Actor, look: Look) -> list[Actor]:
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


def _twins(b: PhotoBuilder, camera: Camera, target: Actor, look: Look) -> list[Actor]:
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


def _bystanders(b: PhotoBuilder, camera: Camera, target: Actor) -> list[Actor]:
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
        if b.kind in ("region", "filmed"):  # the target is in the place's picture: whatever is painted hides it
            distance = target.distance.min() * rng.uniform(0.6, 0.95)
        actors.append(b.actor("bystander", sprite, path, scale, distance, pose, reflective=rng.random() < 0.1))
    return actors


def _occluders(b: PhotoBuilder, camera: Camera, target: Actor, size: float) -> list[Actor]:
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


def make_others(b: PhotoBuilder, camera: Camera, target: Actor, look: Look) -> list[Actor]:
    """Everyone but the target, as the kind of scene asks for."""
    others = _bystanders(b, camera, target)
    if b.kind == "row":
        others += _row(b, camera, target, look)
    elif b.kind == "crowd":
        others += _crowd(b, camera, target, look)
    elif b.kind not in ("region", "filmed"):
        others += _twins(b, camera, target, look)
    return others + _occluders(b, camera, target, look.size)
