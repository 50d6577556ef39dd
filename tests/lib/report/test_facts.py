"""Failures, re-detection and speed, on cases small enough to count by hand."""

import json

import numpy as np
import pytest

from lib.evaluation.ground_truth import GroundTruth
from lib.report.page import find_losses, overlaps, read_speed

A = np.nan


def losses(*runs):
    """Losses of overlaps given as (value, frames), behind the first frame."""
    return find_losses(np.concatenate([[1.0], *(np.full(count, value) for value, count in runs)]))


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        # frames, lost frames, failures, found again, delays
        pytest.param([(0.8, 30)], (30, 0, 0, 0, []), id="never lost"),
        pytest.param([(0.8, 5), (0.1, 9), (0.8, 5)], (19, 0, 0, 0, []), id="nine frames are no failure"),
        pytest.param([(0.8, 5), (0.1, 10), (0.8, 5)], (20, 10, 1, 1, [10]), id="ten are"),
        pytest.param([(0.8, 5), (0.0, 10), (0.3, 4), (0.5, 1)], (20, 14, 1, 1, [14]), id="found at half overlap"),
        pytest.param([(0.8, 5), (0.0, 12), (0.3, 4), (0.0, 12)], (33, 28, 1, 0, []), id="one failure until the end"),
        pytest.param([(0.0, 10), (0.9, 1), (0.0, 10)], (21, 20, 2, 1, [10]), id="lost twice"),
        pytest.param([(0.0, 5), (A, 50), (0.0, 5), (0.9, 1)], (11, 10, 1, 1, [10]), id="absent frames are passed over"),
        pytest.param([(0.11, 30)], (30, 0, 0, 0, []), id="just above the limit"),
    ],
)
def test_failures(runs, expected):
    found = losses(*runs)
    assert (found.frames, found.lost_frames, found.failures, found.found_again, found.delays) == expected
    assert found.failed_sequences == (expected[2] > 0)


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        pytest.param([(0.8, 5), (A, 3), (0.2, 9), (0.5, 1)], (1, 1), id="caught in the tenth frame"),
        pytest.param([(0.8, 5), (A, 3), (0.2, 10), (0.5, 1)], (1, 0), id="too late in the eleventh"),
        pytest.param([(0.8, 5), (A, 1), (0.8, 2), (A, 1), (0.0, 2)], (2, 1), id="two returns"),
        pytest.param([(0.8, 5), (A, 9)], (0, 0), id="never back"),
        pytest.param([(A, 9)], (0, 0), id="always absent"),
    ],
)
def test_returns(runs, expected):
    found = losses(*runs)
    assert (found.returns, found.caught) == expected


def test_sums_over_sequences():
    total = losses((0.0, 10), (0.9, 1))
    total.add(losses((0.0, 20), (0.9, 1)))
    assert (total.failures, total.failed_sequences, total.delays, total.delay) == (2, 2, [10, 20], 15.0)
    assert losses((0.9, 1)).delay is None


def test_overlap_is_the_better_modality_and_nan_without_target():
    visible = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 0, 0], [A, A, A, A]], float)
    infrared = visible + np.array([5.0, 0, 0, 0])
    boxes = np.array([[0, 0, 10, 10], [5, 0, 10, 10], [A, A, A, A], [0, 0, 10, 10], [0, 0, 10, 10]], float)
    found = overlaps(GroundTruth((visible, infrared)), boxes)
    assert found[:3].tolist() == [1.0, 1.0, 0.0]
    assert np.isnan(found[3:]).all()
    absent = np.array([False, True, False, False, False])
    assert np.isnan(overlaps(GroundTruth((visible,), absent), boxes)).tolist() == [False, True, False, True, True]


def test_speed_leaves_out_the_first_frame_and_names_the_device(tmp_path):
    for name, frames in {"a": 11, "b": 6}.items():
        (tmp_path / f"{name}_times.txt").write_text("9.0\n" + "0.02\n" * (frames - 1))
    (tmp_path / "run.json").write_text(json.dumps({"device": "cpu", "threads": 2}))
    truth = {name: GroundTruth((np.zeros((11, 4)),)) for name in "abc"}
    speed = read_speed(str(tmp_path), truth)
    assert (round(speed.fps, 6), round(speed.median, 6), round(speed.slowest, 6)) == (50.0, 20.0, 20.0)
    assert (speed.sequences, speed.device, speed.note) == (2, "cpu, 2 threads", "")


@pytest.mark.parametrize("text", ["fast\n0.1\n", "1.0\nnan\n", "1.0\n-1\n", "1.0\n", "1.0\n0\n"])
def test_a_bad_time_file_is_left_out_and_named(tmp_path, text):
    (tmp_path / "a_times.txt").write_text(text)
    speed = read_speed(str(tmp_path), {"a": GroundTruth((np.zeros((2, 4)),))})
    assert speed.fps is None
    assert "a_times.txt" in speed.note


def test_no_times_is_no_error(tmp_path):
    assert read_speed(str(tmp_path), {"a": GroundTruth((np.zeros((2, 4)),))}).note == "no files with times"
