"""Where randomness comes from: one generator per sample, and the state of the process-wide generators.

A sample's generator depends on (seed, epoch, index) only, so what is drawn does not depend on how many workers or
processes draw, nor on where a run was interrupted.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

__all__ = ["rng_state", "sample_generator", "seed_everything", "set_rng_state"]


def sample_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator of one training sample: a pure function of its three numbers (each below 2**32)."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(np.array((seed, epoch, index), np.uint32))))


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and torch (all devices): initial weights, dropout and stochastic depth follow from it."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def rng_state() -> dict[str, Any]:
    """State of the Python, NumPy, torch and CUDA generators, in types that `torch.load(weights_only=True)` accepts."""
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(cached)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Restores what `rng_state` returned; the CUDA part is skipped when the number of devices differs."""
    random.setstate(state["python"])
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([item.cpu() for item in state["cuda"]])
