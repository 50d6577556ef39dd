"""Worker processes that end with the process that started them, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["become_worker", "terminated_as_interrupted"]


def become_worker() -> None:
    """Make this process, one of a pool, leave Ctrl-C to its parent, and end at once when the parent has ended.

    A parent that is killed can't tell its workers to stop; without this they would go on writing for good.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, which schedulers send, end the block as Ctrl-C does: with `KeyboardInterrupt`, so that it cleans up.

    Signals reach the main thread only; in another one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
