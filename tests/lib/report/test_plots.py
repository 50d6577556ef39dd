"""Plots of an evaluation: which files, what they show."""

import cv2
import numpy as np
import pytest

from lib.evaluation.scores import Curve, Evaluation, TrackerScores
from lib.report.plots import plot_curves, write_plots

CURVES = {
    "PR": Curve((0.0, 20.0, 50.0), (0.2, 0.6, 0.9), "centre error threshold (pixels)", "precision"),
    "NPR": Curve((0.0, 0.2, 0.5), (0.2, 0.6, 0.9), "normalised centre error threshold", "normalised precision"),
    "SR": Curve((0.0, 0.5, 1.0), (1.0, 0.6, 0.0), "overlap threshold", "success rate"),
}


def evaluation(*values, curves=CURVES, metrics=("PR", "NPR", "SR")):
    trackers = {
        f"tracker {k}": TrackerScores(dict.fromkeys(metrics, value), {}, curves=curves)
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
        "lib.report.plots.plot_curves",
        lambda lines, *rest, **looks: drawn.append(lines) or plot_curves(lines, *rest, **looks),
    )
    write_plots(evaluation(0.4123, 0.6), tmp_path)
    assert list(drawn[0]) == ["tracker 1 [0.600]", "tracker 0 [0.412]"]


def test_a_tracker_keeps_its_colour_whatever_its_rank():
    first = plot_curves({"a": CURVES["SR"], "b": CURVES["SR"]}, "", "SR", looks=[0, 1]).axes[0].get_lines()
    second = plot_curves({"b": CURVES["SR"], "a": CURVES["SR"]}, "", "SR", looks=[1, 0]).axes[0].get_lines()
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
