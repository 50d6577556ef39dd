"""Thermal, depth and event data to a three-channel uint8 image: the only place where this happens.

Training and tracking convert whole frames with `x_to_three_channels` before any cropping, so that depth is scaled over
the full frame. The depth rule is that of DeT (https://arxiv.org/abs/2108.13962), shared by the RGB-D trackers that
followed it; the event colours are VisEvent's (https://arxiv.org/abs/2108.05015).
"""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["DEPTH", "EVENT", "KINDS", "THERMAL", "events_to_image", "prepare_x", "x_to_three_channels"]

THERMAL, DEPTH, EVENT = "thermal", "depth", "event"
KINDS: tuple[str, ...] = (THERMAL, DEPTH, EVENT)

DEPTH_MEDIANS = 3  # clip at this many medians ...
DEPTH_LIMIT = 10000  # ... but never above this many millimetres
ON_COLOUR = (220, 30, 30)  # R, G, B: brightness went up
OFF_COLOUR = (30, 30, 200)  # R, G, B: brightness went down


def x_to_three_channels(image: np.ndarray, kind: str, clip_depth: bool = True) -> np.ndarray:
    """Convert one frame of the X modality, as `cv2.imread(path, cv2.IMREAD_UNCHANGED)` gives it.

    thermal, event: 8 bit; three channels (B, G, R) become R, G, B; one channel becomes three equal ones.
    depth: one channel of uint8 or uint16 (millimetres, 0 = no measurement) is clipped, scaled to 0..255 and coloured
    with JET in the order B, G, R, which is what released checkpoints were trained on. A three-channel 8-bit depth
    image counts as coloured already and is kept as it is (B, G, R as stored by OpenCV), unless its three channels are
    equal: then it is a gray depth image and treated as one channel.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), uint8; for depth with one channel also uint16.
        kind: one of `KINDS`.
        clip_depth: limit depth to min(3 * median, 10000) before scaling.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: unknown kind, empty image, wrong number of channels or wrong type of its values.
    """
    image, backwards = prepare_x(image, kind, clip_depth)
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)  # [H, W, 3]
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if backwards else image  # [H, W, 3]


def prepare_x(image: np.ndarray, kind: str, clip_depth: bool = True) -> tuple[np.ndarray, bool]:
    """As much of `x_to_three_channels` as needs the whole frame; the rest may be done to a crop.

    Returns:
        image (H, W) for three equal channels, or (H, W, 3), uint8; whether its channels must be reversed.

    Raises:
        ValueError: as `x_to_three_channels`.
    """
    if kind not in KINDS:
        raise ValueError(f"modality kind must be one of {KINDS}, got {kind!r}")
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.size == 0 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise ValueError(f"{kind} image must be (H, W), (H, W, 1) or (H, W, 3), got shape {image.shape}")
    if kind == DEPTH:
        return _depth_to_three_channels(image, clip_depth), False
    if image.dtype != np.uint8:
        raise ValueError(f"{kind} image must have 8 bits per channel, got {image.dtype}; convert the files to 8 bits")
    return image, image.ndim == 3


def _depth_to_three_channels(image: np.ndarray, clip: bool) -> np.ndarray:
    if image.ndim == 3:
        if image.dtype != np.uint8:
            raise ValueError(f"three-channel depth image must have 8 bits per channel, got {image.dtype}")
        gray = image[:, :, 0]
        if not (np.array_equal(gray, image[:, :, 1]) and np.array_equal(gray, image[:, :, 2])):
            return image
        image = gray
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"depth image must hold uint8 or uint16 (millimetres), got {image.dtype}")
    if clip:
        limit = int(min(DEPTH_MEDIANS * _median(image), DEPTH_LIMIT))
        image = np.minimum(image, np.array(min(limit, np.iinfo(image.dtype).max), dtype=image.dtype))
    return cv2.applyColorMap(_stretch(image), cv2.COLORMAP_JET)  # [H, W, 3], channels B, G, R


def _median(image: np.ndarray) -> float:
    """`np.median` of unsigned integers, by counting."""
    up_to = np.cumsum(np.bincount(image.ravel()))
    middle = ((image.size - 1) // 2, image.size // 2)
    return float(np.searchsorted(up_to, middle, side="right").mean())


def _stretch(image: np.ndarray) -> np.ndarray:
    """Min-max scale unsigned integers (H, W) to uint8 0..255, halves to even; a constant image becomes 0."""
    low, high = int(image.min()), int(image.max())
    if low == high:
        return np.zeros(image.shape, dtype=np.uint8)
    steps = np.arange(high - low + 1, dtype=np.float64) * 255 / (high - low)
    return np.take(np.rint(steps).astype(np.uint8), image - image.dtype.type(low))


def events_to_image(
    t_us: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray, height: int, width: int
) -> np.ndarray:
    """Draw the events of one frame's time window the way VisEvent's images were made.

    White canvas; a pixel with at least one ON event (p > 0) is red, with at least one OFF event blue; OFF lies over ON.
    Events are not counted and their times do not matter here: the caller chooses the window.

    Args:
        t_us: (N,) microseconds.
        x, y: (N,) pixel column in [0, width) and row in [0, height).
        p: (N,) polarity: above 0 is ON; 0 or below is OFF.
        height, width: of the image, pixels.

    Returns:
        (height, width, 3) uint8, channels R, G, B.

    Raises:
        ValueError: arrays of different length, or an event outside the image.
    """
    t_us, x, y, p = (np.asarray(a) for a in (t_us, x, y, p))
    lengths = {len(a) for a in (t_us, x, y, p)}
    if len(lengths) > 1:
        raise ValueError(f"t_us, x, y, p must be equally long, got {len(t_us)}, {len(x)}, {len(y)}, {len(p)}")
    image = np.full((height, width, 3), 255, dtype=np.uint8)
    if len(x) == 0:
        return image
    if min(x.min(), y.min()) < 0 or x.max() >= width or y.max() >= height:
        raise ValueError(
            f"events must lie in an image of width {width} and height {height}, "
            f"got x {x.min()}..{x.max()} and y {y.min()}..{y.max()}"
        )
    columns, rows, on = x.astype(np.intp), y.astype(np.intp), p > 0
    image[rows[on], columns[on]] = ON_COLOUR
    image[rows[~on], columns[~on]] = OFF_COLOUR
    return image
