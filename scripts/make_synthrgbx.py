"""Make the procedural benchmark SynthRGBX.

python scripts/make_synthrgbx.py --output DATA_ROOT/SynthRGBX --modality rgbt rgbd rgbe --split train val test \
    --count 20 --length 60 --workers 2
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from lib.datasets.recordings import find_recordings
from lib.options import Parser
from lib.synthetic import SyntheticError, generate
from lib.synthetic.benchmark import SPLITS, Job, draw_scene, frames
from lib.synthetic.scene import MODALITIES
from patrack.files import atomic_write
from patrack.modality import DEPTH, x_to_three_channels
from patrack.recordings.frames import FrameError, read_frame
from patrack.recordings.sequence import DataError, shows_target

_PRESENT, _ABSENT = (0, 255, 0), (0, 0, 255)  # colors of the target's box on a contact sheet, B,G,R
_ROWS, _COLUMNS, _WIDTH = 6, 5, 192  # of a contact sheet: sequences, frames of each, pixels of a frame


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""

    def size(text: str) -> tuple[int, int]:
        try:
            width, height = (int(part) for part in text.lower().split("x"))
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be WIDTHxHEIGHT, such as 320x240, got {text!r}") from None
        return width, height

    parser = Parser(__doc__)
    add = parser.add_argument
    add("--output", type=Path, required=True, help="folder that gets rgbt/, rgbd/ and rgbe/, usually DATA/SynthRGBX")
    add("--modality", nargs="+", choices=MODALITIES, default=list(MODALITIES), help="default: all three")
    add("--split", nargs="+", choices=SPLITS, default=list(SPLITS), help="default: all three")
    add("--count", type=int, default=20, help="sequences per split and modality pair (default 20)")
    parser.earlier_name("--sequences", "--count")
    add("--length", type=int, default=60, help="frames per sequence (default 60)")
    add("--size", type=size, default=(320, 240), help="WIDTHxHEIGHT (default 320x240)")
    add("--seed", type=int, default=0, help="decides the content (default 0)")
    add("--pictures", type=Path, help="folder filled by scripts/fetch_pictures.py: draw with real pictures")
    add(
        "--sheet",
        type=Path,
        metavar="FOLDER",
        help="also draw a contact sheet per modality: FOLDER/synthrgbx_rgbt.jpg",
    )
    add("--beside", type=Path, metavar="RECORDINGS", help="folder of recordings with boxes to show below on the sheet")
    add("--device", help="as for every command; drawing uses the CPU")
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    args = parser.parse_args(argv)
    if args.beside and not args.sheet:
        parser.error("--beside needs --sheet FOLDER, where the picture goes")
    return args


def _tile(rgb: np.ndarray, x: np.ndarray, box: np.ndarray, absent: bool) -> np.ndarray:
    """RGB above X with the box drawn on both, `_WIDTH` pixels wide; depth as the tracker sees it, in JET colors."""
    x = x_to_three_channels(x, DEPTH) if x.ndim == 2 else x
    left, top, w, h = box.astype(int)
    images, line = [], max(1, rgb.shape[1] // (2 * _WIDTH))  # visible after shrinking
    for image in (rgb.copy(), x.copy()):
        cv2.rectangle(image, (left - 1, top - 1), (left + w, top + h), _ABSENT if absent else _PRESENT, line)
        size = (_WIDTH, round(image.shape[0] * _WIDTH / image.shape[1]))
        images.append(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    return np.vstack(images)


def _row(title: str, tiles: list[np.ndarray]) -> np.ndarray:
    row = np.hstack(tiles)
    strip = np.full((14, row.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, title, (3, 10), 0, 0.33, (0, 0, 0), 1)
    return np.vstack([strip, row])


def draw_sheet(args: argparse.Namespace, modality: str) -> None:
    """Write a contact sheet: frames of the first sequences and, with --beside, of recordings, RGB above X."""
    recordings = [] if args.beside is None else [o for o in find_recordings(args.beside) if o.modality == modality]
    if args.beside is not None and not recordings:
        print(f"{modality}: no recording of this pair in {args.beside}")

    # Our sequences, each with a few frames over its length and what can be seen or goes wrong in it.
    rows, columns = [], min(_COLUMNS, args.length)
    for index in range(min(_ROWS, args.count)):
        job = Job(modality, args.split[0], index, args.length, args.size, args.seed, args.pictures)
        scene, rng = draw_scene(job)
        wanted = set(np.linspace(0, args.length - 1, columns).round().astype(int).tolist())
        shown = (frame for k, frame in enumerate(frames(scene, rng)) if k in wanted)
        tiles = [_tile(f.rgb, f.x, f.view.box, f.view.absent) for f in shown]
        rows.append(_row(f"{index}: {', '.join(sorted(scene.attributes))}", tiles))

    # Recordings below, at frames with a true box.
    for recording in recordings:
        known = np.flatnonzero(shows_target(recording))
        numbers = known[np.linspace(0, len(known) - 1, columns).round().astype(int)].tolist()
        tiles = []
        for number in numbers:
            rgb, x = np.split(read_frame(recording, number), 2, axis=2)
            x = x if modality == "rgbd" else x[:, :, ::-1]  # depth has its colors already
            tiles.append(_tile(rgb[:, :, ::-1], x, recording.boxes[number], False))
        rows.append(_row(f"recording {recording.name}, frames {', '.join(map(str, numbers))}", tiles))
    path = args.sheet / f"synthrgbx_{modality}.jpg"
    with atomic_write(path, "wb") as file:
        file.write(cv2.imencode(".jpg", np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes())
    print(f"{modality}: contact sheet {path}")


def make_split(args: argparse.Namespace, modality: str, split: str) -> None:
    """Make, or complete, one split of one modality pair, with a progress bar."""
    start, made = time.perf_counter(), 0
    with tqdm(total=args.count, desc=f"{modality} {split}", unit="seq", disable=None) as bar:

        def progress(name: str, new: bool) -> None:
            nonlocal made
            made += new
            bar.update()

        size, seed, workers = args.size, args.seed, args.workers
        root = args.output / modality
        generate(root, modality, split, args.count, args.length, size, seed, workers, progress, args.pictures)
    rate = made * args.length / (time.perf_counter() - start)
    speed = f"{made} of them made now, {rate:.0f} frame pairs/s" if made else "all there already"
    print(f"{modality} {split}: {args.count} sequences, {speed}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 when everything asked for is there."""
    args = parse(argv)
    try:
        for modality in args.modality:
            for split in args.split:
                make_split(args, modality, split)
            if args.sheet:
                draw_sheet(args, modality)
    except (SyntheticError, DataError, FrameError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; complete sequences are kept, repeat the command to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
