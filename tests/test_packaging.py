"""Wheel and source distribution: built from this checkout, installed elsewhere, used without it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from patrack.config import experiment_names, project_path

ROOT = project_path()
SHIPPED = [name for name in experiment_names() if (ROOT / "weights" / f"{name}.safetensors").is_file()]
OFFLINE = ("--no-deps", "--no-index", "--disable-pip-version-check", "--quiet")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def python(*arguments: str, cwd: Path, executable: str | Path = sys.executable) -> str:
    """Run Python without the checkout on its path; returns what it prints."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(executable), *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def workshop() -> Iterator[Path]:
    """A folder for what is built, deleted after the tests: pytest would keep hundreds of megabytes."""
    with tempfile.TemporaryDirectory(prefix="patrack-packaging-") as folder:
        yield Path(folder).resolve()


@pytest.fixture(scope="module")
def source(workshop: Path) -> Path:
    """The source distribution of the checkout, source. In the checkout itself nothing is written."""
    options = {"--global-option": ["egg_info", "--egg-base", str(workshop)]}
    python("-c", f"import setuptools.build_meta as b; b.build_sdist({str(workshop)!r}, {options!r})", cwd=ROOT)
    (path,) = workshop.glob("*.tar.gz")
    shutil.unpack_archive(path, workshop / "source")
    (folder,) = (workshop / "source").iterdir()
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, workshop: Path) -> Path:
    """The wheel, built from the source distribution as `python -m build` does."""
    python("-m", "pip", "wheel", *OFFLINE, "--no-build-isolation", "-w", "wheels", str(source), cwd=workshop)
    (path,) = (workshop / "wheels").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, workshop: Path) -> Path:
    """Python of a new environment with the wheel; what the project requires is borrowed from the running one."""
    folder = workshop / "environment"
    venv.create(folder, with_pip=False)
    executable = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(python("-c", ask, cwd=workshop, executable=executable).strip())
    python("-m", "pip", "install", *OFFLINE, "--target", str(packages), str(wheel), cwd=workshop)
    # A path in a .pth file is only searched for modules: the .pth file of an editable installation there is not read.
    (packages / "borrowed.pth").write_text(str(Path(torch.__file__).parents[1]))
    return executable


def test_wheel_holds_one_package_with_experiments_and_weights(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"patrack"}
    modules = {f"patrack/{path.relative_to(ROOT / 'patrack').as_posix()}" for path in (ROOT / "patrack").rglob("*.py")}
    experiments = {f"patrack/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "experiments").rglob("*.yaml")}
    weights = {f"patrack/weights/{name}.safetensors" for name in SHIPPED}
    assert SHIPPED
    notices = {"patrack/py.typed", "patrack/weights/README.md", "patrack/weights/LICENSE-DINOv2.txt"}
    assert modules | experiments | weights | notices <= names
    assert {Path(name).name for name in names if "/licenses/" in name} == {"LICENSE", "LICENSE-DINOv2.txt"}


def test_source_distribution_holds_every_file_of_the_repository(source: Path) -> None:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode or not listing.stdout:
        pytest.skip("not a git checkout")
    tracked = {name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()}
    assert {name for name in tracked if not (source / name).is_file()} == {".gitignore"}


def test_example_of_the_readme_runs_where_only_the_wheel_is_installed(installed: Path, tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    program = f"""
import json, sys
import cv2
import numpy as np
rgb, next_rgb = np.random.default_rng(0).integers(0, 256, (2, 240, 320, 3), dtype=np.uint8)
thermal, next_thermal = rgb[:, :, 0], next_rgb[:, :, 0]
for name in ("visible.mp4", "infrared.mp4"):
    video = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (320, 240))
    for image in (rgb, next_rgb):
        video.write(image)
    video.release()
x, y, w, h = 60, 40, 30, 20
{example}
import patrack
from patrack.config import load, experiment_names
names = [load(name).name for name in experiment_names()]
print("RESULT" + json.dumps([patrack.__file__, patrack.__version__, box.tolist(), float(score), names]))
assert "lib" not in sys.modules
"""
    printed = python("-I", "-c", program, cwd=tmp_path, executable=installed)
    where, version, box, score, names = json.loads(printed.partition("RESULT")[2])
    assert Path(where).is_relative_to(installed.parents[1])
    assert re.search(rf'__version__ = "{re.escape(version)}"', (ROOT / "patrack" / "__init__.py").read_text())
    assert len(box) == 4
    assert 0 <= score <= 1
    assert names == experiment_names()
    assert {path.name for path in tmp_path.iterdir()} == {"visible.mp4", "infrared.mp4"}


def test_weights_that_are_not_installed_are_looked_for_in_the_current_folder(installed: Path, tmp_path: Path) -> None:
    program = "from patrack.config import project_path; print(project_path('weights/OSTrack_ep0300.pth.tar'))"
    found = python("-I", "-c", program, cwd=tmp_path, executable=installed).strip()
    assert Path(found) == tmp_path / "weights" / "OSTrack_ep0300.pth.tar"


def test_commands_find_lib_in_an_editable_installation(source: Path, tmp_path: Path) -> None:
    python("-c", f"import setuptools.build_meta as b; b.build_editable({str(tmp_path)!r})", cwd=source)
    (path,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        (link,) = [name for name in archive.namelist() if name.endswith(".pth")]
        assert Path(archive.read(link).decode().strip()) == source
        assert not [name for name in archive.namelist() if name.startswith(("lib/", "patrack/"))]
