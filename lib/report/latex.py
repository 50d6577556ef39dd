"""A table for a paper: a LaTeX float that fits a two-column page, and a BibTeX file with all that it cites.

Nothing in it tells where files lie on this machine. It needs `booktabs` and `graphicx`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lib.datasets.catalog import DATA_SETS
from lib.report.published import Paper

if TYPE_CHECKING:
    from lib.report.tables import Comparison, Row

__all__ = ["to_bibtex", "to_latex"]

ESCAPED = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"{\textquotedblright}",
        "`": r"\`{}",
        # a row that begins with one of these would give it to the \\ before
        "[": "{[}",
        "]": "{]}",
        "*": "{*}",
        **{character: f"\\{character}" for character in "&%$#_{}"},
    }
)
STYLES = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "": "{}"}
MANY = 40  # rows; more are set in two halves side by side, across both columns of a page


def escape(text: str) -> str:
    """Write a text so that LaTeX prints it as it is."""
    return " ".join(text.split()).translate(ESCAPED).replace("--", "-{}-")


def to_latex(comparison: Comparison) -> str:
    """Write a float with best values bold and second ones underlined; whoever is quoted is cited."""
    sources = _cited_sources(comparison)
    title = DATA_SETS[comparison.dataset].title if comparison.dataset in DATA_SETS else comparison.dataset
    caption = (
        f"{escape(title)} ({escape(comparison.split)} split, {comparison.covered}), in percent. Rules: "
        f"{escape(comparison.title)}, protocol {escape(comparison.protocol)}. Best bold, second underlined."
    )
    if any(not row.complete for row in comparison.rows):
        caption += " Rows on a part of the sequences are not ranked."
    if sources:
        caption += f" Quoted as published, from~\\cite{{{','.join(map(_source_key, sources))}}}."
    half = len(comparison.rows) if len(comparison.rows) <= MANY else (len(comparison.rows) + 1) // 2
    float_kind = "table" if half == len(comparison.rows) else "table*"
    lines = [
        r"% needs \usepackage{booktabs,graphicx}; what is cited: the .bib that --table-file writes beside the table",
        rf"\begin{{{float_kind}}}[t]",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{re.sub('[^A-Za-z0-9]', '', comparison.dataset)}}}",
        r"\footnotesize",
        r"\setlength{\tabcolsep}{4pt}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
    ]
    for start in range(0, len(comparison.rows), half):
        lines += [
            *([r"\qquad"] if start else []),
            rf"\begin{{tabular}}[t]{{@{{}}ll{'r' * len(comparison.metrics)}@{{}}}}",
            r"\toprule",
            " & ".join(["Tracker", "Venue", *map(escape, comparison.metrics)]) + r" \\",
            r"\midrule",
        ]
        for row in comparison.rows[start : start + half]:
            name = escape(row.tracker) + (f"~\\cite{{{_paper_key(row.paper)}}}" if row.paper else "")
            cells = [name, escape(_where(row)), *comparison.texts(row, STYLES, "--")]
            origin = f" % {', '.join(row.sources)}" if row.sources else ""
            if comparison.heads_group(row):
                words = escape("with templates or tokens of later frames, ranked apart")
                lines += [r"\midrule", rf"\multicolumn{{{len(cells)}}}{{@{{}}l@{{}}}}{{\emph{{{words}}}}} \\"]
            lines.append(" & ".join(cells) + r" \\" + origin)
        lines += [r"\bottomrule", r"\end{tabular}%"]
    lines += ["}", rf"\end{{{float_kind}}}"]
    text = "\n".join(lines)
    if not all(character < "\u0180" for character in text):
        text = "% names with letters that pdflatex does not have: compile with xelatex or lualatex\n" + text
    return text


def to_bibtex(comparison: Comparison) -> str:
    """Write an entry for every paper and source that the LaTeX table cites."""
    papers = {row.paper.name: row.paper for row in comparison.rows if row.paper}
    entries = []
    for paper in papers.values():
        fields = {"author": paper.author, "key": "" if paper.author else escape(paper.name)}
        fields |= {"title": f"{{{escape(paper.title)}}}", "howpublished": escape(paper.venue), "year": str(paper.year)}
        if paper.arxiv:
            fields |= {"note": f"arXiv:{paper.arxiv}", "eprint": paper.arxiv, "archivePrefix": "arXiv"}
        elif paper.url:
            fields["note"] = _breakable(paper.url.removeprefix("https://"))
        entries.append((_paper_key(paper), fields))
    for name, text in _cited_sources(comparison).items():
        entries.append((_source_key(name), {"key": escape(name), "title": f"{{{_breakable(text)}}}"}))
    lines = ["% Papers and sources of numbers as PATrack knows them; authors are left out where they were not at hand."]
    for key, fields in entries:
        inside = [f"  {field} = {{{value}}}" for field, value in fields.items() if value]
        lines += [f"@misc{{{key},", ",\n".join(inside), "}"]
    return "\n".join(lines)


def _where(row: Row) -> str:
    """Say where the numbers of a row come from, in a few letters, e.g. "CVPR'23"."""
    if row.paper is not None and row.venue:
        return f"{row.paper.venue}'{row.paper.year % 100:02d}"
    return "measured" if row.complete else f"measured, {row.scored}"


def _cited_sources(comparison: Comparison) -> dict[str, str]:
    """Pick the sources that values are from; those that only a note names are not in the table."""
    named = {name for row in comparison.rows for name in row.sources}
    return {name: text for name, text in comparison.sources.items() if name in named}


def _breakable(text: str) -> str:
    return escape(text).replace("/", "/\\allowbreak{}")


def _paper_key(paper: Paper) -> str:
    return f"{re.sub('[^A-Za-z0-9]', '', paper.name)}{paper.year}"


def _source_key(name: str) -> str:
    return f"numbers:{name.replace('_', '-')}"
