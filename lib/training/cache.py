"""Decoded frames of whole data sets in one file that all loader processes map into memory.

Each frame is decoded once, before training; the operating system shares the pages between processes and runs. Meant
for sets that fit in memory. The file lies in the temporary folder (TMPDIR) and is used again by later runs.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lib.datasets.decoded import DecodedFrame
from lib.datasets.frames import decode_frame
from lib.datasets.sequence import Sequence, VideoFrame
from patrack.files import remove_leftovers

__all__ = ["FrameCache", "cache_folder"]

logger = logging.getLogger(__name__)

VERSION = 1
SPARE_BYTES = 1 << 30
Key = tuple[str, str, str]
Place = tuple[int, tuple[int, int, int, int]]  # offset in the file, (N, H, W, C)


def cache_folder() -> Path:
    """Where cache files lie: a folder of this user in the temporary folder."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    return Path(tempfile.gettempdir()) / f"patrack-frames-{user}"


class FrameCache:
    """Reads frames from a cache file; can be sent to another process.

    Args:
        path: the file.
        places: where each sequence lies in it.
    """

    def __init__(self, path: Path, places: Mapping[Key, Place]) -> None:
        self.path, self.places = path, dict(places)
        self._bytes: np.ndarray | None = None

    def __getstate__(self) -> dict:
        return {"path": self.path, "places": self.places, "_bytes": None}

    def read_frame(self, sequence: Sequence, index: int) -> DecodedFrame:
        """Frame `index`; its pixels are read-only."""
        if self._bytes is None:
            self._bytes = np.memmap(self.path, np.uint8, mode="r")
        offset, (_, *shape) = self.places[_key(sequence)]
        size = int(np.prod(shape))
        start = offset + index * size
        return DecodedFrame.from_image(np.asarray(self._bytes[start : start + size]).reshape(shape))

    @classmethod
    def build(cls, sequences: Iterable[Sequence], folder: Path | None = None, with_x: bool = True) -> FrameCache:
        """Decodes all frames, or finds the file that an earlier run made of the same ones.

        Args:
            sequences: to be cached; one that is given twice is kept once.
            folder: for the file; default: `cache_folder()`.
            with_x: False keeps RGB alone.

        Raises:
            FrameError: a frame cannot be read.
            ValueError: a sequence whose frames differ in size.
            OSError: not enough space on the disk of the folder.
        """
        folder = folder or cache_folder()
        unique = {_key(sequence): sequence for sequence in sequences}
        places, total = {}, 0
        digest = hashlib.sha256(f"{VERSION}".encode())
        for key, sequence in unique.items():
            shape = (len(sequence), *decode_frame(sequence, 0, with_x).shape)
            places[key] = (total, shape)
            total += int(np.prod(shape))
            digest.update(f"{key}{shape}{_stamp(sequence)}".encode())
        path = folder / f"{digest.hexdigest()[:24]}.u8"
        if path.is_file() and path.stat().st_size == total:
            logger.info("decoded frames: %s (%.1f GB, from an earlier run)", path, total / 1e9)
            return cls(path, places)
        _fill(path, unique, places, total, with_x)
        logger.info("decoded frames: %s (%.1f GB); kept for later runs, may be deleted", path, total / 1e9)
        return cls(path, places)


def _key(sequence: Sequence) -> Key:
    x = "" if sequence.x_files is None else str(sequence.x_files[0])
    return (f"{sequence.modality}{sequence.clip_depth}", str(sequence.rgb_files[0]), x)


def _stamp(sequence: Sequence) -> str:
    """Changes when the files do: size and time of the first and last of each modality."""
    stats = []
    for files in (sequence.rgb_files, sequence.x_files):
        for item in () if files is None else (files[0], files[-1]):
            stat = (item.path if isinstance(item, VideoFrame) else item).stat()
            stats.append((stat.st_size, stat.st_mtime_ns))
    return str(stats)


def _fill(path: Path, sequences: Mapping[Key, Sequence], places: Mapping[Key, Place], total: int, with_x: bool) -> None:
    """Writes the cache file under a temporary name, then gives it its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    free = shutil.disk_usage(path.parent).free
    if total + SPARE_BYTES > free:
        raise OSError(
            f"data.cache_frames needs {total / 1e9:.1f} GB in {path.parent}, {free / 1e9:.1f} GB are free; "
            "set TMPDIR to a larger disk or data.cache_frames=false"
        )
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".tmp-{os.getpid()}-")
    os.close(descriptor)
    temporary = Path(name)
    try:
        memory = np.memmap(temporary, np.uint8, mode="w+", shape=(total,))

        def copy(key: Key) -> None:
            offset, shape = places[key]
            frames = memory[offset : offset + int(np.prod(shape))].reshape(shape)
            for index in range(shape[0]):
                frame = decode_frame(sequences[key], index, with_x).image()
                if frame.shape != shape[1:]:
                    raise ValueError(
                        f"{sequences[key].name}: frame {index} is {frame.shape}, frame 0 is {shape[1:]}; "
                        "set data.cache_frames=false"
                    )
                frames[index] = frame

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            done = tqdm(total=len(sequences), desc="decoding frames", leave=False, disable=None)
            for _ in pool.map(copy, sequences):
                done.update()
            done.close()
        memory.flush()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
