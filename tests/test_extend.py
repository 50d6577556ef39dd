"""docs/extend.md: each worked example is executed as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from patrack import Tracker, adapter_parameters, build_model, tracking_loss, trainable_parameters
from patrack.config import experiments_dir, load
from patrack.methods import METHODS
from patrack.weights import load_adapters, save_adapters

DOCUMENT = Path(__file__).parents[1] / "docs" / "extend.md"


def blocks(section: str, language: str) -> list[str]:
    """Code blocks of one section of the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    part = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    found = re.findall(rf"```{language}\n(.*?)```", part, re.DOTALL)
    assert found, f"no {language} in section {section!r} of {DOCUMENT}"
    return found


@pytest.fixture
def methods(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Names that the examples see; what they add to METHODS is gone afterwards."""
    monkeypatch.setattr("patrack.methods.METHODS", METHODS)
    before = dict(METHODS)
    names: dict[str, Any] = {"METHODS": METHODS}
    for code in blocks("An adapter", "python"):
        exec(compile(code, str(DOCUMENT), "exec"), names)
    yield names
    METHODS.clear()
    METHODS.update(before)


def train_save_track(config: Any, folder: Path) -> None:
    """Two steps, a file that comes back, and a few frames."""
    torch.manual_seed(0)
    model = build_model(config)
    chosen = trainable_parameters(model, "adapters")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.AdamW(chosen.values(), lr=1e-2)
    size = model.template_size, model.search_size
    for _ in range(2):
        images = [torch.randn(2, 6, side, side) for side in size]
        loss, _ = tracking_loss(model(*images), torch.tensor([[0.4, 0.4, 0.2, 0.2]] * 2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])} >= set(chosen)
    save_adapters(model, folder / "adapters.safetensors")
    other = build_model(config)
    other.load_state_dict({k: v for k, v in model.state_dict().items() if k not in chosen}, strict=False)
    load_adapters(other, folder / "adapters.safetensors")

    boxes = []
    frames = np.random.default_rng(0).integers(0, 256, (4, 90, 120, 6), dtype=np.uint8)
    for network in (model, other):
        tracker = Tracker(network)
        tracker.initialize(frames[0], (40, 30, 20, 20))
        boxes.append([tracker.track(frame)[0].tolist() for frame in frames])
    assert boxes[0] == boxes[1]


def test_an_adapter(methods: dict[str, Any], tmp_path: Path) -> None:
    (text,) = blocks("An adapter", "yaml")
    path = tmp_path / "rgbt_scale_shift.yaml"
    path.write_text(text.replace("base/", f"{experiments_dir()}/base/"), encoding="utf-8")
    config = load(path)
    assert len(adapter_parameters(build_model(config))) == 3 * 2
    train_save_track(config, tmp_path)
    assert load(path, ["model.adapters.layers=[5]"]).model.adapters.layers == [5]
    with pytest.raises(ValueError, match="from 0 to 5"):
        load(path, ["model.adapters.layers=[6]"])


def test_a_rival(methods: dict[str, Any], tmp_path: Path) -> None:
    for code in blocks("A rival", "python"):
        exec(compile(code, str(DOCUMENT), "exec"), methods)
    config = load("rgbt_tiny", ["model.method=prompted"])
    train_save_track(config, tmp_path)
    model = build_model(SimpleNamespace(model=config.model)).eval()
    alone = build_model(SimpleNamespace(model=config.model.model_copy(update={"streams": "rgb"}))).eval()
    alone.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("prompt.")}, strict=False)
    images = [torch.randn(1, 6, side, side) for side in (model.template_size, model.search_size)]
    assert torch.equal(model(*images)["score_map"], alone(*images)["score_map"]), "the prompt starts at zero"
