"""Figures of an evaluation: which files, what they show, and the same for a page."""

import io
from dataclasses import replace
from xml.etree import ElementTree

import cv2
import matplotlib as mpl
import numpy as np
import pytest

from lib.evaluation import Curve, Evaluation, TrackerScores
from lib.report.figures import curve_chart, looks, plot_curves, radar, write_plots

CURVES = {
    "PR": Curve((0.0, 20.0, 50.0), (0.2, 0.6, 0.9), "centre error threshold (pixels)", "precision"),
    "NPR": Curve((0.0, 0.2, 0.5), (0.2, 0.6, 0.9), "normalised centre error threshold", "normalised precision"),
    "SR": Curve((0.0, 0.5, 1.0), (1.0, 0.6, 0.0), "overlap threshold", "success rate"),
}


def evaluation(*values, curves=CURVES, metrics=("PR", "NPR", "SR")):
    trackers = {
        f"tracker {k}": TrackerScores(dict.fromkeys(metrics, value), {"a": {}}, curves=curves)
        for k, value in enumerate(values)
    }
    return Evaluation("lasher", "official", "LasHeR toolkit", "folder", {"a": 10}, trackers)


def test_one_readable_picture_per_metric(tmp_path):
    files = write_plots(evaluation(0.4, 0.6), tmp_path / "plots")
    assert sorted(path.name for path in files) == ["normalized_precision.png", "precision.png", "success.png"]
    for path in files:
        image = cv2.imread(str(path))
        assert image.shape[0] >= 600
        assert image.shape[1] >= 800
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 20, "nothing is drawn"


def test_legend_has_the_scores_best_first(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "lib.report.figures.plot_curves",
        lambda lines, *rest, **more: drawn.append(lines) or plot_curves(lines, *rest, **more),
    )
    write_plots(evaluation(0.4123, 0.6), tmp_path)
    assert list(drawn[0]) == ["tracker 1 [0.600]", "tracker 0 [0.412]"]


def test_a_tracker_that_was_scored_on_a_part_stands_last_with_its_number_of_sequences(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "lib.report.figures.plot_curves",
        lambda lines, *rest, **more: drawn.append(lines) or plot_curves(lines, *rest, **more),
    )
    scores = evaluation(0.4, 0.9)
    whole = replace(scores.trackers["tracker 0"], sequences={"a": {}, "b": {}})
    scores = replace(scores, benchmark_size=2, trackers={"whole": whole, "part": scores.trackers["tracker 1"]})
    write_plots(scores, tmp_path)
    assert list(drawn[0]) == ["whole [0.400]", "part [0.900, 1 of 2 sequences]"]
    chart = curve_chart("Success", "SR", [CURVES["SR"], CURVES["SR"]], [0.4, 0.9], [("", False), ("", True)])
    assert chart.ranking == [(0, "40.0"), (1, "90.0")]


@pytest.mark.parametrize("form", ["pdf", "svg"])
def test_pictures_for_a_paper_are_the_same_each_time_and_made_in_silence(tmp_path, caplog, form):
    caplog.set_level("INFO")
    first = write_plots(evaluation(0.4), tmp_path / "a", [form])
    second = write_plots(evaluation(0.4), tmp_path / "b", [form])
    assert [path.name for path in first] == [
        f"{name}.{form}" for name in ("precision", "normalized_precision", "success")
    ]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert not caplog.records
    if form == "pdf":
        assert b"/Type3" not in first[0].read_bytes(), "publishers refuse these fonts"


def test_a_tracker_keeps_its_color_whatever_its_rank():
    first = plot_curves({"a": CURVES["SR"], "b": CURVES["SR"]}, "", "SR", numbers=[0, 1]).axes[0].get_lines()
    second = plot_curves({"b": CURVES["SR"], "a": CURVES["SR"]}, "", "SR", numbers=[1, 0]).axes[0].get_lines()
    assert first[0].get_color() == second[1].get_color() != first[1].get_color() == second[0].get_color()


def test_axes_cover_the_thresholds_and_all_rates():
    axes = plot_curves({"a": CURVES["PR"]}, "Precision", "PR").axes[0]
    assert axes.get_xlim() == (0.0, 50.0)
    assert axes.get_ylim()[0] == 0.0
    assert axes.get_ylim()[1] >= 1.0
    assert axes.get_xlabel() == "centre error threshold (pixels)"


def test_sixteen_trackers_are_told_apart():
    lines = {f"t{k}": CURVES["SR"] for k in range(16)}
    drawn = plot_curves(lines, "Success", "SR").axes[0].get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in drawn}) == 16


def test_precision_and_recall_are_drawn_for_long_term_results(tmp_path):
    curves = {"Pr": Curve((0.0, 1.0), (1.0, 0.4), "recall", "precision"), "F": Curve((0, 1), (0, 0.6), "number", "F")}
    files = write_plots(evaluation(0.5, curves=curves, metrics=("Pr", "Re", "F")), tmp_path)
    assert sorted(path.name for path in files) == ["f_measure.png", "precision_recall.png"]


def test_an_unwritable_folder_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write_plots(evaluation(0.5), tmp_path / "file")


def test_the_best_tracker_is_drawn_last_and_named_first():
    axes = plot_curves({"best": CURVES["SR"], "worst": CURVES["SR"]}, "Success", "SR").axes[0]
    assert [line.get_label() for line in axes.get_lines()] == ["worst", "best"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["best", "worst"]


def points(svg, tracker):
    """Points (N, 2) of a tracker's line in percent of the drawing, from its top left corner."""
    root = ElementTree.fromstring(svg)
    (line,) = root.findall(f".//g[@class='t{tracker}']/path")
    numbers = [float(word) for word in line.get("d").split() if word not in "MLz"]
    return 100 * np.reshape(numbers, (-1, 2)) / [float(word) for word in root.get("viewBox").split()[2:]]


def test_chart_points_lie_where_the_values_are():
    chart = curve_chart("Success", "SR", [CURVES["SR"], CURVES["SR"]], [0.2, 0.6])
    assert chart.ranking == [(1, "60.0"), (0, "20.0")]
    assert chart.data == {"x": [0.0, 0.5, 1.0], "y": [[1.0, 0.6, 0.0]] * 2}
    left, right, top, bottom = chart.area
    height = (bottom - top) / 1.02  # of a rate of 1
    expected = [[left, bottom - height], [(left + right) / 2, bottom - 0.6 * height], [right, bottom]]
    assert points(chart.svg, 1) == pytest.approx(np.array(expected), abs=0.02)
    assert chart.svg.index('class="t1"') > chart.svg.index('class="t0"'), "the best is on top"


def test_curves_over_different_thresholds_have_nothing_to_read():
    longer = Curve((0.0, 2.0), (1.0, 0.0), "overlap threshold", "success rate")
    chart = curve_chart("Success", "SR", [CURVES["SR"], longer], [0.2, 0.6])
    assert (chart.data, chart.end) == ({}, 2.0)


def test_radar_corners_lie_on_their_spokes():
    svg = radar([[0.8], [0.4], [0.0], [0.8]], list("abcd"), (5.0, 5.0))
    up, right, middle, left, again = points(svg, 0)
    radius = middle[1] - up[1]
    assert radius > 35
    assert middle == pytest.approx([50.0, 50.0], abs=2.0)
    for corner, offset in ((up, (0, -1)), (right, (0.5, 0)), (left, (-1, 0)), (again, (0, -1))):
        assert corner - middle == pytest.approx(radius * np.array(offset), abs=0.02)
    texts = [text.text for text in ElementTree.fromstring(svg).iter("text")]
    assert {"a", "b", "c", "d", "20", "80"} <= set(texts)


def test_a_drawing_for_a_page_has_no_ids_styles_or_dates_and_is_the_same_each_time():
    labels = ["<b>bold</b>", "a$x$b", "c"]
    svgs = [radar([[0.5], [0.4], [0.3]], labels, (5.0, 5.0)) for _ in range(2)]
    svgs += [curve_chart("Success", "SR", [CURVES["SR"]], [0.2]).svg for _ in range(2)]
    assert svgs[0] == svgs[1]
    assert svgs[2] == svgs[3]
    for svg in svgs:
        root = ElementTree.fromstring(svg)
        assert {element.tag for element in root.iter()} == {"svg", "g", "path", "text"}
        assert not [element for element in root.iter() if "id" in element.attrib]
        assert "url(" not in svg
    assert set(labels) <= {text.text for text in ElementTree.fromstring(svgs[0]).iter("text")}


def test_names_with_dollars_stay_as_they_are(tmp_path):
    names = ["a$x_1$b", r"half a $\formula", r"$\nonsense$", r"a\$b"]
    figure = plot_curves(dict.fromkeys(names, CURVES["SR"]), "Success of $x$", "SR")
    file = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(file, format="svg")
    texts = {text.text for text in ElementTree.fromstring(file.getvalue()).iter("{http://www.w3.org/2000/svg}text")}
    assert {*names, "Success of $x$"} <= texts
    scores = evaluation(*[0.5] * len(names))
    scores = replace(scores, trackers=dict(zip(names, scores.trackers.values(), strict=True)))
    (success,) = [path for path in write_plots(scores, tmp_path) if path.name == "success.png"]
    assert cv2.imread(str(success)) is not None


def test_ten_trackers_look_different():
    assert len({(look.color, look.dash) for look in looks(20)}) == 20
