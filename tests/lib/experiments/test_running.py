"""Runs side by side: where each goes, what is kept after a stop, and what the log says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from lib.experiments import child, running
from lib.experiments.running import Commands, Journal, Place, carry_out, places_of, reason_of
from lib.experiments.runs import Plan, Run, check_output, missing_parts, plan_runs
from lib.experiments.suite import Suite, Variant
from patrack import config as configs
from patrack.files import atomic_write

STOPS = """\
import os, pathlib, signal, sys, time
def stop(*_):
    pathlib.Path(sys.argv[1], 'stopped').touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
import beside  # as `python train.py` would
pathlib.Path(sys.argv[1], 'begun').write_text(os.environ.get('MARK', ''))
time.sleep(60)
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Two variants with two seeds, and an untrained one, by the validation IoU alone."""
    variants = {
        "all": Variant(),
        "fast": Variant(("train.lr=1e-2",)),
        "rgb": Variant(("model.streams=rgb",), trained=False),
    }
    suite = Suite("mine", variants, {"rgbt_tiny": ()}, (0, 1), why="what each is worth")
    return plan_runs(suite, tmp_path / "out")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], Mapping[str, str]]]:
    """What commands were started with; each leaves a finished training."""
    listed: list[tuple[list[str], Mapping[str, str]]] = []

    def call(self: Commands, script: str, words: list[str], log: Path, environment: Mapping[str, str]) -> int:
        listed.append((words, environment))
        time.sleep(0.02)
        finish(Path(words[words.index("--output") + 1]) / "rgbt_tiny", configs.load("rgbt_tiny", [words_of(words)]))
        return 0

    monkeypatch.setattr(Commands, "call", call)
    return listed


def words_of(words: list[str]) -> str:
    """The seed as a setting."""
    return f"seed={words[words.index('--seed') + 1]}"


def finish(folder: Path, config: configs.Config, status: str = "finished") -> None:
    """Leave the manifest of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"status": status, "config": config.model_dump(mode="json"), "final": {"val": None}}
    if status == "finished":
        content |= {"wall_hours": 1.5, "hardware": {"host": "here"}, "device": "GPU", "finished": "today"}
    with atomic_write(folder / "run.json") as file:  # others read it meanwhile
        json.dump(content, file)


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(400):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def test_runs_go_to_different_devices_side_by_side(
    plan: Plan, calls: list[tuple[list[str], Mapping[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    places = places_of(["cuda:0", "cuda:1"], workers=2)
    said: list[str] = []
    assert carry_out(plan, places, Journal(plan), said.append) == []
    assert len(calls) == 4
    assert len(said) == 4  # there is nothing to do for the untrained one, which is not scored here
    assert {environment["CUDA_VISIBLE_DEVICES"] for _, environment in calls} == {"4", "7"}
    for words, environment in calls:
        assert words[words.index("--device") + 1] == "cuda"
        assert words[words.index("--threads") + 1] == environment["OMP_NUM_THREADS"] == "4"
    # a seed of all variants comes before the next one
    assert [run.seed for run in plan.runs] == [0, 0, 0, 1, 1]
    calls.clear()
    assert carry_out(plan, places, Journal(plan), said.append) == []
    assert calls == []


def test_a_stop_in_the_middle_begins_nothing_more_and_the_rest_comes_later(
    plan: Plan, calls: list[tuple[list[str], Mapping[str, str]]]
) -> None:
    commands = Commands()

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(plan, [Place("cpu")], Journal(plan), stop, commands=commands)
    assert commands.stopped
    done = len(calls)
    assert done <= 2  # the next one may have begun
    assert "failed" not in (plan.output / "runs.md").read_text()
    assert carry_out(plan, [Place("cpu")], Journal(plan), [].append) == []
    assert len(calls) == 4
    assert "5 runs: 5 finished" in (plan.output / "runs.md").read_text()


def test_places_of_one_device_and_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert places_of([], "cpu") == [Place("cpu")]
    assert places_of([], "cpu", workers=2) == [Place("cpu", (("OMP_NUM_THREADS", "1"),), 1)] * 2
    assert places_of([], "cuda:1", threads=3) == [Place("cuda:1", (("OMP_NUM_THREADS", "3"),), 3)]
    assert places_of(["cuda:1"]) == [Place("cuda", (("CUDA_VISIBLE_DEVICES", "1"),))]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert [dict(place.environment)["CUDA_VISIBLE_DEVICES"] for place in places_of([])] == ["0", "1"]


@pytest.mark.parametrize(
    ("devices", "more", "message"),
    [
        (["cuda:0", "cuda:0"], {}, "names one twice"),
        (["cuda:0"], {"device": "cpu"}, "give one of them"),
        (["cuda:x"], {}, "names such as cuda:0, got 'cuda:x'"),
        (["cuda:2"], {}, "CUDA_VISIBLE_DEVICES leaves 1"),
        ([], {"workers": 0}, "at least 1"),
    ],
)
def test_places_that_there_are_not(
    devices: list[str], more: dict, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    with pytest.raises(ValueError, match=message):
        places_of(devices, **more)


def test_log_says_which_runs_there_are_and_why_and_how_far_each_is(plan: Plan) -> None:
    by_name = {(run.variant, run.seed): run for run in plan.runs}

    def run(name: str, seed: int) -> Run:
        return by_name[name, seed]

    finish(run("all", 0).folder, run("all", 0).config)
    finish(run("all", 1).folder, run("all", 1).config, "running")  # killed
    finish(run("fast", 0).folder, run("fast", 0).config, "failed")
    journal = Journal(plan)
    journal.note(run("fast", 0), "", "no | room\nleft")
    journal.note(run("fast", 1), "training")
    text = (plan.output / "runs.md").read_text()
    assert "what each is worth" in text
    assert "| fast | `train.lr=1e-2` |" in text
    assert "| rgb | `untrained model.streams=rgb` |" in text
    assert "| rgbt_tiny | all | 0 | finished | 1.50 | today | here GPU |  |" in text
    assert "| rgbt_tiny | all | 1 | begun | - |" in text
    assert "| rgbt_tiny | fast | 0 | failed | - | - | - | no \\| room left |" in text
    assert "| rgbt_tiny | fast | 1 | training |" in text
    assert "| failed | - | - | - | no \\| room left |" in Journal(plan).describe()  # kept from one command to the next


def test_another_suites_folder_and_other_settings_are_refused_with_what_differs(plan: Plan) -> None:
    Journal(plan).write()
    check_output(plan)
    other = plan_runs(Suite("other", plan.suite.variants, plan.suite.experiments), plan.output)
    with pytest.raises(ValueError, match="suite: 'mine' -> 'other'"):
        check_output(other)
    more = plan_runs(
        Suite("mine", {**plan.suite.variants, "new": Variant()}, plan.suite.experiments, (0, 1, 2)), plan.output
    )
    check_output(more)  # variants and seeds may join
    finish(plan.runs[0].folder, plan.runs[0].config)
    changed = plan_runs(Suite("mine", {"all": Variant(("train.lr=3",))}, plan.suite.experiments), plan.output)
    with pytest.raises(ValueError, match=r"holds a run with other settings:\n  train.lr: 0.001 -> 3.0"):
        check_output(changed)
    (plan.output / "suite.json").write_text("{")
    with pytest.raises(ValueError, match=r"suite\.json is damaged"):
        check_output(plan)


def test_a_run_of_an_earlier_version_lacks_newer_keys_and_is_kept(plan: Plan) -> None:
    finish(plan.runs[0].folder, plan.runs[0].config)
    path = plan.runs[0].folder / "run.json"
    content = json.loads(path.read_text())
    del content["config"]["train"]["dense_radius"], content["config"]["model"]["fusion"]
    path.write_text(json.dumps(content))
    old = plan_runs(
        Suite("mine", {"all": Variant(("train.dense_radius=0", "model.fusion=sum"))}, {"rgbt_tiny": ()}), plan.output
    )
    check_output(old)  # with the schema's defaults
    assert old.runs[0].is_trained


def test_everything_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    suite = Suite("mine", {"a": Variant(), "b": Variant()}, {"rgbt_base": ("lasher",), "rgbd_tiny": ("synthrgbd",)})
    (tmp_path / "data").mkdir()
    lines = missing_parts(plan_runs(suite, tmp_path / "out", data_root=str(tmp_path / "data")))
    text = "\n".join(lines)
    assert len(lines) == 6
    assert "lasher, split train: data set lasher: looked for a folder LasHeR" in text
    assert "docs/data.md says where to get it" in text
    for split in ("train", "val", "test"):
        assert f"synthrgbd, split {split}: " in text
    assert "make_synthrgbx.py --output DATA/SynthRGBX --modality rgbd" in text
    assert "OSTrack_ep0300.pth.tar not found" in text


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a text in the place of tracking/train.py."""
    monkeypatch.setattr(running.configs, "project_path", lambda name=".": tmp_path / name)
    (tmp_path / "tracking").mkdir()
    return lambda text: (tmp_path / "tracking" / "train.py").write_text(text) and None


def test_commands_get_their_environment_and_are_stopped_once(tmp_path: Path, scripts: Callable[[str], None]) -> None:
    scripts(STOPS)
    (tmp_path / "tracking" / "beside.py").touch()
    commands, codes = Commands(), list[int]()

    def begin() -> None:
        environment = {**os.environ, "MARK": "here"}
        codes.append(commands.call("train.py", [str(tmp_path)], tmp_path / "logs" / "log", environment))

    thread = threading.Thread(target=begin)
    thread.start()
    wait_for(lambda: (tmp_path / "begun").exists() and (tmp_path / "begun").read_text() == "here")
    commands.stop()
    thread.join(20)
    assert codes == [143]
    assert (tmp_path / "stopped").exists()
    assert commands.call("train.py", [str(tmp_path)], tmp_path / "log", os.environ) == 130  # nothing more begins


def test_a_command_stops_when_the_suite_is_killed(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(STOPS)
    (tmp_path / "beside.py").touch()
    line = "[sys.executable, sys.argv[1], str(os.getpid()), *sys.argv[2:]]"
    text = f"import os, subprocess, sys, time; subprocess.Popen({line}); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", text, child.__file__, str(tmp_path / "train.py"), str(tmp_path)])
    try:
        wait_for((tmp_path / "begun").exists)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_for((tmp_path / "stopped").exists)


def test_reason_of_a_failed_command_is_the_last_error_that_it_logged(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert reason_of(log, 1) == "exit code 1"
    log.write_text("INFO begun\n")
    assert reason_of(log, 1) == "exit code 1"
    log.write_text("INFO begun\nERROR first\nINFO again\nERROR data differ:\n  train\n")
    assert reason_of(log, 1) == "data differ:\n  train"
    assert reason_of(log, 2, log.stat().st_size) == "exit code 2"  # an earlier command's error
