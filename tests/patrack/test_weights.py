"""Our own weights formats and the release's: read, written, refused."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file

from patrack import weights as w
from patrack.tensorfiles import write_tensors
from patrack.weights import WeightsError
from small_models import ADAPTERS
from weights_files import base_model_names, make, published, same, state

# --- published weights


NAMES = {
    "backbone.patch_embed.proj.weight": "backbone.patch_embed.proj.weight",
    "backbone.pos_embed_z": "backbone.pos_embed_z",
    "backbone.blocks.0.attn.qkv.bias": "backbone.blocks.0.attn.qkv.bias",
    "backbone.blocks.0.norm1.weight": "backbone.blocks.0.norm1.weight",
    "backbone.blocks.0.mda1.reduce.weight": "backbone.blocks.0.adap_t.D_fc1.weight",
    "backbone.blocks.0.mda1.high_expand.weight": "backbone.blocks.0.adap_t.high_mixer.conv1.weight",
    "backbone.blocks.0.mda2.high_depthwise.weight": "backbone.blocks.0.adap2_t.high_mixer.proj1.weight",
    "backbone.blocks.0.mda2.high_pool.bias": "backbone.blocks.0.adap2_t.high_mixer.proj2.bias",
    "backbone.blocks.0.mda1.fuse_depthwise.weight": "backbone.blocks.0.adap_t.conv_fuse.weight",
    "backbone.blocks.0.mda1.expand.bias": "backbone.blocks.0.adap_t.proj.bias",
    "backbone.blocks.1.cea1.down.weight": "backbone.blocks.1.highfuseadapter1.down.weight",
    "backbone.blocks.1.cea1.shared.weight": "backbone.blocks.1.highfuseadapter1.obj_fuse.linearcat.weight",
    "backbone.blocks.1.cea1.rgb_match.weight": "backbone.blocks.1.highfuseadapter1.obj_fuse.linear1.weight",
    "backbone.blocks.1.cea2.rgb_value.weight": "backbone.blocks.1.highfuseadapter2.obj_fuse.linear2.weight",
    "backbone.blocks.1.cea2.x_match.weight": "backbone.blocks.1.highfuseadapter2.obj_fuse.linear3.weight",
    "backbone.blocks.1.cea2.x_value.weight": "backbone.blocks.1.highfuseadapter2.obj_fuse.linear4.weight",
    "backbone.blocks.1.cea2.up.weight": "backbone.blocks.1.highfuseadapter2.up.weight",
    "backbone.blocks.1.cea_norm1.weight": "backbone.blocks.1.norml1.weight",
    "task_adapter.mid.bias": "adapter_head.adapter_mid.bias",
    "head.score.0.conv.weight": "box_head.conv1_ctr.0.weight",
    "head.size.3.bn.running_var": "box_head.conv4_size.1.running_var",
    "head.offset.4.bias": "box_head.conv5_offset.bias",
}


def test_names_of_the_release():
    names = w.published_names(make())
    assert {ours: names[ours] for ours in NAMES} == NAMES
    assert len(set(names.values())) == len(names)


def test_published_weights_fill_the_whole_model():
    source, model = make(1), make(2)
    w.load_published(model, published(source))
    assert same(state(model), state(source))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        pytest.param({"backbone.norm.bias": None}, "1 missing:\n    backbone.norm.bias", id="missing"),
        pytest.param({"surprise.weight": torch.ones(1)}, "1 unexpected:\n    surprise.weight", id="unexpected"),
        pytest.param(
            {"backbone.norm.bias": torch.ones(9)},
            r"another shape:\n .*norm\.bias \(9,\), .*\(8,\)",
            id="another-shape",
        ),
        pytest.param(
            {"backbone.norm.bias": torch.full((8,), float("nan"))}, "1 not finite .*:\n    backbone.norm.bias", id="nan"
        ),
        pytest.param(
            {"backbone.norm.bias": torch.full((8,), float("inf"))}, "1 not finite .*:\n    backbone.norm.bias", id="inf"
        ),
        pytest.param(
            {"backbone.blocks.0.adap_t.extra": torch.ones(1)}, "unexpected:\n .*adap_t.extra", id="in-a-live-adapter"
        ),
    ],
)
def test_published_weights_that_do_not_fit_change_nothing(change, complaint):
    model = make(2)
    before = state(model)
    tensors = {k: v for k, v in (published(make(1)) | change).items() if v is not None}
    with pytest.raises(WeightsError, match=complaint):
        w.load_published(model, tensors)
    assert same(state(model), before)


def test_one_error_lists_everything_that_is_wrong():
    tensors = published(make(1))
    del tensors["backbone.norm.bias"], tensors["box_head.conv5_ctr.bias"]
    tensors |= {"surprise": torch.ones(1), "backbone.norm.weight": torch.ones(3)}
    with pytest.raises(WeightsError) as caught:
        w.load_published(make(2), tensors)
    assert all(
        part in str(caught.value)
        for part in (
            "2 missing",
            "backbone.norm.bias",
            "conv5_ctr.bias",
            "1 unexpected",
            "surprise",
            "1 of another shape",
        )
    )


def test_published_weights_do_not_fit_a_gated_model():
    gated = make(2, adapters=ADAPTERS | {"init": "neutral"})
    with pytest.raises(WeightsError, match=r"adapters\.init=published .*has neutral"):
        w.load_published(gated, published(make(1)))


# --- base model files


@pytest.mark.parametrize("half", [True, False], ids=["half", "full-precision"])
def test_base_model_is_saved_and_loaded_and_adapters_stay(tmp_path, half):
    source, model = make(1), make(2)
    before = state(model)
    w.save_base_model(source, tmp_path / "f.safetensors", half=half)
    w.load_base_model(model, tmp_path / "f.safetensors")
    names = base_model_names(model)
    wanted = {n: t.half().float() if half and t.is_floating_point() else t for n, t in state(source).items()}
    assert same(state(model), wanted, names)
    assert same(state(model), before, [name for name in before if name not in names])
    assert all(tensor.dtype != torch.float16 for tensor in state(model).values())


def test_hash_survives_saving_what_was_loaded_from_a_half_precision_file(tmp_path):
    model, again = make(1), make(2)
    w.save_base_model(model, tmp_path / "a.safetensors")
    assert w.load_base_model(again, tmp_path / "a.safetensors")["format"] == "patrack-base-model"
    first = w.base_model_hash(again)
    w.save_base_model(again, tmp_path / "b.safetensors")
    w.load_base_model(model, tmp_path / "b.safetensors")
    assert w.base_model_hash(model) == first
    assert w.base_model_hash(model.half()) == first
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("backbone.norm.bias", True),
        ("head.size.0.bn.running_mean", True),
        ("head.size.0.bn.num_batches_tracked", True),
        ("backbone.blocks.0.mda1.expand.bias", False),
        ("backbone.blocks.1.cea_norm1.weight", False),
        ("task_adapter.up.bias", False),
    ],
)
def test_base_model_hash_covers_the_base_model_only(name, changes):
    model = make(1)
    before, whole = w.base_model_hash(model), w.model_hash(model)
    with torch.no_grad():
        model.state_dict()[name].add_(1)
    assert (w.base_model_hash(model) != before) == changes
    assert w.model_hash(model) != whole


def test_base_model_hash_does_not_depend_on_the_adapters_built():
    model = make(1)
    alone = make(2, streams="rgb")
    alone.load_state_dict({name: model.state_dict()[name] for name in alone.state_dict()})
    assert w.base_model_hash(alone) == w.base_model_hash(model)


# --- adapter files


def test_adapters_are_saved_and_loaded_bit_equal(tmp_path):
    source = make(1)
    model = make(2)
    model.load_state_dict({n: t for n, t in state(source).items() if n in base_model_names(source)}, strict=False)
    w.save_adapters(source, tmp_path / "a.safetensors", {"modality": "rgbt", "config": json.dumps({"lr": 1})})
    metadata = w.load_adapters(model, tmp_path / "a.safetensors")
    assert same(state(model), state(source))
    assert metadata["modality"] == "rgbt"
    assert metadata["base_model_sha256"] == w.base_model_hash(source)
    assert not any(name in base_model_names(source) for name in load_file(tmp_path / "a.safetensors"))


def test_adapters_of_another_base_model_are_refused(tmp_path):
    w.save_adapters(make(1), tmp_path / "a.safetensors")
    model = make(2)
    before = state(model)
    with pytest.raises(WeightsError, match=r"another base model: .*SHA-256 [0-9a-f]{16}"):
        w.load_adapters(model, tmp_path / "a.safetensors")
    assert same(state(model), before)


def test_adapters_of_another_size_are_refused_with_a_list(tmp_path):
    w.save_adapters(make(1), tmp_path / "a.safetensors")
    other = make(1, adapters=ADAPTERS | {"task": {"hidden_dim": 8}})
    with pytest.raises(WeightsError, match=r"task_adapter\.down.* \(4, 8\), .*\(8, 8\)"):
        w.load_adapters(other, tmp_path / "a.safetensors")


def test_adapters_of_other_families_are_refused(tmp_path):
    w.save_adapters(make(1), tmp_path / "a.safetensors")
    other = make(1, adapters=ADAPTERS | {"mda": {"enabled": False}})
    with pytest.raises(WeightsError, match=r"unexpected:\n    backbone.blocks.0.mda1"):
        w.load_adapters(other, tmp_path / "a.safetensors")


def test_model_without_adapters_neither_saves_nor_loads_them(tmp_path):
    w.save_adapters(make(1), tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="the model has none"):
        w.load_adapters(make(1, streams="rgb"), tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="no adapters to save"):
        w.save_adapters(make(1, streams="rgb"), tmp_path / "b.safetensors")


def test_metadata_can_not_replace_the_base_model_hash(tmp_path):
    with pytest.raises(ValueError, match="base_model_sha256"):
        w.save_adapters(make(1), tmp_path / "a.safetensors", {"base_model_sha256": "0"})


# --- writing


@pytest.mark.parametrize("value", [float("nan"), 1e6], ids=["nan", "too-large-for-16-bits"])
def test_values_that_are_not_finite_are_not_written(tmp_path, value):
    model = make(1)
    with torch.no_grad():
        model.backbone.norm.bias[0] = value
    with pytest.raises(WeightsError, match=r"not finite .*:\n    backbone.norm.bias"):
        w.save_base_model(model, tmp_path / "f.safetensors", half=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError], ids=["ctrl-c", "disk-full"])
def test_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch, error):
    path = tmp_path / "f.safetensors"
    w.save_base_model(make(1), path)
    before = path.read_bytes()

    def interrupted(_):
        raise error

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(error):
        w.save_base_model(make(2), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_folder_that_can_not_be_written_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        w.save_base_model(make(1), tmp_path / "file" / "f.safetensors")


@pytest.mark.parametrize("key", ["config", "reading"])
@pytest.mark.parametrize("text", ["{", "[]", "null", "[" * 9999])
def test_entry_of_a_header_that_is_no_json_object_is_named(tmp_path, key, text):
    path = tmp_path / "m.safetensors"
    write_tensors({"head.score.0.conv.weight": torch.ones(1)}, path, {"format": "patrack-model", key: text})
    with pytest.raises(WeightsError, match=rf"m\.safetensors: '{key}' in its header must be a JSON object"):
        w.checkpoint_kind(path)


def test_configuration_that_holds_itself_is_an_error(tmp_path):
    config = {}
    config["again"] = config
    torch.save({"net": {"a": torch.ones(1)}, "config": config}, tmp_path / "m.pt")
    with pytest.raises(WeightsError, match=r"m\.pt is damaged: nested in itself"):
        w.checkpoint_kind(tmp_path / "m.pt")
