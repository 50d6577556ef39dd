"""The command, from arguments to exit code."""

import json

import pytest

from commands import load_command


@pytest.fixture(scope="module")
def command():
    return load_command("tracking/evaluate.py").main


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Annotations of a benchmark of two sequences and a tracker that is right on them."""
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "lasher_test.txt").write_text("bike\ncar\n")
    monkeypatch.setattr("lib.datasets.catalog.PACKAGED_LISTS", tmp_path / "lists")
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
    assert command(arguments(folders, "--list", str(folders / "list.txt"))) == 0
    printed = capsys.readouterr().out
    assert "1 of 2 sequences, 5 annotated frames" in printed
    assert "do not compare with scores on the whole" in printed
    assert command(arguments(folders, "--list", str(folders / "list.txt"), "--table", "markdown")) == 0
    printed = capsys.readouterr().out
    assert "| ours |  | 100.0 | 100.0 | 95.2 | 1 of 2 | measured here |" in printed
    assert "SUTrack" not in printed
    assert "--published all" in printed
    assert command(arguments(folders, "--list", str(folders / "list.txt"), "--published", "sutrack")) == 0
    printed = capsys.readouterr().out
    assert "| ours |  | 100.0 | 100.0 | 95.2 | 1 of 2 | measured here |" in printed
    assert "| SUTrack | AAAI 2025 | 76.9 |" in printed
    for part in (["--list", str(folders / "list.txt")], ["--sequences", "car"]):
        assert command(arguments(folders, *part)) == 0
        assert "1 of 2 sequences" in capsys.readouterr().out


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
        ("latex", r"ours & measured & \textbf{100.0} & \textbf{100.0} & \textbf{95.2} \\"),
        ("csv", "lasher,official,ours,,100.0000,100.0000,95.2381,best,best,best,0,2 of 2,measured here,,,"),
        ("json", '"origin": "measured here"'),
    ],
)
def test_a_table_has_our_numbers_and_the_published_ones(command, folders, capsys, form, expected):
    assert command(arguments(folders, "--table", form)) == 0
    printed = capsys.readouterr().out
    assert expected in printed
    assert "SUTrack" in printed
    assert command(arguments(folders, "--table", form, "--published", "none")) == 0
    assert "SUTrack" not in capsys.readouterr().out


def test_published_alone_means_markdown(command, folders, capsys):
    assert command(arguments(folders, "--published", "all")) == 0
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


def test_a_table_file_is_written_in_the_form_of_its_name_with_what_it_cites(command, folders, capsys):
    assert command(arguments(folders, "--table-file", str(folders / "t" / "table.tex"))) == 0
    assert "(perfect tracker)" in capsys.readouterr().out, "the plain table is printed as before"
    text, bib = ((folders / "t" / f"table.{form}").read_text() for form in ("tex", "bib"))
    assert r"\caption{LasHeR (test split, 2 of 2 sequences)" in text
    assert str(folders) not in text + bib
    assert "2603.21100" in bib
    assert command(arguments(folders, "--table-file", str(folders / "table.csv"), "--published", "none")) == 0
    assert (folders / "table.csv").read_text().count("\n") == 2
    assert not (folders / "table.bib").exists()


def test_a_table_file_of_another_kind_is_refused_before_anything_is_scored(command, folders, capsys):
    with pytest.raises(SystemExit) as stop:
        command(arguments(folders, "--table-file", "table.docx"))
    assert stop.value.code == 2
    assert "must end in .md, .tex, .csv, .json, got 'table.docx'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--published", "VitP"], "got 'VitP'. Rows: "),
        (["--reference", "theirs"], "the reference must be one of the trackers, ours, got 'theirs'"),
    ],
)
def test_a_name_that_nothing_has_is_an_error(command, folders, caplog, change, message):
    assert command(arguments(folders, *change)) == 1
    assert message in caplog.text


def test_plots_are_written_in_the_formats_asked_for(command, folders):
    assert command(arguments(folders, "--plots", str(folders / "plots"), "--plot-format", "pdf", "svg")) == 0
    assert sorted(path.suffix for path in (folders / "plots").iterdir()) == [".pdf"] * 3 + [".svg"] * 3
    assert (folders / "plots" / "success.pdf").read_bytes().startswith(b"%PDF")
    assert "<svg" in (folders / "plots" / "success.svg").read_text()


def test_the_difference_of_two_trackers_has_an_interval(command, folders, capsys):
    other = folders / "other"
    other.mkdir()
    for name, start in {"bike": 30, "car": 60}.items():
        (other / f"{name}.txt").write_text("".join(f"{start + k + 5},{start},20,20\n" for k in range(5)))
    assert command(arguments(folders, f"other={other}", "--json", str(folders / "s.json"))) == 0
    printed = capsys.readouterr().out
    assert "95 % interval" in printed
    assert "SR - SR of ours" in printed
    (difference,) = json.loads((folders / "s.json").read_text())["differences"]
    assert (difference["tracker"], difference["reference"], difference["sequences"]) == ("other", "ours", 2)
    assert difference["low"] <= difference["value"] <= difference["high"] < 0
    assert command(arguments(folders, f"other={other}", "--reference", "other")) == 0
    assert "SR - SR of other" in capsys.readouterr().out
