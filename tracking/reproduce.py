"""Make a table of the literature anew, or train and compare whole suites on the benchmarks of the literature.

    python tracking/reproduce.py --table lasher --data-root DATA --device cuda
    python tracking/reproduce.py --table lasher --data-root DATA --checkpoint rgbt_base=PATrack_rgbt.pth.tar
    python tracking/reproduce.py --table gtot --results PATrack=raw.zip      (no images, the true boxes suffice)
    python tracking/reproduce.py --suite rivals --data lasher depthtrack visevent --data-root DATA --dry-run
    python tracking/reproduce.py --suite rivals --data lasher depthtrack visevent --data-root DATA

--table tests and scores every tracker of ours that has weights, in weights/EXPERIMENT.safetensors. --suite goes from
the base model's file to the table: it trains, tracks and compares the variants of a suite (docs/experiments.md), after
saying how long that takes on this machine. What is missing, and where it was looked for, is listed.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

from lib.evaluation import parse_results
from lib.experiments.command import add_suite_options, chosen, request_of, run_suite
from lib.experiments.runs import plan_runs
from lib.experiments.suite import find_suite, read_suite
from lib.options import Parser
from lib.report.reproduce import TABLES, reproduce
from lib.report.tables import add_published_option

logger = logging.getLogger("reproduce")

OF_TABLE = ("ground_truth", "checkpoint", "results", "overwrite", "published")
OF_SUITE = ("data", "model_size", "seeds", "devices", "threads", "dry_run", "no_costs")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--table", choices=TABLES, metavar="NAME", help=", ".join(TABLES))
    add_suite_options(parser)
    add("--seeds", nargs="+", metavar="N", help="of the suite: one training each (default: the suite's)")
    add("--data-root", help="folder that holds the data sets (default: PATRACK_DATA)")
    add("--ground-truth", type=Path, metavar="PATH", help="annotations, if not those of the data set")
    add(
        "--checkpoint", nargs="+", default=[], metavar="NAME=FILE", help="weights of an experiment, or of a further row"
    )
    add("--results", nargs="+", default=[], metavar="NAME=PATH", help="raw result files of a further row")
    add_published_option(parser)
    add("--output", type=Path, metavar="FOLDER", help="for results and table (default: results/reproduce/NAME)")
    add("--workers", type=int, default=1, help="sequences, or runs of a suite, at once (default: %(default)s)")
    add("--overwrite", action="store_true", help="delete the results of another run in the output folder")
    add("--device", help="torch device, e.g. cpu or cuda:1 (default: cuda if there is one)")
    add("--seed", help="as for every command; tracking with trained weights draws no random numbers")
    args = parser.parse_args(argv)
    if bool(args.table) == bool(args.suite):
        parser.error("give --table NAME or --suite NAME")
    others = OF_SUITE if args.table else OF_TABLE
    if wrong := [f"--{name.replace('_', '-')}" for name in others if getattr(args, name) not in (None, False, [])]:
        parser.error(f"{', '.join(wrong)}: of {'--suite' if args.table else '--table'} only")
    if args.suite and not args.data:
        parser.error("--suite needs --data, e.g. --data lasher depthtrack visevent")
    return args


def run_suite_of(args: argparse.Namespace) -> int:
    """Train, track and compare a suite; returns the exit code."""
    suite = chosen(read_suite(find_suite(args.suite)), args.data, args.model_size)
    if seeds := args.seeds or ([args.seed] if args.seed is not None else []):
        if not all(word.isascii() and word.isdecimal() for word in seeds):
            raise ValueError(f"--seeds takes numbers from 0, got {' '.join(seeds)}")
        suite = replace(suite, seeds=tuple(dict.fromkeys(map(int, seeds))))
    plan = plan_runs(suite, args.output or Path("results", "reproduce", args.suite), data_root=args.data_root)
    return run_suite(request_of(args, plan), lambda text: print(text, flush=True))


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 every row was measured, 1 something failed, 3 something is missing, 130 stopped by Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    args = parse(argv)
    try:
        if args.suite:
            return run_suite_of(args)
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
    except (ValueError, OSError, RuntimeError) as error:
        logger.error("%s", error)
        return 1
    print(done.describe(args.table))
    return done.exit_code


if __name__ == "__main__":
    sys.exit(main())
