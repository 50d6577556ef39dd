from pathlib import Path

import pytest

from lib.profiling.check import Bound, compare, read_bounds
from lib.profiling.rows import exact
from patrack import config

RUN = {"config": "rgbt_tiny", "device": "cpu", "bf16_unit": True}
AT_MOST = Bound("forward.ratio", "rgbt_tiny", at_most=1.1)
AT_LEAST = Bound("forward.speedup", "rgbt_tiny", at_least=1.7, bf16_unit=True)


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
    lines, kept = compare([exact(bound.key, "", value)], [bound], **RUN)
    assert kept is good
    assert [line.split()[0] for line in lines] == ["holds" if good else "BROKEN"]
    assert bound.key in lines[0]


@pytest.mark.parametrize(
    "other", [{"config": "rgbt_base"}, {"device": "cuda"}, {"bf16_unit": False}], ids=["config", "device", "bf16"]
)
def test_bound_holds_only_where_it_was_measured(other):
    lines, kept = compare([exact(AT_LEAST.key, "", 1.0)], [AT_LEAST], **(RUN | other))
    assert not kept, "a check without a bound must not pass"
    assert "no bound was measured" in lines[0]


def test_bound_without_a_bf16_unit_still_counts():
    assert AT_MOST.applies("rgbt_tiny", "cpu", bf16_unit=False)


def test_number_that_was_not_measured_is_said_and_the_others_decide():
    lines, kept = compare([exact(AT_MOST.key, "", 1.0)], [AT_MOST, AT_LEAST], **RUN)
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
        ("{key: a, config: b}", "one number at_most or at_least"),
        ("{key: a, config: b, at_most: 1, at_least: 2}", "one number at_most or at_least"),
        ("{key: a, config: b, at_most: fast}", "one number at_most or at_least"),
        ("{config: b, at_most: 1}", "missing fields"),
        ("{key: a, config: b, atmost: 1}", "unknown fields"),
        ("3", "must be a mapping"),
    ],
    ids=["no limit", "two limits", "text", "no key", "unknown", "no mapping"],
)
def test_mistake_in_the_file_is_named(tmp_path: Path, text, problem):
    path = tmp_path / "bounds.yaml"
    path.write_text(f"bounds:\n- {text}\n")
    with pytest.raises(ValueError, match=problem):
        read_bounds(path)
