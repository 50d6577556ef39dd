"""scripts/missing_modality.py on a small data set, from its command line."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from commands import load_command
from lib.datasets.missing import read_masks
from lib.report.missing import read_missing
from patrack import config as configs
from patrack.network import build_model
from patrack.recordings.frames import DecodedFrame
from patrack.weights import save_base_model
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
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert [line.split(" | ")[0] for line in lines] == [
        "| without RGB",
        "| ---",
        "| small",
        "| without X",
        "| ---",
        "| small",
    ]
    assert lines[0].split(" | ")[1:4] == ["0", "0.4", "1"]
    assert table in capsys.readouterr().out
    assert cv2.imread(str(out / "missing.png")) is not None
    assert "<svg" in (out / "missing.svg").read_text()
    scores = read_missing(out)
    assert [(curve.tracker, curve.stream) for curve in scores.curves] == [("small", "rgb"), ("small", "x")]
    whole = json.loads((out / "missing.json").read_text())["scores"]["trackers"]
    names = [f"small, {mask}" for mask in ("complete", "rgb-0.4", "rgb-1", "x-0.4", "x-1")]
    assert list(whole) == names
    for curve, kinds in zip(scores.curves, (names[:3], [names[0], *names[3:]]), strict=True):
        assert curve.scores == pytest.approx([whole[name]["metrics"]["SR"] for name in kinds])
    rows = list(csv.DictReader((out / "missing.csv").open()))
    assert [(row["tracker"], row["stream"], row["share"]) for row in rows][:2] == [
        ("small", "rgb", "0"),
        ("small", "rgb", "0.4"),
    ]
    assert float(rows[1]["SR"]) == pytest.approx(100 * scores.curves[0].scores[1], abs=1e-4)
    masks = read_masks(out / "masks" / "x-0.4.json")
    assert [(~mask).sum(axis=0).tolist() for mask in masks.values()] == [[0, 2], [0, 2]]
    assert all(mask[0].all() for mask in masks.values())
    assert not read_masks(out / "masks" / "x-1.json")["one"][:, 1].any()
    result = out / "results" / "small" / "x-1" / "one.txt"
    before = result.stat().st_mtime_ns
    assert main([*options, *more]) == 0
    assert result.stat().st_mtime_ns == before


def test_several_trackers_are_compared_with_the_first_one_beside_the_base_model(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    main, out = load_command("scripts/missing_modality.py").main, tmp_path / "out"
    rest = options[4:]  # without --config and --checkpoint
    torch.manual_seed(0)
    small = configs.load(str(tmp_path / "small.yaml"))
    base = tmp_path / "base.safetensors"
    save_base_model(build_model(small), base)
    (tmp_path / "based.yaml").write_text(EXPERIMENT + f"  base_model: {base}\n")
    trackers = [f"ours={tmp_path / 'based.yaml'}@none", f"other={tmp_path / 'small.yaml'}@none"]
    assert main(["--config", *trackers, *rest, "--shares", "0", "1", "--streams", "x", "--seed", "0"]) == 0
    scores = read_missing(out)
    assert scores.trackers == ["ours", "other"]
    assert scores.origins["ours"] == f"{tmp_path / 'based.yaml'}@none"
    ours, other = scores.curves
    assert ours.mean == pytest.approx(sum(ours.scores) / 2)
    assert ours.loss is not None
    assert ours.loss.value == pytest.approx((ours.scores[0] - ours.scores[1]) / 2)
    assert ours.gain is None
    assert other.gain is not None
    assert other.gain.low is not None
    assert other.gain.high is not None
    assert other.gain.low <= other.gain.value <= other.gain.high
    assert list(scores.alone) == ["rgb"]
    assert ours.gone is not None
    assert ours.gone.value == pytest.approx(ours.scores[1] - scores.alone["rgb"])
    table = capsys.readouterr().out
    assert "| RGB only (base model) |" in table
    assert (out / "results" / "RGB only" / "one.txt").exists()

    assert main(["--config", trackers[0], *rest, "--shares", "0", "0.5", "--streams", "either"]) == 0
    scores = read_missing(out)
    assert (scores.trackers, scores.streams, list(scores.alone)) == (["ours"], ["either"], ["rgb", "x"])
    assert "| without RGB or X |" in (out / "missing.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a=rgbt_tiny", "a=rgbt_small"], "the name 'a' is rgbt_tiny already; give another one, as NAME=CONFIG"),
        (["rgbt_tiny", "rgbt_tiny@none"], "the name 'rgbt_tiny' is rgbt_tiny already"),
        (["a/b=rgbt_tiny"], "--config: 'a/b' can't name a file or folder"),
        (["RGB only=rgbt_tiny"], "is the base model's"),
        (["=rgbt_tiny"], "must be [NAME=]CONFIG[@CHECKPOINT]"),
        (["a=@none"], "must be [NAME=]CONFIG[@CHECKPOINT]"),
        (["a=rgbt_tiny@"], "must be [NAME=]CONFIG[@CHECKPOINT]"),
        (["rgbt_tinny"], "rgbt_tinny"),
        (["a=rgb_tiny"], "a has one stream (model.streams: rgb); give trackers of two"),
        (["a=rgbt_tiny", "b=rgbt_tiny@nowhere.safetensors"], "nowhere.safetensors"),
    ],
)
def test_trackers_that_can_not_be_used_are_refused_before_anything_is_tracked(
    options: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture, words: list[str], message: str
) -> None:
    with caplog.at_level(logging.ERROR):
        assert load_command("scripts/missing_modality.py").main(["--config", *words, *options[4:]]) == 1
    assert message in caplog.text
    assert not (tmp_path / "out").exists()


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
        (["--config", "rgbt_tiny", "rgbt_small"], "--checkpoint goes with one --config, got 2"),
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
