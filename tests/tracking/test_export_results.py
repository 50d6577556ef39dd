"""The export command, from arguments to exit code."""

import zipfile

import pytest

from commands import load_command

ROWS = "".join(f"{30 + k},30,20,20\n" for k in range(5))


@pytest.fixture(scope="module")
def command():
    return load_command("tracking/export_results.py").main


@pytest.fixture
def arguments(tmp_path):
    for folder in ("truth/annos", "results"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "car.txt").write_text(ROWS)
    truth = ["--ground-truth", str(tmp_path / "truth")]
    return [
        "--dataset",
        "lasher",
        *truth,
        "--results",
        f"ours={tmp_path / 'results'}",
        "--output",
        str(tmp_path / "o.zip"),
    ]


def test_it_writes_an_archive_and_says_what(command, arguments, tmp_path, capsys):
    assert command([*arguments, "--separator", "tab"]) == 0
    assert "1 sequences of lasher written to" in capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / "o.zip") as archive:
        assert archive.read("ours_tracking_result/car.txt").decode().splitlines()[0] == "30.0\t30.0\t20.0\t20.0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(["--columns", "8"], "reads 4 columns, got 8", id="columns"),
        pytest.param(["--results", "ours=nowhere"], "there is no nowhere", id="results"),
        pytest.param(["--results", "=x"], "expects NAME=", id="name"),
        pytest.param(["--ground-truth", "nowhere"], "there is no nowhere", id="ground truth"),
    ],
)
def test_bad_arguments_are_errors_and_nothing_is_written(command, arguments, tmp_path, caplog, change, message):
    assert command([*arguments, *change]) == 1
    assert message in caplog.text
    assert not (tmp_path / "o.zip").exists()
