"""Frames of images in memory, as two cameras deliver them one by one."""

from __future__ import annotations

import numpy as np

from patrack.modality import PAIRS, THERMAL, RunningRange, ValueRange, prepare_x
from patrack.recordings.frames import DecodedFrame, Plane, onto_rgb
from patrack.recordings.sequence import XTransform

__all__ = ["ImagePairs"]


class ImagePairs:
    """Put an RGB image and an X image together into the frame that a tracker reads.

        images = ImagePairs("rgbt", bgr=True)  # as OpenCV reads them
        tracker.initialize(images.frame(rgb, thermal), box)

    Args:
        modality: what X is: a name in `patrack.modality.PAIRS`, or "rgb": there is none.
        bgr: channels come in the order B, G, R, as OpenCV has them, instead of R, G, B.
        x_range: values of X that become 0 and 255. None: 8 bits stay as they are, counts of a thermal camera get a
            range that follows them (`patrack.modality.RunningRange`), depth its own rule, of what was measured.
        x_transform: how X comes onto RGB's pixels where sizes differ: "resize", or a 3 x 3 homography from X's pixels
            to RGB's. None: both have the same pixels.

    Raises:
        ValueError: unknown modality.
    """

    def __init__(
        self,
        modality: str,
        *,
        bgr: bool = False,
        x_range: ValueRange | None = None,
        x_transform: XTransform | None = None,
    ) -> None:
        if modality not in (*PAIRS, "rgb"):
            raise ValueError(f"modality must be one of {', '.join((*PAIRS, 'rgb'))}, got {modality!r}")
        self.modality, self.bgr, self.x_range, self.x_transform = modality, bgr, x_range, x_transform
        self.restart()

    def restart(self) -> None:
        """Forget the values of the images so far: another recording begins."""
        self._running = RunningRange()

    def frame(self, rgb: np.ndarray, x: np.ndarray | None = None) -> DecodedFrame:
        """Put two images together.

        Args:
            rgb: (H, W, 3) or, gray, (H, W), uint8.
            x: (h, w) or (h, w, 3) as the sensor gives it: 8 bits or counts (thermal), millimeters or meters (depth), an
                image of events. None: RGB alone.

        Returns:
            Of H x W pixels, with 6 channels, or 3 without X.

        Raises:
            ValueError: an image of another shape or type, or X of another size than RGB.
        """
        first = self._rgb(rgb)
        if x is None:
            return DecodedFrame((first,))
        if self.modality not in PAIRS:
            raise ValueError(
                f"there is an X image, but nothing says what it shows: give a modality, one of {', '.join(PAIRS)} "
                f"(it is {self.modality!r}: RGB alone)"
            )
        pair, x = PAIRS[self.modality], np.asarray(x)
        if x.ndim == 3 and x.shape[2] == 3 and not self.bgr:
            x = x[:, :, ::-1]
        value_range = self.x_range
        if pair.kind == THERMAL and value_range is None and x.dtype != np.uint8 and x.dtype.kind in "uif" and x.size:
            x = self._running(x)
        pixels, backwards = prepare_x(x, pair.kind, "measured", value_range)
        if self.x_transform is not None:
            pixels = onto_rgb(pixels, self.x_transform, first.pixels.shape[:2], pair)
        elif pixels.shape[:2] != first.pixels.shape[:2]:
            (height, width), (rows, columns) = first.pixels.shape[:2], pixels.shape[:2]
            raise ValueError(
                f"RGB and X differ in size (width x height): {width} x {height} and {columns} x {rows}. If both show "
                "the same scene edge to edge, say so: x_transform='resize'; else give the 3 x 3 homography from X's "
                "pixels to RGB's"
            )
        return DecodedFrame((first, Plane(pixels, backwards)))

    def _rgb(self, image: np.ndarray) -> Plane:
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
            found = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
            raise ValueError(f"an RGB image must be a uint8 array, values 0 to 255, got {found}")
        if image.ndim == 3 and image.shape[2] == 1:
            image = image[:, :, 0]
        if image.size == 0 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
            raise ValueError(f"an RGB image must be (H, W, 3), or (H, W) if gray, got shape {image.shape}")
        return Plane(image, backwards=self.bgr and image.ndim == 3)
