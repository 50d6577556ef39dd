"""Devices that can be used on this machine."""

from __future__ import annotations

import torch

__all__ = ["first_line", "usable_device"]


def usable_device(name: str | None) -> torch.device:
    """Returns the device that --device names; by default a GPU if there is one.

    Raises:
        ValueError: there is no such device, or it can't be used on this machine.
    """
    gpus = torch.cuda.device_count()  # counting and comparing keeps a process off the GPUs of the others
    if name is None:
        return torch.device("cuda" if gpus else "cpu")
    try:
        device = torch.device(name)
        if device.type != "cuda":
            torch.empty(1, device=device)
        elif (device.index or 0) >= gpus:
            raise RuntimeError("there is no such GPU, or PyTorch was built without CUDA")
    except (RuntimeError, NotImplementedError, AssertionError) as error:  # the type depends on how PyTorch was built
        raise ValueError(
            f"--device {name!r} can't be used: {first_line(error)}; this machine has {gpus} CUDA devices, and cpu "
            "always works"
        ) from error
    return device


def first_line(error: BaseException) -> str:
    """Returns the first line of what PyTorch says, which goes on with where in its code that happened."""
    return (str(error).splitlines() or [type(error).__name__])[0]
