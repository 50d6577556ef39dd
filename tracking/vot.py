"""Our tracker for the VOT toolkit.

    python tracking/vot.py --config rgbd_base --checkpoint runs/rgbd_base
    python tracking/vot.py --config rgbd_base --checkpoint runs/rgbd_base --workspace WORKSPACE --name PATrack

The first form is started by the toolkit itself, as trackers.ini of a workspace says (scripts/prepare_vot.py writes it),
and speaks TraX on stdin and stdout; it needs: pip install -e ".[vot]". The second runs the whole workspace without the
toolkit, goes on where it was stopped, and leaves the files that `vot analysis` reads.
"""

from __future__ import annotations

import argparse
import functools
import logging
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import patrack  # noqa: F401 (before PyTorch is loaded, for how its threads wait)
from lib.options import Parser

if TYPE_CHECKING:
    from patrack.tracker import Tracker

logger = logging.getLogger("vot")

PATIENCE = 10.0  # seconds; the toolkit starts a process for each sequence, maybe before the last one has ended


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--config", required=True, help="name in experiments/, YAML file, or folder of a run")
    add("--checkpoint", help="weights file or folder of a training run; none: untrained (default: the shipped file)")
    add("--device", help="torch device, e.g. cpu or cuda:1 (default: cuda if there is one)")
    add("--no-clip-depth", action="store_true", help="for RGBD1K: depth without an upper limit")
    add("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    add("--workspace", type=Path, help="run this workspace without the toolkit")
    add("--toolkit", type=Path, metavar="WORKSPACE", help="answer the toolkit for this one; trackers.ini has it")
    add("--name", default="PATrack", help="of the tracker in the workspace (default: %(default)s)")
    add("--overwrite", action="store_true", help="with --workspace: delete results of another run under this name")
    add("--seed", type=int, help="instead of the config's seed (matters for untrained weights only)")
    add("overrides", nargs="*", metavar="key=value", help="settings, e.g. test.window=false")
    arguments = parser.parse_intermixed_args(argv)
    if arguments.workspace and arguments.toolkit:
        parser.error("--workspace runs without the toolkit, --toolkit with it: give one of them")
    if arguments.overwrite and not arguments.workspace:
        parser.error("--overwrite needs --workspace")
    if arguments.seed is not None:
        arguments.overrides.append(f"seed={arguments.seed}")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 something failed, 130 stopped by Ctrl-C."""
    arguments = parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)

    import torch  # here, so that --help answers at once

    from lib.vot.results import claim, results_folder
    from lib.vot.tracking import read_runs, run_workspace, serve
    from lib.vot.workspace import channels_of, workspace_stack
    from patrack.build import build_tracker, identity
    from patrack.config import load

    torch.set_num_threads(arguments.threads)
    try:
        config = load(arguments.config, arguments.overrides)
        channels = channels_of(config)
        device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
        make_tracker = functools.partial(build_tracker, config, arguments.checkpoint, device)
        clip = not arguments.no_clip_depth
        place = arguments.workspace or arguments.toolkit
        if place is not None:  # what is missing is said before weights are read
            workspace_stack(place)
            results = results_folder(place, arguments.name)
        if arguments.workspace is not None:
            tracker = make_tracker()
            made_of = identity(config, tracker, clip_depth=clip)
            done = run_workspace(tracker, place, arguments.name, channels, made_of, clip, arguments.overwrite)
            print(f"{done} runs written to {results}")
        elif place is not None:

            def claim_results(tracker: Tracker) -> AbstractContextManager[None]:
                made_of = identity(config, tracker, clip_depth=clip)
                return claim(results, made_of, read_runs(place, channels, clip)[1], patience=PATIENCE)

            serve(make_tracker, channels, arguments.name, clip, claim_results)
        else:
            serve(make_tracker, channels, arguments.name, clip)
    except KeyboardInterrupt:
        logger.error("stopped; finished results are kept")
        return 130
    except (ValueError, OSError, RuntimeError) as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
