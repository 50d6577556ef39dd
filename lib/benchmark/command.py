"""The job of tracking/benchmark.py: sections one after the other, report, JSON, plots, and the check of bounds."""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import torch

from lib.benchmark import batch, endtoend, forward, roofline, step, training
from lib.benchmark.case import Case
from lib.benchmark.check import compare, read_bounds
from lib.benchmark.machine import conditions, has_bf16_unit
from lib.benchmark.plots import write_plots
from lib.benchmark.rows import Row, as_text, write_json
from lib.benchmark.timing import Effort
from lib.devices import usable_device

__all__ = ["SECTIONS", "run"]

logger = logging.getLogger(__name__)

SECTIONS: dict[str, Callable[[Case], list[Row]]] = {
    "forward": forward.measure,
    "step": step.measure,
    "endtoend": endtoend.measure,
    "batch": batch.measure,
    "training": training.measure,
    "roofline": roofline.measure,
}
QUICK = Effort(repeats=3, warm_up=1, seconds=5.0)


def run(arguments: argparse.Namespace) -> tuple[str, bool]:
    """What tracking/benchmark.py was asked to do.

    Args:
        arguments: of that command line.

    Returns:
        The report, and whether every bound holds.

    Raises:
        ValueError, OSError, RuntimeError: something can't be used or written; the message says what.
    """
    device = usable_device(arguments.device)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
        cv2.setNumThreads(arguments.threads)
    seed = [] if arguments.seed is None else [f"seed={arguments.seed}"]
    overrides = (*[word for word in arguments.overrides if "=" in word], *seed)
    with tempfile.TemporaryDirectory(prefix="patrack-benchmark-") as folder:
        case = Case(
            arguments.config,
            overrides,
            device,
            QUICK if arguments.quick else Effort(),
            Path(folder),
            arguments.image_size,
            arguments.batch,
            arguments.quick,
        )
        about = conditions(case)
        sections = measure(case, arguments.only or list(SECTIONS))
    report = [as_text(about, sections)]
    if arguments.json:
        write_json(arguments.json, about, sections)
    rows = [row for section in sections.values() for row in section]
    if arguments.plots:
        title = f"{arguments.config} on {about['device']}, {about['threads']} threads"
        report += ["", *(f"plot {path}" for path in write_plots(rows, arguments.plots, title))]
    if not arguments.check:
        return "\n".join(report), True
    run_of = {"config": arguments.config, "device": device.type, "bf16_unit": has_bf16_unit(device)}
    lines, good = compare(rows, read_bounds(), **run_of)
    return "\n".join([*report, "", "bounds", *(f"  {line}" for line in lines)]), good


def measure(case: Case, names: list[str]) -> dict[str, list[Row]]:
    """Rows of each section asked for, in the order of `SECTIONS`."""
    sections = {}
    for name in SECTIONS:
        if name in names:
            start = time.perf_counter()
            sections[name] = SECTIONS[name](case)
            logger.info("%s: %.0f s", name, time.perf_counter() - start)
    return sections
