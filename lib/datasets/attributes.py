"""Which challenges a sequence shows, as the data sets note it down."""

from __future__ import annotations

import functools
from pathlib import Path

from lib.datasets.boxes_file import read_names, read_text
from lib.datasets.layout import Layout
from lib.datasets.sequence import DatasetError

__all__ = ["read_attributes"]

NAMES_FILE = "SequencesName.txt"


def read_attributes(root: Path, name: str, layout: Layout) -> tuple[str, ...]:
    """Attributes of a sequence: none if the data set has no file about it.

    Raises:
        DatasetError: a file of flags that does not fit `layout.attribute_names`.
    """
    if layout.attributes_by_column:
        return _by_column(root / layout.attribute_folder, layout.attribute_names).get(name, ())
    path = root / layout.attribute_folder / f"{name}.txt"
    if not path.is_file():
        return ()
    text, names = read_text(path), layout.attribute_names
    if not names:
        return tuple(field.strip() for field in text.replace("\n", ",").split(",") if field.strip())
    return _flagged(path, names, text.replace(",", " ").split(), " ".join(names))


@functools.lru_cache(maxsize=4)
def _by_column(folder: Path, attributes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    if not (folder / NAMES_FILE).is_file():
        return {}
    names = read_names(folder / NAMES_FILE)
    carried: dict[str, tuple[str, ...]] = dict.fromkeys(names, ())
    for attribute in attributes:
        path = folder / f"{attribute}.txt"
        flagged = _flagged(
            path, tuple(names), read_text(path).replace(",", " ").split(), f"one per line of {NAMES_FILE}"
        )
        for name in flagged:
            carried[name] = (*carried[name], attribute)
    return carried


def _flagged(path: Path, names: tuple[str, ...], fields: list[str], meaning: str) -> tuple[str, ...]:
    """The names whose field is 1."""
    if len(fields) != len(names) or not set(fields) <= {"0", "1"}:
        raise DatasetError(f"{path}: expected {len(names)} flags of 0 or 1 ({meaning}), got {fields[:20]}")
    return tuple(name for name, flag in zip(names, fields, strict=True) if flag == "1")
