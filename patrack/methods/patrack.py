"""PATrack: progressive adaptation of a frozen RGB tracker to a second sensor (arXiv 2603.21100, section 3).

Three families of adapters are the only weights that train:

- MDA, modality-dependent (3.2): high and low frequencies inside each stream, beside both halves of a block;
- CEA, modality-entangled (3.3): cross-attention guided by what both streams share, beside both halves of a block;
- HA, task adapter (3.4): a bottleneck between the fused features and the frozen head.

In a block with input R (RGB) and X, with LN1, LN2 the frozen norms and DP stochastic depth (first half; the second is
alike with LN2 and the MLP):

    R' = R + DP(Att(LN1 R)) + DP(MDA(LN1 X)) + DP(g LN1 F_R)        F_R, F_X = CEA(LN R, LN X)
    X' = X + DP(Att(LN1 X)) + DP(MDA(LN1 R)) + DP(g LN1 F_X)

By default a block holds MDA or CEA, not both. Two readings of the paper exist: `form="published"` repeats the released
weights' function (commit c64ec4c), `form="paper"` follows the text. `init="neutral"` gives every family zero effect on
the base model at step 0; g is a learned factor per channel then, and 1 otherwise.

One network may serve several pairs (`model.modalities`). By `per_modality` it treats them alike ("nothing"), scales and
shifts what MDA and CEA read for each ("norms": LN m_k + b_k in place of LN, with k the sample's modality), or has all
three families once for each ("adapters"). Not in the paper, which trains a network per pair.

Legend: B samples, R rows (2B, RGB first), N tokens, C channels, D hidden channels, g tokens a side of a grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from patrack.config.schema import Fraction, MethodConfig, ModelConfig, Positive, Section
from patrack.modality import modalities
from patrack.network import Network
from patrack.vit import Block, TokenLayout, attend

__all__ = [
    "ModalityAffine",
    "ModalityDependentAdapter",
    "ModalityEntangledAdapter",
    "PATrack",
    "PATrackBlock",
    "PerModality",
    "TaskAdapter",
]

Form = Literal["published", "paper"]
Parts = Literal["both", "high", "low"]
Adapter = TypeVar("Adapter", bound=nn.Module)


class ModalityDependentAdapter(nn.Module):
    """Split features into a high- and a low-frequency part (MDA; paper, section 3.2).

    A bottleneck whose channels take three ways: depthwise convolution and max-pooling (high frequency), average
    pooling (low frequency). Templates and search are handled apart with the same weights.

    Args:
        dim: token channels C.
        hidden_dim: bottleneck width D, a multiple of 4.
        form: "published" gives each stream's output to the other stream, "paper" back to its own.
        parts: "high" or "low" builds the channels of that part alone, as wide as they are in "both": D/2 in the
            bottleneck, then W = D (high) or D/2 (low) in front of `expand`; with both parts W = 3D/2.
    """

    def __init__(self, dim: int, hidden_dim: int = 8, form: Form = "published", parts: Parts = "both") -> None:
        super().__init__()
        if hidden_dim % 4:
            raise ValueError(f"hidden_dim must be a multiple of 4, got {hidden_dim}")
        self.form = form
        quarter, half = hidden_dim // 4, hidden_dim // 2
        high, low = parts != "low", parts != "high"
        self.widths = (quarter * high, quarter * high, half * low)  # bottleneck: convolution, max-pooling, low part
        self.fused_widths = (half * high, half * high, half * low)
        fused = sum(self.fused_widths)
        self.reduce = nn.Linear(dim, sum(self.widths))
        self.high_expand = nn.Conv2d(quarter, half, 1, bias=False) if high else None
        self.high_depthwise = nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False) if high else None
        self.high_pool = nn.Conv2d(quarter, half, 1) if high else None
        self.fuse_depthwise = nn.Conv2d(fused, fused, 3, padding=1, groups=fused, bias=False)
        self.expand = nn.Linear(fused, dim)
        self.reset_parameters()

    def reset_parameters(self, neutral: bool = False) -> None:
        """Initial values of the release; neutral: the last layer starts at zero."""
        nn.init.trunc_normal_(self.reduce.weight, std=0.02)
        nn.init.zeros_(self.reduce.bias)
        for conv in (self.high_expand, self.high_depthwise, self.high_pool, self.fuse_depthwise):
            if conv is not None:
                conv.reset_parameters()
        self.expand.reset_parameters()
        if neutral:
            nn.init.zeros_(self.expand.weight)
            nn.init.zeros_(self.expand.bias)

    def forward(self, tokens: Tensor, layout: TokenLayout) -> Tensor:
        """Tokens (R, N, C) -> enhanced tokens of the same rows (R, N, C)."""
        return self.expand(self._mixed(tokens, layout))

    def exchange(self, tokens: Tensor, layout: TokenLayout) -> Tensor:
        """Normalized tokens of both streams (2B, N, C) -> what is added to each of them (2B, N, C)."""
        mixed = self._mixed(tokens, layout)
        if self.form == "published":
            mixed = mixed.roll(len(mixed) // 2, dims=0)  # before `expand`, where rows are narrow
        return self.expand(mixed)

    def _mixed(self, tokens: Tensor, layout: TokenLayout) -> Tensor:
        """Tokens (R, N, C) -> what `expand` reads (R, N, W)."""
        *templates, search = layout.split_grids(self.reduce(tokens))  # each (R, n, D), or D/2 of one part
        mixed = [self._mix(template, layout.template_grid) for template in templates]
        search = layout.to_kept_search(self._mix(layout.to_full_search(search), layout.search_grid))
        return torch.cat((*mixed, search), dim=1)

    def _mix(self, tokens: Tensor, grid: int) -> Tensor:
        """Bottleneck tokens (R, g*g, D or D/2) -> high and low parts side by side (R, g*g, W)."""
        p = tokens.unflatten(1, (grid, grid)).permute(0, 3, 1, 2)
        high_conv, high_pool, low = p.split(self.widths, dim=1)
        mixed = []
        if self.high_expand is not None and self.high_depthwise is not None and self.high_pool is not None:
            mixed.append(F.gelu(self.high_depthwise(self.high_expand(high_conv))))
            mixed.append(F.gelu(self.high_pool(F.max_pool2d(high_pool, 3, stride=1, padding=1))))
        if low.shape[1]:
            mixed.append(F.interpolate(F.avg_pool2d(low, 2), scale_factor=2, mode="nearest"))
        f = torch.cat(mixed, dim=1)  # (R, W, g, g)
        return (f + self.fuse_depthwise(f)).flatten(2).transpose(1, 2)


class ModalityEntangledAdapter(nn.Module):
    """Cross-attention between the streams, guided by what both share (CEA; paper, section 3.3).

    Tokens of the templates and of the search crop never mix. In standard terms, for the RGB stream (X alike), with R
    and X reduced to D channels, S = W [R; X] the features that both share, M and V a stream's own projections:

    - published: softmax(M_R R S^T) V_R R + X: its own query, S as the key, the other stream as residual;
    - paper: softmax(S (M_X X)^T / sqrt(D)) V_X X: S as the query, keys and values of the other stream, no residual;

    and without the shared features, where one stream's take their place so that the attention still runs across:

    - published: softmax(M_R R X^T) V_R R + X: the other stream as the key;
    - paper: softmax(R (M_X X)^T / sqrt(D)) V_X X: plain cross-attention, its own features as the query. Another
      projection in front of it would add nothing that M_X can't do.

    Args:
        dim: token channels C.
        hidden_dim: width D of the attention.
        form: see above.
        gated: adds one factor per channel, starting at zero, on the (normalized) output: zero-init, which zero
            weights can't give because the output is normalized before it is added.
        shared_query: with the shared features; False leaves out W, 2 D^2 weights.
    """

    def __init__(
        self,
        dim: int,
        hidden_dim: int = 192,
        form: Form = "published",
        gated: bool = False,
        shared_query: bool = True,
    ) -> None:
        super().__init__()
        self.form = form
        self.down = nn.Linear(dim, hidden_dim, bias=False)
        self.shared = nn.Linear(2 * hidden_dim, hidden_dim, bias=False) if shared_query else None
        self.rgb_match = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.rgb_value = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.x_match = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.x_value = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.up = nn.Linear(hidden_dim, dim, bias=False)
        self.gate = nn.Parameter(torch.zeros(dim)) if gated else None

    def reset_parameters(self) -> None:
        """Initial values of the release (PyTorch's default); the gate closed."""
        for layer in (self.down, self.shared, self.rgb_match, self.rgb_value, self.x_match, self.x_value, self.up):
            if layer is not None:
                layer.reset_parameters()
        if self.gate is not None:
            nn.init.zeros_(self.gate)

    def forward(self, tokens: Tensor, layout: TokenLayout) -> Tensor:
        """Normalized tokens of both streams (2B, N, C) -> (2B, N, C), before the base model's norm and the gate."""
        rgb, x = self.down(tokens).chunk(2)  # each (B, N, D)
        shared = None if self.shared is None else self.shared(torch.cat((rgb, x), dim=2))
        parts = (
            (rgb, self.rgb_match(rgb), self.rgb_value(rgb)),
            (x, self.x_match(x), self.x_value(x)),
        )
        outputs = [self._attend(own, other, shared, layout) for own, other in (parts, parts[::-1])]
        return self.up(torch.cat(outputs))

    def entangle(self, tokens: Tensor, norm: nn.Module, layout: TokenLayout) -> Tensor:
        """Normalized tokens of both streams (2B, N, C) -> what is added to each, behind the base model's norm."""
        entangled: Tensor = norm(self(tokens, layout))
        return entangled if self.gate is None else entangled * self.gate

    def _attend(
        self, own: tuple[Tensor, ...], other: tuple[Tensor, ...], shared: Tensor | None, layout: TokenLayout
    ) -> Tensor:
        """One stream's update (B, N, D); `own` and `other` are (features, match, value) of the two streams."""
        if self.form == "published":
            query, key, value, scale = own[1], other[0] if shared is None else shared, own[2], 1.0
        else:
            query, key, value, scale = own[0] if shared is None else shared, other[1], other[2], None
        sections = zip(*(layout.split_grids(item) for item in (query, key, value)), strict=True)
        out = torch.cat([attend(q, k, v, scale) for q, k, v in sections], dim=1)
        return out + other[0] if self.form == "published" else out


class TaskAdapter(nn.Module):
    """Bottleneck that adapts the fused features to the frozen head (HA; paper, section 3.4).

    An affine map in eval mode: the published one has neither activation nor skip.

    Args:
        dim: channels C.
        hidden_dim: width D.
        dropout: probability, between the second and the third layer.
        skip: adds the input to the output (zero-init).
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
        adapted = self.up(self.dropout(self.reduced(tokens)))
        return tokens + adapted if self.skip else adapted

    def reduced(self, tokens: Tensor) -> Tensor:
        """(B, Nx, C) -> the bottleneck's features (B, Nx, D), before dropout."""
        return self.mid(self.down(tokens))


class PerModality(nn.ModuleDict):
    """One adapter for each X modality; a sample goes through its own's.

    Args:
        make: makes one.
        names: of the modalities; `TokenLayout.modality` holds places in this list.
    """

    def __init__(self, make: Callable[[], nn.Module], names: Iterable[str]) -> None:
        super().__init__({name: make() for name in names})

    def exchange(self, tokens: Tensor, layout: TokenLayout) -> Tensor:
        """See `ModalityDependentAdapter.exchange`."""
        return self._each(
            layout.modality, 2, lambda one, samples, rows: one.exchange(tokens[rows], layout.of_samples(samples))
        )

    def entangle(self, tokens: Tensor, norm: nn.Module, layout: TokenLayout) -> Tensor:
        """See `ModalityEntangledAdapter.entangle`."""
        return self._each(
            layout.modality, 2, lambda one, samples, rows: one.entangle(tokens[rows], norm, layout.of_samples(samples))
        )

    def forward(self, tokens: Tensor, modality: Tensor | None) -> Tensor:
        """Fused search tokens (B, Nx, C) and places of their modalities (B,) -> (B, Nx, C); see `TaskAdapter`."""
        reduced = self._each(modality, 1, lambda one, samples, rows: one.reduced(tokens[rows]))
        first = next(iter(self.values()))
        assert isinstance(first, TaskAdapter)
        dropped = first.dropout(reduced)  # one mask for all samples, which the parts of a split batch share
        adapted = self._each(modality, 1, lambda one, samples, rows: one.up(dropped[rows]))
        return tokens + adapted if first.skip else adapted

    def leave_uncompiled(self) -> None:
        """Keep `torch.compile` out: numbers of samples differ from batch to batch.

        Not a decorator, since that loads the compiler, which takes as long as the rest of PyTorch.
        """
        self._each = torch.compiler.disable(self._each)  # type: ignore[method-assign]

    def _each(self, modality: Tensor | None, streams: int, compute: Callable[..., Tensor]) -> Tensor:
        """Compute the rows of each modality with its adapter, and bring them into the order of the samples.

        Args:
            modality: (B,) places.
            streams: rows of a sample: b, and B + b of two streams.
            compute: adapter, samples (b,) and their rows (streams * b,) -> (streams * b, N, C).
        """
        assert modality is not None  # `PATrack.places`
        parts, order = [], []
        for place, adapter in enumerate(self.values()):
            samples = (modality == place).nonzero().squeeze(1)
            # in training without samples, too: the gradients of several processes are joined, and none may lack one
            if len(samples) or torch.is_grad_enabled():
                rows = torch.cat([samples + len(modality) * stream for stream in range(streams)])
                parts.append(compute(adapter, samples, rows).unflatten(0, (streams, len(samples))))
                order.append(samples)
        return torch.cat(parts, dim=1)[:, torch.cat(order).argsort()].flatten(0, 1)


class ModalityAffine(nn.Module):
    """A factor and a shift for each channel and X modality, on normalized tokens; starts without effect.

    Args:
        dim: channels C.
        count: modalities K.
    """

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(count, dim))  # the factor minus 1, which weight decay leads to
        self.shift = nn.Parameter(torch.zeros(count, dim))

    def forward(self, tokens: Tensor, layout: TokenLayout) -> Tensor:
        """(R, N, C) -> (R, N, C)."""
        assert layout.modality is not None  # `PATrack.places`
        rows = layout.modality.repeat(layout.streams)  # (R,)
        return tokens * (1.0 + self.scale[rows].unsqueeze(1)) + self.shift[rows].unsqueeze(1)


class MDAConfig(Section):
    """Modality-dependent adapters (paper, section 3.2)."""

    enabled: bool = True
    layers: list[int] | None = Field(None, description="block numbers, from 0; null: every block without a CEA")
    hidden_dim: Positive = Field(8, description="width of the bottleneck; a multiple of 4")
    parts: Parts = Field(
        "both", description="high or low: the channels of that frequency part alone, half of the bottleneck"
    )
    form: Literal["published", "paper"] = Field(
        "published", description="published: output goes to the other stream; paper: to the stream it came from"
    )


class CEAConfig(Section):
    """Modality-entangled adapters (paper, section 3.3)."""

    enabled: bool = True
    layers: list[int] = Field([3, 6, 9], description="block numbers, from 0")
    hidden_dim: Positive = 192
    form: Literal["published", "paper"] = Field(
        "published",
        description="published: attends within a stream, residual crossed; paper: keys and values of the other stream",
    )
    shared_query: bool = Field(
        True, description="false: a stream's own features in place of what both share, as plain cross-attention has it"
    )


class TaskAdapterConfig(Section):
    """Task adapter in front of the frozen head (paper, section 3.4)."""

    enabled: bool = True
    hidden_dim: Positive = 192
    dropout: Fraction = 0.1


class PATrackConfig(MethodConfig):
    """The three families and how they start."""

    mda: MDAConfig = MDAConfig()
    cea: CEAConfig = CEAConfig()
    task: TaskAdapterConfig = TaskAdapterConfig()
    init: Literal["published", "neutral"] = Field(
        "published",
        description="published: the release's values; neutral: zero-init, with a skip around the task adapter",
    )
    per_modality: Literal["nothing", "norms", "adapters"] = Field(
        "nothing",
        description="what each of model.modalities has of its own: norms: factor and shift on what MDA and CEA read",
    )

    def mistakes(self, model: ModelConfig) -> list[tuple[str, object, str]]:
        """Find settings that don't go with the sizes of the network; see `MethodConfig.mistakes`."""
        found: list[tuple[str, object, str]] = []
        if self.mda.enabled:
            for key, size in (("template_size", model.template_size), ("search_size", model.search_size)):
                if size % model.patch_size == 0 and size // model.patch_size % 2:
                    rule = f"must be an even multiple of model.patch_size ({model.patch_size}) for model.adapters.mda"
                    found.append((key, size, rule))
            if self.mda.hidden_dim % 4:
                found.append(("adapters.mda.hidden_dim", self.mda.hidden_dim, "must be a multiple of 4"))
        if self.per_modality != "nothing" and not model.modalities:
            rule = "needs modality rgbx and the pairs in model.modalities"
            found.append(("adapters.per_modality", self.per_modality, rule))
        layers = {
            "adapters.cea.layers": self.cea.layers if self.cea.enabled else [],
            "adapters.mda.layers": self.mda.layers or [] if self.mda.enabled else [],
        }
        return found + [item for key, numbers in layers.items() for item in model.wrong_layers(key, numbers)]


class PATrackBlock(Block):
    """A block of the frozen ViT with adapters beside both halves.

    Args:
        dim, num_heads, mlp_ratio, drop_path: see `Block`.
        mda: two modality-dependent adapters (attention half, MLP half), or None; or such for each modality.
        cea: two modality-entangled adapters, or None; each has a norm in front of it, which isn't trained.
        affine: number of modalities that scale and shift what adapters read; 0: none does.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        mda: tuple[ModalityDependentAdapter | PerModality, ModalityDependentAdapter | PerModality] | None = None,
        cea: tuple[ModalityEntangledAdapter | PerModality, ModalityEntangledAdapter | PerModality] | None = None,
        affine: int = 0,
    ) -> None:
        super().__init__(dim, num_heads, mlp_ratio, drop_path)
        self.mda1: ModalityDependentAdapter | PerModality | None
        self.mda2: ModalityDependentAdapter | PerModality | None
        self.cea1: ModalityEntangledAdapter | PerModality | None
        self.cea2: ModalityEntangledAdapter | PerModality | None
        self.mda1, self.mda2 = mda or (None, None)
        self.cea1, self.cea2 = cea or (None, None)
        self.cea_norm1 = nn.LayerNorm(dim, eps=1e-6) if cea else None
        self.cea_norm2 = nn.LayerNorm(dim, eps=1e-6) if cea else None
        self.mda_affine1 = ModalityAffine(dim, affine) if mda and affine else None
        self.mda_affine2 = ModalityAffine(dim, affine) if mda and affine else None
        self.cea_affine1 = ModalityAffine(dim, affine) if cea and affine else None
        self.cea_affine2 = ModalityAffine(dim, affine) if cea and affine else None

    def beside(self, half: int, tokens: Tensor, normed: Tensor, layout: TokenLayout) -> Iterable[Tensor]:
        """Compute the adapters' branches (2B, N, C) of one half; see `Block.beside`."""
        first = half == 1
        mda, cea = (self.mda1, self.cea1) if first else (self.mda2, self.cea2)
        norm, cea_norm = (self.norm1, self.cea_norm1) if first else (self.norm2, self.cea_norm2)
        for_mda, for_cea = (self.mda_affine1, self.cea_affine1) if first else (self.mda_affine2, self.cea_affine2)
        branches = []
        if mda is not None:
            branches.append(mda.exchange(normed if for_mda is None else for_mda(normed, layout), layout))
        if cea is not None and cea_norm is not None:
            read = cea_norm(tokens)
            branches.append(cea.entangle(read if for_cea is None else for_cea(read, layout), norm, layout))
        return branches


class PATrack(Network):
    """The paper's network: where the adapters go.

    Args:
        config: `config.adapters` is a `PATrackConfig`.
    """

    Config = PATrackConfig
    PUBLISHED_NAMES = (
        (r"\.mda1\.", ".adap_t."),
        (r"\.mda2\.", ".adap2_t."),
        (r"(\.adap2?_t)\.reduce\.", r"\1.D_fc1."),
        (r"(\.adap2?_t)\.high_expand\.", r"\1.high_mixer.conv1."),
        (r"(\.adap2?_t)\.high_depthwise\.", r"\1.high_mixer.proj1."),
        (r"(\.adap2?_t)\.high_pool\.", r"\1.high_mixer.proj2."),
        (r"(\.adap2?_t)\.fuse_depthwise\.", r"\1.conv_fuse."),
        (r"(\.adap2?_t)\.expand\.", r"\1.proj."),
        (r"\.cea([12])\.", r".highfuseadapter\1."),
        (r"(\.highfuseadapter[12])\.shared\.", r"\1.obj_fuse.linearcat."),
        (r"(\.highfuseadapter[12])\.rgb_match\.", r"\1.obj_fuse.linear1."),
        (r"(\.highfuseadapter[12])\.rgb_value\.", r"\1.obj_fuse.linear2."),
        (r"(\.highfuseadapter[12])\.x_match\.", r"\1.obj_fuse.linear3."),
        (r"(\.highfuseadapter[12])\.x_value\.", r"\1.obj_fuse.linear4."),
        (r"\.cea_norm([12])\.", r".norml\1."),
        (r"^task_adapter\.", "adapter_head.adapter_"),
    )
    PUBLISHED_MARK = ".adap_t.D_fc1."

    def make_block(self, index: int, drop_path: float) -> Block:
        """Give a block the adapters that the settings want there."""
        model, mda, cea = self.config, self.settings.mda, self.settings.cea
        mda_pair = cea_pair = None
        if mda.enabled and (index not in cea.layers if mda.layers is None else index in mda.layers):

            def make_mda() -> ModalityDependentAdapter:
                return ModalityDependentAdapter(model.embed_dim, mda.hidden_dim, mda.form, mda.parts)

            mda_pair = (self._own(make_mda), self._own(make_mda))
        if cea.enabled and index in cea.layers:
            gated = self.settings.init == "neutral"

            def make_cea() -> ModalityEntangledAdapter:
                return ModalityEntangledAdapter(model.embed_dim, cea.hidden_dim, cea.form, gated, cea.shared_query)

            cea_pair = (self._own(make_cea), self._own(make_cea))
        affine = len(model.modalities) if self.settings.per_modality == "norms" else 0
        return PATrackBlock(model.embed_dim, model.num_heads, model.mlp_ratio, drop_path, mda_pair, cea_pair, affine)

    def _own(self, make: Callable[[], Adapter]) -> Adapter | PerModality:
        """Make an adapter, or one for each modality."""
        return PerModality(make, self.config.modalities) if self.settings.per_modality == "adapters" else make()

    def make_task_adapter(self) -> TaskAdapter | PerModality | None:
        """Make the bottleneck in front of the head."""
        task, skip = self.settings.task, self.settings.init == "neutral"
        if not task.enabled:
            return None
        return self._own(lambda: TaskAdapter(self.config.embed_dim, task.hidden_dim, task.dropout, skip))

    def encode(self, template: Tensor, search: Tensor, modality: Tensor | None) -> tuple[Tensor, TokenLayout]:
        """Take images through embedding and blocks; see `Network.encode`."""
        return super().encode(template, search, self.places(modality))

    def reach_head(self, tokens: Tensor, modality: Tensor | None) -> Tensor:
        """Adapt fused search tokens to the head; see `Network.reach_head`."""
        if isinstance(self.task_adapter, PerModality):
            return self.task_adapter(tokens, self.places(modality))
        return super().reach_head(tokens, modality)

    def places(self, modality: Tensor | None) -> Tensor | None:
        """Turn numbers of modalities (B,) into places in `model.modalities`, if the network treats them apart.

        Raises:
            ValueError: it does, and one of them is missing or none of its own.
        """
        if self.settings.per_modality == "nothing":
            return modality
        names, known = self.config.modalities, modalities()
        if modality is None:
            self.of_modality(None)  # says what is missing
            raise AssertionError
        table = torch.tensor([names.index(name) if name in names else -1 for name in known], device=modality.device)
        places = table[modality]
        if (places < 0).any():
            others = sorted({known[number] for number in modality[places < 0].tolist()})
            raise ValueError(
                f"the network has {', '.join(names)} (model.modalities), got samples of {', '.join(others)}"
            )
        return places

    def before_compiling(self) -> None:
        """See `Network.before_compiling`."""
        for module in self.modules():
            if isinstance(module, PerModality):
                module.leave_uncompiled()

    def of_modality(self, modality: str | None) -> Network:
        """Return the network of one pair, which shares the tensors that aren't scaled; see `Network.of_modality`."""
        names, apart = self.config.modalities, self.settings.per_modality
        if apart == "nothing":
            return self
        if modality not in names:
            said = "" if modality is None else f", and doesn't know {modality}"
            raise ValueError(
                f"the network treats {', '.join(names)} apart (model.adapters.per_modality={apart}){said}: say which "
                f"of them the images are, with modality={names[0]} for instance"
            )

        # A network of that pair alone, whose tensors are this one's: those of its modality under names without it.
        adapters = self.settings.model_copy(update={"per_modality": "nothing"})
        with torch.device("meta"):
            one = type(self)(self.config.model_copy(update={"modalities": [], "adapters": adapters}))
        others = tuple(f".{name}." for name in names if name != modality)
        state = {
            name.replace(f".{modality}.", "."): tensor
            for name, tensor in self.state_dict().items()
            if not any(other in name for other in others) and "_affine" not in name
        }
        one.load_state_dict(state, assign=True)
        one.set_keep_ratio(self.backbone.keep_ratio)
        one.train(self.training)

        # Factor and shift go into the layer behind them (MDA) or into the norm in front of the adapter (CEA).
        place = names.index(modality)
        for block, joint in zip(one.backbone.blocks, self.backbone.blocks, strict=True):
            assert isinstance(block, PATrackBlock)
            assert isinstance(joint, PATrackBlock)
            for affine, mda in ((joint.mda_affine1, block.mda1), (joint.mda_affine2, block.mda2)):
                if affine is not None and isinstance(mda, ModalityDependentAdapter):
                    weight, bias = mda.reduce.weight, mda.reduce.bias
                    mda.reduce.bias = nn.Parameter((bias + weight @ affine.shift[place]).detach())
                    mda.reduce.weight = nn.Parameter((weight * (1.0 + affine.scale[place])).detach())
            for affine, norm in ((joint.cea_affine1, block.cea_norm1), (joint.cea_affine2, block.cea_norm2)):
                if affine is not None and norm is not None:
                    factor = 1.0 + affine.scale[place]
                    norm.bias = nn.Parameter((norm.bias * factor + affine.shift[place]).detach())
                    norm.weight = nn.Parameter((norm.weight * factor).detach())
        return one

    def reset_parameters(self) -> None:
        """Draw the adapters' initial values, as released or neutral."""
        for module in self.backbone.blocks.modules():
            if isinstance(module, ModalityDependentAdapter):
                module.reset_parameters(neutral=self.settings.init == "neutral")
            elif isinstance(module, ModalityEntangledAdapter):
                module.reset_parameters()
        super().reset_parameters()

    def frozen_modules(self) -> Iterable[nn.Module]:
        """Name the norms in front of the entangled adapters: they exist only with them, but don't train."""
        blocks = [block for block in self.backbone.blocks if isinstance(block, PATrackBlock)]
        return [norm for block in blocks for norm in (block.cea_norm1, block.cea_norm2) if norm is not None]

    def reading(self) -> dict[str, str]:
        """Name the settings that no tensor shows; see `Network.reading`."""
        adapters, found = self.settings, super().reading()
        kinds = {type(module) for module in self.modules()}
        if ModalityDependentAdapter in kinds:
            found["model.adapters.mda.form"] = adapters.mda.form
        if ModalityEntangledAdapter in kinds:
            found["model.adapters.cea.form"] = adapters.cea.form
        if TaskAdapter in kinds:
            found["model.adapters.init"] = adapters.init
        if self.config.modalities:
            found["model.modalities"] = ", ".join(self.config.modalities)
            found["model.adapters.per_modality"] = adapters.per_modality
        return found

    def published_reading(self) -> dict[str, str]:
        """Name what the released weights mean; see `Network.published_reading`."""
        adapters = {"mda.form": "published", "cea.form": "published", "init": "published"}
        return {"model.fusion": "sum"} | {f"model.adapters.{key}": value for key, value in adapters.items()}

    def unused_published(self) -> list[str]:
        """Name what the release builds but doesn't use: factors, and adapters of both kinds in every block."""
        unused = [r"backbone\.blocks\.\d+\.highfuseadapter[12]\.obj_fuse\.gamma[12]"]
        for number, block in enumerate(self.backbone.blocks):
            assert isinstance(block, PATrackBlock)
            if block.cea1 is not None and block.mda1 is None:
                unused.append(rf"backbone\.blocks\.{number}\.adap2?_t\..*")
            if block.mda1 is not None and block.cea1 is None:
                unused.append(rf"backbone\.blocks\.{number}\.(highfuseadapter|norml)[12]\..*")
        return unused

    @property
    def settings(self) -> PATrackConfig:
        """The method's part of the configuration."""
        adapters = self.config.adapters
        assert isinstance(adapters, PATrackConfig)
        return adapters
