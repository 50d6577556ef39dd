"""What a sequence was made of, so that results of other data are never taken for its own."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from patrack.files import file_sha256
from patrack.recordings.sequence import FileList, Frames, Sequence

__all__ = ["fingerprint"]


def fingerprint(sequence: Sequence, contents: bool = False) -> str:
    """Tell data from other data under the same name: SHA-256 of everything that tracking depends on.

    That is the frames' files, the first box, the streams that frames lack, and how X is read. Where the files lie does
    not count.

    Args:
        sequence: of any data set.
        contents: read every file; False: names, sizes and times of change tell them.

    Raises:
        OSError: a file can't be read.
    """
    digest = hashlib.sha256()
    rules = (sequence.modality, sequence.clip_depth, sequence.x_range, sequence.x_transform, len(sequence))
    digest.update(f"{rules}\n".encode())
    digest.update(np.ascontiguousarray(sequence.boxes[0], np.float64).tobytes())
    if sequence.present is not None:
        digest.update(np.ascontiguousarray(sequence.present, np.bool_).tobytes())
    read: dict[Path, str] = {}  # a video is the file of all of its frames
    for frames in (sequence.rgb_files, sequence.x_files):
        for name, path, state in _files(frames):
            digest.update(f"{name}\n".encode())
            if contents and state is not None:
                if path not in read:
                    read[path] = file_sha256(path)
                digest.update(read[path].encode())
            else:
                digest.update(f"{state}\n".encode())
    return digest.hexdigest()


def _files(frames: Frames | None) -> list[tuple[str, Path, tuple[int, int] | None]]:
    """Name of each frame, its file, and size and time of change (ns) of that; None where there is no file."""
    if frames is None:
        return []
    if isinstance(frames, FileList):  # one look at the folder instead of one at each file
        with os.scandir(frames.folder) as entries:
            wanted = set(frames.names)
            found = {entry.name: entry.stat() for entry in entries if entry.name in wanted}
        states = [found.get(name) for name in frames.names]
        paths: list[Path] = list(frames)
        names = list(frames.names)
    else:
        paths = [frame if isinstance(frame, Path) else frame.path for frame in frames]
        one_each = {path: path.stat() if path.exists() else None for path in dict.fromkeys(paths)}
        states = [one_each[path] for path in paths]
        names = [str(frame).removeprefix(str(path.parent)) for frame, path in zip(frames, paths, strict=True)]
    return [
        (name, path, None if state is None else (state.st_size, state.st_mtime_ns))
        for name, path, state in zip(names, paths, states, strict=True)
    ]
