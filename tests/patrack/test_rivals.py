"""The rivals against their releases' numbers, and what each must be equal to when a part of it is taken out."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from parity_recipe import named_randn, weight
from patrack import adapter_parameters, build_model, freeze_batchnorm, tracking_loss, trainable_parameters
from patrack.config import load
from patrack.methods import METHODS
from patrack.methods.sdstrack import DISTANCE_WEIGHT, FULL_WEIGHT, MASKED_WEIGHT
from patrack.network import Network
from patrack.tensorfiles import write_tensors
from patrack.vit import Block
from patrack.weights import (
    WeightsError,
    load_base_model,
    load_checkpoint,
    load_published,
    published_names,
    save_base_model,
)
from rivals_impl import Impl
from small_networks import at_vit_b, images, small

REFERENCE = Path(os.environ.get("PATRACK_REFERENCE", Path(__file__).resolve().parents[3] / "shared" / "reference"))
GOLDEN = {"bat": "bat_keep1", "vipt": "vipt_keep1.0", "sds": "sds_keep1.0", "sea": "sea_keep1"}
KEEPS_ALL = {"elimination": {"layers": [], "keep_ratio": 1.0}}
UNUSED_OF_SDS = 4_733_952


@pytest.mark.slow
@pytest.mark.skipif(not (REFERENCE / "rivals").is_dir(), reason=f"the rivals' reference numbers are not at {REFERENCE}")
@pytest.mark.parametrize("name", GOLDEN)
def test_a_rival_computes_what_its_release_computes(name: str) -> None:
    golden = json.loads((REFERENCE / "rivals" / f"{GOLDEN[name]}.json").read_text(encoding="utf-8"))
    rival = Impl(name, golden["keep"])
    rival.load(weight)
    trained, shapes = adapter_parameters(rival.model), rival.published_shapes()
    ours = {theirs: list(shapes[theirs]) for own, theirs in published_names(rival.model).items() if own in trained}
    unused = "_X_X_DTE_Adapter." if name == "sds" else "-"  # built in every block there, used in four of them
    wanted = {key: shape for key, shape in golden["trainable_names_shapes"].items() if key in ours or unused not in key}
    assert ours == wanted
    left_out = golden["trainable_names_shapes"].keys() - wanted.keys()
    count = sum(p.numel() for p in trained.values())
    assert count == golden["params_trainable"] - (UNUSED_OF_SDS if name == "sds" else 0)
    assert sum(math.prod(golden["trainable_names_shapes"][key]) for key in left_out) == (
        UNUSED_OF_SDS if name == "sds" else 0
    )

    template, search = (
        torch.cat([named_randn(f"input.{what}.{stream}", (1, 3, size, size)) for stream in ("rgb", "x")], dim=1)
        for what, size in (("template", 128), ("search", 256))
    )
    output = rival.forward(template, search)
    for key, numbers in golden["outputs"].items():
        got = output[key].flatten()
        assert list(output[key].shape) in (numbers["shape"], numbers["shape"][:1] + numbers["shape"][2:]), key
        values = torch.tensor(numbers["values"], dtype=torch.float64)
        torch.testing.assert_close(got[numbers["positions"]], values, atol=1e-9, rtol=1e-9)
        assert got.mean().item() == pytest.approx(numbers["mean"], abs=1e-9)


@pytest.mark.parametrize(
    ("overrides", "count"),
    [
        (["model.method=vipt"], 839_628),
        (["model.method=vipt", "model.adapters.depth=shaw"], 611_345),
        (["model.method=sdstrack"], 10_060_032),
        (["model.method=sdstrack", "model.adapters.fusion_layers=[0,1,2,3,4,5,6,7,8,9,10,11]"], 14_793_984),
        (["model.method=none"], 0),
    ],
    ids=["ViPT-deep", "ViPT-shaw", "SDSTrack", "SDSTrack as released", "none"],
)
def test_as_many_weights_train_as_published(overrides: list[str], count: int) -> None:
    assert sum(p.numel() for p in adapter_parameters(at_vit_b(*overrides)).values()) == count


def test_full_fine_tuning_trains_all_but_what_the_base_model_never_reads() -> None:
    model = at_vit_b("model.method=none")
    class_token, position = 768, 197 * 768
    count = sum(p.numel() for p in trainable_parameters(model, "all").values())
    assert count + class_token + position == 92_518_533


# ---- What each is equal to without a part of it


def alone(model: Network, streams: str) -> Network:
    """The plain network of one stream with the same base model."""
    plain = small(method="none", streams=streams, elimination=model.config.elimination.model_dump()).double()
    plain.load_state_dict({name: model.state_dict()[name] for name in plain.state_dict()})
    return plain


@torch.no_grad()
def test_bat_with_adapters_of_zero_is_the_sum_of_both_streams() -> None:
    model = small(method="bat", fusion="sum", **KEEPS_ALL).double()
    for name, parameter in adapter_parameters(model).items():
        if ".up." in name:
            nn.init.zeros_(parameter)
    both = [alone(model, stream)(*images(), return_features=True)["features"] for stream in ("rgb", "x")]
    summed = model(*images(), return_features=True)["features"]
    torch.testing.assert_close(summed, both[0] + both[1], atol=1e-12, rtol=0)


@pytest.mark.parametrize("elimination", [{"layers": [1], "keep_ratio": 0.7}, {"layers": [], "keep_ratio": 1.0}])
@torch.no_grad()
def test_vipt_without_prompts_is_rgb_alone(elimination: dict) -> None:
    model = small(method="vipt", elimination=elimination).double()
    for block in model.prompt_blocks:
        nn.init.zeros_(block.up.weight)
        nn.init.zeros_(block.up.bias)
    plain, prompted = alone(model, "rgb")(*images()), model(*images())
    torch.testing.assert_close(prompted["score_map"], plain["score_map"], atol=0, rtol=0)
    nn.init.ones_(model.prompt_blocks[2].up.bias)
    assert not torch.equal(model(*images())["score_map"], plain["score_map"])


@torch.no_grad()
def test_a_prompt_is_made_on_the_full_grid() -> None:
    model, seen = small(method="vipt").double(), []
    for block in model.prompt_blocks:
        block.register_forward_hook(lambda _block, inputs, output: seen.append((inputs[0], output)))
    output = model(*images(), return_features=True)["features"]
    assert [prompt.shape for _, prompt in seen] == [output.shape] * 4  # template 4 x 4, search 8 x 8
    gone = (output == 0).all(dim=2)
    assert gone.sum(dim=1).tolist() == [64 - math.ceil(0.7 * 64)] * 2
    assert torch.equal(seen[-1][0][gone], model.prompt_norms[2].bias.expand_as(seen[-1][0][gone]))  # of zeros
    assert seen[-1][1][gone].abs().min() > 0


@torch.no_grad()
def test_rgb_of_sdstrack_is_the_base_model_until_the_streams_meet() -> None:
    model, taps = small(method="sdstrack", adapters={"fusion_layers": [2]}).double(), {}
    plain = alone(model, "rgb")
    for name, network in (("both", model), ("rgb", plain)):
        for i, block in enumerate(network.backbone.blocks):
            block.register_forward_hook(lambda _b, _i, out, key=(name, i): taps.update({key: out}))
        network(*images())
    for i in (0, 1):
        torch.testing.assert_close(taps["both", i][0].chunk(2)[0], taps["rgb", i][0], atol=1e-12, rtol=0)
        if i == 1:  # each stream has eliminated its own candidates
            kept_rgb, kept_x = taps["both", i][1].kept.chunk(2)
            assert torch.equal(kept_rgb, taps["rgb", i][1].kept)
            assert not torch.equal(kept_rgb, kept_x)
    assert (taps["both", 2][0].chunk(2)[0] - taps["rgb", 2][0]).abs().max() > 1e-3


@torch.no_grad()
def test_where_the_streams_meet_a_token_sees_only_the_other_one() -> None:
    model = small(method="sdstrack", adapters={"fusion_layers": [1]}).double()
    block, tokens = model.backbone.blocks[1], torch.randn(2, 20, 16, dtype=torch.float64)
    # the same attention over both streams' tokens in one sequence, with a mask
    normed = block.norm1(torch.cat((tokens[:1], tokens[1:]), dim=1))
    q, k, v = block.attn.qkv(normed).unflatten(2, (3, 2, 8)).permute(2, 0, 3, 1, 4)
    logits = q @ k.transpose(2, 3) / 8**0.5
    same = torch.block_diag(torch.ones(20, 20), torch.ones(20, 20)).bool()
    attended = logits.masked_fill(same, -math.inf).softmax(dim=3) @ v
    attended = block.attn.proj(attended.transpose(1, 2).flatten(2))
    out = torch.cat((tokens[:1], tokens[1:]), dim=1) + attended + block.both_attention(attended)
    normed = block.norm2(out)
    out = out + block.mlp(normed) + 0.5 * block.both_mlp(normed)
    torch.testing.assert_close(block.meet(tokens), torch.cat(out.chunk(2, dim=1)), atol=1e-12, rtol=0)


# ---- Eliminated candidates, with the bookkeeping of the releases: tokens in the order of their attention, and an index


class Kept:
    """One stream's tokens (B, N, C) behind template tokens of a 4 x 4 grid, and the places of its search tokens."""

    def __init__(self, tokens: Tensor) -> None:
        self.tokens, self.index = tokens, torch.arange(64).expand(len(tokens), -1)

    def attend(self, block: Block, keep: float) -> Tensor:
        """Attention of the block; what the template's center attends to least is gone behind `advance`."""
        q, k, v = block.attn.qkv(block.norm1(self.tokens)).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        maps = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(dim=3)
        row = maps[:, :, 5, 16:].mean(dim=1)  # center of 4 x 4: row 1, column 1
        self.order = row.argsort(dim=1, descending=True)[:, : math.ceil(keep * row.shape[1])]
        return block.attn.proj((maps @ v).transpose(1, 2).flatten(2))

    def advance(self, branch: Tensor) -> None:
        """Add attention's branch, then eliminate."""
        out = self.tokens + branch
        search = out[:, 16:].gather(1, self.order.unsqueeze(2).expand(-1, -1, 16))
        self.tokens, self.index = torch.cat((out[:, :16], search), dim=1), self.index.gather(1, self.order)

    def full(self, tokens: Tensor | None = None) -> Tensor:
        """Tokens on the full grids, zeros where they are gone."""
        tokens = self.tokens if tokens is None else tokens
        search = torch.zeros(len(tokens), 64, 16, dtype=tokens.dtype)
        search.scatter_(1, self.index.unsqueeze(2).expand(-1, -1, 16), tokens[:, 16:])
        return torch.cat((tokens[:, :16], search), dim=1)

    def take(self, full: Tensor) -> Tensor:
        """Of the full grids, the tokens that are still there."""
        return torch.cat((full[:, :16], full[:, 16:].gather(1, self.index.unsqueeze(2).expand(-1, -1, 16))), dim=1)


ELIMINATION = {"layers": [1, 2], "keep_ratio": 0.7}


def patches(embedding: nn.Module, template: Tensor, search: Tensor) -> Tensor:
    return torch.cat((embedding(template), embedding(search)), dim=1)


@torch.no_grad()
def test_vipt_eliminates_as_its_release() -> None:
    model, (template, search) = small(method="vipt", elimination=ELIMINATION).double(), images()
    backbone, norms, layout = model.backbone, model.prompt_norms, model.layout()
    rgb = patches(backbone.patch_embed, template[:, :3], search[:, :3])
    x = patches(model.x_patch_embed, template[:, 3:], search[:, 3:])
    prompt = model.prompt_blocks[0](norms[0](rgb), norms[0](x), layout)
    stream = Kept(rgb + prompt + torch.cat((backbone.pos_embed_z, backbone.pos_embed_x), dim=1))
    for i, block in enumerate(backbone.blocks):
        if i:
            prompt = model.prompt_blocks[i](norms[i - 1](stream.full()), norms[i](prompt), layout)
            stream.tokens = stream.tokens + stream.take(prompt)
        stream.advance(stream.attend(block, 0.7 if i in (1, 2) else 1.0))
        stream.tokens = stream.tokens + block.mlp(block.norm2(stream.tokens))
    expected = stream.full(backbone.norm(stream.tokens))
    got = model(template, search, return_features=True)["features"]
    torch.testing.assert_close(got, expected, atol=1e-10, rtol=0)


@torch.no_grad()
def test_sdstrack_eliminates_as_its_release() -> None:
    settings = {"method": "sdstrack", "fusion": "mean", "adapters": {"fusion_layers": [1, 3]}}
    model, (template, search) = small(**settings, elimination=ELIMINATION).double(), images()
    position = torch.cat((model.backbone.pos_embed_z, model.backbone.pos_embed_x), dim=1)
    rgb = Kept(patches(model.backbone.patch_embed, template[:, :3], search[:, :3]) + position)
    x = Kept(patches(model.x_patch_embed, template[:, 3:], search[:, 3:]) + position)
    for i, block in enumerate(model.backbone.blocks):
        keep = 0.7 if i in (1, 2) else 1.0
        rgb.advance(rgb.attend(block, keep))
        attended = x.attend(block, keep)
        x.advance(attended + block.x_attention(attended))
        rgb.tokens = rgb.tokens + block.mlp(block.norm2(rgb.tokens))
        normed = block.norm2(x.tokens)
        x.tokens = x.tokens + block.mlp(normed) + 0.5 * block.x_mlp(normed)
        if i in (1, 3):
            rgb.tokens, x.tokens = block.meet(torch.cat((rgb.tokens, x.tokens))).chunk(2)
    assert not torch.equal(rgb.index.sort().values, x.index.sort().values)
    expected = model.fusion_norm((rgb.full() + x.full()) / 2)
    got = model(template, search, return_features=True)["features"]
    torch.testing.assert_close(got, expected, atol=1e-10, rtol=0)


# ---- Training


def test_sdstrack_trains_with_a_masked_copy() -> None:
    model = small(method="sdstrack", adapters={"fusion_layers": [1, 3]}, drop_path=0.0, **KEEPS_ALL)
    freeze_batchnorm(model.train())
    truth = torch.tensor([[0.4, 0.4, 0.2, 0.2]] * 2)
    torch.manual_seed(3)
    output = model(*images(torch.float32))
    model.eval()
    with torch.no_grad():
        whole = model(*images(torch.float32))
    for key, value in whole.items():
        torch.testing.assert_close(output[key], value, atol=1e-5, rtol=1e-5)
    assert (output["masked"]["score_map"] - whole["score_map"]).abs().max() > 1e-3

    def loss(maps: dict) -> tuple[Tensor, dict[str, Tensor]]:
        return tracking_loss(maps, truth)

    total, terms = model.training_loss(dict(output), loss)
    distance = output.pop("extra_loss") * FULL_WEIGHT / DISTANCE_WEIGHT
    full, masked = loss(output)[0], loss(output["masked"])[0]
    torch.testing.assert_close(total, FULL_WEIGHT * full + MASKED_WEIGHT * masked + DISTANCE_WEIGHT * distance)
    assert terms["focal"] == loss(output)[1]["focal"]
    trainable_parameters(model.train(), "adapters")
    model.training_loss(model(*images(torch.float32)), loss)[0].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in adapter_parameters(model).values())
    undistilled = small(method="sdstrack", adapters={"fusion_layers": [1], "distill": False}).train()
    assert "masked" not in undistilled(*images(torch.float32))


def test_sdstrack_starts_from_the_base_models_embedding_and_norm(tmp_path: Path) -> None:
    source, model = small(method="none", streams="rgb"), small(method="sdstrack", adapters={"fusion_layers": [1]})
    save_base_model(source, tmp_path / "base.safetensors", half=False)
    load_base_model(model, tmp_path / "base.safetensors")
    state = model.state_dict()
    for ours, base in model.starts_as().items():
        assert torch.equal(state[ours], source.state_dict()[base])
        assert ours in adapter_parameters(model)
    assert {model.rate_of(name) for name in adapter_parameters(model)} == {0.1, 1.0}


# ---- Files


@pytest.mark.parametrize("name", ["bat", "vipt", "sdstrack", "seatrack", "patrack"])
def test_a_file_of_a_release_is_known_and_only_its_method_takes_it(name: str, tmp_path: Path) -> None:
    settings = {"fusion": "sum", "method": name, **KEEPS_ALL}
    if name == "sdstrack":
        settings["adapters"] = {"fusion_layers": [1]}
    source, model = small(**settings), small(**settings)
    tensors = {theirs: source.state_dict()[ours] for ours, theirs in published_names(source).items()}
    write_tensors(tensors, tmp_path / "release.safetensors", {})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert load_checkpoint(model, tmp_path / "release.safetensors") == "published"
    assert all(
        torch.equal(model.state_dict()[ours], tensors[theirs]) for ours, theirs in published_names(model).items()
    )
    other = "vipt" if name == "bat" else "bat"
    with pytest.raises(WeightsError, match=f"release of {name}, the model's method is {other}"):
        load_published(small(method=other, fusion="sum"), tensors)


def test_every_method_of_a_release_has_a_mark_of_its_own() -> None:
    marks = {name: method.PUBLISHED_MARK for name, method in METHODS.items() if method.PUBLISHED_NAMES}
    for name, mark in marks.items():
        adapters = [] if name != "sdstrack" else ["model.adapters.fusion_layers=[3]"]
        names = published_names(build_model(load("rgbt_tiny", [f"model.method={name}", *adapters]))).values()
        assert [method for method, other in marks.items() if any(other in n for n in names)] == [name], mark
