from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lib.schema import Config
from lib.training.checkpoint import CheckpointError, load_state
from lib.training.loader import SampleError
from lib.training.manifest import read_manifest
from lib.training.run import RunFolderError, run_training
from lib.training.trainer import Trainer
from patrack import build_model
from patrack.weights import WeightsError, load_adapters, load_checkpoint, load_foundation, save_foundation


@pytest.fixture
def foundation(tmp_path: Path, make_config: Callable) -> Path:
    """Random foundation weights of the test model's size."""
    torch.manual_seed(5)
    save_foundation(build_model(make_config()), tmp_path / "foundation.safetensors")
    return tmp_path / "foundation.safetensors"


@pytest.fixture
def train(tmp_path: Path, make_config: Callable, data_root: Path, foundation: Path) -> Callable[..., Path]:
    """Trains the RGB-T test experiment in `tmp_path/runs`."""

    def run(*overrides: str, resume: bool = False, overwrite: bool = False) -> Path:
        config = make_config(f"model.foundation={foundation}", *overrides)
        return run_training(
            config, data_root=str(data_root), output=str(tmp_path / "runs"), resume=resume, overwrite=overwrite
        )

    return run


def fail_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Lets a run die before a step (from 0, over the whole run)."""
    inner = Trainer._step

    def fail(self: Trainer, batch: object) -> object:
        if self.position.global_step == step:
            raise RuntimeError("power cut")
        return inner(self, batch)

    monkeypatch.setattr(Trainer, "_step", fail)


def test_run_writes_adapters_that_load_on_their_foundation(
    train: Callable, tmp_path: Path, make_config: Callable, foundation: Path
) -> None:
    path = train()
    assert path == tmp_path / "runs" / "rgbt_tiny" / "adapters.safetensors"
    model = build_model(make_config())
    load_foundation(model, foundation)
    load_adapters(model, path)
    trained = load_state(path.parent / "checkpoints" / "last.pt").model
    state = model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in trained.items())
    assert load_checkpoint(model, path.parent / "checkpoints" / "last.pt") == "adapters"


def test_manifest_says_what_was_trained_on_and_how_it_went(train: Callable, tmp_path: Path) -> None:
    manifest = read_manifest(train().parent)
    assert manifest["status"] == "finished"
    assert (manifest["name"], manifest["seed"], manifest["steps"]) == ("rgbt_tiny", 0, 8)
    assert manifest["train"] == [
        {"name": "synthrgbt/train", "weight": 1.0, "sequences": 2, "frames": 40, "usable_frames": 40}
    ]
    assert len(manifest["foundation_sha256"]) == 64
    assert manifest["versions"]["torch"]
    assert manifest["final"]["val"]["epoch"] == 2
    assert manifest["final"]["train"]["loss"] > 0


def test_saved_config_repeats_the_run(train: Callable, tmp_path: Path, data_root: Path) -> None:
    from lib import config

    path = train("train.epochs=1")
    again = run_training(config.load(path.parent), data_root=str(data_root), output=str(tmp_path / "again"))
    assert again.read_bytes() == path.read_bytes()


def test_workers_and_cache_do_not_change_the_result(
    train: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    plain = train("train.epochs=1")
    expected = plain.read_bytes()
    other = train("train.epochs=1", "data.num_workers=1", "data.cache_frames=true", overwrite=True)
    assert other.read_bytes() == expected


def test_foundation_training_starts_from_nothing_and_exports_a_foundation(
    make_config: Callable, data_root: Path, tmp_path: Path
) -> None:
    config: Config = make_config(name="rgb_tiny")
    path = run_training(config, data_root=str(data_root), output=str(tmp_path / "runs"))
    assert path.name == "foundation.safetensors"
    load_foundation(build_model(make_config()), path)


def test_existing_run_is_not_touched_without_a_flag(train: Callable) -> None:
    path = train()
    before = path.read_bytes()
    with pytest.raises(RunFolderError, match=r"already holds a run .*--resume.*--overwrite"):
        train()
    assert path.read_bytes() == before


def test_overwrite_starts_anew_and_leaves_foreign_files(train: Callable) -> None:
    path = train()
    (path.parent / "notes.txt").write_text("mine")
    expected = path.read_bytes()
    assert train(overwrite=True).read_bytes() == expected
    assert (path.parent / "notes.txt").read_text() == "mine"


def test_resume_without_a_run_is_an_error(train: Callable) -> None:
    with pytest.raises(RunFolderError, match="there is no run in"):
        train(resume=True)


@pytest.mark.parametrize("step", [0, 2, 5], ids=["before the first step", "first epoch", "second epoch"])
def test_failed_run_resumes_to_the_same_weights(
    train: Callable, monkeypatch: pytest.MonkeyPatch, step: int, tmp_path: Path
) -> None:
    expected = train().read_bytes()
    with monkeypatch.context() as patch:
        fail_at(patch, step)
        with pytest.raises(RuntimeError, match="power cut"):
            train(overwrite=True)
    folder = tmp_path / "runs" / "rgbt_tiny"
    assert read_manifest(folder)["status"] == "failed"
    assert not (folder / "adapters.safetensors").exists()
    assert train(resume=True).read_bytes() == expected
    assert read_manifest(folder)["error"] is None


def test_resume_before_the_first_checkpoint_starts_from_the_beginning(train: Callable, tmp_path: Path) -> None:
    expected = train().read_bytes()
    (tmp_path / "runs" / "rgbt_tiny" / "checkpoints" / "last.pt").unlink()
    assert train(resume=True).read_bytes() == expected


def test_resume_of_a_finished_run_trains_no_step(train: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = train().read_bytes()
    fail_at(monkeypatch, 8)
    assert train(resume=True).read_bytes() == expected


@pytest.mark.parametrize("checkpoint", [True, False], ids=["with checkpoint", "before the first one"])
def test_resume_from_another_config_lists_what_differs(train: Callable, tmp_path: Path, checkpoint: bool) -> None:
    train()
    if not checkpoint:
        (tmp_path / "runs" / "rgbt_tiny" / "checkpoints" / "last.pt").unlink()
    with pytest.raises(CheckpointError, match=r"train\.lr: 0\.0004 -> 0\.001\n  train\.weight_decay"):
        train("train.lr=1e-3", "train.weight_decay=0.5", resume=True)


def test_resume_on_another_foundation_is_refused(
    train: Callable, foundation: Path, make_config: Callable, tmp_path: Path
) -> None:
    train()
    torch.manual_seed(6)
    save_foundation(build_model(make_config()), foundation)
    with pytest.raises(CheckpointError, match=r"model\.foundation has changed"):
        train(resume=True)


@pytest.mark.parametrize(
    ("value", "message"),
    [("null", "model.foundation is not set"), ("weights/nowhere.pth", "nowhere.pth not found .*rgb_")],
    ids=["not set", "missing file"],
)
def test_adapters_need_a_foundation(train: Callable, value: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        train(f"model.foundation={value}")


def test_unreadable_image_in_the_middle_stops_the_run_and_names_it(
    train: Callable, data_root: Path, tmp_path: Path
) -> None:
    for path in (data_root / "SynthRGBX" / "rgbt" / "trainingset").glob("*/infrared/i01*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(SampleError, match=r"synthrgbt/train: training_\d, template frame \d+.*i01\d\.jpg"):
        train()
    manifest = read_manifest(tmp_path / "runs" / "rgbt_tiny")
    assert manifest["status"] == "failed"
    assert "i01" in manifest["error"]


def test_unwritable_output_is_an_error_before_anything_is_loaded(make_config: Callable, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"cannot write to the run folder .*--output.*Not a directory"):
        run_training(make_config(), data_root="/nowhere", output=str(tmp_path / "file"))
