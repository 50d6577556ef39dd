"""Sprites from real pictures: cut-out objects that play their pictures, and shapes clothed in photographs."""

from __future__ import annotations

import cv2
import numpy as np

from lib.synthetic.painter import BORDER, Sprite
from lib.synthetic.pictures import Cutout, Pictures

__all__ = [
    "adapted",
    "cutout_sprite",
    "film_sprite",
    "part_of",
    "photo_crop",
    "photo_sprite",
    "region_sprite",
    "tone_table",
]

_MOST_PHASES = 24  # pictures of one object that a sprite plays


def tone_table(rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """A random change of light and colour: gamma, contrast, brightness, cast; (1, 256, 3) uint8 for cv2.LUT."""
    x = np.linspace(0, 1, 256)[:, None]
    gamma = np.exp(rng.normal(0, 0.22 * strength))
    gain = np.exp(rng.normal(0, 0.15 * strength)) * np.exp(rng.normal(0, 0.05 * strength, 3))
    curve = 255 * gain * x**gamma + rng.normal(0, 6 * strength)
    return np.clip(curve, 0, 255).astype(np.uint8)[None]


def _heat(rng: np.random.Generator, colors: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Warmth of an object's parts from its looks: brighter parts warmer or colder, and one side warmer."""
    slope, (across, down) = rng.normal(0, 0.35), rng.normal(0, 25, 2)
    found = []
    for color in colors:
        h, w = color.shape[:2]
        gray = cv2.blur(cv2.cvtColor(color[..., :3], cv2.COLOR_BGR2GRAY), (3, 3)).astype(np.float32)
        mean = float(gray[color[..., 3] > 127].mean()) if (color[..., 3] > 127).any() else 128.0
        side = (
            np.linspace(-across, across, w, dtype=np.float32) + np.linspace(-down, down, h, dtype=np.float32)[:, None]
        )
        found.append(np.clip(128 + np.float32(slope) * (gray - np.float32(mean)) + side, 0, 255).astype(np.uint8))
    return tuple(found)


def _premultiplied(cut: np.ndarray) -> np.ndarray:
    alpha = cv2.cvtColor(cut[..., 3], cv2.COLOR_GRAY2BGR)
    return np.dstack([cv2.multiply(np.ascontiguousarray(cut[..., :3]), alpha, scale=1 / 255), cut[..., 3]])


def _bordered(color: np.ndarray) -> np.ndarray:
    return cv2.copyMakeBorder(color, *(BORDER,) * 4, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))


def _resized(image: np.ndarray, width: float, height: float) -> np.ndarray:
    size = (max(3, round(width)), max(3, round(height)))
    shrinks = size[0] < image.shape[1] or size[1] < image.shape[0]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def cutout_sprite(
    pictures: Pictures,
    rng: np.random.Generator,
    cutout: Cutout,
    size: float,
    stretch: float = 1.0,
    most: int = _MOST_PHASES,
) -> Sprite:
    """A cut-out object, mirrored or not.

    Args:
        pictures: where it comes from.
        rng: decides which of its pictures are played, and in what light.
        cutout: the object.
        size: sqrt(width * height) of its first picture in the sprite, pixels.
        stretch: width / height is multiplied by this.
        most: no more than so many of its pictures, consecutive ones.
    """
    count = min(len(cutout.files), most)
    start = int(rng.integers(len(cutout.files) - count + 1))
    cuts = [pictures.cut(name) for name in cutout.files[start : start + count]]
    h, w = cuts[0].shape[:2]
    factor = size / (w * h) ** 0.5
    fx, fy = factor * stretch**0.5, factor / stretch**0.5
    mirrored, table = rng.random() < 0.5, tone_table(rng, 0.7)
    colors = []
    for cut in cuts:
        color = np.dstack([cv2.LUT(np.ascontiguousarray(cut[..., :3]), table), cut[..., 3]])
        color = _resized(_premultiplied(color), cut.shape[1] * fx, cut.shape[0] * fy)
        colors.append(_bordered(np.ascontiguousarray(color[:, ::-1]) if mirrored else color))
    return Sprite(tuple(colors), _heat(rng, colors))


def film_sprite(pictures: Pictures, rng: np.random.Generator, film: Cutout, chosen: list[int]) -> Sprite:
    """Pictures of a thing as large as they are in its clip."""
    colors = []
    for k in chosen:
        color = cv2.resize(_premultiplied(pictures.cut(film.files[k])), film.boxes[k][2:], interpolation=cv2.INTER_AREA)
        colors.append(_bordered(color))
    return Sprite(tuple(colors), _heat(rng, colors))


def photo_crop(
    pictures: Pictures, rng: np.random.Generator, width: int, height: int, share: float = 0.15
) -> np.ndarray:
    """A random part of a random photograph, (height, width, 3) uint8; `share`: its least side over the photograph's."""
    image = pictures.photograph(pictures.photographs[rng.integers(len(pictures.photographs))])
    h, w = image.shape[:2]
    fits = min(w / width, h / height)
    zoom = fits * float(np.exp(rng.uniform(np.log(share), 0)))
    cw, ch = max(4, int(width * zoom)), max(4, int(height * zoom))
    x, y = int(rng.integers(w - cw + 1)), int(rng.integers(h - ch + 1))
    crop = image[y : y + ch, x : x + cw]
    crop = crop[:, ::-1] if rng.random() < 0.5 else crop
    return _resized(np.ascontiguousarray(crop), width, height)


def _outline(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A solid shape, (height, width) uint8 alpha with soft edges: box, ellipse, blob, polygon, bottle or figure."""
    mask = np.zeros((2 * height, 2 * width), np.uint8)
    kind = str(rng.choice(["box", "ellipse", "blob", "polygon", "profile"], p=[0.28, 0.14, 0.2, 0.13, 0.25]))
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    if kind == "box":  # the corners a little moved, as seen from the side
        points = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * 0.98 + 0.01
        points = np.clip(points + rng.uniform(0, 0.12, 2) * rng.normal(0, 0.5, (4, 2)), 0, 1)
    elif kind == "polygon":
        turn = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 9))))
        points = 0.5 + 0.5 * np.stack([np.cos(turn), np.sin(turn)], -1) * rng.uniform(0.6, 1, (len(turn), 1))
    elif kind == "profile":  # as wide as it is at each height: bottles, vases, figures
        knots = np.linspace(0, 1, 7)
        half = np.interp(
            np.linspace(0, 1, 40), knots, rng.uniform(0.35, 1, 7) * (np.array([0.5, 0.7, 1, 1, 1, 1, 0.9]))
        )
        down = np.linspace(0.01, 0.99, 40)
        half = 0.5 * half / half.max()
        points = np.concatenate([np.stack([0.5 + half, down], -1), np.stack([0.5 - half, down], -1)[::-1]])
    else:
        radius = np.ones(64)
        if kind == "blob":
            for k in range(2, 6):
                radius += rng.normal(0, 0.22 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
        radius = 0.5 * radius / radius.max()
        points = 0.5 + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    points = (points - points.min(0)) / np.ptp(points, axis=0)
    cv2.fillPoly(mask, [np.round(points * (2 * width - 1, 2 * height - 1)).astype(np.int32)], 255)
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)


def photo_sprite(pictures: Pictures, rng: np.random.Generator, size: float, aspect: float) -> Sprite:
    """A shape clothed in a part of a photograph, with light from one side; `aspect` = width / height."""
    width, height = max(4, round(size * aspect**0.5)), max(4, round(size / aspect**0.5))
    color = photo_crop(pictures, rng, width, height)
    if rng.random() < 0.4:  # a second part: a label, a lid, trousers
        top, bottom = np.sort(rng.uniform(0, 1, 2))
        rows = slice(int(top * height), max(int(bottom * height), int(top * height) + 2))
        color[rows] = photo_crop(pictures, rng, width, max(2, rows.stop - rows.start))[: color[rows].shape[0]]
    if rng.random() < 0.6:
        x = np.linspace(-1, 1, width, dtype=np.float32)
        light = 1 + np.float32(rng.uniform(-0.35, 0.35)) * x - np.float32(rng.uniform(0, 0.35)) * x**2
        color = cv2.convertScaleAbs(color.astype(np.float32) * light[None, :, None])
    color = cv2.LUT(color, tone_table(rng))
    cut = np.dstack([color, _outline(rng, width, height)])
    colors = [_bordered(_premultiplied(cut))]
    return Sprite(tuple(colors), _heat(rng, colors))


def region_sprite(rng: np.random.Generator, width: int, height: int) -> Sprite:
    """A silhouette without a picture of its own, for a target that is a part of what is there."""
    alpha = np.full((height, width), 255, np.uint8) if rng.random() < 0.5 else _outline(rng, width, height)
    color = _bordered(np.dstack([alpha] * 4))
    return Sprite((color,), (np.full(color.shape[:2], 128, np.uint8),))


def part_of(rng: np.random.Generator, sprite: Sprite) -> Sprite:
    """The silhouette of a part of an object (a head, a wheel, one end), in every picture of it."""
    (w, h), (u, v) = rng.uniform(0.3, 0.65, 2), rng.uniform(0, 1, 2)
    colors = []
    for color in sprite.color:
        height, width = color.shape[:2]
        x, y = int(u * (1 - w) * width), int(v * (1 - h) * height)
        part = np.zeros_like(color)
        window = np.s_[y : y + max(3, int(h * height)), x : x + max(3, int(w * width))]
        part[window] = color[window]
        colors.append(part)
    return Sprite(tuple(colors), sprite.heat)


def adapted(rng: np.random.Generator, sprite: Sprite, surroundings: np.ndarray) -> Sprite:
    """A sprite in about the light of its surroundings (H, W, 3) uint8: part of the way to their mean and cast."""
    around = surroundings[::8, ::8].reshape(-1, 3).mean(axis=0) + 8
    solid = sprite.color[0][..., 3] > 127
    own = (sprite.color[0][solid][:, :3].mean(axis=0) if solid.any() else np.full(3, 128.0)) + 8
    light = (around.mean() / own.mean()) ** rng.uniform(0, 0.7)
    cast = ((around / around.mean()) / (own / own.mean())) ** rng.uniform(0, 0.3)
    gain = np.clip(light * cast, 0.25, 2.2)
    table = np.ones((1, 256, 4))
    table[..., :3] = gain
    table = np.clip(np.arange(256)[None, :, None] * table, 0, 255).astype(np.uint8)
    colors = []
    for color in sprite.color:  # no colour exceeds its alpha, as it is multiplied by it
        lit = cv2.LUT(color, table)
        lit[..., :3] = np.minimum(lit[..., :3], color[..., 3:])
        colors.append(lit)
    return Sprite(tuple(colors), sprite.heat)
