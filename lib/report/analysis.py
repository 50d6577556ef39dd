"""Facts that the means hide: where a tracker loses its target, whether it finds it again, and how fast it is.

These are descriptions, the same for every benchmark, not metrics of one: overlaps are taken between boxes as written
and the true boxes, the best of both modalities, without the repairs of a protocol.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lib.evaluation.boxes import iou
from lib.evaluation.files import FileTree, parse_column
from lib.evaluation.ground_truth import GroundTruth
from lib.evaluation.results import find_folder

__all__ = ["AGAIN", "GRACE", "LOST", "Losses", "Speed", "find_losses", "overlaps", "read_speed"]

LOST = 0.1  # overlap at or below which the target counts as missed
GRACE = 10  # missed frames in a row that make a failure
AGAIN = 0.5  # overlap from which the target counts as found again
TIME_FILES = {"ours": "{seq}_times.txt", "VOT": "{seq}/{seq}_time.value"}


@dataclass
class Losses:
    """Failures of one tracker, on one sequence or summed over many.

    Attributes:
        frames: with a target, the first left out.
        lost_frames: of those, between the start of a failure and finding the target again.
        failures: runs of `GRACE` frames or more with overlap <= `LOST`.
        found_again: failures after which an overlap >= `AGAIN` was reached.
        delays: frames from the start of each such failure until then.
        returns: times that the target comes back after having been absent.
        caught: returns after which an overlap >= `AGAIN` was reached within `GRACE` frames.
        failed_sequences: sequences with a failure.
    """

    frames: int = 0
    lost_frames: int = 0
    failures: int = 0
    found_again: int = 0
    delays: list[int] = field(default_factory=list)
    returns: int = 0
    caught: int = 0
    failed_sequences: int = 0

    @property
    def delay(self) -> float | None:
        """Median of the delays; None if there are none."""
        return float(np.median(self.delays)) if self.delays else None

    def add(self, other: Losses) -> None:
        """Add another sequence."""
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))


def overlaps(truth: GroundTruth, boxes: np.ndarray) -> np.ndarray:
    """Compute the overlap in every annotated frame.

    Args:
        truth: of the sequence.
        boxes: (N, 4) xywh, pixels; a row with NaN means that nothing was reported.

    Returns:
        (N,) in [0, 1]; NaN where there is no target.
    """
    values = np.zeros(truth.frames)
    present = np.zeros(truth.frames, dtype=bool)
    for reference in truth.boxes:
        there = ~np.isnan(reference).any(axis=1) & (reference[:, 2:] > 0).all(axis=1)
        sized = np.nan_to_num(boxes[: truth.frames], nan=-1.0)
        overlap = np.where((sized[:, 2:] > 0).all(axis=1) & there, np.nan_to_num(iou(sized, reference)), 0.0)
        values, present = np.maximum(values, overlap), present | there
    if truth.absent is not None:
        present &= ~truth.absent
    return np.where(present, values, np.nan)


def find_losses(overlap: np.ndarray) -> Losses:
    """Count failures and recoveries of one sequence; frames without a target are passed over.

    Args:
        overlap: (N,) as `overlaps` gives them.
    """
    present = np.flatnonzero(~np.isnan(overlap[1:])) + 1  # frame numbers
    values = overlap[present]
    found = Losses(frames=len(values))
    again = np.flatnonzero(values >= AGAIN)
    resume = 0
    # starts and ends (exclusive) of runs of missed frames
    missed = np.concatenate([[False], values <= LOST, [False]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(missed)).tolist()
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if start < resume or end - start < GRACE:
            continue
        found.failures += 1
        later = again[again >= end]
        resume = int(later[0]) if len(later) else len(values)
        found.lost_frames += resume - start
        if len(later):
            found.found_again += 1
            found.delays.append(resume - start)
    found.failed_sequences = int(found.failures > 0)
    for position in np.flatnonzero(np.diff(present) > 1) + 1:
        found.returns += 1
        found.caught += int((values[position : position + GRACE] >= AGAIN).any())
    return found


@dataclass(frozen=True)
class Speed:
    """Time in the tracker, without reading images.

    Attributes:
        fps: frames per second over all frames but the first of each sequence.
        median: of the time per frame, milliseconds.
        slowest: 95 % of the frames take at most this, milliseconds.
        sequences: number of sequences with times.
        device: what it ran on, as `run.json` says; empty if unknown.
        note: what is wrong with the files; empty if nothing is.
    """

    fps: float | None = None
    median: float | None = None
    slowest: float | None = None
    sequences: int = 0
    device: str = ""
    note: str = ""


def read_speed(source: str, truth: Mapping[str, GroundTruth]) -> Speed:
    """Read the speed from the `<sequence>_times.txt` files beside the results (seconds per frame).

    Args:
        source: folder or archive of the results.
        truth: the sequences wanted.

    Returns:
        Values of None if there are no files; a bad file is left out and named in the note.
    """
    tree = FileTree(source)
    place = find_folder(tree, TIME_FILES, list(truth))
    if place is None:
        return Speed(note="no files with times")
    folder, form = place
    times, problems = [], []
    for name in truth:
        file = folder + TIME_FILES[form].format(seq=name)
        if not tree.has(file):
            continue
        try:
            seconds = parse_column(tree.read(file).rstrip(), tree.describe(file))[1:]
        except ValueError as error:
            problems.append(str(error))
            continue
        if not np.isfinite(seconds).all() or (seconds < 0).any() or not seconds.sum() > 0:
            problems.append(f"{tree.describe(file)}: expected a time in seconds per frame, at least two")
            continue
        times.append(seconds)
    note = f"{len(problems)} files of times left out: {problems[0]}" if problems else ""
    if not times:
        return Speed(note=note or "no files with times")
    device = ""
    if tree.has(folder + "run.json"):
        try:
            content = json.loads(tree.read(folder + "run.json"))
            device, threads = str(content.get("device") or ""), content.get("threads")
            if device == "cpu" and threads:
                device += f", {threads} thread{'' if threads == 1 else 's'}"
        except (ValueError, AttributeError):  # a file of somebody else's
            device = ""
    every = np.concatenate(times)
    median, slowest = (1000.0 * float(value) for value in np.percentile(every, [50, 95]))
    return Speed(len(every) / float(every.sum()), median, slowest, len(times), device, note)
