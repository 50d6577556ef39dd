"""Noise, palettes and procedural textures, and how they get onto a picture.

Every texture is `f(rng, height, width, colors) -> (height, width, 3) uint8`, B,G,R, where `colors` is an (n, 3) uint8
array from `palette`. Backgrounds and objects use the same ones.
"""

from __future__ import annotations

from collections.abc import Callable

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
    """Fill a polygon in place.

    Args:
        image: (H, W, 3) uint8.
        points: (n, 2) pixels.
        fill: a color (3,), or a texture (h, w, 3) that is stretched over the polygon.

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
