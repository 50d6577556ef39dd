"""`evaluate` as a whole: sources of ground truth, typed result, JSON, table."""

import json
from pathlib import Path

import numpy as np
import pytest

from lib.evaluation import evaluate, write_json
from lib.report.tables import attribute_table, evaluation_table, format_table
from patrack.recordings.sequence import FileList, Sequence
from recording_data import boxes, write_recording


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


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"identity": {"test": {"template_update": {"interval": 25, "threshold": 0.7}}}}, "every 25 frames above 0.7"),
        ({"identity": {"test": {"template_update": {"interval": 0, "threshold": 0.7}}}}, ""),
        ({"identity": {"test": {"window": True}}}, ""),
        (["of", "somebody", "else"], ""),
        (None, ""),
    ],
)
def test_runs_that_update_the_template_say_so_and_stand_apart(benchmark, write_tracker, tmp_path, content, found):
    plain, online = write_tracker("plain"), write_tracker("online")
    if content is not None:
        (online / "run.json").write_text(json.dumps(content))
    result = evaluate("lasher", {"online": online, "plain": plain}, ground_truth=benchmark)
    assert {name: scores.template_update for name, scores in result.trackers.items()} == {"online": found, "plain": ""}
    table = evaluation_table(result)
    assert ("online: its template was updated every 25 frames above 0.7" in table) == bool(found)
    if found:
        assert table.index("plain  ") < table.index("-- template updated") < table.index("online  ")
        assert table.index("(perfect tracker)") < table.index("-- template updated")


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


def test_a_part_is_counted_against_the_whole_benchmark(benchmark, write_tracker, tmp_path):
    evaluation = evaluate("lasher", {"t": write_tracker()}, ground_truth=benchmark, names=["car"])
    assert (len(evaluation.frames), evaluation.benchmark_size) == (1, 245)
    write_json(tmp_path / "scores.json", evaluation)
    assert json.loads((tmp_path / "scores.json").read_text())["benchmark_sequences"] == 245


def test_where_no_number_is_official_the_whole_is_what_lies_there(tmp_path):
    for name in ("first", "second"):
        write_recording(tmp_path / "all" / "test" / name, ("rgb",), frames=3)
        np.savetxt(tmp_path / f"{name}.txt", boxes(3), delimiter=",")
    (tmp_path / "all" / "dataset.yaml").write_text("modality: rgb\n")
    results = {"t": tmp_path}
    whole = evaluate("folder", results, ground_truth=tmp_path / "all")
    part = evaluate("folder", results, ground_truth=tmp_path / "all", names=["second"])
    assert (len(whole.frames), whole.benchmark_size) == (2, 2)
    assert (len(part.frames), part.benchmark_size) == (1, 2)
    assert "1 of 2" in evaluation_table(part)


def test_the_perfect_tracker_covers_the_sequences_of_the_row_above(benchmark, write_tracker):
    # a frame whose true box touches the edge is a miss in SR, so that a perfect tracker has less on this sequence
    path = benchmark / "annos" / "car.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *(line.replace(line.split(",")[0], "0", 1) for line in lines[1:])]) + "\n")
    good, bad = write_tracker("good"), write_tracker("bad")
    (bad / "car.txt").unlink()
    evaluation = evaluate("lasher", {"good": good, "bad": bad}, ground_truth=benchmark, allow_missing=True)
    assert evaluation.trackers["good"].perfect == evaluation.perfect
    assert evaluation.trackers["bad"].perfect["SR"] == pytest.approx(20 / 21)
    assert evaluation.perfect["SR"] < 0.7
    rows = [line.split() for line in evaluation_table(evaluation).splitlines() if " of 245" in line][1:]
    assert [row[0] for row in rows] == ["good", "(perfect", "bad", "(perfect"]
    assert [row[-9 if row[0][0] == "(" else -5] for row in rows][1::2] == ["3", "2"]
