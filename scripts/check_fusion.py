"""Check whether X ever hurts: scores of RGB alone beside RGB + X, with X as recorded and with an X that tells nothing.

    python scripts/check_fusion.py --config rgbt_tiny --dataset synthrgbt --data-root DATA --output runs/fusion
    python scripts/check_fusion.py --config runs/mine --rgb-config rgb_small --dataset lasher --output runs/fusion

Variants: rgb (the foundation alone) and recorded; x-black, x-constant (one color), x-noise, x-copy (RGB once more); and
rgb-black with X as recorded. Writes OUTPUT/fusion.md and fusion.json with every metric and the difference to RGB alone.
What is finished is kept: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lib import datasets
from lib.datasets.frames import DecodedFrame
from lib.datasets.missing import SUBSTITUTES, black_rgb, substitute_x
from lib.evaluation import evaluate
from lib.evaluation.scores import Evaluation
from patrack import config as configs
from patrack.files import atomic_write

if TYPE_CHECKING:
    from patrack.tracker import Present, Tracker

logger = logging.getLogger("check_fusion")

RGB, RECORDED, RGB_BLACK = "rgb", "recorded", "rgb-black"
VARIANTS = (RGB, RECORDED, *(f"x-{kind}" for kind in SUBSTITUTES), RGB_BLACK)


class Changed:
    """A tracker that sees other frames than those recorded.

    Args:
        tracker: of two streams.
        variant: of `VARIANTS`; noise and colors are the same for every sequence.
    """

    def __init__(self, tracker: Tracker, variant: str) -> None:
        self.tracker, self.variant, self.frame_number = tracker, variant, 0

    def _change(self, frame: DecodedFrame) -> DecodedFrame:
        if self.variant == RECORDED:
            return frame
        if self.variant == RGB_BLACK:
            return black_rgb(frame)
        kind = self.variant.removeprefix("x-")
        return substitute_x(frame, kind, np.random.default_rng(self.frame_number if kind == "noise" else 0))

    def initialize(self, frame: DecodedFrame, box_xywh: np.ndarray, present: Present = (True, True)) -> None:
        """See `Tracker.initialize`."""
        self.frame_number = 0
        self.tracker.initialize(self._change(frame), box_xywh, present)

    def track(self, frame: DecodedFrame, present: Present = (True, True)) -> tuple[np.ndarray, float]:
        """See `Tracker.track`."""
        self.frame_number += 1
        return self.tracker.track(self._change(frame), present)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config", required=True, help="of two streams: name in experiments/, YAML file, or folder of a run")
    add("--checkpoint", help="weights file or folder of a training run (default: the run's, or the shipped file)")
    add("--rgb-config", help="RGB tracker to compare with (default: the foundation of --config, on RGB alone)")
    add("--rgb-checkpoint", help="its weights (default: the run's, or the shipped file)")
    add("--dataset", required=True, help="e.g. synthrgbt, lasher")
    add("--split", default="test", help="of the data set (default: %(default)s)")
    add("--data-root", help="folder that holds the data sets (default: PATRACK_DATA, then data.root)")
    add("--root", type=Path, help="folder of this data set (default: its usual name in the data root)")
    add("--sequences", nargs="+", metavar="NAME", help="only these (default: the whole split)")
    add("--output", type=Path, required=True, help="folder for results and table")
    add("--device", help="torch device (default: cuda if there is one)")
    add("--seed", help="as for every command; nothing here depends on it")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> Evaluation:
    """Tracks every variant and scores them.

    Raises:
        ValueError, OSError, RuntimeError: something can't be used, or a sequence can't be tracked.
    """
    # here, so that --help answers at once
    from lib.distributed import usable_device
    from lib.inference.results import claim
    from lib.inference.runner import run_sequences
    from patrack.build import build_tracker, identity, weights_beside

    config = configs.load(args.config)
    if config.model.streams != "both":
        raise ValueError(f"{config.name} has one stream (model.streams: {config.model.streams}); give one of two")
    places = datasets.resolve_data_root(args.data_root, config.data.root)
    sequences = datasets.load(args.dataset, args.split, args.root, places, args.sequences)
    others = sorted({sequence.modality for sequence in sequences} - {config.modality})
    if others:
        raise ValueError(f"{config.name} is for {config.modality}, data set {args.dataset} is {', '.join(others)}")
    device = str(usable_device(args.device))
    fused = build_tracker(config, args.checkpoint or weights_beside(args.config), device)
    # what the fusion has to be as good as
    if args.rgb_config is not None:
        rgb_config, checkpoint = configs.load(args.rgb_config), args.rgb_checkpoint or weights_beside(args.rgb_config)
    else:
        rgb_config = config.model_copy(update={"model": config.model.model_copy(update={"streams": "rgb"})})
        checkpoint = args.rgb_checkpoint
    rgb_alone = build_tracker(rgb_config, checkpoint, device)

    results: dict[str, Path] = {}
    for variant in VARIANTS:
        tracker: Tracker | Changed
        if variant == RGB:
            used, network, tracker = rgb_config, rgb_alone, rgb_alone
        else:
            used, network, tracker = config, fused, Changed(fused, variant)
        results[variant] = args.output / "results" / variant
        facts = {"dataset": args.dataset, "split": args.split, "variant": variant}
        claim(results[variant], identity(used, network, **facts), {"command": sys.argv})
        summary = run_sequences(lambda tracker=tracker: tracker, sequences, results[variant])
        if summary.failed:
            raise RuntimeError(f"{variant}: {summary.describe()}")
    names = [sequence.name for sequence in sequences]
    options = {"ground_truth": args.root, "data_root": places, "split": args.split, "names": names}
    return evaluate(args.dataset, results, **options)


def table(evaluation: Evaluation) -> str:
    """Makes Markdown: a row per variant, a column per metric, and the main one's difference to RGB alone."""
    metrics = list(evaluation.trackers[RGB].metrics)
    main_metric = "SR" if "SR" in metrics else metrics[0]
    lines = [
        f"| streams | {' | '.join(metrics)} | {main_metric} - RGB alone |",
        "| --- |" + " --: |" * (len(metrics) + 1),
    ]
    for variant in VARIANTS:
        values = evaluation.trackers[variant].metrics
        cells = [f"{values[metric]:.3f}" for metric in metrics]
        difference = values[main_metric] - evaluation.trackers[RGB].metrics[main_metric]
        lines.append(f"| {variant} | {' | '.join(cells)} | {'' if variant == RGB else f'{difference:+.3f}'} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 something is wrong, 130 stopped by Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    args = parse(argv)
    try:
        evaluation = run(args)
    except (ValueError, OSError, RuntimeError) as error:
        logger.error("%s", error)
        return 1
    except KeyboardInterrupt:
        logger.error("stopped; finished results are kept, the same command goes on with the rest")
        return 130
    text = table(evaluation)
    with atomic_write(args.output / "fusion.md") as file:
        file.write(text)
    with atomic_write(args.output / "fusion.json") as file:
        json.dump({"config": args.config, **evaluation.to_dict()}, file, indent=1, allow_nan=False)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
