"""The tracker: one box in the first frame, then a box and a score for every frame that follows."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import nn

from patrack.adapters import Adapters, TrackingModel
from patrack.config.schema import CropConfig, TestConfig
from patrack.crop import Box
from patrack.modality import ValueRange
from patrack.network import TrackingNetwork
from patrack.predictor import Predictor
from patrack.recordings.frames import DecodedFrame, Plane
from patrack.recordings.images import ImagePairs
from patrack.recordings.sequence import XTransform
from patrack.recovery import Recovery
from patrack.target import Frame, Present, Settings, Target, begin, update_template

__all__ = ["LOST_BELOW", "MultiTracker", "Result", "Tracker"]

logger = logging.getLogger(__name__)

LOST_BELOW = 0.3
"""Score below which the target counts as lost where a tracker doesn't look for it: a rule of thumb. How often it is
right is in docs/tracking.md."""


class Result(tuple[np.ndarray, float]):
    """Where the target is in a frame; unpacks as `box, score`.

    Args:
        box: (4,) float64 xywh in pixels, inside the image.
        score: in [0, 1].
        number: of the frame, from 0 for the one in which the target was shown.
        confidence: probability, as far as it is calibrated, that the box overlaps with the target (IoU above 0.5).
        lost: the target isn't seen at present.
    """

    number: int
    confidence: float
    lost: bool

    def __new__(cls, box: np.ndarray, score: float, number: int, confidence: float, lost: bool) -> Result:
        result = super().__new__(cls, (box, score))
        result.number, result.confidence, result.lost = number, confidence, lost
        return result

    @property
    def box(self) -> np.ndarray:
        """(4,) float64 xywh, pixels."""
        return self[0]

    @property
    def score(self) -> float:
        """The peak of the (windowed) score map, in [0, 1]; 0 where no image was there to look at."""
        return self[1]

    def __getnewargs__(self) -> Any:
        """What `__new__` takes, so that results can be copied and sent to other processes."""
        return self.box, self.score, self.number, self.confidence, self.lost

    def __repr__(self) -> str:
        box = ", ".join(f"{value:.1f}" for value in self.box.tolist())
        numbers = f"score={self.score:.3f}, confidence={self.confidence:.2f}"
        return f"Result(number={self.number}, box=[{box}], {numbers}, lost={self.lost})"


class Tracker:
    """Follows one target through a video; deterministic, one frame at a time.

        tracker = Tracker.from_pretrained("rgbt_small")
        tracker.initialize(rgb, thermal, (x, y, w, h))
        result = tracker.track(next_rgb, next_thermal)  # result.box, result.score, result.lost

    The template is cropped once, from the first frame; `test.template_update` adds one of later frames. Each search
    crop lies around the last box.

    A frame is an RGB image (H, W, 3) and an X image as the sensor gives it (`patrack.recordings.images.ImagePairs`), or
    one array (H, W, 6) uint8 with R, G, B and X as three channels (`patrack.modality.x_to_three_channels`). Without one
    of the images its stream is missing in that frame. A target that is shown without X is followed in RGB alone, by the
    base model; so is every one inside `disable_adapter()`.

    Args:
        model: a `Network`, of which a folded copy is made where that is known to be the same (`patrack.fused`); or what
            `patrack.predictor.tracking_network` returns; or another network with `template_size`, `search_size`,
            `streams` and the `forward` of `Network` (and `templates`, unless it takes one), which is put in eval mode.
        crop, test: an experiment's settings, of which the precision is left to the next argument but one; default: the
            paper's.
        device: e.g. "cuda"; default: where the model is.
        precision: "fp32", "bf16" or "fp16" for weights and activations; default: the model's.
        modality: which pair the frames are, e.g. "rgbt"; needed for X images, and where the model treats pairs apart.
        recover: hold the box while the target can't be seen, and look for it (`patrack.recovery`), as the experiment's
            `test.recovery` says. Benchmarks forbid it.
        name: of the experiment, which a saved adapter states.
        bgr, x_range, x_transform: of images, see `ImagePairs`.

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
        *,
        recover: bool = False,
        name: str = "",
        bgr: bool = False,
        x_range: ValueRange | None = None,
        x_transform: XTransform | None = None,
    ) -> None:
        settings = Settings(crop or CropConfig(), test or TestConfig())
        self.adapters = Adapters(TrackingModel(model, settings, device, precision, modality, name))
        self._options: dict[str, Any] = {"bgr": bgr, "x_range": x_range, "x_transform": x_transform}
        self._images: dict[str | None, ImagePairs] = {}
        self.recover = recover
        self._target: Target | None = None
        self._recovery: Recovery | None = None
        self._running = self.adapters.active

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        checkpoint: str | os.PathLike[str] | None = None,
        device: str | torch.device = "cpu",
        overrides: Iterable[str] = (),
        *,
        recover: bool = True,
        **images: Any,
    ) -> Tracker:
        """Load a tracker with its weights; see `patrack.build.load_tracker`.

        Tracker.from_pretrained("rgbt_small")                    # shipped with the package
        Tracker.from_pretrained("runs/rgbt_base")                # folder of a training run, or of an adapter
        Tracker.from_pretrained("rgbt_mine.safetensors")         # weights file that states its experiment
        Tracker.from_pretrained("rgbt_small", bgr=True)          # images as OpenCV reads them
        """
        from patrack.build import load_tracker  # which makes trackers

        return load_tracker(name_or_path, checkpoint, device, overrides, recover=recover, **images)

    # ---- What tracks

    @property
    def model(self) -> nn.Module:
        """The model with the active adapter, or the base model."""
        return self.adapters.active.model

    @property
    def network(self) -> TrackingNetwork:
        """The form of it that tracks."""
        return self.adapters.active.network

    @property
    def settings(self) -> Settings:
        """Its settings of crops and tracking."""
        return self.adapters.active.settings

    @property
    def device(self) -> torch.device:
        """The device that computes."""
        return self.adapters.active.device

    def predictor(self, slots: int = 1) -> Predictor:
        """Make a predictor, which finds several targets in one step, with this tracker's network and settings."""
        return self.adapters.active.predictor(slots)

    # ---- Tracking

    def initialize(
        self,
        rgb: np.ndarray | Frame | None,
        x: np.ndarray | Box | None = None,
        box_xywh: Box | None = None,
        *,
        present: Present = (True, True),
    ) -> Result:
        """Start on a new target: `initialize(rgb, x, box)`, or `initialize(frame, box)`.

        Args:
            rgb: (H, W, 3) uint8, or the whole frame (H, W, 6) uint8, RGB then X.
            x: the X image; None: there is none.
            box_xywh: (4,), pixels; may reach over the image's edge, but not lie outside.
            present: whether RGB and X are there; one that is not counts as black, whatever the frame holds.

        Returns:
            The box, with score 1, as frame 0.

        Raises:
            ValueError: an image of another shape or type, or none that the network reads; box not four finite numbers,
                without area, or outside.
        """
        if box_xywh is None:
            x, box_xywh = None, cast(Box, x)
        running = self.adapters.active
        if x is None and running.network.streams == "both" and _channels(rgb) in (1, 3) and self.adapters.has_base:
            logger.warning("there is no X image in the first frame: the base model follows the target in RGB alone")
            running = self.adapters.base
        for images in self._images.values():
            images.restart()
        frame, present = self._whole(running, rgb, cast("np.ndarray | None", x), present, None)
        target = Target(running.network, running.settings, frame, box_xywh, present)
        begin(running.single, 0, target, frame, present)
        self._target, self._running = target, running
        self._recovery = self.recovery_of(target)
        return Result(target.box.copy(), 1.0, 0, 1.0, False)

    def track(
        self, rgb: np.ndarray | Frame | None, x: np.ndarray | None = None, *, present: Present = (True, True)
    ) -> Result:
        """Find the target in the next frame.

        Args:
            rgb, x: as for `initialize`, of the first frame's size.
            present: whether RGB and X are there; one that is not counts as black, whatever the frame holds.

        Returns:
            Box and score, the peak of the (windowed) score map. If no stream that the network reads is there: the last
            box and score 0.

        Raises:
            RuntimeError: `initialize` was not called, or the network's output is not finite. The state is kept.
            ValueError: images of another shape or type than the first frame's.
        """
        if self._target is None:
            raise RuntimeError("call initialize(rgb, x, box) with the first frame before track(rgb, x)")
        target, predictor = self._target, self._running.single
        frame, present = self._whole(self._running, rgb, x, present, target)
        box, score = find(predictor, 0, target, self._recovery, frame, present)
        return result_of(target, box, score, self._recovery)

    def next_crop(
        self, rgb: np.ndarray | Frame | None, x: np.ndarray | None = None, present: Present = (True, True)
    ) -> tuple[np.ndarray | None, np.ndarray, TrackingModel]:
        """Cut the search crop that `track` would take of a frame first, without moving on.

        Args:
            rgb, x, present: see `track`.

        Returns:
            search crop (S, S, C) uint8, None without a stream to look at; template crop; the model that takes them.

        Raises:
            RuntimeError, ValueError: as `track`.
        """
        if self._target is None:
            raise RuntimeError("call initialize(rgb, x, box) with the first frame before next_crop(rgb, x)")
        frame, present = self._whole(self._running, rgb, x, present, self._target)
        return self._target.search_crop(frame, present), self._target.template, self._running

    def recovery_of(self, target: Target) -> Recovery | None:
        """Make what looks for a target when it is lost; None where that isn't wanted."""
        config = target.settings.test.recovery
        return Recovery(target, config) if self.recover and config.lost_below else None

    def resume(self, frame: np.ndarray | Frame, box_xywh: Box, score: float, present: Present = (True, True)) -> None:
        """Go through the next frame of an earlier run without looking for the target, as `track` did then.

        After all its frames tracking goes on as if that run had not stopped.

        Args:
            frame: whole, (H, W, 6) or as for `initialize`.
            present: as given to `track`.
            box_xywh, score: what it returned, every digit.

        Raises:
            RuntimeError: `initialize` was not called.
        """
        if self._target is None:
            raise RuntimeError("call initialize(frame, box_xywh) with the first frame before resume(...)")
        self._target.box = np.array(box_xywh, dtype=np.float64)
        self._target.frame_number += 1
        update_template(self._running.single, 0, self._target, frame, score, present)

    def init(self, rgb: np.ndarray, x: np.ndarray | Box | None, box_xywh: Box | None = None) -> None:
        """Start on a new target: `initialize` under the name that OpenCV's trackers have for it.

        Images that OpenCV has read are B, G, R: say `bgr=True` where the tracker is made.
        """
        self.initialize(rgb, x, box_xywh)

    def update(self, rgb: np.ndarray, x: np.ndarray | None = None) -> tuple[bool, tuple[int, int, int, int]]:
        """Find the target in the next frame as OpenCV's trackers do: whether it is there, and whole x, y, w, h."""
        result = self.track(rgb, x)
        left, top, width, height = np.rint(result.box).astype(int).tolist()
        return not result.lost, (left, top, width, height)

    def _whole(
        self,
        running: TrackingModel,
        rgb: np.ndarray | Frame | None,
        x: np.ndarray | None,
        present: Present,
        target: Target | None,
    ) -> tuple[np.ndarray | Frame, Present]:
        """Put the images of a frame together, and tell which streams it has.

        Args:
            running: that will look at it.
            rgb, x, present: as given.
            target: that is followed; None: this is the first frame.
        """
        streams, channels = running.network.streams, _channels(rgb)
        if hasattr(rgb, "crop") or (x is None and rgb is not None and channels not in (1, 3)):
            return cast("np.ndarray | Frame", rgb), present
        if rgb is None and (x is None or streams == "rgb"):
            if target is None:
                raise ValueError("the first frame has no image that the tracker could take the target from")
            return np.zeros(target.frame_shape, np.uint8), (False, False)
        images = self._images_of(running)
        if rgb is None:
            assert x is not None
            size = x.shape[:2] if target is None else target.frame_shape[:2]
            return images.frame(np.zeros((*size, 3), np.uint8), x), (False, present[1])
        image = np.asarray(rgb)
        if x is not None and channels == 6:
            raise ValueError(
                "the first image has 6 channels, X among them, and there is an X image, too: leave one out"
            )
        wanted = (3 if streams == "rgb" else 6) if target is None else target.frame_shape[2]
        if x is not None and streams != "rgb":
            return images.frame(image, x), present
        if wanted == 3 or target is None:
            return images.frame(image) if images.bgr or channels == 1 else image, present
        plane = images.frame(image).planes[0]
        black = Plane(np.zeros(plane.pixels.shape[:2], np.uint8))
        return DecodedFrame((plane, black)), present if streams == "rgb" else (present[0], False)

    def _images_of(self, running: TrackingModel) -> ImagePairs:
        modality = running.modality or "rgb"
        if modality not in self._images:
            self._images[modality] = ImagePairs(modality, **self._options)
        return self._images[modality]

    # ---- Adapters

    @property
    def active_adapter(self) -> str | None:
        """Name of the adapter that tracks; None: the base model does alone."""
        return self.adapters.active_name

    def load_adapter(
        self,
        path: str | os.PathLike[str],
        adapter_name: str,
        overrides: Iterable[str] = (),
    ) -> None:
        """Load another adapter for the same base model; `set_adapter` makes it the active one.

        Args:
            path: a name that ships with the package (`"rgbd_small"`), an adapter file, or a folder with one
                (`adapter_model.safetensors`, or a training run).
            adapter_name: what it is called here.
            overrides: `key.sub=value` settings, as for `from_pretrained`; `modality=rgbt` says which pair a joint
                model's adapter is for.

        Raises:
            WeightsError: no adapters in it, or they were trained on another base model.
            ValueError: the name is taken, or the tracker's model is none that takes adapters.
        """
        from patrack.build import load_adapter_model  # which makes trackers

        self.adapters.check_name(adapter_name)
        first = self.adapters.active
        model = load_adapter_model(path, self.adapters.network, first.device, overrides)
        self.adapters.add(adapter_name, model)

    def set_adapter(self, adapter_name: str) -> None:
        """Track with another adapter. A target that is followed goes on where it is.

        Raises:
            ValueError: no such adapter, or it cuts other crops than the ones that the target was taken from.
        """
        self._switch(adapter_name)

    @contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """Track with the base model alone, in RGB, inside the block."""
        before = self.adapters.active_name
        self._switch(None)
        try:
            yield
        finally:
            self._switch(before if before in self.adapters.names else None)

    def delete_adapter(self, adapter_name: str) -> None:
        """Forget an adapter, and free its memory. If it was the active one, the base model tracks alone.

        Raises:
            ValueError: there is none of this name.
        """
        if self.adapters[adapter_name] is self.adapters.active:
            self._switch(None)
        self.adapters.remove(adapter_name)

    def print_trainable_parameters(self) -> None:
        """Print how many parameters the active adapter has, how many all of them are, and its share in percent."""
        adapter, total = self.adapters.counts()
        share = 100 * adapter / total
        print(f"trainable params: {adapter:,d} || all params: {total:,d} || trainable%: {share:.4f}")  # noqa: T201

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the active adapter to a folder: `adapter_model.safetensors` and `adapter_config.json`.

        Raises:
            WeightsError: no adapter is active.
            OSError: the folder can't be written.
        """
        from patrack.build import save_adapter_folder

        save_adapter_folder(self.adapters.active, Path(folder))

    def _switch(self, name: str | None) -> None:
        before = self.adapters.active_name
        self.adapters.select(name)
        target, model = self._target, self.adapters.active
        alone = target is not None and target.frame_shape[2] == 3  # it was shown without X, and is followed so
        if target is None or model is self._running or (alone and model.network.streams == "both"):
            return
        try:
            target.move(model.network, model.settings)
        except ValueError:
            self.adapters.select(before)
            raise
        model.single.set_template(0, target.template)
        self._running = model


class _Followed(NamedTuple):
    """One of several targets: its slot, itself, and what looks for it when it is lost."""

    slot: int
    target: Target
    recovery: Recovery | None


class MultiTracker:
    """Follows several targets through one video, all of them in one step of the network per frame.

        targets = MultiTracker.from_pretrained("rgbt_small")
        car = targets.add(rgb, thermal, (x, y, w, h))
        results = targets.track(next_rgb, next_thermal)  # {car: Result}; more targets may be added now
        targets.remove(car)

    Each target's boxes are those of a tracker of its own; only the rounding of the network differs.

    Args:
        tracker: whose active adapter and settings are used; it goes on with its own target.
        slots: targets at most. A GPU computes for all slots, a CPU for those that are taken.

    Raises:
        ValueError: `slots` is below 1.
    """

    def __init__(self, tracker: Tracker, slots: int = 8) -> None:
        if slots < 1:
            raise ValueError(f"slots must be at least 1, got {slots}")
        self._tracker, self._model = tracker, tracker.adapters.active
        self._predictor = self._model.predictor(slots)
        self._targets: dict[int, _Followed] = {}  # by number
        self._next = 0

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike[str], slots: int = 8, **options: Any) -> MultiTracker:
        """Load the weights; `options` are those of `Tracker.from_pretrained`."""
        return cls(Tracker.from_pretrained(name_or_path, **options), slots)

    @property
    def targets(self) -> list[int]:
        """Numbers of the targets that are followed."""
        return list(self._targets)

    def add(
        self,
        rgb: np.ndarray | Frame | None,
        x: np.ndarray | Box | None = None,
        box_xywh: Box | None = None,
        *,
        present: Present = (True, True),
    ) -> int:
        """Follow one more target from this frame on, the first one or that of the last `track`.

        Args:
            rgb, x, box_xywh, present: see `Tracker.initialize`.

        Returns:
            Its number, by which `track` gives its results.

        Raises:
            ValueError: as `Tracker.initialize`; no slot is free.
        """
        if box_xywh is None:
            x, box_xywh = None, cast(Box, x)
        taken = {each.slot for each in self._targets.values()}
        slot = next((slot for slot in range(self._predictor.slots) if slot not in taken), None)
        if slot is None:
            raise ValueError(
                f"all {self._predictor.slots} slots are taken: remove a target, or make the tracker with more slots"
            )
        other = next(iter(self._targets.values()), None)
        frame, present = self._tracker._whole(
            self._model, rgb, cast("np.ndarray | None", x), present, None if other is None else other.target
        )
        target = Target(self._model.network, self._model.settings, frame, box_xywh, present)
        if other is not None and target.frame_shape != other.target.frame_shape:
            raise ValueError(
                f"all targets are of one video: its frames are {other.target.frame_shape}, this one is "
                f"{target.frame_shape}"
            )
        begin(self._predictor, slot, target, frame, present)
        number, self._next = self._next, self._next + 1
        self._targets[number] = _Followed(slot, target, self._tracker.recovery_of(target))
        return number

    def remove(self, number: int) -> None:
        """Follow a target no longer.

        Raises:
            ValueError: there is none of this number.
        """
        if self._targets.pop(number, None) is None:
            raise ValueError(f"no target {number}; there are: {', '.join(map(str, self._targets)) or 'none'}")

    def track(
        self, rgb: np.ndarray | Frame | None, x: np.ndarray | None = None, *, present: Present = (True, True)
    ) -> dict[int, Result]:
        """Find all targets in the next frame.

        Args:
            rgb, x, present: see `Tracker.track`.

        Returns:
            By number, what `Tracker.track` gives; empty without targets.

        Raises:
            RuntimeError, ValueError: as `Tracker.track`; no target has moved on then.
        """
        if not self._targets:
            return {}
        first = next(iter(self._targets.values())).target
        frame, present = self._tracker._whole(self._model, rgb, x, present, first)
        followed = self._targets.values()
        crops = {each.slot: each.target.search_crop(frame, present) for each in followed}
        seen = {slot: crop for slot, crop in crops.items() if crop is not None}
        found: dict[int, list[float]] = {}
        if seen:
            self._predictor.launch(seen)
            found = self._predictor.fetch()
        for each in followed:
            if each.slot in found:
                each.target.check(found[each.slot])
        results = {}
        for number, each in self._targets.items():
            first_look = found.get(each.slot)
            box, score = find(self._predictor, each.slot, each.target, each.recovery, frame, present, first_look)
            results[number] = result_of(each.target, box, score, each.recovery)
        return results


def find(
    predictor: Predictor,
    slot: int,
    target: Target,
    recovery: Recovery | None,
    frame: np.ndarray | Frame,
    present: Present,
    first_look: list[float] | None = None,
) -> tuple[np.ndarray, float]:
    """Find a target in the next frame, and update its template where that is due.

    Args:
        predictor, slot: that has its template.
        target: moved on.
        recovery: what looks for it where it is lost; None: a plain tracker.
        frame, present: whole, and the streams it has.
        first_look: what the predictor has found in the target's search crop, if that is known already.

    Returns:
        Its box and score.
    """
    known = None if first_look is None else iter([first_look])

    def predict(crop: np.ndarray) -> list[float]:
        if known is not None and (found := next(known, None)) is not None:
            return found
        predictor.launch({slot: crop})
        return predictor.fetch()[slot]

    if recovery is not None:
        box, score = recovery.step(frame, present, predict)
    else:
        crop = target.search_crop(frame, present)
        box, score = target.stay() if crop is None else target.accept(predict(crop))
    if recovery is None or not recovery.lost:
        update_template(predictor, slot, target, frame, score, present)
    return box, score


def result_of(target: Target, box: np.ndarray, score: float, recovery: Recovery | None) -> Result:
    """Put a result together: with the confidence that the experiment's calibration gives the score."""
    calibration = target.settings.test.confidence
    logit = math.log(max(score, 1e-6) / max(1.0 - score, 1e-6))
    confidence = 1.0 / (1.0 + math.exp(-(calibration.slope * logit + calibration.offset)))
    lost = score < LOST_BELOW if recovery is None else recovery.lost
    return Result(box, score, target.frame_number, confidence, lost)


def _channels(image: object) -> int | None:
    """Channels of an image in memory; None: it is none."""
    if not isinstance(image, np.ndarray) or image.ndim not in (2, 3):
        return None
    return 1 if image.ndim == 2 else image.shape[2]
