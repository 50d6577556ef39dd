"""Tables with published numbers: order, marks, origin, and the four forms they are written in."""

import csv
import io
import json
import math

import pytest

from lib.evaluation.scores import Evaluation, TrackerScores
from lib.report.compare import Comparison, Row, compare
from lib.report.formats import FORMATS, render

METRICS = ("PR", "NPR", "SR")


def evaluation(trackers, dataset="lasher", left_out=None):
    frames = {"a": 5, "b": 5}
    return Evaluation(dataset, "official", "LasHeR toolkit", "folder", frames, trackers, left_out=left_out or {})


def scores(name, pr, npr, sr, sequences=("a", "b"), left_out=None, notes=()):
    values = {"PR": pr, "NPR": npr, "SR": sr}
    return TrackerScores(values, dict.fromkeys(sequences, values), name=name, left_out=left_out or {}, notes=notes)


def comparison(*rows):
    """Rows of (name, SR in percent)."""
    return Comparison(
        "lasher",
        "official",
        "toolkit",
        ("SR",),
        tuple(Row(name, "measured here", {"SR": value}, scored="2 of 2") for name, value in rows),
    )


def marks(table):
    return [table.mark(row, "SR") for row in table.rows]


def test_measured_and_quoted_rows_are_ordered_by_the_main_metric_in_percent():
    table = compare(evaluation({"ours": scores("ours", 0.66, 0.62, 0.5312345)}))
    order = [row.tracker for row in table.rows]
    assert order.index("OneTracker") < order.index("ours") < order.index("ViPT")
    ours, vipt = (next(row for row in table.rows if row.tracker == name) for name in ("ours", "ViPT"))
    assert ours.values["SR"] == pytest.approx(53.12345)
    assert (ours.origin, ours.scored, ours.sources) == ("measured here", "2 of 2", ())
    assert (vipt.origin, vipt.values["SR"], vipt.sources) == ("quoted", 52.5, ("vipt_readme", "sea_readme"))
    assert {"vipt_readme", "sea_readme"} <= set(table.sources)


def test_a_tracker_without_known_values_is_shown_as_missing_and_last():
    row = compare(evaluation({"ours": scores("ours", 0.1, 0.1, 0.1)})).rows[-1]
    assert (row.tracker, row.origin, row.values) == ("PATrack", "not known", {"PR": None, "NPR": None, "SR": None})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([61.0, 60.0, 50.0], ["best", "second", ""], id="plain"),
        pytest.param([61.04, 60.96, 50.0, 40.0], ["best", "best", "second", ""], id="printed equal shares the mark"),
        pytest.param([61.0, None, 50.0], ["best", "", "second"], id="missing"),
        pytest.param([61.0], [""], id="nothing to compare with"),
        pytest.param([None, None], ["", ""], id="nothing known"),
    ],
)
def test_best_and_second(values, expected):
    assert marks(comparison(*((f"t{k}", value) for k, value in enumerate(values)))) == expected


def test_a_tracker_scored_on_a_part_is_not_ranked_and_the_table_says_what_is_left_out():
    part = scores("part", 1.0, 1.0, 1.0, sequences=("a",), left_out={"b": "r/b.txt: missing"})
    table = compare(
        evaluation({"part": part, "full": scores("full", 0.1, 0.1, 0.1)}, left_out={"broken": ["r/a.txt:3: no"]}),
        published=False,
    )
    by_name = {row.tracker: row for row in table.rows}
    assert table.mark(by_name["part"], "SR") == ""
    assert by_name["part"].scored == "1 of 2"
    assert by_name["broken"].values["SR"] is None
    for form in FORMATS:
        text = render(table, form).replace("\\_", "_")
        assert "r/b.txt: missing" in text, form
        assert "1 of 2" in text, form
        assert "r/a.txt:3: no" in text, form


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("form", FORMATS)
def test_no_form_ever_has_nan(form, value):
    table = compare(evaluation({"ours": scores("ours", value, 0.5, value)}))
    text = render(table, form).lower()
    assert "nan" not in text.replace("finance", "")
    assert "inf" not in text.replace("infrared", "")


def test_a_benchmark_without_published_numbers_says_so():
    table = compare(evaluation({"ours": scores("ours", 0.5, 0.5, 0.5)}, dataset="synthrgbt"))
    assert len(table.rows) == 1
    assert "no published numbers are known for synthrgbt" in table.notes


def test_markdown_marks_best_bold_second_underlined_missing_dash_and_escapes_names():
    text = render(comparison(("a|b_<x>", 61.04), ("c", 60.0), ("d", None)), "markdown")
    assert "| a\\|b\\_&lt;x&gt; |  | **61.0** | 2 of 2 | measured here |" in text
    assert "| <u>60.0</u> |" in text
    assert "| d |  | - | 2 of 2 |" in text


def test_latex_marks_and_escapes():
    text = render(comparison(("50%_a&b", 61.04), ("c", 60.0), ("d", None)), "latex")
    assert r"50\%\_a\&b &  & \textbf{61.0} & measured here \\" in text
    assert r"c &  & \underline{60.0} & measured here \\" in text
    assert r"d &  & - & measured here \\" in text
    assert text.count("{") == text.count("}")


def test_csv_has_one_row_per_tracker_with_marks_and_sources():
    text = render(compare(evaluation({"our, own": scores("our, own", 0.99, 0.99, 0.99)})), "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows[0]["tracker"] == "our, own"
    assert (rows[0]["SR"], rows[0]["SR_mark"], rows[0]["origin"]) == ("99.0000", "best", "measured here")
    sutrack = next(row for row in rows if row["tracker"] == "SUTrack")
    assert (sutrack["SR"], sutrack["SR_mark"], sutrack["NPR"]) == ("61.9000", "second", "")
    assert "SUTrack" in sutrack["source_texts"]


def test_json_is_percent_with_null_for_missing():
    content = json.loads(render(compare(evaluation({"ours": scores("ours", 0.5, 0.5, 0.123456789)})), "json"))
    rows = {row["tracker"]: row for row in content["rows"]}
    assert content["unit"] == "percent"
    assert rows["ours"]["values"]["SR"] == pytest.approx(12.3456789, abs=1e-12)
    assert rows["OSTrack"]["values"]["NPR"] is None
    assert set(rows["OSTrack"]["sources"]) <= set(content["sources"])


def test_an_unknown_form_is_an_error():
    with pytest.raises(ValueError, match="must be one of markdown, latex, csv, json, got 'html'"):
        render(comparison(("a", 1.0)), "html")
