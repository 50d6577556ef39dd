"""What arithmetic, memory and JPEG decoding allow at best on this machine, and how near to it the network comes."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lib.profiling.case import Case
from lib.profiling.endtoend import stage_times
from lib.profiling.rows import Row, exact, median
from lib.profiling.timing import Times, in_turns
from patrack.predictor import PRECISIONS

__all__ = ["count_flops", "matrix_shapes", "measure"]

COPIED = 256 * 2**20  # bytes, far more than caches hold
SQUARE = 2048
USED = ("fp32", "bf16")


def measure(case: Case) -> list[Row]:
    """Rates of the machine, counts of the network, the bounds that follow, and measured time over each bound."""
    flops = count_flops(case, case.folded("fp32"))
    rows = [exact("roofline.flops", "forward: multiplications and additions, counted", flops / 1e9, "GFLOP")]
    for precision in USED:
        rows += _network_rows(case, precision, flops)
    return [*rows, *_decoding_rows(case)]


@torch.inference_mode()
def count_flops(case: Case, network: nn.Module) -> int:
    """Of one target's forward; a multiplication and an addition count as two."""
    network = copy.deepcopy(network)  # without packed weights, whose products the counter doesn't know
    template, crops = _inputs(case, network)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # which sees matrix products only
        network(template, crops)
    return counter.get_total_flops()


def matrix_shapes(case: Case) -> list[tuple[int, int, int]]:
    """(M, K, N) of matrix products to take the rate from: those of the network's layers, and a square one."""
    rows, width = case.rows * case.tokens, case.config.model.embed_dim
    hidden = round(case.config.model.mlp_ratio * width)
    return [(rows, width, hidden), (rows, hidden, width), (rows, width, 3 * width), (SQUARE, SQUARE, SQUARE)]


@torch.inference_mode()
def _network_rows(case: Case, precision: str, flops: int) -> list[Row]:
    dtype, device, network = PRECISIONS[precision], case.device, case.folded(precision)
    template, crops = _inputs(case, network)
    predictor, crop = case.predictor(precision), case.image(case.config.model.search_size)
    if device.type == "cuda":  # as it tracks: a CUDA graph
        runs = {"ours": lambda: (predictor.launch({0: crop}), predictor.fetch())}
    else:
        runs = {"ours": lambda: network(template, crops)}
    shapes = matrix_shapes(case)[:1] if case.quick else matrix_shapes(case)
    for shape in shapes:
        a, b = (torch.randn(size, device=device).to(dtype) for size in (shape[:2], shape[1:]))
        runs[str(shape)] = lambda a=a, b=b: a @ b
    source = torch.ones((COPIED >> 4 if case.quick else COPIED) // 4, device=device)
    target = torch.empty_like(source)
    runs["copy"] = lambda: target.copy_(source)
    times = in_turns(runs, device, case.effort)
    weights = sum(item.numel() * item.element_size() for item in network.state_dict().values())
    rates = {shape: 2 * np.prod(shape, dtype=float) / times.seconds[str(shape)] for shape in shapes}
    best = max(rates, key=lambda shape: float(np.median(rates[shape])))
    moved = 2 * source.numel() * source.element_size()
    return _bounds(times, precision, flops, rates[best], best, weights, moved / times.seconds["copy"])


def _bounds(
    times: Times,
    precision: str,
    flops: int,
    rate: np.ndarray,
    shape: tuple[int, int, int],
    weights: int,
    bandwidth: np.ndarray,
) -> list[Row]:
    """Rows of one precision; `rate` (rounds,) in FLOP/s, `weights` in bytes, `bandwidth` (rounds,) in bytes/s."""
    ours, more = times.seconds["ours"], {"precision": precision}
    arithmetic, memory = flops / rate, weights / bandwidth
    best = "x".join(map(str, shape))
    name = f"roofline.{{}}_{precision}".format
    return [
        median(name("matrix"), f"best matrix product, {best}, {precision}", rate / 1e9, "GFLOP/s", **more),
        median(name("copy"), f"copy, read and write together ({precision} rounds)", bandwidth / 1e9, "GB/s", **more),
        exact(name("weights"), f"bytes of the weights, {precision}", weights / 2**20, "MiB", **more),
        median(name("ours"), f"folded network, {precision}", 1e3 * ours, "ms", **more),
        median(name("by_flops"), f"bound by arithmetic, {precision}", 1e3 * arithmetic, "ms", **more),
        median(name("by_bytes"), f"bound by memory: weights read once, {precision}", 1e3 * memory, "ms", **more),
        median(name("over_flops"), f"ours / bound by arithmetic, {precision}", ours / arithmetic, **more),
        median(name("over_bytes"), f"ours / bound by memory, {precision}", ours / memory, **more),
    ]


def _decoding_rows(case: Case) -> list[Row]:
    decode = stage_times(case, *case.test_sequence())["decode"]
    return [
        median("roofline.decode", "read and decode a pair, one thread", 1e3 * decode, "ms"),
        median("roofline.by_decoding", "bound by decoding, a core", 1.0 / decode, "pairs/s"),
    ]


def _inputs(case: Case, network: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """The template's tokens and one search crop, on the device."""
    model = case.config.model
    template, search = (
        torch.from_numpy(case.image(side)).unsqueeze(0).to(case.device)
        for side in (model.template_size, model.search_size)
    )
    return network.embed_template(template), search
