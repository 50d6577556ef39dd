"""Hand-computed curves and means."""

import numpy as np
import pytest

from lib.evaluation.onepass import CENTER_GRID, OVERLAP_GRID, CurveMetric, average, hits, summary

PR = CurveMetric("PR", "center", CENTER_GRID, at=20.0)
SR = CurveMetric("SR", "overlap", OVERLAP_GRID)


def rate(metric, *values):
    return summary(metric, hits(metric, np.array(values, dtype=np.float64)) / len(values))


@pytest.mark.parametrize(
    ("strict", "expected"), [pytest.param(False, 2 / 3, id="at or below"), pytest.param(True, 1 / 3, id="below")]
)
def test_distance_exactly_on_the_threshold(strict, expected):
    metric = CurveMetric("PR", "center", CENTER_GRID, at=20.0, strict=strict)
    assert rate(metric, 19.0, 20.0, np.nextafter(20.0, 21.0)) == expected


def test_overlap_exactly_on_a_threshold_does_not_pass_it():
    counts = hits(SR, np.array([0.5]))
    assert counts.tolist() == [1.0] * 10 + [0.0] * 11


@pytest.mark.parametrize("k", range(20))
def test_no_overlap_of_k_twentieths_passes_its_own_threshold(k):
    assert hits(SR, np.array([k / 20]))[k] == 0


def test_perfect_overlap_scores_twenty_of_twenty_one():
    assert rate(SR, 1.0, 1.0) == pytest.approx(20 / 21, abs=1e-15)


def test_overlap_zero_scores_nothing():
    assert rate(SR, 0.0) == 0.0


def test_nan_and_infinity_are_misses_and_stay_in_the_denominator():
    assert rate(PR, 0.0, np.nan, np.inf, 0.0) == 0.5
    assert rate(SR, 1.0, np.nan) == pytest.approx(10 / 21, abs=1e-15)


def test_minus_one_hits_every_distance_and_no_overlap():
    assert hits(PR, np.array([-1.0])).tolist() == [1.0] * 51
    assert hits(SR, np.array([-1.0])).tolist() == [0.0] * 21


def test_trapezoid_of_a_perfect_tracker_loses_half_a_step():
    metric = CurveMetric("MSR", "overlap", OVERLAP_GRID, trapezoid=True)
    assert rate(metric, 1.0) == pytest.approx(0.975, abs=1e-15)


def test_hits_of_no_frames():
    assert hits(PR, np.zeros(0)).tolist() == [0.0] * 51


COUNTS = np.array([[1.0, 2.0], [0.0, 0.0], [8.0, 8.0]])
FRAMES = np.array([2.0, 2.0, 16.0])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({"pooled": False, "drop_zero_curves": False}, [(0.5 + 0 + 0.5) / 3, (1 + 0 + 0.5) / 3], id="mean"),
        pytest.param({"pooled": False, "drop_zero_curves": True}, [0.5, 0.75], id="sequence without hits dropped"),
        pytest.param({"pooled": True, "drop_zero_curves": False}, [9 / 20, 10 / 20], id="frames pooled"),
    ],
)
def test_average(options, expected):
    assert average(COUNTS, FRAMES, **options) == pytest.approx(expected, abs=1e-15)


def test_average_is_zero_when_every_sequence_is_dropped():
    assert average(np.zeros((2, 3)), np.array([4.0, 4.0]), pooled=False, drop_zero_curves=True).tolist() == [0, 0, 0]


def test_average_over_no_sequences_is_refused():
    with pytest.raises(ValueError, match="no sequences"):
        average(np.zeros((0, 3)), np.zeros(0), pooled=False, drop_zero_curves=False)
