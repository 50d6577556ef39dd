"""Measure how fast this machine tracks and trains, beside what it could do at best; needs no data set.

    python tracking/profile_speed.py --config rgbt_base --threads 2 --json speed.json
    python tracking/profile_speed.py --config rgbt_tiny --only forward step --check
    python tracking/profile_speed.py --device cuda --plots speed/ train.compile=true

Sections: forward (network against bare ViT blocks), step (tracker without network), busy (beside another process),
endtoend (from image files), batch (many targets, other sizes), training (a step and its data),
roofline (what arithmetic and memory allow).
docs/speed.md says what each number means.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import patrack  # noqa: F401 (before PyTorch is loaded, for how its threads wait)
from lib.options import Parser

logger = logging.getLogger("benchmark")

SECTIONS = ("forward", "step", "busy", "endtoend", "batch", "training", "roofline")
"""In the order in which they are measured, each by `measure_<name>` of `lib.profiling.sections`."""


def positive(text: str) -> int:
    """Read a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, got {text!r}")
    return int(text)


def image_size(text: str) -> tuple[int, int]:
    """Read width and height: `640x480`."""
    try:
        width, height = map(int, text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be WIDTHxHEIGHT, such as 640x480, got {text!r}") from None
    return width, height


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--config", default="rgbt_base", help="name in experiments/ or YAML file (default: %(default)s)")
    add("--device", help="torch device, e.g. cpu or cuda:1 (default: cuda if there is one)")
    add("--threads", type=positive, help="CPU threads (default: torch's)")
    add("--seed", type=int, help="of weights and frames, instead of the config's")
    add("--only", nargs="+", metavar="SECTION", help="of those above (default: all)")
    add("--quick", action="store_true", help="few repeats and points: shows that it works, numbers are rough")
    add(
        "--repeats",
        type=positive,
        metavar="N",
        help="rounds of each measurement (default: 20, or fewer after a minute)",
    )
    add("--batch-size", type=positive, help="pairs per training step (default: the config's, on a CPU at most 4)")
    add("--size", type=image_size, default=(640, 480), metavar="WxH", help="of frames, pixels (default: 640x480)")
    add("--json", type=Path, metavar="FILE", help="write every number with unit and conditions")
    add("--check", action="store_true", help="compare with lib/profiling/bounds.yaml; exit code 1 if one is broken")
    add(
        "--plots",
        type=Path,
        metavar="FOLDER",
        help="draw cost against tokens, batch size (section batch), sequences (endtoend)",
    )
    add("overrides", nargs="*", metavar="key=value", help="settings, e.g. model.search_size=320")
    parser.earlier_name("--batch", "--batch-size")
    parser.earlier_name("--image-size", "--size")
    arguments = parser.parse_intermixed_args(argv)
    arguments.overrides += [word for word in arguments.only or [] if "=" in word]  # it takes every word after it
    arguments.only = [word for word in arguments.only or [] if "=" not in word]
    if unknown := set(arguments.only) - set(SECTIONS):
        parser.error(f"--only takes {', '.join(SECTIONS)}; got {', '.join(sorted(unknown))}")
    if arguments.plots and arguments.only and "batch" not in arguments.only:
        parser.error("--plots draws the curves of section batch: add it to --only")
    return arguments


def run(arguments: argparse.Namespace) -> tuple[str, bool]:
    """Measure what the arguments say.

    Returns:
        The report, and whether every bound that was asked about holds.

    Raises:
        ValueError, OSError, RuntimeError: something can't be used or written; the message says what.
    """
    import cv2  # here, so that --help answers at once
    import torch

    from lib.profiling import report, sections
    from lib.profiling.case import Case, Effort
    from patrack.devices import usable_device

    device, bounds = usable_device(arguments.device), report.read_bounds()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
        cv2.setNumThreads(arguments.threads)
    effort = Effort(repeats=3, warm_up=1, seconds=5.0) if arguments.quick else Effort()
    if arguments.repeats is not None:
        effort = replace(effort, repeats=arguments.repeats, seconds=math.inf)
    seed = [] if arguments.seed is None else [f"seed={arguments.seed}"]

    measured = {}
    with tempfile.TemporaryDirectory(prefix="patrack-benchmark-") as folder:
        case = Case(
            arguments.config,
            (*arguments.overrides, *seed),
            device,
            effort,
            Path(folder),
            arguments.size,
            arguments.batch_size,
            arguments.quick,
        )
        about = report.conditions(case)
        for name in SECTIONS:
            if name in (arguments.only or SECTIONS):
                start = time.perf_counter()
                measured[name] = getattr(sections, f"measure_{name}")(case)
                logger.info("%s: %.0f s", name, time.perf_counter() - start)

    rows = [row for section in measured.values() for row in section]
    lines, good = [report.as_text(about, measured)], True
    if arguments.json:
        report.write_json(arguments.json, about, measured)
    if arguments.plots:
        title = f"{arguments.config} on {about['device']}, {about['threads']} threads"
        lines += ["", *(f"plot {path}" for path in report.write_plots(rows, arguments.plots, title))]
    if arguments.check:
        unit = about["bf16 unit"] != report.NO_BF16_UNIT
        verdicts, good = report.check(rows, bounds, config=arguments.config, device=device.type, bf16_unit=unit)
        lines += ["", "bounds", *(f"  {line}" for line in verdicts)]
    return "\n".join(lines), good


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 failed or a bound is broken, 130 stopped by Ctrl-C."""
    arguments = parse(argv)
    from lib.distributed import set_up_logging

    set_up_logging()
    try:
        text, good = run(arguments)
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError, RuntimeError) as error:
        logger.error("%s", error)
        return 1
    print(text)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
