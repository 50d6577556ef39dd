"""A tiny benchmark on disk, with images, two trackers and names that try to be markup."""

import cv2
import numpy as np

from lib.evaluation import evaluate

HOSTILE = "<img src=x onerror=alert(1)>"
NAMES = ("bike", "car", HOSTILE, "walker & son", "absent_10", "zebra")
FRAMES, WIDTH, HEIGHT = 40, 64, 48
ATTRIBUTES = {"bike": "occlusion,noise,fog", "car": "fog,noise", HOSTILE: "occlusion,<b>bold</b>"}


def true_boxes(name):
    start = NAMES.index(name)
    boxes = np.array([[4.0 + start + 0.5 * k, 6.0 + start, 14.0, 12.0] for k in range(FRAMES)])
    if name == "absent_10":
        boxes[10:20] = 0
    return boxes


def write_benchmark(root, images=True):
    """SynthRGBX/rgbt with a test split of six sequences below `root`."""
    folder = root / "SynthRGBX" / "rgbt"
    (folder / "attributes").mkdir(parents=True)
    (folder / "testingsetList.txt").write_text("".join(f"{name}\n" for name in NAMES))
    pictures = {kind: [_picture(kind, k) if images else b"" for k in range(FRAMES)] for kind in ("visible", "infrared")}
    for name in NAMES:
        place = folder / "testingset" / name
        for kind, contents in pictures.items():
            (place / kind).mkdir(parents=True)
            for k, content in enumerate(contents):
                (place / kind / f"{kind[0]}{k:03d}.jpg").write_bytes(content)
        for file in ("visible.txt", "infrared.txt", "init.txt"):
            np.savetxt(place / file, true_boxes(name), fmt="%.2f", delimiter=",")
        (folder / "attributes" / f"{name}.txt").write_text(ATTRIBUTES.get(name, "noise") + "\n")
    return root


def _picture(kind, k):
    grey = np.full((HEIGHT, WIDTH, 3), 40 + 4 * k if kind == "visible" else 200 - 4 * k, np.uint8)
    return cv2.imencode(".jpg", grey)[1].tobytes()


def write_tracker(folder, offset, lost=None, times=True):
    """Result files that are `offset` pixels off, and far off from frame lost[0] to lost[1]."""
    folder.mkdir(parents=True)
    for k, name in enumerate(NAMES):
        boxes = true_boxes(name)
        boxes[boxes[:, 2] == 0] = (5, 5, 10, 10)
        boxes[1:, 0] += offset * (k + 1) / len(NAMES)
        if lost and name in ("car", "absent_10"):
            boxes[lost[0] : lost[1], 0] += 500
        np.savetxt(folder / f"{name}.txt", boxes, fmt="%.3f", delimiter=",")
        if times:
            np.savetxt(folder / f"{name}_times.txt", [1.0] + [0.02] * (FRAMES - 1), fmt="%.4f")
    return folder


def make_evaluation(root, images=True, trackers=("ours", "other")):
    """Evaluation of a good tracker and one that is lost for a while; `root` then holds everything."""
    write_benchmark(root, images)
    results = {trackers[0]: write_tracker(root / "a", 1), trackers[1]: write_tracker(root / "b", 4, (5, 25), False)}
    return evaluate("synthrgbt", results, data_root=root)
