"""One recording without a data set: boxes, scores, times and an overlay video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lib.datasets.decoded import DecodedFrame
from lib.datasets.sequence import Sequence
from lib.evaluation.boxes import iou
from lib.evaluation.result_folder import SequenceResult
from lib.evaluation.results import write_boxes
from lib.inference.runner import track_frames
from lib.report.pictures import OverlayVideo
from patrack.files import atomic_write
from patrack.tracker import Tracker

__all__ = ["RecordingSummary", "track_recording"]


@dataclass(frozen=True)
class RecordingSummary:
    """How tracking went.

    Attributes:
        result: boxes, scores and times.
        mean_iou: over the annotated frames after the first; None without any.
        annotated: number of those frames.
    """

    result: SequenceResult
    mean_iou: float | None
    annotated: int

    def describe(self) -> str:
        """For the user."""
        frames = len(self.result.boxes)
        text = (
            f"{frames} frames, {frames / self.result.times.sum():.1f} FPS tracking, "
            f"{frames / self.result.seconds:.1f} FPS with reading and drawing; "
            f"mean score {self.result.scores.mean():.3f}"
        )
        if self.mean_iou is not None:
            text += f"; mean IoU {self.mean_iou:.4f} over {self.annotated} annotated frames after the first"
        return text


def track_recording(
    tracker: Tracker, recording: Sequence, box_xywh: np.ndarray, folder: Path, fps: float = 25.0
) -> RecordingSummary:
    """Track and write `boxes.txt`, `scores.txt`, `times.txt` and `overlay.mp4`, all when the last frame is done.

    A frame that can't be read ends the run with an error; earlier files of that name in the folder stay then.

    Args:
        tracker: initialised here.
        recording: its boxes, if any, are drawn and compared.
        box_xywh: (4,), pixels: the target in the first frame.
        folder: claimed for this run.
        fps: of the overlay video.

    Raises:
        TrackingError: see `lib.inference.runner.track_frames`.
        OSError: the folder can't be written.
    """
    video = OverlayVideo(folder / "overlay.mp4", recording.modality, fps)
    with video, tqdm(total=len(recording), unit="frame") as bar:

        def show(number: int, frame: DecodedFrame, box: np.ndarray, score: float) -> None:
            absent = [name for name, there in zip(("RGB", "X"), recording.streams_at(number), strict=True) if not there]
            caption = f"frame {number}  score {score:.3f}" + (f"  without {' and '.join(absent)}" if absent else "")
            video.write(frame.image(), box, caption, recording.boxes[number])
            bar.update()

        result = track_frames(tracker, recording, box_xywh, show)
    for name, values in (("scores", result.scores), ("times", result.times)):
        with atomic_write(folder / f"{name}.txt") as file:
            file.writelines(f"{value:.6f}\n" for value in values.tolist())
    write_boxes(folder / "boxes.txt", result.boxes)
    overlaps = iou(result.boxes[1:], recording.boxes[1:])
    known = np.isfinite(recording.boxes[1:]).all(axis=1) & ~recording.absent[1:]
    mean = float(overlaps[known].mean()) if known.any() else None
    return RecordingSummary(result, mean, int(known.sum()))
