"""Training on a GPU learns what a CPU learns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lib.training.manifest import read_manifest
from lib.training.run import run_training

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.timeout(600),
]


@pytest.fixture
def final_loss(make_config: Callable, base_model: Path, data_root: Path, tmp_path: Path) -> Callable[..., float]:
    def run(device: str, *settings: str, **more: object) -> float:
        config = make_config(f"model.base_model={base_model}", *settings)
        path = run_training(config, data_root=str(data_root), output=str(tmp_path / device), device=device, **more)
        manifest = read_manifest(path.parent)
        assert manifest["status"] == "finished"
        return manifest["final"]["train"]["loss"]

    return run


@pytest.mark.parametrize(
    "settings",
    [(), ("train.precision=bf16",), ("train.precision=bf16", "train.compile=true")],
    ids=["fp32", "bf16", "compiled"],
)
def test_loss_is_near_that_of_a_cpu(final_loss: Callable, settings: tuple[str, ...]) -> None:
    ours, expected = final_loss(DEVICE, "data.num_workers=1", *settings), final_loss("cpu")
    assert ours == pytest.approx(expected, rel=0.2)  # dropout draws other masks on each device
