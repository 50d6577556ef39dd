"""tracking/report.py from its command line."""

import pytest

from commands import load_command
from report_data import write_benchmark, write_tracker


@pytest.fixture(scope="module")
def command():
    return load_command("tracking/report.py").main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("PATRACK_DATA", raising=False)
    write_benchmark(tmp_path)
    write_tracker(tmp_path / "a", 1)
    write_tracker(tmp_path / "b", 4)
    return tmp_path


def arguments(folder, *more):
    results = [f"ours={folder / 'a'}", f"other={folder / 'b'}"]
    output = ["--output", str(folder / "out")]
    return ["--dataset", "synthrgbt", "--data-root", str(folder), "--results", *results, *output, *more]


def test_it_writes_one_folder_and_says_where(command, folder, capsys):
    assert command(arguments(folder, "--shown", "1", "--seed", "0", "--device", "cpu")) == 0
    assert f"report: {folder / 'out' / 'index.html'}" in capsys.readouterr().out
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["images", "index.html", "scores.json"]
    assert len(list((folder / "out" / "images").iterdir())) == 2 * 6 * 2


def test_annotations_alone_give_everything_but_pictures(command, tmp_path, monkeypatch):
    monkeypatch.delenv("PATRACK_DATA", raising=False)
    for part in ("truth/annos", "a"):
        (tmp_path / part).mkdir(parents=True)
        for name in ("bike", "car"):
            (tmp_path / part / f"{name}.txt").write_text("".join(f"{k},5,20,20\n" for k in range(1, 6)))
    truth = ["--ground-truth", str(tmp_path / "truth")]
    results = ["--results", f"ours={tmp_path / 'a'}", "--output", str(tmp_path / "out")]
    assert command(["--dataset", "lasher", *truth, *results]) == 0
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "the images need --data-root or PATRACK_DATA" in page
    assert "2 of 245" in page
    assert "Scored on a part of the benchmark: 2 of 245 sequences." in page
    assert 'class="best"></td>' not in page
    assert "SUTrack" not in page
    assert command(["--dataset", "lasher", *truth, *results, "--published", "SUTrack"]) == 0
    assert "SUTrack" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        pytest.param(["--results", "a=nowhere"], "there is no nowhere", id="results"),
        pytest.param(["--data-root", "nowhere"], "nowhere", id="data root"),
        pytest.param(["--protocol", "matlab"], "no protocol variant 'matlab'", id="variant"),
    ],
)
def test_bad_input_is_an_error_and_nothing_is_written(command, folder, caplog, more, message):
    assert command(arguments(folder, *more)) == 1
    assert message in caplog.text
    assert not (folder / "out").exists()


def test_a_bad_result_file_names_file_and_line_and_can_be_left_out(command, folder, caplog):
    (folder / "b" / "car.txt").write_text("a,b,w,h\n" + (folder / "b" / "car.txt").read_text())
    assert command(arguments(folder)) == 1
    assert "car.txt:1: expected numbers" in caplog.text
    assert command(arguments(folder, "--allow-missing")) == 0
    page = (folder / "out" / "index.html").read_text(encoding="utf-8")
    assert "5 of 6" in page
    assert "car.txt:1: expected numbers" in page


def test_an_output_that_is_a_file_is_an_error(command, folder, caplog):
    (folder / "out").write_text("")
    assert command(arguments(folder)) == 1
    assert "out" in caplog.text


def test_a_negative_number_of_strips_is_refused(command, folder, capsys):
    with pytest.raises(SystemExit) as stop:
        command(arguments(folder, "--shown", "-1"))
    assert stop.value.code == 2
    assert "--shown must be 0 or more, got -1" in capsys.readouterr().err
