"""Report what is missing or inconsistent in a data set, and damaged images.

    python scripts/check_data.py --dataset lasher --data-root DATA
    python scripts/check_data.py --dataset folder --root MY_RECORDINGS --split train --images all

An error is something that is missing or does not agree; errors of one kind are shown together, with what to do. A note
is something unusual that a stated rule takes care of. --notes shows every line, --output FILE writes them all.
Exit code: 0 everything agrees, 1 something is missing or inconsistent, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import logging
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePath
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from lib.datasets import DATA_SETS, DataError, data_set_names, resolve_data_root
from lib.datasets.catalog import SYNTHETIC, DataSet, FlagFile
from lib.datasets.loading import COCO_SPLITS, dataset_root, load, parent_folders, split_folders, to_use_a_part
from lib.datasets.parsing import first_number, parse_boxes, parse_flags, read_text
from lib.datasets.reader import annotation_file, find_both, read_sequence, sub_folders
from lib.datasets.recordings import folder_data_set, folder_splits
from lib.options import Parser
from patrack.files import atomic_write
from patrack.recordings.frames import FrameError, jpeg_warning, read_frame, with_value_range
from patrack.recordings.listing import pair_frames
from patrack.recordings.naming import frame_number
from patrack.recordings.sequence import FileList, Frames

IMAGE_CHOICES = ("none", "sample", "all")
STRICT = importlib.util.find_spec("simplejpeg") is not None  # which tells of destroyed blocks in JPEG files
SHOWN = 5  # examples in one message
SEQUENCES_SHOWN = 3  # of those with errors of one kind

COLUMNS = ("split", "sequence", "level", "kind", "message")
Row = tuple[str, str, str, str, str]
T = TypeVar("T")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    summary, more = __doc__.split("\n\n", 1)
    parser = Parser(summary, more)
    parser.add_argument("--dataset", required=True, choices=data_set_names())
    parser.add_argument("--data-root", help="folder that holds the data sets; default: PATRACK_DATA")
    parser.add_argument("--root", type=Path, help="folder of this data set; default: its usual name in the data root")
    parser.add_argument("--split", default="all", help="train, val, test, ... or all (default)")
    parser.add_argument("--images", default="sample", choices=IMAGE_CHOICES, help="to decode (default: 3 a sequence)")
    parser.add_argument("--workers", type=int, default=2, help="sequences checked at once (default 2)")
    parser.earlier_name("--jobs", "--workers")
    parser.add_argument("--notes", action="store_true", help="list every error, and also what a rule takes care of")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write every error and note to this CSV file")
    for flag in ("--device", "--seed"):
        parser.add_argument(flag, help="as for every command; the check uses neither device nor random numbers")
    args = parser.parse_args(argv)
    if args.workers < 1:
        parser.error(f"--workers must be at least 1, got {args.workers}")
    return args


class Kind(Enum):
    """What is wrong: in a few words, and what to do."""

    FOLDER = ("listed, but not there", "")  # what to do depends on the split: `to_use_a_part`
    IMAGES = ("RGB or X can't be found", "copy these sequences again; a sequence without X can't be used")
    ANNOTATION = ("the annotation can't be found or read", "copy the annotations again")
    LINES = ("unreadable lines in text files", "correct these lines: nothing is guessed")
    COUNTS = ("images, boxes or flags differ in number", "copy these sequences again: something of them is missing")
    NUMBERING = ("numbering has gaps or doubles", "copy these sequences again, or remove the copies of single files")
    NO_X = ("frames without X", "none of these is trained on; copy X again if it should be complete")
    FILES = ("a file of the annotation is missing", "copy the annotations again; scores that need it can't be had")
    TARGET = ("no target, or none in the first frame", "correct the annotation, or leave these sequences out")
    DECODING = ("images that can't be decoded", "copy these images again")
    WARNING = (
        "JPEG files that are decoded with warnings",
        "copy these images again, or look at them: parts may be wrong",
    )
    SIZES = ("images of different sizes", "copy these images again, or resize them with their boxes")
    OUTSIDE = ("boxes outside the image", "look whether the boxes belong to these images")
    READING = ("can't be read as a sequence", "see what is said")

    def __init__(self, title: str, advice: str) -> None:
        self.title, self.advice = title, advice


@dataclass(frozen=True)
class Finding:
    """An error, as its kind and in words."""

    kind: Kind
    text: str


@dataclass
class SequenceReport:
    """Findings in one sequence."""

    name: str
    frames: int = 0
    errors: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def has(self, kind: Kind) -> bool:
        """Tell whether there is an error of this kind."""
        return any(error.kind is kind for error in self.errors)

    def add(self, kind: Kind, text: str) -> None:
        """Add an error."""
        self.errors.append(Finding(kind, text))

    def attempt(self, kind: Kind, read: Callable[[], T]) -> T | None:
        """Read something; what can't be read is an error of this kind."""
        try:
            return read()
        except DataError as error:
            self.add(kind, str(error))
            return None

    def add_lines(self, path: Path, problems: list[tuple[int, str]]) -> None:
        """Add what is wrong with lines of a file, as its parser reports it, as errors."""
        for number, message in problems[:SHOWN]:
            self.add(Kind.LINES, f"{path.name} line {number}: {message}")
        if len(problems) > SHOWN:
            self.add(Kind.LINES, f"{path.name}: {len(problems) - SHOWN} more bad lines")


def some(items: Iterable[object]) -> str:
    """List the first few of many."""
    names = [str(item) for item in items]
    return ", ".join(names[:SHOWN]) + (f", ... ({len(names)})" if len(names) > SHOWN else "")


def check_sequence(
    name: str, folder: Path | None, data_set: DataSet, root: Path | None = None, images: str = "sample"
) -> SequenceReport:
    """Check one sequence; `folder` None means that it is listed but not there. Never raises for what it finds."""
    report = SequenceReport(name)
    if folder is None:
        report.add(Kind.FOLDER, "listed, but there is no such folder")
        return report
    if name in data_set.known:
        report.notes.append(f"known: {data_set.known[name]}")
    # each of both is looked at, whatever the other is like
    both = report.attempt(Kind.IMAGES, lambda: find_both(folder, data_set))
    boxes = report.attempt(Kind.ANNOTATION, lambda: check_annotation(folder, data_set, report))
    if both is None:
        return report
    rgb, x = both
    report.frames = len(rgb)
    if boxes is None:
        return report
    report.attempt(Kind.COUNTS, lambda: check_counts(data_set, rgb, x, len(boxes), report))
    # An annotation that cannot be read leaves no sequence to open.
    if not report.has(Kind.LINES):
        check_images(folder, data_set, root, images, report)
    return report


def check_annotation(folder: Path, data_set: DataSet, report: SequenceReport) -> np.ndarray:
    """Check the lines of boxes, flags and X boxes; returns the boxes."""
    path = annotation_file(folder, data_set)
    if path.name != data_set.boxes[0].rpartition("/")[2].format(name=report.name):
        report.notes.append(f"no {data_set.boxes[0]}, read {path.name}")
    text = read_text(path)
    boxes, problems = parse_boxes(text, data_set.corners, data_set.polygons)
    report.add_lines(path, problems)
    blank = [number for number, line in enumerate(text.rstrip().splitlines(), start=1) if not line.strip()]
    if blank:
        report.add(Kind.LINES, f"{path.name}: blank lines before the end, read as no box: {some(blank)}")
    negative = np.flatnonzero((boxes[:, 2:] < 0).any(axis=1)) + 1
    if len(negative):
        report.notes.append(f"{path.name}: negative size, read as absent, in lines {some(negative)}")
    absent = ~((boxes[:, 2] > 0) & (boxes[:, 3] > 0) & ~np.isnan(boxes).any(axis=1))

    def read_flags(rule: FlagFile, without: str) -> np.ndarray | None:
        path = folder / rule.name
        if not path.is_file():
            if data_set.title != "folder":
                report.add(Kind.FILES, f"no {path.name}; {without}")
            return None
        flags, problems = parse_flags(read_text(path), rule.highest)
        report.add_lines(path, problems)
        if len(flags) != len(boxes):
            report.add(Kind.COUNTS, f"{len(boxes)} boxes, but {len(flags)} flags in {path.name}")
        return flags == bool(rule.present)

    if data_set.flags is not None:
        present = read_flags(data_set.flags, "empty boxes are taken as absent")
        if present is not None:
            n = min(len(present), len(boxes))
            odd = np.flatnonzero(present[:n] & absent[:n]) + 1
            if len(odd):
                name = data_set.flags.name
                report.notes.append(f"{name} says present where the box is empty, in lines {some(odd)}")
            absent = ~present
    for rule in data_set.hidden:
        read_flags(rule, "all frames count as seen")

    x_paths = [folder / name for name in data_set.x_boxes if (folder / name).is_file()]
    if data_set.x_boxes and not x_paths:
        report.add(Kind.FILES, f"no {data_set.x_boxes[0]}; the maximum over both modalities cannot be scored")
    for path in x_paths[:1]:
        x_boxes, problems = parse_boxes(read_text(path), data_set.corners)
        report.add_lines(path, problems)
        if len(x_boxes) != len(boxes):
            report.add(Kind.COUNTS, f"{len(boxes)} boxes, but {len(x_boxes)} in {path.name}")

    if len(absent) == 0:
        report.add(Kind.TARGET, "the annotation is empty")
    elif absent.all():
        report.add(Kind.TARGET, "the target is absent in every frame")
    elif absent[0] and not data_set.cut_leading_absent:
        report.add(Kind.TARGET, "the target is absent in the first frame, so nothing can be tracked")
    elif absent[0]:
        report.notes.append(f"absent in the first {int(np.argmin(absent))} frames, which are cut")
    return boxes


def check_counts(data_set: DataSet, rgb: Frames, x: Frames | None, boxes: int, report: SequenceReport) -> None:
    """Check that frames of both modalities and lines agree, in number and in numbering."""
    rgb_name = "the folder" if data_set.rgb == "." else data_set.rgb.format(name=report.name)
    sides = {rgb_name: rgb}
    if x is not None:
        x_name = data_set.x[0].format(name=report.name)
        sides[x_name] = x
        if data_set.pairing != "position":
            _, exists = pair_frames(rgb, x, data_set.pairing, report.name)
            without = [rgb.names[i] if isinstance(rgb, FileList) else str(i) for i in np.flatnonzero(~exists)]
            if without:
                report.add(Kind.NO_X, f"no {x_name} image for {len(without)} frames: {some(without)}")
        elif len(x) != len(rgb):
            report.add(Kind.COUNTS, f"{len(rgb)} images in {rgb_name}, {len(x)} in {x_name}")
        elif isinstance(rgb, FileList) and isinstance(x, FileList):
            # Equal counts can still hide a frame lost here and another one lost there.
            offset = frame_number(x.names[0]) - frame_number(rgb.names[0])
            for one, other in zip(rgb.names, x.names, strict=True):
                if frame_number(other) - frame_number(one) != offset:
                    report.add(Kind.NUMBERING, f"RGB and X are numbered differently: {one} is paired with {other}")
                    break

    lines = first_number(data_set.first_frames, report.name) + (boxes - 1) * data_set.box_step + 1 if boxes else 0
    agree = 0 <= len(rgb) - lines < data_set.box_step or (data_set.length == "strict" and lines < len(rgb))
    if not agree:
        report.add(Kind.COUNTS, f"{len(rgb)} images in {rgb_name}, {boxes} boxes")

    for side, frames in sides.items():
        if not isinstance(frames, FileList):
            continue
        harmless = agree and len(frames) == len(rgb)
        steps = np.diff([frame_number(name) for name in frames.names])
        gaps, doubled = np.flatnonzero(steps > 1), np.flatnonzero(steps == 0)
        odd = []
        if len(gaps):
            odd.append(f"{side}: numbering has gaps after {some(PurePath(frames.names[i]).name for i in gaps)}")
        if len(doubled):
            odd.append(f"{side}: several files with one number: {some(frames.names[i + 1] for i in doubled)}")
        for text in odd:
            if harmless:
                report.notes.append(text)
            else:
                report.add(Kind.NUMBERING, text)


def check_images(folder: Path, data_set: DataSet, root: Path | None, images: str, report: SequenceReport) -> None:
    """Read the sequence and decode images: can they be, have they one size, do they hold the boxes?"""
    try:
        sequence = read_sequence(folder, data_set, root)
    except DataError as error:
        if not report.errors:  # else it is what was found already, in other words
            report.add(Kind.READING, str(error))
        return
    if images == "none":
        return
    n = len(sequence)
    size: tuple[int, ...] | None = None
    if data_set.title == "folder":
        try:
            sequence = with_value_range(sequence)
        except FrameError as error:
            report.add(Kind.DECODING, str(error))
            return
    for i in range(n) if images == "all" else sorted({0, n // 2, n - 1}):
        try:
            frame = read_frame(sequence, i)
        except FrameError as error:
            report.add(Kind.DECODING, str(error))
            continue
        for frames in (sequence.rgb_files, sequence.x_files):
            if frames is not None and isinstance(path := frames[i], Path) and STRICT and path.is_file():
                warning = jpeg_warning(path)
                if warning is not None:
                    report.add(Kind.WARNING, f"{path}: {warning}")
        if size is not None and frame.shape[:2] != size:
            was = f"{size[1]}x{size[0]} before"
            report.add(Kind.SIZES, f"{sequence.rgb_files[i]}: {frame.shape[1]}x{frame.shape[0]}, {was}")
        size = frame.shape[:2]
    if size is not None:
        boxes = sequence.boxes
        with np.errstate(invalid="ignore"):
            outside = (boxes[:, 0] >= size[1]) | (boxes[:, 1] >= size[0])
            outside |= (boxes[:, 0] + boxes[:, 2] <= 0) | (boxes[:, 1] + boxes[:, 3] <= 0)
        frames = np.flatnonzero(outside & ~sequence.absent)
        if len(frames):
            report.add(Kind.OUTSIDE, f"box outside the {size[1]}x{size[0]} image in frames {some(frames)}")


def check_coco(split: str, root: Path, images: str) -> list[SequenceReport]:
    """Check each object of COCO: image missing or damaged, box outside it. "sample" opens 100 images evenly spaced."""
    sequences = load("coco", split, root)
    step = 1 if images == "all" else max(1, len(sequences) // 100)
    listed = {entry.name for entry in (root / "images" / f"{split}2017").iterdir()}
    reports = []
    for number, sequence in enumerate(sequences):
        report = SequenceReport(sequence.name, frames=1)
        file = sequence.rgb_files[0]
        assert isinstance(file, Path)
        if file.name not in listed:
            report.add(Kind.IMAGES, f"{file}: missing")
        elif images != "none" and number % step == 0:
            try:
                height, width = read_frame(sequence, 0).shape[:2]
                x, y, w, h = sequence.boxes[0]
                if not (x < width and y < height and x + w > 0 and y + h > 0):
                    report.add(Kind.OUTSIDE, f"box {[x, y, w, h]} outside the {width}x{height} image")
            except FrameError as error:
                report.add(Kind.DECODING, str(error))
        reports.append(report)
    return reports


def print_errors(label: str, reports: list[SequenceReport], advice: dict[Kind, str], shown: int | None) -> None:
    """Print the errors of a split by their kind: in how many sequences, those of the first few, and what to do.

    Args:
        label: of the split.
        reports: of all its sequences.
        advice: what to do about a kind, where it isn't the same for all data sets.
        shown: sequences whose errors are printed; None: all of them.
    """
    for kind in Kind:
        having = [report for report in reports if report.has(kind)]
        if not having:
            continue
        if kind is Kind.FOLDER and len(having) == len(reports):
            print(f"ERROR {label}: none of its {len(reports)} sequences is there")
        else:
            print(f"ERROR {label}: {kind.title}: {len(having)} of {len(reports)} sequences")
            for report in having[:shown]:
                for error in report.errors:
                    if error.kind is kind:
                        print(f"    {report.name}: {error.text}")
            if shown is not None and len(having) > shown:
                print(f"    ... and {len(having) - shown} more sequences (all of them: --notes, or --output FILE)")
        print(f"  what to do: {advice.get(kind, kind.advice)}")


def check_dataset(name: str, root: Path, args: argparse.Namespace, found: list[Row]) -> tuple[list[str], int]:
    """Print the findings of one data set and add them to `found`; returns rows of the summary, and how many errors."""
    rows, total = [], 0
    every = args.split == "all"
    row_of: dict[str, DataSet] = {}  # by split; none for COCO, which is no row
    if name == "folder":
        row_of = {split: folder_data_set(root, split) for split in (folder_splits(root) if every else [args.split])}
        if not row_of:
            raise DataError(f"{root}: no split: neither a list train.txt, val.txt or test.txt nor such a folder")
    elif name != "coco":
        row_of = dict.fromkeys(DATA_SETS[name].splits if every else [args.split], DATA_SETS[name])

    # Split by split
    for split in row_of or (COCO_SPLITS if every else [args.split]):
        label = f"{name} {split}"
        try:
            if name == "coco":
                reports = check_coco(split, root, args.images)
            else:
                reports = check_split(label, row_of[split], split, root, args.images, args.workers)
        except DataError as error:
            print(f"ERROR {label}: {error}")
            found.append((label, "", "error", "the split can't be read", str(error)))
            total += 1
            continue
        advice = {Kind.FOLDER: to_use_a_part(row_of[split], split, root)} if split in row_of else {}
        print_errors(label, reports, advice, SEQUENCES_SHOWN if not args.notes else None)
        for report in reports if args.notes else []:
            for message in report.notes:
                print(f"note  {label} {report.name}: {message}")
        for report in reports:
            found += [(label, report.name, "error", error.kind.title, error.text) for error in report.errors]
            found += [(label, report.name, "note", "", message) for message in report.notes]
        total += sum(len(report.errors) for report in reports)
        frames, wrong = sum(r.frames for r in reports), sum(bool(r.errors) for r in reports)
        rows.append(f"{label:<24}{len(reports):>10}{frames:>10}{wrong:>12}{sum(bool(r.notes) for r in reports):>11}")
    if not every or total or name not in DATA_SETS:
        return rows, total

    # Across the splits: what is trained on and tested, and folders that look like sequences but are in no list
    data_set = DATA_SETS[name]
    lists = {split: set(split_folders(data_set, split, root)) for split in data_set.splits}
    for split, names in lists.items():
        shared = sorted(names & lists.get("test", set())) if split != "test" else []
        if shared:
            print(f"ERROR {name}: {len(shared)} sequences are in {split} and in test: {some(shared)}")
            found += [
                (f"{name} {split}", one, "error", "trained on and tested", "is in test as well") for one in shared
            ]
            total += 1
    if args.notes and data_set.rgb != ".":
        parents = {parent for rule in data_set.splits.values() for parent in parent_folders(rule, root)}
        for folder in sorted(folder for parent in parents for folder in sub_folders(parent).values()):
            listed = any(folder.name in names for names in lists.values())
            if not listed and (folder / data_set.rgb.format(name=folder.name)).is_dir():
                print(f"note  {name}: {folder} is in no list")
    return rows, total


def check_split(
    label: str, data_set: DataSet, split: str, root: Path, images: str, workers: int
) -> list[SequenceReport]:
    """Check all sequences of a split, in the order of its list."""
    folders = split_folders(data_set, split, root)

    def check(item: tuple[str, Path | None]) -> SequenceReport:
        return check_sequence(*item, data_set, root, images)

    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(check, folders.items())
        return list(tqdm(found, desc=label, total=len(folders), unit="seq", file=sys.stderr, disable=None))


def main(argv: list[str] | None = None) -> int:
    """Check a data set; returns the exit code."""
    args = parse(argv)
    logging.basicConfig(level=logging.ERROR)
    rows: list[str] = []
    found: list[Row] = []
    errors = 0
    try:
        root = dataset_root(args.dataset, args.root, resolve_data_root(args.data_root))
        parts = {name: root / DATA_SETS[name].modality for name in SYNTHETIC}
        for name, folder in parts.items() if args.dataset == "synthrgb" else [(args.dataset, root)]:
            new_rows, new_errors = check_dataset(name, folder, args, found)
            rows, errors = rows + new_rows, errors + new_errors
    except (DataError, OSError) as error:
        print(f"ERROR {error}")
        found.append((args.dataset, "", "error", "the data set can't be read", str(error)))
        errors += 1
    except KeyboardInterrupt:
        print("stopped; what was not checked yet is unknown", file=sys.stderr)
        return 130
    print(f"\n{'':<24}{'sequences':>10}{'frames':>10}{'with errors':>12}{'with notes':>11}")
    print("\n".join(rows))
    if args.images != "none" and not STRICT:
        print('blocks destroyed within JPEG files were not looked for: that needs pip install "patrack[check]"')
    if args.output:
        with atomic_write(args.output) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([COLUMNS, *found])
        print(f"{len(found)} findings: {args.output}")
    print(f"{errors} errors" if errors else "everything agrees")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
