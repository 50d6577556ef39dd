"""Scores over the share of frames that lack a stream: numbers by hand, files there and back, and the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lib.datasets.missing import RandomMasks, write_masks
from lib.evaluation import Evaluation, TrackerScores, evaluate
from lib.evaluation.bootstrap import score_draws
from lib.report.figures import plot_missing
from lib.report.missing import MissingScores, missing_rows, read_missing, summarize, to_csv, to_markdown
from lib.report.page import write_report
from report_data import NAMES, make_evaluation, write_benchmark, write_tracker

SHARES = (0.0, 0.5, 1.0)
VALUES = {
    "ours, complete": (0.8, 0.6),
    "ours, x-0.5": (0.6, 0.6),
    "ours, x-1": (0.2, 0.4),
    "other, complete": (0.7, 0.7),
    "other, x-0.5": (0.7, 0.5),
    "other, x-1": (0.6, 0.6),
    "RGB only": (0.5, 0.3),
}


def tracker(values: tuple[float, ...]) -> TrackerScores:
    """A tracker with these scores of single sequences, whose mean is the score of all."""
    array = np.array(values)
    sequences = {f"s{k}": {"SR": value} for k, value in enumerate(values)}
    mean = {"SR": float(array.mean())}
    return TrackerScores(mean, sequences, resampled=lambda counts: counts @ array / counts.sum(axis=1))


def evaluation(**more: object) -> Evaluation:
    trackers = {name: tracker(values) for name, values in VALUES.items()}
    about = "synthrgbt", "official", "LaSOT rules", "/somewhere"
    return Evaluation(*about, {"s0": 5, "s1": 5}, trackers, benchmark_size=3, **more)


def scores() -> MissingScores:
    trackers = {"ours": "rgbt_tiny", "other": "runs/other"}
    return summarize(evaluation(), trackers, ["x"], SHARES, gap=10, seed=0)


def test_mean_loss_and_gain_are_those_computed_by_hand() -> None:
    ours, other = scores().curves
    assert ours.scores == pytest.approx((0.7, 0.6, 0.3))
    assert ours.mean == pytest.approx((0.7 / 2 + 0.6 + 0.3 / 2) / 2)
    assert ours.loss is not None
    assert ours.loss.value == pytest.approx(0.7 - 0.55)
    assert other.mean == pytest.approx((0.7 / 2 + 0.6 + 0.6 / 2) / 2)
    assert (ours.gain, other.gain and other.gain.value) == (None, pytest.approx(0.625 - 0.55))
    assert (ours.gone and ours.gone.value, other.gone and other.gone.value) == (
        pytest.approx(0.3 - 0.4),
        pytest.approx(0.6 - 0.4),
    )


def test_intervals_are_of_the_same_draws_of_sequences() -> None:
    _, other = scores().curves
    # two sequences: each draw has one of them twice or both, so that the ends are the values on one alone
    assert other.gain is not None
    gains = sorted(
        (0.35 + 0.7 + 0.3) / 2 - (0.4 + 0.6 + 0.1) / 2 if k == 0 else (0.35 + 0.5 + 0.3) / 2 - (0.3 + 0.6 + 0.2) / 2
        for k in (0, 1)
    )
    assert (other.gain.low, other.gain.high) == pytest.approx(gains)
    draws = score_draws(evaluation().trackers, draws=50)
    assert {len(values) for values in draws.values()} == {50}
    assert np.allclose(draws["ours, complete"], 0.7 + (draws["ours, x-0.5"] - 0.6) + (draws["RGB only"] - 0.4))
    assert score_draws({"a": tracker((0.5,))}) == {}
    assert score_draws({"a": tracker((0.5, 0.1)), "b": TrackerScores({"SR": 0.5}, {"s0": {}, "s1": {}})}) == {}


def test_a_single_share_has_no_area_and_no_share_of_0_no_loss() -> None:
    trackers = {"ours": ""}
    (alone,) = summarize(evaluation(), trackers, ["x"], [0.5], gap=1, seed=0).curves
    assert (alone.mean, alone.loss, alone.gone) == (None, None, None)
    (late,) = summarize(evaluation(), trackers, ["x"], [0.5, 1.0], gap=1, seed=0).curves
    assert late.mean == pytest.approx(0.45)
    assert late.loss is None


def test_tables_have_a_row_per_tracker_and_one_of_the_base_model() -> None:
    head, ours, other, alone = missing_rows(scores(), "x")
    assert head == ["without X", "0", "0.5", "1", "mean", "loss", "gain", "gone"]
    assert ours[:5] == ["ours", "70.0", "60.0", "30.0", "55.0"]
    assert ours[6] == "-"
    assert other[6].startswith("+7.5 [")
    assert alone == ["RGB only (base model)", "40.0", "40.0", "40.0", "-", "-", "-", "-"]
    text = to_markdown(scores())
    assert "2 of 3 sequences" in text
    assert "too narrow" in text
    assert "part of a benchmark" in text
    rows = to_csv(scores(), evaluation()).splitlines()
    assert rows[0] == "dataset,split,protocol,tracker,stream,share,SR,sequences"
    assert rows[2] == "synthrgbt,test,official,ours,x,0.5,60.0000,2"
    assert rows[-1] == "synthrgbt,test,official,RGB only,,0,40.0000,2"


def test_scores_are_read_back(tmp_path: Path) -> None:
    content = json.dumps({**scores().to_dict(), "scores": {"any": 1}})
    (tmp_path / "missing.json").write_text(content)
    assert read_missing(tmp_path) == read_missing(tmp_path / "missing.json") == scores()


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "{}", '{"format": "patrack missing 2"}', '{"format": "patrack missing 1", "curves": [{}]}'],
)
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "missing.json").write_text(content)
    with pytest.raises(ValueError, match=r"missing\.json: not the scores that scripts/missing_modality.py writes"):
        read_missing(tmp_path)
    with pytest.raises(ValueError, match=r"missing\.json: cannot be read"):
        read_missing(tmp_path / "nowhere" / "missing.json")


def test_the_picture_has_axes_per_stream_a_line_per_tracker_and_one_of_the_base_model() -> None:
    (axes,) = plot_missing(scores()).axes
    assert [line.get_label() for line in axes.get_lines()] == ["other", "ours", "RGB only"]
    low, high = axes.get_ylim()
    assert low < 0.3
    assert high > 0.7


def test_the_report_has_a_section_and_refuses_scores_of_another_data_set(tmp_path: Path) -> None:
    about = make_evaluation(tmp_path, images=False)
    page = write_report(about, tmp_path / "out", missing=scores()).read_text(encoding="utf-8")
    assert '<h2 id="missing">Missing sensors</h2>' in page
    assert '<a href="#missing">' in page
    assert "SR without X" in page
    assert "RGB only (base model)" in page
    other = summarize(evaluation(split="val"), {"ours": ""}, ["x"], SHARES, gap=1, seed=0)
    with pytest.raises(ValueError, match="are of split val, and the report of test"):
        write_report(about, tmp_path / "other", missing=other)
    assert 'id="missing"' not in write_report(about, tmp_path / "out").read_text(encoding="utf-8")


def test_results_with_streams_missing_are_known_by_their_run_and_grouped_apart(tmp_path: Path) -> None:
    write_benchmark(tmp_path, images=False)
    results = {name: write_tracker(tmp_path / name, offset) for name, offset in (("a", 2), ("b", 1), ("c", 4))}
    drawn = RandomMasks("x", 0.5, gap=1)
    for name in ("b", "c"):
        (results[name] / "run.json").write_text(json.dumps({"key": "", "identity": {"missing": str(drawn)}}))
    write_masks(results["b"] / "missing.json", {name: np.array([[1, 1], [1, 0]], bool) for name in NAMES})
    (results["c"] / "missing.json").write_text("{")
    (results["a"] / "run.json").write_text("{}")
    about = evaluate("synthrgbt", results, data_root=tmp_path)
    assert [tracker.missing for tracker in about.trackers.values()] == ["", str(drawn), str(drawn)]
    assert about.trackers["a"].notes == ()
    assert "(RGB in 0.0% of the frames, X in 50.0%)" in about.trackers["b"].notes[-1]
    assert "in how many frames can't be told" in about.trackers["c"].notes[-1]
    assert about.to_dict()["trackers"]["b"]["missing"] == str(drawn)
    assert [each.tracker for each in about.labeled_differences] == ["b [missing x:0.5]", "c [missing x:0.5]"]
    page = write_report(about, tmp_path / "out").read_text(encoding="utf-8")
    assert "Some trackers saw frames without RGB or X:" in page
    assert page.index('title="a">a</th>') < page.index('title="b [missing x:0.5]">b [missing x:0.5]</th>')
