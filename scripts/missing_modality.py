"""Score trackers where RGB, or X, is missing or tells nothing.

    python scripts/missing_modality.py --config rgbt_tiny --dataset synthrgbt --data-root DATA --output runs/missing
    python scripts/missing_modality.py --config PATrack=runs/rgbt_base BAT=runs/rgbt_bat LoRA=rgbt_lora@lora.pt \\
        --dataset lasher --streams x --shares 0 .5 1 --batch 32 --output runs/missing
    python scripts/missing_modality.py --fusion --config rgbt_tiny --dataset synthrgbt --data-root DATA \\
        --output runs/fusion
    python scripts/missing_modality.py --fusion --config runs/mine --rgb-config rgb_small --dataset lasher \\
        --output runs/fusion

Plots a curve per tracker, the main metric against the share of frames that lack RGB, X or (either) one of both, beside
the base model of the first tracker on one stream alone: OUTPUT/masks/*.json (the published form, see docs/tracking.md),
results per tracker and mask, and the scores in missing.md, .csv, .json, .png and .svg. The first tracker is what the
others are compared with. tracking/report.py --missing-sensors OUTPUT shows them.

With --fusion, checks of one tracker whether X ever hurts: scores of RGB alone beside RGB + X, with X as recorded and
with an X that tells nothing. Variants: rgb (the base model alone) and recorded; x-black, x-constant (one color),
x-noise, x-copy (RGB once more); and rgb-black with X as recorded. Writes OUTPUT/fusion.md and fusion.json with every
metric and the difference to RGB alone.

What is finished is kept: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lib import datasets
from lib.datasets.missing import (
    GAP,
    LACKING,
    STREAMS,
    SUBSTITUTES,
    RandomMasks,
    black_rgb,
    substitute_x,
    write_masks,
)
from lib.evaluation import Evaluation, evaluate
from lib.evaluation.scores import primary_metric
from lib.options import Parser, add_sequence_options, chosen_sequences
from lib.report.missing import ALONE, mask_name, summarize, to_csv, to_markdown
from patrack import config as configs
from patrack.config.schema import Config
from patrack.files import atomic_write, safe_name, user_path
from patrack.recordings.frames import DecodedFrame

if TYPE_CHECKING:
    from patrack.target import Present
    from patrack.tracker import Tracker

logger = logging.getLogger("missing_modality")

RGB, RECORDED, RGB_BLACK = "rgb", "recorded", "rgb-black"
VARIANTS = (RGB, RECORDED, *(f"x-{kind}" for kind in SUBSTITUTES), RGB_BLACK)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add(
        "--config",
        nargs="+",
        required=True,
        metavar="[NAME=]CONFIG[@CHECKPOINT]",
        help="name in experiments/, YAML file, or folder of a run; its name in tables; its weights (default: those of "
        "the run, or the shipped file)",
    )
    add("--checkpoint", help="of a single --config: weights file or folder of a training run")
    add("--dataset", required=True, help="e.g. synthrgbt, lasher")
    add("--split", default="test", help="of the data set (default: %(default)s)")
    add("--data-root", help="folder that holds the data sets (default: PATRACK_DATA, then data.root)")
    add("--root", type=Path, help="folder of this data set (default: its usual name in the data root)")
    add_sequence_options(parser)
    add("--output", type=Path, required=True, help="folder for masks, results, table and plot")
    add("--device", help="torch device (default: cuda if there is one)")
    add("--seed", type=int, default=0, help="decides which frames are missing (default: %(default)s)")
    missing = parser.add_argument_group("frames that lack a stream").add_argument
    text = "which is missing: rgb, x, or in each gap either of both (default: rgb x)"
    missing("--streams", nargs="+", choices=LACKING, default=list(STREAMS), help=text)
    shares = [0, 0.25, 0.5, 0.75, 1]
    missing("--shares", nargs="+", type=float, default=shares, help="of the frames (default: %(default)s)")
    missing("--gap", type=int, default=GAP, help="frames that are missing in a row (default: %(default)s)")
    missing("--batch", type=int, default=1, help="sequences that share each step of the network (default: %(default)s)")
    fusion = parser.add_argument_group("whether X ever hurts").add_argument
    fusion("--fusion", action="store_true", help="check this instead; --config is of two streams")
    fusion("--rgb-config", help="RGB tracker to compare with (default: the base model of --config, on RGB alone)")
    fusion("--rgb-checkpoint", help="its weights (default: the run's, or the shipped file)")
    args = parser.parse_args(argv)
    if len(args.config) > 1 and (args.fusion or args.checkpoint):
        other = "--fusion" if args.fusion else "--checkpoint"
        parser.error(
            f"{other} goes with one --config, got {len(args.config)}; weights can be given as CONFIG@CHECKPOINT"
        )
    for name in ("streams", "shares", "gap", "batch") if args.fusion else ("rgb_config", "rgb_checkpoint"):
        if getattr(args, name) != parser.get_default(name):
            parser.error(f"--{name.replace('_', '-')} can't be used {'with' if args.fusion else 'without'} --fusion")
    return args


# ---- Trackers


class Choice(NamedTuple):
    """A tracker as the command line names it: what it is, and its weights (None: what belongs to it)."""

    config: str
    checkpoint: str | None

    @property
    def weights(self) -> str | None:
        """What `build_tracker` takes as checkpoint."""
        from patrack.build import weights_beside  # here, so that --help answers at once

        return self.checkpoint or weights_beside(self.config)

    def load(self, sequences: list[datasets.Sequence]) -> Config:
        """Load the experiment; a joint one becomes that of the sequences' pair."""
        config = configs.load(self.config)
        return config.of_modality(sequences[0].modality) if sequences else config


def parse_trackers(words: list[str], checkpoint: str | None = None) -> dict[str, Choice]:
    """Read `[NAME=]CONFIG[@CHECKPOINT]`, in which a path that is there is taken as it is; without NAME the config's.

    Raises:
        ValueError: an empty part, a name that can't be a folder's, or two trackers of one name.
    """
    trackers: dict[str, Choice] = {}
    for word in words:
        name, equals, rest = word.partition("=")
        if not equals or user_path(word).exists():
            name, rest = "", word
        config, at, weights = rest.rpartition("@")
        if not at or user_path(rest).exists():
            config, weights = rest, checkpoint or ""
        if not config or (at and not weights) or (equals and not name and rest != word):
            raise ValueError(f"--config {word!r}: must be [NAME=]CONFIG[@CHECKPOINT]")
        name = safe_name(name or configs.load(config).name, "--config")
        if name in trackers or name in ALONE.values():
            taken = "is the base model's" if name in ALONE.values() else f"is {trackers[name].config} already"
            raise ValueError(f"--config {word!r}: the name {name!r} {taken}; give another one, as NAME=CONFIG")
        trackers[name] = Choice(config, weights or None)
    return trackers


# ---- Frames that lack a stream


def track_masks(
    args: argparse.Namespace, trackers: Mapping[str, Choice], sequences: list[datasets.Sequence]
) -> dict[str, Path]:
    """Write masks and track with them; return the folder of results by the name of tracker and mask."""
    # here, so that --help answers at once
    from lib.inference.runner import Weights, track_dataset
    from patrack.build import build_tracker
    from patrack.devices import usable_device

    # everything that can be wrong with weights, before hours of tracking
    device = str(usable_device(args.device))
    loaded = {name: choice.load(sequences) for name, choice in trackers.items()}
    for name, config in loaded.items():
        if config.model.streams != "both":
            raise ValueError(f"{name} has one stream (model.streams: {config.model.streams}); give trackers of two")
        build_tracker(config, trackers[name].weights, device)

    results: dict[str, Path] = {}

    def track(name: str, config: Config, weights: str | None, folder: str, missing: RandomMasks | None) -> None:
        results[name] = args.output / "results" / folder
        logger.info("%s", name)
        summary = track_dataset(
            config,
            Weights(weights, device),
            args.dataset,
            args.split,
            output=results[name],
            root=args.root,
            data_root=args.data_root,
            sequences=args.sequences,
            slots=args.batch,
            missing=missing,
        )
        if summary.failed:
            raise RuntimeError(f"{name}: {summary.describe()}")

    jobs = {mask_name(stream, share): (stream, share) for stream in args.streams for share in args.shares}
    masks = {name: RandomMasks(stream, share, args.gap, args.seed) for name, (stream, share) in jobs.items()}
    for mask, drawn in masks.items():
        write_masks(args.output / "masks" / f"{mask}.json", drawn.draw(sequences))
        for name, config in loaded.items():
            missing = drawn if drawn.share else None  # a run like any other where nothing is missing
            track(f"{name}, {mask}", config, trackers[name].weights, f"{name}/{mask}", missing)

    # what there is without any fusion: the base model on the stream that is left
    base = next(iter(loaded.values()))
    if base.model.base_model is None or base.train.trainable != "adapters":
        logger.info("no line for the base model: that of %s is not a file of its own", next(iter(loaded)))
    else:
        for stream, name in ALONE.items():
            if {*STREAMS, "either"} & set(args.streams) - {stream}:
                model = base.model.model_copy(update={"streams": stream})
                track(name, base.model_copy(update={"model": model}), None, name, None)
    return results


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
        self.tracker.initialize(self._change(frame), box_xywh, present=present)

    def track(self, frame: DecodedFrame, present: Present = (True, True)) -> tuple[np.ndarray, float]:
        """See `Tracker.track`."""
        self.frame_number += 1
        return self.tracker.track(self._change(frame), present=present)


def track_variants(args: argparse.Namespace, choice: Choice, sequences: list[datasets.Sequence]) -> dict[str, Path]:
    """Track with every variant; return the folder of results by its name."""
    # here, so that --help answers at once
    from lib.datasets.fingerprint import fingerprint
    from lib.inference.results import claimed
    from lib.inference.runner import run_sequences
    from patrack.build import build_tracker, identity, weights_beside
    from patrack.devices import usable_device

    config = choice.load(sequences)
    if config.model.streams != "both":
        raise ValueError(f"{config.name} has one stream (model.streams: {config.model.streams}); give one of two")
    others = sorted({sequence.modality for sequence in sequences} - {config.modality})
    if others:
        raise ValueError(f"{config.name} is for {config.modality}, data set {args.dataset} is {', '.join(others)}")
    device = str(usable_device(args.device))
    fused = build_tracker(config, choice.weights, device)
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
    metrics = list(evaluation.trackers[RGB].metrics)
    main = primary_metric(tuple(metrics))
    lines = [f"| streams, {evaluation.covered} | {' | '.join(metrics)} | {main} - RGB alone |"]
    lines.append("| --- |" + " --: |" * (len(metrics) + 1))
    for variant in VARIANTS:
        values = evaluation.trackers[variant].metrics
        cells = [f"{values[metric]:.3f}" for metric in metrics]
        difference = values[main] - evaluation.trackers[RGB].metrics[main]
        lines.append(f"| {variant} | {' | '.join(cells)} | {'' if variant == RGB else f'{difference:+.3f}'} |")
    return "\n".join(lines) + "\n"


# ---- Both


def run(args: argparse.Namespace) -> str:
    """Track, score and write everything; return the table.

    Raises:
        ValueError, OSError, RuntimeError: something can't be used, or a sequence can't be tracked.
    """
    trackers = parse_trackers(args.config, args.checkpoint)
    first = next(iter(trackers.values()))
    places = datasets.resolve_data_root(args.data_root, configs.load(first.config).data.root)
    args.sequences = chosen_sequences(args)
    sequences = datasets.load(args.dataset, args.split, args.root, places, args.sequences)
    args.shares, args.streams = sorted(set(args.shares)), list(dict.fromkeys(args.streams))
    results = track_variants(args, first, sequences) if args.fusion else track_masks(args, trackers, sequences)
    names = [sequence.name for sequence in sequences]
    options = {"ground_truth": args.root, "data_root": places, "split": args.split, "names": names}
    evaluation = evaluate(args.dataset, results, **options)

    files: dict[str, str] = {}
    numbers: dict[str, Any]
    if args.fusion:
        stem, text, numbers = "fusion", fusion_table(evaluation), {"config": first.config, **evaluation.to_dict()}
    else:
        from lib.report.figures import plot_missing, save_figure  # here, because matplotlib takes a while to start

        origins = {name: "@".join(filter(None, choice)) for name, choice in trackers.items()}
        scores = summarize(evaluation, origins, args.streams, args.shares, gap=args.gap, seed=args.seed)
        stem, text, numbers = "missing", to_markdown(scores), {**scores.to_dict(), "scores": evaluation.to_dict()}
        files["missing.csv"] = to_csv(scores, evaluation)
        for form in ("png", "svg"):
            save_figure(plot_missing(scores), args.output / f"missing.{form}")
    files |= {f"{stem}.md": text, f"{stem}.json": json.dumps(numbers, indent=1, allow_nan=False) + "\n"}
    for name, content in files.items():
        with atomic_write(args.output / name) as file:
            file.write(content)
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
