"""Frame files in temporal order, from folders and videos."""

from __future__ import annotations

import pickle
import random

import cv2
import numpy as np
import pytest

from lib.datasets.reader import find_frames
from patrack.recordings.frames import read_image
from patrack.recordings.listing import list_frames
from patrack.recordings.sequence import DataError, FileList, VideoFrame


def _touch(folder, names):
    folder.mkdir(exist_ok=True)
    shuffled = list(names)
    random.Random(0).shuffle(shuffled)
    for name in shuffled:
        (folder / name).touch()


@pytest.mark.parametrize(
    "names",
    [
        pytest.param([f"v{k:03d}.jpg" for k in range(1005)], id="three digits and more than 999 frames"),
        pytest.param([f"{k}.png" for k in range(12)], id="no padding"),
        pytest.param([f"{k:06d}.jpg" for k in range(100, 104)], id="first number is not 0"),
        pytest.param(["a1.jpg", "b2.bmp", "a3.JPG", "c10.tif", "c11.jpeg", "0_12.png"], id="mixed prefixes and types"),
        pytest.param(["bla.jpg", "foo.jpg", "x0.jpg"], id="no number comes first"),
    ],
)
def test_frames_are_in_temporal_order(tmp_path, names):
    _touch(tmp_path / "seq", names)
    assert [path.name for path in list_frames(tmp_path / "seq")] == names


def test_only_images_are_listed(tmp_path):
    _touch(tmp_path / "seq", ["1.jpg", "._1.jpg", "Thumbs.db", "notes.txt", "jpg"])
    (tmp_path / "seq" / "2.jpg").mkdir()
    assert [path.name for path in list_frames(tmp_path / "seq")] == ["1.jpg"]


def test_links_that_lead_nowhere_are_an_error(tmp_path):
    _touch(tmp_path / "seq", ["1.jpg"])
    (tmp_path / "seq" / "2.jpg").symlink_to(tmp_path / "gone.jpg")
    with pytest.raises(DataError, match=r"1 links .*2\.jpg"):
        list_frames(tmp_path / "seq")


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no image in this folder"):
        list_frames(tmp_path)


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="gone: no such folder"):
        list_frames(tmp_path / "gone")


def test_a_file_list_behaves_like_a_tuple_of_paths(tmp_path):
    names = ("1.jpg", "2.jpg", "3.jpg")
    files = FileList(tmp_path, names)
    paths = tuple(tmp_path / name for name in names)
    assert tuple(files) == paths
    assert files == paths
    assert files[-1] == paths[-1]
    assert tuple(files[1:]) == paths[1:]
    assert pickle.loads(pickle.dumps(files)) == files  # loader processes receive it
    with pytest.raises(IndexError):
        files[3]


def write_video(path, n):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for k in range(n):
        writer.write(np.full((48, 64, 3), 20 * k + 10, dtype=np.uint8))
    writer.release()


def test_a_video_is_read_frame_by_frame_in_any_order(tmp_path):
    write_video(tmp_path / "rgb.avi", 10)
    frames = find_frames(tmp_path, "rgb")
    assert frames == tuple(VideoFrame(tmp_path / "rgb.avi", k) for k in range(10))
    for k in (0, 1, 2, 7, 7, 3, 9, 0):
        image = read_image(frames[k], cv2.IMREAD_COLOR)
        assert abs(image.astype(int) - (20 * k + 10)).max() <= 4


def test_a_file_that_is_no_video_is_an_error(tmp_path):
    (tmp_path / "rgb.mp4").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"rgb\.mp4: no frame can be decoded"):
        list_frames(tmp_path / "rgb.mp4")
