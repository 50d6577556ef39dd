"""scripts/install.sh with a stand-in for Python, so that nothing is downloaded."""

import os
import shutil
import subprocess
import sys

import pytest

from patrack.config import project_path

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the script is for bash")


@pytest.fixture
def project(tmp_path):
    """A copy of the files that the script reads, with a .venv whose pip only notes its calls."""
    for name in ("requirements.txt", "constraints.txt", "pyproject.toml", "setup.py", "scripts/install.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(project_path(name), tmp_path / name)
    return tmp_path


@pytest.fixture
def with_venv(project):
    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        "#!/usr/bin/env bash\n"
        'if [[ "$1 $2" == "-m pip" ]]; then\n'
        '  if [[ "$3" == install ]]; then echo "$@" >>pip-calls; if [[ -e pip-fails ]]; then exit 1; fi; fi\n'
        "else\n"
        f'  exec "{sys.executable}" "$@"\n'
        "fi\n"
    )
    python.chmod(0o755)
    return project


def install(project, *arguments, **environment):
    return subprocess.run(
        ["bash", str(project / "scripts" / "install.sh"), *arguments],
        cwd="/",
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def pip_calls(project):
    calls = project / "pip-calls"
    return calls.read_text().splitlines() if calls.exists() else []


def test_old_python_gives_a_clear_message(project):
    old = project / "old-python"
    old.write_text('#!/bin/sh\nif [ "$1" = --version ]; then echo Python 3.9.18; fi\nexit 1\n')
    old.chmod(0o755)
    result = install(project, PYTHON=str(old))
    assert result.returncode == 1
    assert "PATrack needs Python >= 3.10; found: Python 3.9.18" in result.stderr
    assert not (project / ".venv").exists()


def test_missing_python_gives_a_clear_message(project):
    result = install(project, PYTHON="no-such-python")
    assert result.returncode == 1
    assert "PATrack needs Python >= 3.10" in result.stderr


def test_unknown_argument_is_refused(project):
    result = install(project, "develop")
    assert result.returncode == 2
    assert "got 'develop'" in result.stderr


def test_installs_from_any_folder_with_the_tested_versions(with_venv):
    assert install(with_venv, "dev").returncode == 0
    project, toolkit = pip_calls(with_venv)
    assert project.endswith("-e .[dev]")
    assert ("-c constraints.txt" in project) == (sys.version_info >= (3, 11))
    assert toolkit.endswith("--no-deps vot-toolkit==0.9.0")  # with its requirements there would be two OpenCVs


def test_second_run_installs_nothing(with_venv):
    install(with_venv)
    result = install(with_venv)
    assert result.returncode == 0
    assert "up to date" in result.stdout
    assert len(pip_calls(with_venv)) == 1


def test_plain_installation_is_part_of_the_dev_one_but_not_the_other_way_round(with_venv):
    install(with_venv)
    install(with_venv, "dev")
    install(with_venv)
    assert [call.rsplit(maxsplit=1)[-1] for call in pip_calls(with_venv)] == [".", ".[dev]", "vot-toolkit==0.9.0"]


@pytest.mark.parametrize("name", ["requirements.txt", "constraints.txt", "pyproject.toml", "setup.py"])
def test_changed_requirements_are_installed(with_venv, name):
    install(with_venv)
    with (with_venv / name).open("a") as file:
        file.write("# changed\n")
    install(with_venv)
    assert len(pip_calls(with_venv)) == 2


def test_failed_installation_is_repeated(with_venv):
    (with_venv / "pip-fails").touch()
    assert install(with_venv).returncode != 0
    (with_venv / "pip-fails").unlink()
    assert install(with_venv).returncode == 0
    assert len(pip_calls(with_venv)) == 2
