"""Time the training loader against bare decoding of the files it needs, on this machine, per core.

    python scripts/benchmark_loader.py                                      # full-size crops from 640x480 images
    python scripts/benchmark_loader.py --config rgbt_tiny --size 320x240

Makes its own images (SynthRGBX). A batch from the loader and bare decoding of the same files (read them, `cv2.imdecode`
with the same flags, nothing else) take turns in one process of one thread. Times are CPU seconds, so what else the
machine does matters less; medians. The stages are timed in a second pass, which the clocks slow down.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from lib.options import Parser
from lib.synthetic import generate
from patrack import config as config_files
from patrack.files import atomic_write
from patrack.modality import JOINT
from patrack.recordings import frames
from patrack.recordings.frames import DecodedFrame

if TYPE_CHECKING:  # loaded where it is used, so that --help answers at once
    from lib.training import loader

BATCH, WARM_UP = 16, 3  # samples, batches


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--config", default="rgbt_base", help="whose crops and augmentation (default: %(default)s)")
    add("--size", default="640x480", help="of the images, WIDTHxHEIGHT (default: %(default)s)")
    add("--batches", type=int, default=50, help="timed (default: %(default)s)")
    add("--json", type=Path, help="file for the numbers")
    add("--seed", type=int, default=0, help="of images and samples (default: %(default)s)")
    add("--device", help="as for every command; loading uses the CPU")
    add("overrides", nargs="*", metavar="key=value", help="settings, such as data.cache_frames=true")
    return parser.parse_args(argv)


def make_dataset(args: argparse.Namespace, root: Path) -> loader.PairDataset:
    """Draw six sequences of SynthRGBX below `root` and make samples of them."""
    from lib.training.loader import build_dataset, frame_reader, load_sources

    config = config_files.load(args.config)
    modality = config.model.modalities[0] if config.modality == JOINT else config.modality
    kind, (width, _, height) = "rgbt" if modality == "rgb" else modality, args.size.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise ValueError(f"--size must be WIDTHxHEIGHT, got {args.size!r}")
    generate(root / "SynthRGBX" / kind, kind, "train", 6, 24, (int(width), int(height)), args.seed)
    data = [f"data.train=[{{name: synth{modality}, split: train}}]", "data.val=[]", "data.max_gap=20"]
    config = config_files.load(args.config, [*data, f"seed={args.seed}", *args.overrides])
    sources, _ = load_sources(config, root)
    return build_dataset(config, sources, frame_reader(config, sources), training=True)


def decode(dataset: loader.PairDataset, batch: loader.Batch) -> None:
    """Read and decode the files of a batch, nothing else."""
    for pair in batch.pairs():
        sequence = dataset.sampler.sequence(pair)
        for number in (pair.template, pair.search):
            for files, flags in ((sequence.rgb_files, frames.RGB_FLAGS), (sequence.x_files, frames.X_FLAGS)):
                if files is not None and isinstance(file := files[number], Path):  # no videos here
                    cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), flags)


def watch_stages(spent: defaultdict[str, float]) -> None:
    """Add up CPU seconds by stage from now on; a stage inside another one interrupts it."""
    from lib.training import loader
    from lib.training.samples import Look, PairAugmentation

    current, since = "other", time.process_time()

    def enter(stage: str) -> str:
        nonlocal current, since
        before, now = current, time.process_time()
        spent[before] += now - since
        current, since = stage, now
        return before

    def watch(owner: object, name: str, stage: str, function: Callable) -> None:
        def watched(*args: object) -> object:
            before = enter(stage)
            result = function(*args)
            enter(before)
            return result

        setattr(owner, name, watched)

    # the functions stay replaced: nothing is measured after this
    watch(frames, "read_image", "read", frames.read_image)
    watch(cv2, "imdecode", "decode", cv2.imdecode)
    watch(DecodedFrame, "patch", "crop", DecodedFrame.patch)
    watch(PairAugmentation, "__call__", "augment", PairAugmentation.__call__)
    watch(Look, "write", "augment", Look.write)
    watch(loader, "collate", "collate", loader.collate)


def measure(dataset: loader.PairDataset, count: int) -> dict[str, float]:
    """Measure rates per CPU second (a frame is RGB and X), loader over decoding, CPU ms per sample by stage."""
    from lib.training import loader

    order, rounds, spent = loader.EpochBatches((count + WARM_UP) * BATCH, BATCH), [], defaultdict[str, float](float)
    clock = time.process_time
    batches = iter(loader.make_loader(dataset, order, 0))
    for _ in range(len(order)):
        start, batch, between = clock(), next(batches), clock()
        decode(dataset, batch)
        rounds.append((between - start, clock() - between, (clock() - between) / (between - start)))
    ours, bare, ratio = (statistics.median(column) for column in zip(*rounds[WARM_UP:], strict=True))
    rates = {"samples": BATCH / ours, "samples_decoded": BATCH / bare, "frames_decoded": 2 * BATCH / bare}
    watch_stages(spent)
    for batch in loader.make_loader(dataset, order, 0):
        spent["samples"] += len(batch)
    samples = spent.pop("samples")
    return rates | {"ratio": ratio} | {f"{stage}_ms": 1e3 * seconds / samples for stage, seconds in spent.items()}


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 measured, 1 the experiment or the size can't be used."""
    args = parse(argv)
    cv2.setNumThreads(1)
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        tempfile.tempdir = work  # for the frame cache
        try:
            dataset = make_dataset(args, Path(work))
        except ValueError as error:
            print(error, file=sys.stderr)
            return 1
        found = measure(dataset, args.batches)
    for name, value in found.items():
        print(f"{name:<20}{value:10.3f}")
    if args.json:
        with atomic_write(args.json) as file:
            json.dump(found, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
