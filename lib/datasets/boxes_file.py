"""Text files of data sets: boxes, flags, name lists and tables of numbers.

Accepted everywhere: comma, tab or blank as separator, a UTF-8 BOM, CRLF, blank lines at the end.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lib.datasets.sequence import DatasetError

__all__ = [
    "parse_boxes",
    "parse_flags",
    "parse_names",
    "read_boxes",
    "read_flags",
    "read_names",
    "read_numbers",
    "read_text",
]

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


def parse_boxes(text: str, corners: bool = False, polygons: bool = False) -> tuple[np.ndarray, Problems]:
    """Boxes of a file, one per line, and what is wrong with it.

    A `nan` anywhere in a line makes the row NaN; so does a blank line before the end, and a line with a problem.

    Args:
        text: of the file.
        corners: lines are two opposite corners x1, y1, x2, y2, in any order, instead of x, y, w, h.
        polygons: a line may also be 4 points x1, y1, ..., x4, y4, of which the bounding box is taken.

    Returns:
        (L, 4) float64, xywh, pixels, and the problems, empty for a good file.
    """
    boxes, problems = _parse_rows(text, polygons)
    if corners:
        low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
        boxes = np.concatenate((low, high - low), axis=1)
    return boxes, problems


def _parse_rows(text: str, polygons: bool) -> tuple[np.ndarray, Problems]:
    rows = [_fields(line) for line in _lines(text)]
    if polygons:
        rows = [_bounding_box(row) if len(row) == 8 else row for row in rows]
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


def _bounding_box(row: list[str]) -> list[str]:
    try:
        points = np.array(row).astype(np.float64).reshape(4, 2)
    except ValueError:
        return row
    low, high = points.min(axis=0), points.max(axis=0)
    return [repr(float(value)) for value in (*low, *(high - low))]


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


def parse_flags(text: str, highest: int = 1) -> tuple[np.ndarray, Problems]:
    """Flags of a file, a number from 0 to `highest` per line, or all in one line with commas.

    Returns:
        (L,) bool: number is not 0; and what is wrong with the file (such a flag is False).
    """
    allowed = {form: value > 0 for value in range(highest + 1) for form in (str(value), f"{value}.0")}
    lines = _lines(text)
    in_one_line = len(lines) == 1 and "," in lines[0].strip(" \t,")
    fields = [field.strip(" \t,") for field in (lines[0].strip(" \t,").split(",") if in_one_line else lines)]
    wanted = "0 or 1" if highest == 1 else f"a number from 0 to {highest}"
    problems = [
        (1 if in_one_line else number, f"expected {wanted}, got {field[:60]!r}")
        for number, field in enumerate(fields, start=1)
        if field not in allowed
    ]
    return np.array([allowed.get(field, False) for field in fields], dtype=bool), problems


def parse_names(text: str, nested: bool = False) -> tuple[list[str], Problems]:
    """Sequence names of a list file, one per line, and what is wrong with it.

    A name is the name of one folder: nothing that leads elsewhere (`..`, a path, a drive) is let through. With `nested`
    a line may be a path below the data set, of which the last part is the name.
    """
    names: list[str] = []
    problems: Problems = []
    seen: set[str] = set()
    for number, line in enumerate(_lines(text), start=1):
        name = line.strip()
        if not name:
            continue
        above, _, last = name.rpartition("/")
        if nested and above and not set(above.split("/")) & {"", ".", ".."}:
            name = last
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


def read_boxes(path: Path, corners: bool = False, polygons: bool = False) -> np.ndarray:
    """(L, 4) float64 xywh boxes of a file; see `parse_boxes`. Raises DatasetError with path and line numbers."""
    boxes, problems = parse_boxes(read_text(path), corners, polygons)
    _refuse(path, problems)
    return boxes


def read_flags(path: Path, highest: int = 1) -> np.ndarray:
    """(L,) bool flags of a file; see `parse_flags`. Raises DatasetError with path and line numbers."""
    flags, problems = parse_flags(read_text(path), highest)
    _refuse(path, problems)
    return flags


def read_names(path: Path, nested: bool = False) -> list[str]:
    """Sequence names of a list file; see `parse_names`. Raises DatasetError with path and line numbers."""
    names, problems = parse_names(read_text(path), nested)
    _refuse(path, problems)
    return names


def read_numbers(path: Path) -> dict[str, int]:
    """A table `sequence,number` with one heading line. Raises DatasetError with path and line number."""
    numbers = {}
    for number, line in enumerate(_lines(read_text(path))[1:], start=2):
        name, _, value = line.rpartition(",")
        if not name or not value.strip().isdecimal():
            _refuse(path, [(number, f"expected a name and a number, got {line[:80]!r}")])
        numbers[name] = int(value)
    return numbers
