"""The speed measurement as it is called."""

import json

import cv2
import pytest
import torch

from commands import load_command

SMALL = ("model.depth=2", "model.adapters.cea.layers=[1]", "model.elimination.layers=[]", "model.base_model=null")


@pytest.fixture
def command():
    threads = torch.get_num_threads(), cv2.getNumThreads()
    yield load_command("tracking/profile_speed.py")
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])


def test_every_section_gives_numbers_with_units_in_one_report(command, tmp_path, capsys):
    sizes = ["--quick", "--repeats", "1", "--size", "160x120", "--batch-size", "2", "--threads", "1"]
    files = ["--json", str(tmp_path / "speed.json"), "--plots", str(tmp_path)]
    assert command.main(["--config", "rgbt_tiny", "--device", "cpu", *sizes, *files, *SMALL]) == 0
    text = capsys.readouterr().out
    content = json.loads((tmp_path / "speed.json").read_text())
    assert {row["key"].split(".")[0] for row in content["rows"]} == set(command.SECTIONS)
    assert len({row["key"] for row in content["rows"]}) == len(content["rows"])
    assert all(row["text"] in text for row in content["rows"])
    assert content["conditions"]["threads"] == 1
    assert "rgbt_tiny model.depth=2" in content["conditions"]["config"]
    assert (tmp_path / "targets.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "backwards"], "--only takes forward, step"),
        (["--only", "step", "--plots", "DIR"], "add it to --only"),
        (["--batch", "0"], "whole number from 1, got '0'"),
        (["--size", "640"], "WIDTHxHEIGHT"),
    ],
    ids=["section", "plots", "batch", "size"],
)
def test_wrong_command_line_is_refused_before_anything_is_measured(command, capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        command.main(["--config", "rgbt_tiny", *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_unknown_experiment_and_unchecked_check_end_in_an_error(command, capsys, monkeypatch):
    assert command.main(["--config", "nothing", "--device", "cpu"]) == 1
    monkeypatch.setattr("lib.profiling.sections.measure_step", lambda case: [])
    assert command.main(["--config", "rgbt_tiny", "--device", "cpu", "--check", "--only", "step"]) == 1
    assert "no bound was measured" in capsys.readouterr().out
