"""The foundation ViT: patch embedding, attention, block, candidate elimination (OSTrack, arXiv 2203.11991, section 3).

Names follow timm's vision transformer, from which the pretrained weights descend. A block may carry adapters; without
them it is a plain pre-norm transformer block. Legend: R rows (B, or 2B with two streams), N tokens, C channels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patrack.adapters import ModalityDependentAdapter, ModalityEntangledAdapter, TokenLayout
from patrack.attention import attend

__all__ = ["Attention", "Block", "DropPath", "Mlp", "PatchEmbed", "attention_row", "eliminate_candidates"]


class PatchEmbed(nn.Module):
    """Image (R, 3, H, W) -> tokens (R, H/p * W/p, C), row by row."""

    def __init__(self, patch_size: int = 16, embed_dim: int = 768) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, image: Tensor) -> Tensor:
        return self.proj(image).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention over the template and search tokens of one stream."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim {dim} must be a multiple of num_heads {num_heads}")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    @torch.no_grad()
    def match_by_similarity(self) -> None:
        """Let queries and keys start equal, so that attention starts as similarity (after arXiv 2305.09828)."""
        query, key, _ = self.qkv.weight.chunk(3)
        key.copy_(query)

    def forward(self, tokens: Tensor, layout: TokenLayout | None = None) -> tuple[Tensor, Tensor | None]:
        """Tokens (R, N, C) -> (R, N, C), and, if their layout is given, the row of `attention_row`."""
        q, k, v = self.qkv(tokens).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (R, heads, N, d) each
        out = attend(q, k, v).transpose(1, 2).flatten(2)  # (R, N, C)
        return self.proj(out), None if layout is None else attention_row(q, k, layout)


def attention_row(q: Tensor, k: Tensor, layout: TokenLayout) -> Tensor:
    """What the template's centre token attends to: (R, heads, N, d) each -> (R, N), mean over heads, sums of 1."""
    center = (layout.template_grid - 1) // 2 * (layout.template_grid + 1)
    logits = (q[:, :, center].unsqueeze(2) @ k.transpose(2, 3)).squeeze(2) * q.shape[-1] ** -0.5
    return logits.float().softmax(dim=2).mean(dim=1)


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))


def cast_once(tokens: Tensor) -> Tensor:
    """What autocast makes of `tokens` for a linear layer: done here once for all layers that read them."""
    device = tokens.device.type
    if tokens.dtype == torch.float32 and torch.is_autocast_enabled(device):
        return tokens.to(torch.get_autocast_dtype(device))
    return tokens


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): in training, rows of a residual branch are left out at random.

    Args:
        rate: probability that a row is left out; the rows that stay are scaled by 1 / (1 - rate).
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= rate <= 1.0:
            raise ValueError(f"rate must lie in [0, 1], got {rate}")
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """(R, N, C) -> (R, N, C)."""
        if self.rate == 0.0 or not self.training:
            return branch
        keep = 1.0 - self.rate
        mask = branch.new_empty(branch.shape[0], 1, 1).bernoulli_(keep)  # (R, 1, 1)
        return branch * (mask.div_(keep) if keep > 0.0 else mask)


def eliminate_candidates(
    tokens: Tensor, row: Tensor, layout: TokenLayout, keep_ratio: float
) -> tuple[Tensor, TokenLayout]:
    """Drop the search tokens that the template's centre attends to least (OSTrack, section 3.2).

    Both streams drop the same positions, chosen by the sum of their attention, so that they stay aligned.

    Args:
        tokens: (R, N, C), template first; R is B or, with two streams, 2B.
        row: (R, N) attention of the centre template token.
        layout: which search tokens the input holds.
        keep_ratio: share to keep, in (0, 1]; the number is rounded up.

    Returns:
        The shorter tokens (R, N', C) and their layout.
    """
    count = math.ceil(keep_ratio * layout.num_search)
    if count == layout.num_search:
        return tokens, layout
    score = row[:, layout.num_template :].unflatten(0, (layout.streams, -1)).sum(0)  # (B, n)
    best = score.topk(count, dim=1).indices.sort(dim=1).values
    template, search = layout.split(tokens)
    index = best.repeat(layout.streams, 1).unsqueeze(2).expand(-1, -1, tokens.shape[2])
    kept = best if layout.kept is None else layout.kept.gather(1, best)
    shorter = torch.cat((template, search.gather(1, index)), dim=1)
    return shorter, TokenLayout(layout.template_grid, layout.search_grid, layout.streams, kept)


class Block(nn.Module):
    """A pre-norm transformer block for one or two streams, with room for adapters beside both halves.

    Args:
        dim: channels C.
        num_heads: attention heads.
        mlp_ratio: hidden width of the MLP over C.
        drop_path: probability of stochastic depth, per row and branch.
        mda: two modality-dependent adapters (attention half, MLP half), or None.
        cea: two modality-entangled adapters, or None.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        mda: tuple[ModalityDependentAdapter, ModalityDependentAdapter] | None = None,
        cea: tuple[ModalityEntangledAdapter, ModalityEntangledAdapter] | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)
        self.mda1, self.mda2 = mda or (None, None)
        self.cea1, self.cea2 = cea or (None, None)
        self.cea_norm1 = nn.LayerNorm(dim, eps=1e-6) if cea else None
        self.cea_norm2 = nn.LayerNorm(dim, eps=1e-6) if cea else None

    def forward(self, tokens: Tensor, layout: TokenLayout, keep_ratio: float = 1.0) -> tuple[Tensor, TokenLayout]:
        """Tokens (R, N, C) -> tokens (R, N', C) and their layout; N' < N where candidates are eliminated."""
        normed = cast_once(self.norm1(tokens))
        attended, row = self.attn(normed, layout if keep_ratio < 1.0 else None)
        half = tokens + self.drop_path(attended)
        half = self._adapt(half, tokens, normed, layout, (self.mda1, self.cea1, self.cea_norm1, self.norm1))
        if row is not None:
            half, layout = eliminate_candidates(half, row, layout, keep_ratio)
        normed = cast_once(self.norm2(half))
        out = half + self.drop_path(self.mlp(normed))
        out = self._adapt(out, half, normed, layout, (self.mda2, self.cea2, self.cea_norm2, self.norm2))
        return out, layout

    def _adapt(self, out: Tensor, tokens: Tensor, normed: Tensor, layout: TokenLayout, parts: tuple) -> Tensor:
        """Add what the adapters make of one half's input, `tokens` and `normed` (2B, N, C), to its output `out`.

        Both streams read the values from before that half, so the order of the updates doesn't matter.
        """
        mda, cea, cea_norm, norm = parts
        if mda is not None:
            out = out + self.drop_path(mda.exchange(normed, layout))
        if cea is not None:
            entangled = norm(cea(cea_norm(tokens), layout))
            out = out + self.drop_path(entangled if cea.gate is None else entangled * cea.gate)
        return out
