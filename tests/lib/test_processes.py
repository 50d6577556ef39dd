"""Workers end with the process that started them, and SIGTERM cleans up as Ctrl-C does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from patrack.config import project_path
from patrack.processes import terminated_as_interrupted

POOL = """
import multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from patrack.processes import become_worker

def work(_):
    os.write(1, f"{os.getpid()}\\n".encode())  # a line of one piece
    time.sleep(60)

if __name__ == "__main__":
    pool = ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), become_worker)
    list(pool.map(work, range(2)))
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_a_parent_that_is_killed(tmp_path, number):
    (tmp_path / "pool.py").write_text(POOL)
    environment = {**os.environ, "PYTHONPATH": str(project_path("."))}
    command = [sys.executable, str(tmp_path / "pool.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        assert all(Path(f"/proc/{worker}").exists() for worker in workers)
        parent.send_signal(number)
        end = time.monotonic() + 10
        while any(Path(f"/proc/{worker}").exists() for worker in workers):
            assert time.monotonic() < end, f"workers {workers} go on without their parent"
            time.sleep(0.02)


def test_sigterm_is_an_interrupt_inside_the_block_only():
    before = signal.getsignal(signal.SIGTERM)

    def terminated():
        with terminated_as_interrupted():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        terminated()
    assert signal.getsignal(signal.SIGTERM) is before
