"""`run.json`, the manifest of a run folder: what made its weights, and how the run ended; comparing runs by it.

Compared are the processes of one run, a run that goes on, a run and its repetition, runs that differ in their seed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.training.log import LOSS_COLUMNS
from lib.training.samples import Source, usable_frames
from patrack import config as configs
from patrack.config.schema import Config
from patrack.files import atomic_write
from patrack.recordings.sequence import FileList, VideoFrame

if TYPE_CHECKING:  # reading a manifest needs no PyTorch
    import torch

    from lib.distributed import DistributedContext

__all__ = [
    "MANIFEST",
    "check_agreement",
    "check_data",
    "check_same",
    "compare_weights",
    "config_differences",
    "describe",
    "describe_sources",
    "differences",
    "environment",
    "fingerprint",
    "hardware",
    "read_manifest",
    "read_run",
    "read_runs",
    "summarize",
    "update_manifest",
    "write_summary",
]

logger = logging.getLogger(__name__)

MANIFEST = "run.json"
PACKAGES = ("numpy", "opencv-python", "opencv-python-headless", "safetensors", "timm", "torch")
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


def environment(device: torch.device) -> dict[str, Any]:
    """Describes revision, versions and what the process runs on."""
    import torch

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
    import torch

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
    root = str(configs.project_path())
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
            if sequence.x_range is not None or sequence.x_transform is not None:
                digest.update(f"{sequence.x_range} {sequence.x_transform}\n".encode())
            for files in (sequence.rgb_files, sequence.x_files):
                if isinstance(files, FileList):
                    names = [files.folder.name, *files.names]
                else:
                    names = [
                        f"{item.parent.name}/{item.name}"
                        if isinstance(item, Path)
                        else f"{item.path.name}#{item.index if isinstance(item, VideoFrame) else item.start_us}"
                        for item in files or ()
                    ]
                digest.update("\n".join([*names, ""]).encode())
            digest.update(np.where(np.isnan(sequence.boxes), np.nan, sequence.boxes).astype(np.float64).tobytes())
            for flags in (sequence.visible, sequence.absent):
                digest.update(np.ascontiguousarray(flags, np.bool_).tobytes())
    return {"sequences": sequences, "frames": frames, "sha256": digest.hexdigest()}


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
    return configs.with_new_names(content)


# ---- Comparing runs


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Returns, for every key that differs, its dotted name and a line "key: old -> new"."""
    lines: dict[str, str] = {}
    for key in sorted(old.keys() | new.keys()):
        name, before, after = f"{prefix}{key}", old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines |= differences(before, after, f"{name}.")
        elif before != after:
            lines[name] = f"{name}: {before!r} -> {after!r}"
    return lines


def config_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """Returns the `differences` of two configurations that matter for the result."""
    return {name: line for name, line in differences(old, new).items() if name not in NEUTRAL_KEYS}


def _counts(source: Mapping[str, Any] | None) -> str:
    """Shortens a data set of a manifest to its counts and the beginning of its checksum."""
    if source is None:
        return "none"
    return f"{source['name']} ({source['sequences']} sequences, {source['frames']} frames, {source['sha256'][:12]})"


def check_agreement(facts: Mapping[str, Any], context: DistributedContext) -> None:
    """Compares the facts of all processes with those of process 0; every process calls it and learns all differences.

    Raises:
        ValueError: lists, per process, what it has and what process 0 has.
    """
    compared = ("base_model_sha256", "train", "val", "revision")
    everybody = context.all_gather({key: facts[key] for key in ("config", "versions", *compared)})
    first, lines = everybody[0], []
    for rank, other in enumerate(everybody):
        found = list(config_differences(first["config"], other["config"]).values())
        if first["versions"]["torch"] != other["versions"]["torch"]:
            found.append(f"torch: {first['versions']['torch']} -> {other['versions']['torch']}")
        for key in compared:
            if first[key] != other[key]:
                before, after = (
                    ", ".join(map(_counts, value)) if isinstance(value, list) else repr(value)
                    for value in (first[key], other[key])
                )
                found.append(f"{key}: {before} -> {after}")
        lines += [f"process {rank}: {line}" for line in found]
    if lines:
        raise ValueError(
            "the processes were not given the same (process 0 -> the other one):\n  " + "\n  ".join(lines) + "\n"
            "Start all of them with the same command, on the same data, base model and revision"
        )


def read_run(folder: Path, overrides: list[str]) -> tuple[Config, dict[str, Any]]:
    """Reads the configuration, with overrides that cannot change the result, and the manifest of a run to repeat.

    Raises:
        ValueError: no run there, or a setting that would make it another run.
    """
    manifest = read_manifest(folder)
    if "data_fingerprint" not in manifest:
        if not folder.is_dir():
            raise ValueError(f"--from {folder}: there is no such folder")
        if (folder / MANIFEST).exists():
            raise ValueError(f"--from {folder}: its {MANIFEST} is of no training that began: no data fingerprint")
        inside = sorted(str(path.parent) for path in folder.glob(f"*/{MANIFEST}"))
        hint = f"; did you mean {' or '.join(inside[:3])}?" if inside else ""
        raise ValueError(f"--from {folder}: is not the folder of a run, which would hold {MANIFEST}{hint}")
    before, now = configs.load(folder), configs.load(folder, overrides)
    changed = config_differences(before.model_dump(mode="json"), now.model_dump(mode="json"))
    for key in ("name", "model.base_model"):  # a folder's name, and a file whose content is compared later
        changed.pop(key, None)
    if changed:
        raise ValueError(
            f"--from {folder} repeats a run as it was; these settings make it another one:\n  "
            + "\n  ".join(changed.values())
            + f"\nFor that, give --config {folder} and the settings"
        )
    return now, manifest


def check_data(option: str, before: Mapping[str, Any], now: Mapping[str, Any], folder: Path, allowed: bool) -> None:
    """Compares the data of a run's manifest, if it has any, with those that are there now.

    Raises:
        ValueError: other data, unless allowed: that is logged.
    """
    if before.get("data_fingerprint") in (None, now["data_fingerprint"]):
        return
    lines = [
        f"data: {_counts(a)} -> {_counts(b)}"
        for a, b in zip_longest(before["train"] + before["val"], now["train"] + now["val"])
        if a != b
    ]
    if not allowed:
        raise ValueError(
            f"{option}: the data are not those of the run in {folder}:\n  "
            + "\n  ".join(lines)
            + "\nGive the same data (--data-root), or accept the other ones: --allow-other-data"
        )
    logger.warning("other data than those of the run in %s: %s", folder, "; ".join(lines))


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path, allow_other_data: bool) -> None:
    """Compares the manifest of a run that is repeated with what is there now.

    Raises:
        ValueError: other data (unless allowed), or another base model.
    """
    check_data(f"--from {folder}", before, now, folder, allow_other_data)
    # adapters: the weights that stay as they are; else: the file that the training started from
    mine, theirs = (
        manifest["base_model_sha256"] or (manifest.get("base_model_file") or {}).get("sha256")
        for manifest in (now, before)
    )
    if theirs != mine:
        file = now["config"]["model"]["base_model"]
        raise ValueError(
            f"--from {folder}: another base model (SHA-256 of the weights): {theirs} -> {mine}; {file} has changed "
            "since: put the old file back, or name it with model.base_model=FILE"
        )
    for key in ("revision", "versions", "processes", "threads", "device"):
        if before.get(key) != now[key]:
            logger.warning("%s was %s, is %s: bits may differ", key, before.get(key), now[key])


def compare_weights(folder: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Says how near a finished repetition came to the run in `folder`; for the manifest."""
    before = read_manifest(folder)
    theirs = (before.get("weights") or {}).get("sha256")
    if theirs is None:
        logger.warning("%s did not finish: there is nothing to compare with", folder)
        return {"folder": str(folder), "identical": None}
    identical = theirs == values["weights"]["sha256"]
    losses = [manifest["final"]["train"].get("loss") for manifest in (before, values)]
    outcome = "bit-identical to" if identical else "NOT bit-identical to"
    logger.info("the weights are %s those of %s; loss of the last epoch %s -> %s", outcome, folder, *losses)
    return {"folder": str(folder), "identical": identical, "loss_before": losses[0], "loss_now": losses[1]}


def read_runs(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Reads the manifests of finished runs that differ in their seed alone.

    Raises:
        ValueError: a run that is missing or not finished, one seed twice, or other settings or data.
    """
    manifests = [read_manifest(folder) for folder in folders]
    if not manifests:
        raise ValueError("no run is given")
    problems: list[str] = []
    seeds: dict[int, Path] = {}
    for folder, manifest in zip(folders, manifests, strict=True):
        if manifest.get("status") != "finished" or "config" not in manifest:
            problems.append(f"{folder}: no finished run (status {manifest.get('status', 'none')})")
            continue
        if manifest["seed"] in seeds:
            problems.append(f"{folder}: seed {manifest['seed']} again, as {seeds[manifest['seed']]}")
        seeds[manifest["seed"]] = folder
        first = next(item for item in manifests if "config" in item)
        lines = config_differences(first["config"], manifest["config"])
        lines.pop("seed", None)
        problems += [f"{folder}: {line}" for line in lines.values()]
        if manifest["data_fingerprint"] != first["data_fingerprint"]:
            problems.append(f"{folder}: other data than {folders[0]}")
    if problems:
        raise ValueError("the runs must differ in their seed alone:\n  " + "\n  ".join(problems))
    return manifests


def summarize(manifests: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Averages the final metrics of runs.

    Returns:
        By metric ("train loss", "val iou", ...) its "mean", "sd" (sample standard deviation; None for one run) and
        "values".
    """
    finals = [manifest["final"] for manifest in manifests]
    summary = {}
    for part in ("train", "val"):
        for name in LOSS_COLUMNS if all(final[part] for final in finals) else ():
            values = [final[part][name] for final in finals]
            spread = statistics.stdev(values) if len(values) > 1 else None
            summary[f"{part} {name}"] = {"mean": statistics.fmean(values), "sd": spread, "values": values}
    return summary


def describe(manifests: Sequence[Mapping[str, Any]]) -> str:
    """Makes a table for people: metric, mean ± sd, number of runs."""
    lines = [f"{'metric':12s} mean ± sd over {len(manifests)} runs"]
    for name, entry in summarize(manifests).items():
        spread = "-" if entry["sd"] is None else f"{entry['sd']:.4f}"
        lines.append(f"{name:12s} {entry['mean']:.4f} ± {spread}")
    return "\n".join(lines)


def write_summary(folders: Sequence[Path], path: Path) -> Path:
    """Writes seeds, folders and the summary of runs as JSON."""
    manifests = read_runs(folders)
    content = {
        "name": manifests[0]["name"],
        "seeds": [manifest["seed"] for manifest in manifests],
        "folders": [str(folder) for folder in folders],
        "metrics": summarize(manifests),
    }
    with atomic_write(path) as file:
        json.dump(content, file, indent=2)
        file.write("\n")
    return path
