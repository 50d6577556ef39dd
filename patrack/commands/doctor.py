"""Say what is installed, what works on this machine, and what is missing."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import sys

from patrack import __version__

PACKAGES = ("torch", "torchvision", "timm", "numpy", "opencv-python-headless", "av", "safetensors", "pydantic")
EXTRAS = {
    "gui": ("pygame", "a box drawn by mouse, --show"),
    "events": ("faery", "files of event cameras"),
    "export": ("onnxruntime", "patrack export"),
    "openvino": ("openvino", "patrack export --format openvino"),
}
"""Extra: the module that it installs, and what that is for."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command has none."""


def run(arguments: argparse.Namespace) -> int:
    """Print a line per finding.

    Returns:
        1 if something doesn't work that tracking needs, else 0.
    """
    print(f"patrack {__version__}, Python {platform.python_version()} ({sys.executable}), {platform.platform()}")
    problems = 0
    for title, look in (
        ("packages", packages),
        ("device", device),
        ("video", codecs),
        ("weights", weights),
        ("extras", extras),
        ("display", display),
    ):
        fine, text = look()
        problems += not fine
        print(f"{'ok     ' if fine else 'PROBLEM'} {title}: {text}")
    print("everything that tracking needs works" if not problems else f"{problems} problems")
    return 1 if problems else 0


def packages() -> tuple[bool, str]:
    """Tell the versions of what tracking needs."""
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if "opencv-python-headless" in missing and importlib.util.find_spec("cv2") is not None:
        missing.remove("opencv-python-headless")  # another of OpenCV's packages does as well
        found.append("OpenCV from another package")
    return not missing, ", ".join(found) + (f"; missing: {', '.join(missing)} (pip install patrack)" if missing else "")


def device() -> tuple[bool, str]:
    """Tell what computes."""
    import torch

    count = torch.cuda.device_count()
    gpus = [f"cuda:{k} {torch.cuda.get_device_name(k)}" for k in range(count)]
    if gpus:
        try:
            torch.ones(8, device="cuda").sum().item()
        except RuntimeError as error:
            return False, f"{', '.join(gpus)}, but it doesn't compute: {str(error).splitlines()[0]}"
        return True, f"{', '.join(gpus)} (CUDA {torch.version.cuda}), or --device cpu"
    without = "PyTorch was built without CUDA" if torch.version.cuda is None else "no GPU is found"
    return True, f"cpu, {os.cpu_count()} cores ({without})"


def codecs() -> tuple[bool, str]:
    """Write a video and read it again."""
    import tempfile
    from pathlib import Path

    import cv2
    import numpy as np

    from patrack.recordings import overlay

    with tempfile.TemporaryDirectory(prefix="patrack-") as folder:
        path = Path(folder, "video.mp4")
        try:
            with overlay.OverlayVideo(path, "rgbt") as video:
                for _ in range(3):
                    video.write(np.zeros((64, 64, 6), np.uint8), np.array([8.0, 8.0, 20.0, 20.0]))
        except OSError as error:
            return False, str(error)
        capture = cv2.VideoCapture(str(path))
        count = 0
        while capture.grab():
            count += 1
        capture.release()
    if count != 3:
        return False, f"OpenCV read {count} of 3 frames of the video that was written; install opencv-python-headless"
    kind = "H.264, which browsers play" if overlay.av is not None else "MPEG-4, which no browser plays: pip install av"
    return True, f"writes {kind}; reads it with OpenCV {cv2.__version__}"


def weights() -> tuple[bool, str]:
    """Load every shipped file, and follow something with the smallest."""
    import numpy as np

    from patrack.config import project_path
    from patrack.tensorfiles import WeightsError, read_tensors
    from patrack.tracker import Tracker

    files = sorted(project_path("weights").glob("*.safetensors"))
    shipped = [path for path in files if path.stem.split("_")[0] in ("rgb", "rgbt", "rgbd", "rgbe", "rgbx")]
    try:
        for path in shipped:
            read_tensors(path)
        tracker = Tracker.from_pretrained("rgbt_tiny")
        image = np.zeros((96, 128, 3), np.uint8)
        image[30:50, 40:64] = 200
        tracker.initialize(image, image[:, :, 0], (40, 30, 24, 20))
        tracker.track(image, image[:, :, 0])
    except (WeightsError, ValueError, RuntimeError) as error:
        return False, str(error)
    return bool(shipped), f"{', '.join(path.stem for path in shipped)} in {project_path('weights')}"


def extras() -> tuple[bool, str]:
    """Tell which extras are installed."""
    texts = []
    for extra, (module, purpose) in EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        texts.append(f"{extra} ({purpose}): " + ("installed" if there else f"pip install 'patrack[{extra}]'"))
    return True, "; ".join(texts)


def display() -> tuple[bool, str]:
    """Tell whether windows can be opened."""
    from patrack import gui

    try:
        gui.check("a window (--show)")
    except (ImportError, RuntimeError) as error:
        return True, str(error)
    return True, "there is one"
