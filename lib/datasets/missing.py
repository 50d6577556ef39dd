"""Frames that lack RGB or X: masks in the JSON form of missing-modality benchmarks, and what takes a stream's place.

    {"sequence": {"frames": 3, "data": [[1, 1], [0, 1], [0, 0]]}, ...}

One row [RGB, X] per frame; 1 (1.0, true): the stream is there, 0: it is missing. The form is that of RGBT234-Miss and
LasHeR245-Miss (https://github.com/Alexadlu/Modality-missing-RGBT-Tracking), whose evaluation looks at the whole first
frame; here row 0 counts like every other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from lib.datasets.frames import DecodedFrame, Plane
from lib.datasets.parsing import read_text
from lib.datasets.sequence import DatasetError, Sequence, first_few
from patrack.files import atomic_write

__all__ = [
    "STREAMS",
    "SUBSTITUTES",
    "black_rgb",
    "masks_digest",
    "random_mask",
    "read_masks",
    "substitute_x",
    "with_masks",
    "write_masks",
]

STREAMS = ("rgb", "x")
SUBSTITUTES: tuple[str, ...] = ("black", "constant", "noise", "copy")


def read_masks(path: Path) -> dict[str, np.ndarray]:
    """Read a file of masks: by sequence (N, 2) bool, RGB is there, X is there.

    Raises:
        DatasetError: the file can't be read or is of another form; names the sequence and the row.
    """
    text = read_text(path)
    try:
        content = json.loads(text)
    except ValueError as error:  # or a number of thousands of digits
        raise DatasetError(f"{path}: not JSON: {error}") from error
    except RecursionError as error:
        raise DatasetError(f"{path}: not a file of masks: nested too deeply") from error
    if not isinstance(content, dict) or not content:
        raise DatasetError(f'{path}: must hold {{"SEQUENCE": {{"frames": N, "data": [[RGB, X], ...]}}, ...}}')
    masks = {}
    for name, entry in content.items():
        rows, frames = (entry.get("data"), entry.get("frames")) if isinstance(entry, dict) else (None, None)
        if not isinstance(rows, list) or type(frames) is not int:
            got = sorted(entry) if isinstance(entry, dict) else type(entry).__name__
            raise DatasetError(f'{path}: sequence {name} must be {{"frames": N, "data": [[RGB, X], ...]}}, got {got}')
        if len(rows) != frames:
            raise DatasetError(f'{path}: sequence {name} has "frames": {frames}, but {len(rows)} rows of data')
        for number, row in enumerate(rows):
            # true == 1 == 1.0, so that all of them are in the tuple; what isn't a number is not
            if not isinstance(row, list) or len(row) != 2 or not all(value in (0, 1) for value in row):
                raise DatasetError(
                    f"{path}: sequence {name}, row {number} (from 0) must be [RGB, X], each 0 (missing) or 1 (there), "
                    f"got {row!r}"
                )
        masks[name] = np.array(rows, bool).reshape(-1, 2)
    return masks


def with_masks(sequences: Iterable[Sequence], masks: Mapping[str, np.ndarray], origin: str) -> list[Sequence]:
    """Set `present` of sequences by masks from `read_masks`; those of further sequences are left aside.

    Raises:
        DatasetError: a sequence without mask, a mask of another length, or one whose first frame has no stream.
    """
    sequences = list(sequences)
    without = [sequence.name for sequence in sequences if sequence.name not in masks]
    if without:
        count = f"{len(without)} of {len(sequences)}"
        raise DatasetError(f"{origin}: no mask for {count} sequences: {first_few(without)}")
    masked = []
    for sequence in sequences:
        mask, frames = masks[sequence.name], len(sequence) + sequence.cut
        if len(mask) != frames:
            raise DatasetError(
                f"{origin}: the mask of {sequence.name} has {len(mask)} rows, the sequence {frames} frames"
            )
        mask = mask[sequence.cut :]
        if not mask[0].any():
            raise DatasetError(
                f"{origin}: {sequence.name} lacks both streams in frame {sequence.cut} (from 0), where tracking "
                "starts: there is nothing to take the target from; set a stream to 1 there"
            )
        masked.append(replace(sequence, present=mask if sequence.present is None else mask & sequence.present))
    return masked


def masks_digest(masks: Mapping[str, np.ndarray]) -> str:
    """Return 16 hexadecimal digits that stand for what the masks say, however the file is written."""
    digest = hashlib.sha256()
    for name in sorted(masks):
        digest.update(f"{name}\0{len(masks[name])}\0".encode() + np.ascontiguousarray(masks[name]).tobytes())
    return digest.hexdigest()[:16]


def random_mask(frames: int, stream: str, share: float, length: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a mask, (frames, 2) bool, in which one stream is missing in gaps.

    Args:
        frames: of the sequence.
        stream: rgb or x.
        share: of the frames after the first that lack the stream, in [0, 1]; at 1 the first lacks it as well: the
            stream never was there.
        length: frames that are missing in a row, or several times as many where gaps touch.
        rng: draws the places of the gaps.

    Raises:
        ValueError: another stream, a share outside [0, 1], or length < 1.
    """
    if stream not in STREAMS:
        raise ValueError(f"stream must be one of {', '.join(STREAMS)}, got {stream!r}")
    if not 0 <= share <= 1:
        raise ValueError(f"share of missing frames must lie in [0, 1], got {share!r}")
    if length < 1:
        raise ValueError(f"length of a gap must be at least 1 frame, got {length!r}")
    mask = np.ones((frames, 2), bool)
    if share == 1:
        mask[:, STREAMS.index(stream)] = False
        return mask
    numbers = np.arange(1, frames)
    gaps = rng.permutation(-(-len(numbers) // length))
    in_order = np.concatenate([numbers[gap * length : (gap + 1) * length] for gap in gaps]) if len(gaps) else numbers
    mask[in_order[: round(share * len(numbers))], STREAMS.index(stream)] = False
    return mask


def write_masks(path: Path, masks: Mapping[str, np.ndarray]) -> None:
    """Write masks, (N, 2) bool by sequence, in the form that `read_masks` reads, atomically."""
    content = {name: {"frames": len(mask), "data": mask.astype(int).tolist()} for name, mask in masks.items()}
    with atomic_write(path) as file:
        json.dump(content, file)
        file.write("\n")


# --- what takes the place of a stream: images that tell nothing that the other one does not


def black_rgb(frame: DecodedFrame) -> DecodedFrame:
    """Replace RGB of a frame of two streams by black; X is shared.

    Raises:
        ValueError: the frame has no X.
    """
    _, x = frame.streams()
    return DecodedFrame((Plane(np.zeros(frame.shape[:2], np.uint8)), x))


def substitute_x(frame: DecodedFrame, kind: str, rng: np.random.Generator) -> DecodedFrame:
    """Replace X of a frame of two streams; RGB is shared.

    Args:
        frame: with X.
        kind: black; constant: one color; noise: every value drawn anew; copy: RGB once more.
        rng: draws the color (3 values) or the noise.

    Raises:
        ValueError: unknown kind, or the frame has no X.
    """
    rgb, _ = frame.streams()
    height, width = frame.shape[:2]
    if kind == "black":
        x = Plane(np.zeros((height, width), np.uint8))
    elif kind == "constant":
        x = Plane(np.tile(rng.integers(0, 256, 3, np.uint8), (height, width, 1)))
    elif kind == "noise":
        x = Plane(np.frombuffer(rng.bytes(height * width * 3), np.uint8).reshape(height, width, 3))
    elif kind == "copy":
        x = rgb
    else:
        raise ValueError(f"X can be replaced by {', '.join(SUBSTITUTES)}, got {kind!r}")
    return DecodedFrame((rgb, x))
