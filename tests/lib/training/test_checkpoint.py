from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.training.checkpoint import (
    TrainingState,
    load_state,
    model_state,
    restore_model,
    rng_state,
    save_state,
    seed_everything,
    set_rng_state,
)
from patrack import adapter_parameters, build_model


def state(**changes: object) -> TrainingState:
    values = {
        "config": {"name": "run", "train": {"lr": 0.1}},
        "model": {"weight": torch.arange(3.0)},
        "base_model": "abc",
        "optimizer": {"state": {}, "param_groups": []},
        "scaler": {},
        "epoch": 2,
        "step": 3,
        "global_step": 7,
        "seconds": 1.5,
        "rng": rng_state(),
    }
    return TrainingState(**(values | changes))


def numbers() -> tuple:
    return random.random(), np.random.normal(), torch.rand(2).tolist()


def test_state_survives_the_file(tmp_path: Path) -> None:
    save_state(state(), tmp_path / "a.pt")
    loaded = load_state(tmp_path / "a.pt")
    assert loaded.config == {"name": "run", "train": {"lr": 0.1}}
    assert (loaded.epoch, loaded.step, loaded.global_step, loaded.base_model) == (2, 3, 7, "abc")
    assert torch.equal(loaded.model["weight"], torch.arange(3.0))


def test_every_generator_goes_on_where_it_was(tmp_path: Path) -> None:
    seed_everything(3)
    np.random.normal()  # leaves a cached second value, which is part of the state
    save_state(state(), tmp_path / "a.pt")
    expected = numbers()
    numbers()
    set_rng_state(load_state(tmp_path / "a.pt").rng)
    assert numbers() == expected


def test_failed_write_keeps_the_older_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pt"
    save_state(state(epoch=1), path)

    def full_disk(_: object, file: object) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    said = r"cannot write checkpoint .*a\.pt.*No space left.*the older one .* is untouched.*--resume"
    with pytest.raises(OSError, match=said):
        save_state(state(epoch=2), path)
    monkeypatch.undo()
    assert load_state(path).epoch == 1
    assert [item.name for item in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a checkpoint", "cannot be read"),
        (b"", "cannot be read"),
        ({"model": {}}, "not a training checkpoint"),
        ({"kind": "patrack-training", "format": 99}, "format 99"),
    ],
    ids=["text", "empty", "other file", "other version"],
)
def test_unusable_file_is_an_error_that_names_it(tmp_path: Path, content: bytes | dict, message: str) -> None:
    path = tmp_path / "bad.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=rf"bad\.pt.*{message}"):
        load_state(path)


def test_truncated_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save_state(state(), path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="cannot be read"):
        load_state(path)


def test_adapter_checkpoint_holds_adapters_only(make_config: Callable) -> None:
    model = build_model(make_config())
    assert model_state(model, "adapters").keys() == adapter_parameters(model).keys()
    assert model_state(model, "all").keys() == model.state_dict().keys()


def test_checkpoint_of_another_size_is_an_error_that_lists_the_tensors(make_config: Callable) -> None:
    model, wider = build_model(make_config()), build_model(make_config("model.adapters.task.hidden_dim=12"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"task_adapter\.down.* \(12, 16\), .*\(8, 16\)"):
        restore_model(model, model_state(wider, "adapters"), "adapters")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_missing_and_unexpected_tensors_are_listed(make_config: Callable) -> None:
    model = build_model(make_config())
    changed = model_state(model, "adapters")
    changed["extra"] = changed.pop("task_adapter.up.bias")
    with pytest.raises(ValueError, match=r"missing task_adapter\.up\.bias; .*extra"):
        restore_model(model, changed, "adapters")
