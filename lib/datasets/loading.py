"""Finding a data set, the list of a split and its sequences."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from lib.datasets.coco import COCO_FOLDER, load_coco
from lib.datasets.folder import folder_layout
from lib.datasets.layout import Layout
from lib.datasets.listing import sub_folders
from lib.datasets.places import PACKAGED, split_folders, unknown
from lib.datasets.reader import read_sequence
from lib.datasets.rgb import GOT10K, LASOT, REALVIDEO, TRACKINGNET, rgb_only
from lib.datasets.rgbd import CDTB, DEPTHTRACK, RGBD1K, VOTRGBD2022
from lib.datasets.rgbe import COESOT, FE108, VISEVENT
from lib.datasets.rgbt import GTOT, LASHER, RGBT210, RGBT234, VTUAV
from lib.datasets.sequence import DatasetError, Sequence
from lib.datasets.synthetic import SYNTHETIC

__all__ = ["LAYOUTS", "NAMES", "PACKAGED_LISTS", "dataset_root", "load", "resolve_data_root"]

log = logging.getLogger(__name__)

LAYOUTS: dict[str, Layout] = {
    "lasher": LASHER,
    "rgbt234": RGBT234,
    "rgbt210": RGBT210,
    "gtot": GTOT,
    "vtuav": VTUAV,
    "depthtrack": DEPTHTRACK,
    "rgbd1k": RGBD1K,
    "cdtb": CDTB,
    "votrgbd2022": VOTRGBD2022,
    "visevent": VISEVENT,
    "coesot": COESOT,
    "fe108": FE108,
    "got10k": GOT10K,
    "lasot": LASOT,
    "trackingnet": TRACKINGNET,
    "realvideo": REALVIDEO,
    **SYNTHETIC,
}
JOINED = {"coco": COCO_FOLDER, "synthrgb": "SynthRGBX"}  # sets that are no layout, and their usual folders
NAMES: tuple[str, ...] = (*LAYOUTS, *JOINED, "folder")
ENVIRONMENT = "PATRACK_DATA"
PACKAGED_LISTS = PACKAGED


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
    problems: dict[str, str] | None = None,
) -> list[Sequence]:
    """Index the sequences of a split, in the order of its list. No image is opened.

    Args:
        name: one of `NAMES`.
        split: of the data set, e.g. "train", "val", "test".
        root: folder of this data set; None: its usual name in `data_root`.
        data_root: folder that holds the data sets; see `resolve_data_root`.
        sequences: read only these of the split.
        problems: filled with what is wrong with single sequences, which are left out then; None: they are errors.

    Raises:
        DatasetError: unknown name, split or sequence; missing folder, list or sequence; files that do not agree.
    """
    if name == "synthrgb":
        return _load_synthrgb(split, root, data_root, sequences)
    root = dataset_root(name, root, data_root)
    if name == "coco":
        return load_coco(split, root, sequences)
    layout = folder_layout(root, split) if name == "folder" else LAYOUTS[name]
    folders = split_folders(layout, split, root)
    if sequences is not None:
        wanted = list(sequences)
        for sequence in wanted:
            if sequence not in folders:
                raise DatasetError(f"{layout.title} {split} has no sequence {unknown(sequence, folders)}")
        folders = {sequence: folders[sequence] for sequence in wanted}
    missing = [sequence for sequence, folder in folders.items() if folder is None]
    if missing and problems is not None and len(missing) < len(folders):
        problems.update({name: f"{name}: no such sequence in {root}" for name in missing})
    elif missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        where = " or ".join(str(root / folder) for folder in layout.splits[split].folders)
        raise DatasetError(
            f"{layout.title} {split}: {len(missing)} of {len(folders)} sequences are not in {where}: {shown}"
        )
    loaded = []
    for sequence, folder in folders.items():
        try:
            if folder is not None:
                loaded.append(read_sequence(folder, layout, root))
        except DatasetError as error:
            if problems is None:
                raise
            problems[sequence] = str(error)
    return loaded


def dataset_root(name: str, root: Path | None, data_root: Path | None) -> Path:
    """The existing folder of data set `name`.

    Raises:
        DatasetError: unknown name, no folder given, or none there.
    """
    if name not in NAMES:
        raise DatasetError(f"unknown data set {unknown(name, NAMES)}; known are {', '.join(NAMES)}")
    usual = LAYOUTS[name].folder if name in LAYOUTS else JOINED.get(name)
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
            raise DatasetError(f"synthrgb {split} has no sequence {unknown(sequence, by_name)}")
    return [by_name[sequence] for sequence in wanted]
