"""Follow a target with an exported network: NumPy, OpenCV and onnxruntime, nothing of PATrack, no PyTorch.

    patrack export --weights rgbt_small --output exported
    python examples/onnx_tracker.py exported --rgb visible/ --x infrared/ --box 120,80,40,60 > track.csv

RGB and X are two folders of images, paired in the order of their names, or two videos, both of the same size. X may
be thermal of 8 bits, depth of 16 bits in millimeters (0: not measured) or colored already, or images of events. A
network of RGB alone takes no --x. Every frame gives a line x,y,w,h,score; the boxes are those of `patrack track`.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime


def images(path, flags):
    """The images of a folder, or the frames of a video, as OpenCV reads them."""
    if path.is_dir():
        files = [file for file in path.iterdir() if file.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp", ".tif")]
        for file in sorted(files, key=lambda file: (len(file.name), file.name)):
            image = cv2.imread(str(file), flags)
            yield sys.exit(f"{file}: not a readable image") if image is None else image
        return
    video = cv2.VideoCapture(str(path))
    while (image := video.read()[1]) is not None:
        yield image


def x_channels(image, kind):
    """An X image -> (H, W, 3) uint8, as the network was trained with it."""
    if image.ndim == 3 and (image[:, :, :1] == image).all():
        image = image[:, :, 0]
    if kind == "depth" and image.ndim == 2:
        measured = image[image > 0]
        limit = int(min(3 * np.median(measured), 10000)) if measured.size else 0
        image = np.minimum(image, limit).astype(np.float64)
        low, high = image.min(), image.max()
        return cv2.applyColorMap(np.rint((image - low) * 255 / max(high - low, 1)).astype(np.uint8), cv2.COLORMAP_JET)
    if image.dtype != np.uint8:
        sys.exit(f"X must be 8 bits ({kind}), got {image.dtype}: choose which values become 0 and 255, and convert it")
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    return image if kind == "depth" else image[:, :, ::-1]  # colors of depth stay B, G, R


def cut(frame, box, factor, size):
    """The square around a box, size x size pixels, and crop pixels per image pixel; black outside the image."""
    x, y, w, h = map(float, box)
    side = math.ceil(math.sqrt(w * h) * factor)
    left, top = round(x + 0.5 * w - 0.5 * side), round(y + 0.5 * h - 0.5 * side)
    x0, x1 = max(left, 0), min(left + side, frame.shape[1] - 1)  # the last row and column are left out, as in training
    y0, y1 = max(top, 0), min(top + side, frame.shape[0] - 1)
    if x0 >= x1 or y0 >= y1:
        return np.zeros((size, size, frame.shape[2]), np.uint8), size / side
    border = (y0 - top, top + side - y1, x0 - left, left + side - x1)
    patch = cv2.copyMakeBorder(frame[y0:y1, x0:x1], *border, cv2.BORDER_CONSTANT, value=0)
    return cv2.resize(patch, (size, size), interpolation=cv2.INTER_LINEAR), size / side


def draw_outline(crop, box, scale, width, color):
    """Draw a line around the target of a template, which lies in its middle."""
    middle, half = 0.5 * len(crop), 0.5 * box[2:] * scale
    left, top, right, bottom = np.rint(np.clip((*(middle - half), *(middle + half)), 0, len(crop))).astype(int)
    inside = crop[top:bottom, left:right].copy()
    crop[max(top - width, 0) : bottom + width, max(left - width, 0) : right + width] = color * (crop.shape[2] // 3)
    crop[top:bottom, left:right] = inside


class Tracker:
    """Follows one target; the network is in a folder that `patrack export` wrote."""

    def __init__(self, folder):
        self.told = json.loads((folder / "export.json").read_text())
        if self.told["format"] != "onnx" or self.told["batch"] != 1 or self.told["templates"] != 1:
            sys.exit(f"{folder}: this example takes ONNX graphs of batch 1 with one template")
        files, cpu = [str(folder / f"{name}.onnx") for name in ("template", "search")], ["CPUExecutionProvider"]
        self.template, self.search = (onnxruntime.InferenceSession(file, providers=cpu) for file in files)
        wave = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, self.told["grid"] + 1) / (self.told["grid"] + 1)))
        self.window = np.outer(wave, wave).astype(np.float32) if self.told["window"] else np.float32(1)

    def initialize(self, frame, box):
        """The first frame (H, W, 3 or 6) uint8, and the target in it: x, y, w, h in pixels."""
        told, self.box = self.told, np.array(box, np.float64)
        crop, scale = cut(frame, self.box, told["template_factor"], told["template_size"])
        if told["template_outline"]:
            draw_outline(crop, self.box, scale, told["template_outline"], told["outline_color"])
        self.z = self.template.run(None, {"crop": crop[None]})[0]
        self.correction, errors = np.ones(2), []  # of predicted sizes, where the target is found again
        for factor, right, down in told["calibration_trials"] if told["size_calibration"] else ():
            sides = self.box[2:] * factor
            around = np.concatenate((self.box[:2] + self.box[2:] * (0.5 + right, 0.5 + down) - 0.5 * sides, sides))
            center, size, _, _ = self.look(frame, around)
            missed = (center - self.box[:2] - 0.5 * self.box[2:]) / self.box[2:]
            if (np.abs(missed) < told["calibration_found_within"]).all():
                errors.append(np.log(size / self.box[2:]))
        if errors:
            self.correction = np.exp(-told["size_calibration"] * np.median(errors, axis=0))
        return self.box, 1.0

    def look(self, frame, around):
        """Center and size in pixels of what is found around a box; its score; pixels of the crop's side."""
        told = self.told
        crop, scale = cut(frame, around, told["search_factor"], told["search_size"])
        score, size, offset = (maps[0] for maps in self.search.run(None, {"z": self.z, "x": crop[None]}))
        response = score[0] * self.window
        row, column = np.unravel_index(response.argmax(), response.shape)
        side = told["search_size"] / scale
        place = (np.array([column, row]) + offset[:, row, column]) / told["grid"]
        center = (place - 0.5) * side + around[:2] + 0.5 * around[2:]
        return center, size[:, row, column].astype(np.float64) * side, float(response.max()), side

    def track(self, frame):
        """The next frame -> x, y, w, h in pixels, and the score."""
        center, size, score, side = self.look(frame, self.box)
        share, limits = self.told["size_update"], np.array(frame.shape[1::-1])
        size = self.box[2:] ** (1 - share) * np.maximum(size * self.correction, 1e-6 * side) ** share
        margin = np.minimum(max(self.told["clip_margin"], 1), limits)
        first = np.clip(center - 0.5 * size, 0, limits - margin)  # the box stays in the image
        last = np.clip(center + 0.5 * size, margin, limits)
        self.box = np.concatenate((first, np.maximum(last - first, margin)))
        return self.box, score


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="that patrack export wrote")
    parser.add_argument("--rgb", type=Path, required=True, help="folder of images, or video")
    parser.add_argument("--x", type=Path, help="the same of the other sensor")
    parser.add_argument("--box", required=True, help="x,y,w,h of the target in the first frame, pixels")
    arguments = parser.parse_args()
    tracker, box, score = Tracker(arguments.folder), [float(number) for number in arguments.box.split(",")], None
    kind = (tracker.told["x"] or {}).get("kind")
    if (kind is None) != (arguments.x is None):
        sys.exit(f"the network reads {'RGB alone: leave out' if kind is None else kind + ' beside RGB: give'} --x")
    sources, flags = (arguments.rgb, arguments.x), (cv2.IMREAD_COLOR, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    streams = [images(path, flag) for path, flag in zip(sources, flags, strict=True) if path is not None]
    for rgb, *x in zip(*streams, strict=True):
        frame = np.dstack((rgb[:, :, ::-1], *(x_channels(image, kind) for image in x)))
        box, score = tracker.initialize(frame, box) if score is None else tracker.track(frame)
        print(",".join(f"{value:.4f}" for value in (*box, score)), flush=True)


if __name__ == "__main__":
    main()
