"""A batch that is computed in parts (over processes, or one after the other) behaves as if it were computed at once.

Three things look at more than one sample: the losses' normalisation, random masks (dropout, stochastic depth) and
BatchNorm in training. Each is told here what the whole batch is, so that the number of parts changes nothing but the
rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lib.processes import Processes, WholeSum

__all__ = ["Part", "WholeBatch", "part_bounds", "share_of"]


@dataclass(frozen=True)
class Part:
    """Which samples of the whole batch are computed now.

    Attributes:
        first: number of the first one, from 0.
        count: how many.
        total: samples in the whole batch.
        positives: positive cells of the whole batch's score targets, () on the device; None if this is all of it.
    """

    first: int
    count: int
    total: int
    positives: Tensor | None = None


def share_of(total: int, rank: int, world: int) -> range:
    """Samples of a batch that a process computes: consecutive, sizes that differ by at most one."""
    return range(rank * total // world, (rank + 1) * total // world)


def part_bounds(count: int, largest: int | None) -> list[tuple[int, int]]:
    """Cuts `count` samples into as few parts of nearly the same size as keep each at or below `largest`.

    Returns:
        (first, past the last) of each part.
    """
    parts = math.ceil(count / largest) if largest else 1
    return [(k * count // parts, (k + 1) * count // parts) for k in range(parts)]


class WholeBatch(TorchFunctionMode):
    """Inside this block random masks and BatchNorm statistics are those of the whole batch.

    Masks are drawn for the whole batch, in each process from the same generator state, and cut down to the part: the
    numbers drawn do not depend on the parts. Rows of a network input may be several blocks of the part's samples (one
    block per stream).

    Args:
        part: what is computed.
        processes: over which BatchNorm statistics are summed. Parts one after the other cannot share statistics.
    """

    def __init__(self, part: Part, processes: Processes) -> None:
        super().__init__()
        self.part, self.processes = part, processes

    def __torch_function__(self, func: Callable, _types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Replaces the three functions that mix or draw for samples; everything else is left alone."""
        kwargs = kwargs or {}
        if func is torch.Tensor.bernoulli_ and self.part.count < self.part.total:
            return args[0].copy_(self._rows(args[0], *args[1:], **kwargs))
        if func is F.dropout:
            return self._dropout(*args, **kwargs)
        if func is F.batch_norm and self.processes.world > 1:
            return self._batch_norm(*args, **kwargs)
        return func(*args, **kwargs)

    def _rows(self, like: Tensor, probability: float = 0.5) -> Tensor:
        """A random mask of the shape of `like`: its rows out of those of the whole batch."""
        part = self.part
        if len(like) % part.count:
            raise ValueError(f"a mask of {len(like)} rows is drawn for {part.count} samples: rows must be a multiple")
        blocks = len(like) // part.count
        whole = like.new_empty(blocks * part.total, *like.shape[1:]).bernoulli_(probability)
        whole = whole.view(blocks, part.total, *like.shape[1:])
        return whole[:, part.first : part.first + part.count].reshape(like.shape)

    def _dropout(self, tensor: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if inplace:
            raise ValueError("dropout in place is not supported in training")
        if not training or p == 0.0:
            return tensor
        return tensor * self._rows(tensor, 1.0 - p) * (1.0 / (1.0 - p)) if p < 1.0 else tensor * 0.0

    def _batch_norm(
        self,
        tensor: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """BatchNorm over (B, C, ...) of all processes; also on the CPU, which PyTorch's SyncBatchNorm is not."""
        if not training:
            return F.batch_norm(tensor, running_mean, running_var, weight, bias, False, momentum, eps)
        axes, shape = [0, *range(2, tensor.dim())], (1, -1, *[1] * (tensor.dim() - 2))
        values = tensor.float()
        count = self.processes.sum(torch.tensor(float(values[:, 0].numel()), device=tensor.device))
        mean = WholeSum.apply(values.sum(axes)) / count  # (C)
        centered = values - mean.view(shape)
        variance = WholeSum.apply(centered.square().sum(axes)) / count  # (C)
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean.to(running_mean.dtype), momentum)
                running_var.lerp_((variance * count / (count - 1)).to(running_var.dtype), momentum)
        out = centered * (variance + eps).rsqrt().view(shape)
        if weight is not None:
            out = out * weight.view(shape)
        if bias is not None:
            out = out + bias.view(shape)
        return out.to(tensor.dtype)
