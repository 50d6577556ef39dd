"""Networks of any method for tests: small ones with values everywhere, and ones of full size without any."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from patrack import build_model
from patrack.config import load
from patrack.config.schema import ModelConfig
from patrack.network import Network
from small_models import DEEPER_ADAPTERS, DEEPER_SIZES


def small(**changes: object) -> Network:
    """A small network of any method, no weight of which is at its initial value."""
    adapters = changes.pop("adapters", {})
    if changes.get("method", "patrack") == "patrack":
        adapters = {key: DEEPER_ADAPTERS.get(key, {}) | adapters.get(key, {}) for key in ("mda", "cea", "task")} | {
            key: value for key, value in adapters.items() if key == "init"
        }
    settings = {"elimination": {"layers": [1], "keep_ratio": 0.7}} | changes
    torch.manual_seed(0)
    return lively(build_model(SimpleNamespace(model=ModelConfig(**DEEPER_SIZES, **settings, adapters=adapters))))


def lively(model: Network) -> Network:
    """No tensor at its initial value, so that each matters; the head's units are awake."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
                tensor.add_(noise if "running_var" in name else 0.2 * (noise - 0.5))
            if name.endswith("bn.bias"):
                tensor.add_(1.0)
    return model.eval()


def crops(size: int, count: int = 3) -> Tensor:
    """Crops of random bytes, (count, size, size, 6) uint8."""
    generator = torch.Generator().manual_seed(size)
    return torch.randint(0, 256, (count, size, size, 6), dtype=torch.uint8, generator=generator)


def images(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Two samples' template and search images, RGB and X, of the small network's sizes."""
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(2, 6, size, size, generator=generator).to(dtype) for size in (16, 32))


def at_vit_b(*overrides: str) -> Network:
    with torch.device("meta"):
        return build_model(load("rgbt_base", overrides))
