"""The second sensors: what a pair of RGB and X is called, and how X becomes a three-channel uint8 image.

Training and tracking convert whole frames with `x_to_three_channels` before any cropping, so that depth is scaled over
the full frame. The depth rule is that of DeT (https://arxiv.org/abs/2108.13962), shared by the RGB-D trackers that
followed it; the event colors are VisEvent's (https://arxiv.org/abs/2108.05015).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

__all__ = [
    "DEPTH",
    "EVENT",
    "PAIRS",
    "THERMAL",
    "Pair",
    "events_to_image",
    "modalities",
    "prepare_x",
    "x_to_three_channels",
]

DEPTH_MEDIANS = 3  # clip at this many medians ...
DEPTH_LIMIT = 10000  # ... but never above this many millimeters
ON_COLOR = (220, 30, 30)  # R, G, B: brightness went up
OFF_COLOR = (30, 30, 200)  # R, G, B: brightness went down


def _eight_bit(image: np.ndarray, kind: str, clip_depth: bool) -> tuple[np.ndarray, bool]:
    if image.dtype != np.uint8:
        raise ValueError(f"{kind} image must have 8 bits per channel, got {image.dtype}; convert the files to 8 bits")
    return image, image.ndim == 3


def _depth(image: np.ndarray, kind: str, clip_depth: bool) -> tuple[np.ndarray, bool]:
    if image.ndim == 3:
        if image.dtype != np.uint8:
            raise ValueError(f"three-channel depth image must have 8 bits per channel, got {image.dtype}")
        gray = image[:, :, 0]
        if not (np.array_equal(gray, image[:, :, 1]) and np.array_equal(gray, image[:, :, 2])):
            return image, False
        image = gray
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"depth image must hold uint8 or uint16 (millimeters), got {image.dtype}")
    if clip_depth:
        # np.median, by counting
        up_to = np.cumsum(np.bincount(image.ravel()))
        middle = ((image.size - 1) // 2, image.size // 2)
        median = float(np.searchsorted(up_to, middle, side="right").mean())
        limit = int(min(DEPTH_MEDIANS * median, DEPTH_LIMIT))
        image = np.minimum(image, np.array(min(limit, np.iinfo(image.dtype).max), dtype=image.dtype))

    # min-max to 0..255 through a table, halves to even; a constant image becomes 0
    low, high = int(image.min()), int(image.max())
    table = np.rint(np.arange(high - low + 1, dtype=np.float64) * 255 / max(high - low, 1)).astype(np.uint8)
    scaled = np.take(table, image - image.dtype.type(low))
    return cv2.applyColorMap(scaled, cv2.COLORMAP_JET), False  # [H, W, 3], channels B, G, R


@dataclass(frozen=True)
class Pair:
    """RGB and a second sensor X.

    Attributes:
        kind: of X.
        prepare: the work of `prepare_x` on an image (H, W) or (H, W, 3), given kind and clip_depth.
        folders: names that X's folder, or video, has beside RGB's in recordings.
        bgr: channels of X in a frame are in the order B, G, R, not R, G, B.
    """

    kind: str
    prepare: Callable[[np.ndarray, str, bool], tuple[np.ndarray, bool]]
    folders: tuple[str, ...]
    bgr: bool = False


THERMAL, DEPTH, EVENT = "thermal", "depth", "event"
PAIRS: dict[str, Pair] = {  # a new modality: a row here, and a function as above
    "rgbt": Pair(THERMAL, _eight_bit, ("ir", "infrared", "thermal", "lwir")),
    "rgbd": Pair(DEPTH, _depth, ("depth",), bgr=True),
    "rgbe": Pair(EVENT, _eight_bit, ("event_imgs", "event", "events", "dvs")),
}
"""By modality: how experiments (`rgbt_small`) and data sets call the pair."""


def modalities() -> tuple[str, ...]:
    """List what an experiment or a recording can be: the pairs, then "rgb" alone."""
    return (*PAIRS, "rgb")


def x_to_three_channels(image: np.ndarray, kind: str, clip_depth: bool = True) -> np.ndarray:
    """Convert one frame of the X modality, as OpenCV reads it with its own depth and channels.

    thermal, event: 8 bit; three channels (B, G, R) become R, G, B; one channel becomes three equal ones.
    depth: one channel of uint8 or uint16 (millimeters, 0 = no measurement) is clipped, scaled to 0..255 and colored
    with JET in the order B, G, R, which is what released checkpoints were trained on. A three-channel 8-bit depth
    image counts as colored already and is kept as it is (B, G, R as stored by OpenCV), unless its three channels are
    equal: then it is a gray depth image and treated as one channel.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), uint8; for depth with one channel also uint16.
        kind: of X, as in `PAIRS`.
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
    """Do as much of `x_to_three_channels` as needs the whole frame; the rest may be done to a crop.

    Returns:
        image (H, W) for three equal channels, or (H, W, 3), uint8; whether its channels must be reversed.

    Raises:
        ValueError: as `x_to_three_channels`.
    """
    prepare_of = {pair.kind: pair.prepare for pair in PAIRS.values()}
    if kind not in prepare_of:
        raise ValueError(f"modality kind must be one of {tuple(prepare_of)}, got {kind!r}")
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.size == 0 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise ValueError(f"{kind} image must be (H, W), (H, W, 1) or (H, W, 3), got shape {image.shape}")
    return prepare_of[kind](image, kind, clip_depth)


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
    image[rows[on], columns[on]] = ON_COLOR
    image[rows[~on], columns[~on]] = OFF_COLOR
    return image
