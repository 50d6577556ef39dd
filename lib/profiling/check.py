"""Bounds that measured ratios must keep: a guard against changes that make it slower without anybody noticing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.profiling.rows import Row
from patrack.config import yamlfile

__all__ = ["BOUNDS", "Bound", "compare", "read_bounds"]

BOUNDS = Path(__file__).with_name("bounds.yaml")
FIELDS = {"key", "config", "device", "at_most", "at_least", "bf16_unit", "measured"}


@dataclass(frozen=True)
class Bound:
    """A limit of one number.

    Attributes:
        key: of the row.
        config: experiment it holds for.
        device: "cpu" or "cuda".
        at_most, at_least: the limit; one of them.
        bf16_unit: holds only where the device multiplies bf16 matrices by itself.
        measured: values that the limit was set by, in words.
    """

    key: str
    config: str
    device: str = "cpu"
    at_most: float | None = None
    at_least: float | None = None
    bf16_unit: bool = False
    measured: str = ""

    def applies(self, config: str, device: str, bf16_unit: bool) -> bool:
        """Whether it holds for a run."""
        return (self.config, self.device) == (config, device) and (bf16_unit or not self.bf16_unit)

    def keeps(self, value: float) -> bool:
        """Whether a value lies inside; NaN doesn't."""
        return value <= self.at_most if self.at_most is not None else value >= self.at_least

    def __str__(self) -> str:
        limit = f"at most {self.at_most:g}" if self.at_most is not None else f"at least {self.at_least:g}"
        return f"{self.key} {limit}"


def read_bounds(path: Path = BOUNDS) -> list[Bound]:
    """All bounds of a file: a list `bounds` of mappings with the fields of `Bound`.

    Raises:
        ValueError: a mistake in the file, all of them named.
    """
    file = yamlfile.read(path)
    mistakes, bounds = [str(mistake) for mistake in file.mistakes], []
    for number, item in enumerate(file.data.get("bounds", [])):
        problem = _problem(item)
        if problem:
            mistakes.append(f"{path}: bound {number + 1}: {problem}")
        else:
            bounds.append(Bound(**item))
    if mistakes:
        raise ValueError("\n".join(mistakes))
    return bounds


def compare(rows: Iterable[Row], bounds: Iterable[Bound], **run: Any) -> tuple[list[str], bool]:
    """Every bound that applies to a run beside its value.

    Args:
        rows: what was measured.
        bounds: from `read_bounds`.
        run: arguments of `Bound.applies`.

    Returns:
        A line per bound; and whether all of them hold, of which at least one was measured.
    """
    values = {row.key: row for row in rows}
    lines, good, seen = [], True, 0
    for bound in bounds:
        if not bound.applies(**run):
            continue
        row = values.get(bound.key)
        if row is None:
            lines.append(f"not measured  {bound}")
            continue
        kept = bound.keeps(row.value)
        good, seen = good and kept, seen + 1
        lines.append(f"{'holds' if kept else 'BROKEN':<13} {bound}: {row.value:.3f} {row.unit}".rstrip())
    if not seen:
        lines.append(f"BROKEN        no bound was measured that applies to config {run['config']} on {run['device']}")
    return lines, good and seen > 0


def _problem(item: Any) -> str:
    if not isinstance(item, Mapping):
        return f"must be a mapping, got {item!r}"
    unknown, missing = sorted(set(item) - FIELDS), sorted({"key", "config"} - set(item))
    if unknown or missing:
        return f"unknown fields {unknown}, missing fields {missing}; allowed are {', '.join(sorted(FIELDS))}"
    limits = [item[name] for name in ("at_most", "at_least") if name in item]
    if len(limits) != 1 or isinstance(limits[0], bool) or not isinstance(limits[0], int | float):
        return f"needs one number at_most or at_least, got {limits}"
    return ""
