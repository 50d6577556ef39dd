"""Crop geometry against numbers from the published code (goldens/crops.json) and hand-computed cases."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from patrack import crop
from patrack.network import normalize

GOLDENS = json.loads((Path(__file__).parent / "goldens" / "crops.json").read_text())


def synthetic_frame(height, width, t, channels=6):
    """The frame the goldens were made on: integer arithmetic, the same everywhere."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    v = 3 * x + 5 * y + 17 * c + 11 * t + ((x * y) >> 5) + 40 * (((x >> 4) + (y >> 4) + c) & 1)
    return (v % 256).astype(np.uint8)


@pytest.fixture(scope="module")
def frame():
    return synthetic_frame(480, 640, t=3)


@pytest.mark.parametrize("case", GOLDENS["cases"], ids=lambda c: f"{c['box_xywh']}x{c['factor']:g}")
def test_crop_equals_the_published_one(frame, case):
    patch, resize_factor = crop.sample_crop(frame, case["box_xywh"], case["factor"], case["size"])
    assert patch.dtype == np.uint8
    assert patch.shape == (case["size"], case["size"], 6)
    assert resize_factor == pytest.approx(case["resize_factor"], rel=1e-9)
    assert patch.mean() == pytest.approx(case["mean"], abs=0.05)
    got = {i: int(patch.ravel()[int(i)]) for i in case["pixels"]}
    assert all(abs(got[i] - value) <= 1 for i, value in case["pixels"].items())


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_crop_keeps_the_number_of_channels(frame, channels):
    patch, _ = crop.sample_crop(frame[:, :, :channels], [250, 180, 90, 70], 2.0, 32)
    assert patch.shape == (32, 32, channels)
    assert np.array_equal(patch, crop.sample_crop(frame, [250, 180, 90, 70], 2.0, 32)[0][:, :, :channels])


def test_crop_that_misses_the_image_is_black(frame):
    patch, _ = crop.sample_crop(frame, [2000, 2000, 20, 20], 2.0, 16)
    assert not patch.any()


def test_crop_that_ends_at_the_right_border_loses_the_last_column():
    white = np.full((100, 100, 3), 255, np.uint8)
    patch, _ = crop.sample_crop(white, [85, 40, 10, 10], 2.0, 20)  # columns 80..99 at scale 1
    assert (patch[:, :19] == 255).all()
    assert not patch[:, 19].any()


def test_crop_leaves_the_image_as_it_was(frame):
    before = frame.copy()
    crop.sample_crop(frame, [-12.5, 3.25, 41, 60.5], 4.0, 64)
    assert np.array_equal(frame, before)


@pytest.mark.parametrize(
    ("box", "factor", "window"),
    [
        pytest.param([10, 20, 30, 30], 2.0, (-5, 5, 60), id="square"),
        pytest.param([0.5, 1.5, 4, 4], 1.0, (0, 2, 4), id="half-rounds-to-even"),
        pytest.param([100, 100, 3, 2], 2.0, (99, 98, 5), id="side-rounds-up"),
    ],
)
def test_crop_window(box, factor, window):
    assert crop.crop_window(box, factor) == window


@pytest.mark.parametrize(
    "box", [[0, 0, 0, 5], [0, 0, 5, -1], [0, 0, float("nan"), 5], [0, float("inf"), 5, 5]], ids=str
)
def test_crop_window_refuses_a_box_without_area(box):
    with pytest.raises(ValueError, match="w > 0 and h > 0"):
        crop.crop_window(box, 2.0)


def test_normalize_uses_imagenet_statistics_for_every_triple():
    patch = np.zeros((2, 3, 6), np.uint8)
    patch[..., 4] = 255
    out = normalize(patch)
    assert out.shape == (6, 2, 3)
    assert out.dtype == torch.float32
    expected = [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225, -0.485 / 0.229, (1 - 0.456) / 0.224, -0.406 / 0.225]
    assert torch.allclose(out[:, 0, 0], torch.tensor(expected), atol=1e-6)


def test_normalize_of_a_batch_is_that_of_its_images():
    batch = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    assert torch.equal(normalize(batch), torch.stack([normalize(image) for image in batch]))


def test_normalize_refuses_channels_that_are_no_triples():
    with pytest.raises(ValueError, match="multiple of 3, got 4"):
        normalize(np.zeros((2, 2, 4), np.uint8))


def test_box_to_crop_puts_the_crop_box_in_the_middle():
    # centre (256 - 1) / 2 = 127.5, size 40 * 1.6 = 64, so the corner lies at 95.5 of 256
    box = crop.box_to_crop([10, 20, 40, 40], [10, 20, 40, 40], 1.6, 256)
    assert box.tolist() == pytest.approx([95.5 / 256, 95.5 / 256, 0.25, 0.25])


def test_box_to_crop_moves_and_scales():
    # centre 10 px right, 5 px down at factor 2: 15.5 + 20, 15.5 + 10; size 8 x 4 -> 16 x 8; of 32
    box = crop.box_to_crop([36, 48, 8, 4], [20, 35, 20, 20], 2.0, 32)
    assert box.tolist() == pytest.approx([27.5 / 32, 21.5 / 32, 16 / 32, 8 / 32])


def test_crop_to_image_uses_the_unrounded_centre():
    # middle of the crop is the previous centre (30.25, 40.5); 0.25 * 256 / 1.6 = 40 px wide
    box = crop.crop_to_image([0.5, 0.5, 0.25, 0.125], [10.25, 30.5, 40, 20], 1.6, 256)
    assert box.tolist() == pytest.approx([30.25 - 20, 40.5 - 10, 40, 20])


def test_crop_to_image_takes_back_box_to_crop_up_to_half_a_crop_pixel():
    around, target, factor, size = [12.3, 45.6, 30.0, 50.0], [20.0, 50.0, 33.0, 47.0], 1.7, 128
    x, y, w, h = crop.box_to_crop(target, around, factor, size)
    back = crop.crop_to_image([x + w / 2, y + h / 2, w, h], around, factor, size)
    assert back[2:].tolist() == pytest.approx(target[2:])
    assert (back[:2] + 0.5 / factor).tolist() == pytest.approx(target[:2])


@pytest.mark.parametrize(
    ("box", "margin", "clipped"),
    [
        pytest.param([20, 30, 40, 20], 10, [20, 30, 40, 20], id="inside"),
        pytest.param([-5, -5, 20, 20], 10, [0, 0, 15, 15], id="over-the-corner"),
        pytest.param([90, 70, 40, 40], 10, [90, 70, 10, 10], id="over-the-far-corner"),
        pytest.param([200, 200, 40, 40], 10, [90, 70, 10, 10], id="far-outside"),
        pytest.param([-200, -200, 40, 40], 10, [0, 0, 10, 10], id="far-outside-negative"),
        pytest.param([50, 40, 2, 3], 10, [50, 40, 10, 10], id="too-small"),
        pytest.param([50, 40, 2, 3], 0, [50, 40, 2, 3], id="no-margin"),
    ],
)
def test_clip_box_in_an_image_of_100_by_80(box, margin, clipped):
    assert crop.clip_box(box, 80, 100, margin).tolist() == clipped


def test_clip_box_in_an_image_smaller_than_the_margin_covers_it():
    assert crop.clip_box([3, 3, 100, 100], 6, 8, 10).tolist() == [0, 0, 8, 6]


def test_hann_window_equals_the_published_one():
    window = crop.hann_window(16)
    assert window.dtype == np.float32
    assert np.allclose(window[7], GOLDENS["hann16"], atol=1e-6)
    assert np.allclose(window[:, 7], GOLDENS["hann16"], atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_crop_of_a_mirrored_view_is_that_of_its_copy(frame, channels):
    mirrored = frame[:, ::-1, :channels]
    for box in ([250, 180, 90, 70], [-20, 180, 90, 70], [600, 400, 90, 70]):
        patch, _ = crop.sample_crop(mirrored, box, 2.0, 32)
        assert np.array_equal(patch, crop.sample_crop(mirrored.copy(), box, 2.0, 32)[0])


@pytest.mark.parametrize("mirrored", [False, True])
def test_window_too_large_to_be_laid_out_shows_the_same(monkeypatch, mirrored):
    y, x = np.mgrid[:60, :80].astype(np.float64)
    image = np.stack([127 + 100 * np.sin(x / (9 + c)) * np.cos(y / (7 + c)) for c in range(6)], axis=2).astype(np.uint8)
    image = image[:, ::-1] if mirrored else image
    for window in ((-35, -50, 160, 160), (10, 5, 40, 40), (-3, 2, 90, 45)):
        expected = crop.sample_rectangle(image, window, 32).astype(int)
        with monkeypatch.context() as patch:
            patch.setattr(crop, "LARGEST_WINDOW", 100)
            got = crop.sample_rectangle(image, window, 32).astype(int)
        inside = (expected > 0).all(axis=2) & (got > 0).all(axis=2)  # borders are blended with black
        assert inside.sum() > 100
        assert np.abs(got - expected)[inside].max() <= 3


def test_window_of_a_huge_box_needs_no_huge_memory():
    patch, factor = crop.sample_crop(np.full((48, 64, 6), 200, np.uint8), (-6000, -6000, 12000, 12000), 4.0, 64)
    assert patch.shape == (64, 64, 6)  # laid out in full it would take 14 GB
    assert factor == 64 / 48000
