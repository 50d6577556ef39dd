import json

import numpy as np
import pytest

from lib.profiling.rows import as_text, exact, median, write_json


def test_median_has_quartiles_and_number_of_rounds():
    row = median("step.crop", "crop", np.array([4.0, 1.0, 2.0, 3.0, 5.0]), "ms")
    assert (row.value, row.low, row.high, row.rounds) == (3.0, 2.0, 4.0, 5)


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
