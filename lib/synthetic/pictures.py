"""Real pictures to draw with: a folder of photographs, clips and cut-out objects, and how objects are cut out."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

Box = tuple[int, int, int, int]  # xywh, whole pixels
INDEX_NAME = "sources.json"
KINDS: tuple[str, ...] = ("person", "thing", "region")
_GROWTH = 6  # pixels at which two masks of consecutive frames may have grown apart and still be one thing


class SyntheticError(ValueError):
    """A SynthRGBX data set cannot be made as asked."""


@dataclass(frozen=True)
class Cutout:
    """An object with transparent surroundings: its pictures in order (one, if it was photographed once).

    Attributes:
        files: file names, in order.
        kind: of `KINDS`.
        clip: index of the clip that it was cut out of, or None.
        frames: per picture, the clip's frame that shows it.
        boxes: per picture, where in that frame it is, xywh in whole pixels.
    """

    files: tuple[str, ...]
    kind: str
    clip: int | None = None
    frames: tuple[int, ...] = ()
    boxes: tuple[Box, ...] = ()


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
        files = self._names(index["cutouts"], "cutouts", "files")
        self.cutouts = tuple(self._cutout(names, entry) for names, entry in zip(files, index["cutouts"], strict=True))
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

    def _cutout(self, names: tuple[str, ...], entry: dict[str, Any]) -> Cutout:
        path, kind, clip = self.folder / INDEX_NAME, entry.get("kind"), entry.get("clip")
        if kind not in KINDS:
            raise SyntheticError(f"{path}: kind must be one of {KINDS}, got {kind!r} for {names[0]!r}")
        if clip is None:
            return Cutout(names, kind)
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
        return Cutout(names, kind, clip, tuple(frames), tuple((x, y, w, h) for x, y, w, h in boxes))

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


@lru_cache(maxsize=96)
def _color(path: Path) -> np.ndarray:
    return _decode(path, cv2.IMREAD_COLOR)


@lru_cache(maxsize=256)
def _cut(path: Path) -> np.ndarray:
    image = _decode(path, cv2.IMREAD_UNCHANGED)
    if image.ndim != 3 or image.shape[2] != 4 or image.dtype != np.uint8:
        raise SyntheticError(f"{path} must be an 8-bit picture with transparency, got shape {image.shape}")
    return image


def cut_out(image: np.ndarray, mask: np.ndarray, longest: int = 320) -> tuple[np.ndarray, Box] | None:
    """Cut out the masked part of a picture, its edge moved inwards by about a pixel and softened.

    Args:
        image: (H, W, 3) uint8, B,G,R.
        mask: (H, W) bool.
        longest: the result's longer side is at most this, pixels.

    Returns:
        (h, w, 4) uint8, B,G,R,A, not multiplied by alpha, cropped to the mask, and where it was in the picture, xywh in
        pixels; None if nothing of it is left.
    """
    solid = cv2.erode(mask.astype(np.uint8) * 255, np.ones((3, 3), np.uint8), borderValue=0)
    x, y, w, h = cv2.boundingRect(solid)
    if w < 4 or h < 4:
        return None
    left, top = max(0, x - 1), max(0, y - 1)
    window = np.s_[top : y + h + 1, left : x + w + 1]
    cut = np.dstack([image, cv2.GaussianBlur(solid, (0, 0), 0.8, borderType=cv2.BORDER_CONSTANT)])[window]
    box = (left, top, cut.shape[1], cut.shape[0])
    scale = longest / max(cut.shape[:2])
    return cv2.resize(cut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else cut, box


def is_photograph(cut: np.ndarray) -> bool:
    """Tell a photograph (h, w, 4) uint8 B,G,R,A by its grain from a drawing, which has flat areas."""
    same = (np.abs(np.diff(cut[..., :3].astype(np.int16), axis=1)).max(axis=2) == 0) & (cut[:, 1:, 3] > 200)
    solid = int((cut[:, 1:, 3] > 200).sum())
    colors = len(np.unique((cut[cut[..., 3] > 200][:, :3] >> 3) @ np.array([1, 32, 1024])))
    return solid > 400 and same.sum() < 0.22 * solid and colors > 60


def _solid_parts(mask: np.ndarray, low: float, high: float) -> list[np.ndarray]:
    """The connected parts of a mask with holes filled, of an area between `low` and `high` pixels, largest first."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    parts = []
    for contour in sorted(contours, key=cv2.contourArea, reverse=True):
        if low <= cv2.contourArea(contour) <= high:
            part = np.zeros(mask.shape, np.uint8)
            cv2.drawContours(part, [contour], -1, 1, cv2.FILLED)
            parts.append(part.astype(bool))
    return parts


def photo_regions(image: np.ndarray, most: int = 8) -> list[np.ndarray]:
    """Find compact parts of a photograph of about one color: masks (H, W) bool, at most `most`, largest first."""
    height, width = image.shape[:2]
    scale = 360 / max(height, width)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    flat = cv2.pyrMeanShiftFiltering(small, 8, 22)
    area = small.shape[0] * small.shape[1]
    done = np.zeros((small.shape[0] + 2, small.shape[1] + 2), np.uint8)
    masks = []
    rows, columns = np.meshgrid(np.linspace(0.08, 0.92, 12), np.linspace(0.08, 0.92, 12), indexing="ij")
    for v, u in zip(rows.ravel(), columns.ravel(), strict=True):
        y, x = int(v * small.shape[0]), int(u * small.shape[1])
        if done[y + 1, x + 1]:
            continue
        flood = done.copy()
        cv2.floodFill(flat, flood, (x, y), 0, (7,) * 3, (7,) * 3, 4 | cv2.FLOODFILL_MASK_ONLY | (255 << 8))
        mask = (flood != done)[1:-1, 1:-1]
        done = np.maximum(done, (flood != done).astype(np.uint8))
        mask = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
        for part in _solid_parts(mask, 0.004 * area, 0.25 * area)[:1]:
            contour = cv2.findContours(part.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0][0]
            if part.sum() > 0.62 * cv2.contourArea(cv2.convexHull(contour)):
                masks.append(part)
    masks.sort(key=lambda m: -int(m.sum()))
    smooth = (cv2.GaussianBlur(cv2.resize(m.astype(np.float32), (width, height)), (0, 0), 3) for m in masks[:most])
    return [m > 0.5 for m in smooth]


def moving_things(
    frames: Sequence[np.ndarray], smallest: float = 0.0012, largest: float = 0.2, still: np.ndarray | None = None
) -> list[list[tuple[int, np.ndarray]]]:
    """Follow things that move before a camera that stands still.

    Args:
        frames: (H, W, 3) uint8 pictures in order.
        smallest, largest: area of a thing as a share of the picture.
        still: the picture without them (H, W, 3) uint8; None: the median of the frames.

    Returns:
        Per thing, its consecutive (frame index, mask (H, W) bool); things at the picture's border are left out.
    """
    if still is None:
        still = np.median(np.stack(frames[:: max(1, len(frames) // 25)]), axis=0).astype(np.uint8)
    height, width = still.shape[:2]
    tracks: list[list[tuple[int, np.ndarray]]] = []
    for k, frame in enumerate(frames):
        change = cv2.GaussianBlur(cv2.absdiff(frame, still), (0, 0), 1).max(axis=2) > 26
        change = cv2.morphologyEx(change.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        change = cv2.morphologyEx(change, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
        for mask in _solid_parts(change, smallest * height * width, largest * height * width):
            x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
            if x <= 2 or y <= 2 or x + w >= width - 2 or y + h >= height - 2:
                continue
            near = cv2.dilate(mask.astype(np.uint8), np.ones((_GROWTH, _GROWTH), np.uint8)).astype(bool)
            for track in tracks:
                last, before = track[-1]
                if last != k - 1:
                    continue
                union = (mask | before).sum()
                if (near & before).sum() > 0.45 * union and 0.6 < mask.sum() / before.sum() < 1.65:
                    track.append((k, mask))
                    break
            else:
                tracks.append([(k, mask)])
    return tracks
