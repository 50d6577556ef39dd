"""Weights files: read back as written; anything else is refused with its path, runs no code and takes no memory."""

from __future__ import annotations

import builtins
import io
import json
import os
import pickle
import subprocess
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import weights_files as files
from hostile import any_bytes, any_text, damaged, only_reads
from patrack.tensorfiles import WeightsError, read_tensors, write_tensors
from patrack.weights import load_base_model, load_checkpoint, save_adapters, save_model

pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")

MODEL = files.make()
TENSORS = {"a.weight": torch.linspace(-1, 1, 6).reshape(2, 3), "b": torch.arange(4), "c": torch.ones(2).half()}
HEADER = {"format": "patrack-model", "version": "1", "config": '{"modality": "rgbt"}', "reading": "{}"}


class Module(torch.nn.Module):
    """Pickled whole."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 3)


class Runs:
    """Pickled as a call, which loading the pickle naively makes."""

    def __init__(self, function: object, *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


def saved(content: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def repacked(data: bytes, change: object, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip with right checksums whose pickle has been changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, change(old.read(name)) if name.endswith("data.pkl") else old.read(name))
    return buffer.getvalue()


def safetensors_file() -> bytes:
    import safetensors.torch

    return safetensors.torch.save(TENSORS, HEADER)


ZIP = saved({"net": OrderedDict(TENSORS), "epoch": 3, "config": {"modality": "rgbt"}})
LEGACY = saved({"model": TENSORS}, _use_new_zipfile_serialization=False)
MODULE = saved(Module())
SAFE = safetensors_file()
PICKLE = zipfile.ZipFile(io.BytesIO(ZIP)).read("archive/data.pkl")


def refused_or_read(path: Path, data: bytes, read: object = read_tensors) -> object:
    """What `read` gives for a file of this content; None where it refuses it as documented."""
    path.write_bytes(data)
    with only_reads():
        try:
            return read(path)
        except WeightsError as error:
            assert str(path) in str(error)
    return None


@given(
    held=st.dictionaries(
        st.text(min_size=1, max_size=12).filter(lambda name: name != "__metadata__"),
        arrays(
            st.sampled_from([np.float32, np.float16, np.float64, np.int64, np.uint8, np.bool_]),
            array_shapes(min_dims=0, max_dims=3, max_side=4),
            elements={"allow_nan": False, "allow_infinity": False},
        ),
        min_size=1,
        max_size=4,
    ),
    header=st.dictionaries(st.text(max_size=8), st.text(max_size=12), max_size=3),
)
def test_tensors_and_header_read_back_as_written_in_either_order(held, header, folder):
    tensors = {name: torch.from_numpy(array.copy()) for name, array in held.items()}
    header.pop("tensors_sha256", None)
    first, second = folder / "a.safetensors", folder / "b.safetensors"
    write_tensors(tensors, first, header)
    write_tensors(dict(reversed(tensors.items())), second, dict(reversed(header.items())))
    assert first.read_bytes() == second.read_bytes()
    back, stated = read_tensors(first)
    assert stated == header
    assert files.same(tensors, back)
    assert all(back[name].dtype == tensor.dtype for name, tensor in tensors.items())


@pytest.mark.parametrize("content", [ZIP, LEGACY, MODULE, SAFE], ids=["zip", "legacy", "module", "safetensors"])
def test_the_valid_files_that_are_damaged_here_can_be_read(content, folder):
    tensors, _ = refused_or_read(folder / "a.pt", content)
    assert tensors


@given(data=any_bytes(ZIP, LEGACY, MODULE, SAFE))
def test_any_damaged_file_is_read_or_refused(data, folder):
    held = refused_or_read(folder / "a.pt", data)
    if held is not None:
        tensors, header = held
        assert all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in tensors.items())
        assert all(isinstance(value, str) for value in header.values())


@given(data=damaged(ZIP))
def test_a_damaged_zip_never_gives_other_values(data, folder):
    held = refused_or_read(folder / "a.pt", data)
    for name, tensor in held[0].items() if held is not None else ():
        assert name not in TENSORS or torch.equal(tensor, TENSORS[name])


@given(data=st.one_of(damaged(PICKLE), st.binary(max_size=64)))
def test_any_pickle_in_an_intact_zip_is_read_or_refused(data, folder):
    refused_or_read(folder / "a.pt", repacked(ZIP, lambda _: data))


@given(text=any_text(SAFE[8 : 8 + int.from_bytes(SAFE[:8], "little")].decode().rstrip()))
def test_any_header_of_a_safetensors_file_is_read_or_refused(text, folder):
    head = text.encode()
    data = len(head).to_bytes(8, "little") + head + SAFE[8 + int.from_bytes(SAFE[:8], "little") :]
    refused_or_read(folder / "a.safetensors", data)


CALLS = (  # what they would do is seen in `only_reads`, or by what is there afterwards
    (os.system, "touch ran"),
    (os.mkdir, "ran"),
    (subprocess.check_output, ["touch", "ran"]),
    (eval, "__import__('os').mkdir('ran')"),
    (exec, "open('ran', 'w')"),
    (builtins.open, "ran", "w"),
    (getattr, Runs, "call"),
    (torch.load, "ran"),
    (torch.hub.load, "owner/name", "model"),
    (torch.save, [], "ran"),
    (np.load, "ran"),
    (setattr, torch.Tensor, "ran", 1),
    (pickle.loads, pickle.dumps(Runs(os.mkdir, "ran"))),
)


@settings(max_examples=settings.default.max_examples // 4)
@pytest.mark.parametrize("wrapped", ["zip", "legacy", "plain", "state"])
@given(call=st.sampled_from(CALLS), protocol=st.integers(0, 5))
def test_no_call_in_a_pickle_is_made(wrapped, call, protocol, folder):
    bad = Runs(*call)
    content = {"net": OrderedDict(TENSORS), "extra": bad}
    match wrapped:
        case "zip":
            data = saved(content, pickle_protocol=max(protocol, 2))
        case "legacy":
            data = saved(content, pickle_protocol=max(protocol, 2), _use_new_zipfile_serialization=False)
        case "plain":
            data = pickle.dumps(bad, protocol)
        case "state":
            data = repacked(ZIP, lambda _: pickle.dumps({"net": {"a": bad, bad: 1}, "b": [bad, {"c": bad}]}, protocol))
    held = refused_or_read(folder / "a.pt", data)
    assert not list(folder.glob("*ran*"))
    assert not Path("ran").exists()
    assert not hasattr(torch.Tensor, "ran")
    assert held is None or wrapped in ("zip", "legacy")


GLOBALS = st.sampled_from(
    [
        "os system",
        "builtins eval",
        "builtins __import__",
        "collections OrderedDict",
        "torch Size",
        "torch.nn Module",
        "torch float32",
        "torch._utils _rebuild_tensor_v2",
        "torch FloatStorage",
        "copyreg _reconstructor",
        "a.b c",
    ]
)
TOKENS = st.one_of(
    GLOBALS.map(lambda name: f"c{name.replace(' ', chr(10))}\n".encode()),
    st.sampled_from([b"(", b")", b"}", b"]", b"N", b"t", b"R", b"b", b"o", b"s", b"u", b"e", b"a", b"0", b"2", b"Q"]),
    st.sampled_from([b"q\x00", b"h\x00", b"h\x01", b"K\x02", b"\x81", b"\x85", b"\x86", b"\x87", b"\x88", b"\x94"]),
    st.text("abcdefg._/", max_size=6).map(lambda text: b"X" + len(text).to_bytes(4, "little") + text.encode()),
    st.sampled_from(
        [b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"J\xff\xff\xff\x7f", b"X\xff\xff\xff\x7fa", b"\x8e" + b"\xff" * 8]
    ),
)


@given(tokens=st.lists(TOKENS, max_size=30))
def test_no_program_of_a_pickle_runs_or_ends_otherwise(tokens, folder):
    program = b"\x80\x02" + b"".join(tokens) + b"."
    refused_or_read(folder / "a.pt", repacked(ZIP, lambda _: program))
    refused_or_read(folder / "b.pt", program)


@settings(max_examples=settings.default.max_examples // 4)
@pytest.mark.parametrize("where", ["config", "reading", "modality", "format", "kind", "base_model_sha256"])
@given(
    text=st.one_of(
        any_text('{"model": {"num_heads": 2}}'), st.sampled_from(["[]", "null", "1", '{"model": 1}', "[" * 9999])
    )
)
def test_any_entry_of_a_header_of_ours_loads_or_is_refused(where, text, folder):
    model = MODEL
    before = files.state(model)
    path = folder / "a.safetensors"
    tensors, header = read_tensors(path) if path.is_file() else (None, None)
    if tensors is None or "origin" not in header:
        save_model(model, path, half=False, metadata={"origin": "here"})
        tensors, header = read_tensors(path)
    changed = folder / "changed.safetensors"
    write_tensors(tensors, changed, {**header, where: text})
    try:
        load_checkpoint(model, changed)
    except WeightsError as error:
        assert str(changed) in str(error)
    assert files.same(before, files.state(model))


@settings(max_examples=settings.default.max_examples // 4)
@given(data=st.data())
def test_a_damaged_file_fills_a_model_whole_or_not_at_all(data, folder):
    source, model = files.make(1), files.make(2)
    path = folder / "a.pt"
    kind = data.draw(st.sampled_from(["ostrack", "published", "adapters"]))
    if kind == "adapters":
        save_adapters(model, path)
        content = path.read_bytes()
    else:
        content = saved({"net": getattr(files, kind)(source)})
    path.write_bytes(data.draw(damaged(content)))
    before, adapters = files.state(model), kind != "ostrack"
    try:
        with only_reads():
            load_checkpoint(model, path) if adapters else load_base_model(model, path)
    except WeightsError as error:
        assert str(path) in str(error)
        assert files.same(before, files.state(model))
    else:
        assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values() if tensor.is_floating_point())


def test_a_compressed_file_that_grows_beyond_measure_is_refused_before_it_is_unpacked(folder):
    path = folder / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("archive/data/0", "w") as entry:
        for _ in range(64):
            entry.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    with pytest.raises(WeightsError, match=r"bomb\.pt .*compressed"):
        read_tensors(path)


def test_a_header_that_states_more_than_there_is_takes_no_memory(folder):
    for size in (2**63 - 1, 2**40, 100 * 2**20):
        assert refused_or_read(folder / "a.safetensors", size.to_bytes(8, "little") + b'{"a":1}') is None
    head = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    assert refused_or_read(folder / "a.safetensors", len(head).to_bytes(8, "little") + head) is None
