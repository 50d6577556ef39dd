from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from commands import load_command
from lib.training.trainer import Interrupted
from small_models import TRAINED

SMALL = (
    *TRAINED,
    "data.samples_per_epoch=200",
    "data.val_samples=0",
    "train.total_batch_size=2",
    "train.epochs=1",
    "train.lr_drop_epoch=1",
)
ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tracking" / "train.py"


def make_data(root: Path) -> None:
    """One RGB-T sequence of 20 frames, as SynthRGBX lies on disk."""
    folder = root / "SynthRGBX" / "rgbt" / "trainingset" / "one"
    for kind in ("visible", "infrared"):
        (folder / kind).mkdir(parents=True)
        for index in range(20):
            cv2.imwrite(str(folder / kind / f"{kind[0]}{index:03d}.jpg"), np.full((48, 64, 3), 7 * index, np.uint8))
    for name in ("visible.txt", "infrared.txt", "init.txt"):
        (folder / name).write_text("20,15,14,12\n" * 20)
    (root / "SynthRGBX" / "rgbt" / "trainingsetList.txt").write_text("one\n")


@pytest.fixture
def train() -> ModuleType:
    return load_command("tracking/train.py")


@pytest.mark.parametrize(
    ("raised", "code"),
    [(None, 0), (ValueError("bad"), 1), (ZeroDivisionError(), 1), (KeyboardInterrupt(), 130)],
    ids=["success", "expected failure", "bug", "second Ctrl-C"],
)
def test_exit_code_and_finished_only_on_success(
    train: ModuleType,
    raised: BaseException | None,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def run(*_: object, **__: object) -> Path:
        if raised:
            raise raised
        return Path("w.safetensors")

    monkeypatch.setattr("lib.training.run.run_training", run)
    caplog.set_level("INFO")
    assert train.main(["--config", "rgbt_tiny"]) == code
    assert ("finished" in caplog.text) == (code == 0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_run_says_how_to_go_on(
    train: ModuleType, number: int, code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def run(*_: object, **__: object) -> Path:
        raise Interrupted("checkpoint written", number)

    monkeypatch.setattr("lib.training.run.run_training", run)
    assert train.main(["--config", "rgbt_tiny"]) == code
    assert "--resume" in caplog.text


def test_arguments_reach_the_run(train: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    monkeypatch.setattr(
        "lib.training.run.run_training", lambda config, **rest: seen.update(rest, config=config) or Path("w")
    )
    words = ["--config", "rgbt_tiny", "train.lr=0.5", "--seed", "7", "--output", "here", "--resume", "train.epochs=9"]
    assert train.main([*words, "--device", "cpu", "--data-root", "there"]) == 0
    config = seen.pop("config")
    assert (config.seed, config.train.lr, config.train.epochs) == (7, 0.5, 9)
    assert (seen["data_root"], seen["output"], seen["device"]) == ("there", "here", "cpu")
    assert (seen["resume"], seen["overwrite"], seen["allow_changes"]) == (True, False, [])
    assert seen["context"].world_size == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "rgbt_tinny"], "rgbt_tiny"),
        (["--config", "rgbt_tiny", "train.optimizer=sgd"], "train.optimizer"),
        (["--config", "rgbt_tiny", "train.foo=1"], "train.foo"),
        (["--config", "rgb_tiny"], "no data root"),
        (["--config", "rgb_tiny", "data.train.0.name=nowhere", "--data-root", "."], "unknown data set 'nowhere'"),
        (["--config", "rgb_tiny", "--device", "toaster"], "toaster"),
    ],
    ids=["unknown config", "unknown optimiser", "unknown key", "no data root", "unknown data set", "unknown device"],
)
def test_mistakes_exit_with_one_clear_error(
    train: ModuleType,
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("PATRACK_DATA", raising=False)
    assert train.main([*words, "--output", str(tmp_path)]) == 1
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert message in errors[0].getMessage()
    assert errors[0].exc_info is None or not errors[0].exc_info


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--resume", "--overwrite"], "not allowed with"),
        (["--allow-changes", "train.lr"], "needs --resume"),
        (["--allow-other-data"], "needs --from or --resume"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_options_that_do_not_go_together(
    train: ModuleType, words: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as caught:
        train.main(["--config", "rgbt_tiny", *words])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "0", "1", "1"], "different numbers, one per run, got 0 1 1"),
        (["--seeds", "train.epochs=1"], "different numbers, one per run, got none"),
        (["--seeds", "0", "x"], "numbers from 0, got 'x'"),
        (["--seeds", "0", "5000000000"], "seed = 5000000000: must be less than"),
        (["--seeds", "0", "1"], "seed_1/rgbt_tiny already holds a run"),
    ],
    ids=["twice", "none", "no number", "too large", "one of them is there"],
)
def test_mistakes_in_seeds_are_found_before_the_first_run(
    train: ModuleType,
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "seed_1" / "rgbt_tiny").mkdir(parents=True)
    (tmp_path / "seed_1" / "rgbt_tiny" / "config.yaml").write_text("")
    monkeypatch.setattr("lib.training.run.run_training", lambda *_, **__: pytest.fail("a run was started"))
    assert train.main(["--config", "rgbt_tiny", "--output", str(tmp_path), *words]) == 1
    assert message in caplog.text


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK='x' and WORLD_SIZE='2' are set wrongly"),
        ({"WORLD_SIZE": "2"}, "RANK=None and WORLD_SIZE='2' are set wrongly"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR=None and MASTER_PORT=None"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "h", "MASTER_PORT": "a"}, "MASTER_PORT='a'"),
        (
            {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "h", "MASTER_PORT": "1", "LOCAL_RANK": "x"},
            "LOCAL_RANK='x'",
        ),
    ],
    ids=["rank", "no rank", "no address", "port", "local rank"],
)
def test_launcher_variables_that_make_no_sense_are_one_error(
    train: ModuleType,
    variables: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert train.main(["--config", "rgbt_tiny"]) == 1
    assert message in caplog.text
    assert "torchrun" in caplog.text or "LOCAL_RANK" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.slow
def test_script_fails_with_a_non_zero_exit_code(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PATRACK_DATA"} | {"PYTHONPATH": str(ROOT)}
    words = ["--config", "rgb_tiny", "--output", str(tmp_path), "--data-root", str(tmp_path / "none")]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "none" in done.stderr
    assert "finished" not in done.stderr


@pytest.mark.slow
def test_sigterm_to_the_whole_group_writes_a_checkpoint_that_resumes(
    train: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_data(tmp_path / "data")
    words = ["--config", "rgb_tiny", "--output", str(tmp_path / "runs"), "--data-root", str(tmp_path / "data"), *SMALL]
    command = [sys.executable, str(SCRIPT), *words, "data.num_workers=1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    rows = tmp_path / "runs" / "rgb_tiny" / "train.csv"
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        while run.poll() is None and not (rows.is_file() and rows.read_text().count("\n") > 2):
            time.sleep(0.02)
        os.killpg(run.pid, signal.SIGTERM)
        said = run.communicate()[1]
    assert run.returncode == 143, said
    assert "--resume" in said
    assert "finished" not in said
    caplog.set_level("INFO")
    assert train.main([*words, "data.num_workers=0", "--resume"]) == 0
    assert "going on at epoch 1, step" in caplog.text
    assert len(rows.read_text().splitlines()) == 1 + 100
