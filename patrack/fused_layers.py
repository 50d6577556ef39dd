"""Layers in the form that tracks: affine ones with packed weights, and the adapters; `patrack.fused` tells what folds.

Matrix products on a CPU bring the weights into a layout of their own at every call. With `Affine.pack` this happens
once, through the operators that `torch.compile` packs weights with: MKL's for fp32, oneDNN's for bf16. On a GPU, and
where PyTorch was built without them, packing changes nothing.

Convolutions and pools over a grid of tokens are done by gathering each token's neighbors, for template and search
tokens together, and one small matrix product: fewer calls, which are what grids of a few channels cost.
Legend: B sequences, R rows (2B with two streams, RGB first), N tokens, C channels, D hidden channels.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patrack.methods.bat import Bottleneck
from patrack.methods.patrack import ModalityDependentAdapter, ModalityEntangledAdapter
from patrack.vit import TokenLayout, attend

__all__ = [
    "Affine",
    "Branch",
    "FusedBottleneck",
    "FusedCEA",
    "FusedMDA",
    "NeighborTables",
    "Neighbors",
    "packing_library",
]

AROUND, CELL = 9, 4
"""Tokens of a 3x3 neighborhood, row-major, and of a 2x2 cell."""


# ---- Affine layers

LEAST_WIDTH = 512
"""Smaller layers gain nothing from packing: measured with 192 and 768 channels."""


def packing_library(weight: Tensor) -> str | None:
    """Choose the library that packs weights (out, in) of this device, dtype and size: "mkl", "onednn", or None.

    None means that packing isn't possible here, or gains nothing.

    With oneDNN's packed weights, layers without more outputs than inputs took up to 1.7 times as long.
    """
    if weight.device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64") or min(weight.shape) < LEAST_WIDTH:
        return None
    if weight.dtype == torch.float32:
        found = torch.backends.mkl.is_available() and hasattr(torch.ops.mkl, "_mkl_linear")
        return "mkl" if found else None
    if weight.dtype == torch.bfloat16 and weight.shape[0] > weight.shape[1] and torch.backends.mkldnn.is_available():
        found = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return "onednn" if found else None
    return None


class Affine(nn.Module):
    """Compute x W^T + b, with constants instead of parameters.

    Args:
        weight: (out, in).
        bias: (out,), or None.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().clone())
        self.register_buffer("bias", None if bias is None else bias.detach().clone())
        self.library: str | None = None
        self._packed: Tensor | None = None
        self._rows = 0

    @classmethod
    def behind(cls, norm: nn.LayerNorm, weight: Tensor, bias: Tensor | None = None) -> Affine:
        """Make a layer that reads what a norm gives, with the norm's scale and shift folded in."""
        shift = weight @ norm.bias
        return cls(weight * norm.weight, shift if bias is None else shift + bias)

    def pack(self) -> None:
        """Packs the weights at the next call, for as many rows as it has; calls with others stay right, but slower.

        Takes as much memory again as the weights do. A copy, or a move to another device or dtype, isn't packed.
        """
        if self.library is None:
            self.library = packing_library(self.weight)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x (R, N, in), and what is added to the output, (R, N, out) or None -> (R, N, out)."""
        if self.library is not None:
            return self._with_packed_weights(x, residual)
        if residual is None:
            return F.linear(x, self.weight, self.bias)
        out = torch.addmm(residual.flatten(0, 1), x.flatten(0, 1), self.weight.T).view(residual.shape)
        return out if self.bias is None else out.add_(self.bias)

    def _with_packed_weights(self, x: Tensor, residual: Tensor | None) -> Tensor:
        mkl = self.library == "mkl"
        if self._packed is None:
            self._rows = x.shape[:-1].numel()
            reorder = torch.ops.mkl._mkl_reorder_linear_weight if mkl else torch.ops.mkldnn._reorder_linear_weight
            self._packed = reorder(self.weight, self._rows)
        if mkl:
            out = torch.ops.mkl._mkl_linear(x, self._packed, self.weight, self.bias, self._rows)
        else:
            out = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")
        return out if residual is None else out.add_(residual)

    def _apply(self, *args: Any, **kwargs: Any) -> Affine:
        self.library = self._packed = None  # of the weights as they were
        return super()._apply(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"library": None, "_packed": None}


# ---- Neighbors on the grids


class Neighbors(NamedTuple):
    """Indices into (R * (N + 1), ...) tokens, in which a row of zeros follows the N tokens of each sequence.

    Attributes:
        high: (R*N, 9 + 4) each token's 3x3 neighbors, zeros beyond the border, and the 2x2 cell that it lies in.
        pool: (9, R*N) 3x3 neighbors, the token itself for those beyond the border.
        mix: (R*N, 9) 3x3 neighbors, zeros beyond the border.
        other: (R*N, 9) the same in the other stream.
    """

    high: Tensor
    pool: Tensor
    mix: Tensor
    other: Tensor


class NeighborTables(nn.Module):
    """Tables of the neighbors of tokens on square grids.

    Args:
        grids: sides of the grids, whose tokens follow each other row by row: each template and search.
    """

    high: Tensor
    pool: Tensor

    def __init__(self, grids: Sequence[int]) -> None:
        super().__init__()
        around, cells, first = [], [], 0
        for grid in grids:
            places = first + torch.arange(grid * grid).view(grid, grid)
            padded = F.pad(places, (1, 1, 1, 1), value=-1)
            around.append(padded.unfold(0, 3, 1).unfold(1, 3, 1).reshape(-1, AROUND))
            corner = torch.arange(grid) // 2 * 2
            rows = (corner[:, None] + torch.tensor([0, 0, 1, 1]))[:, None]
            columns = (corner[:, None] + torch.tensor([0, 1, 0, 1]))[None]
            cells.append(places[rows, columns].reshape(-1, CELL))
            first += grid * grid
        near = torch.cat(around)
        zeros, itself = torch.full_like(near, first), torch.arange(first)[:, None]
        self.register_buffer("high", torch.cat((torch.where(near < 0, zeros, near), torch.cat(cells)), dim=1))
        self.register_buffer("pool", torch.where(near < 0, itself, near).T.contiguous())

    def forward(self, rows: int) -> Neighbors:
        """For this many rows of tokens."""
        first = torch.arange(rows, device=self.high.device) * (len(self.high) + 1)
        high = self.high + first.view(-1, 1, 1)
        pool = self.pool.unsqueeze(1) + first.view(1, -1, 1)
        mix = high[..., :AROUND].contiguous()
        other = mix.roll(rows // 2, dims=0)
        return Neighbors(high.flatten(0, 1), pool.flatten(1), mix.flatten(0, 1), other.flatten(0, 1))


class Branch(nn.Module):
    """Something beside one half of a block, folded."""

    def forward(self, out: Tensor, normed: Tensor, layout: TokenLayout, around: Neighbors | None) -> None:
        """Add its output for normalized tokens (R, N, C), and the half's bias, to `out` (R, N, C), in place."""
        raise NotImplementedError


class FusedMDA(Branch):
    """A modality-dependent adapter; see `ModalityDependentAdapter`.

    Args:
        adapter: what is folded.
        norm: the base model's, in front of it.
        bias: (C,), of the base model's layer whose output this adapter's is added to; it rides along.
    """

    high: Tensor
    high_bias: Tensor
    mix: Tensor
    ones: Tensor
    expand: Tensor

    def __init__(self, adapter: ModalityDependentAdapter, norm: nn.LayerNorm, bias: Tensor) -> None:
        super().__init__()
        self.reduce = Affine.behind(norm, adapter.reduce.weight, adapter.reduce.bias)
        self.exchanges = adapter.form == "published"
        hidden, width = sum(adapter.widths), sum(adapter.fused_widths)
        conv, pool, low = torch.arange(hidden).split(adapter.widths)  # which hidden channels go which way
        from_conv, from_pool, from_low = torch.arange(width).split(adapter.fused_widths)
        # high parts (convolution, pool) and low part of a token, from its neighbors, its cell and its maximum
        high = adapter.expand.weight.new_zeros(AROUND + CELL + 1, hidden, width)
        high_bias = high.new_zeros(width)
        if adapter.high_expand is not None and adapter.high_depthwise is not None and adapter.high_pool is not None:
            taps = adapter.high_depthwise.weight * adapter.high_expand.weight  # (D/2, D/4, 3, 3)
            high[:AROUND, conv[:, None], from_conv] = taps.flatten(2).permute(2, 1, 0)
            high[-1, pool[:, None], from_pool] = adapter.high_pool.weight[:, :, 0, 0].T
            high_bias[from_pool] = adapter.high_pool.get_parameter("bias")
        high[AROUND:-1, low, from_low] = 1.0 / CELL
        # the depthwise convolution behind them, the identity added, and a column of ones for the bias of `expand`
        taps = adapter.fuse_depthwise.weight.flatten(1).clone()  # (W, 9)
        taps[:, AROUND // 2] += 1.0
        mix = torch.cat((torch.stack([tap.diag() for tap in taps.T]), torch.zeros_like(taps.T)[..., None]), dim=2)
        constants = {
            "high": high.flatten(0, 1),
            "high_bias": high_bias,
            "mix": mix.flatten(0, 1),
            "ones": F.pad(taps.new_zeros(len(taps)), (0, 1), value=1.0),
            "expand": torch.cat((adapter.expand.weight.T, (adapter.expand.bias + bias)[None])),
        }
        for name, value in constants.items():
            self.register_buffer(name, value.detach().clone())
        self.num_high = len(from_conv) + len(from_pool)

    def forward(self, out: Tensor, normed: Tensor, layout: TokenLayout, around: Neighbors | None) -> None:
        """Add the adapter's output; see `Branch.forward`."""
        assert around is not None
        reduced = self.reduce(normed)
        if layout.kept is None:
            mixed = self._mix(reduced, around)
        else:
            template, search = layout.split(reduced)
            full = torch.cat((template, layout.to_full_search(search)), dim=1)
            mixed = self._mix(full, around)
            template, search = mixed.split((layout.num_template, layout.search_grid**2), dim=1)
            mixed = torch.cat((template, layout.to_kept_search(search)), dim=1)
        out.flatten(0, 1).addmm_(mixed.flatten(0, 1), self.expand)

    def _mix(self, tokens: Tensor, around: Neighbors) -> Tensor:
        """(R, N, D) -> (R, N, W + 1), the last column ones."""
        rows, count = tokens.shape[:2]
        tokens = F.pad(tokens, (0, 0, 0, 1)).flatten(0, 1)
        near = F.embedding(around.high, tokens).flatten(1)
        most = F.embedding(around.pool, tokens).amax(0)
        f = torch.addmm(self.high_bias, torch.cat((near, most), dim=1), self.high)
        f = torch.cat((F.gelu(f[:, : self.num_high]), f[:, self.num_high :]), dim=1)
        f = F.pad(f.unflatten(0, (rows, count)), (0, 0, 0, 1)).flatten(0, 1)
        near = F.embedding(around.other if self.exchanges else around.mix, f).flatten(1)
        return torch.addmm(self.ones, near, self.mix).unflatten(0, (rows, count))


class FusedCEA(Branch):
    """A modality-entangled adapter; see `ModalityEntangledAdapter`.

    Args:
        adapter: what is folded.
        norm_before: the base model's, in front of it.
        norm_after: the base model's, applied to its output.
        bias: (C,), as in `FusedMDA`.
    """

    project: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(
        self, adapter: ModalityEntangledAdapter, norm_before: nn.LayerNorm, norm_after: nn.LayerNorm, bias: Tensor
    ) -> None:
        super().__init__()
        self.published = adapter.form == "published"
        self.down = Affine.behind(norm_before, adapter.down.weight)
        rgb, x = [adapter.rgb_match.weight, adapter.rgb_value.weight], [adapter.x_match.weight, adapter.x_value.weight]
        if adapter.shared is not None:
            for layers, part in zip((rgb, x), adapter.shared.weight.chunk(2, dim=1), strict=True):
                layers.append(part)
        project = torch.stack((torch.cat(rgb).T, torch.cat(x).T))  # (2, D, 3D), 2D without shared features
        self.register_buffer("project", project.detach().clone())
        self.up = Affine(adapter.up.weight)
        gate = 1.0 if adapter.gate is None else adapter.gate
        self.register_buffer("scale", (norm_after.weight * gate).detach().clone())
        self.register_buffer("shift", (norm_after.bias * gate + bias).detach().clone())
        self.eps = norm_after.eps

    def forward(self, out: Tensor, normed: Tensor, layout: TokenLayout, around: Neighbors | None) -> None:
        """Add the adapter's output; see `Branch.forward`."""
        down = self.down(normed)
        rows, count, dim = down.shape
        projected = torch.bmm(down.reshape(2, -1, dim), self.project).view(rows, count, -1)
        match, value, *parts = projected.split(dim, dim=2)
        other = down.roll(rows // 2, dims=0)
        shared = [(part + part.roll(rows // 2, dims=0)).contiguous() for part in parts]  # one, or none
        if self.published:
            query, key, scale = match, shared[0] if shared else other, 1.0
        else:
            query, key, scale = shared[0] if shared else down, match.roll(rows // 2, dims=0), None
            value = value.roll(rows // 2, dims=0)
        sections = zip(*(layout.split_grids(item) for item in (query, key, value)), strict=True)
        attended = torch.cat([attend(q, k, v, scale) for q, k, v in sections if q.shape[1]], dim=1)
        if self.published:
            attended += other
        out += F.layer_norm(self.up(attended), self.scale.shape, self.scale, self.shift, self.eps)


class FusedBottleneck(Branch):
    """BAT's adapter: its three layers are two in eval mode; see `Bottleneck`.

    Args:
        adapter: what is folded.
        norm: in front of it.
        bias: (C,), as in `FusedMDA`.
    """

    def __init__(self, adapter: Bottleneck, norm: nn.LayerNorm, bias: Tensor) -> None:
        super().__init__()
        self.down = Affine.behind(norm, adapter.mid.weight @ adapter.down.weight, adapter.mid(adapter.down.bias))
        self.up = Affine(adapter.up.weight, adapter.up.bias + bias)

    def forward(self, out: Tensor, normed: Tensor, layout: TokenLayout, around: Neighbors | None) -> None:
        """Add what each stream gets from the other one; see `Branch.forward`."""
        out += self.up(self.down(normed).roll(len(normed) // 2, dims=0))
