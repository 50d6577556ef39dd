"""What is drawn: noise, palettes and textures, and objects that are painted with them.

Every texture is `f(rng, height, width, colors) -> (height, width, 3) uint8`, B,G,R, where `colors` is an (n, 3) uint8
array from `palette`. An object's parts are painted on an albedo, an alpha and a heat layer at twice the wanted size and
reduced, so that outlines are smooth; coordinates inside its drawing run from 0 to 1 in both directions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

Texture = Callable[[np.random.Generator, int, int, np.ndarray], np.ndarray]
Window = tuple[slice, slice]  # rows and columns of a picture


def fractal(rng: np.random.Generator, height: int, width: int, cells: float = 4.0, octaves: int = 4) -> np.ndarray:
    """Multi-octave value noise, (height, width) float32 in [0, 1]; `cells` bumps along the longer side at octave 0."""
    total = np.zeros((height, width), np.float32)
    weight, aspect = 1.0, height / width
    for octave in range(octaves):
        n = cells * 2**octave
        if n > 2 * max(height, width):
            break
        rows, cols = max(2, round(n * min(1.0, aspect)) + 1), max(2, round(n * min(1.0, 1 / aspect)) + 1)
        grid = rng.random((rows, cols), dtype=np.float32)
        total += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        weight *= 0.55
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)


def palette(rng: np.random.Generator, count: int = 4, kind: str | None = None) -> np.ndarray:
    """`count` related colors, (count, 3) uint8 B,G,R; kind: natural, gray, vivid, pastel, dark or None (any)."""
    kind = kind or str(rng.choice(["natural", "gray", "vivid", "pastel", "dark"], p=[0.35, 0.2, 0.2, 0.15, 0.1]))
    base = float(rng.choice([15.0, 25.0, 45.0, 105.0])) if kind == "natural" else rng.uniform(0, 180)
    hue = base + rng.normal(0, 60 if kind == "vivid" else 12, count)
    saturation, value = {
        "natural": ((25, 130), (65, 235)),
        "gray": ((0, 25), (40, 235)),
        "vivid": ((130, 255), (90, 255)),
        "pastel": ((20, 90), (160, 250)),
        "dark": ((10, 120), (10, 90)),
    }[kind]
    hsv = np.stack([hue % 180, rng.uniform(*saturation, count), rng.uniform(*value, count)], axis=-1)
    return cv2.cvtColor(hsv[None].astype(np.uint8), cv2.COLOR_HSV2BGR)[0]


def color_map(field: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Paint a [0, 1] field (H, W) with a smooth ramp through `colors`: (H, W, 3) uint8."""
    stops = np.linspace(0, 255, len(colors))
    ramp = np.stack([np.interp(np.arange(256), stops, colors[:, c]) for c in range(3)], axis=-1).astype(np.uint8)
    return ramp[np.clip(field * 255, 0, 255).astype(np.uint8)]


def shade(image: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Multiply (H, W, 3) uint8 by a (H, W) light map, saturating."""
    return cv2.convertScaleAbs(image.astype(np.float32) * light[..., None])


def paint_polygon(image: np.ndarray, points: np.ndarray, fill: np.ndarray) -> tuple[Window, np.ndarray]:
    """Fill a polygon (n, 2), pixels, of an image (H, W, 3) in place with a color (3,) or a texture (h, w, 3).

    Returns:
        The polygon's bounding window in the image and which of its pixels were painted, for other layers.
    """
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 255)
    x, y, w, h = cv2.boundingRect(mask)
    window = np.s_[y : y + h, x : x + w]
    inside = mask[window] > 0
    if w and h:
        image[window][inside] = fill if fill.ndim == 1 else cv2.resize(fill, (w, h))[inside]
    return window, inside


def overlap(left: int, top: int, shape: tuple[int, ...], image: tuple[int, ...]) -> tuple[Window, Window] | None:
    """Find the part of a picture that lies in another one.

    Args:
        left, top: position of its upper left pixel in the other one; may be outside.
        shape: its height and width.
        image: height and width of the other one.

    Returns:
        The common part as a window of the other one and of itself; None if there is none.
    """
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(image[1], left + shape[1]), min(image[0], top + shape[0])
    if x1 <= x0 or y1 <= y0:
        return None
    return np.s_[y0:y1, x0:x1], np.s_[y0 - top : y1 - top, x0 - left : x1 - left]


def _coordinates(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotated pixel coordinates, sometimes gently warped, each (height, width) float32."""
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    if rng.random() < 0.3:
        u = u + (fractal(rng, height, width, 3, 1) - 0.5) * 0.25 * max(height, width)
    return u.astype(np.float32), v.astype(np.float32)


def plain(rng: np.random.Generator, height: int, width: int, colors: np.ndarray) -> np.ndarray:
    """One color with a faint large-scale variation."""
    light = 0.92 + 0.16 * fractal(rng, height, width, 2, 2)
    return shade(np.broadcast_to(colors[0], (height, width, 3)).astype(np.uint8), light)


def clouds(rng: np.random.Generator, height: int, width: int, colors: np.ndarray) -> np.ndarray:
    """Multi-octave noise through the palette: clouds, dirt, lawn, foliage, by the number of bumps."""
    cells = float(np.exp(rng.uniform(np.log(2), np.log(30))))
    return color_map(fractal(rng, height, width, cells, 5), colors)


def stripes(rng: np.random.Generator, height: int, width: int, colors: np.ndarray) -> np.ndarray:
    """Stripes, hard or soft, at any angle."""
    u, _ = _coordinates(rng, height, width)
    period = max(4.0, max(height, width) / rng.uniform(3, 14))
    wave = np.sin(u * (2 * np.pi / period))
    field = 0.5 + 0.5 * (np.clip(wave * rng.choice([1.2, 8.0]), -1, 1))
    return color_map(field, colors[:2])


def checker(rng: np.random.Generator, height: int, width: int, colors: np.ndarray) -> np.ndarray:
    """Checkerboard or tiles."""
    u, v = _coordinates(rng, height, width)
    period = max(4.0, max(height, width) / rng.uniform(3, 10))
    ratio = rng.choice([1.0, rng.uniform(0.4, 2.5)])
    field = (np.floor(u / period) + np.floor(v / (period * ratio))) % 2
    return colors[:2][field.astype(np.intp)]


def bricks(rng: np.random.Generator, height: int, width: int, colors: np.ndarray) -> np.ndarray:
    """Bricks with mortar, every brick its own tone."""
    u, v = _coordinates(rng, height, width)
    course = max(3.0, max(height, width) / rng.uniform(6, 22))
    row = np.floor(v / course)
    column = np.floor(u / (2.2 * course) + 0.5 * (row % 2))
    tone = (np.sin(row * 12.9898 + column * 78.233) * 43758.5453) % 1.0
    image = color_map(tone.astype(np.float32), colors[:2])
    mortar = ((v / course) % 1.0 < 0.14) | ((u / (2.2 * course) + 0.5 * (row % 2)) % 1.0 < 0.07)
    image[mortar] = colors[-1]
    return image


def patches(rng: np.random.Generator, height: int, width: int, colors: np.ndarray) -> np.ndarray:
    """Random rectangles, rotated boxes and discs over a plain ground: clutter, posters, camouflage."""
    image = plain(rng, height, width, colors)
    size = max(height, width)
    for _ in range(int(rng.integers(8, 50))):
        color = tuple(int(c) for c in colors[rng.integers(len(colors))])
        center = (float(rng.uniform(0, width)), float(rng.uniform(0, height)))
        extent = np.maximum(2.0, size * np.exp(rng.uniform(np.log(0.02), np.log(0.25), 2)))
        if rng.random() < 0.3:
            axes = (int(extent[0] / 2), int(extent[1] / 2))
            cv2.ellipse(image, (int(center[0]), int(center[1])), axes, float(rng.uniform(0, 180)), 0, 360, color, -1)
        else:
            angle = float(rng.choice([0.0, rng.uniform(0, 90)]))
            corners = cv2.boxPoints((center, (float(extent[0]), float(extent[1])), angle))
            cv2.fillConvexPoly(image, corners.astype(np.int32), color)
    return image


def scratches(rng: np.random.Generator, height: int, width: int, colors: np.ndarray) -> np.ndarray:
    """Lines on a noisy ground: cables, branches, writing."""
    image = clouds(rng, height, width, np.stack([colors[0], colors[0] // 2 + colors[1] // 2]))
    for _ in range(int(rng.integers(6, 40))):
        start = rng.uniform(0, 1, 2) * (width, height)
        end = start + rng.normal(0, 0.25, 2) * max(height, width)
        color = tuple(int(c) for c in colors[rng.integers(1, len(colors))])
        cv2.line(image, start.astype(int).tolist(), end.astype(int).tolist(), color, int(rng.integers(1, 4)))
    return image


def dots(rng: np.random.Generator, height: int, width: int, colors: np.ndarray) -> np.ndarray:
    """A regular grid of discs."""
    u, v = _coordinates(rng, height, width)
    period = max(5.0, max(height, width) / rng.uniform(4, 14))
    radius = np.hypot(u % period - period / 2, v % period - period / 2) / period
    return colors[:2][(radius < rng.uniform(0.15, 0.42)).astype(np.intp)]


def windows(rng: np.random.Generator, height: int, width: int, colors: np.ndarray) -> np.ndarray:
    """A facade: a regular grid of panes, some lit."""
    image = plain(rng, height, width, colors)
    columns, rows = int(rng.integers(3, 11)), int(rng.integers(3, 11))
    dx, dy = width / columns, height / rows
    fill = rng.uniform(0.4, 0.8)
    for row in range(rows):
        for column in range(columns):
            x, y = int((column + (1 - fill) / 2) * dx), int((row + (1 - fill) / 2) * dy)
            color = colors[1] if rng.random() < 0.6 else colors[2 % len(colors)]
            end = (int(x + fill * dx), int(y + fill * dy))
            cv2.rectangle(image, (x, y), end, tuple(int(c) for c in color), -1)
    return image


def camouflage(rng: np.random.Generator, height: int, width: int, colors: np.ndarray) -> np.ndarray:
    """Noise cut into flat levels: fields, stains, camouflage."""
    field = fractal(rng, height, width, float(rng.uniform(2, 9)), 3)
    return colors[np.minimum((field * len(colors)).astype(np.intp), len(colors) - 1)]


TEXTURES: dict[str, Texture] = {
    f.__name__: f for f in (plain, clouds, stripes, checker, bricks, patches, scratches, dots, windows, camouflage)
}


def texture(
    rng: np.random.Generator, height: int, width: int, colors: np.ndarray | None = None, kind: str | None = None
) -> np.ndarray:
    """Any texture of `TEXTURES` (or the named one): (height, width, 3) uint8, sometimes with fine grain on top."""
    colors = palette(rng) if colors is None else colors
    names = list(TEXTURES)
    image = TEXTURES[kind or names[rng.integers(len(names))]](rng, height, width, colors)
    if rng.random() < 0.5:
        grain = 1 + rng.uniform(0.05, 0.3) * (fractal(rng, height, width, max(height, width) / 3, 1) - 0.5)
        image = shade(image, grain)
    return np.ascontiguousarray(image)


# ---- Objects

_OVERSAMPLING = 2
BORDER = 2  # transparent pixels around a sprite, so that a warp interpolates to nothing
_PHASES = 6


@dataclass(frozen=True)
class Sprite:
    """One object at every phase of its movement."""

    color: tuple[np.ndarray, ...]  # per phase (h, w, 4) uint8, B,G,R multiplied by alpha, and alpha
    # per phase (h, w) uint8, warmth of the parts, 128 = the object's own temperature; not multiplied by alpha
    heat: tuple[np.ndarray, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the drawing without its border, pixels."""
        height, width = self.heat[0].shape
        return width - 2 * BORDER, height - 2 * BORDER


class _Painter:
    """Collects parts on an albedo, an alpha and a heat layer; a `fill` is a color (3,) or a texture (h, w, 3)."""

    def __init__(self, rng: np.random.Generator, width: int, height: int, colors: np.ndarray) -> None:
        self.rng, self.colors = rng, colors
        self.width, self.height = width * _OVERSAMPLING, height * _OVERSAMPLING
        self.albedo = np.zeros((self.height, self.width, 3), np.uint8)
        self.alpha = np.zeros((self.height, self.width), np.uint8)
        self.heat = np.full((self.height, self.width), 128, np.uint8)

    def polygon(self, points: np.ndarray, fill: np.ndarray, heat: int = 128) -> None:
        """Fill a polygon, (n, 2) in [0, 1]."""
        scaled = np.asarray(points, np.float64) * (self.width - 1, self.height - 1)
        window, inside = paint_polygon(self.albedo, scaled, fill)
        self.alpha[window][inside] = 255
        self.heat[window][inside] = heat

    def box(self, left: float, top: float, right: float, bottom: float, fill: np.ndarray, heat: int = 128) -> None:
        """Fill an upright rectangle."""
        self.polygon(np.array([(left, top), (right, top), (right, bottom), (left, bottom)]), fill, heat)

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: np.ndarray, heat: int = 128) -> None:
        """Fill an ellipse of the given center and radii."""
        angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        self.polygon(np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=-1), fill, heat)

    def limb(self, start: tuple[float, float], end: tuple[float, float], thickness: float, fill: np.ndarray) -> None:
        """Draw a thick stroke; thickness is a share of the width."""
        a, b = np.array(start), np.array(end)
        along = (b - a) * (self.width, self.height)
        normal = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-6) * thickness * self.width / 2
        normal = normal / (self.width, self.height)
        self.polygon(np.stack([a + normal, b + normal, b - normal, a - normal]), fill, 140)

    def finish(self, light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shade, reduce and pad: premultiplied color (h, w, 4) and heat (h, w), uint8."""
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


_Paint = Callable[[_Painter, float], None]  # draws an object at one phase of its movement, 0 to 2 pi
SHAPES: dict[str, tuple[_Paint, tuple[float, float]]] = {}  # name: (function, range of width / height)
ARTICULATED = ("human", "animal", "aircraft", "blob")


def _shape(narrowest: float, widest: float) -> Callable[[_Paint], _Paint]:
    """Add a function to `SHAPES`; the order of definition decides what a seed draws."""

    def add(paint: _Paint) -> _Paint:
        SHAPES[paint.__name__] = paint, (narrowest, widest)
        return paint

    return add


def _fill(p: _Painter, plain: float = 0.5) -> np.ndarray:
    """A color of the object's palette (with probability `plain`) or a texture made of it."""
    if p.rng.random() < plain:
        return p.colors[p.rng.integers(len(p.colors))]
    return texture(p.rng, 48, 48, p.rng.permutation(p.colors))


def _marks(p: _Painter, count: int) -> None:
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


@_shape(0.6, 1.6)
def ball(p: _Painter, phase: float) -> None:
    p.ellipse(0.5, 0.5, 0.5, 0.5, _fill(p, 0.3))
    _marks(p, int(p.rng.integers(0, 4)))


@_shape(0.4, 2.4)
def case(p: _Painter, phase: float) -> None:
    r = p.rng.uniform(0, 0.3)
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    c, s = np.cos(angle), np.sin(angle)
    power = 2 / (2 + (0.4 - r) * 20)
    p.polygon(
        0.5 + 0.5 * np.stack([np.sign(c) * np.abs(c) ** power, np.sign(s) * np.abs(s) ** power], -1), _fill(p, 0.4)
    )
    _marks(p, int(p.rng.integers(0, 6)))


@_shape(0.6, 1.6)
def polygon(p: _Painter, phase: float) -> None:
    n = int(p.rng.integers(3, 9))
    angle = np.sort(np.linspace(0, 2 * np.pi, n, endpoint=False) + p.rng.uniform(-0.3, 0.3, n))
    radius = p.rng.uniform(0.3, 0.5, n)
    p.polygon(0.5 + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1), _fill(p, 0.4))
    _marks(p, int(p.rng.integers(0, 4)))


@_shape(0.6, 1.6)
def blob(p: _Painter, phase: float) -> None:
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    radius = np.full_like(angle, 1.0)
    for k in range(2, 6):
        a, shift = p.rng.uniform(0, 0.5 / k), p.rng.uniform(0, 2 * np.pi)
        radius += a * np.sin(k * angle + shift + 0.6 * np.sin(phase + k))
    radius *= 0.5 / radius.max()
    p.polygon(0.5 + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1), _fill(p, 0.3))
    _marks(p, int(p.rng.integers(0, 5)))


@_shape(0.36, 0.5)
def human(p: _Painter, phase: float) -> None:
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


@_shape(1.1, 1.7)
def animal(p: _Painter, phase: float) -> None:
    coat = _fill(p, 0.4)
    for k, x in enumerate((0.2, 0.3, 0.62, 0.72)):
        p.limb((x, 0.6), (x + 0.1 * np.sin(phase + 1.7 * k), 0.99), 0.07, coat)
    p.ellipse(0.46, 0.48, 0.36, 0.24, coat, 140)
    p.limb((0.12, 0.42), (0.02, 0.15 + 0.1 * np.sin(phase)), 0.05, coat)
    p.limb((0.72, 0.4), (0.86, 0.2), 0.16, coat)
    p.ellipse(0.88, 0.18, 0.12, 0.15, coat, 175)


@_shape(1.8, 2.8)
def car_side(p: _Painter, phase: float) -> None:
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


@_shape(0.9, 1.3)
def car_end(p: _Painter, phase: float) -> None:
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


@_shape(0.7, 2.2)
def bus(p: _Painter, phase: float) -> None:
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


@_shape(0.8, 1.2)
def mug(p: _Painter, phase: float) -> None:
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


@_shape(0.22, 0.6)
def tower(p: _Painter, phase: float) -> None:
    p.box(0.0, 0.0, 1.0, 1.0, _fill(p, 0.7))
    p.box(0.0, 0.0, p.rng.uniform(0.1, 0.3), 1.0, _fill(p, 0.8))
    for y in np.sort(p.rng.uniform(0.05, 0.95, int(p.rng.integers(1, 7)))):
        p.box(0.2, y, 0.9, y + p.rng.uniform(0.01, 0.06), _fill(p, 0.9), int(p.rng.integers(110, 200)))


@_shape(0.28, 0.5)
def bottle(p: _Painter, phase: float) -> None:
    body = _fill(p, 0.6)
    neck = p.rng.uniform(0.12, 0.25)
    shoulders = [(0.5 - neck, 0.0), (0.5 + neck, 0.0), (0.5 + neck, 0.2), (1.0, 0.38), (1.0, 1.0)]
    p.polygon(np.array([*shoulders, (0.0, 1.0), (0.0, 0.38), (0.5 - neck, 0.2)]), body, 110)
    p.box(0.0, 0.5, 1.0, 0.8, _fill(p, 0.3))
    p.box(0.5 - neck, 0.0, 0.5 + neck, 0.08, _fill(p, 1.0))


@_shape(1.0, 2.0)
def aircraft(p: _Painter, phase: float) -> None:
    body = _fill(p, 0.7)
    beat = 0.15 * np.sin(phase)
    p.polygon(np.array([(0.5, 0.35), (1.0, 0.45 + beat), (1.0, 0.55 + beat), (0.5, 0.6)]), body, 120)
    p.polygon(np.array([(0.5, 0.35), (0.0, 0.45 + beat), (0.0, 0.55 + beat), (0.5, 0.6)]), body, 120)
    p.ellipse(0.5, 0.5, 0.12, 0.5, _fill(p, 0.8), 150)
    p.box(0.32, 0.85, 0.68, 0.95, body)
    p.ellipse(0.5, 0.2, 0.07, 0.12, p.colors[-1], 200)


def make_sprite(seed: int, kind: str, size: float, colors: np.ndarray, still: bool = False) -> Sprite:
    """Draw one object; two calls with the same arguments give the same one.

    Args:
        seed: decides every detail.
        kind: a name of `SHAPES`.
        size: sqrt(width * height) of the drawing, pixels.
        colors: (n, 3) uint8 palette.
        still: only one phase even for a kind that moves its parts.
    """
    paint, (low, high) = SHAPES[kind]
    rng = np.random.default_rng(seed)
    aspect = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    width, height = max(4, round(size * aspect**0.5)), max(4, round(size / aspect**0.5))

    # Light from some side, half of the time with a cylinder's falloff, or nearly flat; on a grainy surface.
    y, x = np.mgrid[-1:1:64j, -1:1:64j].astype(np.float32)
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.4)
    light = 1 + strength * (x * np.cos(angle) + y * np.sin(angle))
    if rng.random() < 0.5:
        light = light * (1 - rng.uniform(0, 0.5) * x**2)
    grain = rng.uniform(0.0, 0.5) * (fractal(rng, 64, 64, 3, 5) - 0.5)
    light = (rng.uniform(0.9, 1.15) * light * (1 + grain)).astype(np.float32)

    phases = _PHASES if kind in ARTICULATED and not still else 1
    drawn = []
    for k in range(phases):
        painter = _Painter(np.random.default_rng(seed + 1), width, height, colors)
        paint(painter, 2 * np.pi * k / phases)
        drawn.append(painter.finish(light))
    return Sprite(tuple(color for color, _ in drawn), tuple(heat for _, heat in drawn))
