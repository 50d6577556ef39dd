"""Time our scoring of LasHeR against the rgbt package, on this machine, in one run.

    pip install "patrack[rgbt]"
    python scripts/benchmark_evaluation.py                      # one tracker: PR, NPR, SR and 19 attributes, from files
    python scripts/benchmark_evaluation.py --trackers 10 --report

Both start as a process of their own and read the same 245 files, made here from the true boxes and noise. Wall time is
what a user waits; CPU time does not depend on what else the machine does. Exit code 1: a target is missed.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lib.evaluation.ground_truth import INSTALL_RGBT, load_ground_truth
from lib.evaluation.protocols import protocols_of
from lib.evaluation.results import write_boxes
from lib.options import Parser

ROOT = Path(__file__).resolve().parents[1]
WANTED_RATIO, WANTED_SECONDS, WANTED_REPORT_SECONDS = 20.0, 2.0, 30.0
PACKAGE_RUN = """
import sys
import rgbt
data = rgbt.LasHeR()
data("tracker", sys.argv[1], bbox_type="ltwh")
metrics = (data.PR, data.NPR, data.SR)
print("rgbt", " ".join(f"{metric('tracker')[0]:.4f}" for metric in metrics))
for attribute in data.get_attr_list():
    for metric in metrics:
        metric("tracker", seqs=getattr(data, attribute))
"""


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--repeats", type=int, default=3, help="runs of ours, the fastest counts (default: %(default)s)")
    add("--trackers", type=int, default=1, help="score as many at once as well (default: %(default)s)")
    add("--report", action="store_true", help="and make the report of all of them")
    add("--without-rgbt", action="store_true", help="time ours only")
    add("--seed", type=int, default=0, help="of the noise (default: %(default)s)")
    add("--device", help="as for every command; scoring uses the CPU")
    return parser.parse_args(argv)


def write_trackers(folder: Path, count: int, seed: int) -> list[Path]:
    """Write result files of made-up trackers: the true boxes with noise, from the second frame on."""
    truth, _ = load_ground_truth("lasher", protocols_of("lasher")["official"])
    rng = np.random.default_rng(seed)
    folders = [folder / f"tracker{number}" for number in range(count)]
    for number, place in enumerate(folders):
        for name, annotation in truth.items():
            noise = rng.normal(scale=3.0 + number, size=annotation.boxes[0].shape)
            noise[0] = 0.0
            write_boxes(place / f"{name}.txt", annotation.boxes[0] + noise)
    return folders


def timed(command: list[str]) -> tuple[float, float]:
    """Run a process and measure its wall and CPU seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if run.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} ... failed with exit code {run.returncode}:\n{run.stderr[-2000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def timed_scoring(folders: list[Path], *more: str, program: str = "evaluate.py") -> tuple[float, float]:
    """Run one of our commands for the trackers in `folders` and measure wall and CPU seconds."""
    results = [f"{folder.name}={folder}" for folder in folders]
    command = [sys.executable, f"tracking/{program}", "--dataset", "lasher", "--results", *results, *more]
    return timed(command)


def line(what: str, seconds: tuple[float, float], target: str = "") -> None:
    """Print one row."""
    wall, cpu = seconds
    print(f"{what:<24}{wall:8.2f} s wall {cpu:8.2f} s CPU   {target}")


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 all targets met, 1 one is missed, 2 the package is not there."""
    args = parse(argv)
    with tempfile.TemporaryDirectory() as work:
        try:
            folders = write_trackers(Path(work), max(1, args.trackers), args.seed)
        except ValueError:
            print(f"the annotations of LasHeR are needed: {INSTALL_RGBT}", file=sys.stderr)
            return 2
        options = ("--attributes", "--json", str(Path(work, "scores.json")))
        runs = [timed_scoring(folders[:1], *options) for _ in range(max(1, args.repeats))]
        wall, cpu = (min(column) for column in zip(*runs, strict=True))
        line("ours, one tracker", (wall, cpu), f"target < {WANTED_SECONDS:g} s wall")
        met = wall < WANTED_SECONDS
        if len(folders) > 1:
            line(f"ours, {len(folders)} trackers", timed_scoring(folders, "--attributes"))
        if args.report:
            report = timed_scoring(folders, "--output", str(Path(work, "report")), program="report.py")
            line(f"report, {len(folders)} trackers", report, f"target < {WANTED_REPORT_SECONDS:g} s wall")
            met = met and report[0] < WANTED_REPORT_SECONDS
        if args.without_rgbt:
            return 0 if met else 1
        package = timed([sys.executable, "-c", PACKAGE_RUN, str(folders[0])])
    line("rgbt package", package)
    ratios = package[0] / wall, package[1] / cpu
    print(f"{'ratio':<24}{ratios[0]:8.1f}   wall {ratios[1]:8.1f}   CPU   target >= {WANTED_RATIO:g} wall")
    return 0 if met and ratios[0] >= WANTED_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
