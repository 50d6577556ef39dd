"""The runs of a suite: which there are, where each lies, what it needs, and how far it is.

OUTPUT/VARIANT/seed_N/EXPERIMENT             the folder of a training
OUTPUT/VARIANT/seed_N/results/EXPERIMENT     its result files (EXPERIMENT-DATASET if it is scored on several)
OUTPUT/logs/EXPERIMENT-VARIANT-N.log         what training and tracking said
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib import datasets
from lib.experiments.suite import Suite
from lib.training.manifest import config_differences, read_manifest
from patrack import config as configs
from patrack.config.loading import ConfigError, Mistake
from patrack.config.schema import Config

__all__ = ["IDENTITY", "Plan", "Run", "check_output", "missing_parts", "plan_runs", "read_identity"]

IDENTITY = "suite.json"
"""File in OUTPUT that says what its runs are of."""


@dataclass(frozen=True)
class Run:
    """One variant of an experiment with one seed.

    Attributes:
        experiment: as `config.load` takes it.
        seed: of the training; of an untrained one, that of its initial weights.
        overrides: settings of the variant, without the seed.
        folder: of the training.
        results: folder of result files by data set.
        log: what training and tracking said.
    """

    experiment: str
    variant: str
    trained: bool
    seed: int
    overrides: tuple[str, ...]
    config: Config
    folder: Path
    results: dict[str, Path]
    log: Path

    @property
    def title(self) -> str:
        """Name for messages and logs."""
        return f"{self.config.name} {self.variant}, seed {self.seed}"

    @property
    def manifest(self) -> dict[str, Any]:
        """What the training's `run.json` says now; empty before it began."""
        return read_manifest(self.folder)

    @property
    def is_trained(self) -> bool:
        """Whether nothing is left to train."""
        return not self.trained or self.manifest.get("status") == "finished"


@dataclass(frozen=True)
class Plan:
    """A suite on data.

    Attributes:
        suite: what is compared.
        output: folder for everything.
        runs: all of them, seed by seed, so that a stop leaves whole comparisons.
        split: of the data sets that are scored.
        count: sequences of it, the first ones; None: all.
        data_root: folder that holds them; None: the environment variable or the config says.
    """

    suite: Suite
    output: Path
    runs: tuple[Run, ...]
    split: str = "test"
    count: int | None = None
    data_root: str | None = None
    _indexed: dict[str, list[datasets.Sequence]] = field(default_factory=dict, repr=False, compare=False)

    def of(self, experiment: str) -> list[Run]:
        """Runs of one experiment, variant by variant."""
        order = list(self.suite.variants)
        runs = [run for run in self.runs if run.experiment == experiment]
        return sorted(runs, key=lambda run: (order.index(run.variant), run.seed))

    def sequences(self, dataset: str, config: Config) -> list[datasets.Sequence]:
        """Index the sequences of a data set that are scored; the second time they are known."""
        if dataset not in self._indexed:
            self._indexed[dataset] = datasets.load(dataset, self.split, None, self.root(config))[: self.count]
        return self._indexed[dataset]

    def root(self, config: Config) -> Path | None:
        """Folder that holds the data sets."""
        return datasets.resolve_data_root(self.data_root, config.data.root)


def plan_runs(suite: Suite, output: Path, **more: Any) -> Plan:
    """List the runs of a suite; an untrained variant has one, whatever the seeds.

    Args:
        suite: with at least one experiment.
        output: folder for everything.
        more: fields of `Plan`.

    Raises:
        ValueError: settings that can't be used, by variant.
    """
    runs, problems = [], dict[str, tuple[str, ConfigError]]()
    known: dict[tuple[str, str], Config] = {}
    for number, seed in enumerate(suite.seeds):
        for experiment, scored in suite.experiments.items():
            for name, variant in suite.variants.items():
                if number and not variant.trained:
                    continue
                overrides = suite.settings_of(name, experiment)
                if (experiment, name) not in known:
                    try:
                        known[experiment, name] = configs.load(experiment, [*overrides, f"seed={seed}"])
                    except ConfigError as error:
                        problems.setdefault(name, (experiment, error))
                if name in problems:
                    continue
                config = known[experiment, name].model_copy(update={"seed": seed})
                place = output / name / f"seed_{seed}"
                results = place / "results" / config.name
                runs.append(
                    Run(
                        experiment,
                        name,
                        variant.trained,
                        seed,
                        tuple(overrides),
                        config,
                        place / config.name,
                        {one: results if len(scored) == 1 else Path(f"{results}-{one}") for one in scored},
                        output / "logs" / f"{config.name}-{name}-{seed}.log",
                    )
                )
    if problems:
        raise ConfigError(
            [
                Mistake(f"variant {name} of {experiment}: {mistake.where}", mistake.problem)
                for name, (experiment, error) in problems.items()
                for mistake in error.mistakes
            ]
        )
    return Plan(suite, output, tuple(runs), **more)


def missing_parts(plan: Plan) -> list[str]:
    """Say what the runs that are not finished need and isn't there, and what to do about it: a line each."""
    from patrack.weights import WeightsError, base_model_path  # here: needs PyTorch

    lines: dict[str, str] = {}
    looked: set[tuple[str, str, str | None]] = set()

    def look(name: str, split: str, root: str | None, config: Config) -> None:
        if (name, split, root) in looked:
            return
        looked.add((name, split, root))
        try:
            datasets.load(name, split, Path(root) if root else None, plan.root(config))
        except (ValueError, OSError) as error:
            kind = datasets.DATA_SETS[name].modality if name in datasets.DATA_SETS else "rgbt rgbd rgbe"
            made = name.startswith("synthrgb")
            way = (
                f"make it: python scripts/make_synthrgbx.py --output DATA/SynthRGBX --modality {kind}"
                if made
                else "docs/data.md says where to get it and how it must lie"
            )
            lines[f"data {name} {split}"] = f"{name}, split {split}: {error}\n    {way}"

    for run in plan.runs:
        trains = not run.is_trained
        for source in (*run.config.data.train, *run.config.data.val) if trains else ():
            look(source.name, source.split, source.root, run.config)
        for dataset in run.results:
            look(dataset, plan.split, None, run.config)
        base_model = run.config.model.base_model
        if base_model is not None and not base_model.startswith("timm:") and f"base {base_model}" not in lines:
            try:
                base_model_path(base_model)
            except WeightsError as error:
                lines[f"base {base_model}"] = f"base model of {run.experiment}: {error}"
    return list(lines.values())


def check_output(plan: Plan) -> None:
    """Compare what is asked for with what the output folder holds; further variants, experiments and seeds may join.

    Raises:
        ValueError: it holds another suite, or runs with other settings; lists what differs.
    """
    before, now = read_identity(plan.output), {"suite": plan.suite.name, "split": plan.split}
    lines = [f"{key}: {before[key]!r} -> {value!r}" for key, value in now.items() if before.get(key, value) != value]

    # Runs that were begun must be the ones that are asked for.
    by_run: dict[str, list[str]] = {}
    for run in plan.runs:
        manifest = run.manifest
        if "config" not in manifest:
            continue
        there = Config.model_validate(manifest["config"]).model_dump(mode="json")
        if found := config_differences(there, run.config.model_dump(mode="json")).values():
            by_run[f"{run.folder} holds a run with other settings:"] = list(found)
    if lines or by_run:
        texts = [*lines, *("\n  ".join([head, *found]) for head, found in by_run.items())]
        raise ValueError(
            f"{plan.output} is of other experiments (there -> now):\n"
            + "\n".join(texts)
            + "\nGive another --output, or the suite and settings that are there"
        )


def read_identity(output: Path) -> dict[str, Any]:
    """Read `IDENTITY` of an output folder; empty if there is none.

    Raises:
        ValueError: it is damaged.
    """
    path = output / IDENTITY
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it: runs are kept, and known without it") from error
