"""Data sets: `load` gives the sequences of a split, `patrack.recordings.frames.read_frame` their frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lib.datasets.catalog import DATA_SETS, data_set_names, resolve_data_root
from patrack.recordings.sequence import DataError, Sequence

if TYPE_CHECKING:
    from lib.datasets.loading import load

__all__ = ["DATA_SETS", "DataError", "Sequence", "data_set_names", "load", "resolve_data_root"]


def __getattr__(name: str) -> Any:
    """Import `load` at its first use: scoring needs the table, but no OpenCV."""
    if name != "load":
        raise AttributeError(f"module 'lib.datasets' has no attribute {name!r}")
    from lib.datasets.loading import load

    return load
