"""Mean and standard deviation of the final metrics of runs that differ in their seed."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.training.checkpoint import config_differences
from lib.training.log import LOSS_COLUMNS
from lib.training.manifest import read_manifest
from patrack.files import atomic_write

__all__ = ["SummaryError", "describe", "metrics", "read_runs", "summarise", "write_summary"]


class SummaryError(ValueError):
    """Runs that cannot be averaged; the message says why."""


def read_runs(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Manifests of finished runs that differ in their seed alone.

    Raises:
        SummaryError: a run that is missing or not finished, one seed twice, or other settings or data.
    """
    manifests = [read_manifest(folder) for folder in folders]
    if not manifests:
        raise SummaryError("no run is given")
    problems, seeds = [], {}
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
        raise SummaryError("the runs must differ in their seed alone:\n  " + "\n  ".join(problems))
    return manifests


def metrics(manifest: Mapping[str, Any]) -> dict[str, float]:
    """Final metrics of a run: "train loss", "val iou", ..."""
    final = manifest["final"]
    return {f"{part} {name}": final[part][name] for part in ("train", "val") if final[part] for name in LOSS_COLUMNS}


def summarise(manifests: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Per metric: mean, sample standard deviation (None for one run) and the values."""
    values = [metrics(manifest) for manifest in manifests]
    names = [name for name in values[0] if all(name in one for one in values)]
    columns = {name: [one[name] for one in values] for name in names}
    return {
        name: {
            "mean": statistics.fmean(column),
            "sd": statistics.stdev(column) if len(column) > 1 else None,
            "values": column,
        }
        for name, column in columns.items()
    }


def describe(manifests: Sequence[Mapping[str, Any]]) -> str:
    """A table for people: metric, mean ± sd, number of runs."""
    lines = [f"{'metric':12s} mean ± sd over {len(manifests)} runs"]
    for name, entry in summarise(manifests).items():
        spread = "-" if entry["sd"] is None else f"{entry['sd']:.4f}"
        lines.append(f"{name:12s} {entry['mean']:.4f} ± {spread}")
    return "\n".join(lines)


def write_summary(folders: Sequence[Path], path: Path) -> Path:
    """Writes seeds, folders and the summary as JSON."""
    manifests = read_runs(folders)
    content = {
        "name": manifests[0]["name"],
        "seeds": [manifest["seed"] for manifest in manifests],
        "folders": [str(folder) for folder in folders],
        "metrics": summarise(manifests),
    }
    with atomic_write(path) as file:
        json.dump(content, file, indent=2)
        file.write("\n")
    return path
