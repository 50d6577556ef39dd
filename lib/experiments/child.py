"""Run a command as the child of a suite: it stops as with SIGTERM, and so keeps its work, when the suite is killed.

python lib/experiments/child.py PARENT tracking/train.py --config ...

It imports what `python tracking/train.py --config ...` would, wherever it is started.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time


def stop_with(parent: int) -> None:
    """Wait until the parent has gone, which nobody tells a child of, and stop this process."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=stop_with, args=(int(sys.argv[1]),), daemon=True).start()
    sys.argv = sys.argv[2:]
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))  # noqa: PTH100, PTH120 (nothing more is loaded here)
    runpy.run_path(sys.argv[0], run_name="__main__")
