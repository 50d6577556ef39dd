"""The tracker: one box in the first frame, then a box and a score for every frame that follows."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from patrack.crop import Box, clip_box, crop_to_image, hann_window, normalize, sample_crop
from patrack.head import decode_boxes

__all__ = ["Tracker"]


class Tracker:
    """Follows one target through a video; deterministic, one frame at a time.

        tracker = Tracker(model)
        tracker.initialize(first_frame, (x, y, w, h))
        box, score = tracker.track(next_frame)

    The template is cropped once, from the first frame; each search crop lies around the last box.

    Args:
        model: network with `template_size`, `search_size`, `streams` and PATrack's `forward`; put in eval mode and
            moved to `device`.
        template_factor: side of the template crop in units of sqrt(w * h) of the box.
        search_factor: the same for the search crop.
        window: weigh the score map with a Hann window, against jumps to distant look-alikes.
        clip_margin: pixels of a box that stay inside the image, and its least side; at least 1 is used.
        device: e.g. "cuda"; default: where the model is.
    """

    def __init__(
        self,
        model: nn.Module,
        template_factor: float = 2.0,
        search_factor: float = 4.0,
        window: bool = True,
        clip_margin: int = 10,
        device: str | torch.device | None = None,
    ) -> None:
        for name, value in (("template_factor", template_factor), ("search_factor", search_factor)):
            if not value > 0:
                raise ValueError(f"{name} must be > 0, got {value!r}")
        if clip_margin < 0:
            raise ValueError(f"clip_margin must be >= 0 pixels, got {clip_margin!r}")
        self.model = (model if device is None else model.to(device)).eval()
        self.template_factor, self.search_factor = template_factor, search_factor
        self.window, self.clip_margin = window, max(clip_margin, 1)
        parameter = next(model.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype
        self._hann: Tensor | None = None
        self._template: Tensor | None = None
        self._box = np.zeros(4)
        self._shape: tuple[int, ...] = ()
        self._frame_number = 0

    def initialize(self, frame: np.ndarray, box_xywh: Box) -> None:
        """Start on a new target.

        Args:
            frame: (H, W, 6) uint8, RGB then X; (H, W, 3) is enough for a model of one stream `rgb`.
            box_xywh: (4,), pixels; may reach over the image's edge, but not lie outside.

        Raises:
            ValueError: frame of another shape or type; box not four finite numbers, without area, or outside.
        """
        self._check_frame(frame)
        box = _checked_box(box_xywh, *frame.shape[:2])
        self._template, _ = self._crop(frame, box, self.template_factor, self.model.template_size)
        self._box, self._shape, self._frame_number = box, frame.shape, 0

    @torch.inference_mode()
    def track(self, frame: np.ndarray) -> tuple[np.ndarray, float]:
        """Find the target in the next frame.

        Args:
            frame: of the first frame's shape, uint8.

        Returns:
            box (4,) float64 xywh in pixels, inside the image; score, the peak of the (windowed) score map, in [0, 1].

        Raises:
            RuntimeError: `initialize` was not called, or the network's output is not finite. The state is kept.
            ValueError: frame of another shape or type than the first.
        """
        if self._template is None:
            raise RuntimeError("call initialize(frame, box_xywh) before track(frame)")
        if not isinstance(frame, np.ndarray) or frame.shape != self._shape:
            found = getattr(frame, "shape", type(frame).__name__)
            raise ValueError(f"frame must have the first frame's shape {self._shape}, got {found}; initialize anew")
        self._check_frame(frame)
        size = self.model.search_size
        search, resize_factor = self._crop(frame, self._box, self.search_factor, size)
        *predicted, score = self._predict(search)
        self._frame_number += 1
        box = crop_to_image(predicted, self._box, resize_factor, size)
        self._box = clip_box(box, *frame.shape[:2], margin=self.clip_margin)
        return self._box.copy(), score

    def _crop(self, frame: np.ndarray, box: np.ndarray, factor: float, size: int) -> tuple[Tensor, float]:
        """Network input (1, C, size, size) and resize factor of the crop around a box."""
        patch, resize_factor = sample_crop(frame, box, factor, size)
        return normalize(torch.from_numpy(patch).to(self._device)).to(self._dtype).unsqueeze(0), resize_factor

    def _predict(self, search: Tensor) -> list[float]:
        """[cx, cy, w, h, score]: the box at the response's peak, normalized to the search crop."""
        output = self.model(self._template, search)
        score, size, offset = (output[name].float() for name in ("score_map", "size_map", "offset_map"))
        response = score * self._hann_like(score) if self.window else score
        box = decode_boxes(response, size, offset)  # (1, 4)
        # amax gives NaN if any cell is NaN, so one transfer from the device answers everything
        values = torch.cat((box.flatten(), response.amax().view(1))).tolist()
        if not all(math.isfinite(value) for value in values):
            raise RuntimeError(
                f"frame {self._frame_number + 1}: the network's output is not finite (box cx, cy, w, h and score: "
                f"{values}); check the weights for NaN, and try fp32 if a lower precision is used"
            )
        return values

    def _hann_like(self, score: Tensor) -> Tensor:
        height, width = score.shape[-2:]
        if height != width:
            raise ValueError(f"score_map must be square, got {tuple(score.shape)}")
        if self._hann is None or self._hann.shape[-1] != width:
            self._hann = torch.from_numpy(hann_window(width)).to(score.device)
        return self._hann

    def _check_frame(self, frame: np.ndarray) -> None:
        channels = (3, 6) if self.model.streams == "rgb" else (6,)
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8:
            found = getattr(frame, "dtype", type(frame).__name__)
            raise ValueError(f"frame must be a uint8 array, got {found}")
        if frame.ndim != 3 or frame.shape[2] not in channels or 0 in frame.shape:
            wanted = " or ".join(f"(H, W, {n})" for n in channels)
            raise ValueError(f"frame must be {wanted} for streams={self.model.streams!r}, got {frame.shape}")


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
    return box
