"""The tracking network for one or two streams, open to methods (OSTrack, arXiv 2203.11991, section 3).

Images -> tokens -> blocks -> norm -> fusion of the streams -> center head. One set of weights serves both streams. A
method (`patrack.methods`) is a subclass that overrides some of the hooks below; what it adds to a plain network is what
it trains.
Legend: B samples, R rows (B, or 2B with two streams, RGB first), N = Nz + Nx tokens (template, search), C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from patrack.config.schema import MethodConfig, ModelConfig
from patrack.crop import MEAN, STD
from patrack.head import CenterHead
from patrack.modality import modalities
from patrack.vit import Attention, Block, PatchEmbed, TokenLayout

__all__ = [
    "FusionGate",
    "Network",
    "TrackingNetwork",
    "adapter_names",
    "adapter_parameters",
    "base_model_names",
    "base_network",
    "build_model",
    "freeze_batchnorm",
    "modality_numbers",
    "normalize",
    "trainable_parameters",
]


TEMPLATES = "model.templates"
"""Key of `Network.reading`, stated with two templates only."""


class Backbone(nn.Module):
    """The ViT's weights: patch and position embeddings, blocks, last norm, and the gate where streams are weighed."""

    def __init__(self, config: ModelConfig, streams: int, make_block: Callable[[int, float], Block]) -> None:
        super().__init__()
        self.template_grid = config.template_size // config.patch_size
        self.search_grid = config.search_size // config.patch_size
        self.elimination_layers = frozenset(config.elimination.layers)
        self.keep_ratio = config.elimination.keep_ratio
        # one stream has nothing to weigh
        self.fusion = config.fusion if streams == 2 or config.fusion != "gate" else "mean"
        self.patch_embed = PatchEmbed(config.patch_size, config.embed_dim)
        self.pos_embed_z = nn.Parameter(torch.zeros(1, self.template_grid**2, config.embed_dim))
        self.pos_embed_x = nn.Parameter(torch.zeros(1, self.search_grid**2, config.embed_dim))
        rates = [config.drop_path * i / max(config.depth - 1, 1) for i in range(config.depth)]
        self.blocks = nn.ModuleList(make_block(i, rate) for i, rate in enumerate(rates))
        self.norm = nn.LayerNorm(config.embed_dim, eps=1e-6)
        self.gate = FusionGate(config.embed_dim) if self.fusion == "gate" else None


class Network(nn.Module):
    """A plain tracker for one or two streams; subclasses are methods.

    Args:
        config: sizes, streams, fusion, elimination.

    Attributes:
        backbone: see `Backbone`.
        task_adapter: what stands between the fused search tokens and the head, or None; see `reach_head`.
        head: the center head.
        streams: "both", or one stream alone: "rgb" or "x".
    """

    Config: ClassVar[type[MethodConfig]] = MethodConfig
    """Class of `config.adapters`: the method's settings."""
    TAKES_TWO_TEMPLATES: ClassVar[bool] = True
    """False where hooks handle the tokens of one template only."""
    PUBLISHED_NAMES: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Names of the method's tensors in its release: regular expressions and what replaces them, one after the other."""
    PUBLISHED_MARK: ClassVar[str] = ""
    """Part of a name that only files of the method's release have."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config, self.streams, self.patch_size = config, config.streams, config.patch_size
        self.backbone = Backbone(config, self.num_streams, self.make_block)
        self._initialize_linears()
        self.reset_parameters()
        self.task_adapter = self.make_task_adapter()
        self.head = CenterHead(config.embed_dim, config.head_channels)

    def _initialize_linears(self) -> None:
        """Draw the initial values of a base model that is trained from nothing."""
        std = 0.02 * (768 / self.config.embed_dim) ** 0.5  # timm's 0.02 at ViT-B
        for module in self.backbone.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.backbone.pos_embed_z, std=0.02)
        nn.init.trunc_normal_(self.backbone.pos_embed_x, std=0.02)
        for module in self.backbone.modules():
            if isinstance(module, Attention):
                module.match_by_similarity()

    # Hooks: what a method may override. All of them see both streams stacked along the batch, RGB first.

    def make_block(self, index: int, drop_path: float) -> Block:
        """Make block `index`, from 0."""
        return Block(self.config.embed_dim, self.config.num_heads, self.config.mlp_ratio, drop_path)

    def make_task_adapter(self) -> nn.Module | None:
        """Make what stands between the fused search tokens (B, Nx, C) and the head; here: nothing."""
        return None

    def reset_parameters(self) -> None:
        """Draw initial values of added modules that shouldn't start as linear layers: truncated normal, zero bias."""
        if self.backbone.gate is not None:
            self.backbone.gate.reset_parameters()

    def frozen_modules(self) -> Iterable[nn.Module]:
        """Name modules that a method adds but doesn't train; here: none."""
        return ()

    def reading(self) -> dict[str, str]:
        """Name the settings that change what the same tensors compute, which files of weights therefore state."""
        found = {"model.fusion": self.backbone.fusion} if self.num_streams == 2 else {}
        return found | ({TEMPLATES: str(self.templates)} if self.templates > 1 else {})

    def published_reading(self) -> dict[str, str]:
        """Name the settings under which the release's tensors mean what they meant there, as `reading` does."""
        return {}

    def unused_published(self) -> list[str]:
        """Name tensors of the release's files that reach no output: regular expressions of whole names; here: none."""
        return []

    def starts_as(self) -> dict[str, str]:
        """Name tensors that start as copies of the base model's: name of the added one -> name of the other."""
        return {}

    def rate_of(self, name: str) -> float:
        """Return the factor on the learning rate of a parameter that trains, by its name; here: 1."""
        return 1.0

    def encode(self, template: Tensor, search: Tensor, modality: Tensor | None) -> tuple[Tensor, TokenLayout]:
        """Take images through embedding and blocks.

        Args:
            template, search, modality: see `embed`.

        Returns:
            Tokens behind the last block (R, Nz+n, C) and their layout.
        """
        backbone = self.backbone
        tokens = self.embed(template, search, modality)
        layout = self.layout(modality)
        for i, block in enumerate(backbone.blocks):
            tokens, layout = block(tokens, layout, self.keep_ratio_at(i))
        return tokens, layout

    def join(self, tokens: Tensor, layout: TokenLayout) -> Tensor:
        """Make the features of one stream of the blocks' tokens.

        Args:
            tokens: (R, Nz+n, C), of `encode`.
            layout: theirs.

        Returns:
            (B, Nz+Nx, C), normalized, zeros where search tokens were eliminated.
        """
        tokens = self.backbone.norm(tokens)
        if layout.streams == 2:
            tokens = self.fuse(tokens, layout)
            grids = layout.template_grid, layout.search_grid
            layout = TokenLayout(*grids, 1, layout.kept, layout.modality, layout.templates)
        return layout.to_full(tokens)

    def embed(self, template: Tensor, search: Tensor, modality: Tensor | None) -> Tensor:
        """Turn images into tokens.

        Args:
            template: (R, 3, Hz, Wz), normalized; of two templates (R, 2, 3, Hz, Wz).
            search: (R, 3, Hx, Wx).
            modality: see `forward`.

        Returns:
            (R, Nz+Nx, C), position embeddings added.
        """
        if template.ndim == 5:
            z = self.backbone.patch_embed(template.flatten(0, 1)) + self.backbone.pos_embed_z
            z = z.unflatten(0, template.shape[:2]).flatten(1, 2)
        else:
            z = self.backbone.patch_embed(template) + self.backbone.pos_embed_z
        x = self.backbone.patch_embed(search) + self.backbone.pos_embed_x
        return torch.cat((z, x), dim=1)

    def fuse(self, tokens: Tensor, layout: TokenLayout) -> Tensor:
        """Make one stream of two: normalized tokens (2B, Nz+n, C) -> (B, Nz+n, C)."""
        rgb, x = tokens.chunk(2)
        fused = rgb + x if self.backbone.fusion == "sum" else (rgb + x) / 2
        if self.backbone.gate is None:
            return fused
        first = layout.num_template
        return torch.cat((fused[:, :first], self.backbone.gate(rgb[:, first:], x[:, first:])), dim=1)

    def reach_head(self, tokens: Tensor, modality: Tensor | None) -> Tensor:
        """Adapt fused search tokens (B, Nx, C) to the head, zeros where they were eliminated; (B,) modality numbers."""
        return tokens if self.task_adapter is None else self.task_adapter(tokens)

    def of_modality(self, modality: str | None) -> Network:
        """Return the network that this one is for samples of one modality, of which it may share tensors; here: itself.

        Args:
            modality: a name in `patrack.modality.PAIRS`; None: not known.

        Raises:
            ValueError: the network treats modalities apart, and it isn't known or none of them.
        """
        return self

    def before_compiling(self) -> None:
        """Prepare for `torch.compile` what it can't take as it is; here: nothing."""

    def extra_loss(self) -> Tensor | None:
        """Return a loss of the method's own for the last training forward, a mean over its samples; here: none."""
        return None

    def training_loss(
        self, output: dict[str, Any], loss: Callable[[dict[str, Any]], tuple[Tensor, dict[str, Tensor]]]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of a training forward.

        Args:
            output: what `forward` returned.
            loss: maps and boxes, with `extra_loss` if there is one -> their loss and its terms; see `tracking_loss`.

        Returns:
            What `loss` returns; here: of the output.
        """
        return loss(output)

    # The forward

    def forward(
        self, template: Tensor, search: Tensor, return_features: bool = False, modality: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Find the template's target in the search crops.

        Args:
            template: (B, 6, Hz, Wz) normalized, RGB then X; (B, 3, Hz, Wz) is enough for one stream. With
                `model.templates` 2, (B, 2, 6 or 3, Hz, Wz): that of the first frame, and an online one.
            search: (B, 6 or 3, Hx, Wx), likewise.
            return_features: adds `features` (B, Nz+Nx, C), the fused tokens before the head is reached.
            modality: (B,) int64, number of each sample's X modality (`patrack.modality`), for methods that treat them
                apart; None: not known.

        Returns:
            What `CenterHead.forward` returns; in training also `extra_loss` (), if the method has one.

        Raises:
            ValueError: an input has the wrong number of channels or the wrong size.
        """
        if template.shape[1:-3] != ((self.templates,) if self.templates > 1 else ()):
            wanted = "(B, 6, Hz, Wz)" if self.templates == 1 else f"(B, {self.templates}, 6, Hz, Wz)"
            raise ValueError(
                f"template must be {wanted} for model.templates={self.templates}, got {tuple(template.shape)}"
            )
        template = self._rows(template, self.template_size, "template")
        search = self._rows(search, self.search_size, "search")
        samples = len(search) // (2 if self.streams == "both" else 1)
        if modality is not None and modality.shape != (samples,):
            raise ValueError(f"modality must have one number per sample, got shape {tuple(modality.shape)}")

        features = self.join(*self.encode(template, search, modality))
        adapted = self.reach_head(features[:, self.layout().num_template :], modality)
        output: dict[str, Tensor] = self.head(rearrange(adapted, "b (y x) c -> b c y x", y=self.search_grid))
        if return_features:
            output["features"] = features
        extra = self.extra_loss() if self.training else None
        return output if extra is None else {**output, "extra_loss": extra}

    def _rows(self, images: Tensor, size: int, name: str) -> Tensor:
        """Stack the streams' images as rows: (B, ..., 6, H, W) -> (2B, ..., 3, H, W) or (B, ..., 3, H, W)."""
        channels, height, width = images.shape[-3:]
        allowed = (6,) if self.streams == "both" else (3, 6)
        if channels not in allowed or (height, width) != (size, size):
            wanted = " or ".join(f"(B, {c}, {size}, {size})" for c in allowed)
            raise ValueError(f"{name} must be {wanted} for streams={self.streams!r}, got {tuple(images.shape)}")
        if channels == 3:
            return images
        rgb, x = images.split(3, dim=-3)
        return torch.cat((rgb, x)) if self.streams == "both" else rgb if self.streams == "rgb" else x

    # Sizes and settings

    def layout(self, modality: Tensor | None = None) -> TokenLayout:
        """Return the layout of the tokens in front of the first block."""
        grids = self.backbone.template_grid, self.search_grid
        return TokenLayout(*grids, self.num_streams, modality=modality, templates=self.templates)

    def keep_ratio_at(self, block: int) -> float:
        """Return the share of search tokens that a block keeps, by its number from 0."""
        return self.backbone.keep_ratio if block in self.backbone.elimination_layers else 1.0

    @property
    def num_streams(self) -> int:
        """Streams in the blocks: 1, or 2 where RGB and X run side by side."""
        return 2 if self.streams == "both" else 1

    @property
    def search_grid(self) -> int:
        """Cells a side of the score map."""
        return self.backbone.search_grid

    @property
    def templates(self) -> int:
        """Templates that `forward` takes: 1, or 2."""
        return self.config.templates

    @property
    def template_size(self) -> int:
        """Side of the template crop, pixels."""
        return self.backbone.template_grid * self.patch_size

    @property
    def search_size(self) -> int:
        """Side of the search crop, pixels."""
        return self.backbone.search_grid * self.patch_size

    def set_keep_ratio(self, keep_ratio: float) -> None:
        """Set the share of search tokens kept at each elimination block, in (0, 1]; 1 switches elimination off."""
        if not 0.0 < keep_ratio <= 1.0:
            raise ValueError(f"keep_ratio must lie in (0, 1], got {keep_ratio}")
        self.backbone.keep_ratio = keep_ratio


class FusionGate(nn.Module):
    """Weigh the two streams, token by token, where they meet: RGB + g (X - RGB) with g in (0, 1).

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
        """Start with a random first layer and a second one that is zero but for its bias: g is equal for all tokens."""
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


class TrackingNetwork(nn.Module):
    """Interface of a network in the form that tracks: crops as bytes, the template once.

    Attributes:
        streams: "both", "rgb" or "x".
        template_size, search_size: sides of the crops, pixels.
        rows: rows of a template's embedding per target.
        templates: that `forward` takes of each target.
    """

    streams: str
    template_size: int
    search_size: int
    rows: int
    templates: int = 1

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights and activations."""
        raise NotImplementedError

    def embed_template(self, crops: Tensor) -> Tensor:
        """Template crops (B, Hz, Wz, 3 or 6) uint8 -> what `forward` wants of them for every frame: (rows * B, ...)."""
        raise NotImplementedError

    def forward(self, template: Tensor, crops: Tensor) -> dict[str, Tensor]:
        """Find targets: `embed_template`'s result and search crops (B, Hx, Wx, 3 or 6) uint8 -> maps and boxes.

        With several `templates`, their embeddings are stacked along a second axis: (rows * B, templates, ...).
        """
        raise NotImplementedError


def build_model(config: Any) -> Network:
    """Build the network of an experiment, with initial weights.

    Args:
        config: an object whose `model` is a `ModelConfig`; `model.method` names the class in `patrack.methods.METHODS`.
            With one stream there is nothing to adapt, and the network is a plain one.
    """
    from patrack.methods import METHODS  # methods build on this module

    model: ModelConfig = config.model
    return METHODS[model.method](model) if model.streams == "both" else Network(model)


def adapter_names(model: Network) -> list[str]:
    """Name the tensors that a plain network of that size lacks: what a method adds, trained or not."""
    plain = set(base_model_names(model))
    return [name for name in model.state_dict() if name not in plain]


def base_model_names(model: Network) -> list[str]:
    """Name the tensors of a plain one-stream network of that size: those of the base model."""
    with torch.device("meta"):
        plain = Network(model.config.model_copy(update={"streams": "rgb"})).state_dict()
    return [name for name in model.state_dict() if name in plain]


def base_network(model: Network) -> Network:
    """Return the base model alone, a plain network of one stream `rgb`, which shares its tensors with the model."""
    with torch.device("meta"):
        plain = Network(model.config.model_copy(update={"streams": "rgb"}))
    state = model.state_dict()
    plain.load_state_dict({name: state[name] for name in plain.state_dict()}, assign=True)
    return plain.requires_grad_(False).eval()


def adapter_parameters(model: Network) -> dict[str, nn.Parameter]:
    """Return the parameters that a method adds and trains, by name."""
    frozen = {parameter for module in model.frozen_modules() for parameter in module.parameters()}
    added = set(adapter_names(model))
    return {name: p for name, p in model.named_parameters() if name in added and p not in frozen}


def trainable_parameters(model: Network, which: str, frozen_blocks: int = 0) -> dict[str, nn.Parameter]:
    """Freeze everything but `which` and return what trains, by name.

    Args:
        model: changed in place: `requires_grad` of every parameter.
        which: "adapters" (`adapter_parameters`) or "all".
        frozen_blocks: with "all", patch and position embedding and this many blocks from the first stay as they are.

    Raises:
        ValueError: `which` is unknown, or the model has no adapters to train.
    """
    if which not in ("adapters", "all"):
        raise ValueError(f"which must be 'adapters' or 'all', got {which!r}")
    chosen = adapter_parameters(model) if which == "adapters" else dict(model.named_parameters())
    if which == "all" and frozen_blocks:
        blocks = tuple(f"backbone.blocks.{number}." for number in range(frozen_blocks))
        frozen = ("backbone.patch_embed.", "backbone.pos_embed_", *blocks)
        chosen = {name: parameter for name, parameter in chosen.items() if not name.startswith(frozen)}
    if not chosen:
        config = model.config
        raise ValueError(
            f"the model has no adapters to train (model.method={config.method}, model.streams={config.streams}): take "
            "model.streams=both and a method with a part of it enabled in model.adapters, or train.trainable=all"
        )
    model.requires_grad_(False)
    for parameter in chosen.values():
        parameter.requires_grad_(True)
    return chosen


def freeze_batchnorm(model: nn.Module) -> None:
    """Keep the running statistics of every batch normalisation; call it after each `model.train()`."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def modality_numbers(modality: str | None, count: int, device: torch.device) -> Tensor | None:
    """Make what `Network.forward` takes as `modality` for samples of one modality: (count,), or None if not known."""
    return None if modality is None else torch.full((count,), modalities().index(modality), device=device)


def normalize(patch: np.ndarray | Tensor) -> Tensor:
    """Pixels to network input: (v / 255 - mean) / std, mean and std repeated for every three channels.

    Args:
        patch: (..., H, W, C), values 0..255 (uint8 or float), C a multiple of 3.

    Returns:
        (..., C, H, W) float32, on the device of a tensor given, else on the CPU.
    """
    pixels = torch.as_tensor(patch)
    channels = pixels.shape[-1]
    if channels % 3:
        raise ValueError(f"number of channels must be a multiple of 3, got {channels} in shape {tuple(pixels.shape)}")
    mean = torch.tensor(MEAN * (channels // 3), device=pixels.device)
    std = torch.tensor(STD * (channels // 3), device=pixels.device)
    return ((pixels.float() / 255.0 - mean) / std).movedim(-1, -3).contiguous()
