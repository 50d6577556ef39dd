"""Success, precision and other curves of an evaluation as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lib.evaluation.scores import Curve, Evaluation
from lib.report.style import COLOURS, PLOTS
from patrack.files import atomic_write

__all__ = ["plot_curves", "write_plots"]

DASHES = ("-", "--", ":", "-.")


def write_plots(evaluation: Evaluation, folder: str | Path) -> list[Path]:
    """Draw every curve that the evaluation has, all trackers in one picture each.

    Args:
        evaluation: of at least one tracker.
        folder: where to write; made if it does not exist.

    Returns:
        The files written: success.png, precision.png and normalized_precision.png for most benchmarks.

    Raises:
        OSError: if a file cannot be written.
    """
    trackers = evaluation.trackers
    written = []
    for name in next(iter(trackers.values())).curves:
        stem, title, metric = PLOTS[name]
        ranked = sorted(trackers, key=lambda tracker: -trackers[tracker].metrics[metric])
        figure = plot_curves(
            {
                f"{tracker} [{trackers[tracker].metrics[metric]:.3f}]": trackers[tracker].curves[name]
                for tracker in ranked
            },
            f"{title}, {evaluation.dataset} ({evaluation.protocol})",
            metric,
            looks=[list(trackers).index(tracker) for tracker in ranked],
        )
        path = Path(folder) / f"{stem}.png"
        with atomic_write(path, mode="wb") as file:
            figure.savefig(file, format="png", dpi=150)
        written.append(path)
    return written


def plot_curves(lines: dict[str, Curve], title: str, legend_title: str, looks: Sequence[int] | None = None) -> Figure:
    """Draw curves into one pair of axes; rates run from 0 to 1.

    Args:
        lines: by the text of the legend, in its order; at least one.
        title: of the picture.
        legend_title: the metric whose value the legend gives.
        looks: number of the colour and dash pattern of each line, so that a tracker looks the same in every picture;
            None: in order.

    Returns:
        A figure that belongs to no window.
    """
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, (label, curve) in zip(looks or range(len(lines)), lines.items(), strict=True):
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]
        axes.plot(curve.x, curve.y, dash, color=colour, linewidth=2, label=label)
    first = next(iter(lines.values()))
    axes.set(title=title, xlabel=first.x_label, ylabel=first.y_label, ylim=(0.0, 1.02))
    axes.set_xlim(0.0, max(1.0, max(first.x)) if first.x_label == "recall" else max(first.x))
    axes.grid(color="0.88", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(title=legend_title, frameon=True, framealpha=0.9, edgecolor="0.8", loc="best", fontsize="small")
    return figure
