"""What a benchmark ran on, and how it was done."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path
from typing import Any

import torch

from lib.profiling.case import Case
from lib.training.manifest import environment

__all__ = ["conditions", "has_bf16_unit"]

CPU_INFO = Path("/proc/cpuinfo")
BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")


def conditions(case: Case) -> dict[str, Any]:
    """Everything that the numbers depend on."""
    here, device, effort, model = environment(case.device), case.device, case.effort, case.config.model
    width, height = case.image_size
    fewer = "" if math.isinf(effort.seconds) else f", or fewer (at least 3) after {effort.seconds:g} s"
    return {
        "config": " ".join([case.config_name, *case.overrides]),
        "network": f"ViT of {model.depth} blocks, {model.embed_dim} channels, {case.rows} x {case.tokens} tokens, "
        f"template {model.template_size} px, search {model.search_size} px; untrained weights",
        "frames": f"{width}x{height} pixels",
        "machine": f"{platform.node()}, {_cpu_name()}, {os.cpu_count()} cores",
        "device": here["device"],
        "threads": torch.get_num_threads(),
        "precision": ", ".join(case.precisions) + f"; fp32 products on a GPU: {torch.get_float32_matmul_precision()}",
        "bf16 unit": _bf16_unit(device),
        "versions": here["versions"],
        "revision": here["revision"],
        "rounds": f"{effort.warm_up} to warm up, then {effort.repeats}{fewer}; compared things take turns",
        "load": "1, 5 and 15 minutes before the start: " + " ".join(f"{one:.2f}" for one in os.getloadavg()),
    }


def has_bf16_unit(device: torch.device) -> bool:
    """Whether the device multiplies bf16 matrices by itself: a GPU, or a CPU with AMX or AVX-512 BF16."""
    return _bf16_unit(device) != "none known"


def _bf16_unit(device: torch.device) -> str:
    if device.type == "cuda":
        return "GPU"
    return next((name for name in BF16_INSTRUCTIONS if name in _cpu_info("flags").split()), "none known")


def _cpu_name() -> str:
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _cpu_info(field: str) -> str:
    """A line of what Linux says of the first processor; "" elsewhere."""
    if CPU_INFO.is_file():
        for line in CPU_INFO.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == field:
                return value.strip()
    return ""
