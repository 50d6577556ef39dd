"""Write results in the files that a benchmark's own toolkit reads.

    python tracking/export_results.py --dataset lasher --results ours=results/rgbt_base/lasher-test --output OUT
    python tracking/export_results.py --dataset gtot --results ours=DIR --columns 8 --output gtot_ours.zip

docs/evaluation.md has the form of every toolkit. Only complete and readable results are written.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from lib.evaluation import parse_results
from lib.evaluation.results import SEPARATORS, TOOLKITS, export_results
from lib.options import Parser

logger = logging.getLogger("export_results")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--dataset", required=True, choices=sorted(TOOLKITS), metavar="NAME", help=", ".join(sorted(TOOLKITS)))
    add(
        "--results",
        required=True,
        metavar="NAME=PATH",
        help="folder or archive (zip, tar); NAME is what the toolkit shows",
    )
    add("--output", required=True, type=Path, metavar="PATH", help="new folder, or new archive FILE.zip")
    add("--columns", type=int, choices=(4, 8), default=4, help="x,y,w,h, or 4 corners (default: %(default)s)")
    add("--separator", choices=tuple(SEPARATORS), help="between numbers (default: as the toolkit's own files)")
    add("--ground-truth", type=Path, metavar="PATH", help="folder or archive of annotations")
    add("--data-root", help="folder that holds the data sets (default: PATRACK_DATA)")
    add("--split", default="test", help="of the data set (default: %(default)s)")
    add("--format", choices=("auto", "xywh", "corners"), default="auto", help="of the source (default: %(default)s)")
    add("--prefix", help="of the source's file names (default: found by itself)")
    add("--allow-missing", action="store_true", help="write what is there instead of stopping")
    for flag in ("--device", "--seed"):
        add(flag, help="as for every command; conversion uses neither device nor random numbers")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 written, 1 something is wrong with the input."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    args = parse(argv)
    try:
        ((name, source),) = parse_results([args.results]).items()
        count, notes = export_results(
            args.dataset,
            name,
            source,
            args.output,
            ground_truth=args.ground_truth,
            data_root=args.data_root,
            split=args.split,
            box_format=args.format,
            prefix=args.prefix,
            columns=args.columns,
            separator=args.separator and SEPARATORS[args.separator],
            allow_missing=args.allow_missing,
        )
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 1
    print("\n".join((*notes, f"{count} sequences of {args.dataset} written to {args.output}")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
