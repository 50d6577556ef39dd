"""What is counted about absences, and what a confidence is worth."""

from __future__ import annotations

import numpy as np
import pytest

from lib.evaluation.recovery import Track, count_flags, fit_confidence, reliability


def track(overlaps: str, lost: str, scores: list[float] | None = None) -> Track:
    """A letter per frame: `.` absent, `o` on the target, `x` off it; `L` said to be lost."""
    values = np.array([{".": np.nan, "o": 0.8, "x": 0.0}[letter] for letter in overlaps])
    absent = np.array([letter == "." for letter in overlaps])
    return Track(values, absent, np.array(scores or [0.5] * len(values)), np.array([letter == "L" for letter in lost]))


def test_absences_flags_and_recoveries_are_counted():
    flags = count_flags(
        [
            track("oo....xxoo", "---LLLLL--"),  # said after 1 frame, found again after 2
            track("oo..xx..oo", "----LL----"),  # two absences, none flagged; the second one is followed by the target
            track("oooo....", "-L----LL"),  # a false alarm; flagged after 2; never comes back
        ]
    )
    assert (flags.absences, flags.flagged, flags.delay) == (4, 2, 1.5)
    assert (flags.returns, flags.recovered, flags.recovery) == (3, 2, 1.0)
    assert flags.false_alarms == pytest.approx(1000 / 12)
    assert flags.missed == pytest.approx(0)
    assert flags.overlap == pytest.approx(12 * 0.8 / 16)


def test_nothing_to_count_is_no_number():
    flags = count_flags([track("oooo", "----")])
    assert (flags.absences, flags.returns, flags.false_alarms) == (0, 0, 0)
    assert np.isnan([flags.delay, flags.recovery, flags.missed]).all()


def test_fitted_confidence_comes_true():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.02, 0.98, 20000)
    true = 1 / (1 + np.exp(-(2.0 * np.log(scores / (1 - scores)) - 0.5)))
    right = rng.uniform(size=len(scores)) < true
    made = Track(np.where(right, 0.8, 0.1), np.zeros(len(scores), bool), scores, np.zeros(len(scores), bool))
    slope, offset = fit_confidence([made])
    assert (slope, offset) == (pytest.approx(2.0, abs=0.1), pytest.approx(-0.5, abs=0.06))
    rows, error = reliability([made], slope, offset)
    assert error < 0.02
    assert sum(count for *_, count in rows) == len(scores)
    assert reliability([made], 1.0, 0.0)[1] > 3 * error


def test_absent_frames_count_as_wrong_and_unknown_ones_do_not_count():
    made = Track(
        np.array([0.9, 0.9, np.nan, np.nan]),
        np.array([False, False, True, False]),
        np.full(4, 0.5),
        np.zeros(4, bool),
    )
    (row,), _ = reliability([made], 1.0, 0.0)
    assert row == (0.5, pytest.approx(2 / 3), 3)


def test_without_a_mistake_nothing_can_be_fitted():
    with pytest.raises(ValueError, match="4 are on the target"):
        fit_confidence([track("oooo", "----")])
