"""A training step beside the forward that it contains, and how fast a core makes its samples."""

from __future__ import annotations

import copy
import gc
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch

from lib.distributed import DistributedContext
from lib.profiling.case import Case, predict
from lib.profiling.timing import Row, exact, in_turns, median, peak_memory, reset_peak_memory
from lib.training.loader import Batch, EpochBatches, build_dataset, frame_reader, load_sources, make_loader
from lib.training.step import BatchStep
from patrack import config as configs
from patrack import freeze_batchnorm

__all__ = ["batch_size", "made_up_batch", "measure_training", "sample_rate"]

CPU_BATCH = 4
PRECISIONS = ("fp32", "bf16")
SEQUENCES, LENGTH, LOADED = 4, 20, 64  # drawn for the loader, frames each, samples timed


def measure_training(case: Case) -> list[Row]:
    """Time a step in memory against the folded forward of as many crops, and beside it the loader."""
    size = batch_size(case)
    rows: list[Row] = []
    rates: dict[str, Row] = {}
    for precision in PRECISIONS:
        changed = case.changed(f"train.precision={precision}", f"train.total_batch_size={size}")
        model = copy.deepcopy(case.model)
        work = BatchStep(changed.config.train, model, case.device, DistributedContext())
        model.train()
        if work.frozen_batchnorm:
            freeze_batchnorm(model)
        batch = made_up_batch(case, size)
        crops = dict(enumerate(batch.search.movedim(1, -1).numpy()))
        runs: dict[str, Callable[[], object]] = {
            "train": partial(_train, work, batch),
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
        del model, work, runs
        gc.collect()
    loader = sample_rate(case)
    rows.append(median("training.loader", "samples made from files by one core", loader, "pairs/s"))
    for precision, rate in rates.items():
        text, share = f"cores that keep up with a step, {precision}", rate.value / float(np.median(loader))
        rows.append(exact(f"training.cores_{precision}", text, share, precision=precision))
    return rows


def _train(work: BatchStep, batch: Batch) -> None:
    """Run forward, losses, backward and optimizer on a batch that is in memory."""
    work.gradients(work.split(batch, len(batch), 0))
    work.step()


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
