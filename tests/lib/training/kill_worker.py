"""Kills a real training again and again and says whether it ended as if nothing had happened (test_killed.py).

    kill_worker.py FOLDER DATA_ROOT KILLS SEED PHASE ...

Every training is a process of its own, forked from this one, so that torch is imported once. FOLDER/report.json gets
what was seen.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch._dynamo  # an optimizer loads it, which takes longer than the whole training: here, and not in every fork
import torch.utils.tensorboard  # the same

from commands import load_command
from lib.training import checkpoint, trainer
from lib.training.loader import PairDataset
from lib.training.log import read_rows
from lib.training.step import BatchStep
from lib.training.trainer import Trainer
from small_models import TRAINED

PHASES = ("elsewhere", "data loading", "step", "checkpoint writing", "validation")
SETTINGS = (
    *TRAINED,
    "data.train.0.name=synthrgbt",
    "data.val.0.name=synthrgbt",
    "data.samples_per_epoch=32",
    "data.val_samples=8",
    "data.num_workers=0",
    "train.total_batch_size=4",
    "train.epochs=2",
    "train.val_every=1",
    "train.checkpoint_minutes=0.0001",
)
Train = Callable[[list[str]], int]
phase = mmap.mmap(-1, 1)  # shared with the forked processes: where the training is


def watch(owner: object, name: str, number: int, suicide_at: int | None) -> None:
    """Notes in `phase` that a function runs; kills the process in its n-th call if asked to."""
    inner = getattr(owner, name)
    calls = 0

    def watched(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        before, phase[0] = phase[0], number
        if calls == suicide_at:
            if number == 3:  # in the middle of the file
                torch.save = lambda _, file: (file.write(b"half"), file.flush(), die())
            else:
                die()
        result = inner(*args, **kwargs)
        phase[0] = before
        return result

    setattr(owner, name, watched)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def start(train: Train, folder: Path, data_root: str, suicide: tuple[int, int] | None = None) -> int:
    """Starts or resumes the training in a process of its own; returns its number."""
    pid = os.fork()
    if pid:
        return pid
    log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    phase[0] = 0
    places: tuple[tuple[object, str], ...] = (
        (PairDataset, "_sample"),
        (BatchStep, "step"),
        (trainer, "save_state"),
        (Trainer, "validate"),
    )
    for number, (owner, name) in enumerate(places, 1):
        watch(owner, name, number, suicide[1] if suicide and suicide[0] == number else None)
    words = ["--config", "rgb_tiny", "--data-root", data_root, "--output", str(folder), "--device", "cpu"]
    resume = ["--resume"] if (folder / "rgb_tiny" / "train.log").exists() else []
    try:
        os._exit(train([*words, "--threads", "1", *resume, *SETTINGS]))
    finally:
        os._exit(99)


def wait(pid: int) -> int:
    """Exit code, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def outcome(folder: Path) -> dict:
    """What must not depend on the kills: weights file, checkpoint, logs without their times."""
    run = folder / "rgb_tiny"
    state = checkpoint.load_state(run / "checkpoints" / "last.pt")
    times = ("samples_per_second", "data_wait")
    return {
        "weights": (run / "base_model.safetensors").read_bytes().hex(),
        "model": {key: tensor.tolist() for key, tensor in state.model.items()},
        "optimizer": str(state.optimizer),
        "steps": [{k: v for k, v in row.items() if k not in times} for row in read_rows(run / "train.csv")],
        "validations": read_rows(run / "validation.csv"),
        "leftovers": [path.name for pattern in (".tmp-*", ".*.tmp") for path in run.rglob(pattern)],
    }


def main(train: Train) -> None:
    """Random moments first, then one kill in each of some phases."""
    output, data_root, kills, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    numbers = [PHASES.index(name) for name in sys.argv[5:]]
    torch.set_num_threads(1)
    rng = random.Random(seed)
    began = time.monotonic()
    codes = [wait(start(train, output / "whole", data_root))]
    duration = time.monotonic() - began
    expected = outcome(output / "whole")
    seen, equal, number = dict.fromkeys(PHASES, 0), [], 0
    targeted = [(number, call) for number, call in [(1, 5), (2, 3), (3, 4), (4, 1)] if number in numbers]
    while sum(seen.values()) < kills or targeted:
        folder = output / f"killed_{number}"
        suicide = targeted[-1] if sum(seen.values()) >= kills else None
        began = time.monotonic()
        pid = start(train, folder, data_root, suicide)
        if suicide is None:
            time.sleep(rng.uniform(0, duration))
            os.kill(pid, signal.SIGKILL)
        code = wait(pid)
        if code == -signal.SIGKILL:
            seen[PHASES[phase[0]]] += 1
            if suicide is not None:  # otherwise it is tried again: a run resumed near its end may not get so far
                targeted.pop()
        else:  # it was finished before: the next one starts anew
            codes.append(code)
            equal.append(outcome(folder) == expected)
            duration = min(duration, time.monotonic() - began)  # the machine was busier before
            number += 1
    codes.append(wait(start(train, output / f"killed_{number}", data_root)))
    equal.append(outcome(output / f"killed_{number}") == expected)
    report = {"codes": codes, "kills": seen, "equal": equal, "steps": len(expected["steps"]), "seconds": duration}
    (output / "report.json").write_text(json.dumps(report | {"leftovers": expected["leftovers"]}))


if __name__ == "__main__":
    main(load_command("tracking/train.py").main)
