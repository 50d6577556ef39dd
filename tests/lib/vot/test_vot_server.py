"""The TraX side of our tracker: channels, frames from files, and what is said where vot-trax is missing."""

import sys

import pytest

from lib.datasets.frames import FrameError
from lib.vot import server as vot_server
from lib.vot.server import channels_of, import_trax, read_images, serve
from patrack import config as configs
from vot_data import SIZE, Follower, write_data


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
    monkeypatch.setattr(vot_server, "import_trax", lambda: conversation)
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
