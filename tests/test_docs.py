"""The Python blocks of the documentation run as they are written, one after the other on each page."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A folder with the videos that pages speak of, and the names that they take for granted."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 90, (180, 240, 3), dtype=np.uint8)
    frames = []
    for k in range(3):
        frames.append(noise.copy())
        frames[-1][80 + k : 140 + k, 120 + k : 160 + k] = (220, 180, 60)
    for name in ("visible", "infrared"):
        video = cv2.VideoWriter(str(tmp_path / f"{name}.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (240, 180))
        for frame in frames:
            video.write(frame)
        video.release()
    monkeypatch.chdir(tmp_path)
    thermal = [frame[:, :, 0].copy() for frame in frames]
    return {
        "rgb": frames[0],
        "thermal": thermal[0],
        "next_rgb": frames[1],
        "next_thermal": thermal[1],
        "box": (120, 80, 40, 60),
        **dict(zip("xywh", (120, 80, 40, 60), strict=True)),
        "first_frame": np.dstack([frames[0], *[thermal[0]] * 3]),
        "next_frame": np.dstack([frames[1], *[thermal[1]] * 3]),
    }


@pytest.mark.parametrize("page", ["README.md", "docs/library.md", "docs/start.md", "docs/tutorial_cameras.md"])
def test_python_blocks_run(page: str, place: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    blocks = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    assert blocks
    for block in blocks:
        smaller = block.replace("_small", "_tiny")  # takes less time
        exec(compile(smaller, page, "exec"), place)


def test_both_readmes_show_the_same_python() -> None:
    english, chinese = (
        re.sub(r" *#.*", "", "".join(BLOCK.findall((ROOT / name).read_text(encoding="utf-8"))))
        for name in ("README.md", "README.zh-CN.md")
    )
    assert english == chinese


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs mkdocs-material and mkdocstrings (pip install -e .[docs])")
    words = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    commands = (tmp_path / "commands" / "index.html").read_text(encoding="utf-8")
    assert "patrack track" in commands
    assert "tracking/train.py" in commands
    assert "from_pretrained" in (tmp_path / "api" / "index.html").read_text(encoding="utf-8")


def test_weights_are_the_ones_that_their_page_lists() -> None:
    text = (ROOT / "weights" / "README.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"`(\w+\.safetensors)` \| [\d.]+ \| `([0-9a-f]{64})`", text))
    there = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (ROOT / "weights").glob("rgb*.safetensors")
    }
    assert listed == there
