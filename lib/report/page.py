"""The report: one folder with `index.html`, small pictures and the numbers; it opens from disk and loads nothing else.

The page holds its style, its script and its charts (inline SVG). Its content security policy allows that one script and
pictures from its own folder, nothing else: a name with HTML in it stays text, and no request leaves the disk.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from lib.datasets import Sequence, data_set_names, load, resolve_data_root
from lib.evaluation import Evaluation, write_json
from lib.report.analysis import AGAIN, GRACE, LOST, Losses, find_losses, overlaps, read_speed
from lib.report.figures import PLOTS, curve_chart, looks, radar
from lib.report.pictures import Strip, clear_pictures, film_strip
from lib.report.tables import compare, primary_metric
from patrack.files import atomic_write

__all__ = ["LoadSequence", "find_images", "write_report"]

logger = logging.getLogger(__name__)

LoadSequence = Callable[[str], Sequence]
"""Gives a sequence with its image files by its name; raises ValueError or OSError if it cannot."""
WIDE, NARROW = (9.2, 6.0), (5.2, 5.2)  # size of the radar: on a screen, and on a telephone with numbers for names


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


def find_images(dataset: str, split: str, data_root: str | None) -> tuple[LoadSequence | None, str]:
    """Find out how the sequences of a data set are loaded, one by one, when they are to be shown.

    Args:
        dataset: name of the benchmark.
        split: of the data set.
        data_root: folder that holds the data sets; None: the environment variable PATRACK_DATA.

    Returns:
        A function, or None; and why there is none, in words for the reader of the report.
    """
    root = resolve_data_root(data_root)
    if root is None:
        return None, "the images need --data-root or PATRACK_DATA"
    if dataset not in data_set_names():
        return None, f"the images of {dataset} cannot be read"
    return lambda name: load(dataset, split, None, root, [name])[0], ""


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
    folder, trackers = Path(folder), list(evaluation.trackers.values())
    metrics, main = list(trackers[0].metrics), primary_metric(trackers[0].metrics)

    # Failures of every tracker on every sequence; their sums are None where a protocol has several runs per sequence.
    overlap = {
        (k, name): overlaps(evaluation.truth[name], boxes)
        for k, tracker in enumerate(trackers)
        for name, boxes in tracker.boxes.items()
    }
    losses = {key: find_losses(values) for key, values in overlap.items()}
    totals: list[Losses | None] = [None] * len(trackers)
    for (k, _), found in losses.items():
        total = totals[k] = totals[k] or Losses()
        total.add(found)
    rows = []
    for name, frames in evaluation.frames.items():
        scores = []
        for k, tracker in enumerate(trackers):
            texts = [_percent(tracker.sequences.get(name, {}).get(metric)) for metric in metrics]
            scores.append([*texts, str(losses[k, name].failures) if (k, name) in losses else "-"])
        rows.append(SequenceRow(name, frames, evaluation.truth[name].attributes, scores))

    # A chart for every curve, and the radar of the attributes that every tracker has; fewer than three make no polygon.
    charts = []
    for curve in {**PLOTS, **trackers[0].curves}:
        if curve in trackers[0].curves:
            _, title, metric = PLOTS.get(curve, (curve, curve, curve))
            values = [float(np.nan_to_num(tracker.metrics[metric])) for tracker in trackers]
            charts.append(curve_chart(title, metric, [tracker.curves[curve] for tracker in trackers], values))
    attributes = [name for name in trackers[0].attributes if all(name in tracker.attributes for tracker in trackers)]
    radars = {}
    if len(attributes) >= 3:
        spokes = [[np.nan_to_num(tracker.attributes[name][main]) for tracker in trackers] for name in attributes]
        names = [f"{name} ({trackers[0].attributes[name]['sequences']:.0f})" for name in attributes]
        numbers = [str(number) for number in range(1, len(names) + 1)]
        radars = {"long": radar(spokes, names, WIDE), "short": radar(spokes, numbers, NARROW)}

    # The sequences with the lowest and the highest mean over the trackers, each at most once. They are ranked by the
    # main metric, or the last one that single sequences have (there is no EAO of one sequence).
    known = [metric for metric in metrics if metric in next(iter(trackers[0].sequences.values()))]
    by = main if main in known else known[-1]
    entries = []
    for name in evaluation.frames:
        scored = [tracker.sequences[name][by] for tracker in trackers if name in tracker.sequences]
        if scored:
            texts = [_percent(tracker.sequences.get(name, {}).get(by)) for tracker in trackers]
            entries.append(Shown(name, float(np.mean(np.nan_to_num(scored))), why=no_images, values=texts))
    entries.sort(key=lambda entry: entry.mean)
    worst = entries[: min(shown, (len(entries) + 1) // 2)]
    best = entries[len(worst) :][::-1][:shown]
    clear_pictures(folder)
    if images is not None:
        for number, entry in enumerate([*worst, *best]):
            boxes = {k: tracker.boxes[entry.name] for k, tracker in enumerate(trackers) if entry.name in tracker.boxes}
            measured = {k: overlap[k, entry.name] for k in boxes}
            try:
                truth = evaluation.truth[entry.name]
                entry.strip = film_strip(images(entry.name), truth, boxes, measured, folder, f"{number:02d}")
            except (ValueError, OSError) as error:
                logger.warning("no film strip of %s: %s", entry.name, error)
                entry.why = str(error)

    # The page. The policy in its head names the script by its hash.
    table = compare(evaluation, published=published)
    loader = PackageLoader("lib.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = _percent
    script, style = (loader.get_source(environment, name)[0] for name in ("report.js", "report.css"))
    page = environment.get_template("report.html").render(
        script=script,
        style=style,
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        evaluation=evaluation,
        trackers=trackers,
        looks=looks(len(trackers)),
        main=main,
        by=by,
        by_index=metrics.index(by),
        table=table,
        venues=any(row.venue for row in table.rows),
        charts=charts,
        radars=radars,
        attributes=attributes,
        sequences=rows,
        worst=worst,
        best=best,
        losses=totals,
        speeds=[read_speed(tracker.source, evaluation.truth) for tracker in trackers],
        limits={"lost": LOST, "grace": GRACE, "again": AGAIN},
    )
    write_json(folder / "scores.json", evaluation)
    with atomic_write(folder / "index.html") as file:
        file.write(page)
    return folder / "index.html"


def _percent(value: float | None) -> str:
    """Format a fraction in percent, `-` if it is missing or not finite."""
    return "-" if value is None or not np.isfinite(value) else f"{100 * value:.1f}"
