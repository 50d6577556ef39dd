"""Image <-> crop geometry, for training and for tracking alike: the one place where it is written down.

A crop is a square around a box, `ceil(factor * sqrt(w * h))` pixels on a side, resized to the network's input size.
Boxes are xywh in image pixels unless the name says otherwise; `resize_factor` is crop pixels per image pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

__all__ = [
    "MEAN",
    "STD",
    "box_to_crop",
    "clip_box",
    "crop_to_image",
    "crop_window",
    "draw_outline",
    "forwards",
    "hann_window",
    "sample_crop",
    "sample_rectangle",
    "sample_window",
]

MEAN = (0.485, 0.456, 0.406)
"""ImageNet mean per colour channel, in [0, 1]; used for every triple of channels."""
STD = (0.229, 0.224, 0.225)
"""ImageNet standard deviation per colour channel, in [0, 1]."""
OUTLINE_COLOR = (255, 0, 255)
"""Of the line around a target in its template: rare in pictures."""
LARGEST_WINDOW = 8192 * 8192
"""Pixels of a crop that may be laid out in full before it is made smaller: 400 MB with two streams."""

Box = Sequence[float] | np.ndarray


def crop_window(box_xywh: Box, factor: float) -> tuple[int, int, int]:
    """The square around a box that a crop shows.

    Args:
        box_xywh: (4,), pixels.
        factor: side of the square in units of sqrt(w * h).

    Returns:
        left, top, side: whole pixels; left and top are rounded half to even, as published.

    Raises:
        ValueError: the box has no area or is not finite.
    """
    x, y, w, h = map(float, box_xywh)
    if not (math.isfinite(x + y + w + h) and w > 0 and h > 0):
        raise ValueError(f"box must be finite (x, y, w, h) with w > 0 and h > 0, got {[x, y, w, h]}")
    side = math.ceil(math.sqrt(w * h) * factor)
    return round(x + 0.5 * w - 0.5 * side), round(y + 0.5 * h - 0.5 * side), side


def sample_crop(image: np.ndarray, box_xywh: Box, factor: float, size: int) -> tuple[np.ndarray, float]:
    """Cuts the square around a box out of an image and resizes it (bilinear); zeros outside the image.

    A crop that touches or passes the right (bottom) border also loses the image's last column (row): the published
    border rule, which released weights were trained with. A crop that misses the image is all zeros.

    Args:
        image: (H, W, C), uint8 in practice, any C.
        box_xywh: (4,), pixels.
        factor: side of the square in units of sqrt(w * h).
        size: side of the returned crop, pixels.

    Returns:
        patch (size, size, C) of the image's dtype, and resize_factor = size / side.
    """
    return sample_window(image, crop_window(box_xywh, factor), size)


def sample_window(image: np.ndarray, window: tuple[int, int, int], size: int) -> tuple[np.ndarray, float]:
    """`sample_crop` of a square that is known: left, top, side as `crop_window` gives them.

    Of an image that is a mirrored view the crop is one, too.
    """
    left, top, side = window
    return sample_rectangle(image, (left, top, side, side), size), size / side


def sample_rectangle(image: np.ndarray, rectangle: tuple[int, int, int, int], size: int) -> np.ndarray:
    """Sample a rectangle (left, top, width, height in whole pixels), stretched to (size, size, C)."""
    height, width, channels = image.shape
    left, top, across, down = rectangle
    x0, x1 = max(left, 0), min(left + across, width - 1)
    y0, y1 = max(top, 0), min(top + down, height - 1)
    if x0 >= x1 or y0 >= y1:
        return np.zeros((size, size, channels), image.dtype)
    patch, mirrored = image[y0:y1, x0:x1], image.strides[1] < 0
    if across * down > LARGEST_WINDOW:  # the same points, in 1/32 pixel, without the window ever being in memory
        steps = np.array([[across / size, 0.0, left - x0], [0.0, down / size, top - y0]])
        steps[:, 2] += 0.5 * np.array([across / size - 1, down / size - 1])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        planes = [cv2.warpAffine(plane, steps, (size, size), flags=flags) for plane in cv2.split(forwards(patch))]
        return np.stack(planes, axis=2)
    before, behind = x0 - left, left + across - x1
    if mirrored:  # as it lies in memory; resizing a mirrored patch gives the mirrored result, bit for bit
        patch, before, behind = patch[:, ::-1], behind, before
    if patch.shape[:2] != (down, across):
        patch = cv2.copyMakeBorder(patch, y0 - top, top + down - y1, before, behind, cv2.BORDER_CONSTANT, value=0)
    resized = cv2.resize(patch, (size, size), interpolation=cv2.INTER_LINEAR).reshape(size, size, channels)
    return resized[:, ::-1] if mirrored else resized


def forwards(image: np.ndarray) -> np.ndarray:
    """An image whose columns lie in memory from left to right: a mirrored view is copied, by OpenCV, any other kept."""
    return cv2.flip(image[:, ::-1], 1).reshape(image.shape) if image.strides[1] < 0 else image


def box_to_crop(box_xywh: Box, crop_box_xywh: Box, resize_factor: float, size: int) -> np.ndarray:
    """Convert a box of the image to one of a crop: the training label.

    Args:
        box_xywh: (4,), pixels: the box to convert.
        crop_box_xywh: (4,), pixels: the box the crop was made around.
        resize_factor: as returned by `sample_crop`.
        size: side of the crop, pixels.

    Returns:
        (4,) float64, xywh (top left corner), normalized by `size`; not clipped to [0, 1].
    """
    (x, y, w, h), (around_x, around_y, around_w, around_h) = map(float, box_xywh), map(float, crop_box_xywh)
    offset_x, offset_y = (x + 0.5 * w) - (around_x + 0.5 * around_w), (y + 0.5 * h) - (around_y + 0.5 * around_h)
    center_x, center_y = (size - 1) / 2 + offset_x * resize_factor, (size - 1) / 2 + offset_y * resize_factor
    width, height = w * resize_factor, h * resize_factor
    return np.array([center_x - 0.5 * width, center_y - 0.5 * height, width, height]) / size


def crop_to_image(box_cxcywh_normalized: Box, previous_box_xywh: Box, resize_factor: float, size: int) -> np.ndarray:
    """Convert a box predicted in a search crop to one of the image: the step back when tracking.

    The crop is taken to be centred on the unrounded centre of the box it was made around, as published (up to half
    a pixel from its true place).

    Args:
        box_cxcywh_normalized: (4,), normalized by the crop's side.
        previous_box_xywh: (4,), pixels: the box the crop was made around.
        resize_factor: as returned by `sample_crop`.
        size: side of the crop, pixels.

    Returns:
        (4,) float64, xywh, pixels; not clipped.
    """
    box = np.asarray(box_cxcywh_normalized, np.float64) * size / resize_factor
    previous = np.asarray(previous_box_xywh, np.float64)
    center = box[:2] + previous[:2] + 0.5 * previous[2:] - 0.5 * size / resize_factor
    return np.concatenate([center - 0.5 * box[2:], box[2:]])


def draw_outline(patch: np.ndarray, box_xywh: Box, width: int) -> None:
    """Shows a network which part of a crop is the target: a line around the box, drawn into all channels, in place.

    Args:
        patch: (size, size, C) uint8, C a multiple of 3.
        box_xywh: (4,), normalized by the crop's side, as `box_to_crop` gives it.
        width: of the line, pixels; it lies outside the box, and where the box leaves the crop there is none.
    """
    size, channels = patch.shape[0], patch.shape[2]
    x, y, w, h = map(float, box_xywh)
    edges = (edge * size + 0.5 for edge in (x, y, x + w, y + h))  # pixel k covers k - 0.5 to k + 0.5 in labels
    left, top, right, bottom = (min(max(round(edge), 0), size) for edge in edges)
    inside = patch[top:bottom, left:right].copy()
    around = patch[max(top - width, 0) : bottom + width, max(left - width, 0) : right + width]
    around[:] = np.tile(np.array(OUTLINE_COLOR, np.uint8), channels // 3)
    patch[top:bottom, left:right] = inside


def clip_box(box_xywh: Box, height: int, width: int, margin: int = 0) -> np.ndarray:
    """Keeps a box in the image, with at least `margin` pixels (at most the image's size) of it on either axis.

    Args:
        box_xywh: (4,), pixels.
        height, width: of the image, pixels.
        margin: smallest visible extent and smallest side, pixels.

    Returns:
        (4,) float64, xywh, pixels.
    """
    x, y, w, h = (float(v) for v in box_xywh)
    x, w = _clip_span(x, w, width, min(margin, width))
    y, h = _clip_span(y, h, height, min(margin, height))
    return np.array([x, y, w, h])


def _clip_span(start: float, extent: float, limit: int, margin: int) -> tuple[float, float]:
    first = min(max(0.0, start), limit - margin)
    last = min(max(float(margin), start + extent), limit)
    return first, max(float(margin), last - first)


def hann_window(n: int) -> np.ndarray:
    """Centred two-dimensional Hann window without its zero border: 0.5 (1 - cos(2 pi k / (n + 1))), k = 1..n.

    Returns:
        (n, n) float32, in (0, 1].
    """
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, n + 1) / (n + 1)))
    return np.outer(window, window).astype(np.float32)
