"""A small RGB-D data set on disk, shaped like DepthTrack: what the tests of the VOT parts start from."""

import cv2
import numpy as np

from small_models import CEA, TRACKED

SIZE = (64, 48)  # width, height
SMALL = [*TRACKED, CEA, "test.size_update=1.0"]


def truth_of(number, count):
    """(count, 4) boxes of sequence `number`: a target that moves."""
    steps = np.arange(count)
    x, y = 8 + steps * (1 + number) % 30, 6 + (steps * 2) % 20
    return np.stack([x, y, np.full(count, 14.0), np.full(count, 12.0)], axis=1)


def write_data(root, count=6, names=("one", "two"), absent=(), first=1):
    """Write `names`, `count` frames each; frames in `absent` (from 0) show nothing. Returns the root."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(names):
        boxes = truth_of(number, count)
        boxes[list(absent)] = np.nan
        for folder in ("color", "depth"):
            (root / name / folder).mkdir(parents=True)
        for k in range(count):
            image = rng.integers(0, 90, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
            depth = np.full((SIZE[1], SIZE[0]), 3000, dtype=np.uint16)
            if k not in absent:
                x, y, w, h = boxes[k].astype(int)
                image[y : y + h, x : x + w], depth[y : y + h, x : x + w] = (40, 200, 240), 1200
            cv2.imwrite(str(root / name / "color" / f"{k + first:08d}.jpg"), image)
            cv2.imwrite(str(root / name / "depth" / f"{k + first:08d}.png"), depth)
        lines = [",".join(f"{value:.4f}" for value in box) for box in boxes]
        (root / name / "groundtruth.txt").write_text("\n".join(lines) + "\n")
    (root / "test.txt").write_text("".join(f"{name}\n" for name in names))
    return root


class Follower:
    """A stand-in for the tracker: the box it is given drifts, with a confidence that falls; nothing is looked at."""

    def __init__(self, drift=0.35):
        self.drift, self.given, self.box, self.age = drift, [], None, 0

    def initialize(self, frame, box_xywh, present=(True, True)):
        assert frame.shape[2] in (3, 6)
        self.given.append(list(box_xywh))
        self.box, self.age = np.array(box_xywh, dtype=np.float64), 0

    def track(self, frame, present=(True, True)):
        self.age += 1
        return self.box + np.array([self.drift, 0.2, 0, 0]) * self.age, 1 / (1 + self.age)
