"""How the script that measures all GPU rows goes on when one fails; the rows themselves are replaced."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "benchmark_gpu.sh"
ROWS = {"draw_train", "weights", "bench_forward", "bench_training", "train_compiled", "track_batched", "track_single"}


def run(folder: Path, program: str) -> subprocess.CompletedProcess:
    python = folder / "python"
    python.write_text(f"#!/usr/bin/env bash\n{program}\n")
    python.chmod(0o755)
    environment = os.environ | {"PYTHON": str(python), "DEVICE": "cpu", "CONFIG": "rgbt_tiny"}
    command = ["bash", str(SCRIPT), str(folder / "out")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("program", "code", "failing"),
    [
        ("echo '60 samples/s'", 0, set()),
        ('[[ "$*" != *train.py* ]]', 1, {"train_eager", "train_compiled"}),
        ("exit 3", 1, ROWS),
    ],
    ids=["all good", "one command fails", "all fail"],
)
def test_every_row_runs_and_those_that_fail_are_named(tmp_path, program, code, failing):
    done = run(tmp_path, program)
    assert done.returncode == code, done.stderr
    summary = done.stdout.partition("Summary")[2]
    verdicts = {line.split()[0]: "FAILED" in line for line in summary.splitlines() if line.endswith(" s")}
    assert ROWS <= set(verdicts)
    assert all(verdicts[name] for name in failing)
    assert any(verdicts.values()) == bool(failing)
    assert all((tmp_path / "out" / f"{name}.log").is_file() for name in ROWS)


def test_output_folder_must_be_named():
    done = subprocess.run(["bash", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage" in done.stderr
