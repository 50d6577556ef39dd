"""Plot scores against the share of frames that lack RGB, or X.

    python scripts/missing_modality.py --config rgbt_tiny --dataset synthrgbt --data-root DATA --output runs/missing
    python scripts/missing_modality.py --config runs/rgbt_base --dataset lasher --streams x --shares 0 .5 1 --batch 32 \
        --output runs/missing

Writes OUTPUT/masks/*.json (the published form, see docs/tracking.md), results per mask, and the scores in
missing.md, missing.json and missing.png. What is finished is kept: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import zlib
from pathlib import Path

import numpy as np

from lib import datasets
from lib.datasets.missing import STREAMS, random_mask, write_masks
from lib.evaluation import evaluate
from lib.evaluation.scores import Curve, Evaluation
from patrack import config as configs
from patrack.files import atomic_write

logger = logging.getLogger("missing_modality")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config", required=True, help="name in experiments/, YAML file, or folder of a run")
    add("--checkpoint", help="weights file or folder of a training run (default: the run's, or the shipped file)")
    add("--dataset", required=True, help="e.g. synthrgbt, lasher")
    add("--split", default="test", help="of the data set (default: %(default)s)")
    add("--data-root", help="folder that holds the data sets (default: PATRACK_DATA, then data.root)")
    add("--root", type=Path, help="folder of this data set (default: its usual name in the data root)")
    add("--sequences", nargs="+", metavar="NAME", help="only these (default: the whole split)")
    add("--output", type=Path, required=True, help="folder for masks, results, table and plot")
    add("--streams", nargs="+", choices=STREAMS, default=list(STREAMS), help="which one is missing (default: each)")
    add("--shares", nargs="+", type=float, default=[0, 0.25, 0.5, 0.75, 1], help="of the frames (default: %(default)s)")
    add("--gap", type=int, default=10, help="frames that are missing in a row (default: %(default)s)")
    add("--batch", type=int, default=1, help="sequences that share each step of the network (default: %(default)s)")
    add("--device", help="torch device (default: cuda if there is one)")
    add("--seed", type=int, default=0, help="decides which frames are missing (default: %(default)s)")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> tuple[Evaluation, dict[str, dict[float, str]]]:
    """Writes masks, tracks with them, and scores.

    Returns:
        The evaluation, and by stream and share the name of the tracker in it.

    Raises:
        ValueError, OSError, RuntimeError: something can't be used, or a sequence can't be tracked.
    """
    # here, so that --help answers at once
    from lib.distributed import usable_device
    from lib.inference.runner import Weights, track_dataset
    from patrack.build import weights_beside

    config = configs.load(args.config)
    weights = Weights(args.checkpoint or weights_beside(args.config), str(usable_device(args.device)))
    places = datasets.resolve_data_root(args.data_root, config.data.root)
    sequences = datasets.load(args.dataset, args.split, args.root, places, args.sequences)
    names: dict[str, dict[float, str]] = {stream: {} for stream in args.streams}
    jobs: dict[str, tuple[str, float]] = {}  # nothing missing is one job for all streams
    for stream in args.streams:
        for share in sorted(set(args.shares)):
            names[stream][share] = name = "complete" if share == 0 else f"{stream}-{share:g}"
            jobs[name] = (stream, share)
    results = {}
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
    found = [sequence.name for sequence in sequences]
    options = {"ground_truth": args.root, "data_root": places, "split": args.split, "names": found}
    return evaluate(args.dataset, results, **options), names


def table(evaluation: Evaluation, names: dict[str, dict[float, str]]) -> str:
    """Makes Markdown: a row per stream and share, a column per metric."""
    metrics = list(next(iter(evaluation.trackers.values())).metrics)
    lines = [f"| missing | share | {' | '.join(metrics)} |", "| --- |" + " --: |" * (len(metrics) + 1)]
    for stream, shares in names.items():
        for share, name in shares.items():
            cells = " | ".join(f"{evaluation.trackers[name].metrics[metric]:.3f}" for metric in metrics)
            lines.append(f"| {stream.upper()} | {share:g} | {cells} |")
    return "\n".join(lines) + "\n"


def draw(evaluation: Evaluation, names: dict[str, dict[float, str]], path: Path) -> None:
    """The main metric over the share that is missing, a line per stream."""
    from lib.report.figures import plot_curves  # here, because matplotlib takes a while to start

    metrics = next(iter(evaluation.trackers.values())).metrics
    metric = "SR" if "SR" in metrics else next(iter(metrics))
    curves = {
        stream.upper(): Curve(
            tuple(shares),
            tuple(evaluation.trackers[name].metrics[metric] for name in shares.values()),
            "share of the frames in which the stream is missing",
            metric,
        )
        for stream, shares in names.items()
    }
    figure = plot_curves(curves, f"Missing streams, {evaluation.dataset} ({evaluation.protocol})", "missing")
    with atomic_write(path, mode="wb") as file:
        figure.savefig(file, format="png", dpi=150)


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 something is wrong, 130 stopped by Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    args = parse(argv)
    try:
        evaluation, names = run(args)
        text = table(evaluation, names)
        with atomic_write(args.output / "missing.md") as file:
            file.write(text)
        with atomic_write(args.output / "missing.json") as file:
            content = {"config": args.config, "seed": args.seed, "gap": args.gap, **evaluation.to_dict()}
            json.dump(content, file, indent=1, allow_nan=False)
        draw(evaluation, names, args.output / "missing.png")
    except (ValueError, OSError, RuntimeError) as error:
        logger.error("%s", error)
        return 1
    except KeyboardInterrupt:
        logger.error("stopped; finished results are kept, the same command goes on with the rest")
        return 130
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
