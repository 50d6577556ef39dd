"""Tables and figures of a suite: what they say, in which form, and what they leave out."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from lib.evaluation.scores import TrackerScores
from lib.experiments.comparison import average, compare, holm
from lib.experiments.figures import plot_scores
from lib.experiments.tables import Table, as_csv, describe_costs, explain, latex, markdown

COSTS = {
    "machine": "here, 2 cores",
    "device": "cpu",
    "threads": 1,
    "precision": "fp32",
    "rounds": 30,
    "memory": "most memory",
    "folded": False,
}


def weighted(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return counts @ values / counts.sum(axis=1)


@pytest.fixture
def table() -> Table:
    """Three variants over three seeds and 30 sequences: b_2 is like a, c % better by far."""
    rng = np.random.default_rng(0)
    theirs = rng.uniform(0.3, 0.9, (3, 30))
    rows = {
        "a": theirs,
        "b_2": theirs + rng.normal(0, 0.02, (3, 30)),
        "c %": theirs + 0.1 + rng.normal(0, 0.02, (3, 30)),
    }
    scores = {
        name: {
            seed: TrackerScores(
                {"SR": float(row.mean())},
                {f"s{k}": {"SR": float(value)} for k, value in enumerate(row)},
                resampled=partial(weighted, row),
            )
            for seed, row in enumerate(of)
        }
        for name, of in rows.items()
    }
    values = {name: {seed: one.metrics["SR"] for seed, one in of.items()} for name, of in scores.items()}
    gaps = compare(scores, values, "a", dict.fromkeys(rows, True))
    averages = {name: {"SR": average(of)} for name, of in values.items()}
    p = {name: gap.p for name, gap in gaps.items() if gap.p is not None}
    return Table("rgbt_tiny", "rgbt_tiny", "synthrgbt", "a", averages, "SR", gaps, holm(p), None, None)


def test_markdown_says_what_a_difference_must_be(table: Table) -> None:
    text = markdown(table)
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert rows[0] == ["| rgbt_tiny", "SR", "SR - a", "95 % interval", "p, Holm |"]
    assert rows[2][2:] == ["-", "-", "- |"]
    assert " ± " in rows[3][1]
    assert rows[4][4] == "< 0.001 |"
    assert "With 3 seeds and 30 sequences, a difference in SR to a below " in text
    assert "**2 comparisons.**" in text
    assert "chance of up to 10 %" in text
    needed = table.gaps["c %"].needed()
    assert needed is not None
    assert 0 < needed < table.gaps["c %"].value
    strict = table.gaps["c %"].needed(2)
    assert strict is not None
    assert strict > needed


def test_what_is_not_known_is_said(table: Table) -> None:
    (single,) = explain(replace(table, gaps={name: replace(gap, seeds_count=1) for name, gap in table.gaps.items()}))
    assert "**One pair of trainings only** (b_2, c %)" in single
    none = replace(table, gaps={name: replace(gap, low=None, high=None, p=None) for name, gap in table.gaps.items()})
    assert "nothing says what a difference means" in explain(none)[0]
    few = replace(table, gaps={name: replace(gap, sequences=4) for name, gap in table.gaps.items()})
    assert "With fewer than 20 sequences" in explain(few)[0]
    assert (
        "Not finished, and not in the table: b_2, seed 1 (waiting)"
        in explain(replace(table, left_out=("b_2, seed 1 (waiting)",)))[0]
    )


def test_latex_escapes_names_and_marks_what_holds_among_all(table: Table) -> None:
    text = latex("my_suite", table)
    assert "\\midrule\na & " in text
    assert "b\\_2 & " in text
    assert "c \\% & " in text
    assert text.count("\\mathbf{+9.8}") == text.count("mathbf") == 1
    assert text.count(r" \\") == 4
    assert "my\\_suite: rgbt\\_tiny, synthrgbt." in text
    assert "Trained" not in text
    costs = {name: COSTS | {"trained_parameters": 1234567} for name in table.averages}
    assert "a & 1,234,567 & " in latex("my_suite", replace(table, costs=costs))


def test_csv_has_all_digits_and_a_row_per_metric(table: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv([table]))))
    assert [(row["dataset"], row["variant"], row["metric"]) for row in rows] == [
        ("synthrgbt", name, "SR") for name in table.averages
    ]
    assert [float(value) for value in rows[1]["values"].split()] == list(table.averages["b_2"]["SR"].values.values())
    assert float(rows[1]["low"]) == table.gaps["b_2"].low
    assert rows[0]["difference"] == ""


def test_equal_costs_of_several_experiments_are_one_table(table: Table) -> None:
    numbers = {"trained_parameters": 0, "total_parameters": 5, "gflops": 1.0, "peak_memory_mib": 3.0}
    costs = {name: COSTS | numbers | {"frames_per_second": fps} for name, fps in (("a", 10.0), ("b_2", 5.0))}
    (text,) = describe_costs([replace(table, costs=costs), replace(table, title="rgbd_tiny", costs=costs), table])
    assert "| rgbt_tiny, rgbd_tiny | trained |" in text
    assert "| b_2 | 0 | 5 | 1.00 | 5.0 | 0.50 | no | 3 |" in text
    assert "c %" not in text


def test_scores_are_drawn_with_single_seeds(table: Table) -> None:
    figure = plot_scores([table, replace(table, title="rgbd_tiny")])
    assert [axes.get_title() for axes in figure.axes] == ["rgbt_tiny", "rgbd_tiny"]
    rings = [line for line in figure.axes[0].get_lines() if line.get_fillstyle() == "none"]
    assert [len(line.get_xdata()) for line in rings] == [3, 3, 3]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["a", "b_2", "c %"]
