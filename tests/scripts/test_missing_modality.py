"""scripts/missing_modality.py on a small data set, from its command line."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from commands import load_command
from lib.datasets.frames import DecodedFrame
from lib.datasets.missing import read_masks
from small_models import EXPERIMENT


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """A configuration, and SynthRGBX's layout with two test sequences of six frames."""
    root = tmp_path / "data" / "SynthRGBX" / "rgbt"
    for name in ("one", "two"):
        for kind in ("visible", "infrared"):
            (root / "testingset" / name / kind).mkdir(parents=True)
            for index in range(6):
                image = np.random.default_rng(index).integers(0, 256, (40, 48, 3), np.uint8)
                cv2.imwrite(str(root / "testingset" / name / kind / f"{kind[0]}{index:03d}.jpg"), image)
        for file in ("visible.txt", "infrared.txt", "init.txt"):
            (root / "testingset" / name / file).write_text("12,10,14,12\n" * 6)
    (root / "testingsetList.txt").write_text("one\ntwo\n")
    (tmp_path / "small.yaml").write_text(EXPERIMENT)
    places = ["--dataset", "synthrgbt", "--data-root", str(tmp_path / "data"), "--output", str(tmp_path / "out")]
    return ["--config", str(tmp_path / "small.yaml"), "--checkpoint", "none", "--device", "cpu", *places]


def test_scores_are_tabled_and_drawn_against_the_share_that_is_missing(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    main, out = load_command("scripts/missing_modality.py").main, tmp_path / "out"
    more = ["--shares", "0", "0.4", "1", "--gap", "1", "--batch", "2"]
    assert main([*options, *more]) == 0
    table = (out / "missing.md").read_text()
    assert [line.split("|")[1:3] for line in table.splitlines()[2:]] == [
        [f" {stream} ", f" {share} "] for stream in ("RGB", "X") for share in ("0", "0.4", "1")
    ]
    assert table in capsys.readouterr().out
    assert cv2.imread(str(out / "missing.png")) is not None
    scores = json.loads((out / "missing.json").read_text())["trackers"]
    assert list(scores) == ["complete", "rgb-0.4", "rgb-1", "x-0.4", "x-1"]
    masks = read_masks(out / "masks" / "x-0.4.json")
    assert [(~mask).sum(axis=0).tolist() for mask in masks.values()] == [[0, 2], [0, 2]]
    assert all(mask[0].all() for mask in masks.values())
    assert not read_masks(out / "masks" / "x-1.json")["one"][:, 1].any()
    before = (out / "results" / "x-1" / "one.txt").stat().st_mtime_ns
    assert main([*options, *more]) == 0
    assert (out / "results" / "x-1" / "one.txt").stat().st_mtime_ns == before


def test_another_seed_is_another_run(options: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    main = load_command("scripts/missing_modality.py").main
    assert main([*options, "--shares", "0.4", "--gap", "1", "--streams", "x"]) == 0
    with caplog.at_level(logging.ERROR):
        assert main([*options, "--shares", "0.4", "--gap", "1", "--streams", "x", "--seed", "1"]) == 1
    assert "another run" in caplog.text
    with caplog.at_level(logging.ERROR):
        assert main([*options, "--shares", "2"]) == 1
    assert "share of missing frames" in caplog.text


def test_fusion_is_compared_with_rgb_alone(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    script, out = load_command("scripts/missing_modality.py"), tmp_path / "out"
    more = ["--fusion", "--rgb-checkpoint", "none"]
    assert script.main([*options, *more]) == 0
    table = (out / "fusion.md").read_text()
    assert [line.split(" | ")[0].strip("| ") for line in table.splitlines()[2:]] == list(script.VARIANTS)
    assert table in capsys.readouterr().out
    assert list(json.loads((out / "fusion.json").read_text())["trackers"]) == list(script.VARIANTS)
    before = (out / "results" / "x-noise" / "two.txt").stat().st_mtime_ns
    assert script.main([*options, *more]) == 0
    assert (out / "results" / "x-noise" / "two.txt").stat().st_mtime_ns == before


def test_fusion_of_one_stream_is_refused(options: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "small.yaml").write_text(EXPERIMENT + "  streams: x\n")
    with caplog.at_level(logging.ERROR):
        assert load_command("scripts/missing_modality.py").main([*options, "--fusion"]) == 1
    assert "has one stream" in caplog.text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--fusion", "--shares", "0", "1"], "--shares can't be used with --fusion"),
        (["--rgb-config", "rgb_tiny"], "--rgb-config can't be used without --fusion"),
    ],
)
def test_options_of_the_other_table_are_refused(
    options: list[str], capsys: pytest.CaptureFixture, more: list[str], message: str
) -> None:
    with pytest.raises(SystemExit):
        load_command("scripts/missing_modality.py").main([*options, *more])
    assert message in capsys.readouterr().err


class Seen:
    """Keeps the frames that it is shown."""

    def __init__(self) -> None:
        self.frames: list[np.ndarray] = []

    def initialize(self, frame: DecodedFrame, box_xywh: object, present: object) -> None:
        self.frames.append(frame.image())

    def track(self, frame: DecodedFrame, present: object) -> tuple[None, float]:
        self.frames.append(frame.image())
        return None, 0.0


@pytest.mark.parametrize("variant", ["recorded", "x-black", "x-constant", "x-noise", "x-copy", "rgb-black"])
def test_variants_show_what_their_names_say_and_repeat(variant: str) -> None:
    image = np.random.default_rng(0).integers(1, 256, (20, 30, 6), np.uint8)
    runs = []
    for _ in range(2):
        seen = Seen()
        changed = load_command("scripts/missing_modality.py").Changed(seen, variant)
        for _ in range(2):
            changed.initialize(DecodedFrame.from_image(image), None)
            changed.track(DecodedFrame.from_image(image))
        runs.append(seen.frames)
    assert np.array_equal(*runs)
    frames = runs[0]
    assert np.array_equal(frames[:2], frames[2:])  # every sequence is treated alike
    rgb, x = frames[1][..., :3], frames[1][..., 3:]
    assert np.array_equal(rgb, image[..., :3]) == (variant != "rgb-black")
    assert np.array_equal(x, image[..., 3:]) == (variant in ("recorded", "rgb-black"))
    if variant == "rgb-black":
        assert not rgb.any()
    elif variant == "x-constant":
        assert np.array_equal(x, frames[0][..., 3:])
        assert (x == x[0, 0]).all()
    elif variant == "x-noise":
        assert not np.array_equal(x, frames[0][..., 3:])
    elif variant == "x-copy":
        assert np.array_equal(x, rgb)
    elif variant == "x-black":
        assert not x.any()
