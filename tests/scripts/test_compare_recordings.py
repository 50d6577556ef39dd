"""scripts/compare_recordings.py from its command line: tables, values and strips of made-up recordings."""

import json
import re

import cv2
import numpy as np
import pytest

from commands import load_command
from recording_data import boxes, text, write_recording

main = load_command("scripts/compare_recordings.py").main
ALONE = ["--only"]  # none of the columns that are there by themselves, whose weights take a second to load


@pytest.fixture
def recordings(tmp_path):
    """One pair and one without a second sensor, the latter with gaps in its annotation."""
    folder = tmp_path / "recordings"
    write_recording(folder / "cup", ("rgb", "depth"))
    rows = boxes(12)
    rows[3:6] = np.nan
    write_recording(folder / "street", ("img",), box_file="groundtruth_rect.txt", lines=text(rows))
    return folder


def cells(table, name):
    """Cells of the first row of a name."""
    row = next(line for line in table.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip(" *") for cell in row.strip("|").split("|")]


def test_every_column_that_a_recording_has_data_for(recordings, tmp_path, capsys):
    output = tmp_path / "out"
    again = r"a$\gain$"  # matplotlib knows no such formula, and must not look for one
    tiny = ["--rgb-config", "rgb_tiny", "--rgbd-config", "rgbd_tiny"]  # half the time of the weights it takes otherwise
    ours = ["--ours", f"{again}=rgbd_tiny", "test.window=false", "--ours", f"{again}=rgb_tiny"]
    assert main([str(recordings), "--output", str(output), "--device", "cpu", *tiny, *ours]) == 0
    table = (output / "comparison.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out.strip() == table.strip()
    assert cells(table, "recording")[:7] == ["recording", "kind", "annotated", "RGB", "X", "RGB + X", again]
    assert cells(table, "cup")[:3] == ["cup", "rgbd", "11 of 11"]
    assert cells(table, "street")[:3] == ["street", "rgb", "8 of 11"]
    assert cells(table, "street")[4:6] == ["-", "-"]
    assert all(re.fullmatch(r"[01]\.\d{3}", cell) for cell in cells(table, "cup")[3:7])
    values = json.loads((output / "comparison.json").read_text(encoding="utf-8"))
    cup = values["recordings"]["cup"]["trackers"]
    assert f"{cup['RGB']['mean_iou']:.3f}" == cells(table, "cup")[3]
    assert values["recordings"]["street"]["trackers"]["RGB"].keys() == cup["RGB"].keys()
    assert cup["RGB"]["boxes"][0] == cup["X"]["boxes"][0] == boxes(1)[0].tolist()
    assert values["mean"]["mean"]["RGB"]["recordings"] == 2
    assert values["mean"]["mean"]["X"]["recordings"] == 1
    for name, streams in (("cup", 2), ("street", 1)):
        strip = cv2.imread(str(output / f"{name}.png"))
        assert strip is not None
        assert strip.shape[1] > 1500
        assert (strip.shape[0] > 500) == (streams == 2)
    assert sorted(path.name for path in output.iterdir()) == [
        "comparison.json",
        "comparison.md",
        "cup.png",
        "street.png",
    ]


def test_one_recording_and_one_column_without_strips(recordings, tmp_path):
    output = tmp_path / "out"
    options = ["--output", str(output), "--device", "cpu", "--only", "rgb", "--no-strips", "--threads", "1"]
    assert main([str(recordings / "street"), *options]) == 0
    assert sorted(path.name for path in output.iterdir()) == ["comparison.json", "comparison.md"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nano", "nowhere", *ALONE], r"nowhere: NanoTrack's files are missing; looked for .*backbone_sim\.onnx"),
        (["--rgbd-config", "rgbt_tiny"], "rgbt_tiny is for rgbt, but was given for rgbd"),
        (["--rgb-config", "rgb_tine"], "did you mean 'rgb_tiny'"),
        (["--ours", "rgbt_tiny", *ALONE], r"--ours 'rgbt_tiny': must be NAME=CONFIG"),
        (["--ours", "X=rgbd_tiny", *ALONE], "that isn't one of RGB, X, RGB"),
        (["--ours", "a=rgb_tiny", "--ours", "a=rgb_tiny", *ALONE], "two trackers 'a' for rgb"),
        (["--modality", "rgbt"], "no X frames of modality rgbt"),
    ],
)
def test_bad_options_end_with_a_clear_error_and_write_nothing(recordings, tmp_path, caplog, options, message):
    output = tmp_path / "out"
    assert main([str(recordings), "--output", str(output), "--device", "cpu", *options]) == 1
    assert re.search(message, caplog.text)
    assert not output.exists()


def test_two_recordings_of_one_name_are_refused(recordings, tmp_path, caplog):
    assert main([str(recordings), str(recordings / "cup"), "--output", str(tmp_path / "out")]) == 1
    assert "two recordings of one name: cup" in caplog.text


def test_help_names_every_column(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert "TrackerCSRT" in capsys.readouterr().out
