"""Result files that the VOT toolkit reads.

A result of one run lies in `<workspace>/results/<tracker>/<experiment>/<sequence>/` as `<run>.txt` (or `<run>.bin`),
`<run>_confidence.value` and `<run>_time.value`, where `<run>` is `<sequence>_001` in a long-term experiment and
`<sequence>_<anchor frame, 8 digits>` in a multi-start one.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from patrack.files import atomic_write

__all__ = ["is_written", "write_run"]

INITIALIZATION = "1"  # code of the row in which the tracker was given the target


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
    _write_lines(folder / f"{run}_confidence.value", ["", *(repr(float(value)) for value in confidences[1:])])
    if seconds is not None:
        _write_lines(folder / f"{run}_time.value", [repr(float(value)) for value in seconds])
    rows = [",".join(f"{value:.4f}" for value in box) if np.isfinite(box).all() else "0" for box in boxes[1:]]
    _write_lines(folder / f"{run}.txt", [INITIALIZATION, *rows])


def is_written(folder: Path, run: str) -> bool:
    """Whether the trajectory of a run is there, by us or by the toolkit."""
    return any((folder / f"{run}{suffix}").is_file() for suffix in (".txt", ".bin"))


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with atomic_write(path) as file:
        file.writelines(f"{line}\n" for line in lines)
