"""Names of frames: their order and pairs follow from the names alone, whatever order and language they come in."""

from __future__ import annotations

import itertools
import locale

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostile import WORDS
from patrack.recordings.naming import PAIRING_RULES, Pairing, frame_number, in_order, pair, read_times
from patrack.recordings.sequence import DataError

stems = st.sampled_from(["", "v", "cam_", "left-", "2_v", "img.", "é_"])
numbers = st.lists(st.integers(0, 10**6), min_size=1, max_size=12, unique=True).map(sorted)
PIECES = st.one_of(
    st.integers(0, 99).map(str),
    st.sampled_from(
        ["_", "-", ".", " ", "v", "cam", " (2)", "copy", "2026-05-01", "23-59-59", "1688123455871", "12.500", "٣", "²"]
    ),
    st.sampled_from([word for word in WORDS if "/" not in word and "\x00" not in word and len(word) < 20]),
)
any_name = st.lists(PIECES, min_size=1, max_size=5).map(lambda pieces: "".join(pieces) + ".png")
any_names = st.lists(any_name, min_size=1, max_size=8, unique=True)


@given(prefix=stems, values=numbers, width=st.sampled_from([0, 4, 8]), data=st.data())
def test_frames_with_one_number_are_sorted_by_it(prefix, values, width, data):
    names = [f"{prefix}{value:0{width}d}.jpg" for value in values]
    assert in_order(data.draw(st.permutations(names))) == names
    assert [frame_number(name) for name in names] == values


@given(
    start=st.integers(10**9, 2 * 10**9), steps=st.lists(st.integers(1, 10**7), min_size=2, max_size=10), data=st.data()
)
def test_frames_with_times_are_sorted_by_them(start, steps, data):
    micros = list(itertools.accumulate(steps, initial=start * 10**6))
    names = [f"{value // 10**6}.{value % 10**6:06d}.png" for value in micros]
    assert in_order(data.draw(st.permutations(names))) == names
    kind, seconds = read_times(names)
    assert kind == "unix"
    np.testing.assert_allclose(seconds, np.array(micros) / 1e6, rtol=0, atol=1e-6)


@given(names=any_names, data=st.data())
def test_the_order_of_any_names_does_not_depend_on_how_they_are_listed(names, data):
    def attempt(listed):
        try:
            return in_order(listed, "HERE")
        except DataError as error:
            assert str(error).startswith("HERE: ")
            return str(error)

    first = attempt(names)
    assert attempt(data.draw(st.permutations(names))) == first
    assert isinstance(first, str) or sorted(first) == sorted(names)
    before = locale.setlocale(locale.LC_ALL)
    try:
        for name in ("C", "C.UTF-8", "de_DE.UTF-8", "tr_TR.UTF-8"):
            try:
                locale.setlocale(locale.LC_ALL, name)
            except locale.Error:  # not on this machine
                continue
            assert attempt(names) == first
    finally:
        locale.setlocale(locale.LC_ALL, before)


def check(pairing: Pairing, rgb: int, x: int) -> None:
    assert pairing.x.shape == (rgb,)
    assert pairing.x.dtype == np.int64
    assert ((pairing.x >= -1) & (pairing.x < x)).all()
    assert pairing.unused == x - len(set(pairing.x[pairing.x >= 0].tolist()))
    assert (pairing.x >= 0).any()
    assert pairing.complete == (pairing.unused == 0 and bool((pairing.x >= 0).all()))
    assert str(pairing)


@pytest.mark.parametrize("rule", PAIRING_RULES)
@given(rgb=any_names, x=any_names)
def test_any_two_lists_of_names_are_paired_or_refused(rule, rgb, x):
    try:
        pairing = pair(rgb, x, rule, where="HERE")
    except DataError as error:
        assert str(error).startswith("HERE: ")
        return
    check(pairing, len(rgb), len(x))
    assert rule in ("auto", pairing.rule)


@given(values=numbers, prefixes=st.tuples(stems, stems), data=st.data())
def test_frames_with_the_same_numbers_are_pairs_and_dropped_ones_are_missed(values, prefixes, data):
    rgb = [f"{prefixes[0]}{value:08d}.jpg" for value in values]
    kept = data.draw(st.lists(st.sampled_from(range(len(values))), min_size=1, unique=True).map(sorted))
    x = [f"{prefixes[1]}{values[k]:08d}.png" for k in kept]
    pairing = pair(rgb, x, "number") if len(values) > 1 else pair(rgb, x)
    check(pairing, len(rgb), len(x))
    assert pairing.unused == 0
    assert [k for k in range(len(values)) if pairing.x[k] >= 0] == kept


@given(
    rgb=st.one_of(st.integers(1, 9), st.lists(st.floats(0, 100), min_size=1, max_size=9, unique=True).map(sorted)),
    x=st.one_of(
        st.integers(1, 9), st.lists(st.floats(0, 100), min_size=1, max_size=9, unique=True).map(sorted), any_names
    ),
    tolerance=st.one_of(st.none(), st.floats(0, 10)),
)
def test_videos_are_paired_with_anything_or_refused(rgb, x, tolerance):
    sides = [side if isinstance(side, int) or isinstance(side[0], str) else np.array(side) for side in (rgb, x)]
    try:
        pairing = pair(*sides, tolerance=tolerance, where="HERE")
    except DataError as error:
        assert str(error).startswith("HERE: ")
        return
    check(pairing, *(side if isinstance(side, int) else len(side) for side in sides))
