"""From crops to boxes: network, window and decoding for one target or for many at once, on one device.

The shapes of a step never change, so that on a GPU it is recorded once as a CUDA graph and then launched with one call;
bytes go there and a few numbers come back, through page-locked memory.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import chain
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from patrack.crop import hann_window
from patrack.fused import FusedNetwork, unfoldable
from patrack.head import decode_boxes
from patrack.network import Network, TrackingNetwork, modality_numbers, normalize

__all__ = ["PRECISIONS", "PlainNetwork", "Predictor", "tracking_network"]

logger = logging.getLogger(__name__)

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Step = Callable[[Tensor, Tensor], Tensor]
GAIN = "On two CPU cores folding makes rgbt_base 1.2 times and rgbt_tiny 1.6 times as fast"
WARM_UP = 3
"""Steps before a CUDA graph is recorded: libraries choose their kernels in them."""


class PlainNetwork(TrackingNetwork):
    """A network with the `forward` of `Network`, behind the interface that tracks: the path without any folding.

    Args:
        model: put in eval mode.
        modality: of the images, which a `Network` is told; None: not known.

    Raises:
        TypeError: it lacks `streams`, `template_size` or `search_size`.
        ValueError: it treats modalities apart; see `Network.of_modality`.
    """

    def __init__(self, model: nn.Module, modality: str | None = None) -> None:
        super().__init__()
        wanted = ("streams", "template_size", "search_size")
        if not all(hasattr(model, name) for name in wanted):
            raise TypeError(f"a {type(model).__name__} can't track: a network needs {', '.join(wanted)}")
        self.model = model.eval()
        self.streams = str(model.streams)
        self.template_size, self.search_size = cast(int, model.template_size), cast(int, model.search_size)
        self.rows, self.templates = 1, int(getattr(model, "templates", 1))
        self.modality = modality if isinstance(model, Network) else None
        if isinstance(model, Network):
            model.of_modality(modality)  # an error now rather than at the first frame

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights and activations."""
        return next(self.model.parameters()).dtype

    def embed_template(self, crops: Tensor) -> Tensor:
        """(B, Hz, Wz, C) uint8 -> (B, C, Hz, Wz), normalised."""
        return normalize(crops).to(self.dtype)

    def forward(self, template: Tensor, crops: Tensor) -> dict[str, Tensor]:
        """`embed_template`'s result and (B, Hx, Wx, C) uint8 -> what `Network.forward` returns."""
        images = template, normalize(crops).to(self.dtype)
        if self.modality is None:
            return self.model(*images)
        return self.model(*images, modality=modality_numbers(self.modality, len(crops), crops.device))


def tracking_network(model: nn.Module, precision: str | None = None, modality: str | None = None) -> TrackingNetwork:
    """Make the network that tracks: a folded copy where the model is known to the last module, else the model as it is.

    Args:
        model: its device is kept.
        precision: "fp32", "bf16" or "fp16"; None: the model's own.
        modality: of the images, for networks that treat modalities apart; None: not known.

    Raises:
        ValueError: unknown precision; or as `Network.of_modality`.
    """
    if precision is not None and precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if isinstance(model, FusedNetwork | PlainNetwork):
        return model
    own = next((parameter.dtype for parameter in model.parameters()), torch.float32)
    dtype = own if precision is None else PRECISIONS[precision]
    if not isinstance(model, Network):
        reason = f"{type(model).__name__} is no network of PATrack's"
    elif not (reason := unfoldable(model)):
        return FusedNetwork(model, dtype, modality)
    _say_once(f"Tracking with the network as it was trained, not folded: {reason}. {GAIN}")
    return PlainNetwork(model if dtype == own else copy.deepcopy(model).to(dtype), modality)


@lru_cache
def _say_once(message: str) -> None:
    logger.warning(message)


class Predictor:
    """Finds targets in their search crops, up to `slots` of them in one step.

        predictor.set_template(slot, crop)      # once per target, and again where the last template is updated
        predictor.launch({slot: crop, ...})     # returns at once on a GPU
        predictor.fetch()                       # {slot: [cx, cy, w, h, score], ...}

    Args:
        network: from `tracking_network`; moved to `device`.
        device: where it computes.
        slots: targets at once.
        window: weigh score maps with a Hann window.
        compile: let `torch.compile` fuse the small operations; takes a minute at the first step.
        check: called with a target's template and first search crop, (H, W, C) uint8, before it is followed.
    """

    def __init__(
        self,
        network: TrackingNetwork,
        device: torch.device,
        slots: int = 1,
        window: bool = True,
        compile: bool = False,
        check: Callable[[np.ndarray, np.ndarray], None] | None = None,
    ) -> None:
        tensor = next(chain(network.parameters(), network.buffers()), None)
        if tensor is not None and tensor.device != device:  # to the same one would undo the packing of weights
            network.to(device)
        self.network, self.device, self.slots, self.window = network, device, slots, window
        gpu = device.type == "cuda"
        if gpu and device.index is not None:
            torch.cuda.set_device(device)  # events and graphs belong to the current one
        if not compile and isinstance(network, FusedNetwork):
            network.pack()
        self.check = check
        self._same_shape = gpu or compile  # of every step; otherwise slots without a target cost nothing
        self._recorded = gpu and isinstance(network, FusedNetwork)
        if compile and isinstance(network, PlainNetwork) and isinstance(network.model, Network):
            network.model.before_compiling()
        self._unrecorded: Step = torch.compile(self._predict, dynamic=False) if compile else self._predict
        self._step = self._unrecorded
        self._templates: Tensor | None = None  # (rows, slots, [templates,] ...), on the device
        self._crops: Tensor | None = None  # (slots, H, W, C) uint8, on the host
        self._answers = torch.zeros(slots, 5, pin_memory=gpu)
        self._places: dict[int, int] = {}  # slot -> its row among the answers
        self._arrived = torch.cuda.Event() if gpu else None
        self._hann: Tensor | None = None

    @torch.inference_mode()
    def set_template(self, slot: int, crop: np.ndarray, place: int | None = None) -> None:
        """Gives a slot a new target, or replaces one of its templates.

        Args:
            slot: of the target.
            crop: template crop, (Hz, Wz, C) uint8.
            place: number of the template, of a network of several; None: all of them, for a new target.
        """
        template: Tensor = self.network.embed_template(torch.from_numpy(crop).to(self.device).unsqueeze(0))
        several = self.network.templates > 1
        template = template.unflatten(0, (self.network.rows, 1, 1) if several else (self.network.rows, 1))
        if self._templates is None:  # (rows, slots, ...)
            counts = (1, self.slots, self.network.templates) if several else (1, self.slots)
            self._templates = template.repeat(*counts, *[1] * (template.ndim - len(counts)))
        if place is None or not several:
            self._templates[:, slot] = template[:, 0]
        else:
            self._templates[:, slot, place] = template[:, 0, 0]

    @torch.inference_mode()
    def launch(self, crops: Mapping[int, np.ndarray]) -> None:
        """Starts a step on the search crops, (Hx, Wx, C) uint8, of some slots. The last step must have been fetched."""
        shape = next(iter(crops.values())).shape
        if self._crops is None or self._crops.shape[1:] != shape:  # of other channels, after a change of adapters
            self._step = self._unrecorded
            self._crops = torch.zeros(self.slots, *shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        for slot, crop in crops.items():
            self._crops[slot] = torch.from_numpy(crop)
        asked = sorted(crops)
        templates, images = self._templates, self._crops
        if templates is None:
            raise RuntimeError("no slot has a target: call set_template first")
        if not self._same_shape and len(asked) < self.slots:
            templates, images = templates[:, asked], images[asked]
            self._places = {slot: row for row, slot in enumerate(asked)}
        else:
            self._places = {slot: slot for slot in asked}
        if self._recorded and not isinstance(self._step, RecordedStep):
            self._step = RecordedStep(self._step, templates, images.to(self.device))
        answers = self._step(templates, images.to(self.device, non_blocking=True))
        self._answers[: len(answers)].copy_(answers, non_blocking=True)
        if self._arrived is not None:
            self._arrived.record()

    def fetch(self) -> dict[int, list[float]]:
        """Waits for the step: per slot asked for, cx, cy, w, h normalised to the crop, and the score.

        A value that isn't finite means that the network's output is not.
        """
        if self._arrived is not None:
            self._arrived.synchronize()
        answers = self._answers.tolist()
        return {slot: answers[row] for slot, row in self._places.items()}

    def _predict(self, templates: Tensor, crops: Tensor) -> Tensor:
        """(rows, S, ...) and (S, H, W, C) uint8 -> (S, 5): the box at the response's peak, and the peak."""
        output = self.network(templates.flatten(0, 1), crops)
        score, size, offset = (output[name].float() for name in ("score_map", "size_map", "offset_map"))
        response = score * self._hann_like(score) if self.window else score
        box = decode_boxes(response, size, offset)
        # amax gives NaN if any cell is NaN
        return torch.cat((box, response.flatten(1).amax(dim=1, keepdim=True)), dim=1)

    def _hann_like(self, score: Tensor) -> Tensor:
        height, width = score.shape[-2:]
        if height != width:
            raise ValueError(f"score_map must be square, got {tuple(score.shape)}")
        if self._hann is None or self._hann.shape[-1] != width:
            self._hann = torch.from_numpy(hann_window(width)).to(score.device)
        return self._hann


class RecordedStep:
    """A step on a GPU as a CUDA graph: one launch instead of a thousand.

    Args:
        step: (templates, crops) -> answers, of static shapes and without synchronisation.
        templates: read from this tensor's memory at every call.
        crops: on the device; only the shape matters.
    """

    def __init__(self, step: Step, templates: Tensor, crops: Tensor) -> None:
        self._crops = crops.clone()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                step(templates, self._crops)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._answers = step(templates, self._crops)

    def __call__(self, _templates: Tensor, crops: Tensor) -> Tensor:
        """Crops on the device or in page-locked memory -> answers, which the next call overwrites."""
        self._crops.copy_(crops, non_blocking=True)
        self._graph.replay()
        return self._answers
