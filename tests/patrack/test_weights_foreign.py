"""Weights files of other projects, hostile and damaged ones; made here as those projects write them."""

import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict

import pytest
import timm
import torch
from safetensors.torch import save_file

from patrack import weights as w
from patrack.tensorfiles import read_tensors
from patrack.vit import TokenLayout
from patrack.weights import WeightsError
from weights_files import base_model_names, make, ostrack, same, state


def test_ostrack_file_fills_the_base_model(tmp_path):
    source, model = make(1), make(2)
    torch.save({"epoch": 300, "net_type": "OSTrack", "net": ostrack(source)}, tmp_path / "OSTrack_ep0300.pth.tar")
    w.load_base_model(model, tmp_path / "OSTrack_ep0300.pth.tar")
    assert same(state(model), state(source), base_model_names(model))


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
        w.load_base_model(model, tmp_path / f"{name}.pth.tar")
        assert same(state(model), state(source), base_model_names(model))
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
    w.load_base_model(model, path)
    assert not marker.exists()
    assert same(state(model), state(source), base_model_names(model))


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
    w.load_base_model(model, tmp_path / "vit", resize_position_embeddings=True, backbone_only=True)
    after = state(model)
    assert same(after, state(source), ["backbone.norm.bias", "backbone.blocks.1.mlp.fc1.weight"])
    assert same(after, before, [name for name in before if name.startswith("head.") or ".mda" in name])
    grid = tensors["pos_embed"][:, 1:].transpose(1, 2).unflatten(2, (5, 5))
    wanted = torch.nn.functional.interpolate(grid, size=(2, 2), mode="bicubic").flatten(2).transpose(1, 2)
    assert torch.allclose(after["backbone.pos_embed_z"], wanted, atol=1e-6)


def test_a_deeper_vit_starts_a_backbone_with_its_first_blocks(tmp_path):
    source, model = make(1), make(2)
    tensors = _timm(source)
    deeper = {name.replace("blocks.1.", "blocks.2."): tensor for name, tensor in tensors.items() if "blocks.1." in name}
    save_file({**tensors, **{name: tensor.clone() for name, tensor in deeper.items()}}, tmp_path / "vit.safetensors")
    w.load_base_model(model, tmp_path / "vit.safetensors", resize_position_embeddings=True, backbone_only=True)
    assert same(state(model), state(source), ["backbone.norm.bias", "backbone.blocks.1.mlp.fc1.weight"])
    with pytest.raises(WeightsError, match=r"unexpected:\n.*blocks\.2\."):
        w.load_base_model(model, tmp_path / "vit.safetensors", resize_position_embeddings=True)


def test_a_vit_named_to_timm_is_fetched_once_and_computes_the_same_here(tmp_path, monkeypatch):
    torch.manual_seed(0)
    sizes = {"embed_dim": 8, "depth": 2, "num_heads": 2, "patch_size": 8, "img_size": 32, "init_values": 0.5}
    vit = timm.models.VisionTransformer(**sizes, num_classes=0).eval()
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.uniform_(-0.5, 0.5)
    asked = []
    monkeypatch.setattr(timm, "create_model", lambda name, **options: asked.append((name, options)) or vit)
    monkeypatch.setattr(w, "project_path", lambda path: tmp_path / path)
    paths = [w.base_model_path("timm:vit_tiny.sampled"), w.base_model_path("timm:vit_tiny.sampled")]
    assert paths == [tmp_path / "weights" / "timm" / "vit_tiny.sampled.safetensors"] * 2
    assert asked == [("vit_tiny.sampled", {"pretrained": True, "num_classes": 0})]

    model = make(1, streams="rgb", elimination={"layers": []}).eval()
    w.load_base_model(model, paths[0], resize_position_embeddings=True, backbone_only=True)
    assert same({"x": vit.pos_embed[:, 1:]}, {"x": model.backbone.pos_embed_x})
    tokens, layout = torch.rand(3, 20, 8), TokenLayout(2, 4, streams=1)
    with torch.no_grad():
        for ours, theirs in zip(model.backbone.blocks, vit.blocks, strict=True):
            torch.testing.assert_close(ours(tokens, layout)[0], theirs(tokens))


@pytest.mark.parametrize("name", ["vit_unheard_of", "vit_base_patch16_224.unheard_of", "../../escaped"])
def test_weights_that_timm_does_not_have_are_refused_with_a_way_out(tmp_path, monkeypatch, name):
    monkeypatch.setattr(w, "project_path", lambda path: tmp_path / path)
    with pytest.raises(WeightsError, match=rf"timm:{name}(.|\n)*list_models"):
        w.base_model_path(f"timm:{name}")
    assert not list(tmp_path.rglob("*"))


def test_plain_vit_is_no_base_model_for_tracking(tmp_path):
    save_file(_timm(make(1)), tmp_path / "vit.safetensors")
    with pytest.raises(WeightsError, match=r"missing:\n    head.score.0.conv.weight"):
        w.load_base_model(make(2), tmp_path / "vit.safetensors", resize_position_embeddings=True)


def test_position_embeddings_are_resized_only_on_request(tmp_path):
    w.save_base_model(make(1), tmp_path / "f.safetensors", half=False)
    larger = make(2, search_size=64)
    with pytest.raises(WeightsError, match=r"pos_embed_x \(1, 16, 8\), .*\(1, 64, 8\)") as caught:
        w.load_base_model(larger, tmp_path / "f.safetensors")
    assert "resize_position_embeddings" in str(caught.value)
    w.load_base_model(larger, tmp_path / "f.safetensors", resize_position_embeddings=True)
    assert torch.equal(larger.backbone.pos_embed_z, make(1).backbone.pos_embed_z)
    assert larger.backbone.pos_embed_x.shape == (1, 64, 8)


def test_base_model_of_another_size_is_refused(tmp_path):
    w.save_base_model(make(1), tmp_path / "f.safetensors")
    with pytest.raises(WeightsError, match="of another shape"):
        w.load_base_model(make(2, embed_dim=16), tmp_path / "f.safetensors")


# --- damaged files


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _torchscript(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/constants.pkl", b"")


DAMAGED = {
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "text": (lambda path: path.write_text("<html>not found</html>"), "web page"),
    "cut-safetensors": (lambda path: (w.save_base_model(make(1), path), _truncate(path)), "damaged safetensors"),
    "cut-torch": (lambda path: (torch.save(make(1).state_dict(), path), _truncate(path)), "can't be read"),
    "no-tensors": (lambda path: torch.save({"epoch": 3}, path), "holds no tensors"),
    "a-list": (lambda path: torch.save([torch.ones(1)], path), "holds no tensors"),
    "torchscript": (_torchscript, "TorchScript program"),
    "other-names": (lambda path: torch.save({"a": torch.ones(1)}, path), "is no base model"),
    "missing": (lambda path: None, "No such file"),
    "folder": (lambda path: path.mkdir(), "Is a directory"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_file_is_an_error_that_names_it(tmp_path, damage):
    path = tmp_path / "weights.bin"
    write, message = DAMAGED[damage]
    write(path)
    with pytest.raises(WeightsError, match=message) as caught:
        w.load_base_model(make(2), path)
    assert str(path) in str(caught.value)


class Wrapped(torch.nn.Module):
    """A model as another project might pickle it whole."""

    def __init__(self, network):
        super().__init__()
        self.net, self.settings = network, {"lr": 1e-4}


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("key", ["net", "model_ema", "state_dict_ema", "model_state_dict"])
def test_prefixes_of_distributed_and_compiled_models_and_averages_are_understood(tmp_path, prefix, key):
    source, model = make(1), make(2)
    torch.save(
        {"epoch": 3, key: {prefix + name: tensor for name, tensor in ostrack(source).items()}}, tmp_path / "f.pth"
    )
    w.load_base_model(model, tmp_path / "f.pth")
    assert same(state(model), state(source), base_model_names(model))


@pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "in a dictionary"])
def test_whole_pickled_model_is_read_without_its_class(tmp_path, wrapped):
    source = make(1)
    torch.save({"model": source} if wrapped else source, tmp_path / "f.pth")
    tensors, _ = read_tensors(tmp_path / "f.pth")
    assert tensors.keys() == source.state_dict().keys()
    assert same(state(source), tensors)
    torch.save(Wrapped(source), tmp_path / "g.pth")
    assert same({f"net.{name}": tensor for name, tensor in state(source).items()}, read_tensors(tmp_path / "g.pth")[0])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
        (b"<HTML><head></head></HTML>", "web page"),
        (b"", "is empty"),
    ],
    ids=["lfs", "page", "capitals", "nothing"],
)
def test_what_is_no_weights_file_is_called_by_its_name(tmp_path, content, reason):
    (tmp_path / "f.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=rf"f\.pth .*{reason}"):
        w.load_base_model(make(1), tmp_path / "f.pth")
