"""Painting one object: parts collected on an albedo, an alpha and a heat layer, then reduced to a sprite.

Parts are painted at twice the wanted size and reduced, so that outlines are smooth. Coordinates inside a drawing run
from 0 to 1 in both directions, whatever its aspect ratio.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lib.synthetic.textures import shade

__all__ = ["BORDER", "Painter", "Sprite"]

_OVERSAMPLING = 2
BORDER = 2  # transparent pixels around a sprite, so that a warp interpolates to nothing


@dataclass(frozen=True)
class Sprite:
    """One object at every phase of its movement.

    Attributes:
        color: per phase (h, w, 4) uint8, B,G,R multiplied by alpha, and alpha.
        heat: per phase (h, w) uint8, warmth of the parts, 128 = the object's own temperature; not multiplied by alpha.
    """

    color: tuple[np.ndarray, ...]
    heat: tuple[np.ndarray, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the drawing without its border, pixels."""
        height, width = self.heat[0].shape
        return width - 2 * BORDER, height - 2 * BORDER


class Painter:
    """Collects parts on an albedo, an alpha and a heat layer."""

    def __init__(self, rng: np.random.Generator, width: int, height: int, colors: np.ndarray) -> None:
        self.rng, self.colors = rng, colors
        self.width, self.height = width * _OVERSAMPLING, height * _OVERSAMPLING
        self.albedo = np.zeros((self.height, self.width, 3), np.uint8)
        self.alpha = np.zeros((self.height, self.width), np.uint8)
        self.heat = np.full((self.height, self.width), 128, np.uint8)

    def _paint(self, mask: np.ndarray, fill: np.ndarray, heat: int) -> None:
        x, y, w, h = cv2.boundingRect(mask)
        if w == 0 or h == 0:
            return
        inside = mask[y : y + h, x : x + w] > 127
        if fill.ndim == 1:
            self.albedo[y : y + h, x : x + w][inside] = fill
        else:
            self.albedo[y : y + h, x : x + w][inside] = cv2.resize(fill, (w, h))[inside]
        self.alpha[y : y + h, x : x + w][inside] = 255
        self.heat[y : y + h, x : x + w][inside] = heat

    def polygon(self, points: np.ndarray, fill: np.ndarray, heat: int = 128) -> None:
        """Fill a polygon, (n, 2) in [0, 1]; `fill` is a colour (3,) or a texture (h, w, 3)."""
        mask = np.zeros_like(self.alpha)
        scaled = np.asarray(points, np.float64) * (self.width - 1, self.height - 1)
        cv2.fillPoly(mask, [np.round(scaled).astype(np.int32)], 255)
        self._paint(mask, fill, heat)

    def box(self, left: float, top: float, right: float, bottom: float, fill: np.ndarray, heat: int = 128) -> None:
        """Fill an upright rectangle."""
        self.polygon(np.array([(left, top), (right, top), (right, bottom), (left, bottom)]), fill, heat)

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: np.ndarray, heat: int = 128) -> None:
        """Fill an ellipse of the given centre and radii."""
        angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        self.polygon(np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=-1), fill, heat)

    def limb(self, start: tuple[float, float], end: tuple[float, float], thickness: float, fill: np.ndarray) -> None:
        """A thick stroke; thickness is a share of the width."""
        a, b = np.array(start), np.array(end)
        along = (b - a) * (self.width, self.height)
        normal = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-6) * thickness * self.width / 2
        normal = normal / (self.width, self.height)
        self.polygon(np.stack([a + normal, b + normal, b - normal, a - normal]), fill, 140)

    def finish(self, light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shade, reduce and pad: premultiplied colour (h, w, 4) and heat (h, w), uint8."""
        size = (self.width // _OVERSAMPLING, self.height // _OVERSAMPLING)
        albedo = shade(self.albedo, cv2.resize(light, (self.width, self.height)))
        albedo[self.alpha == 0] = 0
        color = cv2.resize(np.dstack([albedo, self.alpha]), size, interpolation=cv2.INTER_AREA)
        heat = cv2.resize(self.heat, size, interpolation=cv2.INTER_AREA)
        border = (BORDER,) * 4
        return (
            cv2.copyMakeBorder(color, *border, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0)),
            cv2.copyMakeBorder(heat, *border, cv2.BORDER_CONSTANT, value=128),
        )
