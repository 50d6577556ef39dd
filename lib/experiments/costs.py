"""What each variant costs on this machine: parameters, FLOPs, frames/s, peak memory; kept in OUTPUT/costs.json.

All variants of an experiment are timed in turns, in one process with one target, so that their ratios are fair; if one
is new, all are measured again. Networks have initial weights, which cost the same.
"""

from __future__ import annotations

import copy
import hashlib
import json
import multiprocessing
import os
import platform
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from lib.experiments.runs import Plan, Run
from patrack.files import atomic_write

__all__ = ["COSTS", "costs_of", "measure_costs"]

COSTS = "costs.json"
ROUNDS = 30
IMAGE = (640, 480)
"""Width and height of the frames, pixels."""


def costs_of(plan: Plan, device: str | None = None) -> dict[str, dict[str, dict[str, Any]]]:
    """Read what was measured on this machine: costs by experiment and variant; without those that have changed since.

    Args:
        device: that was asked for.

    Raises:
        ValueError: the file is damaged.
    """
    kept = _read(plan).get(_machine(device), {})
    runs = _first_runs(plan)
    return {
        experiment: {name: kept[_key(run)] for name, run in of.items() if _key(run) in kept}
        for experiment, of in runs.items()
    }


def measure_costs(
    plan: Plan, device: str | None = None, threads: int | None = None, say: Callable[[str], None] = lambda _: None
) -> None:
    """Measure the variants of every experiment of which any has not been measured on this machine yet.

    Args:
        device: torch device; None: a GPU if there is one.
        threads: CPU threads; None: torch's choice.
        say: told when it begins.

    Raises:
        ValueError, RuntimeError: a variant can't be built, or the device can't be used.
    """
    import torch

    from patrack.devices import usable_device

    used = usable_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    for of in _first_runs(plan).values():
        kept = _read(plan)
        here = kept.setdefault(_machine(device), {})
        by_key = {_key(run): run for run in of.values()}
        if by_key.keys() <= here.keys():
            continue
        say(f"measuring what {len(by_key)} networks cost ...")
        here.update(_measure(by_key, used, threads))
        with atomic_write(plan.output / COSTS) as file:
            json.dump(kept, file, indent=1)
            file.write("\n")


def _read(plan: Plan) -> dict[str, dict[str, dict[str, Any]]]:
    path = plan.output / COSTS
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it to measure costs anew") from error


def _machine(device: str | None) -> str:
    return f"{platform.node()} {device or 'default device'}"


def _first_runs(plan: Plan) -> dict[str, dict[str, Run]]:
    """By experiment and variant, any run of it."""
    first: dict[str, dict[str, Run]] = {}
    for run in plan.runs:
        first.setdefault(run.experiment, {}).setdefault(run.variant, run)
    return first


def _key(run: Run) -> str:
    """What costs depend on: the network, what of it trains, and how it tracks."""
    config = run.config.model_dump(mode="json")
    of = [config["model"], config["crop"], config["test"], run.trained]
    of += [config["train"][name] for name in ("trainable", "frozen_blocks")]
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:16]


def _measure(runs: dict[str, Run], device: Any, threads: int | None) -> dict[str, dict[str, Any]]:
    import torch

    from lib.profiling.case import Effort, in_turns

    costs: dict[str, dict[str, Any]] = {}
    steps = {}
    for key, run in runs.items():
        step, facts = _prepare(run, device)
        steps[key], costs[key] = step, facts
    seconds = in_turns(steps, device, Effort(repeats=ROUNDS, warm_up=3, seconds=120.0))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    for key, run in runs.items():
        low, middle, high = (1.0 / np.quantile(seconds[key], [0.75, 0.5, 0.25])).tolist()
        # a process of its own: on a CPU the most memory that a process has used never falls
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            memory, meaning = pool.submit(_memory, run, str(device), threads).result()
        costs[key] |= {
            "frames_per_second": middle,
            "frames_per_second_quartiles": [low, high],
            "rounds": len(seconds[key]),
            "peak_memory_mib": memory,
            "memory": f"most memory: {meaning}",
            "machine": f"{platform.node()}, {os.cpu_count()} cores",
            "device": name,
            "threads": torch.get_num_threads(),
            "precision": run.config.test.precision,
            "load": list(os.getloadavg()),
        }
    return costs


def _prepare(run: Run, device: Any) -> tuple[Any, dict[str, Any]]:
    """Make a call that tracks one frame, and count parameters and operations."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from patrack.fused import FusedNetwork
    from patrack.network import build_model, trainable_parameters
    from patrack.predictor import tracking_network

    config, trained = run.config, 0
    whole = build_model(config)
    total = sum(parameter.numel() for parameter in whole.parameters())
    if run.trained:
        parts = trainable_parameters(whole, config.train.trainable, config.train.frozen_blocks)
        trained = sum(parameter.numel() for parameter in parts.values())
    step, case, model = _tracking(run, device)

    # counted in fp32 and without packed weights, whose products the counter doesn't know
    with torch.inference_mode():
        counted = copy.deepcopy(tracking_network(model, "fp32"))
        template, crops = case.inputs(counted)
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            counted(template, crops)
    return step, {
        "trained_parameters": trained,
        "total_parameters": total,
        "gflops": counter.get_total_flops() / 1e9,
        "folded": isinstance(counted, FusedNetwork),
    }


def _tracking(run: Run, device: Any) -> tuple[Any, Any, Any]:
    """Build a variant's tracker with initial weights; returns a call that tracks one frame, its case and its model."""
    from lib.profiling.case import Case, Effort
    from patrack.build import tracker_of
    from patrack.predictor import tracking_network

    overrides = (*run.overrides, f"seed={run.seed}")
    case = Case(run.experiment, overrides, device, Effort(), Path(tempfile.gettempdir()), IMAGE)
    model = case.model
    tracker = tracker_of(tracking_network(model, run.config.test.precision), run.config, device)
    channels = 3 if run.config.model.streams == "rgb" else 6
    frame = np.random.default_rng(0).integers(0, 256, (IMAGE[1], IMAGE[0], channels), dtype=np.uint8)
    tracker.initialize(frame, case.box)
    return lambda: tracker.track(frame), case, model


def _memory(run: Run, device: str, threads: int | None) -> tuple[float, str]:
    """Track a few frames in this fresh process, and say how much memory that took, MiB, and what is meant."""
    import torch

    from lib.profiling import case
    from patrack import build  # noqa: F401 (so that loading it is not counted)

    if threads is not None:
        torch.set_num_threads(threads)
    used = torch.device(device)
    status = Path("/proc/self/status")
    case.reset_peak_memory(used)
    before = _status(status, "VmRSS")
    step, _, _ = _tracking(run, used)
    for _ in range(3):
        step()
    if used.type == "cuda" or not status.is_file():
        return case.peak_memory(used)
    # not ru_maxrss: a new process inherits that of the one that started it
    return (_status(status, "VmHWM") - before) / 1024, "of the process, above what it had with the libraries loaded"


def _status(path: Path, name: str) -> int:
    """Read a number of /proc/self/status, KiB; 0 where there is no such file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)
