"""Geometry of the report's charts: from numbers to SVG coordinates. The markup itself is in `templates/`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lib.evaluation.scores import Curve
from lib.report.style import COLOURS

__all__ = ["LineChart", "Look", "Radar", "line_chart", "looks", "radar"]

WIDTH, HEIGHT = 460, 340  # of a line chart, in its own units
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 48  # margins
RADIUS, CENTRE_X, CENTRE_Y = 160, 330, 215  # of the radar
DASHES = ("none", "7 4", "2 3", "9 3 2 3")


@dataclass(frozen=True)
class Look:
    """How a tracker is drawn everywhere: a colour that the colour-blind can tell apart, and a dash pattern."""

    colour: str
    dash: str


@dataclass(frozen=True)
class LineChart:
    """Curves in one pair of axes.

    Attributes:
        title: of the chart.
        metric: that ranks the trackers.
        end: greatest x.
        x_label: of the horizontal axis.
        y_label: of the vertical one.
        x_ticks: position and text.
        y_ticks: position and text.
        lines: number of the tracker and its points as SVG writes them, best tracker first.
        ranking: number of the tracker and its score as text, in the same order.
        data: what the reading under the pointer needs: x values, and y values by tracker number.
    """

    title: str
    metric: str
    end: float
    x_label: str
    y_label: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    lines: list[tuple[int, str]]
    ranking: list[tuple[int, str]]
    data: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Radar:
    """One score per attribute and tracker.

    Attributes:
        title: names the metric.
        rings: radius and text.
        spokes: end of the spoke x, y, position of the label x, y, its anchor, and the attribute.
        shapes: number of the tracker and the corners of its polygon.
    """

    title: str
    rings: list[tuple[float, str]]
    spokes: list[tuple[float, float, float, float, str, str]]
    shapes: list[tuple[int, str]]


def looks(count: int) -> list[Look]:
    """A look per tracker: eight colours, then the same ones dashed."""
    return [Look(COLOURS[k % len(COLOURS)], DASHES[k // len(COLOURS) % len(DASHES)]) for k in range(count)]


def line_chart(title: str, metric: str, curves: Sequence[Curve], scores: Sequence[float]) -> LineChart:
    """Lay out a chart.

    Args:
        title: of the chart.
        metric: that the scores are of.
        curves: one per tracker; rates from 0 to 1 over the same kind of threshold.
        scores: by which the trackers are ranked, one per tracker, fractions.
    """
    longest = max((curve.x[-1] if curve.x else 0.0) for curve in curves)
    end = max(1.0, longest) if curves[0].x_label == "recall" else longest or 1.0
    order = sorted(range(len(curves)), key=lambda k: -scores[k])
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> str:
        return f"{LEFT + across * x / end:.1f},{TOP + down * (1.0 - y):.1f}"

    points = [" ".join(place(x, y) for x, y in zip(curve.x, curve.y, strict=True)) for curve in curves]
    shared = all(curve.x == curves[0].x for curve in curves)
    return LineChart(
        title,
        metric,
        end,
        curves[0].x_label,
        curves[0].y_label,
        [(LEFT + across * x / end, f"{x:g}") for x in _ticks(end)],
        [(TOP + down * (1.0 - k / 5), f"{k / 5:g}") for k in range(6)],
        [(k, points[k]) for k in order],
        [(k, f"{100 * scores[k]:.1f}") for k in order],
        {"x": list(curves[0].x), "y": [[round(y, 4) for y in curve.y] for curve in curves]} if shared else {},
    )


def _ticks(end: float) -> list[float]:
    """Round numbers from 0 to at most `end`, about five."""
    unit = 10.0 ** math.floor(math.log10(end / 5))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= end / 5 - 1e-9)
    return [round(step * k, 9) for k in range(int(end / step + 1e-9) + 1)]


def radar(title: str, attributes: Mapping[str, Sequence[float]], labels: Mapping[str, str]) -> Radar:
    """Lay out a radar chart.

    Args:
        title: names the metric.
        attributes: at least three; per attribute one score per tracker, fractions.
        labels: text of each attribute.
    """
    highest = max(max(values) for values in attributes.values())
    top = min(1.0, math.ceil(max(highest, 0.1) * 5 - 1e-9) / 5)
    angles = [2 * math.pi * k / len(attributes) - math.pi / 2 for k in range(len(attributes))]

    def place(angle: float, radius: float) -> tuple[float, float]:
        return round(CENTRE_X + radius * math.cos(angle), 1), round(CENTRE_Y + radius * math.sin(angle), 1)

    spokes = []
    for name, angle in zip(attributes, angles, strict=True):
        lean = math.cos(angle)
        anchor = "middle" if abs(lean) < 0.02 else "start" if lean > 0 else "end"
        outside = RADIUS + (28 if abs(lean) < 0.02 else 13)  # the label at the very top clears its wide neighbours
        spokes.append((*place(angle, RADIUS), *place(angle, outside), anchor, labels[name]))
    count = len(next(iter(attributes.values())))
    shapes = [
        " ".join(
            "{},{}".format(*place(angle, RADIUS * values[k] / top))
            for angle, values in zip(angles, attributes.values(), strict=True)
        )
        for k in range(count)
    ]
    rings = [(RADIUS * k / 4, f"{100 * top * k / 4:g}") for k in range(1, 5)]
    return Radar(title, rings, spokes, list(enumerate(shapes)))
