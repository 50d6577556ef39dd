"""Made-up recordings: a bright square that moves over noise, drawn into RGB and X images."""

from __future__ import annotations

import cv2
import numpy as np

SIZE = (64, 96)  # height, width


def boxes(frames):
    """(frames, 4) xywh: 12 x 10 pixels, two pixels a frame to the right."""
    return np.array([[20.0 + 2 * k, 24.0, 12.0, 10.0] for k in range(frames)])


def text(rows):
    return "".join(",".join(f"{value:g}" for value in row) + "\n" for row in rows)


def write_recording(folder, names=("rgb",), frames=12, box_file="groundtruth.txt", lines=None):
    """Image folders of the given names (a "depth" one in 16 bits) and a box file; returns the folder."""
    rng = np.random.default_rng(0)
    truth = boxes(frames)
    for name in names:
        (folder / name).mkdir(parents=True)
        for k, (x, y, w, h) in enumerate(truth.astype(int).tolist()):
            image = rng.integers(0, 60, (*SIZE, 3), dtype=np.uint8)
            image[y : y + h, x : x + w] = (200, 220, 240)
            if name == "depth":
                image = 500 + 10 * image[:, :, 0].astype(np.uint16)
            cv2.imwrite(str(folder / name / f"{k:03d}.png"), image)
    (folder / box_file).write_text(text(truth) if lines is None else lines)
    return folder
