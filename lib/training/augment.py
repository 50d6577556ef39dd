"""From two frames and their boxes to two crops and a label: jitter, flips, grayscale, brightness.

Everything geometric treats the channels alike, so RGB and X stay in register; crops stay uint8, which keeps this
cheap, and are normalized on the device. Decisions are drawn in a fixed order from the sample's own generator.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from patrack import crop

__all__ = ["InvalidCrop", "PairAugmentation", "PairCrops", "brighten", "flip_boxes", "gray_rgb", "jitter_box"]


class InvalidCrop(ValueError):
    """The frames cannot give a training sample (empty box or crop outside the image): draw another pair."""


@dataclass(frozen=True)
class PairCrops:
    """A training sample.

    Attributes:
        template: (Hz, Hz, C) uint8.
        search: (Hx, Hx, C) uint8.
        box: (4,) float32, xywh of the target in the search crop, normalized by Hx, not clipped.
    """

    template: np.ndarray
    search: np.ndarray
    box: np.ndarray


def jitter_box(box: np.ndarray, center_jitter: float, scale_jitter: float, rng: np.random.Generator) -> np.ndarray:
    """The box a crop is made around: size times exp(normal * scale_jitter), centre moved by at most
    center_jitter / 2 * sqrt(w h) of the new size on either axis.

    Args:
        box: (4,) xywh, pixels.

    Returns:
        (4,) xywh, pixels.
    """
    size = box[2:] * np.exp(rng.standard_normal(2) * scale_jitter)
    offset = np.sqrt(size.prod()) * center_jitter * (rng.random(2) - 0.5)
    return np.concatenate([box[:2] + 0.5 * box[2:] + offset - 0.5 * size, size])


def flip_boxes(box: np.ndarray, width: float) -> np.ndarray:
    """Mirrors an xywh box left to right in an image of which x runs from 0 to `width`."""
    return np.array([width - box[0] - box[2], *box[1:]], np.float64)


def gray_rgb(image: np.ndarray) -> np.ndarray:
    """A copy of (H, W, 3 or 6) uint8 with the RGB triple gray; the X modality is left as it is."""
    out = image.copy()
    out[..., :3] = cv2.cvtColor(np.ascontiguousarray(image[..., :3]), cv2.COLOR_RGB2GRAY)[..., None]
    return out


def brighten(image: np.ndarray, factor: float) -> np.ndarray:
    """(H, W, C) uint8 times a factor, rounded and clipped to 0..255; all channels, X included, as published."""
    levels = np.clip(np.rint(np.arange(256) * factor), 0, 255).astype(np.uint8)
    return cv2.LUT(image.reshape(image.shape[0], -1), levels).reshape(image.shape)


class PairAugmentation:
    """Joint and per-crop augmentation of a (template, search) pair.

    Joint (one decision for both frames): grayscale of the RGB triple; left-right flip in the image, x' = W - x - w for
    the left edge of a box, and by one pixel less if `flip_shift` is 1, as published.
    Per frame: jitter of the crop. Per crop, in training only: brightness, left-right flip.

    Args:
        template_size, search_size: sides of the crops, pixels.
        template_factor, search_factor: side of the cropped square in units of sqrt(w * h).
        template_jitter, search_jitter: (centre, scale) as in `jitter_box`.
        gray_probability, flip_probability, crop_flip_probability: in [0, 1].
        brightness_jitter: factor uniform in 1 +- this.
        flip_shift: pixels by which the joint flip puts a box too far to the left: 1 as published, 0 in place.
        training: False leaves out the per-crop part, as in published validation.
    """

    def __init__(
        self,
        *,
        template_size: int,
        search_size: int,
        template_factor: float = 2.0,
        search_factor: float = 4.0,
        template_jitter: tuple[float, float] = (0.0, 0.0),
        search_jitter: tuple[float, float] = (3.0, 0.25),
        gray_probability: float = 0.05,
        flip_probability: float = 0.5,
        crop_flip_probability: float = 0.5,
        brightness_jitter: float = 0.2,
        flip_shift: int = 1,
        training: bool = True,
    ) -> None:
        self.template = (template_size, template_factor, template_jitter)
        self.search = (search_size, search_factor, search_jitter)
        self.gray_probability = gray_probability
        self.flip_probability, self.flip_shift = flip_probability, flip_shift
        self.crop_flip_probability = crop_flip_probability if training else 0.0
        self.brightness_jitter = brightness_jitter if training else 0.0

    def __call__(
        self,
        template_frame: np.ndarray,
        template_box: np.ndarray,
        search_frame: np.ndarray,
        search_box: np.ndarray,
        rng: np.random.Generator,
    ) -> PairCrops:
        """Crops and augments.

        Args:
            template_frame, search_frame: (H, W, C) uint8, C = 3 or 6.
            template_box, search_box: (4,) xywh, pixels.
            rng: the sample's generator.

        Raises:
            InvalidCrop: a box is empty or not finite, or a crop misses the image.
        """
        gray, flip = rng.random(2) < (self.gray_probability, self.flip_probability)
        crops = []
        for frame, box, (size, factor, jitter) in (
            (template_frame, template_box, self.template),
            (search_frame, search_box, self.search),
        ):
            box = np.asarray(box, np.float64)
            if flip:
                frame, box = frame[:, ::-1], flip_boxes(box, frame.shape[1] - self.flip_shift)
            patch, label = self._crop(frame, box, size, factor, jitter, rng)
            crops.append(self._vary(gray_rgb(patch) if gray else patch, label, rng))
        (template, _), (search, label) = crops
        return PairCrops(template, search, label.astype(np.float32))

    @staticmethod
    def _crop(
        frame: np.ndarray,
        box: np.ndarray,
        size: int,
        factor: float,
        jitter: tuple[float, float],
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        height, width = frame.shape[:2]
        if not (np.isfinite(box).all() and (box[2:] > 0).all()):
            raise InvalidCrop(f"box {box.tolist()} gives no crop")
        around = jitter_box(box, *jitter, rng)
        left, top, side = crop.crop_window(around, factor)
        if left >= width or top >= height or left + side <= 0 or top + side <= 0:
            raise InvalidCrop(f"box {box.tolist()} gives a crop outside the image of {width}x{height}")
        patch, resize_factor = crop.sample_crop(frame, around, factor, size)
        return patch, crop.box_to_crop(box, around, resize_factor, size)

    def _vary(self, patch: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        brightness, flip = rng.random(2)
        if self.brightness_jitter:
            patch = brighten(patch, 1.0 + self.brightness_jitter * (2.0 * brightness - 1.0))
        if flip < self.crop_flip_probability:
            patch, label = np.ascontiguousarray(patch[:, ::-1]), flip_boxes(label, 1.0)
        return patch, label
