"""Named tensors between files and models: reading without running code, checking, copying, hashing, writing.

Trackers of the OSTrack family pickle their settings and statistics beside the weights, so that `torch.load` wants their
classes, or refuses. Here every class and function that a file names and that isn't needed for a tensor becomes an inert
stand-in, whatever it is. No layout of weights is known here; see `patrack.weights`.
"""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import re
import types
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patrack.files import atomic_write

__all__ = [
    "WeightsError",
    "fill",
    "hash_tensors",
    "load_torch_file",
    "problems",
    "read_tensors",
    "write_tensors",
]

_WRAPPERS = ("net", "model", "state_dict", "model_state_dict", "model_ema", "state_dict_ema", "ema")
_PREFIXES = ("module.", "_orig_mod.")
"""What PyTorch puts before the names of a model that was trained on several GPUs, or compiled."""
_NO_WEIGHTS = {  # beginning of the file, in lower case: what it is
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself: run git lfs pull where it came from",
    b"<!doctype html": "a web page, not the file itself: download it with the page's own link, not the page's address",
    b"<html": "a web page, not the file itself: download it with the page's own link, not the page's address",
}
CHECKSUM = "tensors_sha256"
"""Key in the header of our own safetensors files."""
_POSITION_EMBEDDING = re.compile(r"(.*\.)?pos_embed_[zx]")


class WeightsError(ValueError):
    """A weights file that doesn't fit; the message lists everything that is wrong with it."""


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, on the CPU, and the header of a safetensors or PyTorch file; the format is told by content.

    In a PyTorch file the tensors lie at the top or under one of "net", "model", "state_dict" and others, or in a whole
    pickled model. Its header is what texts stand at the top, and under "config" the configuration of a training,
    as JSON. Names lose the prefixes "module." and "_orig_mod." if all have them.

    Raises:
        WeightsError: no such file, damaged, or no tensors in it.
    """
    try:
        with path.open("rb") as file:
            start = file.read(256)
    except OSError as error:
        raise WeightsError(f"can't read weights file {path}: {error.strerror or error}") from error
    for beginning, what in _NO_WEIGHTS.items():
        if start.lstrip().lower().startswith(beginning):
            raise WeightsError(f"{path} is {what}")
    if not start:
        raise WeightsError(f"{path} is empty")
    if start[8:9] == b"{":
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})
        except (safetensors.SafetensorError, OSError) as error:
            raise WeightsError(f"{path} is a damaged safetensors file: {error}") from error
        stated = metadata.pop(CHECKSUM, None)
        if stated is not None and stated != _checksum(path.read_bytes()):
            raise WeightsError(f"{path} is damaged: its tensors don't have the checksum that its header states")
        return tensors, metadata
    try:
        contents: Any = load_torch_file(path)
    except ValueError as error:
        raise WeightsError(str(error)) from error
    held = contents
    if isinstance(contents, Mapping):
        held = next((contents[key] for key in _WRAPPERS if isinstance(contents.get(key), Mapping | Inert)), contents)
    try:
        entries = held if isinstance(held, Mapping) else _tensors_of_module(held)
        config = contents.get("config") if isinstance(contents, Mapping) else None
        stated = json.dumps(config, default=str, skipkeys=True) if isinstance(config, Mapping) else None
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is damaged: nested in itself, or too deeply ({error})") from error
    tensors = {name: value for name, value in entries.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path} holds no tensors, neither at the top nor under {', '.join(_WRAPPERS)}")
    while prefix := next((word for word in _PREFIXES if all(name.startswith(word) for name in tensors)), ""):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    contents = contents if isinstance(contents, Mapping) else {}
    metadata = {key: value for key, value in contents.items() if isinstance(key, str) and isinstance(value, str)}
    if stated is not None:
        metadata["config"] = stated
    return tensors, metadata


def _tensors_of_module(module: object, prefix: str = "", seen: frozenset[int] = frozenset()) -> dict[str, Tensor]:
    """Collect parameters and buffers of a pickled `nn.Module`, whose class is an `Inert`, under their names."""
    state = module.state if isinstance(module, Inert) else None
    if not isinstance(state, Mapping) or id(module) in seen:
        return {}
    tensors: dict[str, Tensor] = {}
    for group in ("_parameters", "_buffers"):
        held = state.get(group)
        for name, value in held.items() if isinstance(held, Mapping) else ():
            if isinstance(value, Tensor):
                tensors[f"{prefix}{name}"] = value
    inner = state.get("_modules")
    for name, child in inner.items() if isinstance(inner, Mapping) else ():
        tensors |= _tensors_of_module(child, f"{prefix}{name}.", seen | {id(module)})
    return tensors


def write_tensors(tensors: Mapping[str, Tensor], path: Path, header: Mapping[str, str]) -> None:
    """Write a safetensors file; an earlier file of that name is replaced at the very end, in one step.

    Raises:
        WeightsError: a tensor isn't finite.
        OSError: the folder can't be written.
    """
    broken = [name for name, tensor in tensors.items() if not _finite(tensor)]
    if broken:
        raise WeightsError(_message(f"{path} not written", [_listed("not finite (NaN, or too large)", broken)]))
    contents = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = safetensors.torch.save(contents, dict(header))
    data = safetensors.torch.save(contents, {**header, CHECKSUM: _checksum(data)})
    # with the keys of the header in order: the library's order of texts differs from run to run
    end = 8 + int.from_bytes(data[:8], "little")
    head = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)  # tensors start at a multiple of 8
    data = len(head).to_bytes(8, "little") + head + data[end:]
    with atomic_write(path, "wb") as file:
        file.write(data)


def _checksum(data: bytes) -> str:
    """SHA-256 of all tensors of a safetensors file, behind its header."""
    return hashlib.sha256(memoryview(data)[8 + int.from_bytes(data[:8], "little") :]).hexdigest()


def fill(
    model: nn.Module,
    names: Mapping[str, str],
    tensors: Mapping[str, Tensor],
    source: str,
    unused: Iterable[str] = (),
    resize_position_embeddings: bool = False,
    reshape: bool = False,
) -> None:
    """Copy tensors into a model, all or none.

    Args:
        model: its tensors named in `names` are overwritten.
        names: the model's name -> the name in `tensors`. A 1x1 convolution there fits a linear layer here.
        tensors: what was read.
        source: named in errors.
        unused: patterns (whole names) of tensors that are left out knowingly; anything else left over is an error.
        resize_position_embeddings: interpolate them where the token grid differs.
        reshape: take any tensor of as many elements, in their order.

    Raises:
        WeightsError: tensors missing, left over, of another shape, or not finite.
    """
    own = model.state_dict()
    fitted = {
        theirs: _fit(tensors[theirs], own[ours], ours, resize_position_embeddings, reshape)
        for ours, theirs in names.items()
        if theirs in tensors
    }
    found = problems(model, names, {**tensors, **fitted}, unused)
    if found:
        raise WeightsError(_message(f"{source} can't fill the model", found))
    with torch.no_grad():
        for ours, theirs in names.items():
            own[ours].copy_(fitted[theirs])


def problems(
    model: nn.Module, names: Mapping[str, str], tensors: Mapping[str, Tensor], unused: Iterable[str] = ()
) -> list[str]:
    """List what keeps tensors from filling a model (see `fill`): one text per kind of problem, none if they fit."""
    own = model.state_dict()
    ignore = re.compile("|".join(unused) or r"(?!)")
    wanted = set(names.values())
    present = {ours: theirs for ours, theirs in names.items() if theirs in tensors}
    misshaped = [
        f"{theirs} {tuple(tensors[theirs].shape)}, the model has {tuple(own[ours].shape)}"
        for ours, theirs in present.items()
        if tensors[theirs].shape != own[ours].shape
    ]
    lists = {
        "missing": [theirs for theirs in names.values() if theirs not in tensors],
        "unexpected": [name for name in tensors if name not in wanted and not ignore.fullmatch(name)],
        "of another shape": misshaped,
        "not finite (NaN or infinity)": [theirs for theirs in present.values() if not _finite(tensors[theirs])],
        "of complex numbers": [theirs for theirs in present.values() if tensors[theirs].is_complex()],
        "too large for the model's type": [
            f"{theirs} {tensors[theirs].dtype}, the model has {own[ours].dtype}"
            for ours, theirs in present.items()
            if not tensors[theirs].is_complex()
            and _finite(tensors[theirs])
            and not _finite(tensors[theirs].to(own[ours].dtype))
        ],
    }
    found = [_listed(kind, entries) for kind, entries in lists.items() if entries]
    if any("pos_embed_" in entry for entry in misshaped):
        found.append(
            "position embeddings belong to another token grid: use files for this template_size, search_size "
            "and patch_size, or set model.resize_position_embeddings=true"
        )
    return found


def _fit(tensor: Tensor, own: Tensor, name: str, resize: bool, reshape: bool) -> Tensor:
    if reshape and tensor.numel() == own.numel():
        return tensor.reshape(own.shape)
    if tensor.ndim == 4 and own.ndim == 2 and tensor.shape[2:] == (1, 1):
        return tensor.flatten(1)
    if resize and tensor.shape != own.shape and _POSITION_EMBEDDING.fullmatch(name) and tensor.ndim == 3:
        return _resized(tensor, own.shape[1])
    return tensor


def _resized(embedding: Tensor, count: int) -> Tensor:
    """Position embedding (1, n*n, C) -> (1, count, C); what isn't a square grid stays as it is."""
    old, new = math.isqrt(embedding.shape[1]), math.isqrt(count)
    if old**2 != embedding.shape[1] or new**2 != count:
        return embedding
    grid = embedding.float().transpose(1, 2).unflatten(2, (old, old))  # (1, C, n, n)
    return F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and values in the order of the names; values as 32-bit floats or 64-bit integers."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu()
        tensor = tensor.float() if tensor.is_floating_point() else tensor.long()
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def _finite(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex()) or bool(torch.isfinite(tensor).all())


def _listed(kind: str, entries: list[str]) -> str:
    return "\n  ".join([f"{len(entries)} {kind}:", *(f"  {entry}" for entry in entries)])


def _message(title: str, found: list[str]) -> str:
    return "\n  ".join([f"{title}:", *found])


class Inert:
    """Stands for anything a file names that isn't part of a tensor: takes every argument and does nothing with it."""

    state: object = None  # of the instance that it stands for

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Inert:
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def __call__(self, *_args: Any, **_kwargs: Any) -> Inert:
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, _key: Any, _value: Any) -> None:
        pass

    def append(self, _item: Any) -> None:
        pass

    def extend(self, _items: Any) -> None:
        pass

    add = append


class _RestrictedUnpickler(pickle.Unpickler):
    """Resolves the few names a tensor needs; every other name gives `Inert`."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch", "Size"):
            return torch.Size
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_tensor"):
            # A new function each time: what a file does to it can't outlive the file.
            return lambda storage, offset, size, stride, *_: torch._utils._rebuild_tensor(storage, offset, size, stride)
        if module == "torch._utils" and name == "_rebuild_parameter":
            return lambda data, *_: data
        return Inert


def load_torch_file(path: Path) -> Any:
    """Contents of a file written by `torch.save`, on the CPU, without executing any of it.

    Returns:
        What was saved; instances of classes outside PyTorch's tensors are replaced by `Inert`.

    Raises:
        ValueError: the file is damaged, isn't a PyTorch file, or is a TorchScript program. Names the path.
    """
    script = False
    # The file is a program for the unpickler, and may run it into anything
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
                if size > path.stat().st_size:
                    raise ValueError(f"it is compressed, to {size} bytes; unpack it, and pack it without compression")
                script = any(name.endswith("/constants.pkl") for name in archive.namelist())
                damaged = archive.testzip()  # torch does not compare the checksums that lie in the file
            if damaged:
                raise ValueError(f"the checksum of {damaged} is wrong")
    except Exception as error:
        raise _unreadable(path, error) from error
    if script:
        raise ValueError(f"{path} is a TorchScript program, not a weights file; save its state_dict instead")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        pass  # foreign classes, or not a pickle at all
    except Exception as error:
        raise _unreadable(path, error) from error
    restricted = types.ModuleType("restricted_pickle")
    vars(restricted).update(
        Unpickler=_RestrictedUnpickler, load=lambda file, **kwargs: _RestrictedUnpickler(file, **kwargs).load()
    )
    try:
        return torch.load(path, map_location="cpu", weights_only=False, pickle_module=restricted)
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ValueError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ValueError(f"{path} can't be read as a PyTorch file (damaged, cut short or another format): {reason}")
