"""Places from real pictures: photographs, clips that play, tables before a wall, shelves full of things."""

from __future__ import annotations

import cv2
import numpy as np

from lib.synthetic.backgrounds import Background, look_up
from lib.synthetic.photo_sprites import photo_crop, tone_table
from lib.synthetic.pictures import Cutout, Pictures
from lib.synthetic.textures import fractal

__all__ = ["PLACES", "make_film", "make_photo_background"]

PLACES: tuple[str, ...] = ("photograph", "clip", "table", "shelf")
_SHARES = (0.56, 0.22, 0.12, 0.1)


def _heat_table(rng: np.random.Generator) -> np.ndarray:
    """A temperature for every colour (4096,) uint8: smooth, so that things of one colour are about equally warm."""
    steps = np.arange(16, dtype=np.float64) / 15
    b, g, r = np.meshgrid(steps, steps, steps, indexing="ij")
    colors = np.stack([b, g, r], -1).reshape(-1, 3)
    level = rng.uniform(50, 125) + rng.normal(0, 26) * (colors.mean(axis=1) - 0.5)
    for _ in range(3):
        level += rng.uniform(3, 14) * np.sin(colors @ rng.normal(0, 4, 3) + rng.uniform(0, 2 * np.pi))
    return np.clip(level, 0, 255).astype(np.uint8)


def _place(rng: np.random.Generator, albedo: np.ndarray) -> Background:
    """A place of the given looks: temperature by colour, varying slowly; a slanted plane with steps for distance."""
    height, width = albedo.shape[:2]
    table = _heat_table(rng)
    temperature = look_up(table, cv2.blur(albedo, (5, 5))).astype(np.float32)
    temperature += np.float32(rng.uniform(2, 14)) * (fractal(rng, height, width, 2, 2) - 0.5)
    slant = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * rng.uniform(0.0, 0.35)
    tilt = np.linspace(-1, 1, width, dtype=np.float32)[None] * rng.uniform(-0.15, 0.15)
    levels = int(rng.integers(1, 6))  # things stand out in flat steps
    steps = np.floor(fractal(rng, height, width, 3, 3) * levels) / levels
    nearness = (1 + slant + tilt + np.float32(rng.uniform(0, 0.25)) * (steps - 0.5)).astype(np.float32)
    return Background(albedo, np.clip(temperature, 0, 255).astype(np.uint8), nearness, heat_table=table)


def photograph(pictures: Pictures, rng: np.random.Generator, height: int, width: int, count: int) -> Background:
    """A part of a photograph, sometimes out of focus."""
    albedo = photo_crop(pictures, rng, width, height, 0.7)
    if rng.random() < 0.2:
        albedo = cv2.GaussianBlur(albedo, (0, 0), rng.uniform(0.8, 3))
    return _place(rng, cv2.LUT(albedo, tone_table(rng)))


def _forth_and_back(rng: np.random.Generator, length: int, count: int) -> np.ndarray:
    """Which of `length` frames is shown at each of `count` times: to the end and back, at its own pace or slower."""
    pace, start = rng.choice([1.0, 1.0, 0.5]), int(rng.integers(length))
    order = (start + np.floor(pace * np.arange(count))).astype(int) % max(2 * length - 2, 1)
    return np.where(order < length, order, 2 * length - 2 - order)


def clip(pictures: Pictures, rng: np.random.Generator, height: int, width: int, count: int) -> Background:
    """A clip that plays."""
    if not pictures.clips:
        return photograph(pictures, rng, height, width, count)
    files = pictures.clips[rng.integers(len(pictures.clips))]
    used, playing = np.unique(_forth_and_back(rng, len(files), count), return_inverse=True)
    table, mirrored = tone_table(rng, 0.7), rng.random() < 0.5
    frames = []
    for k in used:
        frame = cv2.LUT(pictures.photograph(files[k]), table)
        frames.append(np.ascontiguousarray(frame[:, ::-1]) if mirrored else frame)
    h, w = frames[0].shape[:2]
    b = _place(rng, frames[0])
    b.frames, b.playing = tuple(frames), playing
    b.scale = max(width / w, height / h) * float(rng.uniform(0.7, 1.1))
    return b


def make_film(pictures: Pictures, rng: np.random.Generator, film: Cutout, count: int) -> tuple[Background, list[int]]:
    """The frames of a clip that show a thing of `Pictures.films`, playing over `count` times.

    Returns:
        The place, and which of the thing's pictures belongs to each of the place's `frames`.
    """
    used, playing = np.unique(_forth_and_back(rng, len(film.frames), count), return_inverse=True)
    files, table = pictures.clips[film.clip], tone_table(rng, 0.7)
    frames = [cv2.LUT(pictures.photograph(files[film.frames[k]]), table) for k in used]
    b = _place(rng, frames[0])
    b.frames, b.playing = tuple(frames), playing
    return b, [int(k) for k in used]


def table(pictures: Pictures, rng: np.random.Generator, height: int, width: int, count: int) -> Background:
    """A wall and a table or floor before it, both clothed in parts of photographs, seen at a slant."""
    wall = cv2.GaussianBlur(photo_crop(pictures, rng, width, height, 0.2), (0, 0), rng.uniform(0.6, 2.5))
    top = photo_crop(pictures, rng, width, height, 0.1)
    if rng.random() < 0.6:  # most tables are of one colour
        plain = cv2.GaussianBlur(top, (0, 0), width / 8)
        top = cv2.addWeighted(plain, 0.85, top, 0.15, 0)
    edge, slope, narrow = rng.uniform(0.25, 0.6) * height, rng.normal(0, 0.04) * height, rng.uniform(0, 0.35) * width
    source = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    target = np.array([(-narrow / 2, edge - slope), (width + narrow / 2, edge + slope),
                       (width * 1.6, height), (-width * 0.6, height)], np.float32)  # fmt: skip
    matrix = cv2.getPerspectiveTransform(source, target)
    slanted = cv2.warpPerspective(cv2.LUT(top, tone_table(rng)), matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
    mask = np.zeros((height, width), np.uint8)
    line = np.array([(0, edge - slope), (width, edge + slope), (width, height), (0, height)])
    cv2.fillPoly(mask, [line.astype(np.int32)], 255)
    soft = cv2.GaussianBlur(mask, (0, 0), 1.0).astype(np.float32)[..., None] / 255
    albedo = (wall * (1 - soft) + slanted * soft).astype(np.uint8)
    b = _place(rng, albedo)
    rows = np.arange(height, dtype=np.float32)[:, None] / height
    b.nearness *= 1 + np.maximum(0, rows - np.float32(edge / height)) * np.float32(rng.uniform(0.2, 0.8))
    return b


def shelf(pictures: Pictures, rng: np.random.Generator, height: int, width: int, count: int) -> Background:
    """Rows of books, boxes and jars, clothed in parts of photographs, on boards."""
    back = cv2.convertScaleAbs(photo_crop(pictures, rng, width, height, 0.1), alpha=rng.uniform(0.3, 0.7))
    b = _place(rng, back)
    wood = cv2.LUT(photo_crop(pictures, rng, width, 16, 0.1), tone_table(rng))
    rows = int(rng.integers(2, 5))
    board = max(3, int(height * rng.uniform(0.012, 0.035)))
    for row in range(rows):
        foot = int(height * (row + 1) / rows) - board
        x, warm = -rng.uniform(0, 0.1) * width, rng.normal(0, 12)
        same = photo_crop(pictures, rng, 48, 96, 0.08) if rng.random() < 0.4 else None
        wide = height / rows * rng.uniform(0.12, 0.5)
        while x < width:
            w = int(np.clip(wide * np.exp(rng.normal(0, 0.08 if same is not None else 0.35)), 5, width))
            h = int(height / rows * np.clip(rng.normal(0.72, 0.04 if same is not None else 0.13), 0.3, 0.94))
            if rng.random() < 0.92:
                fill = same if same is not None else cv2.LUT(photo_crop(pictures, rng, w, h, 0.05), tone_table(rng))
                box = (x / width, (foot - h) / height, (x + w) / width, foot / height)
                b.box(box, fill, 90 + warm + rng.normal(0, 5), 1.1 + float(rng.normal(0, 0.01)))
            x += w + (rng.uniform(0, 0.2) * w if rng.random() < 0.3 else 1)
        b.albedo[foot : foot + board] = cv2.resize(wood, (width, board))
        b.nearness[foot : foot + board] = 1.14
    return b


def make_photo_background(
    pictures: Pictures, rng: np.random.Generator, height: int, width: int, count: int, kind: str | None = None
) -> Background:
    """A place of the given kind (of `PLACES`; None: any) of height x width pixels, over `count` times."""
    kind = kind or str(rng.choice(PLACES, p=_SHARES))
    make = {"photograph": photograph, "clip": clip, "table": table, "shelf": shelf}[kind]
    b = make(pictures, rng, height, width, count)
    if not b.frames:
        if rng.random() < 0.12:  # night: little light, which automatic exposure makes up for in part
            mean = float(b.albedo[::8, ::8].mean())
            b.albedo = cv2.convertScaleAbs(b.albedo, alpha=float(np.clip(30 / max(mean, 1), 0.2, 1)))
        if rng.random() < 0.3:
            light = 0.6 + 0.8 * fractal(rng, height, width, 2, 2)
            b.albedo = cv2.convertScaleAbs(b.albedo.astype(np.float32) * light[..., None])
    return b
