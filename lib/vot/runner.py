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

from lib.datasets.parsing import read_text
from lib.evaluation.filetree import FileTree
from lib.evaluation.ground_truth import read_annotations
from lib.evaluation.vot import run_frames
from lib.inference.results import TrackingError
from lib.inference.sequence import FrameTracker, track_frames
from lib.vot.server import as_sequence
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
            files_of_run = [results / sequence / f"{run}{suffix}" for suffix in (".txt", ".bin")]  # ours, the toolkit's
            if not any(file.is_file() for file in files_of_run):
                todo.append((run, sequence, frames))
    with tqdm(total=sum(len(frames) for _, _, frames in todo), unit="frame") as bar:
        for run, sequence, frames in todo:
            # The `sequence` file names the images of each channel by a pattern of their number, from 1.
            place = folder / "sequences" / sequence
            lines = dict(line.split("=", 1) for line in read_text(place / "sequence").splitlines() if "=" in line)
            files = {}
            for channel in channels:
                if f"channels.{channel}" not in lines:
                    raise TrackingError(
                        f"{place / 'sequence'}: no line channels.{channel}=..., which the tracker needs"
                    )
                pattern = lines[f"channels.{channel}"].strip()
                files[channel] = tuple(place / (pattern % (number + 1)) for number in frames)
            boxes = truth[sequence].boxes[0][frames]
            video = as_sequence(run, files, boxes, clip_depth)
            result = track_frames(tracker, video, boxes[0], lambda *_: bar.update())
            write_run(results / sequence, run, result.boxes, result.scores, result.times)
    return len(todo)


def write_run(folder: Path, run: str, boxes: np.ndarray, confidences: np.ndarray, seconds: np.ndarray) -> None:
    """Write one run as the toolkit does; row 0 becomes the initialization. The trajectory comes last, atomically.

    Args:
        folder: of the sequence.
        run: name of the run.
        boxes: (N, 4) xywh, pixels; a row of NaN: nothing reported.
        confidences: (N,); the first is not written.
        seconds: (N,) time per frame.

    Raises:
        ValueError: lengths that differ.
        OSError: the folder can't be written.
    """
    if boxes.shape != (len(confidences), 4) or len(seconds) != len(boxes):
        raise ValueError(
            f"run {run}: {boxes.shape} boxes for {len(confidences)} confidences and {len(seconds)} times; need (N, 4) "
            "and (N,)"
        )
    rows = [",".join(f"{value:.4f}" for value in box) if np.isfinite(box).all() else "0" for box in boxes[1:]]
    files = {
        "_confidence.value": ["", *(repr(value) for value in confidences[1:].tolist())],
        "_time.value": [repr(value) for value in seconds.tolist()],
        ".txt": ["1", *rows],  # 1 is the code of the row in which the tracker was given the target
    }
    for ending, lines in files.items():
        with atomic_write(folder / f"{run}{ending}") as file:
            file.writelines(f"{line}\n" for line in lines)
