"""Where a report's pictures come from: the data set itself, if it is there."""

from __future__ import annotations

from collections.abc import Callable

from lib.datasets import NAMES, load, resolve_data_root
from lib.datasets.sequence import Sequence

__all__ = ["LoadSequence", "find_images"]

LoadSequence = Callable[[str], Sequence]
"""Gives a sequence with its image files by its name; raises ValueError or OSError if it cannot."""


def find_images(dataset: str, split: str, data_root: str | None) -> tuple[LoadSequence | None, str]:
    """How the sequences of a data set are loaded, one by one, when they are to be shown.

    Args:
        dataset: name of the benchmark.
        split: of the data set.
        data_root: folder that holds the data sets; None: the environment variable PATRACK_DATA.

    Returns:
        A function, or None; and why there is none, in words for the reader of the report.
    """
    root = resolve_data_root(data_root)
    if root is None:
        return None, "the images need --data-root or PATRACK_DATA"
    if dataset not in NAMES:
        return None, f"the images of {dataset} cannot be read"
    return lambda name: load(dataset, split, None, root, [name])[0], ""
