"""Cost against tokens, targets per step and sequences at once, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lib.profiling.rows import Row
from lib.report.figures import COLORS as COLOURS
from patrack.files import atomic_write

__all__ = ["write_plots"]


def write_plots(rows: Sequence[Row], folder: Path, title: str) -> list[Path]:
    """Draw the curves of section batch, tokens.png and targets.png, and sequences.png of section endtoend.

    Args:
        rows: of section batch, and of endtoend if that was measured too.
        folder: made if it does not exist.
        title: what was measured, on what.

    Returns:
        The files written.

    Raises:
        ValueError: the rows hold no curves.
        OSError: a file can't be written.
    """
    if not any(row.key.startswith("batch.") for row in rows):
        raise ValueError("--plots draws the curves of section batch, which was not measured: add it to --only")
    figure, (axes,) = _figure(1)
    _draw(axes, rows, "batch.size_", "tokens per stream", "ms per step of one target")
    axes.set_ylim(bottom=0)
    written = [_save(figure, folder / "tokens.png", title)]
    figure, (rate, step) = _figure(2)
    for axes, prefix, label in ((rate, "batch.rate_", "frame pairs per second"), (step, "batch.step_", "ms per step")):
        _draw(axes, rows, prefix, "targets per step", label)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
    rate.set_ylim(bottom=0)
    step.set_yscale("log")
    step.yaxis.set_major_formatter("{x:g}")
    step.yaxis.set_minor_formatter("")
    written.append(_save(figure, folder / "targets.png", title))
    if any(row.key.startswith("endtoend.lockstep_") for row in rows):
        figure, (axes,) = _figure(1)
        _draw(axes, rows, "endtoend.lockstep_", "sequences in a step", "frame pairs per second, files to boxes")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_ylim(bottom=0)
        written.append(_save(figure, folder / "sequences.png", title))
    return written


def _figure(columns: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(0.8 + 5.2 * columns, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def _draw(axes: Axes, rows: Sequence[Row], prefix: str, x_label: str, y_label: str) -> None:
    """A line per precision, with quartiles as a band."""
    chosen = [row for row in rows if row.key.startswith(prefix)]
    for number, precision in enumerate(dict.fromkeys(row.precision for row in chosen)):
        line = [row for row in chosen if row.precision == precision]
        x, colour = [row.at for row in line], COLOURS[number % len(COLOURS)]
        axes.plot(x, [row.value for row in line], "o-", color=colour, linewidth=2, markersize=4, label=precision)
        axes.fill_between(
            x, [row.low for row in line], [row.high for row in line], color=colour, alpha=0.2, linewidth=0
        )
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.grid(color="0.88", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=True, framealpha=0.9, edgecolor="0.8", fontsize="small")


def _save(figure: Figure, path: Path, title: str) -> Path:
    figure.suptitle(title, fontsize="medium")
    with atomic_write(path, mode="wb") as file:
        figure.savefig(file, format="png", dpi=150)
    return path
