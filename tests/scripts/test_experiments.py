"""scripts/experiments.py: variants and seeds are trained, scored and tabled; what is finished is kept."""

from __future__ import annotations

import json
import statistics
import subprocess
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import yaml

from commands import load_command
from lib.training.manifest import read_manifest
from patrack import build_model
from patrack import config as config_files
from patrack.weights import save_base_model
from small_models import EXPERIMENT

SCRIPTS = Path(__file__).parents[2] / "scripts"
VARIANTS = sorted((SCRIPTS / "variants").glob("*.yaml"))
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

    def run(line: list[str], check: bool, **_: object) -> None:
        module.started.append(Path(line[1]).name)
        if code := load_command(line[1]).main(line[2:]):
            raise subprocess.CalledProcessError(code, line)

    monkeypatch.setattr(
        module, "subprocess", SimpleNamespace(run=run, CalledProcessError=subprocess.CalledProcessError)
    )
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
    return ["--config", str(tmp_path / "small.yaml"), base_model, *places]


def test_variants_with_seeds_are_trained_scored_and_tabled_and_kept(
    script: ModuleType, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    variants = ["--variant", "still", "untrained", "--variant", "slow", "--variant", "fast", "train.lr=1e-2"]
    words = [*words, "--dataset", "synthrgbt", "--seeds", "0", "1", *variants]
    assert script.main(words) == 0
    assert sorted(script.started) == ["test.py"] * 5 + ["train.py"] * 4
    said, text = capsys.readouterr().out, (tmp_path / "out" / "experiments.md").read_text()
    assert text in said
    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in text.splitlines()}
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
    assert list(found["difference"]["values"]) == ["0"]  # the first variant is untrained, and has one seed
    assert read_manifest(runs[1])["config"]["train"]["lr"] == 1e-2

    script.started.clear()
    times = [path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.safetensors")]
    assert script.main(words) == 0
    assert "train.py" not in script.started
    assert [path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.safetensors")] == times
    script.started.clear()
    assert script.main([*words, "--summarize-only"]) == 0
    assert script.started == []
    assert (tmp_path / "out" / "experiments.md").read_text() == text


def test_run_that_fails_is_named_and_the_others_are_tabled(
    script: ModuleType, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    variants = ["--variant", "good", "--variant", "bad", "model.base_model=nowhere.safetensors"]
    assert script.main([*words, *variants]) == 1
    said = capsys.readouterr()
    assert "small bad, seed 0: failed" in said.err
    assert [line.split(" | ")[0] for line in said.out.splitlines() if line.startswith("| ")][2:] == ["| good", "| bad"]
    assert script.main([*words, *variants[:2], "train.lr=1e-2"]) == 1
    assert "holds a run with other settings:\n  train.lr" in capsys.readouterr().err


def test_reason_of_a_failed_run_is_the_last_error_in_its_log(script: ModuleType, tmp_path: Path) -> None:
    args, run = SimpleNamespace(output=tmp_path), SimpleNamespace(config=SimpleNamespace(name="e"), variant="v", seed=1)
    failed = subprocess.CalledProcessError(1, ["train.py"])
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs/e-v-1.log"
    log.write_text("INFO begun\n")
    assert script.reason_of(args, run, failed) == "exit code 1"
    log.write_text("INFO begun\nERROR first\nINFO again\nERROR data differ:\n  train\n")
    assert script.reason_of(args, run, failed) == "data differ:\n  train"
    assert script.reason_of(args, run, ValueError("not begun")) == "not begun"


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


@pytest.mark.parametrize("file", VARIANTS, ids=lambda path: path.stem)
def test_shipped_variants_can_be_used(file: Path, tmp_path: Path) -> None:
    script = load_command("scripts/experiments.py")
    plan = script.read_plan(script.parse(["--variants", str(file), "--output", str(tmp_path)]))
    assert plan.variants == yaml.safe_load(file.read_text())["variants"]
    for experiment in plan.experiments:
        runs = script.runs_of(plan, experiment, tmp_path)
        assert {run.variant for run in runs} == plan.variants.keys()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--variant", "a/b", "--config", "rgbt_tiny"], "a/b"),
        (["--variant", "a", "--only", "b", "--config", "rgbt_tiny"], "unknown variants b; there are a"),
        (["--variant", "a"], "give --config"),
        (["--variant", "a", "train.lrr=1", "--config", "rgbt_tiny"], "train.lrr"),
    ],
    ids=["no folder name", "unknown variant", "no experiment", "unknown setting"],
)
def test_mistakes_are_found_before_anything_is_trained(
    script: ModuleType, words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert script.main([*words, "--output", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err
    assert script.started == []
