"""Running our tracker over a VOT workspace without the toolkit, into the files that the toolkit analyses.

The frames, starts and files are those of the toolkit; only the messages in between are missing. It needs no package,
reads the weights once, and does the multi-start runs that the toolkit's versions 0.8.0 to 0.9.0 fail at.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from tqdm import tqdm

from lib.datasets.parsing import read_text
from lib.datasets.sequence import Sequence
from lib.evaluation.filetree import FileTree
from lib.evaluation.ground_truth import GroundTruth, read_annotations
from lib.evaluation.multistart import run_frames
from lib.evaluation.outcome import TrackingError
from lib.inference.runner import track_frames
from lib.vot.files import is_written, write_run
from lib.vot.server import X_CHANNELS
from lib.vot.workspace import STACKS, Stack, WorkspaceError
from patrack.tracker import Tracker

__all__ = ["Run", "run_workspace", "workspace_stack", "workspace_truth"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Run:
    """One pass of the tracker: name of its files, the sequence, and (L,) frame numbers in the order of tracking."""

    name: str
    sequence: str
    frames: np.ndarray


def workspace_stack(folder: Path) -> Stack:
    """The protocol of a workspace.

    Raises:
        WorkspaceError: no workspace, or one of a stack that is not for RGB-D.
    """
    config = folder / "config.yaml"
    found = yaml.safe_load(read_text(config)) if config.is_file() else None
    name = found.get("stack") if isinstance(found, dict) else None
    known = {stack.name: stack for stack in STACKS.values()}
    if name not in known:
        what = f"stack {name!r}" if config.is_file() else "no config.yaml"
        raise WorkspaceError(
            f"{folder}: {what}; expected a workspace for {' or '.join(known)} (scripts/prepare_vot.py)"
        )
    return known[name]


def workspace_truth(folder: Path) -> dict[str, GroundTruth]:
    """Annotation of the sequences in a workspace's list.

    Raises:
        ValueError: files that are missing or malformed.
        FileNotFoundError: the workspace has no sequences.
    """
    return read_annotations("votrgbd2022", FileTree(folder / "sequences", "sequences of the workspace"))


def run_workspace(tracker: Tracker, folder: Path, name: str, channels: tuple[str, ...], clip_depth: bool = True) -> int:
    """Track what is not yet in `results/<name>/` of a workspace.

    Args:
        tracker: initialised here, once per run.
        folder: the workspace.
        name: of the tracker.
        channels: see `lib.vot.server.channels_of`.
        clip_depth: see `patrack.modality.x_to_three_channels`.

    Returns:
        Number of runs done now; the others were there.

    Raises:
        WorkspaceError: see `workspace_stack`.
        TrackingError: a frame can't be read or tracked; finished runs stay.
        ValueError, OSError: see `workspace_truth`; or results can't be written.
    """
    stack, truth = workspace_stack(folder), workspace_truth(folder)
    results = folder / "results" / name / stack.experiment
    todo = [run for run in _runs(stack, truth) if not is_written(results / run.sequence, run.name)]
    with tqdm(total=sum(len(run.frames) for run in todo), unit="frame") as bar:
        for run in todo:
            boxes = truth[run.sequence].boxes[0][run.frames]
            sequence = _frames(folder / "sequences" / run.sequence, run, boxes, channels, clip_depth)
            result = track_frames(tracker, sequence, boxes[0], lambda *_: bar.update())
            write_run(results / run.sequence, run.name, result.boxes, result.scores, result.times)
    return len(todo)


def _runs(stack: Stack, truth: Mapping[str, GroundTruth]) -> Iterator[Run]:
    for name, annotation in truth.items():
        if not stack.multi_start:
            yield Run(f"{name}_001", name, np.arange(annotation.frames))
            continue
        starts = run_frames(annotation)
        if not starts:
            raise WorkspaceError(f"sequence {name}: no anchors in anchor.value, which says where runs start")
        for anchor, frames in starts.items():
            yield Run(f"{name}_{anchor:08d}", name, frames)


def _frames(place: Path, run: Run, boxes: np.ndarray, channels: tuple[str, ...], clip_depth: bool) -> Sequence:
    """The frames of a run in order, as the `sequence` file of the workspace names them."""
    patterns = dict(line.split("=", 1) for line in read_text(place / "sequence").splitlines() if "=" in line)
    files = []
    for channel in channels:
        if f"channels.{channel}" not in patterns:
            raise TrackingError(f"{place / 'sequence'}: no line channels.{channel}=..., which the tracker needs")
        pattern = patterns[f"channels.{channel}"].strip()
        files.append(tuple(place / (pattern % (number + 1)) for number in run.frames))
    return Sequence(
        name=run.name,
        modality=next((modality for modality, channel in X_CHANNELS.items() if channel in channels), "rgb"),
        rgb_files=files[0],
        x_files=files[1] if len(files) > 1 else None,
        boxes=boxes,
        visible=~np.isnan(boxes).any(axis=1),
        absent=np.isnan(boxes).any(axis=1),
        clip_depth=clip_depth,
    )
