"""BAT: bi-directional adapters between the streams (arXiv 2312.10611, AAAI 2024).

One linear bottleneck A per half and block, shared by both directions, hands each stream what the other one holds:

    R' = R + DP(Att(LN1 R)) + DP(A(LN1 X))        X' = X + DP(Att(LN1 X)) + DP(A(LN1 R))

and alike for the MLP with LN2. There is no activation, so A is affine of rank D. With D = 8, 315,264 weights train at
ViT-B.
Legend: B samples, N tokens, C channels, D hidden channels.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field
from torch import Tensor, nn

from patrack.config.schema import Fraction, MethodConfig, ModelConfig, Positive
from patrack.network import Network
from patrack.vit import Block, TokenLayout

__all__ = ["BAT", "BATBlock", "Bottleneck"]


class BATConfig(MethodConfig):
    """Bi-directional adapters (section 3.3)."""

    hidden_dim: Positive = Field(8, description="width of the bottleneck")
    dropout: Fraction = Field(0.1, description="between the second and the third layer")
    layers: list[int] | None = Field(None, description="block numbers, from 0; null: every block")

    def mistakes(self, model: ModelConfig) -> list[tuple[str, object, str]]:
        """Find settings that don't go with the sizes of the network; see `MethodConfig.mistakes`."""
        return model.wrong_layers("adapters.layers", self.layers or [])


class Bottleneck(nn.Module):
    """Three linear layers, C -> D -> D -> C.

    Initial values are those of the network's linear layers (truncated normal 0.02, zero bias), as in the release: the
    output is nearly zero at step 0 (rms 0.002 at ViT-B).
    """

    def __init__(self, dim: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.down = nn.Linear(dim, hidden_dim)
        self.mid = nn.Linear(hidden_dim, hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(hidden_dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (..., C) -> (..., C)."""
        return self.up(self.dropout(self.mid(self.down(tokens))))


class BATBlock(Block):
    """A frozen block with a bottleneck beside each half."""

    def __init__(
        self, dim: int, num_heads: int, mlp_ratio: float, drop_path: float, hidden_dim: int, dropout: float
    ) -> None:
        super().__init__(dim, num_heads, mlp_ratio, drop_path)
        self.bat1 = Bottleneck(dim, hidden_dim, dropout)
        self.bat2 = Bottleneck(dim, hidden_dim, dropout)

    def beside(self, half: int, tokens: Tensor, normed: Tensor, layout: TokenLayout) -> Iterable[Tensor]:
        """Compute what each stream gets from the other one (2B, N, C); see `Block.beside`."""
        adapter = self.bat1 if half == 1 else self.bat2
        return [adapter(normed).roll(len(normed) // 2, dims=0)]


class BAT(Network):
    """A network whose streams meet in bi-directional adapters; `config.adapters` is a `BATConfig`."""

    Config = BATConfig
    PUBLISHED_NAMES = ((r"\.bat1\.", ".adap_t.adapter_"), (r"\.bat2\.", ".adap2_t.adapter_"))
    PUBLISHED_MARK = ".adap_t.adapter_down."

    def make_block(self, index: int, drop_path: float) -> Block:
        """Give the block adapters, if its number is among the layers."""
        model, settings = self.config, self.config.adapters
        assert isinstance(settings, BATConfig)
        if settings.layers is not None and index not in settings.layers:
            return super().make_block(index, drop_path)
        return BATBlock(
            model.embed_dim, model.num_heads, model.mlp_ratio, drop_path, settings.hidden_dim, settings.dropout
        )
