"""A frame between decoding and use: colors are converted in the crops that are looked at, not over the whole image."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from patrack.crop import crop_window, forwards, sample_rectangle

__all__ = ["DecodedFrame", "Plane"]


class Plane(NamedTuple):
    """Pixels of one file.

    Attributes:
        pixels: (H, W) for three equal channels, or (H, W, c), uint8.
        backwards: the channels are to be read in reverse order: B, G, R.
    """

    pixels: np.ndarray
    backwards: bool = False

    @property
    def stored(self) -> int:
        """Channels in memory: 1, 3 or 6."""
        return 1 if self.pixels.ndim == 2 else self.pixels.shape[2]

    def write_channels(self, out: np.ndarray) -> int:
        """Write the stored channels, in their order, into the first of (>= c, H, W) uint8; returns how many."""
        pixels = forwards(self.pixels)
        if self.stored == 1:
            np.copyto(out[0], pixels)
            return 1
        channels = list(out[: self.stored])
        cv2.split(pixels, channels[::-1] if self.backwards else channels)
        return self.stored


@dataclass(frozen=True, eq=False)
class DecodedFrame:
    """A frame of H x W pixels and C channels: R, G, B, then X if there is one.

    Attributes:
        planes: its channels in order; all of the same height and width.
    """

    planes: tuple[Plane, ...]

    @classmethod
    def from_image(cls, image: np.ndarray) -> DecodedFrame:
        """Wrap an (H, W, 3 or 6) uint8 image, which is not copied.

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
        return height, width, sum([max(plane.stored, 3) for plane in self.planes])

    def image(self) -> np.ndarray:
        """Return the whole frame: (H, W, C) uint8; not a copy if it was made of an image."""
        return self.planes[0].pixels if self._is_image else self.write(np.empty(self.shape, np.uint8))

    def write(self, out: np.ndarray) -> np.ndarray:
        """Write the whole frame into a contiguous (H, W, C) uint8 array, which is returned."""
        pixels = [forwards(plane.pixels) for plane in self.planes]
        if self._is_image:
            np.copyto(out, pixels[0])
        else:
            cv2.mixChannels(pixels, [out], _order(tuple([(plane.stored, plane.backwards) for plane in self.planes])))
        return out

    @property
    def _is_image(self) -> bool:
        first, *others = self.planes
        return not others and first.pixels.ndim == 3 and not first.backwards

    def crop(self, box_xywh: Sequence[float] | np.ndarray, factor: float, size: int) -> tuple[np.ndarray, float]:
        """Cut a square crop around a box, bit for bit as `patrack.crop.sample_crop` does from the whole image.

        Args:
            box_xywh: (4,), pixels.
            factor: side of the square in units of sqrt(w * h).
            size: side of the returned crop, pixels.

        Returns:
            patch (size, size, C) uint8, and resize_factor = size / side.
        """
        patch, resize_factor = self.patch(crop_window(box_xywh, factor), size)
        return patch.image(), resize_factor

    def patch(self, window: tuple[int, int, int], size: int) -> tuple[DecodedFrame, float]:
        """Cut a window that `patrack.crop.crop_window` gave, as `crop` does, with colors still to be converted."""
        left, top, side = window
        if side == 2 * size and len(self.planes) > 1:
            # OpenCV averages 2 x 2 pixels here, and rounds six channels otherwise than one or three
            patch = DecodedFrame.from_image(sample_rectangle(self.image(), (left, top, side, side), size))
        else:
            patch = self.stretched_patch((left, top, side, side), size)
        return patch, size / side

    def stretched_patch(self, rectangle: tuple[int, int, int, int], size: int) -> DecodedFrame:
        """Cut a rectangle (left, top, width, height) and stretch it to a square, as `sample_rectangle` does."""
        planes = []
        for pixels, backwards in self.planes:
            gray = pixels.ndim == 2
            patch = sample_rectangle(pixels[:, :, None] if gray else pixels, rectangle, size)
            planes.append(Plane(patch[:, :, 0] if gray else patch, backwards))
        return DecodedFrame(tuple(planes))

    def flipped(self) -> DecodedFrame:
        """Mirror left to right; a view."""
        return DecodedFrame(tuple(Plane(plane.pixels[:, ::-1], plane.backwards) for plane in self.planes))

    def rgb(self) -> DecodedFrame:
        """Take the first three channels; a view."""
        pixels, backwards = self.planes[0]
        return DecodedFrame((Plane(pixels if pixels.ndim == 2 else pixels[:, :, :3], backwards),))

    def streams(self) -> tuple[Plane, Plane]:
        """Split into RGB and X; views.

        Raises:
            ValueError: it has no X.
        """
        if self.shape[2] != 6:
            raise ValueError(f"a frame of {self.shape[2]} channels has no X modality")
        if len(self.planes) == 2:
            return self.planes[0], self.planes[1]
        pixels = self.planes[0].pixels
        return Plane(pixels[:, :, :3]), Plane(pixels[:, :, 3:])

    def gray(self) -> DecodedFrame:
        """Turn RGB gray; X is left as it is."""
        (pixels, backwards), *others = self.planes
        if pixels.ndim == 2:
            return self
        if pixels.shape[2] == 6:
            others = [Plane(pixels[:, :, 3:])]
        code = cv2.COLOR_BGR2GRAY if backwards else cv2.COLOR_RGB2GRAY
        return DecodedFrame((Plane(cv2.cvtColor(np.ascontiguousarray(forwards(pixels[:, :, :3])), code)), *others))


@functools.cache
def _order(layout: tuple[tuple[int, bool], ...]) -> list[int]:
    """Pairs of channels (from, to) as `cv2.mixChannels` wants them, for planes with (stored channels, backwards)."""
    sources: list[int] = []
    first = 0
    for stored, backwards in layout:
        channels = list(range(first, first + stored)) * (3 if stored == 1 else 1)
        sources += channels[::-1] if backwards else channels
        first += stored
    return [number for target, source in enumerate(sources) for number in (source, target)]
