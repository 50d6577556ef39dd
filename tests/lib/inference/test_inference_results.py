"""A folder of results belongs to one run: what is continued, refused, deleted."""

import errno
import json
import re
from io import FileIO

import numpy as np
import pytest

from lib.datasets.missing import read_masks
from lib.inference.results import SequenceResult, claim, claimed, keep_masks, partial_result, write_result, write_track
from patrack.config import load

FIRST_BOX = [4.0, 5.0, 10.0, 8.0]


DATA = {"a": {"files": "1"}}
IDENTITY = {"dataset": "lasher", "weights_sha256": "abc", "model": {"depth": 12}}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_same_run_goes_on_in_its_folder(tmp_path):
    claim(tmp_path / "out", IDENTITY, {"device": "cpu"})
    claim(tmp_path / "out", IDENTITY, {"device": "cuda"})
    saved = json.loads((tmp_path / "out/run.json").read_text())
    assert saved["identity"] == IDENTITY
    assert saved["device"] == "cuda"
    assert re.fullmatch("[0-9a-f]{16}", saved["key"])


def test_a_run_goes_on_after_an_update_that_brought_new_settings(tmp_path):
    sections = load("rgbt_tiny").model_dump(mode="json", include={"model", "crop", "test"})
    del sections["model"]["base_model"]
    before = json.loads(json.dumps(IDENTITY | sections))
    del before["model"]["templates"], before["model"]["adapters"]["mda"]["parts"], before["test"]["template_update"]
    claim(tmp_path, before, {}, data=DATA)
    (tmp_path / "a.txt").write_text("1,2,3,4\n")
    claim(tmp_path, IDENTITY | sections, {}, data=DATA)
    assert json.loads((tmp_path / "run.json").read_text())["identity"]["model"]["templates"] == 1
    sections["model"]["templates"] = 2
    with pytest.raises(ValueError, match=r"model\.templates: 1 -> 2"):
        claim(tmp_path, IDENTITY | sections, {}, data=DATA)


def test_another_run_in_the_folder_is_an_error_that_says_what_differs(tmp_path):
    claim(tmp_path, IDENTITY, {})
    (tmp_path / "a.txt").write_text("1,2,3,4\n")
    with pytest.raises(ValueError, match="results of another run") as caught:
        claim(tmp_path, IDENTITY | {"weights_sha256": "xyz", "model": {"depth": 6}}, {})
    message = str(caught.value)
    assert "weights_sha256: 'abc' -> 'xyz'" in message
    assert "model.depth: 12 -> 6" in message
    assert "lasher" not in message
    assert "--overwrite" in message
    assert json.loads((tmp_path / "run.json").read_text())["identity"] == IDENTITY


def test_run_that_left_no_result_gives_its_folder_to_the_next_one(tmp_path):
    claim(tmp_path, IDENTITY, {})
    claim(tmp_path, IDENTITY | {"dataset": "visevent"}, {})
    assert json.loads((tmp_path / "run.json").read_text())["identity"]["dataset"] == "visevent"


def test_overwrite_deletes_the_results_but_no_other_file(tmp_path):
    claim(tmp_path, IDENTITY, {}, data=DATA)
    write_result(tmp_path, "a", SequenceResult(np.tile(FIRST_BOX, (2, 1)), np.ones(2), np.ones(2), 1.0))
    mine = ["boxes.txt", "final.txt", "final_scores.txt", "final_times.txt", "notes.txt"]
    for name in mine:
        (tmp_path / name).write_text("mine")
    claim(tmp_path, IDENTITY | {"dataset": "visevent"}, {}, overwrite=True, data=DATA)
    assert names(tmp_path) == sorted([*mine, "run.json"])


def test_a_file_that_no_run_has_written_is_not_overwritten(tmp_path):
    claim(tmp_path, IDENTITY, {}, data=DATA)
    (tmp_path / "b.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds b\.txt, which this run would write and no run listed"):
        claim(tmp_path, IDENTITY, {}, overwrite=True, data={"b": {"files": "1"}})
    with pytest.raises(ValueError, match=r"holds b\.txt, which this run would write and no run listed"):
        claim(tmp_path, IDENTITY | {"dataset": "visevent"}, {}, overwrite=True, data={"b": {"files": "1"}})
    assert (tmp_path / "b.txt").read_text() == "mine"


def test_results_of_other_data_are_an_error(tmp_path):
    claim(tmp_path, IDENTITY, {}, data=DATA)
    write_result(tmp_path, "a", SequenceResult(np.tile(FIRST_BOX, (2, 1)), np.ones(2), np.ones(2), 1.0))
    claim(tmp_path, IDENTITY, {}, data={"b": {"files": "9"}})
    claim(tmp_path, IDENTITY, {}, data=DATA)
    other = {"a": {"files": "2"}}
    with pytest.raises(ValueError, match=r"results of other data: a\.txt \(1 sequences\) .*--verify-data"):
        claim(tmp_path, IDENTITY, {}, data=other)
    assert "a.txt" in names(tmp_path)
    claim(tmp_path, IDENTITY, {}, overwrite=True, data=other)
    assert names(tmp_path) == ["run.json"]
    saved = json.loads((tmp_path / "run.json").read_text())
    assert saved["data"] == {"a": {"files": "2"}, "b": {"files": "9"}}


def test_contents_count_where_both_runs_have_looked_at_them(tmp_path):
    claim(tmp_path, IDENTITY, {}, data={"a": {"files": "1", "contents": "x"}})
    write_result(tmp_path, "a", SequenceResult(np.tile(FIRST_BOX, (2, 1)), np.ones(2), np.ones(2), 1.0))
    claim(tmp_path, IDENTITY, {}, data={"a": {"files": "2", "contents": "x"}})
    with pytest.raises(ValueError, match="results of other data"):
        claim(tmp_path, IDENTITY, {}, data={"a": {"files": "2", "contents": "y"}})


def test_temporary_files_of_others_stay(tmp_path):
    (tmp_path / ".tmp-999999999-mine").mkdir()
    with pytest.raises(ValueError, match=r"no run\.json"):
        claim(tmp_path, IDENTITY, {}, overwrite=True)
    assert names(tmp_path) == [".tmp-999999999-mine"]


def test_a_claimed_folder_is_locked_while_it_is_used(tmp_path):
    with claimed(tmp_path / "out", IDENTITY, {}, data=DATA):
        assert names(tmp_path / "out") == [".lock", "run.json"]
    (tmp_path / "out/.lock").touch()  # of a process that was killed
    claim(tmp_path / "out", IDENTITY | {"dataset": "visevent"}, {})
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/a.txt").touch()
    foreign = claimed(tmp_path / "foreign", IDENTITY, {})
    with pytest.raises(ValueError, match=r"no run\.json"), foreign:
        pass
    assert names(tmp_path / "foreign") == ["a.txt"]


def test_overwrite_keeps_the_results_of_the_same_run(tmp_path):
    claim(tmp_path, IDENTITY, {}, data=DATA)
    write_result(tmp_path, "a", SequenceResult(np.tile(FIRST_BOX, (2, 1)), np.ones(2), np.ones(2), 1.0))
    claim(tmp_path, IDENTITY, {}, overwrite=True, data=DATA)
    assert names(tmp_path) == ["a.txt", "a_scores.txt", "a_times.txt", "run.json"]


def test_overwrite_deletes_the_files_of_a_recording_before_anything_is_tracked(tmp_path):
    claim(tmp_path, IDENTITY | {"box_xywh": FIRST_BOX}, {})
    for name in ("boxes.txt", "scores.txt", "times.txt", "track.csv", "overlay.mp4", "notes.txt"):
        (tmp_path / name).write_text("old")
    claim(tmp_path, IDENTITY | {"dataset": "visevent"}, {}, overwrite=True)
    assert names(tmp_path) == ["notes.txt", "run.json"]


def test_what_a_killed_run_left_half_written_neither_blocks_nor_stays(tmp_path):
    (tmp_path / ".tmp-999999999-run.json").write_text("{")
    claim(tmp_path, IDENTITY, {})
    assert names(tmp_path) == ["run.json"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        {"a.txt": "1,2,3,4"},
        {"run.json": '{"name": "training"}'},
        {"run.json": "[1"},
        {"run.json": '{"identity": "me"}', "a.txt": "1,2,3,4"},
    ],
    ids=str,
)
def test_folder_that_holds_something_else_is_never_touched(tmp_path, content, overwrite):
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match="give another --output"):
        claim(tmp_path, IDENTITY, {}, overwrite=overwrite)
    assert {name: (tmp_path / name).read_text() for name in names(tmp_path)} == content


@pytest.mark.parametrize("inside", ["file", "file/out"])
def test_output_that_can_not_be_a_folder_is_an_error(tmp_path, inside):
    (tmp_path / "file").write_text("data")
    with pytest.raises(ValueError, match="--output"):
        claim(tmp_path / inside, IDENTITY, {})
    assert (tmp_path / "file").read_text() == "data"


def test_unwritable_output_folder_is_an_error(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(ValueError, match=r"can't write results to .*Permission denied"):
        claim(tmp_path / "out", IDENTITY, {})


def test_track_is_one_table_with_a_row_per_frame(tmp_path):
    boxes = np.array([[4, 5, 10, 8], [4.123456, -1.5, 10, 8], [1234.5, 5, 10, 8]])
    result = SequenceResult(boxes, np.array([1.0, 0.299999, 0.3]), np.ones(3), 1.0)
    write_track(tmp_path / "track.csv", result, np.array([0, 1 / 3, 7.0]))
    assert (tmp_path / "track.csv").read_text().splitlines() == [
        "frame,time,x,y,w,h,score,lost",
        "0,0.000000,4.0000,5.0000,10.0000,8.0000,1.000000,0",
        "1,0.333333,4.1235,-1.5000,10.0000,8.0000,0.299999,1",
        "2,7.000000,1234.5000,5.0000,10.0000,8.0000,0.300000,0",
    ]


@pytest.mark.parametrize("half", [False, True], ids=["nothing-written", "half-a-row-written"])
def test_row_that_had_no_room_is_an_error_that_names_the_file(tmp_path, monkeypatch, half):
    def full(self, data):
        if half:
            return len(data) - 3
        raise OSError(errno.ENOSPC, "No space left on device")

    class Full(FileIO):
        write = full

    monkeypatch.setattr("lib.inference.results.FileIO", Full)
    with (
        pytest.raises(OSError, match=r"cannot write .*partial\.csv: No space left on device"),
        partial_result(tmp_path / "partial.csv") as (_, keep),
    ):
        keep(np.array(FIRST_BOX), 1.0, 0.1)


def test_masks_belong_to_their_run_and_keep_those_of_sequences_that_it_had_before(tmp_path):
    masked = IDENTITY | {"missing": "x:0.5, gaps of 10 frames, seed 0"}
    one, two = (np.array([[True, True], [True, there]]) for there in (False, True))
    claim(tmp_path, masked, {}, data={"a": {"files": "1"}})
    keep_masks(tmp_path, {"a": one})
    claim(tmp_path, masked, {}, data={"b": {"files": "1"}})
    keep_masks(tmp_path, {"b": two})
    assert {name: mask.tolist() for name, mask in read_masks(tmp_path / "missing.json").items()} == {
        "a": one.tolist(),
        "b": two.tolist(),
    }
    claim(tmp_path, IDENTITY, {}, data={"a": {"files": "1"}})  # nothing was tracked, so the folder is as good as new
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    (tmp_path / "missing.json").write_text("mine")
    with pytest.raises(ValueError, match="holds the results of another run"):
        claim(tmp_path, masked, {})
