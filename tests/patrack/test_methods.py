"""Methods on the frozen network: what they train, their reference numbers, and that what tracks is what was trained."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from patrack import Tracker, adapter_parameters, tracking_loss, trainable_parameters
from patrack.config import load
from patrack.fused import FusedNetwork, unfoldable
from patrack.methods import METHODS
from patrack.methods.lora import LoRALinear
from patrack.methods.patrack import PATrack
from patrack.network import Network, adapter_names
from patrack.predictor import PlainNetwork, tracking_network
from patrack.vit import Block
from patrack.weights import WeightsError, load_adapters, save_adapters
from small_networks import at_vit_b, small

REFERENCE = Path(os.environ.get("PATRACK_REFERENCE", Path(__file__).resolve().parents[3] / "shared" / "reference"))
VARIANTS = {
    "patrack": {},
    "patrack, paper's form": {"adapters": {"mda": {"form": "paper"}, "cea": {"form": "paper"}, "init": "neutral"}},
    "without MDA": {"adapters": {"mda": {"enabled": False}}},
    "without CEA": {"adapters": {"cea": {"enabled": False}}},
    "without HA": {"adapters": {"task": {"enabled": False}}},
    "bat": {"method": "bat", "adapters": {}},
    "bat in two blocks": {"method": "bat", "adapters": {"hidden_dim": 4, "layers": [0, 3]}},
    "lora": {"method": "lora", "adapters": {}},
    "lora everywhere": {
        "method": "lora",
        "adapters": {"targets": ["q", "k", "v", "proj", "fc1", "fc2"], "rank": 2, "alpha": 4.0},
    },
    "seatrack": {"method": "seatrack", "adapters": {}},
    "seatrack in the last block, without experts": {
        "method": "seatrack",
        "adapters": {"layers": [3], "experts": {"enabled": False}, "lora": {"enabled": False}},
    },
    "one stream": {"streams": "rgb"},
}
ALL = "[q, k, v, proj, fc1, fc2]"


def crops(size: int) -> Tensor:
    return torch.randint(0, 256, (size, size, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(size))


def frames(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 60, 80, 6), dtype=np.uint8))


@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_what_tracks_is_what_was_trained(name: str) -> None:
    model = small(**VARIANTS[name]).double()
    assert unfoldable(model) == ""
    folded = tracking_network(model)
    assert isinstance(folded, FusedNetwork)
    assert folded.difference(model, crops(16), crops(32)) < 1e-8
    model.set_keep_ratio(1.0)  # rounding may keep other tokens
    boxes = []
    for network in (model, PlainNetwork(model)):
        tracker = Tracker(network)
        tracker.initialize(frames(1)[0], (30, 20, 14, 12))
        boxes.append(np.array([tracker.track(frame)[0] for frame in frames(4)]))
    np.testing.assert_allclose(boxes[0], boxes[1], atol=1e-4)


def other_lora(model: Network) -> None:
    class Updated(nn.Linear):
        def forward(self, tokens: Tensor) -> Tensor:
            return super().forward(tokens) + 0.1 * tokens.repeat(1, 1, 3)

    for block in model.backbone.blocks:
        old, block.attn.qkv = block.attn.qkv, Updated(16, 48)
        block.attn.qkv.load_state_dict(old.state_dict())


def other_block(model: Network) -> None:
    class Louder(Block):
        def forward(self, tokens, layout, keep_ratio=1.0):
            out, layout = super().forward(tokens, layout, keep_ratio)
            return 1.1 * out, layout

    model.backbone.blocks[2] = Louder(16, 2)


def other_network(model: Network) -> None:
    class Doubled(PATrack):
        def reach_head(self, tokens: Tensor, modality: Tensor | None) -> Tensor:
            return super().reach_head(2 * tokens, modality)

    model.__class__ = Doubled


def hook(model: Network) -> None:
    model.backbone.norm.register_forward_hook(lambda _module, _inputs, output: 1.1 * output)


def parametrization(model: Network) -> None:
    class Scaled(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return 1.1 * values

    nn.utils.parametrize.register_parametrization(model.backbone.blocks[0].mlp.fc1, "weight", Scaled())


def own_forward(model: Network) -> None:
    layer = model.task_adapter
    plain = layer.forward
    layer.forward = lambda tokens: 1.1 * plain(tokens)


def known_layer_in_another_place(model: Network) -> None:
    model.task_adapter.down = LoRALinear(16, 8, rank=2)


FOREIGN = [
    (other_lora, "backbone.blocks.0.attn.qkv is a Updated"),
    (other_block, "backbone.blocks.2 is a Louder"),
    (other_network, "Doubled"),
    (hook, "backbone.norm has a forward hook"),
    (parametrization, "backbone.blocks.0.mlp.fc1 is a ParametrizedLinear"),
    (own_forward, "task_adapter has a forward hook"),
    (known_layer_in_another_place, "task_adapter.down is a LoRALinear"),
]


@pytest.mark.parametrize(("change", "reason"), FOREIGN, ids=[change.__name__ for change, _ in FOREIGN])
@torch.no_grad()
def test_what_folding_does_not_know_tracks_as_it_is(
    change: Callable[[Network], None], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    before, model = small().double(), small().double()
    change(model)
    model.double().eval()
    network = tracking_network(model)
    assert isinstance(network, PlainNetwork)
    tracking_network(model)
    said = [record.getMessage() for record in caplog.records if reason in record.getMessage()]
    assert len(said) == 1, "said once"
    assert "times" in said[0]
    images = [crop.double().movedim(-1, 0).unsqueeze(0) / 100 - 1 for crop in (crops(16), crops(32))]
    assert (before(*images)["score_map"] - model(*images)["score_map"]).abs().max() > 1e-6


def test_a_change_that_cannot_be_seen_is_found_on_the_first_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    tracker = Tracker(model)
    monkeypatch.setattr(Network, "fuse", lambda self, tokens, layout: 2 * tokens.chunk(2)[0])
    with pytest.raises(RuntimeError, match="maps differ by"):
        tracker.initialize(frames(1)[0], (30, 20, 14, 12))


def test_weights_that_changed_after_folding_are_found_on_the_first_frame() -> None:
    model = small()
    tracker = Tracker(model)
    with torch.no_grad():
        model.head.score[-1].bias += 1.0
    with pytest.raises(RuntimeError, match="weights have changed"):
        tracker.initialize(frames(1)[0], (30, 20, 14, 12))


@pytest.mark.parametrize(
    ("overrides", "count"),
    [
        (("model.method=bat",), 315_264),
        (("model.method=lora",), 294_912),
        (("model.method=lora", "model.adapters.targets=[q, k, v, proj]"), 589_824),
        (
            ("model.method=lora", f"model.adapters.targets={ALL}", "model.adapters.rank=64"),
            10_616_832,
        ),
        (("model.method=lora", f"model.adapters.targets={ALL}"), 1_327_104),
        (("model.method=lora", f"model.adapters.targets={ALL}", "model.adapters.rank=16"), 2_654_208),
        (("model.method=lora", "model.adapters.layers=[1, 3, 5, 7, 9, 11]"), 147_456),
    ],
    ids=["BAT", "K and V", "attention", "all, rank 64", "all, rank 8", "all, rank 16", "every second block"],
)
def test_as_many_weights_train_as_published(overrides: tuple[str, ...], count: int) -> None:
    assert sum(p.numel() for p in adapter_parameters(at_vit_b(*overrides)).values()) == count


def test_lora_starts_at_zero_and_merges_exactly() -> None:
    torch.manual_seed(0)
    plain, layer = nn.Linear(12, 30).double(), LoRALinear(12, 30, 4, 0.5, slices=3, updated=(0, 2)).double()
    layer.load_state_dict(plain.state_dict(), strict=False)
    tokens = torch.randn(2, 5, 12, dtype=torch.float64)
    assert torch.equal(layer(tokens), plain(tokens))
    nn.init.normal_(layer.lora_b)
    merged = nn.functional.linear(tokens, layer.merged_weight(), layer.bias)
    torch.testing.assert_close(layer(tokens), merged, atol=1e-12, rtol=0)
    changed = (layer(tokens) - plain(tokens)).unflatten(-1, (3, 10)).abs().amax((0, 1, 3))
    assert changed[1] == 0
    assert changed[0] > 0 < changed[2]


def test_lora_as_in_lorat() -> None:
    torch.manual_seed(0)
    model = small(method="lora", adapters={"alpha": 6.0, "rank": 4, "rslora": True, "init": "bert"})
    assert model.backbone.blocks[0].attn.qkv.scale == 3.0
    assert model.reading()["model.adapters.alpha / rank"] == "3.0"
    assert small(method="lora", adapters={"alpha": 6.0, "rank": 4}).reading()["model.adapters.alpha / rank"] == "1.5"
    layer = LoRALinear(768, 768, 64, init="bert")
    tokens = torch.randn(1, 64, 768)
    update = layer(tokens) - nn.functional.linear(tokens, layer.weight, layer.bias)
    assert update.square().mean().sqrt().item() == pytest.approx(0.09, rel=0.1), "not neutral, as counted on LoRAT's"


def test_swapping_the_streams_of_bat_changes_nothing() -> None:
    model = small(method="bat", elimination={"layers": [], "keep_ratio": 1.0}).double()
    images = torch.randn(2, 6, 16, 16).double(), torch.randn(2, 6, 32, 32).double()
    swapped = [torch.cat((image[:, 3:], image[:, :3]), dim=1) for image in images]
    torch.testing.assert_close(model(*images)["score_map"], model(*swapped)["score_map"], atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["bat", "lora", "patrack", "vipt", "sdstrack", "seatrack"])
def test_only_the_method_trains_and_its_file_comes_back(name: str, tmp_path: Path) -> None:
    changes = {"method": name, "elimination": {"layers": [], "keep_ratio": 1.0}}
    if name == "sdstrack":
        changes["adapters"] = {"fusion_layers": [1]}
    model, other = small(**changes), small(**changes)
    chosen = trainable_parameters(model, "adapters")
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD(chosen.values(), lr=0.1)
    images = torch.randn(2, 6, 16, 16), torch.randn(2, 6, 32, 32)
    sum(value.sum() for value in model(*images).values()).backward()
    optimizer.step()
    changed = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}
    assert changed == set(chosen)
    save_adapters(model, tmp_path / "adapters.safetensors")
    load_adapters(other, tmp_path / "adapters.safetensors")
    assert all(torch.equal(model.state_dict()[key], other.state_dict()[key]) for key in adapter_names(model))
    foreign = small(**{**changes, "adapters": {}, "method": "bat" if name != "bat" else "lora"})
    with pytest.raises(WeightsError, match=rf"model.method={name}"):
        load_adapters(foreign, tmp_path / "adapters.safetensors")


def test_another_method_starts_from_its_own_settings() -> None:
    config = load("rgbt_tiny", ["model.adapters.hidden_dim=4", "model.method=bat"])
    assert config.model.adapters.model_dump() == {"hidden_dim": 4, "dropout": 0.1, "layers": None}
    assert load("rgbt_tiny", ["model.method=lora"]).model.adapters.rank == 8


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.method=bta"], "model.method = 'bta': .*patrack, bat, lora"),
        (["model.method=bat", "model.adapters.hiden_dim=4"], r"did you mean model\.adapters\.hidden_dim"),
        (["model.method=bat", "model.adapters.layers=[7]"], r"model.adapters.layers = \[7\]: .* from 0 to 5"),
        (["model.method=lora", "model.adapters.targets=[k, k]"], "must name each part once"),
        (["model.method=lora", "model.adapters.rslora=true"], "needs adapters.alpha"),
    ],
)
def test_wrong_settings_of_a_method_are_named(overrides: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load("rgbt_tiny", overrides)


def test_a_modality_per_sample_reaches_the_blocks() -> None:
    model, seen = small(), []
    for block in model.backbone.blocks:
        block.register_forward_hook(lambda _block, inputs, _output: seen.append(inputs[1].modality))
    number = torch.tensor([2, 0])
    model(torch.randn(2, 6, 16, 16), torch.randn(2, 6, 32, 32), modality=number)
    assert len(seen) == 4
    assert all(torch.equal(item, number) for item in seen)
    with pytest.raises(ValueError, match="one number per sample"):
        model(torch.randn(2, 6, 16, 16), torch.randn(2, 6, 32, 32), modality=torch.tensor([1]))


def test_a_method_may_bring_a_loss_of_its_own() -> None:
    class Extra(METHODS["bat"]):
        def extra_loss(self) -> Tensor:
            return self.backbone.blocks[0].bat1.up.weight.square().mean()

    model = small(method="bat")
    model.__class__ = Extra
    images = torch.randn(2, 6, 16, 16), torch.randn(2, 6, 32, 32)
    assert "extra_loss" not in model(*images)
    output, truth = model.train()(*images), torch.tensor([[0.4, 0.4, 0.2, 0.2]] * 2)
    with_it, _ = tracking_loss(output, truth)
    extra = output.pop("extra_loss")
    torch.testing.assert_close(with_it, tracking_loss(output, truth)[0] + extra)
    assert extra.requires_grad
