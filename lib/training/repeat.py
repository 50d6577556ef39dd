"""Repeating a run from its own folder: the same settings, data and foundation, or an error that says what differs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from lib.training.checkpoint import config_differences
from lib.training.manifest import MANIFEST, read_manifest
from patrack import config as config_files
from patrack.config.schema import Config

__all__ = ["RepeatError", "Repetition", "check_data", "check_same", "compare_weights", "read_run"]

logger = logging.getLogger(__name__)


class RepeatError(ValueError):
    """A run cannot be repeated or go on; the message says why."""


@dataclass(frozen=True)
class Repetition:
    """What a run folder says about how to repeat its run.

    Attributes:
        config: as it was.
        data_root: where its data lay, None if only the configuration said so.
        threads: CPU threads that it used.
    """

    config: Config
    data_root: str | None
    threads: int | None


def read_run(folder: Path, overrides: list[str]) -> Repetition:
    """Reads the folder of a run.

    Args:
        folder: holds `config.yaml` and `run.json`.
        overrides: only settings that cannot change the result.

    Raises:
        RepeatError: no run there, or a setting that would make it another run.
    """
    manifest = read_manifest(folder)
    if "data_fingerprint" not in manifest:
        raise RepeatError(_no_run(folder))
    before, now = config_files.load(folder), config_files.load(folder, overrides)
    differences = config_differences(before.model_dump(mode="json"), now.model_dump(mode="json"))
    for key in ("name", "model.foundation"):  # a folder's name, and a file whose content is compared later
        differences.pop(key, None)
    if differences:
        raise RepeatError(
            f"--from {folder} repeats a run as it was; these settings make it another one:\n  "
            + "\n  ".join(differences.values())
            + f"\nFor that, give --config {folder} and the settings"
        )
    return Repetition(now, manifest.get("data_root"), manifest.get("threads"))


def _no_run(folder: Path) -> str:
    if not folder.is_dir():
        return f"--from {folder}: there is no such folder"
    if (folder / MANIFEST).exists():
        return f"--from {folder}: its {MANIFEST} is of no training that began (no data fingerprint in it)"
    inside = sorted(str(path.parent) for path in folder.glob(f"*/{MANIFEST}"))
    hint = f"; did you mean {' or '.join(inside[:3])}?" if inside else ""
    return f"--from {folder}: is not the folder of a run, which would hold {MANIFEST}{hint}"


def check_data(option: str, before: Mapping[str, Any], now: Mapping[str, Any], folder: Path, allowed: bool) -> None:
    """Compares the data of a run's manifest, if it has any, with those that are there now.

    Raises:
        RepeatError: other data, unless allowed: that is logged.
    """
    if before.get("data_fingerprint") in (None, now["data_fingerprint"]):
        return
    lines = [
        f"data: {_counts(a)} -> {_counts(b)}"
        for a, b in zip_longest(before["train"] + before["val"], now["train"] + now["val"])
        if a != b
    ]
    if not allowed:
        raise RepeatError(
            f"{option}: the data are not those of the run in {folder}:\n  "
            + "\n  ".join(lines)
            + "\nGive the same data (--data-root), or accept the other ones: --allow-other-data"
        )
    logger.warning("other data than those of the run in %s: %s", folder, "; ".join(lines))


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path, allow_other_data: bool) -> None:
    """Compares a run's manifest with what is there now.

    Raises:
        RepeatError: other data (unless allowed), or another foundation.
    """
    check_data(f"--from {folder}", before, now, folder, allow_other_data)
    # adapters: the weights that stay as they are; else: the file that the training started from
    mine, theirs = (
        manifest["foundation_sha256"] or (manifest.get("foundation_file") or {}).get("sha256")
        for manifest in (now, before)
    )
    if theirs != mine:
        file = now["config"]["model"]["foundation"]
        raise RepeatError(
            f"--from {folder}: another foundation (SHA-256 of the weights): {theirs} -> {mine}; {file} has changed "
            "since: put the old file back, or name it with model.foundation=FILE"
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


def _counts(item: Mapping[str, Any] | None) -> str:
    if item is None:
        return "none"
    return f"{item['name']} ({item['sequences']} sequences, {item['frames']} frames, {item['sha256'][:12]})"
