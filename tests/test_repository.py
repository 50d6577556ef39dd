"""What holds for the repository as a whole: layout, imports, paths, dependencies, commands."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from patrack.config import project_path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = project_path()
SOURCES = ("patrack", "lib", "tracking", "scripts")
TEXT = {".py", ".sh", ".yaml", ".yml", ".md", ".txt", ".toml", ".ini", ".cfg", ""}


def python_files(*folders):
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def repository_files():
    """Tracked files and new ones that git does not ignore; without git, all but hidden and written ones."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode == 0 and listing.stdout:
        return sorted(path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file())
    folders = (*SOURCES, "tests", "experiments", "docs")
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())


def imported_modules(path):
    """Top-level names imported by a file, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def requirements():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    texts = [line.partition("#")[0].strip() for line in lines]
    return [Requirement(text) for text in texts if text]


def extras():
    """Requirements of each extra of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = project["optional-dependencies"]
    return {name: [Requirement(text) for text in texts] for name, texts in groups.items()}


def distributions(*folders):
    """Distributions that provide what the Python files in some folders import, from outside the project."""
    provided = importlib.metadata.packages_distributions()
    names = {"cv2": "opencv-python-headless"}  # any distribution of cv2 serves
    imported = set().union(*(imported_modules(path) for path in python_files(*folders)))
    imported -= {*sys.stdlib_module_names, *SOURCES, *(path.stem for path in (ROOT / "tests").rglob("*.py"))}
    return {names.get(name) or provided.get(name, [name])[0].lower().replace("_", "-") for name in imported}


def test_no_path_of_one_machine_is_in_the_repository():
    folders = "|".join(["home", "root", "media", "mnt", "data", "work", "Users", "private"])
    pattern = re.compile(rf"(?<![\w.\-/~>)\]}}*$]){'/'}(?:{folders})/\w|[A-Z]:\\\\?Users")
    found = []
    for path in repository_files():
        if path.suffix not in TEXT or path.name == ".gitignore":
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert not found, "\n".join(found)


def test_every_module_imports_and_the_method_does_not_need_the_framework():
    method = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in python_files("patrack")]
    others = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in python_files(*SOURCES[1:])]
    program = (
        "import importlib, sys\n"
        f"for name in {[name for name in method if name != 'patrack.losses']}: importlib.import_module(name)\n"
        "assert not {'timm', 'torchvision', 'matplotlib'} & sys.modules.keys(), 'patrack starts slowly'\n"
        "import patrack.losses  # training only\n"
        "assert 'lib' not in sys.modules, 'patrack imports lib'\n"
        f"for name in {others}: importlib.import_module(name)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert not result.stdout, "an import prints"


WATCH = """
import os, runpy, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print("spin", os.environ.get("GOMP_SPINCOUNT"), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Watch())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(
    "words",
    [
        ["tracking/test.py", "--config", "rgbt_tiny", "--dataset", "lasher", "--root", "nowhere"],
        ["tracking/train.py", "--config", "rgbt_tiny", "--data-root", "nowhere"],
        ["tracking/vot.py", "--config", "rgbt_tiny", "--workspace", "nowhere"],
        ["tracking/profile_speed.py", "--config", "rgbt_tiny"],
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize(
    ("given", "spin"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")]
)
def test_how_threads_wait_is_set_before_torch_is_loaded(words, given, spin):
    settings = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", WATCH, *words],
        cwd=ROOT,
        env=settings | given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[:1] == [f"spin {spin}"], done.stderr


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [("patrack", {"lib", "tracking", "scripts"}), ("lib", {"tracking", "scripts"})],
    ids=["patrack", "lib"],
)
def test_imports_run_one_way(folder, forbidden):
    wrong = {str(path.relative_to(ROOT)): imported_modules(path) & forbidden for path in python_files(folder)}
    assert not {path: names for path, names in wrong.items() if names}


def test_source_folders_are_packages_and_test_folders_are_not():
    without = {path.parent for path in python_files("patrack", "lib") if not (path.parent / "__init__.py").is_file()}
    assert not without
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_requirements_are_what_the_code_imports():
    indirect = {"tensorboard"}  # imported by torch.utils.tensorboard
    wanted, listed = distributions(*SOURCES), {requirement.name for requirement in requirements()}
    optional = {requirement.name for name, group in extras().items() if name != "dev" for requirement in group}
    assert wanted - listed - optional == set(), (
        "imported but neither in requirements.txt nor in an extra of pyproject.toml"
    )
    assert listed - wanted - indirect == set(), "in requirements.txt but imported nowhere"


def test_tests_import_what_the_dev_extra_installs():
    installed = {requirement.name for requirement in (*requirements(), *extras()["dev"])}
    installed |= {"packaging", "tomllib", "tomli"}  # they come with pytest, or with Python
    optional = {requirement.name for group in extras().values() for requirement in group}
    assert distributions("tests") - installed - optional == set()


def test_tested_versions_satisfy_the_requirements():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    for requirement in (*requirements(), *extras()["dev"]):
        assert requirement.specifier.contains(pins[requirement.name]), requirement.name


def test_pre_commit_uses_the_tested_ruff():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (revision,) = [repo["rev"] for repo in hooks["repos"] if repo["repo"].endswith("ruff-pre-commit")]
    assert f"ruff=={revision.removeprefix('v')}" in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", sorted(str(path.relative_to(ROOT)) for path in (ROOT / "scripts").glob("*.sh")))
def test_shell_script_is_valid_and_executable(name):
    path = ROOT / name
    assert os.access(path, os.X_OK)
    assert "set -euo pipefail" in path.read_text(encoding="utf-8")
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_continuous_integration_runs_the_test_command_of_the_readme():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = [line.strip() for line in script.read_text(encoding="utf-8").splitlines()]
    commands = [line for line in lines if re.search(r"\b(bash|sh|python\d?|pytest|ruff)\b", line.partition("#")[0])]
    assert commands == ["bash scripts/test.sh"]
    assert lines[-1] == commands[0], "something follows whose exit code would hide that of the tests"
    readme = ROOT / "README.md"
    if not readme.is_file():
        pytest.skip("README.md is not written yet")
    shown = [re.sub(r"^\$ |\s+#.*$", "", line.strip()) for line in readme.read_text(encoding="utf-8").splitlines()]
    assert commands[0] in shown


def test_documented_commands_name_files_that_exist():
    missing = []
    for path in repository_files():
        if path.suffix not in {".md", ".yaml", ".sh", ".py"} or "tests" in path.relative_to(ROOT).parts:
            continue
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r"(?:python|bash) ((?:tracking|scripts)/[\w/]+\.(?:py|sh))", text):
            if not Path(ROOT / name).is_file():
                missing.append(f"{path.relative_to(ROOT)}: {name}")
    assert not missing
