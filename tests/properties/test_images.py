"""Images and arrays: read back as written; damaged ones are refused with their path."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hostile import any_bytes, damaged, only_reads
from patrack.recordings.frames import RGB_FLAGS, X_FLAGS, FrameError, read_image

rng = np.random.default_rng(0)
PICTURE = cv2.resize(rng.integers(0, 256, (4, 6, 3), np.uint8), (48, 32), interpolation=cv2.INTER_LINEAR)
WIDE = (cv2.resize(rng.integers(0, 65535, (4, 6)).astype(np.uint16), (48, 32))).astype(np.uint16)


def encoded(suffix: str, image: np.ndarray, *options: int) -> bytes:
    done, data = cv2.imencode(suffix, image, options)
    assert done
    return data.tobytes()


def numpy_file(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


VALID = {
    "jpg": encoded(".jpg", PICTURE),
    "progressive.jpg": encoded(".jpg", PICTURE, cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    "png": encoded(".png", PICTURE),
    "16.png": encoded(".png", WIDE),
    "bmp": encoded(".bmp", PICTURE),
    "tif": encoded(".tif", PICTURE),
    "16.tif": encoded(".tif", WIDE),
    "npy": numpy_file(WIDE.astype(np.float32)),
    "raw": np.zeros((60, 80), "<u2").tobytes(),
}


def read(path: Path, flags: int) -> np.ndarray | None:
    """The image, or None where it is refused as documented."""
    with only_reads():
        try:
            return read_image(path, flags)
        except FrameError as error:
            assert str(path) in str(error)
    return None


@given(
    image=st.one_of(
        arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))),
        arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))),
        arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    ),
    suffix=st.sampled_from([".png", ".tif", ".npy"]),
)
def test_pixels_read_back_as_written(image, suffix, folder):
    path = folder / f"a{suffix}"
    path.write_bytes(numpy_file(image) if suffix == ".npy" else encoded(suffix, image))
    np.testing.assert_array_equal(read(path, X_FLAGS), image)
    as_rgb = read(path, RGB_FLAGS)
    if suffix == ".npy" or image.dtype != np.uint8:
        assert as_rgb is None
    else:
        assert as_rgb.shape == (*image.shape[:2], 3)


@pytest.mark.parametrize("kind", VALID)
@given(data=st.data())
def test_any_damaged_image_is_read_or_refused(kind, data, folder):
    path = folder / f"a.{kind}"
    path.write_bytes(data.draw(any_bytes(VALID[kind])))
    for flags in (RGB_FLAGS, X_FLAGS):
        image = read(path, flags)
        if image is not None:
            assert image.ndim in (2, 3)
            assert image.size
            assert image.dtype.kind in "uif"
            assert flags != RGB_FLAGS or (image.dtype == np.uint8 and image.shape[2] == 3)


@pytest.mark.parametrize("kind", ["jpg", "progressive.jpg", "png", "tif", "bmp", "npy"])
@given(at=st.floats(0, 1, exclude_max=True))
def test_an_image_that_is_cut_off_is_refused(kind, at, folder):
    path = folder / f"a.{kind}"
    path.write_bytes(VALID[kind][: int(at * len(VALID[kind]))])
    assert read(path, X_FLAGS) is None


@given(data=damaged(VALID["png"], most=1))
def test_a_damaged_png_never_gives_other_pixels(data, folder):
    path = folder / "a.png"
    path.write_bytes(data)
    image = read(path, RGB_FLAGS)
    assert image is None or np.array_equal(image, PICTURE)


@pytest.mark.parametrize(("width", "height"), [(60000, 60000), (2**31 - 1, 1), (1, 2**31 - 1), (65535, 65535)])
def test_an_image_that_states_a_huge_size_takes_no_memory(width, height, folder):
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(2**20))) + chunk(b"IEND", b"")
    files = {"a.png": bomb, "a.npy": numpy_file(WIDE).replace(b"(32, 48)", f"({height}, {width})".encode())}
    header = bytearray(VALID["jpg"])
    at = header.find(b"\xff\xc0") + 5
    header[at : at + 4] = struct.pack(">HH", min(height, 65535), min(width, 65535))
    files["a.jpg"] = bytes(header)
    for name, content in files.items():
        (folder / name).write_bytes(content)
        assert read(folder / name, X_FLAGS) is None, name


def test_objects_in_an_array_file_are_never_loaded(folder):
    path = folder / "a.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert read(path, X_FLAGS) is None
