"""A target's box, and how X images are to be read, as it is written on a command line or in a settings file."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from patrack.modality import ValueRange
from patrack.recordings.sequence import XTransform

__all__ = ["parse_box", "read_transform", "value_range"]


def parse_box(text: str) -> np.ndarray:
    """`x,y,w,h` -> (4,) float64, pixels.

    Raises:
        ValueError: not four numbers.
    """
    try:
        box = np.array([float(part) for part in text.replace(",", " ").split()])
    except ValueError:
        box = np.empty(0)
    if box.shape != (4,):
        raise ValueError(f"--box must be four numbers x,y,w,h in pixels, e.g. 120,80,40,60, got {text!r}")
    return box


def value_range(numbers: str | Iterable[float]) -> ValueRange:
    """Check a range of values, low and high; a text has a comma or space between them.

    Raises:
        ValueError: not two finite numbers, the lower one first.
    """
    try:
        values = list(map(float, numbers.replace(",", " ").split() if isinstance(numbers, str) else numbers))
    except ValueError as error:
        raise ValueError(f"x range must be two numbers LOW,HIGH, got {numbers!r}") from error
    if len(values) != 2 or not all(map(math.isfinite, values)) or not values[0] < values[1]:
        raise ValueError(f"x range must be two numbers LOW,HIGH, the lower one first, got {values}")
    return values[0], values[1]


def read_transform(text: str, folder: Path | None = None) -> XTransform:
    """Read how X comes onto RGB's pixels: the word "resize", or a file with a homography.

    The file has 3 rows of 3 numbers, with spaces or commas between them, or is a .npy file of shape (3, 3). A pixel of
    X (u, v, 1) times the matrix is the same point in RGB, up to scale.

    Args:
        text: "resize" or the file.
        folder: that the file lies in.

    Raises:
        ValueError: no such file, or not a homography.
    """
    if text == "resize":
        return "resize"
    path = Path(text).expanduser() if folder is None else folder / text
    try:
        if path.suffix.lower() == ".npy":
            matrix = np.array(np.load(path, mmap_mode="r", allow_pickle=False), float)
        else:
            lines = path.read_text(encoding="utf-8-sig").strip().splitlines()
            matrix = np.array([line.replace(",", " ").split() for line in lines], float)
    except Exception as error:  # a damaged header may be anything to Python's parser, by which numpy reads it
        raise ValueError(
            f"x transform {text!r}: neither the word resize nor a file of 3 x 3 numbers: {error}"
        ) from error
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or np.linalg.matrix_rank(matrix) < 3:
        raise ValueError(
            f"x transform {path}: must be an invertible matrix of 3 x 3 numbers, from pixels of X to pixels of RGB, "
            f"got {matrix.tolist()}"
        )
    return tuple(tuple(row) for row in matrix.astype(float).tolist())
