from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lib.datasets.decoded import DecodedFrame
from lib.training.augment import LARGEST, MOST_ELONGATED, SMALLEST, InvalidCrop, draw_region


def noise(height: int = 120, width: int = 160, channels: int = 3) -> DecodedFrame:
    return DecodedFrame.from_image(np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8))


def test_regions_lie_inside_and_have_every_allowed_size_and_shape() -> None:
    boxes = np.array([draw_region(noise(), np.random.default_rng(seed)) for seed in range(300)])
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= [160, 120]).all()
    sides, aspects = np.sqrt(boxes[:, 2:].prod(axis=1)), boxes[:, 2] / boxes[:, 3]
    assert SMALLEST <= sides.min() < 1.05 * SMALLEST
    assert 0.95 * LARGEST * 120 < sides.max() <= LARGEST * 120
    assert 1 / MOST_ELONGATED <= aspects.min() < 1.1 / MOST_ELONGATED
    assert 0.9 * MOST_ELONGATED < aspects.max() <= MOST_ELONGATED


def test_plain_region_and_frame_that_is_too_small_lead_to_another_draw() -> None:
    with pytest.raises(InvalidCrop, match="plain"):
        draw_region(DecodedFrame.from_image(np.full((120, 160, 3), 90, np.uint8)), np.random.default_rng(0))
    with pytest.raises(InvalidCrop, match="doesn't fit into 12x10"):
        draw_region(noise(10, 12), np.random.default_rng(0))


def test_with_regions_alone_both_frames_are_one_and_the_label_is_the_region(
    make_dataset: Callable, read_frame: Callable
) -> None:
    read: list[int] = []

    def noted(sequence: object, number: int) -> DecodedFrame:
        read.append(number)
        return read_frame(sequence, number)

    dataset = make_dataset(read=noted)
    (usual, _), asked = dataset[1, 0], list(read)
    assert len(set(asked)) == 2
    dataset.region_probability = 1.0
    read.clear()
    (followed, _) = dataset[1, 0]
    assert len(read) == 1
    assert not np.array_equal(followed.box, usual.box)


def test_without_regions_no_random_number_is_consumed(make_dataset: Callable) -> None:
    dataset, other = make_dataset(), make_dataset()
    other.region_probability = 1e-12  # draws the number, and never acts
    assert not np.array_equal(dataset[1, 0][0].search, other[1, 0][0].search)
