"""Score a tracker where RGB, or X, is missing or tells nothing.

    python scripts/missing_modality.py --config rgbt_tiny --dataset synthrgbt --data-root DATA --output runs/missing
    python scripts/missing_modality.py --config runs/rgbt_base --dataset lasher --streams x --shares 0 .5 1 --batch 32 \
        --output runs/missing
    python scripts/missing_modality.py --fusion --config rgbt_tiny --dataset synthrgbt --data-root DATA \
        --output runs/fusion
    python scripts/missing_modality.py --fusion --config runs/mine --rgb-config rgb_small --dataset lasher \
        --output runs/fusion

Plots scores against the share of frames that lack RGB, or X: OUTPUT/masks/*.json (the published form, see
docs/tracking.md), results per mask, and the scores in missing.md, missing.json and missing.png.

With --fusion, checks whether X ever hurts: scores of RGB alone beside RGB + X, with X as recorded and with an X that
tells nothing. Variants: rgb (the base model alone) and recorded; x-black, x-constant (one color), x-noise, x-copy (RGB
once more); and rgb-black with X as recorded. Writes OUTPUT/fusion.md and fusion.json with every metric and the
difference to RGB alone.

What is finished is kept: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lib import datasets
from lib.datasets.frames import DecodedFrame
from lib.datasets.missing import STREAMS, SUBSTITUTES, black_rgb, random_mask, substitute_x, write_masks
from lib.evaluation import Curve, Evaluation, evaluate
from lib.options import Parser, add_sequence_options, chosen_sequences
from patrack import config as configs
from patrack.config.schema import Config
from patrack.files import atomic_write

if TYPE_CHECKING:
    from patrack.tracker import Present, Tracker

logger = logging.getLogger("missing_modality")

RGB, RECORDED, RGB_BLACK = "rgb", "recorded", "rgb-black"
VARIANTS = (RGB, RECORDED, *(f"x-{kind}" for kind in SUBSTITUTES), RGB_BLACK)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--config", required=True, help="name in experiments/, YAML file, or folder of a run")
    add("--checkpoint", help="weights file or folder of a training run (default: the run's, or the shipped file)")
    add("--dataset", required=True, help="e.g. synthrgbt, lasher")
    add("--split", default="test", help="of the data set (default: %(default)s)")
    add("--data-root", help="folder that holds the data sets (default: PATRACK_DATA, then data.root)")
    add("--root", type=Path, help="folder of this data set (default: its usual name in the data root)")
    add_sequence_options(parser)
    add("--output", type=Path, required=True, help="folder for masks, results, table and plot")
    add("--device", help="torch device (default: cuda if there is one)")
    add("--seed", type=int, default=0, help="decides which frames are missing (default: %(default)s)")
    missing = parser.add_argument_group("frames that lack a stream").add_argument
    missing("--streams", nargs="+", choices=STREAMS, default=list(STREAMS), help="which is missing (default: each)")
    shares = [0, 0.25, 0.5, 0.75, 1]
    missing("--shares", nargs="+", type=float, default=shares, help="of the frames (default: %(default)s)")
    missing("--gap", type=int, default=10, help="frames that are missing in a row (default: %(default)s)")
    missing("--batch", type=int, default=1, help="sequences that share each step of the network (default: %(default)s)")
    fusion = parser.add_argument_group("whether X ever hurts").add_argument
    fusion("--fusion", action="store_true", help="check this instead; --config is of two streams")
    fusion("--rgb-config", help="RGB tracker to compare with (default: the base model of --config, on RGB alone)")
    fusion("--rgb-checkpoint", help="its weights (default: the run's, or the shipped file)")
    args = parser.parse_args(argv)
    for name in ("streams", "shares", "gap", "batch") if args.fusion else ("rgb_config", "rgb_checkpoint"):
        if getattr(args, name) != parser.get_default(name):
            parser.error(f"--{name.replace('_', '-')} can't be used {'with' if args.fusion else 'without'} --fusion")
    return args


# ---- Frames that lack a stream


def mask_name(stream: str, share: float) -> str:
    """Name of a mask and its results; where nothing is missing, all streams have the same."""
    return "complete" if share == 0 else f"{stream}-{share:g}"


def track_masks(args: argparse.Namespace, config: Config, sequences: list[datasets.Sequence]) -> dict[str, Path]:
    """Write masks and track with them; return the folder of results by the name of the mask."""
    # here, so that --help answers at once
    from lib.distributed import usable_device
    from lib.inference.runner import Weights, track_dataset
    from patrack.build import weights_beside

    weights = Weights(args.checkpoint or weights_beside(args.config), str(usable_device(args.device)))
    results = {}
    jobs = {mask_name(stream, share): (stream, share) for stream in args.streams for share in args.shares}
    for name, (stream, share) in jobs.items():
        masks = {}
        for sequence in sequences:
            rng = np.random.default_rng((args.seed, zlib.crc32(sequence.name.encode()), STREAMS.index(stream)))
            masks[sequence.name] = random_mask(len(sequence) + sequence.cut, stream, share, args.gap, rng)
            if share < 1:
                masks[sequence.name][: sequence.cut + 1] = True  # the first frame that is tracked is complete
        write_masks(args.output / "masks" / f"{name}.json", masks)
        results[name] = args.output / "results" / name
        summary = track_dataset(
            config,
            weights,
            args.dataset,
            args.split,
            output=results[name],
            root=args.root,
            data_root=args.data_root,
            sequences=args.sequences,
            slots=args.batch,
            missing=args.output / "masks" / f"{name}.json",
        )
        if summary.failed:
            raise RuntimeError(f"{name}: {summary.describe()}")
    return results


def missing_table(evaluation: Evaluation, streams: list[str], shares: list[float]) -> str:
    """Make Markdown: a row per stream and share, a column per metric."""
    metrics = list(next(iter(evaluation.trackers.values())).metrics)
    lines = [f"| missing, {evaluation.covered} | share | {' | '.join(metrics)} |"]
    lines.append("| --- |" + " --: |" * (len(metrics) + 1))
    for stream in streams:
        for share in shares:
            values = evaluation.trackers[mask_name(stream, share)].metrics
            cells = " | ".join(f"{values[metric]:.3f}" for metric in metrics)
            lines.append(f"| {stream.upper()} | {share:g} | {cells} |")
    return "\n".join(lines) + "\n"


def draw(evaluation: Evaluation, streams: list[str], shares: list[float], path: Path) -> None:
    """The main metric over the share that is missing, a line per stream."""
    from lib.report.figures import plot_curves, save_figure  # here, because matplotlib takes a while to start

    metric = main_metric(evaluation)
    curves = {}
    for stream in streams:
        scores = tuple(evaluation.trackers[mask_name(stream, share)].metrics[metric] for share in shares)
        label = "share of the frames in which the stream is missing"
        curves[stream.upper()] = Curve(tuple(shares), scores, label, metric)
    save_figure(plot_curves(curves, f"Missing streams, {evaluation.dataset} ({evaluation.protocol})", "missing"), path)


# ---- Whether X ever hurts


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


def track_variants(args: argparse.Namespace, config: Config, sequences: list[datasets.Sequence]) -> dict[str, Path]:
    """Track with every variant; return the folder of results by its name."""
    # here, so that --help answers at once
    from lib.datasets.fingerprint import fingerprint
    from lib.distributed import usable_device
    from lib.inference.results import claimed
    from lib.inference.runner import run_sequences
    from patrack.build import build_tracker, identity, weights_beside

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
        data = {sequence.name: {"files": fingerprint(sequence)[:32]} for sequence in sequences}
        with claimed(results[variant], identity(used, network, **facts), {"command": sys.argv}, data=data):
            summary = run_sequences(lambda tracker=tracker: tracker, sequences, results[variant])
        if summary.failed:
            raise RuntimeError(f"{variant}: {summary.describe()}")
    return results


def fusion_table(evaluation: Evaluation) -> str:
    """Make Markdown: a row per variant, a column per metric, and the main one's difference to RGB alone."""
    metrics, main = list(evaluation.trackers[RGB].metrics), main_metric(evaluation)
    lines = [f"| streams, {evaluation.covered} | {' | '.join(metrics)} | {main} - RGB alone |"]
    lines.append("| --- |" + " --: |" * (len(metrics) + 1))
    for variant in VARIANTS:
        values = evaluation.trackers[variant].metrics
        cells = [f"{values[metric]:.3f}" for metric in metrics]
        difference = values[main] - evaluation.trackers[RGB].metrics[main]
        lines.append(f"| {variant} | {' | '.join(cells)} | {'' if variant == RGB else f'{difference:+.3f}'} |")
    return "\n".join(lines) + "\n"


# ---- Both


def main_metric(evaluation: Evaluation) -> str:
    """The metric to compare by: SR, or the first one of a benchmark without it."""
    metrics = next(iter(evaluation.trackers.values())).metrics
    return "SR" if "SR" in metrics else next(iter(metrics))


def run(args: argparse.Namespace) -> str:
    """Track, score and write everything; return the table.

    Raises:
        ValueError, OSError, RuntimeError: something can't be used, or a sequence can't be tracked.
    """
    config = configs.load(args.config)
    if args.fusion and config.model.streams != "both":
        raise ValueError(f"{config.name} has one stream (model.streams: {config.model.streams}); give one of two")
    places = datasets.resolve_data_root(args.data_root, config.data.root)
    args.sequences = chosen_sequences(args)
    sequences = datasets.load(args.dataset, args.split, args.root, places, args.sequences)
    if sequences:
        config = config.of_modality(sequences[0].modality)
    args.shares = sorted(set(args.shares))
    results = (track_variants if args.fusion else track_masks)(args, config, sequences)
    names = [sequence.name for sequence in sequences]
    options = {"ground_truth": args.root, "data_root": places, "split": args.split, "names": names}
    evaluation = evaluate(args.dataset, results, **options)

    if args.fusion:
        stem, text, settings = "fusion", fusion_table(evaluation), {}
    else:
        stem, text = "missing", missing_table(evaluation, args.streams, args.shares)
        settings = {"seed": args.seed, "gap": args.gap}
        draw(evaluation, args.streams, args.shares, args.output / "missing.png")
    with atomic_write(args.output / f"{stem}.md") as file:
        file.write(text)
    with atomic_write(args.output / f"{stem}.json") as file:
        json.dump({"config": args.config, **settings, **evaluation.to_dict()}, file, indent=1, allow_nan=False)
    return text


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 something is wrong, 130 stopped by Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    args = parse(argv)
    try:
        print(run(args))
    except (ValueError, OSError, RuntimeError) as error:
        logger.error("%s", error)
        return 1
    except KeyboardInterrupt:
        logger.error("stopped; finished results are kept, the same command goes on with the rest")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
