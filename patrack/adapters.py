"""The adapter families of PATrack (arXiv 2603.21100, section 3).

The only weights that train beside a frozen foundation. Legend: B batch, N tokens, C channels, D hidden channels.
Tokens of both streams travel as one batch of 2B rows, RGB first; template tokens stand before search tokens.

Two readings of the paper exist. `form="published"` repeats the released weights' function (commit c64ec4c),
`form="paper"` follows the paper's text. A neutral start gives every family zero effect on the foundation at step 0.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patrack.attention import attend

__all__ = [
    "Adapter",
    "Form",
    "FusionGate",
    "ModalityDependentAdapter",
    "ModalityEntangledAdapter",
    "TaskAdapter",
    "TokenLayout",
]

Form = Literal["published", "paper"]


class Adapter(nn.Module):
    """Marks a module whose parameters train; everything outside an `Adapter` belongs to the frozen foundation."""


class TokenLayout:
    """Where the tokens of one sequence come from.

    Args:
        template_grid: template tokens a side.
        search_grid: search tokens a side.
        streams: 1, or 2 when RGB and X are stacked along the batch.
        kept: (B, n) int64, positions (row-major, ascending) of the search tokens still there; None: all of them.
    """

    __slots__ = ("kept", "search_grid", "streams", "template_grid")

    def __init__(self, template_grid: int, search_grid: int, streams: int = 2, kept: Tensor | None = None) -> None:
        self.template_grid, self.search_grid, self.streams, self.kept = template_grid, search_grid, streams, kept

    @property
    def num_template(self) -> int:
        return self.template_grid**2

    @property
    def num_search(self) -> int:
        return self.search_grid**2 if self.kept is None else self.kept.shape[1]

    def split(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (R, N, C), R = B or 2B -> template (R, Nz, C) and search (R, n, C)."""
        return tokens.split((self.num_template, tokens.shape[1] - self.num_template), dim=1)

    def to_full_search(self, search: Tensor) -> Tensor:
        """Search tokens (R, n, C) -> (R, Nx, C) with zeros where tokens were eliminated."""
        if self.kept is None:
            return search
        index = self._index(search)
        full = search.new_zeros(search.shape[0], self.search_grid**2, search.shape[2])
        return full.scatter(1, index, search)

    def to_kept_search(self, full: Tensor) -> Tensor:
        """Full search tokens (R, Nx, C) -> the kept ones (R, n, C)."""
        return full if self.kept is None else full.gather(1, self._index(full))

    def _index(self, tokens: Tensor) -> Tensor:
        return self.kept.repeat(self.streams, 1).unsqueeze(2).expand(-1, -1, tokens.shape[2])


class ModalityDependentAdapter(Adapter):
    """Splits features into a high- and a low-frequency part (MDA; paper, section 3.2).

    A bottleneck whose channels take three ways: depthwise convolution and max-pooling (high frequency), average
    pooling (low frequency). Template and search are handled apart with the same weights.

    Args:
        dim: token channels C.
        hidden_dim: bottleneck width D, a multiple of 4.
        form: "published" gives each stream's output to the other stream, "paper" back to its own.
    """

    def __init__(self, dim: int, hidden_dim: int = 8, form: Form = "published") -> None:
        super().__init__()
        if hidden_dim % 4:
            raise ValueError(f"hidden_dim must be a multiple of 4, got {hidden_dim}")
        self.form = form
        quarter, half = hidden_dim // 4, hidden_dim // 2
        fused = 2 * half + half
        self.widths = (quarter, quarter, half)
        self.reduce = nn.Linear(dim, hidden_dim)
        self.high_expand = nn.Conv2d(quarter, half, 1, bias=False)
        self.high_depthwise = nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False)
        self.high_pool = nn.Conv2d(quarter, half, 1)
        self.fuse_depthwise = nn.Conv2d(fused, fused, 3, padding=1, groups=fused, bias=False)
        self.expand = nn.Linear(fused, dim)
        self.reset_parameters()

    def reset_parameters(self, neutral: bool = False) -> None:
        """Initial values of the release; neutral: the last layer starts at zero."""
        nn.init.trunc_normal_(self.reduce.weight, std=0.02)
        nn.init.zeros_(self.reduce.bias)
        for conv in (self.high_expand, self.high_depthwise, self.high_pool, self.fuse_depthwise):
            conv.reset_parameters()
        self.expand.reset_parameters()
        if neutral:
            nn.init.zeros_(self.expand.weight)
            nn.init.zeros_(self.expand.bias)

    def forward(self, tokens: Tensor, layout: TokenLayout) -> Tensor:
        """Tokens (R, N, C) -> enhanced tokens of the same rows (R, N, C)."""
        return self.expand(self._mixed(tokens, layout))

    def exchange(self, tokens: Tensor, layout: TokenLayout) -> Tensor:
        """Normalised tokens of both streams (2B, N, C) -> what is added to each of them (2B, N, C)."""
        mixed = self._mixed(tokens, layout)
        if self.form == "published":
            mixed = mixed.roll(len(mixed) // 2, dims=0)  # before `expand`, where rows are narrow
        return self.expand(mixed)

    def _mixed(self, tokens: Tensor, layout: TokenLayout) -> Tensor:
        """Tokens (R, N, C) -> what `expand` reads (R, N, 3D/2)."""
        template, search = layout.split(self.reduce(tokens))  # each (R, n, D)
        template = self._mix(template, layout.template_grid)
        search = layout.to_kept_search(self._mix(layout.to_full_search(search), layout.search_grid))
        return torch.cat((template, search), dim=1)

    def _mix(self, tokens: Tensor, grid: int) -> Tensor:
        """Bottleneck tokens (R, g*g, D) -> high and low parts side by side (R, g*g, 3D/2)."""
        p = tokens.unflatten(1, (grid, grid)).permute(0, 3, 1, 2)  # (R, D, g, g)
        high_conv, high_pool, low = p.split(self.widths, dim=1)
        high_conv = F.gelu(self.high_depthwise(self.high_expand(high_conv)))
        high_pool = F.gelu(self.high_pool(F.max_pool2d(high_pool, 3, stride=1, padding=1)))
        low = F.interpolate(F.avg_pool2d(low, 2), scale_factor=2, mode="nearest")
        f = torch.cat((high_conv, high_pool, low), dim=1)  # (R, 3D/2, g, g)
        return (f + self.fuse_depthwise(f)).flatten(2).transpose(1, 2)


class ModalityEntangledAdapter(Adapter):
    """Cross-attention between the streams, guided by what both share (CEA; paper, section 3.3).

    Template and search tokens never mix. Written in standard terms: in the published form a stream's own projection
    is the query, the shared features S are the key, and the residual comes from the other stream; in the paper's form
    S is the query, keys and values are the other stream's, and there is no inner residual.

    Args:
        dim: token channels C.
        hidden_dim: width D of the attention.
        form: see above.
        gated: adds one factor per channel, starting at zero, on the (normalised) output: a neutral start, which zero
            weights can't give because the output is normalised before it is added.
    """

    def __init__(self, dim: int, hidden_dim: int = 192, form: Form = "published", gated: bool = False) -> None:
        super().__init__()
        self.form = form
        self.down = nn.Linear(dim, hidden_dim, bias=False)
        self.shared = nn.Linear(2 * hidden_dim, hidden_dim, bias=False)
        self.rgb_match = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.rgb_value = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.x_match = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.x_value = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.up = nn.Linear(hidden_dim, dim, bias=False)
        self.gate = nn.Parameter(torch.zeros(dim)) if gated else None

    def reset_parameters(self) -> None:
        """Initial values of the release (PyTorch's default); the gate closed."""
        for layer in (self.down, self.shared, self.rgb_match, self.rgb_value, self.x_match, self.x_value, self.up):
            layer.reset_parameters()
        if self.gate is not None:
            nn.init.zeros_(self.gate)

    def forward(self, tokens: Tensor, layout: TokenLayout) -> Tensor:
        """Normalised tokens of both streams (2B, N, C) -> (2B, N, C), before the foundation's norm and the gate."""
        rgb, x = self.down(tokens).chunk(2)  # each (B, N, D)
        shared = self.shared(torch.cat((rgb, x), dim=2))
        parts = (
            (rgb, self.rgb_match(rgb), self.rgb_value(rgb)),
            (x, self.x_match(x), self.x_value(x)),
        )
        outputs = [self._attend(own, other, shared, layout) for own, other in (parts, parts[::-1])]
        return self.up(torch.cat(outputs))

    def _attend(
        self, own: tuple[Tensor, ...], other: tuple[Tensor, ...], shared: Tensor, layout: TokenLayout
    ) -> Tensor:
        """One stream's update (B, N, D); `own` and `other` are (features, match, value) of the two streams."""
        if self.form == "published":
            query, key, value, scale = own[1], shared, own[2], 1.0
        else:
            query, key, value, scale = shared, other[1], other[2], None
        sections = zip(layout.split(query), layout.split(key), layout.split(value), strict=True)
        out = torch.cat([attend(q, k, v, scale) for q, k, v in sections], dim=1)
        return out + other[0] if self.form == "published" else out


class FusionGate(Adapter):
    """Weighs the two streams, token by token, where they meet: RGB + g (X - RGB) with g in (0, 1).

    Not in the paper, whose streams are added with equal weights, so that an X that shows nothing still is half of what
    the head reads. The gate starts near RGB alone and learns where X is worth more. It reads both tokens and the means
    over all search tokens, from which it can tell that a stream is black, frozen or noise as a whole.

    Args:
        dim: channels C.
        hidden_dim: width D.
    """

    START = -2.0
    """Logit of g at the start: 0.12."""

    def __init__(self, dim: int, hidden_dim: int = 32) -> None:
        super().__init__()
        self.reduce = nn.Linear(2 * dim, hidden_dim)
        self.weigh = nn.Linear(2 * hidden_dim, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The first layer random, the second zero but for its bias: g is the same for every token."""
        nn.init.trunc_normal_(self.reduce.weight, std=0.02)
        nn.init.zeros_(self.reduce.bias)
        nn.init.zeros_(self.weigh.weight)
        nn.init.constant_(self.weigh.bias, self.START)

    def forward(self, rgb: Tensor, x: Tensor) -> Tensor:
        """Search tokens of both streams (B, n, C) each, after the last norm -> fused ones (B, n, C)."""
        hidden = F.gelu(self.reduce(torch.cat((rgb, x), dim=2)))  # (B, n, D)
        whole = hidden.mean(dim=1, keepdim=True).expand_as(hidden)
        gate = self.weigh(torch.cat((hidden, whole), dim=2)).sigmoid()  # (B, n, 1)
        return rgb + gate * (x - rgb)


class TaskAdapter(Adapter):
    """Bottleneck that adapts the fused features to the frozen head (HA; paper, section 3.4).

    An affine map in eval mode: the published one has neither activation nor skip.

    Args:
        dim: channels C.
        hidden_dim: width D.
        dropout: probability, between the second and the third layer.
        skip: adds the input to the output (neutral start).
    """

    def __init__(self, dim: int, hidden_dim: int = 192, dropout: float = 0.1, skip: bool = False) -> None:
        super().__init__()
        self.skip = skip
        self.down = nn.Linear(dim, hidden_dim)
        self.mid = nn.Linear(hidden_dim, hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(hidden_dim, dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """PyTorch's default values, as released; with a skip the last layer starts at zero."""
        for layer in (self.down, self.mid, self.up):
            layer.reset_parameters()
        if self.skip:
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Fused search tokens (B, Nx, C) -> (B, Nx, C)."""
        adapted = self.up(self.dropout(self.mid(self.down(tokens))))
        return tokens + adapted if self.skip else adapted

    @torch.no_grad()
    def affine_map(self) -> tuple[Tensor, Tensor]:
        """The same in eval mode as one matrix (C, C) and one offset (C,)."""
        matrix = self.up.weight @ self.mid.weight @ self.down.weight
        offset = self.up(self.mid(self.down.bias))
        return (matrix + torch.eye(len(matrix)).to(matrix) if self.skip else matrix), offset
