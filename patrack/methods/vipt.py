"""ViPT: X as visual prompts of an RGB tracker (arXiv 2303.10826, CVPR 2023).

One stream goes through the frozen blocks, that of RGB. A prompt p, made of both, is added to its tokens H in front of a
block; L_i are norms, P_i prompt blocks, E an embedding of X's patches:

    p = P_0(L_0 rgb, L_0 E(x))                         in front of block 0, before positions are added
    p = P_i(L_(i-1) H, L_i p),    H = H + p            in front of block i > 0 (depth "deep")

    P(a, b) = up(fovea(down_a a) + down_b b),          fovea(h) = softmax over positions of (s h) * h

Template and search have grids of their own, and tokens that were eliminated are zero for L and P. 839,628 weights train
at ViT-B (deep), or 611,345 (shaw: block 0 alone).
Legend: B samples, N tokens, C channels, D hidden channels.
"""

from __future__ import annotations

import itertools
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from patrack.config.schema import MethodConfig, ModelConfig, Positive
from patrack.network import Network
from patrack.vit import PatchEmbed, TokenLayout

__all__ = ["PromptBlock", "ViPT"]


class ViPTConfig(MethodConfig):
    """Visual prompts (section 3.2)."""

    depth: Literal["deep", "shaw"] = Field("deep", description="prompts in front of every block, or of the first")
    hidden_dim: Positive = Field(8, description="width of the prompt blocks")


class PromptBlock(nn.Module):
    """Make a prompt of two streams' tokens.

    Args:
        dim: channels C.
        hidden_dim: width D.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.down_rgb = nn.Linear(dim, hidden_dim)
        self.down_x = nn.Linear(dim, hidden_dim)
        self.up = nn.Linear(hidden_dim, dim)
        self.smooth = nn.Parameter(torch.full((1,), 10.0))
        for layer in (self.down_rgb, self.down_x, self.up):  # biases keep PyTorch's values, as in the release
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, rgb: Tensor, x: Tensor, layout: TokenLayout) -> Tensor:
        """Normalized tokens of both on the full grids (B, Nz+Nx, C) -> prompt (B, Nz+Nx, C)."""
        hidden = self.down_rgb(rgb)
        fovea = [(self.smooth * part).softmax(dim=1) * part for part in hidden.split(layout.full_counts, dim=1)]
        return self.up(torch.cat(fovea, dim=1) + self.down_x(x))


class ViPT(Network):
    """A network of one stream that X enters as prompts; `config.adapters` is a `ViPTConfig`."""

    Config = ViPTConfig
    TAKES_TWO_TEMPLATES = False
    PUBLISHED_NAMES = (
        (r"^x_patch_embed\.", "backbone.patch_embed_prompt."),
        (r"^prompt_(blocks|norms)\.", r"backbone.prompt_\1."),
        (r"(prompt_blocks\.\d+)\.down_rgb\.", r"\1.conv0_0."),
        (r"(prompt_blocks\.\d+)\.down_x\.", r"\1.conv0_1."),
        (r"(prompt_blocks\.\d+)\.up\.", r"\1.conv1x1."),
        (r"(prompt_blocks\.\d+)\.smooth$", r"\1.fovea.smooth"),
    )
    PUBLISHED_MARK = ".patch_embed_prompt."
    num_streams = 1

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        settings, dim = config.adapters, config.embed_dim
        assert isinstance(settings, ViPTConfig)
        count = config.depth if settings.depth == "deep" else 1
        self.x_patch_embed = PatchEmbed(config.patch_size, dim)  # PyTorch's initial values, not those of RGB
        self.prompt_blocks = nn.ModuleList(PromptBlock(dim, settings.hidden_dim) for _ in range(count))
        self.prompt_norms = nn.ModuleList(nn.LayerNorm(dim, eps=1e-6) for _ in range(count))

    def encode(self, template: Tensor, search: Tensor, modality: Tensor | None) -> tuple[Tensor, TokenLayout]:
        """Take RGB through the blocks, with prompts; see `Network.encode`."""
        backbone, layout = self.backbone, self.layout(modality)
        (rgb_z, x_z), (rgb_x, x_x) = template.chunk(2), search.chunk(2)
        tokens = torch.cat((backbone.patch_embed(rgb_z), backbone.patch_embed(rgb_x)), dim=1)
        prompt = torch.cat((self.x_patch_embed(x_z), self.x_patch_embed(x_x)), dim=1)

        norm = self.prompt_norms[0]
        prompt = self.prompt_blocks[0](norm(tokens), norm(prompt), layout)
        tokens = tokens + prompt + torch.cat((backbone.pos_embed_z, backbone.pos_embed_x), dim=1)
        for i, (block, prompt_block) in enumerate(itertools.zip_longest(backbone.blocks, self.prompt_blocks)):
            if i > 0 and prompt_block is not None:
                before = self.prompt_norms[i - 1](layout.to_full(tokens))
                prompt = prompt_block(before, self.prompt_norms[i](prompt), layout)
                tokens = tokens + layout.to_kept(prompt)
            tokens, layout = block(tokens, layout, self.keep_ratio_at(i))
        return tokens, layout
