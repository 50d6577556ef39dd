"""Frames that lack RGB or X: masks in the JSON form of missing-modality benchmarks, and what takes a stream's place.

    {"sequence": {"frames": 3, "data": [[1, 1], [0, 1], [0, 0]]}, ...}

One row [RGB, X] per frame; 1 (1.0, true): the stream is there, 0: it is missing. The form is that of the files
missing_results_*.json of RGBT234-Miss, LasHeR245-Miss and VTUAV176-Miss
(https://github.com/Alexadlu/Modality-missing-RGBT-Tracking) and of FlexTrackV2's for DepthTrack and VisEvent
(https://github.com/supertyd/FlexTrackV2), whose evaluations look at the whole first frame; here row 0 counts like every
other. The files groups_data_*.json beside the former name the pattern of each sequence, not its frames.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lib.datasets.parsing import read_text
from patrack.files import atomic_write, user_path
from patrack.recordings.sequence import DataError, Sequence, first_few

if TYPE_CHECKING:
    from patrack.recordings.frames import DecodedFrame

__all__ = [
    "EITHER",
    "GAP",
    "LACKING",
    "STREAMS",
    "SUBSTITUTES",
    "Missing",
    "RandomMasks",
    "black_rgb",
    "choose_masks",
    "masks_digest",
    "missing_shares",
    "parse_masks",
    "parse_missing",
    "random_mask",
    "read_masks",
    "substitute_x",
    "with_masks",
    "write_masks",
]

STREAMS = ("rgb", "x")
EITHER = "either"
LACKING = (*STREAMS, EITHER)
"""What random masks may leave out: one stream, or in each gap one of both."""
GAP = 10
"""Frames that random masks leave out in a row."""
RATE = re.compile(r"(?:(?P<stream>[^:/\\]*):)?(?P<share>[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|nan|inf)", re.IGNORECASE)
SUBSTITUTES: tuple[str, ...] = ("black", "constant", "noise", "copy")


def read_masks(path: Path) -> dict[str, np.ndarray]:
    """Read a file of masks: by sequence (N, 2) bool, RGB is there, X is there.

    Raises:
        DataError: the file can't be read or is of another form; names the sequence and the row.
    """
    return parse_masks(read_text(path), str(path))


def parse_masks(text: str, path: str) -> dict[str, np.ndarray]:
    """Do the same with the content of a file whose path is for messages.

    Raises:
        DataError: as `read_masks`.
    """
    try:
        content = json.loads(text)
    except ValueError as error:  # or a number of thousands of digits
        raise DataError(f"{path}: not JSON: {error}") from error
    except RecursionError as error:
        raise DataError(f"{path}: not a file of masks: nested too deeply") from error
    if not isinstance(content, dict) or not content:
        raise DataError(f'{path}: must hold {{"SEQUENCE": {{"frames": N, "data": [[RGB, X], ...]}}, ...}}')
    if all(isinstance(entry, dict) and "sequences" in entry and "data" not in entry for entry in content.values()):
        raise DataError(
            f"{path}: names groups of sequences ({first_few(list(content))}), not their frames; of a published "
            "benchmark, give the file of masks, such as missing_results_lasher245.json"
        )
    masks = {}
    for name, entry in content.items():
        rows, frames = (entry.get("data"), entry.get("frames")) if isinstance(entry, dict) else (None, None)
        if not isinstance(rows, list) or type(frames) is not int:
            got = sorted(entry) if isinstance(entry, dict) else type(entry).__name__
            raise DataError(f'{path}: sequence {name} must be {{"frames": N, "data": [[RGB, X], ...]}}, got {got}')
        if len(rows) != frames:
            raise DataError(f'{path}: sequence {name} has "frames": {frames}, but {len(rows)} rows of data')
        for number, row in enumerate(rows):
            # true == 1 == 1.0, so that all of them are in the tuple; what isn't a number is not
            if not isinstance(row, list) or len(row) != 2 or not all(value in (0, 1) for value in row):
                raise DataError(
                    f"{path}: sequence {name}, row {number} (from 0) must be [RGB, X], each 0 (missing) or 1 (there), "
                    f"got {row!r}"
                )
        masks[name] = np.array(rows, bool).reshape(-1, 2)
    return masks


def with_masks(sequences: Iterable[Sequence], masks: Mapping[str, np.ndarray], origin: str) -> list[Sequence]:
    """Set `present` of sequences by masks from `read_masks`; those of further sequences are left aside.

    Raises:
        DataError: a sequence without mask, a mask of another length, or one whose first frame has no stream.
    """
    sequences = list(sequences)
    without = [sequence.name for sequence in sequences if sequence.name not in masks]
    if without:
        count = f"{len(without)} of {len(sequences)}"
        near = difflib.get_close_matches(without[0], list(masks), n=1)
        there = f"it has {len(masks)}, {f'nearest: {near[0]}' if near else first_few(sorted(masks))}"
        raise DataError(f"{origin}: no mask for {count} sequences: {first_few(without)} ({there})")
    masked = []
    for sequence in sequences:
        mask, frames = masks[sequence.name], len(sequence) + sequence.cut
        if len(mask) != frames:
            raise DataError(f"{origin}: the mask of {sequence.name} has {len(mask)} rows, the sequence {frames} frames")
        mask = mask[sequence.cut :]
        if not mask[0].any():
            raise DataError(
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
        stream: rgb or x; or either: in each gap one of both, drawn evenly, never both.
        share: of the frames after the first that lack a stream, in [0, 1]. At 1 the first lacks a single stream as
            well: it never was there; with either, the first frame is always complete.
        length: frames that are missing in a row, or several times as many where gaps touch.
        rng: draws the places of the gaps, and for either what is missing in them.

    Raises:
        ValueError: another stream, a share outside [0, 1], or length < 1.
    """
    if stream not in LACKING:
        raise ValueError(f"stream must be one of {', '.join(LACKING)}, got {stream!r}")
    if not 0 <= share <= 1:
        raise ValueError(f"share of missing frames must lie in [0, 1], got {share!r}")
    if length < 1:
        raise ValueError(f"length of a gap must be at least 1 frame, got {length!r}")
    mask = np.ones((frames, 2), bool)
    if share == 1 and stream != EITHER:
        mask[:, STREAMS.index(stream)] = False
        return mask
    numbers = np.arange(1, frames)
    gaps = rng.permutation(-(-len(numbers) // length))
    in_order = np.concatenate([numbers[gap * length : (gap + 1) * length] for gap in gaps]) if len(gaps) else numbers
    dropped = in_order[: round(share * len(numbers))]
    if stream == EITHER:
        lacks = rng.integers(len(STREAMS), size=len(gaps))
        mask[dropped, lacks[(dropped - 1) // length]] = False
    else:
        mask[dropped, STREAMS.index(stream)] = False
    return mask


@dataclass(frozen=True)
class RandomMasks:
    """Masks of a random share of the frames, the same for a sequence whatever is tracked beside it.

    Attributes:
        stream: rgb, x or either, see `random_mask`.
        share: of the frames after the first that is tracked, in [0, 1].
        gap: frames that are missing in a row.
        seed: decides, with the sequence's name, where the gaps lie.

    Raises:
        ValueError: as `random_mask`, or a negative seed.
    """

    stream: str
    share: float
    gap: int = GAP
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed of random masks must be 0 or more, got {self.seed}")
        random_mask(1, self.stream, self.share, self.gap, np.random.default_rng(0))

    def __str__(self) -> str:
        return f"{self.name}, gaps of {self.gap} frames, seed {self.seed}"

    @property
    def name(self) -> str:
        """How `parse_missing` reads it, e.g. x:0.3."""
        return f"{self.stream}:{self.share:g}"

    def draw(self, sequences: Iterable[Sequence]) -> dict[str, np.ndarray]:
        """Draw the mask of each sequence, (N, 2) bool by name, with the frames that were cut; those are complete."""
        masks = {}
        for sequence in sequences:
            rng = np.random.default_rng((self.seed, zlib.crc32(sequence.name.encode()), LACKING.index(self.stream)))
            mask = random_mask(len(sequence), self.stream, self.share, self.gap, rng)
            masks[sequence.name] = np.concatenate([np.ones((sequence.cut, 2), bool), mask])
        return masks


Missing = Path | RandomMasks
"""Which frames lack a stream: a file of masks, or what they are drawn by."""


def parse_missing(text: str, gap: int | None = None, seed: int = 0) -> Missing:
    """Read what the command line says about missing streams.

    Args:
        text: FILE.json; or RATE, rgb:RATE, x:RATE with a RATE in [0, 1], of which the first is short for either:RATE. A
            file called like a rate can be given as ./RATE.
        gap, seed: of `RandomMasks`; gap None: its default.

    Raises:
        ValueError: an unknown stream, a rate outside [0, 1], a gap < 1 or with a file, or a path that can't be read.
    """
    if match := RATE.fullmatch(text.strip()):
        stream = EITHER if match["stream"] is None else match["stream"].lower()
        try:
            return RandomMasks(stream, float(match["share"]), GAP if gap is None else gap, seed)
        except ValueError as error:
            raise ValueError(
                f"--missing {text}: {error}; give RATE, rgb:RATE, x:RATE or either:RATE, e.g. x:0.3, or a file of masks"
            ) from error
    path = user_path(text)
    if not path.exists():
        raise ValueError(
            f"--missing {text}: there is no such file, and it is no rate; give a JSON file of masks, or RATE, "
            "rgb:RATE, x:RATE or either:RATE, e.g. x:0.3"
        )
    if gap is not None:
        raise ValueError(
            f"--gap {gap} belongs to a rate, and --missing {text} is a file, which says where the gaps lie"
        )
    return path


def choose_masks(missing: Missing, sequences: Iterable[Sequence]) -> tuple[dict[str, np.ndarray], str]:
    """Read or draw masks.

    Args:
        missing: a file, or what masks are drawn by.
        sequences: that are tracked.

    Returns:
        Masks, (N, 2) bool by name (of a file, all), and what identifies them: a digest, or what they are drawn by.

    Raises:
        DataError: as `read_masks`.
    """
    if isinstance(missing, RandomMasks):
        return missing.draw(sequences), str(missing)
    masks = read_masks(missing)
    return masks, masks_digest(masks)


def missing_shares(masks: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Compute in which share of all frames RGB, and X, is missing."""
    rows = np.concatenate([np.ones((0, 2), bool), *masks.values()])
    rgb, x = (1 - rows.mean(axis=0)).tolist() if len(rows) else (0.0, 0.0)
    return rgb, x


def write_masks(path: Path, masks: Mapping[str, np.ndarray]) -> None:
    """Write masks, (N, 2) bool by sequence, in the form that `read_masks` reads, atomically."""
    lines = [
        f"{json.dumps(name)}: {json.dumps({'frames': len(mask), 'data': mask.astype(int).tolist()})}"
        for name, mask in masks.items()
    ]
    with atomic_write(path) as file:  # a sequence a line
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


# --- what takes the place of a stream: images that tell nothing that the other one does not


def black_rgb(frame: DecodedFrame) -> DecodedFrame:
    """Replace RGB of a frame of two streams by black; X is shared.

    Raises:
        ValueError: the frame has no X.
    """
    from patrack.recordings.frames import DecodedFrame, Plane  # here: reading masks needs no OpenCV

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
    from patrack.recordings.frames import DecodedFrame, Plane  # here: reading masks needs no OpenCV

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
