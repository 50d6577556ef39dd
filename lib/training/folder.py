"""The folder of a run: who may use it, what lies in it, where a run in it goes on."""

from __future__ import annotations

import difflib
import errno
import logging
import os
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lib.distributed import DistributedContext, reason_of
from lib.training.checkpoint import TrainingState, load_state
from lib.training.compare import config_differences
from lib.training.manifest import MANIFEST, read_manifest, update_manifest
from lib.training.trainer import LAST, Interrupted
from patrack import config as config_files
from patrack.build import ADAPTERS, FOUNDATION, MODEL
from patrack.config.schema import Config

__all__ = ["check_free", "files_of_run", "locked", "prepare_folder", "recorded", "resumed_state"]

logger = logging.getLogger(__name__)

WRITTEN = (
    *("checkpoints", "tensorboard", "train.csv", "validation.csv", "train.log", config_files.SAVED_NAME, MANIFEST),
    *(ADAPTERS, FOUNDATION, MODEL),
)
LEFTOVERS = (".tmp-*", ".*.tmp")
"""Names that half-written files have: of `patrack.files.atomic_write` and of `patrack.weights`."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes a run folder this process's own; the lock goes with the process, however it ends.

    Raises:
        ValueError: another process trains in it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a")
    except OSError as error:
        raise _not_writable(folder, error) from error
    with file:
        if os.name == "posix":
            import fcntl

            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    raise ValueError(f"another process is training in {folder}: wait for it, or stop it") from None
                logger.warning("%s cannot be locked (%s): let no second process train in it", folder, error)
        yield


def prepare_folder(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Makes the run folder or checks that it may be used; removes half-written files of a run that was killed.

    Raises:
        ValueError: it holds a run and neither flag is given, there is none to resume, or it cannot be written.
    """
    present = files_of_run(folder)
    if resume and not present:
        raise ValueError(f"--resume: there is no run in {folder}; leave --resume out to start one")
    if not (resume or overwrite):
        check_free(folder)
    try:
        if not resume:
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
        raise _not_writable(folder, error) from error


def _not_writable(folder: Path, error: OSError) -> ValueError:
    return ValueError(
        f"cannot write to the run folder {folder} (from --output): {error.strerror}; give another --output, or make it "
        "writable"
    )


def files_of_run(folder: Path) -> list[str]:
    """Lists files and folders that a run has written here; empty if there is none."""
    return [name for name in WRITTEN if (folder / name).exists()]


def check_free(folder: Path) -> None:
    """Checks that a new run may begin here: there is nothing, or only what a run left that failed before it began.

    Raises:
        ValueError: it holds a run.
    """
    present = files_of_run(folder)
    if not present:
        return
    # nothing can be lost of a run that failed at its start, over a wrong --device or --data-root say
    if {"checkpoints", "train.log", MANIFEST}.issuperset(present) and not any(folder.glob("checkpoints/*.pt")):
        manifest = read_manifest(folder)
        if "config" not in manifest and manifest.get("status") in ("failed", "interrupted", "running"):
            return
    raise ValueError(
        f"{folder} already holds a run ({', '.join(present)}): give --resume to go on with it, --overwrite to "
        "delete it and start anew, or another --output or name=..."
    )


def resumed_state(folder: Path, config: Config, allowed: Collection[str] = ()) -> TrainingState | None:
    """Reads the last checkpoint; None if the run was stopped before it wrote one.

    Args:
        folder: of the run.
        config: to go on with.
        allowed: keys (or groups of keys) that may differ from the run's.

    Raises:
        ValueError: another configuration; lists what differs. Or `allowed` holds an unknown key.
    """
    # a misspelled key must not look like one that did not differ
    new = config.model_dump(mode="json")
    known = _keys(new)
    for key in allowed:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"--allow-changes: there is no setting {key!r}{hint}")

    path, saved = folder / "checkpoints" / LAST, folder / config_files.SAVED_NAME
    state = load_state(path) if path.exists() else None
    if state is None and not saved.exists():
        return None
    # validated: keys that are newer than the run get the values that it had
    old = config_files.load(saved) if state is None else Config.model_validate(state.config)
    differences = config_differences(old.model_dump(mode="json"), new)
    refused = [line for key, line in differences.items() if not any(f"{key}.".startswith(f"{a}.") for a in allowed)]
    if refused:
        raise ValueError(
            f"--resume: {path if state else saved} is from another configuration:\n  " + "\n  ".join(refused) + "\n"
            "Give the same settings, start another run (another --output or name=...), or accept a run that is of one "
            "piece no longer: --allow-changes " + " ".join(differences)
        )
    for line in differences.values():
        logger.warning("going on with another setting: %s", line)
    if differences:
        update_manifest(folder, {"changed_on_resume": list(differences.values())})
    if state is None:
        logger.warning("the run in %s has no checkpoint yet: starting from its beginning", folder)
    return state


def _keys(group: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Lists dotted names of all settings and groups of settings."""
    names = []
    for key, value in group.items():
        names += [prefix + key, *(_keys(value, f"{prefix}{key}.") if isinstance(value, Mapping) else ())]
    return names


@contextmanager
def recorded(folder: Path, context: DistributedContext) -> Iterator[list[str]]:
    """Writes to the manifest how the run ended, and why if it failed: the main process does.

    Yields:
        An empty list, to be filled once training begins. A finished run that is only asked in vain to go on (with other
        data, say) stays finished.
    """
    began: list[str] = []
    earlier = {}
    if context.is_main:
        earlier = {key: value for key, value in read_manifest(folder).items() if key in ("status", "command", "error")}
        update_manifest(folder, {"status": "running", "command": sys.argv, "error": None})
    try:
        yield began
    except BaseException as error:
        stopped = isinstance(error, Interrupted | KeyboardInterrupt)
        reason = str(error) if stopped else context.first_failure(reason_of(error))
        if context.is_main:
            ended = {"status": "interrupted" if stopped else "failed", "error": reason}
            try:
                update_manifest(folder, earlier if earlier.get("status") == "finished" and not began else ended)
            except OSError as second:  # disk full, say: must not hide the first error
                logger.error("%s does not say how the run ended: %s", folder / MANIFEST, second)
        raise
