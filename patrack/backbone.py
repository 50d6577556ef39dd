"""The frozen two-stream ViT with adapters inserted (paper, section 3.1). Legend: B batch, N tokens, C channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from patrack.adapters import Form, FusionGate, ModalityDependentAdapter, ModalityEntangledAdapter, TokenLayout
from patrack.vit import Attention, Block, PatchEmbed

__all__ = ["Backbone"]


class Backbone(nn.Module):
    """One set of foundation weights for one or two streams; two streams meet in the adapters and at the end.

    Args:
        template_grid: template tokens a side.
        search_grid: search tokens a side.
        patch_size: pixels a token covers, a side.
        embed_dim: channels C.
        depth: number of blocks.
        num_heads: attention heads.
        mlp_ratio: hidden width of an MLP over C.
        drop_path: stochastic depth of the last block; the others follow linearly from 0.
        mda_layers: blocks with modality-dependent adapters.
        mda_dim: their bottleneck width.
        mda_form: which reading of the paper they follow.
        cea_layers: blocks with modality-entangled adapters.
        cea_dim: their attention width.
        cea_form: which reading of the paper they follow.
        neutral: adapters contribute nothing at step 0.
        elimination_layers: blocks that drop search tokens when `keep_ratio` < 1.
        fusion: "sum" or "mean" of the two normalised streams, or "gate": see `FusionGate`.
    """

    def __init__(
        self,
        *,
        template_grid: int,
        search_grid: int,
        patch_size: int,
        embed_dim: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        mda_layers: Sequence[int] = (),
        mda_dim: int = 8,
        mda_form: Form = "published",
        cea_layers: Sequence[int] = (),
        cea_dim: int = 192,
        cea_form: Form = "published",
        neutral: bool = False,
        elimination_layers: Sequence[int] = (),
        fusion: str = "sum",
    ) -> None:
        super().__init__()
        self.template_grid, self.search_grid, self.fusion = template_grid, search_grid, fusion
        self.elimination_layers = frozenset(elimination_layers)
        self.keep_ratio = 1.0
        self.patch_embed = PatchEmbed(patch_size, embed_dim)
        self.pos_embed_z = nn.Parameter(torch.zeros(1, template_grid**2, embed_dim))
        self.pos_embed_x = nn.Parameter(torch.zeros(1, search_grid**2, embed_dim))
        blocks = []
        for i in range(depth):
            mda = cea = None
            if i in mda_layers:
                mda = tuple(ModalityDependentAdapter(embed_dim, mda_dim, mda_form) for _ in range(2))
            if i in cea_layers:
                cea = tuple(ModalityEntangledAdapter(embed_dim, cea_dim, cea_form, gated=neutral) for _ in range(2))
            rate = drop_path * i / max(depth - 1, 1)
            blocks.append(Block(embed_dim, num_heads, mlp_ratio, rate, mda, cea))
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.gate = FusionGate(embed_dim) if fusion == "gate" else None
        self._reset_parameters(neutral)

    def _reset_parameters(self, neutral: bool) -> None:
        """Initial values: what a foundation trained from nothing starts with, then the adapters' own."""
        std = 0.02 * (768 / self.pos_embed_z.shape[2]) ** 0.5  # timm's 0.02 at ViT-B
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.pos_embed_z, std=0.02)
        nn.init.trunc_normal_(self.pos_embed_x, std=0.02)
        for module in self.modules():
            if isinstance(module, Attention):
                module.match_by_similarity()
            elif isinstance(module, ModalityDependentAdapter):
                module.reset_parameters(neutral)
            elif isinstance(module, ModalityEntangledAdapter | FusionGate):
                module.reset_parameters()

    def forward(self, template: Tensor, search: Tensor, streams: int) -> Tensor:
        """Images of one or two streams -> fused tokens (B, Nz+Nx, C), template first, after the last norm.

        Args:
            template: (streams * B, 3, Hz, Wz), normalised; with two streams RGB rows first.
            search: (streams * B, 3, Hx, Wx).
            streams: 1 or 2.
        """
        tokens = torch.cat(
            (self.patch_embed(template) + self.pos_embed_z, self.patch_embed(search) + self.pos_embed_x), dim=1
        )
        layout = TokenLayout(self.template_grid, self.search_grid, streams)
        for i, block in enumerate(self.blocks):
            tokens, layout = block(tokens, layout, self.keep_ratio if i in self.elimination_layers else 1.0)
        tokens = self.norm(tokens)
        if streams == 2:
            rgb, x = tokens.chunk(2)
            fused = rgb + x if self.fusion == "sum" else (rgb + x) / 2
            if self.gate is not None:
                first = layout.num_template
                fused = torch.cat((fused[:, :first], self.gate(rgb[:, first:], x[:, first:])), dim=1)
            tokens, layout = fused, TokenLayout(self.template_grid, self.search_grid, 1, layout.kept)
        template_tokens, search_tokens = layout.split(tokens)
        return torch.cat((template_tokens, layout.to_full_search(search_tokens)), dim=1)
