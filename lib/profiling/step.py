"""A step of the tracker on frames in memory: what it adds to the network's forward, and where."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lib.profiling.case import Case
from lib.profiling.rows import Row, median
from lib.profiling.timing import in_turns
from patrack.network import Network
from patrack.predictor import PlainNetwork, Predictor
from patrack.tracker import Target

__all__ = ["StillAnswer", "measure"]

STILL = [0.5, 0.5, 0.25, 0.25, 0.9]
"""What a step finds of a target that didn't move: cx, cy, w, h normalised to the search crop, and the score."""


class StillAnswer(PlainNetwork):
    """A network that costs nothing: it finds every target in the middle of its crop, as large as it was.

    Args:
        model: for its sizes.
        search_factor: side of a search crop in units of the target's size.
    """

    def __init__(self, model: Network, search_factor: float) -> None:
        super().__init__(model)
        grid, device = model.search_grid, next(model.parameters()).device
        score = torch.zeros(1, 1, grid, grid, device=device)
        score[..., grid // 2, grid // 2] = STILL[-1]
        size, offset = (torch.full((1, 2, grid, grid), value, device=device) for value in (1.0 / search_factor, 0.0))
        self.answer = {"score_map": score, "size_map": size, "offset_map": offset}

    def forward(self, template: Tensor, crops: Tensor) -> dict[str, Tensor]:
        """The same for each of the crops (B, H, W, C)."""
        return {name: value.expand(len(crops), -1, -1, -1) for name, value in self.answer.items()}


def measure(case: Case) -> list[Row]:
    """Tracker and predictor in turns, in each precision; the rest of the step alone; its stages."""
    rows = [row for precision in case.precisions for row in _differences(case, precision)]
    return [*rows, *_stages(case)]


def _differences(case: Case, precision: str) -> list[Row]:
    tracker, predictor = case.tracker(case.folded(precision)), case.predictor(precision)
    frame, crop = case.image(case.image_size), case.image(case.config.model.search_size)
    runs = {"tracker": lambda: tracker.track(frame), "forward": lambda: _predict(predictor, crop)}
    times = in_turns(runs, case.device, case.effort, before=lambda: tracker.initialize(frame, case.box))
    more = {"unit": "ms", "precision": precision}
    seconds = times.seconds
    return [
        median(f"step.tracker_{precision}", f"Tracker.track, {precision}", 1e3 * seconds["tracker"], **more),
        median(f"step.forward_{precision}", f"Predictor alone, {precision}", 1e3 * seconds["forward"], **more),
        median(
            f"step.difference_{precision}",
            f"Tracker.track - Predictor, {precision}",
            1e3 * times.difference("tracker", "forward"),
            note="of pairs of long times: no better than their noise",
            **more,
        ),
    ]


def _stages(case: Case) -> list[Row]:
    """Stages that no precision changes, and the whole step around a network that costs nothing."""
    network, frame, device = case.folded("fp32"), case.image(case.image_size), case.device
    target = Target(network, case.tracker(network).settings, frame, case.box)
    crop = target.search_crop(frame)
    held = torch.zeros(1, *crop.shape, dtype=torch.uint8, pin_memory=device.type == "cuda")

    def to_device() -> Tensor:
        held[0] = torch.from_numpy(crop)
        return held.to(device, non_blocking=True)

    def reset() -> None:
        target.box = np.array(case.box)

    tracker = case.tracker(StillAnswer(case.model, case.config.crop.search_factor))
    empty = tracker.predictor(1)
    empty.set_template(0, target.template)
    tracker.initialize(frame, case.box)
    runs: dict[str, Callable[[], object]] = {
        "crop": lambda: target.search_crop(frame),
        "to_device": to_device,
        "box": lambda: _predict(empty, crop),
        "accept": lambda: target.accept(STILL),
        "overhead": lambda: tracker.track(frame),
    }
    times = in_turns(runs, device, case.effort, before=lambda: (reset(), tracker.initialize(frame, case.box)))
    eager = "" if device.type == "cpu" else "not part of a CUDA graph here, as it is when it tracks"
    return [
        median("step.crop", "search crop", 1e3 * times.seconds["crop"], "ms"),
        median("step.to_device", "its bytes to the device", 1e3 * times.seconds["to_device"], "ms"),
        median("step.box", "bytes, window, peak, box, without network", 1e3 * times.seconds["box"], "ms", note=eager),
        median("step.accept", "box to image", 1e3 * times.seconds["accept"], "ms"),
        median("step.overhead", "Tracker.track without network", 1e3 * times.seconds["overhead"], "ms", note=eager),
    ]


def _predict(predictor: Predictor, crop: np.ndarray) -> dict[int, list[float]]:
    predictor.launch({0: crop})
    return predictor.fetch()
