"""The command, from arguments to exit code."""

import json

import pytest

from commands import load_command


@pytest.fixture(scope="module")
def command():
    return load_command("tracking/evaluate.py").main


@pytest.fixture
def folders(tmp_path):
    """Annotations of two sequences and a tracker that is right on them."""
    for folder in ("truth/annos", "results"):
        (tmp_path / folder).mkdir(parents=True)
        for name, start in {"bike": 30, "car": 60}.items():
            rows = "".join(f"{start + k},{start},20,20\n" for k in range(5))
            (tmp_path / folder / f"{name}.txt").write_text(rows)
    return tmp_path


def arguments(folders, *more, name="ours"):
    truth = ["--ground-truth", str(folders / "truth")]
    return ["--dataset", "lasher", *truth, "--results", f"{name}={folders / 'results'}", *more]


def test_it_prints_a_table_and_writes_json_and_plots(command, folders, capsys):
    extra = ["--json", str(folders / "out" / "s.json"), "--plots", str(folders / "plots"), "--attributes"]
    assert command(arguments(folders, *extra, "--seed", "1", "--device", "cpu")) == 0
    printed = capsys.readouterr().out
    assert "protocol official" in printed
    assert "ours               1.0000  1.0000  0.9524     2 of 2  x,y,w,h, comma" in printed
    assert json.loads((folders / "out" / "s.json").read_text())["trackers"]["ours"]["metrics"]["PR"] == 1.0
    assert (folders / "plots" / "success.png").stat().st_size > 1000


def test_a_bad_result_file_is_an_error_and_nothing_is_written(command, folders, caplog):
    (folders / "results" / "car.txt").write_text("1,2,3,4\n")
    assert command(arguments(folders, "--json", str(folders / "s.json"))) == 1
    assert "car.txt: too short, 1 rows; expected 5" in caplog.text
    assert not (folders / "s.json").exists()
    assert command(arguments(folders, "--allow-missing")) == 0


def test_two_trackers_of_one_name_are_refused(command, folders, caplog):
    assert command(arguments(folders, f"ours={folders}")) == 1
    assert "two trackers are called 'ours'" in caplog.text


def test_only_listed_sequences_are_scored(command, folders, capsys):
    (folders / "list.txt").write_text("\ufeffcar\n\n")
    for part in (["--list", str(folders / "list.txt")], ["--sequences", "car"]):
        assert command(arguments(folders, *part)) == 0
        assert "1 of 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(["--protocol", "matlab"], "lasher has no protocol variant 'matlab'", id="variant"),
        pytest.param(["--ground-truth", "nowhere"], "there is no nowhere", id="ground truth"),
        pytest.param(["--list", "nowhere.txt"], "nowhere.txt", id="list"),
        pytest.param(["--sequences", "cat"], "cat", id="sequence"),
        pytest.param(["--results", "a=nowhere"], "there is no nowhere", id="results"),
        pytest.param(["--format", "corners"], None, id="another format"),
    ],
)
def test_bad_arguments_are_errors_not_tracebacks(command, folders, caplog, change, message):
    assert command(arguments(folders, *change)) == (0 if message is None else 1)
    assert message is None or message in caplog.text


def test_an_unknown_data_set_names_the_known_ones(command, folders, capsys):
    with pytest.raises(SystemExit) as stop:
        command(["--dataset", "otb", "--results", "a=b"])
    assert stop.value.code == 2
    assert "gtot" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("markdown", "| ours |  | **100.0** | **100.0** | **95.2** | 2 of 2 | measured here |"),
        ("latex", r"ours &  & \textbf{100.0} & \textbf{100.0} & \textbf{95.2} & measured here \\"),
        ("csv", "lasher,official,ours,,100.0000,100.0000,95.2381,best,best,best,2 of 2,measured here,,,"),
        ("json", '"origin": "measured here"'),
    ],
)
def test_a_table_has_our_numbers_and_the_published_ones(command, folders, capsys, form, expected):
    assert command(arguments(folders, "--table", form)) == 0
    printed = capsys.readouterr().out
    assert expected in printed
    assert "SUTrack" in printed
    assert command(arguments(folders, "--table", form, "--no-published")) == 0
    assert "SUTrack" not in capsys.readouterr().out


def test_published_alone_means_markdown(command, folders, capsys):
    assert command(arguments(folders, "--published")) == 0
    assert "| SUTrack | AAAI 2025 |" in capsys.readouterr().out


def test_the_json_table_is_all_that_is_printed(command, folders, capsys):
    assert command(arguments(folders, "--table", "json", "--plots", str(folders / "plots"))) == 0
    assert json.loads(capsys.readouterr().out)["unit"] == "percent"


def test_what_is_left_out_is_in_the_table(command, folders, capsys):
    (folders / "results" / "car.txt").write_text("1,2,3,4\n")
    assert command(arguments(folders, "--table", "markdown", "--allow-missing")) == 0
    printed = capsys.readouterr().out
    assert "| 1 of 2 | measured here |" in printed
    assert "scored WITHOUT 1 sequences" in printed
    assert "car.txt: too short" in printed


def test_a_table_has_no_attributes(command, folders, capsys):
    with pytest.raises(SystemExit) as stop:
        command(arguments(folders, "--table", "csv", "--attributes"))
    assert stop.value.code == 2
    assert "leave --attributes out" in capsys.readouterr().err
