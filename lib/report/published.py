"""Numbers that others have published, read and checked from `published.yaml`: rows by benchmark, papers, sources."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Words
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

__all__ = ["GROUPS", "Library", "Paper", "Quoted", "choose", "load_published", "parse_published"]

GROUPS = ("none", "all", "frozen")
"""What `choose` takes beside names: `frozen` are the rows whose paper is (see `Paper`)."""
WORDS = {"tracker", "sources", "also", "note"}


@dataclass(frozen=True)
class Paper:
    """Where a tracker was published.

    Attributes:
        name: of the tracker.
        venue: conference, journal, or "arXiv", without the year.
        year: of publication.
        title: of the paper; the tracker's name where it was not at hand.
        author: as BibTeX writes it; empty: not at hand.
        arxiv: number; empty: not known.
        url: address of the code, where there is no number.
        frozen: adapters or prompts on a frozen base model, and nothing carried from frame to frame.
        temporal: uses templates or tokens of later frames; False: doesn't, or not known.
    """

    name: str
    venue: str
    year: int
    title: str
    author: str = ""
    arxiv: str = ""
    url: str = ""
    frozen: bool = False
    temporal: bool = False


@dataclass(frozen=True)
class Quoted:
    """One tracker on one benchmark.

    Attributes:
        tracker: its name, with the variant.
        values: percent by metric; a metric that is not known is not there.
        paper: where it was published.
        sources: keys of the sources that the values are from.
        note: what else a reader should know, other values that circulate among it.
    """

    tracker: str
    values: Mapping[str, float]
    paper: Paper
    sources: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Library:
    """All published numbers that are known: descriptions of the sources and papers by name, rows by benchmark."""

    sources: dict[str, str]
    papers: dict[str, Paper]
    tables: dict[str, tuple[Quoted, ...]]


@cache
def load_published() -> Library:
    """Read the numbers shipped with the project."""
    return parse_published(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"))


def parse_published(text: str) -> Library:
    """Read and check a file of the form of `published.yaml`.

    Raises:
        ValueError: a value that is no percentage, an unknown metric or source, a tracker without a paper, a paper
            without venue or year; the message names benchmark and tracker.
    """
    content = yaml.safe_load(text)
    sources = {name: f"{source['where']} ({source['kind']})" for name, source in content["sources"].items()}
    papers = {}
    for name, entry in content["papers"].items():
        if not entry.get("venue") or not isinstance(entry.get("year"), int) or not entry.get("title"):
            raise ValueError(f"published numbers, paper of {name}: needs venue, year and title, got {entry}")
        papers[name] = Paper(name, **entry)
    tables = {}
    for dataset, table in content["tables"].items():
        rows = [_parse_row(row, table["metrics"], sources, papers, dataset) for row in table["rows"]]
        tables[dataset] = tuple(rows)
    return Library(sources, papers, tables)


def _parse_row(
    row: dict[str, Any], metrics: Words[str], sources: Mapping[str, str], papers: Mapping[str, Paper], dataset: str
) -> Quoted:
    where = f"published numbers, {dataset}, {row.get('tracker')}"
    values = {key: value for key, value in row.items() if key not in WORDS}
    others = row.get("also", [])

    # every value a percentage of a known metric, from a known source
    for entry in [row, *others]:
        if unknown := set(entry) - WORDS - set(metrics):
            raise ValueError(f"{where}: metrics must be among {metrics}, got {sorted(unknown)}")
        if set(entry["sources"]) - set(sources):
            raise ValueError(f"{where}: sources must be among {sorted(sources)}, got {entry['sources']}")
        for metric in set(entry) & set(metrics):
            if not isinstance(entry[metric], int | float) or not 0 <= entry[metric] <= 100:
                raise ValueError(f"{where}: {metric} must be a percentage from 0 to 100, got {entry[metric]!r}")
    if values and not row["sources"]:
        raise ValueError(f"{where}: values without a source")

    # a variant has the paper of its tracker
    name = row["tracker"]
    paper = papers.get(name, papers.get(name.rpartition("-")[0]))
    if paper is None:
        raise ValueError(f"{where}: no paper, so neither venue nor year")

    # the note: the row's own, and other values that circulate
    notes = [row["note"]] if "note" in row else []
    for other in others:
        numbers = ", ".join(f"{metric} {other[metric]:.1f}" for metric in metrics if metric in other)
        remark = f", {other['note']}" if "note" in other else ""
        notes.append(f"also published: {numbers} ({', '.join(other['sources'])}{remark})")
    return Quoted(name, values, paper, tuple(row["sources"]), "; ".join(notes))


def choose(dataset: str, words: Words[str]) -> tuple[Quoted, ...]:
    """Choose published rows of a benchmark.

    Args:
        dataset: name of the benchmark; one without published numbers has no rows.
        words: one of `GROUPS`, or names of trackers, without regard to case; the name of a paper's tracker stands for
            all its variants.

    Returns:
        The rows, in the order of the file.

    Raises:
        ValueError: a name that no row has, or one of `GROUPS` beside something else; the message lists the names.
    """
    rows = load_published().tables.get(dataset, ())
    if len(words) == 1 and words[0] in GROUPS:
        return tuple(row for row in rows if words[0] == "all" or (words[0] == "frozen" and row.paper.frozen))
    chosen = {}
    for word in words:
        found = [row for row in rows if word.casefold() in (row.tracker.casefold(), row.paper.name.casefold())]
        if not found:
            known = ", ".join(row.tracker for row in rows) or f"none at all for {dataset}"
            said = f"{word!r} stands alone" if word in GROUPS else f"got {word!r}"
            raise ValueError(
                f"--published takes {', '.join(GROUPS)} or names of published rows of {dataset}; {said}. Rows: {known}"
            )
        chosen.update({row.tracker: row for row in found})
    return tuple(row for row in rows if row.tracker in chosen)
