"""`run.json`, the manifest of a run folder: settings, data and machine that made its weights, and how the run ended."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.datasets.sequence import FileList, VideoFrame
from lib.training.sampling import Source, usable_frames
from patrack.config import project_path
from patrack.files import atomic_write

if TYPE_CHECKING:
    import torch

__all__ = [
    "MANIFEST",
    "describe_sources",
    "environment",
    "file_sha256",
    "fingerprint",
    "hardware",
    "read_manifest",
    "update_manifest",
]

MANIFEST = "run.json"
PACKAGES = ("numpy", "opencv-python", "opencv-python-headless", "safetensors", "timm", "torch")


def environment(device: torch.device) -> dict[str, Any]:
    """Describes revision, versions and what the process runs on."""
    import torch  # here, so that reading a manifest doesn't load it

    revision, versions = git_revision(), {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "revision": revision,
        "dirty": None if revision is None else revision.endswith("+changes"),
        "versions": versions,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }


def hardware() -> dict[str, Any]:
    """Describes processor, cores, memory and GPUs of this machine."""
    import torch  # see `environment`

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory / 1e9, 1),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
    }


def git_revision() -> str | None:
    """Returns the project's commit, with "+changes" if tracked files differ from it; None outside a repository."""
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
    """Lists name, weight, counts and checksum of each data set."""
    return [
        {
            "name": source.name,
            "weight": source.weight,
            "usable_frames": sum(len(usable_frames(sequence)) for sequence in source.sequences),
        }
        | fingerprint([source])
        for source in sources
    ]


def fingerprint(sources: Iterable[Source]) -> dict[str, Any]:
    """Counts sequences and frames, and takes the SHA-256 of the index: what a sample can be drawn from, wherever the
    files lie.

    The index is names, modalities, file names with their folder, boxes and flags, in order. Pixels are not read.
    """
    digest, sequences, frames = hashlib.sha256(), 0, 0
    for source in sources:
        digest.update(f"{source.name} {source.weight!r}\n".encode())
        for sequence in source.sequences:
            sequences, frames = sequences + 1, frames + len(sequence)
            digest.update(f"{sequence.name} {sequence.modality} {sequence.clip_depth} {len(sequence)}\n".encode())
            for files in (sequence.rgb_files, sequence.x_files):
                if isinstance(files, FileList):
                    names = [files.folder.name, *files.names]
                else:
                    names = [
                        f"{item.path.name}#{item.index}"
                        if isinstance(item, VideoFrame)
                        else f"{item.parent.name}/{item.name}"
                        for item in files or ()
                    ]
                digest.update("\n".join([*names, ""]).encode())
            digest.update(np.where(np.isnan(sequence.boxes), np.nan, sequence.boxes).astype(np.float64).tobytes())
            for flags in (sequence.visible, sequence.absent):
                digest.update(np.ascontiguousarray(flags, np.bool_).tobytes())
    return {"sequences": sequences, "frames": frames, "sha256": digest.hexdigest()}


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def update_manifest(folder: Path, values: Mapping[str, Any]) -> None:
    """Sets keys of a run's manifest; the others stay."""
    content = read_manifest(folder) | dict(values)
    with atomic_write(folder / MANIFEST) as file:
        json.dump(content, file, indent=2)
        file.write("\n")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads a run's manifest; empty if there is none.

    Raises:
        ValueError: it is damaged; names the file.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it, or put back a copy") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no manifest of a run: it holds a {type(content).__name__}")
    return content
