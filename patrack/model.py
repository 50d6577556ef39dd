"""PATrack = two-stream backbone + task adapter + centre head (arXiv 2603.21100, section 3)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from patrack.adapters import Adapter, TaskAdapter
from patrack.backbone import Backbone
from patrack.crop import MEAN, STD
from patrack.head import CenterHead
from patrack.vit import Block

__all__ = [
    "PATrack",
    "adapter_names",
    "adapter_parameters",
    "build_model",
    "foundation_names",
    "freeze_batchnorm",
    "normalize",
    "trainable_parameters",
]

STREAMS = ("both", "rgb", "x")


class PATrack(nn.Module):
    """The tracker's network.

    Args:
        backbone: the ViT, with or without adapters.
        task_adapter: adapts the fused search features to the head, or None.
        head: centre head.
        streams: "both", or the foundation alone on "rgb" or "x".
        patch_size: pixels a token covers, a side.
    """

    def __init__(
        self, backbone: Backbone, task_adapter: TaskAdapter | None, head: CenterHead, streams: str, patch_size: int
    ) -> None:
        super().__init__()
        if streams not in STREAMS:
            raise ValueError(f"streams must be one of {STREAMS}, got {streams!r}")
        self.backbone, self.task_adapter, self.head = backbone, task_adapter, head
        self.streams, self.patch_size = streams, patch_size

    @property
    def search_grid(self) -> int:
        """Cells a side of the score map."""
        return self.backbone.search_grid

    @property
    def template_size(self) -> int:
        """Side of the template crop, pixels."""
        return self.backbone.template_grid * self.patch_size

    @property
    def search_size(self) -> int:
        """Side of the search crop, pixels."""
        return self.backbone.search_grid * self.patch_size

    def set_keep_ratio(self, keep_ratio: float) -> None:
        """Share of search tokens kept at each elimination block, in (0, 1]; 1 switches elimination off."""
        if not 0.0 < keep_ratio <= 1.0:
            raise ValueError(f"keep_ratio must lie in (0, 1], got {keep_ratio}")
        self.backbone.keep_ratio = keep_ratio

    def forward(self, template: Tensor, search: Tensor, return_features: bool = False) -> dict[str, Tensor]:
        """Find the template's target in the search crops.

        Args:
            template: (B, 6, Hz, Wz) normalised, RGB then X; (B, 3, Hz, Wz) is enough for one stream.
            search: (B, 6 or 3, Hx, Wx), likewise.
            return_features: adds `features` (B, Nz+Nx, C), the fused tokens before the task adapter.

        Returns:
            What `CenterHead.forward` returns.

        Raises:
            ValueError: if an input has the wrong number of channels or the wrong size.
        """
        template = self._select(template, self.template_size, "template")
        search = self._select(search, self.search_size, "search")
        features = self.backbone(template, search, 2 if self.streams == "both" else 1)
        grid = self.search_grid
        tokens = features[:, -grid * grid :]
        if self.task_adapter is not None:
            tokens = self.task_adapter(tokens)
        output = self.head(rearrange(tokens, "b (gy gx) c -> b c gy gx", gy=grid))
        if return_features:
            output["features"] = features
        return output

    def _select(self, images: Tensor, size: int, name: str) -> Tensor:
        """The streams' images as rows: (B, 6, H, W) -> (2B, 3, H, W) or (B, 3, H, W)."""
        channels, height, width = images.shape[1:]
        allowed = (6,) if self.streams == "both" else (3, 6)
        if channels not in allowed or (height, width) != (size, size):
            wanted = " or ".join(f"(B, {c}, {size}, {size})" for c in allowed)
            raise ValueError(f"{name} must be {wanted} for streams={self.streams!r}, got {tuple(images.shape)}")
        if self.streams == "both":
            return torch.cat((images[:, :3], images[:, 3:]))
        return images if channels == 3 else images[:, :3] if self.streams == "rgb" else images[:, 3:]


def build_model(config: Any) -> PATrack:
    """The network of an experiment, with initial weights.

    Args:
        config: an object whose `model` has the fields of `patrack.config.schema.ModelConfig`.
    """
    m = config.model
    mda, cea, task = (getattr(m.adapters, family) for family in ("mda", "cea", "task"))
    two = m.streams == "both"
    cea_layers = cea.layers if two and cea.enabled else []
    mda_layers = mda.layers if mda.layers is not None else [i for i in range(m.depth) if i not in cea.layers]
    neutral = m.adapters.init == "neutral"
    backbone = Backbone(
        template_grid=m.template_size // m.patch_size,
        search_grid=m.search_size // m.patch_size,
        patch_size=m.patch_size,
        embed_dim=m.embed_dim,
        depth=m.depth,
        num_heads=m.num_heads,
        mlp_ratio=m.mlp_ratio,
        drop_path=m.drop_path,
        mda_layers=mda_layers if two and mda.enabled else [],
        mda_dim=mda.hidden_dim,
        mda_form=mda.form,
        cea_layers=cea_layers,
        cea_dim=cea.hidden_dim,
        cea_form=cea.form,
        neutral=neutral,
        elimination_layers=m.elimination.layers,
        fusion=m.fusion if two or m.fusion != "gate" else "mean",  # one stream has nothing to weigh
    )
    task_adapter = (
        TaskAdapter(m.embed_dim, task.hidden_dim, task.dropout, skip=neutral) if two and task.enabled else None
    )
    model = PATrack(backbone, task_adapter, CenterHead(m.embed_dim, m.head_channels), m.streams, m.patch_size)
    model.set_keep_ratio(m.elimination.keep_ratio)
    return model


def adapter_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters inside an `Adapter`, by name: chosen by type, never by a name's text."""
    return {
        f"{prefix}.{name}": parameter
        for prefix, module in model.named_modules()
        if isinstance(module, Adapter)
        for name, parameter in module.named_parameters()
    }


def adapter_names(model: nn.Module) -> list[str]:
    """Names of the tensors in adapters and in the norms in front of the entangled ones, which exist only with them."""
    prefixes = [f"{name}." for name, module in model.named_modules() if isinstance(module, Adapter)]
    for name, module in model.named_modules():
        if isinstance(module, Block):
            prefixes += [f"{name}.cea_norm1.", f"{name}.cea_norm2."]
    return [name for name in model.state_dict() if name.startswith(tuple(prefixes))]


def foundation_names(model: nn.Module) -> list[str]:
    """Names of all other tensors: those of the frozen foundation."""
    adapters = set(adapter_names(model))
    return [name for name in model.state_dict() if name not in adapters]


def trainable_parameters(model: nn.Module, which: str, frozen_blocks: int = 0) -> dict[str, nn.Parameter]:
    """Freeze everything but `which` and return what trains, by name.

    Args:
        model: changed in place: `requires_grad` of every parameter.
        which: "adapters" or "all". The norms in front of the entangled adapters count as foundation.
        frozen_blocks: with "all", patch and position embedding and this many blocks from the first stay as they are.

    Raises:
        ValueError: if `which` is unknown or the model has no adapters to train.
    """
    if which not in ("adapters", "all"):
        raise ValueError(f"which must be 'adapters' or 'all', got {which!r}")
    chosen = adapter_parameters(model) if which == "adapters" else dict(model.named_parameters())
    if which == "all" and frozen_blocks:
        blocks = tuple(f"backbone.blocks.{number}." for number in range(frozen_blocks))
        frozen = ("backbone.patch_embed.", "backbone.pos_embed_", *blocks)
        chosen = {name: parameter for name, parameter in chosen.items() if not name.startswith(frozen)}
    if not chosen:
        raise ValueError("the model has no adapters: enable a family with streams 'both', or train all parameters")
    model.requires_grad_(False)
    for parameter in chosen.values():
        parameter.requires_grad_(True)
    return chosen


def freeze_batchnorm(model: nn.Module) -> None:
    """Keep the running statistics of every batch normalisation; call it after each `model.train()`."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def normalize(patch: np.ndarray | Tensor) -> Tensor:
    """Pixels to network input: (v / 255 - mean) / std, mean and std repeated for every three channels.

    Args:
        patch: (..., H, W, C), values 0..255 (uint8 or float), C a multiple of 3.

    Returns:
        (..., C, H, W) float32, on the device of a tensor given, else on the CPU.
    """
    pixels = torch.as_tensor(patch)
    channels = pixels.shape[-1]
    if channels % 3:
        raise ValueError(f"number of channels must be a multiple of 3, got {channels} in shape {tuple(pixels.shape)}")
    mean = torch.tensor(MEAN * (channels // 3), device=pixels.device)
    std = torch.tensor(STD * (channels // 3), device=pixels.device)
    return ((pixels.float() / 255.0 - mean) / std).movedim(-1, -3).contiguous()
