"""Small networks for the tests of the method."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from patrack import PATrack, build_model
from patrack.config.schema import ModelConfig
from small_models import DEEPER_ADAPTERS, DEEPER_SIZES

SMALL = {
    **DEEPER_SIZES,
    "adapters": DEEPER_ADAPTERS,
    "elimination": {"layers": [0, 1, 2], "keep_ratio": 1.0},
}


def merged(base: dict, changes: dict) -> dict:
    """`base` with nested `changes`."""
    out = dict(base)
    for key, value in changes.items():
        out[key] = merged(out.get(key, {}), value) if isinstance(value, dict) else value
    return out


@pytest.fixture
def make_model() -> Callable[..., PATrack]:
    """Builds a network of 4 blocks and 16 channels; keyword arguments change its configuration."""

    def make(seed: int = 0, **changes: object) -> PATrack:
        torch.manual_seed(seed)
        return build_model(SimpleNamespace(model=ModelConfig(**merged(SMALL, changes))))

    return make


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    """Template and search of two pairs, six channels."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 6, 16, 16, generator=generator), torch.randn(2, 6, 32, 32, generator=generator)
