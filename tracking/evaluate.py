"""Score result files on a benchmark and print a table.

    python tracking/evaluate.py --dataset synthrgbt --data-root DATA --results ours=results/rgbt_tiny/synthrgbt-test
    python tracking/evaluate.py --dataset lasher --results A=DIR B=FILE.zip --attributes --json FILE --plots DIR
    python tracking/evaluate.py --dataset lasher --results ours=DIR --table-file table.tex --published frozen

docs/evaluation.md has the rules of every benchmark, the forms of result files and where the true boxes are looked for;
docs/report.md the tables with published numbers.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from lib.evaluation import write_json
from lib.options import Parser
from lib.report.tables import (
    FORMATS,
    add_published_option,
    add_scoring_options,
    compare,
    evaluate_options,
    evaluation_table,
    render,
    table_form,
    write_table,
)

logger = logging.getLogger("evaluate")

PLOT_FORMATS = ("png", "pdf", "svg")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(__doc__)
    add_scoring_options(parser)
    add = parser.add_argument
    add("--attributes", action="store_true", help="also print a table per attribute")
    add("--json", type=Path, metavar="FILE", help="write all values with all digits")
    add("--plots", type=Path, metavar="FOLDER", help="draw success, precision and normalised precision")
    forms = ", ".join(PLOT_FORMATS)
    add(
        "--plot-format",
        nargs="+",
        choices=PLOT_FORMATS,
        default=["png"],
        metavar="FORM",
        help=f"{forms} (default: png)",
    )
    add("--table", choices=FORMATS, metavar="FORM", help="print a paper's table, in percent: " + ", ".join(FORMATS))
    add(
        "--table-file",
        type=Path,
        metavar="FILE",
        help="write it: FILE.md, FILE.csv, FILE.json, or FILE.tex and FILE.bib",
    )
    add_published_option(parser)
    for flag in ("--device", "--seed"):
        add(flag, help="as for every command; scoring uses no device, and draws with a fixed seed")
    args = parser.parse_args(argv)
    if args.published and args.published != ["none"] and not args.table and not args.table_file:
        args.table = "markdown"
    if args.table_file is not None:
        try:
            table_form(args.table_file)
        except ValueError as error:
            parser.error(f"--table-file: {error}")
    if args.table and args.attributes:
        parser.error("--table has no attributes; leave --attributes out, or take them from --json")
    return args


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 scored, 1 something is wrong with the input, 130 stopped by Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    args = parse(argv)
    try:
        evaluation = evaluate_options(args)
        comparison = compare(evaluation, published=args.published)
        if args.table:
            print(render(comparison, args.table))
        else:
            print(evaluation_table(evaluation, attributes=args.attributes))
        if args.table_file:
            logger.info("table: %s", " ".join(map(str, write_table(comparison, args.table_file))))
        if args.json:
            write_json(args.json, evaluation)
        if args.plots:
            from lib.report.figures import write_plots  # here, because matplotlib takes a while to start

            logger.info("plots: %s", " ".join(map(str, write_plots(evaluation, args.plots, args.plot_format))))
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
