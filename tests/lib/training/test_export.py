"""What a run exports, and what it starts from, when more than adapters train."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lib.training.checkpoint import load_state
from lib.training.run import run_training
from patrack import build_model
from patrack.build import build_tracker
from patrack.weights import WeightsError, checkpoint_kind, save_base_model


@pytest.fixture
def base_model(tmp_path: Path, make_config: Callable) -> Path:
    """Random base model weights of the test model's size."""
    torch.manual_seed(5)
    save_base_model(build_model(make_config()), tmp_path / "base_model.safetensors")
    return tmp_path / "base_model.safetensors"


def test_full_fine_tuning_of_two_streams_exports_what_tracking_loads_whole(
    make_config: Callable, data_root: Path, tmp_path: Path, base_model: Path
) -> None:
    config = make_config(f"model.base_model={base_model}", "train.trainable=all", "train.epochs=1")
    path = run_training(config, data_root=str(data_root), output=str(tmp_path / "runs"))
    assert path.name == "model.safetensors"
    assert checkpoint_kind(path) == "full"
    base_model.unlink()  # not needed any more: the file holds everything
    state = build_tracker(config, str(path.parent)).model.state_dict()
    trained = load_state(path.parent / "checkpoints" / "last.pt").model
    assert state.keys() == trained.keys()
    for name, tensor in trained.items():
        torch.testing.assert_close(state[name], tensor, atol=1e-3, rtol=1e-3)  # stored in 16 bits


@pytest.mark.parametrize("trainable", ["adapters", "all"])
def test_base_model_of_another_grid_is_resized_on_request_only(
    make_config: Callable, data_root: Path, tmp_path: Path, base_model: Path, trainable: str
) -> None:
    size = make_config().model
    overrides = [
        f"model.base_model={base_model}",
        f"model.search_size={size.search_size + 2 * size.patch_size}",
        f"train.trainable={trainable}",
        "train.epochs=1",
    ]
    with pytest.raises(WeightsError, match=r"set model\.resize_position_embeddings=true"):
        run_training(make_config(*overrides), data_root=str(data_root), output=str(tmp_path / "refused"))
    config = make_config(*overrides, "model.resize_position_embeddings=true")
    assert run_training(config, data_root=str(data_root), output=str(tmp_path / "resized")).is_file()
