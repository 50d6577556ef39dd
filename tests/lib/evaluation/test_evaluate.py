"""`evaluate` as a whole: sources of ground truth, typed result, JSON, table."""

import json
from pathlib import Path

import numpy as np
import pytest

from lib.datasets.sequence import FileList, Sequence
from lib.evaluation import evaluate, write_json
from lib.report.tables import attribute_table, evaluation_table, format_table


def test_json_holds_every_value_in_full_precision(benchmark, write_tracker, tmp_path):
    evaluation = evaluate("lasher", {"ours": write_tracker(offset=2.5)}, ground_truth=benchmark)
    write_json(tmp_path / "scores.json", evaluation)
    stored = json.loads((tmp_path / "scores.json").read_text())
    assert stored["dataset"] == "lasher"
    assert stored["protocol"] == "official"
    ours = stored["trackers"]["ours"]
    assert set(ours) >= {"metrics", "sequences", "attributes"}
    assert ours["metrics"] == evaluation.trackers["ours"].metrics
    assert list(ours["sequences"]) == ["bike", "car", "redcar"]
    assert ours["sequences"]["car"]["frames"] == 12


def test_named_sequences_alone_are_scored(benchmark, write_tracker):
    evaluation = evaluate("lasher", {"t": write_tracker()}, ground_truth=benchmark, names=["car", ""])
    assert list(evaluation.trackers["t"].sequences) == ["car"]
    assert evaluation.frames == {"car": 12}


def test_a_perfect_tracker_scores_what_perfect_says(benchmark, write_tracker):
    evaluation = evaluate("lasher", {"t": write_tracker()}, ground_truth=benchmark)
    assert evaluation.trackers["t"].metrics == pytest.approx(evaluation.perfect)
    assert evaluation.perfect["SR"] == pytest.approx(20 / 21)


def test_table_states_protocol_counts_formats_and_what_is_left_out(benchmark, write_tracker):
    good, bad = write_tracker("good"), write_tracker("bad", separator="\t")
    (bad / "car.txt").unlink()
    trackers = {"good": good, "bad": bad, "gone": bad / "nowhere"}
    evaluation = evaluate("lasher", trackers, ground_truth=benchmark, allow_missing=True)
    text = evaluation_table(evaluation, attributes=True)
    for part in (
        "lasher, protocol official (LasHeR toolkit): 3 of 245 sequences, 36 annotated frames",
        f"ground truth: {benchmark}",
        "3 of 245  x,y,w,h, comma",
        "2 of 245  x,y,w,h, tab",
        "bad: scored WITHOUT 1 sequences",
        "car.txt: missing",
        "gone: NOT scored",
        "good: the ground truth used names no attributes",
    ):
        assert part in text, part


def test_columns_are_aligned():
    assert format_table([["a", "value"], ["long name", "1"]]) == "a          value\nlong name      1"


def test_attribute_table_counts_sequences(benchmark, write_tracker):
    (benchmark / "AttriSeqsTxt").mkdir()
    for name, flags in {"bike": "1" + ",0" * 18, "car": "1" + ",0" * 18, "redcar": "0" + ",0" * 18}.items():
        (benchmark / "AttriSeqsTxt" / f"{name}.txt").write_text(flags)
    scores = evaluate("lasher", {"t": write_tracker()}, ground_truth=benchmark).trackers["t"]
    assert attribute_table(scores).splitlines()[1].split() == ["NO", "1.0000", "1.0000", "0.9524", "2"]


def make_sequence(boxes, absent):
    """What a data set's reader gives."""
    boxes, absent = np.array(boxes, dtype=np.float64), np.array(absent)
    files = FileList(Path("car"), [f"{k}.jpg" for k in range(len(boxes))])
    return Sequence("car", "rgb", files, None, boxes, ~absent, absent, ("blur",))


def test_synthetic_sets_are_scored_alike_however_they_mark_absence(monkeypatch, tmp_path):
    box = [10, 10, 20, 20]
    variants = {
        "synthrgbt": make_sequence([box, [0, 0, 0, 0], box], [False, True, False]),
        "synthrgbd": make_sequence([box, [np.nan] * 4, box], [False, True, False]),
        "synthrgbe": make_sequence([box, box, box], [False, True, False]),
    }
    monkeypatch.setattr("lib.datasets.load", lambda name, *rest: [variants[name]])
    (tmp_path / "car.txt").write_text("10,10,20,20\n" * 3)
    scores = {name: evaluate(name, {"t": tmp_path}, data_root=tmp_path) for name in variants}
    for evaluation in scores.values():
        tracker = evaluation.trackers["t"]
        assert tracker.metrics == pytest.approx({"PR": 1.0, "NPR": 1.0, "SR": 2 / 3 * 20 / 21}, abs=1e-12)
        assert tracker.attributes["blur"]["sequences"] == 1
