"""A training that is killed at any moment goes on to the same bits: real processes, real SIGKILL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
KILLS = 20


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks trainings")
def test_training_killed_at_random_moments_ends_with_the_same_bits(data_root: Path, tmp_path: Path) -> None:
    words = [str(tmp_path / "runs"), str(data_root), str(KILLS), "0"]
    (tmp_path / "runs").mkdir()
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("kill_worker.py")), *words],
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "runs" / "report.json").read_text())
    assert sum(report["kills"].values()) == KILLS + 4  # at random moments, then once in each of the four phases
    assert all(report["kills"][phase] for phase in ("data loading", "step", "checkpoint writing", "validation"))
    assert report["steps"] == 16
    assert set(report["codes"]) == {0}
    assert report["equal"]
    assert all(report["equal"])
    assert report["leftovers"] == []
