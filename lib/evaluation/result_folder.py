"""The folder that a tracker's results are written to: which run it belongs to, and what in it is complete.

    run.json                what made the results: settings, hash of the weights, data; see `claim`
    <sequence>.txt          x,y,w,h per frame, pixels; written last, so that its presence means all three are complete
    <sequence>_scores.txt   one number per frame
    <sequence>_times.txt    seconds per frame, without reading it

Every file appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.evaluation.results import write_boxes
from patrack.files import atomic_write, remove_leftovers

__all__ = ["MANIFEST", "ResultFolderError", "SequenceResult", "claim", "is_complete", "run_key", "write_result"]

MANIFEST = "run.json"
RECORDING_FILES = ("boxes.txt", "scores.txt", "times.txt", "overlay.mp4")
"""What tracking of a single recording writes beside the manifest."""


class ResultFolderError(ValueError):
    """A folder that can't take the results of this run; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class SequenceResult:
    """What a tracker made of N frames.

    Attributes:
        boxes: (N, 4) float64 xywh, pixels; row 0 is the given box.
        scores: (N,) in [0, 1]; 1 for the given box.
        times: (N,) seconds spent in the tracker; row 0 is its initialisation.
        seconds: wall time with reading the frames.
    """

    boxes: np.ndarray
    scores: np.ndarray
    times: np.ndarray
    seconds: float


def run_key(identity: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that stand for everything results depend on."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def claim(folder: Path, identity: Mapping[str, Any], notes: Mapping[str, Any], overwrite: bool = False) -> None:
    """Make a folder ready for the results of one run: new, or that same run's, which then goes on.

    A folder whose run has left nothing but `run.json` (it failed at once, say) is as good as new.

    Args:
        folder: made if it isn't there.
        identity: what results depend on.
        notes: written beside it, not compared.
        overwrite: delete the results of another run that the folder holds.

    Raises:
        ResultFolderError: it holds another run, or other files, or can't be written.
    """
    identity = json.loads(json.dumps(identity))
    try:
        if folder.exists() and not folder.is_dir():
            raise ResultFolderError(f"output {folder} is a file; give a folder as --output")
        remove_leftovers(folder)
        if folder.is_dir() and any(folder.iterdir()) and not _is_owner(folder, identity, overwrite):
            _delete_results(folder)
        with atomic_write(folder / MANIFEST) as file:
            json.dump({"key": run_key(identity), "identity": identity, **notes}, file, indent=2)
            file.write("\n")
    except OSError as error:
        raise ResultFolderError(f"can't write results to {folder} (--output): {error}") from error


def _is_owner(folder: Path, identity: Mapping[str, Any], overwrite: bool) -> bool:
    """Whether the results in the folder are of this run; if not, they may be deleted, or it is an error."""
    try:
        present = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["identity"]
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise ResultFolderError(
            f"output {folder} holds files, but no {MANIFEST} of tracking results; give another --output"
        ) from error
    if present != identity and not overwrite and any(path.name != MANIFEST for path in folder.iterdir()):
        raise ResultFolderError(
            f"output {folder} holds the results of another run; what differs (there -> now):\n  "
            + "\n  ".join(_differences(present, identity))
            + "\nGive another --output, or --overwrite to delete them"
        )
    return present == identity


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [line for key in keys for line in _differences(old.get(key), new.get(key), f"{name}.{key}".lstrip("."))]
    return [] if old == new else [f"{name}: {old!r} -> {new!r}"]


def _delete_results(folder: Path) -> None:
    for name in RECORDING_FILES:
        (folder / name).unlink(missing_ok=True)
    for scores in folder.glob("*_scores.txt"):
        name = scores.name.removesuffix("_scores.txt")
        for path in _paths(folder, name):
            path.unlink(missing_ok=True)


def _paths(folder: Path, name: str) -> tuple[Path, Path, Path]:
    """Boxes, times and scores of a sequence, in the order in which they may be deleted."""
    return folder / f"{name}.txt", folder / f"{name}_times.txt", folder / f"{name}_scores.txt"


def write_result(folder: Path, name: str, result: SequenceResult) -> None:
    """Write the three files of a sequence, boxes last.

    Raises:
        OSError: the folder can't be written; names the file.
    """
    boxes, times, scores = _paths(folder, name)
    for path, values in ((scores, result.scores), (times, result.times)):
        with atomic_write(path) as file:
            file.writelines(f"{value:.6f}\n" for value in values.tolist())
    write_boxes(boxes, result.boxes)


def is_complete(folder: Path, name: str, first_box: np.ndarray, frames: int) -> bool:
    """Whether the sequence's files are there, start with its first box and have one line per frame."""
    if not all(path.is_file() for path in _paths(folder, name)):
        return False
    lines = [path.read_text(encoding="utf-8").splitlines() for path in _paths(folder, name)]
    start = ",".join(f"{value:.4f}" for value in np.asarray(first_box, np.float64).tolist())
    return all(len(content) == frames for content in lines) and lines[0][0] == start
