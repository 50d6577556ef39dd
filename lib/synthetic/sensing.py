"""What the sensors share: noise cut from fixed tiles, misalignment of two cameras, streams that drop out.

Noise is cut from the tiles at random offsets, which is far cheaper than drawing it per pixel.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from lib.synthetic.plan import Outage
from lib.synthetic.scene import Scene
from patrack.modality import DEPTH_LIMIT

__all__ = ["drop_out", "enlarge", "misalignment", "noise"]

_TILE = 640


@lru_cache(maxsize=4)
def _tile(kind: str, channels: int) -> np.ndarray:
    """A fixed noise tile (_TILE, _TILE[, channels]) float32: normal, uniform or blobs (smooth, uniform values)."""
    rng = np.random.default_rng(20240229 + channels)
    shape = (_TILE, _TILE) if channels == 1 else (_TILE, _TILE, channels)
    if kind == "normal":
        return rng.standard_normal(shape, dtype=np.float32)
    if kind == "uniform":
        return rng.random(shape, dtype=np.float32)
    smooth = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), 2.2)
    ranks = np.empty(smooth.size, np.float32)
    ranks[np.argsort(smooth, axis=None)] = np.linspace(0, 1, smooth.size, dtype=np.float32)
    return ranks.reshape(shape)


def noise(rng: np.random.Generator, kind: str, height: int, width: int, channels: int = 1) -> np.ndarray:
    """A window of a noise tile at a random place, (height, width[, channels]) float32."""
    tile = _tile(kind, channels)
    if height > _TILE or width > _TILE:
        repeats = (-(-height // _TILE) + 1, -(-width // _TILE) + 1) + (1,) * (tile.ndim - 2)
        tile = np.tile(tile, repeats)
    y, x = rng.integers(tile.shape[0] - height + 1), rng.integers(tile.shape[1] - width + 1)
    return tile[y : y + height, x : x + width]


def misalignment(
    rng: np.random.Generator, scene: Scene, offset: tuple[float, float], stretch: float, turn: float
) -> np.ndarray:
    """Where the points of the RGB picture lie in X: a constant offset, scale and rotation about the picture's centre.

    Args:
        rng: decides within the limits.
        scene: gives the size, and gets the attribute `misregistered`.
        offset: limits in x and y, as shares of the width.
        stretch: limit of the scale's distance from 1.
        turn: limit of the angle, degrees.

    Returns:
        (2, 3) float64, an affine matrix on pixel coordinates.
    """
    scene.attributes.add("misregistered")
    # the sideways offset is at least a third of its limit: two cameras stand side by side
    shift = np.array([rng.uniform(0.33, 1) * rng.choice([-1, 1]), rng.uniform(-1, 1)]) * offset * scene.width
    matrix = cv2.getRotationMatrix2D(
        ((scene.width - 1) / 2, (scene.height - 1) / 2),
        rng.uniform(-turn, turn),
        1 + rng.uniform(-stretch, stretch),
    )
    matrix[:, 2] += shift
    return matrix


def enlarge(matrix: np.ndarray, factor: tuple[float, float]) -> np.ndarray:
    """An affine matrix for pictures whose pixels are (x, y) times as large as those that `matrix` (2, 3) is for."""
    scale = np.array(factor)
    linear = matrix[:, :2] * scale
    return np.column_stack([linear, matrix[:, 2] + matrix[:, :2] @ (scale / 2 - 0.5)])


def drop_out(outage: Outage, image: np.ndarray, before: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a stream delivers instead of `image` while it is out; `before` is what it delivered last.

    Noise is in color in RGB, gray in 8-bit X, and any range up to 10 m in depth (H, W) uint16.
    """
    if outage.kind == "frozen":
        return before
    if outage.kind == "black":
        return np.zeros_like(image)
    height, width = image.shape[:2]
    values = noise(rng, "uniform", height, width, 3 if outage.stream == "rgb" else 1)
    if image.ndim == 2:
        return (values * DEPTH_LIMIT).astype(np.uint16)
    values = (values * 255).astype(np.uint8)
    return values if values.ndim == 3 else cv2.cvtColor(values, cv2.COLOR_GRAY2BGR)
