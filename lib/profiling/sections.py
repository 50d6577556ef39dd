"""The seven sections of the speed report; docs/speed.md says what each number means."""

from __future__ import annotations

import copy
import gc
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lib.datasets import Sequence
from lib.distributed import DistributedContext
from lib.inference.sequence import run_batched, track_frames
from lib.profiling.case import Case, Row, exact, in_turns, median, peak_memory, predict, reset_peak_memory
from lib.training.loader import Batch, EpochBatches, build_dataset, frame_reader, load_sources, make_loader
from lib.training.step import BatchStep
from patrack import config as configs
from patrack import freeze_batchnorm
from patrack.config.schema import ModelConfig
from patrack.fused import FusedNetwork
from patrack.network import Network
from patrack.predictor import PRECISIONS, PlainNetwork, RecordedStep
from patrack.recordings.frames import decode_frame
from patrack.target import Target
from patrack.tracker import Tracker

__all__ = [
    "StillAnswer",
    "batch_size",
    "count_flops",
    "floor_blocks",
    "made_up_batch",
    "measure_batch",
    "measure_busy",
    "measure_endtoend",
    "measure_forward",
    "measure_roofline",
    "measure_step",
    "measure_training",
    "sample_rate",
    "search_sizes",
    "stage_times",
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
STILL = [0.5, 0.5, 0.25, 0.25, 0.9]
"""A step's answer for a target that didn't move: cx, cy, w, h normalized to the search crop, and the score."""
BUSY_STEPS = 20  # a run: long enough for the scheduler to deal out the cores
RUNS = 3
CPU_BATCH = 4
SEQUENCES, LENGTH, LOADED = 4, 20, 64  # drawn for the loader, frames each, samples timed


# ---- Section forward: the network does all that the floor does, and adapters, head, patches and norms besides


def floor_blocks(model: ModelConfig) -> nn.Module:
    """Build timm's blocks of this size, (R, N, C) -> (R, N, C): those of `vit_base_patch16_224` if it is that size."""
    from timm.models import vision_transformer  # here, because it takes a while to start

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

            def second(_: Tensor, inputs: Tensor, blocks: nn.Module = blocks) -> Tensor:
                return blocks(inputs)

            recorded = RecordedStep(second, tokens, tokens)
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


# ---- Section step: what the tracker adds to the network's forward, and where


class StillAnswer(PlainNetwork):
    """A network that costs nothing: it finds every target in the middle of its crop, as large as it was.

    Args:
        model: for its sizes.
        search_factor: side of a search crop in units of the target's size.
    """

    def __init__(self, model: Network, search_factor: float) -> None:
        super().__init__(model)
        grid, device = model.search_grid, next(model.parameters()).device
        score = torch.zeros(1, 1, grid, grid, device=device)
        score[..., grid // 2, grid // 2] = STILL[-1]
        size, offset = (torch.full((1, 2, grid, grid), value, device=device) for value in (1.0 / search_factor, 0.0))
        self.answer = {"score_map": score, "size_map": size, "offset_map": offset}

    def forward(self, template: Tensor, crops: Tensor) -> dict[str, Tensor]:
        """Give the same for each of the crops (B, H, W, C)."""
        return {name: value.expand(len(crops), -1, -1, -1) for name, value in self.answer.items()}


def measure_step(case: Case) -> list[Row]:
    """Time tracker and predictor in turns, in each precision; then the stages of a step around a free network."""
    frame, noise, rows = case.image(case.image_size), case.image(case.config.model.search_size), []
    for precision in case.precisions:
        tracker = case.tracker(case.folded(precision))
        runs: dict[str, Callable[[], object]] = {
            "tracker": partial(tracker.track, frame),
            "forward": partial(predict, case.predictor(precision), {0: noise}),
        }
        times = in_turns(runs, case.device, case.effort, before=partial(tracker.initialize, frame, case.box))
        more: dict[str, Any] = {"unit": "ms", "precision": precision}
        rows += [
            median(f"step.tracker_{precision}", f"Tracker.track, {precision}", 1e3 * times["tracker"], **more),
            median(f"step.forward_{precision}", f"Predictor alone, {precision}", 1e3 * times["forward"], **more),
            median(
                f"step.difference_{precision}",
                f"Tracker.track - Predictor, {precision}",
                1e3 * (times["tracker"] - times["forward"]),
                note="of pairs of long times: no better than their noise",
                **more,
            ),
        ]

    # Stages that no precision changes, and the whole step around a network that costs nothing.
    network, device = case.folded("fp32"), case.device
    target = Target(network, case.tracker(network).settings, frame, case.box)
    crop = target.search_crop(frame)
    assert crop is not None  # as of a frame with all its streams
    held = torch.zeros(1, *crop.shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
    still = case.tracker(StillAnswer(case.model, case.config.crop.search_factor))
    empty = still.predictor(1)
    empty.set_template(0, target.template)
    still.initialize(frame, case.box)

    def to_device() -> Tensor:
        held[0] = torch.from_numpy(crop)
        return held.to(device, non_blocking=True)

    def reset() -> None:
        target.box = np.array(case.box)
        still.initialize(frame, case.box)

    eager = "" if device.type == "cpu" else "not part of a CUDA graph here, as it is when it tracks"
    stages: dict[str, tuple[str, Callable[[], object], str]] = {
        "crop": ("search crop", lambda: target.search_crop(frame), ""),
        "to_device": ("its bytes to the device", to_device, ""),
        "box": ("bytes, window, peak, box, without network", lambda: predict(empty, {0: crop}), eager),
        "accept": ("box to image", lambda: target.accept(STILL), ""),
        "overhead": ("Tracker.track without network", lambda: still.track(frame), eager),
    }
    times = in_turns({name: run for name, (_, run, _) in stages.items()}, device, case.effort, before=reset)
    for name, (text, _, note) in stages.items():
        rows.append(median(f"step.{name}", text, 1e3 * times[name], "ms", note=note))
    return rows


# ---- Section busy: tracking while another process computes, on a machine that isn't ours alone


def measure_busy(case: Case) -> list[Row]:
    """Time steps of tracking with and without one other process that never waits; on a CPU only."""
    if case.device.type != "cpu":
        return []
    frame, tracker = case.image(case.image_size), case.tracker(case.folded("fp32"))
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:

            def steps(signal_number: signal.Signals) -> None:
                other.send_signal(signal_number)
                for _ in range(BUSY_STEPS):
                    tracker.track(frame)

            runs = {"idle": partial(steps, signal.SIGSTOP), "busy": partial(steps, signal.SIGCONT)}
            times = in_turns(runs, case.device, case.effort, before=partial(tracker.initialize, frame, case.box))
        finally:
            other.kill()
    return [
        *(
            median(f"busy.{name}", f"Tracker.track, {text}, fp32", BUSY_STEPS / times[name], "frames/s")
            for name, text in (("idle", "alone"), ("busy", "with one other process"))
        ),
        median("busy.over_idle", "with one other process / alone", times["idle"] / times["busy"]),
    ]


# ---- Section endtoend: following sequences from image files


def measure_endtoend(case: Case) -> list[Row]:
    """Time the stages of one frame pair, then count frame pairs per second of one sequence, and of many at once."""
    sequence, effort = case.test_sequence(), case.effort
    times = stage_times(case, sequence, case.precisions)
    texts = {
        "read": "read both files (from the page cache)",
        "decode": "read and decode both",
        "crop": "search crop, with its colours",
        **{f"forward_{precision}": f"bytes to box, {precision}" for precision in case.precisions},
        "accept": "box to image",
    }
    rows = [median(f"endtoend.{name}", text, 1e3 * times[name], "ms") for name, text in texts.items()]

    # One sequence at a time.
    for precision in case.precisions:
        tracker = case.tracker(case.folded(precision))
        rates: list[float] = []
        spent = 0.0
        while len(rates) < min(RUNS, effort.repeats) and spent < effort.seconds:
            result = track_frames(tracker, sequence, sequence.boxes[0])
            rates.append(len(sequence) / result.seconds)
            spent += result.seconds
        text = f"files to boxes, {precision}"
        rows.append(median(f"endtoend.rate_{precision}", text, np.array(rates), "pairs/s", precision=precision))

    # Many sequences that share each step; results are written. The last count is measured several times.
    counts, length = ([1, 4, 16, 64], 40) if case.device.type == "cuda" else ([2, 4, 8], 10)
    if case.quick:
        counts, length = counts[:1], 3
    sequences, runs = case.sequences("val", counts[-1], length), 1 if case.quick else RUNS
    for precision in case.precisions:
        tracker = case.tracker(case.folded(precision))
        for slots in counts:
            repeats = runs if slots == counts[-1] else 1
            rate = np.array([_batched_rate(case, tracker, sequences[:slots]) for _ in range(repeats)])
            text = f"files to boxes, {slots} sequences in a step, {precision}"
            key = f"endtoend.batched_{precision}_{slots}"
            rows.append(median(key, text, rate, "pairs/s", precision=precision, at=slots))

    # The same around a network that costs nothing; a GPU waits if this is slower than it is.
    tracker = case.tracker(StillAnswer(case.model, case.config.crop.search_factor))
    frames = sum(len(sequence) for sequence in sequences)
    text = f"{len(sequences)} sequences in a step, without network"
    rates, cores = [], []
    for _ in range(runs):
        start = time.process_time()
        rates.append(_batched_rate(case, tracker, sequences))
        cores.append((time.process_time() - start) / frames)
    return [
        *rows,
        median("endtoend.around_rate", f"files to boxes, {text}", np.array(rates), "pairs/s"),
        median("endtoend.around_cpu", f"CPU time per pair, {text}", 1e3 * np.array(cores), "ms"),
    ]


def stage_times(case: Case, sequence: Sequence, precisions: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """Time the stages of every frame but the first; crops lie around the true boxes.

    Returns:
        Seconds of each stage, (frames - 1,), by name; the network runs in `precisions`.
    """
    network = case.folded("fp32")
    target = Target(network, case.tracker(network).settings, decode_frame(sequence, 0), sequence.boxes[0])
    predictors = {f"forward_{precision}": case.predictor(precision) for precision in precisions}
    for predictor in predictors.values():
        predict(predictor, {0: case.image(case.config.model.search_size)})  # to warm up
    rows = []
    for number in range(1, len(sequence)):
        target.box = sequence.boxes[number - 1].copy()
        files = [item[number] for item in (sequence.rgb_files, sequence.x_files) if item is not None]
        paths = [file for file in files if isinstance(file, Path)]  # no videos
        marks = [("", time.perf_counter())]  # name and end of each stage
        for path in paths:
            path.read_bytes()
        marks.append(("read", time.perf_counter()))
        frame = decode_frame(sequence, number)
        marks.append(("decode", time.perf_counter()))
        crop = target.search_crop(frame)
        marks.append(("crop", time.perf_counter()))
        assert crop is not None
        for name, predictor in predictors.items():
            predict(predictor, {0: crop})
            marks.append((name, time.perf_counter()))
        target.accept(STILL)
        marks.append(("accept", time.perf_counter()))
        rows.append({name: end - start for (_, start), (name, end) in pairwise(marks)})
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _batched_rate(case: Case, tracker: Tracker, sequences: list[Sequence]) -> float:
    """Count frame pairs per second of all of these sequences in one step."""
    with tempfile.TemporaryDirectory(dir=case.folder) as results:
        start = time.perf_counter()
        outcomes = list(run_batched(tracker, sequences, Path(results), len(sequences)))
        seconds = time.perf_counter() - start
    if failed := [outcome.error for outcome in outcomes if outcome.error]:
        raise RuntimeError(f"lock step failed: {failed[0]}")
    return sum(len(sequence) for sequence in sequences) / seconds


# ---- Section batch: cost against the number of targets in a step, and against the size of the search crop


def measure_batch(case: Case) -> list[Row]:
    """Time a step of 1 to 64 targets, with its memory, and a step of one target by the tokens of a stream."""
    # by the number of targets
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

    # by the size of the search crop
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


# ---- Section training: a step beside the forward that it contains, and how fast a core makes its samples


def measure_training(case: Case) -> list[Row]:
    """Time a step in memory against the folded forward of as many crops, and beside it the loader."""
    size = batch_size(case)
    rows: list[Row] = []
    rates: dict[str, Row] = {}
    for precision in CURVES:
        # a step of a fresh copy of the weights, and the forward of as many crops
        changed = case.changed(f"train.precision={precision}", f"train.total_batch_size={size}")
        model = copy.deepcopy(case.model)
        work = BatchStep(changed.config.train, model, case.device, DistributedContext())
        model.train()
        if work.frozen_batchnorm:
            freeze_batchnorm(model)
        batch = made_up_batch(case, size)
        crops = dict(enumerate(batch.search.movedim(1, -1).numpy()))

        def train(work: BatchStep = work, batch: Batch = batch) -> None:
            work.gradients(work.split(batch, len(batch), 0))
            work.step()

        runs: dict[str, Callable[[], object]] = {
            "train": train,
            "forward": partial(predict, case.predictor(precision, size), crops),
        }
        reset_peak_memory(case.device)
        times = in_turns(runs, case.device, case.effort)
        memory, note = peak_memory(case.device)
        seconds, ratio = times["train"], times["train"] / times["forward"]
        what = f"batch {size}, {precision}"
        more: dict[str, Any] = {"precision": precision, "at": size}
        rates[precision] = median(f"training.rate_{precision}", f"training, {what}", size / seconds, "pairs/s", **more)
        rows += [
            median(f"training.step_{precision}", f"training step, {what}", 1e3 * seconds, "ms", **more),
            rates[precision],
            median(f"training.over_forward_{precision}", f"training step / folded forward, {what}", ratio, **more),
            exact(f"training.memory_{precision}", f"peak memory, {what}", memory, "MiB", note=note, **more),
        ]
        del model, work, train, runs  # so that the next precision's memory is its own
        gc.collect()

    # cores that the loader needs, so that a step never waits
    loader = sample_rate(case)
    rows.append(median("training.loader", "samples made from files by one core", loader, "pairs/s"))
    for precision, rate in rates.items():
        text, share = f"cores that keep up with a step, {precision}", rate.value / float(np.median(loader))
        rows.append(exact(f"training.cores_{precision}", text, share, precision=precision))
    return rows


def batch_size(case: Case) -> int:
    """Choose pairs per step: what was asked for, else the experiment's; on a CPU at most `CPU_BATCH` of these."""
    usual = case.config.train.total_batch_size
    return case.batch or (usual if case.device.type == "cuda" else min(usual, CPU_BATCH))


def made_up_batch(case: Case, size: int) -> Batch:
    """Make noise with a target in the middle of each search crop, as the loader would give it."""
    model = case.config.model
    template, search = (
        torch.from_numpy(np.stack([case.image(side, seed).transpose(2, 0, 1) for seed in range(size)]))
        for side in (model.template_size, model.search_size)
    )
    if model.templates > 1:
        template = template.unsqueeze(1).repeat(1, model.templates, 1, 1, 1)
    boxes = torch.tensor([[0.375, 0.375, 0.25, 0.25]]).repeat(size, 1)
    frames = torch.zeros(size, 4, dtype=torch.int64)
    batch = Batch(template, search, boxes, frames)
    return batch.pin_memory() if case.device.type == "cuda" else batch


def sample_rate(case: Case) -> np.ndarray:
    """Measure pairs per second, (rounds,), that one core reads, decodes, crops and augments from SynthRGBX files."""
    rounds = 1 if case.quick else 3
    sequences, loaded = (1, 8) if case.quick else (SEQUENCES, LOADED)
    case.sequences("train", sequences, LENGTH)
    # the experiment with these sequences as its training set
    train = f"data.train=[{{name: synth{case.synthetic_modality}, split: train}}]"
    config = configs.load(case.config_name, [*case.overrides, train, "data.val=[]", "data.cache_frames=false"])
    sources, _ = load_sources(config, case.folder)
    data = build_dataset(config, sources, frame_reader(config, sources), training=True)
    size = min(batch_size(case), loaded)
    loader = make_loader(data, EpochBatches(loaded // size * size, size), num_workers=0)
    rates, threads = [], cv2.getNumThreads()
    cv2.setNumThreads(1)  # as in the loader's workers
    try:
        for _ in range(rounds):
            start = time.perf_counter()
            made = sum(len(batch) for batch in loader)
            rates.append(made / (time.perf_counter() - start))
    finally:
        cv2.setNumThreads(threads)
    return np.array(rates)


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
