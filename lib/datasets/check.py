"""Find what `load` would refuse, cut or work around in a data set, and damaged images.

An error is something that is missing or does not agree. A note is something unusual that a stated rule takes care of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal

import numpy as np

from lib.datasets.catalog import DataSet, FlagFile
from lib.datasets.frames import FrameError, read_frame
from lib.datasets.loading import parent_folders, split_folders
from lib.datasets.parsing import first_number, parse_boxes, parse_flags, read_text
from lib.datasets.reader import annotation_file, find_both, frame_number, pair_by_name, read_sequence, sub_folders
from lib.datasets.sequence import DatasetError, FileList, Frames

__all__ = ["IMAGE_CHOICES", "SequenceReport", "check_overlap", "check_sequence", "check_split", "unlisted_folders"]

Images = Literal["none", "sample", "all"]
IMAGE_CHOICES: tuple[str, ...] = ("none", "sample", "all")
SHOWN = 5  # examples in one message


@dataclass
class SequenceReport:
    """Findings in one sequence."""

    name: str
    missing: bool = False
    frames: int = 0
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add_lines(self, path: Path, problems: list[tuple[int, str]]) -> None:
        """Add what is wrong with lines of a file, as its parser reports it, as errors."""
        self.errors += [f"{path.name} line {number}: {message}" for number, message in problems[:SHOWN]]
        if len(problems) > SHOWN:
            self.errors.append(f"{path.name}: {len(problems) - SHOWN} more bad lines")


def check_split(
    data_set: DataSet,
    split: str,
    root: Path,
    images: Images = "sample",
    jobs: int = 1,
    on_total: Callable[[int], object] | None = None,
    on_done: Callable[[], object] | None = None,
) -> list[SequenceReport]:
    """Check all sequences of a split, in the order of its list.

    Args:
        data_set: its row.
        split: one of its splits.
        root: folder of the data set.
        images: which images to decode per sequence: none, the first, middle and last frame, or all.
        jobs: threads.
        on_total: called once with the number of sequences.
        on_done: called after each sequence.

    Raises:
        DatasetError: the list is missing or bad.
    """
    folders = split_folders(data_set, split, root)
    if on_total is not None:
        on_total(len(folders))
    reports = []
    with ThreadPoolExecutor(jobs) as pool:
        for report in pool.map(lambda item: check_sequence(item[0], item[1], data_set, root, images), folders.items()):
            reports.append(report)
            if on_done is not None:
                on_done()
    return reports


def check_overlap(data_set: DataSet, root: Path) -> list[str]:
    """Find sequences of the test split that another split lists too."""
    if "test" not in data_set.splits:
        return []
    test = set(split_folders(data_set, "test", root))
    messages = []
    for split in data_set.splits:
        shared = sorted(test & set(split_folders(data_set, split, root))) if split != "test" else []
        if shared:
            messages.append(f"{len(shared)} sequences are in {split} and in test: {_some(shared)}")
    return messages


def unlisted_folders(data_set: DataSet, root: Path) -> list[Path]:
    """Find folders that look like sequences of the data set but are in no list."""
    listed = {name for split in data_set.splits for name in split_folders(data_set, split, root)}
    parents = {parent for rule in data_set.splits.values() for parent in parent_folders(rule, root)}
    return sorted(
        folder
        for parent in parents
        for name, folder in sub_folders(parent).items()
        if name not in listed and data_set.rgb != "." and (folder / data_set.rgb.format(name=name)).is_dir()
    )


def check_sequence(
    name: str, folder: Path | None, data_set: DataSet, root: Path | None = None, images: Images = "sample"
) -> SequenceReport:
    """Check one sequence; `folder` None means that it is listed but not there. Never raises for what it finds."""
    report = SequenceReport(name)
    if folder is None:
        report.missing = True
        report.errors.append("listed, but there is no such folder")
        return report
    try:
        if name in data_set.known:
            report.notes.append(f"known: {data_set.known[name]}")
        rgb, x = find_both(folder, data_set)
        report.frames = len(rgb)
        boxes = _check_annotation(folder, data_set, report)
        _check_counts(data_set, rgb, x, len(boxes), report)
        # An annotation that cannot be read leaves no sequence to open.
        if not any("line " in error for error in report.errors):
            _check_images(folder, data_set, root, images, report)
    except DatasetError as error:
        report.errors.append(str(error))
    return report


def _some(items: Iterable[object]) -> str:
    names = [str(item) for item in items]
    return ", ".join(names[:SHOWN]) + (f", ... ({len(names)})" if len(names) > SHOWN else "")


def _check_annotation(folder: Path, data_set: DataSet, report: SequenceReport) -> np.ndarray:
    """Check the lines of boxes, flags and X boxes; returns the boxes."""
    path = annotation_file(folder, data_set)
    if path.name != data_set.boxes[0].rpartition("/")[2].format(name=report.name):
        report.notes.append(f"no {data_set.boxes[0]}, read {path.name}")
    text = read_text(path)
    boxes, problems = parse_boxes(text, data_set.corners, data_set.polygons)
    report.add_lines(path, problems)
    blank = [number for number, line in enumerate(text.rstrip().splitlines(), start=1) if not line.strip()]
    if blank:
        report.errors.append(f"{path.name}: blank lines before the end, read as no box: {_some(blank)}")
    negative = np.flatnonzero((boxes[:, 2:] < 0).any(axis=1)) + 1
    if len(negative):
        report.notes.append(f"{path.name}: negative size, read as absent, in lines {_some(negative)}")
    absent = ~((boxes[:, 2] > 0) & (boxes[:, 3] > 0) & ~np.isnan(boxes).any(axis=1))

    def read_flags(rule: FlagFile, without: str) -> np.ndarray | None:
        path = folder / rule.name
        if not path.is_file():
            if data_set.title != "folder":
                report.errors.append(f"no {path.name}; {without}")
            return None
        flags, problems = parse_flags(read_text(path), rule.highest)
        report.add_lines(path, problems)
        if len(flags) != len(boxes):
            report.errors.append(f"{len(boxes)} boxes, but {len(flags)} flags in {path.name}")
        return flags == bool(rule.present)

    if data_set.flags is not None:
        present = read_flags(data_set.flags, "empty boxes are taken as absent")
        if present is not None:
            n = min(len(present), len(boxes))
            odd = np.flatnonzero(present[:n] & absent[:n]) + 1
            if len(odd):
                name = data_set.flags.name
                report.notes.append(f"{name} says present where the box is empty, in lines {_some(odd)}")
            absent = ~present
    for rule in data_set.hidden:
        read_flags(rule, "all frames count as seen")

    x_paths = [folder / name for name in data_set.x_boxes if (folder / name).is_file()]
    if data_set.x_boxes and not x_paths:
        report.errors.append(f"no {data_set.x_boxes[0]}; the maximum over both modalities cannot be scored")
    for path in x_paths[:1]:
        x_boxes, problems = parse_boxes(read_text(path), data_set.corners)
        report.add_lines(path, problems)
        if len(x_boxes) != len(boxes):
            report.errors.append(f"{len(boxes)} boxes, but {len(x_boxes)} in {path.name}")

    if len(absent) == 0:
        report.errors.append("the annotation is empty")
    elif absent.all():
        report.errors.append("the target is absent in every frame")
    elif absent[0] and not data_set.cut_leading_absent:
        report.errors.append("the target is absent in the first frame, so nothing can be tracked")
    elif absent[0]:
        report.notes.append(f"absent in the first {int(np.argmin(absent))} frames, which are cut")
    return boxes


def _check_counts(data_set: DataSet, rgb: Frames, x: Frames | None, boxes: int, report: SequenceReport) -> None:
    """Check that frames of both modalities and lines agree, in number and in numbering."""
    rgb_name = "the folder" if data_set.rgb == "." else data_set.rgb.format(name=report.name)
    sides = {rgb_name: rgb}
    if x is not None:
        x_name = data_set.x[0].format(name=report.name)
        sides[x_name] = x
        if data_set.pairing == "name":
            paired, exists = pair_by_name(rgb, x)
            missing = [paired.names[i] for i in np.flatnonzero(~exists)] if isinstance(paired, FileList) else []
            if missing:
                report.errors.append(f"no {x_name} image for {len(missing)} frames: {_some(missing)}")
        elif len(x) != len(rgb):
            report.errors.append(f"{len(rgb)} images in {rgb_name}, {len(x)} in {x_name}")
        elif isinstance(rgb, FileList) and isinstance(x, FileList):
            # Equal counts can still hide a frame lost here and another one lost there.
            offset = frame_number(x.names[0]) - frame_number(rgb.names[0])
            for one, other in zip(rgb.names, x.names, strict=True):
                if frame_number(other) - frame_number(one) != offset:
                    report.errors.append(f"RGB and X are numbered differently: {one} is paired with {other}")
                    break

    lines = first_number(data_set.first_frames, report.name) + (boxes - 1) * data_set.box_step + 1 if boxes else 0
    agree = 0 <= len(rgb) - lines < data_set.box_step or (data_set.length == "strict" and lines < len(rgb))
    if not agree:
        report.errors.append(f"{len(rgb)} images in {rgb_name}, {boxes} boxes")

    for side, frames in sides.items():
        if not isinstance(frames, FileList):
            continue
        messages = report.notes if agree and len(frames) == len(rgb) else report.errors
        steps = np.diff([frame_number(name) for name in frames.names])
        gaps, doubled = np.flatnonzero(steps > 1), np.flatnonzero(steps == 0)
        if len(gaps):
            shown = _some(PurePath(frames.names[i]).name for i in gaps)
            messages.append(f"{side}: numbering has gaps after {shown}")
        if len(doubled):
            shown = _some(frames.names[i + 1] for i in doubled)
            messages.append(f"{side}: several files with one number: {shown}")


def _check_images(folder: Path, data_set: DataSet, root: Path | None, images: Images, report: SequenceReport) -> None:
    """Read the sequence and decode images: can they be, have they one size, do they hold the boxes?"""
    sequence = read_sequence(folder, data_set, root)
    if images == "none":
        return
    n = len(sequence)
    size: tuple[int, ...] | None = None
    for i in range(n) if images == "all" else sorted({0, n // 2, n - 1}):
        try:
            frame = read_frame(sequence, i)
        except FrameError as error:
            report.errors.append(str(error))
            continue
        if size is not None and frame.shape[:2] != size:
            was = f"{size[1]}x{size[0]} before"
            report.errors.append(f"{sequence.rgb_files[i]}: {frame.shape[1]}x{frame.shape[0]}, {was}")
        size = frame.shape[:2]
    if size is not None:
        boxes = sequence.boxes
        with np.errstate(invalid="ignore"):
            outside = (boxes[:, 0] >= size[1]) | (boxes[:, 1] >= size[0])
            outside |= (boxes[:, 0] + boxes[:, 2] <= 0) | (boxes[:, 1] + boxes[:, 3] <= 0)
        frames = np.flatnonzero(outside & ~sequence.absent)
        if len(frames):
            report.errors.append(f"box outside the {size[1]}x{size[0]} image in frames {_some(frames)}")
