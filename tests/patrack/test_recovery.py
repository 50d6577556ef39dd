"""Lost and found: when a target counts as lost, where it is looked for, and what is reported meanwhile."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from patrack.config import schema
from patrack.config.schema import RecoveryConfig
from patrack.tracker import MultiTracker, Tracker

SETTINGS = {"lost_below": 0.3, "lost_after": 2, "found_above": 0.5, "found_after": 2, "tries": 2}
BOX = (100.0, 80.0, 20.0, 20.0)


class Seeker(nn.Module):
    """Finds the brightest cell of 4 x 4, and is as sure as it is bright."""

    streams, template_size, search_size, GRID = "both", 32, 64, 16

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, template, search):
        bright = nn.functional.avg_pool2d(search[:, :1] * 0.229 + 0.485, self.search_size // self.GRID)
        sizes = torch.full_like(bright, 0.25).repeat(1, 2, 1, 1)
        return {"score_map": bright.clamp(0, 1), "size_map": sizes, "offset_map": torch.full_like(sizes, 0.5)}


def frame(center: tuple[int, int] | None, shape: tuple[int, int] = (200, 300)) -> np.ndarray:
    """A white square of 20 pixels on black, or nothing."""
    image = np.zeros((*shape, 6), np.uint8)
    if center is not None:
        x, y = center
        image[max(y - 10, 0) : y + 10, max(x - 10, 0) : x + 10] = 255
    return image


def follow(centers: list[tuple[int, int] | None], recover: bool = True, **changes: object):
    test = schema.TestConfig(window=True, recovery=RecoveryConfig(**(SETTINGS | changes)))
    tracker = Tracker(Seeker(), test=test, recover=recover)
    tracker.initialize(frame((110, 90)), BOX)
    return [tracker.track(frame(center)) for center in centers]


def center_of(box: np.ndarray) -> tuple[float, float]:
    return float(box[0] + 0.5 * box[2]), float(box[1] + 0.5 * box[3])


def test_a_target_is_lost_after_some_frames_and_the_box_is_held():
    results = follow([(112, 90), None, None, None, None])
    assert [result.lost for result in results] == [False, False, True, True, True]
    for result in results[2:]:
        assert np.allclose(result.box, results[0].box)
        assert result.score < 0.3


def test_a_target_that_comes_back_elsewhere_is_found():
    absent: list[tuple[int, int] | None] = [None] * 6
    results = follow([*absent, *[(240, 40)] * 20])
    found = [result for result in results[6:] if not result.lost]
    assert found
    assert np.abs(np.subtract(center_of(found[-1].box), (240, 40))).max() < 10
    plain = follow([*absent, *[(240, 40)] * 20], recover=False)
    assert np.abs(np.subtract(center_of(plain[-1].box), (240, 40))).max() > 40  # it searches near its last box only


def test_found_once_is_not_found_yet():
    results = follow([None] * 3 + [(110, 90)] * 3, found_after=3)
    assert [result.lost for result in results] == [False, True, True, True, True, False]
    assert np.abs(np.subtract(center_of(results[3].box), (110, 90))).max() < 6  # but it is shown


def test_more_places_are_searched_in_a_frame_with_more_tries():
    def frames_until_found(tries: int) -> int:
        results = follow([None] * 3 + [(260, 160)] * 60, tries=tries)
        return next(k for k, result in enumerate(results) if k >= 3 and not result.lost)

    assert frames_until_found(6) < frames_until_found(1)


def test_without_a_threshold_or_when_not_wanted_it_is_the_plain_tracker():
    centers = [(112, 90), None, None, (114, 92)]
    plain = follow(centers, recover=False)
    off = follow(centers, lost_below=0.0)
    assert all(np.array_equal(a.box, b.box) and a.score == b.score for a, b in zip(plain, off, strict=True))
    assert plain[1].lost  # by its score alone


def test_streams_that_are_missing_lose_nothing():
    tracker = Tracker(Seeker(), test=schema.TestConfig(recovery=RecoveryConfig(**SETTINGS)), recover=True)
    tracker.initialize(frame((110, 90)), BOX)
    for _ in range(5):
        result = tracker.track(frame(None), present=(False, False))
    assert not result.lost
    assert result.score == 0


def test_each_of_several_targets_is_lost_and_found_by_itself():
    tracker = Tracker(Seeker(), test=schema.TestConfig(recovery=RecoveryConfig(**SETTINGS)), recover=True)
    both = frame((110, 90)) | frame((250, 150))
    targets = MultiTracker(tracker, slots=2)
    one, other = targets.add(both, BOX), targets.add(both, (240, 140, 20, 20))
    for _ in range(3):
        results = targets.track(frame((250, 150)))
    assert (results[one].lost, results[other].lost) == (True, False)


def test_the_confidence_is_that_of_the_calibration():
    test = schema.TestConfig(confidence={"slope": 2.0, "offset": 0.5})
    tracker = Tracker(Seeker(), test=test)
    tracker.initialize(frame((110, 90)), BOX)
    result = tracker.track(frame((114, 92)))
    logit = np.log(result.score / (1 - result.score))
    assert result.confidence == pytest.approx(1 / (1 + np.exp(-(2 * logit + 0.5))), rel=1e-6)
    assert tracker.initialize(frame((110, 90)), BOX).confidence == 1.0
