"""What the published recipe's silent choices cost: the same short training with one setting changed at a time.

    python scripts/compare_recipes.py --data-root DATA --output RUNS model.foundation=FILE [--seeds 0 1 2]

Each variant differs from the first row in the settings shown, with the same seeds and thus the same samples. The table
gives mean ± sd of the validation IoU, and the mean difference to the first row over pairs of runs with the same seed.
Finished runs are kept: the same command goes on where it was stopped. Needs the foundation of `rgb_tiny`.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from lib.training.manifest import read_manifest
from lib.training.run import run_training
from patrack import config as config_files
from patrack.files import atomic_write

VARIANTS: dict[str, tuple[str, ...]] = {
    "ours": (),
    "no grayscale, as it works out": ("data.gray_probability=0",),
    "flip label exact": ("data.flip_label=exact",),
    "adapters' published start": ("model.adapters.init=published",),
    "rate drops again": ("train.lr_drop_repeats=true",),
    "four processes' batch": ("train.total_batch_size=128",),
}
"""Redraws on errors are not among them: on data that can be read they change no sample."""


def train_variant(name: str, arguments: argparse.Namespace, overrides: Sequence[str]) -> list[float]:
    """Trains a variant with every seed; returns the final validation IoUs."""
    values = []
    for seed in arguments.seeds:
        third = max(1, arguments.epochs // 3)
        length = [f"train.epochs={arguments.epochs}", f"train.val_every={arguments.epochs}", "data.val_samples=400"]
        schedule = [
            "train.schedule=step",
            f"train.lr_drop_epoch={third}",
            f"data.samples_per_epoch={arguments.samples}",
        ]
        words = [*length, *schedule, "train.total_batch_size=32", *overrides, *VARIANTS[name], f"seed={seed}"]
        config = config_files.load(arguments.config, words)
        output = arguments.output / name.replace(" ", "_").replace("'", "").replace(",", "") / f"seed_{seed}"
        folder = output / config.name
        if read_manifest(folder).get("status") != "finished":
            device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
            resume = (folder / "run.json").exists()
            run_training(config, data_root=arguments.data_root, output=str(output), resume=resume, device=device)
        values.append(read_manifest(folder)["final"]["val"]["iou"])
    return values


def row(name: str, values: list[float], reference: list[float]) -> str:
    """One line of the table (Markdown)."""
    settings = ", ".join(f"`{item}`" for item in VARIANTS[name]) or "-"
    differences = [a - b for a, b in zip(values, reference, strict=True)]
    spread = [statistics.stdev(column) if len(column) > 1 else float("nan") for column in (values, differences)]
    change = "-" if values is reference else f"{statistics.fmean(differences):+.4f} ± {spread[1]:.4f}"
    return f"| {name} | {settings} | {statistics.fmean(values):.4f} ± {spread[0]:.4f} | {change} |"


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 a run failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="rgbt_tiny", help="experiment (default: %(default)s)")
    parser.add_argument("--data-root", help="folder with SynthRGBX (default: PATRACK_DATA)")
    parser.add_argument("--output", type=Path, default=Path("runs/recipes"), help="default: %(default)s")
    seeds = {"dest": "seeds", "metavar": "N", "type": int, "nargs": "+", "default": [0, 1, 2]}
    parser.add_argument("--seed", "--seeds", **seeds, help="one run each (default: 0 1 2)")
    parser.add_argument("--device", help="torch device (default: cuda if there is one)")
    parser.add_argument("--epochs", type=int, default=3, help="a third of them at the full rate (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=1280, help="pairs per epoch (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS)[1:], default=list(VARIANTS)[1:], metavar="VARIANT")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of all runs")
    arguments = parser.parse_intermixed_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    print("| variant | settings | validation IoU | difference |\n| --- | --- | --- | --- |")
    found: dict[str, list[float]] = {}
    try:
        for name in ("ours", *arguments.only):
            found[name] = train_variant(name, arguments, arguments.overrides)
            print(row(name, found[name], found["ours"]), flush=True)
        with atomic_write(arguments.output / "recipes.json") as file:
            json.dump({"seeds": arguments.seeds, "validation_iou": found}, file, indent=2)
    except (ValueError, OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
