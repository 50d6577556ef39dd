"""The quickstart from end to end, at the smallest size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"QUICKSTART_SEQUENCES": "2", "QUICKSTART_TEST_SEQUENCES": "1", "QUICKSTART_SAMPLES": "16"}


def run(output: Path) -> str:
    environment = os.environ | SIZES | {"QUICKSTART_OUTPUT": str(output), "QUICKSTART_PYTHON": sys.executable}
    environment["PYTHONPATH"] = str(ROOT)
    command = ["bash", str(ROOT / "scripts" / "quickstart.sh")]
    done = subprocess.run(command, env=environment, cwd=output.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_quickstart_leaves_everything_it_names_and_can_be_run_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run(out)
    scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    assert set(scores["trackers"]) == {"RGB", "RGB+thermal"}
    for name in ("success", "precision", "normalized_precision"):
        assert cv2.imread(str(out / "plots" / f"{name}.png")) is not None
    video = cv2.VideoCapture(str(out / "overlay" / "overlay.mp4"))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 50
    adapters = out / "runs" / "quickstart" / "adapters.safetensors"
    before = adapters.stat().st_mtime_ns
    for path in (out / "table.txt", adapters):
        assert str(path) in first
    assert "kept" in run(out)
    assert adapters.stat().st_mtime_ns == before
