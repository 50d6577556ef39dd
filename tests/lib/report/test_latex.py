"""The table for a paper: what it cites, that it holds no path, and that LaTeX sets it in one column of two."""

import re
import shutil
import subprocess

import pytest

from lib.evaluation import Evaluation, TrackerScores
from lib.report.latex import to_bibtex, to_latex
from lib.report.published import load_published
from lib.report.tables import compare

HOSTILE = (
    r"50%_a&b $x$ #1 {c} ~^ \d",
    "[ours]",
    "* star",
    "<a|b>",
    'don\'t "quote" `it`',
    "Käpylä, Čehovin, Łukasz, Øst",
    "a-b--c",
)
DOCUMENT = r"""
\documentclass[%s]{%s}
\usepackage{booktabs,graphicx}
\begin{document}
Text before the table, which is Table~\ref{tab:lasher}.
\input{table}
\bibliographystyle{%s}
\bibliography{table}
\end{document}
"""


def comparison(names=("ours",), sequences=245, published=("all",)):
    value = dict.fromkeys(("PR", "NPR", "SR"), 0.6)
    frames = {f"s{k}": 5 for k in range(sequences)}
    trackers = {
        name: TrackerScores(value, dict.fromkeys(frames, value), name=name, source="/somewhere/results")
        for name in names
    }
    truth = "/somewhere/truth"
    evaluation = Evaluation("lasher", "official", "LasHeR toolkit", truth, frames, trackers, benchmark_size=245)
    return compare(evaluation, published=published)


def test_everything_that_is_cited_has_an_entry_and_nothing_tells_a_path():
    table = comparison()
    text, bib = to_latex(table), to_bibtex(table)
    cited = {key for keys in re.findall(r"\\cite\{([^}]*)\}", text) for key in keys.split(",")}
    entries = re.findall(r"@misc\{([^,]*),", bib)
    assert sorted(entries) == sorted(cited)
    assert {"PATrack2026", "ViPT2023", "numbers:vipt-readme"} <= cited
    assert "somewhere" not in text + bib
    assert r"\label{tab:lasher}" in text
    assert text.index(r"\caption{") < text.index(r"\label{") < text.index(r"\begin{tabular}")


def test_patrack_is_cited_by_its_number():
    entry = to_bibtex(comparison(published=("PATrack",))).split("@misc")[1]
    assert entry.startswith("{PATrack2026,")
    assert "note = {arXiv:2603.21100}" in entry


def test_every_paper_has_a_key_of_its_own():
    papers = load_published().papers.values()
    keys = [f"{re.sub('[^A-Za-z0-9]', '', paper.name)}{paper.year}".casefold() for paper in papers]
    assert len(set(keys)) == len(keys) > 40


def test_a_measured_row_says_what_it_covers_and_cites_the_paper_whose_name_it_has():
    text = to_latex(comparison(("patrack", "new"), sequences=3, published=("none",)))
    assert r"patrack~\cite{PATrack2026} & measured, 3 of 245 & 60.0 & 60.0 & 60.0 \\" in text
    assert r"new & measured, 3 of 245 & 60.0 & 60.0 & 60.0 \\" in text
    assert "(test split, 3 of 245 sequences)" in text
    assert r"\textbf" not in text


def test_letters_that_pdflatex_lacks_are_kept_and_the_file_says_what_sets_them():
    text = to_latex(comparison(("我们",), published=("none",)))
    assert text.startswith("% names with letters that pdflatex does not have: compile with xelatex")
    assert "我们 & measured" in text


@pytest.mark.skipif(not (shutil.which("pdflatex") and shutil.which("bibtex")), reason="needs pdflatex and bibtex")
@pytest.mark.parametrize(
    ("style", "options", "bibliography", "published"),
    [
        ("article", "twocolumn", "plain", "all"),
        ("article", "twocolumn", "plain", "frozen"),
        ("IEEEtran", "journal", "IEEEtran", "frozen"),
    ],
)
def test_latex_sets_it_in_a_paper_of_two_columns(tmp_path, style, options, bibliography, published):
    if style == "IEEEtran":
        asked = ["kpsewhich", "IEEEtran.cls", "IEEEtran.bst", "ptmr7t.tfm"]
        if len(subprocess.run(asked, capture_output=True, text=True).stdout.split()) < 3:
            pytest.skip("needs IEEEtran and its fonts")
    table = comparison(HOSTILE, published=(published,))
    (tmp_path / "table.tex").write_text(to_latex(table), encoding="utf-8")
    (tmp_path / "table.bib").write_text(to_bibtex(table), encoding="utf-8")
    (tmp_path / "main.tex").write_text(DOCUMENT % (options, style, bibliography), encoding="utf-8")
    latex = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    for call in (latex, ["bibtex", "main"], latex, latex):
        done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120)
        assert done.returncode == 0, done.stdout[-3000:]
    log = (tmp_path / "main.log").read_text(errors="replace")
    assert "undefined" not in log
    assert "too large for page" not in log
    wide = [float(size) for size in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", log)]
    assert max(wide, default=0) < 1, log
    assert "Missing character" not in log
