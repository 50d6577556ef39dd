import json
from pathlib import Path

import numpy as np
import pytest

from lib.profiling.case import exact, median
from lib.profiling.report import Bound, as_text, check, read_bounds, write_json, write_plots
from patrack import config

RUN = {"config": "rgbt_tiny", "device": "cpu", "bf16_unit": True}
AT_MOST = Bound(key="forward.ratio", config="rgbt_tiny", at_most=1.1)
AT_LEAST = Bound(key="forward.speedup", config="rgbt_tiny", at_least=1.7, bf16_unit=True)


@pytest.mark.parametrize(
    ("bound", "value", "good"),
    [
        (AT_MOST, 1.1, True),
        (AT_MOST, 1.11, False),
        (AT_MOST, float("nan"), False),
        (AT_LEAST, 1.7, True),
        (AT_LEAST, 1.6, False),
        (AT_LEAST, float("nan"), False),
    ],
)
def test_value_outside_a_bound_is_named(bound, value, good):
    lines, kept = check([exact(bound.key, "", value)], [bound], **RUN)
    assert kept is good
    assert [line.split()[0] for line in lines] == ["holds" if good else "BROKEN"]
    assert bound.key in lines[0]


@pytest.mark.parametrize(
    "other", [{"config": "rgbt_base"}, {"device": "cuda"}, {"bf16_unit": False}], ids=["config", "device", "bf16"]
)
def test_bound_holds_only_where_it_was_measured(other):
    lines, kept = check([exact(AT_LEAST.key, "", 1.0)], [AT_LEAST], **(RUN | other))
    assert not kept, "a check without a bound must not pass"
    assert "no bound was measured" in lines[0]


def test_bound_without_a_bf16_unit_still_counts():
    assert AT_MOST.applies("rgbt_tiny", "cpu", bf16_unit=False)


def test_number_that_was_not_measured_is_said_and_the_others_decide():
    lines, kept = check([exact(AT_MOST.key, "", 1.0)], [AT_MOST, AT_LEAST], **RUN)
    assert kept
    assert [line.split()[0] for line in lines] == ["holds", "not"]


def test_shipped_bounds_are_readable_and_say_what_they_were_set_by():
    bounds = read_bounds()
    assert bounds
    for bound in bounds:
        assert bound.config in config.experiment_names()
        assert bound.measured, f"{bound}: no measurement"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{key: a, config: b}", r"bounds\.0.*at_most .*got None and None"),
        ("{key: a, config: b, at_most: 1, at_least: 2}", r"bounds\.0.*at_most .*got 1\.0 and 2\.0"),
        ("{key: a, config: b, at_most: fast}", r"bounds\.0\.at_most.*fast"),
        ("{config: b, at_most: 1}", r"bounds\.0\.key.*required"),
        ("{key: a, config: b, atmost: 1}", r"bounds\.0\.atmost"),
        ("3", r"bounds\.0.*3"),
    ],
    ids=["no limit", "two limits", "text", "no key", "unknown", "no mapping"],
)
def test_mistake_in_the_file_is_named(tmp_path: Path, text, problem):
    path = tmp_path / "bounds.yaml"
    path.write_text(f"bounds:\n- {text}\n")
    with pytest.raises(ValueError, match=rf"(?s)bounds\.yaml.*{problem}"):
        read_bounds(path)


def test_report_shows_conditions_values_and_notes():
    sections = {"step": [median("step.crop", "search crop", np.array([0.25]), "ms", note="why")]}
    text = as_text({"threads": 2, "versions": {"torch": "1"}}, sections)
    assert "threads     2" in text
    assert "torch 1" in text
    line = next(line for line in text.splitlines() if "search crop" in line)
    assert line.split() == ["search", "crop", "0.250", "ms", "[0.250,", "0.250]", "n=1", "why"]


def test_json_holds_every_number_with_unit_and_conditions(tmp_path):
    write_json(tmp_path / "speed.json", {"threads": 2}, {"a": [exact("a.rate", "rate", 3, "pairs/s", at=4)]})
    content = json.loads((tmp_path / "speed.json").read_text())
    assert content["conditions"] == {"threads": 2}
    (row,) = content["rows"]
    assert (row["key"], row["value"], row["unit"], row["at"]) == ("a.rate", 3.0, "pairs/s", 4)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "speed.json", {}, {"a": [exact("a.b", "b", float("nan"))]})
    assert not list(tmp_path.iterdir())


def test_plots_are_drawn_from_the_rows_of_the_curves(tmp_path):
    values = np.array([1.0, 2.0])
    rows = [
        median(f"batch.{kind}_{precision}_{at}", "", at * values, precision=precision, at=at)
        for kind in ("size", "rate", "step")
        for precision in ("fp32", "bf16")
        for at in (1, 2, 4)
    ]
    written = write_plots(rows, tmp_path / "new", "title")
    assert [path.name for path in written] == ["tokens.png", "targets.png"]
    batched = [median(f"endtoend.batched_bf16_{at}", "", at * values, precision="bf16", at=at) for at in (2, 4)]
    written = write_plots(rows + batched, tmp_path / "more", "title")
    assert [path.name for path in written] == ["tokens.png", "targets.png", "sequences.png"]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in written)


@pytest.mark.parametrize(
    "steps",
    [[5.0], [31.0, 32.0, 34.0], [12.0, 16.0, 19.0], [2.1, 4.9], [3.0, 30.0], [1.0, 8.0, 64.0], [0.2, 40.0, 900.0]],
    ids=str,
)
def test_axis_of_step_times_always_labels_two_values(tmp_path, monkeypatch, steps):
    figures = []
    monkeypatch.setattr("lib.report.figures.save_figure", lambda figure, path: figures.append(figure) or path)
    rows = [
        median(f"batch.{kind}_fp32_{2**number}", "", np.array([0.99, 1.0, 1.01]) * step, precision="fp32", at=2**number)
        for kind in ("rate", "step")
        for number, step in enumerate(steps)
    ]
    write_plots(rows, tmp_path, "title")
    (figure,) = figures
    figure.draw_without_rendering()
    axes = next(axes for axes in figure.axes if axes.get_yscale() == "log")
    low, high = axes.get_ylim()
    shown = [label.get_text() for label in axes.get_yticklabels() if low <= label.get_position()[1] <= high]
    assert len([text for text in shown if text]) >= 2, (low, high)
    assert len(set(shown)) == len(shown) <= 8


def test_plots_without_curves_are_refused(tmp_path):
    with pytest.raises(ValueError, match="section batch"):
        write_plots([exact("step.crop", "", 1.0)], tmp_path, "title")


@pytest.mark.parametrize("text", ["bounds: [", "limits: []", "3"], ids=["no YAML", "no bounds", "no mapping"])
def test_a_file_of_another_form_is_named(tmp_path: Path, text):
    path = tmp_path / "other.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other\.yaml"):
        read_bounds(path)
