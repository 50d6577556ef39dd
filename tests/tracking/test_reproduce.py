"""tracking/reproduce.py: what it runs, what it says is missing, and its exit code."""

import json

import numpy as np
import pytest

from commands import load_command
from lib.datasets import DATA_SETS
from lib.report import reproduce as rows
from patrack import build_model
from patrack.weights import save_base_model
from report_data import NAMES, write_benchmark, write_tracker
from small_models import CEA, TRACKED


@pytest.fixture(scope="module")
def command():
    return load_command("tracking/reproduce.py").main


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder without any weights, no data root, and small models."""
    monkeypatch.delenv("PATRACK_DATA", raising=False)
    monkeypatch.setattr(rows, "project_path", lambda name: tmp_path / "project" / name)
    load = rows.load_config

    def small(name, overrides):
        extra = [] if name.startswith("rgb_") else [CEA]
        return load(name, [*overrides, *TRACKED, *extra])

    monkeypatch.setattr(rows, "load_config", small)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("table", ["lasher", "depthtrack", "visevent", "rgbt234", "gtot"])
def test_without_anything_it_states_what_is_missing_and_where_it_looked(command, project, capsys, table):
    assert command(["--table", table]) == 3
    printed = capsys.readouterr().out
    modality = DATA_SETS[table].modality
    assert f"Table {table}: nothing could be measured here." in printed
    assert "- data set: images of" in printed
    assert "give --data-root, set PATRACK_DATA" in printed
    assert "(would run: nothing)" in printed
    for name in (f"{modality}_base", "rgb_base", f"{modality}_tiny", "rgb_tiny"):
        assert f"- {name}: no checkpoint: looked for {project / 'project' / 'weights' / name}.safetensors" in printed


def test_a_data_root_without_the_data_set_is_named(command, project, capsys):
    (project / "data").mkdir()
    assert command(["--table", "lasher", "--data-root", str(project / "data")]) == 3
    assert f"looked in {project / 'data'}: " in capsys.readouterr().out


def test_a_checkpoint_that_is_not_there_is_missing(command, project, capsys):
    assert command(["--table", "lasher", "--checkpoint", "released=nowhere.pth"]) == 3
    assert "- released: no checkpoint: looked for nowhere.pth" in capsys.readouterr().out


def test_rows_with_weights_are_tracked_and_scored_and_the_rest_is_stated(command, project, capsys):
    write_benchmark(project / "data")
    config = rows.load_config("rgb_tiny", [])
    save_base_model(build_model(config), project / "rgb.safetensors")
    arguments = ["--table", "synthrgbt", "--data-root", str(project / "data"), "--output", str(project / "out")]
    assert command([*arguments, "--checkpoint", f"rgb_tiny={project / 'rgb.safetensors'}"]) == 3
    printed = capsys.readouterr().out
    assert "| rgb\\_tiny |" in printed
    assert "6 of 6" in printed
    assert "- rgbt_base: no checkpoint" in printed
    assert "- rgb_tiny" not in printed
    assert np.loadtxt(project / "out" / "rgb_tiny" / "bike.txt", delimiter=",").shape == (40, 4)
    assert json.loads((project / "out" / "scores.json").read_text())["trackers"]["rgb_tiny"]["metrics"]["SR"] >= 0
    assert "rgb\\_tiny" in (project / "out" / "table.md").read_text()


def test_a_checkpoint_that_does_not_fit_fails_and_other_rows_are_scored(command, project, capsys):
    write_benchmark(project / "data", images=False)
    (project / "bad.safetensors").write_bytes(b"nothing")
    results = f"raw={write_tracker(project / 'raw', 2)}"
    arguments = ["--table", "synthrgbt", "--data-root", str(project / "data"), "--output", str(project / "out")]
    assert command([*arguments, "--results", results, "--checkpoint", f"rgbt_tiny={project / 'bad.safetensors'}"]) == 1
    printed = capsys.readouterr().out
    assert "| raw |" in printed
    assert "Failed:\n- rgbt_tiny: " in printed


def test_raw_results_need_annotations_only(command, project, capsys):
    for part in ("truth/annos", "raw"):
        (project / part).mkdir(parents=True)
        (project / part / "bike.txt").write_text("1,5,20,20\n" * 5)
    truth = ["--ground-truth", str(project / "truth"), "--output", str(project / "out")]
    assert command(["--table", "lasher", *truth, "--results", f"raw={project / 'raw'}"]) == 3
    printed = capsys.readouterr().out
    assert "| raw |  | 100.0 | 100.0 | 95.2 | 1 of 245 | measured here |" in printed
    assert "quoted: " not in printed
    assert "- data set: images of lasher" in printed
    assert "- sequences of raw: 1 of 245" in printed
    arguments = ["--table", "lasher", *truth, "--results", f"raw={project / 'raw'}"]
    assert command([*arguments, "--published", "all"]) == 3
    assert "quoted: " in capsys.readouterr().out


def test_bad_result_files_fail(command, project, capsys):
    write_benchmark(project / "data", images=False)
    folder = write_tracker(project / "raw", 2)
    (folder / f"{NAMES[0]}.txt").write_text("1,2,3,4\n")
    arguments = ["--table", "synthrgbt", "--data-root", str(project / "data"), "--output", str(project / "out")]
    assert command([*arguments, "--results", f"raw={folder}"]) == 1
    assert "bike.txt: too short" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--checkpoint", "a=x", "--results", "a=y"], "both name a"),
        (["--checkpoint", "a=x", "a=y"], "--checkpoint: two trackers are called 'a'"),
        (["--published", "a"], "got 'a'. Rows: "),
    ],
)
def test_a_name_given_twice_or_not_known_is_an_error(command, project, caplog, more, message):
    assert command(["--table", "lasher", *more]) == 1
    assert message in caplog.text


# ---- Suites


def test_a_suite_without_data_or_base_model_starts_nothing_and_lists_all_that_is_missing(project, capsys):
    (project / "data").mkdir()
    words = ["--suite", "families", "--data", "lasher", "visevent", "--data-root", str(project / "data")]
    assert load_command("tracking/reproduce.py").main([*words, "--output", str(project / "out"), "--dry-run"]) == 3
    printed = capsys.readouterr().out
    assert "Missing, so nothing was started:" in printed
    for part in ("lasher, split train", "lasher, split test", "visevent, split train", "visevent, split test"):
        assert f"- {part}: data set {part.partition(',')[0]}: looked for a folder" in printed
    assert "- base model of rgbt_base: " in printed
    assert not (project / "out").exists()


def test_a_suite_runs_with_the_experiments_of_its_data(project, monkeypatch):
    module = load_command("tracking/reproduce.py")
    requests = []
    monkeypatch.setattr(module, "run_suite", lambda request, say: requests.append(request) or 0)
    words = [
        "--suite",
        "families",
        "--data",
        "lasher",
        "depthtrack",
        "--seeds",
        "3",
        "4",
        "--devices",
        "cuda:0",
        "cuda:1",
    ]
    assert module.main([*words, "--workers", "2", "--data-root", "DATA", "--no-costs"]) == 0
    (request,) = requests
    assert {run.experiment: tuple(run.results) for run in request.plan.runs} == {
        "rgbt_base": ("lasher",),
        "rgbd_base": ("depthtrack",),
    }
    assert {run.seed for run in request.plan.runs if run.trained} == {3, 4}
    assert request.plan.output.parts == ("results", "reproduce", "families")
    assert (request.devices, request.workers, request.costs, request.plan.data_root) == (
        *(("cuda:0", "cuda:1"), 2, False),
        "DATA",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give --table NAME or --suite NAME"),
        (["--table", "lasher", "--suite", "families"], "give --table NAME or --suite NAME"),
        (["--table", "lasher", "--dry-run", "--data", "lasher"], "--data, --dry-run: of --suite only"),
        (["--suite", "families", "--data", "lasher", "--overwrite"], "--overwrite: of --table only"),
        (["--suite", "families"], "--suite needs --data"),
    ],
)
def test_options_of_tables_and_suites_are_not_mixed(command, words, message, capsys):
    with pytest.raises(SystemExit):
        command(words)
    assert message in capsys.readouterr().err


def test_an_unknown_suite_is_an_error(command, caplog):
    assert command(["--suite", "famlies", "--data", "lasher"]) == 1
    assert "did you mean 'families'?" in caplog.text
