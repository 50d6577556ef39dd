"""The network computes what the published PATrack code computes, layer by layer, on weights and inputs made anew."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from commands import load_command
from parity_impl import Impl, build
from parity_recipe import named_randn, sample_positions, weight
from patrack.weights import published_names

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = json.loads((ROOT / "tests" / "data" / "parity_tiny.json").read_text(encoding="utf-8"))
SPEC = GOLDEN["spec"]
REFERENCE = Path(os.environ.get("PATRACK_REFERENCE", ROOT.parent / "shared" / "reference"))
CHECKER = REFERENCE / "parity" / "check_parity.py"


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    model = build(SPEC)
    shapes = {published: model.state_dict()[ours].shape for ours, published in published_names(model).items()}
    return {name: weight(name, shape) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def output(tensors: dict[str, Tensor]) -> dict[str, Any]:
    model = Impl().model(tensors, SPEC).double()
    with torch.no_grad():
        return model(*inputs())


def inputs() -> tuple[Tensor, Tensor]:
    return tuple(named_randn(*GOLDEN["inputs"][key]).double() for key in ("template", "search"))


def assert_sampled(name: str, golden: dict[str, Any], got: Tensor) -> None:
    """Compare the stored samples and moments of a published tensor, to 1e-9 of its largest value."""
    assert list(got.shape) == golden["shape"]
    flat = got.detach().double().flatten()
    wanted = torch.tensor(golden.get("sampled", golden.get("values")), dtype=torch.float64)
    if "sampled" in golden:
        flat_samples = flat[sample_positions(name, flat.numel(), len(wanted))]
        assert flat.mean().item() == pytest.approx(golden["mean"], abs=1e-9)
        assert flat.std(unbiased=False).item() == pytest.approx(golden["std"], abs=1e-9)
    else:
        flat_samples = flat
    bound = 1e-9 * max(1.0, golden.get("absmax", wanted.abs().max().item()))
    torch.testing.assert_close(flat_samples, wanted, atol=bound, rtol=0)


def test_this_machine_draws_the_weights_of_the_reference() -> None:
    for name, golden in GOLDEN["fingerprint"].items():
        values = weight(name, golden["shape"]).double().flatten()
        assert values[:4].tolist() == pytest.approx(golden["first4"], abs=1e-6)


@pytest.mark.parametrize("tap", sorted(GOLDEN["taps"]))
def test_every_stage_equals_the_published_one(output: dict[str, Any], tap: str) -> None:
    assert_sampled(f"tiny.{tap}", GOLDEN["taps"][tap], output["taps"][tap])


@pytest.mark.parametrize("name", ["backbone_feat", "score_map", "size_map", "offset_map"])
def test_outputs_equal_the_published_ones(output: dict[str, Any], name: str) -> None:
    assert_sampled("tiny.feat" if name == "backbone_feat" else "", GOLDEN[name], output[name])


def test_boxes_equal_the_published_ones(output: dict[str, Any]) -> None:
    wanted = torch.tensor(GOLDEN["pred_boxes_cxcywh"], dtype=torch.float64).reshape(-1, 4)
    torch.testing.assert_close(output["pred_boxes"], wanted, atol=1e-9, rtol=0)


@pytest.mark.parametrize("key", ["mda", "cea_search", "cea_template", "head_adapter"])
def test_adapters_alone_equal_the_published_ones(tensors: dict[str, Tensor], key: str) -> None:
    golden = GOLDEN["modules"][key]
    prefix = golden["prefix"]
    own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    module = getattr(Impl(), key.removesuffix("_search").removesuffix("_template"))(own, SPEC).double()
    parts = golden["inputs"]
    with torch.no_grad():
        got = module(*(named_randn(*parts[part]).double() for part in ("rgb", "x") if part in parts))
    if key.startswith("cea"):
        for part, value in zip(("rgb", "x"), got, strict=True):
            assert_sampled(f"{parts[part][0]}.out", golden[f"out_{part}"], value)
    else:
        assert_sampled(f"{parts['x'][0]}.out", golden["out"], got)


def test_loss_and_adapter_gradients_equal_the_published_ones(tensors: dict[str, Tensor]) -> None:
    golden, impl = GOLDEN["train"], Impl()
    model = impl.model(tensors, SPEC).double()
    loss, parts = impl.loss(model, *inputs(), torch.tensor(golden["gt_xywh"], dtype=torch.float64))
    published = {key: golden["loss"][f"Loss/{key}"] for key in ("giou", "l1", "location")}
    assert {key: parts[key].item() for key in published} == pytest.approx(published, rel=1e-6)
    assert loss.item() == pytest.approx(golden["loss"]["Loss/total"], rel=1e-6)
    loss.backward()
    gradients = impl.named_adapter_grads(model)
    assert set(gradients) == set(golden["grad_l2_and_projection"])
    for name, (norm, projection) in golden["grad_l2_and_projection"].items():
        value = gradients[name].double()
        bound = 1e-7 * max(norm, 1e-3 * golden["grad_total_norm"])
        along = (value * named_randn(f"gradproj.{name}", value.shape).double()).sum().item()
        assert value.norm().item() == pytest.approx(norm, abs=bound), name
        assert along == pytest.approx(projection, abs=bound * math.sqrt(value.numel())), name


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not CHECKER.exists(), reason=f"the full-size reference numbers are not at {REFERENCE}")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["fp64", "fp32"])
def test_all_reference_checks_pass_at_full_size(dtype: torch.dtype) -> None:
    rows = load_command(str(CHECKER)).run_checks(Impl(), dtype=dtype)
    assert len(rows) == 114
    assert [row for row in rows if not row.ok] == []
