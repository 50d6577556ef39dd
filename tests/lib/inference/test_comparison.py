"""Trackers side by side: what is measured, on which frames, from which box."""

import copy

import numpy as np
import pytest
import torch

from lib.datasets.recordings import read_recording
from lib.evaluation.evaluate import mean_scores, measure
from lib.inference.comparison import compare, mean_ious
from patrack import build_model
from patrack.tracker import Tracker
from recording_data import boxes, text, write_recording
from small_models import tiny_config


class Script:
    """Says the boxes that it was given, one per frame."""

    def __init__(self, rows):
        self.rows, self.started, self.shapes = rows, [], []

    def initialize(self, frame, box_xywh):
        self.started.append(np.array(box_xywh))
        self.shapes.append(frame.shape)
        self.number = 0

    def track(self, frame):
        self.number += 1
        return self.rows[self.number].copy(), 0.5


@pytest.fixture
def recording(tmp_path):
    return read_recording(write_recording(tmp_path / "cup", ("rgb", "ir"), frames=30))


def shifted(overlaps, recording):
    """Boxes with these overlaps (N,): the true ones, moved to the right; width 12."""
    moved = recording.boxes.copy()
    moved[:, 0] += 12 * (1 - np.array(overlaps)) / (1 + np.array(overlaps))
    return moved


def test_first_frame_and_frames_without_a_true_box_do_not_count(tmp_path):
    rows = boxes(12)
    rows[4:8] = np.nan
    recording = read_recording(write_recording(tmp_path / "r", lines=text(rows)))
    overlaps = np.full(12, 0.6)
    overlaps[0] = overlaps[8] = 0.3
    found = boxes(12)
    found[:, 0] += 12 * (1 - overlaps) / (1 + overlaps)
    scores = measure(found, recording, np.full(12, 0.25))
    assert scores.mean_iou == pytest.approx((6 * 0.6 + 0.3) / 7)
    assert scores.above_half == pytest.approx(6 / 7)
    assert scores.fps == 4
    assert np.isnan(scores.overlaps[[0, 4, 5, 6, 7]]).all()


@pytest.mark.parametrize(
    ("misses", "held", "lost"),
    [
        ([], 30, False),
        (range(5, 14), 30, False),
        (range(5, 15), 5, True),
        ([3, *range(12, 30)], 12, True),
        ([29], 29, True),
        (range(1, 30), 1, True),
    ],
    ids=["never", "nine frames", "ten frames", "found again, then lost", "last frame", "at once"],
)
def test_target_is_lost_after_ten_frames_or_at_the_end(recording, misses, held, lost):
    overlaps = np.full(30, 0.8)
    overlaps[list(misses)] = 0.1
    scores = measure(shifted(overlaps, recording), recording)
    assert (scores.held, scores.lost) == (held, lost)


def test_one_missed_annotation_of_every_tenth_frame_is_not_a_loss_but_two_are(tmp_path):
    folder = write_recording(tmp_path / "r", ("rgb", "ir"), 41, "rgb.txt", text(boxes(41)[::10]))
    recording = read_recording(folder)
    found = boxes(41)
    found[10] = 0
    assert not measure(found, recording).lost
    found[20] = 0
    assert (measure(found, recording).held, measure(found, recording).lost) == (10, True)


def test_boxes_of_another_number_are_refused(recording):
    with pytest.raises(ValueError, match="recording cup: 30 frames, but boxes of shape"):
        measure(recording.boxes[:-1], recording)


def test_all_start_from_the_same_box_and_see_what_they_read(recording, tmp_path):
    alone = read_recording(write_recording(tmp_path / "alone"))
    rgb, pair = Script(boxes(30)), Script(shifted(np.full(30, 0.5), recording))
    seen = []
    scores = compare(
        {"rgb": {"rgb": rgb}, "pair": {"rgbt": pair}},
        [recording, alone],
        lambda recording, name, _: seen.append((recording.name, name)),
    )
    assert seen == [("cup", "rgb"), ("cup", "pair"), ("alone", "rgb")]
    assert rgb.shapes == [(64, 96, 3), (64, 96, 3)]
    assert pair.shapes == [(64, 96, 6)]
    np.testing.assert_array_equal(rgb.started[0], pair.started[0])
    assert scores["cup"]["rgb"].mean_iou == 1
    assert scores["cup"]["pair"].mean_iou == pytest.approx(0.5)
    assert list(scores["alone"]) == ["rgb"]


def test_mean_counts_each_recording_once(recording, tmp_path):
    short = read_recording(write_recording(tmp_path / "short", frames=4))
    lost = np.full(30, 0.4)
    lost[20:] = 0.0
    means = mean_scores(
        [measure(shifted(lost, recording), recording, np.ones(30)), measure(short.boxes, short, np.full(4, 0.5))]
    )
    assert means["mean_iou"] == pytest.approx((0.4 * 19 / 29 + 1) / 2)
    assert (means["held"], means["lost"], means["recordings"], means["fps"]) == (12, 1, 2, 1.5)


@pytest.mark.parametrize("streams", ["rgb", "both"])
def test_model_in_training_is_scored_and_left_as_it_was(recording, streams):
    torch.manual_seed(0)
    model = build_model(tiny_config({"streams": streams})).train()
    model.head.eval()
    before, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    scores = mean_ious(model, [recording])
    assert list(scores) == ["cup"]
    assert 0 <= scores["cup"] <= 1
    assert scores == mean_ious(Tracker(model), [recording]) == mean_ious(model, [recording])
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_anything_with_the_two_methods_is_scored(recording):
    assert mean_ious(Script(boxes(30)), [recording]) == {"cup": 1.0}
