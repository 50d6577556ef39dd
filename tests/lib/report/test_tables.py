"""The published numbers, and tables with them: order, marks, origin, and the four forms they are written in."""

import csv
import io
import json
import math
from dataclasses import replace

import pytest

from lib.evaluation import Evaluation, TrackerScores
from lib.evaluation.protocols import LongTerm, MultiStart, get_protocol
from lib.report.published import choose, load_published, parse_published
from lib.report.tables import FORMATS, Comparison, Row, compare, evaluation_table, render

METRICS = ("PR", "NPR", "SR")
FILE = """
sources:
  readme: {kind: primary, where: "a README"}
papers:
  A: {venue: CVPR, year: 2023, title: "On A"}
tables:
  lasher:
    metrics: [PR, NPR, SR]
    rows:
"""


def evaluation(trackers, dataset="lasher", left_out=None, **more):
    """Evaluation of a benchmark that has two sequences, unless `more` says otherwise."""
    frames = {"a": 5, "b": 5}
    about = dataset, "official", "LasHeR toolkit", "/somewhere/truth"
    return Evaluation(*about, frames, trackers, left_out=left_out or {}, **more)


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
    row = [row for row in compare(evaluation({"ours": scores("ours", 0.1, 0.1, 0.1)})).rows if not row.temporal][-1]
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
        published=["none"],
    )
    by_name = {row.tracker: row for row in table.rows}
    assert table.mark(by_name["part"], "SR") == ""
    assert by_name["part"].scored == "1 of 2"
    assert by_name["broken"].values["SR"] is None
    for form in FORMATS:
        text = render(table, form).replace("\\_", "_")
        assert "1 of 2" in text, form
        if form != "latex":  # a paper's table has no paths
            assert "r/b.txt: missing" in text, form
            assert "r/a.txt:3: no" in text, form


def updated(name, sr):
    return replace(scores(name, sr, sr, sr), template_update="every 25 frames above 0.7")


@pytest.mark.parametrize("form", FORMATS)
def test_trackers_that_update_their_template_are_ranked_apart(form):
    trackers = {"ours": scores("ours", 0.9, 0.9, 0.9), "online": updated("online", 0.99)}
    table = compare(evaluation(trackers), published=["vipt", "sutrack-l384"])
    assert [row.tracker for row in table.rows] == ["ours", "ViPT", "online", "SUTrack-L384"]
    assert marks(table) == ["best", "second"] * 2
    assert [table.heads_group(row) for row in table.rows] == [False, False, True, False]
    text = render(table, form)
    if form == "csv":
        assert [row["temporal"] for row in csv.DictReader(io.StringIO(text))] == ["0", "0", "1", "1"]
    elif form == "json":
        assert [row["temporal"] for row in json.loads(text)["rows"]] == [False, False, True, True]
    else:
        assert text.index("ViPT") < text.index("templates or tokens of later frames") < text.index("online")
    if form != "latex":
        assert "online: its template was updated every 25 frames above 0.7" in text or form in ("csv", "json")
        assert "its template was updated every 25 frames above 0.7" in text


def test_without_a_temporal_row_or_with_nothing_else_there_is_no_heading():
    for name, made in (("ours", scores("ours", 0.5, 0.5, 0.5)), ("online", updated("online", 0.5))):
        assert "later frames" not in render(compare(evaluation({name: made}), published=["none"]), "markdown")


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
    assert "no published numbers are known for synthrgbt, split test" in table.notes


def test_markdown_marks_best_bold_second_underlined_missing_dash_and_escapes_names():
    text = render(comparison(("a|b_<x>", 61.04), ("c", 60.0), ("d", None)), "markdown")
    assert "| a\\|b\\_&lt;x&gt; |  | **61.0** | 2 of 2 | measured here |" in text
    assert "| <u>60.0</u> |" in text
    assert "| d |  | - | 2 of 2 |" in text


def test_latex_marks_and_escapes():
    text = render(comparison(("50%_a&b", 61.04), ("c", 60.0), ("d", None)), "latex")
    assert r"50\%\_a\&b & measured & \textbf{61.0} \\" in text
    assert r"c & measured & \underline{60.0} \\" in text
    assert r"d & measured & -- \\" in text
    assert text.count("{") == text.count("}")


def test_csv_has_one_row_per_tracker_with_marks_and_sources():
    text = render(compare(evaluation({"our, own": scores("our, own", 0.99, 0.99, 0.99)})), "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows[0]["tracker"] == "our, own"
    assert (rows[0]["SR"], rows[0]["SR_mark"], rows[0]["origin"]) == ("99.0000", "best", "measured here")
    sutrack = next(row for row in rows if row["tracker"] == "SUTrack")
    assert (sutrack["SR"], sutrack["SR_mark"], sutrack["NPR"], sutrack["venue"]) == ("61.9000", "", "", "AAAI 2025")
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
    assert len(rows) > 200
    for row in rows:
        assert 2020 < row.paper.year <= 2026, row
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
        ("gtot", "APFNet", {"MPR": 90.5, "MSR": 73.7}),
        ("lasher", "PAFCNet-384", {"PR": 80.3, "NPR": 76.4, "SR": 63.9}),
        ("rgbt234", "OneTrackerV2-L384", {"MPR": 94.5, "MSR": 72.5}),
        ("depthtrack", "MDTrack-U", {"F": 67.9}),
        ("votrgbd2022", "MDTrack-U", {"EAO": 80.0}),
        ("visevent", "OneTrackerV2-L384", {"PR": 83.5, "SR": 65.9}),
        ("visevent", "FlexTrackV2", {}),
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
        pytest.param("{tracker: A B, SR: 50, sources: [readme]}", "no paper", id="no paper"),
        pytest.param(
            "{tracker: A, SR: 50, sources: [readme], also: [{SR: x, sources: [readme]}]}", "percentage", id="also"
        ),
    ],
)
def test_a_mistake_is_an_error_that_names_the_tracker(row, message):
    with pytest.raises(ValueError, match=f"lasher, A.*: .*{message}"):
        parse_published(f"{FILE}      - {row}\n")


# ---- A part of the benchmark


def part(**more):
    """One of two trackers is right on one sequence of a benchmark that has 245."""
    trackers = {"ours": scores("ours", 1.0, 1.0, 1.0), "other": scores("other", 0.2, 0.2, 0.2)}
    return evaluation(trackers, benchmark_size=245, **more)


@pytest.mark.parametrize("form", FORMATS)
def test_a_part_of_the_benchmark_is_not_ranked_nor_set_beside_published_rows_and_every_form_says_so(form):
    table = compare(part())
    assert [row.tracker for row in table.rows] == ["ours", "other"]
    assert {table.mark(row, metric) for row in table.rows for metric in METRICS} == {""}
    text = render(table, form)
    assert "2 of 245" in text
    assert "**100.0**" not in text
    assert r"\textbf" not in text
    assert "SUTrack" not in text


def test_published_rows_are_set_beside_a_part_if_asked_for_and_ranked_without_it():
    table = compare(part(), published=["SUTrack", "vipt"])
    single = [row.tracker for row in table.rows if not row.temporal]
    assert single == ["ViPT", "ours", "other"], "below the field, not above"
    best = next(row for row in table.rows if table.mark(row, "SR") == "best")
    assert (best.tracker, best.origin) == ("SUTrack", "quoted")
    assert any("do not compare with a part" in note for note in table.notes)
    assert "2 of 245" in render(table, "markdown")


def test_more_sequences_than_the_benchmark_has_are_not_ranked_either():
    table = compare(evaluation({"ours": scores("ours", 1.0, 1.0, 1.0)}, benchmark_size=1))
    assert (table.rows[0].complete, table.rows[0].scored) == (False, "2 of 1")


def test_published_rows_are_of_the_test_split():
    table = compare(evaluation({"ours": scores("ours", 1.0, 1.0, 1.0)}, split="val"), published=["all"])
    assert [row.tracker for row in table.rows] == ["ours"]
    assert "no published numbers are known for lasher, split val" in table.notes


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["none"], []),
        ([], []),
        (["gola"], ["GOLA-L", "GOLA-B"]),
        (["GOLA-B", "vipt"], ["GOLA-B", "ViPT"]),
        (
            ["frozen"],
            ["SEATrack", "BAT", "OneTracker", "SDSTrack", "ViPT", "Un-Track", "ProTrack", "OSTrack", "PATrack"],
        ),
    ],
)
def test_rows_are_chosen_by_group_tracker_or_variant(words, expected):
    assert [row.tracker for row in choose("lasher", words)] == expected
    assert len(choose("lasher", ["all"])) == len(load_published().tables["lasher"])


@pytest.mark.parametrize(
    ("dataset", "words", "message"),
    [
        ("lasher", ["ViPT", "VitP"], "got 'VitP'. Rows: .*ViPT"),
        ("lasher", ["none", "ViPT"], "'none' stands alone"),
        ("synthrgbt", ["ViPT"], "none at all for synthrgbt"),
    ],
)
def test_a_row_that_there_is_not_is_an_error_that_lists_the_rows(dataset, words, message):
    with pytest.raises(ValueError, match=message):
        choose(dataset, words)


def test_scores_with_streams_missing_are_ranked_apart_and_say_so():
    masks = "x:0.5, gaps of 10 frames, seed 0"
    trackers = {
        "a": scores("a", 0.9, 0.9, 0.5),
        "b": replace(scores("b", 0.8, 0.8, 0.6), missing=masks),
        "c": replace(scores("c", 0.7, 0.7, 0.4), missing=masks),
        "d": scores("d", 0.6, 0.6, 0.3),
    }
    table = compare(evaluation(trackers, benchmark_size=2), published=["none"])
    assert [row.tracker for row in table.rows] == ["a", "d", "b [missing x:0.5]", "c [missing x:0.5]"]
    assert marks(table) == ["best", "second", "best", "second"]
    assert any("ranked among those with the same masks only" in note for note in table.notes)
    assert "b \\[missing x:0.5\\]" in render(table, "markdown")
    assert json.loads(render(table, "json"))["rows"][2]["missing"] == masks
    assert "a [missing" not in evaluation_table(evaluation(trackers))
    assert "b [missing x:0.5]" in evaluation_table(evaluation(trackers))


def test_published_numbers_do_not_stand_beside_scores_that_all_lack_a_stream_unless_asked_for():
    trackers = {"b": replace(scores("b", 0.8, 0.8, 0.6), missing="0123456789abcdef")}
    about = evaluation(trackers, benchmark_size=2)
    table = compare(about)
    assert [row.tracker for row in table.rows] == ["b [missing 0123456789abcdef]"]
    assert any("ALL of these scores" in note for note in table.notes)
    rows = compare(about, published=["ViPT"]).rows
    assert [(row.tracker, row.missing) for row in rows] == [
        ("ViPT", ""),
        ("b [missing 0123456789abcdef]", rows[1].missing),
    ]
