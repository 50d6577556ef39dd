"""Is a data set complete and consistent? Finds what `load` would refuse, cut or work around, and damaged images.

An error is something that is missing or does not agree. A note is something unusual that a stated rule takes care of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal

import numpy as np

from lib.datasets.boxes_file import parse_boxes, parse_flags, read_text
from lib.datasets.frames import FrameError, read_frame
from lib.datasets.layout import Layout
from lib.datasets.listing import frame_number, sub_folders
from lib.datasets.pairing import pair_by_name, pair_from_start
from lib.datasets.places import places_of, split_folders
from lib.datasets.reader import annotation_file, find_both, first_frame, read_sequence
from lib.datasets.sequence import DatasetError, FileList, Frames

__all__ = ["IMAGE_CHOICES", "SequenceReport", "check_overlap", "check_sequence", "check_split", "unlisted_folders"]

Images = Literal["none", "sample", "all"]
IMAGE_CHOICES: tuple[str, ...] = ("none", "sample", "all")
SHOWN = 5  # examples in one message


@dataclass
class SequenceReport:
    """What was found in one sequence."""

    name: str
    missing: bool = False
    frames: int = 0
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_split(
    layout: Layout,
    split: str,
    root: Path,
    images: Images = "sample",
    jobs: int = 1,
    on_total: Callable[[int], object] | None = None,
    on_done: Callable[[], object] | None = None,
) -> list[SequenceReport]:
    """Check all sequences of a split, in the order of its list.

    Args:
        layout: of the data set.
        split: one of its splits.
        root: folder of the data set.
        images: which images to decode per sequence: none, the first, middle and last frame, or all.
        jobs: threads.
        on_total: called once with the number of sequences.
        on_done: called after each sequence.

    Raises:
        DatasetError: the list is missing or bad.
    """
    folders = split_folders(layout, split, root)
    if on_total is not None:
        on_total(len(folders))
    reports = []
    with ThreadPoolExecutor(jobs) as pool:
        for report in pool.map(lambda item: check_sequence(*item, layout, root, images), folders.items()):
            reports.append(report)
            if on_done is not None:
                on_done()
    return reports


def check_sequence(
    name: str, folder: Path | None, layout: Layout, root: Path | None = None, images: Images = "sample"
) -> SequenceReport:
    """Check one sequence; `folder` None means that it is listed but not there. Never raises for what it finds."""
    report = SequenceReport(name)
    if folder is None:
        report.missing = True
        report.errors.append("listed, but there is no such folder")
        return report
    try:
        if name in layout.known:
            report.notes.append(f"known: {layout.known[name]}")
        rgb, x = find_both(folder, layout)
        if x is not None and layout.pairing == "start":
            x = pair_from_start(name, rgb, x, first_frame(name, layout))
        annotation = annotation_file(folder, layout)
        report.frames = len(rgb)
        if annotation.name != layout.boxes[0].rpartition("/")[2].format(name=name):
            report.notes.append(f"no {layout.boxes[0]}, read {annotation.name}")
        boxes = _check_boxes(annotation, layout, report)
        present = _check_flags(folder, layout, boxes, report)
        _check_hidden(folder, layout, len(boxes), report)
        _check_x_boxes(folder, layout, len(boxes), report)
        _check_first(layout, boxes, present, report)
        _check_counts(layout, rgb, x, len(boxes), report)
        _check_images(folder, layout, root, images, report)
    except DatasetError as error:
        report.errors.append(str(error))
    return report


def check_overlap(layout: Layout, root: Path) -> list[str]:
    """Sequences of the test split that another split lists too."""
    if "test" not in layout.splits:
        return []
    test = set(split_folders(layout, "test", root))
    found = []
    for split in layout.splits:
        shared = sorted(test & set(split_folders(layout, split, root))) if split != "test" else []
        if shared:
            found.append(f"{len(shared)} sequences are in {split} and in test: {_some(shared)}")
    return found


def unlisted_folders(layout: Layout, root: Path) -> list[Path]:
    """Folders that look like sequences of the data set but are in no list."""
    listed = {name for split in layout.splits for name in split_folders(layout, split, root)}
    places = {place for rule in layout.splits.values() for place in places_of(rule, root)}
    return sorted(
        folder
        for place in places
        for name, folder in sub_folders(place).items()
        if name not in listed and layout.rgb != "." and (folder / layout.rgb.format(name=name)).is_dir()
    )


def _some(items: Iterable[object]) -> str:
    items = [str(item) for item in items]
    return ", ".join(items[:SHOWN]) + (f", ... ({len(items)})" if len(items) > SHOWN else "")


def _check_boxes(path: Path, layout: Layout, report: SequenceReport) -> np.ndarray:
    text = read_text(path)
    boxes, problems = parse_boxes(text, layout.corners, layout.polygons)
    report.errors += [f"{path.name} line {number}: {message}" for number, message in problems[:SHOWN]]
    if len(problems) > SHOWN:
        report.errors.append(f"{path.name}: {len(problems) - SHOWN} more bad lines")
    blank = [number for number, line in enumerate(text.rstrip().splitlines(), start=1) if not line.strip()]
    if blank:
        report.errors.append(f"{path.name}: blank lines before the end, read as no box: {_some(blank)}")
    negative = np.flatnonzero((boxes[:, 2:] < 0).any(axis=1)) + 1
    if len(negative):
        report.notes.append(f"{path.name}: negative size, read as absent, in lines {_some(negative)}")
    return boxes


def _empty(boxes: np.ndarray) -> np.ndarray:
    return ~((boxes[:, 2] > 0) & (boxes[:, 3] > 0) & ~np.isnan(boxes).any(axis=1))


def _check_flags(folder: Path, layout: Layout, boxes: np.ndarray, report: SequenceReport) -> np.ndarray | None:
    if layout.flags is None:
        return None
    path = folder / layout.flags.name
    if not path.is_file():
        if layout.title != "folder":
            report.errors.append(f"no {path.name}; empty boxes are taken as absent")
        return None
    flags, problems = parse_flags(read_text(path), layout.flags.highest)
    report.errors += [f"{path.name} line {number}: {message}" for number, message in problems[:SHOWN]]
    present = flags == bool(layout.flags.present)
    if len(present) != len(boxes):
        report.errors.append(f"{len(boxes)} boxes, but {len(present)} flags in {path.name}")
    n = min(len(present), len(boxes))
    odd = np.flatnonzero(present[:n] & _empty(boxes[:n])) + 1
    if len(odd):
        report.notes.append(f"{path.name} says present where the box is empty, in lines {_some(odd)}")
    return present


def _check_hidden(folder: Path, layout: Layout, lines: int, report: SequenceReport) -> None:
    for rule in layout.hidden:
        path = folder / rule.name
        if not path.is_file():
            report.errors.append(f"no {path.name}; all frames count as seen")
            continue
        seen, problems = parse_flags(read_text(path), rule.highest)
        report.errors += [f"{path.name} line {number}: {message}" for number, message in problems[:SHOWN]]
        if len(seen) != lines:
            report.errors.append(f"{lines} boxes, but {len(seen)} flags in {path.name}")


def _check_x_boxes(folder: Path, layout: Layout, lines: int, report: SequenceReport) -> None:
    present = [folder / name for name in layout.x_boxes if (folder / name).is_file()]
    if layout.x_boxes and not present:
        report.errors.append(f"no {layout.x_boxes[0]}; the maximum over both modalities cannot be scored")
    for path in present[:1]:
        boxes, problems = parse_boxes(read_text(path), layout.corners)
        report.errors += [f"{path.name} line {number}: {message}" for number, message in problems[:SHOWN]]
        if len(boxes) != lines:
            report.errors.append(f"{lines} boxes, but {len(boxes)} in {path.name}")


def _check_first(layout: Layout, boxes: np.ndarray, present: np.ndarray | None, report: SequenceReport) -> None:
    absent = _empty(boxes) if present is None else ~present
    if len(absent) == 0:
        report.errors.append("the annotation is empty")
    elif absent.all():
        report.errors.append("the target is absent in every frame")
    elif absent[0] and not layout.cut_leading_absent:
        report.errors.append("the target is absent in the first frame, so nothing can be tracked")
    elif absent[0]:
        report.notes.append(f"absent in the first {int(np.argmin(absent))} frames, which are cut")


def _check_counts(layout: Layout, rgb: Frames, x: Frames | None, boxes: int, report: SequenceReport) -> None:
    first = 0 if layout.pairing == "start" else first_frame(report.name, layout)
    lines = first + (boxes - 1) * layout.box_step + 1 if boxes else 0
    x_name = layout.x[0].format(name=report.name) if layout.x else ""
    rgb_name = "the folder" if layout.rgb == "." else layout.rgb.format(name=report.name)
    sides = {rgb_name: rgb} if x is None else {rgb_name: rgb, x_name: x}
    if x is not None and layout.pairing == "name":
        paired, found = pair_by_name(rgb, x)
        missing = [paired[i].name for i in np.flatnonzero(~found)]
        if missing:
            report.errors.append(f"no {x_name} image for {len(missing)} frames: {_some(missing)}")
    elif x is not None and len(x) != len(rgb):
        report.errors.append(f"{len(rgb)} images in {rgb_name}, {len(x)} in {x_name}")
    elif x is not None:
        _check_same_numbers(rgb, x, report)
    agree = 0 <= len(rgb) - lines < layout.box_step or (layout.length == "strict" and lines < len(rgb))
    if not agree:
        report.errors.append(f"{len(rgb)} images in {rgb_name}, {boxes} boxes")
    for side, frames in sides.items():
        for problem in _numbering(frames):
            (report.notes if agree and len(frames) == len(rgb) else report.errors).append(f"{side}: {problem}")


def _check_same_numbers(rgb: Frames, x: Frames, report: SequenceReport) -> None:
    """Equal counts can still hide a frame lost here and another one lost there."""
    if not isinstance(rgb, FileList) or not isinstance(x, FileList):
        return
    offset = frame_number(x.names[0]) - frame_number(rgb.names[0])
    for one, other in zip(rgb.names, x.names, strict=True):
        if frame_number(other) - frame_number(one) != offset:
            report.errors.append(f"RGB and X are numbered differently: {one} is paired with {other}")
            return


def _numbering(frames: Frames) -> Iterator[str]:
    if not isinstance(frames, FileList):
        return
    numbers = np.array([frame_number(name) for name in frames.names])
    steps = np.diff(numbers)
    gaps = np.flatnonzero(steps > 1)
    if len(gaps):
        yield f"numbering has gaps after {_some(PurePath(frames.names[i]).name for i in gaps)}"
    doubled = np.flatnonzero(steps == 0)
    if len(doubled):
        yield f"several files with one number: {_some(frames.names[i + 1] for i in doubled)}"


def _check_images(folder: Path, layout: Layout, root: Path | None, images: Images, report: SequenceReport) -> None:
    if report.errors and any("line " in error for error in report.errors):
        return  # the annotation cannot be read, so there is no sequence to open
    sequence = read_sequence(folder, layout, root)
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
        _check_inside(sequence.boxes, sequence.absent, size, report)


def _check_inside(boxes: np.ndarray, absent: np.ndarray, size: tuple[int, ...], report: SequenceReport) -> None:
    with np.errstate(invalid="ignore"):
        outside = (boxes[:, 0] >= size[1]) | (boxes[:, 1] >= size[0])
        outside |= (boxes[:, 0] + boxes[:, 2] <= 0) | (boxes[:, 1] + boxes[:, 3] <= 0)
    frames = np.flatnonzero(outside & ~absent)
    if len(frames):
        report.errors.append(f"box outside the {size[1]}x{size[0]} image in frames {_some(frames)}")
