"""Whose results a VOT workspace holds under the name of a tracker, so that those of another run are never mixed in.

<workspace>/results/<tracker>/run.json    what made them: settings, hash of the weights, fingerprint of each sequence
<workspace>/results/<tracker>/<experiment>/<sequence>/<sequence>_<number>.bin, ...    the toolkit's files, or ours

The toolkit knows a tracker by its name and the command that starts it, which stays the same when weights change.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from lib.training.manifest import differences
from patrack.files import FolderInUse, atomic_write, folder_lock, remove_leftovers, safe_name

__all__ = ["check", "claim", "result_files", "results_folder"]

logger = logging.getLogger(__name__)

MANIFEST = "run.json"


def results_folder(workspace: Path, name: str) -> Path:
    """Place of the results of a tracker.

    Raises:
        ValueError: a name that leads elsewhere.
    """
    return workspace / "results" / safe_name(name, "--name")


def result_files(results: Path) -> dict[str, list[Path]]:
    """Find the files that the toolkit, or we, have left in a tracker's folder, by sequence; others are not listed."""
    files: dict[str, list[Path]] = {}
    for path in sorted(results.glob("*/*/*")):
        sequence = path.parent.name
        if re.fullmatch(re.escape(sequence) + r"_\d+(\.txt|\.bin|_\w+\.value)", path.name):
            files.setdefault(sequence, []).append(path)
    return files


def check(results: Path, identity: Mapping[str, Any], data: Mapping[str, str] | None = None) -> None:
    """Make sure that the results in a tracker's folder, if there are any, are of one run.

    Args:
        results: from `results_folder`.
        identity: of that run, see `patrack.build.identity`.
        data: fingerprint by sequence, see `lib.vot.tracking.read_runs`; None: not compared.

    Raises:
        ValueError: they are another run's, or of other data, or nothing says whose; the message says what differs, and
            what to do.
    """
    files = result_files(results)
    if not files:
        return
    remedy = (
        f"Choose another --name, or move {results} away ('tracking/vot.py --workspace {results.parent.parent} "
        "--overwrite' deletes such results)"
    )
    before = _read(results)
    if before is None:
        raise ValueError(f"{results} holds results, and no {MANIFEST} that says what made them.\n{remedy}")
    if lines := differences(before["identity"], json.loads(json.dumps(identity))).values():
        said = "\n  ".join(lines)
        raise ValueError(f"{results} holds results of another run; what differs (there -> now):\n  {said}\n{remedy}")
    known = before["sequences"]
    changed = [name for name in files if name in known and data and known[name] != data.get(name, known[name])]
    if changed:
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise ValueError(
            f"{results} holds results of other frames, first boxes or anchors than are there now, of "
            f"{', '.join(changed[:5])}{more}.\n{remedy}"
        )


@contextmanager
def claim(
    results: Path,
    identity: Mapping[str, Any],
    data: Mapping[str, str] | None = None,
    overwrite: bool = False,
    patience: float = 0.0,
) -> Iterator[None]:
    """Make the folder of a tracker this process's own, for the results of one run, while the block runs.

    Args:
        results, identity, data: see `check`.
        overwrite: delete results that it refuses.
        patience: seconds to wait for a process that has the folder.

    Raises:
        ValueError: see `check`.
        FolderInUse: another process writes to it.
        OSError: it can't be written.
    """
    end = time.monotonic() + patience
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(folder_lock(results, "--name"))
                break
            except FolderInUse:
                if time.monotonic() >= end:
                    raise
                time.sleep(0.1)
        for folder in (results, *results.glob("*/*/")):
            remove_leftovers(folder)
        try:
            check(results, identity, data)
        except ValueError as error:
            if not overwrite:
                raise
            logger.warning("deleting results: %s", str(error).split("\n")[0].rstrip(":."))
            for files in result_files(results).values():
                for path in files:
                    path.unlink()
        there = result_files(results)
        before = (_read(results) or {"sequences": {}})["sequences"]
        kept = {name: digest for name, digest in before.items() if name in there}
        with atomic_write(results / MANIFEST) as file:
            json.dump({"identity": identity, "sequences": {**(data or {}), **kept}}, file, indent=2)
            file.write("\n")
        yield


def _read(results: Path) -> dict[str, Any] | None:
    """Read the manifest; None if there is none, or it is something else."""
    try:
        content = json.loads((results / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    whole = isinstance(content, dict) and all(isinstance(content.get(key), dict) for key in ("identity", "sequences"))
    return content if whole else None
