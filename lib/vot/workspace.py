"""A workspace of the VOT toolkit for a data set that lies on this machine: nothing is downloaded, no image is copied.

<workspace>/config.yaml                    stack (the protocol) and registry
<workspace>/trackers.ini                   how the toolkit starts our tracker
<workspace>/sequences/list.txt             names; without this file the toolkit downloads its own data set
<workspace>/sequences/<name>/sequence      where the frames of each channel are, image size
<workspace>/sequences/<name>/groundtruth.txt, anchor.value, ...
<workspace>/results/                       written by the toolkit; never touched here, see `lib.vot.results`
"""

from __future__ import annotations

import configparser
import glob
import os
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from lib.datasets.catalog import DATA_SETS
from lib.datasets.loading import dataset_root, split_folders
from lib.datasets.parsing import read_boxes, read_text
from lib.datasets.reader import annotation_file
from patrack.config import experiment_names, load, project_path
from patrack.config.schema import Config
from patrack.files import atomic_write, safe_name, user_path
from patrack.modality import JOINT
from patrack.recordings.frames import read_image
from patrack.recordings.listing import list_frames
from patrack.recordings.naming import frame_number
from patrack.recordings.sequence import DataError, FileList, first_few, select, unknown

__all__ = [
    "COLOR",
    "REGISTRY",
    "STACKS",
    "X_CHANNELS",
    "Stack",
    "VotSequence",
    "channels_of",
    "find_sequences",
    "registry_with",
    "spread_anchors",
    "tracker_command",
    "workspace_stack",
    "write_workspace",
]

COLOR = "color"
X_CHANNELS = {"rgbd": "depth", "rgbt": "ir"}  # TraX has no channel for events
SUFFIXES = (".jpg", ".png")  # the toolkit knows no others
EXTRAS = ("*.value", "*.tag", "*.label")  # files of a VOT sequence that hold something per frame
ANCHORS = "anchor.value"
NOTHING = "nan,nan,nan,nan"
REGISTRY = "trackers.ini"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*")


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
    """Check and read the sequences of an RGB-D data set, a key of `STACKS`, found as `lib.datasets.load` does.

    Only the first image of each channel is opened.

    Raises:
        ValueError: no such data set, split, list or sequence; or listing all sequences that can't be used.
    """
    if dataset not in STACKS:
        raise ValueError(f"no VOT stack for data set {unknown(dataset, STACKS)}; there is one for: {', '.join(STACKS)}")
    folder_of = split_folders(DATA_SETS[dataset], split, dataset_root(dataset, root, data_root))
    wanted = select(folder_of, names, f"{DATA_SETS[dataset].title} {split}")
    sequences, problems = [], []
    for name, folder in wanted.items():
        try:
            sequences.append(_read_sequence(name, folder, dataset))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError(f"{len(problems)} of {len(wanted)} sequences can't be used:\n" + "\n".join(problems))
    return sequences


def _read_sequence(name: str, folder: Path | None, dataset: str) -> VotSequence:
    if folder is None:
        raise DataError(f"sequence {name}: in the list, but there is no such folder")
    layout = DATA_SETS[dataset]
    frames: dict[str, FileList] = {}
    for channel, place in (("color", folder / layout.rgb), ("depth", folder / layout.x[0])):
        files = list_frames(place)
        assert isinstance(files, FileList)  # a folder never gives video frames
        frames[channel] = files
        numbers = [frame_number(file) for file in files.names]
        missing = sorted(set(range(numbers[0], numbers[-1] + 1)) - set(numbers))
        if missing or len(set(numbers)) < len(numbers):
            said = f"no image {', '.join(map(str, missing[:5]))}" if missing else "two images of one number"
            raise DataError(f"{place}: {said} between {files.names[0]} and {files.names[-1]}")
        suffixes = {Path(file).suffix for file in files.names}
        if len(suffixes) > 1 or not suffixes <= set(SUFFIXES):
            wanted = " or ".join(SUFFIXES)
            raise DataError(f"{place}: the toolkit wants all images as {wanted}, got {sorted(suffixes)}")
    count = len(frames["color"])
    if len(frames["depth"]) != count:
        raise DataError(f"sequence {name}: {count} color and {len(frames['depth'])} depth images in {folder}")
    sizes = {channel: read_image(files[0], -1).shape[1::-1] for channel, files in frames.items()}
    if sizes["color"] != sizes["depth"]:
        raise DataError(f"sequence {name}: color is {sizes['color']}, depth {sizes['depth']} pixels (width, height)")

    # Lines of the annotation stay as they are, polygons too, but for separators and missing boxes
    file = annotation_file(folder, layout)
    boxes = read_boxes(file, polygons=True)
    present = np.zeros(count, dtype=bool)
    present[: len(boxes)] = ~np.isnan(boxes[:count]).any(axis=1)
    if not present[0]:
        raise DataError(f"{file}: the first frame has no box, so there is nothing to start from")
    lines = [",".join(re.split(r"[,\s]+", line.strip(", \t"))) for line in read_text(file).splitlines()]
    truth = tuple(lines[number] if there else NOTHING for number, there in enumerate(present))
    extras = {path.name: read_text(path) for pattern in EXTRAS for path in sorted(folder.glob(pattern))}
    return VotSequence(name, frames, truth, present, sizes["color"], extras)


def spread_anchors(present: np.ndarray, step: int) -> np.ndarray:
    """Make anchors for a data set that has none: a start at every `step`-th frame towards the farther end.

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
        start = shown[min(np.searchsorted(shown, frame), len(shown) - 1)]
        anchors[start] = 1 if start < len(present) - start else -1
    return anchors


def write_workspace(
    folder: Path,
    stack: Stack,
    sequences: list[VotSequence],
    anchors: int | None = None,
    registry: str | None = None,
) -> None:
    """Write or renew a workspace; its results, analyses and other sequences stay.

    A sequence that has results, of any tracker, must keep the place of its images, first box, length and anchors.

    Args:
        folder: of the workspace.
        stack: the protocol.
        sequences: from `find_sequences`.
        anchors: distance of anchors for a multi-start stack if the data set has none.
        registry: text of `trackers.ini`, see `registry_with`; None: left as it is.

    Raises:
        ValueError: it is a workspace of another stack, a path the toolkit can't read, anchors that are missing, or
            results that are of other data; nothing is written then.
        OSError: it can't be written.
    """
    if "%" in str(folder.resolve()):
        raise ValueError(f"the toolkit can't read a workspace with % in its path: {folder.resolve()}")
    config = folder / "config.yaml"
    present = _read_config(config)
    if isinstance(present, dict) and present.get("stack") != stack.name:
        raise ValueError(
            f"{folder} is a workspace for stack {present.get('stack')}, not {stack.name}; choose another folder"
        )

    # Texts and links first: whatever is refused is refused before anything is written. Patterns of image names: the
    # toolkit counts from 1 in 8 digits, so other names get links of such names.
    files: dict[Path, str] = {}
    links: dict[Path, Path] = {}
    changed = []
    for sequence in sequences:
        place = folder / "sequences" / safe_name(sequence.name, "sequence")
        extras = dict(sequence.extras)
        if stack.multi_start and ANCHORS not in extras:
            if anchors is None:
                raise ValueError(
                    f"sequence {sequence.name}: no {ANCHORS}, which says where runs start; stack {stack.name} needs it "
                    "(--anchors 50 makes some, but numbers are then not those of the challenge)"
                )
            extras[ANCHORS] = "".join(f"{value}\n" for value in spread_anchors(sequence.present, anchors))
        its_files = {place / name: content for name, content in extras.items()}
        its_files[place / "groundtruth.txt"] = "\n".join(sequence.truth) + "\n"
        lines = []
        its_links: dict[Path, Path] = {}
        for channel, images in sequence.frames.items():
            suffix = Path(images.names[0]).suffix
            wanted = [f"{number:08d}{suffix}" for number in range(1, len(images) + 1)]
            base = images.folder.resolve()
            if list(images.names) != wanted or "%" in str(base):
                base = Path(channel)
                its_links |= {
                    place / channel / name: image.resolve() for name, image in zip(wanted, images, strict=True)
                }
            lines.append(f"channels.{channel}={base.as_posix()}/%08d{suffix}")
        width, height = sequence.size
        its_files[place / "sequence"] = "\n".join([*lines, "fps=30", f"width={width}", f"height={height}", ""])
        name = glob.escape(sequence.name)
        if any((folder / "results").glob(f"*/*/{name}/{name}_*")):
            there = {path: read_text(path) if path.is_file() else "" for path in its_files}
            of_runs = []  # what they depend on: of the true boxes, the first one and how many there are
            for texts in (there, its_files):
                truth = texts[place / "groundtruth.txt"].split("\n")
                of_runs.append((texts[place / "sequence"], texts.get(place / ANCHORS), truth[0], len(truth)))
            moved = any(not link.is_symlink() or link.readlink() != image for link, image in its_links.items())
            if of_runs[0] != of_runs[1] or moved:
                changed.append(sequence.name)
        files |= its_files
        links |= its_links
    if changed:
        raise ValueError(
            f"{folder / 'results'} holds results of {first_few(changed)}, made with images at another place, or with "
            "another first box, length or anchors, than would be written now; choose another --workspace, or move "
            "those results away"
        )

    for link, image in links.items():
        if link.is_symlink():
            if link.readlink() == image:
                continue
            link.unlink()
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(image)
    files[folder / "sequences" / "list.txt"] = "".join(f"{sequence.name}\n" for sequence in sequences)
    if present is None:
        files[config] = yaml.safe_dump({"stack": stack.name, "registry": ["./trackers.ini"]})
    if registry is not None:
        files[folder / REGISTRY] = registry
    for path, content in files.items():
        with atomic_write(path) as file:
            file.write(content)


def workspace_stack(folder: Path) -> Stack:
    """Read the protocol of a workspace.

    Raises:
        ValueError: no workspace, or one of a stack that is not for RGB-D.
    """
    config = folder / "config.yaml"
    content = _read_config(config)
    name = content.get("stack") if isinstance(content, dict) else None
    known = {stack.name: stack for stack in STACKS.values()}
    if not isinstance(name, str) or name not in known:
        what = f"stack {name!r}" if config.is_file() else "no config.yaml"
        raise ValueError(f"{folder}: {what}; expected a workspace for {' or '.join(known)} (scripts/prepare_vot.py)")
    return known[name]


def _read_config(path: Path) -> object:
    """Content of a workspace's `config.yaml`, None without one."""
    try:
        return yaml.safe_load(read_text(path)) if path.is_file() else None
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from error


def channels_of(config: Config) -> tuple[str, ...]:
    """List the TraX channels that a tracker of this experiment wants, in the order of its frame.

    Raises:
        ValueError: a modality that TraX does not have.
    """
    if config.modality == "rgb" or config.model.streams == "rgb":
        return (COLOR,)
    if config.modality == JOINT:
        pairs = [f"modality={modality}" for modality in config.model.modalities if modality in X_CHANNELS]
        raise ValueError(
            f"{config.name} is a joint experiment: say which pair the frames are, with {' or '.join(pairs)}"
        )
    if config.modality not in X_CHANNELS:
        raise ValueError(
            f"{config.name} is for {config.modality}, which the VOT toolkit has no channel for; choose one of: rgb, "
            + ", ".join(X_CHANNELS)
        )
    return COLOR, X_CHANNELS[config.modality]


def tracker_command(
    config: str,
    checkpoint: str | None = None,
    device: str | None = None,
    clip_depth: bool = True,
    overrides: Sequence[str] = (),
    interpreter: str | None = None,
    workspace: Path | None = None,
    name: str | None = None,
) -> list[str]:
    """Make the command that the toolkit starts, from any folder: every path in it is absolute.

    Args:
        config, checkpoint: see `patrack.build.build_tracker`; a name, YAML file or run folder, and a weights file.
        device: a torch device; None: chosen when it starts.
        clip_depth: as in `lib.datasets.Sequence`.
        overrides: `key=value` settings.
        interpreter: Python of the environment that has PATrack and vot-trax; None: this one.
        workspace: where the results will be, so that the tracker refuses to add to those of other weights or settings;
            None: it doesn't know.
        name: of the tracker there; None: the usual one.

    Raises:
        ValueError: an experiment or weights that can't be used, or no such interpreter.
    """
    from patrack.build import UNTRAINED, find_checkpoint  # here, because torch takes a while to start

    settings = load(config, overrides)
    channels_of(settings)
    weights = find_checkpoint(settings, checkpoint, has_adapters=settings.model.streams != "rgb")
    if weights is not None and not weights.is_file():
        raise ValueError(f"--checkpoint {checkpoint}: no such file; give a weights file, a run folder or {UNTRAINED}")
    python = Path(os.path.abspath(interpreter or sys.executable))  # noqa: PTH100  (a venv's link must not be resolved)
    if not python.is_file():
        raise ValueError(f"--interpreter {interpreter}: no such file; give the Python that has PATrack installed")
    command = [str(python), str(project_path("tracking/vot.py"))]
    command += ["--config", config if config in experiment_names() else str(user_path(config).resolve())]
    if checkpoint is not None:
        place = checkpoint if checkpoint == UNTRAINED else str(user_path(checkpoint).resolve())
        command += ["--checkpoint", place]
    command += ["--device", device] if device else []
    command += ["--toolkit", str(workspace.resolve())] if workspace else []
    command += ["--name", name] if name else []
    return [*command, *([] if clip_depth else ["--no-clip-depth"]), *overrides]


def registry_with(workspace: Path, name: str, command: Sequence[str], timeout: int = 3600) -> str:
    """Give the text of `trackers.ini` with a tracker added, or its entry renewed; other entries stay as they are.

    Args:
        workspace: its folder, which need not exist.
        name: of the tracker, and of its folder below results/.
        command: from `tracker_command`.
        timeout: seconds that the toolkit waits for an answer; its own default is 30, too short for reading weights.

    Raises:
        ValueError: a bad name or file.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"--name must be letters, digits and _, got {name!r}")
    path = workspace / REGISTRY
    text = read_text(path) if path.is_file() else ""
    registry = configparser.ConfigParser()
    try:
        registry.read_string(text)
    except configparser.Error as error:
        raise ValueError(f"{path}: {error}") from error
    line = shlex.join(command)
    entry = {
        "label": name,
        "protocol": "trax",
        "command": line,
        "timeout": str(timeout),
        "env_pythonpath": str(project_path()),
    }
    section = "".join(f"{key} = {value.replace('%', '%%')}\n" for key, value in entry.items())
    kept, inside = [], False  # all but this tracker's section
    for row in text.splitlines():
        header = re.match(r"\s*\[(.+?)\]", row)
        inside = header[1] == name if header else inside
        if not inside:
            kept.append(row)
    remaining = "\n".join(kept).strip("\n")
    return (f"{remaining}\n\n" if remaining else "") + f"[{name}]\n{section}"
