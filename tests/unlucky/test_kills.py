"""Commands that are ended at any moment: the same command again gives the same bits, and nothing is left over.

One moment of each command, drawn by a fixed seed; with --long thirty of each, and ten kills at a random time, workers
being started as they are for users.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from disturbed import Disturbance
from writing_commands import CASES, WITH_WORKERS, Undisturbed, check_again, check_files, contents, unfinished

pytestmark = [
    pytest.mark.skipif(not (hasattr(os, "fork") and Path("/proc").is_dir()), reason="forks, and looks into /proc"),
    pytest.mark.timeout(600),
]


@pytest.fixture
def moments(request: pytest.FixtureRequest, undisturbed: Callable[[str], Undisturbed]) -> Callable[..., list[int]]:
    """Some moments of a case at which it is disturbed."""

    def draw(name: str, always: bool = True) -> list[int]:
        long = request.config.getoption("--long", False)
        if not (always or long):
            pytest.skip("only with --long")
        last = undisturbed(name).moments
        return sorted(random.Random(request.node.name).sample(range(1, last + 1), min(30 if long else 1, last)))

    return draw


@pytest.mark.parametrize("name", CASES)
def test_killed_and_repeated_it_gives_the_same_bits(name, inputs, undisturbed, moments, tmp_path):
    case, whole = CASES[name], undisturbed(name)
    for number in moments(name):
        output = case.fresh(inputs, tmp_path, whole)
        code, said = case.start(inputs, output, Disturbance(number)).end()
        assert code == -signal.SIGKILL, said
        check_files(case, output, whole, said)
        check_again(case, inputs, output, whole, said)


@pytest.mark.parametrize("name", CASES)
def test_terminated_it_says_so_and_goes_on_when_repeated(name, inputs, undisturbed, moments, tmp_path):
    case, numbers, whole = CASES[name], moments(name, name in ("train", "evaluate", *WITH_WORKERS)), undisturbed(name)
    for number in numbers:
        output = case.fresh(inputs, tmp_path, whole)
        code, said = case.start(inputs, output, Disturbance(number, signal.SIGTERM)).end()
        done = code == 0 and contents(output) == whole.files  # it came too late to be heeded
        assert done or code in (-signal.SIGTERM, 130, 143), said
        assert "Traceback" not in said
        check_files(case, output, whole, said)
        check_again(case, inputs, output, whole, said)


@pytest.mark.parametrize("name", WITH_WORKERS)
def test_a_killed_worker_ends_the_command_with_a_word(name, inputs, undisturbed, moments, tmp_path):
    case, whole = CASES[name], undisturbed(name)
    for number in moments(name):
        output = case.fresh(inputs, tmp_path, whole)
        code, said = case.start(inputs, output, Disturbance(number, worker=True)).end()
        assert code in (1, -signal.SIGKILL), said
        assert "Traceback" not in said
        check_again(case, inputs, output, whole, said)


@pytest.mark.parametrize("name", CASES)
def test_kills_at_any_time(name, inputs, undisturbed, tmp_path, request):
    if not request.config.getoption("--long", False):
        pytest.skip("only with --long")
    case, whole, draw = CASES[name], undisturbed(name), random.Random(name)
    began = time.monotonic()
    assert case.start(inputs, case.fresh(inputs, tmp_path, whole), fork=False).end()[0] == 0
    duration, killed = time.monotonic() - began, 0
    while killed < 10:
        output = case.fresh(inputs, tmp_path, whole)
        code = 0
        while code == 0:  # again and again in the same folder, until it is through
            run = case.start(inputs, output, fork=False)
            time.sleep(draw.uniform(0, duration))
            run.process.kill()
            code, said = run.end()
            killed += code != 0
            if draw.random() < 0.5:
                break
        check_again(case, inputs, output, whole, said)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.locks])
def test_a_second_one_in_the_same_folder_is_refused(name, inputs, undisturbed, tmp_path, request):
    if " --" in name and not request.config.getoption("--long", False):
        pytest.skip("only with --long")
    case, whole = CASES[name], undisturbed(name)
    output = case.fresh(inputs, tmp_path, whole)
    first = case.start(inputs, output, Disturbance(whole.moments // 2, signal.SIGSTOP))
    first.wait_until_stopped()
    code, said = case.start(inputs, output).end()
    os.kill(first.process.pid, signal.SIGCONT)
    assert code == 1
    assert f"in use by process {first.process.pid} " in said
    assert "Traceback" not in said
    code, said = first.end()
    assert code == 0, said
    assert contents(output) == whole.files
    assert unfinished(output) == []
