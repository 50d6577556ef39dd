"""The second sensors: what a pair of RGB and X is called, and how X becomes a three-channel uint8 image.

Training and tracking convert whole frames with `x_to_three_channels` before any cropping, so that depth is scaled over
the full frame. The depth rule is that of DeT (https://arxiv.org/abs/2108.13962), shared by the RGB-D trackers that
followed it; the event colors are VisEvent's (https://arxiv.org/abs/2108.05015).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

__all__ = [
    "DEPTH",
    "EVENT",
    "JOINT",
    "PAIRS",
    "THERMAL",
    "ClipDepth",
    "Pair",
    "RunningRange",
    "ValueRange",
    "events_to_image",
    "modalities",
    "prepare_x",
    "to_eight_bits",
    "usual_range",
    "x_to_three_channels",
]

ClipDepth = bool | Literal["measured"]
"""True: limit a depth image to min(3 * median, 10000), the published rule; "measured": the same with the median of the
pixels that were measured; False: no limit."""
ValueRange = tuple[float, float]
"""Values of X that become 0 and 255."""

DEPTH_MEDIANS = 3  # clip at this many medians ...
DEPTH_LIMIT = 10000  # ... but never above this many millimeters
METER = 1000.0  # millimeters
FAR = 100.0  # meters: no depth camera measures that far
USUAL = (0.5, 99.5)  # percentiles of the values that become 0 and 255
ON_COLOR = (220, 30, 30)  # R, G, B: brightness went up
OFF_COLOR = (30, 30, 200)  # R, G, B: brightness went down


def to_eight_bits(image: np.ndarray, value_range: ValueRange) -> np.ndarray:
    """Show the values between two limits as 0..255, those beyond as the limits themselves.

    Args:
        image: of any shape and real type, such as the counts of a thermal camera; NaN becomes 0.
        value_range: values that become 0 and 255, the first one lower.

    Returns:
        Of the same shape, uint8; halves to even.

    Raises:
        ValueError: a range that isn't one.
    """
    low, high = value_range
    if not low < high:
        raise ValueError(f"a range of values must be two numbers, the lower one first, got {low:g}, {high:g}")
    if image.dtype in (np.uint8, np.uint16):
        return np.take(_table(image.dtype.name, low, high), image)
    values = image.astype(np.float64)
    return np.nan_to_num(np.rint((values - low) * 255 / (high - low)).clip(0, 255)).astype(np.uint8)


@lru_cache(maxsize=8)
def _table(dtype: str, low: float, high: float) -> np.ndarray:
    """What `to_eight_bits` makes of each value of an unsigned type."""
    values = np.arange(np.iinfo(dtype).max + 1, dtype=np.float64)
    return np.rint((values - low) * 255 / (high - low)).clip(0, 255).astype(np.uint8)


def usual_range(images: Iterable[np.ndarray]) -> ValueRange:
    """Find the range of values that a recording is to be shown in: percentiles 0.5 and 99.5 of these frames together.

    Args:
        images: some frames of the recording, of any shape; what isn't finite is left out.

    Raises:
        ValueError: no finite value.
    """
    finite = [image[np.isfinite(image)] for image in images]
    values = np.concatenate(finite) if finite else np.empty(0)
    if values.size == 0:
        raise ValueError("no finite value in the frames that were looked at")
    low, high = np.percentile(values, USUAL).tolist()
    return low, high if high > low else low + 1.0


class RunningRange:
    """Turn a stream of raw images, of which nobody knows what is to come, into 8 bits: the range follows slowly.

        to_image = RunningRange()
        tracker.initialize(np.dstack([rgb, x_to_three_channels(to_image(raw), THERMAL)]), box)

    Args:
        share: of the way that both limits go towards those of each frame, (0, 1]. The first frame sets them.
    """

    def __init__(self, share: float = 0.05) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {share}")
        self.share = share
        self.value_range: ValueRange | None = None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Take one raw image and show it in 8 bits, see `to_eight_bits`."""
        low, high = usual_range([image])
        if self.value_range is not None:
            before = self.value_range
            low, high = (a + self.share * (b - a) for a, b in zip(before, (low, high), strict=True))
        self.value_range = (low, high)
        return to_eight_bits(image, self.value_range)


def _eight_bit(
    image: np.ndarray, kind: str, clip_depth: ClipDepth, value_range: ValueRange | None
) -> tuple[np.ndarray, bool]:
    if value_range is not None:
        image = to_eight_bits(image, value_range)
    if image.dtype != np.uint8:
        raise ValueError(
            f"{kind} image has values of type {image.dtype}: only those of 8 bits can be used as they are; say which "
            "values are to become 0 and 255 (--x-range LOW,HIGH; x_range: [LOW, HIGH] in dataset.yaml; "
            "patrack.modality.to_eight_bits)"
        )
    return image, image.ndim == 3


def _depth(
    image: np.ndarray, kind: str, clip_depth: ClipDepth, value_range: ValueRange | None
) -> tuple[np.ndarray, bool]:
    if image.ndim == 3:
        if image.dtype != np.uint8:
            raise ValueError(f"three-channel depth image must have 8 bits per channel, got {image.dtype}")
        gray = image[:, :, 0]
        if not (np.array_equal(gray, image[:, :, 1]) and np.array_equal(gray, image[:, :, 2])):
            return image, False
        image = gray
    if image.dtype.kind == "f":  # meters, as in ROS' 32FC1; what isn't finite was not measured
        meters = np.where(np.isfinite(image), image, 0).astype(np.float64)
        measured = meters[meters > 0]
        if measured.size and np.median(measured) > FAR:
            raise ValueError(
                f"depth image of {image.dtype} must be in meters, got values up to {meters.max():g}: if they are "
                "millimeters, save them as 16-bit whole numbers"
            )
        image = np.rint(meters * METER)
    elif image.dtype.kind not in "ui":
        raise ValueError(f"depth image must hold whole numbers (millimeters) or meters, got {image.dtype}")
    if image.dtype not in (np.uint8, np.uint16):
        image = image.clip(0, np.iinfo(np.uint16).max).astype(np.uint16)
    if value_range is not None:
        return cv2.applyColorMap(to_eight_bits(image, value_range), cv2.COLORMAP_JET), False
    if clip_depth:
        # np.median, by counting
        counts = np.bincount(image.ravel(), minlength=1)
        if clip_depth == "measured":
            counts[0] = 0
        up_to = np.cumsum(counts)
        middle = (max(int(up_to[-1]) - 1, 0) // 2, int(up_to[-1]) // 2)
        median = float(np.searchsorted(up_to, middle, side="right").mean()) if up_to[-1] else 0.0
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
        prepare: the work of `prepare_x` on an image (H, W) or (H, W, 3), given kind, clip_depth and value_range.
        folders: names that X's folder, or video, has beside RGB's in recordings.
        nothing: color where X sees nothing, in the order that its channels have when they are prepared.
        bgr: channels of X in a frame are in the order B, G, R, not R, G, B.
    """

    kind: str
    prepare: Callable[[np.ndarray, str, ClipDepth, ValueRange | None], tuple[np.ndarray, bool]]
    folders: tuple[str, ...]
    nothing: tuple[int, int, int] = (0, 0, 0)
    bgr: bool = False


THERMAL, DEPTH, EVENT = "thermal", "depth", "event"
PAIRS: dict[str, Pair] = {  # a new modality: a row here, and a function as above
    "rgbt": Pair(THERMAL, _eight_bit, ("ir", "infrared", "thermal", "lwir")),
    "rgbd": Pair(DEPTH, _depth, ("depth",), nothing=(128, 0, 0), bgr=True),  # JET's color of 0
    "rgbe": Pair(EVENT, _eight_bit, ("event_imgs", "event", "events", "dvs"), nothing=(255, 255, 255)),
}
"""By modality: how experiments (`rgbt_small`) and data sets call the pair."""


JOINT = "rgbx"
"""Modality of an experiment whose one model serves several pairs; the data say which."""


def modalities() -> tuple[str, ...]:
    """List what a recording can be, and an experiment that isn't joint: the pairs, then "rgb" alone."""
    return (*PAIRS, "rgb")


def x_to_three_channels(
    image: np.ndarray, kind: str, clip_depth: ClipDepth = True, value_range: ValueRange | None = None
) -> np.ndarray:
    """Convert one frame of the X modality, as OpenCV reads it with its own depth and channels.

    thermal, event: 8 bit; three channels (B, G, R) become R, G, B; one channel becomes three equal ones. Other types
    need a range of values.
    depth: one channel of whole numbers (millimeters, 0 = no measurement) or floating point (meters; 0 and what isn't
    finite = no measurement) is clipped, scaled to 0..255 and colored with JET in the order B, G, R, which is what
    released checkpoints were trained on. A three-channel 8-bit depth image counts as colored already and is kept as it
    is (B, G, R as stored by OpenCV), unless its three channels are equal: then it is a gray depth image and treated as
    one channel.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), uint8; or of another real type, see above.
        kind: of X, as in `PAIRS`.
        clip_depth: what depth is limited to before scaling. By the published rule, True, an image of which more than
            half was not measured becomes one flat color; by "measured" it doesn't.
        value_range: values that become 0 and 255 (depth: millimeters), instead of any other rule.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: unknown kind, empty image, wrong number of channels or wrong type of its values.
    """
    image, backwards = prepare_x(image, kind, clip_depth, value_range)
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)  # [H, W, 3]
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if backwards else image  # [H, W, 3]


def prepare_x(
    image: np.ndarray, kind: str, clip_depth: ClipDepth = True, value_range: ValueRange | None = None
) -> tuple[np.ndarray, bool]:
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
    return prepare_of[kind](image, kind, clip_depth, value_range)


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
