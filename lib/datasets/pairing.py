"""Which X frame belongs to which RGB frame, where that is not the one at the same position."""

from __future__ import annotations

from pathlib import PurePath

import numpy as np

from lib.datasets.sequence import DatasetError, FileList, Frames

__all__ = ["pair_by_name", "pair_from_start"]


def pair_by_name(rgb: Frames, x: Frames) -> tuple[Frames, np.ndarray]:
    """X frames of the same names (suffix aside) as the RGB frames, and (N,) bool: whether the file exists.

    Where none exists the path is the one that was expected, so that reading the frame names the missing file.
    """
    if not isinstance(rgb, FileList) or not isinstance(x, FileList):
        return x, np.ones(len(x), dtype=bool)
    if rgb.names == x.names:
        return x, np.ones(len(x), dtype=bool)
    by_stem = {PurePath(name).stem: name for name in x.names}
    stems = [PurePath(name).stem for name in rgb.names]
    found = np.array([stem in by_stem for stem in stems], dtype=bool)
    return FileList(x.folder, [by_stem.get(stem, name) for stem, name in zip(stems, rgb.names, strict=True)]), found


def pair_from_start(name: str, rgb: Frames, x: Frames, start: int) -> Frames:
    """X frames of a recording that ran on its own: the first RGB frame belongs to X frame `start`.

    As many X as RGB frames mean that they have been cut out already.

    Raises:
        DatasetError: there are fewer than `start` + the number of RGB frames, and not as many as RGB frames.
    """
    if len(x) == len(rgb):
        return x
    if len(x) < start + len(rgb):
        raise DatasetError(
            f"sequence {name}: {len(x)} X frames; needs {len(rgb)}, one per RGB frame, or at least {start + len(rgb)}, "
            f"because RGB begins at X frame {start}"
        )
    return x[start : start + len(rgb)]
