"""The network in the form that tracks: the trained one in eval mode, folded as far as algebra allows.

Nothing is approximated; only the rounding differs (tests: 1e-10 in fp64). What is folded:

- the norms' scale and shift into the layers behind them, so that a block normalizes each half once for all of them;
- LoRA's updates into their layers (SEATrack's, too), BAT's three layers into two;
- convolutions and pools of the modality-dependent adapters into two small products (`patrack.fused_layers`);
- the projections of a modality-entangled adapter into one batched product for both streams;
- task adapter and BatchNorm into the head's first convolutions, of which there is one for all three branches;
- (v / 255 - mean) / std into the patch embedding, which thus takes the crops' bytes.

The template's tokens are embedded once, and the last block computes the search tokens only, since nothing reads the
others. A network is folded only if it is known to the last module: see `unfoldable`. Every other one tracks as it is.
Legend: B sequences, R rows (2B with two streams, RGB first), N tokens, C channels, D hidden channels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patrack.crop import MEAN, STD
from patrack.fused_layers import Affine, Branch, FusedBottleneck, FusedCEA, FusedMDA, Neighbors, NeighborTables
from patrack.head import CenterHead, ConvBlock, fold_batchnorm, maps_and_boxes
from patrack.methods.bat import BAT, BATBlock
from patrack.methods.lora import LoRA, LoRALinear
from patrack.methods.patrack import (
    ModalityDependentAdapter,
    ModalityEntangledAdapter,
    PATrack,
    PATrackBlock,
    TaskAdapter,
)
from patrack.methods.seatrack import Experts, GuidedAttention, SEATrack, SEATrackBlock, guided_maps
from patrack.network import Network, TrackingNetwork, modality_numbers, normalize
from patrack.vit import Block, PatchEmbed, TokenLayout, attend, attention_row, eliminate_candidates

__all__ = ["FusedNetwork", "share_tensors", "unfoldable"]


def _patrack_branches(block: PATrackBlock, half: int, bias: Tensor) -> list[Branch]:
    mda, cea = (block.mda1, block.cea1) if half == 1 else (block.mda2, block.cea2)
    norm, cea_norm = (block.norm1, block.cea_norm1) if half == 1 else (block.norm2, block.cea_norm2)
    branches: list[Branch] = []
    if mda is not None:
        assert isinstance(mda, ModalityDependentAdapter)  # `Network.of_modality`
        branches.append(FusedMDA(mda, norm, bias))
        bias = torch.zeros_like(bias)
    if cea is not None and cea_norm is not None:
        assert isinstance(cea, ModalityEntangledAdapter)
        branches.append(FusedCEA(cea, cea_norm, norm, bias))
    return branches


def _bat_branches(block: BATBlock, half: int, bias: Tensor) -> list[Branch]:
    adapter, norm = (block.bat1, block.norm1) if half == 1 else (block.bat2, block.norm2)
    return [FusedBottleneck(adapter, norm, bias)]


FOLDED_NETWORKS: tuple[type[Network], ...] = (Network, PATrack, BAT, LoRA, SEATrack)
BRANCHES: dict[type[Block], Callable[..., list[Branch]]] = {PATrackBlock: _patrack_branches, BATBlock: _bat_branches}
"""Fold what stands beside half 1 or 2 of a block of exactly this type; the first branch takes the half's bias along."""


def unfoldable(model: Network) -> str:
    """Say what keeps a network from being folded; empty if nothing does.

    A network can be folded if it is exactly of a known class, and has just the modules and tensors that its class
    builds from its configuration, each of exactly that type and without forward hooks. Whatever else was put into it
    (an adapter of another project, a subclass, a parametrization, a hook) would be lost.
    """
    if type(model) not in FOLDED_NETWORKS:
        return f"{type(model).__name__} is no network that can be folded"
    if nn.modules.module._global_forward_hooks or nn.modules.module._global_forward_pre_hooks:
        return "there are forward hooks on all modules"
    with torch.device("meta"):
        built = type(model)(model.config)
    expected = {name: type(module) for name, module in built.named_modules()}
    for name, module in model.named_modules():
        place = name or "the network"
        if type(module) is not expected.pop(name, None):
            return f"{place} is a {type(module).__name__}, which its class doesn't build there"
        if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
            return f"{place} has a forward hook"
    tensors = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if expected or tensors != {name: tensor.shape for name, tensor in built.state_dict().items()}:
        return "it lacks modules that its class builds, or has other tensors"
    return ""


class FusedHalf(nn.Module):
    """One half of a block: norm, first layer, (attention or GELU in between), last layer, branches beside them.

    Args:
        norm: the frozen one.
        first: the layer behind it: query, key and value, or the MLP's first.
        last: the projection, or the MLP's second layer.
        fold: makes the branches, given the bias of the last layer.
    """

    ones: Tensor
    zeros: Tensor

    def __init__(
        self, norm: nn.LayerNorm, first: nn.Linear, last: nn.Linear, fold: Callable[[Tensor], list[Branch]]
    ) -> None:
        super().__init__()
        branches = fold(last.bias)
        self.branches = nn.ModuleList(branches)
        self.first = Affine.behind(norm, first.weight if type(first) is nn.Linear else _merged(first), first.bias)
        self.last = Affine(last.weight if type(last) is nn.Linear else _merged(last), None if branches else last.bias)
        self.eps = norm.eps
        zeros = torch.zeros_like(last.bias).detach()
        self.register_buffer("ones", zeros + 1.0)  # without a scale, the norm is slower on a CPU
        self.register_buffer("zeros", zeros)

    def norm(self, tokens: Tensor) -> Tensor:
        """(R, N, C) -> what the first layer and the adapters read (R, N, C)."""
        return F.layer_norm(tokens, self.ones.shape, self.ones, self.zeros, self.eps)

    def finish(
        self, inner: Tensor, tokens: Tensor, normed: Tensor, layout: TokenLayout, around: Neighbors | None
    ) -> Tensor:
        """Compute the last layer and the branches.

        Args:
            inner: what the last layer reads (R, N, H).
            tokens: this half's input (R, N, C).
            normed: the same, normalized.
            layout: of the tokens.
            around: their neighbors; see `FusedBlock.forward`.

        Returns:
            This half's output (R, N, C).
        """
        out: Tensor = self.last(inner, tokens)
        for branch in self.branches:
            branch(out, normed, layout, around)
        return out


def _merged(layer: nn.Module) -> Tensor:
    """Return the weight of the plain layer that an updated one is in eval mode."""
    if type(layer) is not LoRALinear:
        raise TypeError(f"a {type(layer).__name__} can't be folded")
    return layer.merged_weight()


class FusedBlock(nn.Module):
    """A block with what a method put into it; see `Block` and `SEATrackBlock`.

    Args:
        block: what is folded.
        keep_ratio: share of search tokens that stay behind the attention half.
        search_only: compute the search tokens alone (the last block).
    """

    guidance: Tensor | None

    def __init__(self, block: Block, keep_ratio: float, search_only: bool) -> None:
        super().__init__()
        attn, mlp = block.attn, block.mlp
        self.num_heads, self.keep_ratio, self.search_only = attn.num_heads, keep_ratio, search_only
        branches = BRANCHES.get(type(block), lambda *_: [])
        self.half1 = FusedHalf(block.norm1, attn.qkv, attn.proj, lambda bias: branches(block, 1, bias))
        self.half2 = FusedHalf(block.norm2, mlp.fc1, mlp.fc2, lambda bias: branches(block, 2, bias))
        guidance = torch.cat((attn.guidance_rgb, attn.guidance_x)) if isinstance(attn, GuidedAttention) else None
        self.register_buffer("guidance", None if guidance is None else guidance.detach())
        self.experts1: Experts | None = block.attn_experts if isinstance(block, SEATrackBlock) else None
        self.experts2: Experts | None = block.mlp_experts if isinstance(block, SEATrackBlock) else None

    def forward(self, tokens: Tensor, layout: TokenLayout, around: Neighbors | None) -> tuple[Tensor, TokenLayout]:
        """Tokens (R, N, C) -> tokens (R, N', C), or the search tokens (R, n, C) alone, and their layout.

        Args:
            tokens: of all grids.
            layout: theirs.
            around: neighbors of those that are computed; None without modality-dependent adapters.
        """
        normed = self.half1.norm(tokens)
        q, k, v = self.half1.first(normed).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        row = self._row(q, k, layout) if self.keep_ratio < 1.0 else None
        bias = layout.key_bias(k)
        if self.search_only:
            first = layout.num_template
            layout = TokenLayout(0, layout.search_grid, layout.streams, layout.kept)
            tokens, normed, q = tokens[:, first:], normed[:, first:], q[:, :, first:]
            row = None if row is None else row[:, first:]
        if self.guidance is None:
            attended = attend(q, k, v, bias=bias)
        else:
            maps = guided_maps(q, k, self.guidance, bias)
            attended = torch.cat([each @ own for each, own in zip(maps, v.chunk(2), strict=True)])
        tokens = self.half1.finish(attended.transpose(1, 2).flatten(2), tokens, normed, layout, around)
        if self.experts1 is not None:
            tokens = tokens + self.experts1(tokens, layout)
        if row is not None:
            tokens, layout = eliminate_candidates(tokens, row, layout, self.keep_ratio)
        normed = self.half2.norm(tokens)
        inner = F.gelu(self.half2.first(normed))
        tokens = self.half2.finish(inner, tokens, normed, layout, around)
        return tokens if self.experts2 is None else tokens + self.experts2(tokens, layout), layout

    def _row(self, q: Tensor, k: Tensor, layout: TokenLayout) -> Tensor:
        if self.guidance is None:
            return attention_row(q, k, layout)
        center = q[:, :, layout.center].unsqueeze(2)
        return torch.cat(guided_maps(center, k, self.guidance, layout.key_bias(k))).squeeze(2).float().mean(dim=1)


class FusedPatches(nn.Module):
    """Bytes of a crop -> tokens, normalized as `patrack.network.normalize` does; see `PatchEmbed`.

    Args:
        embed: what is folded.
        streams: "both", "rgb" or "x": which triples of channels become rows.
    """

    def __init__(self, embed: PatchEmbed, streams: str) -> None:
        super().__init__()
        weight, bias = embed.proj.weight, embed.proj.get_parameter("bias")
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
    """Center head with the task adapter in front of it; see `CenterHead`.

    The three branches travel side by side as groups. The zero padding of the first convolution cuts off a task
    adapter's constant part, so that part becomes a map that is added behind this convolution.
    """

    constant: Tensor
    maps: Tensor
    maps_bias: Tensor

    def __init__(self, head: CenterHead, task_adapter: nn.Module | None, grid: int) -> None:
        super().__init__()
        branches = (head.score, head.size, head.offset)
        self.levels = len(head.score) - 1
        folded = [
            [fold_batchnorm(cast(ConvBlock, branch[level])) for branch in branches] for level in range(self.levels)
        ]
        weights = [torch.cat([weight for weight, _ in level]) for level in folded]
        biases = [torch.cat([bias for _, bias in level]) for level in folded]
        constant = biases[0].view(1, -1, 1, 1).repeat(1, 1, grid, grid)
        if task_adapter is not None:
            assert isinstance(task_adapter, TaskAdapter)
            # three layers without anything between them in eval mode
            down, mid, up = task_adapter.down, task_adapter.mid, task_adapter.up
            matrix, offset = up.weight @ mid.weight @ down.weight, up(mid(down.bias))  # (C, C), (C,)
            if task_adapter.skip:
                matrix = matrix + torch.eye(len(matrix)).to(matrix)
            offset = offset.view(1, -1, 1, 1).expand(-1, -1, grid, grid)
            constant += F.conv2d(offset, weights[0], padding=1)
            weights[0] = torch.einsum("oiyx,ij->ojyx", weights[0], matrix)
        self.register_buffer("constant", constant.detach())
        for level, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            self.register_buffer(f"weight{level}", weight.detach())
            self.register_buffer(f"bias{level}", bias.detach())
        last = [cast(nn.Conv2d, branch[-1]) for branch in branches]
        self.register_buffer("maps", torch.block_diag(*(conv.weight.detach().flatten(1) for conv in last)))
        self.register_buffer(
            "maps_bias", torch.cat([conv.get_parameter("bias").detach() for conv in last]).view(-1, 1, 1)
        )

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Search features (B, C, h, w) -> what `CenterHead.forward` returns."""
        x = F.conv2d(features, self.get_buffer("weight0"), padding=1).add_(self.constant).relu_()
        for level in range(1, self.levels):
            weight, bias = self.get_buffer(f"weight{level}"), self.get_buffer(f"bias{level}")
            x = F.conv2d(x, weight, bias, padding=1, groups=3).relu_()
        maps = (self.maps @ x.flatten(2)).unflatten(2, x.shape[2:]) + self.maps_bias  # (B, 5, h, w)
        return maps_and_boxes(*maps.split((1, 2, 2), dim=1))


class FusedNetwork(TrackingNetwork):
    """The tracking form of a network. It takes crops as bytes, and the template once.

    Args:
        model: stays as it is; its weights are copied.
        dtype: of weights and activations: float32, float64, bfloat16 or float16. What is folded is computed in float64.
        modality: of the samples, if the network treats modalities apart.

    Raises:
        ValueError: the network isn't known to the last module; see `unfoldable`. Or as `Network.of_modality`.
    """

    pos_embed_z: Tensor
    pos_embed_x: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, model: Network, dtype: torch.dtype = torch.float32, modality: str | None = None) -> None:
        super().__init__()
        reason = unfoldable(model)
        if reason:
            raise ValueError(f"the network can't be folded: {reason}")
        device = next(model.parameters()).device
        wide = copy.deepcopy(model).cpu().double().eval().of_modality(modality)
        self.modality = modality
        backbone = wide.backbone
        self.streams, self.template_size, self.search_size = model.streams, model.template_size, model.search_size
        self.template_grid, self.search_grid = backbone.template_grid, backbone.search_grid
        self.rows, self.templates = 2 if model.streams == "both" else 1, model.templates
        self.patches = FusedPatches(backbone.patch_embed, model.streams)
        self.register_buffer("pos_embed_z", backbone.pos_embed_z.detach())
        self.register_buffer("pos_embed_x", backbone.pos_embed_x.detach())
        depth = len(backbone.blocks)
        self.blocks = nn.ModuleList(
            FusedBlock(
                cast(Block, block), backbone.keep_ratio if i in backbone.elimination_layers else 1.0, i == depth - 1
            )
            for i, block in enumerate(backbone.blocks)
        )
        gathers = any(isinstance(module, FusedMDA) for module in self.blocks.modules())
        every = (self.template_grid,) * self.templates + (self.search_grid,)
        grids = (every, (self.search_grid,)) if gathers else ()
        self.neighbors = nn.ModuleList(NeighborTables(sides) for sides in grids)  # of all tokens, of search tokens
        share = 0.5 if self.rows == 2 and backbone.fusion == "mean" else 1.0
        self.register_buffer("scale", share * backbone.norm.weight.detach())
        self.register_buffer("shift", share * backbone.norm.bias.detach())
        self.eps = backbone.norm.eps
        self.gate = backbone.gate
        self.head = FusedHead(wide.head, wide.task_adapter, self.search_grid)
        self.to(device, dtype).eval()

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights and activations."""
        return self.scale.dtype

    def pack(self) -> None:
        """Brings the blocks' weights into a CPU's favourite layout at the next call; see `Affine.pack`."""
        for module in self.blocks.modules():
            if isinstance(module, Affine):
                module.pack()

    def embed_template(self, crops: Tensor) -> Tensor:
        """Template crops (B, Hz, Wz, 3 or 6) uint8 -> the tokens (R, g*g, C) that `forward` wants for every frame."""
        return self.patches(crops) + self.pos_embed_z

    def forward(self, template: Tensor, crops: Tensor) -> dict[str, Tensor]:
        """Find the targets in search crops.

        Args:
            template: (R, g*g, C), from `embed_template`; of two templates (R, 2, g*g, C).
            crops: (B, Hx, Wx, 3 or 6) uint8.

        Returns:
            What `CenterHead.forward` returns.
        """
        template = template if self.templates == 1 else template.flatten(1, 2)
        tokens = torch.cat((template, self.patches(crops) + self.pos_embed_x), dim=1)
        layout = TokenLayout(self.template_grid, self.search_grid, self.rows, templates=self.templates)
        around = [tables(len(tokens)) for tables in self.neighbors] or [None, None]
        for block in self.blocks:
            tokens, layout = block(tokens, layout, around[int(cast(FusedBlock, block).search_only)])
        tokens = F.layer_norm(tokens, self.scale.shape, self.scale, self.shift, self.eps)
        if self.rows == 2:
            rgb, x = tokens.chunk(2)
            tokens = rgb + x if self.gate is None else self.gate(rgb, x)
        grid = self.search_grid
        full = TokenLayout(0, grid, 1, layout.kept).to_full_search(tokens)
        return self.head(full.transpose(1, 2).unflatten(2, (grid, grid)))

    def difference(self, model: Network, template: Tensor, search: Tensor) -> float:
        """Compare the maps of this network with those of the one it was made from.

        Candidate elimination is switched off in both: where tokens are equally good, rounding decides which ones stay.
        Packed weights are left alone, since they are packed for the number of rows of their first call.

        Args:
            model: stays as it is; computes on its device, in its type.
            template: a crop, (Hz, Wz, C) uint8.
            search: likewise.

        Returns:
            The largest mean difference of a map.
        """
        parameter, own = next(model.parameters()), self.scale.device
        modes = {module: module.training for module in model.modules()}  # some may be in eval mode for good
        keep_ratio = model.backbone.keep_ratio
        affine = [module for module in self.modules() if isinstance(module, Affine)]
        blocks = [cast(FusedBlock, block) for block in self.blocks]
        settings = [block.keep_ratio for block in blocks], [layer.library for layer in affine]
        try:
            model.eval().backbone.keep_ratio = 1.0
            images = [normalize(crop.to(parameter.device)).unsqueeze(0) for crop in (template, search)]
            if self.templates > 1:
                images[0] = images[0].unsqueeze(1).expand(-1, self.templates, -1, -1, -1)
            number = modality_numbers(self.modality, 1, parameter.device)
            plain = model(*(image.to(parameter.dtype) for image in images), modality=number)
            for block in blocks:
                block.keep_ratio = 1.0
            for layer in affine:
                layer.library = None
            embedded = self.embed_template(template.to(own).unsqueeze(0))
            if self.templates > 1:
                embedded = embedded.unsqueeze(1).expand(-1, self.templates, -1, -1)
            folded = self(embedded, search.to(own).unsqueeze(0))
        finally:
            model.backbone.keep_ratio = keep_ratio
            for module, training in modes.items():
                module.training = training
            for block, keep in zip(blocks, settings[0], strict=True):
                block.keep_ratio = keep
            for layer, library in zip(affine, settings[1], strict=True):
                layer.library = library
        names = ("score_map", "size_map", "offset_map")
        return max(float((plain[name].cpu().double() - folded[name].cpu().double()).abs().mean()) for name in names)


def share_tensors(network: FusedNetwork, other: FusedNetwork) -> None:
    """Let a folded network use another one's tensors where both have the same values, which saves their memory.

    Layers of which all is alike are shared as a whole, with their packed weights.
    """
    theirs: dict[str, nn.Module] = dict(other.named_modules())
    for name, module in list(network.named_modules()):
        found = theirs.get(name)
        if found is None or found is module or type(found) is not type(module):
            continue
        alike = True
        for key, tensor in module.named_buffers(recurse=False):
            held = dict(found.named_buffers(recurse=False)).get(key)
            if held is not None and held.device == tensor.device and held.dtype == tensor.dtype:
                if held.shape == tensor.shape and torch.equal(held, tensor):
                    setattr(module, key, held)
                    continue
            alike = False
        if (
            alike
            and isinstance(module, Affine)
            and network.rows == other.rows
            and (module.bias is None) == (cast(Affine, found).bias is None)
        ):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, found)
