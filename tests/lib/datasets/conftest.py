"""Tiny data sets on disk whose pixels tell their frame: frame k has RGB value 10 k, X value 10 k + 5 and box x = k."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

from patrack.recordings.frames import read_frame

HEIGHT, WIDTH = 24, 32


def _write_images(folder: Path, names: Iterable[str], offset: int, dtype: type = np.uint8) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(names):
        channels = () if dtype is np.uint16 else (3,)
        image = np.full((HEIGHT, WIDTH, *channels), (10 * k + offset) % 256, dtype=dtype)
        assert cv2.imwrite(str(folder / name), image)


def _box_lines(n: int) -> list[str]:
    return [f"{k},1,15,16" for k in range(n)]


def _write_sequence(
    folder: Path,
    rgb: tuple[str, list[str]],
    x: tuple[str, list[str]] | None,
    texts: dict[str, list[str]],
    x_type: type = np.uint8,
) -> Path:
    """One sequence: (sub-folder, file names) of RGB and X, and the lines of its text files."""
    _write_images(folder / rgb[0], rgb[1], 0)
    if x is not None:
        _write_images(folder / x[0], x[1], 5, x_type)
    for name, lines in texts.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def write_images() -> Callable[..., None]:
    return _write_images


@pytest.fixture
def write_sequence() -> Callable[..., Path]:
    return _write_sequence


@pytest.fixture
def box_lines() -> Callable[[int], list[str]]:
    return _box_lines


@pytest.fixture
def codes_match() -> Callable[..., None]:
    """Check that frame i of a sequence shows the same number in RGB, X and box, counted from `first`."""

    def check(sequence, first: int = 0) -> None:
        for i in range(len(sequence)):
            frame = read_frame(sequence, i).astype(int)
            wanted = 10 * (first + i)
            assert abs(frame[:, :, :3] - wanted).max() <= 2, f"RGB of frame {i}"
            if sequence.x_files is not None:
                assert abs(frame[:, :, 3:] - wanted - 5).max() <= 2, f"X of frame {i}"
            if not np.isnan(sequence.boxes[i]).any() and not sequence.absent[i]:
                assert sequence.boxes[i, 0] == first + i, f"box of frame {i}"

    return check
