"""Event-camera files as frames: the events between two RGB frames, drawn as VisEvent's images are.

`event_windows` lays the windows by the times of the RGB frames, `EventFile` draws them:

    with EventFile(path, size=(346, 260)) as events:
        images = [events.image(window) for window in event_windows(path, fps=30)]

Formats: .npz and .npy (one array per column, a structured array, or (N, 4)), .csv and .txt with or without names in the
first line; through the package faery (https://github.com/aestream/faery) .aedat4 (iniVation), .raw (Prophesee, EVT 2
and EVT 3) and .dat (Prophesee). A file is read through once before its first image, so that a wrong one stops before
anything is tracked; after that it is read forwards, a piece at a time.

Times become whole microseconds. Where the format or the name of the column (`t_us`, `t_ms`, ...) doesn't tell the unit,
times with fractions are seconds, whole numbers from 1e17 on are nanoseconds, other whole numbers are microseconds. Such
a reading is taken only if a recording can be like that: 0.1 seconds to a day, 1e3 to 1e8 events per second.
"""

from __future__ import annotations

import bisect
import contextlib
import importlib
import itertools
import logging
import re
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from patrack.modality import events_to_image
from patrack.recordings.sequence import DataError, EventFrame

__all__ = ["EVENT_SUFFIXES", "EventFile", "event_span", "event_windows"]

log = logging.getLogger(__name__)

ARRAY_SUFFIXES = (".npz", ".npy")
TEXT_SUFFIXES = (".csv", ".txt")
CAMERA_SUFFIXES = (".aedat4", ".raw", ".dat")
EVENT_SUFFIXES = (*ARRAY_SUFFIXES, *TEXT_SUFFIXES, *CAMERA_SUFFIXES)
"""Of the files that are read, in lower case."""

INSTALL = 'pip install "patrack[events]" (or pip install "faery>=0.7")'

MAX_UNPACKED, LARGEST_RATIO = 1 << 28, 100  # bytes of an .npz that are held in any case; more: times those of the file
CHUNK = 1 << 18  # events in memory at a time, more or less
MICROSECONDS = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}
FROM_NANOSECONDS = 1e17  # nanoseconds since 1970 are more, microseconds are not until the year 5138
HIGHEST_PLACE = (1 << 16) - 1  # x and y
LARGEST_SIDE = 1 << 14  # of an image, pixels
SHORTEST, DAY = 0.1, 86400.0  # seconds that a recording lasts
LOWEST_RATE, HIGHEST_RATE = 1e3, 1e8  # events per second: hardly more than noise; what the fastest sensors send

TIME = re.compile(r"(?:ts?|times?|timestamps?)(?:[ _]?[\[(]?(?P<unit>ns|us|µs|ms|s)[\])]?)?$")
NAMES = {"x": ("x", "xs"), "y": ("y", "ys"), "p": ("p", "ps", "pol", "pols", "polarity", "polarities", "on")}
KNOWN_NAMES = (
    "time: t, ts, time or timestamp(s), with _ns, _us, _ms or _s behind it for its unit; "
    "column: x; row: y; polarity: p, pol or polarity"
)
GEOMETRY = re.compile(r"geometry\W*(\d+)\s*[x,]\s*(\d+)")


class Columns(NamedTuple):
    """Equally many times, columns, rows and polarities, (n,) each, as the file holds them."""

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray
    p: np.ndarray


class Reader(Protocol):
    """A file of one of the formats.

    Attributes:
        size: (width, height) that the file states, or None.
        unit: of its times, a key of `MICROSECONDS`; None where the file doesn't say.
        jumps: reading can begin anywhere without going through what lies before.
    """

    size: tuple[int, int] | None
    unit: str | None
    jumps: bool

    def chunks(self, start: float | None = None) -> Generator[Columns, None, None]:
        """Read all events in the order of the file, some at a time.

        With `start` (a time in the file's unit) those before it may be left out; the times are sorted then.
        """
        ...


@dataclass(frozen=True)
class Survey:
    """What going through a whole file has shown.

    Attributes:
        first_us, last_us: times of the first and last event, microseconds.
        unit: of the file's times, a key of `MICROSECONDS`.
        reach: the smallest (width, height) that holds all events.
    """

    first_us: int
    last_us: int
    unit: str
    reach: tuple[int, int]


class EventFile:
    """An open event file that draws time windows; cheap as long as they go forwards.

    Args:
        path: of the file; its suffix is one of `EVENT_SUFFIXES`.
        size: (width, height) of the sensor, pixels, for a file that does not state it: best that of the RGB image,
            whose pixels the events must match anyway. None: the smallest that holds all events, which is too small
            where nothing happened at the right or lower border.

    Attributes:
        size: (width, height) of its images: what the file states, else the argument.

    Raises:
        DataError: the file is damaged, empty or of another kind; its times go backwards or their unit is in doubt;
            an event lies outside of the image; the reader for the format isn't installed.
    """

    def __init__(self, path: Path, size: tuple[int, int] | None = None) -> None:
        self.path = path
        self._reader = _open(path)
        self._survey = _survey(path, self._reader)
        reach = self._survey.reach
        self.size = self._reader.size or size or reach
        if max(self.size) > LARGEST_SIDE:
            raise DataError(f"{path}: images of {self.size[0]}x{self.size[1]} pixels; at most {LARGEST_SIDE} a side")
        if reach[0] > self.size[0] or reach[1] > self.size[1]:
            raise DataError(
                f"{path}: events reach to x = {reach[0] - 1}, y = {reach[1] - 1}, outside of an image of "
                f"{self.size[0]}x{self.size[1]} pixels; RGB and events must have the same pixels: scale or map the "
                "events to the RGB image, or the RGB images to the sensor"
            )
        if self._reader.size is None and 2 * reach[0] * reach[1] < self.size[0] * self.size[1]:
            log.warning(
                "%s: no event beyond x = %d, y = %d, in images of %dx%d pixels; if the event camera has fewer pixels "
                "than the RGB camera, its events are drawn in the wrong place: map them to the RGB image first",
                path,
                reach[0] - 1,
                reach[1] - 1,
                *self.size,
            )
        self._closed = False
        self._kept: deque[Columns] = deque()  # chunks that later windows may need, with times in microseconds
        self._from_us = self._survey.first_us  # what is kept or still to be read begins here
        self._chunks = self._chunks_from(self._from_us)

    def __enter__(self) -> EventFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and free what is kept of it; nothing can be drawn after that."""
        self._chunks.close()
        self._kept.clear()
        self._closed = True

    def image(self, frame: EventFrame) -> np.ndarray:
        """Draw a window, as `patrack.modality.events_to_image` does; white where it holds no event.

        Returns:
            (H, W, 3) uint8, channels B, G, R, as OpenCV reads images.

        Raises:
            ValueError: a window of another file, or this one is closed.
            DataError: the file has changed and can't be read any more.
        """
        if frame.path != self.path:
            raise ValueError(f"{frame}: a window of another file than {self.path}")
        if self._closed:
            raise ValueError(f"{self.path}: the file has been closed")
        ahead = self._kept and frame.start_us > self._kept[-1].t[-1]
        if frame.start_us < self._from_us or (ahead and self._reader.jumps):
            self._chunks.close()
            self._kept.clear()
            self._chunks = self._chunks_from(frame.start_us)

        # What is kept begins with the chunk of this window's start, so that the same window can be drawn again
        while self._kept and self._kept[0].t[-1] < frame.start_us:
            self._kept.popleft()
        self._from_us = frame.start_us
        while not self._kept or self._kept[-1].t[-1] < frame.end_us:
            try:
                chunk = next(self._chunks, None)
            except DataError:
                self.close()  # nothing more would come, and later windows would be white
                raise
            if chunk is None:
                break
            if chunk.t[-1] >= frame.start_us:
                self._kept.append(chunk)

        parts = []
        for chunk in self._kept:
            start, end = np.searchsorted(chunk.t, (frame.start_us, frame.end_us))
            parts.append(Columns(*(column[start:end] for column in chunk)))
        events = Columns(*(np.concatenate(column) for column in zip(*parts, strict=True))) if parts else NOTHING
        width, height = self.size
        return np.ascontiguousarray(events_to_image(*events, height=height, width=width)[:, :, ::-1])  # [H, W, 3]

    def _chunks_from(self, start_us: int) -> Generator[Columns, None, None]:
        """Read chunks with times in microseconds, among them all events from `start_us` on."""
        unit = self._survey.unit
        start = (start_us - 1) / MICROSECONDS[unit]  # one early, because times are rounded to microseconds
        for chunk in self._reader.chunks(start if start_us > self._survey.first_us else None):
            yield Columns(_to_microseconds(chunk.t, unit), *chunk[1:])


NOTHING = Columns(*(np.zeros(0, dtype) for dtype in (np.int64, np.int64, np.int64, np.bool_)))


def event_span(path: Path) -> tuple[int, int]:
    """Times of the first and the last event of a file, microseconds on its own clock.

    Raises:
        DataError: as `EventFile`.
    """
    survey = _survey(path, _open(path))
    return survey.first_us, survey.last_us


def event_windows(
    path: Path,
    times_s: Sequence[float] | np.ndarray | None = None,
    fps: float | None = None,
    *,
    align: Literal["clock", "start"] = "clock",
) -> list[EventFrame]:
    """Lay time windows over an event file, one per RGB frame.

    The window of a frame reaches from the frame before it up to the frame, as a live camera would have it; so every
    event between the first and the last frame is drawn once. The first window is as long as the second. (VisEvent's own
    images hold the events of each frame's exposure, https://arxiv.org/abs/2108.05015; exposures are known to its camera
    only.) Without times, windows of 1 / fps follow each other from the first event on until the last.

    Args:
        path: of the file.
        times_s: (N,) times of the RGB frames, seconds, ascending; None: `fps` lays the windows.
        fps: RGB frames per second; with `times_s` only needed for a single frame.
        align: "clock": frames and events have been timed by the same clock. "start": both recordings began together,
            whatever their clocks say: the first window begins with the first event.

    Raises:
        DataError: times that do not ascend, or of which fewer than half belong to the time of the events; see
            `EventFile` for the file itself.
        ValueError: neither times nor a frame rate, or one that isn't positive; another `align`.
    """
    if align not in ("clock", "start"):
        raise ValueError(f'align must be "clock" or "start", got {align!r}')
    if fps is not None and not (np.isfinite(fps) and fps > 0):
        raise ValueError(f"frames per second must be a positive number, got {fps}")
    if times_s is None and fps is None:
        raise ValueError(f"{path}: windows of events need the times of the RGB frames, or their frame rate")
    first, last = event_span(path)

    if times_s is None:
        assert fps is not None
        count = int((last - first) * fps / 1e6) + 2
        edges = first + np.ceil(np.arange(count + 1) * 1e6 / fps).astype(np.int64)
        edges = edges[: np.searchsorted(edges, last, side="right") + 1]
        if not (np.diff(edges) > 0).all():
            raise ValueError(f"{path}: {fps} frames per second are more than there are microseconds")
        return [EventFrame(path, start, end) for start, end in itertools.pairwise(edges.tolist())]

    times = np.asarray(times_s, dtype=np.float64)
    if times.ndim != 1 or len(times) == 0 or not np.isfinite(times).all():
        raise DataError(f"{path}: needs the time of every RGB frame, in seconds, got {times_s!r}")
    ends = np.rint(times * 1e6).astype(np.int64)
    backwards = np.flatnonzero(np.diff(ends) <= 0)
    if len(backwards):
        k = int(backwards[0])
        raise DataError(
            f"{path}: the times of the RGB frames must ascend, but frame {k} is at {times[k]:.6f} s and frame {k + 1} "
            f"at {times[k + 1]:.6f} s"
        )
    if len(ends) == 1 and fps is None:
        raise ValueError(f"{path}: the window of a single RGB frame needs the frame rate")
    length = ends[1] - ends[0] if len(ends) > 1 else round(1e6 / (fps or 1))
    starts = np.concatenate([ends[:1] - length, ends[:-1]])
    if align == "start":
        starts, ends = starts - starts[0] + first, ends - starts[0] + first

    # Do they belong together?
    without = int(((ends <= first) | (starts > last)).sum())
    ranges = (
        f"RGB frames from {ends[0] / 1e6:.6f} s to {ends[-1] / 1e6:.6f} s, "
        f"events from {first / 1e6:.6f} s to {last / 1e6:.6f} s"
    )
    if 2 * without > len(ends):
        raise DataError(
            f"{path}: {without} of {len(ends)} RGB frames lie before the first or after the last event: {ranges}. "
            + (
                "The two clocks differ; if both recordings began together, say so: --pair index; else give the "
                "RGB frames the times of the event camera"
                if align == "clock"
                else "With their starts aligned, the recordings are too different in length to belong together"
            )
        )
    if without:
        log.warning(
            "%s: %d of %d RGB frames lie before the first or after the last event, so their event images are empty: %s",
            path,
            without,
            len(ends),
            ranges,
        )
    return [EventFrame(path, start, end) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def _open(path: Path) -> Reader:
    """Choose the reader of a file by its suffix."""
    suffix = path.suffix.lower()
    if suffix not in EVENT_SUFFIXES:
        raise DataError(f"{path}: not an event file: its suffix must be one of {', '.join(EVENT_SUFFIXES)}")
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    if suffix in ARRAY_SUFFIXES:
        return ArrayReader(path)
    return TextReader(path) if suffix in TEXT_SUFFIXES else CameraReader(path)


# -- Reading a whole file once -----------------------------------------------------------------------------------------

_surveys: dict[tuple[Path, int, int], Survey] = {}
"""By path, time of change and bytes."""


def _survey(path: Path, reader: Reader) -> Survey:
    """Go through a file and check every event; done once per file and process."""
    state = path.stat()
    key = (path.absolute(), state.st_mtime_ns, state.st_size)
    if key not in _surveys:
        _surveys[key] = _read_through(path, reader)
    return _surveys[key]


def _read_through(path: Path, reader: Reader) -> Survey:
    count, reach = 0, (0, 0)
    first = last = None
    fractions = False
    polarities: set[float] = set()
    for t, x, y, p in reader.chunks():
        # Times
        if t.dtype.kind == "f" and not np.isfinite(t).all():
            k = int(np.flatnonzero(~np.isfinite(t))[0])
            raise DataError(f"{path}: event {count + k} has the time {t[k]}")
        before = t[:1] if last is None else np.asarray([last], t.dtype)
        backwards = np.flatnonzero(t < np.concatenate([before, t[:-1]]))
        if len(backwards):
            k = int(backwards[0])
            raise DataError(
                f"{path}: events must be sorted by time, but event {count + k} has the time {t[k]} after "
                f"{t[k - 1] if k else last}; sort them first"
            )
        if first is None:
            first = t[0]
        last = t[-1]
        fractions = fractions or (t.dtype.kind == "f" and bool((t != np.floor(t)).any()))

        # Places
        for name, values in (("x", x), ("y", y)):
            wrong = np.flatnonzero(~((values >= 0) & (values <= HIGHEST_PLACE) & (values == np.floor(values))))
            if len(wrong):
                k = int(wrong[0])
                allowed = f"a whole number from 0 to {HIGHEST_PLACE}"
                raise DataError(f"{path}: {name} must be {allowed}, event {count + k} has {values[k]}")
        reach = (max(reach[0], int(x.max()) + 1), max(reach[1], int(y.max()) + 1))

        # Polarities: a third value is neither the lowest nor the highest, or turns up in another chunk
        low, high = p.min(), p.max()
        polarities |= {float(low), float(high)}
        third = np.flatnonzero((p != low) & (p != high))
        if len(third):
            polarities.add(float(p[third[0]]))
        if not (polarities <= {0, 1} or polarities <= {-1, 1}):
            got = ", ".join(f"{value:g}" for value in sorted(polarities))
            raise DataError(f"{path}: polarities must be 0 and 1, or -1 and 1, got {got}")
        count += len(t)

    if first is None or last is None:
        raise DataError(f"{path}: no event in this file")
    unit = reader.unit or _likely_unit(path, float(first), float(last), count, fractions)
    if max(-float(first), float(last)) * MICROSECONDS[unit] >= FROM_NANOSECONDS:
        raise DataError(f"{path}: times from {first:g} to {last:g} {unit} are too large; their unit must be another")
    first_us, last_us = _to_microseconds(np.asarray([first, last]), unit).tolist()
    if last_us - first_us > DAY * 1e6:
        raise DataError(
            f"{path}: the events span {(last_us - first_us) / DAY / 1e6:.1f} days, from {first_us / 1e6:.6f} s to "
            f"{last_us / 1e6:.6f} s; at most one day is allowed, so a time or its unit must be wrong"
        )
    if first.dtype == np.float32 and np.spacing(last) * MICROSECONDS[unit] > 1000:
        raise DataError(
            f"{path}: times are stored as float32, which at {last:g} {unit} has steps of "
            f"{np.spacing(last) * MICROSECONDS[unit] / 1000:.3g} ms; store them as float64 or whole microseconds"
        )
    return Survey(first_us, last_us, unit, reach)


def _likely_unit(path: Path, first: float, last: float, count: int, fractions: bool) -> str:
    unit = "s" if fractions else "ns" if last >= FROM_NANOSECONDS else "us"
    seconds = {name: (last - first) * scale / 1e6 for name, scale in MICROSECONDS.items()}
    rates = {name: count / span if span else np.inf for name, span in seconds.items()}
    if SHORTEST <= seconds[unit] <= DAY and LOWEST_RATE <= rates[unit] <= HIGHEST_RATE:
        log.info("%s: times are read as %s: %.3f s, %.3g events/s", path, unit, seconds[unit], rates[unit])
        return unit
    readings = "; ".join(f"in {name}, {seconds[name]:g} s with {rates[name]:.2g} events/s" for name in MICROSECONDS)
    raise DataError(
        f"{path}: the unit of its times is in doubt: {count} events from {first:g} to {last:g} are, {readings}. Name "
        "the column (or the array) for its unit: t_ns, t_us, t_ms or t_s"
    )


def _to_microseconds(t: np.ndarray, unit: str) -> np.ndarray:
    """Convert times to int64; exactly, where they are whole numbers."""
    if t.dtype.kind == "f":
        return np.rint(t.astype(np.float64) * MICROSECONDS[unit]).astype(np.int64)
    return (t // 1000).astype(np.int64) if unit == "ns" else t.astype(np.int64) * int(MICROSECONDS[unit])


# -- Which column is which ---------------------------------------------------------------------------------------------


def _named(names: Iterable[str]) -> tuple[list[str], str | None] | None:
    """Find the names of t, x, y and p, in this order, and the unit that t's tells; None unless there is one of each."""
    names = list(names)
    plain = {name: name.strip().strip("\"'").lower() for name in names}
    found = [[name for name in names if TIME.match(plain[name])]]
    found += [[name for name in names if plain[name] in NAMES[column]] for column in "xyp"]
    if any(len(candidates) != 1 for candidates in found):
        return None
    match = TIME.match(plain[found[0][0]])
    unit = match["unit"] if match else None
    return [candidates[0] for candidates in found], "us" if unit == "µs" else unit


def _order_by_content(path: Path, rows: np.ndarray) -> list[int]:
    """Tell the columns t, x, y, p of (n, 4) numbers without names.

    The polarity is the one column of 0 and 1 or of -1 and 1, the time the one other column that never falls and does
    rise; x comes before y.
    """
    columns = range(4)
    p = [k for k in columns if {*np.unique(rows[:, k])} <= {0, 1} or {*np.unique(rows[:, k])} <= {-1, 1}]
    t = [k for k in columns if k not in p and (np.diff(rows[:, k]) >= 0).all() and rows[0, k] < rows[-1, k]]
    if len(p) != 1 or len(t) != 1:
        raise DataError(
            f"{path}: can't tell by their values which of the 4 columns is which (columns that could be the time: "
            f"{[k + 1 for k in t]}; the polarity: {[k + 1 for k in p]}); give them names. Known are {KNOWN_NAMES}"
        )
    x, y = (k for k in columns if k not in (t[0], p[0]))
    return [t[0], x, y, p[0]]


# -- Formats -----------------------------------------------------------------------------------------------------------


class ArrayReader:
    """NumPy's .npz (held in memory) and .npy (mapped)."""

    jumps = True
    size: tuple[int, int] | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            begin = file.read(6)
        if not begin.startswith((b"PK", b"\x93NUMPY")):
            raise DataError(f"{path}: not readable as NumPy's {path.suffix}: it begins with {begin!r}")
        try:
            data = np.load(path, allow_pickle=False, mmap_mode="r")
            if isinstance(data, np.ndarray):
                arrays = {"array": data}
            else:
                with data:
                    size = sum(entry.file_size for entry in data.zip.infolist())
                    if size > max(MAX_UNPACKED, LARGEST_RATIO * path.stat().st_size):
                        raise ValueError(f"compressed {size / path.stat().st_size:.0f} times, to {size} bytes")
                    arrays = {name: data[name] for name in data.files}
        except Exception as error:  # a damaged header may be anything to Python's parser, by which numpy reads it
            raise DataError(
                f"{path}: not readable as NumPy's {path.suffix}, damaged, or holding Python objects, which are not "
                f"loaded because they can run code: {error}"
            ) from error

        # Named columns, else the one table that there is
        held = ", ".join(f"{name}: {a.dtype.names or a.dtype} {a.shape}" for name, a in arrays.items()) or "nothing"
        flat = {name: array for name, array in arrays.items() if array.ndim == 1 and not array.dtype.names}
        records = [array for array in arrays.values() if array.ndim == 1 and array.dtype.names]
        tables = [array for array in arrays.values() if array.ndim == 2 and array.shape[1] == 4]
        named = _named(flat)
        self.unit: str | None = None
        if named is not None:
            names, self.unit = named
            columns = [flat[name] for name in names]
        elif len(records) == 1 and not tables and (named := _named(records[0].dtype.names or ())):
            names, self.unit = named
            columns = [records[0][name] for name in names]
        elif len(tables) == 1 and not records and tables[0].dtype.kind in "iuf":
            if not len(tables[0]):
                raise DataError(f"{path}: no event in this file")
            columns = [tables[0][:, k] for k in _order_by_content(path, tables[0][:CHUNK])]
        else:
            raise DataError(
                f"{path}: no events found; it holds {held}. Needed is one array for each of time, x, y and polarity, a "
                f"structured array with these fields, or one array (N, 4). Known names: {KNOWN_NAMES}"
            )
        if any(column.dtype.kind not in "iufb" for column in columns):
            raise DataError(f"{path}: times, x, y and polarities must be numbers; it holds {held}")
        if len({len(column) for column in columns}) > 1:
            raise DataError(f"{path}: times, x, y and polarities must be equally many; it holds {held}")
        self.columns = Columns(*columns)

    def chunks(self, start: float | None = None) -> Generator[Columns, None, None]:
        begin = 0 if start is None else bisect.bisect_left(self.columns.t, start)
        for k in range(begin, len(self.columns.t), CHUNK):
            yield Columns(*(np.asarray(column[k : k + CHUNK]) for column in self.columns))


class TextReader:
    """Lines of numbers, separated by commas, semicolons, tabs or spaces; # and % begin comments."""

    jumps = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size: tuple[int, int] | None = None
        self.unit: str | None = None
        self.order: list[int] | None = None  # columns of t, x, y, p
        self.skip = 0  # lines before the first event
        with self._lines() as lines:
            for line in lines:
                text = line.strip()
                comment = text[:1] in ("#", "%")
                words = self._split(text.lstrip("#% ") if comment else text)
                geometry = GEOMETRY.search(text) if comment else None
                if geometry:
                    self.size = self._stated_size([geometry[1], geometry[2]])
                elif named := _named(words):
                    names, self.unit = named
                    self.order = [words.index(name) for name in names]
                elif text and not comment:
                    if self.order is not None:
                        break  # the numbers are checked when they are read
                    if all(map(_is_number, words)) and len(words) == 2 and not self.size:
                        self.size = self._stated_size(words)  # as E2VID's files begin
                    elif all(map(_is_number, words)):
                        break
                    else:
                        raise DataError(
                            f"{path}:{self.skip + 1}: neither numbers nor the names of columns: {text[:80]!r}. "
                            f"Known are {KNOWN_NAMES}"
                        )
                self.skip += 1
            else:
                raise DataError(f"{path}: no event in this file")
            self.delimiter = next((mark for mark in ";,\t" if mark in line), None)
            if self.order is None:
                if len(words) != 4:
                    raise DataError(
                        f"{path}:{self.skip + 1}: needs the four columns time, x, y and polarity, or names for its "
                        f"{len(words)} columns in the first line: {text[:80]!r}. Known are {KNOWN_NAMES}"
                    )
                rows = self._numbers([line, *itertools.islice(lines, CHUNK - 1)], self.skip)
                self.order = _order_by_content(path, rows)

    def chunks(self, start: float | None = None) -> Generator[Columns, None, None]:
        with self._lines() as lines:
            done = sum(1 for _ in itertools.islice(lines, self.skip))
            while text := list(itertools.islice(lines, CHUNK)):
                rows = self._numbers(text, done)
                done += len(text)
                if len(rows):
                    yield Columns(*rows.T)

    def _stated_size(self, words: list[str]) -> tuple[int, int]:
        width, height = map(float, words)
        if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
            raise DataError(
                f"{self.path}:{self.skip + 1}: a sensor of {words[0][:20]} x {words[1][:20]} pixels; expected 1 to "
                f"{LARGEST_SIDE} a side"
            )
        return int(width), int(height)

    @contextlib.contextmanager
    def _lines(self) -> Iterator[Iterator[str]]:
        try:
            with self.path.open(encoding="utf-8-sig") as file:
                yield file
        except UnicodeDecodeError as error:
            raise DataError(f"{self.path}: not a text file: {error}") from error

    @staticmethod
    def _split(line: str) -> list[str]:
        mark = next((mark for mark in ";,\t" if mark in line), None)
        return [word.strip() for word in line.split(mark)]

    def _numbers(self, lines: list[str], done: int) -> np.ndarray:
        """Parse lines that follow `done` others; returns (n, 4) float64, in the order t, x, y, p once it is known."""
        filled = [line for line in lines if line.strip() and line.lstrip()[0] not in "#%"]
        if not filled:
            return np.zeros((0, 4))
        try:
            return np.loadtxt(filled, delimiter=self.delimiter, usecols=self.order or range(4), ndmin=2, comments=None)
        except ValueError as error:
            needed = max(self.order or [3]) + 1
            for number, line in enumerate(lines, start=done + 1):
                words = self._split(line.strip())
                if line.strip() and line.lstrip()[0] not in "#%":
                    if len(words) < needed or not all(_is_number(words[k]) for k in self.order or range(4)):
                        raise DataError(
                            f"{self.path}:{number}: needs {needed} numbers, got {line.strip()[:80]!r}; is the file cut "
                            "off here?"
                        ) from error
            raise DataError(f"{self.path}: {error}") from error


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


ANY_SIZE = (LARGEST_SIDE, LARGEST_SIDE)  # pixels; DAT files have 14 bits for a coordinate, EVT files 11
WORD_BYTES = {"evt2": 4, "evt2.1": 8, "evt3": 2, "dat1": 8, "dat2": 8}


class CameraReader:
    """Files of iniVation's and Prophesee's cameras, through faery. Times are microseconds."""

    jumps = False
    unit: str | None = "us"

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            faery: ModuleType = importlib.import_module("faery")
        except ImportError as error:
            raise DataError(f"{path}: reading {path.suffix} files needs the package faery: {INSTALL}") from error
        self.aedat, self.dat, self.evt = faery.aedat, faery.dat, faery.evt
        self.size: tuple[int, int] | None = None
        self.track: int | None = None
        with self._errors():
            if path.suffix.lower() == ".aedat4":
                with self.aedat.Decoder(path) as decoder:
                    tracks = [track for track in decoder.tracks() if track.data_type == "events"]
                if not tracks:
                    raise DataError(f"{path}: the file has no stream of events")
                if len(tracks) > 1:
                    log.warning("%s: has %d streams of events; the first one is read", path, len(tracks))
                self.track, self.size = tracks[0].id, tracks[0].dimensions
                return
            try:
                with self._decoder(None) as decoder:
                    self.size, version = decoder.dimensions, decoder.version
            except RuntimeError:  # no size in the header, or a real error, which comes again
                with self._decoder(ANY_SIZE) as decoder:
                    version = decoder.version

        # Whole words only, behind the lines of the header
        with path.open("rb") as file:
            header = 0
            while (line := file.readline(1000)).startswith(b"%"):
                header += len(line)
        rest = path.stat().st_size - header - (2 if path.suffix.lower() == ".dat" else 0)
        if rest % WORD_BYTES[version]:
            raise DataError(
                f"{path}: the file is truncated or damaged: {rest} bytes of {version} are not a whole number of "
                f"{WORD_BYTES[version]}-byte words"
            )

    def chunks(self, start: float | None = None) -> Generator[Columns, None, None]:
        with self._errors():
            if self.track is not None:
                with self.aedat.Decoder(self.path) as decoder:
                    for track, packet in decoder:
                        if track.id == self.track and len(packet):
                            yield Columns(packet["t"], packet["x"], packet["y"], packet["on"])
                return
            with self._decoder(self.size or ANY_SIZE) as decoder:
                for packet in decoder:
                    if isinstance(packet, dict):  # EVT: with events or with triggers
                        packet = packet.get("events", ())
                    if len(packet):
                        p = packet["payload"] > 0 if "payload" in packet.dtype.names else packet["on"]
                        yield Columns(packet["t"], packet["x"], packet["y"], p)

    def _decoder(self, size: tuple[int, int] | None) -> Any:
        """Open a Prophesee file; a version must be in its header, a size unless it is given."""
        module = self.dat if self.path.suffix.lower() == ".dat" else self.evt
        return module.Decoder(self.path, dimensions_fallback=size, version_fallback=None)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            # faery's errors for whatever is wrong with a file; a panic of its Rust code has no class to import
            if not isinstance(error, RuntimeError) and type(error).__name__ != "PanicException":
                raise
            raise DataError(
                f"{self.path}: not readable as {self.path.suffix}, or truncated or damaged: {error}"
            ) from error
