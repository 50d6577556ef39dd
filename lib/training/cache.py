"""Decoded frames of whole data sets in one file that all loader processes map into memory.

Each frame is decoded once, before training; the operating system shares the pages between processes and runs. Meant
for sets that fit in memory. The file lies in the temporary folder (TMPDIR) and is used again by later runs.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lib.datasets.frames import DecodedFrame, decode_frame
from lib.datasets.sequence import Sequence, VideoFrame
from patrack.files import atomic_write, remove_leftovers

__all__ = ["FrameCache"]

logger = logging.getLogger(__name__)

VERSION = 1
SPARE_BYTES = 1 << 30
Key = tuple[str, str, str]
Place = tuple[int, tuple[int, ...]]  # offset in the file, (N, H, W, C)


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
        """Returns frame `index`; its pixels are read-only."""
        if self._bytes is None:
            self._bytes = np.memmap(self.path, np.uint8, mode="r")
        offset, (_, *shape) = self.places[_key(sequence)]
        size = math.prod(shape)
        start = offset + index * size
        return DecodedFrame.from_image(np.asarray(self._bytes[start : start + size]).reshape(shape))

    @classmethod
    def build(cls, sequences: Iterable[Sequence], folder: Path | None = None, with_x: bool = True) -> FrameCache:
        """Decodes all frames, or finds the file that an earlier run made of the same ones.

        Args:
            sequences: to be cached; one that is given twice is kept once.
            folder: for the file; default: one of this user's in the temporary folder.
            with_x: False keeps RGB alone.

        Raises:
            FrameError: a frame cannot be read.
            ValueError: a sequence whose frames differ in size.
            OSError: not enough space on the disk of the folder.
        """
        if folder is None:
            user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
            folder = Path(tempfile.gettempdir()) / f"patrack-frames-{user}"
        unique = {_key(sequence): sequence for sequence in sequences}

        # the file's name says what is in it: shapes, and size and time of the first and last file of each modality
        places: dict[Key, Place] = {}
        total, digest = 0, hashlib.sha256(f"{VERSION}".encode())
        for key, sequence in unique.items():
            shape = (len(sequence), *decode_frame(sequence, 0, with_x).shape)
            places[key] = (total, shape)
            total += math.prod(shape)
            stats = []
            for files in (sequence.rgb_files, sequence.x_files):
                for item in () if files is None else (files[0], files[-1]):
                    stat = (item.path if isinstance(item, VideoFrame) else item).stat()
                    stats.append((stat.st_size, stat.st_mtime_ns))
            digest.update(f"{key}{shape}{stats}".encode())
        path = folder / f"{digest.hexdigest()[:24]}.u8"
        if path.is_file() and path.stat().st_size == total:
            logger.info("decoded frames: %s (%.1f GB, from an earlier run)", path, total / 1e9)
            return cls(path, places)

        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_leftovers(folder)
        free = shutil.disk_usage(folder).free
        if total + SPARE_BYTES > free:
            raise OSError(
                f"data.cache_frames needs {total / 1e9:.1f} GB in {folder}, {free / 1e9:.1f} GB are free; "
                "set TMPDIR to a larger disk or data.cache_frames=false"
            )
        with atomic_write(path, "wb") as file, ThreadPoolExecutor(os.cpu_count()) as pool:
            file.truncate(total)
            memory = np.memmap(file.name, np.uint8, mode="r+", shape=(total,))

            def decode(key: Key) -> None:
                offset, shape = places[key]
                frames = memory[offset : offset + math.prod(shape)].reshape(shape)
                for index in range(shape[0]):
                    frame = decode_frame(unique[key], index, with_x).image()
                    if frame.shape != shape[1:]:
                        raise ValueError(
                            f"{unique[key].name}: frame {index} is {frame.shape}, frame 0 is {shape[1:]}; "
                            "set data.cache_frames=false"
                        )
                    frames[index] = frame

            for _ in tqdm(pool.map(decode, unique), "decoding frames", len(unique), leave=False, disable=None):
                pass
            memory.flush()
        logger.info("decoded frames: %s (%.1f GB); kept for later runs, may be deleted", path, total / 1e9)
        return cls(path, places)


def _key(sequence: Sequence) -> Key:
    x = "" if sequence.x_files is None else str(sequence.x_files[0])
    return (f"{sequence.modality}{sequence.clip_depth}", str(sequence.rgb_files[0]), x)
