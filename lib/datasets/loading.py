"""Find a data set, the list of a split and its sequences."""

from __future__ import annotations

import fnmatch
import json
import logging
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from lib.datasets.catalog import (
    COLLECTIONS,
    DATA_SETS,
    ENVIRONMENT,
    PACKAGED_LISTS,
    SYNTHETIC,
    DataSet,
    Split,
    data_set_names,
)
from lib.datasets.parsing import read_names, read_text
from lib.datasets.reader import read_sequence, sub_folders
from lib.datasets.recordings import folder_data_set
from patrack.files import safe_name, user_path
from patrack.recordings.frames import FrameError, with_value_range
from patrack.recordings.sequence import DataError, FileList, Sequence, first_few, rgb_only, select, unknown

__all__ = ["COCO_SPLITS", "dataset_root", "load", "parent_folders", "split_folders", "to_use_a_part"]

log = logging.getLogger(__name__)

COCO_SPLITS = ("train", "val")
COCO_MIN_SIZE = 50.0
MESSAGES = 3  # about single sequences in one error
_YES, _NO = np.ones(1, dtype=bool), np.zeros(1, dtype=bool)  # shared by hundreds of thousands of sequences
_YES.flags.writeable = _NO.flags.writeable = False


def load(
    name: str,
    split: str,
    root: Path | None = None,
    data_root: Path | None = None,
    sequences: Iterable[str] | None = None,
    problems: dict[str, str] | None = None,
    *,
    for_frames: bool = False,
) -> list[Sequence]:
    """Index the sequences of a split, in the order of its list. No image is opened, unless `for_frames`.

    Args:
        name: one of `data_set_names()`.
        split: e.g. "train", "val", "test".
        root: folder of this data set; None: its usual name in `data_root`.
        data_root: folder that holds the data sets; see `resolve_data_root`.
        sequences: read only these of the split.
        problems: filled with what is wrong with single sequences, which are left out then; None: they are errors.
        for_frames: frames are going to be read: find the range of values of thermal images of more than 8 bits in a
            folder of recordings, see `patrack.recordings.frames.with_value_range`.

    Raises:
        DataError: unknown name, split or sequence; missing folder, list or sequence; files that do not agree.
    """
    root = dataset_root(name, root, data_root)
    if name == "coco":
        return _load_coco(split, root, sequences)
    if name == "synthrgb":
        return _load_synthrgb(split, root, sequences)
    data_set = folder_data_set(root, split) if name == "folder" else DATA_SETS[name]
    folders = select(split_folders(data_set, split, root), sequences, f"{data_set.title} {split}")
    missing = [sequence for sequence, folder in folders.items() if folder is None]
    unreadable: dict[str, str] = {}
    loaded = []
    for sequence, folder in folders.items():
        try:
            if folder is not None:
                read = read_sequence(folder, data_set, root)
                loaded.append(with_value_range(read) if for_frames and name == "folder" else read)
        except (DataError, FrameError) as error:
            unreadable[sequence] = str(error)
    if problems is not None and len(missing) < len(folders):
        # in the order of the list
        texts = {name: f"{name}: no such sequence in {root}" for name in missing} | unreadable
        problems.update({name: texts[name] for name in folders if name in texts})
    elif len(unreadable) == 1 and not missing:
        raise DataError(*unreadable.values())
    elif missing or unreadable:
        where = " or ".join(str(root / folder) for folder in data_set.splits[split].folders)
        lines = []
        if missing:
            lines.append(f"{len(missing)} of {len(folders)} sequences are not in {where}: {first_few(missing)}")
        if unreadable:
            lines.append(f"{len(unreadable)} of {len(folders)} sequences can't be read:")
            lines += [f"  {text}" for text in list(unreadable.values())[:MESSAGES]]
            if len(unreadable) > MESSAGES:
                lines.append(f"  ... and {len(unreadable) - MESSAGES} more")
        lines.append(f"all of it: python scripts/check_data.py --dataset {name} --root {root} --split {split}")
        if missing:
            lines.append(to_use_a_part(data_set, split, root))
        raise DataError(f"{data_set.title} {split}: " + "\n".join(lines))
    return loaded


def to_use_a_part(data_set: DataSet, split: str, root: Path) -> str:
    """Say what to do where sequences of a split are missing."""
    rule = data_set.splits[split]
    on_disk = next((path for file in rule.lists for path in _find(root, file)), None)
    if on_disk is not None:
        return f"copy the missing ones, or take them out of the list {on_disk}"
    own = next((file for file in rule.lists if "*" not in file), None)
    if own is not None:
        here = root / own
        return (
            f"copy the missing ones, or name those that are there in {here}, one a line: it is read instead of our list"
        )
    return "copy the missing ones; tracking takes a part with --sequences NAME ..."


def _load_synthrgb(split: str, root: Path, sequences: Iterable[str] | None) -> list[Sequence]:
    """RGB of all three SynthRGBX sets; sequences are named rgbt_*, rgbd_*, rgbe_*."""
    parts = {DATA_SETS[name].modality: name for name in SYNTHETIC}
    present = {part: name for part, name in parts.items() if (root / part).is_dir()}
    if not present:
        raise DataError(f"data set synthrgb: none of {', '.join(parts)} in {root}")
    if len(present) < len(parts):
        log.warning("synthrgb: only %s found in %s", ", ".join(present), root)
    loaded = [
        rgb_only(sequence, prefix=f"{part}_")
        for part, name in present.items()
        for sequence in load(name, split, root=root / part)
    ]
    return list(select({sequence.name: sequence for sequence in loaded}, sequences, f"synthrgb {split}").values())


def _load_coco(split: str, root: Path, sequences: Iterable[str] | None) -> list[Sequence]:
    """Objects of COCO 2017 (https://arxiv.org/abs/1405.0312): sequences of one image, `<image id>_<annotation id>`.

    Template and search crop then come from the same image, cut and augmented differently. Crowds are left out, and of
    the others those not wider and higher than 50 pixels.
    """
    if split not in COCO_SPLITS:
        raise DataError(f"COCO has no split {unknown(split, COCO_SPLITS)}; it has {', '.join(COCO_SPLITS)}")
    folder, path = root / "images" / f"{split}2017", root / "annotations" / f"instances_{split}2017.json"
    if not folder.is_dir():
        raise DataError(f"COCO {split}: no folder of images {folder}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images = {image["id"]: str(image["file_name"]) for image in content["images"]}
        objects = [item for item in content["annotations"] if not item.get("iscrowd", 0)]
        big = [item for item in objects if item["bbox"][2] > COCO_MIN_SIZE and item["bbox"][3] > COCO_MIN_SIZE]
        if any(len(item["bbox"]) != 4 for item in big) or any({"id", "image_id"} - item.keys() for item in big):
            raise ValueError("an annotation lacks its id, its image_id or 4 numbers in bbox")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{path}: not an instances file of COCO: {type(error).__name__} {error}") from error
    try:
        for file in images.values():
            safe_name(file, "image file")
        for item in big:  # an id may be a text
            safe_name(f"{item['image_id']}_{item['id']}", "ids image_id_id of an annotation")
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    log.info(
        "%s: %d of %d objects are above %g x %g pixels", path.name, len(big), len(objects), COCO_MIN_SIZE, COCO_MIN_SIZE
    )

    by_name: dict[str, Sequence] = {}
    for item in big:
        image = images.get(item["image_id"])
        if image is None:
            raise DataError(f"{path}: annotation {item['id']} belongs to no image (image_id {item['image_id']})")
        name = f"{item['image_id']}_{item['id']}"
        by_name[name] = Sequence(
            name=name,
            modality="rgb",
            rgb_files=FileList(folder, (image,)),
            x_files=None,
            boxes=np.array([item["bbox"]], dtype=np.float64),
            visible=_YES,
            absent=_NO,
            still=True,
        )
    kind = f"object wider and higher than {COCO_MIN_SIZE:g} px"
    return list(select(by_name, sequences, f"COCO {split}", kind).values())


def dataset_root(name: str, root: Path | None, data_root: Path | None) -> Path:
    """Find the existing folder of data set `name`.

    Raises:
        DataError: unknown name, no folder given, or none there.
    """
    known_names = data_set_names()
    if name not in known_names:
        raise DataError(f"unknown data set {unknown(name, known_names)}; known are {', '.join(known_names)}")
    usual = DATA_SETS[name].usual_folder if name in DATA_SETS else COLLECTIONS.get(name)
    if root is not None:
        root = user_path(root)
        if not root.is_dir():
            raise DataError(f"data set {name}: no folder {root} (given as the root of this data set)")
        return root
    if usual is None:
        raise DataError(
            f"data set {name} has no usual place: give its own root (data.train / data.val: root, or --root)"
        )
    if data_root is None:
        raise DataError(
            f"data set {name}: no data root; give --data-root, set {ENVIRONMENT} or data.root in the config to the "
            f"folder that holds {usual}/"
        )
    folder = data_root / usual
    if not folder.is_dir():
        from_environment = os.environ.get(ENVIRONMENT) and user_path(os.environ[ENVIRONMENT]) == data_root
        origin = f"from {ENVIRONMENT}" if from_environment else "from --data-root or data.root"
        known = ", ".join(sorted(sub_folders(data_root))[:8]) or "no folder"
        raise DataError(
            f"data set {name}: looked for a folder {usual} in the data root {data_root} ({origin}), found {known}"
        )
    return folder


def split_folders(data_set: DataSet, split: str, root: Path) -> dict[str, Path | None]:
    """Find the sequences of a split: names, in order, and the folder of each; None where there is none.

    Raises:
        DataError: unknown split, a list that is missing or bad, or nothing in the folders of a set without lists.
    """
    title = data_set.title
    if split not in data_set.splits:
        raise DataError(f"{title} has no split {unknown(split, data_set.splits)}; it has {', '.join(data_set.splits)}")
    rule = data_set.splits[split]
    folder_of: dict[str, Path] = {}
    for parent in reversed(parent_folders(rule, root)):
        folder_of.update(sub_folders(parent))

    # The names: from a list on disk, from the packaged list, or all that is there.
    on_disk = [path for file in rule.lists for path in _find(root, file)]
    if on_disk:
        path = on_disk[0]
        names = read_names(path, nested=any("*" in folder for folder in rule.folders))
        if rule.picked is not None:
            numbers = [int(line) for line in read_text(PACKAGED_LISTS / rule.picked).split()]
            if max(numbers) >= len(names):
                raise DataError(f"{path}: {len(names)} names; the split needs at least {max(numbers) + 1}")
            names = [names[number] for number in numbers]
    elif rule.packaged is not None:
        names = read_names(PACKAGED_LISTS / rule.packaged)
    elif rule.everything or split in rule.folders:
        inner = tuple(folder for folder in rule.folders if folder) if rule.everything else (split,)
        parents = parent_folders(replace(rule, folders=inner), root)
        names = sorted({name for parent in parents for name in sub_folders(parent)})
        if not names:
            raise DataError(f"{title} {split}: no sequence in {root}; looked in {', '.join(rule.folders)}")
    else:
        looked = " or ".join(rule.lists)
        raise DataError(f"{title}: no list of split {split!r}: looked for {looked} in {root}")
    return {name: folder_of.get(name) for name in names}


def parent_folders(rule: Split, root: Path) -> list[Path]:
    """Find the existing folders that may hold sequences of a split, in the order of `rule.folders`."""
    found = [path for pattern in rule.folders for path in _find(root, pattern) if path.is_dir()]
    return list(dict.fromkeys(found))


def _find(root: Path, pattern: str) -> list[Path]:
    """Existing paths that fit `root/pattern`, where `*` stands for any name; a name may be there in another case."""
    level = [root]
    for part in Path(pattern).parts:
        below: list[Path] = []
        for folder in level:
            if "*" not in part and (folder / part).exists():
                below.append(folder / part)
            elif folder.is_dir():
                below += sorted(path for path in folder.iterdir() if fnmatch.fnmatch(path.name.lower(), part.lower()))
        level = below
    return level
