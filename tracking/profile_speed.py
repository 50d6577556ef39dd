"""Measure how fast this machine tracks and trains, beside what it could do at best; needs no data set.

    python tracking/profile_speed.py --config rgbt_base --threads 2 --json speed.json
    python tracking/profile_speed.py --config rgbt_tiny --only forward step --check
    python tracking/profile_speed.py --device cuda --plots speed/ train.compile=true

Sections: forward (network against bare ViT blocks), step (tracker without network), endtoend (from image files),
batch (many targets, other sizes), training (a step and its data), roofline (what arithmetic and memory allow).
docs/speed.md says what each number means.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

logger = logging.getLogger("benchmark")


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    add("--batch", type=positive, help="pairs per training step (default: the config's, on a CPU at most 4)")
    add("--image-size", type=image_size, default=(640, 480), metavar="WxH", help="of frames, pixels (default: 640x480)")
    add("--json", type=Path, metavar="FILE", help="write every number with unit and conditions")
    add("--check", action="store_true", help="compare with lib/profiling/bounds.yaml; exit code 1 if one is broken")
    add(
        "--plots",
        type=Path,
        metavar="DIR",
        help="draw cost against tokens, batch size (section batch), sequences (endtoend)",
    )
    add("overrides", nargs="*", metavar="key=value", help="settings, e.g. model.search_size=320")
    arguments = parser.parse_intermixed_args(argv)
    from lib.profiling.command import SECTIONS  # here, because torch takes a while to start

    arguments.overrides += [word for word in arguments.only or [] if "=" in word]  # it takes every word after it
    arguments.only = [word for word in arguments.only or [] if "=" not in word]
    if unknown := set(arguments.only) - set(SECTIONS):
        parser.error(f"--only takes {', '.join(SECTIONS)}; got {', '.join(sorted(unknown))}")
    if arguments.plots and arguments.only and "batch" not in arguments.only:
        parser.error("--plots draws the curves of section batch: add it to --only")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 failed or a bound is broken, 130 stopped by Ctrl-C."""
    arguments = parse(argv)
    from lib.distributed import set_up_logging
    from lib.profiling.command import run

    set_up_logging()
    try:
        report, good = run(arguments)
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError, RuntimeError) as error:
        logger.error("%s", error)
        return 1
    print(report)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
