"""Event files as frames: windows by time, pixel by pixel, and what is refused."""

from __future__ import annotations

import itertools
import logging
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from patrack.recordings import events as module
from patrack.recordings.events import EVENT_SUFFIXES, EventFile, event_span, event_windows
from patrack.recordings.sequence import DataError, EventFrame

T = [1000, 21_000, 40_999, 41_000, 41_000, 80_999, 121_000]  # microseconds
X = [0, 1, 2, 3, 3, 4, 5]
Y = [0, 0, 1, 1, 2, 2, 2]
P = [1, 0, 1, 0, 1, 1, 0]
SIZE = (6, 3)  # width, height
SAMPLES = Path(__file__).resolve().parents[4] / "shared" / "samples"
WHITE, RED, BLUE = (255, 255, 255), (30, 30, 220), (200, 30, 30)  # B, G, R: nothing, ON, OFF


def drawn(*numbers: int) -> np.ndarray:
    """The image of some of the events above, painted by hand."""
    image = np.full((SIZE[1], SIZE[0], 3), 255, np.uint8)
    for k in numbers:
        image[Y[k], X[k]] = RED if P[k] == 1 else BLUE
    return image


AT_25_FPS = [drawn(0, 1, 2), drawn(3, 4, 5), drawn(), drawn(6)]
"""Windows of 40 ms from the first event on."""


def write_npz(path: Path, **changed: object) -> Path:
    columns = {"t_us": np.array(T), "x": np.array(X), "y": np.array(Y), "p": np.array(P), **changed}
    np.savez(path, **{name: column for name, column in columns.items() if column is not None})
    return path


def write_text(path: Path, header: str = "t_us,x,y,p\n", mark: str = ",", order: str = "txyp") -> Path:
    columns = {"t": T, "x": X, "y": Y, "p": P}
    rows = zip(*(columns[name] for name in order), strict=True)
    path.write_text(header + "".join(mark.join(map(str, row)) + "\n" for row in rows))
    return path


def write_camera(path: Path, **options: object) -> Path:
    faery = pytest.importorskip("faery", reason='needs faery: pip install "patrack[events]"')
    array = np.array(list(zip(T, X, Y, np.array(P, bool), strict=True)), dtype=faery.EVENTS_DTYPE)
    faery.events_stream_from_array(array, SIZE).to_file(path, **options)
    return path


def images(path: Path, windows: list[EventFrame], size: tuple[int, int] | None = SIZE) -> list[np.ndarray]:
    with EventFile(path, size) as file:
        return [file.image(window) for window in windows]


def write(kind: str, folder: Path) -> Path:
    """The events above as a file of one kind."""
    rows = np.array([T, X, Y, P]).T
    fields = [("t_us", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")]
    match kind:
        case "npz":
            return write_npz(folder / "a.npz")
        case "npz, other names, polarity -1":
            p = np.array(P) * 2 - 1
            more = {"timestamps_us": np.array(T, np.uint64), "polarity": p, "label": np.array(3)}
            return write_npz(folder / "a.npz", t_us=None, p=None, **more)
        case "npz, seconds":
            return write_npz(folder / "a.npz", t_us=None, t_s=np.array(T) / 1e6)
        case "npz, nanoseconds":
            return write_npz(folder / "a.npz", t_us=None, ts_ns=np.array(T) * 1000 + 999)
        case "npy, structured":
            np.save(folder / "a.npy", np.array(list(map(tuple, rows)), dtype=fields))
            return folder / "a.npy"
        case "csv":
            return write_text(folder / "a.csv")
        case "csv, named columns in another order, one more":
            return write_text(folder / "a.csv", "x,frame,y,polarity,timestamp_us\n", order="xtypt")
        case "csv of Prophesee's":
            return write_text(folder / "a.csv", "%geometry:6,3\n%x,y,p,t_us\n", order="xypt")
        case "txt, spaces, size first":
            return write_text(folder / "a.txt", "6 3\n# t_us x y p\n\n", mark=" ")
        case "aedat4" | "raw" | "dat":
            return write_camera(folder / f"a.{kind}")
        case "raw, EVT 2":
            return write_camera(folder / "a.raw", version="evt2")
    raise AssertionError(kind)


KINDS = [
    "npz",
    "npz, other names, polarity -1",
    "npz, seconds",
    "npz, nanoseconds",
    "npy, structured",
    "csv",
    "csv, named columns in another order, one more",
    "csv of Prophesee's",
    "txt, spaces, size first",
    "aedat4",
    "raw",
    "raw, EVT 2",
    "dat",
]


@pytest.mark.parametrize("chunk", [1 << 18, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same_images(kind, chunk, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    path = write(kind, tmp_path)
    assert path.suffix in EVENT_SUFFIXES
    assert event_span(path) == (1000, 121_000)
    windows = event_windows(path, fps=25)
    assert windows == [EventFrame(path, t, t + 40_000) for t in (1000, 41_000, 81_000, 121_000)]
    np.testing.assert_array_equal(images(path, windows), AT_25_FPS)


@pytest.mark.parametrize("kind", ["npz", "csv", "raw"])
def test_windows_may_be_drawn_in_any_order(kind, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    path = write(kind, tmp_path)
    windows = event_windows(path, fps=25)
    order = [0, 0, 3, 1, 1, 0, 2, 3, 3, 2]
    np.testing.assert_array_equal(images(path, [windows[k] for k in order]), [AT_25_FPS[k] for k in order])


def test_the_window_of_a_frame_begins_at_the_frame_before_it(tmp_path) -> None:
    path = write_npz(tmp_path / "a.npz")
    windows = event_windows(path, [0.021, 0.041, 0.081, 0.1211])
    assert [(window.start_us, window.end_us) for window in windows] == [
        (1000, 21_000),  # as long as the next
        (21_000, 41_000),
        (41_000, 81_000),
        (81_000, 121_100),
    ]
    np.testing.assert_array_equal(images(path, windows), [drawn(0), drawn(1, 2), drawn(3, 4, 5), drawn(6)])
    assert event_windows(path, [0.041], fps=50) == [EventFrame(path, 21_000, 41_000)]


@pytest.mark.parametrize("fps", [25, 29.97, 30, 60, 1e6 / 7])
def test_windows_of_a_frame_rate_hold_every_event_once(fps, tmp_path) -> None:
    path = write_npz(tmp_path / "a.npz")
    windows = event_windows(path, fps=fps)
    assert windows[0].start_us == T[0]
    assert windows[-1].start_us <= T[-1] < windows[-1].end_us
    assert all(one.end_us == other.start_us for one, other in itertools.pairwise(windows))
    for k in (1, len(windows) - 1):
        assert windows[k].start_us == pytest.approx(T[0] + k * 1e6 / fps, abs=1)


def test_clocks_that_differ_are_an_error_unless_the_starts_are_to_be_aligned(tmp_path, caplog) -> None:
    path = write_npz(tmp_path / "a.npz")
    unix = 1_688_123_455.5 + np.arange(4) * 0.04
    message = (
        r"a\.npz: 4 of 4 RGB frames .* RGB frames from 1688123455\.5\d* s .* events from 0\.001000 s to 0\.121000 s"
    )
    with pytest.raises(DataError, match=message):
        event_windows(path, unix)
    windows = event_windows(path, unix, align="start")
    assert [window.start_us for window in windows] == pytest.approx([1000, 41_000, 81_000, 121_000], abs=1)
    assert not caplog.records

    # A part of the frames outside is said, with both ranges
    event_windows(path, np.arange(6) * 0.04)
    assert "2 of 6 RGB frames" in caplog.text
    assert "RGB frames from 0.000000 s to 0.200000 s, events from 0.001000 s" in caplog.text
    with pytest.raises(DataError, match="too different in length"):
        event_windows(path, np.arange(60) * 0.04, align="start")


def test_times_of_frames_that_make_no_windows_are_refused(tmp_path) -> None:
    path = write_npz(tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"frame 1 is at 0\.040000 s and frame 2 at 0\.040000 s"):
        event_windows(path, [0, 0.04, 0.04])
    with pytest.raises(DataError, match="time of every RGB frame"):
        event_windows(path, [0, np.nan])
    with pytest.raises(DataError, match="time of every RGB frame"):
        event_windows(path, [])
    with pytest.raises(ValueError, match="times of the RGB frames, or their frame rate"):
        event_windows(path)
    with pytest.raises(ValueError, match="single RGB frame needs the frame rate"):
        event_windows(path, [0.04])
    with pytest.raises(ValueError, match="got 'begin'"):
        event_windows(path, [0, 0.04], align="begin")
    with pytest.raises(ValueError, match="positive number, got -25"):
        event_windows(path, fps=-25)
    with pytest.raises(ValueError, match="more than there are microseconds"):
        event_windows(path, fps=3e6)


def test_size_is_the_files_then_the_callers_then_the_smallest(tmp_path, caplog) -> None:
    plain = write_npz(tmp_path / "a.npz")
    stated = write_text(tmp_path / "a.csv", "%geometry:8,4\nt_us,x,y,p\n")
    for path, given, expected in ((plain, (7, 3), (7, 3)), (plain, None, (6, 3)), (stated, (7, 3), (8, 4))):
        with EventFile(path, given) as file:
            assert file.size == expected
            assert file.image(EventFrame(path, 0, 1)).shape == (expected[1], expected[0], 3)
    assert not caplog.records
    with pytest.raises(DataError, match=r"a\.npz: events reach to x = 5, y = 2, outside of an image of 5x3 pixels"):
        EventFile(plain, (5, 3))
    EventFile(plain, (12, 6)).close()
    assert "no event beyond x = 5, y = 2, in images of 12x6 pixels" in caplog.text


def test_a_window_of_another_file_and_a_closed_file_are_refused(tmp_path) -> None:
    path = write_npz(tmp_path / "a.npz")
    with EventFile(path, SIZE) as file, pytest.raises(ValueError, match="another file"):
        file.image(EventFrame(tmp_path / "b.npz", 0, 1))
    with pytest.raises(ValueError, match="has been closed"):
        file.image(EventFrame(path, 0, 1))


def test_a_file_that_breaks_while_it_is_read_gives_no_white_images(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    path = write_text(tmp_path / "a.csv")
    windows = event_windows(path, fps=25)
    with EventFile(path, SIZE) as file:
        path.write_text("t_us,x,y,p\n1000,0,0,1\nlost\n")
        with pytest.raises(DataError, match=r"a\.csv:3: needs 4 numbers, got 'lost'"):
            file.image(windows[1])
        with pytest.raises(ValueError, match="closed"):
            file.image(windows[2])


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample recordings are not beside the repository")
def test_images_of_a_real_recording_equal_those_drawn_before() -> None:
    folder = SAMPLES / "rgbe_evbench_seq2"
    path = folder / "events.npz"
    ends = np.loadtxt(folder / "frame_window_us.csv", delimiter=",")[:, 1]
    windows = event_windows(path, ends / 1e6)
    assert len(windows) == 41
    with EventFile(path, (240, 180)) as file:
        for k in (0, 1, 2, 17, 40):
            drawn_before = cv2.imread(str(folder / "event_imgs" / f"frame{k:04d}.png"))
            np.testing.assert_array_equal(file.image(windows[k]), drawn_before)


# -- Files that don't say what they hold -------------------------------------------------------------------------------


@pytest.fixture
def recording() -> np.ndarray:
    """2 s with 5,000 events/s, (N, 4): t in microseconds, x, y, p."""
    rng = np.random.default_rng(0)
    n = 10_000
    t = 5_000_000 + np.sort(rng.integers(0, 2_000_000, n))
    t[-1] = 7_000_000
    return np.stack([t, rng.integers(0, 346, n), rng.integers(0, 260, n), rng.integers(0, 2, n)], axis=1)


@pytest.mark.parametrize(
    ("scale", "dtype"),
    [(1, np.int64), (1, np.float64), (1e-6, np.float64), (1, np.uint32)],
    ids=["integers", "whole floats", "seconds", "uint32"],
)
def test_likely_units_are_taken(scale, dtype, recording, tmp_path, caplog) -> None:
    path = tmp_path / "a.npz"
    t, x, y, p = recording.T
    np.savez(path, t=(t * scale).astype(dtype), x=x, y=y, p=p)
    with caplog.at_level(logging.INFO):
        first, last = event_span(path)
    assert (first, last) == (t[0], t[-1])
    unit = "s" if scale == 1e-6 else "us"
    assert f"times are read as {unit}: {(last - first) / 1e6:.3f} s, 5e+03 events/s" in caplog.text


def test_nanoseconds_since_1970_are_taken(recording, tmp_path) -> None:
    t, x, y, p = recording.T
    np.savez(tmp_path / "a.npz", t=1_688_123_455_000_000_000 + t * 1000, x=x, y=y, p=p)
    assert event_span(tmp_path / "a.npz") == (1_688_123_455_000_000 + t[0], 1_688_123_455_000_000 + t[-1])


@pytest.mark.parametrize(
    ("scale", "dtype"),
    [(1e-3, np.int64), (1e3, np.int64), (1e-3, np.float64)],
    ids=["whole milliseconds", "nanoseconds from 0", "milliseconds with fractions"],
)
def test_units_in_doubt_are_refused_with_all_readings(scale, dtype, recording, tmp_path) -> None:
    path = tmp_path / "a.npz"
    t, x, y, p = recording.T
    np.savez(path, t=(t * scale).astype(dtype), x=x, y=y, p=p)
    unit = {1e-3: "ms", 1e3: "ns"}[scale]
    message = (
        rf"a\.npz: the unit of its times is in doubt: 10000 events .* in {unit}, (2|1\.99\d*) s with 5e\+03 events/s"
    )
    with pytest.raises(DataError, match=message):
        event_span(path)
    np.savez(path, x=x, y=y, p=p, **{f"t_{unit}": (t * scale).astype(dtype)})
    assert event_span(path) == (pytest.approx(t[0], abs=1000), pytest.approx(t[-1], abs=1000))


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 2, 3, 0), (1, 2, 0, 3), (3, 0, 1, 2)], ids=str)
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".txt"])
def test_columns_without_names_are_told_by_their_values(suffix, order, recording, tmp_path) -> None:
    path, mixed = tmp_path / f"a{suffix}", recording[:, order]
    if suffix == ".npy":
        np.save(path, mixed.astype(np.float64))
    elif suffix == ".npz":
        np.savez(path, events=mixed)
    else:
        np.savetxt(path, mixed, fmt="%d", delimiter="," if suffix == ".csv" else " ")
    window = EventFrame(path, 5_500_000, 5_550_000)
    (image,) = images(path, [window], (346, 260))
    expected = np.full((260, 346, 3), 255, np.uint8)
    t, x, y, p = recording[(recording[:, 0] >= 5_500_000) & (recording[:, 0] < 5_550_000)].T
    assert 100 < len(t) < 400
    expected[y[p == 1], x[p == 1]] = RED
    expected[y[p == 0], x[p == 0]] = BLUE
    np.testing.assert_array_equal(image, expected)


def test_columns_that_could_be_either_are_refused(tmp_path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([[0, 5, 6, 1], [10, 6, 6, 1], [20, 7, 5, 0]]))
    with pytest.raises(DataError, match=r"a\.npy: can't tell .* could be the time: \[1, 2\]; the polarity: \[4\]"):
        event_span(path)


# -- Wrong files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"t_us": np.array(T)[::-1]}, r"sorted by time, but event 1 has the time 80999 after 121000"),
        ({"x": np.array([0, 1, 2, 3, -3, 4, 5])}, r"x must be a whole number from 0 to 65535, event 4 has -3"),
        ({"y": np.array([0, 0.5, 1, 1, 2, 2, 2])}, r"y must be a whole number from 0 to 65535, event 1 has 0\.5"),
        ({"x": np.array([0, 1, np.inf, 3, 3, 4, 5])}, r"x must be a whole number from 0 to 65535, event 2 has inf"),
        ({"p": np.array([0, 1, 2, 1, 0, 0, 1])}, r"polarities must be 0 and 1, or -1 and 1, got 0, 1, 2"),
        ({"p": np.array([0, 1, -1, 1, 0, 0, 1])}, r"polarities must be .* got -1, 0, 1"),
        ({"p": np.array([255, 1, 1, 1, 1, 1, 1], np.uint8)}, r"polarities must be .* got 1, 255"),
        ({"p": np.array([np.nan, 1, 1, 1, 1, 1, 1])}, r"polarities must be .* nan"),
        ({"t_us": np.array([1, 2, np.nan, 4, 5, 6, 7])}, r"event 2 has the time nan"),
        ({"p": None}, r"no events found; it holds t_us: int64 \(7,\), x: .*Known names: time: t, ts"),
        ({"t": np.array(T)}, r"no events found; it holds t_us: int64 \(7,\), .* t: int64"),
        ({"x": np.array(X[:-1])}, r"must be equally many; it holds .* x: int64 \(6,\)"),
        ({"x": np.array(list("abcdefg"))}, r"must be numbers; it holds .* x: <U1"),
        ({"x": np.array([{}] * 7)}, r"Python objects, which are not loaded"),
        ({name: np.zeros(0, int) for name in ("t_us", "x", "y", "p")}, r"no event in this file"),
        ({"t_us": np.array(T) + np.array([0] * 6 + [90_000_000_000])}, r"span 1\.0 days, from 0\.001000 s"),
        ({"t_us": np.array(T, np.uint64) + 17 * 10**17}, r"1\.7e\+18 us are too large; their unit must be another"),
        ({"t_us": None, "t_s": (np.array(T) / 1e6 + 1.6e9).astype(np.float32)}, r"float32, which at 1\.6e\+09 s"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_wrong_arrays_are_refused(changed, message, tmp_path) -> None:
    path = write_npz(tmp_path / "a.npz", **changed)
    with pytest.raises(DataError, match=r"a\.npz: .*" + message):
        event_span(path)


def test_an_unsorted_event_between_chunks_is_found(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    path = write_npz(tmp_path / "a.npz", t_us=np.array([1, 2, 1, 3, 4, 5, 6]), p=np.array([0, 0, 0, 0, 1, 1, 1]))
    with pytest.raises(DataError, match="event 2 has the time 1 after 2"):
        event_span(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t_us,x,y,p\n1,2,3,1\n2,2,3\n", r"a\.csv:3: needs 4 numbers, got '2,2,3'; is the file cut"),
        ("t_us,x,y,p\n1,2,3,1\n\n2,2,b,0\n", r"a\.csv:4: needs 4 numbers, got '2,2,b,0'"),
        ("t_us,x,y,p\n1,2,3,True\n", r"a\.csv:2: needs 4 numbers, got '1,2,3,True'"),
        (
            "when,x,y,p\n1,2,3,1\n",
            r"a\.csv:1: neither numbers nor the names of columns: 'when,x,y,p'\. Known are time: t",
        ),
        ("1,2,3,1,7\n", r"a\.csv:1: needs the four columns .* its 5 columns"),
        ("t_us,x,y,p\n", r"a\.csv: no event in this file"),
        ("\n# nothing\n", r"a\.csv: no event in this file"),
        ("", r"a\.csv: the file is empty"),
        (b"\xff\xfe\x00\x01\x80", r"a\.csv: not a text file"),
    ],
)
def test_wrong_text_is_refused(text, message, tmp_path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        event_span(path)


@pytest.mark.parametrize("kind", ["npz", "npy, structured"])
@pytest.mark.parametrize("part", [0.5, 0.95])
def test_truncated_arrays_are_refused(kind, part, tmp_path) -> None:
    path = write(kind, tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(DataError, match=r"a\.np[yz]: not readable as NumPy's"):
        event_span(path)


def test_another_format_by_the_name_of_an_array_is_refused(tmp_path) -> None:
    path = tmp_path / "a.npz"
    path.write_text("<html>not found</html>")
    with pytest.raises(DataError, match=r"a\.npz: not readable as NumPy's \.npz: it begins with b'<html>'"):
        event_span(path)


@pytest.mark.parametrize("kind", ["aedat4", "raw", "raw, EVT 2", "dat"])
@pytest.mark.parametrize("damage", ["truncated", "another format"])
def test_wrong_camera_files_are_refused(kind, damage, tmp_path) -> None:
    path = write(kind, tmp_path)
    data = path.read_bytes()
    cut = len(data) * 3 // 5 if kind == "aedat4" else -1
    path.write_bytes(data[:cut] if damage == "truncated" else b"GIF89a, no events here. " * 40)
    with pytest.raises(DataError, match=rf"a{path.suffix}: .*truncated or damaged"):
        event_span(path)


def test_a_panic_of_the_reader_names_the_file(tmp_path) -> None:
    path = write("aedat4", tmp_path)
    data = bytearray(path.read_bytes())
    data[18:22] = b"\x00\x00\x00\x17"  # the root of the header, far behind its end
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.aedat4: .*truncated or damaged: range start index \d+ out of range"):
        event_span(path)


def test_a_camera_file_without_events_is_refused(tmp_path) -> None:
    path = write("raw", tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"\n", 0, data.index(b"geometry") + 60) + 1])
    with pytest.raises(DataError, match=r"a\.raw: no event in this file"):
        event_span(path)


def test_a_camera_file_without_size_takes_the_callers(tmp_path) -> None:
    path = write("raw", tmp_path)
    data = path.read_bytes()
    path.write_bytes(b"% evt 3.0\n" + data[data.index(b"\n", data.index(b"% t0")) + 1 :])
    with EventFile(path, (7, 4)) as file:
        assert file.size == (7, 4)
    with EventFile(path) as file:
        assert file.size == SIZE


def test_a_missing_reader_names_what_to_install(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "faery", None)
    path = tmp_path / "a.aedat4"
    path.write_bytes(b"#!AER-DAT4.0\r\n")
    with pytest.raises(DataError, match=r'a\.aedat4: .* needs the package faery: pip install "patrack\[events\]"'):
        event_span(path)


def test_other_suffixes_and_missing_files_are_refused(tmp_path) -> None:
    with pytest.raises(DataError, match=r"a\.bag: not an event file: its suffix must be one of \.npz, "):
        event_span(tmp_path / "a.bag")
    with pytest.raises(DataError, match=r"a\.npz: no such file"):
        event_span(tmp_path / "a.npz")


def test_a_file_that_was_replaced_is_read_anew(tmp_path) -> None:
    path = write_npz(tmp_path / "a.npz")
    assert event_span(path) == (1000, 121_000)
    write_npz(path, t_us=np.array(T, np.int32) + 1)
    assert event_span(path) == (1001, 121_001)


@pytest.mark.parametrize(
    "head", ["1e999 9\n", "0 9\n", "nan 9\n", f"# geometry: 20000x{'9' * 5000}\n"], ids=lambda head: head[:8]
)
def test_a_size_that_no_sensor_has_is_refused(tmp_path, head) -> None:
    path = write_text(tmp_path / "a.txt", header=head, mark=" ")
    with pytest.raises(DataError, match=r"a\.txt:1: a sensor of .* expected 1 to 16384 a side"):
        EventFile(path)


def test_events_that_reach_further_than_any_sensor_are_refused(tmp_path) -> None:
    path = write_npz(tmp_path / "a.npz", x=np.array([*X[:-1], 60_000]))
    with pytest.raises(DataError, match=r"a\.npz: images of 60001x3 pixels; at most 16384 a side"):
        EventFile(path)


def test_a_damaged_header_of_an_array_is_refused(tmp_path) -> None:
    np.save(tmp_path / "a.npy", np.array([T, X, Y, P]).T)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes().replace(b"}", b")"))
    with pytest.raises(DataError, match=r"a\.npy: not readable as NumPy's \.npy"):
        event_span(tmp_path / "a.npy")
