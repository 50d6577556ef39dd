"""A training step beside the forward that it contains, and how fast a core makes its samples."""

from __future__ import annotations

import copy
import gc
import time

import cv2
import numpy as np
import torch

from lib.distributed import DistributedContext
from lib.profiling.case import Case
from lib.profiling.rows import Row, exact, median
from lib.profiling.timing import Times, in_turns, peak_memory, reset_peak_memory
from lib.training.loader import Batch, EpochBatches, build_dataset, frame_reader, load_sources, make_loader
from lib.training.step import BatchStep
from patrack import config as configs
from patrack import freeze_batchnorm
from patrack.config.schema import Config

__all__ = ["batch_size", "made_up_batch", "measure", "sample_rate"]

CPU_BATCH = 4
PRECISIONS = ("fp32", "bf16")
SEQUENCES, LENGTH, LOADED = 4, 20, 64  # drawn for the loader, frames each, samples timed


def measure(case: Case) -> list[Row]:
    """Samples per second of a step in memory, its ratio to the forward, its memory; and the loader beside it."""
    rows, rates = [], []
    for precision in PRECISIONS:
        rows += training_step(case, precision)
        rates.append(next(row for row in reversed(rows) if row.key == f"training.rate_{precision}"))
        gc.collect()
    loader = sample_rate(case)
    rows.append(median("training.loader", "samples made from files by one core", loader, "pairs/s"))
    for rate in rates:
        text, share = f"cores that keep up with a step, {rate.precision}", rate.value / float(np.median(loader))
        rows.append(exact(f"training.cores_{rate.precision}", text, share, precision=rate.precision))
    return rows


def batch_size(case: Case) -> int:
    """Pairs per step: what was asked for, else the experiment's; on a CPU at most `CPU_BATCH` of these."""
    usual = case.config.train.total_batch_size
    return case.batch or (usual if case.device.type == "cuda" else min(usual, CPU_BATCH))


def training_step(case: Case, precision: str) -> list[Row]:
    """Forward, losses, backward and optimiser on a batch that is in memory; the folded forward of as many crops."""
    size = batch_size(case)
    changed = case.changed(f"train.precision={precision}", f"train.total_batch_size={size}")
    model = copy.deepcopy(case.model)
    work = BatchStep(changed.config.train, model, case.device, DistributedContext())
    model.train()
    if work.frozen_batchnorm:
        freeze_batchnorm(model)
    batch, predictor = made_up_batch(case, size), case.predictor(precision, size)
    crops = dict(enumerate(batch.search.movedim(1, -1).numpy()))

    def train() -> None:
        work.gradients(work.split(batch, size, 0))
        work.step()

    runs = {"train": train, "forward": lambda: (predictor.launch(crops), predictor.fetch())}
    reset_peak_memory(case.device)
    times = in_turns(runs, case.device, case.effort)
    return _step_rows(times, size, precision, case.device)


def _step_rows(times: Times, size: int, precision: str, device: torch.device) -> list[Row]:
    seconds, what, more = times.seconds["train"], f"batch {size}, {precision}", {"precision": precision, "at": size}
    ratio = times.ratio("train", "forward")
    memory, note = peak_memory(device)
    return [
        median(f"training.step_{precision}", f"training step, {what}", 1e3 * seconds, "ms", **more),
        median(f"training.rate_{precision}", f"training, {what}", size / seconds, "pairs/s", **more),
        median(f"training.over_forward_{precision}", f"training step / folded forward, {what}", ratio, **more),
        exact(f"training.memory_{precision}", f"peak memory, {what}", memory, "MiB", note=note, **more),
    ]


def made_up_batch(case: Case, size: int) -> Batch:
    """Noise with a target in the middle of each search crop, as the loader would give it."""
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
    """Pairs per second, (rounds,), that one core reads, decodes, crops and augments from SynthRGBX files."""
    rounds = 1 if case.quick else 3
    sequences, loaded = (1, 8) if case.quick else (SEQUENCES, LOADED)
    case.sequences("train", sequences, LENGTH)
    config = _on_synthetic(case)
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


def _on_synthetic(case: Case) -> Config:
    """The experiment with the drawn sequences as its training set."""
    modality = case.synthetic_modality
    data = [f"data.train=[{{name: synth{modality}, split: train}}]", "data.val=[]", "data.cache_frames=false"]
    return configs.load(case.config_name, [*case.overrides, *data])
