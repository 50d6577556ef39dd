"""Tables of a suite: Markdown to read, LaTeX for a paper, CSV and JSON with all digits."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lib.evaluation import Evaluation, evaluate
from lib.evaluation.bootstrap import FEW
from lib.evaluation.scores import primary_metric
from lib.experiments.comparison import LEVEL, Average, Gap, average, compare, holm, needed_if_alike
from lib.experiments.running import Journal
from lib.experiments.runs import Plan
from lib.report.latex import escape
from patrack.files import atomic_write

__all__ = ["VALIDATION", "Table", "collect", "write_tables"]

VALIDATION = "validation IoU"
Costs = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Table:
    """Scores of all variants of an experiment on one data set.

    Attributes:
        title: experiment, and its data set where it is scored on several.
        dataset: None: the validation IoU alone.
        averages: by variant and metric.
        main: metric that is compared.
        gaps: differences to `reference` by variant; `holm` are their adjusted p-values.
        alike: see `needed_if_alike`.
        evaluation: of all result files; None without any.
        left_out: runs that are not finished, in words.
        costs: by variant, see `lib.experiments.costs`; empty if they were not measured.
    """

    title: str
    experiment: str
    dataset: str | None
    reference: str
    averages: dict[str, dict[str, Average]]
    main: str
    gaps: dict[str, Gap]
    holm: dict[str, float]
    alike: float | None
    evaluation: Evaluation | None
    left_out: tuple[str, ...] = ()
    costs: Costs = field(default_factory=dict)

    @property
    def metrics(self) -> list[str]:
        """Names of all metrics that any variant has."""
        return list(dict.fromkeys(metric for by_metric in self.averages.values() for metric in by_metric))


def collect(plan: Plan, journal: Journal, costs: Mapping[str, Costs]) -> list[Table]:
    """Score what is finished: a table for each experiment and data set.

    Args:
        costs: by experiment and variant.

    Raises:
        ValueError: result files that can't be scored.
    """
    tables = []
    reference = plan.suite.reference or next(iter(plan.suite.variants))
    if reference not in plan.suite.variants:  # it was left out
        reference = next(iter(plan.suite.variants))
    trained = {name: variant.trained for name, variant in plan.suite.variants.items()}
    for experiment, datasets in plan.suite.experiments.items():
        runs = plan.of(experiment)
        for dataset in datasets or (None,):
            values: dict[str, dict[str, dict[int, float]]] = {name: {} for name in plan.suite.variants}
            for run in runs:
                manifest = run.manifest if run.trained else {}
                if manifest.get("status") == "finished" and manifest["final"]["val"]:
                    values[run.variant].setdefault(VALIDATION, {})[run.seed] = manifest["final"]["val"]["iou"]
            left_out = []
            scores: dict[str, dict[int, Any]] = {name: {} for name in plan.suite.variants}
            evaluation = None
            if dataset is not None:
                tracked = {}
                for run in runs:
                    if run.is_trained and journal.is_tracked(run, dataset):
                        tracked[f"{run.variant}/seed_{run.seed}"] = run
                    else:
                        left_out.append(f"{run.variant}, seed {run.seed} ({journal.state(run)[0]})")
                if tracked:
                    evaluation = evaluate(
                        dataset,
                        {name: run.results[dataset] for name, run in tracked.items()},
                        data_root=plan.root(runs[0].config),
                        split=plan.split,
                        names=[sequence.name for sequence in plan.sequences(dataset, runs[0].config)],
                    )
                for name, run in tracked.items():
                    assert evaluation is not None
                    scores[run.variant][run.seed] = evaluation.trackers[name]
                    for metric, value in evaluation.trackers[name].metrics.items():
                        values[run.variant].setdefault(metric, {})[run.seed] = value
            else:
                left_out += [
                    f"{run.variant}, seed {run.seed} ({journal.state(run)[0]})" for run in runs if not run.is_trained
                ]
            metrics = tuple(dict.fromkeys(metric for by_metric in values.values() for metric in by_metric))
            scored = tuple(metric for metric in metrics if metric != VALIDATION)
            main = primary_metric(scored) if scored else VALIDATION
            compared = {name: by_metric.get(main, {}) for name, by_metric in values.items()}
            gaps = compare(scores if scored else {}, compared, reference, trained)
            tables.append(
                Table(
                    runs[0].config.name if len(datasets) < 2 else f"{runs[0].config.name} on {dataset}",
                    experiment,
                    dataset,
                    reference,
                    {
                        name: {metric: average(by_seed) for metric, by_seed in by_metric.items()}
                        for name, by_metric in values.items()
                    },
                    main,
                    gaps,
                    holm({name: gap.p for name, gap in gaps.items() if gap.p is not None}),
                    needed_if_alike(compared, gaps, reference, trained),
                    evaluation,
                    tuple(left_out),
                    costs.get(experiment, {}),
                )
            )
    return tables


def write_tables(plan: Plan, tables: Sequence[Table]) -> str:
    """Write experiments.md, .tex, .csv and .json into the output folder, and return the Markdown."""
    suite = plan.suite
    heads = [f"# {suite.name}", *(text for text in (suite.why, suite.notes) if text)]
    text = "\n\n".join([*heads, *map(markdown, tables), *describe_costs(tables)]) + "\n"
    content: dict[str, Any] = {
        "suite": suite.name,
        "why": suite.why,
        "notes": suite.notes,
        "settings": list(suite.settings),
        "seeds": list(suite.seeds),
        "variants": {name: asdict(variant) for name, variant in suite.variants.items()},
        "experiments": {table.title: as_dict(table) for table in tables},
    }
    for name, written in (
        ("experiments.json", json.dumps(content, indent=1, allow_nan=False) + "\n"),
        ("experiments.md", text),
        ("experiments.csv", as_csv(tables)),
        ("experiments.tex", "\n".join(latex(suite.name, table) for table in tables)),
    ):
        with atomic_write(plan.output / name) as file:
            file.write(written)
    return text


def as_dict(table: Table) -> dict[str, Any]:
    """Everything that a table knows, for JSON."""
    return {
        "dataset": table.dataset,
        "reference": table.reference,
        "compared": table.main,
        "needed_if_alike": table.alike,
        "variants": {
            name: {
                "metrics": {metric: asdict(entry) for metric, entry in by_metric.items()},
                "difference": asdict(table.gaps[name]) | {"p_holm": table.holm.get(name)}
                if name in table.gaps
                else None,
                "costs": table.costs.get(name),
            }
            for name, by_metric in table.averages.items()
        },
        "left_out": list(table.left_out),
        "evaluation": table.evaluation.to_dict() if table.evaluation else None,
    }


def number(entry: Average | None, form: str = ".4f") -> str:
    """Write mean and spread."""
    if entry is None:
        return "-"
    return f"{entry.mean:{form}}" + ("" if entry.sd is None else f" ± {entry.sd:.4f}")


def small(p: float) -> str:
    """Write a probability."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def interval(gap: Gap) -> str:
    """Write the interval of a difference."""
    return "-" if gap.low is None or gap.high is None else f"{gap.low:+.4f} to {gap.high:+.4f}"


def markdown(table: Table) -> str:
    """Make a Markdown table, and say below it what its differences are worth."""
    percent = f"{100 * LEVEL:.0f} %"
    heads = [table.title, *table.metrics, f"{table.main} - {table.reference}", f"{percent} interval", "p, Holm"]
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " --: |" * (len(heads) - 1)]
    for name, by_metric in table.averages.items():
        gap = table.gaps.get(name)
        difference = ["-", "-", "-"]
        if gap is not None:
            p = table.holm.get(name)
            difference = [
                f"{gap.value:+.4f}",
                interval(gap),
                "-" if p is None else small(p),
            ]
        cells = [*(number(by_metric.get(metric)) for metric in table.metrics), *difference]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if table.evaluation and table.evaluation.perfect:
        perfect = table.evaluation.perfect
        cells = [f"{perfect[metric]:.4f}" if metric in perfect else "-" for metric in table.metrics]
        lines.append(f"| *a perfect tracker* | {' | '.join(cells)} | {table.evaluation.covered} | - | - |")
    return "\n".join([*lines, "", *explain(table)])


def explain(table: Table) -> list[str]:
    """Say what a difference must be to mean anything; a paragraph each."""
    known = {name: gap for name, gap in table.gaps.items() if gap.low is not None}
    paragraphs = []
    if known:
        seeds = sorted({gap.seeds_count for gap in known.values()})
        sequences = max(gap.sequences for gap in known.values())
        needed = sorted(gap.needed() or 0.0 for gap in known.values())
        strict = statistics.median(gap.needed(len(known)) or 0.0 for gap in known.values())
        found = statistics.median(gap.found or 0.0 for gap in known.values())
        of = " and ".join(
            [
                f"{' or '.join(map(str, seeds))} {'seed' if seeds == [1] else 'seeds'}",
                *([f"{sequences} sequences"] if sequences else []),
            ]
        )
        span = f" ({needed[0]:.4f} to {needed[-1]:.4f}, by variant)" if len(needed) > 1 else ""
        share = statistics.median(gap.from_seeds for gap in known.values())
        advice = ""
        if sequences and max(seeds) > 1:
            source, more = ("chance in training", "seeds") if share > 0.5 else ("the choice of sequences", "sequences")
            advice = f" Most of the uncertainty is {source}: more {more} would narrow it."
        alike = ""
        if table.alike is not None:
            alike = (
                f" If chance in training is as large in all trained variants, it is known better from all together, "
                f"and the limit is {table.alike:.4f}."
            )
        paragraphs.append(
            f"**What a difference must be to mean anything.** With {of}, a difference in {table.main} to "
            f"{table.reference} below {statistics.median(needed):.4f}{span} can't be told from none. A true difference "
            f"of {found:.4f} would be found in four such experiments of five.{advice}{alike}"
        )
        if len(known) > 1:
            paragraphs.append(
                f"**{len(known)} comparisons.** Of {len(known)} variants that are all like {table.reference}, one "
                f"interval would leave 0 out with a chance of up to {100 * (1 - LEVEL ** len(known)):.0f} %. Taken "
                f"together they mean something where Holm's p is below {1 - LEVEL:.2g}; for the largest difference "
                f"that takes about {strict:.4f}. Intervals are each variant's own."
            )
    if known and any(gap.seeds_count < 2 for gap in known.values()):
        names = ", ".join(name for name, gap in known.items() if gap.seeds_count < 2)
        paragraphs.append(
            f"**One pair of trainings only** ({names}): the interval says which sequences the benchmark happens to "
            "have, not how much another seed changes; two untrained variants have no such chance."
        )
    if known and 0 < max(gap.sequences for gap in known.values()) < FEW:
        paragraphs.append(f"With fewer than {FEW} sequences intervals tend to be too narrow.")
    if known and not any(gap.sequences for gap in known.values()):
        paragraphs.append("The intervals hold the chance in training alone, not the choice of the validation samples.")
    if table.gaps and not known:
        paragraphs.append(
            "**One training of each, and no sequences scored**: nothing says what a difference means; more seeds would."
        )
    if table.left_out:
        paragraphs.append(f"Not finished, and not in the table: {'; '.join(table.left_out)}.")
    return ["\n\n".join(paragraphs)] if paragraphs else []


def describe_costs(tables: Sequence[Table]) -> list[str]:
    """Make one Markdown table of costs for all experiments whose variants cost the same."""
    parts: list[str] = []
    seen: list[Costs] = []
    for table in tables:
        if not table.costs or table.costs in seen:
            continue
        seen.append(table.costs)
        titles = [other.title for other in tables if other.costs == table.costs]
        heads = ["trained", "total", "GFLOPs a frame", "frames/s", f"of {table.reference}'s", "folded", "MiB"]
        lines = [f"| {' | '.join([', '.join(titles), *heads])} |", "| --- |" + " --: |" * len(heads)]
        base = table.costs.get(table.reference)
        for name in table.averages:
            if cost := table.costs.get(name):
                cells = [
                    name,
                    f"{cost['trained_parameters']:,}",
                    f"{cost['total_parameters']:,}",
                    f"{cost['gflops']:.2f}",
                ]
                cells.append(f"{cost['frames_per_second']:.1f}")
                cells.append(f"{cost['frames_per_second'] / base['frames_per_second']:.2f}" if base else "-")
                cells += ["yes" if cost["folded"] else "no", f"{cost['peak_memory_mib']:.0f}"]
                lines.append(f"| {' | '.join(cells)} |")
        about = next(iter(table.costs.values()))
        lines += [
            "",
            "Parameters: those that train, and all. FLOPs: multiplications and additions of one frame's forward, each "
            "counted. Frames/s: one target at a time with frames in memory, all variants in turns, the median of "
            f"{about['rounds']} rounds; networks that can be are folded first (docs/architecture.md), which makes them "
            f"faster. MiB: {about['memory']}. Measured on {about['machine']}, {about['device']}, {about['threads']} "
            f"threads, {about['precision']}; whatever else ran there made it slower.",
        ]
        parts.append("\n".join(lines))
    return parts


def as_csv(tables: Sequence[Table]) -> str:
    """Write a row per data set, variant and metric."""
    columns = ["experiment", "dataset", "variant", "metric", "mean", "sd", "seeds", "values"]
    columns += ["reference", "difference", "low", "high", "p", "p_holm", "sequences"]
    columns += ["trained_parameters", "total_parameters", "gflops", "frames_per_second", "peak_memory_mib"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for table in tables:
        for variant, by_metric in table.averages.items():
            costs = table.costs.get(variant, {})
            for metric, entry in by_metric.items():
                row: dict[str, Any] = {
                    "experiment": table.experiment,
                    "dataset": table.dataset or "",
                    "variant": variant,
                    "metric": metric,
                    "mean": entry.mean,
                    "sd": entry.sd,
                    "seeds": " ".join(map(str, entry.values)),
                    "values": " ".join(map(str, entry.values.values())),
                }
                gap = table.gaps.get(variant) if metric == table.main else None
                if gap is not None:
                    row |= {"reference": table.reference, "difference": gap.value, "low": gap.low, "high": gap.high}
                    row |= {"p": gap.p, "p_holm": table.holm.get(variant), "sequences": gap.sequences}
                row |= {name: value for name, value in costs.items() if name in columns}
                writer.writerow(row)
    return text.getvalue()


def latex(suite: str, table: Table) -> str:
    """Write a float with booktabs: means with deviations in percent, and differences with intervals."""
    costs = bool(table.costs)
    metrics = table.metrics
    where = f"{table.title}, {table.dataset or 'validation'}"
    seeds = max((len(entry.values) for row in table.averages.values() for entry in row.values()), default=0)
    caption = (
        f"{escape(suite)}: {escape(where)}. In percent, mean and standard deviation over up to {seeds} seeds; "
        f"difference in {escape(table.main)} to {escape(table.reference)} with its {100 * LEVEL:.0f}\\% interval over "
        "seeds and sequences; bold: Holm's $p$ below 0.05."
    )
    label = "".join(character for character in f"{suite}{table.title}" if character.isalnum())
    heads = ["Variant", *(["Trained"] if costs else []), *metrics]
    lines = [
        r"% needs \usepackage{booktabs,graphicx}",
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{label}}}",
        r"\footnotesize",
        r"\setlength{\tabcolsep}{4pt}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}[t]{{@{{}}l{'r' * (len(heads) - 1)}rl@{{}}}}",
        r"\toprule",
        " & ".join([*map(escape, heads), r"\multicolumn{2}{c}{Difference}"]) + r" \\",
        r"\midrule",
    ]
    for name, by_metric in table.averages.items():
        cells = [escape(name)]
        if costs:
            cells.append(f"{table.costs[name]['trained_parameters']:,}" if name in table.costs else "--")
        for metric in metrics:
            entry = by_metric.get(metric)
            spread = "" if entry is None or entry.sd is None else rf"\,$\pm$\,{100 * entry.sd:.1f}"
            cells.append("--" if entry is None else f"{100 * entry.mean:.1f}{spread}")
        gap = table.gaps.get(name)
        if gap is None or gap.low is None or gap.high is None:
            cells += ["--" if gap is None else f"${100 * gap.value:+.1f}$", ""]
        else:
            value = f"{100 * gap.value:+.1f}"
            value = rf"$\mathbf{{{value}}}$" if table.holm.get(name, 1.0) < 1 - LEVEL else f"${value}$"
            cells += [value, f"[${100 * gap.low:+.1f}$, ${100 * gap.high:+.1f}$]"]
        lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}%", "}", r"\end{table}"]
    return "\n".join(lines) + "\n"
