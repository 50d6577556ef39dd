"""The network beside its floor: the bare blocks of a ViT of the same size on as many tokens.

Our network does all that the floor does, and adapters, head, patches and norms besides; so what it takes over the
floor is what these cost.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lib.profiling.case import Case
from lib.profiling.rows import Row, median
from lib.profiling.timing import in_turns
from patrack.config.schema import ModelConfig
from patrack.predictor import PRECISIONS, PlainNetwork, RecordedStep

__all__ = ["floor_blocks", "measure"]

VIT_BASE = (768, 12, 12, 4.0)  # channels, blocks, heads, ratio of the MLP
WHAT = {
    "floor": "floor: timm's blocks",
    "plain": "plain network",
    "folded": "folded network",
    "floor_graph": "floor as a CUDA graph",
    "graph": "folded network as a CUDA graph, bytes to box",
}


def floor_blocks(model: ModelConfig) -> nn.Module:
    """timm's blocks of this size, (R, N, C) -> (R, N, C): those of `vit_base_patch16_224` if it is that size.

    Raises:
        RuntimeError: timm isn't installed.
    """
    try:
        from timm.models import vision_transformer
    except ImportError as error:
        raise RuntimeError("the floor is timm's ViT, which is not installed: pip install timm") from error
    width, heads = model.embed_dim, model.num_heads
    if (width, model.depth, heads, model.mlp_ratio) == VIT_BASE:
        return vision_transformer.vit_base_patch16_224(pretrained=False).blocks.eval()
    blocks = [vision_transformer.Block(width, heads, model.mlp_ratio, qkv_bias=True) for _ in range(model.depth)]
    return nn.Sequential(*blocks).eval()


@torch.inference_mode()
def measure(case: Case) -> list[Row]:
    """Median times of floor, plain and folded network in each precision; medians of the ratios within a round."""
    floor, runs = floor_blocks(case.config.model), {}
    for precision in case.precisions:
        runs |= {f"{name}_{precision}": run for name, run in _runs(case, floor, precision).items()}
    times = in_turns(runs, case.device, case.effort)
    rows = []
    for name, seconds in times.seconds.items():
        kind, precision = name.rsplit("_", 1)
        text = f"{WHAT[kind]}, {precision}"
        rows.append(median(f"forward.{name}", text, 1e3 * seconds, "ms", precision=precision))
    for precision in case.precisions:
        pairs = [("plain", "floor"), ("folded", "floor"), ("folded", "plain"), ("graph", "floor_graph")]
        for kind, other in pairs:
            if f"{kind}_{precision}" in runs:
                ratio = times.ratio(f"{kind}_{precision}", f"{other}_{precision}")
                key, text = f"forward.{kind}_over_{other}_{precision}", f"{kind} / {other}, {precision}"
                rows.append(median(key, text, ratio, precision=precision))
    for kind in ("floor", "folded"):
        ratio = times.ratio(f"{kind}_fp32", f"{kind}_bf16")
        rows.append(median(f"forward.{kind}_fp32_over_bf16", f"{kind}: fp32 / bf16", ratio))
    return rows


def _runs(case: Case, floor: nn.Module, precision: str) -> dict[str, Callable[[], object]]:
    """One precision's calls, by name."""
    dtype, device, model = PRECISIONS[precision], case.device, case.config.model
    tokens = torch.randn(case.rows, case.tokens, model.embed_dim).to(device, dtype)
    search = torch.from_numpy(case.image(model.search_size)).unsqueeze(0).to(device)
    template = torch.from_numpy(case.image(model.template_size)).unsqueeze(0).to(device)
    blocks = copy.deepcopy(floor).to(device, dtype)
    plain = PlainNetwork(copy.deepcopy(case.model).to(dtype))
    folded = case.folded(precision)
    folded.pack()  # as `Predictor` does
    runs = {
        "floor": _call(blocks, tokens),
        "plain": _call(plain, plain.embed_template(template), search),
        "folded": _call(folded, folded.embed_template(template), search),
    }
    if device.type == "cuda":
        recorded = RecordedStep(lambda _, inputs: blocks(inputs), tokens, tokens)
        predictor, crop = case.predictor(precision), case.image(model.search_size)
        runs["floor_graph"] = _call(recorded, tokens, tokens)
        runs["graph"] = lambda: (predictor.launch({0: crop}), predictor.fetch())
    return runs


def _call(function: Callable[..., object], *inputs: Tensor) -> Callable[[], object]:
    return lambda: function(*inputs)
