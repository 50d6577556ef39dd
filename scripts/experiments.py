r"""Train variants of experiments with several seeds, score them, and put all of it into one table.

    python scripts/experiments.py --suite rivals --data synthrgbx --seeds 0 1 2 --data-root DATA --output runs/rivals
    python scripts/experiments.py --suite rivals --data lasher --data-root DATA --output runs/lasher --dry-run
    python scripts/experiments.py --config rgbt_tiny --dataset synthrgbt --data-root DATA --output runs/rates \
        --variant usual --variant fast train.lr=1e-3 --variant slow train.lr=1e-4 --seeds 0 1 2
    python scripts/experiments.py --suite rivals --data synthrgbx --output runs/rivals --summarize-only
    python scripts/experiments.py --summarize-only runs/seed_0/rgbt_tiny runs/seed_1/rgbt_tiny

A variant is a name and settings; with the word `untrained` among them it is only scored. All variants of an experiment
train on the same samples with the same seeds, in OUTPUT/VARIANT/seed_N/EXPERIMENT. OUTPUT gets experiments.md, .tex,
.csv, .json and figures: mean ± sd over the seeds, differences with intervals, what each variant costs; and runs.md:
which runs there are, and why. What is finished is kept: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib.experiments.command import FAILED, add_suite_options, chosen, request_of, run_suite
from lib.experiments.runs import Plan, plan_runs
from lib.experiments.suite import UNTRAINED, Suite, Variant, check_names, find_suite, read_suite
from lib.options import Parser
from lib.training.manifest import describe, read_runs, write_summary


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--variants", type=Path, metavar="YAML", help="a suite of your own: see lib/experiments/suite.py")
    words: dict[str, Any] = {"nargs": "+", "action": "append", "default": [], "metavar": ("NAME", "key=value")}
    add("--variant", **words, help="one more variant")
    add("--only", nargs="+", metavar="VARIANT", help="of the variants (default: all)")
    add("--config", nargs="+", metavar="NAME", help="what is varied (default: all of the YAML file)")
    add("--dataset", help="to score on, of all experiments (default: the YAML file's, else the validation IoU alone)")
    add("--split", default="test", help="of that data set (default: %(default)s)")
    add("--count", type=int, metavar="N", help="sequences to score on, the first of the split (default: all)")
    add("--data-root", help="folder that holds the data sets (default: PATRACK_DATA, then data.root)")
    add("--output", type=Path, help="folder for runs, results and the table")
    seeds: dict[str, Any] = {"dest": "seeds", "nargs": "+", "metavar": "N"}
    add("--seed", "--seeds", **seeds, help="one run each (default: the YAML file's, else 0)")
    add("--workers", type=int, default=1, help="runs at once, on each device (default: %(default)s)")
    add("--device", help="torch device of all runs (default: cuda if there is one)")
    add_suite_options(parser)
    text = (
        "train and track nothing: tables of what is there, or the mean of these runs, which differ only in their seed"
    )
    add("--summarize-only", nargs="*", type=Path, metavar="RUN", help=text)
    add("overrides", nargs="*", metavar="key=value", help="settings of all variants, e.g. train.precision=bf16")
    for earlier, option in (
        ("--experiment", "--config"),
        ("--sequences", "--count"),
        ("--jobs", "--workers"),
        ("--summarise-only", "--summarize-only"),
    ):
        parser.earlier_name(earlier, option)
    args = parser.parse_intermixed_args(argv)
    for name in ("seeds", "only", "config", "data", "devices"):  # these take every word after them, settings as well
        given = getattr(args, name) or []
        args.overrides += [word for word in given if "=" in word]
        setattr(args, name, [word for word in given if "=" not in word])
    if not args.summarize_only and not (args.output and (args.suite or args.variants or args.variant)):
        parser.error("give --output, and --suite NAME, --variants YAML or --variant NAME key=value ...")
    if args.suite and args.variants:
        parser.error("--suite and --variants: give one of them")
    if args.data and (args.config or args.dataset):
        parser.error("--data chooses experiments and data sets; --config and --dataset do it one by one")
    return args


def read_plan(args: argparse.Namespace) -> Plan:
    """Put the suite and the command line together, which goes first.

    Raises:
        ValueError: something that is unknown, wrong or missing.
    """
    suite = Suite("variants", {})
    if args.suite or args.variants:
        suite = read_suite(args.variants or find_suite(args.suite))
    check_names((name for name, *_ in args.variant), "--variant")
    further = {
        name: Variant(tuple(word for word in words if word != UNTRAINED), trained=UNTRAINED not in words)
        for name, *words in args.variant
    }
    suite = replace(suite, variants={**suite.variants, **further}, settings=(*suite.settings, *args.overrides))
    suite = chosen(suite, args.data, args.model_size, args.only)
    if args.config:
        suite = replace(suite, experiments={name: suite.experiments.get(name, ()) for name in args.config})
    if not suite.experiments:
        raise ValueError("no experiment to vary: give --data NAME, e.g. synthrgbx, or --config NAME, e.g. rgbt_tiny")
    if args.dataset:
        suite = replace(suite, experiments=dict.fromkeys(suite.experiments, (args.dataset,)))
    if args.seeds:
        if wrong := [word for word in args.seeds if not (word.isascii() and word.isdecimal())]:
            raise ValueError(f"--seeds takes numbers from 0, got {' '.join(wrong)}")
        suite = replace(suite, seeds=tuple(dict.fromkeys(map(int, args.seeds))))
    return plan_runs(suite, args.output, split=args.split, count=args.count, data_root=args.data_root)


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 a run failed or something can't be used, 3 something is missing, 130 stopped."""
    args = parse(argv)
    try:
        if args.summarize_only:
            print(describe(read_runs(args.summarize_only)))
            if args.output:
                write_summary(args.summarize_only, args.output / "summary.json")
            return 0
        return run_suite(request_of(args, read_plan(args)), lambda text: print(text, flush=True))
    except (ValueError, OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("stopped; what is finished is kept, the same command goes on with the rest", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
