"""Commands in processes of their own that end, stop or run out of room at a chosen moment.

What a command does to the disk is numbered: every file that is opened to be written, every rename, deletion, new folder
and change of rights below its output folder, in its worker processes as well. A disturbance comes just before one of
these. Commands start as forks of a server that has loaded PyTorch and the rest already, and so do their workers.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from commands import load_command
from patrack.config import project_path

SERVER = multiprocessing.get_context("forkserver")
LOADED = ("disturbed_loaded",)
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.truncate", "os.link", "os.symlink")
SECONDS = 60
"""After which a command counts as hanging."""


@dataclass(frozen=True)
class Disturbance:
    """At the moment `number` (from 1) on, `signal` to the command, or to its worker if one is about to write.

    Attributes:
        number: of the moment; 0: none.
        signal: SIGKILL, SIGTERM, or SIGSTOP, which holds it until it gets SIGCONT.
        worker: the process that is about to write gets it, not the one that the user started.
        size: bytes that a file may have; None: no limit.
    """

    number: int = 0
    signal: int = signal.SIGKILL
    worker: bool = False
    size: int | None = None


NONE = Disturbance()


@dataclass
class Run:
    """A command that was started."""

    process: multiprocessing.process.BaseProcess
    moments: multiprocessing.sharedctypes.Synchronized
    said: bytearray = field(default_factory=bytearray)
    reader: threading.Thread | None = None

    def end(self) -> tuple[int, str]:
        """Waits until the command and all of its workers have ended: exit code or minus the signal, and its words."""
        self.process.join(SECONDS)
        code = self.process.exitcode
        assert self.reader is not None
        self.reader.join(10)  # all who could have written have ended
        end = time.monotonic() + 2  # files are closed a moment before a process has ended
        while (left := list(_session(self.process.pid))) and time.monotonic() < end:
            time.sleep(0.01)
        if code is None or self.reader.is_alive() or left:
            for number in left:
                os.kill(number, signal.SIGKILL)
            self.process.kill()
            what = "hangs" if code is None else f"has ended ({code}) and left processes {left} behind"
            raise AssertionError(f"the command {what}: {self.said.decode()}")
        return code, self.said.decode()

    def wait_until_stopped(self) -> None:
        """Waits until SIGSTOP has reached the command."""
        end = time.monotonic() + SECONDS
        while _state(self.process.pid) != "T":
            assert self.process.is_alive(), f"it ended before: {self.said.decode()}"
            assert time.monotonic() < end
            time.sleep(0.005)


def start(command: str, words: list[str], output: Path, disturbance: Disturbance = NONE, fork: bool = True) -> Run:
    """Starts a command.

    Args:
        command: file, such as "tracking/test.py".
        words: of its command line.
        output: folder whose changes count as moments.
        disturbance: what happens to it.
        fork: its workers are forks, which takes no time; else they start as they always do.
    """
    SERVER.set_forkserver_preload(list(LOADED))
    listener, speaker = SERVER.Pipe(duplex=False)
    moments = SERVER.Value("i", 0)
    details = command, words, str(output), disturbance, fork
    process = SERVER.Process(target=_run, args=(*details, moments, speaker))
    paths = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(project_path()), *sys.path])  # where the server finds modules
    try:
        process.start()
    finally:
        os.environ.pop("PYTHONPATH") if paths is None else os.environ.update(PYTHONPATH=paths)
    speaker.close()
    run = Run(process, moments)

    def listen() -> None:
        with listener, contextlib.suppress(OSError):
            while block := os.read(listener.fileno(), 65536):
                run.said += block

    run.reader = threading.Thread(target=listen, daemon=True)
    run.reader.start()
    return run


def _run(
    command: str, words: list[str], output: str, disturbance: Disturbance, fork: bool, moments: object, out: Connection
) -> None:
    os.setsid()  # its workers are known by it
    for number in (1, 2):
        os.dup2(out.fileno(), number)
    out.close()
    sys.argv = [command, *words]
    if fork:
        multiprocessing.get_context = lambda _=None, real=multiprocessing.get_context: real("fork")
        os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))  # as in a new one
    if disturbance.size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (disturbance.size, resource.RLIM_INFINITY))
    main: Callable[[list[str]], int] = load_command(command).main
    top = os.getpid()

    def watch(event: str, arguments: tuple) -> None:
        if event == "open":
            if not isinstance(arguments[2], int) or not arguments[2] & (os.O_WRONLY | os.O_RDWR):
                return
        elif event not in CHANGES:
            return
        path = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes | os.PathLike) else ""
        if not path.startswith(output):
            return
        with moments.get_lock():
            moments.value += 1
            now = moments.value
        if now == disturbance.number:
            os.write(2, f"[signal {disturbance.signal} before {event} {path}]\n".encode())
            os.kill(os.getpid() if disturbance.worker else top, disturbance.signal)

    sys.addaudithook(watch)
    sys.exit(main(words))


def _state(process: int | None) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def _session(leader: int | None) -> Iterator[int]:
    """Processes of a session that still run."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                yield int(path.parent.name)
