"""A weights file is recognised by its content, and refused where its tensors fit but mean something else."""

import json

import pytest
import safetensors.torch
import torch

from patrack import adapter_parameters
from patrack import weights as w
from patrack.tensorfiles import read_tensors, write_tensors
from patrack.weights import WeightsError
from small_models import ADAPTERS
from weights_files import make, published, same, state

# --- kinds of files


def _training_checkpoint(model, trainable):
    names = adapter_parameters(model) if trainable == "adapters" else model.state_dict()
    base_model = w.base_model_hash(model) if trainable == "adapters" else ""
    tensors = {name: state(model)[name] for name in names}
    return {
        "kind": "patrack-training",
        "format": 1,
        "config": {},
        "model": tensors,
        "base_model": base_model,
        "epoch": 1,
    }


@pytest.mark.parametrize("kind", ["adapters", "training of adapters", "full", "model", "published", "bare state dict"])
def test_checkpoint_is_recognised_and_loaded(tmp_path, kind):
    source, model, path = make(1), make(1), tmp_path / "file"
    with torch.no_grad():
        for parameter in adapter_parameters(model).values():
            parameter.zero_()
    write = {
        "adapters": lambda: w.save_adapters(source, path),
        "training of adapters": lambda: torch.save(_training_checkpoint(source, "adapters"), path),
        "full": lambda: torch.save(_training_checkpoint(source, "all"), path),
        "model": lambda: w.save_model(source, path, half=False),
        "published": lambda: torch.save({"net": published(source)}, path),
        "bare state dict": lambda: torch.save(source.state_dict(), path),
    }
    write[kind]()
    wanted = {"training of adapters": "adapters", "model": "full", "bare state dict": "full"}.get(kind, kind)
    assert w.checkpoint_kind(path) == wanted
    assert w.load_checkpoint(model, path) == wanted
    assert same(state(model), state(source))


def test_base_model_as_checkpoint_fills_a_model_without_adapters_only(tmp_path):
    w.save_base_model(make(1), tmp_path / "f.safetensors", half=False)
    alone = make(2, streams="rgb")
    assert w.load_checkpoint(alone, tmp_path / "f.safetensors") == "base_model"
    assert same(state(alone), state(make(1)), list(alone.state_dict()))
    with pytest.raises(WeightsError, match="holds no adapters"):
        w.load_checkpoint(make(2), tmp_path / "f.safetensors")


@pytest.mark.parametrize("kind", ["base_model", "published", "model"])
def test_position_embeddings_of_another_grid_are_resized_on_request_only(tmp_path, kind):
    streams = "rgb" if kind == "base_model" else "both"
    source, larger = make(1, streams), make(2, streams, search_size=48)
    write = {
        "base_model": lambda path: w.save_base_model(source, path),
        "published": lambda path: torch.save(published(source), path),
        "model": lambda path: w.save_model(source, path),
    }
    write[kind](tmp_path / "file")
    with pytest.raises(WeightsError, match="resize_position_embeddings"):
        w.load_checkpoint(larger, tmp_path / "file")
    w.load_checkpoint(larger, tmp_path / "file", resize_position_embeddings=True)
    assert larger.backbone.pos_embed_x.shape == (1, 36, 8)
    assert torch.isfinite(larger.backbone.pos_embed_x).all()


def test_adapter_file_is_no_base_model(tmp_path):
    w.save_adapters(make(1), tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="holds adapters weights, not a base model"):
        w.load_base_model(make(1), tmp_path / "a.safetensors")


# --- settings that no tensor shows


OTHER = [
    pytest.param({"adapters": {"mda": {"form": "paper"}}}, r"model\.adapters\.mda\.form=(\w+)", id="mda-form"),
    pytest.param({"adapters": {"cea": {"form": "paper"}}}, r"model\.adapters\.cea\.form=(\w+)", id="cea-form"),
    pytest.param({"fusion": "mean"}, r"model\.fusion=(\w+)", id="fusion"),
    pytest.param(
        {"adapters": {"init": "neutral", "cea": {"enabled": False}}}, r"model\.adapters\.init=(\w+)", id="start"
    ),
]


def _changed(change):
    adapters = {**ADAPTERS, **change.get("adapters", {})}
    for family in ("mda", "cea"):
        adapters[family] = {**ADAPTERS[family], **adapters[family]}
    return {**change, "adapters": adapters}


@pytest.mark.parametrize("kind", ["adapters", "model", "training"])
@pytest.mark.parametrize(("change", "named"), OTHER)
def test_weights_of_another_reading_are_refused_although_their_tensors_fit(tmp_path, change, named, kind):
    source, path = make(1, **_changed(change)), tmp_path / "file"
    plain = {"adapters": {"cea": {"enabled": False}}} if "init" in change.get("adapters", {}) else {}
    write = {
        "adapters": lambda: w.save_adapters(source, path),
        "model": lambda: w.save_model(source, path, half=False),
        "training": lambda: torch.save(
            {**_training_checkpoint(source, "adapters"), "config": {"model": _changed(change)}}, path
        ),
    }
    write[kind]()
    model = make(1, **_changed(plain))
    before = state(model)
    with pytest.raises(WeightsError, match=named) as caught:
        w.load_checkpoint(model, path)
    assert "the model has" in str(caught.value)
    assert same(state(model), before)
    w.load_checkpoint(make(1, **_changed(change)), path)


def test_fusion_means_nothing_to_one_stream(tmp_path):
    source, path = make(1, streams="rgb", fusion="gate"), tmp_path / "last.pt"
    torch.save({**_training_checkpoint(source, "all"), "config": {"model": {"streams": "rgb", "fusion": "gate"}}}, path)
    model = make(2, streams="rgb", fusion="gate")
    w.load_checkpoint(model, path)
    assert same(state(model), state(source))


@pytest.mark.parametrize(("change", "named"), OTHER)
def test_published_weights_are_refused_by_a_model_of_another_reading(change, named):
    with pytest.raises(WeightsError, match=named):
        w.load_published(make(1, **_changed(change)), published(make(1)))


def test_files_without_a_stated_reading_are_taken_as_they_are(tmp_path):
    torch.save(make(1).state_dict(), tmp_path / "bare")
    assert w.load_checkpoint(make(2, fusion="mean"), tmp_path / "bare") == "full"


# --- damage


@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_a_changed_bit_anywhere_in_the_tensors_is_noticed(tmp_path, kind):
    path = tmp_path / "file"
    if kind == "torch":
        torch.save({"net": published(make(1))}, path)
    else:
        w.save_model(make(1), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        w.load_checkpoint(make(1), path)


def test_a_file_of_others_needs_no_checksum(tmp_path):
    safetensors.torch.save_file(state(make(1)), tmp_path / "file")
    assert w.load_checkpoint(make(2), tmp_path / "file") == "full"


# --- what no shape shows


@pytest.mark.parametrize("kind", ["base_model", "adapters", "model"])
def test_another_number_of_heads_is_refused(tmp_path, kind):
    path, model = tmp_path / "file", make(1)
    heads = model.config.num_heads
    header = {"config": json.dumps({"model": {"num_heads": 2 * heads}})}
    if kind == "base_model":
        w.save_base_model(model, path, metadata=header)
    else:
        {"adapters": w.save_adapters, "model": w.save_model}[kind](model, path)
        tensors, header = read_tensors(path)
        header["reading"] = header["reading"].replace(
            f'"model.num_heads": "{heads}"', f'"model.num_heads": "{2 * heads}"'
        )
        write_tensors(tensors, path, header)
    load = w.load_base_model if kind == "base_model" else w.load_checkpoint
    with pytest.raises(WeightsError, match=rf"model\.num_heads={2 * heads} \(the model has {heads}\)"):
        load(model, path)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        pytest.param(torch.tensor(1e300, dtype=torch.float64), "too large for the model's type", id="float64"),
        pytest.param(torch.tensor(complex(1, 2)), "of complex numbers", id="complex"),
        pytest.param(torch.tensor(complex("nan")), "of complex numbers", id="complex NaN"),
    ],
)
def test_values_that_the_model_can_not_hold_are_refused(tmp_path, value, kind):
    content = state(make(1))
    name = next(iter(content))
    content[name] = torch.full_like(content[name], 1, dtype=value.dtype) * value
    torch.save(content, tmp_path / "file")
    with pytest.raises(WeightsError, match=f"1 {kind}:\n +{name}"):
        w.load_checkpoint(make(1), tmp_path / "file")
