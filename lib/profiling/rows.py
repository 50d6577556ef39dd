"""Numbers of a benchmark, each with its unit and spread, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from patrack.files import atomic_write

__all__ = ["Row", "as_text", "exact", "median", "write_json"]


@dataclass(frozen=True)
class Row:
    """One number.

    Attributes:
        key: section.name, the same in every run; bounds refer to it.
        text: what it is.
        value: the median, or the number itself.
        unit: of it; "" for ratios.
        low, high: quartiles; None for what wasn't measured repeatedly.
        rounds: measurements behind it.
        precision: of weights and activations; "" where there are none.
        at: batch size, tokens, ... for a number on a curve.
        note: what to keep in mind.
    """

    key: str
    text: str
    value: float
    unit: str = ""
    low: float | None = None
    high: float | None = None
    rounds: int = 1
    precision: str = ""
    at: float | None = None
    note: str = ""


def median(key: str, text: str, values: np.ndarray, unit: str = "", **more: Any) -> Row:
    """A row of repeated measurements (rounds,)."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return Row(key, text, middle, unit, low, high, len(values), **more)


def exact(key: str, text: str, value: float, unit: str = "", **more: Any) -> Row:
    """A row of one number."""
    return Row(key, text, float(value), unit, **more)


def as_text(conditions: Mapping[str, Any], sections: Mapping[str, Sequence[Row]]) -> str:
    """The report: conditions, then a line per number with its quartiles.

    Args:
        conditions: from `lib.profiling.machine.conditions`.
        sections: rows by the name of their section.
    """
    lines = [f"{name:<11} {_plain(value)}" for name, value in conditions.items()]
    for section, rows in sections.items():
        lines += ["", f"{section}  (median [quartiles]; n: rounds)"]
        lines += [_line(row) for row in rows]
    return "\n".join(lines)


def write_json(path: Path, conditions: Mapping[str, Any], sections: Mapping[str, Sequence[Row]]) -> None:
    """Everything as one JSON file.

    Raises:
        OSError: it can't be written.
    """
    content = {"conditions": dict(conditions), "rows": [asdict(row) for rows in sections.values() for row in rows]}
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=1, allow_nan=False) + "\n")


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _line(row: Row) -> str:
    spread = "" if row.low is None else f"[{_number(row.low)}, {_number(row.high)}] n={row.rounds}"
    note = f"  {row.note}" if row.note else ""
    return f"  {row.text:<58} {_number(row.value):>9} {row.unit:<8} {spread}{note}".rstrip()


def _number(value: float) -> str:
    size = abs(value)
    digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 else 3
    return f"{value:.{digits}f}" if size >= 0.01 or size == 0 else f"{value:.1e}"
