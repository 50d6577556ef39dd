from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from lib import datasets
from lib.datasets.frames import FrameError, decode_frame, read_frame
from lib.datasets.sequence import Sequence
from lib.training import cache
from lib.training.cache import FrameCache


@pytest.fixture
def sequences(data_root: Path) -> list[Sequence]:
    return datasets.load("synthrgbt", "train", data_root=data_root)


def test_cached_frames_equal_decoded_ones_also_in_another_process(sequences: list[Sequence], tmp_path: Path) -> None:
    frames = pickle.loads(pickle.dumps(FrameCache.build(sequences, tmp_path / "cache")))
    for sequence in sequences:
        for index in (0, 7, 19):
            assert np.array_equal(frames.read_frame(sequence, index).image(), read_frame(sequence, index))


def test_second_build_decodes_nothing_but_first_frames(
    sequences: list[Sequence], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = FrameCache.build(sequences, tmp_path / "cache")
    read = []
    monkeypatch.setattr(
        cache, "decode_frame", lambda sequence, index, x: (read.append(index), decode_frame(sequence, index, x))[1]
    )
    assert FrameCache.build(sequences, tmp_path / "cache").path == first.path
    assert read == [0, 0]


def test_cache_of_rgb_alone_is_half_as_large(sequences: list[Sequence], tmp_path: Path) -> None:
    both, rgb = (FrameCache.build(sequences, tmp_path / "cache", with_x=x) for x in (True, False))
    assert both.path.stat().st_size == 2 * rgb.path.stat().st_size
    assert np.array_equal(rgb.read_frame(sequences[1], 7).image(), read_frame(sequences[1], 7)[..., :3])


def test_changed_files_give_another_cache(sequences: list[Sequence], tmp_path: Path) -> None:
    first = FrameCache.build(sequences, tmp_path / "cache").path
    target, other = sequences[0].rgb_files[-1], sequences[1].rgb_files[-1]
    target.write_bytes(other.read_bytes())
    assert FrameCache.build(sequences, tmp_path / "cache").path != first


def test_unreadable_frame_is_an_error_and_leaves_no_file(sequences: list[Sequence], tmp_path: Path) -> None:
    sequences[1].rgb_files[9].write_bytes(b"broken")
    with pytest.raises(FrameError, match="009"):
        FrameCache.build(sequences, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_too_small_disk_is_an_error_that_says_what_to_do(
    sequences: list[Sequence], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(OSError, match=r"data\.cache_frames needs .* TMPDIR"):
        FrameCache.build(sequences, tmp_path / "cache")
