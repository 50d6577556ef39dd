"""Measure how well a tracker knows that its target is gone, and how soon it finds it again.

    python scripts/measure_recovery.py --config rgbt_small --dataset synthrgbt --data-root DATA --output runs/recovery

Tracks each sequence twice: plainly, as benchmarks ask, and with recovery (`test.recovery`). Writes OUTPUT/recovery.md
with absences that were noticed, frames until then and until the target was found again, false alarms, and how far the
confidence came true, and reliability.png; says which `test.confidence` fits best. Sequences with an absence tell most:
--absent-only leaves the others out.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lib import datasets
from lib.options import Parser, add_sequence_options, chosen_sequences
from patrack import config as configs
from patrack.files import atomic_write

if TYPE_CHECKING:
    from lib.evaluation.recovery import Track
    from patrack.tracker import Tracker

logger = logging.getLogger("measure_recovery")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--config", required=True, help="name in experiments/, YAML file, or folder of a run (whose weights are used)")
    add("--checkpoint", help="weights file or folder of a training run (default: the shipped file)")
    add("--dataset", required=True, help="with frames that lack the target, e.g. synthrgbt, depthtrack")
    add("--split", default="test", help="of the data set (default: %(default)s)")
    add("--data-root", help="folder that holds the data sets (default: PATRACK_DATA, then data.root)")
    add_sequence_options(parser)
    add("--absent-only", action="store_true", help="only the sequences in which the target is absent for a while")
    add("--output", type=Path, required=True, help="folder for recovery.md and reliability.png")
    add("--device", help="torch device, e.g. cpu or cuda:1 (default: cuda if there is one)")
    add("--threads", type=int, help="CPU threads (default: all cores)")
    add("--seed", help="as for every command; nothing here is drawn")
    add("overrides", nargs="*", metavar="key=value", help="settings, e.g. test.recovery.lost_after=8")
    return parser.parse_intermixed_args(argv)


def follow(tracker: Tracker, sequence: datasets.Sequence) -> Track:
    """Track one sequence."""
    import numpy as np

    from lib.evaluation.boxes import iou
    from lib.evaluation.recovery import Track
    from patrack.recordings.frames import decode_frame

    tracker.initialize(decode_frame(sequence, 0), sequence.boxes[0], present=sequence.streams_at(0))
    results = [
        tracker.track(decode_frame(sequence, k), present=sequence.streams_at(k)) for k in range(1, len(sequence))
    ]
    overlaps = iou(np.array([result.box for result in results]), sequence.boxes[1:])
    overlaps[sequence.absent[1:]] = np.nan
    scores = np.array([result.score for result in results])
    return Track(overlaps, sequence.absent[1:], scores, np.array([result.lost for result in results]))


def report(args: argparse.Namespace, plain: list[Track], recovering: list[Track], tracker: Tracker) -> str:
    """Put the tables together, and draw the reliability diagram."""
    from matplotlib.figure import Figure

    from lib.evaluation.recovery import count_flags, fit_confidence, reliability

    frames = sum(len(track.lost) for track in plain)
    lines = [
        f"# Lost and found: {args.config} on {args.dataset}, {len(plain)} sequences, {frames} frames",
        "",
        "| | absences flagged | frames until flagged | returns recovered | frames until recovered | false alarms in "
        "1000 | misses not flagged | mean IoU |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for name, tracks in (("plain", plain), ("with recovery", recovering)):
        flags = count_flags(tracks)
        columns = [
            name,
            f"{flags.flagged} of {flags.absences}",
            f"{flags.delay:.0f}",
            f"{flags.recovered} of {flags.returns}",
            f"{flags.recovery:.0f}",
            f"{flags.false_alarms:.1f}",
            f"{flags.missed:.0%}",
            f"{flags.overlap:.3f}",
        ]
        lines.append(f"| {' | '.join(columns)} |")
    own = tracker.settings.test.confidence
    slope, offset = fit_confidence(plain)
    lines += ["", "| confidence | came true | frames |", "| --: | --: | --: |"]
    errors: list[str] = []
    figure = Figure(figsize=(4.2, 4.2))
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for name, values in (
        ("as set", (own.slope, own.offset)),
        ("score itself", (1.0, 0.0)),
        ("fitted", (slope, offset)),
    ):
        rows, error = reliability(plain, *values)
        axes.plot([row[0] for row in rows], [row[1] for row in rows], marker="o", label=f"{name} (error {error:.3f})")
        if name == "as set":
            lines += [f"| {said:.2f} | {true:.2f} | {count} |" for said, true, count in rows]
        errors.append(f"{name} {error:.3f}")
    axes.set(xlabel="confidence", ylabel="share of boxes on the target (IoU > 0.5)", xlim=(0, 1), ylim=(0, 1))
    axes.legend(loc="upper left", frameon=False)
    figure.tight_layout()
    figure.savefig(args.output / "reliability.png", dpi=150)
    lines += [
        "",
        f"Expected calibration error: {', '.join(errors)}.",
        "",
        f"Best here: `test.confidence={{slope: {slope:.2f}, offset: {offset:.2f}}}`",
        "",
    ]
    return "\n".join(lines)


def run(args: argparse.Namespace) -> str:
    """Measure; returns the text for the user.

    Raises:
        ValueError, OSError: something can't be used; the message says what.
    """
    import torch

    from patrack.build import load_tracker
    from patrack.devices import usable_device

    if args.threads:
        torch.set_num_threads(args.threads)
    config = configs.load(args.config, args.overrides)
    if not config.test.recovery.lost_below:
        raise ValueError(
            f"{args.config} doesn't say when its target is lost: give test.recovery.lost_below=0.3 (a score) or so"
        )
    root = datasets.resolve_data_root(args.data_root, config.data.root)
    sequences = datasets.load(args.dataset, args.split, None, root, chosen_sequences(args), for_frames=True)
    if args.absent_only:
        sequences = [sequence for sequence in sequences if sequence.absent.any()]
    if not sequences:
        raise ValueError(f"{args.dataset}, split {args.split}: no sequence in which the target is absent for a while")
    device = usable_device(args.device)
    plain, recovering = (
        load_tracker(args.config, args.checkpoint, device, args.overrides, recover=recover) for recover in (False, True)
    )
    tracks = []
    for number, sequence in enumerate(sequences, start=1):
        tracks.append((follow(plain, sequence), follow(recovering, sequence)))
        logger.info("%d of %d: %s", number, len(sequences), sequence.name)
    args.output.mkdir(parents=True, exist_ok=True)
    text = report(args, [pair[0] for pair in tracks], [pair[1] for pair in tracks], plain)
    with atomic_write(args.output / "recovery.md") as file:
        file.write(text)
    return f"{text}\nfile: {args.output / 'recovery.md'}\nfile: {args.output / 'reliability.png'}"


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 something can't be used, 130 stopped."""
    args = parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        print(run(args))
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError, RuntimeError) as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
