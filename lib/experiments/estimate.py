"""How long a suite takes on this machine: by the runs that are finished, else by a few steps that are measured."""

from __future__ import annotations

import math
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.experiments.running import Commands, Failed, Journal, Place, duration, reason_of
from lib.experiments.runs import Plan, Run
from lib.training.log import read_rows
from patrack.config.schema import Config

__all__ = ["Estimate", "Speed", "estimate", "finished_speed", "measured_speed", "unfinished"]

STEPS = 8
"""Steps of the training that is measured; the first two wait for the loader and choose kernels."""


@dataclass(frozen=True)
class Speed:
    """Speed of training and tracking on this machine.

    Attributes:
        pairs: trained per second. A pair that is validated counts half: it needs no gradients.
        frames: tracked per second.
        start: seconds until a command begins to work.
        source: how it is known, in words.
    """

    pairs: float
    frames: float
    start: float
    source: str

    def describe(self) -> str:
        """Say where the numbers are from, and those that there are."""
        known = ((self.pairs, ".1f", "pairs/s"), (self.frames, ".0f", "frames/s"))
        return f"{self.source}: " + ", ".join(
            f"{value:{form}} {unit}" for value, form, unit in known if value < math.inf
        )


@dataclass(frozen=True)
class Estimate:
    """What is left to do: number of runs, seconds of the longest one, and of all of them side by side."""

    runs: int
    longest: float
    total: float
    speed: Speed

    def describe(self, places: int) -> str:
        """Say it in a sentence."""
        side = "" if places == 1 else f", {places} side by side (if they don't slow one another)"
        return (
            f"{self.runs} runs are left{side}: about {duration(self.total)} in all, up to {duration(self.longest)} a "
            f"run; {self.speed.describe()}"
        )


def work_of(config: Config) -> float:
    """Count the pairs of a whole training, those of validations half."""
    train = config.train
    steps = config.data.samples_per_epoch // train.total_batch_size
    validations = math.ceil(train.epochs / train.val_every) if config.data.val and config.data.val_samples else 0
    return train.epochs * steps * train.total_batch_size + validations * config.data.val_samples / 2


def unfinished(plan: Plan, journal: Journal) -> list[Run]:
    """List the runs that are left to train or to track."""
    return [
        run
        for run in plan.runs
        if not run.is_trained or not all(journal.is_tracked(run, dataset) for dataset in run.results)
    ]


def estimate(plan: Plan, journal: Journal, places: int, speed: Speed) -> Estimate:
    """Estimate what the runs that are not finished take."""
    frames: dict[str, int] = {}
    seconds = []
    for run in unfinished(plan, journal):
        needed = 0.0
        if not run.is_trained:
            steps = run.manifest.get("steps") or begun_steps(run)
            done = steps * run.config.train.total_batch_size
            needed += speed.start + max(0.0, work_of(run.config) - done) / speed.pairs
        for dataset in run.results:
            if run.is_trained and journal.is_tracked(run, dataset):
                continue
            if dataset not in frames:
                frames[dataset] = sum(len(sequence) for sequence in plan.sequences(dataset, run.config))
            needed += speed.start + frames[dataset] / speed.frames
        seconds.append(needed)
    longest = max(seconds, default=0.0)
    return Estimate(len(seconds), longest, max(longest, sum(seconds) / places), speed)


def begun_steps(run: Run) -> int:
    """Count the steps that an unfinished training has behind it."""
    path = run.folder / "train.csv"
    rows = read_rows(path) if path.is_file() else []
    return int(rows[-1]["step"]) if rows else 0


def finished_speed(plan: Plan) -> Speed | None:
    """Take the speed of the runs that this machine has finished; None if there is none, or none was tracked."""
    pairs, frames = [], []
    for run in plan.runs:
        manifest = run.manifest if run.trained else {}
        here = manifest.get("hardware", {}).get("host") == platform.node()
        if manifest.get("status") == "finished" and here and manifest.get("wall_seconds"):
            pairs.append(work_of(run.config) / manifest["wall_seconds"])
            times = [path for folder in run.results.values() for path in sorted(folder.glob("*_times.txt"))[:5]]
            numbers = np.concatenate([np.loadtxt(path, ndmin=1)[1:] for path in times]) if times else np.zeros(0)
            if numbers.sum():
                frames.append(len(numbers) / float(numbers.sum()))
    if not pairs or not (frames or not any(run.results for run in plan.runs)):
        return None
    source = f"as {len(pairs)} finished runs were on average"
    return Speed(float(np.mean(pairs)), float(np.mean(frames)) if frames else math.inf, 5.0, source)


def measured_speed(plan: Plan, place: Place, commands: Commands) -> Speed:
    """Measure some steps and the shortest sequence of the first experiment, with the commands that will run.

    Raises:
        Failed: they failed; says why.
    """
    run = next((run for run in plan.runs if run.trained and run.config.model.streams == "both"), None)
    run = run or next((run for run in plan.runs if run.trained), plan.runs[0])
    common = ["--config", run.experiment, "--seed", str(run.seed)]
    for option, value in (("--data-root", plan.data_root), ("--device", place.device), ("--threads", place.threads)):
        common += [option, str(value)] if value is not None else []
    environment = {**os.environ, **dict(place.environment)}
    pairs = frames = math.inf
    start = 0.0
    with tempfile.TemporaryDirectory(prefix="patrack-suite-") as name:
        folder = Path(name)
        log = folder / "log"

        def timed(script: str, words: Sequence[str]) -> float:
            begin = time.monotonic()
            if code := commands.call(script, words, log, environment):
                reason = "stopped" if commands.stopped else reason_of(log, code)
                raise Failed(f"measuring the speed of {run.title} failed: {reason}")
            return time.monotonic() - begin

        if run.trained:
            few = [f"data.samples_per_epoch={STEPS * run.config.train.total_batch_size}", "data.val=[]"]
            few += ["train.epochs=1", "train.lr_drop_epoch=1", "train.schedule=constant"]
            whole = timed("train.py", [*common, "--output", str(folder / "run"), *run.overrides, *few])
            rows = read_rows(folder / "run" / run.config.name / "train.csv")
            pairs = float(np.median([row["samples_per_second"] for row in rows[2:]]))
            spent = sum(run.config.train.total_batch_size / row["samples_per_second"] for row in rows)
            start = max(0.0, whole - spent)
        for dataset in list(run.results)[:1]:
            shortest = min(plan.sequences(dataset, run.config), key=len)
            words = ["--dataset", dataset, "--split", plan.split, "--output", str(folder / "results")]
            words += ["--checkpoint", "none", *run.overrides, "--sequences", shortest.name]
            timed("test.py", [*common, *words])
            times = np.loadtxt(folder / "results" / f"{shortest.name}_times.txt", ndmin=1)
            frames = 1.0 / float(np.median(times[1:])) if len(times) > 1 else 1.0 / float(times[0])
    return Speed(pairs, frames, start, f"measured on {run.config.name}, {run.variant}")
