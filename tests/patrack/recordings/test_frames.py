"""Frames: channel order, damaged or unfitting files, and colors converted after the crop, the same bit for bit."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.datasets.recordings import load_pair
from patrack.crop import crop_window, sample_crop
from patrack.modality import DEPTH, x_to_three_channels
from patrack.recordings.frames import (
    X_FLAGS,
    DecodedFrame,
    FrameError,
    decode_frame,
    jpeg_is_complete,
    read_frame,
    read_image,
)

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
    with pytest.raises(FrameError, match=r"rgb/0\.png is 32x24, .*x/0\.png is 16x12.*--x-transform resize"):
        read_frame(pair(COLOUR, COLOUR[:12, :16]), 0)


@pytest.mark.parametrize("modality", ["rgbt", "rgbe"])
def test_transparency_is_left_out_of_either_image(pair, modality):
    transparent = np.dstack([COLOUR, np.full((24, 32), 7, np.uint8)])
    frame = read_frame(pair(transparent, transparent, modality), 0)
    assert (frame == np.dstack([COLOUR[..., ::-1]] * 2)).all()


def test_both_images_are_turned_as_their_exif_data_say(tmp_path):
    # APP1 with one entry: orientation (0x0112) 6, to be turned by a quarter clockwise
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    image = np.zeros((24, 32), np.uint8)
    image[:12] = 200  # above, so at the right when turned
    for name in ("rgb", "x"):
        (tmp_path / name).mkdir()
        data = cv2.imencode(".jpg", image)[1].tobytes()
        (tmp_path / name / "0.jpg").write_bytes(
            data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
        )
    frame = read_frame(load_pair(tmp_path / "rgb", tmp_path / "x", "rgbt"), 0)
    assert frame.shape == (32, 24, 6)
    assert frame[:, 20].min() > 150
    assert frame[:, 3].max() < 50


def test_16_bit_thermal_without_a_range_is_an_error(pair):
    recording = replace(pair(COLOUR, np.zeros((24, 32), dtype=np.uint16)), x_range=None)
    with pytest.raises(FrameError, match=r"x/0\.png: thermal image has values of type uint16: .*--x-range"):
        read_frame(recording, 0)


COUNTS = (7000 + np.arange(24 * 32, dtype=np.uint16).reshape(24, 32)) * np.ones((5, 1, 1), np.uint16)
COUNTS[3] += 300  # a warmer frame: its range is not that of the others


def _write_png(folder: Path, number: int, values: np.ndarray) -> None:
    assert cv2.imwrite(str(folder / f"{number}.png"), values)


def _write_tiff(folder: Path, number: int, values: np.ndarray) -> None:
    assert cv2.imwrite(str(folder / f"{number}.tiff"), values.astype(np.float32))


def _write_array(folder: Path, number: int, values: np.ndarray) -> None:
    np.save(folder / f"{number}.npy", values.astype(np.int32))


@pytest.fixture
def frames_of_x(tmp_path):
    """Write five RGB frames and X into folders rgb and x."""

    def make(write: Callable[[Path, int, np.ndarray], None], x: np.ndarray = COUNTS) -> tuple[Path, Path]:
        for name in ("rgb", "x"):
            (tmp_path / name).mkdir()
        for number, values in enumerate(x):
            cv2.imwrite(str(tmp_path / "rgb" / f"{number}.png"), COLOUR)
            write(tmp_path / "x", number, values)
        return tmp_path / "rgb", tmp_path / "x"

    return make


@pytest.mark.parametrize("write", [_write_png, _write_tiff, _write_array])
def test_thermal_of_more_than_8_bits_has_one_range_for_the_recording(frames_of_x, write, caplog):
    caplog.set_level("INFO")
    opened = load_pair(*frames_of_x(write), "rgbt")
    low, high = np.percentile(COUNTS, (0.5, 99.5))
    assert opened.x_range == (low, high)
    assert "0 to 255 (percentiles 0.5 and 99.5 of 5 frames)" in caplog.text
    for number in (0, 3):
        expected = np.rint((COUNTS[number] - low) * 255 / (high - low)).clip(0, 255)
        np.testing.assert_array_equal(read_frame(opened, number)[:, :, 3], expected)


def test_a_range_that_is_given_is_kept(frames_of_x):
    opened = load_pair(*frames_of_x(_write_png), "rgbt", x_range=(7000, 7510))
    assert read_frame(opened, 0)[0, :4, 5].tolist() == [0, 0, 1, 2]  # halves to even


def test_16_bits_of_a_video_are_read(tmp_path):
    depth = COUNTS // 4
    options = [cv2.VIDEOWRITER_PROP_DEPTH, cv2.CV_16U, cv2.VIDEOWRITER_PROP_IS_COLOR, 0]
    code = cv2.VideoWriter_fourcc(*"FFV1")
    video = cv2.VideoWriter(str(tmp_path / "x.mkv"), cv2.CAP_FFMPEG, code, 10.0, (32, 24), options)
    (tmp_path / "rgb").mkdir()
    for number, values in enumerate(depth):
        video.write(values)
        cv2.imwrite(str(tmp_path / "rgb" / f"{number}.png"), COLOUR)
    video.release()
    opened = load_pair(tmp_path / "rgb", tmp_path / "x.mkv", "rgbd")
    for number in (0, 4, 3):  # back as well
        x = read_frame(opened, number)[:, :, 3:]
        np.testing.assert_array_equal(x, x_to_three_channels(depth[number], DEPTH))
    thermal = load_pair(tmp_path / "rgb", tmp_path / "x.mkv", "rgbt")
    assert thermal.x_range == tuple(np.percentile(depth, (0.5, 99.5)))
    with pytest.raises(FrameError, match=r"x\.mkv \(frame 0\): RGB must have 8 bits .* is it X"):
        read_frame(load_pair(tmp_path / "x.mkv", None, "rgb"), 0)


def test_a_file_of_nothing_but_16_bit_values_is_read_by_its_size(frames_of_x):
    def write(folder: Path, number: int, values: np.ndarray) -> None:
        values.astype("<u2").tofile(folder / f"{number:03d}.raw")

    rgb, x = frames_of_x(write, np.arange(2 * 120 * 160, dtype=np.uint16).reshape(2, 120, 160))
    for file in rgb.iterdir():
        cv2.imwrite(str(file), np.zeros((120, 160, 3), np.uint8))
    opened = load_pair(rgb, x, "rgbt", x_range=(0, 255))
    assert read_frame(opened, 0)[0, :3, 3].tolist() == [0, 1, 2]
    (x / "001.raw").write_bytes(b"123")
    with pytest.raises(FrameError, match=r"001\.raw: .*3 bytes are no 16-bit image .*160x120.* save it as"):
        read_frame(opened, 1)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_rgb_of_16_bits_is_an_error(pair, suffix):
    deep = np.full((24, 32), 5000, np.uint16)
    recording = pair(deep, np.zeros((24, 32), np.uint8), suffix=suffix)
    with pytest.raises(FrameError, match=rf"rgb/0{suffix}: RGB must have 8 bits per channel, got uint16; is it X"):
        read_frame(recording, 0)


def test_rgb_is_no_array(frames_of_x):
    _, x = frames_of_x(_write_array)
    with pytest.raises(FrameError, match=r"0\.npy: RGB frames must be images"):
        read_frame(load_pair(x, None, "rgb"), 0)


def test_objects_in_an_array_are_not_read(tmp_path, frames_of_x):
    rgb, x = frames_of_x(_write_array)
    np.save(x / "0.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(FrameError, match=r"0\.npy: cannot be read"):
        load_pair(rgb, x, "rgbt")


def test_depth_that_is_mostly_not_measured_is_said_to_be_flat(frames_of_x):
    depth = np.zeros((2, 24, 32), np.uint16)
    depth[:, :5] = 900
    depth[1, 8:] = 800
    paths = frames_of_x(_write_png, depth)
    by_rule = {rule: load_pair(*paths, "rgbd", clip_depth=rule) for rule in (True, "measured")}
    flat = {rule: [decode_frame(opened, k).flat for k in (0, 1)] for rule, opened in by_rule.items()}
    assert flat == {True: [True, False], "measured": [False, False]}


@pytest.mark.parametrize(
    ("modality", "x", "expected"),
    [
        pytest.param("rgbt", [[0, 200]], [0, 50, 150, 200], id="thermal is mixed"),
        pytest.param("rgbe", [[0, 200]], [0, 0, 200, 200], id="events are not"),
    ],
)
def test_x_of_another_size_is_resized_if_asked(pair, modality, x, expected):
    opened = replace(pair(COLOUR[:1, :4], np.array(x, np.uint8), modality), x_transform="resize")
    assert read_frame(opened, 0)[0, :, 3].tolist() == expected


@pytest.mark.parametrize(("modality", "outside"), [("rgbt", [0, 0, 0]), ("rgbd", [128, 0, 0]), ("rgbe", [255] * 3)])
def test_a_homography_brings_x_onto_rgb(pair, modality, outside):
    x = np.full((12, 16), 100, np.uint8)
    x[3, 5] = 250
    move = ((1.0, 0.0, 7.0), (0.0, 1.0, 2.0), (0.0, 0.0, 1.0))  # 7 to the right, 2 down
    opened = replace(pair(COLOUR, x, modality), x_transform=move)
    frame = read_frame(opened, 0)
    there = frame[5, 12, 3:]
    assert (there != frame[5, 13, 3:]).any()
    assert frame[0, 0, 3:].tolist() == frame[23, 31, 3:].tolist() == outside
    assert frame[0, 0, :3].tolist() == [30, 20, 10]


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


HEIGHT, WIDTH = 60, 80
BOXES = {
    "inside": (31.3, 20.2, 14.0, 11.0),
    "left": (-3.0, 20.0, 13.0, 12.5),
    "right": (70.4, 25.0, 13.0, 12.0),
    "top": (30.0, -6.0, 11.0, 14.0),
    "bottom": (30.0, 52.0, 15.0, 12.0),
    "corner": (75.0, 55.0, 9.0, 9.0),
    "larger than the image": (-10.0, -10.0, 110.0, 90.0),
    "outside": (300.0, 20.0, 10.0, 10.0),
    "halved": (20.0, 20.0, 16.0, 16.0),  # crops of 32 and 64 pixels, to 16 and 32
}
X_IMAGES = {
    "rgb": None,
    "thermal of one channel": ("rgbt", np.uint8, ()),
    "thermal of three": ("rgbt", np.uint8, (3,)),
    "depth of 16 bits": ("rgbd", np.uint16, ()),
    "coloured depth": ("rgbd", np.uint8, (3,)),
    "events": ("rgbe", np.uint8, (3,)),
}


@pytest.fixture(params=X_IMAGES.values(), ids=X_IMAGES)
def recording(request: pytest.FixtureRequest, make_recording: Callable):
    """One frame of noise of each kind."""
    return make_recording(request.param)


@pytest.fixture
def make_recording(tmp_path):
    def make(x: tuple | None):
        rng = np.random.default_rng(0)
        modality, dtype, channels = x or ("rgb", np.uint8, ())
        images = {"rgb": rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)}
        if x is not None:
            images["x"] = rng.integers(0, np.iinfo(dtype).max, (HEIGHT, WIDTH, *channels), dtype)
        for name, image in images.items():
            (tmp_path / name).mkdir()
            cv2.imwrite(str(tmp_path / name / "0.png"), image)
        return load_pair(tmp_path / "rgb", None if x is None else tmp_path / "x", modality)

    return make


def same(a: tuple[np.ndarray, float], b: tuple[np.ndarray, float]) -> bool:
    return a[1] == b[1] and a[0].dtype == b[0].dtype == np.uint8 and np.array_equal(a[0], b[0])


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_crop_is_that_of_the_whole_image(recording, box: tuple[float, ...]) -> None:
    decoded = decode_frame(recording, 0)
    for frame in (decoded, DecodedFrame.from_image(read_frame(recording, 0))):
        for size in (16, 32, 96):
            for factor in (2.0, 4.0):
                assert same(frame.crop(box, factor, size), sample_crop(decoded.image(), box, factor, size))


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_flipped_frame_is_the_mirrored_image(recording, box: tuple[float, ...]) -> None:
    decoded, image = decode_frame(recording, 0), read_frame(recording, 0)[:, ::-1]
    for frame in (decoded.flipped(), DecodedFrame.from_image(read_frame(recording, 0)).flipped()):
        assert np.array_equal(frame.image(), image)
        assert same(frame.crop(box, 4.0, 32), sample_crop(image, box, 4.0, 32))
    patch, _ = decoded.flipped().patch(crop_window(box, 4.0), 32)
    assert np.array_equal(patch.flipped().image(), sample_crop(image, box, 4.0, 32)[0][:, ::-1])
    assert np.shares_memory(decoded.flipped().planes[0].pixels, decoded.planes[0].pixels)


def test_rgb_is_the_first_triple(recording) -> None:
    image = read_frame(recording, 0)[..., :3]
    for frame in (decode_frame(recording, 0), DecodedFrame.from_image(read_frame(recording, 0))):
        assert frame.rgb().shape == (HEIGHT, WIDTH, 3)
        assert np.array_equal(frame.rgb().image(), image)
        assert same(frame.rgb().crop(BOXES["left"], 4.0, 32), sample_crop(image, BOXES["left"], 4.0, 32))


def test_gray_frame_has_the_luminance_in_its_first_triple(recording) -> None:
    image = read_frame(recording, 0)
    luminance = cv2.cvtColor(np.ascontiguousarray(image[..., :3]), cv2.COLOR_RGB2GRAY)
    for frame in (decode_frame(recording, 0), DecodedFrame.from_image(image).flipped().flipped()):
        out = frame.gray().image()
        assert all(np.array_equal(out[..., channel], luminance) for channel in range(3))
        assert np.array_equal(out[..., 3:], image[..., 3:])


def test_shape_is_that_of_the_image(recording) -> None:
    frame = decode_frame(recording, 0)
    assert frame.shape == frame.image().shape == (HEIGHT, WIDTH, 3 if recording.x_files is None else 6)


def test_whole_image_is_red_green_blue_then_x(make_recording) -> None:
    sequence = make_recording(("rgbt", np.uint8, ()))
    rgb = cv2.imread(str(sequence.rgb_files[0]), cv2.IMREAD_COLOR)[..., ::-1]
    x = cv2.imread(str(sequence.x_files[0]), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(decode_frame(sequence, 0).image(), np.concatenate((rgb, *[x[..., None]] * 3), axis=2))


def test_without_x_its_file_is_not_opened(make_recording) -> None:
    sequence = make_recording(("rgbt", np.uint8, ()))
    expected = read_frame(sequence, 0)[..., :3]
    sequence.x_files[0].unlink()
    assert np.array_equal(decode_frame(sequence, 0, with_x=False).image(), expected)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 5), np.uint8), np.zeros((4, 5, 4), np.uint8), np.zeros((4, 5, 6), np.float32)],
    ids=["two axes", "four channels", "float"],
)
def test_frame_of_another_shape_or_type_is_an_error(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"a frame must be \(H, W, 3 or 6\) uint8, got "):
        DecodedFrame.from_image(image)


def test_images_and_arrays_that_only_state_a_size_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 5), np.uint16))
    data = (tmp_path / "a.npy").read_bytes()
    head = data.replace(b"(4, 5), }", b"(99999999999, 5), }")[: len(data)]
    picture = bytearray(cv2.imencode(".png", np.zeros((4, 5), np.uint8))[1].tobytes())
    picture[16:24] = struct.pack(">II", 60_000, 60_000)
    picture[29:33] = struct.pack(">I", zlib.crc32(picture[12:29]))
    for name, content in {"a.npy": head, "b.npy": data.replace(b"}", b")"), "c.png": bytes(picture)}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FrameError, match=name):
            read_image(tmp_path / name, X_FLAGS)
