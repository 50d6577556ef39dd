"""The job of tracking/profile_speed.py: sections one after the other, report, JSON, plots, and the check of bounds."""

from __future__ import annotations

import argparse
import logging
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import torch

from lib.distributed import usable_device
from lib.profiling import batch, endtoend, forward, roofline, step, training
from lib.profiling.case import Case
from lib.profiling.check import compare, read_bounds
from lib.profiling.machine import conditions, has_bf16_unit
from lib.profiling.plots import write_plots
from lib.profiling.rows import Row, as_text, write_json
from lib.profiling.timing import Effort

__all__ = ["SECTIONS", "image_size", "positive", "run"]

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


def positive(text: str) -> int:
    """A whole number from 1, of a command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, got {text!r}")
    return int(text)


def image_size(text: str) -> tuple[int, int]:
    """Width and height, of a command line: `640x480`."""
    try:
        width, height = map(int, text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be WIDTHxHEIGHT, such as 640x480, got {text!r}") from None
    return width, height


def run(arguments: argparse.Namespace) -> tuple[str, bool]:
    """What tracking/profile_speed.py was asked to do.

    Args:
        arguments: of that command line.

    Returns:
        The report, and whether every bound that was asked about holds.

    Raises:
        ValueError, OSError, RuntimeError: something can't be used or written; the message says what.
    """
    device, bounds = usable_device(arguments.device), read_bounds()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
        cv2.setNumThreads(arguments.threads)
    with tempfile.TemporaryDirectory(prefix="patrack-benchmark-") as folder:
        case = _case(arguments, device, Path(folder))
        about = conditions(case)
        sections = measure(case, arguments.only or list(SECTIONS))
    rows = [row for section in sections.values() for row in section]
    report, good = [as_text(about, sections)], True
    if arguments.json:
        write_json(arguments.json, about, sections)
    if arguments.plots:
        title = f"{arguments.config} on {about['device']}, {about['threads']} threads"
        report += ["", *(f"plot {path}" for path in write_plots(rows, arguments.plots, title))]
    if arguments.check:
        run_of = {"config": arguments.config, "device": device.type, "bf16_unit": has_bf16_unit(device)}
        lines, good = compare(rows, bounds, **run_of)
        report += ["", "bounds", *(f"  {line}" for line in lines)]
    return "\n".join(report), good


def _case(arguments: argparse.Namespace, device: torch.device, folder: Path) -> Case:
    seed = [] if arguments.seed is None else [f"seed={arguments.seed}"]
    effort = QUICK if arguments.quick else Effort()
    if arguments.repeats is not None:
        effort = replace(effort, repeats=arguments.repeats, seconds=math.inf)
    return Case(
        arguments.config,
        (*arguments.overrides, *seed),
        device,
        effort,
        folder,
        arguments.image_size,
        arguments.batch,
        arguments.quick,
    )


def measure(case: Case, names: list[str]) -> dict[str, list[Row]]:
    """Rows of each section asked for, in the order of `SECTIONS`."""
    sections = {}
    for name in SECTIONS:
        if name in names:
            start = time.perf_counter()
            sections[name] = SECTIONS[name](case)
            logger.info("%s: %.0f s", name, time.perf_counter() - start)
    return sections
