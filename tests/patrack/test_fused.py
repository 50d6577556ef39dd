"""The folded network computes what the network computes; only the rounding differs."""

from __future__ import annotations

import pytest
import torch

from patrack.crop import MEAN, STD
from patrack.fused import FusedNetwork
from patrack.predictor import PlainNetwork, Predictor, tracking_network
from small_networks import crops, lively

MAPS = ("score_map", "size_map", "offset_map", "pred_boxes")
PAPER = {"adapters": {"init": "neutral", "mda": {"form": "paper"}, "cea": {"form": "paper"}}, "fusion": "mean"}
CASES = [
    pytest.param({}, id="published"),
    pytest.param(PAPER, id="paper-neutral-mean"),
    pytest.param({"adapters": {"mda": {"layers": [0, 1, 2, 3]}}}, id="both-families-in-one-block"),
    pytest.param({"fusion": "gate"}, id="gate"),
    pytest.param({"fusion": "gate", "elimination": {"keep_ratio": 0.6, "layers": [0, 1, 3]}}, id="gate-elimination"),
    pytest.param({"fusion": "gate", "streams": "x"}, id="gate-one-stream"),
    pytest.param({"elimination": {"keep_ratio": 0.6, "layers": [0, 1, 3]}}, id="elimination-also-in-the-last-block"),
    pytest.param({"streams": "rgb"}, id="rgb-alone"),
    pytest.param({"streams": "x"}, id="x-alone"),
    pytest.param({"adapters": {"task": {"enabled": False}}}, id="no-task-adapter"),
    pytest.param({"adapters": {"cea": {"enabled": False}}}, id="no-entangled-adapters"),
    pytest.param({"adapters": {"mda": {"enabled": False}}}, id="no-dependent-adapters"),
    pytest.param({"adapters": {"mda": {"parts": "high"}}}, id="high-part"),
    pytest.param({"adapters": {"mda": {"parts": "low", "form": "paper"}}}, id="low-part-paper"),
    pytest.param({"adapters": {"cea": {"shared_query": False}}}, id="unshared"),
    pytest.param({"adapters": {"cea": {"shared_query": False, "form": "paper"}}}, id="unshared-paper"),
]


def normalized(pixels: torch.Tensor) -> torch.Tensor:
    """`patrack.network.normalize` in fp64."""
    mean, std = (torch.tensor(values * 2, dtype=torch.float64) for values in (MEAN, STD))
    return ((pixels.double() / 255 - mean) / std).movedim(-1, -3)


@pytest.mark.parametrize("changes", CASES)
@torch.no_grad()
def test_same_function_in_fp64(make_model, changes) -> None:
    model = lively(make_model(**changes).double())
    expected = model(normalized(crops(16)), normalized(crops(32)))
    assert expected["score_map"].std() > 1e-4
    fused = FusedNetwork(model, torch.float64)
    found = fused(fused.embed_template(crops(16)), crops(32))
    for name in MAPS:
        assert torch.allclose(found[name], expected[name], rtol=0, atol=1e-10), name


@torch.no_grad()
def test_each_tensor_of_the_network_is_used(make_model) -> None:
    model = lively(make_model().double())
    names = [name for name, tensor in model.state_dict().items() if tensor.is_floating_point()]
    fused = FusedNetwork(model, torch.float64)
    before = fused(fused.embed_template(crops(16)), crops(32))
    for name in names[:: max(1, len(names) // 40)]:
        tensor = model.state_dict()[name]
        unchanged = tensor.clone()
        tensor.mul_(torch.linspace(1.5, 3.0, tensor.numel()).reshape(tensor.shape))
        other = FusedNetwork(model, torch.float64)
        after = other(other.embed_template(crops(16)), crops(32))
        assert any(not torch.equal(before[key], after[key]) for key in MAPS), name
        tensor.copy_(unchanged)
    again = FusedNetwork(model, torch.float64)
    same = again(again.embed_template(crops(16)), crops(32))
    assert all(torch.equal(before[key], same[key]) for key in MAPS)


@torch.no_grad()
def test_fp32_and_bf16_stay_near(make_model) -> None:
    model = lively(make_model())
    expected = FusedNetwork(model, torch.float64)
    exact = expected(expected.embed_template(crops(16)), crops(32))
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.05)):
        fused = FusedNetwork(model, dtype)
        found = fused(fused.embed_template(crops(16)), crops(32))
        assert found["score_map"].dtype == torch.float32
        assert (found["score_map"] - exact["score_map"]).abs().max() < tolerance


def test_the_model_is_left_alone(make_model) -> None:
    model = make_model().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    FusedNetwork(model)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_unknown_precision_is_refused(make_model) -> None:
    with pytest.raises(ValueError, match=r"precision .*fp32, bf16, fp16, got 'int4'"):
        tracking_network(make_model(), "int4")


def test_what_is_no_tracking_network_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Linear.*template_size"):
        tracking_network(torch.nn.Linear(1, 1), "bf16")


@pytest.mark.parametrize("plain", [False, True], ids=["folded", "plain"])
def test_targets_in_one_step_do_not_see_each_other(make_model, plain) -> None:
    model = lively(make_model())
    network = PlainNetwork(model) if plain else tracking_network(model)
    templates, searches = crops(16, 4).numpy(), crops(32, 4).numpy()
    together = Predictor(network, torch.device("cpu"), slots=4)
    for slot in range(4):
        together.set_template(slot, templates[slot])
    for asked in ([0, 1, 2, 3], [2], [3, 0]):
        together.launch({slot: searches[slot] for slot in asked})
        found = together.fetch()
        assert sorted(found) == sorted(asked)
        for slot in asked:
            alone = Predictor(network, torch.device("cpu"))
            alone.set_template(0, templates[slot])
            alone.launch({0: searches[slot]})
            assert found[slot] == pytest.approx(alone.fetch()[0], abs=1e-5)


def test_a_new_template_replaces_the_old_one(make_model) -> None:
    network = tracking_network(lively(make_model()))
    templates, search = crops(16, 2).numpy(), crops(32, 1).numpy()[0]
    predictor, answers = Predictor(network, torch.device("cpu"), slots=2), []
    predictor.set_template(0, templates[0])
    for slot, template in ((1, 0), (1, 1), (1, 0)):
        predictor.set_template(slot, templates[template])
        predictor.launch({slot: search})
        answers.append(predictor.fetch()[slot])
    assert answers[0] == answers[2] != answers[1]
