"""Every weights format: read, written, refused. Files of other projects are made here, as those projects write them."""

import json
import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import load_file, save_file

from lib.schema import Config
from patrack import adapter_parameters, build_model
from patrack import weights as w
from patrack.weights import WeightsError

ADAPTERS = {"cea": {"layers": [1], "hidden_dim": 4}, "mda": {"hidden_dim": 4}, "task": {"hidden_dim": 4}}
SIZES = {
    "embed_dim": 8,
    "depth": 2,
    "num_heads": 2,
    "patch_size": 8,
    "template_size": 16,
    "search_size": 32,
    "head_channels": 8,
}


def make(seed=0, streams="both", **more):
    """A model of a few thousand random parameters; its norms and statistics are random too."""
    torch.manual_seed(seed)
    modality = "rgb" if streams == "rgb" else "rgbt"
    sizes = {**SIZES, "streams": streams, "adapters": ADAPTERS, **more}
    model = build_model(Config.model_validate({"name": "tiny", "modality": modality, "model": sizes}))
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.1)
    return model


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a, b, names=None):
    return all(torch.equal(a[name], b[name]) for name in names or a)


def published(model):
    """The model's tensors under the release's names and in its shapes, with the dead tensors a release file holds."""
    tensors = {}
    for ours, theirs in w.published_names(model).items():
        tensor = model.state_dict()[ours].clone()
        if tensor.ndim == 2 and (".highfuseadapter" in theirs or theirs.endswith("_t.proj.weight")):
            tensor = tensor[:, :, None, None]  # 1x1 convolutions there
        tensors[theirs] = tensor
    dead = {
        "backbone.cls_token": (1, 1, 8),
        "backbone.pos_embed": (1, 197, 8),
        "norm1.weight": (8,),
        "norm1.bias": (8,),
        "backbone.blocks.1.adap_t.D_fc1.weight": (4, 8),
        "backbone.blocks.1.adap2_t.proj.bias": (8,),
        "backbone.blocks.0.highfuseadapter1.down.weight": (4, 8, 1, 1),
        "backbone.blocks.0.highfuseadapter2.obj_fuse.gamma1": (1,),
        "backbone.blocks.0.norml1.weight": (8,),
        "backbone.blocks.1.highfuseadapter1.obj_fuse.gamma2": (1,),
    }
    return tensors | {name: torch.ones(shape) for name, shape in dead.items()}


def ostrack(model):
    """The foundation as OSTrack stores it under "net"."""
    adapters = ("adap", "highfuse", "norml")
    return OrderedDict((k, v) for k, v in published(model).items() if not any(part in k for part in adapters))


def foundation_names(model):
    inside = set(adapter_parameters(model))
    return [name for name in model.state_dict() if name not in inside and ".cea_norm" not in name]


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
            r"1 of another shape:\n    backbone.norm.bias \(9,\), the model has \(8,\)",
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
    with pytest.raises(WeightsError, match=r"highfuseadapter1\.gate"):
        w.load_published(gated, published(make(1)))


# --- foundation files


@pytest.mark.parametrize("half", [True, False], ids=["half", "full-precision"])
def test_foundation_is_saved_and_loaded_and_adapters_stay(tmp_path, half):
    source, model = make(1), make(2)
    before = state(model)
    w.save_foundation(source, tmp_path / "f.safetensors", half=half)
    w.load_foundation(model, tmp_path / "f.safetensors")
    names = foundation_names(model)
    wanted = {n: t.half().float() if half and t.is_floating_point() else t for n, t in state(source).items()}
    assert same(state(model), wanted, names)
    assert same(state(model), before, [name for name in before if name not in names])
    assert all(tensor.dtype != torch.float16 for tensor in state(model).values())


def test_hash_survives_saving_what_was_loaded_from_a_half_precision_file(tmp_path):
    model, again = make(1), make(2)
    w.save_foundation(model, tmp_path / "a.safetensors")
    assert w.load_foundation(again, tmp_path / "a.safetensors")["format"] == "patrack-foundation"
    first = w.foundation_hash(again)
    w.save_foundation(again, tmp_path / "b.safetensors")
    w.load_foundation(model, tmp_path / "b.safetensors")
    assert w.foundation_hash(model) == first
    assert w.foundation_hash(model.half()) == first
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
def test_foundation_hash_covers_the_foundation_only(name, changes):
    model = make(1)
    before, whole = w.foundation_hash(model), w.model_hash(model)
    with torch.no_grad():
        model.state_dict()[name].add_(1)
    assert (w.foundation_hash(model) != before) == changes
    assert w.model_hash(model) != whole


def test_foundation_hash_does_not_depend_on_the_adapters_built():
    model = make(1)
    alone = make(2, streams="rgb")
    alone.load_state_dict({name: model.state_dict()[name] for name in alone.state_dict()})
    assert w.foundation_hash(alone) == w.foundation_hash(model)


def test_ostrack_file_fills_the_foundation(tmp_path):
    source, model = make(1), make(2)
    torch.save({"epoch": 300, "net_type": "OSTrack", "net": ostrack(source)}, tmp_path / "OSTrack_ep0300.pth.tar")
    w.load_foundation(model, tmp_path / "OSTrack_ep0300.pth.tar")
    assert same(state(model), state(source), foundation_names(model))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_ostrack_file_with_pickled_settings_is_read_without_their_classes(tmp_path):
    module = types.ModuleType("foreign.admin.settings")
    exec("class Settings:\n    def __init__(self): self.values = [1]\nclass Meter(dict):\n    pass\n", module.__dict__)
    for name in ("foreign", "foreign.admin", "foreign.admin.settings"):
        sys.modules[name] = module
    try:
        module.Settings.__module__ = module.Meter.__module__ = module.__name__
        extra = {"settings": module.Settings(), "stats": OrderedDict(loss=module.Meter(avg=1.0))}
        source = make(1)
        torch.save({"net": ostrack(source), **extra}, tmp_path / "new.pth.tar")
        torch.save({**extra, "net": ostrack(source)}, tmp_path / "old.pth.tar", _use_new_zipfile_serialization=False)
        torch.save({**extra, "net": ostrack(source)}, tmp_path / "protocol4.pth.tar", pickle_protocol=4)
    finally:
        for name in ("foreign", "foreign.admin", "foreign.admin.settings"):
            del sys.modules[name]
    for name in ("new", "old", "protocol4"):
        model = make(2)
        w.load_foundation(model, tmp_path / f"{name}.pth.tar")
        assert same(state(model), state(source), foundation_names(model))
    assert "foreign" not in sys.modules


class Attack:
    """Unpickling this calls `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(lambda marker: Attack(os.system, f"touch {marker}"), id="os.system"),
        pytest.param(lambda marker: Attack(exec, f"open({str(marker)!r}, 'w').close()"), id="exec"),
        pytest.param(lambda marker: Attack(getattr, Attack(__import__, "os"), "system"), id="import-os"),
        pytest.param(lambda marker: Attack(open, str(marker), "w"), id="open"),
        pytest.param(lambda marker: Attack(torch.save, [1], str(marker)), id="torch.save"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_code_in_a_file_never_runs(tmp_path, attack, zipped):
    marker, path, model = tmp_path / "marker", tmp_path / "attack.pth.tar", make(2)
    source = make(1)
    contents = {"settings": attack(marker), "net": ostrack(source)}
    torch.save(contents, path, _use_new_zipfile_serialization=zipped)
    w.load_foundation(model, path)
    assert not marker.exists()
    assert same(state(model), state(source), foundation_names(model))


def test_the_attack_itself_works(tmp_path):
    pickle.loads(pickle.dumps(Attack(os.system, f"touch {tmp_path / 'marker'}")))
    assert (tmp_path / "marker").exists()


def _timm(model, tokens=26):
    tensors = {k.removeprefix("backbone."): v for k, v in state(model).items() if k.startswith("backbone.")}
    tensors = {k: v for k, v in tensors.items() if not any(p in k for p in (".mda", ".cea", "pos_embed"))}
    extra = {"pos_embed": torch.rand(1, tokens, 8), "cls_token": torch.rand(1, 1, 8), "head.weight": torch.rand(10, 8)}
    return tensors | extra


@pytest.mark.parametrize("wrapped", [True, False], ids=["mae", "timm"])
def test_plain_vit_starts_the_backbone_and_leaves_the_head(tmp_path, wrapped):
    source, model = make(1), make(2)
    tensors = _timm(source)
    if wrapped:
        torch.save({"model": tensors}, tmp_path / "vit")
    else:
        save_file(tensors, tmp_path / "vit")
    before = state(model)
    w.load_foundation(model, tmp_path / "vit", resize_position_embeddings=True, backbone_only=True)
    after = state(model)
    assert same(after, state(source), ["backbone.norm.bias", "backbone.blocks.1.mlp.fc1.weight"])
    assert same(after, before, [name for name in before if name.startswith("head.") or ".mda" in name])
    grid = tensors["pos_embed"][:, 1:].transpose(1, 2).unflatten(2, (5, 5))
    wanted = torch.nn.functional.interpolate(grid, size=(2, 2), mode="bicubic").flatten(2).transpose(1, 2)
    assert torch.allclose(after["backbone.pos_embed_z"], wanted, atol=1e-6)


def test_plain_vit_is_no_foundation_for_tracking(tmp_path):
    save_file(_timm(make(1)), tmp_path / "vit.safetensors")
    with pytest.raises(WeightsError, match=r"missing:\n    head.score.0.conv.weight"):
        w.load_foundation(make(2), tmp_path / "vit.safetensors", resize_position_embeddings=True)


def test_position_embeddings_are_resized_only_on_request(tmp_path):
    w.save_foundation(make(1), tmp_path / "f.safetensors", half=False)
    larger = make(2, search_size=64)
    with pytest.raises(WeightsError, match=r"pos_embed_x \(1, 16, 8\), the model has \(1, 64, 8\)") as caught:
        w.load_foundation(larger, tmp_path / "f.safetensors")
    assert "resize_position_embeddings" in str(caught.value)
    w.load_foundation(larger, tmp_path / "f.safetensors", resize_position_embeddings=True)
    assert torch.equal(larger.backbone.pos_embed_z, make(1).backbone.pos_embed_z)
    assert larger.backbone.pos_embed_x.shape == (1, 64, 8)


def test_foundation_of_another_size_is_refused(tmp_path):
    w.save_foundation(make(1), tmp_path / "f.safetensors")
    with pytest.raises(WeightsError, match="of another shape"):
        w.load_foundation(make(2, embed_dim=16), tmp_path / "f.safetensors")


# --- adapter files


def test_adapters_are_saved_and_loaded_bit_equal(tmp_path):
    source = make(1)
    model = make(2)
    model.load_state_dict({n: t for n, t in state(source).items() if n in foundation_names(source)}, strict=False)
    w.save_adapters(source, tmp_path / "a.safetensors", {"modality": "rgbt", "config": json.dumps({"lr": 1})})
    metadata = w.load_adapters(model, tmp_path / "a.safetensors")
    assert same(state(model), state(source))
    assert metadata["modality"] == "rgbt"
    assert metadata["foundation_sha256"] == w.foundation_hash(source)
    assert not any(name in foundation_names(source) for name in load_file(tmp_path / "a.safetensors"))


def test_adapters_of_another_foundation_are_refused(tmp_path):
    w.save_adapters(make(1), tmp_path / "a.safetensors")
    model = make(2)
    before = state(model)
    with pytest.raises(WeightsError, match=r"trained on another foundation: it needs SHA-256 [0-9a-f]{16}"):
        w.load_adapters(model, tmp_path / "a.safetensors")
    assert same(state(model), before)


def test_adapters_of_another_size_are_refused_with_a_list(tmp_path):
    w.save_adapters(make(1), tmp_path / "a.safetensors")
    other = make(1, adapters=ADAPTERS | {"task": {"hidden_dim": 8}})
    with pytest.raises(WeightsError, match=r"task_adapter.down.weight \(4, 8\), the model has \(8, 8\)"):
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


def test_metadata_can_not_replace_the_foundation_hash(tmp_path):
    with pytest.raises(ValueError, match="foundation_sha256"):
        w.save_adapters(make(1), tmp_path / "a.safetensors", {"foundation_sha256": "0"})


# --- detection


def _training_checkpoint(model, trainable):
    names = adapter_parameters(model) if trainable == "adapters" else model.state_dict()
    foundation = w.foundation_hash(model) if trainable == "adapters" else ""
    tensors = {name: state(model)[name] for name in names}
    return {
        "kind": "patrack-training",
        "format": 1,
        "config": {},
        "model": tensors,
        "foundation": foundation,
        "epoch": 1,
    }


@pytest.mark.parametrize("kind", ["adapters", "training of adapters", "full", "published", "bare state dict"])
def test_checkpoint_is_recognised_and_loaded(tmp_path, kind):
    source, model, path = make(1), make(1), tmp_path / "file"
    with torch.no_grad():
        for parameter in adapter_parameters(model).values():
            parameter.zero_()
    write = {
        "adapters": lambda: w.save_adapters(source, path),
        "training of adapters": lambda: torch.save(_training_checkpoint(source, "adapters"), path),
        "full": lambda: torch.save(_training_checkpoint(source, "all"), path),
        "published": lambda: torch.save({"net": published(source)}, path),
        "bare state dict": lambda: torch.save(source.state_dict(), path),
    }
    write[kind]()
    wanted = {"training of adapters": "adapters", "bare state dict": "full"}.get(kind, kind)
    assert w.checkpoint_kind(path) == wanted
    assert w.load_checkpoint(model, path) == wanted
    assert same(state(model), state(source))


def test_foundation_as_checkpoint_fills_a_model_without_adapters_only(tmp_path):
    w.save_foundation(make(1), tmp_path / "f.safetensors", half=False)
    alone = make(2, streams="rgb")
    assert w.load_checkpoint(alone, tmp_path / "f.safetensors") == "foundation"
    assert same(state(alone), state(make(1)), list(alone.state_dict()))
    with pytest.raises(WeightsError, match="holds no adapters"):
        w.load_checkpoint(make(2), tmp_path / "f.safetensors")


def test_adapter_file_is_no_foundation(tmp_path):
    w.save_adapters(make(1), tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="holds adapters weights, not a foundation"):
        w.load_foundation(make(1), tmp_path / "a.safetensors")


# --- damaged files


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _torchscript(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/constants.pkl", b"")


DAMAGED = {
    "empty": (lambda path: path.write_bytes(b""), "can't be read"),
    "text": (lambda path: path.write_text("<html>not found</html>"), "can't be read"),
    "cut-safetensors": (lambda path: (w.save_foundation(make(1), path), _truncate(path)), "damaged safetensors"),
    "cut-torch": (lambda path: (torch.save(make(1).state_dict(), path), _truncate(path)), "can't be read"),
    "no-tensors": (lambda path: torch.save({"epoch": 3}, path), "holds no tensors"),
    "a-list": (lambda path: torch.save([torch.ones(1)], path), "holds no tensors"),
    "torchscript": (_torchscript, "TorchScript program"),
    "other-names": (lambda path: torch.save({"a": torch.ones(1)}, path), "is no foundation"),
    "missing": (lambda path: None, "No such file"),
    "folder": (lambda path: path.mkdir(), "Is a directory"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_file_is_an_error_that_names_it(tmp_path, damage):
    path = tmp_path / "weights.bin"
    write, message = DAMAGED[damage]
    write(path)
    with pytest.raises(WeightsError, match=message) as caught:
        w.load_foundation(make(2), path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), 1e6], ids=["nan", "too-large-for-16-bits"])
def test_values_that_are_not_finite_are_not_written(tmp_path, value):
    model = make(1)
    with torch.no_grad():
        model.backbone.norm.bias[0] = value
    with pytest.raises(WeightsError, match=r"not finite .*:\n    backbone.norm.bias"):
        w.save_foundation(model, tmp_path / "f.safetensors", half=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError], ids=["ctrl-c", "disk-full"])
def test_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch, error):
    path = tmp_path / "f.safetensors"
    w.save_foundation(make(1), path)
    before = path.read_bytes()

    def interrupted(_):
        raise error

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(error):
        w.save_foundation(make(2), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_folder_that_can_not_be_written_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        w.save_foundation(make(1), tmp_path / "file" / "f.safetensors")
