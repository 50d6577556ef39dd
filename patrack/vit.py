"""A plain ViT for tracking: tokens, attention, block, candidate elimination (OSTrack, arXiv 2203.11991, section 3).

Names follow timm's vision transformer, from which the pretrained weights descend. No method is known here: what a
method adds to a block is said in `Block.beside`. Legend: B samples, R rows (B, or 2B with two streams, RGB first),
N tokens (Nz of the template or of both of them, then n of the search image), C channels.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "Attention",
    "Block",
    "DropPath",
    "Mlp",
    "PatchEmbed",
    "TokenLayout",
    "attend",
    "attention_row",
    "cast_once",
    "eliminate_candidates",
]


class TokenLayout:
    """Says where the tokens of a sequence come from, and of which sensor.

    Args:
        template_grid: tokens a side of a template.
        search_grid: search tokens a side.
        streams: 1, or 2 when RGB and X are stacked along the batch.
        kept: (B, n) int64, positions (row-major, ascending) of the search tokens still there; None: all of them.
        modality: (B,) int64, number of each sample's X modality, for methods that treat them apart; None: not known.
        templates: grids of template tokens, one after the other: that of the first frame, then an online one.
    """

    __slots__ = ("kept", "modality", "search_grid", "streams", "template_grid", "templates")

    def __init__(
        self,
        template_grid: int,
        search_grid: int,
        streams: int = 2,
        kept: Tensor | None = None,
        modality: Tensor | None = None,
        templates: int = 1,
    ) -> None:
        self.template_grid, self.search_grid, self.streams = template_grid, search_grid, streams
        self.kept, self.modality, self.templates = kept, modality, templates

    @property
    def num_template(self) -> int:
        """Number Nz of tokens of all templates."""
        return self.templates * self.template_grid**2

    @property
    def full_counts(self) -> tuple[int, int]:
        """Numbers of tokens on the full grids, Nz and Nx."""
        return self.num_template, self.search_grid**2

    @property
    def center(self) -> int:
        """Number of the template's center token, which decides what is eliminated."""
        return (self.template_grid - 1) // 2 * (self.template_grid + 1)

    @property
    def num_search(self) -> int:
        """Number n of search tokens that are still there."""
        return self.search_grid**2 if self.kept is None else self.kept.shape[1]

    def keeping(self, kept: Tensor) -> TokenLayout:
        """Return the layout with fewer search tokens; `kept` (B, n') as in the constructor."""
        return TokenLayout(self.template_grid, self.search_grid, self.streams, kept, self.modality, self.templates)

    def of_samples(self, samples: Tensor) -> TokenLayout:
        """Return the layout of some of the samples; their numbers (b,) int64."""
        part = copy.copy(self)
        part.kept, part.modality = (None if item is None else item[samples] for item in (self.kept, self.modality))
        return part

    def split(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Split tokens (R, N, C) into template (R, Nz, C) and search (R, n, C)."""
        template, search = tokens.split((self.num_template, tokens.shape[1] - self.num_template), dim=1)
        return template, search

    def split_grids(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Split tokens (R, N, C) into those of each template (R, g*g, C), and the search tokens (R, n, C) last."""
        cells = self.template_grid**2
        return tokens.split([cells] * self.templates + [tokens.shape[1] - self.num_template], dim=1)

    def key_bias(self, tokens: Tensor) -> Tensor | None:
        """Return what is added to the logits of each key, (N,) in the type of tokens (..., N, C); None: nothing.

        Two templates share the attention that one would get: each of their keys counts half, by the logarithm. So two
        equal templates are one to the rest of the network, which thus needs no new weights for the second.
        """
        if self.templates == 1:
            return None
        bias = tokens.new_zeros(tokens.shape[-2])
        bias[: self.num_template] = -math.log(self.templates)
        return bias

    def to_full_search(self, search: Tensor) -> Tensor:
        """Put search tokens (R, n, C) on the full grid (R, Nx, C), zeros where tokens were eliminated."""
        if self.kept is None:
            return search
        full = search.new_zeros(search.shape[0], self.search_grid**2, search.shape[2])
        return full.scatter(1, self._index(self.kept, search), search)

    def to_full(self, tokens: Tensor) -> Tensor:
        """Put tokens (R, Nz+n, C) on the full grids (R, Nz+Nx, C); see `to_full_search`."""
        if self.kept is None:
            return tokens
        template, search = self.split(tokens)
        return torch.cat((template, self.to_full_search(search)), dim=1)

    def to_kept(self, tokens: Tensor) -> Tensor:
        """Take the tokens that are still there (R, Nz+n, C) from the full grids (R, Nz+Nx, C)."""
        if self.kept is None:
            return tokens
        template, search = self.split(tokens)
        return torch.cat((template, self.to_kept_search(search)), dim=1)

    def to_kept_search(self, full: Tensor) -> Tensor:
        """Take the kept search tokens (R, n, C) from the full grid (R, Nx, C)."""
        return full if self.kept is None else full.gather(1, self._index(self.kept, full))

    def _index(self, kept: Tensor, tokens: Tensor) -> Tensor:
        return kept.repeat(self.streams, 1).unsqueeze(2).expand(-1, -1, tokens.shape[2])


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None, bias: Tensor | None = None) -> Tensor:
    """Compute softmax(scale * q k^T + bias) v, in the form that is fast on each device.

    Args:
        q: (B, N, D) or (B, heads, N, D).
        k: (B, M, D) or (B, heads, M, D).
        v: as k.
        scale: factor on the logits; None: 1 / sqrt(D).
        bias: (M,), one number per key; None: 0.

    Returns:
        The shape of q.
    """
    if q.ndim == 3:  # the fused kernels of a GPU want heads
        return attend(q.unsqueeze(1), k.unsqueeze(1), v.unsqueeze(1), scale, bias).squeeze(1)
    mask = None if bias is None else bias.expand(q.shape[-2], -1)
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and torch.is_grad_enabled():
        # PyTorch's bf16 backward of fused attention is several times slower than the fp32 one on a CPU
        with torch.autocast("cpu", enabled=False):
            mask = None if mask is None else mask.float()
            return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), mask, scale=scale).to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, mask, scale=scale)


class PatchEmbed(nn.Module):
    """Turn an image (R, 3, H, W) into tokens (R, H/p * W/p, C), row by row."""

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

    def forward(self, tokens: Tensor, layout: TokenLayout, with_row: bool = False) -> tuple[Tensor, Tensor | None]:
        """Tokens (R, N, C) and their layout -> (R, N, C), and, if it is asked for, the row of `attention_row`."""
        q, k, v = self.qkv(tokens).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (R, heads, N, d) each
        out = attend(q, k, v, bias=layout.key_bias(q)).transpose(1, 2).flatten(2)  # (R, N, C)
        return self.proj(out), attention_row(q, k, layout) if with_row else None


def attention_row(q: Tensor, k: Tensor, layout: TokenLayout) -> Tensor:
    """Attention of the center token of the first template: q and k (R, heads, N, d) -> (R, N), mean over heads."""
    logits = (q[:, :, layout.center].unsqueeze(2) @ k.transpose(2, 3)).squeeze(2) * q.shape[-1] ** -0.5
    bias = layout.key_bias(k)
    if bias is not None:
        logits = logits + bias
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
    """Cast tokens as autocast would for a linear layer: once, for all layers that read them."""
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
    """Drop the search tokens that the template's center attends to least (OSTrack, section 3.2).

    Both streams drop the same positions, chosen by the sum of their attention, so that they stay aligned.

    Args:
        tokens: (R, N, C), template first; R is B or, with two streams, 2B.
        row: (R, N) attention of the center template token.
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
    return torch.cat((template, search.gather(1, index)), dim=1), layout.keeping(kept)


class Block(nn.Module):
    """A pre-norm transformer block for one or two streams.

    A method extends it in two ways: it overrides `beside`, or it replaces a linear layer (`attn.qkv`, `mlp.fc1`, ...)
    by one of its own.

    Args:
        dim: channels C.
        num_heads: attention heads.
        mlp_ratio: hidden width of the MLP over C.
        drop_path: probability of stochastic depth, per row and branch.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def beside(self, half: int, tokens: Tensor, normed: Tensor, layout: TokenLayout) -> Iterable[Tensor]:
        """Compute the branches (R, N, C) that a method adds beside one half of the block; here: none.

        Args:
            half: 1 for attention, 2 for the MLP.
            tokens: that half's input (R, N, C), both streams as they were before it.
            normed: the same behind `norm1` or `norm2`.
            layout: of these tokens.
        """
        return ()

    def forward(self, tokens: Tensor, layout: TokenLayout, keep_ratio: float = 1.0) -> tuple[Tensor, TokenLayout]:
        """Tokens (R, N, C) -> tokens (R, N', C) and their layout; N' < N where candidates are eliminated."""
        normed = cast_once(self.norm1(tokens))
        attended, row = self.attn(normed, layout, with_row=keep_ratio < 1.0)
        out = tokens + self.drop_path(attended)
        for branch in self.beside(1, tokens, normed, layout):
            out = out + self.drop_path(branch)
        if row is not None:
            out, layout = eliminate_candidates(out, row, layout, keep_ratio)

        tokens, normed = out, cast_once(self.norm2(out))
        out = tokens + self.drop_path(self.mlp(normed))
        for branch in self.beside(2, tokens, normed, layout):
            out = out + self.drop_path(branch)
        return out, layout
