"""Score result files on a benchmark and print a table.

    python tracking/evaluate.py --dataset synthrgbt --data-root DATA --results ours=results/rgbt_tiny/synthrgbt-test
    python tracking/evaluate.py --dataset lasher --results A=DIR B=FILE.zip --attributes --json FILE --plots DIR

docs/evaluation.md has the rules of every benchmark, the forms of result files and where the true boxes are looked for.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from lib.evaluation import PROTOCOLS, evaluate, parse_results, write_json
from lib.report.tables import evaluation_table

logger = logging.getLogger("evaluate")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--dataset", required=True, choices=sorted(PROTOCOLS), metavar="NAME", help=", ".join(sorted(PROTOCOLS)))
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
    add("--attributes", action="store_true", help="also print a table per attribute")
    add("--json", type=Path, metavar="FILE", help="write all values with all digits")
    add("--plots", type=Path, metavar="FOLDER", help="write success, precision and normalised precision as PNG")
    for flag in ("--device", "--seed"):
        add(flag, help="as for every command; scoring uses neither device nor random numbers")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 scored, 1 something is wrong with the input, 130 stopped by Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    args = parse(argv)
    try:
        evaluation = evaluate(
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
        print(evaluation_table(evaluation, attributes=args.attributes))
        if args.json:
            write_json(args.json, evaluation)
        if args.plots:
            from lib.report.plots import write_plots  # here, because matplotlib takes a while to start

            print("plots:", *write_plots(evaluation, args.plots))
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
