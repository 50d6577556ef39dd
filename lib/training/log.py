"""Logs of a run: a CSV row per step (always), TensorBoard (if installed), log lines, `train.log`."""

from __future__ import annotations

import csv
import logging
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from patrack.files import atomic_write

__all__ = [
    "DATA_WAIT_LIMIT",
    "EARLY_STEPS",
    "SETTLED_STEPS",
    "STEP_COLUMNS",
    "VALIDATION_COLUMNS",
    "CsvLog",
    "Pace",
    "close_all",
    "log_steps",
    "log_to_file",
    "means",
    "open_tensorboard",
    "read_rows",
    "warn_of_waiting",
]

logger = logging.getLogger(__name__)

DATA_WAIT_LIMIT = 0.2
"""Share of the time spent waiting for data above which a warning is logged."""
SETTLED_STEPS = 10
"""Steps after which the loader is expected to keep up, so that waiting for it is worth a warning."""
EARLY_STEPS = (1, 2, 5, 10, 20, 50, 100)
"""Steps after the start, or after going on, that are logged as well: nobody should wait long for the first line."""
LOSS_COLUMNS = ("loss", "giou", "l1", "focal", "iou")
STEP_COLUMNS = ("step", "epoch", "lr", *LOSS_COLUMNS, "grad_norm", "samples_per_second", "data_wait")
VALIDATION_COLUMNS = ("step", "epoch", *LOSS_COLUMNS)


class CsvLog:
    """A CSV file with fixed columns that is complete after every row.

    Args:
        path: made if needed; an existing file is continued.
        columns: the first one must be "step".
        last_step: rows of later steps are dropped (a run that goes on from an older checkpoint repeats them).
    """

    def __init__(self, path: Path, columns: tuple[str, ...], last_step: int = 0) -> None:
        rows = [row for row in read_rows(path) if row["step"] <= last_step] if path.exists() else []
        with atomic_write(path) as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        self._file = path.open("a", buffering=1, encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._file, columns, lineterminator="\n")

    def write(self, row: Mapping[str, float]) -> None:
        """Appends a row; its keys must be the columns.

        Raises:
            OSError: it cannot be written; names the file.
        """
        values = {key: value if isinstance(value, int) else f"{value:.9g}" for key, value in row.items()}
        try:
            self._writer.writerow(values)
        except OSError as error:
            raise OSError(f"cannot write {self._file.name}: {error}; the last checkpoint is untouched") from error

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def close_all(*files: Any) -> None:
    """Closes what is not None; a failure (disk full) is logged, so that it does not hide what ended the run."""
    for file in files:
        try:
            if file is not None:
                file.close()
        except OSError as error:
            logger.error("a log file is incomplete: %s", error)


def read_rows(path: Path) -> list[dict[str, float]]:
    """Reads the rows of a `CsvLog`, numbers converted; a torn last line (killed while writing) is left out."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {key: int(value) if key in ("step", "epoch") else float(value) for key, value in line.items()}
            for line in csv.DictReader(file)
            if None not in line and None not in line.values()
        ]


def means(rows: list[dict[str, float]]) -> dict[str, float]:
    """Takes the mean of every loss column over CSV rows; empty without rows."""
    return {name: math.fsum(row[name] for row in rows) / len(rows) for name in LOSS_COLUMNS} if rows else {}


def log_steps(title: str, rows: list[dict[str, float]], samples: int, more: str = "") -> float:
    """Logs means, speed and data share of some steps for people.

    Args:
        title: position in the run.
        rows: of `CsvLog`, one per step.
        samples: pairs per step.
        more: said at the end of the line.

    Returns:
        The share of the time that went into waiting for data, in [0, 1].
    """
    seconds = [samples / row["samples_per_second"] for row in rows]
    waiting = sum(row["data_wait"] * time for row, time in zip(rows, seconds, strict=True)) / sum(seconds)
    losses = "  ".join(f"{name} {value:.4f}" for name, value in means(rows).items())
    speed, rate = len(rows) * samples / sum(seconds), rows[-1]["lr"]
    parts = [
        losses,
        f"{speed:.1f} samples/s",
        f"data {100 * waiting:.0f} %",
        f"lr {rate:.3g}",
        *([more] if more else []),
    ]
    logger.info("%s: %s", title, "  ".join(parts))
    return waiting


def warn_of_waiting(share: float, num_workers: int) -> None:
    """Says what to do about a large share of the time that went into waiting for data."""
    logger.warning(
        "%.0f %% of the time went into waiting for data (limit %.0f %%): raise data.num_workers (now %d) or set "
        "data.cache_frames",
        100 * share,
        100 * DATA_WAIT_LIMIT,
        num_workers,
    )


class Pace:
    """Estimates how long an epoch and the run still take, from the last steps of this process alone.

    A run that goes on may do so on another machine, so what earlier processes needed doesn't count.

    Args:
        clock: returns seconds.
    """

    SPAN = 200
    """Steps whose mean is taken: enough to even out checkpoints, few enough to follow a machine that gets busy."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._last = clock()
        self._steps: deque[float] = deque(maxlen=self.SPAN)
        self._validation: float | None = None
        self.steps = 0

    def start(self) -> None:
        """Called when steps begin: what lies before is not part of one."""
        self._last = self._clock()

    def step(self) -> None:
        """Called after each step, whatever lies between two of them included."""
        now = self._clock()
        if self.steps == 1:
            self._steps.clear()  # the first one waited for the loader to start and for kernels to be chosen
        self._steps.append(now - self._last)
        self._last = now
        self.steps += 1

    def validated(self, seconds: float) -> None:
        """Notes how long a validation took."""
        self._validation = seconds

    def left(self, epoch_steps: int, run_steps: int, validations: int, validation_steps: float = 0.0) -> str:
        """Says how long it takes, as in `left: epoch 04:10, run 3:15:00`.

        Args:
            epoch_steps: that are left in this epoch.
            run_steps: that are left in the run.
            validations: that are left in the run.
            validation_steps: steps of the training that see as many pairs as one validation. Until one was measured,
                half their time is taken, for it needs no gradients.
        """
        a_step = sum(self._steps) / len(self._steps)
        validation = a_step * validation_steps / 2 if self._validation is None else self._validation
        epoch, run = epoch_steps * a_step, run_steps * a_step + validations * validation
        return f"left: epoch {tqdm.format_interval(epoch)}, run {tqdm.format_interval(run)}"


class Board:
    """TensorBoard files that a `SummaryWriter` writes: in a thread, which says with the next value that it failed."""

    def __init__(self, writer: Any, folder: Path) -> None:
        self._writer, self._folder = writer, folder
        self._hook = hook = threading.excepthook

        def in_thread(failure: Any) -> None:
            if not (isinstance(failure.exc_value, OSError) and "tensorboard" in type(failure.thread).__module__):
                hook(failure)  # anything else is nothing that `add_scalar` or `close` will say

        threading.excepthook = in_thread

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Adds a value; raises an OSError that names the folder if an earlier one could not be written."""
        try:
            self._writer.add_scalar(name, value, step)
        except OSError as error:
            raise OSError(f"cannot write to {self._folder}: {error}; the last checkpoint is untouched") from error

    def close(self) -> None:
        """Writes what is left; raises an OSError that names the folder if that could not be written."""
        try:
            self._writer.close()
        except OSError as error:
            raise OSError(f"{self._folder}: {error}") from error
        finally:
            threading.excepthook = self._hook


def open_tensorboard(folder: Path, purge_step: int) -> Board | None:
    """Opens TensorBoard files; returns None (with a log line) if the package is not installed.

    Events of `purge_step` and later, left by an interrupted run, are hidden.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        logger.warning("no TensorBoard files will be written: %s", error)
        return None
    return Board(SummaryWriter(str(folder), purge_step=purge_step or None), folder)


class _LogFile(logging.FileHandler):
    """A log file that says once, not with every line, that a line could not be written."""

    failed = False

    def handleError(self, record: logging.LogRecord) -> None:
        """Called by `logging` while the exception is handled."""
        if not self.failed:
            self.failed = True
            logger.error("%s is incomplete: %s", self.baseFilename, sys.exc_info()[1])

    def close(self) -> None:
        """Closes the file, whatever can still be written."""
        try:
            super().close()
        except OSError:
            self.handleError(logging.makeLogRecord({}))


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Appends to a file what is logged inside the block, and the traceback of what ended it early."""
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    except BaseException as error:
        trace = (type(error), error, error.__traceback__)
        handler.handle(logger.makeRecord(__name__, logging.ERROR, __file__, 0, "the run ended early", (), trace))
        raise
    finally:
        root.removeHandler(handler)
        handler.close()
