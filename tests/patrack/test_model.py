"""The whole network: what trains, what stays, one and two streams, candidate elimination."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch

from patrack import adapter_parameters, build_model, freeze_batchnorm, tracking_loss, trainable_parameters
from patrack.config import load
from patrack.network import adapter_names
from patrack.vit import TokenLayout, eliminate_candidates

GT = torch.tensor([[0.4, 0.35, 0.2, 0.3], [0.1, 0.5, 0.25, 0.2]])


def step(model: torch.nn.Module, images: tuple[torch.Tensor, torch.Tensor], optimizer: torch.optim.Optimizer) -> None:
    loss, _ = tracking_loss(model(*images), GT)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def test_vit_b_has_the_published_numbers_of_parameters() -> None:
    with torch.device("meta"):
        model = build_model(load("rgbt_base"))
    adapters = adapter_parameters(model)
    family = {
        name: sum(p.numel() for key, p in adapters.items() if f".{name}" in f".{key}")
        for name in ("mda", "cea", "task_adapter")
    }
    assert family == {"mda": 293_400, "cea": 3_096_576, "task_adapter": 332_928}
    assert sum(p.numel() for p in model.parameters()) == 96_098_589
    assert len(adapters) == 9 * 2 * 9 + 3 * 2 * 7 + 6


def test_exact_set_of_trainable_names_at_vit_b() -> None:
    with torch.device("meta"):
        names = sorted(trainable_parameters(build_model(load("rgbt_base")), "adapters"))
    mda = ("reduce.weight", "reduce.bias", "high_expand.weight", "high_depthwise.weight", "high_pool.weight")
    mda += ("high_pool.bias", "fuse_depthwise.weight", "expand.weight", "expand.bias")
    cea = [f"{part}.weight" for part in ("down", "shared", "rgb_match", "rgb_value", "x_match", "x_value", "up")]
    expected = [
        f"backbone.blocks.{i}.{'cea' if i in (3, 6, 9) else 'mda'}{half}.{leaf}"
        for i in range(12)
        for half in (1, 2)
        for leaf in (cea if i in (3, 6, 9) else mda)
    ]
    expected += [f"task_adapter.{part}.{leaf}" for part in ("down", "mid", "up") for leaf in ("weight", "bias")]
    assert names == sorted(expected)


def test_gradients_reach_every_adapter_parameter_and_nothing_else(make_model, images) -> None:
    model = make_model()
    trainable_parameters(model, "adapters")
    tracking_loss(model(*images), GT)[0].backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert reached == set(adapter_parameters(model))


def test_frozen_blocks_and_embeddings_get_no_gradient_and_all_else_does(make_model, images) -> None:
    model = make_model(streams="rgb")
    chosen = trainable_parameters(model, "all", frozen_blocks=2)
    frozen = ("backbone.patch_embed.", "backbone.pos_embed_", "backbone.blocks.0.", "backbone.blocks.1.")
    assert set(chosen) == {name for name, _ in model.named_parameters() if not name.startswith(frozen)}
    assert any(name.startswith("backbone.blocks.2.") for name in chosen)
    sum(value.sum() for value in model(*images).values()).backward()
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == set(chosen)


def test_after_a_neutral_start_two_steps_move_every_adapter_parameter(make_model, images) -> None:
    model = make_model(adapters={"init": "neutral"}).train()
    freeze_batchnorm(model)
    chosen = trainable_parameters(model, "adapters")
    before = {name: p.detach().clone() for name, p in chosen.items()}
    optimizer = torch.optim.AdamW(chosen.values(), lr=1e-2, weight_decay=0.0)
    for _ in range(3):
        step(model, images, optimizer)
    assert [name for name, p in chosen.items() if torch.equal(p, before[name])] == []


def test_frozen_weights_and_statistics_are_bit_identical_after_steps(make_model, images) -> None:
    model = make_model().train()
    freeze_batchnorm(model)
    chosen = trainable_parameters(model, "adapters")
    frozen = {name: value.clone() for name, value in model.state_dict().items() if name not in chosen}
    optimizer = torch.optim.AdamW(chosen.values(), lr=1e-2)
    for _ in range(3):
        step(model, images, optimizer)
    after = model.state_dict()
    assert [name for name, value in frozen.items() if not torch.equal(value, after[name])] == []
    assert any("running_mean" in name for name in frozen)


def test_neutral_adapters_leave_the_two_stream_base_model_as_it_is(make_model, images) -> None:
    adapted = make_model(adapters={"init": "neutral"}).eval()
    off = {family: {"enabled": False} for family in ("mda", "cea", "task")}
    plain = make_model(adapters=off).eval()
    plain.load_state_dict({k: v for k, v in adapted.state_dict().items() if k in plain.state_dict()})
    for name, value in plain(*images).items():
        torch.testing.assert_close(adapted(*images)[name], value, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("family", ["mda", "cea", "task"])
def test_each_family_can_be_switched_off(make_model, images, family: str) -> None:
    model = make_model(adapters={family: {"enabled": False}})
    assert not any(f"{family}" in name for name in adapter_parameters(model))
    assert torch.isfinite(model(*images)["score_map"]).all()


def test_layers_decide_where_adapters_stand(make_model) -> None:
    model = make_model(adapters={"mda": {"layers": [0, 3]}, "cea": {"layers": [3]}})
    kinds = [(block.mda1 is not None, block.cea1 is not None) for block in model.backbone.blocks]
    assert kinds == [(True, False), (False, False), (False, False), (True, True)]


def test_no_parameter_is_dead(make_model, images) -> None:
    model = make_model()
    trainable_parameters(model, "all")
    tracking_loss(model(*images), GT)[0].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(("streams", "channels"), [("rgb", slice(0, 3)), ("x", slice(3, 6))])
def test_one_stream_reads_its_own_channels(make_model, images, streams: str, channels: slice) -> None:
    model = make_model(streams=streams).eval()
    assert not adapter_names(model)
    only = tuple(image[:, channels] for image in images)
    torch.testing.assert_close(model(*images)["score_map"], model(*only)["score_map"])


def test_equal_streams_without_adapters_give_the_base_model_doubled_or_averaged(make_model, images) -> None:
    off = {family: {"enabled": False} for family in ("mda", "cea", "task")}
    twin = tuple(image[:, :3].repeat(1, 2, 1, 1) for image in images)
    one = make_model(streams="rgb").eval()
    features = one(*twin, return_features=True)["features"]
    for fusion, factor in (("sum", 2), ("mean", 1)):
        both = make_model(adapters=off, fusion=fusion).eval()
        both.load_state_dict(one.state_dict())
        torch.testing.assert_close(both(*twin, return_features=True)["features"], factor * features)


def test_keep_ratio_one_changes_nothing_and_builds_no_scores(make_model, images, monkeypatch) -> None:
    model = make_model().eval()
    expected = model(*images)["score_map"]
    monkeypatch.setattr("patrack.vit.eliminate_candidates", None)  # calling it would fail
    model.set_keep_ratio(1.0)
    assert torch.equal(model(*images)["score_map"], expected)


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("streams", ["both", "rgb"])
def test_elimination_works_with_all_adapters_at_every_block(make_model, images, streams: str, training: bool) -> None:
    model = make_model(streams=streams).train(training)
    model.set_keep_ratio(0.7)
    counts: list[int] = []
    for block in model.backbone.blocks:
        block.register_forward_hook(lambda _m, _i, out: counts.append(out[1].num_search))
    output = model(*images, return_features=True)
    assert counts == [45, 32, 23, 23]  # ceil(0.7 n), blocks 0, 1, 2 of 64 tokens
    gone = (output["features"][:, 16:].abs().amax(2) == 0).sum(1)
    assert gone.tolist() == [64 - 23] * 2
    assert output["score_map"].shape == (2, 1, 8, 8)
    if training:
        trainable_parameters(model, "all")
        tracking_loss(model(*images), GT)[0].backward()


def test_elimination_keeps_the_best_tokens_of_both_streams_in_order() -> None:
    layout = TokenLayout(1, 2, streams=2)
    tokens = torch.arange(2 * 5.0).view(2, 5, 1)
    row = torch.tensor([[0.0, 0.1, 0.5, 0.2, 0.2], [0.0, 0.1, 0.0, 0.1, 0.8]])  # sums: .2 .5 .3 1.0
    shorter, after = eliminate_candidates(tokens, row, layout, 0.5)
    assert after.kept.tolist() == [[1, 3]]
    assert shorter[:, :, 0].tolist() == [[0, 2, 4], [5, 7, 9]]
    again, last = eliminate_candidates(shorter, torch.tensor([[0, 0.9, 0.1]] * 2), after, 0.5)
    assert last.kept.tolist() == [[1]]
    assert again[:, :, 0].tolist() == [[0, 2], [5, 7]]


def test_stochastic_depth_acts_in_training_only(make_model, images) -> None:
    model = make_model(drop_path=0.5)
    torch.manual_seed(0)
    assert not torch.equal(model.train()(*images)["score_map"], model(*images)["score_map"])
    model.eval()
    assert torch.equal(model(*images)["score_map"], model(*images)["score_map"])


def test_a_seed_gives_the_same_initial_weights(make_model) -> None:
    def digest(model: torch.nn.Module) -> str:
        text = json.dumps({name: value.double().sum().item() for name, value in model.state_dict().items()})
        return hashlib.sha256(text.encode()).hexdigest()

    assert digest(make_model(seed=3)) == digest(make_model(seed=3)) != digest(make_model(seed=4))


@pytest.mark.parametrize(
    ("template", "search", "message"),
    [
        ((1, 3, 16, 16), (1, 3, 32, 32), r"template .*\(B, 6, 16, 16\) .*streams='both'"),
        ((1, 6, 16, 16), (1, 6, 16, 32), r"search .*\(B, 6, 32, 32\).*\(1, 6, 16, 32\)"),
    ],
    ids=["three channels", "wrong size"],
)
def test_wrong_inputs_are_named(make_model, template, search, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_model()(torch.zeros(template), torch.zeros(search))


def test_wrong_settings_are_named(make_model) -> None:
    model = make_model(streams="rgb")
    with pytest.raises(ValueError, match="keep_ratio must lie in"):
        model.set_keep_ratio(0.0)
    with pytest.raises(ValueError, match="which must be 'adapters' or 'all', got 'some'"):
        trainable_parameters(model, "some")
    with pytest.raises(ValueError, match="no adapters"):
        trainable_parameters(model, "adapters")
