"""LoRA: low-rank updates of the frozen linear layers (arXiv 2106.09685), the same for both streams.

    y = W x + b + (alpha / r) B A x        A (r, in), B (out, r), B starts at zero

or alpha / sqrt(r), which keeps the update's size at high ranks (arXiv 2312.03732).

The streams meet only where they are fused. With the defaults (K and V of every block, r = 8), 294,912 weights train at
ViT-B. Legend: R rows, N tokens, r rank, S slices of a layer's output that have an update each (q, k, v of `attn.qkv`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from patrack.config.schema import Fraction, MethodConfig, ModelConfig, Positive
from patrack.network import Network
from patrack.vit import Block

__all__ = ["LoRA", "LoRALinear"]


class LoRAConfig(MethodConfig):
    """Which layers are updated, and how."""

    rank: Positive = 8
    alpha: float | None = Field(None, gt=0, description="the update is scaled by alpha / rank; null: by 1")
    rslora: bool = Field(False, description="scale by alpha / sqrt(rank) instead")
    targets: list[Literal["q", "k", "v", "proj", "fc1", "fc2"]] = Field(
        ["k", "v"], min_length=1, description="parts of attention (q, k, v, proj) and MLP (fc1, fc2)"
    )
    layers: list[int] | None = Field(None, description="block numbers, from 0; null: every block")
    dropout: Fraction = Field(0.0, description="on what the update reads")
    init: Literal["kaiming", "bert"] = Field(
        "kaiming", description="kaiming: A is random, B zero, nothing changes at step 0; bert: both random, as in LoRAT"
    )

    def mistakes(self, model: ModelConfig) -> list[tuple[str, object, str]]:
        """Find settings that don't go with the sizes of the network; see `MethodConfig.mistakes`."""
        found = model.wrong_layers("adapters.layers", self.layers or [])
        if len(set(self.targets)) != len(self.targets):
            found.append(("adapters.targets", self.targets, "must name each part once"))
        if self.rslora and self.alpha is None:
            found.append(("adapters.rslora", True, "needs adapters.alpha: without it, the update isn't scaled"))
        return found

    @property
    def scale(self) -> float:
        """Factor on the update."""
        if self.alpha is None:
            return 1.0
        return self.alpha / (self.rank**0.5 if self.rslora else self.rank)


class LoRALinear(nn.Linear):
    """A linear layer with a low-rank update; its own weight and bias keep their names.

    Args:
        in_features, out_features: as `nn.Linear`, with bias.
        rank: r of each update.
        scale: alpha / r.
        dropout: probability, on what the update reads.
        slices: parts that the output is cut into, of equal size.
        updated: numbers of the slices that have an update.
        update_dropout: probability, on the update itself.
        init: initial values of A and B: "kaiming" (uniform, zero), "glorot" (normal with gain sqrt(2) over the A of all
            slices, zero) or "bert" (truncated normal 0.02, both).
    """

    which: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rank: int,
        scale: float = 1.0,
        dropout: float = 0.0,
        slices: int = 1,
        updated: Sequence[int] = (0,),
        update_dropout: float = 0.0,
        init: Literal["kaiming", "glorot", "bert"] = "kaiming",
    ) -> None:
        super().__init__(in_features, out_features)
        self.rank, self.scale, self.slices = rank, scale, slices
        self.dropout, self.update_dropout = dropout, update_dropout
        self.register_buffer("which", torch.tensor(updated), persistent=False)
        self.lora_a = nn.Parameter(torch.empty(len(updated), rank, in_features))
        self.lora_b = nn.Parameter(torch.zeros(len(updated), out_features // slices, rank))
        if init == "bert":
            nn.init.trunc_normal_(self.lora_a, std=0.02)
            nn.init.trunc_normal_(self.lora_b, std=0.02)
        elif init == "glorot":
            nn.init.xavier_normal_(self.lora_a.data.flatten(0, 1), 2**0.5)
        else:
            nn.init.kaiming_uniform_(self.lora_a, a=5**0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (R, N, in) -> (R, N, out)."""
        out = F.linear(tokens, self.weight, self.bias).unflatten(-1, (self.slices, -1))  # (R, N, slices, out / slices)
        read = F.dropout(tokens, self.dropout, self.training)
        low = F.linear(read, self.lora_a.flatten(0, 1)).unflatten(-1, (-1, self.rank))  # (R, N, S, r)
        update = torch.einsum("rnsk,sok->rnso", low, self.lora_b)  # (R, N, S, out / slices)
        update = F.dropout(update, self.update_dropout, self.training)
        return out.index_add(-2, self.which, (self.scale * update).to(out.dtype)).flatten(-2)

    @torch.no_grad()
    def merged_weight(self) -> Tensor:
        """Compute the weight (out, in) of the plain layer that is this one in eval mode."""
        update = self.scale * (self.lora_b @ self.lora_a)  # (S, out / slices, in)
        return self.weight.unflatten(0, (self.slices, -1)).index_add(0, self.which, update).flatten(0, 1)


class LoRA(Network):
    """A network of low-rank updates; `config.adapters` is a `LoRAConfig`."""

    Config = LoRAConfig

    def make_block(self, index: int, drop_path: float) -> Block:
        """Replace the linear layers that are updated."""
        block, settings = super().make_block(index, drop_path), self.config.adapters
        assert isinstance(settings, LoRAConfig)
        if settings.layers is not None and index not in settings.layers:
            return block

        def updated(layer: nn.Linear, slices: int = 1, which: Sequence[int] = (0,)) -> LoRALinear:
            return LoRALinear(
                layer.in_features,
                layer.out_features,
                settings.rank,
                settings.scale,
                settings.dropout,
                slices,
                which,
                init=settings.init,
            )

        attention = [number for number, part in enumerate("qkv") if part in settings.targets]
        if attention:
            block.attn.qkv = updated(block.attn.qkv, 3, attention)
        if "proj" in settings.targets:
            block.attn.proj = updated(block.attn.proj)
        if "fc1" in settings.targets:
            block.mlp.fc1 = updated(block.mlp.fc1)
        if "fc2" in settings.targets:
            block.mlp.fc2 = updated(block.mlp.fc2)
        return block

    def reading(self) -> dict[str, str]:
        """Name the settings that no tensor shows; see `Network.reading`."""
        settings = self.config.adapters
        assert isinstance(settings, LoRAConfig)
        attention = "".join(part for part in "qkv" if part in settings.targets)
        found = {"model.adapters.alpha / rank": str(settings.scale), "model.adapters.targets": attention}
        return super().reading() | found
