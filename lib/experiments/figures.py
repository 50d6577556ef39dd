"""Pictures of a suite: scores with single seeds, and the curves that show whether the trainings had converged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.experiments.runs import Plan, Run
from lib.experiments.tables import Table
from lib.report.figures import COLORS, DASHES, save_figure, show_literally, style_axes
from lib.training.log import read_rows

__all__ = ["plot_curves", "plot_scores", "write_figures"]

FORMATS = ("png", "svg")
GROUPS = 40
"""Points on the curve of a training's loss; each is the mean of the steps between."""


def write_figures(plan: Plan, tables: Sequence[Table]) -> list[Path]:
    """Draw experiments.png and .svg (scores) and curves.png and .svg (trainings) into the output folder."""
    written = []
    if any(table.averages[name].get(table.main) for table in tables for name in table.averages):
        figure = plot_scores(tables)
        written += [save_figure(figure, plan.output / f"experiments.{form}") for form in FORMATS]
    logs = {
        plan.of(experiment)[0].config.name: [run for run in plan.of(experiment) if run.trained]
        for experiment in plan.suite.experiments
    }
    logs = {name: [run for run in runs if (run.folder / "train.csv").is_file()] for name, runs in logs.items()}
    if logs := {name: runs for name, runs in logs.items() if runs}:
        begun = {run.variant for runs in logs.values() for run in runs}
        figure = plot_curves(logs, [name for name in plan.suite.variants if name in begun])
        written += [save_figure(figure, plan.output / f"curves.{form}") for form in FORMATS]
    return written


def plot_scores(tables: Sequence[Table]) -> Figure:
    """Draw a panel per table: by variant the mean, a bar of one standard deviation, and single seeds as rings."""
    names = list(tables[0].averages)
    width, height = 1.4 + 3.4 * len(tables), 1.1 + 0.3 * len(names)
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    for axes, table in zip(panels, tables, strict=True):
        assert isinstance(axes, Axes)
        base = table.averages.get(table.reference, {}).get(table.main)
        if base is not None:
            axes.axvline(100 * base.mean, color="0.75", linewidth=1.2, zorder=1)
        for row, name in enumerate(names):
            entry = table.averages.get(name, {}).get(table.main)
            if entry is None:
                continue
            color = COLORS[0] if name == table.reference else "#333333"
            single = [100 * value for value in entry.values.values()]
            if len(single) > 1:
                axes.plot(single, [row] * len(single), "o", color=color, markersize=4, fillstyle="none", alpha=0.7)
            spread = 100 * (entry.sd or 0.0)
            axes.errorbar(
                100 * entry.mean, row, xerr=spread or None, fmt="D", color=color, markersize=6, elinewidth=2, capsize=3
            )
        axes.set(title=table.title, xlabel=f"{table.main}, percent")
        style_axes(axes)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    show_literally(figure)
    return figure


def plot_curves(logs: dict[str, list[Run]], variants: list[str]) -> Figure:
    """Draw a column per experiment: validation IoU above, training loss below; a thin line per run, a thick mean.

    A validation before the end of an epoch and one after it are drawn where they were made, in epochs.
    """
    figure = Figure(figsize=(1.6 + 4.2 * len(logs), 6.4), layout="constrained")
    panels = figure.subplots(2, len(logs), sharex="col", sharey="row", squeeze=False)
    handles = {}
    for column, (title, runs) in enumerate(logs.items()):
        for number, variant in enumerate(variants):
            mine = [run for run in runs if run.variant == variant]
            look = {
                "color": COLORS[number % len(COLORS)],
                "linestyle": list(DASHES)[number // len(COLORS) % len(DASHES)],
            }
            for row, (file, value, groups) in enumerate((("validation.csv", "iou", 0), ("train.csv", "loss", GROUPS))):
                curves = [curve for run in mine if (curve := _curve(run, file, value, groups)) is not None]
                for x, y in curves:
                    panels[row, column].plot(x, y, linewidth=0.7, alpha=0.35, **look)
                if curves:
                    length = min(len(x) for x, _ in curves)  # as far as all of them are
                    x, y = curves[0][0][:length], np.mean([curve[1][:length] for curve in curves], axis=0)
                    marker = "." if not groups else ""
                    (handles[variant],) = panels[row, column].plot(x, y, linewidth=2, marker=marker, **look)
        panels[0, column].set(title=title)
        panels[1, column].set(xlabel="epoch")
        for axes in panels[:, column]:
            style_axes(axes)
    panels[0, 0].set(ylabel="validation IoU")
    panels[1, 0].set(ylabel="training loss")
    figure.legend(handles.values(), handles, loc="outside right upper", fontsize="small", frameon=False)
    show_literally(figure)
    return figure


def _curve(run: Run, file: str, value: str, groups: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Read a curve of a run over epochs, as means over `groups` parts of equal length (0: as it is); None: no rows."""
    rows = read_rows(run.folder / file) if (run.folder / file).is_file() else []
    if not rows:
        return None
    train = run.config.train
    per_epoch = max(1, run.config.data.samples_per_epoch // train.total_batch_size)
    x = np.array([row["step"] for row in rows]) / per_epoch
    y = np.array([row[value] for row in rows])
    if not groups:
        return x, y
    size = max(1, train.epochs * per_epoch // groups)
    count = max(1, len(y) // size)
    parts = [slice(k * size, (k + 1) * size) for k in range(count)]
    return np.array([x[part].mean() for part in parts]), np.array([y[part].mean() for part in parts])
