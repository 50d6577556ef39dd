"""Mean and standard deviation of the final metrics of runs that differ in their seed.

python scripts/summarise_runs.py runs/seed_0/rgbt_tiny runs/seed_1/rgbt_tiny runs/seed_2/rgbt_tiny [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lib.training.compare import describe, read_runs, write_summary


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 the runs can't be averaged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--json", type=Path, help="file for all values")
    for flag in ("--device", "--seed"):
        parser.add_argument(flag, help="as for every command; averaging uses neither device nor random numbers")
    arguments = parser.parse_args(argv)
    try:
        print(describe(read_runs(arguments.runs)))
        if arguments.json:
            write_summary(arguments.runs, arguments.json)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
