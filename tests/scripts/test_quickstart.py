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
# Notes every command, and leaves out one script: what repeating that gives is tested beside it.
PYTHON = """\
#!/usr/bin/env bash
echo "$*" >> "$COMMANDS"
[[ "$1" == "$LEFT_OUT" ]] || exec "$REAL_PYTHON" "$@"
"""


def run(output: Path, left_out: str = "") -> tuple[str, list[str]]:
    """What the quickstart prints, and the commands that it gives to Python."""
    python, commands = output.parent / "python", output.parent / "commands.txt"
    python.write_text(PYTHON)
    python.chmod(0o755)
    commands.unlink(missing_ok=True)
    places = {"QUICKSTART_OUTPUT": str(output), "QUICKSTART_PYTHON": str(python), "PYTHONPATH": str(ROOT)}
    noted = {"COMMANDS": str(commands), "LEFT_OUT": left_out, "REAL_PYTHON": sys.executable}
    command = ["bash", str(ROOT / "scripts" / "quickstart.sh")]
    environment = os.environ | SIZES | places | noted
    done = subprocess.run(command, env=environment, cwd=output.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, commands.read_text().splitlines()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_quickstart_leaves_everything_it_names_and_can_be_run_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    said, commands = run(out)
    scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    assert set(scores["trackers"]) == {"RGB", "RGB+thermal"}
    for name in ("success", "precision", "normalized_precision"):
        assert cv2.imread(str(out / "plots" / f"{name}.png")) is not None
    video = cv2.VideoCapture(str(out / "overlay" / "overlay.mp4"))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 50
    adapters = out / "runs" / "quickstart" / "adapters.safetensors"
    for path in (out / "table.txt", adapters):
        assert str(path) in said
    assert sum(line.startswith("tracking/train.py ") for line in commands) == 1

    # again: nothing is drawn or trained anew, results may be there already
    kept = [adapters, *(out / "data").rglob("*.jpg")]
    before = [path.stat().st_mtime_ns for path in kept]
    said, again = run(out, left_out="tracking/test.py")
    assert "kept" in said
    assert again == [line for line in commands if not line.startswith("tracking/train.py ")]
    assert all("--overwrite" in line for line in again if line.startswith("tracking/test.py "))
    assert [path.stat().st_mtime_ns for path in kept] == before
    assert json.loads((out / "scores.json").read_text(encoding="utf-8"))["trackers"] == scores["trackers"]
