"""Conversion of thermal, depth and event data; depth values are worked out by hand from the rule."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from patrack.modality import (
    DEPTH,
    EVENT,
    PAIRS,
    THERMAL,
    RunningRange,
    events_to_image,
    to_eight_bits,
    usual_range,
    x_to_three_channels,
)

JET = {  # gray value -> B, G, R
    0: (128, 0, 0),
    32: (255, 0, 0),
    96: (254, 255, 2),
    128: (126, 255, 130),
    160: (0, 252, 255),
    224: (0, 0, 252),
    255: (0, 0, 128),
}
SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "samples"


def jet(values) -> np.ndarray:
    """JET of OpenCV, B, G, R."""
    return cv2.applyColorMap(np.asarray(values, dtype=np.uint8), cv2.COLORMAP_JET)


@pytest.mark.parametrize("gray", JET)
def test_the_colour_map_is_jet_in_the_order_blue_green_red(gray):
    depth = np.array([[0, gray, 255]], dtype=np.uint16)
    assert tuple(x_to_three_channels(depth, DEPTH, clip_depth=False)[0, 1]) == JET[gray]


def test_the_colour_map_is_within_one_of_its_closed_form():
    ramp = np.arange(256, dtype=np.uint16)[None]
    x = np.arange(256) / 255
    blue, green, red = (np.clip(1.5 - abs(4 * x - k), 0, 1) for k in (1, 2, 3))
    form = np.round(np.stack((blue, green, red), axis=1) * 255)
    assert abs(x_to_three_channels(ramp, DEPTH, clip_depth=False)[0] - form).max() <= 1


@pytest.mark.parametrize(
    ("values", "clip", "gray"),
    [
        # median 1000, limit 3000: 9000 becomes 3000; 1000 * 255 / 3000 = 85
        pytest.param([0, 1000, 1000, 9000, 3000], True, [0, 85, 85, 255, 255], id="clipped at three medians"),
        pytest.param([0, 1000, 1000, 9000, 3000], False, [0, 28, 28, 255, 85], id="not clipped: 28.33, 85"),
        # median 5000 would give 15000; the limit is 10000, and 5000 * 255 / 10000 = 127.5 rounds to the even 128
        pytest.param([0, 5000, 5000, 60000, 5000], True, [0, 128, 128, 255, 128], id="clipped at ten metres"),
        # even count: median (1 + 2) / 2 = 1.5, limit 4.5 is cut to 4
        pytest.param([1, 1, 2, 9], True, [0, 0, 85, 255], id="limit is truncated"),
        # three of five are holes: median 0, everything becomes 0
        pytest.param([0, 0, 0, 700, 900], True, [0, 0, 0, 0, 0], id="mostly holes"),
        pytest.param([0, 0, 0, 700, 900], False, [0, 0, 0, 198, 255], id="mostly holes, not clipped: 198.33"),
        pytest.param([700, 700, 700], True, [0, 0, 0], id="constant"),
        # holes are ordinary values: without one the nearest pixel is 0
        pytest.param([500, 1000, 1500], True, [0, 128, 255], id="no hole: 127.5 to the even 128"),
        pytest.param([0, 1, 2, 3, 4], False, [0, 64, 128, 191, 255], id="63.75, 127.5, 191.25"),
        pytest.param([0, 246, 492], False, [0, 128, 255], id="exact tie 127.5"),
        pytest.param([0, 1370, 1644], False, [0, 212, 255], id="exact tie 212.5 to the even 212"),
        pytest.param([0, 65535, 65535], False, [0, 255, 255], id="whole range"),
        pytest.param([0, 65535, 65535], True, [0, 255, 255], id="whole range, clipped"),
    ],
)
def test_depth_is_clipped_scaled_and_coloured(values, clip, gray):
    depth = np.array([values], dtype=np.uint16)
    np.testing.assert_array_equal(x_to_three_channels(depth, DEPTH, clip_depth=clip), jet([gray]))


def test_one_channel_8_bit_depth_follows_the_same_rule():
    depth = np.array([[0, 100, 100, 200]], dtype=np.uint8)
    np.testing.assert_array_equal(x_to_three_channels(depth, DEPTH), jet([[0, 128, 128, 255]]))


def test_depth_scaling_agrees_with_opencv_except_for_exact_ties():
    rng = np.random.default_rng(0)
    depth = rng.integers(300, 5000, (48, 64)).astype(np.uint16)
    gray = cv2.normalize(depth, None, alpha=0, beta=255, norm_type=cv2.NORM_MINMAX).astype(np.uint8)
    exact = (depth - depth.min()) * 255.0 / (depth.max() - depth.min())
    no_tie = exact % 1 != 0.5
    np.testing.assert_array_equal(x_to_three_channels(depth, DEPTH, clip_depth=False)[no_tie], jet(gray)[no_tie])


def test_the_limit_is_three_times_numpys_median():
    rng = np.random.default_rng(1)
    for shape in ((7, 9), (8, 8)):
        depth = rng.integers(0, 4000, shape).astype(np.uint16)
        depth[0, 0] = 60000
        clipped = np.minimum(depth, int(min(3 * np.median(depth), 10000))).astype(np.uint16)
        np.testing.assert_array_equal(
            x_to_three_channels(depth, DEPTH), x_to_three_channels(clipped, DEPTH, clip_depth=False)
        )


def test_coloured_depth_is_kept_as_stored():
    coloured = jet([[0, 50, 200]])
    np.testing.assert_array_equal(x_to_three_channels(coloured, DEPTH), coloured)


def test_gray_depth_with_three_channels_is_treated_as_one_channel():
    gray = np.array([[0, 100, 100, 200]], dtype=np.uint8)
    np.testing.assert_array_equal(
        x_to_three_channels(np.repeat(gray[:, :, None], 3, axis=2), DEPTH), x_to_three_channels(gray, DEPTH)
    )


@pytest.mark.parametrize("kind", [THERMAL, EVENT])
def test_colour_files_become_red_green_blue(kind):
    bgr = np.array([[[10, 20, 30]]], dtype=np.uint8)
    assert x_to_three_channels(bgr, kind).tolist() == [[[30, 20, 10]]]


@pytest.mark.parametrize("kind", [THERMAL, EVENT])
@pytest.mark.parametrize("shape", [(1, 2), (1, 2, 1)], ids=str)
def test_one_channel_becomes_three_equal_ones(kind, shape):
    gray = np.array([7, 250], dtype=np.uint8).reshape(shape)
    assert x_to_three_channels(gray, kind).tolist() == [[[7, 7, 7], [250, 250, 250]]]


@pytest.mark.parametrize("kind", [pair.kind for pair in PAIRS.values()])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3)], ids=str)
def test_the_input_is_not_changed_and_the_output_is_uint8(kind, shape):
    image = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    before = image.copy()
    converted = x_to_three_channels(image, kind)
    np.testing.assert_array_equal(image, before)
    assert converted.dtype == np.uint8
    assert converted.shape == (4, 5, 3)


@pytest.mark.parametrize(
    ("shape", "dtype", "kind", "message"),
    [
        pytest.param((4, 5, 4), np.uint8, THERMAL, r"\(4, 5, 4\)", id="four channels"),
        pytest.param((4, 5, 2), np.uint16, DEPTH, r"\(4, 5, 2\)", id="two channels"),
        pytest.param((0, 5), np.uint8, EVENT, r"\(0, 5\)", id="empty"),
        pytest.param((4,), np.uint8, EVENT, r"\(4,\)", id="no image"),
        pytest.param((4, 5), np.uint16, THERMAL, "type uint16: .*x_range", id="16-bit thermal without a range"),
        pytest.param((4, 5), np.complex64, DEPTH, r"millimeters.* got complex64", id="complex depth"),
        pytest.param((4, 5, 3), np.uint16, DEPTH, "8 bits per channel, got uint16", id="16-bit coloured depth"),
        pytest.param((4, 5), np.uint8, "sonar", r"\('thermal', 'depth', 'event'\), got 'sonar'", id="unknown kind"),
    ],
)
def test_what_cannot_be_converted_is_refused(shape, dtype, kind, message):
    with pytest.raises(ValueError, match=message):
        x_to_three_channels(np.zeros(shape, dtype=dtype), kind)


def test_events_are_drawn_on_white_and_off_lies_over_on():
    image = events_to_image([9, 1, 2, 3], [0, 1, 2, 2], [0, 0, 1, 1], [1, 0, 0, 1], height=2, width=3)
    white, red, blue = (255, 255, 255), (220, 30, 30), (30, 30, 200)  # R, G, B
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, [[red, blue, white], [white, white, blue]])


@pytest.mark.parametrize("polarity", [(1, 0), (1, -1), (True, False)], ids=str)
def test_polarity_may_be_0_or_minus_1_or_boolean(polarity):
    image = events_to_image([0, 0], [0, 1], [0, 0], polarity, height=1, width=2)
    assert image.tolist() == [[[220, 30, 30], [30, 30, 200]]]


def test_no_events_give_a_white_image():
    assert (events_to_image([], [], [], [], height=4, width=5) == 255).all()


@pytest.mark.parametrize(("x", "y"), [(5, 0), (0, 4), (-1, 0), (0, -1)])
def test_an_event_outside_the_image_is_refused(x, y):
    with pytest.raises(ValueError, match="width 5 and height 4"):
        events_to_image([0], [x], [y], [1], height=4, width=5)


def test_event_arrays_of_different_length_are_refused():
    with pytest.raises(ValueError, match="got 2, 1, 1, 1"):
        events_to_image([0, 1], [0], [0], [1], height=4, width=5)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample recordings are not beside the repository")
def test_event_images_equal_those_of_a_real_recording():
    folder = SAMPLES / "rgbe_evbench_seq2"
    events = np.load(folder / "events.npz")
    windows = np.loadtxt(folder / "frame_window_us.csv", delimiter=",")
    for k in range(0, len(windows), 8):
        inside = (events["t_us"] >= windows[k, 0]) & (events["t_us"] < windows[k, 1])
        part = (events[key][inside] for key in ("t_us", "x", "y", "p"))
        rendered = cv2.imread(str(folder / "event_imgs" / f"frame{k:04d}.png"))[:, :, ::-1]
        np.testing.assert_array_equal(events_to_image(*part, height=180, width=240), rendered)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_a_range_of_values_becomes_0_to_255(dtype):
    counts = np.array([[7000, 7100, 7200, 7300, 9000, 20]], dtype=dtype)
    image = x_to_three_channels(counts, THERMAL, value_range=(7100, 7300))
    assert image[0, :, 0].tolist() == [0, 0, 128, 255, 255, 0]
    assert (image[..., :1] == image).all()


def test_what_no_camera_measured_is_the_lowest_value():
    assert to_eight_bits(np.array([np.nan, np.inf, 2.0]), (0, 2)).tolist() == [0, 255, 255]


@pytest.mark.parametrize("limits", [(5, 5), (6, 5), (np.nan, 5)])
def test_a_range_must_be_one(limits):
    with pytest.raises(ValueError, match="lower one first"):
        to_eight_bits(np.zeros((2, 2)), limits)


def test_the_usual_range_leaves_out_half_a_percent_on_either_side():
    values = np.arange(1001, dtype=np.uint16)
    assert usual_range([values[:500], values[500:]]) == (5, 995)
    assert usual_range([np.array([np.nan, 1.0, np.inf])]) == (1, 2)
    with pytest.raises(ValueError, match="no finite value"):
        usual_range([np.array([np.nan])])


def test_a_stream_sets_its_range_with_the_first_frame_and_follows_slowly():
    scene = np.arange(1001, dtype=np.uint16).reshape(7, 143) + 7000
    convert = RunningRange(share=0.1)
    first = convert(scene)
    assert convert.value_range == (7005, 7995)
    assert (first.min(), first.max()) == (0, 255)
    convert(scene + 1000)
    assert convert.value_range == pytest.approx((7105, 8095))


def test_depth_in_meters_is_depth_in_millimeters():
    millimeters = np.random.default_rng(0).integers(0, 6000, (20, 30)).astype(np.uint16)
    meters = millimeters.astype(np.float32) / 1000
    meters[millimeters == 0] = np.nan
    np.testing.assert_array_equal(x_to_three_channels(meters, DEPTH), x_to_three_channels(millimeters, DEPTH))
    np.testing.assert_array_equal(
        x_to_three_channels(millimeters.astype(np.int32) - (millimeters == 0), DEPTH),  # -1: not measured
        x_to_three_channels(millimeters, DEPTH),
    )


def test_millimeters_are_not_taken_for_meters():
    with pytest.raises(ValueError, match=r"must be in meters, got values up to 1500: .* 16-bit whole"):
        x_to_three_channels(np.full((4, 5), 1500, np.float32), DEPTH)


def test_depth_that_is_mostly_not_measured_is_flat_by_the_published_rule_only():
    depth = np.zeros((10, 10), np.uint16)
    depth[:4] = np.arange(1000, 5000, 100).reshape(4, 10)
    assert np.ptp(x_to_three_channels(depth, DEPTH), axis=(0, 1)).tolist() == [0, 0, 0]
    # limited to 3 * 2950, so by nothing here
    np.testing.assert_array_equal(
        x_to_three_channels(depth, DEPTH, "measured"), x_to_three_channels(depth, DEPTH, clip_depth=False)
    )
    nothing = x_to_three_channels(np.zeros((4, 5), np.uint16), DEPTH, "measured")
    assert (nothing == (128, 0, 0)).all()


def test_the_rule_for_recordings_is_the_published_one_where_all_is_measured():
    depth = np.random.default_rng(1).integers(300, 9000, (20, 30)).astype(np.uint16)
    np.testing.assert_array_equal(x_to_three_channels(depth, DEPTH, "measured"), x_to_three_channels(depth, DEPTH))
