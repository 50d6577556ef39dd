"""Real pictures to draw with: a folder of photographs, clips and cut-out objects, and what is made of them.

Sprites are cut-out objects that play their pictures, and shapes clothed in photographs. Places are photographs, clips
that play, tables before a wall, and shelves full of things.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lib.synthetic.backgrounds import Background, look_up, slanted_plane
from lib.synthetic.objects import BORDER, Sprite, fractal

Box = tuple[int, int, int, int]  # xywh, whole pixels
INDEX_NAME = "sources.json"
KINDS: tuple[str, ...] = ("person", "thing", "region")


class SyntheticError(ValueError):
    """A SynthRGBX data set cannot be made as asked."""


@dataclass(frozen=True)
class Cutout:
    """An object with transparent surroundings: its pictures in order (one, if it was photographed once)."""

    files: tuple[str, ...]  # file names, in order
    kind: str  # of `KINDS`
    clip: int | None = None  # index of the clip that it was cut out of, or None
    frames: tuple[int, ...] = ()  # per picture, the clip's frame that shows it
    boxes: tuple[Box, ...] = ()  # per picture, where in that frame it is, xywh in whole pixels


class Pictures:
    """A folder filled by scripts/fetch_pictures.py.

    Attributes:
        folder: where the files are.
        photographs: file names of photographs.
        clips: per clip, file names of its frames in order.
        cutouts: objects with a mask.
        films: those of them that move in a clip.

    Raises:
        SyntheticError: the index is missing or not readable, lists nothing, or names a file outside the folder or
            one that is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        path, groups = self.folder / INDEX_NAME, ("photographs", "clips", "cutouts")
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SyntheticError(
                f"{self.folder} (--pictures) is not a folder of pictures: {error}; fill one with "
                "scripts/fetch_pictures.py --output FOLDER"
            ) from error
        except ValueError as error:
            raise SyntheticError(f"{path} is not valid JSON: {error}") from error
        if not isinstance(index, dict) or not all(isinstance(index.get(k), list) for k in groups):
            raise SyntheticError(f"{path} must be a mapping in which {', '.join(groups)} are lists")
        self.photographs = tuple(name for (name,) in self._names(index["photographs"], "photographs", "file"))
        self.clips = tuple(self._names(index["clips"], "clips", "files"))
        cutouts = []
        for names, entry in zip(self._names(index["cutouts"], "cutouts", "files"), index["cutouts"], strict=True):
            kind, clip = entry.get("kind"), entry.get("clip")
            if kind not in KINDS:
                raise SyntheticError(f"{path}: kind must be one of {KINDS}, got {kind!r} for {names[0]!r}")
            if clip is None:
                cutouts.append(Cutout(names, kind))
                continue
            # An object that moves in a clip: a frame of the clip and a box in it for every picture.
            frames: list[int] = entry.get("frames") or []
            boxes: list[list[int]] = entry.get("boxes") or []
            try:
                length = len(self.clips[clip]) if clip >= 0 else 0
                right = len(frames) == len(boxes) == len(names) and all(0 <= k < length for k in frames)
                right = right and all(len(box) == 4 and min(box[2:]) > 0 for box in boxes)
            except (TypeError, IndexError):
                right = False
            if not right:
                raise SyntheticError(
                    f"{path}: {names[0]!r} must have a clip (0 to {len(self.clips) - 1}), and a frame of it and a box "
                    f"(x, y, w, h) per picture; got clip {clip!r}"
                )
            cutouts.append(Cutout(names, kind, clip, tuple(frames), tuple((x, y, w, h) for x, y, w, h in boxes)))
        self.cutouts = tuple(cutouts)
        self.films = tuple(c for c in self.cutouts if c.clip is not None)
        if not self.photographs or not self.cutouts:
            raise SyntheticError(
                f"{path} lists {len(self.photographs)} photographs and {len(self.cutouts)} cut-outs; at least one of "
                "each is needed (scripts/fetch_pictures.py fills such a folder)"
            )

    def _names(self, entries: list[Any], group: str, key: str) -> list[tuple[str, ...]]:
        """The file names of each entry of a group, checked to lie in the folder and to be there."""
        path = self.folder / INDEX_NAME
        root = os.path.realpath(self.folder)  # of thousands of names: quicker than Path.resolve
        listed = []
        for entry in entries:
            value = entry.get(key) if isinstance(entry, dict) else None
            names = value if key == "files" and isinstance(value, list) else [value]
            if not names or not all(isinstance(name, str) and name for name in names):
                raise SyntheticError(f"{path}: an entry of {group} must have {key!r}, got {entry!r}")
            for name in names:
                file = os.path.realpath(f"{root}{os.sep}{name}")
                if os.path.commonpath([root, file]) != root:
                    raise SyntheticError(f"{path}: {name!r} leads out of the folder")
                if not Path(file).is_file():
                    raise SyntheticError(f"{path} lists {name!r}, which is not there")
            listed.append(tuple(names))
        return listed

    def fingerprint(self) -> str:
        """Compute the SHA-256 of the index's groups and of the bytes of every listed file."""
        digest = hashlib.sha256()
        groups = [self.photographs, self.clips, [asdict(c) for c in self.cutouts]]
        digest.update(json.dumps(groups).encode())
        clips, cuts = (n for clip in self.clips for n in clip), (n for c in self.cutouts for n in c.files)
        for name in (*self.photographs, *clips, *cuts):
            digest.update(hashlib.sha256((self.folder / name).read_bytes()).digest())
        return digest.hexdigest()

    def photograph(self, name: str) -> np.ndarray:
        """Read a photograph or a clip's frame, (H, W, 3) uint8, B,G,R; not to be changed."""
        return _color(self.folder / name)

    def cut(self, name: str) -> np.ndarray:
        """Read a cut-out, (h, w, 4) uint8, B,G,R,A, not multiplied by alpha; not to be changed."""
        return _cut(self.folder / name)


def _decode(path: Path, flags: int) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), flags)
    except (OSError, cv2.error) as error:
        raise SyntheticError(f"cannot read the picture {path}: {error}") from error
    if image is None:
        raise SyntheticError(f"{path} is not a picture that OpenCV reads; fetch the pictures again")
    return image


_color = lru_cache(maxsize=96)(partial(_decode, flags=cv2.IMREAD_COLOR))


@lru_cache(maxsize=256)
def _cut(path: Path) -> np.ndarray:
    image = _decode(path, cv2.IMREAD_UNCHANGED)
    if image.ndim != 3 or image.shape[2] != 4 or image.dtype != np.uint8:
        raise SyntheticError(f"{path} must be an 8-bit picture with transparency, got shape {image.shape}")
    return image


# ---- Sprites


def forth_and_back(step: np.ndarray, length: int) -> np.ndarray:
    """Turn step numbers (T,), rounded down, into indices of `length` pictures played to the end and back."""
    order = step.astype(int) % max(2 * length - 2, 1)
    return np.where(order < length, order, 2 * length - 2 - order)


def _tone_table(rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """A random change of light and color: gamma, contrast, brightness, cast; (1, 256, 3) uint8 for cv2.LUT."""
    x = np.linspace(0, 1, 256)[:, None]
    gamma = np.exp(rng.normal(0, 0.22 * strength))
    gain = np.exp(rng.normal(0, 0.15 * strength)) * np.exp(rng.normal(0, 0.05 * strength, 3))
    curve = 255 * gain * x**gamma + rng.normal(0, 6 * strength)
    return np.clip(curve, 0, 255).astype(np.uint8)[None]


def _sprite(rng: np.random.Generator, cuts: list[np.ndarray]) -> Sprite:
    """A sprite of premultiplied pictures; brighter parts are warmer or colder, and one side is warmer."""
    colors = tuple(_bordered(cut) for cut in cuts)
    slope, (across, down) = rng.normal(0, 0.35), rng.normal(0, 25, 2)
    heat = []
    for color in colors:
        h, w = color.shape[:2]
        gray = cv2.blur(cv2.cvtColor(color[..., :3], cv2.COLOR_BGR2GRAY), (3, 3)).astype(np.float32)
        mean = float(gray[color[..., 3] > 127].mean()) if (color[..., 3] > 127).any() else 128.0
        side = np.linspace(-across, across, w, dtype=np.float32)
        side = side + np.linspace(-down, down, h, dtype=np.float32)[:, None]
        heat.append(np.clip(128 + np.float32(slope) * (gray - np.float32(mean)) + side, 0, 255).astype(np.uint8))
    return Sprite(colors, tuple(heat))


def _premultiplied(cut: np.ndarray) -> np.ndarray:
    """Multiply the colors of (h, w, 4) B,G,R,A by alpha."""
    alpha = cv2.cvtColor(cut[..., 3], cv2.COLOR_GRAY2BGR)
    return np.dstack([cv2.multiply(np.ascontiguousarray(cut[..., :3]), alpha, scale=1 / 255), cut[..., 3]])


def _bordered(color: np.ndarray) -> np.ndarray:
    return cv2.copyMakeBorder(color, *(BORDER,) * 4, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))


def _resized(image: np.ndarray, width: float, height: float) -> np.ndarray:
    """Resize to about width x height pixels, at least 3 x 3."""
    size = (max(3, round(width)), max(3, round(height)))
    shrinks = size[0] < image.shape[1] or size[1] < image.shape[0]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def cutout_sprite(
    pictures: Pictures, rng: np.random.Generator, cutout: Cutout, size: float, stretch: float = 1.0, most: int = 24
) -> Sprite:
    """A cut-out object, mirrored or not, in some light.

    Args:
        pictures, rng, cutout: where it comes from, chance, and the object.
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
    mirrored, table = rng.random() < 0.5, _tone_table(rng, 0.7)
    colors = []
    for cut in cuts:
        color = np.dstack([cv2.LUT(np.ascontiguousarray(cut[..., :3]), table), cut[..., 3]])
        color = _resized(_premultiplied(color), cut.shape[1] * fx, cut.shape[0] * fy)
        colors.append(np.ascontiguousarray(color[:, ::-1]) if mirrored else color)
    return _sprite(rng, colors)


def film_sprite(pictures: Pictures, rng: np.random.Generator, film: Cutout, chosen: list[int]) -> Sprite:
    """Pictures of a thing as large as they are in its clip."""
    cuts = [(_premultiplied(pictures.cut(film.files[k])), film.boxes[k][2:]) for k in chosen]
    return _sprite(rng, [cv2.resize(cut, size, interpolation=cv2.INTER_AREA) for cut, size in cuts])


def _photo_crop(
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
        widths = rng.uniform(0.35, 1, 7) * np.array([0.5, 0.7, 1, 1, 1, 1, 0.9])
        half = np.interp(np.linspace(0, 1, 40), knots, widths)
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
    color = _photo_crop(pictures, rng, width, height)
    if rng.random() < 0.4:  # a second part: a label, a lid, trousers
        top, bottom = np.sort(rng.uniform(0, 1, 2))
        rows = slice(int(top * height), max(int(bottom * height), int(top * height) + 2))
        color[rows] = _photo_crop(pictures, rng, width, max(2, rows.stop - rows.start))[: color[rows].shape[0]]
    if rng.random() < 0.6:
        x = np.linspace(-1, 1, width, dtype=np.float32)
        light = 1 + np.float32(rng.uniform(-0.35, 0.35)) * x - np.float32(rng.uniform(0, 0.35)) * x**2
        color = cv2.convertScaleAbs(color.astype(np.float32) * light[None, :, None])
    color = cv2.LUT(color, _tone_table(rng))
    return _sprite(rng, [_premultiplied(np.dstack([color, _outline(rng, width, height)]))])


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
    mean = (sprite.color[0][solid][:, :3].mean(axis=0) if solid.any() else np.full(3, 128.0)) + 8
    light = (around.mean() / mean.mean()) ** rng.uniform(0, 0.7)
    cast = ((around / around.mean()) / (mean / mean.mean())) ** rng.uniform(0, 0.3)
    gain = np.clip(light * cast, 0.25, 2.2)
    table = np.ones((1, 256, 4))
    table[..., :3] = gain
    table = np.clip(np.arange(256)[None, :, None] * table, 0, 255).astype(np.uint8)
    colors = []
    for color in sprite.color:  # no color exceeds its alpha, as it is multiplied by it
        lit = cv2.LUT(color, table)
        lit[..., :3] = np.minimum(lit[..., :3], color[..., 3:])
        colors.append(lit)
    return Sprite(tuple(colors), sprite.heat)


def _place(rng: np.random.Generator, albedo: np.ndarray) -> Background:
    """A place of the given looks: temperature by color, varying slowly; a slanted plane with steps for distance."""
    height, width = albedo.shape[:2]
    # A temperature for every color: smooth, so that things of one color are about equally warm.
    steps = np.arange(16, dtype=np.float64) / 15
    b, g, r = np.meshgrid(steps, steps, steps, indexing="ij")
    colors = np.stack([b, g, r], -1).reshape(-1, 3)
    level = rng.uniform(50, 125) + rng.normal(0, 26) * (colors.mean(axis=1) - 0.5)
    for _ in range(3):
        level += rng.uniform(3, 14) * np.sin(colors @ rng.normal(0, 4, 3) + rng.uniform(0, 2 * np.pi))
    table = np.clip(level, 0, 255).astype(np.uint8)
    temperature = look_up(table, cv2.blur(albedo, (5, 5))).astype(np.float32)
    temperature += np.float32(rng.uniform(2, 14)) * (fractal(rng, height, width, 2, 2) - 0.5)
    nearness = slanted_plane(rng, height, width)
    levels = int(rng.integers(1, 6))  # things stand out in flat steps
    relief = np.floor(fractal(rng, height, width, 3, 3) * levels) / levels
    nearness = (nearness + np.float32(rng.uniform(0, 0.25)) * (relief - 0.5)).astype(np.float32)
    return Background(albedo, np.clip(temperature, 0, 255).astype(np.uint8), nearness, heat_table=table)


def photograph(pictures: Pictures, rng: np.random.Generator, height: int, width: int, count: int) -> Background:
    """A part of a photograph, sometimes out of focus."""
    albedo = _photo_crop(pictures, rng, width, height, 0.7)
    if rng.random() < 0.2:
        albedo = cv2.GaussianBlur(albedo, (0, 0), rng.uniform(0.8, 3))
    return _place(rng, cv2.LUT(albedo, _tone_table(rng)))


def _play(
    pictures: Pictures, rng: np.random.Generator, files: Sequence[str], count: int, mirror: bool = False
) -> tuple[Background, list[int]]:
    """A place that plays its pictures, at their own pace or slower, over `count` times; and which of them it uses."""
    pace, start = rng.choice([1.0, 1.0, 0.5]), int(rng.integers(len(files)))
    order = forth_and_back(start + np.floor(pace * np.arange(count)), len(files))
    used, playing = np.unique(order, return_inverse=True)
    tones, mirrored = _tone_table(rng, 0.7), mirror and rng.random() < 0.5
    frames = [cv2.LUT(pictures.photograph(files[k]), tones) for k in used]
    if mirrored:
        frames = [np.ascontiguousarray(frame[:, ::-1]) for frame in frames]
    b = _place(rng, frames[0])
    b.frames, b.playing = tuple(frames), playing
    return b, used.tolist()


def clip(pictures: Pictures, rng: np.random.Generator, height: int, width: int, count: int) -> Background:
    """A clip that plays."""
    if not pictures.clips:
        return photograph(pictures, rng, height, width, count)
    b, _ = _play(pictures, rng, pictures.clips[rng.integers(len(pictures.clips))], count, mirror=True)
    b.scale = max(width / b.shape[1], height / b.shape[0]) * float(rng.uniform(0.7, 1.1))
    return b


def make_film(pictures: Pictures, rng: np.random.Generator, film: Cutout, count: int) -> tuple[Background, list[int]]:
    """The frames of a clip that show a thing of `Pictures.films`, playing over `count` times.

    Returns:
        The place, and which of the thing's pictures belongs to each of the place's `frames`.
    """
    assert film.clip is not None
    return _play(pictures, rng, [pictures.clips[film.clip][k] for k in film.frames], count)


def table(pictures: Pictures, rng: np.random.Generator, height: int, width: int, count: int) -> Background:
    """A wall and a table or floor before it, both clothed in parts of photographs, seen at a slant."""
    wall = cv2.GaussianBlur(_photo_crop(pictures, rng, width, height, 0.2), (0, 0), rng.uniform(0.6, 2.5))
    top = _photo_crop(pictures, rng, width, height, 0.1)
    if rng.random() < 0.6:  # most tables are of one color
        plain = cv2.GaussianBlur(top, (0, 0), width / 8)
        top = cv2.addWeighted(plain, 0.85, top, 0.15, 0)
    edge, slope, narrow = rng.uniform(0.25, 0.6) * height, rng.normal(0, 0.04) * height, rng.uniform(0, 0.35) * width
    source = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    target = np.array([(-narrow / 2, edge - slope), (width + narrow / 2, edge + slope),
                       (width * 1.6, height), (-width * 0.6, height)], np.float32)  # fmt: skip
    matrix = cv2.getPerspectiveTransform(source, target)
    slanted = cv2.warpPerspective(
        cv2.LUT(top, _tone_table(rng)), matrix, (width, height), borderMode=cv2.BORDER_REFLECT
    )
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
    back = cv2.convertScaleAbs(_photo_crop(pictures, rng, width, height, 0.1), alpha=rng.uniform(0.3, 0.7))
    b = _place(rng, back)
    wood = cv2.LUT(_photo_crop(pictures, rng, width, 16, 0.1), _tone_table(rng))
    rows = int(rng.integers(2, 5))
    board = max(3, int(height * rng.uniform(0.012, 0.035)))
    for row in range(rows):
        foot = int(height * (row + 1) / rows) - board
        x, warm = -rng.uniform(0, 0.1) * width, rng.normal(0, 12)
        same = _photo_crop(pictures, rng, 48, 96, 0.08) if rng.random() < 0.4 else None
        wide = height / rows * rng.uniform(0.12, 0.5)
        while x < width:
            w = int(np.clip(wide * np.exp(rng.normal(0, 0.08 if same is not None else 0.35)), 5, width))
            h = int(height / rows * np.clip(rng.normal(0.72, 0.04 if same is not None else 0.13), 0.3, 0.94))
            if rng.random() < 0.92:
                fill = same if same is not None else cv2.LUT(_photo_crop(pictures, rng, w, h, 0.05), _tone_table(rng))
                box = (x / width, (foot - h) / height, (x + w) / width, foot / height)
                b.box(box, fill, 90 + warm + rng.normal(0, 5), 1.1 + float(rng.normal(0, 0.01)))
            x += w + (rng.uniform(0, 0.2) * w if rng.random() < 0.3 else 1)
        b.albedo[foot : foot + board] = cv2.resize(wood, (width, board))
        b.nearness[foot : foot + board] = 1.14
    return b


PLACES: dict[str, Callable[[Pictures, np.random.Generator, int, int, int], Background]] = {
    f.__name__: f for f in (photograph, clip, table, shelf)
}
_SHARES = (0.56, 0.22, 0.12, 0.1)


def make_photo_background(
    pictures: Pictures, rng: np.random.Generator, height: int, width: int, count: int, kind: str | None = None
) -> Background:
    """A place of the given kind (of `PLACES`; None: any) of height x width pixels, over `count` times."""
    kind = kind or str(rng.choice(list(PLACES), p=_SHARES))
    b = PLACES[kind](pictures, rng, height, width, count)
    if not b.frames:
        if rng.random() < 0.12:  # night: little light, which automatic exposure makes up for in part
            mean = float(b.albedo[::8, ::8].mean())
            b.albedo = cv2.convertScaleAbs(b.albedo, alpha=float(np.clip(30 / max(mean, 1), 0.2, 1)))
        if rng.random() < 0.3:
            light = 0.6 + 0.8 * fractal(rng, height, width, 2, 2)
            b.albedo = cv2.convertScaleAbs(b.albedo.astype(np.float32) * light[..., None])
    return b
