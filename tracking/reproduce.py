"""Make a table of the literature anew: test and evaluation of every tracker of ours that has weights.

    python tracking/reproduce.py --table lasher --data-root DATA --device cuda
    python tracking/reproduce.py --table lasher --data-root DATA --checkpoint rgbt_base=PATrack_rgbt.pth.tar
    python tracking/reproduce.py --table gtot --results PATrack=raw.zip      (no images, the true boxes suffice)

Weights are looked for in weights/EXPERIMENT.safetensors. What is missing, and where it was looked for, is listed.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from lib.evaluation import parse_results
from lib.options import Parser
from lib.report.reproduce import TABLES, reproduce
from lib.report.tables import add_published_option

logger = logging.getLogger("reproduce")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--table", required=True, choices=TABLES, metavar="NAME", help=", ".join(TABLES))
    add("--data-root", help="folder that holds the data sets (default: PATRACK_DATA)")
    add("--ground-truth", type=Path, metavar="PATH", help="annotations, if not those of the data set")
    add(
        "--checkpoint", nargs="+", default=[], metavar="NAME=FILE", help="weights of an experiment, or of a further row"
    )
    add("--results", nargs="+", default=[], metavar="NAME=PATH", help="raw result files of a further row")
    add_published_option(parser)
    add("--output", type=Path, metavar="FOLDER", help="for results and table (default: results/reproduce/TABLE)")
    add("--workers", type=int, default=1, help="sequences tracked at once (default: %(default)s)")
    add("--overwrite", action="store_true", help="delete the results of another run in the output folder")
    add("--device", help="torch device, e.g. cpu or cuda:1 (default: cuda if there is one)")
    add("--seed", help="as for every command; tracking with trained weights draws no random numbers")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 every row was measured, 1 something failed, 3 something is missing, 130 stopped by Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    args = parse(argv)
    try:
        done = reproduce(
            args.table,
            args.output or Path("results", "reproduce", args.table),
            checkpoints=parse_results(args.checkpoint, "--checkpoint"),
            results=parse_results(args.results),
            data_root=args.data_root,
            ground_truth=args.ground_truth,
            workers=args.workers,
            device=args.device,
            overwrite=args.overwrite,
            published=args.published,
        )
    except KeyboardInterrupt:
        logger.error("stopped; finished results are kept, the same command goes on with the rest")
        return 130
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 1
    print(done.describe(args.table))
    return done.exit_code


if __name__ == "__main__":
    sys.exit(main())
