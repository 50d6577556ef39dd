"""Carry out the runs of a suite: side by side, kept where they are finished, gone on with where they were stopped."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from lib.experiments.runs import IDENTITY, Plan, Run, read_identity
from lib.experiments.suite import UNTRAINED
from patrack import config as configs
from patrack.files import LOCK, FolderInUse, atomic_write, folder_lock

__all__ = ["JOURNAL", "Commands", "Journal", "Place", "carry_out", "places_of"]

JOURNAL = "runs.md"
"""File in OUTPUT that says which runs there are, why, and how far each is."""
SHOWN = 300  # characters of the reason why a run failed; its log has the rest


class Failed(RuntimeError):
    """A command failed; says why."""


@dataclass(frozen=True)
class Place:
    """Where a run is carried out: a torch device, and what the environment must say so that it is that one.

    Attributes:
        device: for --device; None: a GPU if there is one.
        environment: variables that are set.
        threads: CPU threads; None: torch's choice.
    """

    device: str | None = None
    environment: tuple[tuple[str, str], ...] = ()
    threads: int | None = None


def places_of(
    devices: Sequence[str], device: str | None = None, workers: int = 1, threads: int | None = None
) -> list[Place]:
    """List the places where runs are carried out at once.

    Args:
        devices: e.g. cuda:0 and cuda:1, each of which takes runs; none: `device` alone, or all GPUs if that is not
            given and there are several.
        device: of all runs.
        workers: runs at once, on each device.
        threads: CPU threads of each run; None: torch's choice for one at a time, 1 for several on a CPU, and the
            machine's cores divided by the runs at once for several on GPUs.

    Raises:
        ValueError: no such device, one twice, or both `devices` and `device`.
    """
    if workers < 1:
        raise ValueError(f"--workers must be at least 1, got {workers}")
    if devices and device:
        raise ValueError("--devices and --device: give one of them")
    if len(set(devices)) < len(devices):
        raise ValueError(f"--devices names one twice: {' '.join(devices)}; more runs on each: --workers")
    if not devices and device is None:
        import torch

        if torch.cuda.device_count() > 1:
            devices = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    several = len(devices) * workers > 1 or workers > 1
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    places = []
    names: list[str | None] = [*devices] or [device]
    for name in names:
        environment: dict[str, str] = {}
        share, told = threads, name
        if name is not None and name.startswith("cuda:") and devices:
            number = name.removeprefix("cuda:")
            if not number.isdecimal() or (visible and int(number) >= len(visible)):
                there = f"; CUDA_VISIBLE_DEVICES leaves {len(visible)}" if visible else ""
                raise ValueError(f"--devices takes names such as cuda:0, got {name!r}{there}")
            # it alone is visible, so that whatever a library does on "the" GPU happens on this one
            environment["CUDA_VISIBLE_DEVICES"] = visible[int(number)] if visible else number
            told = "cuda"
            if share is None and several:
                share = max(1, (os.cpu_count() or 1) // (len(devices) * workers))
        elif share is None and several:
            share = 1
        if share is not None:
            environment["OMP_NUM_THREADS"] = str(share)
        places += [Place(told, tuple(environment.items()), share)] * workers
    return places


class Commands:
    """Starts commands, one after the other in each of several threads, and stops them all."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self.stopped = False

    def call(self, script: str, words: Sequence[str], log: Path, environment: Mapping[str, str]) -> int:
        """Run a command of tracking/, append what it says to a log, and return its exit code."""
        line = [sys.executable, str(Path(__file__).with_name("child.py")), str(os.getpid())]
        line += [str(configs.project_path("tracking") / script), *words]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            with self._lock:
                if self.stopped:
                    return 130
                # a session of its own: Ctrl-C reaches this process alone, which stops it once, not twice
                process = subprocess.Popen(
                    line, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment, start_new_session=True
                )
                self._running.add(process)
            try:
                return process.wait()
            except BaseException:  # Ctrl-C in the main thread
                process.send_signal(signal.SIGTERM)
                process.wait()
                raise
            finally:
                with self._lock:
                    self._running.discard(process)

    def stop(self) -> None:
        """Ask what runs to stop, which writes checkpoints first, and start nothing more."""
        with self._lock:
            self.stopped = True
            for process in self._running:
                process.send_signal(signal.SIGTERM)


class Journal:
    """How far the runs are: `JOURNAL` for people, and `IDENTITY` with what no run's folder says."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._lock = threading.Lock()
        self._now: dict[Path, str] = {}
        self._failures: dict[str, str] = read_identity(plan.output).get("failures", {})

    def note(self, run: Run, state: str, reason: str = "") -> None:
        """Note that a run has begun something ("training", "tracking") or ended (""; with a reason if it failed)."""
        key = str(run.folder.relative_to(self.plan.output))
        with self._lock:
            if state:
                self._now[run.folder] = state
            else:
                self._now.pop(run.folder, None)
            if reason:
                self._failures[key] = reason
            elif not state or state == "training":
                self._failures.pop(key, None)
        self.write()

    def is_tracked(self, run: Run, dataset: str) -> bool:
        """Whether there is a result of every sequence."""
        folder, sequences = run.results[dataset], self.plan.sequences(dataset, run.config)
        return folder.is_dir() and all((folder / f"{sequence.name}.txt").is_file() for sequence in sequences)

    def state(self, run: Run) -> tuple[str, str]:
        """Say in a word how far a run is, and why it failed."""
        if run.folder in self._now:
            return self._now[run.folder], ""
        manifest = run.manifest
        if run.is_trained and all(self.is_tracked(run, dataset) for dataset in run.results):
            return "finished", ""
        if reason := self._failures.get(str(run.folder.relative_to(self.plan.output)), ""):
            return "failed", reason
        status = manifest.get("status")
        if status == "failed":
            return "failed", str(manifest.get("error") or "")
        if status in ("running", "interrupted"):  # what says "running" was killed, or another process carries it out
            return {"running": "begun", "interrupted": "interrupted"}[status], ""
        return ("trained" if run.trained and status == "finished" else "waiting"), ""

    def write(self) -> None:
        """Write both files."""
        plan = self.plan
        with self._lock:
            content = {"suite": plan.suite.name, "split": plan.split, "failures": self._failures}
            with atomic_write(plan.output / IDENTITY) as file:
                json.dump(content, file, indent=1)
                file.write("\n")
            with atomic_write(plan.output / JOURNAL) as file:
                file.write(self.describe())

    def describe(self) -> str:
        """Make `JOURNAL`."""
        suite = self.plan.suite
        lines = [f"# Runs of {suite.name}", ""]
        lines += [text for text in (suite.why, suite.notes) if text]
        settings = " ".join([*suite.settings, *(f"({size}: {' '.join(of)})" for size, of in suite.sizes.items())])
        lines += ["", f"Settings of all variants: {code(settings) if settings else 'none'}.", ""]
        lines += ["| variant | settings | why | notes |", "| --- | --- | --- | --- |"]
        for name, variant in suite.variants.items():
            words = [*([] if variant.trained else [UNTRAINED]), *variant.settings]
            words += [f"({size}: {' '.join(settings)})" for size, settings in variant.sizes.items()]
            lines.append(f"| {name} | {code(' '.join(words)) if words else '-'} | {variant.why} | {variant.notes} |")
        rows, counts = [], dict[str, int]()
        for run in self.plan.runs:
            state, reason = self.state(run)
            counts[state] = counts.get(state, 0) + 1
            manifest = run.manifest if run.trained else {}
            hours = f"{manifest['wall_hours']:.2f}" if "wall_hours" in manifest else "-"
            host, device = manifest.get("hardware", {}).get("host", "-"), manifest.get("device", "")
            said = " ".join(reason.split()).replace("|", "\\|")
            said = said if len(said) <= SHOWN else f"{said[:SHOWN]}... (see {run.log.relative_to(self.plan.output)})"
            cells = [run.config.name, run.variant, str(run.seed) if run.trained else "untrained", state, hours]
            rows.append(
                f"| {' | '.join(cells)} | {manifest.get('finished', '-')} | {f'{host} {device}'.strip()} | {said} |"
            )
        listed = ", ".join(f"{count} {state}" for state, count in counts.items())
        lines += ["", f"{len(rows)} runs: {listed}. Hours are those of the training.", ""]
        lines += ["| experiment | variant | seed | state | hours | finished | machine | reason |"]
        lines += ["| --- | --- | --: | --- | --: | --- | --- | --- |", *rows]
        return "\n".join(lines) + "\n"


def code(text: str) -> str:
    """Show a text as it is in a cell of a Markdown table."""
    return "`" + text.replace("|", "\\|") + "`"


def carry_out(
    plan: Plan,
    places: Sequence[Place],
    journal: Journal,
    say: Callable[[str], None],
    left: Callable[[], str] = lambda: "",
    commands: Commands | None = None,
) -> list[tuple[Run, str]]:
    """Train and track all runs that are not finished.

    Args:
        places: each takes one run at a time.
        say: told of every run that ends, unless it was finished before.
        left: says how long the rest will take.

    Returns:
        The runs that failed, and why. KeyboardInterrupt ends it once all that runs has stopped.
    """
    commands = commands or Commands()
    free: queue.Queue[Place] = queue.Queue()
    for place in places:
        free.put(place)
    failed: list[tuple[Run, str]] = []
    journal.write()

    def one(run: Run) -> float | None:
        place, start = free.get(), time.monotonic()
        try:
            if not train_and_track(plan, run, place, journal, commands):
                return None
        except Failed as error:
            journal.note(run, "", "" if commands.stopped else str(error))
            raise
        finally:
            free.put(place)
        journal.note(run, "")
        return time.monotonic() - start

    with ThreadPoolExecutor(len(places)) as pool:
        jobs = {pool.submit(one, run): run for run in plan.runs}
        try:
            for number, job in enumerate(as_completed(jobs), start=1):
                run, error = jobs[job], job.exception()
                head = f"[{number} of {len(jobs)}] {run.title}"
                if error is None:
                    if (seconds := job.result()) is not None:  # else it was finished before
                        more = left()
                        say(f"{head}: done in {duration(seconds)}{f'; {more}' if more else ''}")
                elif isinstance(error, Failed):
                    failed.append((run, str(error)))
                    say(f"{head}: failed, see {run.log}: {error}")
                else:
                    raise error
        except BaseException:  # whatever ends it, nothing may go on behind its back
            for job in jobs:
                job.cancel()
            commands.stop()
            raise
    return failed


def train_and_track(plan: Plan, run: Run, place: Place, journal: Journal, commands: Commands) -> bool:
    """Train a run, if it isn't finished, and track the data sets with it; returns whether there was anything to do.

    Raises:
        Failed: a command failed; says why.
    """
    common = ["--config", run.experiment, "--seed", str(run.seed)]
    for option, value in (("--data-root", plan.data_root), ("--device", place.device), ("--threads", place.threads)):
        common += [option, str(value)] if value is not None else []
    environment = {**os.environ, **dict(place.environment)}

    called = []

    def call(script: str, words: list[str]) -> None:
        called.append(script)
        begin = run.log.stat().st_size if run.log.is_file() else 0
        if code := commands.call(script, words, run.log, environment):
            raise Failed(reason_of(run.log, code, begin))

    if not run.is_trained:
        wait_for_others(run.folder)
        journal.note(run, "training")
        resume = ["--resume"] if run.manifest else []
        words = [*common, "--output", str(run.folder.parent), *resume, *run.overrides]
        call("train.py", words)
    checkpoint = ["--checkpoint", str(run.folder) if run.trained else "none"]
    for dataset, results in run.results.items():
        if run.trained and journal.is_tracked(run, dataset):
            # nothing but an older training could have made other results: those of an untrained one depend on settings
            newest = max(path.stat().st_mtime for path in run.folder.glob("*.safetensors"))
            if all(path.stat().st_mtime >= newest for path in results.glob("*.txt")):
                continue
        journal.note(run, "tracking")
        words = [*common, "--dataset", dataset, "--split", plan.split, "--output", str(results), *checkpoint]
        if plan.count is not None:
            names = [sequence.name for sequence in plan.sequences(dataset, run.config)]
            words += [*run.overrides, "--sequences", *names]
        else:
            words += run.overrides
        call("test.py", words)
    return bool(called)


def wait_for_others(folder: Path, seconds: float = 120.0) -> None:
    """Wait for a training that a killed suite has left behind, which writes its checkpoint before it ends."""
    end = time.monotonic() + seconds
    while (folder / LOCK).exists() and time.monotonic() < end:
        try:
            with folder_lock(folder):
                return
        except FolderInUse:
            time.sleep(0.5)  # if it goes on, the training that begins here says who has the folder


def reason_of(log: Path, code: int, begin: int = 0) -> str:
    """Say why a command failed: the last error in its log, from a byte on, else its exit code."""
    text = "\n" + log.read_bytes()[begin:].decode("utf-8", "replace") if log.is_file() else ""
    return text.rpartition("\nERROR ")[2].strip() if "\nERROR " in text else f"exit code {code}"


def duration(seconds: float) -> str:
    """Write a time for people: 40 s, 12 min, 3.5 h, 2.1 days."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size or (unit == "h" and seconds >= 1.5 * size):
            return f"{seconds / size:.1f} {unit}" if unit != "min" else f"{seconds / size:.0f} min"
    return f"{seconds:.0f} s"
