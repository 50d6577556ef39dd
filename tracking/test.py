"""Run a tracker over a data set, or over one recording of yours.

    python tracking/test.py --config rgbt_tiny --dataset synthrgbt --data-root DATA --batch 8
    python tracking/test.py --config runs/rgbt_base --dataset lasher --batch 64 test.precision=bf16
    python tracking/test.py --config rgbd_tiny --rgb color/ --x depth/ --box 87,264,37,44 --output out

A data set gives <sequence>.txt (x,y,w,h per frame), <sequence>_scores.txt and <sequence>_times.txt; a recording gives
boxes.txt, scores.txt, times.txt, track.csv (all in one table) and overlay.mp4. The same command goes on where it was
stopped.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from lib.options import Parser, add_sequence_options, chosen_sequences
from patrack.files import user_path
from patrack.recordings.naming import PAIRING_RULES

logger = logging.getLogger("test")

OF_RECORDING = (
    *("x", "pair", "pair_tolerance", "x_range", "x_transform"),
    *("box", "ground_truth", "box_step", "fps", "no_video"),
)
OF_DATA_SET = ("split", "data_root", "root", "sequences", "list", "workers", "batch", "verify_data")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--config", required=True, help="name in experiments/, YAML file, or folder of a run (whose weights are used)")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--dataset", help="e.g. lasher, depthtrack, visevent, synthrgbt, folder")
    source.add_argument("--rgb", type=Path, help="recording: folder of images, or video")
    add("--split", default="test", help="of the data set (default: %(default)s)")
    add("--data-root", help="folder that holds the data sets (default: PATRACK_DATA, then data.root)")
    add("--root", type=Path, help="folder of this data set (default: its usual name in the data root)")
    add_sequence_options(parser)
    add("--workers", type=int, default=1, help="sequences tracked at once, one thread each (default: %(default)s)")
    add("--batch", type=int, default=1, help="sequences that share each step of the network (default: %(default)s)")
    add("--threads", type=int, help="CPU threads of this process for the network (default: all cores)")
    add("--x", help="recording: the other modality, like --rgb; none: RGB alone (default for rgb_* experiments)")
    add(
        "--pair",
        choices=PAIRING_RULES,
        default="auto",
        help="recording: what tells which X frame belongs to an RGB frame",
    )
    add(
        "--pair-tolerance",
        type=float,
        metavar="S",
        help="seconds that paired times differ by (default: half an interval)",
    )
    add("--x-range", metavar="LOW,HIGH", help="recording: values of X that become 0 and 255 (default: its own range)")
    add(
        "--x-transform",
        metavar="FILE",
        help="recording: homography from X's pixels to RGB's (3 x 3 numbers), or: resize, if only the sizes differ",
    )
    add("--box", nargs="+", metavar="X,Y,W,H", help="recording: the target in the first frame, pixels")
    add("--ground-truth", type=Path, metavar="FILE", help="recording: true boxes to draw and compare, x,y,w,h per line")
    add(
        "--box-step",
        type=int,
        metavar="N",
        help="line k of the true boxes belongs to frame k * N",
    )
    parser.earlier_name("--groundtruth", "--ground-truth")
    parser.earlier_name("--groundtruth-stride", "--box-step")
    add(
        "--fps",
        type=float,
        help="recording: frames per second of overlay.mp4 (default: the video's, or by times in names; else 25)",
    )
    add("--no-video", action="store_true", help="recording: write no overlay.mp4, which takes time and room")
    add("--checkpoint", help="weights file or folder of a training run; none: untrained (default: the shipped file)")
    add("--output", type=Path, help="folder for the results (default: results/CONFIG/DATASET-SPLIT or .../RECORDING)")
    add("--overwrite", action="store_true", help="delete another run's results in the output folder; the same goes on")
    add("--verify-data", action="store_true", help="data set: tell it from others by the contents of files too")
    add(
        "--missing",
        metavar="FILE|RATE",
        help="frames that lack RGB or X: a JSON file of masks, or drawn: rgb:0.3, x:0.3, or 0.3 (one of both); see "
        "docs/tracking.md",
    )
    add("--gap", type=int, metavar="N", help="with --missing RATE: frames that are missing in a row (default: 10)")
    add("--device", help="torch device, e.g. cpu or cuda:1 (default: cuda if there is one)")
    add("--seed", type=int, help="instead of the config's seed (matters for untrained weights), and of --missing RATE")
    add("overrides", nargs="*", metavar="key=value", help="settings, e.g. test.window=false")
    arguments = parser.parse_intermixed_args(argv)
    other, unused = ("--dataset", OF_RECORDING) if arguments.dataset else ("--rgb", OF_DATA_SET)
    given = [f"--{name.replace('_', '-')}" for name in unused if getattr(arguments, name) != parser.get_default(name)]
    if given:
        parser.error(f"{', '.join(given)} would do nothing with {other}; leave it out")
    # options of several words take every word after them, settings too
    for words in (arguments.sequences or [], arguments.box or []):
        arguments.overrides += [word for word in words if "=" in word]
    arguments.box = ",".join(word for word in arguments.box or [] if "=" not in word) or None
    arguments.overrides += [] if arguments.seed is None else [f"seed={arguments.seed}"]
    arguments.sequences = [word for word in arguments.sequences or [] if "=" not in word] or None
    return arguments


def run(arguments: argparse.Namespace) -> tuple[str, bool]:
    """Track what the arguments say.

    Returns:
        A text for the user, and whether everything was tracked.

    Raises:
        ValueError, OSError, RuntimeError: something can't be used; the message says what.
    """
    import cv2  # here, so that --help answers at once
    import torch

    from lib.datasets.missing import parse_missing
    from lib.distributed import DistributedContext, device_of, rank_and_world
    from lib.inference.runner import Weights, track_dataset, track_recording
    from patrack import config as configs
    from patrack.build import weights_beside
    from patrack.devices import usable_device
    from patrack.recordings.options import parse_box, read_transform, value_range

    # what the options ask for, before anything is loaded
    for name in ("workers", "batch", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} must be at least 1, got {value}")
    if arguments.batch > 1 and arguments.workers > 1:
        raise ValueError(
            f"--batch {arguments.batch} and --workers {arguments.workers} don't go together: sequences of one batch "
            "share a process; give one of them"
        )
    missing = None
    if arguments.missing is not None:
        missing = parse_missing(arguments.missing, arguments.gap, arguments.seed or 0)
    elif arguments.gap is not None:
        raise ValueError(f"--gap {arguments.gap} would do nothing without --missing RATE")
    if arguments.fps is not None and not 0 < arguments.fps < float("inf"):
        raise ValueError(f"--fps must be frames per second, above 0, got {arguments.fps:g}")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
        cv2.setNumThreads(arguments.threads)

    # settings and weights, and the device of this process
    config = configs.load(arguments.config, arguments.overrides)
    checkpoint = arguments.checkpoint or weights_beside(arguments.config)
    rank, world = rank_and_world()
    device = str(usable_device(arguments.device))
    if world > 1:
        device = str(device_of(device, DistributedContext(rank, world, int(os.environ.get("LOCAL_RANK", rank)))))
    if world > 1 and not arguments.dataset:
        raise ValueError("one recording can't be shared by several processes: start it without torchrun")
    weights = Weights(checkpoint, device, arguments.overwrite)

    if arguments.dataset:
        lacking = ""
        if missing is not None:
            lacking = f"-{missing.stem if isinstance(missing, Path) else missing.name.replace(':', '-')}"
        output = arguments.output or Path("results", config.name, f"{arguments.dataset}-{arguments.split}{lacking}")
        summary = track_dataset(
            config,
            weights,
            arguments.dataset,
            arguments.split,
            output=output,
            root=arguments.root,
            data_root=arguments.data_root,
            sequences=chosen_sequences(arguments),
            workers=arguments.workers,
            slots=arguments.batch,
            missing=missing,
            verify_data=arguments.verify_data,
        )
        return f"{summary.describe()}\nresults: {output}", not summary.failed
    if arguments.x is None and config.modality != "rgb":
        raise ValueError(
            f"{config.name} needs --x: folder of images or video of the other modality; --x none tracks RGB alone"
        )
    output = arguments.output or Path("results", config.name, arguments.rgb.resolve().parent.name)
    report = track_recording(
        config,
        weights,
        arguments.rgb,
        None if arguments.x is None or arguments.x.lower() == "none" else user_path(arguments.x),
        parse_box(arguments.box) if arguments.box else None,
        output=output,
        truth=arguments.ground_truth,
        truth_step=arguments.box_step,
        fps=arguments.fps,
        video=not arguments.no_video,
        missing=missing,
        pairing=arguments.pair,
        tolerance=arguments.pair_tolerance,
        x_range=value_range(arguments.x_range) if arguments.x_range else None,
        x_transform=read_transform(arguments.x_transform) if arguments.x_transform else None,
    )
    return report, True


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 something failed (finished results are kept), 130 stopped by Ctrl-C or SIGTERM."""
    arguments = parse(argv)
    from tqdm.contrib.logging import logging_redirect_tqdm

    from lib.distributed import lost_peer, rank_and_world, set_up_logging
    from patrack.processes import terminated_as_interrupted

    try:
        set_up_logging()
        with logging_redirect_tqdm(), terminated_as_interrupted():
            report, complete = run(arguments)
    except KeyboardInterrupt:
        logger.error("stopped; what is tracked is kept, and the same command goes on with the rest")
        return 130
    except (ValueError, OSError, RuntimeError) as error:
        logger.error("%s", lost_peer(error) or error)
        return 1
    if rank_and_world()[0] == 0:
        print(report)
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
