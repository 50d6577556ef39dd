"""The folder of a run: who may use it, what lies in it, where a run in it goes on."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lib import config as config_files
from lib.processes import Processes
from lib.schema import Config
from lib.training.checkpoint import CheckpointError, TrainingState, config_differences, load_state
from lib.training.interrupt import Interrupted
from lib.training.manifest import MANIFEST, update_manifest
from lib.training.trainer import LAST

__all__ = [
    "ADAPTERS",
    "FOUNDATION",
    "MODEL",
    "RunFolderError",
    "locked",
    "prepare_folder",
    "recorded",
    "resumed_state",
]

logger = logging.getLogger(__name__)

ADAPTERS, FOUNDATION, MODEL = "adapters.safetensors", "foundation.safetensors", "model.safetensors"
LOCK = ".lock"
WRITTEN = ("checkpoints", "tensorboard", "train.csv", "validation.csv", "train.log", config_files.SAVED_NAME, MANIFEST)
LEFTOVERS = (".tmp-*", ".*.tmp")
"""Names that half-written files have: of `lib.files.atomic_write` and of `patrack.weights`."""


class RunFolderError(ValueError):
    """The run folder cannot be used as asked."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes a run folder this process's own; the lock goes with the process, however it ends.

    Raises:
        RunFolderError: another process trains in it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a")
    except OSError as error:
        raise RunFolderError(f"cannot write to the run folder {folder} (from --output): {error.strerror}") from error
    with file:
        if os.name == "posix":
            import fcntl

            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    raise RunFolderError(f"another process is training in {folder}: wait for it, or stop it") from None
                logger.warning("%s cannot be locked (%s): let no second process train in it", folder, error)
        yield


def prepare_folder(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Makes the run folder or checks that it may be used; removes half-written files of a run that was killed.

    Raises:
        RunFolderError: it holds a run and neither flag is given, there is none to resume, or it cannot be written.
    """
    present = [name for name in (*WRITTEN, ADAPTERS, FOUNDATION, MODEL) if (folder / name).exists()]
    if resume and not present:
        raise RunFolderError(f"--resume: there is no run in {folder}; leave --resume out to start one")
    if present and not (resume or overwrite):
        raise RunFolderError(
            f"{folder} already holds a run ({', '.join(present)}): give --resume to go on with it, --overwrite to "
            "delete it and start anew, or another --output or name=..."
        )
    try:
        if overwrite:
            for name in present:
                shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        for place in (folder, folder / "checkpoints"):
            for path in (path for pattern in LEFTOVERS for path in place.glob(pattern)):
                logger.info("removing %s, left half-written by a run that was killed", path)
                path.unlink()
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RunFolderError(f"cannot write to the run folder {folder} (from --output): {error.strerror}") from error


def resumed_state(folder: Path, config: Config, allowed: Collection[str] = ()) -> TrainingState | None:
    """The last checkpoint; None if the run was stopped before it wrote one.

    Args:
        folder: of the run.
        config: to go on with.
        allowed: keys (or groups of keys) that may differ from the run's.

    Raises:
        CheckpointError: another configuration; lists what differs.
    """
    path = folder / "checkpoints" / LAST
    saved = folder / config_files.SAVED_NAME
    state = load_state(path) if path.exists() else None
    if state is None and not saved.exists():
        return None
    # validated: keys that are newer than the run get the values that it had
    old = config_files.load(saved) if state is None else Config.model_validate(state.config)
    differences = config_differences(old.model_dump(mode="json"), config.model_dump(mode="json"))
    refused = [line for key, line in differences.items() if not any(f"{key}.".startswith(f"{a}.") for a in allowed)]
    if refused:
        raise CheckpointError(
            f"--resume: {path if state else saved} is from another configuration:\n  " + "\n  ".join(refused) + "\n"
            "Give the same settings, start another run (another --output or name=...), or accept a run that is of one "
            "piece no longer: --allow-changes " + " ".join(key for key in differences)
        )
    for line in differences.values():
        logger.warning("going on with another setting: %s", line)
    if differences:
        update_manifest(folder, {"changed_on_resume": list(differences.values())})
    if state is None:
        logger.warning("the run in %s has no checkpoint yet: starting from its beginning", folder)
    return state


@contextmanager
def recorded(folder: Path, processes: Processes) -> Iterator[None]:
    """Writes to the manifest how the run ended, and why if it failed: the first process does."""
    if processes.first:
        update_manifest(folder, {"status": "running", "command": sys.argv, "error": None})
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, Interrupted | KeyboardInterrupt)
        reason = str(error) if stopped else processes.first_failure(f"{type(error).__name__}: {error}")
        if processes.first:
            _note(folder, {"status": "interrupted" if stopped else "failed", "error": reason})
        raise


def _note(folder: Path, values: dict[str, Any]) -> None:
    """Updates the manifest when a run has failed; a second failure (disk full) must not hide the first."""
    try:
        update_manifest(folder, values)
    except OSError as error:
        logger.error("%s", error)
