"""A workspace of the VOT toolkit for a data set that lies on this machine: nothing is downloaded, no image is copied.

<workspace>/config.yaml                    stack (the protocol) and registry
<workspace>/trackers.ini                   how the toolkit starts our tracker
<workspace>/sequences/list.txt             names; without this file the toolkit downloads its own data set
<workspace>/sequences/<name>/sequence      where the frames of each channel are, image size
<workspace>/sequences/<name>/groundtruth.txt, anchor.value, ...
<workspace>/results/                       written by the toolkit; never touched here
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from lib.datasets.catalog import DATA_SETS, DataSet
from lib.datasets.frames import read_image
from lib.datasets.loading import dataset_root, split_folders
from lib.datasets.parsing import parse_boxes, read_text
from lib.datasets.reader import frame_number, list_frames
from lib.datasets.sequence import DatasetError, FileList, unknown
from patrack.files import atomic_write

__all__ = ["STACKS", "Stack", "VotSequence", "WorkspaceError", "find_sequences", "spread_anchors", "write_workspace"]

SUFFIXES = (".jpg", ".png")  # the toolkit knows no others
EXTRAS = ("*.value", "*.tag", "*.label")  # files of a VOT sequence that hold something per frame
ANCHORS = "anchor.value"
NOTHING = "nan,nan,nan,nan"


class WorkspaceError(ValueError):
    """A workspace that can't be written; the message lists everything that is wrong."""


@dataclass(frozen=True)
class Stack:
    """A protocol of the toolkit.

    Attributes:
        name: that the toolkit knows it by; before version 0.6 the first was called votrgbd2021.
        experiment: its only one, which is also a folder name below results/<tracker>/.
        multi_start: runs from anchors, with `anchor.value` in every sequence; otherwise one run per sequence.
    """

    name: str
    experiment: str
    multi_start: bool


_LONG_TERM = Stack("vot2021/rgbd", "rgbd-unsupervised", multi_start=False)
_MULTI_START = Stack("vot2022/rgbd", "baseline", multi_start=True)
STACKS = {
    "depthtrack": _LONG_TERM,
    "cdtb": _LONG_TERM,
    "rgbd1k": _LONG_TERM,
    "synthrgbd": _LONG_TERM,
    "votrgbd2022": _MULTI_START,
}
"""The protocol by which a data set is scored."""


@dataclass(frozen=True, eq=False)
class VotSequence:
    """One sequence of N frames, as the toolkit will see it.

    Attributes:
        name: of the sequence.
        frames: N files by channel, "color" and "depth".
        truth: N lines of `groundtruth.txt`; NaN where the target is absent or nothing is known.
        present: (N,) bool: whether the line holds a box.
        size: width and height, pixels.
        extras: content of the other files by name.
    """

    name: str
    frames: dict[str, FileList]
    truth: tuple[str, ...]
    present: np.ndarray
    size: tuple[int, int]
    extras: dict[str, str] = field(default_factory=dict)


def find_sequences(
    dataset: str,
    split: str,
    root: Path | None = None,
    data_root: Path | None = None,
    names: Iterable[str] | None = None,
) -> list[VotSequence]:
    """Check and read the sequences of an RGB-D data set; only the first image of each channel is opened.

    Args:
        dataset: a key of `STACKS`.
        split: of the data set.
        root: its folder; None: its usual name in `data_root`.
        data_root: folder that holds the data sets.
        names: only these sequences.

    Raises:
        WorkspaceError: listing all sequences that can't be used.
        DatasetError: no such data set, split, list or sequence.
    """
    if dataset not in STACKS:
        raise WorkspaceError(
            f"no VOT stack for data set {unknown(dataset, STACKS)}; there is one for: {', '.join(STACKS)}"
        )
    folder_of = split_folders(DATA_SETS[dataset], split, dataset_root(dataset, root, data_root))
    wanted = list(folder_of) if names is None else list(dict.fromkeys(names))
    found, problems = [], []
    for name in wanted:
        if name not in folder_of:
            raise DatasetError(f"{DATA_SETS[dataset].title} {split} has no sequence {unknown(name, folder_of)}")
        try:
            found.append(_read(name, folder_of[name], DATA_SETS[dataset]))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise WorkspaceError(f"{len(problems)} of {len(wanted)} sequences can't be used:\n" + "\n".join(problems))
    return found


def _read(name: str, folder: Path | None, layout: DataSet) -> VotSequence:
    if folder is None:
        raise DatasetError(f"sequence {name}: in the list, but there is no such folder")
    frames = {"color": _channel(folder / layout.rgb), "depth": _channel(folder / layout.x[0])}
    count = len(frames["color"])
    if len(frames["depth"]) != count:
        raise DatasetError(f"sequence {name}: {count} color and {len(frames['depth'])} depth images in {folder}")
    sizes = {channel: read_image(files[0], -1).shape[1::-1] for channel, files in frames.items()}
    if sizes["color"] != sizes["depth"]:
        raise DatasetError(f"sequence {name}: color is {sizes['color']}, depth {sizes['depth']} pixels (width, height)")
    file = next((folder / box_file for box_file in layout.boxes if (folder / box_file).is_file()), None)
    if file is None:
        raise DatasetError(f"sequence {name}: no annotation in {folder} (looked for {', '.join(layout.boxes)})")
    text = read_text(file)
    boxes, wrong = parse_boxes(text, polygons=True)
    if wrong:
        raise DatasetError(f"{file}:{wrong[0][0]}: {wrong[0][1]}")
    present = np.zeros(count, dtype=bool)
    present[: len(boxes)] = ~np.isnan(boxes[:count]).any(axis=1)
    if not present[0]:
        raise DatasetError(f"{file}: the first frame has no box, so there is nothing to start from")
    lines = [",".join(re.split(r"[,\s]+", line.strip(", \t"))) for line in text.splitlines()]
    truth = tuple(lines[number] if there else NOTHING for number, there in enumerate(present))
    extras = {path.name: read_text(path) for pattern in EXTRAS for path in sorted(folder.glob(pattern))}
    return VotSequence(name, frames, truth, present, sizes["color"], extras)


def _channel(folder: Path) -> FileList:
    files = list_frames(folder)
    assert isinstance(files, FileList)  # a folder never gives video frames
    numbers = [frame_number(name) for name in files.names]
    missing = sorted(set(range(numbers[0], numbers[-1] + 1)) - set(numbers))
    if missing or len(set(numbers)) < len(numbers):
        said = f"no image {', '.join(map(str, missing[:5]))}" if missing else "two images of one number"
        raise DatasetError(f"{folder}: {said} between {files.names[0]} and {files.names[-1]}")
    suffixes = {Path(name).suffix for name in files.names}
    if len(suffixes) > 1 or not suffixes <= set(SUFFIXES):
        raise DatasetError(f"{folder}: the toolkit wants all images as {' or '.join(SUFFIXES)}, got {sorted(suffixes)}")
    return files


def spread_anchors(present: np.ndarray, step: int) -> np.ndarray:
    """Anchors for a data set that has none: a start at every `step`-th frame towards the farther end.

    Args:
        present: (N,) bool; where the target is absent the next frame that shows it is taken.
        step: frames.

    Returns:
        (N,): 1 for a run to the end, -1 for one back to the beginning, 0 for none.

    Raises:
        ValueError: a step below 1.
    """
    if step < 1:
        raise ValueError(f"anchors must be at least 1 frame apart, got {step}")
    anchors, shown = np.zeros(len(present), dtype=int), np.flatnonzero(present)
    for frame in [*range(0, len(present), step), len(present) - 1]:
        place = shown[min(np.searchsorted(shown, frame), len(shown) - 1)]
        anchors[place] = 1 if place < len(present) - place else -1
    return anchors


def write_workspace(folder: Path, stack: Stack, sequences: list[VotSequence], anchors: int | None = None) -> None:
    """Write or renew a workspace; its results, analyses and other sequences stay.

    Args:
        folder: of the workspace.
        stack: the protocol.
        sequences: see `find_sequences`.
        anchors: distance of anchors for a multi-start stack if the data set has none.

    Raises:
        WorkspaceError: it is a workspace of another stack, a path the toolkit can't read, or anchors that are missing.
        OSError: it can't be written.
    """
    if "%" in str(folder.resolve()):
        raise WorkspaceError(f"the toolkit can't read a workspace with % in its path: {folder.resolve()}")
    config = folder / "config.yaml"
    found = yaml.safe_load(read_text(config)) if config.is_file() else None
    if isinstance(found, dict) and found.get("stack") != stack.name:
        raise WorkspaceError(
            f"{folder} is a workspace for stack {found.get('stack')}, not {stack.name}; choose another folder"
        )
    files = {sequence.name: _files(sequence, stack, anchors) for sequence in sequences}
    for sequence in sequences:
        place = folder / "sequences" / sequence.name
        for name, content in files[sequence.name].items():
            _write(place / name, content)
        properties = {channel: _pattern(place, channel, images) for channel, images in sequence.frames.items()}
        lines = [f"channels.{channel}={pattern}" for channel, pattern in properties.items()]
        width, height = sequence.size
        _write(place / "sequence", "\n".join([*lines, "fps=30", f"width={width}", f"height={height}", ""]))
    _write(folder / "sequences" / "list.txt", "".join(f"{sequence.name}\n" for sequence in sequences))
    if found is None:
        _write(config, yaml.safe_dump({"stack": stack.name, "registry": ["./trackers.ini"]}))


def _files(sequence: VotSequence, stack: Stack, anchors: int | None) -> dict[str, str]:
    """Everything of a sequence folder but `sequence`, by file name."""
    files = {**sequence.extras, "groundtruth.txt": "\n".join(sequence.truth) + "\n"}
    if stack.multi_start and ANCHORS not in files:
        if anchors is None:
            raise WorkspaceError(
                f"sequence {sequence.name}: no {ANCHORS}, which says where runs start; stack {stack.name} needs it "
                "(--anchors 50 makes some, but numbers are then not those of the challenge)"
            )
        files[ANCHORS] = "".join(f"{value}\n" for value in spread_anchors(sequence.present, anchors))
    return files


def _pattern(place: Path, channel: str, images: FileList) -> str:
    """What the toolkit makes file names of, with the frame number from 1: into the data set, or to links in `place`."""
    suffix = Path(images.names[0]).suffix
    names = [f"{number:08d}{suffix}" for number in range(1, len(images) + 1)]
    base = images.folder.resolve()
    if list(images.names) != names or "%" in str(base):
        base = Path(channel)
        for name, image in zip(names, images, strict=True):
            _link(place / channel / name, image.resolve())
    return f"{base.as_posix()}/%08d{suffix}"


def _link(link: Path, target: Path) -> None:
    if link.is_symlink():
        if link.readlink() == target:
            return
        link.unlink()
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)


def _write(path: Path, content: str) -> None:
    with atomic_write(path) as file:
        file.write(content)
