"""The network alone: beside bare ViT blocks, for many targets and other sizes, and beside what the machine allows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lib.profiling.case import Case
from lib.profiling.timing import Row, exact, in_turns, median, peak_memory, reset_peak_memory
from lib.profiling.tracking import stage_times
from patrack.config.schema import ModelConfig
from patrack.fused import FusedNetwork
from patrack.predictor import PRECISIONS, PlainNetwork, RecordedStep

__all__ = [
    "count_flops",
    "floor_blocks",
    "measure_batch",
    "measure_forward",
    "measure_roofline",
    "search_sizes",
]

VIT_BASE = (768, 12, 12, 4.0)  # channels, blocks, heads, ratio of the MLP
FORWARD = {
    "floor": "floor: timm's blocks",
    "plain": "plain network",
    "folded": "folded network",
    "floor_graph": "floor as a CUDA graph",
    "graph": "folded network as a CUDA graph, bytes to box",
}
SLOTS = (1, 2, 4, 8, 16, 32, 64)
LONGEST_STEP = 2.0  # seconds: on a CPU the curve ends with the first step that takes longer
SMALLEST, LARGEST = 128, 384  # sides of search crops, pixels
COPIED = 256 * 2**20  # bytes, far more than caches hold
SQUARE = 2048  # side of a matrix
CURVES = ("fp32", "bf16")


# ---- Section forward: the network does all that the floor does, and adapters, head, patches and norms besides


def floor_blocks(model: ModelConfig) -> nn.Module:
    """Build timm's blocks of this size, (R, N, C) -> (R, N, C): those of `vit_base_patch16_224` if it is that size.

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
def measure_forward(case: Case) -> list[Row]:
    """Time floor, plain and folded network in each precision; ratios are medians of those within a round."""
    floor, device = floor_blocks(case.config.model), case.device
    runs: dict[str, Callable[[], object]] = {}
    for precision in case.precisions:
        dtype = PRECISIONS[precision]
        tokens = torch.randn(case.rows, case.tokens, case.config.model.embed_dim).to(device, dtype)
        blocks = copy.deepcopy(floor).to(device, dtype)
        plain = PlainNetwork(copy.deepcopy(case.model).to(dtype))
        folded = case.folded(precision)
        folded.pack()  # as `Predictor` does
        runs[f"floor_{precision}"] = partial(blocks, tokens)
        runs[f"plain_{precision}"] = partial(plain, *case.inputs(plain))
        runs[f"folded_{precision}"] = partial(folded, *case.inputs(folded))
        if device.type == "cuda":
            recorded = RecordedStep(partial(_second, blocks), tokens, tokens)
            runs[f"floor_graph_{precision}"] = partial(recorded, tokens, tokens)
            runs[f"graph_{precision}"] = case.step(precision)
    times = in_turns(runs, device, case.effort)
    rows = []
    for name, seconds in times.items():
        kind, precision = name.rsplit("_", 1)
        text = f"{FORWARD[kind]}, {precision}"
        rows.append(median(f"forward.{name}", text, 1e3 * seconds, "ms", precision=precision))
    for precision in case.precisions:
        for kind, other in (("plain", "floor"), ("folded", "floor"), ("folded", "plain"), ("graph", "floor_graph")):
            if f"{kind}_{precision}" in runs:
                ratio = times[f"{kind}_{precision}"] / times[f"{other}_{precision}"]
                key, text = f"forward.{kind}_over_{other}_{precision}", f"{kind} / {other}, {precision}"
                rows.append(median(key, text, ratio, precision=precision))
    for kind in ("floor", "folded"):
        ratio = times[f"{kind}_fp32"] / times[f"{kind}_bf16"]
        rows.append(median(f"forward.{kind}_fp32_over_bf16", f"{kind}: fp32 / bf16", ratio))
    return rows


def _second(network: nn.Module, _: Tensor, inputs: Tensor) -> Tensor:
    """Take the second argument of a recorded step only."""
    return network(inputs)


# ---- Section batch: cost against the number of targets in a step, and against the size of the search crop


def measure_batch(case: Case) -> list[Row]:
    """Time a step of 1 to 64 targets, with its memory, and a step of one target by the tokens of a stream."""
    rows: list[Row] = []
    for precision in CURVES:
        for slots in SLOTS[:2] if case.quick else SLOTS:
            reset_peak_memory(case.device)
            seconds = in_turns({"step": case.step(precision, slots)}, case.device, case.effort)["step"]
            memory, note = peak_memory(case.device)
            name, more = f"{precision}_{slots}", {"precision": precision, "at": slots}
            text = f"batch {slots}, {precision}"
            rows += [
                median(f"batch.step_{name}", f"{text}: a step", 1e3 * seconds, "ms", **more),
                median(f"batch.rate_{name}", f"{text}: frame pairs", slots / seconds, "pairs/s", **more),
                exact(f"batch.memory_{name}", f"{text}: peak memory", memory, "MiB", note=note, **more),
            ]
            if case.device.type == "cpu" and np.median(seconds) > LONGEST_STEP:
                break
    for size in search_sizes(case.config.model.patch_size, case.quick):
        other = case.changed(f"model.search_size={size}")
        times = in_turns({precision: other.step(precision) for precision in CURVES}, case.device, case.effort)
        for precision, seconds in times.items():
            text = f"search {size} px, {other.rows} x {other.tokens} tokens, {precision}"
            more = {"precision": precision, "at": other.tokens}
            rows.append(median(f"batch.size_{precision}_{size}", text, 1e3 * seconds, "ms", **more))
    return rows


def search_sizes(patch_size: int, quick: bool = False) -> list[int]:
    """List sides of search crops, pixels: every second number of patches (the adapters halve the grid)."""
    sizes = [size for size in range(SMALLEST, LARGEST + 1) if size % (2 * patch_size) == 0]
    return sizes[:2] if quick else sizes


# ---- Section roofline: what arithmetic, memory and JPEG decoding allow at best, and how near to it the network comes


@torch.inference_mode()
def measure_roofline(case: Case) -> list[Row]:
    """Measure rates of the machine, count the network's work, and set measured time beside the bounds that follow."""
    device, config = case.device, case.config.model
    flops = count_flops(case, case.folded("fp32"))
    rows = [exact("roofline.flops", "forward: multiplications and additions, counted", flops / 1e9, "GFLOP")]

    # Matrix products (M, K, N) to take the rate from: those of the network's layers, and a square one.
    count, width = case.rows * case.tokens, config.embed_dim
    hidden = round(config.mlp_ratio * width)
    shapes = [(count, width, hidden), (count, hidden, width), (count, width, 3 * width), (SQUARE, SQUARE, SQUARE)]
    shapes = shapes[:1] if case.quick else shapes
    for precision in CURVES:
        dtype, network = PRECISIONS[precision], case.folded(precision)
        runs: dict[str, Callable[[], object]] = {}
        if device.type == "cuda":  # as it tracks: a CUDA graph
            runs["ours"] = case.step(precision)
        else:
            runs["ours"] = partial(network, *case.inputs(network))
        for shape in shapes:
            a, b = (torch.randn(size, device=device).to(dtype) for size in (shape[:2], shape[1:]))
            runs[str(shape)] = partial(torch.matmul, a, b)
        source = torch.ones((COPIED >> 4 if case.quick else COPIED) // 4, device=device)
        runs["copy"] = partial(torch.empty_like(source).copy_, source)
        times = in_turns(runs, device, case.effort)

        rates = {shape: 2 * np.prod(shape, dtype=float) / times[str(shape)] for shape in shapes}  # FLOP/s
        best = max(rates, key=lambda shape: float(np.median(rates[shape])))
        bandwidth = 2 * source.numel() * source.element_size() / times["copy"]  # bytes/s
        weights = sum(item.numel() * item.element_size() for item in network.state_dict().values())  # bytes
        ours, arithmetic, memory = times["ours"], flops / rates[best], weights / bandwidth  # seconds
        name, more = f"roofline.{{}}_{precision}".format, {"precision": precision}
        product = "x".join(map(str, best))
        rows += [
            median(
                name("matrix"), f"best matrix product, {product}, {precision}", rates[best] / 1e9, "GFLOP/s", **more
            ),
            median(
                name("copy"), f"copy, read and write together ({precision} rounds)", bandwidth / 1e9, "GB/s", **more
            ),
            exact(name("weights"), f"bytes of the weights, {precision}", weights / 2**20, "MiB", **more),
            median(name("ours"), f"folded network, {precision}", 1e3 * ours, "ms", **more),
            median(name("by_flops"), f"bound by arithmetic, {precision}", 1e3 * arithmetic, "ms", **more),
            median(name("by_bytes"), f"bound by memory: weights read once, {precision}", 1e3 * memory, "ms", **more),
            median(name("over_flops"), f"ours / bound by arithmetic, {precision}", ours / arithmetic, **more),
            median(name("over_bytes"), f"ours / bound by memory, {precision}", ours / memory, **more),
        ]
    decode = stage_times(case, case.test_sequence())["decode"]
    return [
        *rows,
        median("roofline.decode", "read and decode a pair, one thread", 1e3 * decode, "ms"),
        median("roofline.by_decoding", "bound by decoding, a core", 1.0 / decode, "pairs/s"),
    ]


@torch.inference_mode()
def count_flops(case: Case, network: FusedNetwork) -> int:
    """Count the operations of one target's forward; a multiplication and an addition count as two."""
    network = copy.deepcopy(network)  # without packed weights, whose products the counter doesn't know
    template, crops = case.inputs(network)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # which sees matrix products only
        network(template, crops)
    return counter.get_total_flops()
