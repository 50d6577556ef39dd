"""Kinds of objects: each a function that paints textured, warm or cold parts at one phase of its movement."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from lib.synthetic.painter import Painter, Sprite
from lib.synthetic.textures import fractal, palette, texture

__all__ = ["ARTICULATED", "SHAPES", "make_sprite"]

_PHASES = 6


def _fill(p: Painter, plain: float = 0.5) -> np.ndarray:
    """A colour of the object's palette (with probability `plain`) or a texture made of it."""
    if p.rng.random() < plain:
        return p.colors[p.rng.integers(len(p.colors))]
    return texture(p.rng, 48, 48, p.rng.permutation(p.colors))


def _marks(p: Painter, count: int) -> None:
    """Small parts that stay within the outline: labels, lamps, panels."""
    outline = p.alpha.copy()
    before, heat = p.albedo.copy(), p.heat.copy()
    for _ in range(count):
        x, y = p.rng.uniform(0.15, 0.85, 2)
        w, h = p.rng.uniform(0.06, 0.28, 2)
        if p.rng.random() < 0.5:
            p.ellipse(x, y, w / 2, h / 2, _fill(p, 0.8), int(p.rng.integers(90, 190)))
        else:
            p.box(x - w / 2, y - h / 2, x + w / 2, y + h / 2, _fill(p, 0.7), int(p.rng.integers(90, 190)))
    outside = outline == 0
    p.albedo[outside], p.heat[outside], p.alpha[outside] = before[outside], heat[outside], 0


def _ball(p: Painter, phase: float) -> None:
    p.ellipse(0.5, 0.5, 0.5, 0.5, _fill(p, 0.3))
    _marks(p, int(p.rng.integers(0, 4)))


def _case(p: Painter, phase: float) -> None:
    r = p.rng.uniform(0, 0.3)
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    c, s = np.cos(angle), np.sin(angle)
    power = 2 / (2 + (0.4 - r) * 20)
    p.polygon(
        0.5 + 0.5 * np.stack([np.sign(c) * np.abs(c) ** power, np.sign(s) * np.abs(s) ** power], -1), _fill(p, 0.4)
    )
    _marks(p, int(p.rng.integers(0, 6)))


def _polygon(p: Painter, phase: float) -> None:
    n = int(p.rng.integers(3, 9))
    angle = np.sort(np.linspace(0, 2 * np.pi, n, endpoint=False) + p.rng.uniform(-0.3, 0.3, n))
    radius = p.rng.uniform(0.3, 0.5, n)
    p.polygon(0.5 + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1), _fill(p, 0.4))
    _marks(p, int(p.rng.integers(0, 4)))


def _blob(p: Painter, phase: float) -> None:
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    radius = np.full_like(angle, 1.0)
    for k in range(2, 6):
        a, shift = p.rng.uniform(0, 0.5 / k), p.rng.uniform(0, 2 * np.pi)
        radius += a * np.sin(k * angle + shift + 0.6 * np.sin(phase + k))
    radius *= 0.5 / radius.max()
    p.polygon(0.5 + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1), _fill(p, 0.3))
    _marks(p, int(p.rng.integers(0, 5)))


def _human(p: Painter, phase: float) -> None:
    shirt, trousers, skin, hair = _fill(p, 0.6), _fill(p, 0.8), palette(p.rng, 1, "natural")[0], p.colors[-1]
    swing = 0.28 * np.sin(phase)
    for side in (-1, 1):
        knee = (0.5 + 0.09 * side + 0.6 * side * swing, 0.74)
        p.limb((0.5 + 0.09 * side, 0.52), knee, 0.22, trousers)
        p.limb(knee, (0.5 + 0.09 * side + side * swing, 0.99), 0.18, trousers)
        p.limb((0.5 + 0.2 * side, 0.22), (0.5 + 0.3 * side - 0.9 * side * swing, 0.52), 0.15, shirt)
    p.polygon(np.array([(0.24, 0.18), (0.76, 0.18), (0.68, 0.55), (0.32, 0.55)]), shirt, 135)
    p.ellipse(0.5, 0.09, 0.17, 0.09, skin, 190)
    p.polygon(np.array([(0.34, 0.08), (0.4, 0.0), (0.6, 0.0), (0.66, 0.08), (0.5, 0.05)]), hair, 150)


def _animal(p: Painter, phase: float) -> None:
    coat = _fill(p, 0.4)
    for k, x in enumerate((0.2, 0.3, 0.62, 0.72)):
        p.limb((x, 0.6), (x + 0.1 * np.sin(phase + 1.7 * k), 0.99), 0.07, coat)
    p.ellipse(0.46, 0.48, 0.36, 0.24, coat, 140)
    p.limb((0.12, 0.42), (0.02, 0.15 + 0.1 * np.sin(phase)), 0.05, coat)
    p.limb((0.72, 0.4), (0.86, 0.2), 0.16, coat)
    p.ellipse(0.88, 0.18, 0.12, 0.15, coat, 175)


def _car_side(p: Painter, phase: float) -> None:
    body, glass = _fill(p, 0.8), palette(p.rng, 1, "dark")[0]
    roof = p.rng.uniform(0.2, 0.35), p.rng.uniform(0.6, 0.85)
    p.polygon(np.array([(0.1, 0.5), (roof[0], 0.05), (roof[1], 0.05), (0.92, 0.48)]), body)
    p.polygon(np.array([(0.2, 0.46), (roof[0] + 0.03, 0.13), (roof[1] - 0.03, 0.13), (0.84, 0.46)]), glass, 110)
    p.box(0.0, 0.45, 1.0, 0.82, body)
    p.box(0.0, 0.52, 0.06, 0.62, p.rng.integers(150, 256, 3).astype(np.uint8), 200)
    p.box(0.75, 0.5, 0.98, 0.6, body, 215)
    for x in (0.22, 0.78):
        p.ellipse(x, 0.82, 0.1, 0.18, np.full(3, 25, np.uint8), 175)
        p.ellipse(x, 0.82, 0.05, 0.09, np.full(3, 150, np.uint8), 150)


def _car_end(p: Painter, phase: float) -> None:
    body, glass = _fill(p, 0.85), palette(p.rng, 1, "dark")[0]
    lamp = p.rng.integers(170, 256, 3).astype(np.uint8)
    p.polygon(np.array([(0.18, 0.0), (0.82, 0.0), (0.98, 0.45), (0.02, 0.45)]), body)
    p.polygon(np.array([(0.24, 0.06), (0.76, 0.06), (0.88, 0.4), (0.12, 0.4)]), glass, 105)
    p.box(0.0, 0.42, 1.0, 0.86, body, 150)
    p.box(0.05, 0.84, 0.25, 1.0, np.full(3, 20, np.uint8), 180)
    p.box(0.75, 0.84, 0.95, 1.0, np.full(3, 20, np.uint8), 180)
    for x in (0.14, 0.86):
        p.ellipse(x, 0.58, 0.1, 0.09, lamp, 220)
    p.box(0.35, 0.62, 0.65, 0.74, np.full(3, 210, np.uint8), 170)


def _bus(p: Painter, phase: float) -> None:
    body, glass = _fill(p, 0.8), palette(p.rng, 1, "dark")[0]
    lamp = p.rng.integers(170, 256, 3).astype(np.uint8)
    p.box(0.0, 0.0, 1.0, 0.93, body)
    top, bottom = p.rng.uniform(0.08, 0.18), p.rng.uniform(0.45, 0.62)
    panes = int(p.rng.integers(1, 7))
    for k in range(panes):
        p.box(0.05 + 0.9 * k / panes, top, 0.03 + 0.9 * (k + 1) / panes, bottom, glass, 110)
    if p.rng.random() < 0.5:
        p.box(0.0, 0.7, 1.0, 0.78, _fill(p, 0.9))
    for x in (0.15, 0.85):
        p.ellipse(x, 0.82, 0.07, 0.06, lamp, 220)
        p.box(x - 0.1, 0.9, x + 0.1, 1.0, np.full(3, 20, np.uint8), 180)


def _mug(p: Painter, phase: float) -> None:
    body, side = _fill(p, 0.6), p.rng.choice([-1, 1])
    edge = 0.5 + 0.24 * side
    p.ellipse(edge, 0.5, 0.26, 0.3, body)
    hole = np.zeros_like(p.alpha)
    center, axes = (int(edge * p.width), int(0.5 * p.height)), (int(0.16 * p.width), int(0.19 * p.height))
    cv2.ellipse(hole, center, axes, 0, 0, 360, 255, -1)
    p.alpha[hole > 0] = 0
    left, right = (0.0, 0.76) if side > 0 else (0.24, 1.0)
    p.box(left, 0.1, right, 0.9, body)
    middle, radius = (left + right) / 2, (right - left) / 2
    p.ellipse(middle, 0.9, radius, 0.1, body)
    p.ellipse(middle, 0.1, radius, 0.1, palette(p.rng, 1)[0], 210)
    if p.rng.random() < 0.5:
        p.box(left + 0.12, 0.35, right - 0.12, 0.7, _fill(p, 0.3))


def _tower(p: Painter, phase: float) -> None:
    p.box(0.0, 0.0, 1.0, 1.0, _fill(p, 0.7))
    p.box(0.0, 0.0, p.rng.uniform(0.1, 0.3), 1.0, _fill(p, 0.8))
    for y in np.sort(p.rng.uniform(0.05, 0.95, int(p.rng.integers(1, 7)))):
        p.box(0.2, y, 0.9, y + p.rng.uniform(0.01, 0.06), _fill(p, 0.9), int(p.rng.integers(110, 200)))


def _bottle(p: Painter, phase: float) -> None:
    body = _fill(p, 0.6)
    neck = p.rng.uniform(0.12, 0.25)
    shoulders = [(0.5 - neck, 0.0), (0.5 + neck, 0.0), (0.5 + neck, 0.2), (1.0, 0.38), (1.0, 1.0)]
    p.polygon(np.array([*shoulders, (0.0, 1.0), (0.0, 0.38), (0.5 - neck, 0.2)]), body, 110)
    p.box(0.0, 0.5, 1.0, 0.8, _fill(p, 0.3))
    p.box(0.5 - neck, 0.0, 0.5 + neck, 0.08, _fill(p, 1.0))


def _aircraft(p: Painter, phase: float) -> None:
    body = _fill(p, 0.7)
    beat = 0.15 * np.sin(phase)
    p.polygon(np.array([(0.5, 0.35), (1.0, 0.45 + beat), (1.0, 0.55 + beat), (0.5, 0.6)]), body, 120)
    p.polygon(np.array([(0.5, 0.35), (0.0, 0.45 + beat), (0.0, 0.55 + beat), (0.5, 0.6)]), body, 120)
    p.ellipse(0.5, 0.5, 0.12, 0.5, _fill(p, 0.8), 150)
    p.box(0.32, 0.85, 0.68, 0.95, body)
    p.ellipse(0.5, 0.2, 0.07, 0.12, p.colors[-1], 200)


# name: (painter, range of width / height)
SHAPES: dict[str, tuple[Callable[[Painter, float], None], tuple[float, float]]] = {
    "ball": (_ball, (0.6, 1.6)),
    "case": (_case, (0.4, 2.4)),
    "polygon": (_polygon, (0.6, 1.6)),
    "blob": (_blob, (0.6, 1.6)),
    "human": (_human, (0.36, 0.5)),
    "animal": (_animal, (1.1, 1.7)),
    "car_side": (_car_side, (1.8, 2.8)),
    "car_end": (_car_end, (0.9, 1.3)),
    "bus": (_bus, (0.7, 2.2)),
    "mug": (_mug, (0.8, 1.2)),
    "tower": (_tower, (0.22, 0.6)),
    "bottle": (_bottle, (0.28, 0.5)),
    "aircraft": (_aircraft, (1.0, 2.0)),
}
ARTICULATED = ("human", "animal", "aircraft", "blob")


def _light(rng: np.random.Generator) -> np.ndarray:
    """A (64, 64) light map: a lamp from some side, a cylinder's falloff, or nearly flat."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j].astype(np.float32)
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.4)
    light = 1 + strength * (x * np.cos(angle) + y * np.sin(angle))
    if rng.random() < 0.5:
        light = light * (1 - rng.uniform(0, 0.5) * x**2)
    grain = rng.uniform(0.0, 0.5) * (fractal(rng, 64, 64, 3, 5) - 0.5)
    return (rng.uniform(0.9, 1.15) * light * (1 + grain)).astype(np.float32)


def make_sprite(seed: int, kind: str, size: float, colors: np.ndarray, still: bool = False) -> Sprite:
    """Draw one object.

    Args:
        seed: decides every detail; two calls with the same arguments give the same object.
        kind: a name of `SHAPES`.
        size: sqrt(width * height) of the drawing, pixels.
        colors: (n, 3) uint8 palette.
        still: only one phase even for a kind that moves its parts.
    """
    paint, (low, high) = SHAPES[kind]
    rng = np.random.default_rng(seed)
    aspect = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    width, height = max(4, round(size * aspect**0.5)), max(4, round(size / aspect**0.5))
    light = _light(rng)
    phases = _PHASES if kind in ARTICULATED and not still else 1
    drawn = []
    for k in range(phases):
        painter = Painter(np.random.default_rng(seed + 1), width, height, colors)
        paint(painter, 2 * np.pi * k / phases)
        drawn.append(painter.finish(light))
    return Sprite(tuple(color for color, _ in drawn), tuple(heat for _, heat in drawn))
