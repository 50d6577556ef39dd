"""Many sequences at once give what they give one by one, whatever ends, fails or waits in between."""

from __future__ import annotations

import functools
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from lib.datasets.recordings import load_pair
from lib.inference.runner import run_sequences
from lib.inference.sequence import GROUPS, run_batched, track_frames
from patrack import load_tracker
from patrack.build import build_tracker
from patrack.recordings import frames
from patrack.recordings.prefetch import PrefetchedFrames
from small_models import tiny_config

WIDER = {"embed_dim": 16}


@pytest.fixture
def tracker():
    return build_tracker(tiny_config(WIDER), "none")


@pytest.fixture
def make_sequence(tmp_path):
    def make(name, frames=4, box=(14, 15, 12, 10), size=(40, 48)):
        folder = tmp_path / "data" / name
        rng = np.random.default_rng(sum(map(ord, name)))
        for part in ("rgb", "x"):
            (folder / part).mkdir(parents=True)
            for i in range(frames):
                cv2.imwrite(str(folder / part / f"{i:03d}.png"), rng.integers(0, 256, (*size, 3), np.uint8))
        (folder / "boxes.txt").write_text(",".join(map(str, box)) + "\n")
        return load_pair(folder / "rgb", folder / "x", "rgbt", folder / "boxes.txt", name=name)

    return make


def boxes(folder, name):
    return np.loadtxt(folder / f"{name}.txt", delimiter=",", ndmin=2)


@pytest.mark.parametrize(("slots", "groups"), [(2, 1), (3, 1), (9, 1), (1, 2), (2, 2), (3, 2), (4, 2), (9, 2)])
def test_same_boxes_as_one_by_one(tmp_path, tracker, make_sequence, monkeypatch, slots, groups):
    monkeypatch.setitem(GROUPS, "cpu", groups)  # two, as on a GPU
    sizes = [(40, 48), (64, 40), (50, 50), (40, 48), (90, 30)]
    sequences = [make_sequence(f"s{n}", frames=n + 1, size=size) for n, size in enumerate(sizes)]
    seen = []
    outcomes = list(run_batched(tracker, sequences, tmp_path / "out", slots, seen.append))
    assert sorted(outcome.name for outcome in outcomes) == [f"s{n}" for n in range(5)]
    assert not any(outcome.error for outcome in outcomes)
    assert sum(seen) == sum(len(sequence) - 1 for sequence in sequences)
    for sequence in sequences:
        alone = track_frames(tracker, sequence, sequence.boxes[0])
        found = boxes(tmp_path / "out", sequence.name)
        assert np.abs(found - alone.boxes).max() < 0.01
        scores = np.loadtxt(tmp_path / "out" / f"{sequence.name}_scores.txt", ndmin=1)
        assert np.abs(scores - alone.scores).max() < 1e-4
        assert len(np.loadtxt(tmp_path / "out" / f"{sequence.name}_times.txt", ndmin=1)) == len(sequence)


def test_first_frames_calibrate_each_target_as_one_by_one(tmp_path, make_sequence):
    settings = {"crop": {"template_outline": 1}, "test": {"size_calibration": 0.7, "size_update": 0.5}}
    plain, calibrated = (build_tracker(tiny_config(WIDER, **more), "none") for more in ({}, settings))
    sequences = [make_sequence(f"s{n}", frames=n + 3, box=(14, 15, 12 + 4 * n, 10)) for n in range(4)]
    assert not any(outcome.error for outcome in run_batched(calibrated, sequences, tmp_path / "out", 2))
    for sequence in sequences:
        alone = track_frames(calibrated, sequence, sequence.boxes[0]).boxes
        assert np.abs(boxes(tmp_path / "out", sequence.name) - alone).max() < 0.01
        assert np.abs(track_frames(plain, sequence, sequence.boxes[0]).boxes - alone).max() > 0.5


@pytest.mark.parametrize("groups", [1, 2])
def test_templates_are_updated_as_one_by_one(tmp_path, make_sequence, monkeypatch, groups):
    monkeypatch.setitem(GROUPS, "cpu", groups)
    settings = ["model.templates=2", "test.template_update.interval=2", "test.template_update.threshold=0"]
    plain, updated = (load_tracker("rgbt_tiny", overrides=settings[:count]) for count in (1, 3))
    sequences = [make_sequence(f"s{n}", frames=n + 4) for n in range(4)]
    assert not any(outcome.error for outcome in run_batched(updated, sequences, tmp_path / "out", 2))
    for sequence in sequences:
        alone = track_frames(updated, sequence, sequence.boxes[0])
        assert np.abs(boxes(tmp_path / "out", sequence.name) - alone.boxes).max() < 0.01
        without = track_frames(plain, sequence, sequence.boxes[0])
        assert np.array_equal(without.scores[:3], alone.scores[:3])
        assert not np.array_equal(without.scores[3:], alone.scores[3:])


@pytest.mark.parametrize("groups", [1, 2])
def test_a_sequence_that_fails_makes_room_and_the_others_go_on(tmp_path, tracker, make_sequence, monkeypatch, groups):
    monkeypatch.setitem(GROUPS, "cpu", groups)
    sequences = [make_sequence(name, frames=5) for name in ("a", "b", "c", "d")]
    sequences[1].rgb_files[2].write_bytes(b"no image")
    sequences[2].boxes[0] = (14, 15, 0, 10)
    outcomes = {o.name: o for o in run_batched(tracker, sequences, tmp_path / "out", 2, lambda _: None)}
    assert {name for name, outcome in outcomes.items() if outcome.error} == {"b", "c"}
    assert "sequence b, frame 2 (from 0)" in outcomes["b"].error
    assert "002.png" in outcomes["b"].error
    assert "sequence c, frame 0" in outcomes["c"].error
    assert sorted(path.stem for path in (tmp_path / "out").glob("?.txt")) == ["a", "d"]


def test_readers_get_one_opencv_thread_each_while_it_runs(tmp_path, tracker, make_sequence):
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(3)
        run = run_batched(tracker, [make_sequence("a"), make_sequence("b")], tmp_path / "out", 1)
        next(run)
        assert cv2.getNumThreads() == 1
        list(run)
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


def test_output_that_is_not_finite_ends_the_sequence(tmp_path, make_sequence):
    config = tiny_config(WIDER)
    tracker = build_tracker(config, "none")
    with torch.no_grad():
        tracker.network.scale[0] = float("nan")
    outcomes = list(run_batched(tracker, [make_sequence("a"), make_sequence("b")], tmp_path, 2, lambda _: None))
    assert all("frame 1 (from 0): frame 1: the network's output is not finite" in o.error for o in outcomes)


def test_results_in_the_folder_are_kept(tmp_path, tracker, make_sequence):
    sequences = [make_sequence(name) for name in ("a", "b", "c")]
    run_sequences(lambda: tracker, sequences[:1], tmp_path / "out", slots=2)
    before = (tmp_path / "out/a.txt").stat().st_mtime_ns
    summary = run_sequences(lambda: tracker, sequences, tmp_path / "out", slots=2)
    assert summary.kept == ["a"]
    assert len(summary.finished) == 2
    assert (tmp_path / "out/a.txt").stat().st_mtime_ns == before


def test_sequences_of_one_frame_are_reported_too(tmp_path, tracker, make_sequence):
    sequences = [make_sequence(name, frames=1) for name in ("a", "b")]
    summary = run_sequences(lambda: tracker, sequences, tmp_path / "out", slots=2)
    assert "2 tracked" in summary.describe()


def test_closing_early_leaves_whole_results_only(tmp_path, tracker, make_sequence):
    sequences = [make_sequence("long", frames=9), make_sequence("short", frames=3)]
    run = run_batched(tracker, sequences, tmp_path / "out", 2, lambda _: None)
    assert next(run).name == "short"
    run.close()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "short.txt",
        "short_scores.txt",
        "short_times.txt",
    ]


def test_compiled_step_finds_the_same(tmp_path, make_sequence, monkeypatch):
    # the graph is traced as for any compiler; building C++ from it would take most of a minute
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    config = tiny_config(WIDER, test={"compile": True})
    tracker = build_tracker(config, "none")
    eager = build_tracker(config.model_copy(update={"test": config.test.model_copy(update={"compile": False})}), "none")
    sequence = make_sequence("a", frames=3)
    found, expected = (track_frames(t, sequence, sequence.boxes[0]) for t in (tracker, eager))
    assert np.abs(found.boxes - expected.boxes).max() < 0.01


def test_a_video_is_read_in_order_by_many_threads(tmp_path, make_sequence):
    files = [tmp_path / "rgb.avi", tmp_path / "x.avi"]
    for path in files:
        video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (32, 24))
        for value in range(0, 200, 10):
            video.write(np.full((24, 32, 3), value, np.uint8))
        video.release()
    sequence = load_pair(*files, "rgbt")
    with ThreadPoolExecutor(4) as threads:
        prefetched = PrefetchedFrames(sequence, threads, depth=8)
        means = [prefetched.take().result().image().mean() for _ in range(len(sequence))]
    assert means == pytest.approx(list(range(0, 200, 10)), abs=4)


@pytest.mark.parametrize("slots", [1, 3])
def test_each_video_is_opened_once_and_closed_with_its_sequence(tmp_path, tracker, make_sequence, monkeypatch, slots):
    sequences = []
    for number in range(5):
        for side in ("rgb", "x"):
            path = tmp_path / f"{number}{side}.avi"
            video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (32, 24))
            for value in range(6):
                video.write(np.full((24, 32, 3), 40 * value, np.uint8))
            video.release()
        pair = load_pair(tmp_path / f"{number}rgb.avi", tmp_path / f"{number}x.avi", "rgbt", name=f"s{number}")
        sequences.append(replace(pair, boxes=make_sequence(f"b{number}", frames=6).boxes))
    opened, open_now, most = [], weakref.WeakSet(), 0

    class Counted(frames.Video):
        def __init__(self, path):
            nonlocal most
            super().__init__(path)
            opened.append(path)
            open_now.add(self)
            most = max(most, len(open_now))

    monkeypatch.setattr(frames, "Video", Counted)
    if slots == 1:
        for sequence in sequences:
            track_frames(tracker, sequence, sequence.boxes[0])
    else:
        assert not [outcome.error for outcome in run_batched(tracker, sequences, tmp_path, slots) if outcome.error]
    gc.collect()
    assert len(opened) == len(set(opened)) == 10
    assert most <= 2 * slots + 2  # those that begin while the last ones end
    assert not open_now


@pytest.mark.parametrize(("slots", "groups"), [(1, 1), (3, 1), (2, 2), (4, 2)])
def test_frames_without_a_stream_are_as_one_by_one(tmp_path, tracker, make_sequence, monkeypatch, slots, groups):
    monkeypatch.setitem(GROUPS, "cpu", groups)
    rng, sequences = np.random.default_rng(0), []
    for number in range(5):
        mask = rng.random((7, 2)) < 0.5
        mask[0] = [True, number % 2]
        if number == 3:
            mask[1:] = False  # never anything after the first frame
        sequences.append(replace(make_sequence(f"s{number}", frames=7), present=mask))
    seen = []
    outcomes = list(run_batched(tracker, sequences, tmp_path / "out", slots, seen.append))
    assert not [outcome.error for outcome in outcomes if outcome.error]
    assert sum(seen) == sum(len(sequence) - 1 for sequence in sequences)
    for sequence in sequences:
        alone = track_frames(tracker, sequence, sequence.boxes[0])
        assert np.abs(boxes(tmp_path / "out", sequence.name) - alone.boxes).max() < 0.01
        scores = np.loadtxt(tmp_path / "out" / f"{sequence.name}_scores.txt")
        assert np.abs(scores - alone.scores).max() < 1e-4
        nothing = ~sequence.present.any(axis=1)
        assert (scores[nothing] == 0).all()
        assert (alone.boxes[nothing] == alone.boxes[np.flatnonzero(nothing) - 1]).all()
    assert sum((~sequence.present.any(axis=1)).sum() for sequence in sequences) > 8
