"""A suite from the command line to its tables, as `scripts/experiments.py` and `tracking/reproduce.py` share it."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace

from lib.experiments.runs import Plan, check_output, missing_parts
from lib.experiments.suite import ALL_SYNTHETIC, SIZES, Suite, experiments_on, suite_names
from patrack.files import folder_lock

__all__ = ["FAILED", "MISSING", "Request", "add_suite_options", "chosen", "request_of", "run_suite"]

FAILED, MISSING = 1, 3
"""Exit codes: something failed; something that is needed isn't there."""


@dataclass(frozen=True)
class Request:
    """A suite on data, and how it is carried out.

    Attributes:
        plan: its runs.
        device, devices, workers, threads: see `lib.experiments.running.places_of`.
        costs: measure what each variant costs, if it isn't known.
        dry_run: say what would be done, and how long it takes.
        summarize_only: train and track nothing.
    """

    plan: Plan
    device: str | None = None
    devices: tuple[str, ...] = ()
    workers: int = 1
    threads: int | None = None
    costs: bool = True
    dry_run: bool = False
    summarize_only: bool = False


def add_suite_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what suite runs on what data, and how; `Request` has their meaning."""
    add = parser.add_argument
    add("--suite", metavar="NAME", help=f"what is compared: {', '.join(suite_names())} (experiments/suites/)")
    text = f"benchmarks to train for and score on: {ALL_SYNTHETIC} (its three pairs), lasher, depthtrack, visevent, ..."
    add("--data", nargs="+", metavar="NAME", help=text)
    add("--model-size", choices=SIZES, help=f"of the experiments (default: tiny for {ALL_SYNTHETIC}, base for others)")
    text = "GPUs that take runs side by side, e.g. cuda:0 cuda:1 (default: all, if there are several and no --device)"
    add("--devices", nargs="+", metavar="NAME", help=text)
    add("--threads", type=int, help="CPU threads of each run (default: 1 with --workers, else torch's)")
    add("--dry-run", action="store_true", help="say what would run, and how long it takes, and end")
    add("--no-costs", action="store_true", help="don't measure parameters, FLOPs, frames/s and memory")


def request_of(args: argparse.Namespace, plan: Plan) -> Request:
    """Put options of the command line and runs together."""
    return Request(
        plan,
        args.device,
        tuple(args.devices or ()),
        args.workers,
        args.threads,
        not args.no_costs,
        args.dry_run,
        getattr(args, "summarize_only", None) is not None,
    )


def chosen(suite: Suite, data: list[str] | None, size: str | None, only: list[str] | None = None) -> Suite:
    """Choose the experiments of a suite by the data, and some of its variants.

    Raises:
        ValueError: unknown data or variants, or nothing says what the suite runs on.
    """
    if only:
        if unknown := [name for name in only if name not in suite.variants]:
            near = difflib.get_close_matches(unknown[0], suite.variants, n=1)
            hint = f" (nearest to the first: {near[0]})" if near else ""
            raise ValueError(f"unknown variants {', '.join(unknown)}{hint}; there are {', '.join(suite.variants)}")
        suite = replace(suite, variants={name: suite.variants[name] for name in suite.variants if name in only})
    if data:
        suite = replace(suite, experiments=experiments_on(data, size))
    elif size:
        raise ValueError("--model-size chooses the experiments of --data; give that too")
    if not suite.variants:
        raise ValueError(f"{suite.name}: no variants to compare")
    return suite


def run_suite(request: Request, say: Callable[[str], None] = print) -> int:
    """Run what is missing, then score, and write tables, figures and the log.

    Args:
        say: told how it goes.

    Returns:
        Exit code: 0 done, `FAILED` a run failed, `MISSING` data or base models are not there (a complete list is said).

    Raises:
        ValueError, OSError: something can't be used, is another suite's, or can't be scored.
    """
    from lib.experiments import tables as written
    from lib.experiments.costs import costs_of, measure_costs
    from lib.experiments.estimate import estimate, finished_speed, measured_speed, unfinished
    from lib.experiments.figures import write_figures
    from lib.experiments.running import Commands, Journal, carry_out, duration, places_of
    from patrack.processes import terminated_as_interrupted

    plan, commands = request.plan, Commands()
    check_output(plan)
    places = places_of(request.devices, request.device, request.workers, request.threads)
    if missing := missing_parts(plan):
        say("Missing, so nothing was started:\n" + "\n".join(f"- {line}" for line in missing))
        return MISSING
    journal = Journal(plan)
    device = request.device or (request.devices[0] if request.devices else None)
    failed = []
    with terminated_as_interrupted():
        if not request.summarize_only:
            say(describe(plan))
            speed = finished_speed(plan)
            if unfinished(plan, journal):
                if speed is None:
                    say("measuring the speed of this machine ...")
                    speed = measured_speed(plan, places[0], commands)
                say(estimate(plan, journal, len(places), speed).describe(len(places)))
            else:
                say("every run is finished")
            if request.dry_run:
                return 0

            def left() -> str:
                known = finished_speed(plan) or speed
                rest = estimate(plan, journal, len(places), known) if known else None
                return f"about {duration(rest.total)} left for {rest.runs} runs" if rest and rest.runs else ""

            with folder_lock(plan.output):
                try:
                    if request.costs:  # first: it builds every variant, and the machine is as idle as it gets
                        measure_costs(plan, device, request.threads, say)
                    failed = carry_out(plan, places, journal, say, left, commands)
                finally:
                    journal.write()
    made = written.collect(plan, journal, costs_of(plan, device) if request.costs else {})
    text = written.write_tables(plan, made)
    journal.write()
    write_figures(plan, made)
    say(text)
    say(f"tables, figures and log: {plan.output}/experiments.md, .tex, .csv, .json, .png; curves.png; runs.md")
    return FAILED if failed else 0


def describe(plan: Plan) -> str:
    """Say what is compared on what."""
    suite = plan.suite
    on = "; ".join(f"{name}: {', '.join(scored) or 'validation'}" for name, scored in suite.experiments.items())
    trained = sum(run.trained for run in plan.runs)
    return (
        f"suite {suite.name}{f' ({suite.why})' if suite.why else ''}: {len(suite.variants)} variants, seeds "
        f"{' '.join(map(str, suite.seeds))}, {on}; {trained} trainings, {len(plan.runs)} runs"
    )
