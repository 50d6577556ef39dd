"""Text files of data sets, in a folder or an archive: boxes, flags, name lists, tables of numbers, attributes.

Training and scoring read them by the functions here. Accepted everywhere: comma, tab or blank as separator, a UTF-8
BOM, CRLF, blank lines at the end. A file is given as a `pathlib.Path`, or as what `lib.evaluation.files` has for one
in an archive.
"""

from __future__ import annotations

import functools
import warnings
from typing import Protocol

import numpy as np

from lib.datasets.catalog import PACKAGED_LISTS, DataSet
from patrack.files import safe_name
from patrack.recordings.sequence import DataError

__all__ = [
    "SEPARATORS",
    "TextPath",
    "first_number",
    "load_rows",
    "parse_boxes",
    "parse_flags",
    "parse_names",
    "parse_number",
    "read_attributes",
    "read_boxes",
    "read_flags",
    "read_names",
    "read_numbers",
    "read_text",
]

Problems = list[tuple[int, str]]  # (line number from 1, what is wrong)

SEPARATORS = str.maketrans(",\t", "  ")
NAMES_FILE = "SequencesName.txt"


class TextPath(Protocol):
    """The part of `pathlib.Path` that the functions here need."""

    def is_file(self) -> bool: ...
    def read_text(self, encoding: str | None = None) -> str: ...
    def __truediv__(self, name: str) -> TextPath: ...
    def __hash__(self) -> int: ...


def read_text(path: TextPath) -> str:
    """Read a UTF-8 file; its byte order mark is left out.

    Raises:
        DataError: no such file, or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a UTF-8 text file ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _lines(text: str) -> list[str]:
    """Lines of a text, without the blank ones at its end."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip()
    return text.split("\n") if text else []


def parse_number(text: str) -> float:
    """Read a number; not `1_0`, a damaged `1.0`, which Python takes for 10. Raises ValueError."""
    if "_" in text:
        raise ValueError(f"not a number: {text!r}")
    return float(text)


def load_rows(lines: list[str]) -> np.ndarray | None:
    """Read (N, C) float64 from lines of numbers between blanks, blank lines skipped; None if they are anything else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return np.loadtxt(lines, ndmin=2, comments=None)
    except (ValueError, UserWarning, DeprecationWarning):
        return None


def parse_boxes(
    text: str, corners: bool = False, polygons: bool = False, complete: bool = False
) -> tuple[np.ndarray, Problems]:
    """Parse a file with one box per line.

    A `nan` anywhere in a line makes the row NaN; so does a blank line before the end, and a line with a problem.

    Args:
        text: of the file.
        corners: lines are corners x1, y1, x2, y2 (left top, right bottom) instead of x, y, w, h. As in the toolkit of
            GTOT w = x2 - x1 without "+ 1", negative where they stand the other way round.
        polygons: a line may also be 4 points x1, y1, ..., x4, y4, of which the bounding box is taken.
        complete: an empty file and a blank line before the end are problems, too.

    Returns:
        (L, 4) float64, xywh, pixels, and the problems, empty for a good file.
    """
    boxes: np.ndarray | None = None
    problems: Problems = []
    # The fast way, which nearly every file takes. The C parser skips blank lines and would take two commas for one,
    # which the numbers of rows and commas give away.
    lines = _lines(text.translate(SEPARATORS))
    if lines and text.count(",") in (0, 3 * len(lines)):
        boxes = load_rows(lines)
    if boxes is None or boxes.shape != (len(lines), 4) or np.isinf(boxes).any():
        boxes, problems = _parse_line_by_line(_lines(text), polygons, complete)
    boxes[np.isnan(boxes).any(axis=1)] = np.nan
    if corners:
        boxes[:, 2:] -= boxes[:, :2]
    return boxes, problems


def _parse_line_by_line(lines: list[str], polygons: bool, complete: bool) -> tuple[np.ndarray, Problems]:
    """Boxes and problems as `parse_boxes` gives them, at any content."""
    boxes = np.full((len(lines), 4), np.nan)
    problems: Problems = [] if lines or not complete else [(1, "empty; expected a row of 4 numbers per frame")]
    for i, line in enumerate(lines):
        line = line.strip(" \t,")
        doubled = ",," in line.replace(" ", "").replace("\t", "")
        fields = line.split(",") if doubled else line.translate(SEPARATORS).split()
        shown = repr(line[:60])
        if not fields:
            if complete:
                problems.append((i + 1, "blank line between rows; expected one row per frame"))
            continue
        try:
            values = np.array([parse_number(field) for field in fields])
        except ValueError:
            values = None
        if values is not None and polygons and len(values) == 8:
            points = values.reshape(4, 2)
            values = np.concatenate((points.min(axis=0), np.ptp(points, axis=0)))
        if len(fields) != 4 and (values is None or len(values) != 4):
            problems.append((i + 1, f"expected 4 numbers x,y,w,h, got {len(fields)}: {shown}"))
        elif values is None:
            problems.append((i + 1, f"expected 4 numbers x,y,w,h separated by comma, tab or blank, got {shown}"))
        elif np.isinf(values).any():
            problems.append((i + 1, f"infinite number in {shown}; expected pixels"))
        else:
            boxes[i] = values
    return boxes, problems


def parse_flags(text: str, highest: int = 1) -> tuple[np.ndarray, Problems]:
    """Parse a file with a number from 0 to `highest` per line, or all in one line with commas.

    Returns:
        (L,) bool: number is not 0; and the problems, empty for a good file (such a flag is False).
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
    """Parse a list of sequence names, one per line.

    A name is the name of one folder: nothing that leads elsewhere is let through, see `patrack.files.safe_name`. With
    `nested` a line may be a path below the data set, of which the last part is the name.
    """
    names: dict[str, None] = {}
    problems: Problems = []
    for number, line in enumerate(_lines(text), start=1):
        name = line.strip()
        above, _, last = name.rpartition("/")
        if nested and above and not set(above.split("/")) & {"", ".", ".."}:
            name = last
        if not name:
            continue
        try:
            safe_name(name)
        except ValueError as error:
            problems.append((number, str(error)))
            continue
        if name in names:
            problems.append((number, f"{name!r} is listed twice"))
        names[name] = None
    return list(names), problems


def _refuse(path: TextPath, problems: Problems) -> None:
    if problems:
        shown = "; ".join(f"line {number}: {message}" for number, message in problems[:5])
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise DataError(f"{path}: {shown}{more}")


def read_boxes(path: TextPath, corners: bool = False, polygons: bool = False, complete: bool = False) -> np.ndarray:
    """Read (L, 4) float64 xywh boxes; see `parse_boxes`. Raises DataError with path and line numbers."""
    boxes, problems = parse_boxes(read_text(path), corners, polygons, complete)
    _refuse(path, problems)
    return boxes


def read_flags(path: TextPath, highest: int = 1) -> np.ndarray:
    """Read (L,) bool flags; see `parse_flags`. Raises DataError with path and line numbers."""
    flags, problems = parse_flags(read_text(path), highest)
    _refuse(path, problems)
    return flags


def read_names(path: TextPath, nested: bool = False) -> list[str]:
    """Read a list of sequence names; see `parse_names`. Raises DataError with path and line numbers."""
    names, problems = parse_names(read_text(path), nested)
    _refuse(path, problems)
    return names


@functools.cache
def read_numbers(path: TextPath) -> dict[str, int]:
    """Read a table `sequence,number` with one heading line. Raises DataError with path and line number."""
    numbers = {}
    for number, line in enumerate(_lines(read_text(path))[1:], start=2):
        name, _, value = line.rpartition(",")
        if not name or not value.strip().isdecimal() or len(value) > 18:
            _refuse(path, [(number, f"expected a name and a number, got {line[:80]!r}")])
        numbers[name] = int(value)
    return numbers


def first_number(file: str | None, name: str) -> int:
    """Number of a sequence in a table in `lib/datasets/splits/`; 0 if it isn't in it, or if there is no table."""
    return 0 if file is None else read_numbers(PACKAGED_LISTS / file).get(name, 0)


def read_attributes(root: TextPath, name: str, data_set: DataSet) -> tuple[str, ...]:
    """Read the attributes of a sequence; none if there is no file about it.

    Raises:
        DataError: a file of flags that does not fit `data_set.attribute_names`.
    """
    folder, attributes = root / data_set.attribute_folder, data_set.attribute_names
    if data_set.attributes_by_column:
        return _attributes_by_column(folder, attributes).get(name, ())
    path = folder / f"{name}.txt"
    if not path.is_file():
        return ()
    text = read_text(path)
    if not attributes:
        return tuple(field.strip() for field in text.replace("\n", ",").split(",") if field.strip())
    return _flagged(path, text, attributes, " ".join(attributes))


@functools.lru_cache(maxsize=4)
def _attributes_by_column(folder: TextPath, attributes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Attributes by sequence from a folder with one file per attribute."""
    if not (folder / NAMES_FILE).is_file():
        return {}
    names = tuple(read_text(folder / NAMES_FILE).split())
    carried: dict[str, tuple[str, ...]] = dict.fromkeys(names, ())
    for attribute in attributes:
        path = folder / f"{attribute}.txt"
        for name in _flagged(path, read_text(path), names, f"one per line of {NAMES_FILE}"):
            carried[name] = (*carried[name], attribute)
    return carried


def _flagged(path: TextPath, text: str, names: tuple[str, ...], meaning: str) -> tuple[str, ...]:
    """Names whose number in a text of 0 and 1 is 1."""
    fields = text.replace(",", " ").split()
    if len(fields) != len(names) or not set(fields) <= {"0", "1"}:
        raise DataError(f"{path}: expected {len(names)} flags of 0 or 1 ({meaning}), got {fields[:20]}")
    return tuple(name for name, flag in zip(names, fields, strict=True) if flag == "1")
