r"""Train variants of experiments with several seeds, score them, and put all of it into one table.

    python scripts/experiments.py --variants scripts/variants/families.yaml --data-root DATA --output runs/ablation
    python scripts/experiments.py --config rgbt_tiny --dataset synthrgbt --data-root DATA --output runs/rates \
        --variant usual --variant fast train.lr=1e-3 --variant slow train.lr=1e-4 --seeds 0 1 2
    python scripts/experiments.py --output runs/ablation --variants scripts/variants/families.yaml --summarize-only
    python scripts/experiments.py --summarize-only runs/seed_0/rgbt_tiny runs/seed_1/rgbt_tiny

A variant is a name and settings; with the word `untrained` among them it is only scored. All variants of an experiment
train on the same samples with the same seeds, in OUTPUT/VARIANT/seed_N/EXPERIMENT. The table has mean ± sd over the
seeds, and the difference to the first variant over pairs with the same seed: OUTPUT/experiments.md and
experiments.json. What is finished is kept: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lib import datasets
from lib.evaluation import evaluate
from lib.evaluation.scores import Evaluation
from lib.options import Parser
from lib.training.manifest import config_differences, describe, read_manifest, read_runs, write_summary
from patrack import config as config_files
from patrack.config.schema import Config
from patrack.files import atomic_write

COMMANDS = config_files.project_path("tracking")
UNTRAINED = "untrained"
VALIDATION = "validation IoU"
Values = dict[str, dict[str, dict[int, float]]]  # by variant, metric and seed


@dataclass(frozen=True)
class Plan:
    """The runs that are asked for."""

    experiments: dict[str, str | None]  # name -> data set that it is scored on, or None: by the validation IoU alone
    seeds: list[int]  # of every trained variant
    settings: list[str]  # of all variants
    variants: dict[str, list[str]]  # name -> its settings, maybe with the word "untrained"


@dataclass(frozen=True)
class Run:
    """One variant of an experiment with one seed; `results` is the folder of its result files, if it is tracked."""

    variant: str
    trained: bool
    seed: int
    overrides: list[str]
    config: Config
    folder: Path
    results: Path


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add(
        "--variants", type=Path, metavar="YAML", help="experiments, seeds, settings and variants: see scripts/variants/"
    )
    words: dict[str, Any] = {"nargs": "+", "action": "append", "default": [], "metavar": ("NAME", "key=value")}
    add("--variant", **words, help="one more variant")
    add("--only", nargs="+", metavar="VARIANT", help="of the variants (default: all)")
    add("--config", nargs="+", metavar="NAME", help="what is varied (default: all of the YAML file)")
    add("--dataset", help="to score on, of all experiments (default: the YAML file's, else the validation IoU alone)")
    add("--split", default="test", help="of that data set (default: %(default)s)")
    add("--count", type=int, metavar="N", help="sequences to score on, the first of the split (default: all)")
    add("--data-root", help="folder that holds the data sets (default: PATRACK_DATA, then data.root)")
    add("--output", type=Path, help="folder for runs, results and the table")
    seeds: dict[str, Any] = {"dest": "seeds", "nargs": "+", "metavar": "N"}
    add("--seed", "--seeds", **seeds, help="one run each (default: the YAML file's, else 0)")
    add("--workers", type=int, default=1, help="runs at once (default: %(default)s)")
    add("--threads", type=int, help="CPU threads of each (default: 1 with --workers, else torch's)")
    add("--device", help="torch device (default: cuda if there is one)")
    text = (
        "train and track nothing: tables of what is there, or the mean of these runs, which differ only in their seed"
    )
    add("--summarize-only", nargs="*", type=Path, metavar="RUN", help=text)
    add("overrides", nargs="*", metavar="key=value", help="settings of all variants, e.g. train.precision=bf16")
    for earlier, option in (
        ("--experiment", "--config"),
        ("--sequences", "--count"),
        ("--jobs", "--workers"),
        ("--summarise-only", "--summarize-only"),
    ):
        parser.earlier_name(earlier, option)
    args = parser.parse_intermixed_args(argv)
    for name in ("seeds", "only", "config"):  # these options take every word after them, settings as well
        given = getattr(args, name) or []
        args.overrides += [word for word in given if "=" in word]
        setattr(args, name, [word for word in given if "=" not in word])
    if not args.summarize_only and not (args.output and (args.variants or args.variant)):
        parser.error("give --output, and --variants YAML or --variant NAME key=value ...")
    return args


def read_plan(args: argparse.Namespace) -> Plan:
    """Put the YAML file and the command line together, which goes first.

    Raises:
        ValueError: a key that is unknown, or a variant that is not there or can't be the name of a folder.
    """
    # What is varied, and what it is scored on.
    content: dict[str, Any] = {}
    if args.variants:
        content = yaml.safe_load(args.variants.read_text(encoding="utf-8"))
        known = ("experiments", "seeds", "settings", "variants")
        if not isinstance(content, dict) or not content.keys() <= set(known):
            raise ValueError(f"{args.variants}: must have the keys {', '.join(known)}, got {list(content)}")
    experiments = content.get("experiments") or {}
    if args.config:
        experiments = {name: experiments.get(name) for name in args.config}
    if not experiments:
        raise ValueError("no experiment to vary: give --config NAME, e.g. rgbt_tiny")
    if args.dataset:
        experiments = dict.fromkeys(experiments, args.dataset)

    # The variants; their names become folders.
    variants = {**(content.get("variants") or {}), **{name: settings for name, *settings in args.variant}}
    if unknown := [name for name in args.only if name not in variants]:
        raise ValueError(f"unknown variants {', '.join(unknown)}; there are {', '.join(variants)}")
    if unusable := [name for name in variants if not re.fullmatch(r"\w[\w.+-]*", str(name))]:
        raise ValueError(f"variants name folders, of letters, digits and _ . + -; got {', '.join(map(repr, unusable))}")
    if wrong := [name for name, words in variants.items() if not isinstance(words, list)]:
        raise ValueError(f"{args.variants}: a variant is a list of settings, which {', '.join(wrong)} is not")
    return Plan(
        experiments,
        [int(seed) for seed in args.seeds] or content.get("seeds") or [0],
        [*(content.get("settings") or []), *args.overrides],
        {name: variants[name] for name in args.only or variants},
    )


def runs_of(plan: Plan, experiment: str, output: Path) -> list[Run]:
    """List the runs of one experiment; untrained variants have one, whatever the seeds.

    Raises:
        ConfigError: a setting that can't be used.
    """
    runs = []
    for variant, words in plan.variants.items():
        trained = UNTRAINED not in words
        for seed in plan.seeds if trained else plan.seeds[:1]:
            overrides = [*plan.settings, *(word for word in words if word != UNTRAINED)]
            config = config_files.load(experiment, [*overrides, f"seed={seed}"])
            place = output / variant / f"seed_{seed}"
            results = place / "results" / config.name
            runs.append(Run(variant, trained, seed, overrides, config, place / config.name, results))
    return runs


def train_and_track(args: argparse.Namespace, experiment: str, dataset: str | None, run: Run) -> None:
    """Train a run, if it is not finished, and track the data set with it; its log lies in OUTPUT/logs.

    Raises:
        ValueError: the folder holds a run with other settings.
        subprocess.CalledProcessError: a command failed.
    """
    # A run that is there must be the one that is asked for.
    manifest = read_manifest(run.folder)
    if "config" in manifest:
        before = Config.model_validate(manifest["config"]).model_dump(mode="json")
        if lines := config_differences(before, run.config.model_dump(mode="json")).values():
            raise ValueError(f"{run.folder} holds a run with other settings:\n  " + "\n  ".join(lines))

    # The commands: training, if it isn't finished, and tracking, which goes on by itself.
    common = ["--config", experiment, "--seed", str(run.seed)]
    for option, value in (("--data-root", args.data_root), ("--device", args.device)):
        common += [option, value] if value else []
    threads = args.threads or (1 if args.workers > 1 else None)
    environment = dict(os.environ)
    if threads:
        common += ["--threads", str(threads)]
        environment["OMP_NUM_THREADS"] = str(threads)
    commands = []
    if run.trained and manifest.get("status") != "finished":
        resume = ["--resume"] if manifest else []
        commands.append(["train.py", *common, "--output", str(run.folder.parent), *resume, *run.overrides])
    if dataset:
        checkpoint = ["--checkpoint", str(run.folder) if run.trained else "none"]
        places = ["--dataset", dataset, "--split", args.split, "--output", str(run.results), *checkpoint]
        names = ["--sequences", *sequence_names(args, run.config, dataset)] if args.count else []
        commands.append(["test.py", *common, *places, *run.overrides, *names])

    log = log_of(args, run)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        for script, *words in commands:
            line = [sys.executable, str(COMMANDS / script), *words]
            subprocess.run(line, check=True, stdout=file, stderr=file, env=environment)


def log_of(args: argparse.Namespace, run: Run) -> Path:
    """The file that has what training and tracking of a run said."""
    return Path(args.output) / "logs" / f"{run.config.name}-{run.variant}-{run.seed}.log"


def reason_of(args: argparse.Namespace, run: Run, error: BaseException) -> str:
    """Say why a run failed: the last error in its log, else the error itself."""
    if not isinstance(error, subprocess.CalledProcessError):
        return str(error)
    text = log_of(args, run).read_text(encoding="utf-8", errors="replace")
    return text.rpartition("\nERROR ")[2].strip() if "\nERROR " in text else f"exit code {error.returncode}"


def sequence_names(args: argparse.Namespace, config: Config, dataset: str) -> list[str]:
    """The sequences that are scored."""
    root = datasets.resolve_data_root(args.data_root, config.data.root)
    return [sequence.name for sequence in datasets.load(dataset, args.split, None, root)[: args.count]]


def collect(args: argparse.Namespace, dataset: str | None, runs: list[Run]) -> tuple[Values, Evaluation | None]:
    """Collect what finished runs of one experiment have reached: value by variant, metric and seed; score results.

    Raises:
        ValueError: result files that can't be scored, such as those of a sequence that is not finished.
    """
    values: Values = {run.variant: {} for run in runs}
    for run in runs:
        manifest = read_manifest(run.folder)
        if manifest.get("status") == "finished" and manifest["final"]["val"]:
            values[run.variant].setdefault(VALIDATION, {})[run.seed] = manifest["final"]["val"]["iou"]
    tracked = {f"{run.variant}/seed_{run.seed}": run for run in runs if run.results.is_dir()}
    if not (dataset and tracked):
        return values, None
    evaluation = evaluate(
        dataset,
        {name: run.results for name, run in tracked.items()},
        data_root=datasets.resolve_data_root(args.data_root, runs[0].config.data.root),
        split=args.split,
        names=sequence_names(args, runs[0].config, dataset),
    )
    for name, run in tracked.items():
        for metric, value in evaluation.trackers[name].metrics.items():
            values[run.variant].setdefault(metric, {})[run.seed] = value
    return values, evaluation


def average(values: dict[int, float]) -> dict[str, Any]:
    """Compute mean, sample standard deviation (None for one seed) and values of the seeds."""
    spread = statistics.stdev(values.values()) if len(values) > 1 else None
    return {"mean": statistics.fmean(values.values()), "sd": spread, "values": values}


def table(experiment: str, values: Values, evaluation: Evaluation | None) -> tuple[str, dict[str, Any]]:
    """Make the table of one experiment.

    Returns:
        Markdown, a row per variant and a column per metric; the same numbers by variant, for JSON.
    """
    metrics = list(dict.fromkeys(metric for by_metric in values.values() for metric in by_metric))
    tracking = [metric for metric in metrics if metric != VALIDATION]
    main_metric = "SR" if "SR" in tracking else (tracking or [VALIDATION])[0]
    reference = next(iter(values))

    def cell(entry: dict[str, Any] | None, form: str) -> str:
        if entry is None:
            return "-"
        return f"{entry['mean']:{form}}" + ("" if entry["sd"] is None else f" ± {entry['sd']:.4f}")

    lines = [f"| {experiment} | {' | '.join(metrics)} | {main_metric} - {reference} |"]
    lines.append("| --- |" + " --: |" * (len(metrics) + 1))
    content = {}
    for variant, by_metric in values.items():
        averages = {metric: average(by_seed) for metric, by_seed in by_metric.items()}
        mine, first = by_metric.get(main_metric, {}), values[reference].get(main_metric, {})
        pairs = {seed: mine[seed] - first[seed] for seed in mine if seed in first}
        difference = average(pairs) if pairs and variant != reference else None
        content[variant] = {"metrics": averages, "difference": difference}
        cells = [*(cell(averages.get(metric), ".4f") for metric in metrics), cell(difference, "+.4f")]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    if evaluation and evaluation.perfect:
        cells = [f"{evaluation.perfect[m]:.4f}" if m in evaluation.perfect else "-" for m in metrics]
        lines.append(f"| *a perfect tracker* | {' | '.join(cells)} | {evaluation.covered} |")
    return "\n".join(lines) + "\n", content


def run(args: argparse.Namespace) -> int:
    """Run what is missing, then score and write the tables; return the number of runs that failed.

    Raises:
        ValueError, OSError: something can't be used, or the results can't be scored.
    """
    plan = read_plan(args)
    runs = {experiment: runs_of(plan, experiment, args.output) for experiment in plan.experiments}
    failed = 0
    if args.summarize_only is None:
        with ThreadPoolExecutor(args.workers) as pool:
            jobs = {
                pool.submit(train_and_track, args, experiment, plan.experiments[experiment], one): one
                for experiment, group in runs.items()
                for one in group
            }
            for job in as_completed(jobs):
                one = jobs[job]
                name, error = f"{one.config.name} {one.variant}, seed {one.seed}", job.exception()
                failed += error is not None
                said = "done" if error is None else f"failed, see {log_of(args, one)}: {reason_of(args, one, error)}"
                print(f"{name}: {said}", file=sys.stdout if error is None else sys.stderr, flush=True)

    content: dict[str, Any] = {"settings": plan.settings, "seeds": plan.seeds, "variants": plan.variants}
    content["experiments"], tables = {}, []
    for experiment, group in runs.items():
        values, evaluation = collect(args, plan.experiments[experiment], group)
        name = group[0].config.name
        text, by_variant = table(name, values, evaluation)
        tables.append(text)
        content["experiments"][name] = {
            "variants": by_variant,
            "evaluation": evaluation.to_dict() if evaluation else None,
        }
    with atomic_write(args.output / "experiments.json") as file:
        json.dump(content, file, indent=1, allow_nan=False)
    with atomic_write(args.output / "experiments.md") as file:
        file.write("\n".join(tables))
    print("\n".join(tables))
    return failed


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 a run failed or something can't be used, 130 stopped by Ctrl-C."""
    args = parse(argv)
    try:
        if args.summarize_only:
            print(describe(read_runs(args.summarize_only)))
            if args.output:
                write_summary(args.summarize_only, args.output / "summary.json")
            return 0
        return 1 if run(args) else 0
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; what is finished is kept, the same command goes on with the rest", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
