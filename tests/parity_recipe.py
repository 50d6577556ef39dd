"""Weights and inputs of the parity checks: a pure function of a tensor's published name and its shape.

Every value is drawn from a generator seeded by the CRC-32 of the name, then scaled by what the tensor is for, so that
two implementations agree without exchanging files.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

MASK = (1 << 64) - 1


def named_randn(name: str, shape: Sequence[int]) -> Tensor:
    """Standard normal values that depend on nothing but the name and the number of elements."""
    generator = torch.Generator("cpu").manual_seed(zlib.crc32(name.encode()))
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float32)


def weight(name: str, shape: Sequence[int]) -> Tensor:
    """The value of one published tensor."""
    leaf = name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return torch.zeros(tuple(shape), dtype=torch.int64)
    values = named_randn(name, shape)
    if leaf == "running_var":
        return values.abs() + 0.5
    if leaf == "weight" and len(shape) == 1:
        return 1 + 0.1 * values
    if leaf == "weight":
        gain = 0.7 if "highfuseadapter" in name else 1.4 if name.startswith("box_head") else 1.0
        return values * (gain / math.sqrt(math.prod(shape[1:])))
    return (0.2 if leaf.startswith("pos_embed") else 0.1) * values


def sample_positions(name: str, size: int, count: int) -> list[int]:
    """Fixed places in a flattened tensor, from a linear congruential generator seeded by the name."""
    state, positions = zlib.crc32(f"idx:{name}".encode()), []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) & MASK
        positions.append((state >> 33) % size)
    return positions
