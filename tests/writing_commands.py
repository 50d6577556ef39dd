"""Every command that writes, over the same few small inputs."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import disturbed
from small_models import CEA, TRACKED, TRAINED

TRACKING = ["--config", "rgbt_tiny", "--checkpoint", "none", "--device", "cpu", "--threads", "1", *TRACKED, CEA]
VOT = ["--config", "rgbd_tiny", "--checkpoint", "none", "--device", "cpu", *TRACKED, CEA]
SETTINGS = [
    *TRAINED,
    *("data.train.0.name=synthrgbt", "data.val.0.name=synthrgbt", "data.samples_per_epoch=8", "data.val_samples=4"),
    *("data.num_workers=0", "train.total_batch_size=4", "train.epochs=2", "train.val_every=1"),
    "train.checkpoint_minutes=0.0001",
]
TRAINING = ["--config", "rgb_tiny", "--device", "cpu", "--threads", "1", *SETTINGS]
SYNTHETIC = ["--modality", "rgbt", "--count", "2", "--length", "3", "--size", "96x72", "--split", "test"]
WITH_WORKERS = "test --workers", "make_synthrgbx --workers"
EARLIER = b"of an earlier run"
UNFINISHED = re.compile(r"\.tmp-.*|\..*\.partial|\.lock|\.writable|.*\.tmp")
VOLATILE = re.compile(r"(.*_)?times?\.(txt|value)|train\.log|events\.out\..*|.*_time\.value")
"""Files of times: that they are there matters only."""


@dataclass(frozen=True)
class Case:
    """A command that writes.

    Attributes:
        command: its file.
        words: of its command line, for the folder of inputs and the output folder.
        again: further words where the output folder holds a part of the run.
        template: folder of inputs that the output folder begins with a copy of.
        beside: files of somebody else's in the output folder.
        replaces: files of an earlier run are replaced, whatever they hold.
        locks: two at once in one output folder are not possible.
        grows: pattern of files that grow while it runs.
        once: what it has made is not made again.
    """

    command: str
    words: Callable[[Path, Path], list[str]]
    again: Callable[[Path], list[str]] = lambda _: []
    template: str = ""
    beside: tuple[str, ...] = ()
    replaces: bool = False
    locks: bool = False
    grows: str = "(?!)"
    once: bool = False

    def fresh(self, inputs: Path, folder: Path, whole: Undisturbed | None = None) -> Path:
        """Makes an output folder as it is before a run, the first one or, with `whole`, the second one; returns it."""
        output = folder / "out"
        if output.exists():
            shutil.rmtree(output)
        if self.template:
            shutil.copytree(inputs / self.template, output)
        files = dict.fromkeys(self.beside, b"mine")
        if self.replaces and whole is not None:
            files |= {name: EARLIER for name in whole.files if name not in self.beside}
        for name, data in files.items():
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            (output / name).write_bytes(data)
        return output

    def there(self, inputs: Path) -> set[str]:
        """Files in the output folder that belong to others."""
        return {*self.beside, *(contents(inputs / self.template) if self.template else ())}

    def start(
        self, inputs: Path, output: Path, disturbance: disturbed.Disturbance = disturbed.NONE, fork: bool = True
    ) -> disturbed.Run:
        """Starts it, or starts it again."""
        return disturbed.start(
            self.command, [*self.words(inputs, output), *self.again(output)], output, disturbance, fork
        )


def _dataset(*more: str) -> Callable[[Path, Path], list[str]]:
    return lambda inputs, output: [
        *("--dataset", "synthrgbt", "--data-root", str(inputs / "data"), "--output", str(output), *more, *TRACKING)
    ]


def _scored(inputs: Path) -> list[str]:
    results = [f"{name}={inputs / name}" for name in ("ours", "other")]
    return ["--dataset", "synthrgbt", "--data-root", str(inputs / "data"), "--results", *results]


CASES = {
    "train": Case(
        "tracking/train.py",
        lambda inputs, output: ["--data-root", str(inputs / "data"), "--output", str(output), *TRAINING],
        lambda output: ["--resume"] if (output / "rgb_tiny" / "train.log").exists() else [],
        locks=True,
        grows=r".*\.(csv|log|json|pt)",
    ),
    "test": Case("tracking/test.py", _dataset(), locks=True, grows="run.json"),
    "test --workers": Case("tracking/test.py", _dataset("--workers", "2"), locks=True, grows="run.json"),
    "test --batch": Case("tracking/test.py", _dataset("--batch", "2"), locks=True, grows="run.json"),
    "test --rgb": Case(
        "tracking/test.py",
        lambda inputs, output: [
            *("--rgb", str(inputs / "recording" / "rgb"), "--x", str(inputs / "recording" / "x")),
            *("--ground-truth", str(inputs / "recording" / "groundtruth.txt"), "--output", str(output), *TRACKING),
        ],
        locks=True,
        grows="partial.csv",
    ),
    "evaluate": Case(
        "tracking/evaluate.py",
        lambda inputs, output: [
            *(*_scored(inputs), "--json", str(output / "scores.json"), "--table-file", str(output / "table.tex")),
            *("--plots", str(output / "plots"), "--plot-format", "svg"),
        ],
        beside=("notes.txt", "plots/mine.svg", "plots/.tmp-mine"),
        replaces=True,
    ),
    "report": Case(
        "tracking/report.py",
        lambda inputs, output: [*_scored(inputs), "--output", str(output), "--shown", "1"],
        locks=True,
    ),
    "make_synthrgbx": Case(
        "scripts/make_synthrgbx.py",
        lambda _, output: ["--output", str(output), "--sheet", str(output / "sheets"), "--workers", "1", *SYNTHETIC],
        beside=("notes.txt",),
        locks=True,
    ),
    "make_synthrgbx --workers": Case(
        "scripts/make_synthrgbx.py",
        lambda _, output: ["--output", str(output), "--workers", "2", *SYNTHETIC],
        beside=("notes.txt",),
        locks=True,
    ),
    "vot": Case(
        "tracking/vot.py", lambda _, output: ["--workspace", str(output), *VOT], template="workspace", locks=True
    ),
    "export_results folder": Case(
        "tracking/export_results.py",
        lambda inputs, output: [
            *("--dataset", "lasher", "--ground-truth", str(inputs / "truth"), "--results", f"ours={inputs / 'ours'}"),
            *("--output", str(output / "export")),
        ],
        beside=("notes.txt",),
        once=True,
    ),
    "export_results zip": Case(
        "tracking/export_results.py",
        lambda inputs, output: [
            *("--dataset", "lasher", "--ground-truth", str(inputs / "truth"), "--results", f"ours={inputs / 'ours'}"),
            *("--output", str(output / "export.zip")),
        ],
        beside=("notes.txt",),
        once=True,
    ),
    "experiments": Case(  # the tables; trainings and tracking are the commands above
        "scripts/experiments.py",
        lambda _, output: [
            *("--config", "rgb_tiny", "--variant", "one", "--output", str(output), "--no-costs", *SETTINGS),
            "--summarize-only",
        ],
        template="suite",
    ),
    "export_weights": Case(
        "scripts/export_weights.py",
        lambda inputs, output: [str(inputs / "runs" / "rgb_tiny"), str(output / "weights.safetensors")],
        beside=("notes.txt",),
        replaces=True,
    ),
}


def contents(folder: Path) -> dict[str, bytes]:
    """Files below a folder, without what differs from run to run: times, process numbers, the folder's own name."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() or path.is_symlink()):
        name, data = path.relative_to(folder).as_posix(), path.read_bytes()
        if re.fullmatch(r"events\.out\..*", path.name):
            continue  # one per start
        if VOLATILE.fullmatch(path.name):
            data = b""
        elif path.name == "run.json":
            values = json.loads(data)
            data = json.dumps(
                {key: values.get(key) for key in ("key", "identity", "data", "status", "weights")}
            ).encode()
        elif path.name in ("train.csv", "validation.csv"):
            rows = list(csv.DictReader(data.decode().splitlines()))
            data = str([{k: v for k, v in row.items() if k not in ("samples_per_second", "data_wait")} for row in rows])
            data = data.encode()
        elif path.suffix == ".pt":
            data = b""  # holds times; what matters of it became the weights
        found[name] = data
    return found


@dataclass(frozen=True)
class Undisturbed:
    """What a command leaves when nothing happens: its files and the number of moments."""

    files: dict[str, bytes]
    moments: int
    sizes: dict[str, int]


def unfinished(folder: Path) -> list[str]:
    """What an ended command should have taken with it."""
    return [path.name for path in folder.rglob(".*") if UNFINISHED.fullmatch(path.name) and path.name != ".tmp-mine"]


def check_files(case: Case, output: Path, whole: Undisturbed, what: str) -> None:
    """Nothing under its final name is a part of what it will be."""
    for path, data in contents(output).items():
        if path in whole.files and not re.fullmatch(case.grows, path):
            right = data == whole.files[path] or (case.replaces and data == EARLIER and path not in case.beside)
            assert right, f"{path} is half of what it will be, or somebody else's: {what}"


def check_again(case: Case, inputs: Path, output: Path, whole: Undisturbed, what: str) -> None:
    """Repeats a command that something has happened to."""
    if case.once and contents(output) == whole.files:
        return
    code, said = case.start(inputs, output).end()
    assert code == 0, f"{what}, then: {said}"
    assert contents(output) == whole.files, what
    assert unfinished(output) == [], what
