"""Reading frames: channel order, and every kind of damaged or unfitting file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.datasets.frames import FrameError, jpeg_is_complete, read_frame
from lib.datasets.recordings import load_pair
from patrack.modality import DEPTH, x_to_three_channels

SAMPLES = Path(__file__).resolve().parents[4] / "shared" / "samples"
COLOUR = np.tile(np.array([10, 20, 30], dtype=np.uint8), (24, 32, 1))  # B, G, R


@pytest.fixture
def pair(tmp_path):
    """Write one RGB and one X image, and open them as a recording of one frame."""

    def make(rgb: np.ndarray, x: np.ndarray, modality: str = "rgbt", suffix: str = ".png"):
        for name, image in (("rgb", rgb), ("x", x)):
            (tmp_path / name).mkdir()
            assert cv2.imwrite(str(tmp_path / name / f"0{suffix}"), image)
        return load_pair(tmp_path / "rgb", tmp_path / "x", modality)

    return make


def test_rgb_and_thermal_are_red_green_blue(pair):
    frame = read_frame(pair(COLOUR, COLOUR + 100), 0)
    assert frame.shape == (24, 32, 6)
    assert frame.dtype == np.uint8
    assert frame[3, 4].tolist() == [30, 20, 10, 130, 120, 110]


def test_rgb_only_has_three_channels(tmp_path):
    (tmp_path / "rgb").mkdir()
    cv2.imwrite(str(tmp_path / "rgb" / "0.png"), COLOUR)
    frame = read_frame(load_pair(tmp_path / "rgb", None, "rgb"), 0)
    assert frame.shape == (24, 32, 3)
    assert frame[0, 0].tolist() == [30, 20, 10]


def test_16_bit_depth_is_read_without_loss(pair):
    depth = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) * 5
    frame = read_frame(pair(COLOUR, depth, "rgbd"), 0)
    np.testing.assert_array_equal(frame[:, :, 3:], x_to_three_channels(depth, DEPTH))


def test_depth_is_clipped_as_the_sequence_says(pair):
    depth = np.full((24, 32), 1000, dtype=np.uint16)
    depth[0, :2] = (0, 9000)
    sequence = pair(COLOUR, depth, "rgbd")
    clipped, whole = (read_frame(replace(sequence, clip_depth=clip), 0)[1, 1, 3:].tolist() for clip in (True, False))
    jet = cv2.applyColorMap(np.array([[85, 28]], dtype=np.uint8), cv2.COLORMAP_JET)[0]  # of 3000, of 9000
    assert [clipped, whole] == jet.tolist()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_gray_files_become_three_equal_channels(pair, suffix):
    gray = np.full((24, 32), 77, dtype=np.uint8)
    assert (read_frame(pair(gray, gray, suffix=suffix), 0) == 77).all()


def test_different_sizes_are_an_error_that_names_both(pair):
    with pytest.raises(FrameError, match=r"rgb/0\.png is 32x24, .*x/0\.png is 16x12"):
        read_frame(pair(COLOUR, COLOUR[:12, :16]), 0)


def test_wrong_number_of_channels_is_an_error(pair):
    four = np.concatenate((COLOUR, COLOUR[:, :, :1]), axis=2)
    with pytest.raises(FrameError, match=r"x/0\.png: thermal .*\(24, 32, 4\)"):
        read_frame(pair(COLOUR, four), 0)


def test_16_bit_thermal_is_an_error(pair):
    with pytest.raises(FrameError, match=r"x/0\.png: thermal image must have 8 bits"):
        read_frame(pair(COLOUR, np.zeros((24, 32), dtype=np.uint16)), 0)


@pytest.mark.parametrize("side", ["rgb", "x"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda path: path.write_bytes(b""), r"not a readable image \(0 bytes\)", id="empty"),
        pytest.param(lambda path: path.write_bytes(b"text"), "not a readable image", id="no image"),
        pytest.param(lambda path: path.unlink(), "No such file", id="gone"),
    ],
)
def test_an_unreadable_file_is_named(pair, side, damage, message):
    sequence = pair(COLOUR, COLOUR)
    files = sequence.rgb_files if side == "rgb" else sequence.x_files
    damage(files[0])
    with pytest.raises(FrameError, match=rf"{side}/0\.png: .*{message}"):
        read_frame(sequence, 0)


def test_a_truncated_jpeg_is_an_error(pair):
    noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    sequence = pair(noise, noise, suffix=".jpg")
    data = sequence.rgb_files[0].read_bytes()
    sequence.rgb_files[0].write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(FrameError, match=r"rgb/0\.jpg: the JPEG file is truncated"):
        read_frame(sequence, 0)


def test_the_thumbnail_of_a_truncated_jpeg_does_not_hide_it():
    thumbnail = b"\xff\xd8\xff\xda\x00\x02..\xff\xd9"
    header = b"\xff\xd8\xff\xe1" + (2 + len(thumbnail)).to_bytes(2, "big") + thumbnail
    assert not jpeg_is_complete(header + b"\xff\xda\x00\x02....")
    assert jpeg_is_complete(header + b"\xff\xda\x00\x02....\xff\xd9 data that a camera added")
    assert not jpeg_is_complete(b"\xff\xd8")


def test_an_index_past_the_end_is_an_error(pair):
    with pytest.raises(IndexError):
        read_frame(pair(COLOUR, COLOUR), 1)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample recordings are not beside the repository")
@pytest.mark.parametrize(
    ("name", "rgb", "x", "modality", "boxes", "step", "length", "size"),
    [
        ("rgbt_vtuav_bus1", "rgb", "ir", "rgbt", "rgb.txt", 10, 51, (1080, 1920)),
        ("rgbd_7scenes_mug", "color", "depth", "rgbd", "groundtruth.txt", 1, 121, (480, 640)),
        ("rgbe_evbench_seq2", "vis_imgs", "event_imgs", "rgbe", "groundtruth.txt", 1, 41, (180, 240)),
    ],
    ids=["thermal", "depth", "event"],
)
def test_real_recordings_are_read(name, rgb, x, modality, boxes, step, length, size):
    folder = SAMPLES / name
    sequence = load_pair(folder / rgb, folder / x, modality, folder / boxes, box_step=step)
    assert (sequence.name, len(sequence)) == (name, length)
    assert np.flatnonzero(sequence.visible).tolist() == list(range(0, length, step))
    frame = read_frame(sequence, length - 1)
    assert frame.shape == (*size, 6)
    bgr = cv2.imread(str(sequence.rgb_files[length - 1]), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(frame[:, :, :3], bgr[:, :, ::-1])
