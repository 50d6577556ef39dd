"""Results in a VOT workspace are of one run each: same weights, settings and data, and one process at a time."""

import json
import os
import re
import time

import pytest

from lib.vot.results import check, claim, result_files, results_folder
from patrack.files import FolderInUse

IDENTITY = {"weights_sha256": "a" * 8, "clip_depth": True, "test": {"window": True}}
OTHER = {**IDENTITY, "weights_sha256": "b" * 8}


@pytest.fixture
def results(tmp_path):
    """A folder of results made by IDENTITY of data "1"."""
    folder = results_folder(tmp_path / "ws", "PATrack")
    with claim(folder, IDENTITY, {"one": "1", "two": "2"}):
        write_run(folder)
    return folder


def write_run(folder, sequence="one"):
    place = folder / "baseline" / sequence
    place.mkdir(parents=True, exist_ok=True)
    for end in ("_00000000.bin", "_00000000_time.value", "_00000000_confidence.value"):
        (place / f"{sequence}{end}").write_text("x")


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_same_run_goes_on(results):
    before = names(results)
    with claim(results, IDENTITY, {"one": "1", "two": "9"}):  # nothing of "two" is there yet
        pass
    assert names(results) == before
    write_run(results, "two")
    with pytest.raises(ValueError, match=r"other frames, .* of two\."):
        check(results, IDENTITY, {"one": "1", "two": "2"})


@pytest.mark.parametrize(
    ("identity", "data", "message"),
    [
        (OTHER, {"one": "1"}, "weights_sha256: 'aaaaaaaa' -> 'bbbbbbbb'"),
        ({**IDENTITY, "test": {"window": False}}, {"one": "1"}, "test.window: True -> False"),
        (IDENTITY, {"one": "3"}, r"other frames, first boxes or anchors than are there now, of one\."),
    ],
    ids=["weights", "setting", "data"],
)
def test_another_run_is_refused_and_replaces_results_only_on_request(results, identity, data, message):
    (results / "baseline" / "one" / "mine.txt").write_text("")
    (results / "baseline" / "notes.txt").write_text("")
    before = names(results)
    with (
        pytest.raises(ValueError, match=rf"(?s){message}.*another --name.*--overwrite"),
        claim(results, identity, data),
    ):
        pass
    assert names(results) == before
    with claim(results, identity, data, overwrite=True):
        assert not result_files(results)
    assert names(results) == ["baseline/notes.txt", "baseline/one/mine.txt", "run.json"]
    check(results, identity, data)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"identity": 3}'], ids=["none", "cut off", "a list", "no group"])
def test_results_that_nothing_vouches_for_are_refused(results, content):
    manifest = results / "run.json"
    manifest.unlink() if content is None else manifest.write_text(content)
    with pytest.raises(ValueError, match=r"holds results, and no run\.json"):
        check(results, IDENTITY)


def test_who_does_not_know_the_data_keeps_what_is_known_of_them(results):
    with claim(results, IDENTITY):
        pass
    assert json.loads((results / "run.json").read_text())["sequences"] == {"one": "1"}


@pytest.mark.skipif(os.name != "posix", reason="locks")
def test_a_second_process_is_refused_or_waits(results):
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            with claim(results, IDENTITY):
                os.write(writer, b"x")
                time.sleep(0.5)
        finally:
            os._exit(0)
    os.read(reader, 1)
    with pytest.raises(FolderInUse, match=f"in use by process {process} .*another --name"), claim(results, IDENTITY):
        pass
    with claim(results, IDENTITY, patience=20):
        pass
    os.waitpid(process, 0)


@pytest.mark.parametrize("name", ["../..", "..", "/tmp/x", "a/b", ""])
def test_a_tracker_stays_in_the_workspace(tmp_path, name):
    with pytest.raises(ValueError, match=re.escape(f"--name: {name!r} can't name a file or folder")):
        results_folder(tmp_path, name)
