"""Text and binary files to numbers, with errors that name the line: boxes, columns, trajectories of the VOT toolkit."""

from __future__ import annotations

import struct
import warnings

import numpy as np

__all__ = ["decode_trajectory", "parse_column", "parse_regions", "parse_rows"]

SEPARATORS = str.maketrans(",\t", "  ")
TRAJECTORY_VERSION = 1  # of binary trajectories


def parse_rows(text: str, where: str, columns: tuple[int, ...]) -> tuple[np.ndarray, str]:
    """Parse rows of numbers separated by commas, tabs, blanks or a mix of them.

    Blank lines at the end are ignored, others are errors, because row i belongs to frame i.

    Args:
        text: content of the file.
        where: its name, for errors.
        columns: allowed numbers of columns.

    Returns:
        (N, columns) float64, in which NaN is allowed, and the name of the separator: comma, tab, blank or mixed.

    Raises:
        ValueError: for an empty file, a row that is no row of numbers, another number of columns, or an infinite
            number; the message names file and line.
    """
    lines = text.rstrip().split("\n")
    if lines == [""]:
        raise ValueError(f"{where}: empty; expected rows of {_either(columns)} numbers")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            rows = np.loadtxt(text.rstrip().translate(SEPARATORS).split("\n"), ndmin=2, comments=None)
    except (ValueError, UserWarning, DeprecationWarning):
        raise ValueError(f"{where}:{_first_bad_line(lines, columns)}") from None
    if rows.shape[1] not in columns or len(rows) != len(lines) or np.isinf(rows).any():
        raise ValueError(f"{where}:{_first_bad_line(lines, columns)}")
    if "," in text and "\t" in text:
        return rows, "mixed"
    return rows, "comma" if "," in text else "tab" if "\t" in text else "blank"


def parse_column(text: str, where: str) -> np.ndarray:
    """Parse one number per line; an empty line is 0 (the VOT toolkit's reading of a missing confidence).

    Returns:
        (N,) float64; NaN is allowed.

    Raises:
        ValueError: for a line that is no number; the message names file and line.
    """
    lines = text.removesuffix("\n").split("\n")
    try:
        return np.array([line.strip() or "0" for line in lines], dtype=np.float64)
    except ValueError:
        raise ValueError(f"{where}:{_first_bad_line([line or '0' for line in lines], (1,))}") from None


def parse_regions(text: str, where: str) -> np.ndarray:
    """Parse a VOT trajectory: 4 numbers `x, y, w, h` per line, or one number (a special code, "nothing reported").

    Returns:
        (N, 4) float64 xywh; a row of NaN where nothing was reported.

    Raises:
        ValueError: for any other line; the message names file and line.
    """
    regions = []
    for number, line in enumerate(text.rstrip().split("\n"), start=1):
        values = _numbers(line)
        if values is None or len(values) not in (1, 4):
            raise ValueError(f"{where}:{number}: expected 4 numbers or one special code, got {line[:80]!r}")
        regions.append(values if len(values) == 4 else [np.nan] * 4)
    return np.array(regions)


def decode_trajectory(data: bytes, where: str) -> str:
    """Turn a binary trajectory, which newer versions of the toolkit write by default, into the text it stands for.

    Args:
        data: content of a `.bin` file.
        where: its name, for errors.

    Returns:
        Per frame a line `x,y,w,h`, or one number, a special code.

    Raises:
        ValueError: another version, truncated or overlong data, or a region that is neither a rectangle nor a code.
    """
    lines, position = [], struct.calcsize("<hI")
    try:
        version, count = struct.unpack_from("<hI", data)
        if version != TRAJECTORY_VERSION:
            raise ValueError(f"{where}: version {version} of binary trajectories; only {TRAJECTORY_VERSION} is known")
        for number in range(count):
            kind = data[position]
            if kind > 1:
                raise ValueError(f"{where}: frame {number} (from 0) is of region type {kind}; only boxes are scored")
            form = "<ffff" if kind == 1 else "<I"
            lines.append(",".join(repr(value) for value in struct.unpack_from(form, data, position + 1)))
            position += 1 + struct.calcsize(form)
    except (struct.error, IndexError):
        raise ValueError(f"{where}: truncated after {len(lines)} frames ({len(data)} bytes)") from None
    if position != len(data):
        raise ValueError(f"{where}: {len(data) - position} bytes after the last of {count} frames")
    return "\n".join(lines)


def _numbers(line: str) -> list[float] | None:
    try:
        return [float(token) for token in line.translate(SEPARATORS).split()]
    except ValueError:
        return None


def _first_bad_line(lines: list[str], columns: tuple[int, ...]) -> str:
    """Number of the first offending line and what is wrong with it."""
    width = None
    for number, line in enumerate(lines, start=1):
        values = _numbers(line)
        if values is None:
            return f"{number}: expected {_either(columns)} numbers separated by comma, tab or blank, got {line[:80]!r}"
        if not values:
            return f"{number}: blank line between rows; expected one row per frame"
        if len(values) not in columns or (width is not None and len(values) != width):
            return f"{number}: expected {width or _either(columns)} numbers, got {len(values)}: {line[:80]!r}"
        if np.isinf(values).any():
            return f"{number}: infinite number in {line[:80]!r}; expected pixels"
        width = len(values)
    return f"1: not rows of numbers; expected {_either(columns)} per line"


def _either(columns: tuple[int, ...]) -> str:
    return " or ".join(str(count) for count in columns)
