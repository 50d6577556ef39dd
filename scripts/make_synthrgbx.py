"""Make the procedural benchmark SynthRGBX.

python scripts/make_synthrgbx.py --output DATA_ROOT/SynthRGBX --modality rgbt rgbd rgbe --split train val test \
    --sequences 20 --length 60 --workers 2
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import cv2
from tqdm import tqdm

from lib.datasets.frames import FrameError
from lib.datasets.recordings import find_recordings
from lib.datasets.sequence import DatasetError
from lib.synthetic import SyntheticError, generate
from lib.synthetic.plan import MODALITIES
from lib.synthetic.sheet import contact_sheet
from lib.synthetic.writers import SPLITS


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be WIDTHxHEIGHT, such as 320x240, got {text!r}") from None
    return width, height


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--output", type=Path, required=True, help="folder that gets rgbt/, rgbd/ and rgbe/, usually DATA/SynthRGBX")
    add("--modality", nargs="+", choices=MODALITIES, default=list(MODALITIES), help="default: all three")
    add("--split", nargs="+", choices=SPLITS, default=list(SPLITS), help="default: all three")
    add("--sequences", type=int, default=20, help="per split and modality pair (default 20)")
    add("--length", type=int, default=60, help="frames per sequence (default 60)")
    add("--size", type=_size, default=(320, 240), help="WIDTHxHEIGHT (default 320x240)")
    add("--seed", type=int, default=0, help="decides the content (default 0)")
    add("--pictures", type=Path, help="folder filled by scripts/fetch_pictures.py: draw with real pictures")
    add("--sheet", type=Path, metavar="DIR", help="also draw a contact sheet per modality: DIR/synthrgbx_rgbt.jpg, …")
    add("--beside", type=Path, metavar="RECORDINGS", help="folder of recordings with boxes to show below on the sheet")
    add("--device", help="as for every command; drawing uses the CPU")
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    return parser


def _draw_sheet(args: argparse.Namespace, modality: str) -> None:
    args.sheet.mkdir(parents=True, exist_ok=True)
    path = args.sheet / f"synthrgbx_{modality}.jpg"
    shown = range(min(6, args.sequences))
    beside = [] if args.beside is None else [o for o in find_recordings(args.beside) if o.modality == modality]
    if args.beside is not None and not beside:
        print(f"{modality}: no recording of this pair in {args.beside}")
    sheet = contact_sheet(
        modality, args.split[0], shown, args.length, args.size, args.seed, pictures=args.pictures, beside=beside
    )
    path.write_bytes(cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes())
    print(f"{modality}: contact sheet {path}")


def _make(args: argparse.Namespace, modality: str, split: str) -> None:
    start, made = time.perf_counter(), 0
    with tqdm(total=args.sequences, desc=f"{modality} {split}", unit="seq") as bar:

        def progress(name: str, new: bool) -> None:
            nonlocal made
            made += new
            bar.update()

        size, seed, workers = args.size, args.seed, args.workers
        root = args.output / modality
        generate(root, modality, split, args.sequences, args.length, size, seed, workers, progress, args.pictures)
    rate = made * args.length / (time.perf_counter() - start)
    speed = f"{made} of them made now, {rate:.0f} frame pairs/s" if made else "all there already"
    print(f"{modality} {split}: {args.sequences} sequences, {speed}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 when everything asked for is there."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.beside and not args.sheet:
        parser.error("--beside needs --sheet DIR, where the picture goes")
    try:
        for modality in args.modality:
            for split in args.split:
                _make(args, modality, split)
            if args.sheet:
                _draw_sheet(args, modality)
    except (SyntheticError, DatasetError, FrameError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; complete sequences are kept, repeat the command to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
