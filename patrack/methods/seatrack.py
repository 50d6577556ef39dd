"""SEATrack: streams that guide each other's attention, and low-rank experts that mix them (CVPR 2026).

Three parts in every second block of the frozen ViT; the other blocks stay plain:

- LoRA on keys and values, one update for both streams (`patrack.methods.lora`);
- AMG, attention map guidance: with the logits L_R, L_X of the two streams,

      L_R' = L_R + w_R (L_X - L_R)        L_X' = L_X + w_X (L_R - L_X)

  and each stream's own values. w starts at 1: at step 0 the streams attend with each other's maps;
- HMoE, a soft mixture of low-rank experts over the tokens of both streams, behind attention and behind the MLP:

      T = T + DP(Att(LN1 T))    T = T + DP(HMoE(T))    T = T + DP(MLP(LN2 T))    T = T + DP(HMoE(T))

With the defaults, 636,324 weights train at ViT-B. The release runs without candidate elimination only. Here it may be
switched on: both streams keep the same tokens, so that their logits stay comparable, and those are chosen by the guided
maps, behind the experts of the attention half.
Legend: B samples, R rows (2B, RGB first), N tokens, C channels, E experts, S slots of an expert and parts of a token,
D hidden channels.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from patrack.config.schema import Fraction, MethodConfig, ModelConfig, Positive, Section
from patrack.methods.lora import LoRALinear
from patrack.network import Network
from patrack.vit import Attention, Block, TokenLayout, cast_once, eliminate_candidates

__all__ = ["Experts", "GuidedAttention", "LowRank", "SEATrack", "SEATrackBlock", "guided_maps"]

GAIN = 2.0**0.5
"""Of the normal initial values, in Glorot's sense (`torch.nn.init.xavier_normal_`)."""


class UpdateConfig(Section):
    """LoRA on keys and values."""

    enabled: bool = True
    rank: Positive = 8
    dropout: Fraction = Field(0.1, description="on the update")


class GuidanceConfig(Section):
    """Attention map guidance (AMG)."""

    enabled: bool = True
    start: float = Field(1.0, description="w at step 0: 0 is a stream's own map, 1 the other stream's")


class ExpertsConfig(Section):
    """Mixtures of experts (HMoE)."""

    enabled: bool = True
    attention: Positive = Field(4, description="experts behind attention")
    mlp: Positive = Field(8, description="experts behind the MLP")
    slots: Positive = Field(2, description="inputs of an expert, and parts that a token is cut into")
    hidden_dim: Positive = Field(4, description="width of the experts and of the projections around them")
    dropout: Fraction = Field(0.1, description="behind both layers of a projection")


class SEATrackConfig(MethodConfig):
    """The three parts, each of which may be left out, and where they go."""

    layers: list[int] | None = Field(None, description="block numbers, from 0; null: every second one, from 1")
    lora: UpdateConfig = UpdateConfig()
    guidance: GuidanceConfig = GuidanceConfig()
    experts: ExpertsConfig = ExpertsConfig()

    def mistakes(self, model: ModelConfig) -> list[tuple[str, object, str]]:
        """Find settings that don't go with the sizes of the network; see `MethodConfig.mistakes`."""
        found = model.wrong_layers("adapters.layers", self.layers or [])
        if self.layers is None and model.depth == 1:
            found.append(("adapters.layers", None, "must name the blocks: model.depth is 1, there is no second block"))
        if self.experts.enabled and model.embed_dim % self.experts.slots:
            rule = f"must divide model.embed_dim ({model.embed_dim})"
            found.append(("adapters.experts.slots", self.experts.slots, rule))
        return found


class GuidedAttention(Attention):
    """Self-attention of two streams whose maps are led by each other (AMG).

    Args:
        dim, num_heads: see `Attention`.
        start: w of both streams at step 0.
    """

    def __init__(self, dim: int, num_heads: int, start: float = 1.0) -> None:
        super().__init__(dim, num_heads)
        self.start = start
        self.guidance_rgb = nn.Parameter(torch.empty(1))
        self.guidance_x = nn.Parameter(torch.empty(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set w to where it starts."""
        nn.init.constant_(self.guidance_rgb, self.start)
        nn.init.constant_(self.guidance_x, self.start)

    def forward(self, tokens: Tensor, layout: TokenLayout, with_row: bool = False) -> tuple[Tensor, Tensor | None]:
        """Tokens of both streams (2B, N, C) -> (2B, N, C), and the row of the guided maps; see `Attention.forward`."""
        q, k, v = self.qkv(tokens).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (2B, heads, N, d)
        maps = guided_maps(q, k, torch.cat((self.guidance_rgb, self.guidance_x)), layout.key_bias(k))
        out = torch.cat([each.to(v.dtype) @ own for each, own in zip(maps, v.chunk(2), strict=True)])
        row = torch.cat([each[:, :, layout.center].float().mean(dim=1) for each in maps]) if with_row else None
        return self.proj(out.transpose(1, 2).flatten(2)), row


def guided_maps(q: Tensor, k: Tensor, guidance: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Compute the attention maps of two streams that guide each other (AMG).

    Plain products: no fused kernel mixes two maps. (To ask one for the product of [(1 - w) q, w q'] and [k, k'] gives
    the same, costs twice the operations, and takes longer on a CPU.)

    Args:
        q: (2B, heads, N, d).
        k: (2B, heads, M, d).
        guidance: (2,) w of RGB and of X.
        bias: (M,), one number per key, added to the logits; None: 0.

    Returns:
        Those of RGB and of X, (B, heads, N, M) each, sums of 1.
    """
    rgb, x = ((q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)).chunk(2)  # logits (B, heads, N, M) each
    difference, (to_rgb, to_x) = x - rgb, guidance.to(x.dtype)
    guided_rgb, guided_x = torch.addcmul(rgb, to_rgb, difference), torch.addcmul(x, to_x, difference, value=-1)
    if bias is not None:
        guided_rgb, guided_x = guided_rgb + bias, guided_x + bias
    return guided_rgb.softmax(dim=3), guided_x.softmax(dim=3)


class LowRank(nn.Module):
    """Two linear layers without anything between them, in -> D -> out with out = in; or one such pair per expert.

    Args:
        dim: channels that enter and leave.
        hidden_dim: D.
        dropout: probability, behind each layer.
        experts: number of pairs; None: a single one.
    """

    def __init__(self, dim: int, hidden_dim: int, dropout: float = 0.0, experts: int | None = None) -> None:
        super().__init__()
        pairs = () if experts is None else (experts,)
        self.down = nn.Parameter(torch.empty(*pairs, dim, hidden_dim))
        self.down_bias = nn.Parameter(torch.empty(*pairs, hidden_dim))
        self.up = nn.Parameter(torch.empty(*pairs, hidden_dim, dim))
        self.up_bias = nn.Parameter(torch.empty(*pairs, dim))
        self.dropout = nn.Dropout(dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initial values of the release: Glorot's over the whole tensor; small uniform biases of a single pair."""
        for weight in (self.down, self.up):
            nn.init.xavier_normal_(weight, GAIN)
        for bias in (self.down_bias, self.up_bias):
            if bias.ndim == 1:
                bound = self.up.shape[-1] ** -0.5
                nn.init.uniform_(bias, -bound, bound)
            else:
                nn.init.xavier_normal_(bias, GAIN)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., N, in), with several pairs (..., E, N, in) -> the same shape."""
        hidden = self.dropout(tokens @ self.down + self.down_bias.unsqueeze(-2))
        return self.dropout(hidden @ self.up + self.up_bias.unsqueeze(-2))


class Experts(nn.Module):
    """A soft mixture of low-rank experts that all tokens of both streams share (HMoE).

    Every token is cut into S parts. Each of an expert's S slots reads a mean of all parts, weighed by a softmax over
    the parts; every token gets a mean of what the experts return, weighed by a softmax over the experts. Template and
    search are handled apart with the same weights.

    Args:
        dim: token channels C, a multiple of `slots`.
        count: experts E.
        slots: S.
        hidden_dim: D of the experts and of the two projections around them.
        dropout: of the projections.
    """

    def __init__(self, dim: int, count: int, slots: int = 2, hidden_dim: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        if dim % slots:
            raise ValueError(f"slots must divide dim ({dim}), got {slots}")
        self.count, self.slots = count, slots
        self.norm = nn.LayerNorm(dim, eps=1e-5)
        self.reduce = LowRank(dim, hidden_dim, dropout)
        self.gate = nn.Parameter(torch.empty(dim // slots, count * slots))
        self.experts = LowRank(dim // slots, hidden_dim, experts=count)
        self.expand = LowRank(dim, hidden_dim, dropout)
        self.dispatch_temperature = nn.Parameter(torch.ones(1))
        self.combine_temperature = nn.Parameter(torch.ones(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initial values of the release; not neutral."""
        self.norm.reset_parameters()
        for layer in (self.reduce, self.experts, self.expand):
            layer.reset_parameters()
        nn.init.normal_(self.gate, std=len(self.gate) ** -0.5)
        nn.init.ones_(self.dispatch_temperature)
        nn.init.ones_(self.combine_temperature)

    def forward(self, tokens: Tensor, layout: TokenLayout) -> Tensor:
        """Tokens of both streams (2B, N, C) -> what is added to them (2B, N, C)."""
        reduced = self.reduce(self.norm(tokens))
        return torch.cat([self._mix(part) for part in layout.split(reduced) if part.shape[1]], dim=1)

    def _mix(self, tokens: Tensor) -> Tensor:
        """Template or search tokens of both streams, normalized and reduced (2B, n, C) -> (2B, n, C)."""
        tokens = torch.cat(tokens.chunk(2), dim=1)  # (B, 2n, C)
        parts = tokens.unflatten(2, (self.slots, -1)).flatten(1, 2)  # (B, 2nS, C/S)
        logits = parts @ self.gate  # (B, 2nS, ES)
        dispatch = (logits / self.dispatch_temperature).softmax(dim=1)
        inputs = (dispatch.transpose(1, 2) @ parts).unflatten(1, (self.count, self.slots))  # (B, E, S, C/S)
        outputs = self.expand(self.experts(inputs).flatten(2))  # (B, E, C)
        affinity = logits.unflatten(1, (-1, self.slots)).unflatten(3, (self.count, self.slots)).sum((2, 4))
        combine = (affinity / self.combine_temperature).softmax(dim=2)  # (B, 2n, E)
        return torch.cat((combine @ outputs).chunk(2, dim=1))


class SEATrackBlock(Block):
    """A block whose streams meet in its attention maps and in experts behind both halves.

    Args:
        dim, num_heads, mlp_ratio, drop_path: see `Block`.
        guidance: start of AMG's w; None: each stream attends with its own map.
        experts: mixtures behind attention and behind the MLP, or None.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        guidance: float | None = None,
        experts: tuple[Experts, Experts] | None = None,
    ) -> None:
        super().__init__(dim, num_heads, mlp_ratio, drop_path)
        if guidance is not None:
            self.attn = GuidedAttention(dim, num_heads, guidance)
        self.attn_experts: Experts | None
        self.mlp_experts: Experts | None
        self.attn_experts, self.mlp_experts = experts or (None, None)

    def forward(self, tokens: Tensor, layout: TokenLayout, keep_ratio: float = 1.0) -> tuple[Tensor, TokenLayout]:
        """Tokens of both streams (2B, N, C) -> tokens (2B, N', C) and their layout; see `Block.forward`."""
        attended, row = self.attn(cast_once(self.norm1(tokens)), layout, with_row=keep_ratio < 1.0)
        tokens = tokens + self.drop_path(attended)
        if self.attn_experts is not None:
            tokens = tokens + self.drop_path(self.attn_experts(tokens, layout))
        if row is not None:
            tokens, layout = eliminate_candidates(tokens, row, layout, keep_ratio)
        tokens = tokens + self.drop_path(self.mlp(cast_once(self.norm2(tokens))))
        if self.mlp_experts is not None:
            tokens = tokens + self.drop_path(self.mlp_experts(tokens, layout))
        return tokens, layout


class SEATrack(Network):
    """A network whose streams guide each other; `config.adapters` is a `SEATrackConfig`."""

    Config = SEATrackConfig

    PUBLISHED_NAMES: ClassVar[tuple[tuple[str, str], ...]] = (
        (r"\.attn\.guidance_rgb$", ".dte2r_scaling"),
        (r"\.attn\.guidance_x$", ".r2dte_scaling"),
        (r"\.attn\.qkv\.lora_a$", ".attn.qkv.lora_A"),
        (r"\.attn\.qkv\.lora_b$", ".attn.qkv.lora_B"),
        (r"\.attn_experts\.", ".attn_moe."),
        (r"\.mlp_experts\.", ".ffn_moe."),
        (r"_moe\.reduce\.", "_moe.linear1."),
        (r"_moe\.expand\.", "_moe.linear2."),
        (r"(_moe\.\w+)\.down$", r"\1.lora_a"),
        (r"(_moe\.\w+)\.up$", r"\1.lora_b"),
        (r"(_moe\.\w+)\.down_bias$", r"\1.bias_a"),
        (r"(_moe\.\w+)\.up_bias$", r"\1.bias_b"),
        (r"_moe\.gate$", "_moe.gate_thi"),
        (r"_moe\.dispatch_temperature$", "_moe.D_temp"),
        (r"_moe\.combine_temperature$", "_moe.C_temp"),
    )
    PUBLISHED_MARK = ".attn_moe."
    """Regular expressions and replacements that turn our tensors' names into the release's, one after the other."""

    def make_block(self, index: int, drop_path: float) -> Block:
        """Give a block the three parts, if its number is among the layers."""
        model, settings = self.config, self.config.adapters
        assert isinstance(settings, SEATrackConfig)
        if index not in (range(1, model.depth, 2) if settings.layers is None else settings.layers):
            return super().make_block(index, drop_path)
        dim, lora, mixture = model.embed_dim, settings.lora, settings.experts
        experts = None
        if mixture.enabled:
            shape = (mixture.slots, mixture.hidden_dim, mixture.dropout)
            experts = Experts(dim, mixture.attention, *shape), Experts(dim, mixture.mlp, *shape)
        guidance = settings.guidance.start if settings.guidance.enabled else None
        block = SEATrackBlock(dim, model.num_heads, model.mlp_ratio, drop_path, guidance, experts)
        if lora.enabled:
            block.attn.qkv = LoRALinear(
                dim, 3 * dim, lora.rank, slices=3, updated=(1, 2), update_dropout=lora.dropout, init="glorot"
            )
        return block
