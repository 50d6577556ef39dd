"""The report as files: what is in the page, what is not, and pictures; `test_browser.py` opens it.

At the end, failures, re-detection and speed on cases small enough to count by hand.
"""

import html.parser
import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from lib.evaluation import Curve, TrackerScores, evaluate
from lib.evaluation.ground_truth import GroundTruth
from lib.report.page import find_images, find_losses, overlaps, read_speed, write_report
from report_data import HOSTILE, NAMES, make_evaluation, write_benchmark, write_tracker


class Page(html.parser.HTMLParser):
    """Elements with attributes, and the text outside script and style."""

    def __init__(self, source):
        super().__init__()
        self.elements, self.text, self.inside = [], "", ""
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.inside = tag

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.text += data

    def handle_endtag(self, tag):
        self.inside = ""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Evaluation, report folder and page, with images."""
    root = tmp_path_factory.mktemp("report")
    evaluation = make_evaluation(root, trackers=("ours", "<script>alert(1)</script>"))
    images, why = find_images("synthrgbt", "test", str(root))
    assert why == ""
    path = write_report(evaluation, root / "out", images=images, shown=2)
    return evaluation, root / "out", Page(path.read_text(encoding="utf-8"))


def test_names_with_markup_stay_text(written):
    page = written[2]
    assert HOSTILE in page.text
    assert "<script>alert(1)</script>" in page.text
    assert "<b>bold</b>" in page.text
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert not {"img", "b", "iframe", "form", "object"} & {tag for tag, _ in page.elements}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_nothing_refers_outside_the_folder(written):
    _, folder, page = written
    references = [
        value
        for tag, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "action", "data") and tag != "a"
    ]
    assert references
    for reference in references:
        assert reference == "data:," or (folder / reference).is_file(), reference
    assert all(attributes["href"].startswith("#") for tag, attributes in page.elements if tag == "a")
    source = (folder / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|//cdn|@import|url\(", source)
    policy = next(attributes["content"] for tag, attributes in page.elements if attributes.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert "'unsafe-inline'" not in policy.split("script-src")[1]


def test_the_folder_holds_all_numbers_and_only_what_the_page_needs(written):
    evaluation, folder, page = written
    assert json.loads((folder / "scores.json").read_text(encoding="utf-8")) == evaluation.to_dict()
    used = {attributes["href"] for tag, attributes in page.elements if tag == "image"}
    assert used == {f"images/{path.name}" for path in (folder / "images").iterdir()}


def test_worst_and_best_have_strips_of_both_modalities_with_the_boxes_of_all_trackers(written):
    _, folder, page = written
    used = [attributes["href"] for tag, attributes in page.elements if tag == "image"]
    assert len(used) == 4 * 6 * 2
    assert len([name for name in used if "-x-" in name]) == 4 * 6
    picture = cv2.imread(str(folder / used[0]))
    assert picture.shape == (48, 64, 3)
    boxes = [attributes["class"] for tag, attributes in page.elements if tag == "rect"]
    assert boxes.count("box t0") == boxes.count("box t1") == len(used)
    assert 0 < boxes.count("box true") <= len(used)


def test_every_section_has_its_numbers(written):
    evaluation, _, page = written
    for heading in ("Success", "Precision", "Normalised precision", "Failures and re-detection", "Speed", "Sequences"):
        assert heading in page.text
    ours = evaluation.trackers["ours"].metrics
    assert f"{100 * ours['SR']:.1f}" in page.text
    assert "50.0" in page.text, "frames per second"
    assert "no files with times" in page.text
    assert not re.search(r"\bnan\b", page.text, re.IGNORECASE)
    assert len([1 for tag, attributes in page.elements if "data-search" in attributes]) == len(NAMES)


def test_without_images_everything_else_is_there_and_the_page_says_why(tmp_path):
    evaluation = make_evaluation(tmp_path, images=False)
    page = Page(write_report(evaluation, tmp_path / "out", no_images="they are elsewhere").read_text(encoding="utf-8"))
    assert "they are elsewhere" in page.text
    assert not (tmp_path / "out" / "images").exists()


def test_a_tracker_that_updates_its_template_stands_below_a_line_of_its_own(tmp_path):
    write_benchmark(tmp_path, images=False)
    results = {name: write_tracker(tmp_path / name, offset) for name, offset in (("online", 0), ("plain", 2))}
    update = {"identity": {"test": {"template_update": {"interval": 25, "threshold": 0.7}}}}
    (results["online"] / "run.json").write_text(json.dumps(update))
    page = write_report(evaluate("synthrgbt", results, data_root=tmp_path), tmp_path / "out").read_text(
        encoding="utf-8"
    )
    table = page[page.index('id="scores"') : page.index('id="scores"') + 6000]
    places = [table.index(text) for text in ('title="plain"', "later frames, ranked apart", 'title="online"')]
    assert places == sorted(places)
    assert "its template was updated every 25 frames above 0.7" in page


def test_an_image_that_can_not_be_read_costs_its_strip_only(tmp_path):
    evaluation = make_evaluation(tmp_path, images=False)
    images, _ = find_images("synthrgbt", "test", str(tmp_path))
    page = Page(write_report(evaluation, tmp_path / "out", images=images).read_text(encoding="utf-8"))
    assert "not a readable image" in page.text


def test_a_second_report_replaces_the_pictures_of_the_first(tmp_path):
    evaluation = make_evaluation(tmp_path)
    images, _ = find_images("synthrgbt", "test", str(tmp_path))
    write_report(evaluation, tmp_path / "out", images=images)
    (tmp_path / "out" / "images" / "mine.jpg").write_bytes(b"")
    write_report(evaluation, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out" / "images").iterdir()] == ["mine.jpg"]


def test_sequences_that_were_not_scored_are_shown_as_missing(tmp_path):
    evaluation = make_evaluation(tmp_path, images=False)
    (tmp_path / "b" / "bike.txt").unlink()
    results = {"ours": tmp_path / "a", "other": tmp_path / "b"}
    evaluation = evaluate("synthrgbt", results, data_root=tmp_path, allow_missing=True)
    page = write_report(evaluation, tmp_path / "out").read_text(encoding="utf-8")
    row = page[page.index('data-search="bike ') :].split("</tr>")[0]
    assert 'data-scores="- - - -">-</td>' in row
    assert "5 of 6" in page


def test_several_runs_per_sequence_have_no_boxes_and_are_ranked_by_what_sequences_have(tmp_path):
    evaluation = make_evaluation(tmp_path, images=False)
    curve = Curve(tuple(range(100)), (0.5,) * 100, "sequence length (frames)", "expected overlap")
    per_sequence = {name: {"A": 0.7, "R": 0.1 * k, "frames": 40} for k, name in enumerate(NAMES)}
    runs = TrackerScores({"EAO": 0.6, "A": 0.7, "R": 0.8}, per_sequence, curves={"EAO": curve}, name="ours")
    page = write_report(replace(evaluation, trackers={"ours": runs}), tmp_path / "out")
    text = Page(page.read_text(encoding="utf-8")).text
    assert "bike: mean R 0.0" in text
    assert "zebra: mean R 50.0" in text
    assert "Expected average overlap" in text
    assert "not defined for several runs per sequence" in text


def test_nan_scores_never_reach_the_page(tmp_path):
    evaluation = make_evaluation(tmp_path, images=False)
    ours = evaluation.trackers["ours"]
    broken = replace(ours, metrics={**ours.metrics, "NPR": float("nan")})
    page = write_report(replace(evaluation, trackers={"ours": broken}), tmp_path / "out")
    assert not re.search(r"\bnan\b", page.read_text(encoding="utf-8"), re.IGNORECASE)
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["trackers"]["ours"]["metrics"]["NPR"] is None


A = np.nan


def losses(*runs):
    """Losses of overlaps given as (value, frames), behind the first frame."""
    return find_losses(np.concatenate([[1.0], *(np.full(count, value) for value, count in runs)]))


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        # frames, lost frames, failures, found again, delays
        pytest.param([(0.8, 30)], (30, 0, 0, 0, []), id="never lost"),
        pytest.param([(0.8, 5), (0.1, 9), (0.8, 5)], (19, 0, 0, 0, []), id="nine frames are no failure"),
        pytest.param([(0.8, 5), (0.1, 10), (0.8, 5)], (20, 10, 1, 1, [10]), id="ten are"),
        pytest.param([(0.8, 5), (0.0, 10), (0.3, 4), (0.5, 1)], (20, 14, 1, 1, [14]), id="found at half overlap"),
        pytest.param([(0.8, 5), (0.0, 12), (0.3, 4), (0.0, 12)], (33, 28, 1, 0, []), id="one failure until the end"),
        pytest.param([(0.0, 10), (0.9, 1), (0.0, 10)], (21, 20, 2, 1, [10]), id="lost twice"),
        pytest.param([(0.0, 5), (A, 50), (0.0, 5), (0.9, 1)], (11, 10, 1, 1, [10]), id="absent frames are passed over"),
        pytest.param([(0.11, 30)], (30, 0, 0, 0, []), id="just above the limit"),
    ],
)
def test_failures(runs, expected):
    found = losses(*runs)
    assert (found.frames, found.lost_frames, found.failures, found.found_again, found.delays) == expected
    assert found.failed_sequences == (expected[2] > 0)


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        pytest.param([(0.8, 5), (A, 3), (0.2, 9), (0.5, 1)], (1, 1), id="caught in the tenth frame"),
        pytest.param([(0.8, 5), (A, 3), (0.2, 10), (0.5, 1)], (1, 0), id="too late in the eleventh"),
        pytest.param([(0.8, 5), (A, 1), (0.8, 2), (A, 1), (0.0, 2)], (2, 1), id="two returns"),
        pytest.param([(0.8, 5), (A, 9)], (0, 0), id="never back"),
        pytest.param([(A, 9)], (0, 0), id="always absent"),
    ],
)
def test_returns(runs, expected):
    found = losses(*runs)
    assert (found.returns, found.caught) == expected


def test_sums_over_sequences():
    total = losses((0.0, 10), (0.9, 1))
    total.add(losses((0.0, 20), (0.9, 1)))
    assert (total.failures, total.failed_sequences, total.delays, total.delay) == (2, 2, [10, 20], 15.0)
    assert losses((0.9, 1)).delay is None


def test_overlap_is_the_better_modality_and_nan_without_target():
    visible = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 0, 0], [A, A, A, A]], float)
    infrared = visible + np.array([5.0, 0, 0, 0])
    boxes = np.array([[0, 0, 10, 10], [5, 0, 10, 10], [A, A, A, A], [0, 0, 10, 10], [0, 0, 10, 10]], float)
    found = overlaps(GroundTruth((visible, infrared)), boxes)
    assert found[:3].tolist() == [1.0, 1.0, 0.0]
    assert np.isnan(found[3:]).all()
    absent = np.array([False, True, False, False, False])
    assert np.isnan(overlaps(GroundTruth((visible,), absent), boxes)).tolist() == [False, True, False, True, True]


def test_speed_leaves_out_the_first_frame_and_names_the_device(tmp_path):
    for name, frames in {"a": 11, "b": 6}.items():
        (tmp_path / f"{name}_times.txt").write_text("9.0\n" + "0.02\n" * (frames - 1))
    (tmp_path / "run.json").write_text(json.dumps({"device": "cpu", "threads": 2}))
    truth = {name: GroundTruth((np.zeros((11, 4)),)) for name in "abc"}
    speed = read_speed(str(tmp_path), truth)
    assert (round(speed.fps, 6), round(speed.median, 6), round(speed.slowest, 6)) == (50.0, 20.0, 20.0)
    assert (speed.sequences, speed.device, speed.note) == (2, "cpu, 2 threads", "")


@pytest.mark.parametrize("text", ["fast\n0.1\n", "1.0\nnan\n", "1.0\n-1\n", "1.0\n", "1.0\n0\n"])
def test_a_bad_time_file_is_left_out_and_named(tmp_path, text):
    (tmp_path / "a_times.txt").write_text(text)
    speed = read_speed(str(tmp_path), {"a": GroundTruth((np.zeros((2, 4)),))})
    assert speed.fps is None
    assert "a_times.txt" in speed.note


def test_no_times_is_no_error(tmp_path):
    assert read_speed(str(tmp_path), {"a": GroundTruth((np.zeros((2, 4)),))}).note == "no files with times"
