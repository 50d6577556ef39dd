"""Paints a scene at one time: clean albedo, temperature, distance, and the target's exact silhouette."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lib.synthetic.backgrounds import look_up
from lib.synthetic.scene import Actor, Camera, Scene

__all__ = ["View", "render"]

_VISIBLE_SHARE = 0.03  # of the silhouette; below it the target counts as fully occluded


@dataclass(frozen=True)
class View:
    """What is there before any sensor looks.

    Attributes:
        color: (H, W, 3) uint8, B,G,R, evenly lit, sharp.
        temperature: (H, W) uint8, or None if the modality has no use for it.
        distance: (H, W) float32, millimetres, or None.
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
    """An actor's warped sprite and where it lies in the image; the window may reach outside."""

    left: int
    top: int
    color: np.ndarray
    heat: np.ndarray | None

    def clip(self, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
        """Matching slices (image, stamp) of the part inside the image, or None."""
        h, w = self.color.shape[:2]
        x0, y0 = max(0, self.left), max(0, self.top)
        x1, y1 = min(width, self.left + w), min(height, self.top + h)
        if x1 <= x0 or y1 <= y0:
            return None
        inner = np.s_[y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left]
        return np.s_[y0:y1, x0:x1], inner


def _stamp(actor: Actor, camera: Camera, t: int, heat: bool, bounds: tuple[int, int] | None) -> _Stamp | None:
    """Warp an actor's sprite; with `bounds` (height, width) an actor outside of the image is skipped."""
    color = actor.sprite.color[actor.phase[t]]
    h, w = color.shape[:2]
    c, s = np.cos(actor.angle[t]), np.sin(actor.angle[t])
    scaling = np.array([[actor.scale[t, 0], actor.shear[t] * actor.scale[t, 0]], [0.0, actor.scale[t, 1]]])
    linear = np.array([[c, -s], [s, c]]) @ scaling
    position = actor.position[t]
    if camera.skew is not None:
        linear, position = camera.skew[t] @ linear, camera.centre + camera.skew[t] @ (position - camera.centre)
    half = np.abs(linear) @ (w / 2, h / 2) * (1 + actor.warp_amount)
    left, top = np.floor(position - half).astype(int) - 1
    right, bottom = np.ceil(position + half).astype(int) + 1
    if bounds and (right <= 0 or bottom <= 0 or left >= bounds[1] or top >= bounds[0]):
        return None
    offset = position - (left, top) - 0.5 - linear @ ((w - 1) / 2, (h - 1) / 2)
    size = (int(right - left), int(bottom - top))
    matrix = np.column_stack([linear, offset])
    warped = cv2.warpAffine(color, matrix, size, flags=cv2.INTER_LINEAR)
    warmth = None
    if heat:
        warmth = cv2.warpAffine(actor.sprite.heat[actor.phase[t]], matrix, size, flags=cv2.INTER_LINEAR,
                                borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
    if actor.warp_amount:
        y, x = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32)
        amount = actor.warp_amount * max(size)
        wave = np.float32(2 * np.pi / max(size))
        mx = x + np.float32(amount) * np.sin(wave * y + np.float32(actor.warp[t]))
        my = y + np.float32(0.6 * amount) * np.sin(wave * x + np.float32(1.3 * actor.warp[t]))
        warped = cv2.remap(warped, mx, my, cv2.INTER_LINEAR)
        warmth = cv2.remap(warmth, mx, my, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) if heat else None
    return _Stamp(int(left), int(top), warped, warmth)


def _over(base: np.ndarray, color: np.ndarray) -> None:
    """Blend premultiplied B,G,R,A `color` over `base` (h, w, 3) uint8 in place."""
    keep = cv2.cvtColor(255 - color[..., 3], cv2.COLOR_GRAY2BGR)
    base[...] = cv2.add(cv2.multiply(base, keep, scale=1 / 255), np.ascontiguousarray(color[..., :3]))


class _Layers:
    """The pictures under construction at one time."""

    def __init__(self, scene: Scene, t: int) -> None:
        self.scene, self.t = scene, t
        size, shape = (scene.width, scene.height), (scene.height, scene.width)
        camera, place = scene.camera, scene.background
        linear = camera.linear()[t] * place.scale
        middle = np.array([place.shape[1] - 1, place.shape[0] - 1]) / 2
        shown = camera.centre + camera.pan[t]
        if camera.skew is not None:
            linear, shown = camera.skew[t] @ linear, camera.centre + camera.skew[t] @ camera.pan[t]
        matrix = np.column_stack([linear, shown - 0.5 - linear @ middle])
        options = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REFLECT_101}
        albedo = place.frames[place.playing[t]] if place.frames else place.albedo
        self.color = cv2.warpAffine(albedo, matrix, size, **options)
        self.temperature = self.distance = self.reflective = None
        if scene.modality == "rgbt":
            still = cv2.warpAffine(place.temperature, matrix, size, **options)
            self.temperature = look_up(place.heat_table, self.color) if place.frames else still
        if scene.modality == "rgbd":
            self.distance = scene.distance / cv2.warpAffine(place.nearness, matrix, size, **options)
            self.reflective = np.zeros(shape, bool)
        self.silhouette = np.zeros(shape, bool)
        self.hidden = np.zeros(shape, bool)
        self.area, self.contrast = 1, 0.0
        self.box = np.zeros(4)

    def add(self, actor: Actor) -> None:
        """Put an actor in front of everything painted so far."""
        shape = self.silhouette.shape
        target = actor is self.scene.actors[0]
        stamp = _stamp(actor, self.scene.camera, self.t, self.temperature is not None, None if target else shape)
        slices = stamp.clip(*shape) if stamp else None
        solid = stamp.color[..., 3] > 127 if stamp else None
        if target:
            self.area = max(int(solid.sum()), 1)
        if slices is None:
            return
        image, inner = slices
        inside = solid[inner]
        before = self.color[image].copy() if target else None
        if actor.painted:
            _over(self.color[image], stamp.color[inner])
        if actor.sensed:
            self._x(actor, image, stamp, inner, inside, target)
        if target:
            self.silhouette[image] = inside
            self._measure(image, inside, before)
            if not actor.painted and inside.any():  # a part of what is there: how much there is to see on it
                self.contrast = float(self.color[image][inside].std(axis=0).mean())
        else:
            self.hidden[image] |= inside & self.silhouette[image]

    def _measure(self, image: tuple[slice, slice], inside: np.ndarray, before: np.ndarray) -> None:
        x, y, w, h = cv2.boundingRect(inside.astype(np.uint8))
        if w and h:
            self.box = np.array([x + image[1].start, y + image[0].start, w, h], np.float64)
            self.contrast = float(cv2.absdiff(self.color[image], before)[inside].mean())

    def _x(self, actor: Actor, image: tuple, stamp: _Stamp, inner: tuple, inside: np.ndarray, target: bool) -> None:
        if self.temperature is not None:
            alpha = stamp.color[inner][..., 3].astype(np.float32) * (1 / 255)
            if target:
                alpha *= 1 - self.scene.schedules.crossover[self.t]
            warm = actor.temperature + actor.heat_gain * (stamp.heat[inner].astype(np.float32) - 128)
            base = self.temperature[image].astype(np.float32)
            self.temperature[image] = np.clip(base + alpha * (warm - base), 0, 255).astype(np.uint8)
        if self.distance is not None:
            layer, relief = self.distance[image], self.scene.relief
            layer[inside] = layer[inside] * (1 - relief) if target and relief is not None else actor.distance[self.t]
            self.reflective[image][inside] = actor.reflective


def render(scene: Scene, t: int) -> View:
    """Paint the scene at time index `t` (0 is one frame before the first)."""
    layers = _Layers(scene, t)
    for actor in sorted(scene.actors, key=lambda a: -float(a.distance[t])):
        layers.add(actor)
    inside, hidden = int(layers.silhouette.sum()), int(layers.hidden.sum())
    return View(
        layers.color,
        layers.temperature,
        layers.distance,
        layers.reflective,
        layers.box,
        inside / layers.area,
        hidden / max(inside, 1),
        layers.contrast,
        layers.silhouette,
    )
