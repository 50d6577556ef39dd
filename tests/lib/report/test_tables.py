"""The published numbers, and tables with them: order, marks, origin, and the four forms they are written in."""

import csv
import io
import json
import math

import pytest

from lib.evaluation import Evaluation, TrackerScores
from lib.evaluation.protocols import LongTerm, MultiStart, get_protocol
from lib.report.tables import FORMATS, Comparison, Row, compare, load_published, parse_published, render

METRICS = ("PR", "NPR", "SR")
FILE = """
sources:
  readme: {kind: primary, where: "a README"}
venues:
  A: CVPR 2023
tables:
  lasher:
    metrics: [PR, NPR, SR]
    rows:
"""


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
    with pytest.raises(ValueError, match="markdown, latex, csv, json, got 'html'"):
        render(comparison(("a", 1.0)), "html")


def metrics_of(dataset):
    rules = get_protocol(dataset)[1]
    if isinstance(rules, LongTerm):
        return {"Pr", "Re", "F"}
    return {"EAO", "A", "R"} if isinstance(rules, MultiStart) else {metric.name for metric in rules.metrics}


@pytest.mark.parametrize("dataset", ["lasher", "rgbt234", "rgbt210", "gtot", "vtuav", "depthtrack", "visevent"])
def test_metrics_have_the_names_of_our_protocols(dataset):
    used = {metric for row in load_published().tables[dataset] for metric in row.values}
    assert used
    assert used <= metrics_of(dataset)


def test_every_value_is_a_percentage_with_a_source_that_is_described():
    library = load_published()
    rows = [row for table in library.tables.values() for row in table]
    assert len(rows) > 100
    for row in rows:
        assert all(0 < value <= 100 for value in row.values.values()), row
        assert bool(row.values) == bool(row.sources), row
        assert set(row.sources) <= set(library.sources), row


@pytest.mark.parametrize(
    ("dataset", "tracker", "values"),
    [
        ("lasher", "ViPT", {"PR": 65.1, "NPR": 61.6, "SR": 52.5}),
        ("rgbt234", "BAT", {"MPR": 86.8, "MSR": 64.1}),
        ("depthtrack", "SDSTrack", {"Pr": 61.9, "Re": 60.9, "F": 61.4}),
        ("votrgbd2022", "STTrack", {"EAO": 77.6, "A": 82.5, "R": 93.7}),
        ("visevent", "OSTrack", {"PR": 69.5, "SR": 53.4}),
        ("gtot", "PATrack", {"MPR": 92.4586, "MSR": 78.3097}),
        ("lasher", "PATrack", {}),
    ],
)
def test_values_as_published(dataset, tracker, values):
    row = next(row for row in load_published().tables[dataset] if row.tracker == tracker)
    assert row.values == values


def test_other_values_that_circulate_are_in_the_note():
    row = next(row for row in load_published().tables["lasher"] if row.tracker == "Un-Track")
    assert "also published: PR 66.7, SR 53.6 (stt_readme, tang_rgbt)" in row.note


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param("{tracker: A, SR: 0.5, sources: [blog]}", "sources must be among", id="source"),
        pytest.param("{tracker: A, EAO: 50, sources: [readme]}", "metrics must be among", id="metric"),
        pytest.param("{tracker: A, SR: 152, sources: [readme]}", "percentage", id="too large"),
        pytest.param("{tracker: A, SR: .nan, sources: [readme]}", "percentage", id="nan"),
        pytest.param("{tracker: A, SR: 50, sources: []}", "without a source", id="no source"),
        pytest.param(
            "{tracker: A, SR: 50, sources: [readme], also: [{SR: x, sources: [readme]}]}", "percentage", id="also"
        ),
    ],
)
def test_a_mistake_is_an_error_that_names_the_tracker(row, message):
    with pytest.raises(ValueError, match=f"lasher, A: .*{message}"):
        parse_published(f"{FILE}      - {row}\n")
