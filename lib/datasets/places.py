"""Where the sequences of a split lie on disk, and which they are: lists, folders and what is packaged."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from lib.datasets.boxes_file import read_names, read_text
from lib.datasets.layout import Layout, Split
from lib.datasets.listing import sub_folders
from lib.datasets.sequence import DatasetError

__all__ = ["PACKAGED", "places_of", "split_folders", "unknown"]

PACKAGED = Path(__file__).parent / "splits"


def split_folders(layout: Layout, split: str, root: Path) -> dict[str, Path | None]:
    """Sequence names of a split, in order, and the folder of each; None where there is none.

    Raises:
        DatasetError: unknown split, a list that is missing or bad, or nothing in the folders of a set without lists.
    """
    if split not in layout.splits:
        raise DatasetError(
            f"{layout.title} has no split {unknown(split, layout.splits)}; it has {', '.join(layout.splits)}"
        )
    rule = layout.splits[split]
    found: dict[str, Path] = {}
    for place in reversed(places_of(rule, root)):
        found.update(sub_folders(place))
    names = _split_names(layout, split, root)
    if names is None:  # without a list: every sequence in the folders of the split
        inner = replace(
            rule, folders=tuple(folder for folder in rule.folders if folder) if rule.everything else (split,)
        )
        names = sorted({name for place in places_of(inner, root) for name in sub_folders(place)})
        if not names:
            looked = ", ".join(rule.folders)
            raise DatasetError(f"{layout.title} {split}: no sequence in {root}; looked in {looked}")
    return {name: found.get(name) for name in names}


def places_of(rule: Split, root: Path) -> list[Path]:
    """The existing folders that may hold sequences of a split, in the order of `rule.folders`."""
    places: dict[Path, None] = {}
    for pattern in rule.folders:
        level = [root]
        for part in Path(pattern).parts:
            level = [child for folder in level for child in _matching(folder, part)]
        places.update(dict.fromkeys(level))
    return list(places)


def _matching(folder: Path, part: str) -> list[Path]:
    """Folders in `folder` that are called `part`, which may hold `*`; sorted."""
    if "*" not in part and (folder / part).is_dir():
        return [folder / part]
    return [path for name, path in sorted(sub_folders(folder).items()) if fnmatch.fnmatch(name.lower(), part.lower())]


def _split_names(layout: Layout, split: str, root: Path) -> list[str] | None:
    rule = layout.splits[split]
    nested = any("*" in folder for folder in rule.folders)
    for candidate in rule.lists:
        path = _ignoring_case(root, candidate)
        if path is not None:
            names = read_names(path, nested)
            return names if rule.picked is None else _picked(names, path, PACKAGED / rule.picked)
    if rule.packaged is not None:
        return read_names(PACKAGED / rule.packaged)
    if rule.everything or split in rule.folders:
        return None
    looked = " or ".join(rule.lists)
    raise DatasetError(f"{layout.title}: no list of split {split!r}: looked for {looked} in {root}")


def _picked(names: list[str], path: Path, numbers_file: Path) -> list[str]:
    numbers = [int(line) for line in read_text(numbers_file).split()]
    if max(numbers) >= len(names):
        raise DatasetError(f"{path}: {len(names)} names; the split needs at least {max(numbers) + 1}")
    return [names[number] for number in numbers]


def _ignoring_case(root: Path, relative: str) -> Path | None:
    """`root/relative` as it is spelled on disk, or None."""
    path = root
    for part in Path(relative).parts:
        if not path.is_dir():
            return None
        if not (path / part).exists():
            spelled = [entry.name for entry in path.iterdir() if entry.name.lower() == part.lower()]
            if not spelled:
                return None
            part = min(spelled)
        path = path / part
    return path


def unknown(name: str, known: Iterable[str]) -> str:
    """The name in quotes, with the nearest known one."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f"{name!r}" + (f" (nearest: {nearest[0]!r})" if nearest else "")
