from __future__ import annotations

import errno
import hashlib
import os
import signal
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lib.distributed import DistributedContext
from lib.training import run
from lib.training.checkpoint import load_state, save_state
from lib.training.loader import SampleError
from lib.training.manifest import read_manifest
from lib.training.run import locked, prepare_folder, run_training
from lib.training.trainer import Trainer
from patrack import build_model
from patrack.config.schema import Config
from patrack.weights import WeightsError, load_adapters, load_base_model, load_checkpoint, save_base_model


def fail_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Lets a run die before a step (from 0, over the whole run)."""
    inner = Trainer.train_step

    def fail(self: Trainer, batch: object) -> object:
        if self.position.global_step == step:
            raise RuntimeError("power cut")
        return inner(self, batch)

    monkeypatch.setattr(Trainer, "train_step", fail)


def test_run_writes_adapters_that_load_on_their_base_model(
    train: Callable, tmp_path: Path, make_config: Callable, base_model: Path
) -> None:
    path = train()
    assert path == tmp_path / "runs" / "rgbt_tiny" / "adapters.safetensors"
    model = build_model(make_config())
    load_base_model(model, base_model)
    load_adapters(model, path)
    trained = load_state(path.parent / "checkpoints" / "last.pt").model
    state = model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in trained.items())
    assert load_checkpoint(model, path.parent / "checkpoints" / "last.pt") == "adapters"


def test_manifest_says_what_was_trained_on_and_how_it_went(train: Callable, tmp_path: Path) -> None:
    manifest = read_manifest(train().parent)
    assert manifest["status"] == "finished"
    assert (manifest["name"], manifest["seed"], manifest["steps"]) == ("rgbt_tiny", 0, 8)
    counts = {"name": "synthrgbt/train", "weight": 1.0, "sequences": 2, "frames": 40, "usable_frames": 40}
    assert manifest["train"][0].items() >= counts.items()
    assert len(manifest["train"][0]["sha256"]) == 64
    assert len(manifest["base_model_sha256"]) == 64
    assert manifest["versions"]["torch"]
    assert manifest["final"]["val"]["epoch"] == 2
    assert manifest["final"]["train"]["loss"] > 0


def test_saved_config_repeats_the_run(train: Callable, tmp_path: Path, data_root: Path) -> None:
    from patrack import config

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


def test_base_model_training_starts_from_nothing_and_exports_a_base_model(
    make_config: Callable, data_root: Path, tmp_path: Path
) -> None:
    config: Config = make_config(name="rgb_tiny")
    path = run_training(config, data_root=str(data_root), output=str(tmp_path / "runs"))
    assert path.name == "base_model.safetensors"
    load_base_model(build_model(make_config()), path)


def test_existing_run_is_not_touched_without_a_flag(train: Callable) -> None:
    path = train()
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"already holds a run .*--resume.*--overwrite"):
        train()
    assert path.read_bytes() == before


def test_overwrite_starts_anew_and_leaves_foreign_files(train: Callable) -> None:
    path = train()
    (path.parent / "notes.txt").write_text("mine")
    expected = path.read_bytes()
    assert train(overwrite=True).read_bytes() == expected
    assert (path.parent / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "wrong",
    [
        {"data_root": "/nowhere", "message": "/nowhere"},
        {"settings": ("model.base_model=/nowhere.safetensors",), "message": "/nowhere.safetensors not found"},
        {"settings": ("data.train=[{name: synthrgbt, split: none}]",), "message": "none"},
        {"device": "cuda:77", "message": "cuda:77"},
    ],
    ids=["data-root", "base_model", "split", "device"],
)
def test_a_run_is_not_deleted_for_one_that_cannot_begin(
    make_config: Callable, base_model: Path, data_root: Path, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    given = {"data_root": str(data_root), "output": str(tmp_path / "runs")}
    good = f"model.base_model={base_model}"
    path = run_training(make_config(good), **given)
    before = {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()}
    settings = wrong.get("settings", ())
    given |= {name: wrong[name] for name in ("data_root", "device") if name in wrong}
    with pytest.raises((ValueError, OSError, RuntimeError), match=wrong["message"]):
        run_training(make_config(good, *settings), **given, overwrite=True)
    assert {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()} == before


def test_resume_without_a_run_is_an_error(train: Callable) -> None:
    with pytest.raises(ValueError, match="there is no run in"):
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
    with pytest.raises(ValueError, match=r"lr: .* -> 0\.002\n  train\.weight_decay"):
        train("train.lr=2e-3", "train.weight_decay=0.5", resume=True)


def test_resume_on_another_base_model_is_refused(
    train: Callable, base_model: Path, make_config: Callable, tmp_path: Path
) -> None:
    train()
    torch.manual_seed(6)
    save_base_model(build_model(make_config()), base_model)
    with pytest.raises(ValueError, match=r"model\.base_model has changed"):
        train(resume=True)


@pytest.mark.parametrize(
    ("value", "message"),
    [("null", "model.base_model is not set"), ("weights/nowhere.pth", r"nowhere\.pth not found.*rgb_")],
    ids=["not set", "missing file"],
)
def test_adapters_need_a_base_model(train: Callable, value: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        train(f"model.base_model={value}")


def test_unreadable_image_in_the_middle_stops_the_run_and_names_it(
    train: Callable, data_root: Path, tmp_path: Path
) -> None:
    for path in (data_root / "SynthRGBX" / "rgbt" / "trainingset").glob("*/infrared/i01*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(SampleError, match=r"training_\d, template frame \d+.*i01\d\.jpg"):
        train()
    manifest = read_manifest(tmp_path / "runs" / "rgbt_tiny")
    assert manifest["status"] == "failed"
    assert "i01" in manifest["error"]


def test_unwritable_output_is_an_error_before_anything_is_loaded(make_config: Callable, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"run folder .*--output.*Not a directory"):
        run_training(make_config(), data_root="/nowhere", output=str(tmp_path / "file"))


def test_settings_that_are_allowed_to_change_do(train: Callable, tmp_path: Path) -> None:
    train("train.epochs=1")
    with pytest.raises(ValueError, match=r"(?s)epochs: 1 -> 2.*--allow-changes train\.epochs train\.lr"):
        train("train.lr=2e-3", resume=True)
    with pytest.raises(ValueError, match=r"train\.lr: .* -> 0\.002\nGive"):
        train("train.lr=2e-3", resume=True, allow_changes=["train.epochs"])
    with pytest.raises(ValueError, match=r"'train\.lrr'; did you mean train\.lr\?"):
        train("train.lr=2e-3", resume=True, allow_changes=["train.epochs", "train.lrr"])
    train("train.lr=2e-3", resume=True, allow_changes=["train"])
    manifest = read_manifest(tmp_path / "runs" / "rgbt_tiny")
    assert manifest["steps"] == 8
    assert manifest["changed_on_resume"][0] == "train.epochs: 1 -> 2"


def test_checkpoint_from_before_a_setting_existed_goes_on(train: Callable, tmp_path: Path) -> None:
    as_then = "data.flip_label=published"  # the default, which is taken for what the file lacks
    expected = train(as_then).read_bytes()
    path = tmp_path / "runs" / "rgbt_tiny" / "checkpoints" / "last.pt"
    state = load_state(path)
    for group, key in (("train", "lr_drop_repeats"), ("data", "flip_label"), ("train", "checkpoint_minutes")):
        del state.config[group][key]
    save_state(state, path)
    assert train(as_then, resume=True).read_bytes() == expected


def test_disk_that_fills_up_while_a_checkpoint_is_written_leaves_the_older_one(
    train: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train().read_bytes()
    inner, calls = torch.save, []

    def full(content: object, file: object) -> None:
        calls.append(1)
        if len(calls) == 4:
            file.write(b"half of it")
            raise OSError(28, "No space left on device")
        inner(content, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(OSError, match=r"last\.pt .*No space.*MB are free.*--resume"):
            train("train.checkpoint_minutes=1e-9", overwrite=True)
    folder = tmp_path / "runs" / "rgbt_tiny"
    assert load_state(folder / "checkpoints" / "last.pt").global_step == 2
    assert "No space left" in read_manifest(folder)["error"]
    assert train(resume=True).read_bytes() == expected


def test_full_disk_does_not_hide_why_a_run_failed(train: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = run.update_manifest

    def full(path: Path, values: dict) -> None:
        if values.get("status") == "failed":
            raise OSError(28, "No space left on device")
        inner(path, values)

    monkeypatch.setattr(run, "update_manifest", full)
    fail_at(monkeypatch, 1)
    with pytest.raises(RuntimeError, match="power cut"):
        train()


def test_data_that_vanish_in_the_middle_stop_the_run_which_goes_on_when_they_are_back(
    train: Callable, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train("data.val_samples=0").read_bytes()
    inner = Trainer.train_step

    def vanish(self: Trainer, batch: object) -> object:
        if self.position.global_step == 5:
            data_root.rename(tmp_path / "elsewhere")
        return inner(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", vanish)
        with pytest.raises(SampleError, match=r"sample \d+ of epoch 2: .*training_\d.*frame"):
            train("data.val_samples=0", overwrite=True)
    (tmp_path / "elsewhere").rename(data_root)
    assert train("data.val_samples=0", resume=True).read_bytes() == expected


def test_half_written_files_of_a_killed_run_are_removed(train: Callable, tmp_path: Path) -> None:
    folder = train().parent
    left = [folder / "checkpoints" / ".tmp-1-last.pt", folder / ".adapters.safetensors.77.tmp"]
    for path in left:
        path.write_bytes(b"half")
    train(resume=True)
    assert not any(path.exists() for path in left)


@pytest.mark.skipif(os.name != "posix", reason="locks")
def test_folder_in_which_another_process_trains_is_refused(train: Callable) -> None:
    folder = train("train.epochs=1").parent
    pid = os.fork()
    if pid == 0:
        with locked(folder):
            (folder / "held").touch()
            time.sleep(30)
        os._exit(0)
    try:
        while not (folder / "held").exists():
            time.sleep(0.01)
        with pytest.raises(ValueError, match=r"is in use by process \d+ on .*pytest"):
            train("train.epochs=1", resume=True)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    train("train.epochs=1", resume=True)  # the lock has gone with its process


def test_manifest_is_complete(train: Callable, base_model: Path) -> None:
    path = train("train.max_batch_per_process=3")
    manifest = read_manifest(path.parent)
    assert manifest["config"]["train"]["total_batch_size"] == 4
    assert manifest["batch"] == {"total": 4, "processes": 1, "accumulation": 2, "at_once": 2}
    assert manifest["learning_rate"]["final"] == pytest.approx(manifest["learning_rate"]["base"] / 10)
    assert manifest["data_fingerprint"]["sequences"] == 4
    assert manifest["data_fingerprint"]["frames"] == 80
    assert manifest["base_model_file"] == {
        "path": str(base_model),
        "sha256": hashlib.sha256(base_model.read_bytes()).hexdigest(),
    }
    assert manifest["weights"] == {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert manifest["hardware"]["cores"] == os.cpu_count()
    assert manifest["wall_hours"] == pytest.approx(manifest["wall_seconds"] / 3600, abs=1e-3)
    assert manifest["gpu_hours"] == 0
    assert {"revision", "dirty", "versions", "seed", "threads", "final"} <= manifest.keys()


def test_data_root_is_said_once(train: Callable, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        train("train.epochs=1")
        train("train.epochs=1", resume=True)
    said = [record.getMessage() for record in caplog.records]
    assert sum("data root" in line for line in said) == 2  # once per run
    assert not [line for line in said if line.startswith("going on")]
    assert said.count("all 1 epochs are done: only the result is written again") == 1


def test_fewer_pairs_than_processes_is_an_error(make_config: Callable, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"total_batch_size = 4 .*processes \(5\)"):
        run_training(make_config(), output=str(tmp_path), context=DistributedContext(1, 5, 1))


def test_run_that_failed_before_it_began_does_not_block_its_folder(train: Callable, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="toaster"):
        train(device="toaster")
    folder = train("train.epochs=1").parent
    assert read_manifest(folder)["status"] == "finished"
    assert "toaster" not in (folder / "train.log").read_text()
    with pytest.raises(ValueError, match="already holds a run"):
        train("train.epochs=1")


def test_run_that_was_killed_at_once_does_not_block_its_folder(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    prepare_folder(tmp_path, resume=False, overwrite=False)
    (tmp_path / "checkpoints" / "mine.pt").touch()
    with pytest.raises(ValueError, match="already holds a run"):
        prepare_folder(tmp_path, resume=False, overwrite=False)


def test_folder_without_room_for_its_lock_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(ValueError, match=r"cannot write to the run folder .*\.lock: No space left"), locked(tmp_path):
        pass


def test_files_that_are_no_failed_start_are_not_deleted(train: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "rgbt_tiny"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text('{"identity": {}}')  # of tracking results
    with pytest.raises(ValueError, match="already holds a run"):
        train()
    (folder / "run.json").write_text('{"status": ')
    with pytest.raises(ValueError, match=r"run\.json is damaged"):
        train()


@pytest.mark.parametrize("place", ["contents", "name"])
def test_damaged_checkpoint_is_refused_with_a_remedy(train: Callable, place: str) -> None:
    path = train("train.epochs=1").parent / "checkpoints" / "last.pt"
    with zipfile.ZipFile(path) as file:
        largest = max(file.infolist(), key=lambda item: item.file_size)
    content = bytearray(path.read_bytes())
    header = largest.header_offset  # of 30 bytes; name, padding and contents follow
    content[{"contents": header + 200 + largest.file_size // 2, "name": header + 34}[place]] ^= 0xFF
    path.write_bytes(content)
    reason = "checksum" if place == "contents" else "damaged"
    with pytest.raises(ValueError, match=rf"last\.pt .*{reason}.*epoch_0001\.pt"):
        train("train.epochs=1", resume=True)
