"""Cutting objects out of photographs and video."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lib.synthetic.pictures import cut_out, is_photograph, moving_things, photo_regions


def test_cut_out_is_cropped_to_the_mask_with_a_soft_edge() -> None:
    image = np.full((60, 80, 3), (10, 20, 30), np.uint8)
    mask = np.zeros((60, 80), bool)
    mask[10:40, 20:60] = True
    cut, box = cut_out(image, mask)
    assert box == (20, 10, 40, 30)
    assert cut.shape == (30, 40, 4)  # a pixel of the mask on each side is only the edge's softness
    assert cut[14, 19].tolist() == [10, 20, 30, 255]
    assert 0 < cut[14, 0, 3] < 127 < cut[14, 1, 3] < 255


def test_cut_out_is_no_longer_than_asked() -> None:
    cut, _ = cut_out(np.zeros((200, 400, 3), np.uint8), np.ones((200, 400), bool), longest=100)
    assert max(cut.shape[:2]) == 100


def test_nothing_left_gives_none() -> None:
    mask = np.zeros((20, 20), bool)
    mask[3:6, 3:6] = True
    assert cut_out(np.zeros((20, 20, 3), np.uint8), mask) is None


@pytest.mark.parametrize("grain", [0, 20], ids=["drawing", "photograph"])
def test_drawing_is_told_from_a_photograph_by_its_flat_areas(grain: int) -> None:
    rng = np.random.default_rng(0)
    picture = 120 + rng.normal(0, 1, (40, 40, 4)) * grain
    picture[..., 3] = 255
    assert is_photograph(np.clip(picture, 0, 255).astype(np.uint8)) == (grain > 0)


def test_moving_thing_is_found_in_every_frame_and_what_stands_still_is_not() -> None:
    frames = []
    for k in range(20):
        frame = np.full((90, 120, 3), 60, np.uint8)
        cv2.rectangle(frame, (5, 60), (20, 80), (200, 200, 200), -1)
        cv2.rectangle(frame, (20 + 3 * k, 20), (34 + 3 * k, 44), (20, 90, 220), -1)
        frames.append(frame)
    (track,) = moving_things(frames, smallest=0.005)
    assert [k for k, _ in track] == list(range(20))
    x, y, w, h = cv2.boundingRect(track[10][1].astype(np.uint8))
    assert abs(x - 50) <= 2
    assert abs(y - 20) <= 2
    assert abs(w - 15) <= 4
    assert abs(h - 25) <= 4


def test_region_of_one_colour_is_found() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (180, 240, 3), dtype=np.uint8)
    cv2.circle(image, (120, 90), 40, (30, 160, 200), -1)
    truth = np.zeros((180, 240), np.uint8)
    cv2.circle(truth, (120, 90), 40, 1, -1)
    overlaps = [(m & (truth > 0)).sum() / (m | (truth > 0)).sum() for m in photo_regions(image)]
    assert max(overlaps) > 0.85
