"""Order and pairing of frames by their names, in the forms that cameras and converters write."""

from __future__ import annotations

import random

import numpy as np
import pytest

from patrack.recordings.naming import frame_number, in_order, pair, read_times
from patrack.recordings.sequence import DataError


@pytest.mark.parametrize(
    "names",
    [
        ["v000009.jpg", "v000010.jpg", "v000011.jpg"],
        ["v9.jpg", "v10.jpg", "v101.jpg"],
        ["00009v.jpg", "00010v.jpg", "00101v.jpg"],
        ["1688123455.871000.png", "1688123456.004333.png", "1688123456.137666.png"],
        ["1688123455_871000.png", "1688123456_004333.png", "1688123456_137666.png"],
        ["1688123455.9.png", "1688123456.03.png", "1688123456.2.png"],
        ["0.933.png", "1.000.png", "1.067.png"],
        ["1688123455871.png", "1688123456004.png"],
        ["cam_2026-05-01_23-59-59.png", "cam_2026-05-02_00-00-00.png", "cam_2026-05-02_00-00-01.png"],
        ["20260501_235959_900000.png", "20260502_000000_100000.png"],
        ["23-59-58.png", "23-59-59.png", "00-00-00.png", "00-00-01.png"],
        ["2_v2.png", "10_v2.png", "11_v2.png"],
        ["f1_320x240.png", "f2_320x240.png", "f10_320x240.png"],
        ["f10_320x240.png", "f20_320x240.png", "f100_320x240.png"],
        ["zeta_1.png", "alpha_2.png", "beta_3.png"],
        ["381_0001.png", "22_0002.png", "9571_0003.png"],
        ["a.png", "b.png"],
        ["7.png"],
    ],
    ids=lambda names: names[0],
)
def test_frames_are_in_the_order_they_were_taken_in(names: list[str]) -> None:
    for seed in range(5):
        shuffled = random.Random(seed).sample(names, len(names))
        assert in_order(shuffled) == names


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["3_0001.png", "1_0002.png", "2_0003.png"], "1_0002.png, 2_0003.png"),
        (["a1_0.png", "a1_1.png", "b1_0.png", "b1_1.png"], "a1_1.png"),
        (["cam0_1.png", "cam0_2.png", "cam1_1.png", "cam1_2.png"], "cam0_2.png"),
    ],
    ids=["two running numbers", "two cameras by a letter", "two cameras by a number"],
)
def test_names_that_can_be_read_in_two_ways_stop_with_both_orders(names: list[str], shown: str) -> None:
    with pytest.raises(DataError, match=r"here: .*By all numbers .*by the last number") as caught:
        in_order(names, "here")
    assert shown in str(caught.value)


@pytest.mark.parametrize("copy", ["0009 (2).png", "0009(1).png", "0009 - Copy.png", "0009_copy.png", "0009.jpg"])
def test_copies_are_named(copy: str) -> None:
    with pytest.raises(DataError, match=r"0009.*cop"):
        in_order(["0008.png", "0009.png", copy, "0010.png"], "here")


@pytest.mark.parametrize(
    ("name", "number"),
    [("v007.jpg", 7), ("frame0000.bmp", 0), ("cam2_left.png", 2), ("2021_02_06-17.jpeg", 17), ("12", 12)],
)
def test_frame_number_is_the_last_one(name: str, number: int) -> None:
    assert frame_number(name) == number


@pytest.mark.parametrize(
    ("names", "kind", "steps"),
    [
        (["1688123455.871000.png", "1688123456.004333.png"], "unix", [0.133333]),
        (["1688123455871000123.png", "1688123456004333123.png"], "unix", [0.133333]),
        (["0.900.png", "1.025.png"], "seconds", [0.125]),
        (["2026-12-31_23-59-59.250.png", "2027-01-01_00-00-00.750.png"], "date", [1.5]),
        (["a_10-00-00.png", "a_10-01-00.png"], "day", [60.0]),
    ],
    ids=["seconds", "nanoseconds", "small seconds", "date", "time of day"],
)
def test_times_are_read(names: list[str], kind: str, steps: list[float]) -> None:
    found = read_times(names)
    assert found is not None
    assert found[0] == kind
    np.testing.assert_allclose(np.diff(found[1]), steps, atol=2e-6)


@pytest.mark.parametrize(
    "names",
    [
        ["000001.png", "000002.png"],
        ["shot1.0001.png", "shot1.0002.png"],
        ["10-61-00.png", "10-62-00.png"],
        ["20261301_000000.png"],
        ["1688123455.871000.png", "frame.png"],
        ["a_10-00-00.png", "b_10-00-01.png"],
        [],
    ],
    ids=["number", "version and number", "no minute", "no month", "one without", "two cameras", "nothing"],
)
def test_numbers_are_no_times(names: list[str]) -> None:
    assert read_times(names) is None


# --- which frames belong together


def numbered(numbers, form="{:04d}.png"):
    return [form.format(number) for number in numbers]


def test_same_names_are_paired_whatever_their_suffix() -> None:
    pairing = pair(numbered(range(5)), numbered(range(5), "{:04d}.jpg"))
    assert (pairing.rule, pairing.complete, pairing.x.tolist()) == ("name", True, [0, 1, 2, 3, 4])


def test_two_counters_without_gaps_are_paired_by_position_wherever_they_begin() -> None:
    pairing = pair(numbered(range(1, 6)), numbered(range(100, 105)))
    assert (pairing.rule, pairing.x.tolist()) == ("index", [0, 1, 2, 3, 4])


def test_gaps_on_both_sides_are_paired_by_number() -> None:
    rgb = [n for n in range(40) if not 6 <= n <= 9]
    x = list(range(36))
    pairing = pair(numbered(rgb, "rgb_{}.png"), numbered(x, "ir_{}.png"))
    assert pairing.rule == "number"
    assert not pairing.complete
    assert [rgb[i] for i in range(36) if pairing.x[i] >= 0] == [x[i] for i in pairing.x if i >= 0]
    assert (pairing.x < 0).sum() == 4  # 36 to 39
    assert pairing.unused == 4  # 6 to 9
    assert "32 of 36 RGB frames paired by number; 4 have no X frame, 4 X frames are not used" in str(pairing)


def test_times_are_paired_with_the_nearest_frame_of_a_slower_camera() -> None:
    rgb = [f"{1688123455 + i / 30:.6f}.png" for i in range(30)]
    x = [f"{1688123455.002 + i / 10:.6f}.png" for i in range(8)]
    pairing = pair(rgb, x)
    assert pairing.rule == "time"
    assert pairing.tolerance == pytest.approx(0.05, abs=1e-5)
    distance = abs(np.arange(30)[:, None] / 30 - (0.002 + np.arange(8) / 10))
    expected = np.where(distance.min(axis=1) <= 0.05, distance.argmin(axis=1), -1)
    assert pairing.x.tolist() == expected.tolist()
    assert (pairing.x < 0).sum() == 7
    assert pair(rgb, x, tolerance=0.01).x.tolist() == np.where(distance.min(1) <= 0.01, distance.argmin(1), -1).tolist()


def test_recordings_through_midnight_are_paired_by_time_of_day() -> None:
    pairing = pair(["23-59-59.png", "00-00-00.png", "00-00-01.png"], ["00-00-00.png", "00-00-01.png"])
    assert pairing.x.tolist() == [-1, 0, 1]


def test_rule_can_be_chosen() -> None:
    rgb, x = numbered([1, 2, 4]), numbered([2, 3, 4])
    assert pair(rgb, x, "index").x.tolist() == [0, 1, 2]
    assert pair(rgb, x, "name").x.tolist() == [-1, 0, 2]
    assert pair(rgb, x, "number").x.tolist() == [-1, 0, 2]


def test_videos_are_paired_by_position() -> None:
    assert pair(5, 5).rule == "index"
    with pytest.raises(DataError, match=r"5 RGB frames and 6 X frames: they must be equally many"):
        pair(5, 6)


def test_videos_of_one_rate_and_length_are_paired_by_position() -> None:
    assert pair(np.arange(5) / 30, np.arange(5) / 29.97).rule == "index"


def test_videos_of_different_rates_are_paired_by_time() -> None:
    pairing = pair(np.arange(6) / 30, np.arange(2) / 10)
    assert pairing.rule == "time"
    assert pairing.x.tolist() == [0, 0, 1, 1, 1, -1]  # half of X's interval is 0.05 s
    assert pair(np.arange(4) / 30, np.arange(4) / 10).x.tolist() == [0, 0, 1, 1]


def test_a_longer_video_has_frames_that_belong_to_none() -> None:
    pairing = pair(np.arange(4) / 30, np.arange(6) / 30)
    assert (pairing.x.tolist(), pairing.unused) == ([0, 1, 2, 3], 2)


def test_a_video_and_names_with_times_are_paired_by_time_if_asked() -> None:
    names = [f"{1688123455 + k / 10:.6f}.png" for k in range(3)]
    assert pair(np.arange(6) / 30, names, "time").x.tolist() == [0, 0, 1, 1, 1, 2]
    with pytest.raises(DataError, match=r"6 RGB frames and 3 X frames: .* paired by .*time"):
        pair(np.arange(6) / 20, names)
    with pytest.raises(DataError, match="a video has no names, and not everything here has times"):
        pair(np.arange(3) / 20, ["a.png", "b.png", "c.png"], "time")


@pytest.mark.parametrize(
    ("rgb", "x", "rule", "message"),
    [
        (["a.png", "b.png"], ["c.png", "d.png", "e.png"], "auto", "equally many"),
        (["a.png", "b.png"], ["c.png", "d.png"], "number", "by number"),
        (["a.png", "b.png"], ["c.png", "d.png"], "name", "no frame has a partner by name"),
        (["1688123455.1.png", "1688123455.2.png"], ["1688129455.1.png", "1688129455.2.png"], "time", "tolerance"),
        (["1.png", "2.png"], ["1.png", "2.png"], "time", "by time"),
    ],
    ids=["nothing in common", "no numbers", "no common name", "other times", "no times"],
)
def test_what_can_not_be_paired_is_an_error(rgb: list[str], x: list[str], rule: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        pair(rgb, x, rule)
