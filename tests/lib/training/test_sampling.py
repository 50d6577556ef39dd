from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lib.training.sampling import PairSampler, Source, sample_generator, usable_frames


def flags(length: int, *frames: int) -> np.ndarray:
    return np.isin(np.arange(length), frames)


def draws(sampler: PairSampler, count: int, seed: int = 0) -> list:
    return [sampler.draw(sample_generator(seed, 1, index)) for index in range(count)]


def test_search_follows_template_within_the_gap_and_both_are_usable(make_sequence: Callable) -> None:
    visible = np.arange(60) % 3 != 0
    sampler = PairSampler([Source("set", (make_sequence(length=60, visible=visible),))], max_gap=7)
    pairs = draws(sampler, 500)
    gaps = {pair.search - pair.template for pair in pairs}
    assert all(visible[pair.template] and visible[pair.search] for pair in pairs)
    assert gaps == set(range(1, 7))  # the published range leaves out the gap itself


def test_template_is_uniform_over_usable_frames_with_a_successor(make_sequence: Callable) -> None:
    usable = [2, 5, 7, 8, 20]
    sampler = PairSampler([Source("set", (make_sequence(visible=flags(30, *usable)),))], max_gap=200)
    counts = np.bincount([pair.template for pair in draws(sampler, 4000)], minlength=30)
    assert set(np.flatnonzero(counts)) == {2, 5, 7, 8}
    assert counts[[2, 5, 7, 8]] == pytest.approx(1000, abs=120)


def test_gap_grows_until_a_search_frame_is_found(make_sequence: Callable) -> None:
    sampler = PairSampler([Source("set", (make_sequence(length=60, visible=flags(60, 0, 15, 30, 45, 59)),))], max_gap=2)
    assert {pair.search - pair.template for pair in draws(sampler, 50)} == {14, 15}


@pytest.mark.parametrize(
    ("box", "visible"),
    [
        ([np.nan] * 4, True),
        ([1, 1, 0, 5], True),
        ([1, 1, 5, -2], True),
        ([1, 1, np.inf, 5], True),
        ([1, 1, 5, 5], False),
    ],
    ids=["no annotation", "zero width", "negative height", "infinite", "not visible"],
)
def test_frame_is_unusable(make_sequence: Callable, box: list[float], visible: bool) -> None:
    sequence = make_sequence(length=4, visible=np.array([True, visible, True, True]))
    sequence.boxes[1] = box
    assert usable_frames(sequence).tolist() == [0, 2, 3]


@pytest.mark.parametrize(
    ("length", "usable", "kept"),
    [(19, 19, False), (20, 20, True), (30, 4, False), (30, 5, True)],
    ids=["19 frames", "20 frames", "4 usable", "5 usable"],
)
def test_short_sequences_are_left_out(make_sequence: Callable, length: int, usable: int, kept: bool) -> None:
    short = make_sequence("short", length=length, visible=np.arange(length) < usable)
    sampler = PairSampler([Source("set", (make_sequence("long"), short))], 200)
    assert (1 in {pair.sequence for pair in draws(sampler, 60)}) == kept


def test_sources_are_drawn_by_weight_and_sequences_uniformly(make_sequence: Callable) -> None:
    many, one = tuple(make_sequence(str(n)) for n in range(4)), (make_sequence("one"),)
    sampler = PairSampler([Source("many", many, 1.0), Source("one", one, 3.0)], 200)
    pairs = draws(sampler, 4000)
    assert sum(pair.source for pair in pairs) / 4000 == pytest.approx(0.75, abs=0.03)
    counts = np.bincount([pair.sequence for pair in pairs if pair.source == 0])
    assert counts == pytest.approx(250, abs=60)


def test_drawing_is_a_pure_function_of_seed_epoch_and_index(make_sequence: Callable) -> None:
    sampler = PairSampler([Source("set", (make_sequence(length=60),))], 200)
    first = draws(sampler, 20)
    assert draws(sampler, 20) == first
    assert [sampler.draw(sample_generator(0, 1, index)) for index in reversed(range(20))] == first[::-1]
    assert draws(sampler, 20, seed=1) != first
    assert [sampler.draw(sample_generator(0, 2, index)) for index in range(20)] != first


def test_no_source_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"data\.train"):
        PairSampler([], 200)


def test_source_without_a_usable_sequence_is_an_error_that_names_it(make_sequence: Callable) -> None:
    with pytest.raises(ValueError, match="lasher/train: none of its 1 sequences"):
        PairSampler([Source("lasher/train", (make_sequence(length=10),))], 200)
