"""Masks of a batch that is computed in parts."""

from __future__ import annotations

import torch
from torch.overrides import TorchFunctionMode

from lib.distributed import DistributedContext
from lib.training.step import MicroBatch, WholeBatch


def mask(part: MicroBatch, rows: int) -> torch.Tensor:
    torch.manual_seed(0)
    with WholeBatch(part, DistributedContext()):
        return torch.empty(rows, 1, 1).bernoulli_(0.5)


def test_masks_of_parts_are_rows_of_the_mask_that_pytorch_draws_for_the_whole() -> None:
    torch.manual_seed(0)
    plain = torch.empty(8, 1, 1).bernoulli_(0.5)  # two streams of four samples
    assert torch.equal(mask(MicroBatch(0, 4, 4), 8), plain)
    parts = [mask(MicroBatch(first, 2, 4), 4) for first in (0, 2)]
    assert torch.equal(torch.cat([part.view(2, 2) for part in parts], dim=1), plain.view(2, 4))


def test_mask_of_a_batch_computed_at_once_is_drawn_in_place() -> None:
    copies: list[str] = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func, _types, args=(), kwargs=None):
            copies.extend(["copy"] if func is torch.Tensor.copy_ else [])
            return func(*args, **(kwargs or {}))

    with Watch():
        mask(MicroBatch(0, 2, 2), 4)
        assert not copies
        mask(MicroBatch(0, 2, 4), 4)
    assert copies
