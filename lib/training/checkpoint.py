"""Checkpoints of a training run: everything that a bit-identical continuation needs, written atomically."""

from __future__ import annotations

import pickle
import shutil
import time
import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from patrack import adapter_parameters
from patrack.files import atomic_write

__all__ = [
    "FORMAT",
    "CheckpointError",
    "Position",
    "TrainingState",
    "config_differences",
    "load_state",
    "model_state",
    "restore_model",
    "save_state",
]

FORMAT = 1
NEUTRAL_KEYS = (
    "data.cache_frames",
    "data.num_workers",
    "data.root",
    "train.checkpoint_every",
    "train.checkpoint_minutes",
    "train.compile",
    "train.max_batch_per_process",
    "train.print_every",
    "train.val_every",
)
"""Keys that may differ on resume: they change how a run is carried out, not what comes out of it."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message says which and why."""


@dataclass
class Position:
    """Where a run stands: epoch (from 1), steps done in it, steps done in all, seconds spent."""

    epoch: int = 1
    step: int = 0
    global_step: int = 0
    seconds: float = 0.0


@dataclass
class TrainingState:
    """Content of a checkpoint; every value can be loaded with `torch.load(weights_only=True)`.

    Attributes:
        config: the resolved configuration as nested dictionaries.
        model: name -> tensor, see `model_state`.
        foundation: hash of the frozen foundation, "" if it trains.
        optimizer, scaler: their `state_dict`s.
        epoch: the epoch to go on with, from 1.
        step: steps of that epoch already done; all of them: only what ends an epoch is left to do.
        global_step: optimiser steps done in the run.
        seconds: wall time spent so far.
        rng: see `lib.training.seeding.rng_state`.
    """

    config: dict[str, Any]
    model: dict[str, Tensor]
    foundation: str
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    epoch: int
    step: int
    global_step: int
    seconds: float
    rng: dict[str, Any]


def model_state(model: nn.Module, trainable: str) -> dict[str, Tensor]:
    """What training changes: the whole model for "all", the tensors inside adapters for "adapters"."""
    state = model.state_dict()
    if trainable == "all":
        return state
    names = adapter_parameters(model)
    return {name: tensor for name, tensor in state.items() if name in names}


def restore_model(model: nn.Module, state: dict[str, Tensor], trainable: str) -> None:
    """Puts a checkpoint's tensors back; the foundation of an adapter run must already be loaded.

    Raises:
        CheckpointError: names or shapes differ; lists them.
    """
    wanted = model_state(model, trainable)
    problems = [f"missing {name}" for name in wanted.keys() - state.keys()]
    problems += [f"unexpected {name}" for name in state.keys() - wanted.keys()]
    problems += [
        f"{name} is {tuple(state[name].shape)}, the model has {tuple(wanted[name].shape)}"
        for name in wanted.keys() & state.keys()
        if state[name].shape != wanted[name].shape
    ]
    if problems:
        raise CheckpointError("checkpoint does not fit the model: " + "; ".join(sorted(problems)))
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(state[name])


def save_state(state: TrainingState, path: Path) -> None:
    """Writes a checkpoint; the file at `path` is either the old or the complete new one.

    Raises:
        OSError: it cannot be written (disk full, no permission); the older file is untouched.
    """
    content = {"kind": "patrack-training", "format": FORMAT}
    content |= {field.name: getattr(state, field.name) for field in fields(state)}
    try:
        with atomic_write(path, "wb") as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        kept = f"the older one (of {_age(path)}) is untouched" if path.exists() else "there is no older one"
        free = shutil.disk_usage(path.parent).free / 1e6 if path.parent.is_dir() else 0
        raise OSError(
            f"cannot write checkpoint {path} ({error}): it needs {_bytes(content) / 1e6:.3g} MB, {free:.3g} MB are "
            f"free there; {kept}. Make room, then go on with --resume"
        ) from error


def _bytes(value: Any) -> int:
    """Size of the tensors in nested dictionaries and lists, nearly all of a checkpoint."""
    if isinstance(value, Tensor):
        return value.nbytes
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return sum(_bytes(item) for item in items)


def _age(path: Path) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(path.stat().st_mtime))


def load_state(path: Path) -> TrainingState:
    """Reads a checkpoint without executing anything in it.

    Raises:
        CheckpointError: damaged, or not a training checkpoint of this format; names the file.
        FileNotFoundError: there is no such file.
    """
    _check_bytes(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {reason}") from error
    if not isinstance(content, dict) or content.pop("kind", None) != "patrack-training":
        raise CheckpointError(f"{path} is not a training checkpoint")
    found = content.pop("format", None)
    names = {field.name for field in fields(TrainingState)}
    if found != FORMAT or content.keys() != names:
        raise CheckpointError(f"{path} has checkpoint format {found}, this version reads {FORMAT}")
    return TrainingState(**content)


def _check_bytes(path: Path) -> None:
    """Compares the checksums that lie in the file, which torch does not do: other bits would be trained on."""
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
        reason = f"the checksum of {damaged} is wrong" if damaged else ""
    except (zipfile.BadZipFile, EOFError, zlib.error, UnicodeDecodeError) as error:
        # a damaged header may hold a name that is no text
        reason = f"{path.stat().st_size} bytes; {error}"
    if reason:
        others = sorted(other.name for other in path.parent.glob("epoch_*.pt") if other != path)
        older = f"copy an older one over it ({', '.join(others)}), or " if others else ""
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: it is damaged or cut off ({reason}); {older}start anew "
            "with --overwrite"
        )


def config_differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """For every key that differs and matters for the result: its dotted name and a line "key: old -> new"."""
    lines = {}
    for key in sorted(old.keys() | new.keys()):
        name = f"{prefix}{key}"
        before, after = old.get(key), new.get(key)
        if name in NEUTRAL_KEYS or before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            lines |= config_differences(before, after, f"{name}.")
        else:
            lines[name] = f"{name}: {before!r} -> {after!r}"
    return lines
