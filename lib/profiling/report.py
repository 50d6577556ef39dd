"""What is told of measured numbers: a report with its conditions, JSON, plots, and whether bounds hold."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

from lib.profiling.case import Case, Row
from lib.training.manifest import environment
from patrack.files import atomic_write

__all__ = ["NO_BF16_UNIT", "Bound", "as_text", "check", "conditions", "read_bounds", "write_json", "write_plots"]

BOUNDS = Path(__file__).with_name("bounds.yaml")
CPU_INFO = Path("/proc/cpuinfo")
BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")
NO_BF16_UNIT = "none known"


def conditions(case: Case) -> dict[str, Any]:
    """Collect everything that the numbers depend on."""
    here, effort, model = environment(case.device), case.effort, case.config.model
    processor: dict[str, str] = {}  # what Linux says of the first one
    if CPU_INFO.is_file():
        for line in CPU_INFO.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            processor.setdefault(name.strip(), value.strip())
    unit = "GPU"
    if case.device.type != "cuda":
        flags = processor.get("flags", "").split()
        unit = next((name for name in BF16_INSTRUCTIONS if name in flags), NO_BF16_UNIT)
    width, height = case.image_size
    cpu = processor.get("model name") or platform.processor() or platform.machine()
    fewer = "" if math.isinf(effort.seconds) else f", or fewer (at least 3) after {effort.seconds:g} s"
    return {
        "config": " ".join([case.config_name, *case.overrides]),
        "network": f"ViT of {model.depth} blocks, {model.embed_dim} channels, {case.rows} x {case.tokens} tokens, "
        f"template {model.template_size} px, search {model.search_size} px; untrained weights",
        "frames": f"{width}x{height} pixels",
        "machine": f"{platform.node()}, {cpu}, {os.cpu_count()} cores",
        "device": here["device"],
        "threads": torch.get_num_threads(),
        "precision": ", ".join(case.precisions) + f"; fp32 products on a GPU: {torch.get_float32_matmul_precision()}",
        "bf16 unit": unit,
        "versions": here["versions"],
        "revision": here["revision"],
        "rounds": f"{effort.warm_up} to warm up, then {effort.repeats}{fewer}; compared things take turns",
        "load": "1, 5 and 15 minutes before the start: " + " ".join(f"{one:.2f}" for one in os.getloadavg()),
    }


def as_text(conditions: Mapping[str, Any], sections: Mapping[str, Sequence[Row]]) -> str:
    """Write the report: conditions, then, by section, a line per number with its quartiles."""

    def number(value: float) -> str:
        size = abs(value)
        digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 else 3
        return f"{value:.{digits}f}" if size >= 0.01 or size == 0 else f"{value:.1e}"

    lines = []
    for name, value in conditions.items():
        plain = ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, Mapping) else value
        lines.append(f"{name:<11} {plain}")
    for section, rows in sections.items():
        lines += ["", f"{section}  (median [quartiles]; n: rounds)"]
        for row in rows:
            spread = ""
            if row.low is not None and row.high is not None:
                spread = f"[{number(row.low)}, {number(row.high)}] n={row.rounds}"
            note = f"  {row.note}" if row.note else ""
            lines.append(f"  {row.text:<58} {number(row.value):>9} {row.unit:<8} {spread}{note}".rstrip())
    return "\n".join(lines)


def write_json(path: Path, conditions: Mapping[str, Any], sections: Mapping[str, Sequence[Row]]) -> None:
    """Write everything as one JSON file.

    Raises:
        ValueError: a number is not finite.
        OSError: it can't be written.
    """
    content = {"conditions": dict(conditions), "rows": [asdict(row) for rows in sections.values() for row in rows]}
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_plots(rows: Sequence[Row], folder: Path, title: str) -> list[Path]:
    """Draw the curves of section batch, tokens.png and targets.png, and sequences.png of section endtoend.

    Returns:
        The files written into the folder.

    Raises:
        ValueError: the rows hold no curves.
        OSError: a file can't be written.
    """
    from matplotlib.figure import Figure  # here, because matplotlib takes a while to start
    from matplotlib.ticker import LogLocator, MaxNLocator

    from lib.report.figures import COLORS, save_figure, style_axes

    if not any(row.key.startswith("batch.") for row in rows):
        raise ValueError("--plots draws the curves of section batch, which was not measured: add it to --only")
    batched = "frame pairs per second, files to boxes"
    plots = {  # by file: axis of x, and a pair of axes per kind of row
        "tokens": ("tokens per stream", {"batch.size_": "ms per step of one target"}),
        "targets": ("targets per step", {"batch.rate_": "frame pairs per second", "batch.step_": "ms per step"}),
        "sequences": ("sequences in a step", {"endtoend.batched_": batched}),
    }
    written = []
    for stem, (x_label, parts) in plots.items():
        if not any(row.key.startswith(tuple(parts)) for row in rows):
            continue
        figure = Figure(figsize=(0.8 + 5.2 * len(parts), 4.4), layout="constrained")
        for place, (prefix, y_label) in enumerate(parts.items()):
            axes = figure.add_subplot(1, len(parts), place + 1)
            chosen = [row for row in rows if row.key.startswith(prefix)]
            for color, precision in zip(COLORS, dict.fromkeys(row.precision for row in chosen), strict=False):
                line = [(row.at, row.value, row.low, row.high) for row in chosen if row.precision == precision]
                x, middle, low, high = np.array(line, dtype=float).T
                axes.plot(x, middle, "o-", color=color, linewidth=2, markersize=4, label=precision)
                axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)  # the quartiles
            axes.set(xlabel=x_label, ylabel=y_label)
            style_axes(axes)
            axes.legend(frameon=True, framealpha=0.9, edgecolor="0.8", fontsize="small")
            if stem != "tokens":
                axes.set_xscale("log", base=2)
                axes.xaxis.set_major_formatter("{x:g}")
            if prefix == "batch.step_":
                axes.set_yscale("log")
                low, high = axes.get_ylim()
                if high < 100 * low:  # within two decades there may be no power of ten to label, or a single one
                    ticks = LogLocator(subs=(1, 2, 5)) if high > 10 * low else MaxNLocator(5, min_n_ticks=2)
                    axes.yaxis.set_major_locator(ticks)
                axes.yaxis.set_major_formatter("{x:g}")
                axes.yaxis.set_minor_formatter("")
            else:
                axes.set_ylim(bottom=0)
        figure.suptitle(title, fontsize="medium")
        written.append(save_figure(figure, folder / f"{stem}.png"))
    return written


# ---- Bounds that measured ratios must keep, against changes that make it slower without anybody noticing


class Bound(BaseModel):
    """A limit of one number.

    Attributes:
        key: of the row.
        config: experiment it holds for.
        device: "cpu" or "cuda".
        at_most, at_least: the limit; one of them.
        bf16_unit: holds only where the device multiplies bf16 matrices by itself.
        measured: values that the limit was set by, in words.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    key: str
    config: str
    device: str = "cpu"
    at_most: float | None = None
    at_least: float | None = None
    bf16_unit: bool = False
    measured: str = ""

    @model_validator(mode="after")
    def _has_one_limit(self) -> Bound:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError(f"needs one of at_most and at_least, got {self.at_most} and {self.at_least}")
        return self

    def applies(self, config: str, device: str, bf16_unit: bool) -> bool:
        """Tell if it holds for a run."""
        return (self.config, self.device) == (config, device) and (bf16_unit or not self.bf16_unit)

    def keeps(self, value: float) -> bool:
        """Tell if a value lies inside; NaN doesn't."""
        if self.at_most is not None:
            return value <= self.at_most
        return self.at_least is not None and value >= self.at_least

    def __str__(self) -> str:
        limit = f"at most {self.at_most:g}" if self.at_most is not None else f"at least {self.at_least:g}"
        return f"{self.key} {limit}"


def read_bounds(path: Path = BOUNDS) -> list[Bound]:
    """Read all bounds of a file: a list `bounds` of mappings with the fields of `Bound`.

    Raises:
        ValueError: a mistake in the file, all of them named.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return TypeAdapter(dict[str, list[Bound]]).validate_python(content)["bounds"]
    except (yaml.YAMLError, ValidationError, KeyError) as error:
        raise ValueError(f"{path}: {error}") from error


def check(
    rows: Iterable[Row], bounds: Iterable[Bound], *, config: str, device: str, bf16_unit: bool
) -> tuple[list[str], bool]:
    """Set every bound that applies to a run beside its value.

    Args:
        config, device, bf16_unit: of the run, see `Bound`.

    Returns:
        A line per bound; and whether all of them hold, of which at least one was measured.
    """
    values = {row.key: row for row in rows}
    lines, kept = [], []
    for bound in bounds:
        if not bound.applies(config, device, bf16_unit):
            continue
        row = values.get(bound.key)
        if row is None:
            lines.append(f"not measured  {bound}")
            continue
        kept.append(bound.keeps(row.value))
        lines.append(f"{'holds' if kept[-1] else 'BROKEN':<13} {bound}: {row.value:.3f} {row.unit}".rstrip())
    if not kept:
        lines.append(f"BROKEN        no bound was measured that applies to config {config} on {device}")
    return lines, bool(kept) and all(kept)
