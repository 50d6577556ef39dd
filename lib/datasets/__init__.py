"""Data sets: `load` gives the sequences of a split, `lib.datasets.frames.read_frame` their frames."""

from __future__ import annotations

from lib.datasets.loading import LAYOUTS, NAMES, load, resolve_data_root
from lib.datasets.sequence import DatasetError, Sequence

__all__ = ["LAYOUTS", "NAMES", "DatasetError", "Sequence", "load", "resolve_data_root"]
