"""Files for the toolkits: exactly in the form that each reads, and with the same scores when read back."""

from __future__ import annotations

import time
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest

from lib.evaluation import EvaluationError, evaluate
from lib.evaluation.results import TOOLKITS, export_results
from patrack.files import atomic_write

FRAMES = 12
NAMES = ("bike", "car")


def boxes_of(name, shift=0.0):
    start = 30.0 + 40 * NAMES.index(name)
    return np.array([[start + 2 * k + shift, start + k, 20.5, 30.25] for k in range(FRAMES)])


def lines(rows, separator):
    return "".join(separator.join(repr(float(value)) for value in row) + "\n" for row in rows)


def corner_pairs(boxes):
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def put(root, **files):
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def write_truth(root, dataset):
    """Annotations as the data set has them; for VTUAV every tenth frame."""
    for name in NAMES:
        boxes, folder = boxes_of(name), root / name
        if dataset in ("lasher", "visevent"):
            flags = {f"absent__{name}.txt": "0\n" * FRAMES, f"att__{name}.txt": "0\n" * 17}
            place = "annos" if dataset == "lasher" else "gt_rect"
            put(root, **{f"{place}__{name}.txt": lines(boxes, ",")}, **(flags if dataset == "visevent" else {}))
        elif dataset == "rgbt234":
            put(folder, **{"visible.txt": lines(boxes, ","), "infrared.txt": lines(boxes + 1, ",")})
        elif dataset == "rgbt210":
            put(folder, **{"init.txt": lines(boxes, ",")})
        elif dataset == "gtot":
            both = {f"groundTruth_{part}.txt": lines(corner_pairs(boxes), " ") for part in "vi"}
            put(folder, **both)
        elif dataset == "vtuav":
            put(folder, **{file: lines(boxes[::10], " ") for file in ("rgb.txt", "ir.txt")})
        elif dataset == "coesot":
            put(folder, **{"groundtruth.txt": lines(boxes, ","), "absent.txt": "1\n" * FRAMES})
        elif dataset == "fe108":
            put(folder, **{"groundtruth_rect.txt": lines(boxes, ",")})
        else:
            size = "width=640\nheight=480\n"
            put(folder, **{"groundtruth.txt": lines(boxes, ","), "sequence": size})
    return root


@pytest.fixture
def ours(tmp_path):
    """Results in our own form, four pixels off from row 1 on."""
    folder = tmp_path / "ours"
    for name in NAMES:
        boxes = boxes_of(name, shift=4.125)
        boxes[0] = boxes_of(name)[0]
        scores = "".join(f"{1 - k / 20}\n" for k in range(FRAMES))
        put(folder, **{f"{name}.txt": lines(boxes, ","), f"{name}_scores.txt": scores, f"{name}_times.txt": scores})
    return folder


ONE_PASS = {
    "lasher": ("PATrack_tracking_result/car.txt", ","),
    "visevent": ("PATrack_tracking_result/car.txt", ","),
    "coesot": ("PATrack_tracking_result/car.txt", ","),
    "fe108": ("PATrack_tracking_result/car.txt", ","),
    "rgbt234": ("PATrackcar.txt", " "),
    "rgbt210": ("PATrackcar.txt", " "),
    "gtot": ("PATrack/PATrack_car.txt", " "),
    "vtuav": ("PATrack_car.txt", " "),
}


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("dataset", list(ONE_PASS))
def test_exported_files_have_the_toolkits_form_and_the_same_scores(tmp_path, ours, dataset, kind):
    truth = write_truth(tmp_path / "truth", dataset)
    output = tmp_path / ("out.zip" if kind == "zip" else "out")
    count, _ = export_results(dataset, "PATrack", ours, output, ground_truth=truth)
    assert count == 2
    name, separator = ONE_PASS[dataset]
    if kind == "zip":
        with zipfile.ZipFile(output) as archive:
            names, text = archive.namelist(), archive.read(name).decode()
    else:
        names = [path.relative_to(output).as_posix() for path in output.rglob("*.txt")]
        text = (output / name).read_text()
    assert sorted(names) == sorted([name, name.replace("car", "bike")])
    assert text.splitlines()[1] == separator.join(["76.125", "71.0", "20.5", "30.25"])
    assert len(text.splitlines()) == FRAMES  # for VTUAV too: one row per frame, the toolkit thins
    scored = {
        path: evaluate(dataset, {"PATrack": path}, ground_truth=truth).trackers["PATrack"] for path in (ours, output)
    }
    assert scored[output].metrics == scored[ours].metrics
    assert scored[output].sequences == scored[ours].sequences


@pytest.mark.parametrize("dataset", ["rgbt234", "gtot", "vtuav"])
def test_eight_columns_are_corners(tmp_path, ours, dataset):
    truth = write_truth(tmp_path / "truth", dataset)
    export_results(dataset, "T", ours, tmp_path / "out", ground_truth=truth, columns=8, separator=",")
    row = next((tmp_path / "out").rglob("*car.txt")).read_text().splitlines()[0]
    assert [float(number) for number in row.split(",")] == [70, 70, 90.5, 70, 90.5, 100.25, 70, 100.25]
    scores = evaluate(dataset, {"T": tmp_path / "out"}, ground_truth=truth).trackers["T"]
    assert scores.file_format.startswith("8 corner numbers, comma")
    assert set(scores.metrics) == {"MPR", "MSR"}


def test_corners_are_exported_as_boxes(tmp_path):
    truth, source = write_truth(tmp_path / "truth", "lasher"), tmp_path / "source"
    for name in NAMES:
        put(source, **{f"x_{name}.txt": lines(corner_pairs(boxes_of(name)), "\t")})
    export_results("lasher", "T", source, tmp_path / "out", ground_truth=truth)
    assert (tmp_path / "out/T_tracking_result/bike.txt").read_text().splitlines()[2] == "34.0,32.0,20.5,30.25"


def test_vtuav_rows_before_the_first_annotated_frame_are_left_out(tmp_path):
    boxes = boxes_of("car")
    put(tmp_path / "truth/car_007", **{file: lines(boxes[::10], " ") for file in ("rgb.txt", "ir.txt")})
    put(tmp_path / "source", **{"car_007.txt": lines(np.concatenate([np.ones((7, 4)), boxes]), ",")})
    _, notes = export_results(
        "vtuav", "T", tmp_path / "source", tmp_path / "out", ground_truth=tmp_path / "truth", box_format="xywh"
    )
    assert (tmp_path / "out/T_car_007.txt").read_text() == lines(boxes, " ")
    assert "rows before the first annotated frame, left out: car_007 (7)" in notes[0]


@pytest.mark.parametrize("dataset", ["depthtrack", "cdtb"])
def test_vot_files_are_those_of_a_run_of_the_toolkit(tmp_path, ours, dataset):
    truth = write_truth(tmp_path / "truth", dataset)
    put(ours, **{"car.txt": lines(boxes_of("car")[:5], ",") + "nan,nan,nan,nan\n" + lines(boxes_of("car")[6:], ",")})
    export_results(dataset, "T", ours, tmp_path / "out", ground_truth=truth)
    folder = tmp_path / "out/T/rgbd-unsupervised/car"
    rows = (folder / "car_001.txt").read_text().split("\n")
    assert (rows[0], rows[1], rows[5]) == ("1", "72.0,71.0,20.5,30.25", "0")
    assert (folder / "car_001_confidence.value").read_text().split("\n")[:2] == ["", "0.95"]
    read = evaluate(dataset, {"T": tmp_path / "out"}, ground_truth=truth).trackers["T"]
    assert read.file_format.startswith("VOT files")
    put(
        ours,
        **{f"{name}_scores.txt": "0\n" + (ours / f"{name}_scores.txt").read_text().split("\n", 1)[1] for name in NAMES},
    )
    first_lost = {name: (ours / f"{name}.txt").read_text().split("\n", 1)[1] for name in NAMES}
    put(ours, **{f"{name}.txt": f"nan,nan,nan,nan\n{text}" for name, text in first_lost.items()})
    assert read.metrics == evaluate(dataset, {"T": ours}, ground_truth=truth).trackers["T"].metrics


def test_incomplete_results_are_not_exported_unless_asked(tmp_path, ours):
    truth = write_truth(tmp_path / "truth", "lasher")
    (ours / "car.txt").write_text("1,2,3,4\n")
    with pytest.raises(EvaluationError, match=r"car\.txt: too short, 1 rows; expected 12"):
        export_results("lasher", "T", ours, tmp_path / "out", ground_truth=truth)
    assert not (tmp_path / "out").exists()
    count, notes = export_results("lasher", "T", ours, tmp_path / "out", ground_truth=truth, allow_missing=True)
    assert count == 1
    assert "left out: " in notes[-1]


def test_a_folder_appears_with_all_of_its_files_or_not_at_all(tmp_path, ours, monkeypatch):
    truth = write_truth(tmp_path / "truth", "lasher")
    calls = []

    @contextmanager
    def write(path):
        calls.append(path)
        if len(calls) == 2:
            raise OSError("no room")
        with atomic_write(path) as file:
            yield file

    monkeypatch.setattr("lib.evaluation.results.atomic_write", write)
    before = set(tmp_path.iterdir())
    with pytest.raises(OSError, match="no room"):
        export_results("lasher", "T", ours, tmp_path / "out", ground_truth=truth)
    assert set(tmp_path.iterdir()) == before
    (tmp_path / "out").mkdir()
    export_results("lasher", "T", ours, tmp_path / "out", ground_truth=truth)
    assert len([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) == 2


def test_the_same_results_give_the_same_archive(tmp_path, ours, monkeypatch):
    truth = write_truth(tmp_path / "truth", "lasher")
    for name in ("a.zip", "b.zip"):
        export_results("lasher", "T", ours, tmp_path / name, ground_truth=truth)
        monkeypatch.setattr(time, "time", lambda: 2e9)
        monkeypatch.setattr(time, "localtime", time.gmtime)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_results_with_streams_missing_are_said_to_be_so(tmp_path, ours):
    truth = write_truth(tmp_path / "truth", "lasher")
    assert export_results("lasher", "T", ours, tmp_path / "a", ground_truth=truth)[1] == ()
    (ours / "run.json").write_text('{"identity": {"missing": "x:0.5, gaps of 10 frames, seed 0"}}')
    _, (note,) = export_results("lasher", "T", ours, tmp_path / "b", ground_truth=truth)
    assert "tracked with streams missing, x:0.5" in note
    assert "the files written don't say so" in note


@pytest.mark.parametrize("output", ["full", "full.zip"])
def test_files_that_are_there_are_not_overwritten(tmp_path, ours, output):
    truth = write_truth(tmp_path / "truth", "lasher")
    export_results("lasher", "T", ours, tmp_path / output, ground_truth=truth)
    with pytest.raises(FileExistsError, match="is not empty; give a new folder or archive"):
        export_results("lasher", "T", ours, tmp_path / output, ground_truth=truth)


@pytest.mark.parametrize(
    ("dataset", "change", "message"),
    [
        pytest.param("lasher", {"columns": 8}, "the toolkit of lasher reads 4 columns, got 8", id="columns"),
        pytest.param("lasher", {"tracker": "../up"}, "a tracker's name may have", id="name that leads out"),
        pytest.param("depthtrack", {"tracker": ".."}, r"name: '\.\.' can't name a file", id="dots alone"),
        pytest.param("votrgbd2022", {}, r"runs begin at anchors: let tracking/vot\.py", id="anchors"),
        pytest.param("otb", {}, "no toolkit form for data set 'otb'", id="unknown"),
    ],
)
def test_what_no_toolkit_reads_is_refused(tmp_path, ours, dataset, change, message):
    options = {"tracker": "T", "columns": 4} | change
    with pytest.raises(ValueError, match=message):
        export_results(dataset, options.pop("tracker"), ours, tmp_path / "out", ground_truth=tmp_path, **options)


def test_every_form_names_tracker_and_sequence():
    assert all("{tracker}" in form.path and "{seq}" in form.path for form in TOOLKITS.values())
