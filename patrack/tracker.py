"""The tracker: one box in the first frame, then a box and a score for every frame that follows."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import nn

from patrack.config.schema import CropConfig, TestConfig
from patrack.crop import Box, box_to_crop, clip_box, crop_to_image, draw_outline, sample_crop
from patrack.fused import FusedNetwork
from patrack.network import Network, TrackingNetwork
from patrack.predictor import Predictor, tracking_network

__all__ = ["Frame", "Present", "Settings", "Target", "Tracker", "begin", "update_template"]

Present = tuple[bool, bool]
"""Whether RGB and X are there in a frame."""
SMALLEST = 1e-6
"""Least predicted side, in sides of the search crop, where its logarithm is needed."""
TRIALS = ((1.0, 0.0, 0.0), (0.85, 0.25, 0.25), (0.85, -0.25, 0.25), (1.18, 0.25, -0.25), (1.18, -0.25, -0.25))
"""Search crops of the first frame that a target's size is calibrated by: the scale of the box that they are cut around
and by how much it is displaced, in widths and heights."""
FOLDING_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.02}
"""Greatest mean difference between the maps of a folded network and those of its model, by the folded one's type."""
TF32_TOLERANCE = 0.02
"""The same on a GPU, whose convolutions round fp32."""
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

    def stay(self) -> tuple[np.ndarray, float]:
        """Moves on to the next frame without looking: the last box, score 0."""
        self.frame_number += 1
        return self.box.copy(), 0.0

    def accept(self, predicted: list[float]) -> tuple[np.ndarray, float]:
        """Moves on to what was found in the search crop: cx, cy, w, h normalised to it, and the score.

        Returns:
            box (4,) float64 xywh in pixels, inside the image; score.

        Raises:
            RuntimeError: a value is not finite. The state is kept.
        """
        if not all(math.isfinite(value) for value in predicted):
            raise RuntimeError(
                f"frame {self.frame_number + 1}: the network's output is not finite (box cx, cy, w, h and score: "
                f"{predicted}); check the weights for NaN, and try fp32 if a lower precision is used"
            )
        found, score = np.array(predicted[:4]), predicted[4]
        if self.settings.test.size_calibration:
            found[2:] *= self._size_factor
        share = self.settings.test.size_update
        if share < 1:
            last = self.box[2:] * self._resize_factor / self._network.search_size
            found[2:] = last ** (1 - share) * np.maximum(found[2:], SMALLEST) ** share
        box = crop_to_image(found, self.box, self._resize_factor, self._network.search_size)
        self.box = clip_box(box, self._shape[0], self._shape[1], margin=max(self.settings.test.clip_margin, 1))
        self.frame_number += 1
        return self.box.copy(), score

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


class Tracker:
    """Follows one target through a video; deterministic, one frame at a time.

        tracker = Tracker(model)
        tracker.initialize(first_frame, (x, y, w, h))
        box, score = tracker.track(next_frame)

    The template is cropped once, from the first frame; `test.template_update` adds one of later frames. Each search
    crop lies around the last box.

    Args:
        model: a `Network`, of which a folded copy is made where that is known to be the same (`patrack.fused`); or what
            `patrack.predictor.tracking_network` returns; or another network with `template_size`, `search_size`,
            `streams` and the `forward` of `Network` (and `templates`, unless it takes one), which is put in eval mode.
        crop, test: an experiment's settings, of which the precision is left to the next argument but one; default: the
            paper's.
        device: e.g. "cuda"; default: where the model is.
        precision: "fp32", "bf16" or "fp16" for weights and activations; default: the model's.
        modality: which pair the frames are, e.g. "rgbt"; needed where the model treats pairs apart.

    Raises:
        ValueError: the model treats pairs apart, and `modality` is none of them; or it takes one template, and
            `test.template_update` asks for updates.
    """

    def __init__(
        self,
        model: nn.Module,
        crop: CropConfig | None = None,
        test: TestConfig | None = None,
        device: str | torch.device | None = None,
        precision: str | None = None,
        modality: str | None = None,
    ) -> None:
        self.settings = Settings(crop or CropConfig(), test or TestConfig())
        self.model, self.network = model, tracking_network(model, precision, modality)
        interval = self.settings.test.template_update.interval
        if interval and self.network.templates == 1:  # to replace the only one measured worse than to leave it
            raise ValueError(
                f"test.template_update.interval={interval} needs a network of two templates (model.templates=2), of "
                "which one stays; this one takes one"
            )
        tensor = next(chain(self.network.parameters(), self.network.buffers()))
        self.device = tensor.device if device is None else torch.device(device)
        self._checked = self.network is model
        self._predictor = self.predictor()
        self._target: Target | None = None

    def predictor(self, slots: int = 1) -> Predictor:
        """Make a predictor, which finds several targets in one step, with this tracker's network and settings."""
        test = self.settings.test
        return Predictor(self.network, self.device, slots, test.window, test.compile, self._check_folding)

    @torch.inference_mode()
    def _check_folding(self, template: np.ndarray, search: np.ndarray) -> None:
        """Compare the folded network with the model it was made from, once, on a target's own crops.

        Raises:
            RuntimeError: they find something else, so that something in the model was lost.
        """
        if self._checked or not (isinstance(self.network, FusedNetwork) and isinstance(self.model, Network)):
            return
        difference = self.network.difference(self.model, torch.from_numpy(template), torch.from_numpy(search))
        allowed = max(FOLDING_TOLERANCE[self.network.dtype], TF32_TOLERANCE if self.device.type == "cuda" else 0.0)
        if difference > allowed:  # not NaN: what isn't finite is said with the frame where it happens
            raise RuntimeError(
                f"the folded network isn't the model that it was made from: their maps differ by {difference:.2g} on "
                f"average (allowed: {allowed:g}). Something in the model's forward is unknown to folding, or its "
                "weights have changed since; track with Tracker(PlainNetwork(model))"
            )
        self._checked = True

    def initialize(self, frame: np.ndarray | Frame, box_xywh: Box, present: Present = (True, True)) -> None:
        """Start on a new target.

        Args:
            frame: (H, W, 6) uint8, RGB then X; (H, W, 3) is enough for a model of one stream `rgb`.
            box_xywh: (4,), pixels; may reach over the image's edge, but not lie outside.
            present: whether RGB and X are there; one that is not counts as black, whatever the frame holds.

        Raises:
            ValueError: frame of another shape or type, or without any stream that the network reads; box not four
                finite numbers, without area, or outside.
        """
        target = Target(self.network, self.settings, frame, box_xywh, present)
        begin(self._predictor, 0, target, frame, present)
        self._target = target

    def track(self, frame: np.ndarray | Frame, present: Present = (True, True)) -> tuple[np.ndarray, float]:
        """Find the target in the next frame.

        Args:
            frame: of the first frame's shape, uint8.
            present: whether RGB and X are there; one that is not counts as black, whatever the frame holds.

        Returns:
            box (4,) float64 xywh in pixels, inside the image; score, the peak of the (windowed) score map, in [0, 1].
            If no stream that the network reads is there: the last box and score 0.

        Raises:
            RuntimeError: `initialize` was not called, or the network's output is not finite. The state is kept.
            ValueError: frame of another shape or type than the first.
        """
        if self._target is None:
            raise RuntimeError("call initialize(frame, box_xywh) before track(frame)")
        crop = self._target.search_crop(frame, present)
        if crop is None:
            return self._target.stay()
        self._predictor.launch({0: crop})
        box, score = self._target.accept(self._predictor.fetch()[0])
        update_template(self._predictor, 0, self._target, frame, score, present)
        return box, score

    def resume(self, frame: np.ndarray | Frame, box_xywh: Box, score: float, present: Present = (True, True)) -> None:
        """Go through the next frame of an earlier run without looking for the target, as `track` did then.

        After all its frames tracking goes on as if that run had not stopped.

        Args:
            frame, present: as given to `track`.
            box_xywh, score: what it returned, every digit.

        Raises:
            RuntimeError: `initialize` was not called.
        """
        if self._target is None:
            raise RuntimeError("call initialize(frame, box_xywh) with the first frame before resume(...)")
        self._target.box = np.array(box_xywh, dtype=np.float64)
        self._target.frame_number += 1
        update_template(self._predictor, 0, self._target, frame, score, present)


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
