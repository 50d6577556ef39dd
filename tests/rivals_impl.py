"""The rivals' networks behind the interface of their releases' numbers; tests call it, and so can a checker."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from patrack import Network, build_model
from patrack.config import load
from patrack.weights import load_published, published_names

METHODS = {"bat": "bat", "vipt": "vipt", "sds": "sdstrack", "sea": "seatrack"}
"""Short name -> name in `patrack.methods.METHODS`."""
FUSION = {"sds": "mean"}
"""How the streams meet in the release, if not by their sum."""


class Impl:
    """One rival at ViT-B, in fp64 and eval mode.

    Args:
        name: bat, vipt, sds or sea.
        keep: share of search tokens kept at blocks 3, 6 and 9, in (0, 1], or one for each of them, all alike.
    """

    def __init__(self, name: str, keep: float | Sequence[float] = 1.0) -> None:
        if name not in METHODS:
            raise ValueError(f"name must be one of {', '.join(METHODS)}, got {name!r}")
        shares = {float(share) for share in keep} if isinstance(keep, Sequence) else {float(keep)}
        if len(shares) != 1:
            raise ValueError(f"keep must be one share for all blocks, got {keep}")
        (share,) = shares
        settings = {
            "method": METHODS[name],
            "base_model": "null",
            "fusion": FUSION.get(name, "sum"),
            "elimination.keep_ratio": share,
        }
        config = load("rgbt_base", [f"model.{key}={value}" for key, value in settings.items()])
        self.name = name
        self.model: Network = build_model(config).double().eval()

    def published_shapes(self) -> dict[str, tuple[int, ...]]:
        """Published name -> published shape, for every tensor of the model."""
        state = self.model.state_dict()
        shapes = {theirs: tuple(state[ours].shape) for ours, theirs in published_names(self.model).items()}
        for name, shape in shapes.items():
            if re.search(r"prompt_blocks\.\d+\.conv.*weight", name):  # 1x1 convolutions there
                shapes[name] = (*shape, 1, 1)
            elif re.search(r"\.lora_[AB]$", name) and len(shape) == 3:  # K's and V's in one tensor there
                shapes[name] = (shape[0] * shape[1], shape[2])
        return shapes

    def load(self, weight: Callable[[str, Sequence[int]], Tensor]) -> None:
        """Fill every tensor from `weight(published state_dict name, published shape)`."""
        load_published(self.model, {name: weight(name, shape) for name, shape in self.published_shapes().items()})

    @torch.no_grad()
    def forward(self, template: Tensor, search: Tensor) -> dict[str, Tensor]:
        """(1, 6, 128, 128) and (1, 6, 256, 256) -> maps and `backbone_feat`, as the release has them."""
        output = self.model(template.double(), search.double(), return_features=True)
        features = output.pop("features")
        if self.name == "sea":  # whose head gets search tokens alone
            features = features[:, -(self.model.search_grid**2) :]
        return {**output, "backbone_feat": features}
