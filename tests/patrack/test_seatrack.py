"""SEATrack: its release's numbers, and what its parts are without each other."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from parity_recipe import named_randn, weight
from patrack import adapter_parameters, build_model
from patrack.config import load
from patrack.config.schema import ModelConfig
from patrack.methods.lora import LoRALinear
from patrack.methods.seatrack import GuidedAttention, SEATrack
from patrack.network import Network
from patrack.vit import Attention
from patrack.weights import published_names
from small_models import DEEPER_SIZES

REFERENCE = Path(os.environ.get("PATRACK_REFERENCE", Path(__file__).resolve().parents[3] / "shared" / "reference"))
GOLDEN = REFERENCE / "rivals" / "sea_keep1.json"


@pytest.mark.slow
@pytest.mark.skipif(not GOLDEN.exists(), reason=f"the reference numbers of SEATrack are not at {REFERENCE}")
@torch.no_grad()
def test_seatrack_computes_what_its_release_computes() -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    model = build_model(load("rgbt_base", ["model.method=seatrack", "model.base_model=null"])).double().eval()
    state, shapes, published = model.state_dict(), golden["trainable_names_shapes"], {}
    for ours, theirs in published_names(model).items():
        for pattern, replacement in SEATrack.PUBLISHED_NAMES:
            theirs = re.sub(pattern, replacement, theirs)
        published[ours] = theirs
        shape = shapes.get(theirs, state[ours].shape)
        state[ours].copy_(weight(theirs, shape).reshape(state[ours].shape))
    assert {published[name] for name in adapter_parameters(model)} == set(shapes)

    parts = [
        (named_randn(f"input.{what}.rgb", (1, 3, size, size)), named_randn(f"input.{what}.x", (1, 3, size, size)))
        for what, size in (("template", 128), ("search", 256))
    ]
    output = model(*(torch.cat(pair, dim=1).double() for pair in parts), return_features=True)
    output["backbone_feat"] = output.pop("features")[:, 64:]
    for name, wanted in golden["outputs"].items():
        got = output[name].flatten()
        assert list(output[name].shape) in (wanted["shape"], wanted["shape"][:1] + wanted["shape"][2:]), name
        values = torch.tensor(wanted["values"], dtype=torch.float64)
        torch.testing.assert_close(got[wanted["positions"]], values, atol=1e-9, rtol=1e-9)
        assert got.mean().item() == pytest.approx(wanted["mean"], abs=1e-9)
        assert got.std().item() == pytest.approx(wanted["std"], abs=1e-9)
