"""Train an experiment, on one process or on many.

    python tracking/train.py --config rgbt_tiny --data-root DATA [train.epochs=5 ...]
    torchrun --nproc-per-node 8 tracking/train.py --config rgbt_base --data-root DATA
    python tracking/train.py --from runs/rgbt_tiny          # repeat that run
    python tracking/train.py --config rgbt_tiny --data-root DATA --seeds 0 1 2

Stop with Ctrl-C and go on with --resume. Weights, logs and checkpoints go to OUTPUT/NAME/.
"""

from __future__ import annotations

import argparse
import sys


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", help="name in experiments/, YAML file, or folder of a run")
    what.add_argument("--from", dest="repeat", metavar="RUN", help="repeat the run in this folder (in RUN/repeat/NAME)")
    add("--data-root", help="folder that holds the data sets (default: PATRACK_DATA, then data.root)")
    add("--output", help="folder of run folders (default: runs)")
    earlier = parser.add_mutually_exclusive_group()
    earlier.add_argument("--resume", action="store_true", help="go on with the run in OUTPUT/NAME")
    earlier.add_argument("--overwrite", action="store_true", help="delete the run in OUTPUT/NAME and start anew")
    add("--allow-changes", nargs="+", metavar="KEY", help="with --resume: settings that may differ from the run's")
    add("--allow-other-data", action="store_true", help="with --from or --resume: only warn if the data have changed")
    add("--device", help="torch device, e.g. cpu or cuda:1 (default: cuda if there is one; one GPU per process)")
    seed = parser.add_mutually_exclusive_group()
    seed.add_argument("--seed", type=int, help="instead of the config's seed")
    seed.add_argument("--seeds", nargs="+", metavar="N", help="one run each, in OUTPUT/seed_N/NAME; then mean and sd")
    add("--threads", type=int, help="CPU threads of the training process (default: torch's)")
    add("overrides", nargs="*", metavar="key=value", help="settings, e.g. train.epochs=5")
    arguments = parser.parse_intermixed_args(argv)
    if arguments.repeat and (arguments.seed is not None or arguments.seeds):
        parser.error("--from repeats the run's own seed; give --config RUN for another one")
    if arguments.allow_changes and not arguments.resume:
        parser.error("--allow-changes needs --resume: it names settings that may differ from those of the run")
    if arguments.allow_other_data and not (arguments.resume or arguments.repeat):
        parser.error("--allow-other-data needs --from or --resume: a new run takes the data that are there")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 finished, 1 failed, 130 or 143 stopped by Ctrl-C or SIGTERM."""
    arguments = parse(argv)
    from lib.training.command import run  # here: --help and wrong options need no PyTorch

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
