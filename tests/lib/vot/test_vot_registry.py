"""trackers.ini of a VOT workspace."""

import configparser
import shlex
import sys
from pathlib import Path

import pytest

from lib.vot.workspace import registry_with, tracker_command
from patrack.config import project_path
from patrack.weights import WeightsError
from vot_data import SMALL


def parsed(text):
    parser = configparser.ConfigParser()
    parser.read_string(text)
    return parser


def test_every_path_of_the_command_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("weights.pt").touch()
    Path("mine.yaml").write_text(f"base: {project_path('experiments/rgbd_tiny.yaml')}\n")
    command = tracker_command("mine.yaml", "weights.pt", "cpu", False, SMALL)
    assert command[:2] == [sys.executable, str(project_path("tracking/vot.py"))]
    assert command[2:9] == [
        *("--config", str(tmp_path / "mine.yaml"), "--checkpoint", str(tmp_path / "weights.pt")),
        *("--device", "cpu", "--no-clip-depth"),
    ]
    assert command[9:] == SMALL


def test_a_shipped_experiment_and_untrained_weights_keep_their_names():
    command = tracker_command("rgbd_tiny", "none")
    assert command[2:] == ["--config", "rgbd_tiny", "--checkpoint", "none"]


def test_the_command_tells_the_tracker_whose_results_it_makes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = tracker_command("rgbd_tiny", "none", workspace=Path("ws"), name="Second")
    assert command[6:] == ["--toolkit", str(tmp_path / "ws"), "--name", "Second"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"config": "rgbd_base", "checkpoint": "nowhere.pt"}, "--checkpoint nowhere.pt: no such file"),
        (
            {"config": "rgbd_tiny", "checkpoint": "none", "interpreter": "/nowhere/python"},
            "--interpreter /nowhere/python",
        ),
        ({"config": "rgbe_tiny", "checkpoint": "none"}, "no channel"),
        ({"config": "rgbd_tyny", "checkpoint": "none"}, "rgbd_tiny"),
    ],
    ids=["weights", "interpreter", "modality", "experiment"],
)
def test_what_could_not_start_is_refused_when_the_workspace_is_made(arguments, message):
    with pytest.raises(ValueError, match=message):
        tracker_command(**arguments)


def test_an_empty_folder_of_weights_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="no weights in this folder"):
        tracker_command("rgbd_base", str(tmp_path))


def test_the_entry_survives_the_toolkits_way_of_reading_it(tmp_path):
    command = ["/a b/python", "/x/50%/vot.py", "--config", "it's"]
    entry = parsed(registry_with(tmp_path, "PATrack", command, timeout=900))["PATrack"]
    assert shlex.split(entry["command"]) == command
    assert (entry["protocol"], entry["timeout"]) == ("trax", "900")
    assert entry["env_pythonpath"] == str(project_path())


def test_other_trackers_and_their_comments_stay(tmp_path):
    other = "# mine\n[Other]\nprotocol = trax\ncommand = other  # twice\n"
    (tmp_path / "trackers.ini").write_text(f"{other}\n[PATrack]\ncommand = old\n\n[Last]\ncommand = last\n")
    text = registry_with(tmp_path, "PATrack", ["new"])
    assert text.startswith(other)
    assert parsed(text).sections() == ["Other", "Last", "PATrack"]
    assert parsed(text)["PATrack"]["command"] == "new"
    (tmp_path / "trackers.ini").write_text(text)
    assert registry_with(tmp_path, "PATrack", ["new"]) == text


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x"])
def test_a_name_that_the_toolkit_refuses_is_an_error(tmp_path, name):
    with pytest.raises(ValueError, match="--name must be letters, digits and _"):
        registry_with(tmp_path, name, ["x"])


def test_a_damaged_registry_is_named(tmp_path):
    (tmp_path / "trackers.ini").write_text("no section\n")
    with pytest.raises(ValueError, match=r"trackers\.ini.*no section"):
        registry_with(tmp_path, "PATrack", ["x"])
