"""Colours converted after the crop: the same pixels, bit for bit, as a crop of the converted frame."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from lib.datasets.decoded import DecodedFrame
from lib.datasets.frames import decode_frame, read_frame
from lib.datasets.recordings import load_pair
from patrack.crop import crop_window, sample_crop

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
