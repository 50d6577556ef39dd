"""The report: one folder with `index.html`, small pictures and the numbers; it opens from disk and loads nothing else.

The page holds its style, its script and its charts (inline SVG). Its content security policy allows that one script and
pictures from its own folder, nothing else: a name with HTML in it stays text, and no request leaves the disk.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from lib.evaluation import Evaluation, TrackerScores, write_json
from lib.report.analysis import AGAIN, GRACE, LOST, Losses, find_losses, overlaps, read_speed
from lib.report.charts import LineChart, Radar, line_chart, looks, radar
from lib.report.compare import compare, primary_metric
from lib.report.images import LoadSequence
from lib.report.strips import Strip, clear_pictures, film_strip
from lib.report.style import PLOTS
from patrack.files import atomic_write

__all__ = ["write_report"]

logger = logging.getLogger(__name__)


@dataclass
class SequenceRow:
    """One sequence in the table: `scores` has, per tracker, its metrics in percent and its failures as text, or "-"."""

    name: str
    frames: int
    attributes: tuple[str, ...]
    scores: list[list[str]]


@dataclass
class Shown:
    """A sequence with pictures: `mean` is its score over all trackers; `why` if there are none."""

    name: str
    mean: float
    strip: Strip | None = None
    why: str = ""
    values: list[str] = field(default_factory=list)


def write_report(
    evaluation: Evaluation,
    folder: str | Path,
    *,
    images: LoadSequence | None = None,
    no_images: str = "no images were given",
    shown: int = 3,
    published: bool = True,
) -> Path:
    """Write the report of an evaluation.

    Args:
        evaluation: of at least one tracker.
        folder: made if it is not there; files of an earlier report are replaced.
        images: gives a sequence with its images, for the film strips.
        no_images: why there are none.
        shown: number of worst and of best sequences with film strips.
        published: set published numbers beside the measured ones.

    Returns:
        Path of `index.html`.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    trackers = list(evaluation.trackers.values())
    main, by = primary_metric(trackers[0].metrics), _sequence_metric(trackers)
    overlap = {
        (k, name): overlaps(evaluation.truth[name], boxes)
        for k, tracker in enumerate(trackers)
        for name, boxes in tracker.boxes.items()
    }
    losses = {key: find_losses(values) for key, values in overlap.items()}
    clear_pictures(folder)
    worst, best = _extremes(evaluation, by, shown)
    for number, entry in enumerate([*worst, *best]):
        _add_strip(entry, number, evaluation, images, no_images, overlap, folder)
    table = compare(evaluation, published=published)
    page = _render(
        evaluation=evaluation,
        trackers=trackers,
        looks=looks(len(trackers)),
        main=main,
        by=by,
        by_index=list(trackers[0].metrics).index(by),
        table=table,
        venues=any(row.venue for row in table.rows),
        charts=_charts(evaluation),
        radar=_radar(evaluation, main),
        attributes=_shared_attributes(evaluation),
        sequences=_sequence_rows(evaluation, losses),
        worst=worst,
        best=best,
        losses=_total_losses(len(trackers), losses),
        speeds=[read_speed(tracker.source, evaluation.truth) for tracker in trackers],
        limits={"lost": LOST, "grace": GRACE, "again": AGAIN},
    )
    write_json(folder / "scores.json", evaluation)
    with atomic_write(folder / "index.html") as file:
        file.write(page)
    return folder / "index.html"


def _percent(value: float | None) -> str:
    """A fraction as text, `-` if it is missing or not finite."""
    return "-" if value is None or not np.isfinite(value) else f"{100 * value:.1f}"


def _render(**content: Any) -> str:
    loader = PackageLoader("lib.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = _percent
    script, style = (loader.get_source(environment, name)[0] for name in ("report.js", "report.css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html").render(script=script, style=style, digest=digest, **content)


def _charts(evaluation: Evaluation) -> list[LineChart]:
    """A chart for every curve that the protocol has."""
    trackers = list(evaluation.trackers.values())
    return [
        line_chart(title, metric, [tracker.curves[name] for tracker in trackers], _scores(trackers, metric))
        for name, (_, title, metric) in PLOTS.items()
        if name in trackers[0].curves
    ]


def _scores(trackers: Items[TrackerScores], metric: str) -> list[float]:
    return [float(np.nan_to_num(tracker.metrics[metric])) for tracker in trackers]


def _shared_attributes(evaluation: Evaluation) -> list[str]:
    """Attributes that every tracker was scored on."""
    trackers = list(evaluation.trackers.values())
    return [name for name in trackers[0].attributes if all(name in tracker.attributes for tracker in trackers)]


def _radar(evaluation: Evaluation, main: str) -> Radar | None:
    """None below three attributes, which make no polygon."""
    trackers = list(evaluation.trackers.values())
    names = _shared_attributes(evaluation)
    if len(names) < 3:
        return None
    values = {name: [float(np.nan_to_num(tracker.attributes[name][main])) for tracker in trackers] for name in names}
    labels = {name: f"{name} ({trackers[0].attributes[name]['sequences']:.0f})" for name in names}
    return radar(f"{main} by attribute, percent (number of sequences)", values, labels)


def _sequence_rows(evaluation: Evaluation, losses: dict[tuple[int, str], Losses]) -> list[SequenceRow]:
    trackers = list(evaluation.trackers.values())
    rows = []
    for name, frames in evaluation.frames.items():
        scores = []
        for k, tracker in enumerate(trackers):
            values = tracker.sequences.get(name, {})
            texts = [_percent(values.get(metric)) for metric in tracker.metrics]
            scores.append([*texts, str(losses[k, name].failures) if (k, name) in losses else "-"])
        rows.append(SequenceRow(name, frames, evaluation.truth[name].attributes, scores))
    return rows


def _total_losses(count: int, losses: dict[tuple[int, str], Losses]) -> list[Losses | None]:
    """Sums over all sequences, per tracker; None where the protocol has several runs per sequence."""
    totals: list[Losses | None] = [None] * count
    for (k, _), found in losses.items():
        total = totals[k] = totals[k] or Losses()
        total.add(found)
    return totals


def _sequence_metric(trackers: Items[TrackerScores]) -> str:
    """The main metric, or the last one that single sequences have (there is no EAO of one sequence)."""
    known = [metric for metric in trackers[0].metrics if metric in next(iter(trackers[0].sequences.values()))]
    main = primary_metric(trackers[0].metrics)
    return main if main in known else known[-1]


def _extremes(evaluation: Evaluation, by: str, shown: int) -> tuple[list[Shown], list[Shown]]:
    """Sequences with the lowest and the highest mean of a metric over the trackers, each at most once."""
    entries = []
    for name in evaluation.frames:
        values = [tracker.sequences[name][by] for tracker in evaluation.trackers.values() if name in tracker.sequences]
        if values:
            texts = [_percent(tracker.sequences.get(name, {}).get(by)) for tracker in evaluation.trackers.values()]
            entries.append(Shown(name, float(np.mean(np.nan_to_num(values))), values=texts))
    entries.sort(key=lambda entry: entry.mean)
    worst = entries[: min(shown, (len(entries) + 1) // 2)]
    best = entries[len(worst) :][::-1][:shown]
    return worst, best


def _add_strip(
    entry: Shown,
    number: int,
    evaluation: Evaluation,
    images: LoadSequence | None,
    no_images: str,
    overlap: dict[tuple[int, str], np.ndarray],
    folder: Path,
) -> None:
    """Make the film strip, or say why there is none."""
    if images is None:
        entry.why = no_images
        return
    trackers = list(evaluation.trackers.values())
    boxes = {k: tracker.boxes[entry.name] for k, tracker in enumerate(trackers) if entry.name in tracker.boxes}
    known = {k: overlap[k, entry.name] for k in boxes}
    try:
        truth = evaluation.truth[entry.name]
        entry.strip = film_strip(images(entry.name), truth, boxes, known, folder, f"{number:02d}")
    except (ValueError, OSError) as error:
        logger.warning("no film strip of %s: %s", entry.name, error)
        entry.why = str(error)
