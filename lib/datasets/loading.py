"""Finding a data set, the list of a split and its sequences."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from lib.datasets.boxes_file import read_names
from lib.datasets.folder import folder_layout
from lib.datasets.layout import Layout
from lib.datasets.listing import sub_folders
from lib.datasets.reader import read_sequence
from lib.datasets.rgb import rgb_only
from lib.datasets.rgbd import DEPTHTRACK
from lib.datasets.rgbe import VISEVENT
from lib.datasets.rgbt import LASHER
from lib.datasets.sequence import DatasetError, Sequence
from lib.datasets.synthetic import SYNTHETIC

__all__ = ["LAYOUTS", "NAMES", "dataset_root", "load", "resolve_data_root", "split_folders"]

log = logging.getLogger(__name__)

LAYOUTS: dict[str, Layout] = {"lasher": LASHER, "depthtrack": DEPTHTRACK, "visevent": VISEVENT, **SYNTHETIC}
NAMES: tuple[str, ...] = (*LAYOUTS, "synthrgb", "folder")
ENVIRONMENT = "PATRACK_DATA"
PACKAGED_LISTS = Path(__file__).parent / "splits"


def resolve_data_root(cli: str | None = None, config_root: str | None = None) -> Path | None:
    """Folder that holds the data sets: `--data-root`, then PATRACK_DATA, then the config's `data.root`; or None."""
    for origin, value in (("--data-root", cli), (ENVIRONMENT, os.environ.get(ENVIRONMENT)), ("data.root", config_root)):
        if value:
            log.info("data root %s, from %s", value, origin)
            return Path(value).expanduser()
    return None


def load(
    name: str,
    split: str,
    root: Path | None = None,
    data_root: Path | None = None,
    sequences: Iterable[str] | None = None,
) -> list[Sequence]:
    """Index the sequences of a split, in the order of its list. No image is opened.

    Args:
        name: one of `NAMES`.
        split: of the data set, e.g. "train", "val", "test".
        root: folder of this data set; None: its usual name in `data_root`.
        data_root: folder that holds the data sets; see `resolve_data_root`.
        sequences: read only these of the split.

    Raises:
        DatasetError: unknown name, split or sequence; missing folder, list or sequence; files that do not agree.
    """
    if name == "synthrgb":
        return _load_synthrgb(split, root, data_root, sequences)
    root = dataset_root(name, root, data_root)
    layout = folder_layout(root, split) if name == "folder" else LAYOUTS[name]
    folders = split_folders(layout, split, root)
    if sequences is not None:
        wanted = list(sequences)
        for sequence in wanted:
            if sequence not in folders:
                raise DatasetError(f"{layout.title} {split} has no sequence {_unknown(sequence, folders)}")
        folders = {sequence: folders[sequence] for sequence in wanted}
    missing = [sequence for sequence, folder in folders.items() if folder is None]
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        where = " or ".join(str(root / folder) for folder in layout.splits[split].folders)
        raise DatasetError(
            f"{layout.title} {split}: {len(missing)} of {len(folders)} sequences are not in {where}: {shown}"
        )
    return [read_sequence(folder, layout, root) for folder in folders.values()]


def dataset_root(name: str, root: Path | None, data_root: Path | None) -> Path:
    """The existing folder of data set `name`.

    Raises:
        DatasetError: unknown name, no folder given, or none there.
    """
    if name not in NAMES:
        raise DatasetError(f"unknown data set {_unknown(name, NAMES)}; known are {', '.join(NAMES)}")
    usual = "SynthRGBX" if name == "synthrgb" else LAYOUTS[name].folder if name in LAYOUTS else None
    if root is not None:
        if not root.is_dir():
            raise DatasetError(f"data set {name}: no folder {root} (given as the root of this data set)")
        return root
    if usual is None:
        raise DatasetError(
            f"data set {name} has no usual place: give its own root (data.train / data.val: root, or --root)"
        )
    if data_root is None:
        raise DatasetError(
            f"data set {name}: no data root; give --data-root, set {ENVIRONMENT} or data.root in the config to the "
            f"folder that holds {usual}/"
        )
    folder = data_root / usual
    if not folder.is_dir():
        from_environment = os.environ.get(ENVIRONMENT) and Path(os.environ[ENVIRONMENT]).expanduser() == data_root
        origin = f"from {ENVIRONMENT}" if from_environment else "from --data-root or data.root"
        known = ", ".join(sorted(sub_folders(data_root))[:8]) or "no folder"
        raise DatasetError(
            f"data set {name}: looked for a folder {usual} in the data root {data_root} ({origin}), found {known}"
        )
    return folder


def split_folders(layout: Layout, split: str, root: Path) -> dict[str, Path | None]:
    """Sequence names of a split, in order, and the folder of each; None where there is none.

    Raises:
        DatasetError: unknown split, or a list that is missing or bad.
    """
    if split not in layout.splits:
        raise DatasetError(
            f"{layout.title} has no split {_unknown(split, layout.splits)}; it has {', '.join(layout.splits)}"
        )
    rule = layout.splits[split]
    places = [place for folder in rule.folders if (place := _ignoring_case(root, folder)) is not None]
    found: dict[str, Path] = {}
    for place in reversed(places):
        found.update(sub_folders(place))
    names = _split_names(layout, split, root)
    if names is None:  # a folder data set without a list: every sequence in the folder of the split
        names = sorted(sub_folders(root / split))
    return {name: found.get(name) for name in names}


def _split_names(layout: Layout, split: str, root: Path) -> list[str] | None:
    rule = layout.splits[split]
    for candidate in rule.lists:
        path = _ignoring_case(root, candidate)
        if path is not None:
            return read_names(path)
    if rule.packaged is not None:
        return read_names(PACKAGED_LISTS / rule.packaged)
    if split in rule.folders:
        return None
    looked = " or ".join(rule.lists)
    raise DatasetError(f"{layout.title}: no list of split {split!r}: looked for {looked} in {root}")


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


def _load_synthrgb(
    split: str, root: Path | None, data_root: Path | None, sequences: Iterable[str] | None
) -> list[Sequence]:
    """RGB of all three SynthRGBX sets; sequences are named rgbt_*, rgbd_*, rgbe_*."""
    root = dataset_root("synthrgb", root, data_root)
    parts = {layout.modality: name for name, layout in SYNTHETIC.items()}
    present = {part: name for part, name in parts.items() if (root / part).is_dir()}
    if not present:
        raise DatasetError(f"data set synthrgb: none of {', '.join(parts)} in {root}")
    if len(present) < len(parts):
        log.warning("synthrgb: only %s found in %s", ", ".join(present), root)
    loaded = [
        rgb_only(sequence, prefix=f"{part}_")
        for part, name in present.items()
        for sequence in load(name, split, root=root / part)
    ]
    if sequences is None:
        return loaded
    by_name = {sequence.name: sequence for sequence in loaded}
    for sequence in (wanted := list(sequences)):
        if sequence not in by_name:
            raise DatasetError(f"synthrgb {split} has no sequence {_unknown(sequence, by_name)}")
    return [by_name[sequence] for sequence in wanted]


def _unknown(name: str, known: Iterable[str]) -> str:
    """The name in quotes, with the nearest known one."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f"{name!r}" + (f" (nearest: {nearest[0]!r})" if nearest else "")
