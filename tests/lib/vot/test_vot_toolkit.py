"""The real VOT toolkit, off the network: it runs our tracker through TraX, and our numbers equal its own.

PATRACK_VOT_PYTHON names the Python that has vot-toolkit, if that is not the one that runs the tests.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from lib.evaluation import evaluate
from lib.vot.tracking import INSTALL, run_workspace
from lib.vot.workspace import (
    STACKS,
    find_sequences,
    registry_with,
    tracker_command,
    write_workspace,
)
from vot_data import SMALL, Follower, truth_of, write_data

TOOLKIT = os.environ.get("PATRACK_VOT_PYTHON", sys.executable)
MISSING = [
    package
    for package in ("trax", "vot")
    if importlib.util.find_spec(package) is None and not (package == "vot" and TOOLKIT != sys.executable)
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(MISSING), reason=f"without {' and '.join(MISSING)}; install: {INSTALL}"),
]
NO_SERVER = "http://127.0.0.1:9"
ANCHORS, FRAMES = 50, 125  # some runs are longer than the 115 frames at which EAO begins


def off_the_network():
    """What to put before a command so that it has no network at all, where that is permitted."""
    command = ["unshare", "--map-root-user", "--net"]
    if shutil.which("unshare") and subprocess.run([*command, "true"], check=False, capture_output=True).returncode == 0:
        return command
    return []


def toolkit(*arguments):
    """Run the toolkit; what it said. Its exit code says nothing: it is 0 even where the tracker failed."""
    proxies = {f"{scheme}_proxy": NO_SERVER for scheme in ("http", "https", "all")}
    done = subprocess.run(
        [*off_the_network(), TOOLKIT, "-m", "vot", *arguments],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **proxies, **{key.upper(): value for key, value in proxies.items()}},
    )
    return done.stdout


def analysed(workspace, experiment):
    """What the toolkit computes: per analysis of the stack, the values of the one tracker."""
    said = toolkit("analysis", "--workspace", str(workspace), "--name", "numbers", "PATrack")
    file = workspace / "analysis" / "numbers.json"
    assert file.is_file(), said
    content = json.loads(file.read_text())
    assert content["toolkit"] == "0.9.0"
    return [values[0] for values in content["results"][experiment]["results"]]


def make_workspace(tmp_path, dataset, count, checkpoint="none", **more):
    """A workspace of two sequences with an untrained tracker in it; the data set shows it absent for some frames."""
    data = write_data(tmp_path / "data", count=count, absent=[5, 6], **more)
    workspace = tmp_path / "ws"
    command = tracker_command("rgbd_tiny", checkpoint, "cpu", overrides=SMALL, workspace=workspace, name="PATrack")
    registry = registry_with(workspace, "PATrack", command)
    write_workspace(workspace, STACKS[dataset], find_sequences("synthrgbd", "test", data), ANCHORS, registry)
    return workspace


def test_the_toolkit_runs_our_tracker_and_our_pr_re_f_equal_its_own(tmp_path):
    workspace = make_workspace(tmp_path, "depthtrack", count=12)
    assert "Evaluation concluded" in (said := toolkit("evaluate", "--workspace", str(workspace), "PATrack")), said
    results = workspace / "results" / "PATrack" / "rgbd-unsupervised"
    confidences = (results / "one" / "one_001_confidence.value").read_text().splitlines()
    assert len(confidences) == 12
    assert confidences[0] == ""
    assert all(0 < float(value) < 1 for value in confidences[1:])
    made_of = json.loads((results.parent / "run.json").read_text())
    assert "weights_sha256" in made_of["identity"]
    assert made_of["sequences"].keys() == {"one", "two"}
    pr, re, f = analysed(workspace, "rgbd-unsupervised")[0]
    assert f > 0.01
    ours = evaluate("depthtrack", {"ours": results}, ground_truth=workspace / "sequences").trackers["ours"].metrics
    assert ours == pytest.approx({"Pr": pr, "Re": re, "F": f}, abs=1e-4)

    assert run_again(workspace) == {"one": 12, "two": 12}
    direct = workspace / "results" / "Direct" / "rgbd-unsupervised"
    same = evaluate("depthtrack", {"ours": direct}, ground_truth=workspace / "sequences").trackers["ours"].metrics
    assert same == pytest.approx(ours, abs=1e-4)


def run_again(workspace):
    """The same tracker without the toolkit, under the name Direct; rows by sequence."""
    command = tracker_command("rgbd_tiny", "none", "cpu", overrides=SMALL)
    more = ["--workspace", str(workspace), "--name", "Direct"]
    subprocess.run([*command, *more], check=True, capture_output=True)
    files = (workspace / "results" / "Direct").rglob("*_001.txt")
    return {path.parent.name: len(path.read_text().splitlines()) for path in files}


def test_our_eao_a_r_equal_the_toolkits(tmp_path):
    workspace = make_workspace(tmp_path, "votrgbd2022", count=FRAMES)
    assert run_workspace(Follower(drift=0.1), workspace, "PATrack", ("color", "depth"), {"weights": "none"}) == 8
    (eao,), (curve,), (accuracy, robustness, *_) = analysed(workspace, "baseline")
    assert eao > 0
    results = workspace / "results" / "PATrack" / "baseline"
    ours = evaluate("votrgbd2022", {"ours": results}, ground_truth=workspace / "sequences").trackers["ours"]
    assert ours.metrics == pytest.approx({"EAO": eao, "A": accuracy, "R": robustness}, abs=1e-4)
    np.testing.assert_allclose(ours.curves["EAO"].y, curve, atol=1e-4)


def test_a_tracker_that_cannot_start_says_why_in_the_toolkits_log(tmp_path):
    weights = tmp_path / "weights.safetensors"
    weights.touch()
    workspace = make_workspace(tmp_path, "depthtrack", count=8, checkpoint=str(weights))
    said = toolkit("evaluate", "--workspace", str(workspace), "PATrack")
    assert "concluded" not in said
    logs = "".join(path.read_text() for path in (workspace / "logs").rglob("*") if path.is_file())
    assert "weights.safetensors" in logs
    assert not list((workspace / "results").rglob("*.bin"))


def test_the_truth_itself_reaches_the_highest_scores_there_are(tmp_path):
    """With the initialisation worth 0 and 0 for its confidence, F of N frames is near (N - 1) / N."""
    workspace = make_workspace(tmp_path, "depthtrack", count=12)
    assert run_workspace(Exact(), workspace, "PATrack", ("color", "depth"), {"weights": "none"}) == 2
    pr, re, f = analysed(workspace, "rgbd-unsupervised")[0]
    results = workspace / "results" / "PATrack" / "rgbd-unsupervised"
    ours = evaluate("depthtrack", {"ours": results}, ground_truth=workspace / "sequences").trackers["ours"].metrics
    assert ours == pytest.approx({"Pr": pr, "Re": re, "F": f}, abs=1e-4)
    assert pr == 1
    assert re == pytest.approx(9 / 10)


class Exact(Follower):
    """Reports the true box; doubts itself where the target is absent."""

    def track(self, frame):
        self.age += 1
        number = len(self.given) - 1
        return truth_of(number, 12)[self.age], 0.0 if self.age in (5, 6) else 0.9
