"""Paints a scene at one time: clean albedo, temperature, distance, and the target's exact silhouette."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lib.synthetic.backgrounds import look_up
from lib.synthetic.scene import Actor, Camera, Scene
from lib.synthetic.textures import overlap

_VISIBLE_SHARE = 0.03  # of the silhouette; below it the target counts as fully occluded


@dataclass(frozen=True)
class View:
    """A scene at one time, before any sensor looks.

    Attributes:
        color: (H, W, 3) uint8, B,G,R, evenly lit, sharp.
        temperature: (H, W) uint8, or None if the modality has no use for it.
        distance: (H, W) float32, millimeters, or None.
        reflective: (H, W) bool where a depth sensor gets no answer, or None.
        box: (4,) float64 xywh pixels, tight around the target's silhouette as if nothing stood in front of it,
            clipped to the image; all 0 when no silhouette pixel is inside the image.
        inside: share of the whole silhouette that is inside the image, 0…1.
        occluded: share of the silhouette inside the image that something nearer hides, 0…1.
        contrast: mean difference the target makes to color, 0…255, over its silhouette; for a target that is a part of
            what is there, the standard deviation of color over it.
        silhouette: (H, W) bool, un-occluded.
    """

    color: np.ndarray
    temperature: np.ndarray | None
    distance: np.ndarray | None
    reflective: np.ndarray | None
    box: np.ndarray
    inside: float
    occluded: float
    contrast: float
    silhouette: np.ndarray

    @property
    def visible(self) -> float:
        """Share of the whole silhouette that is inside the image and not occluded, 0…1."""
        return self.inside * (1 - self.occluded)

    @property
    def absent(self) -> bool:
        """Fully out of view or fully occluded."""
        return self.visible < _VISIBLE_SHARE


@dataclass(frozen=True)
class _Stamp:
    """An actor's warped sprite at one time: color (h, w, 4) and heat (h, w), uint8, and where they lie in the image."""

    color: np.ndarray
    heat: np.ndarray | None
    left: int
    top: int


def _stamp(actor: Actor, camera: Camera, t: int, warm: bool, shape: tuple[int, int] | None) -> _Stamp | None:
    """Warp an actor's sprite.

    Args:
        actor, camera, t: what is seen, how and when.
        warm: whether its heat is wanted.
        shape: height and width of the image, to skip an actor outside of it; None: it is never skipped.
    """
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
    return _Stamp(color, heat, int(left), int(top))


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
        stamp = _stamp(actor, camera, t, temperature is not None, None if target else shape)
        if stamp is None:
            continue
        if target:
            area = max(int((stamp.color[..., 3] > 127).sum()), 1)
        windows = overlap(stamp.left, stamp.top, stamp.color.shape, shape)
        if windows is None:
            continue
        image, part = windows
        paint = stamp.color[part]
        solid = paint[..., 3] > 127
        before = color[image].copy()
        if actor.painted:  # colors are multiplied by alpha already
            keep = cv2.cvtColor(255 - paint[..., 3], cv2.COLOR_GRAY2BGR)
            color[image] = cv2.add(cv2.multiply(before, keep, scale=1 / 255), np.ascontiguousarray(paint[..., :3]))
        if actor.sensed and temperature is not None and stamp.heat is not None:
            alpha = paint[..., 3].astype(np.float32) * (1 / 255)
            if target:
                alpha *= 1 - scene.schedules.crossover[t]
            warm = actor.temperature + actor.heat_gain * (stamp.heat[part].astype(np.float32) - 128)
            base = temperature[image].astype(np.float32)
            temperature[image] = np.clip(base + alpha * (warm - base), 0, 255).astype(np.uint8)
        if actor.sensed and distance is not None and reflective is not None:
            layer, relief = distance[image], scene.relief
            layer[solid] = layer[solid] * (1 - relief) if target and relief is not None else actor.distance[t]
            reflective[image][solid] = actor.reflective
        if not target:
            hidden[image] |= solid & silhouette[image]
            continue
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
