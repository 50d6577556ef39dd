"""A frame between decoding and use: colours are converted where somebody looks, not over the whole image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from patrack.crop import crop_window, forwards, sample_crop

__all__ = ["DecodedFrame", "Plane"]


@dataclass(frozen=True, eq=False)
class Plane:
    """What one file holds.

    Attributes:
        pixels: (H, W) for three equal channels, or (H, W, c), uint8.
        backwards: the channels are to be read in reverse order: B, G, R.
    """

    pixels: np.ndarray
    backwards: bool = False

    @property
    def channels(self) -> int:
        """How many it has in the frame."""
        return 3 if self.pixels.ndim == 2 else self.pixels.shape[2]


@dataclass(frozen=True, eq=False)
class DecodedFrame:
    """A frame of H x W pixels and C channels: R, G, B, then X if there is one.

    Attributes:
        planes: its channels in order; all of the same height and width.
    """

    planes: tuple[Plane, ...]

    @classmethod
    def from_image(cls, image: np.ndarray) -> DecodedFrame:
        """Of an (H, W, 3 or 6) uint8 image, which is not copied.

        Raises:
            ValueError: another shape or type.
        """
        if image.ndim != 3 or image.shape[2] not in (3, 6) or image.dtype != np.uint8:
            raise ValueError(f"a frame must be (H, W, 3 or 6) uint8, got {image.shape} {image.dtype}")
        return cls((Plane(image),))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the image."""
        height, width = self.planes[0].pixels.shape[:2]
        return height, width, sum(plane.channels for plane in self.planes)

    def image(self) -> np.ndarray:
        """The whole frame: (H, W, C) uint8; not a copy if it was made of an image."""
        first = self.planes[0]
        if len(self.planes) == 1 and first.pixels.ndim == 3 and not first.backwards:
            return first.pixels
        sources, pairs, read, written = [], [], 0, 0
        for plane in self.planes:
            stored = 1 if plane.pixels.ndim == 2 else plane.channels
            for channel in range(plane.channels):
                pairs += [read + (stored - 1 - channel if plane.backwards else channel % stored), written + channel]
            sources.append(forwards(plane.pixels))
            read, written = read + stored, written + plane.channels
        image = np.empty(self.shape, np.uint8)
        return cv2.mixChannels(sources, [image], pairs)[0]

    def crop(self, box_xywh: Sequence[float] | np.ndarray, factor: float, size: int) -> tuple[np.ndarray, float]:
        """The same, bit for bit, as `patrack.crop.sample_crop` of the whole image.

        Args:
            box_xywh: (4,), pixels.
            factor: side of the square in units of sqrt(w * h).
            size: side of the returned crop, pixels.

        Returns:
            patch (size, size, C) uint8, and resize_factor = size / side.
        """
        patch, resize_factor = self.patch(box_xywh, factor, size)
        return patch.image(), resize_factor

    def patch(self, box_xywh: Sequence[float] | np.ndarray, factor: float, size: int) -> tuple[DecodedFrame, float]:
        """As `crop`, with colours still to be converted."""
        if crop_window(box_xywh, factor)[2] == 2 * size and len(self.planes) > 1:
            # OpenCV averages 2 x 2 pixels here, and rounds six channels otherwise than one or three
            patch, resize_factor = sample_crop(self.image(), box_xywh, factor, size)
            return DecodedFrame.from_image(patch), resize_factor
        planes = []
        for plane in self.planes:
            pixels = plane.pixels[:, :, None] if plane.pixels.ndim == 2 else plane.pixels
            patch, resize_factor = sample_crop(pixels, box_xywh, factor, size)
            planes.append(Plane(patch.reshape(size, size, *plane.pixels.shape[2:]), plane.backwards))
        return DecodedFrame(tuple(planes)), resize_factor

    def flipped(self) -> DecodedFrame:
        """Mirrored left to right; a view."""
        return DecodedFrame(tuple(Plane(plane.pixels[:, ::-1], plane.backwards) for plane in self.planes))

    def rgb(self) -> DecodedFrame:
        """Its first three channels; a view."""
        first = self.planes[0]
        pixels = first.pixels if first.pixels.ndim == 2 else first.pixels[:, :, :3]
        return DecodedFrame((Plane(pixels, first.backwards),))
