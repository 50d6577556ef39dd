"""A suite: variants of an experiment that are compared, and why; it says neither which data nor which size of model.

A YAML file in experiments/suites/:

    why: what each part is worth           # goes into the log and the table
    seeds: [0, 1, 2]
    settings: [train.epochs=8]             # of all variants
    sizes: {tiny: [train.lr=1e-3]}         # of all variants of experiments of one size
    reference: all                         # what the others are compared with; default: the first
    experiments: {rgbt_tiny: synthrgbt}    # where no data are named on the command line: what each is scored on
    variants:
      all: []
      rgb: [untrained, model.streams=rgb]
      bat:
        settings: [model.method=bat]
        sizes: {tiny: [train.lr=3e-3]}
        why: the closest rival
        notes: its rate was chosen on the validation split
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.datasets import DATA_SETS
from lib.datasets.catalog import SYNTHETIC
from lib.evaluation import scored_data_sets
from patrack import config as configs
from patrack.config.loading import ConfigError, Mistake, read_yaml
from patrack.recordings.sequence import unknown

__all__ = [
    "ALL_SYNTHETIC",
    "SIZES",
    "UNTRAINED",
    "Suite",
    "Variant",
    "experiments_on",
    "find_suite",
    "read_suite",
    "suite_names",
]

UNTRAINED = "untrained"
"""Word among a variant's settings: it is scored with its initial weights, once, whatever the seeds."""
ALL_SYNTHETIC = "synthrgbx"
"""Name of the three pairs of SynthRGBX together."""
SIZES = ("tiny", "small", "base")
KEYS = ("why", "notes", "experiments", "seeds", "settings", "sizes", "reference", "variants")
VARIANT_KEYS = ("settings", "sizes", "why", "notes")


@dataclass(frozen=True)
class Variant:
    """One way to set an experiment.

    Attributes:
        settings: `key=value`.
        sizes: further ones, for experiments of one size, by size.
        trained: whether it trains; else its initial weights are scored.
        why, notes: for the log and the tables.
    """

    settings: tuple[str, ...] = ()
    sizes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    trained: bool = True
    why: str = ""
    notes: str = ""


@dataclass(frozen=True)
class Suite:
    """What is compared.

    Attributes:
        name: of its file, or of the command line.
        experiments: data sets to score on by experiment; none: by the validation IoU alone.
        seeds: of every trained variant.
        settings, sizes: of all variants, see `Variant`.
        reference: variant that the others are compared with.
    """

    name: str
    variants: Mapping[str, Variant]
    experiments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    settings: tuple[str, ...] = ()
    sizes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reference: str | None = None
    why: str = ""
    notes: str = ""

    def settings_of(self, variant: str, experiment: str) -> list[str]:
        """List the settings of a variant of an experiment; the later ones go first where two set the same."""
        size, mine = configs.experiment_path(experiment).stem.rpartition("_")[2], self.variants[variant]
        return [*self.settings, *self.sizes.get(size, ()), *mine.settings, *mine.sizes.get(size, ())]


def suite_names() -> list[str]:
    """Names of the suites in experiments/suites/."""
    return sorted(path.stem for path in configs.project_path("experiments/suites").glob("*.yaml"))


def find_suite(name: str) -> Path:
    """Find the file of a suite.

    Raises:
        ValueError: there is no such suite; names the nearest, and all.
    """
    if name in suite_names():
        return configs.project_path(f"experiments/suites/{name}.yaml")
    near = difflib.get_close_matches(name, suite_names(), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(
        f"unknown suite {name!r}; {hint}there are {', '.join(suite_names())} (in experiments/suites/); a file of your "
        "own: --variants FILE"
    )


def read_suite(path: Path) -> Suite:
    """Read a suite's file.

    Raises:
        ConfigError: all that is wrong with it, with its lines.
    """
    file = read_yaml(path)
    mistakes = list(file.mistakes)

    def wrong(problem: str, *key: str | int) -> None:
        places = [file.origins[key[:end]] for end in range(len(key), 0, -1) if key[:end] in file.origins]
        mistakes.append(Mistake(places[0] if places else str(path), problem))

    def words(value: Any, *key: str) -> tuple[str, ...]:
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            wrong(f"{'.'.join(key)} must be a list of settings such as [train.lr=1e-3], got {value!r}", *key)
            return ()
        for word in value:
            if "=" not in word and not (word == UNTRAINED and key[0] == "variants" and "sizes" not in key):
                wrong(
                    f"{'.'.join(key)}: {word!r} is no setting key=value (nor the word {UNTRAINED} of a variant)", *key
                )
        return tuple(value)

    def text(value: Any, *key: str) -> str:
        if not isinstance(value, str | None):
            wrong(f"{'.'.join(key)} must be text, got {value!r}", *key)
        return " ".join(value.split()) if isinstance(value, str) else ""

    def by_size(value: Any, *key: str) -> dict[str, tuple[str, ...]]:
        if value is None:
            return {}
        if not isinstance(value, dict) or not value.keys() <= set(SIZES):
            wrong(f"{'.'.join(key)} has settings by size of the model ({', '.join(SIZES)}), got {value!r}", *key)
            return {}
        return {size: words(settings, *key, size) for size, settings in value.items()}

    def known(content: dict[str, Any], keys: tuple[str, ...], *key: str) -> None:
        for name in content.keys() - set(keys):
            near = difflib.get_close_matches(str(name), keys, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            wrong(f"unknown key {'.'.join((*key, str(name)))}; {hint}known here: {', '.join(keys)}", *key, name)

    content = file.data
    known(content, KEYS)
    variants = {}
    given = content.get("variants") or {}
    if not isinstance(given, dict):
        wrong(f"variants must be names with lists of settings, got {given!r}", "variants")
        given = {}
    for name, value in given.items():
        key = ("variants", name)
        if not isinstance(value, dict):
            value = {"settings": value}
        known(value, VARIANT_KEYS, *key)
        settings = words(value.get("settings"), *key)
        variants[name] = Variant(
            tuple(word for word in settings if word != UNTRAINED),
            by_size(value.get("sizes"), *key, "sizes"),
            UNTRAINED not in settings,
            text(value.get("why"), *key, "why"),
            text(value.get("notes"), *key, "notes"),
        )
    seeds = content.get("seeds") or [0]
    if not isinstance(seeds, list) or not all(type(seed) is int and seed >= 0 for seed in seeds):
        wrong(f"seeds must be a list of numbers from 0, got {seeds!r}", "seeds")
        seeds = [0]
    experiments = content.get("experiments") or {}
    if not isinstance(experiments, dict):
        wrong(f"experiments must be names with the data set that each is scored on, got {experiments!r}", "experiments")
        experiments = {}
    scored = {}
    for name, value in experiments.items():
        names = [value] if isinstance(value, str) else value or []
        if not isinstance(names, list) or not set(map(str, names)) <= set(scored_data_sets()):
            wrong(
                f"experiments.{name} must be a data set, a list of them or null (validation IoU alone), got {value!r}; "
                f"known are {', '.join(scored_data_sets())}",
                *("experiments", name),
            )
            continue
        scored[name] = tuple(names)
    reference = content.get("reference")
    if reference is not None and reference not in variants:
        wrong(f"reference must be one of the variants, got {reference!r}", "reference")
    settings, sizes = words(content.get("settings"), "settings"), by_size(content.get("sizes"), "sizes")
    why, notes = text(content.get("why"), "why"), text(content.get("notes"), "notes")
    if mistakes:
        raise ConfigError(mistakes, path)
    check_names(variants, str(path))
    return Suite(path.stem, variants, scored, tuple(seeds), settings, sizes, reference, why, notes)


def check_names(names: Iterable[str], where: str) -> None:
    """Refuse names of variants that can't be those of folders.

    Raises:
        ValueError: names all of them.
    """
    if unusable := [name for name in names if not re.fullmatch(r"\w[\w.+-]*", name)]:
        listed = ", ".join(map(repr, unusable))
        raise ValueError(f"{where}: variants name folders, of letters, digits and _ . + -; got {listed}")


def experiments_on(data: Iterable[str], size: str | None = None) -> dict[str, tuple[str, ...]]:
    """Choose the experiments that are trained for data sets.

    Args:
        data: names of benchmarks; `ALL_SYNTHETIC` stands for the three pairs.
        size: of the model, one of `SIZES`; None: tiny for SynthRGBX, base for others.

    Returns:
        What each experiment is scored on, in the order given.

    Raises:
        ValueError: an unknown data set, or one that is not scored.
    """
    chosen: dict[str, tuple[str, ...]] = {}
    for name in data:
        for one in SYNTHETIC if name == ALL_SYNTHETIC else (name,):
            names = (ALL_SYNTHETIC, *(name for name in scored_data_sets() if name in DATA_SETS))
            if one not in names:
                raise ValueError(f"--data: unknown data set {unknown(one, names)}; known are {', '.join(names)}")
            experiment = f"{DATA_SETS[one].modality}_{size or ('tiny' if one in SYNTHETIC else 'base')}"
            chosen[experiment] = tuple(dict.fromkeys((*chosen.get(experiment, ()), one)))
    return chosen
