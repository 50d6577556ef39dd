"""Text files of data sets: boxes, flags and name lists.

Accepted everywhere: comma, tab or blank as separator, a UTF-8 BOM, CRLF, blank lines at the end.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lib.datasets.sequence import DatasetError

__all__ = ["parse_boxes", "parse_flags", "parse_names", "read_boxes", "read_flags", "read_names", "read_text"]

Problems = list[tuple[int, str]]  # (line number from 1, what is wrong)


def read_text(path: Path) -> str:
    """Text of a UTF-8 file without its byte order mark.

    Raises:
        DatasetError: no such file, or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not a UTF-8 text file ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror}") from error


def _lines(text: str) -> list[str]:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _fields(line: str) -> list[str]:
    line = line.strip(" \t,")
    return line.split(",") if "," in line else line.split()


def parse_boxes(text: str) -> tuple[np.ndarray, Problems]:
    """Boxes of a file, one xywh per line, and what is wrong with it.

    A `nan` anywhere in a line makes the row NaN; so does a blank line before the end, and a line with a problem.

    Returns:
        (L, 4) float64, xywh, pixels, and the problems, empty for a good file.
    """
    rows = [_fields(line) for line in _lines(text)]
    if not rows:
        return np.empty((0, 4)), []
    if all(len(row) == 4 for row in rows):
        try:
            boxes = np.array(rows).astype(np.float64)
        except ValueError:
            boxes = None
        if boxes is not None and not np.isinf(boxes).any():
            boxes[np.isnan(boxes).any(axis=1)] = np.nan
            return boxes, []
    return _parse_boxes_line_by_line(rows)


def _parse_boxes_line_by_line(rows: list[list[str]]) -> tuple[np.ndarray, Problems]:
    boxes = np.full((len(rows), 4), np.nan)
    problems: Problems = []
    for i, row in enumerate(rows):
        if not row:
            continue
        if len(row) != 4:
            problems.append((i + 1, f"expected 4 numbers x,y,w,h, got {len(row)}: {','.join(row)[:60]!r}"))
            continue
        try:
            box = np.array([float(field) for field in row])
        except ValueError:
            problems.append((i + 1, f"expected 4 numbers x,y,w,h, got {','.join(row)[:60]!r}"))
            continue
        if np.isinf(box).any():
            problems.append((i + 1, f"infinite number in {','.join(row)[:60]!r}"))
        elif not np.isnan(box).any():
            boxes[i] = box
    return boxes, problems


def parse_flags(text: str) -> tuple[np.ndarray, Problems]:
    """Flags of a file, a 0 or 1 per line, as (L,) bool, and what is wrong with it (such a flag becomes 0)."""
    flags: list[bool] = []
    problems: Problems = []
    for number, line in enumerate(_lines(text), start=1):
        field = line.strip(" \t,")
        if field not in ("0", "1", "0.0", "1.0"):
            problems.append((number, f"expected 0 or 1, got {field[:60]!r}"))
        flags.append(field in ("1", "1.0"))
    return np.array(flags, dtype=bool), problems


def parse_names(text: str) -> tuple[list[str], Problems]:
    """Sequence names of a list file, one per line, and what is wrong with it.

    A name is the name of one folder: nothing that leads elsewhere (`..`, a path, a drive) is let through.
    """
    names: list[str] = []
    problems: Problems = []
    seen: set[str] = set()
    for number, line in enumerate(_lines(text), start=1):
        name = line.strip()
        if not name:
            continue
        if name in (".", "..") or any(char in name for char in "/\\:\0"):
            problems.append((number, f"{name[:80]!r} is not the name of a folder"))
        elif name in seen:
            problems.append((number, f"{name!r} is listed twice"))
        else:
            seen.add(name)
            names.append(name)
    return names, problems


def _refuse(path: Path, problems: Problems) -> None:
    if problems:
        shown = "; ".join(f"line {number}: {message}" for number, message in problems[:5])
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise DatasetError(f"{path}: {shown}{more}")


def read_boxes(path: Path) -> np.ndarray:
    """(L, 4) float64 xywh boxes of a file; see `parse_boxes`. Raises DatasetError with path and line numbers."""
    boxes, problems = parse_boxes(read_text(path))
    _refuse(path, problems)
    return boxes


def read_flags(path: Path) -> np.ndarray:
    """(L,) bool flags of a file; see `parse_flags`. Raises DatasetError with path and line numbers."""
    flags, problems = parse_flags(read_text(path))
    _refuse(path, problems)
    return flags


def read_names(path: Path) -> list[str]:
    """Sequence names of a list file; see `parse_names`. Raises DatasetError with path and line numbers."""
    names, problems = parse_names(read_text(path))
    _refuse(path, problems)
    return names
