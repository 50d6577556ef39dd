"""Any part of a picture as a target, so that a network learns to follow the box it was given.

Objects have edges of their own, and a network that has seen nothing else finds the object around a headlight. A part
has no edges but its box's.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from lib.datasets.decoded import DecodedFrame
from lib.training.augment import InvalidCrop

__all__ = ["LARGEST", "LEAST_CONTRAST", "MOST_ELONGATED", "SMALLEST", "draw_region"]

SMALLEST = 20.0
"""Pixels, sqrt(w * h)."""
LARGEST = 0.4
"""sqrt(w * h), in shorter sides of the image."""
MOST_ELONGATED = 4.0
"""Width / height, or the other way round."""
LEAST_CONTRAST = 10.0
"""Standard deviation of the gray values, below which a region has nothing to be known by."""


def draw_region(frame: DecodedFrame, rng: np.random.Generator) -> np.ndarray:
    """A box inside a frame: its size, aspect and place drawn uniformly, the first two by their logarithms.

    Args:
        frame: RGB, maybe with X, which is not looked at.
        rng: the sample's generator.

    Returns:
        (4,) float64, xywh, pixels.

    Raises:
        InvalidCrop: the frame is too small, or the place drawn is plain.
    """
    height, width, _ = frame.shape
    size, aspect, across, down = rng.random(4).tolist()
    largest = max(LARGEST * min(height, width), SMALLEST)
    side = SMALLEST * (largest / SMALLEST) ** size
    elongation = MOST_ELONGATED ** (2 * aspect - 1)
    w, h = side * math.sqrt(elongation), side / math.sqrt(elongation)
    if w >= width or h >= height:
        raise InvalidCrop(f"a region of {w:.0f}x{h:.0f} pixels doesn't fit into {width}x{height}")
    x, y = across * (width - w), down * (height - h)
    shown = frame.rgb().patch((int(x), int(y), math.ceil(side)), 16)[0].image()
    if cv2.meanStdDev(cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY))[1].item() < LEAST_CONTRAST:
        raise InvalidCrop(f"the region at {x:.0f}, {y:.0f} is plain")
    return np.array([x, y, w, h])
