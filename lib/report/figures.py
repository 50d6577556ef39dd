"""Curves and the attribute radar, drawn by matplotlib: as PNG, PDF or SVG files, and as SVG that stands in a page.

The SVG has no ids, no style sheet and no date, so that several of them can share a page and a report is the same each
time; what belongs to tracker k has the class `tk`.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes
from matplotlib.text import Text

from lib.evaluation import Curve, Evaluation
from lib.report.missing import ALONE, MissingScores, without
from patrack.files import atomic_write

__all__ = [
    "COLORS",
    "PLOTS",
    "Chart",
    "Look",
    "curve_chart",
    "looks",
    "missing_chart",
    "plot_curves",
    "plot_missing",
    "radar",
    "save_figure",
    "show_literally",
    "style_axes",
    "write_plots",
]

# File, title and ranking metric by the name of a curve; any other curve goes by its own name.
PLOTS = {
    "SR": ("success", "Success", "SR"),
    "MSR": ("success", "Maximum success", "MSR"),
    "PR": ("precision", "Precision", "PR"),
    "MPR": ("precision", "Maximum precision", "MPR"),
    "NPR": ("normalized_precision", "Normalised precision", "NPR"),
    "Pr": ("precision_recall", "Precision and recall", "F"),
    "F": ("f_measure", "F-measure", "F"),
    "EAO": ("expected_overlap", "Expected average overlap", "EAO"),
}
# Trackers are told apart by eight colors that the color-blind can separate (Okabe and Ito), then by the dash pattern.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
# matplotlib's name of a pattern, and the same in SVG for a line 2 wide.
DASHES = {"-": "none", "--": "7.4 3.2", ":": "2 3.3", "-.": "12.8 3.2 2 3.2"}
# In a page, a figure is scaled to the width of a column, and names stay names.
PAGE: dict[Any, Any] = {
    "font.size": 13,
    "font.sans-serif": ["DejaVu Sans"],  # to lay out with; the page has its own font
    "axes.labelsize": 13,
    "xtick.labelsize": 12.5,
    "ytick.labelsize": 12.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 7,
    "ytick.major.pad": 6,
    "axes.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "patrack",
}


PAPER: dict[Any, Any] = {"pdf.fonttype": 42, "svg.hashsalt": "patrack"}
logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells every glyph that a PDF gets


@dataclass(frozen=True)
class Look:
    """Look of a tracker everywhere: a color, and a dash pattern as SVG writes it."""

    color: str
    dash: str


@dataclass(frozen=True)
class Chart:
    """Curves for a page."""

    title: str
    metric: str  # that ranks the trackers
    svg: str  # the drawing
    area: tuple[float, ...]  # left, right, top and bottom of the axes in percent of the drawing
    end: float  # greatest x
    ranking: list[tuple[int, str]]  # number of each tracker and its score in percent, as text, best first
    # what the reading under the pointer needs: x values, and y values by tracker number; empty if the curves don't
    # share their x values
    data: dict[str, Any]


def looks(count: int) -> list[Look]:
    """Give each tracker a look: eight colors, then the same ones dashed."""
    dashes = list(DASHES.values())
    return [Look(COLORS[k % len(COLORS)], dashes[k // len(COLORS) % len(dashes)]) for k in range(count)]


def write_plots(evaluation: Evaluation, folder: str | Path, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Draw every curve that the evaluation has, all trackers in one picture each, into a folder that is made if needed.

    A tracker that was scored on a part of the benchmark stands last in the legend, with its number of sequences; those
    with streams missing stand behind the others.

    Args:
        evaluation: of at least one tracker.
        folder: for the files.
        formats: of each picture: "png", "pdf", "svg". The same scores give the same file.

    Returns:
        The files written: success.png, precision.png and normalized_precision.png for most benchmarks.

    Raises:
        OSError: a file cannot be written.
    """
    trackers, size = evaluation.trackers, evaluation.benchmark_size
    written = []
    for name in next(iter(trackers.values())).curves:
        stem, title, metric = PLOTS.get(name, (name, name, name))
        score = {tracker: scores.metrics[metric] for tracker, scores in trackers.items()}
        parts = {tracker: len(s.sequences) for tracker, s in trackers.items() if len(s.sequences) != size}
        ranked = sorted(trackers, key=lambda name: (trackers[name].missing, name in parts, -score[name]))
        part = {tracker: f", {count} of {size} sequences" for tracker, count in parts.items()}
        labels = {
            tracker: f"{tracker}{trackers[tracker].suffix} [{score[tracker]:.3f}{part.get(tracker, '')}]"
            for tracker in ranked
        }
        figure = plot_curves(
            {labels[tracker]: trackers[tracker].curves[name] for tracker in ranked},
            f"{title}, {evaluation.dataset} ({evaluation.protocol})",
            metric,
            numbers=[list(trackers).index(tracker) for tracker in ranked],
        )
        written += [save_figure(figure, Path(folder) / f"{stem}.{form}") for form in formats]
    return written


def plot_curves(
    lines: Mapping[str, Curve], title: str = "", legend: str = "", numbers: Sequence[int] | None = None
) -> Figure:
    """Draw curves into one pair of axes, the first one on top; rates run from 0 to 1.

    Args:
        lines: by the text of the legend, in its order; at least one.
        title: of the picture.
        legend: title of the legend, usually the metric whose value it gives; empty: no legend.
        numbers: of the trackers, which decide color and dash pattern, so that a tracker looks the same in every
            picture; None: in order.
    """
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    drawn = list(zip(numbers or range(len(lines)), lines.items(), strict=True))
    for number, (label, curve) in reversed(drawn):
        axes.plot(curve.x, curve.y, label=label, **_style(number))
    first, longest = drawn[0][1][1], max(curve.x[-1] if curve.x else 0.0 for curve in lines.values())
    axes.set(title=title, xlabel=first.x_label, ylabel=first.y_label, ylim=(0.0, 1.02))
    axes.set_xlim(0.0, max(1.0, longest) if first.x_label == "recall" else longest or 1.0)
    style_axes(axes)
    if legend:
        handles = axes.get_lines()[::-1]
        axes.legend(handles=handles, title=legend, loc="best", fontsize="small", framealpha=0.9, edgecolor="0.8")
    show_literally(figure)
    return figure


def curve_chart(
    title: str,
    metric: str,
    curves: Sequence[Curve],
    scores: Sequence[float],
    groups: Sequence[tuple[str, bool]] | None = None,
) -> Chart:
    """Draw curves for a page, the best tracker on top.

    Args:
        title, metric: of the chart, and that the scores are of.
        curves: one per tracker; rates from 0 to 1 over the same kind of threshold.
        scores: by which the trackers are ranked, one per tracker, fractions.
        groups: trackers are ranked within them, the least first, such as (streams that were missing, scored on a part
            only). None: there is one.
    """
    order = sorted(range(len(curves)), key=lambda k: (groups[k] if groups else ("", False), -scores[k]))
    with mpl.rc_context(PAGE):
        figure = plot_curves({str(k): curves[k] for k in order}, numbers=order)
        svg = _inline_svg(figure)
    (axes,) = figure.axes
    place = axes.get_position()
    shared = all(curve.x == curves[0].x for curve in curves)
    return Chart(
        title,
        metric,
        svg,
        tuple(round(100 * edge, 3) for edge in (place.x0, place.x1, 1 - place.y1, 1 - place.y0)),
        axes.get_xlim()[1],
        [(k, f"{100 * scores[k]:.1f}") for k in order],
        {"x": list(curves[0].x), "y": [[round(y, 4) for y in curve.y] for curve in curves]} if shared else {},
    )


def radar(scores: Sequence[Sequence[float]], labels: Sequence[str], size: tuple[float, float]) -> str:
    """Draw one score per attribute and tracker for a page, as SVG: a spoke per attribute, a polygon per tracker.

    Args:
        scores: fractions by attribute, of which there are at least three, and tracker.
        labels: text of each attribute.
        size: width and height of the drawing, in units of 72 px before it is scaled.
    """
    values = np.array(scores)
    top = min(1.0, math.ceil(max(float(values.max()), 0.1) * 5 - 1e-9) / 5)  # the next 20 percent
    angles = np.linspace(0.0, 2 * np.pi, len(values), endpoint=False)
    rings = [top * k / 4 for k in range(1, 5)]
    with mpl.rc_context(PAGE):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot(projection="polar")
        assert isinstance(axes, PolarAxes)
        axes.set_theta_zero_location("N")
        axes.set_theta_direction(-1)
        axes.set_ylim(0.0, top)
        axes.set_rgrids(rings, [f"{100 * ring:g}" for ring in rings])
        axes.set_rlabel_position(180 / len(values))  # between two spokes
        _, texts = axes.set_thetagrids(np.degrees(angles), labels)
        for text, lean in zip(texts, np.sin(angles), strict=True):  # labels grow away from the circle
            text.set_horizontalalignment("center" if abs(lean) < 0.02 else "left" if lean > 0 else "right")
        axes.grid(color="0.88", linewidth=0.8)
        axes.spines["polar"].set_color("0.88")
        for k in reversed(range(values.shape[1])):
            axes.plot([*angles, angles[0]], [*values[:, k], values[0, k]], **_style(k))
        show_literally(figure)
        return _inline_svg(figure)


def plot_missing(scores: MissingScores) -> Figure:
    """Draw the main metric over the share of frames that lack a stream: axes per stream, a line per tracker."""
    streams, names = scores.streams, scores.trackers
    figure = Figure(figsize=(1.2 + 4.4 * len(streams), 4.6), layout="constrained")
    every = figure.subplots(1, len(streams), sharey=True, squeeze=False)[0].tolist()
    for axes, stream in zip(every, streams, strict=True):
        _draw_missing(axes, scores, stream, range(len(names)), marker="o")
        axes.set_title(f"without {without(stream)}")
    handles = dict(zip(*reversed(every[0].get_legend_handles_labels()), strict=True))
    for axes in every[1:]:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    every[0].set_ylabel(scores.metric)
    order = [name for name in [*names, *ALONE.values()] if name in handles]
    figure.legend([handles[name] for name in order], order, loc="outside lower center", ncols=3, fontsize="small")
    count = f"{scores.sequences} of {scores.benchmark_size} sequences"
    figure.suptitle(f"Missing sensors, {scores.dataset} ({scores.protocol}), {count}")
    show_literally(figure)
    return figure


def missing_chart(scores: MissingScores, stream: str, numbers: Sequence[int]) -> str:
    """Draw the same for a page and one stream, as SVG; `numbers` decide the look of each tracker, as `plot_curves`."""
    with mpl.rc_context(PAGE):
        figure = Figure(figsize=(6.4, 4.8), layout="constrained")
        axes = figure.add_subplot()
        _draw_missing(axes, scores, stream, numbers)
        axes.set_ylabel(scores.metric)
        show_literally(figure)
        return _inline_svg(figure)


def _draw_missing(axes: Axes, scores: MissingScores, stream: str, numbers: Sequence[int], marker: str = "") -> None:
    look = dict(zip(scores.trackers, numbers, strict=True))
    for curve in reversed([curve for curve in scores.curves if curve.stream == stream]):
        axes.plot(
            scores.shares, curve.scores, label=curve.tracker, marker=marker, markersize=4, **_style(look[curve.tracker])
        )
    for (alone, value), dash in zip(scores.alone.items(), ("--", ":"), strict=False):
        if alone != stream:
            axes.axhline(value, label=ALONE[alone], color="0.35", linewidth=1.2, linestyle=dash)
    every = [*scores.alone.values(), *(value for curve in scores.curves for value in curve.scores)]
    room = max(0.02, 0.05 * (max(every) - min(every)))
    axes.set_ylim(max(0.0, min(every) - room), min(1.02, max(every) + room))
    axes.set_xlabel("share of the frames in which it is missing")
    axes.set_xticks(scores.shares, [f"{share:g}" for share in scores.shares])
    style_axes(axes)


def style_axes(axes: Axes) -> None:
    """Give axes a light grid behind the lines, and no box around."""
    axes.grid(color="0.88", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def show_literally(figure: Figure) -> None:
    """Show the texts of a figure as they are: a `$` in somebody's name does not begin a formula."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)


def save_figure(figure: Figure, path: Path, dpi: float = 150) -> Path:
    """Write a figure in the format of its suffix, whole or not at all and without a date, and return its path.

    Letters in a PDF are TrueType fonts, which publishers ask for.
    """
    form = path.suffix.removeprefix(".")
    dated: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
    with mpl.rc_context(PAPER), atomic_write(path, mode="wb") as file:
        figure.savefig(file, format=form, dpi=dpi, metadata=dated.get(form))
    return path


def _style(number: int) -> dict[str, Any]:
    dash = list(DASHES)[number // len(COLORS) % len(DASHES)]
    return {"color": COLORS[number % len(COLORS)], "linestyle": dash, "linewidth": 2, "gid": f"t{number}"}


def _inline_svg(figure: Figure) -> str:
    """Turn a figure into an SVG element for an HTML page; the group of each tracker, by its `gid`, gets its class."""
    figure.patch.set_visible(False)
    for artist in figure.findobj():
        artist.set_clip_on(False)  # nothing lies outside the axes, and a clip path would need an id
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    svg = ElementTree.fromstring(file.getvalue())
    for name in ("width", "height", "version"):
        svg.attrib.pop(name, None)
    for element in svg.iter():
        element.tag = element.tag.rpartition("}")[2]  # a page needs no name spaces
        identity = element.attrib.pop("id", "")
        if identity[:1] == "t" and identity[1:].isdecimal():
            element.set("class", identity)
    for name in ("metadata", "defs"):  # `defs` holds a style sheet that would rule the whole page
        for element in svg.findall(name):
            svg.remove(element)
    return ElementTree.tostring(svg, encoding="unicode")
