"""Long-term precision, recall, F and anchor-based EAO, A, R, on cases small enough to compute by hand."""

import struct

import numpy as np
import pytest

from lib.evaluation.files import FileTree, decode_trajectory
from lib.evaluation.ground_truth import GroundTruth
from lib.evaluation.protocols import protocols_of
from lib.evaluation.results import read_results
from lib.evaluation.scoring import (
    Run,
    confidence_thresholds,
    expected_overlap,
    overlap_sums,
    score_long_term,
    score_multi_start,
)

NEW, OLD = protocols_of("depthtrack")["vot-0.9.0"], protocols_of("depthtrack")["vot-0.5.3"]
ST_NEW, ST_OLD = protocols_of("votrgbd2022")["vot-0.9.0"], protocols_of("votrgbd2022")["vot-0.5.3"]
BOX, HALF, FAR, NONE = (10, 10, 20, 20), (10, 10, 20, 10), (70, 30, 10, 10), (np.nan,) * 4


def truth(*rows, anchors=None):
    return GroundTruth((np.array(rows, dtype=np.float64),), image_size=(100, 50), anchors=anchors)


def long_term(protocol, annotation, rows, scores):
    results = {"a": (np.array(rows, dtype=np.float64), np.array(scores))}
    return score_long_term(protocol, {"a": annotation}, results).metrics


def test_sure_frames_right_gives_one():
    assert long_term(NEW, truth(BOX, BOX), [BOX, BOX], [0.9, 0.8]) == {"Pr": 1.0, "Re": 1.0, "F": 1.0}


def test_the_threshold_with_the_best_f_is_taken():
    scores = long_term(NEW, truth(BOX, BOX, NONE), [BOX, HALF, FAR], [0.9, 0.8, 0.1])
    assert scores == pytest.approx({"Pr": 0.75, "Re": 0.75, "F": 0.75})


def test_the_first_of_equally_good_thresholds_is_taken():
    scores = long_term(OLD, truth(BOX, BOX), [BOX, NONE], [0.9, 0.1])
    assert scores == pytest.approx({"Pr": 1.0, "Re": 0.5, "F": 2 / 3})


def test_silence_about_an_absent_target_counts_since_toolkit_six():
    rows, confidences = [BOX, NONE], [0.9, 0.9]
    assert long_term(NEW, truth(BOX, NONE), rows, confidences)["Pr"] == 1.0
    assert long_term(OLD, truth(BOX, NONE), rows, confidences)["Pr"] == 0.5


def test_recall_and_f_above_one_are_explained():
    """Two frames of rightful silence count, and only the one frame with the target divides."""
    results = {"a": (np.array([BOX, NONE, NONE], dtype=np.float64), np.full(3, 0.9))}
    scores = score_long_term(NEW, {"a": truth(BOX, NONE, NONE)}, results)
    assert scores.metrics == pytest.approx({"Pr": 1.0, "Re": 3.0, "F": 1.5})
    (note,) = scores.notes
    assert note.startswith("Re 3.0000, F 1.5000 over all, and recall or F of 1 sequences above 1 (a): by this protocol")
    assert score_long_term(OLD, {"a": truth(BOX, NONE, NONE)}, results).notes == ()


def test_a_single_sequence_above_one_is_explained_too():
    results = {
        "a": (np.array([BOX, NONE, NONE], dtype=np.float64), np.full(3, 0.9)),
        "b": (np.array([FAR] * 9, dtype=np.float64), np.full(9, 0.9)),
        "c": (np.array([FAR] * 9, dtype=np.float64), np.full(9, 0.9)),
        "d": (np.array([FAR] * 9, dtype=np.float64), np.full(9, 0.9)),
    }
    annotation = {name: truth(*([BOX, NONE, NONE] if name == "a" else [BOX] * 9)) for name in results}
    scores = score_long_term(NEW, annotation, results)
    assert scores.metrics["Re"] == 0.75
    assert scores.notes[0].startswith("recall or F of 1 sequences above 1 (a)")


def test_equal_confidences_report_every_frame():
    scores = long_term(NEW, truth(BOX, BOX, NONE), [BOX, HALF, FAR], [0.0, 0.0, 0.0])
    assert scores == pytest.approx({"Pr": 1.5 / 3, "Re": 1.5 / 2, "F": 0.6})


def test_a_sequence_where_the_target_never_appears_does_not_divide_by_zero():
    assert long_term(OLD, truth(NONE, NONE), [BOX, BOX], [0.9, 0.8]) == {"Pr": 1.0, "Re": 0.0, "F": 0.0}


def test_few_confidences_are_all_thresholds_duplicates_included():
    found = confidence_thresholds(np.array([0.5, np.nan, 0.9, 0.5]), 98)
    assert found.tolist() == [np.inf, 0.9, 0.5, 0.5, -np.inf]


def test_many_confidences_are_thinned_between_the_same_shares_of_both_ends():
    found = confidence_thresholds(np.arange(1000.0), 98)
    assert len(found) == 100
    assert found[1] == 999 - 10
    assert found[-2] == 999 - 990


def test_places_between_two_confidences_are_rounded_half_to_even():
    found = confidence_thresholds(np.arange(7.0), 3)  # places 2, 3.5 and 5 of 6, 5, ... 0
    assert found.tolist() == [np.inf, 4.0, 2.0, 1.0, -np.inf]


def test_long_term_reads_both_forms_and_reports_missing_ones(tmp_path):
    vot, ours = tmp_path / "vot" / "rgbd-unsupervised" / "a", tmp_path / "ours"
    vot.mkdir(parents=True)
    ours.mkdir()
    (vot / "a_001.txt").write_text("1\n10,10,20,20\n")
    (vot / "a_001_confidence.value").write_text("\n0.7\n")
    (ours / "a.txt").write_text("10,10,20,20\n10,10,20,20\n")
    (ours / "a_scores.txt").write_text("1\n0.7\n")
    annotation = {"a": truth(BOX, BOX)}
    files = read_results(FileTree(tmp_path / "vot"), annotation, NEW)
    assert not files.problems
    assert files.file_format.startswith("VOT")
    assert files.rows["a"][1].tolist() == [0.0, 0.7]
    assert np.isnan(files.rows["a"][0][0]).all()
    assert read_results(FileTree(ours), annotation, NEW).rows["a"][1].tolist() == [1.0, 0.7]
    (ours / "a_scores.txt").write_text("1\n")
    assert "a_scores.txt: too short, 1 rows; expected 2" in read_results(FileTree(ours), annotation, NEW).problems["a"]
    (tmp_path / "empty").mkdir()
    assert "no result files" in read_results(FileTree(tmp_path / "empty"), annotation, NEW).problems[""]


def test_runs_go_forwards_and_backwards_from_their_anchors():
    annotation = truth(*[BOX] * 4, anchors=np.array([1, 0, -1, 0]))
    assert {anchor: frames.tolist() for anchor, frames in annotation.runs().items()} == {
        0: [0, 1, 2, 3],
        2: [2, 1, 0],
    }


def multi_start(protocol, annotation, rows):
    return score_multi_start(protocol, {"a": annotation}, {"a": {0: np.array(rows, dtype=np.float64)}}).metrics


def test_a_run_without_failure():
    anchors = np.array([1, 0, 0, 0])
    scores = multi_start(ST_NEW, truth(*[BOX] * 4, anchors=anchors), [NONE, BOX, HALF, BOX])
    assert scores["R"] == 1.0
    assert scores["A"] == pytest.approx((0 + 1 + 0.5 + 1) / 4)  # the first frame counts, with overlap 0


def test_ten_low_frames_in_a_row_are_a_failure_before_the_first_of_them():
    anchors = np.array([1] + [0] * 19)
    scores = multi_start(ST_NEW, truth(*[BOX] * 20, anchors=anchors), [NONE, *[BOX] * 4, *[FAR] * 10, *[BOX] * 5])
    assert scores["R"] == 5 / 20
    assert scores["A"] == pytest.approx(4 / 5)


def test_nine_low_frames_are_none():
    anchors = np.array([1] + [0] * 19)
    assert (
        multi_start(ST_NEW, truth(*[BOX] * 20, anchors=anchors), [NONE, *[BOX] * 4, *[FAR] * 9, *[BOX] * 6])["R"] == 1
    )


def test_absent_frames_reset_the_count_in_new_toolkits_and_fail_in_old_ones():
    annotation = truth(*[BOX] * 5, *[NONE] * 10, *[BOX] * 5, anchors=np.array([1] + [0] * 19))
    rows = [NONE, *[BOX] * 4, *[FAR] * 10, *[BOX] * 5]
    assert multi_start(ST_NEW, annotation, rows)["R"] == 1
    assert multi_start(ST_OLD, annotation, rows)["R"] == 5 / 20


def test_expected_overlap_of_one_failed_and_one_unfinished_run():
    failed = Run(np.array([0.0, 1.0, 1.0, 0.0]), 3)
    unfinished = Run(np.array([0.0, 0.5, 0.5]), 3)
    curve = expected_overlap(overlap_sums([failed, unfinished], 7))
    assert curve == pytest.approx([0, 0.75, 0.75, 2 / 3, 2 / 3, 2 / 4, 2 / 5])


def test_multi_start_reads_a_file_per_anchor_and_reports_all_problems(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    annotation = {"a": truth(*[BOX] * 3, anchors=np.array([1, 0, -1]))}
    (folder / "a_00000000.txt").write_text("1\n10,10,20,20\n10,10,20,20\n")
    files = read_results(FileTree(tmp_path), annotation, ST_NEW)
    assert not files.rows
    assert "a_00000002.txt: missing; expected a run of 3 rows" in files.problems["a"]
    (folder / "a_00000002.txt").write_text("1\n10,10,20,20\n")
    assert "a_00000002.txt: too short, 2 rows" in read_results(FileTree(tmp_path), annotation, ST_NEW).problems["a"]
    (folder / "a_00000002.txt").write_text("1\n10,10,20,20\n10,10,20,20\n")
    files = read_results(FileTree(tmp_path), annotation, ST_NEW)
    assert not files.problems
    assert list(files.rows["a"]) == [0, 2]


CODE = struct.pack("<BI", 0, 1)
REGION = struct.pack("<Bffff", 1, 1.5, 2.25, 30, 40)


def trajectory(*regions, count=None, version=1):
    return struct.pack("<hI", version, len(regions) if count is None else count) + b"".join(regions)


def test_a_binary_trajectory_reads_as_the_text_it_stands_for():
    assert decode_trajectory(trajectory(CODE, REGION), "f") == "1\n1.5,2.25,30.0,40.0"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x01", "f: truncated after 0 frames"),
        (trajectory(CODE, REGION, count=3), "f: truncated after 2 frames"),
        (trajectory(CODE, REGION)[:-2], "f: truncated after 1 frames"),
        (trajectory(CODE) + b"x", "f: 1 bytes after the last of 1 frames"),
        (trajectory(CODE, version=2), "f: version 2 of binary trajectories"),
        (trajectory(CODE, struct.pack("<BH", 2, 4)), "frame 1 .* region type 2"),
    ],
    ids=["header", "count", "cut", "more", "version", "polygon"],
)
def test_a_damaged_binary_trajectory_is_an_error_that_names_the_place(data, message):
    with pytest.raises(ValueError, match=message):
        decode_trajectory(data, "f")


def test_long_term_results_are_read_from_binary_files(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a_001.bin").write_bytes(trajectory(CODE, REGION))
    (tmp_path / "a" / "a_001_confidence.value").write_text("\n0.75\n")
    files = read_results(FileTree(tmp_path), {"a": truth(BOX, BOX)}, NEW)
    assert not files.problems
    assert "binary VOT" in files.file_format
    np.testing.assert_array_equal(files.rows["a"][0], [[np.nan] * 4, [1.5, 2.25, 30, 40]])
    assert files.rows["a"][1].tolist() == [0, 0.75]


@pytest.mark.parametrize("anchor", [0, 2], ids=["forwards", "backwards"])
def test_multi_start_results_are_read_from_binary_files(tmp_path, anchor):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / f"a_{anchor:08d}.bin").write_bytes(trajectory(CODE, REGION, REGION))
    anchors = np.zeros(3)
    anchors[anchor] = 1 if anchor == 0 else -1
    files = read_results(FileTree(tmp_path), {"a": truth(BOX, BOX, BOX, anchors=anchors)}, ST_NEW)
    assert not files.problems
    assert files.rows["a"][anchor][1].tolist() == [1.5, 2.25, 30, 40]
