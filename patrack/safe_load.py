"""Reading PyTorch files of unknown origin: tensors come back, no code in the file runs.

Trackers of the OSTrack family pickle their settings and statistics beside the weights, so that `torch.load` wants their
classes, or refuses. Here every class and function named in a file that is not needed for a tensor becomes an inert
stand-in, whatever it is.
"""

from __future__ import annotations

import pickle
import types
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

__all__ = ["load_torch_file"]

_FAILURES = (
    RuntimeError,
    OSError,
    EOFError,
    ImportError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    SafetensorError,  # torch.load reads files named .safetensors too
)


class Inert:
    """Stands for anything a file names that isn't part of a tensor: takes every argument and does nothing."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Inert:
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def __call__(self, *_args: Any, **_kwargs: Any) -> Inert:
        return self

    def __setstate__(self, _state: Any) -> None:
        pass

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


def _pickle_module() -> types.ModuleType:
    module = types.ModuleType("restricted_pickle")
    module.Unpickler = _RestrictedUnpickler
    module.load = lambda file, **kwargs: _RestrictedUnpickler(file, **kwargs).load()
    return module


def load_torch_file(path: Path) -> Any:
    """Contents of a file written by `torch.save`, on the CPU, without executing any of it.

    Returns:
        What was saved; instances of classes outside PyTorch's tensors are replaced by `Inert`.

    Raises:
        ValueError: the file is damaged, isn't a PyTorch file, or is a TorchScript program. Names the path.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise ValueError(f"{path} is a TorchScript program, not a weights file; save its state_dict instead")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        pass  # foreign classes, or not a pickle at all
    except _FAILURES as error:
        raise _unreadable(path, error) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=False, pickle_module=_pickle_module())
    except (pickle.UnpicklingError, *_FAILURES) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ValueError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ValueError(f"{path} can't be read as a PyTorch file (damaged, cut short or another format): {reason}")
