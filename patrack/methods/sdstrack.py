"""SDSTrack: symmetric adapters, attention across the streams, self-distillation (arXiv 2403.16002, CVPR 2024).

X goes through the frozen blocks with adapters S behind attention (with a skip) and M beside the MLP, RGB without; both
with a patch embedding of their own, and each eliminates candidates of its own:

    X = X + DP(S(Att(LN1 X)))          X = X + DP(MLP(LN2 X) + 0.5 M(LN2 X))

Behind some blocks both streams go through the same block once more, with adapters S', M' of its own, where a token of
one stream attends to those of the other one only. At the end the mean of both is normalized, by a norm that trains.

In training a second, masked copy of the batch goes along: MASKED of RGB's tokens are zero, and MASKED of X's where
RGB's is there, each drawn independently. The loss is 0.6 full + 0.2 masked + 0.1 distance of the two copies' tokens.
10,060,032 weights train at ViT-B; the release trains 4,733,952 more, which reach no output.
Legend: B samples, R rows (2B, RGB first), N tokens, C channels, D hidden channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from patrack.config.schema import MethodConfig, ModelConfig, Positive
from patrack.network import Network
from patrack.vit import Block, PatchEmbed, TokenLayout, attend, cast_once, eliminate_candidates

__all__ = ["SDSBlock", "SDSTrack"]

MASKED = 0.3
FULL_WEIGHT, MASKED_WEIGHT, DISTANCE_WEIGHT = 0.6, 0.2, 0.1
BESIDE_MLP = 0.5
NORM_RATE = 0.1


class SDSConfig(MethodConfig):
    """Adapters and where the streams meet (section 3)."""

    hidden_dim: Positive | None = Field(None, description="width of the adapters; null: a quarter of model.embed_dim")
    fusion_layers: list[int] = Field([3, 6, 9, 11], description="blocks behind which the streams meet, from 0")
    distill: bool = Field(True, description="train with the masked copy: twice the time")

    def mistakes(self, model: ModelConfig) -> list[tuple[str, object, str]]:
        """Find settings that don't go with the sizes of the network; see `MethodConfig.mistakes`."""
        return model.wrong_layers("adapters.fusion_layers", self.fusion_layers)


class Bottleneck(nn.Module):
    """Two linear layers with a GELU between them, C -> D -> C."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.down = nn.Linear(dim, hidden_dim)
        self.up = nn.Linear(hidden_dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (..., C) -> (..., C)."""
        return self.up(F.gelu(self.down(tokens)))


class SDSBlock(Block):
    """A frozen block with X's adapters, and with those of both streams if they meet behind it.

    Args:
        dim, num_heads, mlp_ratio, drop_path: see `Block`.
        hidden_dim: width D.
        meets: whether the streams meet behind it.
    """

    def __init__(
        self, dim: int, num_heads: int, mlp_ratio: float, drop_path: float, hidden_dim: int, meets: bool
    ) -> None:
        super().__init__(dim, num_heads, mlp_ratio, drop_path)
        self.x_attention, self.x_mlp = Bottleneck(dim, hidden_dim), Bottleneck(dim, hidden_dim)
        self.both_attention = Bottleneck(dim, hidden_dim) if meets else None
        self.both_mlp = Bottleneck(dim, hidden_dim) if meets else None

    def forward(self, tokens: Tensor, layout: TokenLayout, keep_ratio: float = 1.0) -> tuple[Tensor, TokenLayout]:
        """Tokens (2B, N, C) -> (2B, N', C) and their layout, which treats every row as a sample of its own."""
        attended, row = self.attn(cast_once(self.norm1(tokens)), layout, with_row=keep_ratio < 1.0)
        rgb, x = attended.chunk(2)
        tokens = tokens + self.drop_path(torch.cat((rgb, x + self.x_attention(x))))
        if row is not None:
            tokens, layout = eliminate_candidates(tokens, row, layout, keep_ratio)
        normed = cast_once(self.norm2(tokens))
        rgb, x = self.mlp(normed).chunk(2)
        x = self.drop_path(x + BESIDE_MLP * self.x_mlp(normed.chunk(2)[1]))  # no stochastic depth in RGB's
        tokens = tokens + torch.cat((rgb, x))
        return (tokens if self.both_attention is None else self.meet(tokens)), layout

    def meet(self, tokens: Tensor) -> Tensor:
        """Let each stream attend to the other one: (2B, N, C) -> (2B, N, C)."""
        assert self.both_attention is not None
        assert self.both_mlp is not None
        half, normed = len(tokens) // 2, cast_once(self.norm1(tokens))
        q, k, v = self.attn.qkv(normed).unflatten(2, (3, self.attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        attended = attend(q, k.roll(half, 0), v.roll(half, 0)).transpose(1, 2).flatten(2)
        attended = self.attn.proj(attended)
        tokens = tokens + self._drop_sample(attended + self.both_attention(attended))
        normed = cast_once(self.norm2(tokens))
        return tokens + self._drop_sample(self.mlp(normed) + BESIDE_MLP * self.both_mlp(normed))

    def _drop_sample(self, branch: Tensor) -> Tensor:
        """Stochastic depth of both streams of a sample at once, (2B, N, C)."""
        together = self.drop_path(torch.cat(branch.chunk(2), dim=1))
        return torch.cat(together.chunk(2, dim=1))


class SDSTrack(Network):
    """A network with symmetric adapters; `config.adapters` is an `SDSConfig`."""

    Config = SDSConfig
    TAKES_TWO_TEMPLATES = False
    PUBLISHED_NAMES = (
        (r"^x_patch_embed\.", "backbone.patch_embed_multimodal."),
        (r"^fusion_norm\.", "backbone.norm."),
        (r"\.x_attention\.", ".Space_X_DTE_Adapter."),
        (r"\.x_mlp\.", ".MLP_X_DTE_Adapter."),
        (r"\.both_attention\.", ".Space_X_X_DTE_Adapter."),
        (r"\.both_mlp\.", ".MLP_X_X_DTE_Adapter."),
        (r"(_Adapter)\.down\.", r"\1.D_fc1."),
        (r"(_Adapter)\.up\.", r"\1.D_fc2."),
    )
    PUBLISHED_MARK = "_X_DTE_Adapter."

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.x_patch_embed = PatchEmbed(config.patch_size, config.embed_dim)
        self.fusion_norm = nn.LayerNorm(config.embed_dim, eps=1e-6)
        self._distance: Tensor | None = None

    @property
    def settings(self) -> SDSConfig:
        """The method's part of the configuration."""
        assert isinstance(self.config.adapters, SDSConfig)
        return self.config.adapters

    def make_block(self, index: int, drop_path: float) -> Block:
        """Make a block with adapters."""
        model, settings = self.config, self.settings
        hidden_dim, meets = settings.hidden_dim or model.embed_dim // 4, index in settings.fusion_layers
        return SDSBlock(model.embed_dim, model.num_heads, model.mlp_ratio, drop_path, hidden_dim, meets)

    def starts_as(self) -> dict[str, str]:
        """Start X's patch embedding as RGB's, and the norm that trains as the one that doesn't."""
        layers = {"x_patch_embed.proj": "backbone.patch_embed.proj", "fusion_norm": "backbone.norm"}
        return {f"{ours}.{part}": f"{base}.{part}" for ours, base in layers.items() for part in ("weight", "bias")}

    def rate_of(self, name: str) -> float:
        """Train the last norm slower; see `Network.rate_of`."""
        return NORM_RATE if name.startswith("fusion_norm.") else 1.0

    def reading(self) -> dict[str, str]:
        """Name the settings that no tensor shows; see `Network.reading`."""
        return super().reading() | {"model.adapters.fusion_layers": str(sorted(self.settings.fusion_layers))}

    def unused_published(self) -> list[str]:
        """Name the adapters of blocks behind which the streams don't meet, which the release builds all the same."""
        without = [str(i) for i in range(self.config.depth) if i not in self.settings.fusion_layers]
        return [rf"backbone\.blocks\.({'|'.join(without)})\.(Space|MLP)_X_X_DTE_Adapter\..*"] if without else []

    def encode(self, template: Tensor, search: Tensor, modality: Tensor | None) -> tuple[Tensor, TokenLayout]:
        """Take both streams through the blocks; in training with distillation, 2B samples: those given, then masked.

        See `Network.encode`.
        """
        backbone, distilled = self.backbone, self.training and self.settings.distill
        (rgb_z, x_z), (rgb_x, x_x) = template.chunk(2), search.chunk(2)
        rgb = torch.cat((backbone.patch_embed(rgb_z), backbone.patch_embed(rgb_x)), dim=1)
        x = torch.cat((self.x_patch_embed(x_z), self.x_patch_embed(x_x)), dim=1)
        if distilled:
            there = rgb.new_empty(*rgb.shape[:2], 1)
            keeps_rgb, keeps_x = (torch.empty_like(there).bernoulli_(1.0 - MASKED) for _ in range(2))
            keeps_x = torch.where(keeps_rgb > 0, keeps_x, 1.0)
            rgb, x = torch.cat((rgb, rgb * keeps_rgb)), torch.cat((x, x * keeps_x))
        tokens = torch.cat((rgb, x)) + torch.cat((backbone.pos_embed_z, backbone.pos_embed_x), dim=1)

        # every row is a sample of its own, since each stream eliminates its own candidates
        rows = None if modality is None else modality.repeat(len(tokens) // len(modality))
        layout = TokenLayout(backbone.template_grid, self.search_grid, 1, modality=rows)
        distances = []
        for i, block in enumerate(backbone.blocks):
            tokens, layout = block(tokens, layout, self.keep_ratio_at(i))
            if distilled and i in self.settings.fusion_layers:
                full, masked = layout.to_full(tokens).unflatten(0, (2, 2, -1)).unbind(1)
                distances.append(F.mse_loss(full, masked))
        self._distance = torch.stack(distances).sum() if distances else None
        return tokens, layout

    def join(self, tokens: Tensor, layout: TokenLayout) -> Tensor:
        """Fuse the streams on the full grids, then normalize; see `Network.join`."""
        return self.fusion_norm(self.fuse(layout.to_full(tokens), self.layout()))

    def extra_loss(self) -> Tensor | None:
        """Return the distance of full and masked tokens, in units of the full copy's loss."""
        return None if self._distance is None else DISTANCE_WEIGHT / FULL_WEIGHT * self._distance

    def forward(
        self, template: Tensor, search: Tensor, return_features: bool = False, modality: Tensor | None = None
    ) -> dict[str, Any]:
        """Find the target; in training with distillation the output has the masked copy's under `masked`."""
        output: dict[str, Any] = super().forward(template, search, return_features, modality)
        count = len(search)
        if len(output["score_map"]) == count:
            return output
        halves = {name: tuple(value.split(count)) for name, value in output.items() if name != "extra_loss"}
        whole = {name: full for name, (full, _) in halves.items()} | {"extra_loss": output["extra_loss"]}
        return whole | {"masked": {name: masked for name, (_, masked) in halves.items()}}

    def training_loss(
        self, output: dict[str, Any], loss: Callable[[dict[str, Any]], tuple[Tensor, dict[str, Tensor]]]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Weigh the losses of both copies and their distance; the terms are those of the full one."""
        total, terms = loss(output)
        if "masked" not in output:
            return total, terms
        return FULL_WEIGHT * total + MASKED_WEIGHT * loss(output["masked"])[0], terms
