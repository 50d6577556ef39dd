"""Runs and weights files from when the base model was called foundation are read as they were written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lib.training.manifest import read_run
from lib.training.trainer import Trainer
from patrack import build_model
from patrack.build import build_tracker
from patrack.config import RENAMED, load
from patrack.weights import checkpoint_kind, load_adapters, load_base_model

EARLIER = {new: old for old, new in RENAMED.items()}


def earlier(content: Any) -> Any:
    """The same content under the earlier keys."""
    if not isinstance(content, dict):
        return content
    return {EARLIER.get(key, key): earlier(value) for key, value in content.items()}


def age_weights(path: Path) -> None:
    """Puts a weights file's header back."""
    with safe_open(path, "pt") as file:
        header = earlier(file.metadata())
    header["format"] = header["format"].replace("base-model", "foundation")
    save_file(load_file(path), path, header)
    assert b"base_model" not in path.read_bytes()


def age_run(folder: Path) -> None:
    """Puts configuration, manifest and checkpoints of a run back."""
    config, manifest = folder / "config.yaml", folder / "run.json"
    config.write_text(config.read_text().replace("\n  base_model: ", "\n  foundation: "))
    manifest.write_text(json.dumps(earlier(json.loads(manifest.read_text()))))
    for path in (folder / "checkpoints").glob("*.pt"):
        torch.save(earlier(torch.load(path, weights_only=True)), path)
    assert "foundation" in config.read_text()
    assert "foundation_sha256" in manifest.read_text()


def test_interrupted_run_resumes_to_the_same_bits(
    train: Callable, base_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train().read_bytes()
    inner = Trainer.train_step

    def fail(self: Trainer, batch: object) -> object:
        if self.position.global_step == 5:
            raise RuntimeError("power cut")
        return inner(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", fail)
        with pytest.raises(RuntimeError, match="power cut"):
            train(overwrite=True)
    age_run(tmp_path / "runs" / "rgbt_tiny")
    age_weights(base_model)
    assert train(resume=True).read_bytes() == expected


def test_finished_run_tracks_and_can_be_repeated(train: Callable, base_model: Path, tmp_path: Path) -> None:
    path = train()
    folder, config = path.parent, load(path.parent)
    before = build_tracker(config, folder).model.state_dict()
    age_run(folder)
    age_weights(path)
    age_weights(base_model)
    assert load(folder) == config
    assert read_run(folder, [])[0] == config
    for given in (folder, folder / "adapters.safetensors", folder / "checkpoints" / "last.pt"):
        after = build_tracker(config, given).model.state_dict()
        assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_weights_files_are_told_apart_by_their_earlier_headers(train: Callable, base_model: Path) -> None:
    path = train()
    model = build_model(load(path.parent))
    for file, kind in ((base_model, "base_model"), (path, "adapters")):
        age_weights(file)
        assert checkpoint_kind(file) == kind
    load_base_model(model, base_model)
    assert "base_model_sha256" in load_adapters(model, path)


def test_result_of_a_base_model_run_is_found_under_its_earlier_name(train: Callable, base_model: Path) -> None:
    path = train()
    config = load(path.parent, ["model.streams=rgb", "model.foundation=null", "train.trainable=all"])
    path.unlink()
    (path.parent / "checkpoints" / "last.pt").unlink()
    base_model.rename(path.parent / "foundation.safetensors")
    tracker = build_tracker(config, path.parent)
    assert tracker.model.streams == "rgb"
