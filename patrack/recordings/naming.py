"""What the names of frames say: their order in time, and which frames of RGB and X belong together.

Cameras and converters name frames in many ways: `v007.jpg`, `1688123455.871000.png` (seconds since 1970),
`cam_2026-05-01_23-59-59.png`, `2_v2.png`, `f1_320x240.png`. One rule orders them all, and stops where names can be read
in two ways.
"""

from __future__ import annotations

import datetime
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from patrack.recordings.sequence import DataError, first_few

__all__ = [
    "PAIRING_RULES",
    "Pairing",
    "PairingRule",
    "Side",
    "frame_number",
    "frame_times",
    "in_order",
    "pair",
    "read_times",
]

PairingRule = Literal["auto", "name", "number", "time", "index"]
PAIRING_RULES: tuple[PairingRule, ...] = ("auto", "name", "number", "time", "index")

Side = Sequence[str] | np.ndarray | int
"""Frames of RGB or X in order: names of files, (N,) seconds since the first one, or nothing but their number."""
Tables = dict[PairingRule, tuple[Sequence[Any], Sequence[Any]]]
"""By rule: what RGB and X frames are compared by."""

NO_DIGITS = dict.fromkeys(map(ord, "0123456789"))
LAST_NUMBER = re.compile(r"(\d+)\D*$")
COPY = re.compile(r"( ?\(\d+\)|[ _-]*copy( ?\d+)?)$", re.IGNORECASE)
DENSE = 0.5
"""Numbers run if at least this share of those between the first and the last one is there."""
DAY = 86400.0  # seconds
SAME_RATE = 0.02  # videos whose intervals between frames differ by no more than this share run at one rate

SECONDS = re.compile(r"\D*(?P<whole>\d+)(?P<point>[._])(?P<fraction>\d{1,9})\D*$")
SINCE_1970 = re.compile(r"\D*(?P<count>[1-4]\d{12}|[1-4]\d{15}|[1-4]\d{18})\D*$")  # ms, us, ns; to the year 2128
TIME_OF_DAY = r"(?P<hour>\d\d){0}(?P<minute>\d\d){0}(?P<second>\d\d)(?:[._-](?P<fraction>\d{{1,9}}))?\D*$"
DATE_AND_TIME = re.compile(
    r"\D*(?P<year>(?:19|20)\d\d)[-_.]?(?P<month>\d\d)[-_.]?(?P<day>\d\d)[-_ T.]*" + TIME_OF_DAY.format(r"[-_.:]?")
)
TIME_ALONE = re.compile(r"\D*" + TIME_OF_DAY.format(r"[-_.:]"))


def frame_number(name: str) -> int:
    """Return the last number in a file name, suffix aside: 7 for `v007.jpg`; -1 where there is none."""
    match = LAST_NUMBER.search(_stem(name))
    return int(match.group(1)) if match else -1


def in_order(names: Sequence[str], where: str = "frames") -> list[str]:
    """Sort the frames of one folder by time, as their names tell it.

    Names that hold times are sorted by these. Else all groups of digits count as numbers (natural order: `2_v2` before
    `10_v2`), or the last one alone (`b_3` before `a_12`); where the two differ, the one in which a number runs through
    the frames is taken.

    Args:
        names: file names, in any order.
        where: the folder, for errors.

    Raises:
        DataError: both orders run, or neither does; or a name is that of another frame's copy (`0009 (2).png`).
    """
    names = sorted(names)
    if names and _is_one_padded_number(names):  # as in nearly every data set
        return names

    stems = Counter(map(_stem, names))
    originals = {name: COPY.sub("", _stem(name)) for name in names}
    twice = [
        name
        for name, original in originals.items()
        if stems[_stem(name)] > 1 or (original != _stem(name) and original in stems)
    ]
    if twice:
        raise DataError(
            f"{where}: {first_few(twice)}: copies of one frame by their names; move what is no frame elsewhere"
        )
    found = read_times(names)
    if found is not None:
        kind, seconds = found
        order = np.argsort(_unwrapped(seconds) if kind == "day" else seconds, kind="stable")
        return [names[i] for i in order]

    natural = sorted(names, key=_natural_key)
    by_last = sorted(names, key=lambda name: (frame_number(name), name))
    if natural == by_last:
        return natural
    # How dense the number is that would run through the frames: 0 does not run, 1 without a gap.
    densities = _natural_density(natural), _density([frame_number(name) for name in by_last])
    runs = [density > 0 for density in densities]
    if runs == [True, False] or (densities[0] == 1 > densities[1]):
        return natural
    if densities[1] >= DENSE and (not runs[0] or densities[1] == 1 > densities[0]):
        return by_last
    first = next(i for i, (one, other) in enumerate(zip(natural, by_last, strict=True)) if one != other)
    shown = slice(max(first - 1, 0), first + 3)
    raise DataError(
        f"{where}: the names of the {len(names)} frames don't tell their order. By all numbers in them it is ... "
        f"{', '.join(natural[shown])} ..., by the last number ... {', '.join(by_last[shown])} ...; rename them so that "
        "one number runs through them, as in 000001.png"
    )


def read_times(names: Sequence[str]) -> tuple[str, np.ndarray] | None:
    """Read the times that names hold, all of them in one form.

    Forms: seconds with a fraction (`1688123455.871000`; `12.500`, if the seconds change; `_` instead of the point
    with 3 digits or more behind seconds since 1970), milli-, micro- or nanoseconds since 1970, a date with a time of
    day (`2026-05-01_23-59-59.250`, `20260501_235959`), and a time of day alone (`23-59-59`).

    Returns:
        Kind of clock, "unix" (since 1970), "seconds" (since anything), "date" (local time) or "day", and (N,) float64
        seconds; None if these names hold no times.
    """
    for kind, form in (("date", DATE_AND_TIME), ("day", TIME_ALONE), ("unix", SINCE_1970), ("seconds", SECONDS)):
        matches = [match for name in names if (match := form.match(_stem(name)))]
        if not names or len(matches) < len(names):
            continue
        if len({_stem(name)[: match.start(1)] for name, match in zip(names, matches, strict=True)}) > 1:
            continue  # other words in front: not one camera's
        if kind == "unix":
            counts = [match["count"] for match in matches]
            return kind, np.array([int(count) / 10.0 ** (len(count) - 10) for count in counts])
        fractions = np.array([float(f"0.{match['fraction'] or 0}") for match in matches])
        if kind == "seconds":
            whole = [match["whole"] for match in matches]
            since_1970 = all(len(text) == 10 and text[0] in "1234" for text in whole)
            widths = {len(match["fraction"]) for match in matches}
            points = {match["point"] for match in matches}
            decimal = points == {"."} or (since_1970 and len(widths) == 1 and min(widths) >= 3)
            if decimal and (since_1970 or (len(set(whole)) > 1 and min(widths) >= 3)):
                return "unix" if since_1970 else kind, np.array(list(map(int, whole))) + fractions
            continue
        try:
            moments = []
            for match in matches:
                part = {"year": "1970", "month": "1", "day": "1"} | match.groupdict()
                date = (int(part[key]) for key in ("year", "month", "day"))
                time = datetime.time(int(part["hour"]), int(part["minute"]), int(part["second"]))
                moments.append(datetime.datetime.combine(datetime.date(*date), time, datetime.timezone.utc))
        except ValueError:  # a 13th month, a 61st minute: no clock's
            continue
        return kind, np.array([moment.timestamp() for moment in moments]) + fractions
    return None


def frame_times(names: Sequence[str]) -> np.ndarray | None:
    """Read when frames were taken, from their names in order (see `read_times`).

    Returns:
        (N,) float64 seconds since the first frame, never falling; None if the names hold no times, or one time for all.
    """
    clock = read_times(names)
    if clock is None:
        return None
    kind, seconds = clock
    if kind == "day":
        seconds = _unwrapped(seconds)
    since_first = seconds - seconds[0]
    return since_first if since_first[-1] > 0 and (np.diff(since_first) >= 0).all() else None


@dataclass(frozen=True)
class Pairing:
    """Which X frame belongs to each RGB frame.

    Attributes:
        x: (N,) int64, number of the X frame (from 0) of each RGB frame; -1: there is none.
        rule: what they were paired by, one of `PAIRING_RULES` without "auto".
        unused: X frames that belong to no RGB frame.
        tolerance: seconds that times may differ by; None by any other rule.
    """

    x: np.ndarray
    rule: PairingRule
    unused: int
    tolerance: float | None = None

    @property
    def complete(self) -> bool:
        """Every frame of either side has its partner."""
        return not self.unused and bool((self.x >= 0).all())

    def __str__(self) -> str:
        by = {"index": "position"}.get(self.rule, self.rule)
        if self.tolerance is not None:
            by += f" (at most {self.tolerance:.3g} s apart)"
        missing = int((self.x < 0).sum())
        return (
            f"{len(self.x) - missing} of {len(self.x)} RGB frames paired by {by}; {missing} have no X frame, "
            f"{self.unused} X frames are not used"
        )


def pair(
    rgb: Side,
    x: Side,
    rule: PairingRule = "auto",
    tolerance: float | None = None,
    where: str = "frames",
) -> Pairing:
    """Find the X frame of every RGB frame.

    By rule "auto": by name if all names are the same, suffix aside; by time if both sides' names hold times of one
    clock; by position if both are numbered without a gap and equally many, wherever they begin; else by number, if
    both have numbers and these are mostly the same; else by position, if they are equally many. Two videos are paired
    by position if they have equally many frames at one rate, else by time, as if both had begun at the same moment.

    Args:
        rgb, x: frames in order: see `Side`; of a video their times.
        rule: "name" (suffix aside), "number" (the last in a name), "time" (the nearest X frame; where one side is a
            video, seconds since either's first frame), "index" (position).
        tolerance: seconds that times may differ by; None: half of the longer one of both median intervals.
        where: the recording, for errors.

    Raises:
        DataError: the rule asked for can't be followed, no frame has a partner, or "auto" finds no rule.
    """
    counts = [side if isinstance(side, int) else len(side) for side in (rgb, x)]
    said = f"{where}: {counts[0]} RGB frames and {counts[1]} X frames"
    ways = ", ".join(PAIRING_RULES[1:])
    chosen = rule
    if isinstance(rgb, int | np.ndarray) or isinstance(x, int | np.ndarray):
        tables, why = _tables_with_video(rgb, x), "a video has no names, and not everything here has times"
    else:
        tables, why = _tables(rgb, x), "not all names hold one"
    if rule == "auto":
        chosen = next(iter(tables), "index")
    elif rule != "index" and rule not in tables:
        raise DataError(f"{said} can't be paired by {rule}: {why}; pair them by one of {ways}")

    if chosen == "index":
        if counts[0] != counts[1]:
            raise DataError(
                f"{said}: they must be equally many, or have names with the same numbers or times; cut the longer one, "
                f"or say what they are to be paired by ({ways})"
            )
        return Pairing(np.arange(counts[0]), "index", 0)
    ours, theirs = tables[chosen]
    if chosen == "time":
        times = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        if tolerance is None:
            tolerance = max(float(np.median(np.diff(side))) if len(side) > 1 else 0.0 for side in times) / 2
        after = np.searchsorted(times[1], times[0]).clip(1, max(len(times[1]) - 1, 1))
        before = after - 1
        after = after.clip(0, len(times[1]) - 1)
        nearest = np.where(abs(times[1][after] - times[0]) < abs(times[1][before] - times[0]), after, before)
        found = np.where(abs(times[1][nearest] - times[0]) <= tolerance + 1e-6, nearest, -1)
        ranges = " and ".join(f"{side.min():.3f} to {side.max():.3f} s" for side in times)
        said = f"{said} ({ranges}; tolerance {tolerance:.3g} s)"
    else:
        tolerance = None
        place = {key: i for i, key in enumerate(theirs)}
        found = np.array([place.get(key, -1) for key in ours])
    if (found < 0).all():
        raise DataError(f"{said}: no frame has a partner by {chosen}; pair them by one of {ways}")
    return Pairing(found.astype(np.int64), chosen, counts[1] - len(np.unique(found[found >= 0])), tolerance)


def _tables_with_video(rgb: Side, x: Side) -> Tables:
    """What a video can be paired by: position, or seconds since either's first frame."""
    seconds = []
    for side in (rgb, x):
        if isinstance(side, int):
            return {"index": ((), ())}
        if not isinstance(side, np.ndarray):
            found = read_times(side)
            if found is None:
                return {"index": ((), ())}
            side = _unwrapped(found[1]) if found[0] == "day" else found[1]
        seconds.append(side - side[0])
    by_time: Tables = {"time": (seconds[0].tolist(), seconds[1].tolist())}
    intervals = [float(np.median(np.diff(side))) if len(side) > 1 else 0.0 for side in seconds]
    one_rate = abs(intervals[0] - intervals[1]) <= SAME_RATE * max(intervals)
    both = isinstance(rgb, np.ndarray) and isinstance(x, np.ndarray)
    if not both or (len(seconds[0]) == len(seconds[1]) and one_rate):
        return {"index": ((), ()), **by_time}
    return by_time | {"index": ((), ())}


def _tables(rgb: Sequence[str], x: Sequence[str]) -> Tables:
    """Collect, best first, what both sides could be paired by; "index" only where it goes before others."""
    tables: Tables = {}
    stems = [_stem(name) for name in rgb], [_stem(name) for name in x]
    unique = all(len(set(side)) == len(side) for side in stems)
    if unique and set(stems[0]) == set(stems[1]):
        tables["name"] = stems
        return tables | _tables_by_value(rgb, x)
    others = _tables_by_value(rgb, x)
    if "time" in others:
        tables["time"] = others["time"]
    numbers = others.get("number")
    if numbers is not None:
        gapless = all(_density(side) == 1 for side in numbers)
        shared = len(set(numbers[0]) & set(numbers[1])) / min(len(rgb), len(x))
        if not (gapless and len(rgb) == len(x)) and shared >= DENSE:
            tables["number"] = numbers
    if not tables:
        tables["index"] = ((), ())
    tables |= {rule: table for rule, table in others.items() if rule not in tables}
    if unique:
        tables["name"] = stems
    return tables


def _tables_by_value(rgb: Sequence[str], x: Sequence[str]) -> Tables:
    """Times and numbers of both sides, where both have them."""
    tables: Tables = {}
    clocks = read_times(rgb), read_times(x)
    if clocks[0] is not None and clocks[1] is not None and clocks[0][0] == clocks[1][0]:
        seconds = [clock[1] for clock in clocks if clock is not None]
        if clocks[0][0] == "day":
            both = _unwrapped(np.concatenate(seconds))
            seconds = [both[: len(rgb)], both[len(rgb) :]]
        tables["time"] = list(seconds[0]), list(seconds[1])
    numbers = [frame_number(name) for name in rgb], [frame_number(name) for name in x]
    if all(_density(sorted(side)) > 0 for side in numbers):
        tables["number"] = numbers
    return tables


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _is_one_padded_number(names: Sequence[str]) -> bool:
    """Names of one length that differ in their last number only; the same letters may follow it."""
    stem = _stem(names[0])
    end = len(stem.rstrip(stem.translate(NO_DIGITS)))
    start = len(names[0][:end].rstrip("0123456789"))
    prefix, suffix, length = names[0][:start], names[0][end:], len(names[0])
    return all(
        len(name) == length and name.startswith(prefix) and name.endswith(suffix) and name[start:end].isdigit()
        for name in names
    )


def _natural_key(name: str) -> tuple[list[tuple[str, int]], str]:
    """Words and numbers of a name in turns, and the name itself for equal ones (`7` and `07`)."""
    return [(word, int(number or -1)) for word, number in re.findall(r"(\D*)(\d*)", _stem(name))], name


def _natural_density(names: Sequence[str]) -> float:
    """Density of the first number that changes, in natural order; 0 if it doesn't run, or if the words change."""
    keys = [_natural_key(name)[0] for name in names]
    if len({tuple(word for word, _ in key) for key in keys}) > 1:
        return 0.0
    columns = np.array([[number for _, number in key] for key in keys], dtype=object).T
    return next((_density(list(column)) for column in columns if len(set(column)) > 1), 0.0)


def _density(numbers: Sequence[int]) -> float:
    """Share of the numbers from the first to the last that is there; 0 unless each is larger than the one before."""
    if len(numbers) == 0 or numbers[0] < 0 or any(b <= a for a, b in itertools.pairwise(numbers)):
        return 0.0
    return len(numbers) / (numbers[-1] - numbers[0] + 1)


def _unwrapped(seconds: np.ndarray) -> np.ndarray:
    """Times of day, those after midnight a day later if the recording runs through it: no pause is half a day long."""
    in_order = np.sort(seconds)
    gaps = np.diff(in_order)
    if len(gaps) and gaps.max() > DAY / 2:
        return seconds + DAY * (seconds <= in_order[int(gaps.argmax())])
    return seconds
