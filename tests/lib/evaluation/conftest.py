"""A small benchmark of made-up sequences, and trackers on it."""

from __future__ import annotations

import numpy as np
import pytest

NAMES = ("bike", "car", "redcar")
FRAMES = 12


def lines(rows, separator=",", decimals=3):
    return "".join(separator.join(f"{value:.{decimals}f}" for value in row) + "\n" for row in rows)


def true_boxes(name):
    """A box that drifts to the lower right; another start per sequence."""
    start = 30 + 40 * NAMES.index(name)
    step = np.arange(FRAMES)[:, None] * np.array([[2.0, 1.0, 0.0, 0.0]])
    return np.array([[start, start, 20.0, 30.0]]) + step


@pytest.fixture
def benchmark(tmp_path):
    """LasHeR-shaped annotations: `annos/<sequence>.txt` and a list; returns the folder."""
    root = tmp_path / "truth"
    (root / "annos").mkdir(parents=True)
    for name in NAMES:
        (root / "annos" / f"{name}.txt").write_text(lines(true_boxes(name), decimals=0))
    (root / "testingsetList.txt").write_text("\n".join(NAMES) + "\n")
    return root


@pytest.fixture
def write_tracker(tmp_path):
    """Function that writes a tracker's files, shifted by `offset` pixels, and returns their folder."""

    def write(name="tracker", *, offset=0.0, prefix="", separator=",", convert=lambda boxes: boxes):
        folder = tmp_path / name
        folder.mkdir()
        for sequence in NAMES:
            boxes = true_boxes(sequence) + np.array([offset, 0, 0, 0])
            boxes[0] = true_boxes(sequence)[0]
            (folder / f"{prefix}{sequence}.txt").write_text(lines(convert(boxes), separator))
        return folder

    return write


def to_corners(boxes):
    x, y, w, h = boxes.T
    return np.stack([x, y, x + w, y + h], axis=1)


def to_eight(boxes):
    x, y, w, h = boxes.T
    return np.stack([x, y, x + w, y, x + w, y + h, x, y + h], axis=1)


@pytest.fixture
def converters():
    return {"xywh": lambda boxes: boxes, "corners": to_corners, "eight": to_eight}
