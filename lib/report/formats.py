"""A comparison as Markdown, LaTeX, CSV or JSON text.

Best is bold and second best underlined; CSV and JSON, which have no type, name the mark in a field of its own. A
missing value is `-`, an empty CSV field or null.
"""

from __future__ import annotations

import csv
import io
import json
import re

from lib.report.compare import Comparison, Row

__all__ = ["FORMATS", "render"]

MISSING = "-"
LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def render(comparison: Comparison, form: str) -> str:
    """The table as text.

    Args:
        comparison: what to write.
        form: a key of `FORMATS`.

    Raises:
        ValueError: for another form.
    """
    if form not in FORMATS:
        raise ValueError(f"table format must be one of {', '.join(FORMATS)}, got {form!r}")
    return FORMATS[form](comparison)


def _heading(comparison: Comparison) -> str:
    return f"{comparison.dataset}, protocol {comparison.protocol} ({comparison.title}), percent"


def _origin(row: Row) -> str:
    return ": ".join(part for part in (row.origin, ", ".join(row.sources)) if part)


def _number(row: Row, metric: str) -> str:
    value = row.values[metric]
    return MISSING if value is None else f"{value:.1f}"


def _markdown(comparison: Comparison) -> str:
    styles = {"best": "**{}**", "second": "<u>{}</u>", "": "{}"}
    lines = [_markdown_text(_heading(comparison)), ""]
    lines.append(f"| Tracker | Venue | {' | '.join(comparison.metrics)} | Sequences | Origin |")
    lines.append(f"| --- | --- | {' | '.join(['---:'] * len(comparison.metrics))} | ---: | --- |")
    for row in comparison.rows:
        values = [styles[comparison.mark(row, metric)].format(_number(row, metric)) for metric in comparison.metrics]
        words = [_markdown_text(row.tracker), _markdown_text(row.venue)]
        lines.append(f"| {' | '.join([*words, *values, row.scored, _markdown_text(_origin(row))])} |")
    lines += ["", f"**best**, <u>second</u>, {MISSING} missing."]
    lines += ["", *(f"- {_markdown_text(note)}" for note in comparison.notes)] if comparison.notes else []
    if comparison.sources:
        lines += ["", "Sources:", ""]
        lines += [f"- {_markdown_text(name)}: {_markdown_text(text)}" for name, text in comparison.sources.items()]
    return "\n".join(lines)


def _markdown_text(text: str) -> str:
    """Letters that Markdown or HTML would take for marks, escaped; on one line."""
    escaped = re.sub(r"([\\`*_\[\]|~])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _latex(comparison: Comparison) -> str:
    styles = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "": "{}"}
    count = len(comparison.metrics)
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex_text(_heading(comparison))}. Best bold, second underlined, {MISSING} missing.}}",
        rf"\begin{{tabular}}{{ll{'r' * count}l}}",
        r"\toprule",
        " & ".join(["Tracker", "Venue", *map(_latex_text, comparison.metrics), "Origin"]) + r" \\",
        r"\midrule",
    ]
    for row in comparison.rows:
        values = [styles[comparison.mark(row, metric)].format(_number(row, metric)) for metric in comparison.metrics]
        origin = _origin(row) + ("" if row.complete else f" ({row.scored} sequences)")
        words = [_latex_text(row.tracker), _latex_text(row.venue), *values, _latex_text(origin)]
        lines.append(" & ".join(words) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    below = [*comparison.notes, *(f"{name}: {text}" for name, text in comparison.sources.items())]
    if below:
        lines += [r"\par\medskip\raggedright\footnotesize", *(f"{_latex_text(text)}\\\\" for text in below)]
    return "\n".join([*lines, r"\end{table}"])


def _latex_text(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in " ".join(text.split()))


def _csv(comparison: Comparison) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    marks = [f"{metric}_mark" for metric in comparison.metrics]
    first, last = (
        ["dataset", "protocol", "tracker", "venue"],
        ["sequences", "origin", "sources", "source_texts", "note"],
    )
    writer.writerow([*first, *comparison.metrics, *marks, *last])
    for row in comparison.rows:
        values = ["" if row.values[metric] is None else f"{row.values[metric]:.4f}" for metric in comparison.metrics]
        texts = "; ".join(comparison.sources[name] for name in row.sources)
        first = [comparison.dataset, comparison.protocol, row.tracker, row.venue]
        marked = [comparison.mark(row, metric) for metric in comparison.metrics]
        writer.writerow([*first, *values, *marked, row.scored, row.origin, " ".join(row.sources), texts, row.note])
    return file.getvalue().rstrip("\n")


def _json(comparison: Comparison) -> str:
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


FORMATS = {"markdown": _markdown, "latex": _latex, "csv": _csv, "json": _json}
