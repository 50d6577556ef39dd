"""Running a tracker over sequences: what is written, kept, refused, and what an interruption leaves behind."""

import functools
import logging
import signal
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from lib.datasets.recordings import load_pair
from lib.inference import runner
from lib.inference.results import SequenceResult, TrackingError, is_complete, write_result
from lib.inference.runner import run_sequences
from lib.inference.sequence import track_frames
from patrack import build
from small_models import tiny_config

FIRST_BOX = [4.0, 5.0, 10.0, 8.0]


class StubTracker:
    """Moves the box by one pixel a frame; counts what it did."""

    def __init__(self):
        self.started = self.tracked = 0

    def initialize(self, frame, box_xywh, present=(True, True)):
        if not np.isfinite(box_xywh).all():
            raise ValueError(f"box must be four finite numbers, got {box_xywh}")
        self.box = np.array(box_xywh)
        self.started += 1

    def track(self, frame, present=(True, True)):
        self.box = self.box + np.array([1, 0, 0, 0])
        self.tracked += 1
        return self.box.copy(), 0.5


@pytest.fixture
def make_sequence(tmp_path):
    def make(name, frames=4, box=FIRST_BOX):
        folder = tmp_path / "data" / name
        for part in ("rgb", "x"):
            (folder / part).mkdir(parents=True)
            for i in range(frames):
                cv2.imwrite(str(folder / part / f"{i:03d}.png"), np.full((24, 32, 3), 10 * i, np.uint8))
        (folder / "boxes.txt").write_text(",".join(map(str, box)) + "\n")
        return load_pair(folder / "rgb", folder / "x", "rgbt", folder / "boxes.txt", name=name)

    return make


def numbers(path):
    return np.loadtxt(path, delimiter=",").tolist()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_three_files_per_sequence_start_with_the_given_box(tmp_path, make_sequence):
    summary = run_sequences(StubTracker, [make_sequence("a")], tmp_path / "out")
    assert names(tmp_path / "out") == ["a.txt", "a_scores.txt", "a_times.txt"]
    assert (tmp_path / "out/a.txt").read_text().splitlines()[0] == "4.0000,5.0000,10.0000,8.0000"
    assert numbers(tmp_path / "out/a.txt") == [[4 + i, 5, 10, 8] for i in range(4)]
    assert numbers(tmp_path / "out/a_scores.txt") == [1, 0.5, 0.5, 0.5]
    assert len(numbers(tmp_path / "out/a_times.txt")) == 4
    assert [outcome.name for outcome in summary.finished] == ["a"]
    assert "4 frames" in summary.describe()
    assert "FPS tracking" in summary.describe()


def test_complete_results_are_kept_and_the_rest_is_done(tmp_path, make_sequence):
    sequences, out = [make_sequence(name) for name in "abc"], tmp_path / "out"
    run_sequences(StubTracker, sequences, out)
    kept = (out / "a.txt").stat().st_mtime_ns
    (out / "b.txt").unlink()  # as after an interruption between the files
    (out / "c.txt").write_text((out / "c.txt").read_text()[:30])  # as after an edit
    tracker = StubTracker()
    summary = run_sequences(lambda: tracker, sequences, out)
    assert summary.kept == ["a"]
    assert [outcome.name for outcome in summary.finished] == ["b", "c"]
    assert tracker.started == 2
    assert (out / "a.txt").stat().st_mtime_ns == kept
    assert len(numbers(out / "c.txt")) == 4


def test_nothing_left_to_do_builds_no_tracker(tmp_path, make_sequence):
    sequences = [make_sequence("a")]
    run_sequences(StubTracker, sequences, tmp_path / "out")
    assert run_sequences(None, sequences, tmp_path / "out").kept == ["a"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"frames": 5}, id="other-length"),
        pytest.param({"first_box": np.array([4.0, 5, 10, 9])}, id="other-first-box"),
    ],
)
def test_results_of_another_sequence_are_not_complete(tmp_path, change):
    boxes = np.tile(FIRST_BOX, (4, 1))
    write_result(tmp_path, "a", SequenceResult(boxes, np.ones(4), np.ones(4), 4.0))
    assert is_complete(tmp_path, "a", boxes[0], 4)
    assert not is_complete(tmp_path, "a", **({"first_box": boxes[0], "frames": 4} | change))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(lambda seq: seq.x_files[2].write_bytes(b"no image"), "frame 2 .*x/002.png", id="unreadable-x"),
        pytest.param(lambda seq: seq.rgb_files[2].unlink(), "frame 2 .*rgb/002.png", id="missing-rgb"),
        pytest.param(
            lambda seq: cv2.imwrite(str(seq.x_files[1]), np.zeros((12, 16, 3), np.uint8)),
            "frame 1 .*RGB and X differ in size",
            id="other-size",
        ),
    ],
)
def test_bad_frame_in_the_middle_is_reported_and_the_other_sequences_go_on(tmp_path, make_sequence, spoil, reason):
    sequences = [make_sequence(name) for name in "abc"]
    spoil(sequences[1])
    summary = run_sequences(StubTracker, sequences, tmp_path / "out")
    assert [outcome.name for outcome in summary.finished] == ["a", "c"]
    assert [outcome.name for outcome in summary.failed] == ["b"]
    assert not list((tmp_path / "out").glob("b*"))
    with pytest.raises(TrackingError, match=reason):
        track_frames(StubTracker(), sequences[1], np.array(FIRST_BOX))
    assert "failed: b: sequence b, frame" in summary.describe()


def test_sequence_without_a_first_box_is_reported(tmp_path, make_sequence):
    summary = run_sequences(StubTracker, [make_sequence("a", box=["nan"] * 4)], tmp_path / "out")
    assert "sequence a, frame 0 (from 0): box must be four finite numbers" in summary.failed[0].error


def test_tracker_is_told_which_streams_are_present_where_one_is_missing(make_sequence):
    told = []

    class Told(StubTracker):
        def initialize(self, frame, box_xywh, present=None):
            super().initialize(frame, box_xywh)
            told.append(present)

        def track(self, frame, present=None):
            told.append(present)
            return super().track(frame)

    mask = np.array([[1, 0], [0, 1], [0, 0], [1, 1]], bool)
    sequence = replace(make_sequence("a"), present=mask)
    track_frames(Told(), sequence, np.array(FIRST_BOX))
    assert told == [*(tuple(row) for row in mask[:3].tolist()), None]


def test_ctrl_c_leaves_complete_sequences_only(tmp_path, make_sequence):
    class Interrupted(StubTracker):
        def track(self, frame, present=(True, True)):
            if self.started == 2:
                raise KeyboardInterrupt
            return super().track(frame)

    with pytest.raises(KeyboardInterrupt):
        run_sequences(Interrupted, [make_sequence(name) for name in "abc"], tmp_path / "out")
    assert names(tmp_path / "out") == ["a.txt", "a_scores.txt", "a_times.txt"]


@pytest.mark.parametrize("at", [0, 1, 2], ids=["first-file", "second-file", "third-file"])
def test_ctrl_c_while_writing_leaves_no_sequence_that_looks_complete(tmp_path, make_sequence, monkeypatch, at):
    sequence, calls = make_sequence("a"), []

    def interrupted(_):
        calls.append(1)
        if len(calls) > at:
            raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_sequences(StubTracker, [sequence], tmp_path / "out")
    monkeypatch.undo()
    assert not (tmp_path / "out" / "a.txt").exists()
    assert not is_complete(tmp_path / "out", "a", sequence.boxes[0], 4)
    assert not list((tmp_path / "out").glob(".tmp*"))
    assert len(run_sequences(StubTracker, [sequence], tmp_path / "out").finished) == 1


# --- workers


def test_worker_uses_one_thread_and_leaves_ctrl_c_to_the_parent(monkeypatch):
    calls = {}
    monkeypatch.setattr(torch, "set_num_threads", lambda n: calls.update(torch=n))
    monkeypatch.setattr(cv2, "setNumThreads", lambda n: calls.update(cv2=n))
    monkeypatch.setattr(signal, "signal", lambda number, handler: calls.update({number: handler}))
    monkeypatch.setattr(logging, "disable", lambda level: None)
    runner._start_worker(StubTracker, None)
    assert calls == {"torch": 1, "cv2": 1, signal.SIGINT: signal.SIG_IGN}


def test_worker_stops_in_the_middle_of_a_sequence_when_told_to(tmp_path, make_sequence):
    class Flag:
        def is_set(self):
            return True

    runner._worker.update(tracker=StubTracker(), stop=Flag())
    with pytest.raises(runner.Stopped):
        runner._run_in_worker(make_sequence("a"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_workers_write_what_one_process_writes(tmp_path, make_sequence):
    sequences = [make_sequence(name) for name in "abc"]
    sequences[2].rgb_files[1].unlink()
    make_tracker = functools.partial(build.build_tracker, tiny_config(), build.UNTRAINED)
    here = run_sequences(make_tracker, sequences, tmp_path / "one")
    there = run_sequences(make_tracker, sequences, tmp_path / "two", workers=2)
    assert {outcome.name for outcome in there.finished} == {outcome.name for outcome in here.finished} == {"a", "b"}
    assert [outcome.error for outcome in there.failed] == [outcome.error for outcome in here.failed]
    for name in ("a.txt", "a_scores.txt", "b.txt"):
        assert (tmp_path / "two" / name).read_text() == (tmp_path / "one" / name).read_text()
