"""A run's weights in 16 bits: what the file says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open

from commands import load_command
from patrack import build_model, config
from patrack.tensorfiles import write_tensors
from patrack.weights import save_base_model

export_weights = load_command("scripts/export_weights.py")

SMALL = ["model.embed_dim=16", "model.num_heads=2", "model.depth=2", "model.head_channels=8", "train.frozen_blocks=1"]


def test_a_base_model_goes_on_naming_where_it_started(tmp_path: Path) -> None:
    start = tmp_path / "start.safetensors"
    write_tensors({"weight": torch.ones(1)}, start, {"license": "Apache-2.0: somebody", "source": "somewhere"})
    run = tmp_path / "run"
    run.mkdir()
    settings = config.load(
        "rgb_small", [*SMALL, f"model.base_model={start}", f"data.root={tmp_path}", f"data.train.0.root={tmp_path}"]
    )
    config.save(settings, run)
    save_base_model(build_model(settings), run / "base_model.safetensors")
    output = tmp_path / "small.safetensors"
    assert export_weights.main([str(run), str(output)]) == 0
    with safe_open(output, "pt") as file:
        notes = file.metadata()
    assert notes["start_license"] == "Apache-2.0: somebody"
    assert notes["start_source"] == "somewhere"
    assert notes["name"] == "rgb_small"
    assert str(tmp_path) not in notes["config"]  # whose folders are nobody's business
    assert json.loads(notes["config"])["model"]["base_model"] == "start.safetensors"

    config.save(config.load("rgb_small", [*SMALL, f"model.base_model={output}"]), run)  # a second run, from its result
    again = tmp_path / "again.safetensors"
    assert export_weights.main([str(run), str(again)]) == 0
    with safe_open(again, "pt") as file:
        assert {key: file.metadata()[key] for key in ("start_license", "start_source")} == {
            "start_license": "Apache-2.0: somebody",
            "start_source": "somewhere",
        }
