"""Backgrounds: places with an albedo, a temperature and a distance at every point.

A background is larger than the view; the camera wanders over it and, beyond its edge, over its mirror image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from lib.synthetic.objects import (
    SHAPES,
    color_map,
    fractal,
    make_sprite,
    overlap,
    paint_polygon,
    palette,
    shade,
    texture,
)


def look_up(table: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Map colors (H, W, 3) uint8 to entries (H, W) of a table (4096,) that has 4 bits per channel."""
    high = (color >> 4).astype(np.uint16)
    return table[(high[..., 0] << 8) | (high[..., 1] << 4) | high[..., 2]]


def slanted_plane(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Nearness (height, width) float32 of a plane that is nearer below and leans a little to one side."""
    slant = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * rng.uniform(0.0, 0.35)
    tilt = np.linspace(-1, 1, width, dtype=np.float32)[None] * rng.uniform(-0.15, 0.15)
    return 1 + slant + tilt


@dataclass
class Background:
    """A painted place."""

    albedo: np.ndarray  # (H, W, 3) uint8, B,G,R
    temperature: np.ndarray  # (H, W) uint8 sensor levels before gain control
    nearness: np.ndarray  # (H, W) float32, 1 = at the plane's mean distance, larger = nearer
    # albedo at other times, each as `albedo`, where the place itself moves (a clip); else empty
    frames: tuple[np.ndarray, ...] = ()
    playing: np.ndarray | None = None  # (T,) index into `frames` per time
    # (4096,) uint8, temperature of each color (4 bits per channel); given where `frames` are
    heat_table: np.ndarray | None = None
    scale: float = 1.0  # view pixels per pixel of the arrays at a camera zoom of 1

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        height, width = self.temperature.shape
        return height, width

    def albedo_at(self, t: int) -> np.ndarray:
        """The albedo at time index `t`."""
        return self.albedo if self.playing is None or not self.frames else self.frames[self.playing[t]]

    def polygon(self, points: np.ndarray, fill: np.ndarray, temperature: float, nearness: float | None = None) -> None:
        """Paint a polygon (n, 2), pixels, with a color (3,) or a texture (h, w, 3)."""
        window, inside = paint_polygon(self.albedo, points, fill)
        self.temperature[window][inside] = np.uint8(np.clip(temperature, 0, 255))
        if nearness is not None:
            self.nearness[window][inside] = nearness

    def box(
        self,
        box: tuple[float, float, float, float],
        fill: np.ndarray,
        temperature: float,
        nearness: float | None = None,
    ) -> None:
        """Paint an upright rectangle given as xyxy in shares of the width and height."""
        left, top, right, bottom = box
        corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
        self.polygon(corners * (self.shape[1], self.shape[0]), fill, temperature, nearness)

    def clutter(self, rng: np.random.Generator, count: int, low: float = 0.03, high: float = 0.16) -> None:
        """Paint `count` objects of any kind as parts of the place; their size is `low` to `high` of its height."""
        height, width = self.shape
        for _ in range(count):
            size = height * float(np.exp(rng.uniform(np.log(low), np.log(high))))
            temperature = float(np.clip(np.median(self.temperature[::8, ::8]) + rng.normal(0, 36), 10, 235))
            x, y = rng.uniform(0, width), rng.uniform(0, height)
            kind = str(rng.choice(list(SHAPES)))
            sprite = make_sprite(int(rng.integers(2**31)), kind, size, palette(rng), still=True)
            color, heat = sprite.color[0], sprite.heat[0]
            h, w = heat.shape
            windows = overlap(int(x - w / 2), int(y - h / 2), heat.shape, self.shape)
            if windows is None:
                continue
            window, part = windows
            solid = color[part][..., 3] > 127
            self.albedo[window][solid] = color[part][..., :3][solid]
            shown = np.clip(temperature + 0.3 * (heat[part].astype(np.float32) - 128), 0, 255).astype(np.uint8)
            self.temperature[window][solid] = shown[solid]
            self.nearness[window][solid] *= 1.12


def _ground(rng: np.random.Generator, height: int, width: int, albedo: np.ndarray) -> Background:
    """A place with nothing on it: the albedo, mild temperature variation and a slanted plane."""
    mean, spread = rng.uniform(45, 120), rng.uniform(4, 22)
    temperature = mean + spread * (fractal(rng, height, width, 3, 3) - 0.5) * 2
    return Background(albedo, np.clip(temperature, 0, 255).astype(np.uint8), slanted_plane(rng, height, width))


def field(rng: np.random.Generator, height: int, width: int) -> Background:
    """One texture, with or without objects."""
    b = _ground(rng, height, width, texture(rng, height, width))
    b.clutter(rng, int(rng.integers(0, 12)))
    return b


def patchwork(rng: np.random.Generator, height: int, width: int) -> Background:
    """Several textures in regions cut by noise."""
    b = _ground(rng, height, width, texture(rng, height, width))
    for _ in range(int(rng.integers(1, 4))):
        region = fractal(rng, height, width, float(rng.uniform(1.5, 5)), 3) > rng.uniform(0.45, 0.65)
        b.albedo[region] = texture(rng, height, width)[region]
        b.temperature[region] = np.clip(b.temperature[region] + rng.normal(0, 14), 0, 255).astype(np.uint8)
    b.clutter(rng, int(rng.integers(0, 14)))
    return b


def room(rng: np.random.Generator, height: int, width: int) -> Background:
    """A wall and a table or floor, with furniture, papers, screens and things."""
    wall = texture(rng, height, width, palette(rng, 4, str(rng.choice(["gray", "pastel", "natural"]))), "plain")
    b = _ground(rng, height, width, wall)
    edge = rng.uniform(0.3, 0.75)
    floor_kind = str(rng.choice(["plain", "clouds", "stripes", "checker", "plain"]))
    floor = texture(rng, height // 2, width, palette(rng), floor_kind)
    slope = rng.normal(0, 0.08)
    corners = np.array([(0, edge - slope), (1, edge + slope), (1, 1), (0, 1)]) * (width, height)
    b.polygon(corners, floor, float(np.median(b.temperature)) + rng.normal(0, 10))
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    b.nearness *= 1 + np.maximum(0, rows - np.float32(edge)) * rng.uniform(0.2, 0.8)
    for _ in range(int(rng.integers(3, 16))):
        x, y = rng.uniform(-0.05, 1), rng.uniform(0, 0.95)
        w, h = np.exp(rng.uniform(np.log(0.03), np.log(0.25), 2))
        fill = texture(rng, 64, 64) if rng.random() < 0.5 else palette(rng, 1)[0]
        nearness = float(b.nearness[min(int(y * height), height - 1), 0]) * rng.uniform(1.0, 1.15)
        b.box((x, y, x + w, y + h), fill, float(np.median(b.temperature)) + rng.normal(0, 20), nearness)
    b.clutter(rng, int(rng.integers(2, 12)))
    return b


def street(rng: np.random.Generator, height: int, width: int) -> Background:
    """Sky or facades above, a road with lanes below, trees and parked things."""
    night = rng.random() < 0.35
    sky = palette(rng, 3, "dark" if night else "pastel")
    b = _ground(rng, height, width, color_map(fractal(rng, height, width, 3, 4), sky))
    horizon = rng.uniform(0.12, 0.5)
    x = -0.05
    while x < 1.0:
        w = rng.uniform(0.08, 0.3)
        colors = palette(rng, 4, "dark" if night else None)
        if night:
            colors[1] = palette(rng, 1, "vivid")[0]
        kind = str(rng.choice(["windows", "windows", "bricks", "clouds", "plain"]))
        top = horizon - rng.uniform(0.02, 0.4)
        b.box((x, top, x + w, horizon + 0.02), texture(rng, 96, 96, colors, kind), rng.uniform(50, 130), 0.75)
        x += w
    road = texture(rng, height, width, palette(rng, 3, "gray")[:2] // (3 if night else 1), "clouds")
    vanish, spread = rng.uniform(0.2, 0.8), rng.uniform(0.5, 1.6)
    side = texture(rng, height, width, palette(rng, 3, "dark" if night else "natural"), "clouds")
    b.box((0, horizon, 1, 1), side, rng.uniform(60, 110))
    wide = np.array([(vanish - 0.03, horizon), (vanish + 0.03, horizon), (0.5 + spread, 1), (0.5 - spread, 1)])
    b.polygon(wide * (width, height), road, rng.uniform(60, 140))
    lanes = int(rng.integers(1, 5))
    for k in range(1, lanes + 1):
        foot = 0.5 - spread + 2 * spread * k / (lanes + 1)
        for u in np.arange(0.05, 1, 0.16):
            a, c = u**1.5, (u + 0.08) ** 1.5
            xs = [vanish + (foot - vanish) * a, vanish + (foot - vanish) * c]
            ys = [horizon + (1 - horizon) * a, horizon + (1 - horizon) * c]
            line = np.array([(xs[0], ys[0]), (xs[0] + 0.004, ys[0]), (xs[1] + 0.012, ys[1]), (xs[1], ys[1])])
            b.polygon(line * (width, height), np.full(3, 90 if night else 215, np.uint8), 95)
    b.nearness = b.nearness * (0.75 + 0.6 * np.linspace(0, 1, height, dtype=np.float32)[:, None])
    b.clutter(rng, int(rng.integers(3, 16)), 0.03, 0.12)
    if night:  # street lamps and their halos
        lamps = np.zeros((height, width, 3), np.uint8)
        common = palette(rng, 1, str(rng.choice(["vivid", "pastel"])))[0]
        for _ in range(int(rng.integers(5, 60))):
            center = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
            color = common if rng.random() < 0.7 else palette(rng, 1)[0]
            cv2.circle(lamps, center, int(rng.integers(1, 5)), color.tolist(), -1, cv2.LINE_AA)
        small = cv2.resize(lamps, (width // 4, height // 4), interpolation=cv2.INTER_AREA).astype(np.float32)
        halo = cv2.resize(cv2.GaussianBlur(small, (0, 0), rng.uniform(2, 5)), (width, height)) * rng.uniform(1, 4)
        b.albedo = cv2.convertScaleAbs(b.albedo.astype(np.float32) + lamps + halo)
    return b


def aerial(rng: np.random.Generator, height: int, width: int) -> Background:
    """Fields, roads, roofs, trees and vehicles from above."""
    ground = texture(rng, height, width, palette(rng, 4, "natural"), str(rng.choice(["clouds", "camouflage"])))
    b = _ground(rng, height, width, ground)
    for _ in range(int(rng.integers(1, 5))):
        start, end = rng.uniform(-0.2, 1.2, 2), rng.uniform(-0.2, 1.2, 2)
        along = (end - start) / max(float(np.hypot(*(end - start))), 1e-3)
        normal = np.array([-along[1], along[0]]) * rng.uniform(0.02, 0.09)
        a, c = start - 2 * along, end + 2 * along
        tone = np.full(3, rng.integers(60, 180), np.uint8)
        b.polygon(
            np.stack([a + normal, c + normal, c - normal, a - normal]) * (width, height), tone, rng.uniform(80, 140)
        )
    for _ in range(int(rng.integers(0, 10))):
        center, extent = rng.uniform(0, 1, 2) * (width, height), height * rng.uniform(0.05, 0.25, 2)
        corners = cv2.boxPoints((tuple(map(float, center)), tuple(map(float, extent)), float(rng.uniform(0, 90))))
        b.polygon(corners, texture(rng, 48, 48, palette(rng)), rng.uniform(50, 140), 1.1)
    trees = palette(rng, 3, "natural")
    for _ in range(int(rng.integers(0, 40))):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), height * rng.uniform(0.01, 0.05)
        angle = np.linspace(0, 2 * np.pi, 14)
        wobble = r * rng.uniform(0.7, 1.2, 14)
        outline = np.stack([x + wobble * np.cos(angle), y + wobble * np.sin(angle)], -1)
        b.polygon(outline, trees[rng.integers(3)], rng.uniform(60, 90), 1.08)
    b.clutter(rng, int(rng.integers(2, 18)), 0.025, 0.08)
    return b


def foliage(rng: np.random.Generator, height: int, width: int) -> Background:
    """Leaves, trunks and undergrowth, with strong fine contrast."""
    b = _ground(rng, height, width, texture(rng, height, width, palette(rng, 4, "natural"), "clouds"))
    fine = fractal(rng, height, width, float(rng.uniform(20, 60)), 3)
    b.albedo = shade(b.albedo, 0.4 + 1.2 * fine)
    bark = palette(rng, 3, "dark")
    for _ in range(int(rng.integers(0, 9))):
        x, w = rng.uniform(0, 1), rng.uniform(0.01, 0.06)
        lean = rng.normal(0, 0.06)
        trunk = np.array([(x, 0), (x + w, 0), (x + w + lean, 1), (x + lean, 1)]) * (width, height)
        b.polygon(trunk, texture(rng, 64, 32, bark, "scratches"), rng.uniform(55, 95), 1.15)
    b.clutter(rng, int(rng.integers(0, 6)))
    return b


def desk(rng: np.random.Generator, height: int, width: int) -> Background:
    """A sparse, gray, low-contrast office: big flat boxes, a screen with a pattern, cables."""
    tones = palette(rng, 4, "gray")
    b = _ground(rng, height, width, texture(rng, height, width, tones, "plain"))
    warm = float(np.median(b.temperature))
    for _ in range(int(rng.integers(2, 8))):
        x, y = rng.uniform(-0.1, 0.9, 2)
        w, h = rng.uniform(0.08, 0.4, 2)
        b.box((x, y, x + w, y + h), palette(rng, 1, "gray")[0], warm + rng.normal(0, 15), rng.uniform(1.0, 1.2))
    if rng.random() < 0.7:
        x, y = rng.uniform(0.1, 0.7, 2)
        screen = texture(rng, 80, 100, None, str(rng.choice(["checker", "patches", "windows", "stripes"])))
        b.box((x, y, x + 0.22, y + 0.24), palette(rng, 1, "dark")[0], warm + 20, 1.1)
        b.box((x + 0.02, y + 0.02, x + 0.2, y + 0.22), screen, warm + 30, 1.1)
    for _ in range(int(rng.integers(0, 6))):
        knots = rng.uniform(0, 1, (4, 2)) * (width, height)
        curve = np.stack([np.interp(np.linspace(0, 3, 24), range(4), knots[:, c]) for c in range(2)], -1)
        cv2.polylines(b.albedo, [curve.astype(np.int32)], False, tuple(int(c) for c in palette(rng, 1, "dark")[0]), 2)
    b.clutter(rng, int(rng.integers(0, 5)))
    return b


BACKGROUNDS: dict[str, Callable[[np.random.Generator, int, int], Background]] = {
    f.__name__: f for f in (field, patchwork, room, street, aerial, foliage, desk)
}
_SHARES = (0.13, 0.14, 0.21, 0.2, 0.14, 0.07, 0.11)


def make_background(rng: np.random.Generator, height: int, width: int, kind: str | None = None) -> Background:
    """Paint a place of the given kind (a name of `BACKGROUNDS`; None: any) of height x width pixels."""
    kind = kind or str(rng.choice(list(BACKGROUNDS), p=_SHARES))
    b = BACKGROUNDS[kind](rng, height, width)
    if rng.random() < 0.65:  # surfaces are never as flat as paint
        fine = fractal(rng, height, width, float(rng.uniform(6, 40)), 5) - 0.5
        b.albedo = shade(b.albedo, 1 + np.float32(rng.uniform(0.1, 0.6)) * fine)
    if rng.random() < 0.5:  # uneven light belongs to the scene: the camera pans over it
        b.albedo = shade(b.albedo, 0.6 + 0.8 * fractal(rng, height, width, 2, 2))
    if rng.random() < 0.4:
        b.albedo = cv2.GaussianBlur(b.albedo, (0, 0), rng.uniform(0.5, 1.4))
    b.temperature = cv2.GaussianBlur(b.temperature, (0, 0), 1.0)
    return b
