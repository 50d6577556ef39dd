"""tracking/vot.py and scripts/prepare_vot.py from their command lines."""

import logging
import sys

import pytest

from commands import load_command
from vot_data import SMALL, write_data

vot, prepare = (load_command(f"{name}.py").main for name in ("tracking/vot", "scripts/prepare_vot"))
UNTRAINED = ["--config", "rgbd_tiny", "--checkpoint", "none", "--device", "cpu"]


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / "data", count=4)


def preparing(data, workspace, *more):
    return ["--dataset", "synthrgbd", "--root", str(data), "--workspace", str(workspace), *UNTRAINED, *more, *SMALL]


def failure(main, arguments, caplog):
    """The one error message of a failing run."""
    with caplog.at_level(logging.ERROR):
        assert main(arguments) == 1
    return caplog.records[-1].getMessage()


def test_a_workspace_is_written_renewed_and_run_without_the_toolkit(data, tmp_path, capsys):
    workspace = tmp_path / "ws"
    assert prepare(preparing(data, workspace)) == 0
    said = capsys.readouterr().out
    assert "2 sequences, 8 frames, stack vot2021/rgbd" in said
    assert f"vot evaluate --workspace {workspace} PATrack" in said
    assert vot([*UNTRAINED, "--workspace", str(workspace), *SMALL]) == 0
    assert "2 runs written" in capsys.readouterr().out
    results = workspace / "results" / "PATrack" / "rgbd-unsupervised" / "two" / "two_001.txt"
    rows = results.read_text().splitlines()
    assert len(rows) == 4
    assert all(len(row.split(",")) == 4 for row in rows[1:])
    assert prepare(preparing(data, workspace)) == 0
    assert results.read_text().splitlines() == rows


def test_results_of_other_weights_or_settings_are_refused_by_both_commands(data, tmp_path, caplog, capsys):
    workspace = tmp_path / "ws"
    assert prepare(preparing(data, workspace)) == 0
    running = [*UNTRAINED, "--workspace", str(workspace), *SMALL]
    assert vot(running) == 0
    results = workspace / "results" / "PATrack" / "rgbd-unsupervised" / "two" / "two_001.txt"
    before = results.read_text()
    for more in (["test.window=false"], ["--seed", "1"]):
        said = failure(prepare, [*preparing(data, workspace), *more], caplog)
        assert "test.window: True -> False" in said or "weights_sha256: " in said
        assert failure(vot, [*running, *more], caplog) == said
    assert results.read_text() == before
    assert vot([*running, "--seed", "1", "--name", "Second"]) == 0
    assert vot([*running, "--seed", "1", "--overwrite"]) == 0
    assert capsys.readouterr().out.count("2 runs written") == 3
    assert results.read_text() != before
    assert prepare([*preparing(data, workspace), "--seed", "1"]) == 0


def test_results_of_images_that_have_changed_since_are_refused_by_both_commands(data, tmp_path, caplog):
    workspace = tmp_path / "ws"
    assert prepare(preparing(data, workspace)) == 0
    assert vot([*UNTRAINED, "--workspace", str(workspace), *SMALL]) == 0
    image = data / "two" / "color" / "00000003.jpg"
    image.write_bytes(image.read_bytes() + b" ")
    for main, command in (
        (prepare, preparing(data, workspace)),
        (vot, [*UNTRAINED, "--workspace", str(workspace), *SMALL]),
    ):
        assert "other frames, first boxes or anchors than are there now, of two" in failure(main, command, caplog)


@pytest.mark.parametrize("more", [["--name", "../.."], ["--name", "/tmp/x"], ["--name", ".."]])
def test_a_tracker_stays_in_its_workspace(data, tmp_path, caplog, more):
    assert prepare(preparing(data, tmp_path / "ws")) == 0
    before = sorted(tmp_path.rglob("*"))
    for place in ("--workspace", "--toolkit"):
        assert "--name: " in failure(vot, [*UNTRAINED, place, str(tmp_path / "ws"), *more, *SMALL], caplog)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("more", [["--workspace", "a", "--toolkit", "a"], ["--overwrite"]])
def test_options_that_do_not_go_together_are_refused(more, capsys):
    with pytest.raises(SystemExit):
        vot([*UNTRAINED, *more])
    assert more[0] in capsys.readouterr().err


def test_a_multi_start_workspace_is_made_on_request(data, tmp_path):
    workspace = tmp_path / "ws"
    assert prepare(preparing(data, workspace, "--stack", "vot2022/rgbd", "--anchors", "2")) == 0
    assert (workspace / "sequences" / "one" / "anchor.value").read_text().split() == ["1", "0", "-1", "-1"]


def test_some_sequences_may_be_chosen(data, tmp_path):
    assert prepare(preparing(data, tmp_path / "ws", "--sequences", "two")) == 0
    assert (tmp_path / "ws" / "sequences" / "list.txt").read_text() == "two\n"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--root", "nowhere"], "no folder nowhere"),
        (["--checkpoint", "nowhere.pt"], "--checkpoint nowhere.pt: no such file"),
        (["--stack", "vot2022/rgbd"], "no anchor.value"),
        (["--name", "a b"], "--name must be"),
    ],
    ids=["data", "weights", "anchors", "name"],
)
def test_what_is_wrong_is_said_and_nothing_written(data, tmp_path, caplog, more, message):
    assert message in failure(prepare, preparing(data, tmp_path / "ws", *more), caplog)
    assert not (tmp_path / "ws").exists()


def test_without_the_package_the_install_command_is_named(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "trax", None)
    assert 'pip install -e ".[vot]"' in failure(vot, [*UNTRAINED, *SMALL], caplog)


def test_a_folder_that_is_no_workspace_is_an_error(tmp_path, caplog):
    assert "no config.yaml" in failure(vot, [*UNTRAINED, "--workspace", str(tmp_path), *SMALL], caplog)


def test_an_event_tracker_cannot_take_part(caplog):
    assert "no channel" in failure(vot, ["--config", "rgbe_tiny", "--checkpoint", "none"], caplog)
