"""Result files in the wild through `evaluate`: every form that is read, and every defect that must be an error."""

import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lib.evaluation import EvaluationError, evaluate, parse_results, write_boxes


def score(benchmark, folder, **options):
    return evaluate("lasher", {"t": folder}, ground_truth=benchmark, **options)


def problems_of(benchmark, folder, **options):
    with pytest.raises(EvaluationError) as caught:
        score(benchmark, folder, **options)
    assert str(caught.value).count("\n") >= len(caught.value.problems["t"])
    return caught.value.problems["t"]


@pytest.mark.parametrize("separator", [",", "\t", " "], ids=["comma", "tab", "blank"])
@pytest.mark.parametrize("form", ["xywh", "corners", "eight"])
def test_the_same_boxes_score_the_same_in_every_form(benchmark, write_tracker, converters, form, separator):
    folder = write_tracker(offset=5, separator=separator, convert=converters[form])
    scores = score(benchmark, folder).trackers["t"]
    assert scores.metrics["PR"] == 1.0
    assert scores.metrics["SR"] == pytest.approx((20 + 11 * 12) / 12 / 21, abs=1e-12)  # IoU 15 / 25 in 11 of 12 frames
    words = {"xywh": "x,y,w,h", "corners": "corners x1,y1,x2,y2", "eight": "8 corner numbers"}
    assert scores.file_format == f"{words[form]}, { ({',': 'comma', ' ': 'blank'}.get(separator, 'tab')) }"


@pytest.mark.parametrize(("first", "others"), [("corners", "xywh"), ("xywh", "corners")])
def test_files_whose_first_row_has_another_form_than_the_others_are_refused(
    benchmark, write_tracker, converters, first, others
):
    def mixed(boxes):
        return np.concatenate([converters[first](boxes[:1]), converters[others](boxes[1:])])

    folder = write_tracker(offset=5, convert=mixed)
    (problem,) = problems_of(benchmark, folder)
    assert f"the first rows are {first}, but 33 of 36 rows" in problem
    assert "row 2 of bike" in problem
    assert score(benchmark, folder, box_format=others).trackers["t"].metrics["PR"] > 0.9


@pytest.mark.parametrize(("names", "form"), [("x,y,w,h", "corners"), ("x1,y1,x2,y2", "xywh")])
def test_names_of_columns_that_the_rows_contradict_are_refused(benchmark, write_tracker, converters, names, form):
    folder = write_tracker(offset=5, convert=converters[form])
    for path in folder.iterdir():
        path.write_text(f"{names}\n{path.read_text()}")
    (problem,) = problems_of(benchmark, folder)
    assert f"the first rows fit the first true boxes as {form} only (median overlap 1.00" in problem
    scores = score(benchmark, folder, box_format=form).trackers["t"]
    assert (scores.metrics["PR"], scores.file_format[:5]) == (1.0, {"xywh": "x,y,w", "corners": "corne"}[form])


def test_a_tracker_that_loses_its_target_is_read_by_its_first_rows(benchmark, write_tracker, converters):
    for number, form in enumerate(("xywh", "corners")):
        folder = write_tracker(f"lost{number}", offset=500, convert=converters[form])
        assert score(benchmark, folder).trackers["t"].file_format.startswith({"xywh": "x,y,w,h"}.get(form, "corners"))


def test_a_prefix_is_found_and_stated(benchmark, write_tracker):
    scores = score(benchmark, write_tracker(prefix="our_")).trackers["t"]
    assert scores.metrics["PR"] == 1.0
    assert scores.file_format.endswith("prefix our_")


def test_a_folder_above_the_files_is_found(benchmark, write_tracker):
    assert score(benchmark, write_tracker().parent / "tracker").trackers["t"].metrics["PR"] == 1.0
    outer = write_tracker("inner").parent / "outer"
    outer.mkdir()
    shutil.move(outer.parent / "inner", outer)
    assert score(benchmark, outer).trackers["t"].metrics["PR"] == 1.0


def test_zip_archives_are_read_like_folders(benchmark, write_tracker, tmp_path):
    folder = write_tracker(offset=3)
    archive = shutil.make_archive(str(tmp_path / "results"), "zip", folder.parent, "tracker")
    truth = shutil.make_archive(str(tmp_path / "truth"), "zip", benchmark)
    plain, zipped = score(benchmark, folder), evaluate("lasher", {"t": archive}, ground_truth=truth)
    assert zipped.trackers["t"].sequences == plain.trackers["t"].sequences


@pytest.mark.parametrize("name", ["/etc/car.txt", "../car.txt", "a/../../car.txt", "C:/car.txt"])
def test_archives_with_unsafe_names_are_refused(benchmark, tmp_path, name):
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "1,2,3,4\n")
    assert "unsafe name" in problems_of(benchmark, path)[0]


def test_an_archive_with_one_name_twice_is_ambiguous(benchmark, tmp_path):
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("t/car.txt", "1,2,3,4\n")
        archive.writestr("t\\car.txt", "5,6,7,8\n")
    assert "holds 't/car.txt' twice; which one counts is ambiguous" in problems_of(benchmark, path)[0]


def test_a_damaged_archive_names_the_file(benchmark, write_tracker, tmp_path):
    archive = Path(shutil.make_archive(str(tmp_path / "results"), "zip", write_tracker()))
    content = bytearray(archive.read_bytes())
    start = content.index(b"bike.txt") + len(b"bike.txt")
    content[start : start + 20] = bytes(20)
    archive.write_bytes(content)
    assert "results.zip/bike.txt: cannot be read" in problems_of(benchmark, archive)[0]


def test_nothing_of_an_archive_is_unpacked(benchmark, write_tracker, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "results"), "zip", write_tracker())
    before = sorted(tmp_path.rglob("*"))
    score(benchmark, archive)
    assert sorted(tmp_path.rglob("*")) == before


def test_side_files_of_our_runs_are_ignored(benchmark, write_tracker):
    folder = write_tracker()
    for name in ("bike", "car", "redcar"):
        (folder / f"{name}_scores.txt").write_text("1\n" * 12)
        (folder / f"{name}_times.txt").write_text("0.1\n" * 12)
    (folder / "run.json").write_text("{}")
    assert score(benchmark, folder).trackers["t"].notes == ()


def test_other_files_are_stated(benchmark, write_tracker):
    folder = write_tracker()
    (folder / "boat.txt").write_text("1,2,3,4\n")
    assert "boat.txt" in score(benchmark, folder).trackers["t"].notes[0]


DEFECTS = {
    "missing": (lambda path: path.unlink(), r"car\.txt: missing"),
    "empty": (lambda path: path.write_text(""), r"car\.txt: empty"),
    "short": (lambda path: path.write_text("1,2,3,4\n" * 11), r"car\.txt: too short, 11 rows; expected 12"),
    "long": (lambda path: path.write_text("1,2,3,4\n" * 13), r"car\.txt: too long, 13 rows; expected 12"),
    "header": (
        lambda path: path.write_text("a,b,w,h\n" + "1,2,3,4\n" * 12),
        r"car\.txt:1: .*names of columns with a box",
    ),
    "decimal comma": (lambda path: path.write_text("1,5;2;3;4\n" * 12), r"car\.txt:1: both comma and semicolon"),
    "empty field": (lambda path: path.write_text("1,,3,4,5\n" * 12), r"car\.txt:1: an empty field"),
    "ragged": (lambda path: path.write_text("1,2,3,4\n" * 11 + "1,2,3\n"), r"car\.txt:12: expected 4 numbers, got 3"),
    "columns": (
        lambda path: path.write_text("1,2,3,4,5\n" * 12),
        r"car\.txt: its rows are 4 numbers and a score, in most",
    ),
    "three columns": (
        lambda path: path.write_text("1,2,3\n" * 12),
        r"car\.txt:1: expected 4, 5, 6 or 8 numbers, got 3",
    ),
    "NaN only": (lambda path: path.write_text("nan,nan,nan,nan\n" * 12), r"car\.txt: every row holds NaN"),
    "binary": (lambda path: path.write_bytes(b"\xff\xfe\x00\x01" * 9), r"car\.txt: not a text file"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), r"car\.txt: missing"),
}


@pytest.mark.parametrize("defect", list(DEFECTS))
def test_a_bad_file_is_an_error_that_names_it(benchmark, write_tracker, defect):
    folder = write_tracker()
    damage, message = DEFECTS[defect]
    damage(folder / "car.txt")
    with pytest.raises(EvaluationError, match=message):
        score(benchmark, folder)


@pytest.mark.parametrize("defect", list(DEFECTS))
def test_allow_missing_scores_the_rest_and_states_what_is_left_out(benchmark, write_tracker, defect):
    folder = write_tracker()
    DEFECTS[defect][0](folder / "car.txt")
    scores = score(benchmark, folder, allow_missing=True).trackers["t"]
    assert list(scores.left_out) == ["car"]
    assert list(scores.sequences) == ["bike", "redcar"]
    assert scores.metrics["PR"] == 1.0


def test_all_problems_of_all_trackers_are_listed_together(benchmark, write_tracker):
    first, second = write_tracker("first"), write_tracker("second")
    (first / "car.txt").unlink()
    (first / "bike.txt").write_text("1,2\n")
    (second / "redcar.txt").write_text("1,2,3,4\n")
    with pytest.raises(EvaluationError) as caught:
        evaluate("lasher", {"A": first, "B": second, "C": first / "nowhere"}, ground_truth=benchmark)
    for text in ("first/car.txt", "first/bike.txt:1", "second/redcar.txt", "nowhere"):
        assert text in str(caught.value)
    assert {name: len(lines) for name, lines in caught.value.problems.items()} == {"A": 2, "B": 1, "C": 1}


def test_a_long_list_of_problems_is_cut_in_the_message_only():
    error = EvaluationError({"A": [f"file {k}" for k in range(50)]})
    assert "... and 30 more" in str(error)
    assert len(error.problems["A"]) == 50


def test_a_tracker_without_any_file_is_left_out_on_request(benchmark, write_tracker, tmp_path):
    (tmp_path / "empty").mkdir()
    trackers = {"good": write_tracker(), "none": tmp_path / "empty"}
    with pytest.raises(EvaluationError, match=r"(?s)none: 1 problem.*no result files; .*3"):
        evaluate("lasher", trackers, ground_truth=benchmark)
    evaluation = evaluate("lasher", trackers, ground_truth=benchmark, allow_missing=True)
    assert list(evaluation.trackers) == ["good"]
    assert list(evaluation.left_out) == ["none"]
    with pytest.raises(EvaluationError):
        evaluate("lasher", {"none": tmp_path / "empty"}, ground_truth=benchmark, allow_missing=True)


def test_longer_files_are_cut_only_on_request(benchmark, write_tracker):
    folder = write_tracker()
    for path in folder.glob("*.txt"):
        path.write_text(path.read_text() + "0,0,1,1\n" * 3)
    assert len(problems_of(benchmark, folder)) == 3
    assert score(benchmark, folder, longer="cut").trackers["t"].metrics["PR"] == 1.0


def test_rows_without_a_box_are_repaired_by_the_protocol_and_stated(benchmark, write_tracker):
    folder = write_tracker()
    rows = (folder / "car.txt").read_text().splitlines()
    rows[5:7] = ["nan,nan,nan,nan", "70,70,0,-3"]
    (folder / "car.txt").write_text("\n".join(rows))
    note = score(benchmark, folder).trackers["t"].notes[0]
    assert "2 rows of 1 files have NaN or no size" in note
    assert "car (first at row 6)" in note


def test_two_sets_of_files_in_one_folder_are_ambiguous(benchmark, write_tracker):
    folder = write_tracker("both", prefix="A_")
    for path in list(folder.glob("A_*.txt")):
        shutil.copy(path, folder / path.name.replace("A_", "B_"))
    assert "ambiguous" in problems_of(benchmark, folder)[0]
    assert score(benchmark, folder, prefix="B_").trackers["t"].metrics["PR"] == 1.0


def test_two_folders_with_results_are_ambiguous(benchmark, write_tracker, tmp_path):
    outer = tmp_path / "outer"
    outer.mkdir()
    for name in ("one", "two"):
        shutil.move(write_tracker(name), outer)
    (problem,) = problems_of(benchmark, outer)
    for name in ("one", "two"):
        assert f"  {outer / name}: <sequence>.txt, 3 of 3 sequences" in problem
        assert score(benchmark, outer / name).trackers["t"].metrics["PR"] == 1.0


def test_files_with_four_and_eight_columns_do_not_mix(benchmark, write_tracker, converters):
    folder, other = write_tracker(), write_tracker("other", convert=converters["eight"])
    shutil.copy(other / "car.txt", folder)
    assert re.search(r"car\.txt: its rows are 8 corner numbers, in most files 4", problems_of(benchmark, folder)[0])


def test_four_columns_that_fit_neither_reading_are_ambiguous(benchmark, write_tracker):
    folder = write_tracker(convert=lambda boxes: boxes + np.array([900, 900, 0, 0]))
    assert "--format" in problems_of(benchmark, folder)[0]
    assert score(benchmark, folder, box_format="xywh").trackers["t"].metrics["PR"] == pytest.approx(1 / 12)


def test_a_stated_format_is_obeyed(benchmark, write_tracker, converters):
    folder = write_tracker("corners", convert=converters["corners"])
    assert score(benchmark, folder, box_format="xywh").trackers["t"].metrics["SR"] < 0.5
    eight = write_tracker("eight", convert=converters["eight"])
    assert "--format xywh needs 4 numbers a row" in problems_of(benchmark, eight, box_format="xywh")[0]


def test_eight_numbers_must_be_an_upright_box(benchmark, write_tracker, converters):
    folder = write_tracker(convert=converters["eight"])
    rows = (folder / "car.txt").read_text().splitlines()
    rows[3] = "10,10,30,15,25,40,5,35"
    (folder / "car.txt").write_text("\n".join(rows))
    assert "row 4 of car is no axis-parallel box" in problems_of(benchmark, folder)[0]


def test_results_that_do_not_exist_or_are_no_archive(benchmark, tmp_path):
    assert "there is no" in problems_of(benchmark, tmp_path / "nowhere")[0]
    (tmp_path / "text.zip").write_text("no archive")
    assert "neither a folder nor a zip or tar archive" in problems_of(benchmark, tmp_path / "text.zip")[0]


def test_a_huge_file_is_refused(benchmark, write_tracker, monkeypatch):
    folder = write_tracker()
    monkeypatch.setattr("lib.evaluation.files.MAX_BYTES", 250)
    largest = max(path.stat().st_size for path in benchmark.rglob("*.txt"))
    assert largest < 250 < (folder / "car.txt").stat().st_size
    assert all("expected a text file below 250" in problem for problem in problems_of(benchmark, folder))


def test_trackers_of_the_same_name_are_refused():
    assert list(parse_results(["A=x", "some/B.zip", "C.tar.gz", "D.TGZ", "run/v1.2"])) == ["A", "B", "C", "D", "v1.2"]
    assert parse_results(["A=~/x"]) == {"A": Path.home() / "x"}
    with pytest.raises(ValueError, match="two trackers are called 'A'"):
        parse_results(["A=x", "A=y"])
    with pytest.raises(ValueError, match="expects NAME="):
        parse_results(["=x"])


def test_no_tracker_at_all_is_refused(benchmark):
    with pytest.raises(ValueError, match="at least one tracker"):
        evaluate("lasher", {}, ground_truth=benchmark)


def test_boxes_are_written_with_four_decimals_and_read_back(tmp_path):
    write_boxes(tmp_path / "a" / "car.txt", np.array([[1, 2.00004, 3, 4], [1 / 3, 0, 5, 6]]))
    assert (tmp_path / "a" / "car.txt").read_text() == "1.0000,2.0000,3.0000,4.0000\n0.3333,0.0000,5.0000,6.0000\n"
    with pytest.raises(ValueError, match=r"must be \(N, 4\), got \(2, 3\)"):
        write_boxes(tmp_path / "b.txt", np.zeros((2, 3)))
