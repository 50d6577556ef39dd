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
PHASES = ("data loading", "step", "checkpoint writing", "validation")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks trainings")
def test_training_killed_at_random_moments_ends_with_the_same_bits(data_root: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name("kill_worker.py"))]
    jobs = []
    for seed in range(2):  # two side by side, each with half of the kills
        folder = tmp_path / f"runs_{seed}"
        folder.mkdir()
        words = [str(folder), str(data_root), str(KILLS // 2), str(seed), *PHASES[seed::2]]
        jobs.append(subprocess.Popen([*command, *words], env=environment, stderr=subprocess.PIPE, text=True))
    try:
        said = [job.communicate(timeout=600)[1] for job in jobs]
    finally:
        for job in jobs:
            job.kill()
    assert [job.returncode for job in jobs] == [0, 0], said
    reports = [json.loads((tmp_path / f"runs_{seed}" / "report.json").read_text()) for seed in range(2)]
    # at random moments, then once in each of the four phases
    assert sum(sum(report["kills"].values()) for report in reports) == KILLS + 4
    assert all(sum(report["kills"][phase] for report in reports) for phase in PHASES)
    for report in reports:
        assert report["steps"] == 16
        assert set(report["codes"]) == {0}
        assert report["equal"]
        assert all(report["equal"])
        assert report["leftovers"] == []
