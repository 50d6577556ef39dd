"""Checkpoints of a training run: everything that a bit-identical continuation needs, written atomically."""

from __future__ import annotations

import random
import shutil
import time
import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from patrack import Network, adapter_parameters
from patrack.config import with_new_names
from patrack.devices import first_line
from patrack.files import atomic_write

__all__ = [
    "FORMAT",
    "Position",
    "TrainingState",
    "load_state",
    "model_state",
    "restore_model",
    "rng_state",
    "save_state",
    "seed_everything",
    "set_rng_state",
]

FORMAT = 1


@dataclass
class Position:
    """Progress of a run: epoch (from 1), steps done in it, steps done in all, seconds spent."""

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
        base_model: hash of the frozen base model, "" if it trains.
        optimizer, scaler: their `state_dict`s.
        epoch: the epoch to go on with, from 1.
        step: steps of that epoch already done; all of them: only what ends an epoch is left to do.
        global_step: optimizer steps done in the run.
        seconds: wall time spent so far.
        rng: see `rng_state`.
    """

    config: dict[str, Any]
    model: dict[str, Tensor]
    base_model: str
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    epoch: int
    step: int
    global_step: int
    seconds: float
    rng: dict[str, Any]


def model_state(model: Network, trainable: str) -> dict[str, Tensor]:
    """Returns the tensors that training changes: all for "all", those inside adapters for "adapters"."""
    state = model.state_dict()
    if trainable == "all":
        return state
    names = adapter_parameters(model)
    return {name: tensor for name, tensor in state.items() if name in names}


def restore_model(model: Network, state: dict[str, Tensor], trainable: str) -> None:
    """Puts a checkpoint's tensors back; the base model of an adapter run must already be loaded.

    Raises:
        ValueError: names or shapes differ; lists them.
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
        raise ValueError("checkpoint does not fit the model: " + "; ".join(sorted(problems)))
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(state[name])


def save_state(state: TrainingState, path: Path) -> None:
    """Writes a checkpoint; the file at `path` is either the old or the complete new one.

    Raises:
        OSError: it cannot be written (disk full, no permission); the older file is untouched.
    """
    content = {"kind": "patrack-training", "format": FORMAT, **vars(state)}
    try:
        with atomic_write(path, "wb") as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        kept = "there is no older one"
        if path.exists():
            written = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(path.stat().st_mtime))
            kept = f"the older one (of {written}) is untouched"
        free = shutil.disk_usage(path.parent).free / 1e6 if path.parent.is_dir() else 0
        raise OSError(
            f"cannot write checkpoint {path} ({error}): it needs {_bytes(content) / 1e6:.3g} MB, {free:.3g} MB are "
            f"free there; {kept}. Make room, then go on with --resume"
        ) from error


def _bytes(value: Any) -> int:
    """Adds up the tensors in nested dictionaries and lists, nearly all of a checkpoint."""
    if isinstance(value, Tensor):
        return value.nbytes
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return sum(_bytes(item) for item in items)


def load_state(path: Path) -> TrainingState:
    """Reads a checkpoint without executing anything in it.

    Raises:
        ValueError: damaged, or not a training checkpoint of this format; names the file.
        FileNotFoundError: there is no such file.
    """
    # torch does not compare the checksums that lie in the file: other bits would be trained on
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
        raise ValueError(
            f"{path} cannot be read as a checkpoint: it is damaged or cut off ({reason}); {older}start anew "
            "with --overwrite"
        )

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises anything
        raise ValueError(f"{path} cannot be read as a checkpoint: {first_line(error)}") from error
    if not isinstance(content, dict) or content.pop("kind", None) != "patrack-training":
        raise ValueError(f"{path} is not a training checkpoint")
    content = with_new_names(content)
    version = content.pop("format", None)
    if version != FORMAT or content.keys() != {field.name for field in fields(TrainingState)}:
        raise ValueError(f"{path} has checkpoint format {version}, this version reads {FORMAT}")
    return TrainingState(**content)


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and torch (all devices): initial weights, dropout and stochastic depth follow from it.

    Samples do not: each has a generator of its own (`lib.training.samples.sample_generator`).
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def rng_state() -> dict[str, Any]:
    """Reads the Python, NumPy, torch and CUDA generators, in types that `torch.load(weights_only=True)` accepts."""
    name, keys, position, has_gauss, cached = cast(tuple, np.random.get_state())
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(cached)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Restores what `rng_state` returned; the CUDA part is skipped when the number of devices differs."""
    random.setstate(state["python"])
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([item.cpu() for item in state["cuda"]])
