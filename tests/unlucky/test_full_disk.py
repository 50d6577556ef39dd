"""Commands that run out of room: one clear error that names the file, earlier results stay, and with room it works.

By a limit on the size of files, or on a file system that is full, which only the administrator can mount. One of both
for each command, drawn by a fixed seed; with --long all limits, and twenty full disks.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from disturbed import Disturbance
from writing_commands import CASES, Case, Undisturbed, check_again, check_files, unfinished

pytestmark = [
    pytest.mark.skipif(not (hasattr(os, "fork") and Path("/proc").is_dir()), reason="forks, and looks into /proc"),
    pytest.mark.timeout(600),
]
PAGE = 4096
TURNS = dict(zip(CASES, itertools.cycle(("limit", "disk")), strict=False))


def check_failure(case: Case, output: Path, whole: Undisturbed, code: int, said: str) -> None:
    """What a user gets to see, and what lies there afterwards."""
    assert code == 1, said
    assert "Traceback" not in said
    assert "Logging error" not in said
    lines = [line for line in said.splitlines() if re.search("File too large|No space left|MB are free", line)]
    assert any(f" {output}/" in line and re.search("can(no|')t write", line) for line in lines), said
    check_files(case, output, whole, said)
    left = [name for name in unfinished(output) if not name.endswith(".partial")]  # begun again when repeated
    assert left == [], said


@pytest.mark.parametrize("name", CASES)
def test_files_that_may_not_be_large_enough(name, inputs, undisturbed, tmp_path, request):
    long = request.config.getoption("--long", False)
    if TURNS[name] != "limit" and not long:
        pytest.skip("only with --long")
    case, whole = CASES[name], undisturbed(name)
    sizes = sorted({size for file, size in whole.sizes.items() if file not in case.there(inputs)})
    limits = [0, *(size - 1 for size in sizes)]
    draw = random.Random(name)
    for limit in limits if long else draw.sample(limits[1:], 1):
        output = case.fresh(inputs, tmp_path, whole)
        code, said = case.start(inputs, output, Disturbance(size=limit)).end()
        check_failure(case, output, whole, code, f"limit {limit}: {said}")
        check_again(case, inputs, output, whole, said)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("name", CASES)
def test_disk_that_is_full(name, inputs, undisturbed, disk, request):
    long = request.config.getoption("--long", False)
    if TURNS[name] != "disk" and not long:
        pytest.skip("only with --long")
    case, whole, draw = CASES[name], undisturbed(name), random.Random(name)
    needed = sum(-(-size // PAGE) for file, size in whole.sizes.items() if file not in case.there(inputs))
    for _ in range(20 if long else 1):
        output = case.fresh(inputs, disk)
        room = draw.randrange(needed)
        filler = disk / "filler"
        filler.write_bytes(bytes((os.statvfs(disk).f_bavail - room) * PAGE))
        code, said = case.start(inputs, output).end()
        check_failure(case, output, whole, code, f"{room} of {needed} pages: {said}")
        filler.unlink()
        check_again(case, inputs, output, whole, said)
