"""Rules for every command: quick help, device, seed, and one clear error where the device can't be used."""

import json
import re
import subprocess
import sys

import pytest

from commands import load_command
from patrack.config import project_path
from patrack.devices import usable_device

COMMANDS = sorted(
    str(path.relative_to(project_path()))
    for folder in ("tracking", "scripts")
    for path in project_path(folder).glob("*.py")
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_takes_device_and_seed(command, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [command])
    with pytest.raises(SystemExit) as caught:
        load_command(command).main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert [flag for flag in ("--device", "--seed") if not re.search(rf"^  {flag}\b.*\S", text, re.MULTILINE)] == []
    assert f"python {command}" in text, "the help shows no example"


HELP = """
import contextlib, io, json, runpy, sys

class Refused:  # stands in for what takes seconds to start
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "matplotlib"):
            raise AssertionError(f"loads {name}")

sys.meta_path.insert(0, Refused())
verdicts = {}
for command in sys.argv[1:]:
    sys.argv = [command, "--help"]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            runpy.run_path(command, run_name="__main__")
    except SystemExit as stopped:
        verdicts[command] = f"exit code {stopped.code}"
    except AssertionError as error:
        verdicts[command] = str(error)
import lib.evaluation  # everything that scores
print(json.dumps(verdicts))
"""


@pytest.fixture(scope="module")
def help_verdicts():
    """By command: how --help ended where neither torch nor matplotlib can be imported."""
    done = subprocess.run([sys.executable, "-c", HELP, *COMMANDS], capture_output=True, text=True, cwd=project_path())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_neither_torch_nor_matplotlib(command, help_verdicts):
    assert help_verdicts[command] == "exit code 0"


@pytest.mark.parametrize("name", ["toaster", "cuda:99"])
def test_device_that_can_not_be_used_is_named(name):
    with pytest.raises(ValueError, match=f"--device '{name}' .*cpu always works"):
        usable_device(name)


def test_cpu_can_always_be_used():
    assert usable_device("cpu").type == "cpu"
    assert usable_device(None).type in ("cpu", "cuda")
