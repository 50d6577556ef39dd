"""Outcome of running a tracker: how it went, and the folder of result files.

Of a data set:

    run.json                what made the results: settings, hash of the weights, data; see `claim`
    <sequence>.txt          x,y,w,h per frame, pixels; written last, so that its presence means all three are complete
    <sequence>_scores.txt   one number per frame
    <sequence>_times.txt    seconds per frame, without reading it
    missing.json            which frames lacked a stream, if the run was told so; see `keep_masks`

Of one recording the same without a name in front (`RECORDING_FILES`), the rows of all in one table (`write_track`), and
a video.

Every file appears whole or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from lib.datasets.missing import read_masks, write_masks
from lib.datasets.parsing import parse_number
from lib.evaluation.results import MANIFEST, MASKS, write_boxes
from lib.training.manifest import differences
from patrack.config.schema import CropConfig, ModelConfig, TestConfig
from patrack.files import LOCK, atomic_write, folder_lock, named_if_full, remove_leftovers
from patrack.recordings.sequence import Sequence, first_few
from patrack.recordings.table import TABLE_HEADER, table_row
from patrack.tracker import LOST_BELOW, Result

__all__ = [
    "Outcome",
    "SequenceResult",
    "Summary",
    "TrackingError",
    "claim",
    "claimed",
    "failure",
    "is_complete",
    "keep_masks",
    "partial_result",
    "refuse_shared_files",
    "write_numbers",
    "write_result",
    "write_track",
]

PARTIAL = "partial.csv"
"""Rows of a recording that isn't finished yet, one per frame as it is tracked."""
SECTIONS: dict[str, type[BaseModel]] = {"model": ModelConfig, "crop": CropConfig, "test": TestConfig}
"""Parts of an identity that are sections of a configuration."""
OWN_AT_FIRST = re.compile(r"\.lock|\.tmp-\d+-.*run\.json")
"""What lies in a folder whose first run was killed before it could say so in the manifest."""
RECORDED = "box_xywh"
"""Entry of the identity that only recordings have."""
Data = Mapping[str, Mapping[str, str]]
"""By sequence, fingerprints by what they were taken from: "files" and perhaps "contents"."""
RECORDING_FILES = ("boxes.txt", "scores.txt", "times.txt", "track.csv", "overlay.mp4", PARTIAL)
"""Files that tracking of a single recording writes beside the manifest."""


class TrackingError(RuntimeError):
    """A sequence can't be tracked; the message names sequence and frame."""


def failure(sequence: Sequence, number: int, error: Exception) -> TrackingError:
    """Say why a sequence ends at a frame (from 0)."""
    return TrackingError(f"sequence {sequence.name}, frame {number} (from 0): {error}")


@dataclass(frozen=True, eq=False)
class SequenceResult:
    """Output of a tracker for N frames.

    Attributes:
        boxes: (N, 4) float64 xywh, pixels; row 0 is the given box.
        scores: (N,) in [0, 1]; 1 for the given box.
        times: (N,) seconds spent in the tracker; row 0 is its initialization.
        seconds: wall time with reading the frames.
        flat: frames whose X was one flat color, see `patrack.recordings.frames.DecodedFrame`.
    """

    boxes: np.ndarray
    scores: np.ndarray
    times: np.ndarray
    seconds: float
    flat: int = 0


@contextmanager
def partial_result(path: Path) -> Iterator[tuple[SequenceResult, Callable[[np.ndarray, float, float], None]]]:
    """Keep the rows of a recording while it is tracked, so that a run that stops at frame 5000 has lost nothing.

    Args:
        path: a CSV file, `x,y,w,h,score,seconds` with every digit; one row per frame from the first one on. A last row
            that was cut off is dropped.

    Yields:
        The rows that an earlier run left, and a function that adds the next one: box (4,), score, seconds.

    Raises:
        ValueError: the file holds something else; names file and line.
        OSError: it can't be read or written.
    """
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    rows = []
    for number, line in enumerate(whole, start=1):
        try:
            row = [float(value) for value in line.split(",")]
        except ValueError:
            row = []
        if len(row) != 6 or not np.isfinite(row).all():
            raise ValueError(f"{path}:{number}: expected x,y,w,h,score,seconds, got {line.strip()[:80]!r}; delete it")
        rows.append(row)
    if len(whole) < len(lines):
        with atomic_write(path) as file:
            file.writelines(whole)
    values = np.array(rows, dtype=np.float64).reshape(-1, 6)
    with ExitStack() as stack:
        rows_file: FileIO | None = None  # made with the first row: a run that fails at once leaves nothing

        def add(box: np.ndarray, score: float, seconds: float) -> None:
            nonlocal rows_file
            if rows_file is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                rows_file = stack.enter_context(FileIO(path, "a"))  # a row at a time, none of it kept back
            row = ",".join(repr(float(value)) for value in (*box, score, seconds)) + "\n"
            with named_if_full(path):
                if rows_file.write(row.encode()) < len(row):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        yield SequenceResult(values[:, :4], values[:, 4], values[:, 5], 0.0), add


@dataclass(frozen=True)
class Outcome:
    """Outcome of one sequence: frames tracked, seconds in the tracker, and how many of the frames had an X of one flat
    color; or an error that says why there is no result.
    """

    name: str
    frames: int = 0
    seconds: float = 0.0
    error: str = ""
    flat: int = 0


@dataclass
class Summary:
    """Outcome of a run: sequences done now, names of those kept from before, failures with reasons, wall time."""

    finished: list[Outcome] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def of_processes(cls, parts: list[Summary]) -> Summary:
        """Put together the summaries of processes that shared the sequences."""
        return cls(
            [outcome for part in parts for outcome in part.finished],
            [name for part in parts for name in part.kept],
            [outcome for part in parts for outcome in part.failed],
            max(part.seconds for part in parts),
        )

    def describe(self) -> str:
        """Tell the user: counts, frames per second, failures."""
        counts = f"{len(self.finished)} tracked, {len(self.kept)} kept from before, {len(self.failed)} failed"
        lines = [f"sequences: {counts}"]
        frames = sum(outcome.frames for outcome in self.finished)
        spent = sum(outcome.seconds for outcome in self.finished)
        if spent:  # none if every sequence of a batch is a single frame
            lines.append(
                f"{frames} frames in {self.seconds:.1f} s: {frames / self.seconds:.1f} FPS with reading; "
                f"per process {frames / spent:.1f} FPS tracking"
            )
        lines += [f"failed: {outcome.name}: {outcome.error}" for outcome in self.failed]
        return "\n".join(lines)


@contextmanager
def claimed(
    folder: Path,
    identity: Mapping[str, Any],
    notes: Mapping[str, Any],
    overwrite: bool = False,
    data: Data | None = None,
) -> Iterator[None]:
    """Make a folder ready as `claim` does, and this process's own while the block runs.

    Raises:
        ValueError: as `claim`; or another process writes to it.
    """
    _read_manifest(folder)  # before anything is written to a folder of somebody else's
    with ExitStack() as stack:
        try:
            stack.enter_context(folder_lock(folder))
        except OSError as error:
            raise ValueError(f"can't write results to {folder} (--output): {error}") from error
        claim(folder, identity, notes, overwrite, data)
        yield


def claim(
    folder: Path,
    identity: Mapping[str, Any],
    notes: Mapping[str, Any],
    overwrite: bool = False,
    data: Data | None = None,
) -> None:
    """Make a folder ready for the results of one run: new, or that same run's, which then goes on.

    A folder whose run has left nothing but `run.json` (it failed at once, say) is as good as new. What is deleted is
    what `run.json` there says the run has written, nothing else.

    Args:
        identity: everything that results depend on but the images; `run.json` also holds 16 hexadecimal digits ("key")
            that stand for it.
        notes: written beside it, not compared.
        overwrite: delete the results of another run, or of other data, that the folder holds.
        data: fingerprints of the sequences to be tracked, see `lib.datasets.fingerprint`.

    Raises:
        ValueError: it holds another run, results of other data, or other files, or can't be written; the message says
            what to do.
    """
    identity, data = json.loads(json.dumps(identity)), dict(data or {})  # as it will be read
    try:
        manifest = _read_manifest(folder)
        if folder.is_dir():
            remove_leftovers(folder)  # here, where it is known whose folder this is
        kept: dict[str, dict[str, str]] = {}
        if manifest is not None:
            present, kept = _with_defaults(manifest["identity"], identity), manifest["data"]
            listed = {path for name in kept for path in _paths(folder, name)}
            if RECORDED in present:
                listed |= {folder / name for name in RECORDING_FILES}
            masks = {folder / MASKS} if "missing" in present else set()
            same = present == identity
            others = set(folder.iterdir()) - {folder / MANIFEST, folder / LOCK} - masks
            if not same and not overwrite and others:
                raise ValueError(
                    f"output {folder} holds the results of another run; what differs (there -> now):\n  "
                    + "\n  ".join(differences(present, identity).values())
                    + "\nGive another --output, or --overwrite to delete them"
                )

            # Files of the run itself stay if they were made of these images
            stale = set() if same else {path for path in listed if path.exists()}
            for name, now in data.items() if same else ():
                if not _same_data(kept.get(name, {}), now):
                    stale |= {path for path in _paths(folder, name) if path.exists()}
            if stale and not overwrite:
                names = sorted(path.name for path in stale if not path.stem.endswith(("_scores", "_times")))
                raise ValueError(
                    f"output {folder} holds results of other data: {first_few(names)} ({len(names)} sequences) were "
                    "made from images of other names, sizes or times, or with another first box. Give another "
                    "--output, or --overwrite to delete them; if the images were only copied, --verify-data in both "
                    "runs compares their contents"
                )
            foreign = [path for name in data for path in _paths(folder, name) if path.exists() and path not in listed]
            if foreign:
                raise ValueError(
                    f"output {folder} holds {foreign[0].name}, which this run would write and no run listed in "
                    f"{MANIFEST} has written; give another --output, or move it elsewhere"
                )
            for path in stale if same else stale | {path for path in masks if path.exists()}:
                path.unlink()
            kept = kept if same else {}
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        with atomic_write(folder / MANIFEST) as file:
            json.dump({"key": key, "identity": identity, "data": {**kept, **data}, **notes}, file, indent=2)
            file.write("\n")
    except OSError as error:
        raise ValueError(f"can't write results to {folder} (--output): {error}") from error


def keep_masks(folder: Path, masks: Mapping[str, np.ndarray]) -> None:
    """Write the masks of a run's sequences beside its results, with those of sequences that it had before.

    Args:
        folder: claimed by the run.
        masks: (N, 2) bool by sequence, as `lib.datasets.missing.read_masks` gives them.

    Raises:
        DataError: the file that is there can't be read.
        OSError: it can't be written.
    """
    of_run = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["data"]
    before = read_masks(folder / MASKS) if (folder / MASKS).exists() else {}
    kept = {name: mask for name, mask in before.items() if name in of_run}
    write_masks(folder / MASKS, {**kept, **masks})


def _same_data(there: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Compare fingerprints of one sequence: by contents where both runs have looked at these."""
    by = "contents" if "contents" in there and "contents" in now else "files"
    return there.get(by) == now.get(by)


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read the `run.json` of results; None where the folder is new or empty.

    Raises:
        ValueError: the folder is a file, or somebody else's.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"output {folder} is a file; give a folder as --output")
    if not folder.is_dir() or all(OWN_AT_FIRST.fullmatch(path.name) for path in folder.iterdir()):
        return None
    try:
        manifest = dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
        return {"identity": dict(manifest["identity"]), "data": dict(manifest.get("data", {}))}
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"output {folder} holds files, but no {MANIFEST} of tracking results; give another --output"
        ) from error


def _with_defaults(present: dict[str, Any], identity: Mapping[str, Any]) -> dict[str, Any]:
    """Add settings, at their defaults, that came after the version which wrote `present`."""
    complete = dict(present)
    for name, section in SECTIONS.items():
        if name not in present or name not in identity:
            continue
        try:
            settings = section.model_validate(present[name]).model_dump(mode="json")
        except ValidationError:  # of a version with settings that this one lacks: it differs, and that is said
            continue
        complete[name] = {key: value for key, value in settings.items() if key in {*present[name], *identity[name]}}
    return complete


def _paths(folder: Path, name: str) -> tuple[Path, Path, Path]:
    """Boxes, times and scores of a sequence, in the order in which they may be deleted."""
    return folder / f"{name}.txt", folder / f"{name}_times.txt", folder / f"{name}_scores.txt"


def write_result(folder: Path, name: str, result: SequenceResult) -> None:
    """Write the three files of a sequence, boxes last.

    Raises:
        OSError: the folder can't be written; names the file.
    """
    boxes, times, scores = _paths(folder, name)
    write_numbers(scores, result.scores)
    write_numbers(times, result.times)
    write_boxes(boxes, result.boxes)


def write_numbers(path: Path, values: np.ndarray) -> None:
    """Write (N,) numbers with six decimals, one per line."""
    with atomic_write(path) as file:
        file.writelines(f"{value:.6f}\n" for value in values.tolist())


def write_track(path: Path, result: SequenceResult, times: np.ndarray) -> None:
    """Write all of a recording's result as one table, with a header and a row per frame.

    See `patrack.recordings.table`.

    Args:
        path: of the CSV file.
        result: of N frames.
        times: (N,) seconds.
    """
    with atomic_write(path) as file:
        file.write(TABLE_HEADER)
        for number, (time, box, score) in enumerate(zip(times.tolist(), result.boxes, result.scores, strict=True)):
            file.write(table_row(Result(box, float(score), number, math.nan, score < LOST_BELOW), time))


def is_complete(folder: Path, name: str, first_box: np.ndarray, frames: int) -> bool:
    """Check that the sequence's files are there, start with its first box and have finite numbers for every frame."""
    boxes, times, scores = _paths(folder, name)
    start = ",".join(f"{value:.4f}" for value in np.asarray(first_box, np.float64).tolist())
    for path, columns in ((boxes, 4), (times, 1), (scores, 1)):
        if not path.is_file():
            return False
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            rows = np.array([[parse_number(field) for field in line.split(",")] for line in lines])
        except ValueError:  # damaged: no numbers, or not as many in every row
            return False
        if rows.shape != (frames, columns) or not np.isfinite(rows).all() or (path == boxes and lines[0] != start):
            return False
    return True


def refuse_shared_files(names: Iterable[str]) -> None:
    """Refuse sequences of one run of which one's file is another's: `a_scores` beside `a`.

    Raises:
        ValueError: names both and the file.
    """
    owners: dict[str, str] = {}
    for name in names:
        for path in _paths(Path(), name):
            owner = owners.setdefault(path.name, name)
            if owner != name:
                raise ValueError(
                    f"sequences {owner!r} and {name!r} would both write {path.name}: rename one of them, or track them "
                    "in two runs with --sequences and another --output"
                )
