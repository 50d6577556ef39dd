"""A folder of real pictures to draw with: photographs, clips and cut-out objects, listed in one index file."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lib.synthetic.errors import SyntheticError

__all__ = ["INDEX_NAME", "KINDS", "Cutout", "Pictures"]

INDEX_NAME = "sources.json"
KINDS: tuple[str, ...] = ("person", "thing", "region")


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
    boxes: tuple[tuple[int, int, int, int], ...] = ()


class Pictures:
    """What a folder filled by scripts/fetch_pictures.py holds.

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
        index = self._index()
        self.photographs = tuple(self._names(index, "photographs", "file"))
        self.clips = tuple(tuple(entry) for entry in self._names(index, "clips", "files"))
        files = self._names(index, "cutouts", "files")
        self.cutouts = tuple(self._cutout(names, entry) for names, entry in zip(files, index["cutouts"], strict=True))
        self.films = tuple(c for c in self.cutouts if c.clip is not None)
        if not self.photographs or not self.cutouts:
            raise SyntheticError(
                f"{self.folder / INDEX_NAME} lists {len(self.photographs)} photographs and {len(self.cutouts)} "
                "cut-outs; at least one of each is needed (scripts/fetch_pictures.py fills such a folder)"
            )

    def _index(self) -> dict[str, Any]:
        path = self.folder / INDEX_NAME
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SyntheticError(
                f"{self.folder} (--pictures) is not a folder of pictures: {error}; fill one with "
                "scripts/fetch_pictures.py --output FOLDER"
            ) from error
        except ValueError as error:
            raise SyntheticError(f"{path} is not valid JSON: {error}") from error
        groups = ("photographs", "clips", "cutouts")
        if not isinstance(index, dict) or not all(isinstance(index.get(k), list) for k in groups):
            raise SyntheticError(f"{path} must be a mapping in which {', '.join(groups)} are lists")
        return index

    def _names(self, index: dict[str, Any], group: str, key: str) -> list[Any]:
        """The file names of a group, checked to lie in the folder and to be there."""
        path, found = self.folder / INDEX_NAME, []
        root = os.path.realpath(self.folder)  # of thousands of names: quicker than Path.resolve
        for entry in index[group]:
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
            found.append(value)
        return found

    def _cutout(self, names: list[str], entry: dict[str, Any]) -> Cutout:
        path, kind, clip = self.folder / INDEX_NAME, entry.get("kind"), entry.get("clip")
        if kind not in KINDS:
            raise SyntheticError(f"{path}: kind must be one of {KINDS}, got {kind!r} for {names[0]!r}")
        if clip is None:
            return Cutout(tuple(names), kind)
        frames, boxes = entry.get("frames"), entry.get("boxes")
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
        return Cutout(tuple(names), kind, clip, tuple(frames), tuple(tuple(box) for box in boxes))

    def fingerprint(self) -> str:
        """SHA-256 over the index's groups and the bytes of every listed file: what the pictures decide."""
        digest = hashlib.sha256()
        groups = [self.photographs, self.clips, [asdict(c) for c in self.cutouts]]
        digest.update(json.dumps(groups).encode())
        names = [
            *self.photographs,
            *(n for clip in self.clips for n in clip),
            *(n for c in self.cutouts for n in c.files),
        ]
        for name in names:
            digest.update(hashlib.sha256((self.folder / name).read_bytes()).digest())
        return digest.hexdigest()

    def photograph(self, name: str) -> np.ndarray:
        """A photograph or a clip's frame, (H, W, 3) uint8, B,G,R; not to be changed."""
        return _color(self.folder / name)

    def cut(self, name: str) -> np.ndarray:
        """A cut-out, (h, w, 4) uint8, B,G,R,A, not multiplied by alpha; not to be changed."""
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
