"""Numbers that others have published, from `published.yaml`, typed and checked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

__all__ = ["Published", "PublishedRow", "load_published", "parse_published"]

FILE = Path(__file__).with_name("published.yaml")
ROW_KEYS = {"tracker", "sources", "also", "note"}


@dataclass(frozen=True)
class PublishedRow:
    """One tracker's published scores on one benchmark.

    Attributes:
        tracker: name.
        venue: where it was published, e.g. "CVPR 2023"; may be empty.
        values: percent by metric; a metric that is not there is not known.
        sources: identifiers of where the values stand; empty if there are none.
        note: what a reader should know, other values that circulate included.
    """

    tracker: str
    venue: str
    values: dict[str, float]
    sources: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Published:
    """Everything that is known of the literature's numbers.

    Attributes:
        sources: description by identifier.
        tables: rows by benchmark.
    """

    sources: dict[str, str]
    tables: dict[str, tuple[PublishedRow, ...]]


@cache
def load_published() -> Published:
    """The numbers shipped with the project."""
    return parse_published(FILE.read_text(encoding="utf-8"))


def parse_published(text: str) -> Published:
    """Read the form of `published.yaml`.

    Raises:
        ValueError: a value that is no percentage, an unknown metric or source; the message names benchmark and tracker.
    """
    content = yaml.safe_load(text)
    sources = {name: f"{source['where']} ({source['kind']})" for name, source in content["sources"].items()}
    venues = content["venues"]
    tables = {
        dataset: tuple(_row(dataset, row, table["metrics"], venues, sources) for row in table["rows"])
        for dataset, table in content["tables"].items()
    }
    return Published(sources, tables)


def _row(
    dataset: str, row: dict[str, Any], metrics: list[str], venues: dict[str, str], sources: dict[str, str]
) -> PublishedRow:
    where = f"published numbers, {dataset}, {row.get('tracker')}"
    values = {key: value for key, value in row.items() if key not in ROW_KEYS}
    for entry in [row, *row.get("also", [])]:
        unknown = set(entry) - ROW_KEYS - set(metrics)
        if unknown:
            raise ValueError(f"{where}: metrics must be among {metrics}, got {sorted(unknown)}")
        if set(entry["sources"]) - set(sources):
            raise ValueError(f"{where}: sources must be among {sorted(sources)}, got {entry['sources']}")
        for metric in set(entry) & set(metrics):
            if not isinstance(entry[metric], int | float) or not 0 <= entry[metric] <= 100:
                raise ValueError(f"{where}: {metric} must be a percentage from 0 to 100, got {entry[metric]!r}")
    if values and not row["sources"]:
        raise ValueError(f"{where}: values without a source")
    return PublishedRow(
        row["tracker"], venues.get(row["tracker"], ""), values, tuple(row["sources"]), _note(row, metrics)
    )


def _note(row: dict[str, Any], metrics: list[str]) -> str:
    """The row's own note and the other values that circulate, in words."""
    parts = [row["note"]] if "note" in row else []
    for other in row.get("also", []):
        values = ", ".join(f"{metric} {other[metric]:.1f}" for metric in metrics if metric in other)
        remark = f", {other['note']}" if "note" in other else ""
        parts.append(f"also published: {values} ({', '.join(other['sources'])}{remark})")
    return "; ".join(parts)
