"""A small folder of pictures, made of textures, in the shape that scripts/fetch_pictures.py writes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.synthetic.objects import texture
from lib.synthetic.pictures import INDEX_NAME


def _save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())


def _cut(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    alpha = np.zeros((height, width), np.uint8)
    cv2.ellipse(alpha, (width // 2, height // 2), (width // 2 - 1, height // 2 - 1), 0, 0, 360, 255, -1, cv2.LINE_AA)
    return np.dstack([texture(rng, height, width), alpha])


def make_pictures(folder: Path, seed: int = 0) -> Path:
    """Two photographs, a clip of five frames, a person that walks in it, a thing and a region."""
    rng = np.random.default_rng(seed)
    index: dict[str, list] = {"sources": [], "photographs": [], "clips": [], "cutouts": []}
    for k in range(2):
        _save(folder / f"photographs/{k}.jpg", texture(rng, 120, 160))
        index["photographs"].append({"file": f"photographs/{k}.jpg", "source": "test"})
    frames = [f"clips/a/{k}.jpg" for k in range(5)]
    for name in frames:
        _save(folder / name, texture(rng, 90, 160))
    index["clips"].append({"files": frames, "source": "test"})
    for kind, count, size in (("person", 5, (20, 50)), ("thing", 1, (40, 30)), ("region", 1, (30, 30))):
        names = [f"cutouts/{kind}/{k}.png" for k in range(count)]
        for k, name in enumerate(names):
            _save(folder / name, _cut(rng, size[0] + 2 * k, size[1]))
        index["cutouts"].append({"files": names, "source": "test", "kind": kind})
    boxes = [[30 + 5 * k, 20 + k, 20 + 2 * k, 50] for k in range(5)]
    index["cutouts"][0] |= {"clip": 0, "frames": list(range(5)), "boxes": boxes}
    (folder / INDEX_NAME).write_text(json.dumps({"version": 1, **index}))
    return folder


@pytest.fixture
def pictures_folder(tmp_path: Path) -> Path:
    return make_pictures(tmp_path / "pictures")
