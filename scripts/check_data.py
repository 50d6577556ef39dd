"""Report what is missing or inconsistent in a data set.

    python scripts/check_data.py --dataset lasher --data-root DATA
    python scripts/check_data.py --dataset folder --root MY_RECORDINGS --split train --images all

Exit code: 0 everything agrees, 1 something is missing or inconsistent, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from tqdm import tqdm

from lib.datasets import DATA_SETS, DatasetError, data_set_names, resolve_data_root
from lib.datasets.catalog import SYNTHETIC, DataSet
from lib.datasets.check import IMAGE_CHOICES, SequenceReport, check_overlap, check_split, unlisted_folders
from lib.datasets.coco import COCO_SPLITS, check_coco
from lib.datasets.loading import dataset_root
from lib.datasets.recordings import folder_data_set, folder_splits


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    summary, more = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(
        description=summary, epilog=more, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", required=True, choices=data_set_names())
    parser.add_argument("--data-root", help="folder that holds the data sets; default: PATRACK_DATA")
    parser.add_argument("--root", type=Path, help="folder of this data set; default: its usual name in the data root")
    parser.add_argument("--split", default="all", help="train, val, test, ... or all (default)")
    parser.add_argument("--images", default="sample", choices=IMAGE_CHOICES, help="to decode (default: 3 a sequence)")
    parser.add_argument("--jobs", type=int, default=2, help="threads (default 2)")
    parser.add_argument("--notes", action="store_true", help="list also what a rule takes care of")
    for flag in ("--device", "--seed"):
        parser.add_argument(flag, help="as for every command; the check uses neither device nor random numbers")
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {args.jobs}")
    return args


def splits_of(name: str, root: Path, split: str) -> dict[str, DataSet | None]:
    """Find the splits to check, each with the row to read it by (None: COCO, which has none)."""
    if name == "coco":
        return dict.fromkeys(COCO_SPLITS if split == "all" else [split])
    if name == "folder":
        return {s: folder_data_set(root, s) for s in (folder_splits(root) if split == "all" else [split])}
    return dict.fromkeys(DATA_SETS[name].splits if split == "all" else [split], DATA_SETS[name])


def check_dataset(name: str, root: Path, args: argparse.Namespace) -> tuple[list[str], int]:
    """Print the findings of one data set; returns rows of the summary and the number of errors."""
    rows, total = [], 0
    data_sets = splits_of(name, root, args.split)
    if not data_sets:
        raise DatasetError(f"{root}: no split: neither a list train.txt, val.txt or test.txt nor such a folder")
    for split, data_set in data_sets.items():
        label = f"{name} {split}"
        try:
            with tqdm(desc=label, unit="seq", file=sys.stderr) as bar:
                if data_set is None:
                    found = check_coco(split, root, args.images)
                    reports = [SequenceReport(name, frames=1, errors=errors) for name, errors in found]
                else:
                    reports = check_split(
                        data_set, split, root, args.images, args.jobs, on_total=bar.reset, on_done=bar.update
                    )
        except DatasetError as error:
            print(f"ERROR {label}: {error}")
            total += 1
            continue
        total += print_findings(label, reports, args.notes)
        frames, wrong = sum(r.frames for r in reports), sum(bool(r.errors) for r in reports)
        rows.append(f"{label:<24}{len(reports):>10}{frames:>10}{wrong:>12}{sum(bool(r.notes) for r in reports):>11}")
    if args.split == "all" and total == 0 and name in DATA_SETS:
        overlap = check_overlap(DATA_SETS[name], root)
        total += len(overlap)
        for message in overlap:
            print(f"ERROR {name}: {message}")
        if args.notes:
            for folder in unlisted_folders(DATA_SETS[name], root):
                print(f"note  {name}: {folder} is in no list")
    return rows, total


def print_findings(label: str, reports: list[SequenceReport], notes: bool) -> int:
    """Print what was found in the sequences of one split; returns the number of errors."""
    absent = [r for r in reports if r.missing]
    if reports and len(absent) == len(reports):
        print(f"ERROR {label}: none of its {len(reports)} sequences is there")
        return 1
    for report in reports:
        for message in report.errors:
            print(f"ERROR {label} {report.name}: {message}")
        for message in report.notes if notes else []:
            print(f"note  {label} {report.name}: {message}")
    return sum(len(report.errors) for report in reports)


def main(argv: list[str] | None = None) -> int:
    """Check a data set; returns the exit code."""
    args = parse(argv)
    logging.basicConfig(level=logging.ERROR)
    rows: list[str] = []
    errors = 0
    try:
        root = dataset_root(args.dataset, args.root, resolve_data_root(args.data_root))
        parts = {name: root / DATA_SETS[name].modality for name in SYNTHETIC}
        for name, folder in parts.items() if args.dataset == "synthrgb" else [(args.dataset, root)]:
            new_rows, new_errors = check_dataset(name, folder, args)
            rows, errors = rows + new_rows, errors + new_errors
    except (DatasetError, OSError) as error:
        print(f"ERROR {error}")
        errors += 1
    except KeyboardInterrupt:
        print("stopped; what was not checked yet is unknown", file=sys.stderr)
        return 130
    print(f"\n{'':<24}{'sequences':>10}{'frames':>10}{'with errors':>12}{'with notes':>11}")
    print("\n".join(rows))
    print(f"{errors} errors" if errors else "everything agrees")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
