"""`run.json`: what made the weights in a run folder, and how the run ended."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from lib.config import project_path
from lib.files import atomic_write
from lib.training.sampling import Source, usable_frames

__all__ = ["MANIFEST", "describe_sources", "environment", "read_manifest", "update_manifest"]

MANIFEST = "run.json"
PACKAGES = ("numpy", "opencv-python", "safetensors", "torch")


def environment(device: torch.device) -> dict[str, Any]:
    """Revision, versions and hardware."""
    cuda = device.type == "cuda"
    return {
        "revision": git_revision(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name(device) if cuda else str(device),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }


def git_revision() -> str | None:
    """Commit of the project, with "+changes" if tracked files differ from it; None outside a repository."""
    root = str(project_path())
    try:
        revision, changes = (
            subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, timeout=10, check=True).stdout
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return revision.strip() + ("+changes" if changes.strip() else "")


def describe_sources(sources: Iterable[Source]) -> list[dict[str, Any]]:
    """Name, weight and counts of each data set."""
    return [
        {
            "name": source.name,
            "weight": source.weight,
            "sequences": len(source.sequences),
            "frames": sum(len(sequence) for sequence in source.sequences),
            "usable_frames": sum(len(usable_frames(sequence)) for sequence in source.sequences),
        }
        for source in sources
    ]


def update_manifest(folder: Path, values: Mapping[str, Any]) -> None:
    """Sets keys of a run's manifest; the others stay."""
    content = read_manifest(folder) | dict(values)
    with atomic_write(folder / MANIFEST) as file:
        json.dump(content, file, indent=2)
        file.write("\n")


def read_manifest(folder: Path) -> dict[str, Any]:
    """A run's manifest; empty if there is none."""
    path = folder / MANIFEST
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
