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
from pathlib import Path

import patrack  # noqa: F401 (before PyTorch is loaded, for how its threads wait)
from lib.options import Parser

logger = logging.getLogger("vot")


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
    add("--name", default="PATrack", help="of the tracker in the workspace (default: %(default)s)")
    add("--seed", type=int, help="instead of the config's seed (matters for untrained weights only)")
    add("overrides", nargs="*", metavar="key=value", help="settings, e.g. test.window=false")
    arguments = parser.parse_intermixed_args(argv)
    if arguments.seed is not None:
        arguments.overrides.append(f"seed={arguments.seed}")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 something failed, 130 stopped by Ctrl-C."""
    arguments = parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)

    import torch  # here, so that --help answers at once

    from lib.vot.tracking import run_workspace, serve
    from lib.vot.workspace import channels_of, workspace_stack
    from patrack.build import build_tracker
    from patrack.config import load

    torch.set_num_threads(arguments.threads)
    try:
        config = load(arguments.config, arguments.overrides)
        channels = channels_of(config)
        device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
        make_tracker = functools.partial(build_tracker, config, arguments.checkpoint, device)
        clip = not arguments.no_clip_depth
        if arguments.workspace is None:
            serve(make_tracker, channels, arguments.name, clip)
        else:
            workspace_stack(arguments.workspace)  # what is missing is said before weights are read
            done = run_workspace(make_tracker(), arguments.workspace, arguments.name, channels, clip)
            print(f"{done} runs written to {arguments.workspace / 'results' / arguments.name}")
    except KeyboardInterrupt:
        logger.error("stopped; finished results are kept")
        return 130
    except (ValueError, OSError, RuntimeError) as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
