"""One target: its place in the video, the crops that follow from it, and what becomes of a predicted box."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch

from patrack.config.schema import CropConfig, TestConfig
from patrack.crop import Box, box_to_crop, clip_box, crop_to_image, draw_outline, sample_crop
from patrack.network import TrackingNetwork
from patrack.predictor import Predictor

__all__ = ["Frame", "Present", "Settings", "Target", "begin", "update_template"]

Present = tuple[bool, bool]
"""Whether RGB and X are there in a frame."""
SMALLEST = 1e-6
"""Least predicted side, in sides of the search crop, where its logarithm is needed."""
TRIALS = ((1.0, 0.0, 0.0), (0.85, 0.25, 0.25), (0.85, -0.25, 0.25), (1.18, 0.25, -0.25), (1.18, -0.25, -0.25))
"""Search crops of the first frame that a target's size is calibrated by: the scale of the box that they are cut around
and by how much it is displaced, in widths and heights."""
LARGEST_BOX = 2.0
"""First boxes more than so many times as wide or high as the image are refused."""
FOUND_WITHIN = 0.5
"""Greatest distance, in widths and heights, of a predicted centre from the true one for the size to be counted."""


class Frame(Protocol):
    """An image that cuts its own crops, such as one whose colours are converted only where they are looked at."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width, channels."""
        ...

    def crop(self, box_xywh: Box, factor: float, size: int) -> tuple[np.ndarray, float]:
        """Cut a crop, as `patrack.crop.sample_crop` does of the whole image."""
        ...


class Settings(NamedTuple):
    """An experiment's `crop` and `test`: how crops lie around boxes, and what becomes of a predicted box."""

    crop: CropConfig
    test: TestConfig


class Target:
    """The place of one target in its video, and the crops that follow from it.

    A stream that is absent is black in the crop, as in training with modality dropout, whatever the frame holds there.
    Without any stream that the network reads, the target stays where it was, with score 0 (`stay`).

    Args:
        network: for its `streams`, `template_size` and `search_size`.
        settings: of the crops.
        frame: the first one, (H, W, 6) uint8, RGB then X; (H, W, 3) is enough for a network of one stream `rgb`.
        box_xywh: (4,), pixels; may reach over the image's edge, but not lie outside.
        present: the streams that the first frame has.

    Raises:
        ValueError: frame of another shape or type, or without any stream that the network reads; box not four finite
            numbers, without area, or outside.
    """

    def __init__(
        self,
        network: TrackingNetwork,
        settings: Settings,
        frame: np.ndarray | Frame,
        box_xywh: Box,
        present: Present = (True, True),
    ) -> None:
        self._network, self.settings = network, settings
        self._shape: tuple[int, ...] = ()
        self._check(frame)
        if not self._sees(present):
            raise ValueError(
                f"the first frame has no stream to take the target from: present (RGB, X) is {tuple(present)}, the "
                f"network's streams: {network.streams!r}; start at a frame that has one"
            )
        self.box = _checked_box(box_xywh, *frame.shape[:2])
        self._shape = frame.shape
        self._resize_factor = 1.0
        self._size_factor = np.ones(2)  # on predicted widths and heights
        self.frame_number = 0
        self._present = present
        self.template = self._template(frame, present)

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Height, width and channels of its video's frames."""
        return self._shape

    def search_crop(self, frame: np.ndarray | Frame, present: Present = (True, True)) -> np.ndarray | None:
        """Cut the search crop of the next frame: (size, size, C) uint8 around the last box, or None.

        None means that no stream is there that the network looks at.

        Raises:
            ValueError: frame of another shape or type than the first.
        """
        if getattr(frame, "shape", None) != self._shape:
            found = getattr(frame, "shape", type(frame).__name__)
            raise ValueError(f"frame must have the first frame's shape {self._shape}, got {found}; initialize anew")
        self._check(frame)
        if not self._sees(present):
            return None
        crop, self._resize_factor = _cut(frame, self.box, self.settings.crop.search_factor, self._network.search_size)
        return _with_black(crop, present)

    def online_template(self, frame: np.ndarray | Frame, score: float, present: Present) -> np.ndarray | None:
        """Cut another template around the present box, if `test.template_update` wants one of this frame.

        Args:
            frame, present: of which `accept` has just given the box.
            score: that `accept` returned.

        Returns:
            (size, size, C) uint8; None between updates, with a low score, and where a stream is missing that the first
            frame had: the template would lack it for a long time.
        """
        update = self.settings.test.template_update
        if not update.interval or self.frame_number % update.interval or not score > update.threshold:
            return None
        if any(had and not there for had, there in zip(self._present, present, strict=True)):
            return None
        return self._template(frame, present)

    def _template(self, frame: np.ndarray | Frame, present: Present) -> np.ndarray:
        """Cut a template around the present box."""
        crop, size = self.settings.crop, self._network.template_size
        cut, resize_factor = _cut(frame, self.box, crop.template_factor, size)
        template = _with_black(cut, present)
        if crop.template_outline:
            if template is cut:  # a view of the frame, maybe
                template = cut.copy()
            draw_outline(template, box_to_crop(self.box, self.box, resize_factor, size), crop.template_outline)
        return template

    def calibrate(
        self, frame: np.ndarray | Frame, present: Present, predict: Callable[[np.ndarray], list[float]]
    ) -> None:
        """Finds the target in its first frame again, and corrects later sizes by what was wrong there.

        Of an unusual target, such as a part of an object, a network may see the edges somewhere else all the time.

        Args:
            frame, present: as given at the start.
            predict: search crop -> cx, cy, w, h normalised to it, and the score.
        """
        settings, size = self.settings, self._network.search_size
        errors = []
        for scale, right, down in TRIALS:
            w, h = self.box[2:] * scale
            center = self.box[:2] + self.box[2:] * (0.5 + right, 0.5 + down)
            around = np.array([center[0] - 0.5 * w, center[1] - 0.5 * h, w, h])
            crop, resize_factor = _cut(frame, around, settings.crop.search_factor, size)
            found = crop_to_image(predict(_with_black(crop, present))[:4], around, resize_factor, size)
            missed = (found[:2] + 0.5 * found[2:] - self.box[:2] - 0.5 * self.box[2:]) / self.box[2:]
            if (np.abs(missed) < FOUND_WITHIN).all() and (found[2:] > 0).all():  # no NaN passes
                errors.append(np.log(found[2:] / self.box[2:]))
        if errors:
            self._size_factor = np.exp(-settings.test.size_calibration * np.median(errors, axis=0))

    def move(self, network: TrackingNetwork, settings: Settings) -> None:
        """Goes on with another network, which takes the same crops.

        Raises:
            ValueError: it takes others.
        """
        before, now = self._network, network
        if (before.template_size, before.search_size) != (now.template_size, now.search_size) or (
            settings.crop != self.settings.crop
        ):
            raise ValueError(
                "the target that is followed was cut for a network with other crops (sizes, crop.template_factor, "
                "crop.template_outline, ...): initialize it again with the first frame"
            )
        self._network, self.settings = network, settings

    def stay(self, score: float = 0.0) -> tuple[np.ndarray, float]:
        """Moves on to the next frame with the last box: because nothing was looked at, or what was seen isn't it."""
        self.frame_number += 1
        return self.box.copy(), score

    def accept(self, predicted: list[float]) -> tuple[np.ndarray, float]:
        """Moves on to what was found in the search crop: cx, cy, w, h normalised to it, and the score.

        Returns:
            box (4,) float64 xywh in pixels, inside the image; score.

        Raises:
            RuntimeError: a value is not finite. The state is kept.
        """
        self.check(predicted)
        self.box = self.locate(predicted)
        self.frame_number += 1
        return self.box.copy(), predicted[4]

    def locate(self, predicted: list[float]) -> np.ndarray:
        """Tell the box of what was found in the last search crop: (4,) float64 xywh in pixels, inside the image."""
        found = np.array(predicted[:4])
        if self.settings.test.size_calibration:
            found[2:] *= self._size_factor
        share = self.settings.test.size_update
        if share < 1:
            last = self.box[2:] * self._resize_factor / self._network.search_size
            found[2:] = last ** (1 - share) * np.maximum(found[2:], SMALLEST) ** share
        box = crop_to_image(found, self.box, self._resize_factor, self._network.search_size)
        return clip_box(box, self._shape[0], self._shape[1], margin=max(self.settings.test.clip_margin, 1))

    def check(self, predicted: list[float]) -> None:
        """Stops where what was found in the next frame is no number.

        Raises:
            RuntimeError: a value is not finite.
        """
        if not all(math.isfinite(value) for value in predicted):
            raise RuntimeError(
                f"frame {self.frame_number + 1}: the network's output is not finite (box cx, cy, w, h and score: "
                f"{predicted}); check the weights for NaN, and try fp32 if a lower precision is used"
            )

    def _sees(self, present: Present) -> bool:
        rgb, x = present
        return bool({"rgb": rgb, "x": x}.get(self._network.streams, rgb or x))

    def _check(self, frame: np.ndarray | Frame) -> None:
        streams = self._network.streams
        channels = (3, 6) if streams == "rgb" else (6,)
        if not hasattr(frame, "crop") and (not isinstance(frame, np.ndarray) or frame.dtype != np.uint8):
            if isinstance(frame, np.ndarray):
                raise ValueError(f"frame must be a uint8 array, got {frame.dtype}: values 0 to 255, not normalized")
            hint = "; a tensor (C, H, W) is one after .permute(1, 2, 0).cpu().numpy()" * isinstance(frame, torch.Tensor)
            kind = type(frame)
            raise ValueError(f"frame must be a NumPy array of uint8, got a {kind.__module__}.{kind.__name__}{hint}")
        if len(frame.shape) != 3 or frame.shape[2] not in channels or 0 in frame.shape:
            wanted = " or ".join(f"(H, W, {n})" for n in channels)
            raise ValueError(f"frame must be {wanted} for streams={streams!r}, got {frame.shape}")


def _cut(frame: np.ndarray | Frame, box: np.ndarray, factor: float, size: int) -> tuple[np.ndarray, float]:
    return sample_crop(frame, box, factor, size) if isinstance(frame, np.ndarray) else frame.crop(box, factor, size)


def _with_black(crop: np.ndarray, present: Present) -> np.ndarray:
    """(size, size, 3 or 6) with the streams that are absent black."""
    if all(present):
        return crop
    crop = crop.copy()
    for channels, there in zip((slice(0, 3), slice(3, 6)), present, strict=True):
        if not there:
            crop[:, :, channels] = 0
    return crop


def begin(predictor: Predictor, slot: int, target: Target, frame: np.ndarray | Frame, present: Present) -> None:
    """Gives a free slot of a predictor a new target: its template, and what calibrates its size, if that is asked for.

    Args:
        predictor: with no step under way.
        slot: of it.
        target: as made from frame and present.
    """

    def predict(crop: np.ndarray) -> list[float]:
        predictor.launch({slot: crop})
        return predictor.fetch()[slot]

    predictor.set_template(slot, target.template)
    if predictor.check is not None:
        first = target.search_crop(frame, present)
        assert first is not None  # a target has a stream to look at in its first frame
        predictor.check(target.template, first)
    if target.settings.test.size_calibration:
        target.calibrate(frame, present, predict)


def update_template(
    predictor: Predictor, slot: int, target: Target, frame: np.ndarray | Frame, score: float, present: Present
) -> None:
    """Replace the last template of a target after a frame in which that is due; see `Target.online_template`."""
    template = target.online_template(frame, score, present)
    if template is not None:
        predictor.set_template(slot, template, predictor.network.templates - 1)


def _checked_box(box_xywh: Box, height: int, width: int) -> np.ndarray:
    """The first box as (4,) float64, or a ValueError that says what is wrong with it."""
    try:
        box = np.array(box_xywh, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"box must be four numbers x, y, w, h in pixels, got {box_xywh!r}") from error
    if box.shape != (4,) or not np.isfinite(box).all():
        raise ValueError(f"box must be four finite numbers x, y, w, h in pixels, got {box_xywh!r}")
    x, y, w, h = box.tolist()
    if w <= 0 or h <= 0:
        raise ValueError(f"box must have w > 0 and h > 0, got x, y, w, h = {box.tolist()}")
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise ValueError(f"box x, y, w, h = {box.tolist()} lies outside the image of {width} x {height} pixels")
    if w > LARGEST_BOX * width or h > LARGEST_BOX * height:
        raise ValueError(
            f"box x, y, w, h = {box.tolist()} is much larger than the image of {width} x {height} pixels; is it of "
            "another image, or are these corners x1, y1, x2, y2?"
        )
    return box
