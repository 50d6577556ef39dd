"""Write a workspace of the VOT toolkit for an RGB-D data set on this machine, with our tracker in it.

    python scripts/prepare_vot.py --dataset depthtrack --data-root DATA --workspace WS --config rgbd_base
    python scripts/prepare_vot.py --dataset votrgbd2022 --root VOT-RGBD2022 --workspace WS --config rgbd_base
    python scripts/prepare_vot.py --dataset synthrgbd --data-root DATA --workspace WS --config rgbd_tiny

Then: vot evaluate --workspace WS PATrack, and: vot analysis --workspace WS PATrack. Nothing is downloaded, images are
neither copied nor changed, and results in the workspace stay. The same command renews a workspace.
Exit code: 0 written, 1 something is missing or wrong (then nothing is written).
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from pathlib import Path

from lib.datasets import resolve_data_root
from lib.options import Parser, add_sequence_options, chosen_sequences
from lib.vot.results import check, result_files, results_folder
from lib.vot.workspace import (
    STACKS,
    channels_of,
    find_sequences,
    registry_with,
    tracker_command,
    write_workspace,
)
from patrack.config import load

logger = logging.getLogger("prepare_vot")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--dataset", required=True, choices=STACKS)
    add("--workspace", required=True, type=Path, help="folder to write; made if it is not there")
    add("--config", required=True, help="name in experiments/, YAML file, or folder of a run")
    add("--checkpoint", help="weights file or folder of a training run; none: untrained (default: the shipped file)")
    add("--name", default="PATrack", help="of the tracker in the workspace (default: %(default)s)")
    add("--data-root", help="folder that holds the data sets (default: PATRACK_DATA)")
    add("--root", type=Path, help="folder of this data set (default: its usual name in the data root)")
    add("--split", default="test", help="of the data set (default: %(default)s)")
    add_sequence_options(parser)
    add("--stack", choices=sorted({stack.name for stack in STACKS.values()}), help="default: by the data set")
    add("--anchors", type=int, metavar="N", help="multi-start without anchor.value: starts N frames apart")
    add("--device", help="torch device of the tracker (default: cuda if there is one when it starts)")
    add("--interpreter", help="Python that has PATrack and vot-trax (default: the one that runs this)")
    add("--timeout", type=int, default=3600, help="seconds the toolkit waits for an answer (default: %(default)s)")
    add("--seed", type=int, help="instead of the config's seed (matters for untrained weights only)")
    add("overrides", nargs="*", metavar="key=value", help="settings of the experiment, e.g. test.window=false")
    arguments = parser.parse_intermixed_args(argv)
    if arguments.seed is not None:
        arguments.overrides.append(f"seed={arguments.seed}")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 when the workspace is written."""
    arguments = parse(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    words = arguments.sequences or []  # the option takes every word after it, settings too
    overrides = [*arguments.overrides, *(word for word in words if "=" in word)]
    arguments.sequences = [word for word in words if "=" not in word] or None
    by_name = {stack.name: stack for stack in STACKS.values()}
    stack = by_name[arguments.stack] if arguments.stack else STACKS[arguments.dataset]
    try:
        sequences = find_sequences(
            arguments.dataset,
            arguments.split,
            arguments.root,
            resolve_data_root(arguments.data_root),
            chosen_sequences(arguments),
        )
        clip_depth = arguments.dataset != "rgbd1k"
        command = tracker_command(
            arguments.config,
            arguments.checkpoint,
            arguments.device,
            clip_depth,
            overrides,
            arguments.interpreter,
            arguments.workspace,
            arguments.name,
        )
        registry = registry_with(arguments.workspace, arguments.name, command, arguments.timeout)
        results = results_folder(arguments.workspace, arguments.name)
        if result_files(results):
            from lib.vot.tracking import read_runs
            from patrack.build import build_tracker, identity  # here, because torch takes a while to start

            config = load(arguments.config, overrides)
            tracker = build_tracker(config, arguments.checkpoint)
            data = read_runs(arguments.workspace, channels_of(config), clip_depth)[1]
            check(results, identity(config, tracker, clip_depth=clip_depth), data)
        write_workspace(arguments.workspace, stack, sequences, arguments.anchors, registry)
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 1
    frames = sum(len(sequence.truth) for sequence in sequences)
    print(f"{arguments.workspace}: {len(sequences)} sequences, {frames} frames, stack {stack.name}")
    print(f"{arguments.name}: {shlex.join(command)}")
    place = shlex.quote(str(arguments.workspace))
    for step in ("evaluate", "analysis"):
        print(f"next: vot {step} --workspace {place} {arguments.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
