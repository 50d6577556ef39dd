"""Drawing a scene of real pictures: cut-out objects and shapes clothed in photographs, in photographed places.

Like `compose`, everything comes from one generator in a fixed order.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from lib.synthetic.compose import finish_scene
from lib.synthetic.motion import make_wave
from lib.synthetic.painter import Sprite
from lib.synthetic.photo_builder import Look, PhotoBuilder
from lib.synthetic.photo_others import make_others
from lib.synthetic.photo_sprites import film_sprite, part_of, region_sprite
from lib.synthetic.pictures import Cutout, Pictures
from lib.synthetic.scene import Actor, Camera, Scene
from lib.synthetic.shapes import SHAPES, make_sprite
from lib.synthetic.textures import palette

__all__ = ["make_photo_scene"]


def _size(b: PhotoBuilder) -> float:
    return float(np.clip(np.exp(b.rng.normal(np.log(40), 0.72)), 9, 190)) * b.unit


def _first_sprite(b: PhotoBuilder, kind: str, size: float) -> tuple[Sprite, Cutout | None]:
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


def _target(b: PhotoBuilder) -> tuple[list[Actor], Camera, Look]:
    """The target, first, and the object it is a part of, if any; the camera; and what similar objects copy."""
    rng, kind, size = b.rng, b.kind, _size(b)
    if kind == "filmed":
        return _filmed(b, size)
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
    look = Look(sprite, size * 1.2, b.warm, cutout)
    whole = b.actor("target", sprite, path, scale, distance, pose)
    if kind != "part":
        return [whole], camera, look
    part = b.actor("target", part_of(rng, sprite), path, scale, distance * 0.9995, pose, painted=False, sensed=False)
    return [part, b.actor("whole", sprite, path, scale, distance, pose)], camera, look


def _filmed(b: PhotoBuilder, size: float) -> tuple[list[Actor], Camera, Look]:
    """What moves in a clip, as it was filmed, through a camera that follows it more or less."""
    rng, place = b.rng, b.background
    sprite = film_sprite(b.pictures, rng, b.film, b.chosen)
    h, w = place.frames[0].shape[:2]
    own = np.array([b.film.boxes[k] for k in b.chosen], np.float64)
    whole = max(b.width / w, b.height / h)  # the view shows all of the clip
    place.scale = float(np.clip(size / np.median(np.sqrt(own[:, 2] * own[:, 3])), 0.95 * whole, 3 * whole))
    world = ((own[:, :2] + own[:, 2:] / 2 - (w / 2, h / 2)) * place.scale)[place.playing]
    zoom = np.exp(rng.uniform(0, 0.25) * make_wave(rng, rng.uniform(40, 200), 2)(b.tau))
    angle = np.radians(rng.uniform(0, 6)) * make_wave(rng, rng.uniform(25, 120))(b.tau)
    camera = Camera(zoom / zoom.max(), angle, np.zeros((len(zoom), 2)), b.centre)
    follow = rng.choice([rng.uniform(0, 0.4), rng.uniform(0.4, 1.05)])
    aim = follow * world + (1 - follow) * world.mean(axis=0)
    aim = aim + rng.normal(0, 0.1, 2) * (b.width, b.height)
    room = np.maximum(np.array([w, h]) * place.scale / 2 - b.centre, 0)  # the clip's edge stays out of sight
    pan = b.shake - np.einsum("tij,tj->ti", camera.linear(), np.clip(aim, -room, room))
    camera = replace(camera, pan=pan)
    b.attributes |= {"camera_motion", "articulation"}
    scale = np.repeat(camera.zoom[:, None], 2, 1) * place.scale
    pose = {**b.still(camera, sprite), "phase": place.playing}
    path = camera.centre + camera.pan + np.einsum("tij,tj->ti", camera.linear(), world)
    target = b.actor("target", sprite, path, scale, rng.uniform(900, 4200) / camera.zoom, pose, painted=False)
    return [target], camera, Look(sprite, size, b.warm, b.film)


def _region(b: PhotoBuilder, size: float) -> tuple[list[Actor], Camera, Look]:
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
                     painted=False, sensed=False)  # fmt: skip
    gray = cv2.cvtColor(b.background.albedo, cv2.COLOR_BGR2GRAY).astype(np.float32)
    h, w = gray.shape
    places = rng.uniform(-0.32, 0.32, (24, 2)) * (w, h)
    detail = []
    for x, y in places + np.array([w, h]) / 2:
        part = gray[max(0, int(y - height / 2)) : int(y + height / 2), max(0, int(x - width / 2)) : int(x + width / 2)]
        detail.append(float(part.std()) if part.size else 0.0)
    world = places[int(np.argmax(detail))] * b.background.scale
    pan = path - b.centre - np.einsum("tij,j->ti", camera.linear(), world)
    return [target], Camera(camera.zoom, camera.angle, pan, b.centre), Look(sprite, size, b.warm, None)


def _rolling(b: PhotoBuilder, camera: Camera) -> Camera:
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
    b = PhotoBuilder(rng, modality, length, width, height, pictures)
    (target, *rest), camera, look = _target(b)
    others = [*rest, *make_others(b, camera, target, look)]
    camera = _rolling(b, camera)
    return finish_scene(b, camera, (target, *others), natural=True)
