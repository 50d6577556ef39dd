"""The command scripts/make_synthrgbx.py, and the ordinary readers on what it makes."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from commands import load_command
from lib.datasets import load
from lib.synthetic.benchmark import Job, draw_scene, frames
from patrack.recordings.frames import read_frame

OPTIONS = ["--count", "1", "--length", "4", "--size", "96x72", "--seed", "3", "--workers", "1"]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_command("scripts/make_synthrgbx.py")


@pytest.mark.parametrize("modality", ["rgbt", "rgbd", "rgbe"])
def test_readers_give_back_what_was_drawn(script: ModuleType, tmp_path: Path, modality: str) -> None:
    assert script.main(["--output", str(tmp_path / "SynthRGBX"), "--modality", modality, *OPTIONS]) == 0
    for split in ("train", "val", "test"):
        (sequence,) = load(f"synth{modality}", split, None, tmp_path)
        made = list(frames(*draw_scene(Job(modality, split, 0, 4, (96, 72), 3))))
        np.testing.assert_array_equal(sequence.boxes, [f.view.box for f in made])
        np.testing.assert_array_equal(sequence.absent, [f.view.absent for f in made])
        frame = read_frame(sequence, 2)
        assert frame.shape == (72, 96, 6)
        assert np.abs(frame[..., :3].astype(float) - made[2].rgb[..., ::-1]).mean() < 7  # JPEG in rgbt and rgbd
        assert sequence.attributes == tuple(sorted(sequence.attributes))


def test_sheet_shows_the_sequences(script: ModuleType, tmp_path: Path) -> None:
    arguments = ["--output", str(tmp_path / "data"), "--modality", "rgbd", "--split", "val", "--sheet", str(tmp_path)]
    assert script.main([*arguments, *OPTIONS]) == 0
    sheet = cv2.imread(str(tmp_path / "synthrgbx_rgbd.jpg"))
    assert sheet.shape[1] == 4 * 192  # four frames, RGB above X
    assert sheet.std() > 10


@pytest.mark.parametrize(("modality", "other"), [("rgbd", "rgbe"), ("rgbe", "rgbd"), ("rgbt", "rgbd")])
def test_sheet_shows_recordings_of_the_same_pair_below(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], modality: str, other: str
) -> None:
    common = ["--modality", modality, "--split", "val", *OPTIONS]
    assert script.main(["--output", str(tmp_path / "data"), *common, "--sheet", str(tmp_path)]) == 0
    alone = cv2.imread(str(tmp_path / f"synthrgbx_{modality}.jpg"))
    (recording,) = (tmp_path / "data" / modality).rglob("val_0000")
    arguments = ["--output", str(tmp_path / "data"), *common, "--sheet", str(tmp_path), "--beside", str(recording)]
    assert script.main(arguments) == 0
    beside = cv2.imread(str(tmp_path / f"synthrgbx_{modality}.jpg"))
    assert beside.shape == (2 * alone.shape[0], alone.shape[1], 3)  # the same sequence, read from its files
    upper, lower = beside[: len(alone)], beside[len(alone) :]
    assert np.abs(upper[14:].astype(float) - lower[14:]).mean() < 8  # JPEG, up to three times
    arguments[arguments.index(modality)] = other
    assert script.main(arguments) == 0
    assert f"{other}: no recording of this pair in" in capsys.readouterr().out


def test_recordings_without_a_sheet_and_a_wrong_folder_are_refused(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--output", str(tmp_path / "data"), "--modality", "rgbd", "--split", "val", *OPTIONS]
    with pytest.raises(SystemExit):
        script.main([*arguments, "--beside", str(tmp_path)])
    assert "--beside needs --sheet FOLDER" in capsys.readouterr().err
    assert script.main([*arguments, "--sheet", str(tmp_path), "--beside", str(tmp_path / "nowhere")]) == 1
    assert "nowhere: no such folder" in capsys.readouterr().err


def test_repeating_says_that_all_is_there(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--output", str(tmp_path), "--modality", "rgbt", "--split", "test", *OPTIONS]
    assert script.main(arguments) == 0
    assert "frame pairs/s" in capsys.readouterr().out
    assert script.main(arguments) == 0
    assert "all there already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "95x72"], "size must be even"),
        (["--length", "0"], "length must be at least 2, got 0"),
    ],
    ids=["odd-size", "no-frames"],
)
def test_error_is_one_line_and_a_failing_exit_code(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert script.main(["--output", str(tmp_path / "x"), *OPTIONS, *arguments]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


@pytest.mark.parametrize("size", ["320", "axb", "320x240x3"])
def test_misspelt_size_is_refused_with_its_form(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], size: str
) -> None:
    with pytest.raises(SystemExit):
        script.main(["--output", str(tmp_path), "--size", size])
    assert "WIDTHxHEIGHT" in capsys.readouterr().err
