"""Processes that train together must have been given the same thing: told at the start, not by a strange result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib.processes import Processes
from lib.training.checkpoint import config_differences

__all__ = ["DisagreementError", "check_agreement"]

COMPARED = ("foundation_sha256", "train", "val", "revision")


class DisagreementError(ValueError):
    """The processes of a run have different configurations, data, foundations or versions; says what differs."""


def check_agreement(facts: Mapping[str, Any], processes: Processes) -> None:
    """Compares what the manifest says with process 0; every process learns of every difference.

    Args:
        facts: see `lib.training.run`: configuration, data sets with checksums, hash of the foundation, versions.
        processes: all of them call this.

    Raises:
        DisagreementError: lists, per process, what it has and what process 0 has.
    """
    mine = {key: facts[key] for key in ("config", "versions", *COMPARED)}
    everybody = processes.gather(mine)
    lines = []
    for rank, theirs in enumerate(everybody):
        lines += [f"process {rank}: {line}" for line in _differences(everybody[0], theirs)]
    if lines:
        raise DisagreementError(
            "the processes were not given the same (process 0 -> the other one):\n  " + "\n  ".join(lines) + "\n"
            "Start all of them with the same command, on the same data, foundation and revision"
        )


def _differences(first: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    lines = list(config_differences(first["config"], other["config"]).values())
    if first["versions"]["torch"] != other["versions"]["torch"]:
        lines.append(f"torch: {first['versions']['torch']} -> {other['versions']['torch']}")
    for key in COMPARED:
        if first[key] != other[key]:
            lines.append(f"{key}: {_short(first[key])} -> {_short(other[key])}")
    return lines


def _short(value: Any) -> str:
    """Data sets as counts and the beginning of their checksum."""
    if not isinstance(value, list):
        return repr(value)
    return ", ".join(
        f"{item['name']} ({item['sequences']} sequences, {item['frames']} frames, {item['sha256'][:12]})"
        for item in value
    )
