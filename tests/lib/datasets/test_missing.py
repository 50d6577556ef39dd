from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib.datasets.missing import (
    RandomMasks,
    choose_masks,
    masks_digest,
    missing_shares,
    parse_missing,
    random_mask,
    read_masks,
    with_masks,
    write_masks,
)
from patrack.recordings.sequence import DataError, Sequence


def sequence(name: str, frames: int = 3, cut: int = 0) -> Sequence:
    return Sequence(
        name=name,
        modality="rgbt",
        rgb_files=tuple(Path(f"{n}.png") for n in range(frames)),
        x_files=tuple(Path(f"x{n}.png") for n in range(frames)),
        boxes=np.ones((frames, 4)),
        visible=np.ones(frames, bool),
        absent=np.zeros(frames, bool),
        cut=cut,
    )


def written(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def entry(*rows: list) -> dict:
    return {"frames": len(rows), "data": list(rows)}


@pytest.mark.parametrize("ones", [(0, 1), (False, True), (0.0, 1.0)], ids=["integers", "booleans", "floats"])
def test_masks_are_read_as_published(tmp_path: Path, ones: tuple) -> None:
    no, yes = ones
    path = written(tmp_path / "masks.json", {"a": entry([yes, yes], [no, yes], [no, no]), "b": entry([yes, no])})
    masks = read_masks(path)
    assert list(masks) == ["a", "b"]
    assert masks["a"].tolist() == [[True, True], [False, True], [False, False]]
    assert masks["b"].dtype == bool


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("{", "not JSON", id="cut off"),
        pytest.param("9" * 5000, "not JSON: Exceeds the limit", id="long number"),
        pytest.param("[" * 100000, "not", id="nested without end"),
        pytest.param([1], "must hold", id="a list"),
        pytest.param({}, "must hold", id="empty"),
        pytest.param(
            {"Group1_random_missing": {"missing_function": "random_missing", "sequences": [["a", {"frames": 9}]]}},
            "names groups of sequences .Group1_random_missing.*missing_results",
            id="the published groups",
        ),
        pytest.param({"a": [[1, 1]]}, "sequence a must be", id="rows alone"),
        pytest.param({"a": {"data": [[1, 1]]}}, r"sequence a must be .*got \['data'\]", id="no number of frames"),
        pytest.param({"a": {"frames": True, "data": [[1, 1]]}}, "sequence a must be", id="frames is no number"),
        pytest.param({"a": {"frames": 2, "data": [[1, 1]]}}, '"frames": 2, but 1 rows', id="wrong count"),
        pytest.param({"a": entry([1, 1], [1])}, r"sequence a, row 1 \(from 0\).*got \[1\]", id="one flag"),
        pytest.param({"a": entry([1, 2])}, r"row 0 .*got \[1, 2\]", id="two"),
        pytest.param({"a": entry([1, "1"])}, "row 0", id="text"),
        pytest.param({"a": entry([1, None])}, "row 0", id="null"),
        pytest.param({"a": entry([1, float("nan")])}, "row 0", id="nan"),
        pytest.param({"a": entry([1, 0.5])}, "row 0", id="half"),
        pytest.param({"a": entry([1, [1]])}, "row 0", id="nested"),
    ],
)
def test_other_files_are_refused_with_the_place(tmp_path: Path, content: object, message: str) -> None:
    path = written(tmp_path / "masks.json", content)
    with pytest.raises(DataError, match=message) as raised:
        read_masks(path)
    assert str(path) in str(raised.value)


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: cannot be read"):
        read_masks(tmp_path / "none.json")


def test_sequences_get_their_rows_and_those_of_dropped_first_frames_are_dropped() -> None:
    masks = {"a": np.array([[1, 1], [0, 1], [1, 0]], bool), "b": np.array([[0, 0], [1, 1], [0, 0], [1, 0]], bool)}
    a, b = with_masks([sequence("a"), sequence("b", cut=1)], masks | {"more": masks["a"]}, "masks.json")
    assert [a.streams_at(n) for n in range(3)] == [(True, True), (False, True), (True, False)]
    assert b.present.tolist() == masks["b"][1:].tolist()
    assert sequence("c").streams_at(2) == (True, True)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"b": np.ones((3, 2), bool)}, r"masks.json: no mask for 1 of 1 sequences: a \(it has 1, b\)"),
        ({"a": np.ones((4, 2), bool)}, "mask of a has 4 rows, .*3 frames"),
        ({"a": np.array([[0, 0], [1, 1], [1, 1]], bool)}, "a lacks both streams in frame 0"),
    ],
    ids=["unknown sequence", "wrong count", "nothing to start with"],
)
def test_masks_that_do_not_suit_the_data_are_refused(masks: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        with_masks([sequence("a")], masks, "masks.json")


def test_mask_of_another_shape_is_no_sequence() -> None:
    with pytest.raises(DataError, match="present has shape"):
        replace(sequence("a"), present=np.ones((3, 1), bool))


@pytest.mark.parametrize("stream", ["rgb", "x"])
@pytest.mark.parametrize(("share", "dropped"), [(0.0, 0), (0.25, 10), (0.5, 20), (0.75, 30)])
@pytest.mark.parametrize("length", [1, 7, 100])
def test_random_mask_drops_its_share_of_one_stream_and_keeps_the_first_frame(
    stream: str, share: float, dropped: int, length: int
) -> None:
    mask = random_mask(41, stream, share, length, np.random.default_rng(3))
    column = mask[:, ["rgb", "x"].index(stream)]
    assert (~mask).sum() == (~column).sum() == dropped
    assert column[0]
    again = random_mask(41, stream, share, length, np.random.default_rng(3))
    assert np.array_equal(mask, again)


def test_share_one_drops_the_stream_for_ever_and_gaps_are_as_long_as_asked_for() -> None:
    assert random_mask(9, "x", 1.0, 4, np.random.default_rng(0)).tolist() == [[True, False]] * 9
    missing = ~random_mask(101, "x", 0.3, 10, np.random.default_rng(1))[:, 1]
    edges = np.flatnonzero(np.diff(missing.astype(int)))
    assert ((edges % 10) == 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"), [(("y", 0.5, 1), "rgb, x"), (("x", 1.5, 1), "share"), (("x", 0.5, 0), "at least 1")]
)
def test_impossible_masks_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        random_mask(10, *arguments, np.random.default_rng(0))


def test_written_masks_are_read_back_and_have_the_same_digest_however_they_are_written(tmp_path: Path) -> None:
    masks = {name: random_mask(20, "rgb", 0.4, 3, np.random.default_rng(n)) for n, name in enumerate("ab")}
    write_masks(tmp_path / "masks.json", masks)
    back = read_masks(tmp_path / "masks.json")
    assert {name: mask.tolist() for name, mask in back.items()} == {name: mask.tolist() for name, mask in masks.items()}
    other = written(
        tmp_path / "other.json",
        {name: entry(*mask.astype(float).tolist()) for name, mask in reversed(masks.items())},
    )
    assert masks_digest(read_masks(other)) == masks_digest(masks)
    masks["a"][5] = [False, True]
    assert masks_digest(masks) != masks_digest(back)


@pytest.mark.parametrize(
    ("text", "stream", "share"),
    [
        ("0.3", "either", 0.3),
        ("x:0.3", "x", 0.3),
        ("RGB:.5", "rgb", 0.5),
        ("either:1", "either", 1.0),
        (" 0 ", "either", 0.0),
        ("x:1e-2", "x", 0.01),
    ],
)
def test_a_rate_is_read(text: str, stream: str, share: float) -> None:
    assert parse_missing(text, 5, 3) == RandomMasks(stream, share, 5, 3)
    assert parse_missing(text) == RandomMasks(stream, share, 10, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.5", r"--missing 1.5: share of missing frames must lie in \[0, 1\], got 1.5"),
        ("-0.1", "must lie in"),
        ("nan", "must lie in"),
        ("x:30", "must lie in"),
        ("depth:0.3", "stream must be one of rgb, x, either, got 'depth'"),
        (":0.3", "stream must be one of"),
        ("30%", "no such file, and it is no rate; .* e.g. x:0.3"),
        ("x:", "no such file"),
        ("masks.jsn", "masks.jsn: there is no such file"),
    ],
)
def test_what_is_neither_rate_nor_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_missing(text)


def test_a_file_called_like_a_rate_is_read_by_its_path_and_has_no_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "0.3", {"a": entry([1, 1])})
    assert parse_missing("./0.3") == Path("./0.3")
    with pytest.raises(ValueError, match=r"--gap 5 belongs to a rate, and --missing \./0\.3 is a file"):
        parse_missing("./0.3", gap=5)
    with pytest.raises(ValueError, match="gap must be at least 1"):
        parse_missing("0.3", gap=0)
    with pytest.raises(DataError, match="cannot be read"):
        choose_masks(parse_missing(str(tmp_path)), [])


def test_drawn_masks_of_a_sequence_do_not_depend_on_the_others_and_follow_the_seed() -> None:
    drawn = RandomMasks("x", 0.5, gap=2, seed=0)
    a, b = sequence("a", 40), sequence("b", 40, cut=3)
    both = drawn.draw([a, b])
    assert np.array_equal(drawn.draw([b, a])["a"], both["a"])
    assert np.array_equal(drawn.draw([a])["a"], both["a"])
    assert not np.array_equal(both["a"], both["b"][3:])
    assert both["b"].shape == (43, 2)
    assert both["b"][:4].all()
    assert not np.array_equal(replace(drawn, seed=1).draw([a])["a"], both["a"])
    assert str(drawn) == "x:0.5, gaps of 2 frames, seed 0"
    masks, told = choose_masks(drawn, [a])
    assert told == str(drawn)
    assert missing_shares(masks) == (0.0, 0.5)
    assert missing_shares({}) == (0.0, 0.0)


def test_either_drops_one_stream_a_gap_never_both_and_keeps_the_first_frame() -> None:
    mask = RandomMasks("either", 1.0, gap=4).draw([sequence("a", 81)])["a"]
    assert mask[0].all()
    assert (mask[1:].sum(axis=1) == 1).all()
    gaps = mask[1:].reshape(20, 4, 2)
    assert (gaps == gaps[:, :1]).all()
    assert 0 < mask[1:, 0].mean() < 1
    half = RandomMasks("either", 0.5, gap=4).draw([sequence("a", 81)])["a"]
    assert (~half).sum() == 40
