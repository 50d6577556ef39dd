"""Hand-computed geometry."""

import numpy as np
import pytest

from lib.evaluation.boxes import (
    center_error,
    corners_to_xywh,
    iou,
    normalized_center_error,
    raster_overlap,
    round_half_away,
)

NAN = float("nan")


def one(*numbers):
    return np.array([numbers], dtype=np.float64)


@pytest.mark.parametrize(
    ("box", "truth", "expected"),
    [
        pytest.param((0, 0, 10, 10), (0, 0, 10, 10), 1.0, id="equal"),
        pytest.param((0, 0, 10, 10), (5, 0, 10, 10), 50 / 150, id="half shared"),
        pytest.param((0, 0, 10, 10), (2, 2, 5, 5), 25 / 100, id="inside"),
        pytest.param((0, 0, 10, 10), (10, 0, 10, 10), 0.0, id="touching edges share nothing"),
        pytest.param((0, 0, 10, 10), (10, 10, 10, 10), 0.0, id="touching corners"),
        pytest.param((0, 0, 10, 10), (30, 30, 1, 1), 0.0, id="apart"),
        pytest.param((0.25, 0, 0.5, 1), (0.5, 0, 0.5, 1), 0.25 / 0.75, id="below a pixel, no plus one"),
        pytest.param((0, 0, 0, 10), (0, 0, 10, 10), 0.0, id="zero width against a box"),
        pytest.param((3, 3, 0, 0), (3, 3, 0, 0), NAN, id="two empty boxes have no overlap to speak of"),
        pytest.param((NAN, 0, 1, 1), (0, 0, 1, 1), NAN, id="NaN stays"),
        pytest.param((0, 0, -5, 5), (-5, 0, 10, 5), 0.0, id="negative width never overlaps"),
    ],
)
def test_iou(box, truth, expected):
    assert iou(one(*box), one(*truth)) == pytest.approx([expected], abs=1e-15, nan_ok=True)


def test_empty_input_gives_empty_output():
    nothing = np.zeros((0, 4))
    assert iou(nothing, nothing).shape == (0,)
    assert center_error(nothing, nothing).shape == (0,)


def test_center_error_is_euclidean():
    assert center_error(one(0, 0, 10, 10), one(3, 4, 10, 10)).tolist() == [5.0]
    assert center_error(one(0, 0, 10, 10), one(2, 2, 6, 6)).tolist() == [0.0]


def test_normalized_error_is_in_units_of_the_true_box():
    assert normalized_center_error(one(3, 8, 10, 20), one(0, 0, 10, 20)).tolist() == [0.5]


def test_normalized_error_of_a_true_box_without_width_passes_no_threshold():
    error = normalized_center_error(one(1, 0, 4, 4), one(0, 0, 0, 4))
    assert not (error <= 0.5).any()


@pytest.mark.parametrize(
    "row",
    [
        pytest.param((1, 2, 11, 22), id="two corners"),
        pytest.param((1, 2, 11, 2, 11, 22, 1, 22), id="four corners around"),
        pytest.param((1, 2, 11, 2, 1, 22, 11, 22), id="last two swapped"),
    ],
)
def test_corners_become_xywh_without_plus_one(row):
    assert corners_to_xywh(one(*row)).tolist() == [[1, 2, 10, 20]]


def test_corners_refuse_another_number_of_columns():
    with pytest.raises(ValueError, match=r"4 or 8 columns, got 5"):
        corners_to_xywh(np.zeros((3, 5)))


def test_halves_are_rounded_away_from_zero():
    assert round_half_away(np.array([0.5, 1.5, 2.5, -0.5, -2.5, 2.4])).tolist() == [1, 2, 3, -1, -3, 2]


@pytest.mark.parametrize(
    ("box", "truth", "old", "new"),
    [
        pytest.param((0, 0, 10, 10), (5, 0, 10, 10), 50 / 150, 50 / 150, id="counts pixels"),
        pytest.param((0.4, 0.4, 10.4, 9.6), (0, 0, 10, 10), 1.0, 1.0, id="rounds first"),
        pytest.param((0.5, 0, 10, 10), (0, 0, 10, 10), 1.0, 1.0, id="half down to even"),
        pytest.param((1.5, 0, 10, 10), (2, 0, 10, 10), 1.0, 1.0, id="half up to even"),
        pytest.param((-10, 0, 20, 10), (0, 0, 10, 10), 1.0, 1.0, id="outside the image does not count"),
        pytest.param((95, 0, 20, 10), (95, 0, 5, 10), 1.0, 1.0, id="clipped at the right"),
        pytest.param((NAN,) * 4, (0, 0, 10, 10), 0.0, 0.0, id="nothing reported, target there"),
        pytest.param((0, 0, 10, 10), (NAN,) * 4, 0.0, 0.0, id="reported, target absent"),
        pytest.param((NAN,) * 4, (NAN,) * 4, 0.0, 1.0, id="nothing reported, target absent"),
        pytest.param((5, 5, 1, 10), (5, 5, 1, 10), 0.0, 1.0, id="both fit in one column of pixels"),
        pytest.param((0, 0, 0, 0), (NAN,) * 4, 0.0, 1.0, id="empty box, target absent"),
        pytest.param((0, 0, 0, 0), (5, 5, 10, 10), 0.0, 0.0, id="empty box, target there"),
        pytest.param((-20, 0, 5, 5), (-30, 0, 5, 5), 0.0, 0.0, id="both outside the image"),
    ],
)
def test_raster_overlap_in_a_100_by_50_image(box, truth, old, new):
    for empty_is_match, expected in ((False, old), (True, new)):
        overlap = raster_overlap(one(*box), one(*truth), 100, 50, empty_is_match=empty_is_match)
        assert overlap == pytest.approx([expected], abs=1e-12), f"empty_is_match={empty_is_match}"
