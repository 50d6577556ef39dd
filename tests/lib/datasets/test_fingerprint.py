"""Data that differ have another fingerprint, data that were only moved have the same."""

import os
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

from lib.datasets.fingerprint import fingerprint
from lib.datasets.recordings import load_pair


@pytest.fixture
def folder(tmp_path):
    """Write a recording of three frames."""
    for name in ("rgb", "x"):
        (tmp_path / "a" / name).mkdir(parents=True)
        for k in range(3):
            path = tmp_path / "a" / name / f"{k}.png"
            cv2.imwrite(str(path), np.full((8, 8, 3), k, np.uint8))
            os.utime(path, (1, 1))  # long ago
    (tmp_path / "a/boxes.txt").write_text("1,2,3,4\n" * 3)
    return tmp_path / "a"


def _load(folder):
    return load_pair(folder / "rgb", folder / "x", "rgbt", folder / "boxes.txt")


def test_moved_data_are_the_same(folder):
    before = [fingerprint(_load(folder), contents) for contents in (False, True)]
    moved = folder.rename(folder.parent / "b")
    assert [fingerprint(_load(moved), contents) for contents in (False, True)] == before


def test_a_copy_is_the_same_by_its_contents_only(folder):
    copy = shutil.copytree(folder, folder.parent / "b", copy_function=shutil.copyfile)
    assert fingerprint(_load(copy)) != fingerprint(_load(folder))
    assert fingerprint(_load(copy), contents=True) == fingerprint(_load(folder), contents=True)


@pytest.mark.parametrize("side", ["rgb", "x"])
def test_another_image_in_the_middle_is_noticed_even_with_the_same_size_and_time(folder, side):
    before = [fingerprint(_load(folder), contents) for contents in (False, True)]
    path = folder / side / "1.png"
    state = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert fingerprint(_load(folder)) != before[0]
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert fingerprint(_load(folder)) == before[0]  # which is why the contents can be asked for
    assert fingerprint(_load(folder), contents=True) != before[1]


@pytest.mark.parametrize(
    "change",
    [
        {"clip_depth": False},
        {"x_range": (1, 2)},
        {"x_transform": "resize"},
        {"boxes": np.full((3, 4), 7.0)},
        {"present": np.array([[True, True], [True, False], [True, True]])},
    ],
    ids=lambda change: next(iter(change)),
)
def test_how_frames_are_read_belongs_to_it(folder, change):
    sequence = _load(folder)
    assert fingerprint(replace(sequence, **change)) != fingerprint(sequence)


def test_later_boxes_do_not_matter(folder):
    before = fingerprint(_load(folder))
    (folder / "boxes.txt").write_text("1,2,3,4\n5,6,7,8\n1,1,1,1\n")
    assert fingerprint(_load(folder)) == before


def test_frames_of_a_video_are_its_file(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "rgb.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for value in (0, 50, 100):
        writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.release()
    recording = load_pair(tmp_path / "rgb.avi", None, "rgb")
    before = fingerprint(recording, contents=True)
    assert fingerprint(replace(recording, rgb_files=recording.rgb_files[:2] + recording.rgb_files[:1])) != before
    content = (tmp_path / "rgb.avi").read_bytes()
    (tmp_path / "rgb.avi").write_bytes(content + b"\0")
    assert fingerprint(recording, contents=True) != before
