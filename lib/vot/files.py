"""Result files of the VOT toolkit: reading its binary trajectories, and writing what it reads.

A result of one run lies in `<workspace>/results/<tracker>/<experiment>/<sequence>/` as `<run>.txt` (or `<run>.bin`),
`<run>_confidence.value` and `<run>_time.value`, where `<run>` is `<sequence>_001` in a long-term experiment and
`<sequence>_<anchor frame, 8 digits>` in a multi-start one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from patrack.files import atomic_write

__all__ = ["decode_trajectory", "is_written", "write_run"]

INITIALIZATION = "1"  # code of the row in which the tracker was given the target
VERSION = 1  # of binary trajectories


def decode_trajectory(data: bytes, where: str) -> str:
    """A binary trajectory, which newer versions of the toolkit write by default, as the text it stands for.

    Args:
        data: content of a `.bin` file.
        where: its name, for errors.

    Returns:
        Per frame a line `x,y,w,h`, or one number, a special code.

    Raises:
        ValueError: another version, truncated or overlong data, or a region that is neither a rectangle nor a code.
    """
    lines, position = [], struct.calcsize("<hI")
    try:
        version, count = struct.unpack_from("<hI", data)
        if version != VERSION:
            raise ValueError(f"{where}: version {version} of binary trajectories; only {VERSION} is known")
        for number in range(count):
            kind = data[position]
            if kind > 1:
                raise ValueError(f"{where}: frame {number} (from 0) is of region type {kind}; only boxes are scored")
            form = "<ffff" if kind == 1 else "<I"
            lines.append(",".join(repr(value) for value in struct.unpack_from(form, data, position + 1)))
            position += 1 + struct.calcsize(form)
    except (struct.error, IndexError):
        raise ValueError(f"{where}: truncated after {len(lines)} frames ({len(data)} bytes)") from None
    if position != len(data):
        raise ValueError(f"{where}: {len(data) - position} bytes after the last of {count} frames")
    return "\n".join(lines)


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
