"""Make an RGB training set, `realvideo`, from freely licensed real videos.

    python scripts/prepare_real_videos.py --output DATA/RealVideo --davis DAVIS --clips CLIPS
        --opencv-doc /usr/share/doc/opencv-doc --nano NANOTRACK

DAVIS: a folder with `<sequence>/img/` and `<sequence>/groundtruth_rect.txt`; the sequences in `real_video_heldout.txt`
become split `val`, the others `train`. The other videos have no boxes: `real_video_boxes.csv` holds first boxes that we
drew, and NanoTrack v2 (`cv2.TrackerNano`) follows each of them until it is unsure or until following the frames
backwards leads elsewhere. Every source may be left out. Frames are JPEG, at most 854 pixels wide and high; those of a
video are stored once and linked into its sequences. Same input, same OpenCV: same data set.

Exit code: 0 written, 1 something is missing or wrong (then nothing is written).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from lib.datasets.parsing import read_boxes, read_names
from lib.options import Parser
from patrack.files import named_if_full
from patrack.recordings.frames import read_image
from patrack.recordings.listing import list_frames

logger = logging.getLogger("prepare_real_videos")

HERE = Path(__file__).resolve().parent
BOXES, HELD_OUT = HERE / "real_video_boxes.csv", HERE / "real_video_heldout.txt"
NANO_FILES = ("nanotrackv2_nanotrack_backbone_sim.onnx", "nanotrackv2_nanotrack_head_sim.onnx")
LONGER_SIDE = 854  # largest width and height of a frame, pixels; the first boxes count pixels of frames of this size
LONGEST_TRACK, SHORTEST_TRACK = 150, 10  # frames; shorter tracks are dropped
CHUNK = 15  # frames that are followed backwards at a time, to check the same frames followed forwards
LEAST_AGREEMENT = 0.6  # IoU of the boxes found forwards and backwards
LEAST_SCORE = 0.6  # of NanoTrack, 0 to 1
# sequences of DAVIS that are left out, and why
DAVIS_UNFIT = {"paragliding-launch": "lines thinner than a pixel make its boxes ten times as large as what shows"}
CLIPS_LICENSE = "Apache-2.0 (repository facebookresearch/sam2, demo/data/gallery)"
OPENCV_LICENSE = "Apache-2.0 and BSD-3-Clause (Debian package opencv-doc)"
DAVIS_LICENSE = "BSD-3-Clause (DAVIS 2016, https://davischallenge.org); boxes around its published masks"


class FirstBox(NamedTuple):
    """A row of `real_video_boxes.csv`."""

    video: str  # file name without suffix
    target: str  # unique in its video
    start: int  # first frame, from 0
    end: int | None  # last frame that may be used
    box: tuple[int, int, int, int]  # x, y, w, h in `start`, pixels of the scaled frame


def read_first_boxes(path: Path) -> list[FirstBox]:
    """Read first boxes from a CSV file with columns video, object, start, end, x, y, w, h.

    Raises:
        ValueError: a value that is no whole number, an empty box, or a target that is listed twice.
    """
    rows: dict[tuple[str, str], FirstBox] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            try:
                x, y, w, h = (int(row[key]) for key in "xywh")
                end = int(row["end"]) if row["end"] else None
                first = FirstBox(row["video"], row["object"], int(row["start"]), end, (x, y, w, h))
            except (KeyError, TypeError, ValueError) as error:
                known = "video,object,start,end,x,y,w,h with whole numbers"
                raise ValueError(f"{path}, line {line}: not {known}") from error
            if w < 1 or h < 1 or first.start < 0:
                raise ValueError(f"{path}, line {line}: needs a box of at least 1x1 pixel and a start from 0")
            if not (first.video + first.target).replace("_", "").isalnum():
                raise ValueError(f"{path}, line {line}: names may hold letters, digits and _ only")
            if (first.video, first.target) in rows:
                raise ValueError(f"{path}, line {line}: {first.target} of {first.video} is listed twice")
            rows[first.video, first.target] = first
    return list(rows.values())


def scaled(image: np.ndarray) -> np.ndarray:
    """Shrink an image (H, W, 3) that is wider or higher than `LONGER_SIDE`."""
    height, width = image.shape[:2]
    scale = LONGER_SIDE / max(height, width)
    if scale >= 1:
        return image
    return cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)


def read_video(path: Path) -> list[np.ndarray]:
    """Read all frames of a video, scaled; a `.gz` file is unpacked first.

    Raises:
        ValueError: no frame can be decoded.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = path
        if path.suffix == ".gz":
            source = Path(folder) / path.stem
            source.write_bytes(gzip.decompress(path.read_bytes()))
        capture = cv2.VideoCapture(str(source))
        frames = []
        while True:
            read, image = capture.read()
            if not read:
                break
            frames.append(scaled(image))
        capture.release()
    if not frames:
        raise ValueError(f"{path}: no frame can be decoded; is it a video file?")
    return frames


def iou(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """Intersection over union of two x, y, w, h boxes."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(0, width) * max(0, height)
    return shared / max(1, a[2] * a[3] + b[2] * b[3] - shared)


def follow(frames: list[np.ndarray], box: tuple[int, ...], new_tracker: Callable[[], Any]) -> list[tuple[int, ...]]:
    """Follow a target from the first frame on, as far as two directions agree.

    The tracker goes `CHUNK` frames forwards; another one, started on what it found last, goes back over them. If the
    two disagree anywhere, or a score falls below `LEAST_SCORE`, the track ends with the first half or fifth of these
    frames if that passes the same check, else before them.

    Args:
        frames: (H, W, 3) uint8 BGR; the first shows the target at `box` (x, y, w, h, pixels).
        new_tracker: makes a tracker like `cv2.TrackerNano`.

    Returns:
        A box for frames 0, 1, ... up to where the track ends; at least that of the first frame.
    """

    def agree(frames: list[np.ndarray], boxes: list[tuple[int, ...]]) -> bool:
        """Check that a tracker that starts at the last box and goes backwards finds all of them."""
        backwards = new_tracker()
        backwards.init(frames[-1], boxes[-1])
        for frame, box in zip(frames[-2::-1], boxes[-2::-1], strict=True):
            found, place = backwards.update(frame)
            if not found or iou(box, tuple(int(value) for value in place)) < LEAST_AGREEMENT:
                return False
        return True

    boxes = [box]
    forwards = new_tracker()
    forwards.init(frames[0], box)
    while len(boxes) < len(frames):
        first = len(boxes) - 1
        chunk = [boxes[first]]
        wanted = min(CHUNK, len(frames) - len(boxes))
        for frame in frames[first + 1 : first + 1 + wanted]:
            found, place = forwards.update(frame)
            if not found or forwards.getTrackingScore() < LEAST_SCORE or min(place[2:]) < 4:
                break
            chunk.append(tuple(int(value) for value in place))
        # how much of it the way back confirms
        lengths = [length for length in (wanted, CHUNK // 2, CHUNK // 5) if length < len(chunk)]
        checked = next((n for n in lengths if agree(frames[first : first + n + 1], chunk[: n + 1])), 0)
        boxes += chunk[1 : checked + 1]
        if checked < wanted:
            break
    return boxes


def nano_tracker(folder: Path) -> Callable[[], Any]:
    """Return a function that makes NanoTrack v2 trackers with the ONNX files in `folder`."""
    for name in NANO_FILES:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: not there; --nano needs {' and '.join(NANO_FILES)}")
    opencv: Any = cv2  # its type stubs leave TrackerNano out
    parameters = opencv.TrackerNano_Params()
    parameters.backbone, parameters.neckhead = (str(folder / name) for name in NANO_FILES)
    return lambda: opencv.TrackerNano_create(parameters)


def write_frame(path: Path, image: np.ndarray) -> None:
    """Write a JPEG file of quality 95."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    with named_if_full(path):
        path.write_bytes(data.tobytes())


def write_boxes(folder: Path, boxes: np.ndarray | list[tuple[int, ...]]) -> None:
    """Write `groundtruth.txt` of a sequence: x,y,w,h per line."""
    lines = [",".join(f"{value:g}" for value in box) for box in boxes]
    (folder / "groundtruth.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def add_davis(davis: Path, held_out: list[str], output: Path) -> list[dict[str, Any]]:
    """Write the DAVIS sequences below `davis`; returns what `sources.json` says of each.

    Raises:
        ValueError: a held-out sequence is missing, or frames and boxes differ in number.
    """
    names = sorted(path.parent.name for path in davis.glob("*/groundtruth_rect.txt"))
    missing = sorted(set(held_out) - set(names))
    if missing:
        raise ValueError(f"{davis}: no groundtruth_rect.txt of {', '.join(missing)}, held out by {HELD_OUT.name}")
    entries = []
    for name in names:
        if name in DAVIS_UNFIT:
            logger.info("DAVIS %s left out: %s", name, DAVIS_UNFIT[name])
            continue
        boxes = read_boxes(davis / name / "groundtruth_rect.txt")
        files = list_frames(davis / name / "img")
        if len(files) != len(boxes):
            raise ValueError(f"{davis / name}: {len(files)} frames and {len(boxes)} boxes")
        split = "val" if name in held_out else "train"
        folder = output / split / f"davis_{name}"
        (folder / "img").mkdir(parents=True)
        for k in range(len(files)):
            image = read_image(files[k], cv2.IMREAD_COLOR)
            small = scaled(image)
            boxes[k] *= small.shape[1] / image.shape[1]
            write_frame(folder / "img" / f"{k + 1:06d}.jpg", small)
        write_boxes(folder, boxes)
        entries.append(
            {"name": folder.name, "split": split, "frames": len(boxes), "source": f"DAVIS {name}"}
            | {"license": DAVIS_LICENSE, "boxes": "published masks"}
        )
    return entries


def add_video(
    path: Path, license_text: str, first_boxes: list[FirstBox], new_tracker: Callable[[], Any], output: Path
) -> list[dict[str, Any]]:
    """Follow the targets of one video and write them to split `train`; returns what `sources.json` says of each.

    Raises:
        ValueError: a first box that starts after the end of the video or leaves the frame.
    """
    frames = read_video(path)
    height, width = frames[0].shape[:2]
    stored = output / "frames" / first_boxes[0].video
    stored.mkdir(parents=True)
    entries = []
    for first in first_boxes:
        x, y, w, h = first.box
        if first.start >= len(frames) or x < 0 or y < 0 or x + w > width or y + h > height:
            raise ValueError(
                f"{first.target} of {path}: start {first.start}, box {first.box}; the video has {len(frames)} frames "
                f"of {width}x{height} pixels"
            )
        last = first.start + LONGEST_TRACK - 1 if first.end is None else first.end
        boxes = follow(frames[first.start : last + 1], first.box, new_tracker)
        name = f"{first.video}_{first.target}"
        if len(boxes) < SHORTEST_TRACK:
            logger.info("%s: followed for %d frames only, left out", name, len(boxes))
            continue
        folder = output / "train" / name
        (folder / "img").mkdir(parents=True)
        for k in range(first.start, first.start + len(boxes)):
            file = stored / f"{k:06d}.jpg"
            if not file.exists():
                write_frame(file, frames[k])
            try:
                os.link(file, folder / "img" / file.name)
            except OSError:  # where links can't be made
                shutil.copyfile(file, folder / "img" / file.name)
        write_boxes(folder, boxes)
        logger.info("%s: %d frames from %d on", name, len(boxes), first.start)
        entries.append(
            {"name": name, "split": "train", "frames": len(boxes), "source": path.name, "first_frame": first.start}
            | {"license": license_text, "boxes": "ours in the first frame, then NanoTrack v2 both ways"}
        )
    return entries


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--output", required=True, type=Path, help="folder to make, usually DATA/RealVideo; must not exist")
    add("--davis", type=Path, help="folder of DAVIS sequences with img/ and groundtruth_rect.txt")
    add("--clips", type=Path, help="folder with the clips of SAM 2's demo, 01_dog.mp4 to 05_default_juggle.mp4")
    add("--opencv-doc", type=Path, help="folder of Debian's package opencv-doc (/usr/share/doc/opencv-doc)")
    add("--nano", type=Path, help="folder with the two ONNX files of NanoTrack v2; needed for videos without boxes")
    add("--boxes", type=Path, default=BOXES, help="first boxes (default: the file beside this script)")
    add("--held-out", type=Path, default=HELD_OUT, help="DAVIS sequences of split val, one name a line (default: ours)")
    add("--device", help="as for every command; NanoTrack runs on the CPU")
    add("--seed", type=int, help="as for every command; nothing here is random")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 when the data set is written."""
    arguments = parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cv2.setNumThreads(1)  # the order of sums, and with it every box, does not depend on the machine's cores
    output: Path = arguments.output
    folders: dict[Path, str] = {}
    if arguments.clips is not None:
        folders[arguments.clips] = CLIPS_LICENSE
    if arguments.opencv_doc is not None:
        folders[arguments.opencv_doc / "examples/data"] = OPENCV_LICENSE
        folders[arguments.opencv_doc / "opencv4/html"] = OPENCV_LICENSE
    making = output.with_name(f".tmp-{os.getpid()}-{output.name}")
    try:
        if output.exists():
            raise ValueError(f"{output} is there already: delete it or name another folder")
        if arguments.davis is None and not folders:
            raise ValueError("no source: give --davis, --clips or --opencv-doc")
        for folder in [path for path in (arguments.davis, arguments.clips, arguments.opencv_doc) if path is not None]:
            if not folder.is_dir():
                raise FileNotFoundError(f"{folder}: no such folder")
        if folders and arguments.nano is None:
            raise ValueError("--clips and --opencv-doc have no boxes: give --nano as well")
        entries = []
        if arguments.davis is not None:
            entries += add_davis(arguments.davis, read_names(arguments.held_out), making)
        first_boxes = read_first_boxes(arguments.boxes) if folders else []
        for video in dict.fromkeys(first.video for first in first_boxes):
            names = [video + suffix for suffix in (".mp4", ".avi", ".mp4.gz")]
            files = [(folder / name, text) for folder, text in folders.items() for name in names]
            present = [(path, license_text) for path, license_text in files if path.is_file()]
            if not present:
                logger.info("%s: not in %s, left out", video, ", ".join(map(str, folders)))
                continue
            own = [first for first in first_boxes if first.video == video]
            entries += add_video(*present[0], own, nano_tracker(arguments.nano), making)
        if not entries:
            raise ValueError(f"no sequence found in {', '.join(map(str, folders))}")
        for split in ("train", "val"):
            names = [entry["name"] for entry in entries if entry["split"] == split]
            if names:
                (making / split / "list.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        (making / "sources.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
        making.replace(output)
    except (ValueError, OSError, cv2.error) as error:
        logger.error("%s", error)
        return 1
    finally:
        shutil.rmtree(making, ignore_errors=True)
    for split in ("train", "val"):
        chosen = [entry["frames"] for entry in entries if entry["split"] == split]
        print(f"{output} {split}: {len(chosen)} sequences, {sum(chosen)} frames with a box")
    return 0


if __name__ == "__main__":
    sys.exit(main())
