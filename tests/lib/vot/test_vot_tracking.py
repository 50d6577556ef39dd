"""Our tracker in a VOT workspace: the TraX side, and runs without the toolkit."""

import os
import signal
import sys

import numpy as np
import pytest

from lib.evaluation import evaluate
from lib.evaluation.files import FileTree
from lib.evaluation.ground_truth import GroundTruth
from lib.evaluation.protocols import protocols_of
from lib.evaluation.results import read_results
from lib.inference.results import TrackingError
from lib.vot import tracking as vot_tracking
from lib.vot.results import claim
from lib.vot.tracking import import_trax, read_images, run_workspace, serve, write_run
from lib.vot.workspace import STACKS, channels_of, find_sequences, workspace_stack, write_workspace
from patrack import config as configs
from patrack.recordings.frames import FrameError
from vot_data import SIZE, Follower, truth_of, write_data


@pytest.mark.parametrize(
    ("name", "override", "channels"),
    [
        ("rgbd_tiny", "test.window=true", ("color", "depth")),
        ("rgbt_tiny", "test.window=true", ("color", "ir")),
        ("rgb_tiny", "test.window=true", ("color",)),
        ("rgbd_tiny", "model.streams=rgb", ("color",)),
    ],
)
def test_channels_follow_the_modality(name, override, channels):
    assert channels_of(configs.load(name, [override])) == channels


def test_events_have_no_channel():
    with pytest.raises(ValueError, match=r"rgbe_tiny is for rgbe, .*no channel"):
        channels_of(configs.load("rgbe_tiny"))


def test_a_missing_package_names_the_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "trax", None)
    with pytest.raises(RuntimeError, match=r'pip install -e "\.\[vot\]"'):
        import_trax()


def test_a_frame_is_stacked_from_the_files_of_its_channels(tmp_path):
    root = write_data(tmp_path / "data", names=["one"])
    color, depth = root / "one" / "color" / "00000001.jpg", root / "one" / "depth" / "00000001.png"
    assert read_images({"color": color, "depth": depth}).shape == (*SIZE[::-1], 6)
    assert read_images({"color": color}).shape == (*SIZE[::-1], 3)
    with pytest.raises(FrameError, match=r"nowhere\.png"):
        read_images({"color": color, "depth": root / "nowhere.png"})


class Region:
    RECTANGLE = "rectangle"

    def __init__(self, *box):
        self.box = box

    create = classmethod(lambda cls, *box: cls(*box))

    def bounds(self):
        return self.box


class Image:
    PATH = "path"

    def __init__(self, file):
        self.file = file

    def path(self):
        return str(self.file)


class Conversation:
    """Stands for the package trax and its server: asks what it is told to ask and keeps the answers."""

    def __init__(self, requests):
        self.requests, self.answers, self.reason = [*requests, ("quit", None, None)], [], None
        self.image, self.region, self.server = self, self, self
        self.Region = self.Rectangle = Region
        self.Image = Image
        self.TraxStatus = type("Status", (), {"QUIT": "quit", "INITIALIZE": "initialize"})
        self.type = self.objects = None

    def Server(self, regions, images, channels, name):
        self.hello = (regions, images, channels, name)
        return self

    def wait(self):
        kind, image, box = self.requests.pop(0)
        objects = [] if box is None else [(Region(*box), {})]
        return type("Request", (), {"type": kind, "image": image, "objects": objects})

    def status(self, objects):
        self.answers.append(objects)

    def quit(self, reason):
        self.reason = reason


@pytest.fixture
def image(tmp_path):
    root = write_data(tmp_path / "data", names=["one"])
    return {
        "color": Image(root / "one" / "color" / "00000001.jpg"),
        "depth": Image(root / "one" / "depth" / "00000001.png"),
    }


def talk(monkeypatch, requests):
    conversation = Conversation(requests)
    monkeypatch.setattr(vot_tracking, "import_trax", lambda: conversation)
    return conversation


def test_each_frame_is_answered_with_box_and_confidence_and_targets_may_change(monkeypatch, image):
    first, second, frame = (
        ("initialize", image, (8, 6, 14, 12)),
        ("initialize", image, (1, 2, 9, 9)),
        ("frame", image, None),
    )
    conversation, tracker = talk(monkeypatch, [first, frame, frame, second, frame]), Follower()
    assert serve(lambda: tracker, ("color", "depth"), "ours") == 5
    assert conversation.hello == (["rectangle"], ["path"], ["color", "depth"], "ours")
    assert tracker.given == [[8, 6, 14, 12], [1, 2, 9, 9]]
    said = [(answer[0][0].bounds(), answer[0][1]) for answer in conversation.answers]
    assert said[0] == ((8, 6, 14, 12), {})  # no confidence in what was given
    assert said[2] == (pytest.approx((8.7, 6.4, 14, 12)), {"confidence": 1 / 3})
    assert said[4] == (pytest.approx((1.35, 2.2, 9, 9)), {"confidence": 0.5})


def test_results_that_are_another_runs_are_told_to_the_toolkit_before_the_first_frame(monkeypatch, tmp_path, image):
    results = tmp_path / "ws" / "results" / "ours"
    with claim(results, IDENTITY):
        (results / "baseline" / "one").mkdir(parents=True)
        (results / "baseline" / "one" / "one_001.bin").touch()
    requests = [("initialize", image, (8, 6, 14, 12))]
    conversation = talk(monkeypatch, requests)
    assert serve(Follower, ("color", "depth"), "ours", claim_results=lambda _: claim(results, IDENTITY)) == 1
    conversation = talk(monkeypatch, requests)
    other = {"weights_sha256": "1"}
    with pytest.raises(ValueError, match="another run"):
        serve(Follower, ("color", "depth"), "ours", claim_results=lambda _: claim(results, other))
    assert "weights_sha256: '0' -> '1'" in conversation.reason
    assert conversation.answers == []


def test_a_frame_that_cannot_be_read_is_told_to_the_toolkit(monkeypatch, image):
    image["color"].file.write_bytes(b"")
    conversation = talk(monkeypatch, [("initialize", image, (8, 6, 14, 12))])
    with pytest.raises(FrameError):
        serve(Follower, ("color", "depth"), "ours")
    assert "00000001.jpg: not a readable image" in conversation.reason


def test_weights_that_cannot_be_read_are_told_to_the_toolkit_after_the_greeting(monkeypatch):
    def fail():
        raise ValueError("no such weights")

    conversation = talk(monkeypatch, [])
    with pytest.raises(ValueError, match="no such weights"):
        serve(fail, ("color",), "ours")
    assert conversation.hello[2] == ["color"]
    assert conversation.reason == "no such weights"


CHANNELS = ("color", "depth")
IDENTITY = {"weights_sha256": "0"}


def workspace(tmp_path, dataset, count=6, **more):
    root = write_data(tmp_path / "data", count=count, **more)
    write_workspace(tmp_path / "ws", STACKS[dataset], find_sequences("synthrgbd", "test", root), anchors=4)
    return tmp_path / "ws"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_long_term_workspace_gets_one_run_per_sequence(tmp_path):
    place, tracker = workspace(tmp_path, "depthtrack"), Follower()
    assert run_workspace(tracker, place, "ours", CHANNELS, IDENTITY) == 2
    assert tracker.given == [truth_of(0, 1)[0].tolist(), truth_of(1, 1)[0].tolist()]
    results = place / "results" / "ours" / "rgbd-unsupervised"
    assert names(results / "one") == ["one_001.txt", "one_001_confidence.value", "one_001_time.value"]


def test_a_multi_start_workspace_gets_a_run_per_anchor_in_its_direction(tmp_path):
    place, tracker = workspace(tmp_path, "votrgbd2022"), Follower(drift=0)
    assert run_workspace(tracker, place, "ours", CHANNELS, IDENTITY) == 6  # anchors 0 (to the end), 4 and 5 (back to 0)
    results = place / "results" / "ours" / "baseline" / "one"
    runs = {path.stem: len(path.read_text().splitlines()) for path in results.glob("*.txt")}
    assert runs == {"one_00000000": 6, "one_00000004": 5, "one_00000005": 6}
    assert tracker.given[1] == truth_of(0, 5)[4].tolist()


@pytest.mark.parametrize("suffix", [".txt", ".bin"], ids=["ours", "the toolkit's"])
def test_runs_that_are_there_are_kept(tmp_path, suffix):
    place = workspace(tmp_path, "depthtrack")
    run_workspace(Follower(), place, "ours", CHANNELS, IDENTITY)
    one, two = (place / "results" / "ours" / "rgbd-unsupervised" / name / f"{name}_001.txt" for name in ("one", "two"))
    one = one.rename(one.with_suffix(suffix))
    one.write_text("kept")
    two.unlink()
    assert run_workspace(Follower(), place, "ours", CHANNELS, IDENTITY) == 1
    assert one.read_text() == "kept"
    assert two.is_file()


@pytest.mark.parametrize("dataset", ["depthtrack", "votrgbd2022"])
def test_runs_of_other_weights_images_or_boxes_are_not_kept(tmp_path, dataset):
    place = workspace(tmp_path, dataset)
    count = run_workspace(Follower(), place, "ours", CHANNELS, IDENTITY)

    def refused(message, identity=IDENTITY):
        with pytest.raises(ValueError, match=message):
            run_workspace(Follower(), place, "ours", CHANNELS, identity)
        assert run_workspace(Follower(), place, "ours", CHANNELS, identity, overwrite=True) == count
        assert run_workspace(Follower(), place, "ours", CHANNELS, identity) == 0

    refused("weights_sha256: '0' -> '1'", {"weights_sha256": "1"})
    refused("weights_sha256: '1' -> '0'")
    image = tmp_path / "data" / "two" / "color" / "00000004.jpg"
    image.write_bytes(image.read_bytes() + b"x")
    refused("other frames, first boxes or anchors than are there now, of two")
    truth = place / "sequences" / "one" / "groundtruth.txt"
    truth.write_text(truth.read_text().replace("8.0000,6.0000", "9.0000,6.0000"))
    refused("other frames, first boxes or anchors than are there now, of one")


@pytest.mark.skipif(os.name != "posix", reason="kills")
def test_a_run_that_is_killed_anywhere_goes_on_to_the_same_files(tmp_path, monkeypatch):
    place = workspace(tmp_path, "votrgbd2022", count=5)

    def files(name):
        paths = (place / "results" / name).rglob("*")
        return {str(path.relative_to(place / "results" / name)): path for path in paths if path.is_file()}

    def track(name):
        return run_workspace(Follower(), place, name, CHANNELS, IDENTITY)

    runs = track("whole")
    for number in range(0, 3 * runs + 1, 2):  # three files per run, and the manifest
        child = os.fork()
        if child == 0:
            calls = [None] * number

            def replace_or_die(*arguments, calls=calls, real=os.replace):
                calls.pop() if calls else os.kill(os.getpid(), signal.SIGKILL)
                real(*arguments)

            monkeypatch.setattr(os, "replace", replace_or_die)
            try:
                track(f"killed{number}")
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        assert track(f"killed{number}") > 0
        found, expected = files(f"killed{number}"), files("whole")
        assert found.keys() == expected.keys()
        for name in found:
            assert name.endswith("_time.value") or found[name].read_bytes() == expected[name].read_bytes()


def test_numbers_that_the_toolkit_keeps_of_earlier_results_are_warned_of(tmp_path, caplog):
    place = workspace(tmp_path, "depthtrack")
    (place / "cache").mkdir()
    for _ in range(2):
        run_workspace(Follower(), place, "ours", CHANNELS, IDENTITY)
    assert caplog.text.count("ws/cache before its analysis") == 1


@pytest.mark.parametrize("name", ["../../x", "..", "/x", "a/../../x"])
def test_a_name_in_the_list_does_not_lead_out_of_the_workspace(tmp_path, name):
    place = workspace(tmp_path, "depthtrack")
    before = sorted(tmp_path.rglob("*"))
    (place / "sequences" / "list.txt").write_text(f"one\n{name}\n")
    with pytest.raises(ValueError, match=r"list\.txt: line 2: .* can't name a file or folder"):
        run_workspace(Follower(), place, "ours", CHANNELS, IDENTITY)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["../../up", ".."])
def test_a_tracker_does_not_lead_out_of_the_workspace(tmp_path, name):
    place = workspace(tmp_path, "depthtrack")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=r"--name: .* can't name a file or folder"):
        run_workspace(Follower(), place, name, CHANNELS, IDENTITY)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("pattern", ["color/%08d-%d.jpg", "color/%q.jpg", "color/one.jpg"])
def test_a_pattern_of_images_that_has_no_one_number_is_named(tmp_path, pattern):
    place = workspace(tmp_path, "depthtrack")
    (place / "sequences" / "two" / "sequence").write_text(f"channels.color={pattern}\nwidth=64\nheight=48\n")
    with pytest.raises(TrackingError, match=r"two/sequence: channels\.color must be a path with one number"):
        run_workspace(Follower(), place, "ours", ("color",), IDENTITY)


@pytest.mark.parametrize(("dataset", "metrics"), [("depthtrack", "F"), ("votrgbd2022", "A")])
def test_the_files_are_scored_by_our_own_evaluation(tmp_path, dataset, metrics):
    place = workspace(tmp_path, dataset, absent=[2])
    run_workspace(Follower(), place, "ours", CHANNELS, IDENTITY)
    folder = place / "results" / "ours" / STACKS[dataset].experiment
    scored = evaluate(dataset, {"ours": folder}, ground_truth=place / "sequences").trackers["ours"]
    assert 0.1 < scored.metrics[metrics] < 1


def test_a_color_tracker_reads_no_depth(tmp_path):
    place = workspace(tmp_path, "depthtrack")
    for path in (tmp_path / "data").rglob("*.png"):
        path.write_bytes(b"")
    assert run_workspace(Follower(), place, "ours", ("color",), IDENTITY) == 2
    with pytest.raises(TrackingError, match=r"one_001, frame 0 .*00000001\.png: .*image"):
        run_workspace(Follower(), place, "other", CHANNELS, IDENTITY)


def test_a_channel_that_the_workspace_lacks_is_named(tmp_path):
    with pytest.raises(TrackingError, match=r"one/sequence: no line channels.ir="):
        run_workspace(Follower(), workspace(tmp_path, "depthtrack"), "ours", ("color", "ir"), IDENTITY)


def test_a_multi_start_workspace_without_any_anchor_is_an_error(tmp_path):
    place = workspace(tmp_path, "votrgbd2022")
    (place / "sequences" / "two" / "anchor.value").write_text("0\n" * 6)
    with pytest.raises(ValueError, match="sequence two: no anchors"):
        run_workspace(Follower(), place, "ours", CHANNELS, IDENTITY)


def test_a_folder_that_is_no_workspace_says_what_makes_one(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.yaml; .*vot2021/rgbd.*prepare_vot"):
        workspace_stack(tmp_path)
    (tmp_path / "config.yaml").write_text("stack: vots2023\n")
    with pytest.raises(ValueError, match="stack 'vots2023'"):
        workspace_stack(tmp_path)


def test_the_written_numbers_are_the_trackers(tmp_path):
    place = workspace(tmp_path, "depthtrack", count=3)
    run_workspace(Follower(), place, "ours", CHANNELS, IDENTITY)
    rows = (place / "results" / "ours" / "rgbd-unsupervised" / "one" / "one_001.txt").read_text().splitlines()
    assert rows[0] == "1"
    np.testing.assert_allclose([float(v) for v in rows[2].split(",")], truth_of(0, 1)[0] + [0.7, 0.4, 0, 0], atol=1e-4)


def test_what_is_written_reads_back_with_the_first_row_as_initialization(tmp_path):
    boxes = np.array([[1, 2, 3, 4], [5.5, 6, 7, 8], [np.nan] * 4])
    write_run(tmp_path / "a", "a_001", boxes, np.array([1, 0.5, 0.1]), np.array([0.1, 0.2, 0.3]))
    assert (tmp_path / "a" / "a_001.txt").read_text() == "1\n5.5000,6.0000,7.0000,8.0000\n0\n"
    assert (tmp_path / "a" / "a_001_confidence.value").read_text() == "\n0.5\n0.1\n"
    assert (tmp_path / "a" / "a_001_time.value").read_text() == "0.1\n0.2\n0.3\n"
    truth = {"a": GroundTruth((boxes,), image_size=(64, 48))}
    files = read_results(FileTree(tmp_path), truth, protocols_of("depthtrack")["vot-0.9.0"])
    assert not files.problems
    np.testing.assert_array_equal(files.rows["a"][0], [[np.nan] * 4, [5.5, 6, 7, 8], [np.nan] * 4])


def test_boxes_and_confidences_must_be_equally_many(tmp_path):
    with pytest.raises(ValueError, match=r"run r: \(2, 4\) boxes for 3 confidences"):
        write_run(tmp_path, "r", np.zeros((2, 4)), np.zeros(3), np.zeros(3))
