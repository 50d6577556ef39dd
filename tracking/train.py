"""Train an experiment.

    python tracking/train.py --config rgbt_tiny --data-root DATA [train.epochs=5 ...]

Stop with Ctrl-C and go on with --resume. Weights, logs and checkpoints go to OUTPUT/NAME/.
"""

from __future__ import annotations

import argparse
import logging
import sys

import torch
from tqdm.contrib.logging import logging_redirect_tqdm

from lib import config
from lib.training.interrupt import Interrupted
from lib.training.run import run_training

logger = logging.getLogger("train")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="name in experiments/, YAML file, or folder of a run")
    parser.add_argument("--data-root", help="folder that holds the data sets (default: PATRACK_DATA, then data.root)")
    parser.add_argument("--output", default="runs", help="folder of run folders (default: %(default)s)")
    earlier = parser.add_mutually_exclusive_group()
    earlier.add_argument("--resume", action="store_true", help="go on with the run in OUTPUT/NAME")
    earlier.add_argument("--overwrite", action="store_true", help="delete the run in OUTPUT/NAME and start anew")
    parser.add_argument("--device", help="torch device, e.g. cpu or cuda:1 (default: cuda if there is one)")
    parser.add_argument("--seed", type=int, help="instead of the config's seed")
    parser.add_argument("--threads", type=int, help="CPU threads of the training process (default: torch's)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, e.g. train.epochs=5")
    return parser.parse_intermixed_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 finished, 1 failed, 130 or 143 stopped by Ctrl-C or SIGTERM."""
    arguments = parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    seed = [] if arguments.seed is None else [f"seed={arguments.seed}"]
    try:
        with logging_redirect_tqdm():
            path = run_training(
                config.load(arguments.config, [*arguments.overrides, *seed]),
                data_root=arguments.data_root,
                output=arguments.output,
                resume=arguments.resume,
                overwrite=arguments.overwrite,
                device=arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"),
            )
    except Interrupted as stop:
        logger.error("%s. Go on with the same command and --resume", stop)
        return stop.exit_code
    except KeyboardInterrupt:
        logger.error("stopped at once; go on from the last checkpoint with --resume")
        return 130
    except Exception as error:
        expected = isinstance(error, ValueError | OSError | RuntimeError | FloatingPointError)
        logger.error("%s: %s", type(error).__name__, error, exc_info=not expected)
        return 1
    logger.info("finished: %s", path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
