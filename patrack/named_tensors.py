"""Named tensors between files and models: reading, checking, copying, hashing, writing. No layout is known here."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patrack.safe_load import load_torch_file

__all__ = ["WeightsError", "fill", "hash_tensors", "problems", "read_tensors", "write_tensors"]

_WRAPPERS = ("net", "model", "state_dict")
_POSITION_EMBEDDING = re.compile(r"(.*\.)?pos_embed_[zx]")


class WeightsError(ValueError):
    """A weights file that doesn't fit; the message lists everything that is wrong with it."""


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, on the CPU, and the header of a safetensors or PyTorch file; the format is told by content.

    In a PyTorch file the tensors lie at the top or under "net", "model" or "state_dict"; its header is what texts
    stand at the top, and under "config" the configuration of a training as JSON.

    Raises:
        WeightsError: no such file, damaged, or no tensors in it.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise WeightsError(f"can't read weights file {path}: {error.strerror or error}") from error
    if start[8:] == b"{":
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})
        except (safetensors.SafetensorError, OSError) as error:
            raise WeightsError(f"{path} is a damaged safetensors file: {error}") from error
    try:
        contents: Any = load_torch_file(path)
    except ValueError as error:
        raise WeightsError(str(error)) from error
    tensors = _tensors_in(contents)
    if not tensors:
        raise WeightsError(f"{path} holds no tensors, neither at the top nor under {', '.join(_WRAPPERS)}")
    metadata = {key: value for key, value in contents.items() if isinstance(key, str) and isinstance(value, str)}
    if isinstance(contents.get("config"), Mapping):
        metadata["config"] = json.dumps(contents["config"], default=str, skipkeys=True)
    return tensors, metadata


def _tensors_in(contents: Any) -> dict[str, Tensor]:
    if not isinstance(contents, Mapping):
        return {}
    for key in _WRAPPERS:
        if isinstance(contents.get(key), Mapping):
            contents = contents[key]
            break
    return {name: value for name, value in contents.items() if isinstance(name, str) and isinstance(value, Tensor)}


def write_tensors(tensors: Mapping[str, Tensor], path: Path, header: Mapping[str, str]) -> None:
    """Write a safetensors file; an earlier file of that name is replaced at the very end, in one step.

    Raises:
        WeightsError: a tensor isn't finite.
        OSError: the folder can't be written.
    """
    broken = [name for name, tensor in tensors.items() if not _finite(tensor)]
    if broken:
        raise WeightsError(_message(f"{path} not written", [_listed("not finite (NaN, or too large)", broken)]))
    data = _sorted_header(
        safetensors.torch.save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, dict(header))
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sorted_header(data: bytes) -> bytes:
    """A safetensors file with the keys of its header in order: the library's order of texts differs from run to run."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors start at a multiple of 8
    return len(header).to_bytes(8, "little") + header + data[end:]


def fill(
    model: nn.Module,
    names: Mapping[str, str],
    tensors: Mapping[str, Tensor],
    source: str,
    unused: Iterable[str] = (),
    resize_position_embeddings: bool = False,
) -> None:
    """Copy tensors into a model, all or none.

    Args:
        model: its tensors named in `names` are overwritten.
        names: the model's name -> the name in `tensors`. A 1x1 convolution there fits a linear layer here.
        tensors: what was read.
        source: named in errors.
        unused: patterns (whole names) of tensors that are left out knowingly; anything else left over is an error.
        resize_position_embeddings: interpolate them where the token grid differs.

    Raises:
        WeightsError: tensors missing, left over, of another shape, or not finite.
    """
    own = model.state_dict()
    fitted = {
        theirs: _fit(tensors[theirs], own[ours], ours, resize_position_embeddings)
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
    """What keeps tensors from filling a model (see `fill`): one text per kind of problem, empty if they fit."""
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
    }
    found = [_listed(kind, entries) for kind, entries in lists.items() if entries]
    if any("pos_embed_" in entry for entry in misshaped):
        found.append(
            "position embeddings belong to another token grid: use files for this template_size, search_size "
            "and patch_size, or set model.resize_position_embeddings=true"
        )
    return found


def _fit(tensor: Tensor, own: Tensor, name: str, resize: bool) -> Tensor:
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
        digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def _listed(kind: str, entries: list[str]) -> str:
    return "\n  ".join([f"{len(entries)} {kind}:", *(f"  {entry}" for entry in entries)])


def _message(title: str, found: list[str]) -> str:
    return "\n  ".join([f"{title}:", *found])
