"""The network in the form that tracks: what `PATrack` computes in eval mode, folded as far as algebra allows.

Nothing is approximated; only the rounding differs (tests: 1e-10 in fp64). What is folded:

- the norms' scale and shift into the layers behind them, so that a block normalises each half once for all of them;
- query, key, value, and what the adapters read from the same tokens, into one matrix product (likewise the MLP's half);
- 1x1 convolutions of the modality-dependent adapters into their neighbours, the identity into the depthwise one;
- the projections of a modality-entangled adapter into one batched product for both streams;
- task adapter and BatchNorm into the head's first convolutions, of which there is one for all three branches;
- (v / 255 - mean) / std into the patch embedding, which thus takes the crops' bytes.

The template's tokens are embedded once, and the last block computes the search tokens only, since nothing reads the
others. Legend: B sequences, R rows (2B with two streams, RGB first), N tokens, C channels, D hidden channels.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patrack.adapters import ModalityDependentAdapter, ModalityEntangledAdapter, TaskAdapter, TokenLayout
from patrack.attention import attend
from patrack.crop import MEAN, STD
from patrack.head import CenterHead, fold_batchnorm, maps_and_boxes
from patrack.model import PATrack
from patrack.vit import Block, PatchEmbed, attention_row, eliminate_candidates

__all__ = ["FusedPATrack"]


class Affine(nn.Module):
    """x W^T + b with constants instead of parameters.

    Args:
        weight: (out, in).
        bias: (out,), or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().clone())
        self.register_buffer("bias", None if bias is None else bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


def _behind_norms(layers: Sequence[tuple[nn.LayerNorm, nn.Linear]]) -> Affine:
    """Layers behind norms of the same tokens as one layer; the norms' scales and shifts are folded in."""
    weights = [layer.weight * norm.weight for norm, layer in layers]
    biases = [layer.weight @ norm.bias + (0.0 if layer.bias is None else layer.bias) for norm, layer in layers]
    return Affine(torch.cat(weights), torch.cat(biases))


class FusedMDA(nn.Module):
    """A modality-dependent adapter behind its first layer; see `ModalityDependentAdapter`.

    Args:
        adapter: what is folded.
        bias: (C,), of the foundation's layer whose output this adapter's is added to; it rides along.
    """

    def __init__(self, adapter: ModalityDependentAdapter, bias: Tensor) -> None:
        super().__init__()
        self.exchanges = adapter.form == "published"
        quarter, half = adapter.widths[0], adapter.widths[2]
        # one 3x3 convolution for both high parts: taps around the centre for the first, the centre alone for the second
        high = adapter.high_expand.weight.new_zeros(2 * half, 2 * quarter, 3, 3)
        high[:half, :quarter] = adapter.high_depthwise.weight * adapter.high_expand.weight
        high[half:, quarter:, 1, 1] = adapter.high_pool.weight[:, :, 0, 0]
        high_bias = torch.cat((torch.zeros_like(adapter.high_pool.bias), adapter.high_pool.bias))
        mix = adapter.fuse_depthwise.weight.clone()
        mix[:, 0, 1, 1] += 1
        for name, value in (("high", high), ("high_bias", high_bias), ("mix", mix)):
            self.register_buffer(name, value.detach().clone())
        self.quarter = quarter
        expand = torch.cat((adapter.expand.weight, (adapter.expand.bias + bias)[:, None]), dim=1)
        self.register_buffer("expand", expand.T.detach().clone())  # (3D/2 + 1, C)

    def add_to(self, out: Tensor, reduced: Tensor, layout: TokenLayout) -> None:
        """Adds the adapter's output for reduced tokens (R, N, D), and the bias, to `out` (R, N, C)."""
        template, search = layout.split(reduced)
        mixed = layout.to_kept_search(self._mix(layout.to_full_search(search), layout.search_grid))
        if layout.num_template:
            mixed = torch.cat((self._mix(template, layout.template_grid), mixed), dim=1)
        if self.exchanges:
            mixed = mixed.roll(mixed.shape[0] // 2, dims=0)
        mixed = F.pad(mixed, (0, 1), value=1.0)  # the last row of `expand` is its bias
        out.flatten(0, 1).addmm_(mixed.flatten(0, 1), self.expand)

    def _mix(self, tokens: Tensor, grid: int) -> Tensor:
        """(R, g*g, D) -> (R, g*g, 3D/2)."""
        p = tokens.unflatten(1, (grid, grid)).permute(0, 3, 1, 2)  # (R, D, g, g)
        conv, pool, low = p.split((self.quarter, self.quarter, p.shape[1] - 2 * self.quarter), dim=1)
        high = torch.cat((conv, F.max_pool2d(pool, 3, stride=1, padding=1)), dim=1)
        high = F.gelu(F.conv2d(high, self.high, self.high_bias, padding=1))
        low = F.interpolate(F.avg_pool2d(low, 2), scale_factor=2.0, mode="nearest")
        f = torch.cat((high, low), dim=1)
        return F.conv2d(f, self.mix, padding=1, groups=f.shape[1]).flatten(2).transpose(1, 2)


class FusedCEA(nn.Module):
    """A modality-entangled adapter behind its first layer; see `ModalityEntangledAdapter`.

    Args:
        adapter: what is folded.
        norm_after: the foundation's, applied to its output.
        bias: (C,), as in `FusedMDA`.
    """

    def __init__(self, adapter: ModalityEntangledAdapter, norm_after: nn.LayerNorm, bias: Tensor) -> None:
        super().__init__()
        self.published = adapter.form == "published"
        own = adapter.shared.weight.chunk(2, dim=1)
        rgb = torch.cat((adapter.rgb_match.weight, adapter.rgb_value.weight, own[0]))
        x = torch.cat((adapter.x_match.weight, adapter.x_value.weight, own[1]))
        self.register_buffer("project", torch.stack((rgb.T, x.T)).detach().clone())  # (2, D, 3D)
        self.up = Affine(adapter.up.weight)
        gate = 1.0 if adapter.gate is None else adapter.gate
        self.register_buffer("scale", (norm_after.weight * gate).detach().clone())
        self.register_buffer("shift", (norm_after.bias * gate + bias).detach().clone())
        self.eps = norm_after.eps

    def add_to(self, out: Tensor, down: Tensor, layout: TokenLayout) -> None:
        """Adds the adapter's output for reduced tokens (2B, N, D), and the bias, to `out` (2B, N, C)."""
        rows, count, dim = down.shape
        projected = torch.bmm(down.reshape(2, -1, dim), self.project).view(rows, count, 3 * dim)
        match, value, part = projected.split(dim, dim=2)
        other = down.roll(rows // 2, dims=0)
        shared = (part + part.roll(rows // 2, dims=0)).contiguous()
        if self.published:
            query, key, scale = match, shared, 1.0
        else:
            query, key, scale = shared, match.roll(rows // 2, dims=0), None
            value = value.roll(rows // 2, dims=0)
        sections = zip(*(layout.split(item) for item in (query, key, value)), strict=True)
        attended = torch.cat([attend(q, k, v, scale) for q, k, v in sections if q.shape[1]], dim=1)
        if self.published:
            attended += other
        out += F.layer_norm(self.up(attended), self.scale.shape, self.scale, self.shift, self.eps)


class FusedHalf(nn.Module):
    """One half of a block: norm, first layer, (attention or GELU in between), last layer, adapters.

    Args:
        norm: the foundation's.
        first: the layer behind it: query, key and value, or the MLP's first.
        last: the projection, or the MLP's second layer.
        mda: modality-dependent adapter of this half, or None.
        cea: modality-entangled adapter of this half, or None.
        cea_norm: in front of it.
    """

    def __init__(
        self,
        norm: nn.LayerNorm,
        first: nn.Linear,
        last: nn.Linear,
        mda: ModalityDependentAdapter | None,
        cea: ModalityEntangledAdapter | None,
        cea_norm: nn.LayerNorm | None,
    ) -> None:
        super().__init__()
        bias, none = last.bias, torch.zeros_like(last.bias)
        adapters: list[nn.Module] = []
        readers = [(norm, first)]
        if mda is not None:
            readers.append((norm, mda.reduce))
            adapters.append(FusedMDA(mda, bias))
        if cea is not None:
            readers.append((cea_norm, cea.down))
            adapters.append(FusedCEA(cea, norm, none if adapters else bias))
        self.eps, self.widths = norm.eps, [layer.out_features for _, layer in readers]
        self.first = _behind_norms(readers)
        self.adapters = nn.ModuleList(adapters)
        self.register_buffer("last", last.weight.detach().clone())
        self.register_buffer("bias", None if adapters else bias.detach().clone())
        self.register_buffer("ones", torch.ones_like(bias).detach())  # without a scale, the norm is slower on a CPU
        self.register_buffer("zeros", none.detach())

    def read(self, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(R, N, C) -> what the first layer gives and adapters read (R, N, H + D + ...), and the latter alone."""
        normed = F.layer_norm(tokens, self.ones.shape, self.ones, self.zeros, self.eps)
        outputs = self.first(normed)
        return outputs, list(outputs.split(self.widths, dim=2)[1:])

    def finish(self, inner: Tensor, tokens: Tensor, reduced: list[Tensor], layout: TokenLayout) -> Tensor:
        """What lies between the layers (R, N, >= H), this half's input (R, N, C), what adapters read -> its output."""
        inner = inner[..., : self.last.shape[1]].flatten(0, 1)
        out = torch.addmm(tokens.flatten(0, 1), inner, self.last.T).view(tokens.shape)
        for adapter, own in zip(self.adapters, reduced, strict=True):
            adapter.add_to(out, own, layout)
        return out if self.bias is None else out.add_(self.bias)


class FusedBlock(nn.Module):
    """A block of the foundation with its adapters; see `Block`.

    Args:
        block: what is folded.
        keep_ratio: share of search tokens that stay behind the attention half.
        search_only: compute the search tokens alone (the last block).
    """

    def __init__(self, block: Block, keep_ratio: float, search_only: bool) -> None:
        super().__init__()
        attn, mlp = block.attn, block.mlp
        self.num_heads, self.keep_ratio, self.search_only = attn.num_heads, keep_ratio, search_only
        self.half1 = FusedHalf(block.norm1, attn.qkv, attn.proj, block.mda1, block.cea1, block.cea_norm1)
        self.half2 = FusedHalf(block.norm2, mlp.fc1, mlp.fc2, block.mda2, block.cea2, block.cea_norm2)

    def forward(self, tokens: Tensor, layout: TokenLayout) -> tuple[Tensor, TokenLayout]:
        """Tokens (R, N, C) -> tokens (R, N', C), or the search tokens (R, n, C) alone, and their layout."""
        outputs, reduced = self.half1.read(tokens)
        q, k, v = outputs[..., : self.half1.widths[0]].unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        row = attention_row(q, k, layout) if self.keep_ratio < 1.0 else None
        if self.search_only:
            first = layout.num_template
            layout = TokenLayout(0, layout.search_grid, layout.streams, layout.kept)
            tokens, q, reduced = tokens[:, first:], q[:, :, first:], [item[:, first:] for item in reduced]
            row = None if row is None else row[:, first:]
        attended = attend(q, k, v).transpose(1, 2).flatten(2)
        tokens = self.half1.finish(attended, tokens, reduced, layout)
        if row is not None:
            tokens, layout = eliminate_candidates(tokens, row, layout, self.keep_ratio)
        outputs, reduced = self.half2.read(tokens)
        return self.half2.finish(F.gelu(outputs), tokens, reduced, layout), layout  # whole rows: faster than a part


class FusedPatches(nn.Module):
    """Bytes of a crop -> tokens, normalised as `patrack.crop.normalize` does; see `PatchEmbed`.

    Args:
        embed: what is folded.
        streams: "both", "rgb" or "x": which triples of channels become rows.
    """

    def __init__(self, embed: PatchEmbed, streams: str) -> None:
        super().__init__()
        weight, bias = embed.proj.weight, embed.proj.bias
        mean, std = (weight.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        self.patch_size, self.streams = weight.shape[-1], streams
        folded = (weight / (255 * std)).permute(0, 2, 3, 1).flatten(1)  # (C, p*p*3)
        self.proj = Affine(folded, bias - (weight * mean / std).sum((1, 2, 3)))

    def forward(self, crops: Tensor) -> Tensor:
        """(B, H, W, 3 or 6) uint8 -> (R, H/p * W/p, C)."""
        batch, height, width, channels = crops.shape
        p, rows, columns = self.patch_size, height // self.patch_size, width // self.patch_size
        patches = crops.view(batch, rows, p, columns, p, channels // 3, 3).permute(5, 0, 1, 3, 2, 4, 6)
        if self.streams != "both":
            patches = patches[:1] if self.streams == "rgb" else patches[-1:]
        return self.proj(patches.to(self.proj.weight.dtype).reshape(-1, rows * columns, 3 * p * p))


class FusedHead(nn.Module):
    """Centre head with the task adapter in front of it; see `CenterHead`.

    The three branches travel side by side as groups. The zero padding of the first convolution cuts off a task
    adapter's constant part, so that part becomes a map that is added behind this convolution.
    """

    def __init__(self, head: CenterHead, task_adapter: TaskAdapter | None, grid: int) -> None:
        super().__init__()
        branches = (head.score, head.size, head.offset)
        self.levels = len(head.score) - 1
        folded = [[fold_batchnorm(branch[level]) for branch in branches] for level in range(self.levels)]
        weights = [torch.cat([weight for weight, _ in level]) for level in folded]
        biases = [torch.cat([bias for _, bias in level]) for level in folded]
        constant = biases[0].view(1, -1, 1, 1).repeat(1, 1, grid, grid)
        if task_adapter is not None:
            matrix, offset = task_adapter.affine_map()
            offset = offset.view(1, -1, 1, 1).expand(-1, -1, grid, grid)
            constant += F.conv2d(offset, weights[0], padding=1)
            weights[0] = torch.einsum("oiyx,ij->ojyx", weights[0], matrix)
        self.register_buffer("constant", constant.detach())
        for level, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            self.register_buffer(f"weight{level}", weight.detach())
            self.register_buffer(f"bias{level}", bias.detach())
        last = [branch[-1] for branch in branches]
        self.register_buffer("maps", torch.block_diag(*(conv.weight.detach().flatten(1) for conv in last)))
        self.register_buffer("maps_bias", torch.cat([conv.bias.detach() for conv in last]).view(-1, 1, 1))

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Search features (B, C, h, w) -> what `CenterHead.forward` returns."""
        x = F.conv2d(features, self.weight0, padding=1).add_(self.constant).relu_()
        for level in range(1, self.levels):
            weight, bias = self.get_buffer(f"weight{level}"), self.get_buffer(f"bias{level}")
            x = F.conv2d(x, weight, bias, padding=1, groups=3).relu_()
        maps = (self.maps @ x.flatten(2)).unflatten(2, x.shape[2:]) + self.maps_bias  # (B, 5, h, w)
        return maps_and_boxes(*maps.split((1, 2, 2), dim=1))


class FusedPATrack(nn.Module):
    """The tracking form of a network. It takes crops as bytes, and the template once.

    Args:
        model: stays as it is; its weights are copied.
        dtype: of weights and activations: float32, float64, bfloat16 or float16. What is folded is computed in float64.
    """

    def __init__(self, model: PATrack, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        device = next(model.parameters()).device
        wide = copy.deepcopy(model).cpu().double().eval()
        backbone = wide.backbone
        self.streams, self.template_size, self.search_size = model.streams, model.template_size, model.search_size
        self.template_grid, self.search_grid = backbone.template_grid, backbone.search_grid
        self.rows = 2 if model.streams == "both" else 1
        self.patches = FusedPatches(backbone.patch_embed, model.streams)
        self.register_buffer("pos_embed_z", backbone.pos_embed_z.detach())
        self.register_buffer("pos_embed_x", backbone.pos_embed_x.detach())
        depth = len(backbone.blocks)
        self.blocks = nn.ModuleList(
            FusedBlock(block, backbone.keep_ratio if i in backbone.elimination_layers else 1.0, i == depth - 1)
            for i, block in enumerate(backbone.blocks)
        )
        share = 0.5 if self.rows == 2 and backbone.fusion == "mean" else 1.0
        self.register_buffer("scale", share * backbone.norm.weight.detach())
        self.register_buffer("shift", share * backbone.norm.bias.detach())
        self.eps = backbone.norm.eps
        self.head = FusedHead(wide.head, wide.task_adapter, self.search_grid)
        self.to(device, dtype).eval()

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and activations."""
        return self.scale.dtype

    def embed_template(self, crops: Tensor) -> Tensor:
        """Template crops (B, Hz, Wz, 3 or 6) uint8 -> the tokens (R, Nz, C) that `forward` wants for every frame."""
        return self.patches(crops) + self.pos_embed_z

    def forward(self, template: Tensor, crops: Tensor) -> dict[str, Tensor]:
        """Find the targets in search crops.

        Args:
            template: (R, Nz, C), from `embed_template`.
            crops: (B, Hx, Wx, 3 or 6) uint8.

        Returns:
            What `CenterHead.forward` returns.
        """
        tokens = torch.cat((template, self.patches(crops) + self.pos_embed_x), dim=1)
        layout = TokenLayout(self.template_grid, self.search_grid, self.rows)
        for block in self.blocks:
            tokens, layout = block(tokens, layout)
        tokens = F.layer_norm(tokens, self.scale.shape, self.scale, self.shift, self.eps)
        if self.rows == 2:
            rgb, x = tokens.chunk(2)
            tokens = rgb + x
        grid = self.search_grid
        full = TokenLayout(0, grid, 1, layout.kept).to_full_search(tokens)
        return self.head(full.transpose(1, 2).unflatten(2, (grid, grid)))
