"""scripts/experiments.py: variants and seeds are trained, scored and tabled; what is finished is kept."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest

from commands import load_command
from lib.experiments import costs, estimate
from lib.experiments.estimate import finished_speed, measured_speed
from lib.experiments.running import Commands, Journal, Place
from lib.experiments.suite import SIZES, find_suite, read_suite
from lib.training.manifest import read_manifest
from patrack import build_model
from patrack import config as config_files
from patrack.weights import save_base_model
from small_models import EXPERIMENT

SUITES = sorted(config_files.project_path("experiments/suites").glob("*.yaml"))
TRAINING = """\
data:
  train: [{name: synthrgbt, split: train}]
  val: [{name: synthrgbt, split: val}]
  samples_per_epoch: 8
  val_samples: 4
  num_workers: 0
train: {total_batch_size: 4, epochs: 1, lr_drop_epoch: 1, val_every: 1}
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script; commands that it starts run in this process, and are listed in `started`."""
    module = load_command("scripts/experiments.py")
    module.started = []

    def call(self: Commands, script: str, words: list[str], log: Path, environment: Mapping[str, str]) -> int:
        module.started.append(script)
        return load_command(f"tracking/{script}").main(words)

    monkeypatch.setattr(Commands, "call", call)
    # the speed is told by the runs that are finished, or by these numbers
    monkeypatch.setattr(estimate, "measured_speed", lambda *_: estimate.Speed(10.0, 100.0, 1.0, "made up"))
    return module


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options of a small experiment: a configuration, its base model, and SynthRGBX's layout."""
    monkeypatch.delenv("PATRACK_DATA", raising=False)
    for folder, length in (("training", 20), ("val", 20), ("testing", 6)):
        root = tmp_path / "data" / "SynthRGBX" / "rgbt" / f"{folder}set" / "one"
        for kind in ("visible", "infrared"):
            (root / kind).mkdir(parents=True)
            for index in range(length):
                image = np.random.default_rng(index).integers(0, 256, (40, 48, 3), np.uint8)
                cv2.imwrite(str(root / kind / f"{kind[0]}{index:03d}.jpg"), image)
        for file in ("visible.txt", "infrared.txt", "init.txt"):
            (root / file).write_text("12,10,14,12\n" * length)
        (root.parents[1] / f"{folder}setList.txt").write_text("one\n")
    (tmp_path / "small.yaml").write_text(EXPERIMENT + TRAINING)
    save_base_model(build_model(config_files.load(tmp_path / "small.yaml")), tmp_path / "base_model.safetensors")
    places = ["--data-root", str(tmp_path / "data"), "--output", str(tmp_path / "out"), "--device", "cpu"]
    base_model = f"model.base_model={tmp_path / 'base_model.safetensors'}"
    return ["--config", str(tmp_path / "small.yaml"), base_model, *places, "--no-costs"]


def test_variants_with_seeds_are_trained_scored_and_tabled_and_kept(
    script: ModuleType,
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variants = ["--variant", "still", "untrained", "--variant", "slow", "--variant", "fast", "train.lr=1e-2"]
    words = [*words, "--dataset", "synthrgbt", "--seeds", "0", "1", *variants]
    assert script.main([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "4 trainings, 5 runs" in said
    assert "5 runs are left: about" in said
    assert not (tmp_path / "out").exists()
    assert script.main(words) == 0
    assert sorted(script.started) == ["test.py"] * 5 + ["train.py"] * 4
    said, text = capsys.readouterr().out, (tmp_path / "out" / "experiments.md").read_text()
    assert text in said
    assert "What a difference must be to mean anything" in text
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines}
    assert list(rows) == ["small", "---", "still", "slow", "fast", "*a perfect tracker*"]
    assert {"validation IoU", "SR", "SR - still"} <= set(rows["small"])
    assert rows["still"][rows["small"].index("validation IoU")] == "-"

    content = json.loads((tmp_path / "out" / "experiments.json").read_text())
    found = content["experiments"]["small"]["variants"]["fast"]
    runs = [tmp_path / "out" / "fast" / f"seed_{seed}" / "small" for seed in (0, 1)]
    ious = [read_manifest(run)["final"]["val"]["iou"] for run in runs]
    assert found["metrics"]["validation IoU"]["values"] == {"0": ious[0], "1": ious[1]}
    assert found["metrics"]["validation IoU"]["mean"] == pytest.approx(statistics.fmean(ious))
    assert found["metrics"]["validation IoU"]["sd"] == pytest.approx(statistics.stdev(ious))
    # the first variant is untrained: its one run stands beside both seeds
    still = content["experiments"]["small"]["variants"]["still"]["metrics"]["SR"]["mean"]
    scores = found["metrics"]["SR"]["values"]
    assert found["difference"]["values"] == {seed: scores[seed] - still for seed in ("0", "1")}
    assert read_manifest(runs[1])["config"]["train"]["lr"] == 1e-2

    # the same in the other forms, and the log
    table = list(csv.DictReader((tmp_path / "out" / "experiments.csv").read_text().splitlines()))
    (row,) = [row for row in table if (row["variant"], row["metric"]) == ("fast", "SR")]
    assert float(row["mean"]) == found["metrics"]["SR"]["mean"]
    assert float(row["difference"]) == found["difference"]["value"]
    assert "\\midrule\nstill & " in (tmp_path / "out" / "experiments.tex").read_text()
    log = (tmp_path / "out" / "runs.md").read_text()
    assert "5 runs: 5 finished" in log
    assert "| small | fast | 1 | finished |" in log
    for name in ("experiments.png", "experiments.svg", "curves.png", "curves.svg"):
        assert (tmp_path / "out" / name).stat().st_size > 1000

    monkeypatch.setattr("lib.experiments.figures.write_figures", lambda *_: [])  # the same again, and slow
    script.started.clear()
    times = [path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.safetensors")]
    assert script.main(words) == 0
    assert script.started == ["test.py"]  # of the untrained one, whose results no training tells apart
    assert [path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.safetensors")] == times
    script.started.clear()
    assert script.main([*words, "--summarize-only"]) == 0
    assert script.started == []
    assert (tmp_path / "out" / "experiments.md").read_text() == text


def test_time_is_estimated_from_a_few_steps_then_from_finished_runs(
    script: ModuleType, words: list[str], tmp_path: Path
) -> None:
    words = [*words, "--dataset", "synthrgbt", "--seeds", "0", "1", "--variant", "one"]
    plan = script.read_plan(script.parse(words))
    assert finished_speed(plan) is None
    speed = measured_speed(plan, Place("cpu"), Commands())
    assert script.started == ["train.py", "test.py"]
    assert 1.0 < speed.pairs < 1e6
    assert 1.0 < speed.frames < 1e6
    assert not (tmp_path / "out").exists()
    journal = Journal(plan)
    both = estimate.estimate(plan, journal, 1, speed)
    each = 2 * speed.start + (8 + 4 / 2) / speed.pairs + 6 / speed.frames  # pairs, half of those validated, frames
    assert (both.runs, both.longest, both.total) == (2, pytest.approx(each), pytest.approx(2 * each))
    assert estimate.estimate(plan, journal, 2, speed).total == pytest.approx(each)
    assert "2 runs are left, 2 side by side" in both.describe(2)

    assert script.main([*words, "--seeds", "0"]) == 0
    known = finished_speed(plan)
    assert known is not None
    assert known.source == "as 1 finished runs were on average"
    manifest = read_manifest(tmp_path / "out" / "one" / "seed_0" / "small")
    assert known.pairs == pytest.approx(10 / manifest["wall_seconds"])
    assert estimate.estimate(plan, Journal(plan), 1, known).runs == 1


def test_costs_are_measured_once(
    script: ModuleType, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Inline:
        """A pool that has no process of its own."""

        def __init__(self, *_: object, **__: object) -> None: ...
        def __enter__(self) -> Inline:
            return self

        def __exit__(self, *_: object) -> None: ...
        def submit(self, function: Callable, *values: object) -> SimpleNamespace:
            return SimpleNamespace(result=lambda: function(*values))

    monkeypatch.setattr(costs, "ProcessPoolExecutor", Inline)
    monkeypatch.setattr(costs, "ROUNDS", 3)
    variants = ["--variant", "one", "--variant", "rgb", "untrained", "model.streams=rgb"]
    variants += ["--variant", "bat", "model.method=bat"]
    plan = script.read_plan(script.parse([*words, *variants]))
    costs.measure_costs(plan, "cpu")
    (found,) = costs.costs_of(plan, "cpu").values()
    assert list(found) == ["one", "rgb", "bat"]
    assert [found[name]["trained_parameters"] for name in ("rgb", "bat")] == [0, 2 * 2 * (2 * 8 * 8 + 8 * 8 + 3 * 8)]
    assert found["bat"]["total_parameters"] == found["rgb"]["total_parameters"] + found["bat"]["trained_parameters"]
    assert 0 < found["rgb"]["gflops"] < found["bat"]["gflops"] < 2.5 * found["rgb"]["gflops"]
    assert all(one["frames_per_second"] > 1 and one["rounds"] == 3 for one in found.values())
    before = (tmp_path / "out" / "costs.json").read_text()
    costs.measure_costs(plan, "cpu")
    assert (tmp_path / "out" / "costs.json").read_text() == before
    plan = script.read_plan(script.parse([*words, *variants, "--variant", "two", "model.adapters.task.hidden_dim=8"]))
    costs.measure_costs(plan, "cpu")
    (new,) = json.loads((tmp_path / "out" / "costs.json").read_text()).values()
    (old,) = json.loads(before).values()
    assert len(new) == len(old) + 1
    assert all(new[key] != old[key] for key in old)  # all in turns again, so that ratios are fair


def test_run_that_fails_is_named_and_the_others_are_tabled(
    script: ModuleType, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    variants = ["--variant", "good", "--variant", "bad", "model.head_channels=16"]
    assert script.main([*words, *variants]) == 1
    said = capsys.readouterr()
    assert "small bad, seed 0: failed, see " in said.out
    lines = [line.split(" | ")[0] for line in said.out.splitlines() if line.startswith("| ")]
    assert lines[2:] == ["| good", "| bad"]
    assert "Not finished, and not in the table: bad, seed 0 (failed)" in said.out
    log = (tmp_path / "out" / "runs.md").read_text()
    assert "1 finished, 1 failed" in log
    assert script.main([*words, *variants[:2], "train.lr=1e-2"]) == 1
    said = capsys.readouterr().err
    assert "holds a run with other settings:\n  train.lr" in said
    assert "Give another --output" in said


def test_runs_that_are_there_are_averaged(
    script: ModuleType, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert script.main([*words, "--variant", "one", "--seeds", "0", "1"]) == 0
    runs = [str(tmp_path / "out" / "one" / f"seed_{seed}" / "small") for seed in (0, 1)]
    capsys.readouterr()
    assert script.main(["--summarize-only", *runs, "--output", str(tmp_path)]) == 0
    assert "mean ± sd over 2 runs" in capsys.readouterr().out
    assert json.loads((tmp_path / "summary.json").read_text())["seeds"] == [0, 1]
    assert script.main(["--summarize-only", runs[0], runs[0]]) == 1
    assert "seed 0 again" in capsys.readouterr().err


@pytest.mark.parametrize("file", SUITES, ids=lambda path: path.stem)
def test_shipped_suites_can_be_used_at_every_size_they_are_for(file: Path, tmp_path: Path) -> None:
    script = load_command("scripts/experiments.py")
    suite = read_suite(file)
    assert find_suite(file.stem) == file
    sizes: list[list[str]] = (
        [[]] if suite.experiments else [["--data", "synthrgbx", "--model-size", size] for size in SIZES]
    )
    for size in sizes:
        plan = script.read_plan(script.parse(["--suite", file.stem, *size, "--seeds", "0", "--output", str(tmp_path)]))
        assert {run.variant for run in plan.runs} == suite.variants.keys()
        assert len({run.folder for run in plan.runs}) == len(plan.runs)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--variant", "a/b", "--config", "rgbt_tiny"], "a/b"),
        (["--variant", "a", "--only", "b", "--config", "rgbt_tiny"], "unknown variants b; there are a"),
        (["--variant", "a"], "give --data NAME"),
        (["--variant", "a", "train.lrr=1", "--config", "rgbt_tiny"], "train.lrr"),
        (["--suite", "famlies"], "unknown suite 'famlies'; did you mean 'families'? there are "),
        (["--variant", "a", "--data", "lashr"], "unknown data set 'lashr' (nearest: 'lasher'); known are synthrgbx"),
        (["--variant", "a", "model.method=bat", "model.adapters.rank=8", "--data", "lasher"], "variant a of rgbt_base"),
        (["--variant", "a", "--data", "lasher", "--seeds", "x"], "--seeds takes numbers"),
        (["--variant", "a", "--config", "rgbt_tiny", "--model-size", "base"], "give that too"),
    ],
    ids=[
        *("no folder name", "unknown variant", "no experiment", "unknown setting", "unknown suite", "unknown data"),
        *("setting of another method", "no number", "size of nothing"),
    ],
)
def test_mistakes_are_found_before_anything_is_trained(
    script: ModuleType, words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert script.main([*words, "--output", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err
    assert script.started == []
