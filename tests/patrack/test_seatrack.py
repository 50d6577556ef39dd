"""SEATrack: its release's numbers, and what its parts are without each other."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from patrack import adapter_parameters, build_model
from patrack.config import load
from patrack.config.schema import ModelConfig
from patrack.fused import FusedNetwork
from patrack.methods.lora import LoRALinear
from patrack.methods.seatrack import Experts, GuidedAttention, LowRank, SEATrackBlock
from patrack.network import Network
from patrack.predictor import PlainNetwork, tracking_network
from patrack.vit import Attention, Block, TokenLayout
from small_models import DEEPER_SIZES

OFF = {"enabled": False}
LAYOUT = TokenLayout(4, 8)


def small(keep_ratio: float = 1.0, **adapters: object) -> Network:
    """A small SEATrack in fp64, no weight of which is at its initial value."""
    torch.manual_seed(0)
    settings = {"method": "seatrack", "elimination": {"layers": [1, 3], "keep_ratio": keep_ratio}}
    model = build_model(SimpleNamespace(model=ModelConfig(**DEEPER_SIZES, **settings, adapters=adapters))).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.rand_like(parameter) - 0.1)
        for name, tensor in model.named_parameters():
            if name.endswith("bn.bias"):
                tensor.add_(1.0)
    return model.eval()


def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(2, 6, size, size, generator=generator).double() for size in (16, 32))


def tokens_of_both(channels: int = 16) -> Tensor:
    return torch.randn(4, 16 + 64, channels, generator=torch.Generator().manual_seed(2)).double()


@pytest.mark.parametrize(
    ("overrides", "count"),
    [
        ((), 636_324),
        (("model.adapters.experts.enabled=false",), 147_456 + 12),
        (("model.adapters.lora.enabled=false", "model.adapters.guidance.enabled=false"), 488_856),
        (("model.adapters.experts.enabled=false", "model.adapters.guidance.enabled=false"), 147_456),
        (("model.adapters.layers=[0]",), 636_324 // 6),
    ],
    ids=["all", "LoRA and guidance", "experts", "LoRA", "one block"],
)
def test_as_many_weights_train_as_published(overrides: tuple[str, ...], count: int) -> None:
    with torch.device("meta"):
        model = build_model(load("rgbt_base", ["model.method=seatrack", *overrides]))
    assert sum(parameter.numel() for parameter in adapter_parameters(model).values()) == count


def test_every_second_block_is_changed() -> None:
    kinds = [type(block) for block in small().backbone.blocks]
    assert kinds == [Block, SEATrackBlock, Block, SEATrackBlock]
    assert [type(block) for block in small(layers=[0]).backbone.blocks] == [SEATrackBlock, Block, Block, Block]


@torch.no_grad()
def test_without_its_parts_it_is_two_streams_summed() -> None:
    model, (template, search) = small(experts=OFF), images()
    for module in model.modules():
        if isinstance(module, GuidedAttention):
            module.guidance_rgb.zero_(), module.guidance_x.zero_()
        if isinstance(module, LoRALinear):
            module.lora_b.zero_()
    single = Network(model.config.model_copy(update={"streams": "rgb"})).double().eval()
    single.load_state_dict({name: model.state_dict()[name] for name in single.state_dict()})
    apart = [single(template[:, part], search[:, part], True)["features"] for part in (slice(3), slice(3, 6))]
    together = model(template, search, True)["features"]
    torch.testing.assert_close(together, sum(apart), atol=1e-12, rtol=0)
    for module in model.modules():
        if isinstance(module, GuidedAttention):
            module.guidance_rgb.fill_(0.1)
    assert (model(template, search, True)["features"] - together).abs().max() > 1e-4


def attention_maps(attention: Attention, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (2B, heads, N, N) and values (2B, heads, N, d), written out."""
    q, k, v = attention.qkv(tokens).chunk(3, dim=2)
    heads = [part.unflatten(2, (attention.num_heads, -1)).transpose(1, 2) for part in (q, k, v)]
    return torch.einsum("rhnd,rhmd->rhnm", heads[0], heads[1]) / heads[0].shape[-1] ** 0.5, heads[2]


@pytest.mark.parametrize(("rgb", "x"), [(1.0, 1.0), (0.0, 0.0), (0.3, -0.6)], ids=["exchanged", "own", "guided"])
@torch.no_grad()
def test_the_streams_guide_each_other_s_maps(rgb: float, x: float) -> None:
    attention, tokens = GuidedAttention(16, 2).double(), tokens_of_both()
    attention.guidance_rgb.fill_(rgb), attention.guidance_x.fill_(x)
    logits, values = attention_maps(attention, tokens)
    if rgb == x == 1.0:  # stated otherwise: softmaxes are exchanged
        maps = torch.cat((logits[2:].softmax(3), logits[:2].softmax(3)))
    else:
        guided = logits[:2] + rgb * (logits[2:] - logits[:2]), logits[2:] + x * (logits[:2] - logits[2:])
        maps = torch.cat(guided).softmax(3)
    expected = attention.proj((maps @ values).transpose(1, 2).flatten(2))
    out, row = attention(tokens, LAYOUT, with_row=True)
    torch.testing.assert_close(out, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(
        row, maps[:, :, 5].mean(1).float(), atol=1e-6, rtol=0
    )  # center of 4 x 4: row 1, column 1
    assert attention(tokens, LAYOUT)[1] is None


@torch.no_grad()
def test_experts_mix_both_streams_as_defined() -> None:
    torch.manual_seed(0)
    experts, tokens = Experts(16, 3, slots=2).double(), tokens_of_both()
    experts.dispatch_temperature.fill_(0.7), experts.combine_temperature.fill_(1.6)
    out = experts.eval()(tokens, LAYOUT)

    def affine(layer: LowRank, vector: Tensor, pair: int | None = None) -> Tensor:
        down, a, up, b = (
            part if pair is None else part[pair] for part in (layer.down, layer.down_bias, layer.up, layer.up_bias)
        )
        return (vector @ down + a) @ up + b

    for first, last in ((0, 16), (16, 80)):
        for sample in range(2):
            seen = torch.cat((tokens[sample, first:last], tokens[sample + 2, first:last]))
            reduced = affine(experts.reduce, nn.functional.layer_norm(seen, (16,), eps=1e-5))
            halves = torch.cat((reduced[:, :8], reduced[:, 8:]))
            logits = halves @ experts.gate  # of expert 0's slots, then of expert 1's, ...
            answers = []
            for expert in range(3):
                weights = [(logits[:, 2 * expert + slot] / 0.7).softmax(0) for slot in range(2)]
                read = [affine(experts.experts, weight @ halves, expert) for weight in weights]
                answers.append(affine(experts.expand, torch.cat(read)))
            liking = [logits[:, 2 * expert : 2 * expert + 2].sum(1).view(2, -1).sum(0) for expert in range(3)]
            share = (torch.stack(liking, dim=1) / 1.6).softmax(1)
            got = torch.cat((out[sample, first:last], out[sample + 2, first:last]))
            torch.testing.assert_close(got, share @ torch.stack(answers), atol=1e-12, rtol=0)


@torch.no_grad()
def test_swapping_the_streams_changes_nothing_while_they_guide_alike() -> None:
    model = small()
    attentions = [module for module in model.modules() if isinstance(module, GuidedAttention)]
    for module in attentions:
        module.guidance_x.copy_(module.guidance_rgb)
    swapped = [torch.cat((image[:, 3:], image[:, :3]), dim=1) for image in images()]
    features = model(*images(), True)["features"]
    torch.testing.assert_close(features, model(*swapped, True)["features"], atol=1e-12, rtol=0)
    attentions[0].guidance_x.add_(0.1)
    assert (model(*images(), True)["features"] - model(*swapped, True)["features"]).abs().max() > 1e-6


@torch.no_grad()
def test_its_updates_merge_exactly() -> None:
    layer = small().backbone.blocks[1].attn.qkv
    assert isinstance(layer, LoRALinear)
    tokens = tokens_of_both()
    merged = nn.functional.linear(tokens, layer.merged_weight(), layer.bias)
    torch.testing.assert_close(layer(tokens), merged, atol=1e-12, rtol=0)
    plain = nn.functional.linear(tokens, layer.weight, layer.bias)
    changed = (layer(tokens) - plain).unflatten(-1, (3, 16)).abs().amax((0, 1, 3))
    assert changed[0] == 0, "queries are not updated"
    assert changed[1] > 1e-3 < changed[2]


def test_initial_values_are_the_release_s() -> None:
    torch.manual_seed(0)
    with_defaults = ModelConfig(embed_dim=128, depth=2, num_heads=4, method="seatrack")
    block = build_model(SimpleNamespace(model=with_defaults)).backbone.blocks[1]
    assert block.attn.guidance_rgb.item() == block.attn.guidance_x.item() == 1.0
    assert not block.attn.qkv.lora_b.any()
    assert block.attn.qkv.lora_a.std().item() == pytest.approx((4 / (16 + 128)) ** 0.5, rel=0.1)
    experts = block.mlp_experts
    assert experts.dispatch_temperature.item() == experts.combine_temperature.item() == 1.0
    assert experts.gate.std().item() == pytest.approx(1 / 8, rel=0.1)
    assert experts.reduce.down.std().item() == pytest.approx((4 / (4 + 128)) ** 0.5, rel=0.15)
    for bias in (experts.reduce.down_bias, experts.expand.up_bias):
        assert 0 < bias.abs().max() <= 128**-0.5
    assert experts.experts.up_bias.std().item() == pytest.approx((4 / (8 + 64)) ** 0.5, rel=0.1)


def test_dropout_acts_in_training_only() -> None:
    model = small(lora={"dropout": 1.0}, experts={"dropout": 1.0})
    model.requires_grad_(False)
    tokens, attention, experts = tokens_of_both(), model.backbone.blocks[1].attn, model.backbone.blocks[1].mlp_experts
    updated, mixed = attention.qkv(tokens), experts(tokens, LAYOUT)
    model.train()
    torch.testing.assert_close(attention.qkv(tokens), nn.Linear.forward(attention.qkv, tokens), atol=0, rtol=0)
    assert not experts(tokens, LAYOUT).any()
    assert not torch.equal(updated, attention.qkv(tokens))
    assert mixed.any()


@pytest.mark.parametrize("keep_ratio", [1.0, 0.7])
@torch.no_grad()
def test_it_tracks_as_it_was_trained_with_and_without_elimination(keep_ratio: float) -> None:
    model, layouts = small(keep_ratio), []
    generator = torch.Generator().manual_seed(0)
    template, search = (torch.randint(0, 256, (1, s, s, 6), dtype=torch.uint8, generator=generator) for s in (16, 32))
    folded, plain = tracking_network(model), PlainNetwork(model)
    assert isinstance(folded, FusedNetwork)
    outputs = [network(network.embed_template(template), search) for network in (folded, plain)]
    torch.testing.assert_close(outputs[0]["score_map"], outputs[1]["score_map"], atol=1e-6, rtol=0)
    for block in model.backbone.blocks:
        block.register_forward_hook(lambda _block, _inputs, output: layouts.append(output[1].num_search))
    plain(plain.embed_template(template), search)
    assert layouts == ([64, 64, 64, 64] if keep_ratio == 1.0 else [64, 45, 45, 32])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.adapters.layers=[7]", r"model.adapters.layers = \[7\]: .* from 0 to 5"),
        ("model.adapters.experts.slots=3", r"slots = 3: must divide model.embed_dim \(128\)"),
        ("model.adapters.lora.rank=0", "model.adapters.lora.rank = 0"),
        ("model.adapters.hidden_dim=8", "model.adapters.hidden_dim"),
        ("model.depth=1", "there is no second block"),
    ],
)
def test_wrong_settings_are_named(override: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load("rgbt_tiny", ["model.method=seatrack", override])
