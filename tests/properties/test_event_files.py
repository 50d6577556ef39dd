"""Files of events in every format: damaged ones are refused with their path, at once or when they are drawn."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostile import any_bytes, any_text_file, only_reads
from patrack.recordings import events as module
from patrack.recordings.events import EventFile, event_windows
from patrack.recordings.sequence import DataError, EventFrame

SIZE = (12, 9)
generator = np.random.default_rng(0)
COLUMNS = {
    "t_us": np.sort(generator.integers(0, 200_000, 400)),
    "x": generator.integers(0, SIZE[0], 400).astype(np.uint16),
    "y": generator.integers(0, SIZE[1], 400).astype(np.uint16),
    "p": generator.integers(0, 2, 400).astype(np.uint8),
}
ROWS = list(zip(*(column.tolist() for column in COLUMNS.values()), strict=True))


def numpy_file(save: object, *args: object, **named: object) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *args, **named)
    return buffer.getvalue()


VALID = {
    "npz": numpy_file(np.savez_compressed, **COLUMNS),
    "plain.npz": numpy_file(np.savez, **{name: column[:50] for name, column in COLUMNS.items()}),
    "npy": numpy_file(np.save, np.array(ROWS, dtype=[("t_us", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")])),
    "table.npy": numpy_file(np.save, np.array(ROWS)),
}
TEXTS = (
    "t_us,x,y,p\n" + "".join(f"{t},{x},{y},{p}\n" for t, x, y, p in ROWS[:8]),
    "# geometry: 12x9\n" + "".join(f"{t / 1e6} {x} {y} {p}\n" for t, x, y, p in ROWS),
    "12 9\n" + "".join(f"{t}\t{x}\t{y}\t{p}\n" for t, x, y, p in ROWS),
)


def drawn(path: object) -> list[np.ndarray] | None:
    """Images of the file, or None where it is refused as documented."""
    module._surveys.clear()
    with only_reads():
        try:
            with EventFile(path, SIZE) as file:
                windows = [*event_windows(path, fps=100)[:20], EventFrame(path, 0, 10**9)]
                return [file.image(window) for window in windows]
        except DataError as error:
            assert str(path) in str(error)
    return None


@pytest.mark.parametrize("kind", VALID)
@given(data=st.data())
def test_any_damaged_file_of_arrays_is_drawn_or_refused(kind, data, folder):
    path = folder / f"a.{kind}"
    path.write_bytes(VALID[kind])
    assert drawn(path)
    path.write_bytes(data.draw(any_bytes(VALID[kind])))
    images = drawn(path)
    assert images is None or {image.shape for image in images} == {(SIZE[1], SIZE[0], 3)}


@given(data=any_text_file(*TEXTS), suffix=st.sampled_from([".csv", ".txt"]))
def test_any_damaged_text_is_drawn_or_refused(data, suffix, folder):
    path = folder / f"a{suffix}"
    path.write_bytes(data)
    drawn(path)


@pytest.mark.native_reader
@pytest.mark.parametrize("kind", ["aedat4", "dat", "raw", "evt3.raw"])
@settings(max_examples=settings.default.max_examples // 2)
@given(data=st.data())
def test_any_damaged_file_of_a_camera_is_drawn_or_refused(kind, data, folder):
    faery = pytest.importorskip("faery", reason='needs faery: pip install "patrack[events]"')
    path = folder / f"valid.{kind}"
    if not path.is_file():
        array = np.array([(t, x, y, bool(p)) for t, x, y, p in ROWS], dtype=faery.EVENTS_DTYPE)
        options = {"raw": {"version": "evt2"}, "evt3.raw": {"version": "evt3"}}.get(kind, {})
        faery.events_stream_from_array(array, SIZE).to_file(path, **options)
    damaged = folder / f"a.{kind}"
    damaged.write_bytes(data.draw(any_bytes(path.read_bytes())))
    drawn(damaged)


@given(
    times=st.lists(st.integers(0, 10**6), min_size=2, max_size=40, unique=True).map(sorted),
    edges=st.lists(st.integers(0, 10**6), min_size=2, max_size=6, unique=True).map(sorted),
)
def test_windows_that_follow_each_other_hold_every_event_once(times, edges, folder):
    path = folder / "a.npz"
    np.savez(
        path, t_us=np.array(times), x=np.arange(len(times)), y=np.zeros(len(times), int), p=np.ones(len(times), int)
    )
    module._surveys.clear()
    with EventFile(path, (64, 1)) as file:
        frames = [EventFrame(path, start, end) for start, end in itertools.pairwise(edges)]
        seen = [{int(x) for x in np.flatnonzero((file.image(frame)[0] != 255).any(axis=1))} for frame in frames]
        again = [{int(x) for x in np.flatnonzero((file.image(f)[0] != 255).any(axis=1))} for f in reversed(frames)]
    assert seen == again[::-1]
    expected = [{k for k, t in enumerate(times) if frame.start_us <= t < frame.end_us} for frame in frames]
    assert seen == expected


def test_a_compressed_array_that_grows_beyond_measure_is_refused_before_it_is_unpacked(folder, monkeypatch):
    monkeypatch.setattr(module, "MAX_UNPACKED", 2**20)
    path = folder / "a.npz"
    with path.open("wb") as file:
        np.savez_compressed(file, **{name: np.zeros(2**18, np.int64) for name in ("t_us", "x", "y", "p")})
    assert path.stat().st_size < 2**20
    with pytest.raises(DataError, match=r"a\.npz: .*compressed"):
        EventFile(path, SIZE)
