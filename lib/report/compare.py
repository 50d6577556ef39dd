"""Our numbers beside the published ones: one table, in percent, best and second best marked, every row with its origin.

Two values are equal if they are printed equal, with one decimal. `render` in `lib.report.formats` writes the table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from lib.evaluation.scores import Evaluation, TrackerScores
from lib.report.published import PublishedRow, load_published

__all__ = ["Comparison", "Row", "compare", "primary_metric"]

PRIMARY = ("SR", "MSR", "F", "EAO")  # the metric that ranks, whichever the benchmark has


@dataclass(frozen=True)
class Row:
    """One tracker in the table.

    Attributes:
        tracker: name.
        origin: "measured here", "quoted" or, for a tracker without any known value, "not known".
        values: percent by metric; None: missing. Never NaN.
        venue: where a quoted tracker was published.
        sources: identifiers of the sources of a quoted row.
        scored: for a measured row, sequences that count, e.g. "245 of 245".
        complete: False if sequences were left out; such a row is not ranked.
        note: to be printed below the table.
    """

    tracker: str
    origin: str
    values: dict[str, float | None]
    venue: str = ""
    sources: tuple[str, ...] = ()
    scored: str = ""
    complete: bool = True
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """A table for one benchmark.

    Attributes:
        dataset: its name.
        protocol: variant of the rules that the measured rows follow.
        title: whose rules those are.
        metrics: columns.
        rows: best first by the benchmark's main metric.
        sources: description of every source that a row names.
        notes: to be printed below the table.
    """

    dataset: str
    protocol: str
    title: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    sources: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def mark(self, row: Row, metric: str) -> str:
        """ "best", "second" or "", among the complete rows; equal printed values share a mark."""
        value = row.values[metric]
        if value is None or not row.complete:
            return ""
        ranked = [other.values[metric] for other in self.rows if other.complete]
        printed = sorted({round(number, 1) for number in ranked if number is not None}, reverse=True)
        place = printed.index(round(value, 1))
        return ("best", "second")[place] if place < 2 and len(printed) > 1 else ""


def primary_metric(metrics: Mapping[str, object] | tuple[str, ...]) -> str:
    """The metric that a benchmark ranks by."""
    return next(metric for metric in PRIMARY if metric in metrics)


def compare(evaluation: Evaluation, *, published: bool = True) -> Comparison:
    """The table of an evaluation.

    Args:
        evaluation: of at least one tracker.
        published: add the published numbers of the benchmark.

    Returns:
        Rows ordered by the main metric, missing values last.
    """
    metrics = tuple(next(iter(evaluation.trackers.values())).metrics)
    rows = [_measured(scores, metrics, len(evaluation.frames)) for scores in evaluation.trackers.values()]
    rows += [
        Row(
            name,
            "measured here",
            dict.fromkeys(metrics),
            scored=f"0 of {len(evaluation.frames)}",
            complete=False,
            note=f"NOT scored: {'; '.join(problems)}",
        )
        for name, problems in evaluation.left_out.items()
    ]
    library = load_published()
    quoted = library.tables.get(evaluation.dataset, ()) if published else ()
    rows += [_quoted(row, metrics) for row in quoted]
    main = primary_metric(metrics)
    rows.sort(key=lambda row: math.inf if row.values[main] is None else -round(row.values[main], 1))
    named = {name for row in rows for name in row.sources}
    named |= {name for name in library.sources for row in rows if row.origin != "measured here" and name in row.note}
    return Comparison(
        evaluation.dataset,
        evaluation.protocol,
        evaluation.title,
        metrics,
        tuple(rows),
        {name: text for name, text in library.sources.items() if name in named},
        tuple(_notes(evaluation, rows, asked=published, found=bool(quoted))),
    )


def _measured(scores: TrackerScores, metrics: tuple[str, ...], total: int) -> Row:
    values = {metric: _percent(scores.metrics.get(metric)) for metric in metrics}
    done = len(scores.sequences)
    total = max(total, done + len(scores.left_out))  # sequences without readable ground truth count as left out
    left_out = "; ".join(scores.left_out.values())
    notes = [*scores.notes, *([f"not ranked, scored WITHOUT {total - done} sequences: {left_out}"] if left_out else [])]
    return Row(
        scores.name,
        "measured here",
        values,
        scored=f"{done} of {total}",
        complete=done == total,
        note="; ".join(notes),
    )


def _quoted(row: PublishedRow, metrics: tuple[str, ...]) -> Row:
    values = {metric: row.values.get(metric) for metric in metrics}
    origin = "quoted" if row.values else "not known"
    return Row(row.tracker, origin, values, row.venue, row.sources, note=row.note)


def _percent(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else 100.0 * value


def _notes(evaluation: Evaluation, rows: list[Row], *, asked: bool, found: bool) -> list[str]:
    notes = [f"ground truth of the measured rows: {evaluation.ground_truth}"]
    if asked and not found:
        notes.append(f"no published numbers are known for {evaluation.dataset}")
    return notes + [f"{row.tracker}: {row.note}" for row in rows if row.note]
