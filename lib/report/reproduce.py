"""The tables of the field, made anew: which trackers of ours belong in each, what is at hand, and what is missing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from collections.abc import Sequence as Words
from dataclasses import dataclass, field
from pathlib import Path

from lib import datasets
from lib.datasets.catalog import SYNTHETIC
from lib.evaluation import Evaluation, EvaluationError, evaluate, write_json
from lib.report.published import choose
from lib.report.tables import compare, count_scored, render
from patrack.config import load as load_config
from patrack.config import project_path
from patrack.files import atomic_write

__all__ = ["TABLES", "Reproduction", "reproduce"]

TABLES = ("lasher", "rgbt234", "gtot", "depthtrack", "visevent", *SYNTHETIC)
"""Benchmarks whose tables are made; the experiments of a benchmark's modality belong in it."""


@dataclass
class Reproduction:
    """Outcome: the scores there are, what is missing, and what failed, in words by row."""

    evaluation: Evaluation | None = None
    missing: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    published: Words[str] | None = None  # rows beside ours, see `lib.report.tables.compare`

    @property
    def exit_code(self) -> int:
        """0: every row was measured, 1: something failed, 3: something is missing."""
        return 1 if self.failed else 3 if self.missing else 0

    def describe(self, table: str) -> str:
        """Write for the user: the table, what is missing and what failed."""
        parts = [f"Table {table}: nothing could be measured here."]
        if self.evaluation is not None:
            parts = [render(compare(self.evaluation, published=self.published), "markdown")]
        for title, entries in (("Missing", self.missing), ("Failed", self.failed)):
            if entries:
                parts.append("\n".join([f"{title}:", *(f"- {row}: {text}" for row, text in entries.items())]))
        if not self.missing and not self.failed:
            parts.append("Every row of ours was measured.")
        return "\n\n".join(parts)


def reproduce(
    table: str,
    output: Path,
    *,
    checkpoints: Mapping[str, Path],
    results: Mapping[str, Path],
    data_root: str | None = None,
    ground_truth: Path | None = None,
    workers: int = 1,
    device: str | None = None,
    overwrite: bool = False,
    published: Words[str] | None = None,
) -> Reproduction:
    """Track and score every row that has weights and data; the rest is stated.

    Args:
        table: one of `TABLES`.
        output: folder for the results of every row, and for `table.md` and `scores.json` if there are scores.
        checkpoints: weights file by experiment (e.g. "rgbt_base"), or by any other name for a further row, which the
            full-size experiment of the table's modality then reads.
        results: raw result files by name, for rows that others have tracked.
        data_root: folder that holds the data sets; None: the environment variable PATRACK_DATA.
        ground_truth: annotations, if not those of the data set.
        workers: sequences tracked at once.
        device: a torch device; None: a GPU if there is one.
        overwrite: delete the results of another run in the output folder.
        published: published rows beside ours, see `lib.report.tables.compare`.

    Raises:
        ValueError: a name that is given twice, or a published row that there is not.
        OSError: the tables cannot be written.
    """
    if twice := set(checkpoints) & set(results):
        raise ValueError(f"--checkpoint and --results both name {', '.join(sorted(twice))}; rename one")
    if published is not None:
        choose(table, published)  # a wrong name is found before anything is tracked
    done = Reproduction(published=published)

    # Experiment and weights of every row of ours; a further checkpoint is read by the full-size experiment.
    modality = datasets.DATA_SETS[table].modality
    ours = [f"{kind}_{size}" for size in ("base", "tiny") for kind in (modality, "rgb")]
    further = [name for name in checkpoints if name not in ours]
    ready = {}
    for name in [*ours, *further]:
        path = checkpoints.get(name, project_path(f"weights/{name}.safetensors"))
        if path.exists():
            ready[name] = path
        else:
            way = "" if name in checkpoints else f"; give --checkpoint {name}=FILE"
            done.missing[name] = f"no checkpoint: looked for {path}{way}"

    further = [name for name in further if name in ready]

    # Their results, if there are images.
    tracked: dict[str, Path] = {}
    try:
        datasets.load(table, "test", None, datasets.resolve_data_root(data_root))
    except (ValueError, OSError) as error:
        root = data_root or os.environ.get("PATRACK_DATA")
        looked = f"images of {table}, {f'looked in {root}: ' if root else ''}{error}"
        done.missing["data set"] = f"{looked} (would run: {', '.join(ready) or 'nothing'})"
        ready = {}
    if ready:
        from lib.inference.runner import Weights, track_dataset  # here, because torch takes a while to start
        from patrack.devices import usable_device
        from patrack.weights import checkpoint_kind, source_of
    for name, path in ready.items():
        experiment = f"{modality}_base" if name in further else name
        folder = output / (f"further-{further.index(name) + 1}" if name in further else experiment)
        try:
            config = load_config(experiment, [])
            base_model = config.model.base_model
            if experiment.startswith("rgb_"):  # its own weights are the base model; what it trained from is not needed
                config = config.model_copy(update={"model": config.model.model_copy(update={"base_model": None})})
            elif base_model is not None and not project_path(base_model).is_file():
                if path.is_file() and checkpoint_kind(path) == "adapters":  # which stand on the base model
                    place = project_path(base_model)
                    done.missing[name] = f"no base model: looked for {place}. {source_of(place)}"
                    continue
            summary = track_dataset(
                config,
                Weights(str(path), str(usable_device(device)), overwrite),
                table,
                "test",
                output=folder,
                data_root=data_root,
                workers=workers,
            )
        except (ValueError, OSError, RuntimeError) as error:
            done.failed[name] = str(error)
            continue
        if summary.failed:
            done.failed[name] = f"{len(summary.failed)} sequences failed, the first: {summary.failed[0].error}"
        else:
            tracked[name] = folder

    # Scores of all that is there.
    try:
        if scored := tracked | dict(results):
            done.evaluation = evaluate(
                table, scored, ground_truth=ground_truth, data_root=data_root, allow_missing=True
            )
    except EvaluationError as error:
        done.failed |= {name: "; ".join(problems) for name, problems in error.problems.items()}
    except (ValueError, OSError) as error:
        done.failed["scoring"] = str(error)
    if done.evaluation is not None:
        done.failed |= {name: "; ".join(problems) for name, problems in done.evaluation.left_out.items()}
        for name, scores in done.evaluation.trackers.items():
            share, complete, remark = count_scored(done.evaluation, scores)
            if scores.left_out:
                done.failed[name] = "; ".join(scores.left_out.values())
            elif not complete:
                done.missing[f"sequences of {name}"] = f"{share}: {remark}"
        with atomic_write(output / "table.md") as file:
            file.write(done.describe(table) + "\n")
        write_json(output / "scores.json", done.evaluation)
    return done
