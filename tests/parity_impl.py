"""This project behind the interface of the published numbers' checker; tests call it, and so can the checker itself.

python check_parity.py --impl parity_impl:Impl        # with tests/ on PYTHONPATH
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from patrack import Tracker, build_model, tracking_loss, trainable_parameters
from patrack.config.schema import ModelConfig
from patrack.crop import hann_window, sample_crop
from patrack.methods.patrack import CEAConfig, MDAConfig, PATrackConfig, TaskAdapterConfig
from patrack.vit import TokenLayout
from patrack.weights import load_published, published_names

Spec = dict[str, Any]
Tensors = dict[str, Tensor]


def build(spec: Spec) -> nn.Module:
    """The network of a spec, in eval mode."""
    adapters = PATrackConfig(
        mda=MDAConfig(hidden_dim=spec["mda_hidden"]),
        cea=CEAConfig(layers=spec["cea_layers"], hidden_dim=spec["cea_hidden"]),
        task=TaskAdapterConfig(hidden_dim=spec["ha_hidden"]),
    )
    model = ModelConfig(
        embed_dim=spec["embed_dim"],
        depth=spec["depth"],
        num_heads=spec["heads"],
        mlp_ratio=float(spec["mlp_ratio"]),
        patch_size=spec["patch"],
        template_size=spec["template"],
        search_size=spec["search"],
        head_channels=spec["head_channels"],
        adapters=adapters,
    )
    return build_model(SimpleNamespace(model=model)).eval()


def filled(model: nn.Module, prefix: str, published_prefix: str, tensors: Tensors) -> nn.Module:
    """One module of a model, filled from tensors under their published names without the prefix."""
    module = model.get_submodule(prefix)
    names = published_names(model)
    own = {
        name: tensors[names[f"{prefix}.{name}"].removeprefix(f"{published_prefix}.")].reshape(value.shape)
        for name, value in module.state_dict().items()
    }
    module.load_state_dict(own)
    return module


class Tokens(nn.Module):
    """A modality-dependent adapter on tokens (B, Nz+Nx, C)."""

    def __init__(self, module: nn.Module, layout: TokenLayout) -> None:
        super().__init__()
        self.module, self.layout = module, layout

    def forward(self, tokens: Tensor) -> Tensor:
        return self.module(tokens, self.layout)


class Maps(nn.Module):
    """A modality-entangled adapter on one grid of each stream, (B, C, g, g)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, rgb: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        grid = rgb.shape[-1]
        tokens = torch.cat((rgb, x)).flatten(2).transpose(1, 2)
        out = self.module(tokens, TokenLayout(0, grid)).transpose(1, 2).unflatten(2, (grid, grid))
        return out.chunk(2)


class Tapped(nn.Module):
    """A network that also returns both streams after the embedding and every block, and the task adapter's output."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, template: Tensor, search: Tensor) -> dict[str, Any]:
        taps: Tensors = {}

        def keep(name: str, tokens: Tensor) -> None:
            taps[f"{name}.rgb"], taps[f"{name}.x"] = tokens.chunk(2)

        blocks = self.model.backbone.blocks
        hooks = [
            block.register_forward_hook(lambda _block, _inputs, output, name=f"block{number}": keep(name, output[0]))
            for number, block in enumerate(blocks)
        ]
        hooks.append(blocks[0].register_forward_pre_hook(lambda _block, inputs: keep("embed", inputs[0])))
        hooks.append(
            self.model.task_adapter.register_forward_hook(
                lambda _adapter, _inputs, output: taps.update(head_adapter=output)
            )
        )
        output = self.model(template, search, return_features=True)
        for hook in hooks:
            hook.remove()
        return {**output, "backbone_feat": output["features"], "taps": taps}


class Follower:
    """The tracker under the checker's method names."""

    def __init__(self, model: nn.Module) -> None:
        self.tracker = Tracker(model)

    def init(self, image: np.ndarray, box: list[float]) -> None:
        self.tracker.initialize(image, box)

    def track(self, image: np.ndarray) -> tuple[np.ndarray, float]:
        return self.tracker.track(image)


class Impl:
    """What the checker asks for; `sd` holds tensors under published names."""

    def model(self, sd: Tensors, spec: Spec) -> nn.Module:
        model = build(spec)
        load_published(model, sd)
        return Tapped(model).eval()

    def mda(self, sd: Tensors, spec: Spec) -> nn.Module:
        module = filled(build(spec), "backbone.blocks.0.mda1", "backbone.blocks.0.adap_t", sd)
        return Tokens(module, TokenLayout(spec["template"] // spec["patch"], spec["search"] // spec["patch"])).eval()

    def cea(self, sd: Tensors, spec: Spec) -> nn.Module:
        layer = f"backbone.blocks.{spec['cea_layers'][0]}"
        return Maps(filled(build(spec), f"{layer}.cea1", f"{layer}.highfuseadapter1", sd)).eval()

    def head_adapter(self, sd: Tensors, spec: Spec) -> nn.Module:
        return filled(build(spec), "task_adapter", "adapter_head", sd).eval()

    def center_head(self, sd: Tensors, spec: Spec) -> nn.Module:
        return filled(build(spec), "head", "box_head", sd).eval()

    def loss(self, module: Tapped, template: Tensor, search: Tensor, gt_xywh: Tensor) -> tuple[Tensor, Tensors]:
        trainable_parameters(module.model, "adapters")
        loss, parts = tracking_loss(module(template, search), gt_xywh)
        return loss, {"giou": parts["giou"], "l1": parts["l1"], "location": parts["focal"], "IoU": parts["iou"]}

    def named_adapter_grads(self, module: Tapped) -> Tensors:
        names = published_names(module.model)
        return {names[name]: p.grad for name, p in module.model.named_parameters() if p.grad is not None}

    def crop(self, image: np.ndarray, box: list[float], factor: float, size: int) -> tuple[np.ndarray, float]:
        return sample_crop(image, box, factor, size)

    def hann(self, n: int) -> np.ndarray:
        return hann_window(n)

    def tracker(self, sd: Tensors, spec: Spec) -> Follower:
        model = build(spec)
        load_published(model, sd)
        return Follower(model)
