"""Running our tracker over a VOT workspace without the toolkit, into the files that the toolkit analyzes.

The frames, starts and files are those of the toolkit; only the messages in between are missing. It needs no package,
reads the weights once, and does the multi-start runs that the toolkit's versions 0.8.0 to 0.9.0 fail at.

A result of one run lies in `<workspace>/results/<tracker>/<experiment>/<sequence>/` as `<run>.txt` (or `<run>.bin`),
`<run>_confidence.value` and `<run>_time.value`, where `<run>` is `<sequence>_001` in a long-term experiment and
`<sequence>_<anchor frame, 8 digits>` in a multi-start one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from lib.datasets.boxes_file import read_text
from lib.datasets.sequence import Sequence
from lib.evaluation.annotations import read_annotations
from lib.evaluation.filetree import FileTree
from lib.evaluation.vot import run_frames
from lib.inference.results import TrackingError
from lib.inference.sequence import FrameTracker, track_frames
from lib.vot.server import X_CHANNELS
from lib.vot.workspace import workspace_stack
from patrack.files import atomic_write

__all__ = ["run_workspace", "write_run"]


def run_workspace(
    tracker: FrameTracker, folder: Path, name: str, channels: tuple[str, ...], clip_depth: bool = True
) -> int:
    """Track what is not yet in `results/<name>/` of a workspace.

    Args:
        tracker: initialized here, once per run.
        folder: the workspace.
        name: of the tracker.
        channels: see `lib.vot.server.channels_of`.
        clip_depth: see `patrack.modality.x_to_three_channels`.

    Returns:
        Number of runs done now; the others were there.

    Raises:
        TrackingError: a frame can't be read or tracked; finished runs stay.
        ValueError: no workspace of a known stack, or annotations that are missing or malformed.
        OSError: the workspace has no sequences, or results can't be written.
    """
    stack = workspace_stack(folder)
    truth = read_annotations("votrgbd2022", FileTree(folder / "sequences", "sequences of the workspace"))
    results = folder / "results" / name / stack.experiment
    todo: list[tuple[str, str, np.ndarray]] = []  # run, sequence, and (L,) frame numbers in the order of tracking
    for sequence, annotation in truth.items():
        runs = {f"{sequence}_001": np.arange(annotation.frames)}
        if stack.multi_start:
            runs = {f"{sequence}_{anchor:08d}": frames for anchor, frames in run_frames(annotation).items()}
            if not runs:
                raise ValueError(f"sequence {sequence}: no anchors in anchor.value, which says where runs start")
        for run, frames in runs.items():
            written = any((results / sequence / f"{run}{suffix}").is_file() for suffix in (".txt", ".bin"))
            todo += [] if written else [(run, sequence, frames)]  # by us or by the toolkit
    with tqdm(total=sum(len(frames) for _, _, frames in todo), unit="frame") as bar:
        for run, sequence, frames in todo:
            boxes = truth[sequence].boxes[0][frames]
            video = _frames(folder / "sequences" / sequence, run, frames, boxes, channels, clip_depth)
            result = track_frames(tracker, video, boxes[0], lambda *_: bar.update())
            write_run(results / sequence, run, result.boxes, result.scores, result.times)
    return len(todo)


def _frames(
    place: Path, run: str, frames: np.ndarray, boxes: np.ndarray, channels: tuple[str, ...], clip_depth: bool
) -> Sequence:
    """The frames of a run in order, as the `sequence` file of the workspace names them."""
    patterns = dict(line.split("=", 1) for line in read_text(place / "sequence").splitlines() if "=" in line)
    files = []
    for channel in channels:
        if f"channels.{channel}" not in patterns:
            raise TrackingError(f"{place / 'sequence'}: no line channels.{channel}=..., which the tracker needs")
        pattern = patterns[f"channels.{channel}"].strip()
        files.append(tuple(place / (pattern % (number + 1)) for number in frames))
    return Sequence(
        name=run,
        modality=next((modality for modality, channel in X_CHANNELS.items() if channel in channels), "rgb"),
        rgb_files=files[0],
        x_files=files[1] if len(files) > 1 else None,
        boxes=boxes,
        visible=~np.isnan(boxes).any(axis=1),
        absent=np.isnan(boxes).any(axis=1),
        clip_depth=clip_depth,
    )


def write_run(
    folder: Path, run: str, boxes: np.ndarray, confidences: np.ndarray, seconds: np.ndarray | None = None
) -> None:
    """Write one run as the toolkit does; row 0 becomes the initialisation. The trajectory comes last, atomically.

    Args:
        folder: of the sequence.
        run: name of the run.
        boxes: (N, 4) xywh, pixels; a row of NaN: nothing reported.
        confidences: (N,); the first is not written.
        seconds: (N,) time per frame; None: unknown.

    Raises:
        ValueError: lengths that differ.
        OSError: the folder can't be written.
    """
    if boxes.shape != (len(confidences), 4) or (seconds is not None and len(seconds) != len(boxes)):
        raise ValueError(f"run {run}: {boxes.shape} boxes for {len(confidences)} confidences; need (N, 4) and (N,)")
    files = {"_confidence.value": ["", *(repr(value) for value in confidences[1:].tolist())]}
    if seconds is not None:
        files["_time.value"] = [repr(value) for value in seconds.tolist()]
    rows = [",".join(f"{value:.4f}" for value in box) if np.isfinite(box).all() else "0" for box in boxes[1:]]
    files[".txt"] = ["1", *rows]  # the code of the row in which the tracker was given the target
    for ending, lines in files.items():
        with atomic_write(folder / f"{run}{ending}") as file:
            file.writelines(f"{line}\n" for line in lines)
