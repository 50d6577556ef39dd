"""A folder or an archive of text files, read the same way, and their content as rows, columns and trajectories.

Nothing is ever unpacked to disk. Errors name the file, and the line where there is one.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import numpy as np

from lib.datasets.parsing import SEPARATORS, load_rows, parse_number
from patrack.files import user_path

__all__ = [
    "MAX_ARCHIVE",
    "MAX_BYTES",
    "MAX_LINE",
    "FileTree",
    "ResultTable",
    "TreePath",
    "decode_trajectory",
    "parse_column",
    "parse_regions",
    "parse_rows",
    "parse_table",
    "spell_out_codes",
]

MAX_BYTES = 64 * 2**20  # of one text file; the longest real one has under 1 MB
MAX_LINE = 2**18  # characters; all flags of a long sequence in one line have under 2**16
MAX_ARCHIVE = 2**30  # of all files in a tar archive, which is read as a whole
COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}  # tar files, by their first bytes
TRAJECTORY_VERSION = 1  # of binary trajectories
UNREADABLE = (
    LookupError,
    UnicodeDecodeError,
    struct.error,
    OSError,
    EOFError,
    RuntimeError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
)


class FileTree:
    """Text files below a folder or inside an archive, by their name relative to it (`/` between folders).

    Args:
        path: folder; `.zip`, `.tar`, `.tar.gz`, `.tgz` or another tar file; or a folder inside one, `FILE.zip/FOLDER`.
        flag: what the user called it, for error messages, e.g. "--results A".

    Raises:
        FileNotFoundError: if `path` does not exist.
        ValueError: if it is neither a folder nor a readable archive, or the archive has an absolute name or one with
            `..`, which no honest result archive needs, or one name twice, or (tar) more than `MAX_ARCHIVE` bytes.
    """

    def __init__(self, path: str | Path, flag: str = "path") -> None:
        self.path = user_path(path)
        self._archived: dict[str, tuple[int, Callable[[], bytes]]] | None = None  # size and reader by name
        self._folders: dict[str, set[str]] = {}
        self._files: dict[str, set[str]] = {}
        if self.path.is_dir():
            return
        archive = next((place for place in (self.path, *self.path.parents) if place.is_file()), None)
        if archive is None:
            raise FileNotFoundError(f"{flag}: there is no {self.path}; give a folder or a zip or tar archive")
        try:
            members = _zip_members(archive) if zipfile.is_zipfile(archive) else _tar_members(archive)
            if members is None:
                said = "give the folder of the files, or unpack another kind of archive first"
                raise ValueError(f"{flag}: {archive} is neither a folder nor a zip or tar archive; {said}")
        except UNREADABLE as error:
            raise ValueError(f"{flag}: {archive} is no readable archive ({error})") from error

        self._archived = {}
        inside = self.path.relative_to(archive).parts
        for name, size, read in members:
            parts = PurePosixPath(name.replace("\\", "/"))
            if parts.is_absolute() or ".." in parts.parts or (parts.parts and ":" in parts.parts[0]):
                raise ValueError(f"{flag}: {archive} holds the unsafe name {name!r} (absolute or with '..')")
            if not parts.parts or _is_litter(parts.parts) or parts.parts[: len(inside)] != inside:
                continue
            stored = "/".join(parts.parts[len(inside) :])
            if stored in self._archived:
                raise ValueError(f"{flag}: {archive} holds {stored!r} twice; which one counts is ambiguous")
            self._archived[stored] = size, read
            folder, _, last = stored.rpartition("/")
            self._files.setdefault(folder, set()).add(last)
            while folder:
                folder, _, last = folder.rpartition("/")
                self._folders.setdefault(folder, set()).add(last)
        if inside and not self._archived:
            raise FileNotFoundError(f"{flag}: {archive} holds no folder {'/'.join(inside)}")

    def __truediv__(self, name: str) -> TreePath:
        return TreePath(self, name)

    def describe(self, name: str = "") -> str:
        """Name a file or folder for a message, as a user can give it again: `folder/file` or `archive.zip/file`."""
        return str(self.path / name)

    def files(self, folder: str = "") -> list[str]:
        """List the files directly in `folder`: sorted names without it; none if there is no such folder."""
        if self._archived is not None:
            return sorted(self._files.get(folder.rstrip("/"), ()))
        place = self.path / folder
        return sorted(item.name for item in place.iterdir() if item.is_file()) if place.is_dir() else []

    def folders(self, folder: str = "") -> list[str]:
        """List the folders directly in `folder`: sorted names without it."""
        if self._archived is not None:
            return sorted(self._folders.get(folder.rstrip("/"), ()))
        place = self.path / folder
        return sorted(item.name for item in place.iterdir() if item.is_dir()) if place.is_dir() else []

    def walk(self, depth: int) -> list[str]:
        """List all files down to `depth` folders below the top, sorted; without what macOS adds to archives."""
        if self._archived is not None:
            return sorted(name for name in self._archived if name.count("/") <= depth)
        found = []
        for place, folders, files in os.walk(self.path, followlinks=True):
            above = Path(place).relative_to(self.path).parts
            found += ["/".join((*above, name)) for name in files if not _is_litter((*above, name))]
            folders[:] = folders if len(above) < depth else []
        return sorted(found)

    def has(self, name: str) -> bool:
        """Tell whether the file is there."""
        return name in self._archived if self._archived is not None else (self.path / name).is_file()

    def read(self, name: str) -> str:
        """Read a text file, line ends as `\\n`, without a byte-order mark; a VOT `.bin` file in its text form.

        Raises:
            ValueError: if it is larger than `MAX_BYTES`, has a line longer than `MAX_LINE`, is not UTF-8 text, or
                cannot be read; the message names it.
        """
        try:
            if self._archived is not None:
                size, read = self._archived[name]
            else:
                size, read = (self.path / name).stat().st_size, (self.path / name).read_bytes
            if size > MAX_BYTES:
                raise ValueError(f"{self.describe(name)}: {size} bytes, expected a text file below {MAX_BYTES}")
            data = read()
            text = decode_trajectory(data, self.describe(name)) if name.endswith(".bin") else data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{self.describe(name)}: not a text file (byte {error.start} is not UTF-8); save it as UTF-8 text"
            ) from error
        except UNREADABLE as error:
            raise ValueError(f"{self.describe(name)}: cannot be read ({error})") from error
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        longest = max(map(len, text.split("\n")))
        if longest > MAX_LINE:
            raise ValueError(f"{self.describe(name)}: a line of {longest} characters, expected at most {MAX_LINE}")
        return text


def _is_litter(parts: tuple[str, ...]) -> bool:
    """Tell whether macOS put that file beside the user's own."""
    return "__MACOSX" in parts or parts[-1].startswith("._")


Members = list[tuple[str, int, Callable[[], bytes]]]  # name, size and reader of every file


def _zip_members(path: Path) -> Members:
    archive = zipfile.ZipFile(path)  # stays open: files are read when they are asked for
    return [(i.filename, i.file_size, partial(archive.read, i)) for i in archive.infolist() if i.filename[-1:] != "/"]


class _Measured:
    """A file that a tar archive is read from: what a header states is never more than memory holds."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size > MAX_BYTES:
            raise OSError(f"an entry states {size} bytes, allowed are {MAX_BYTES}")
        return self.file.read(size)


def _tar_members(path: Path) -> Members | None:
    """Read a tar file in one pass, because going back in a compressed one means to begin again; None: it is no tar."""
    members: Members = []
    total = 0
    with path.open("rb") as raw:
        start = raw.read(6)
    opened: Any = next((read for mark, read in COMPRESSED.items() if start.startswith(mark)), open)
    with opened(path, "rb") as file:
        try:
            archive = tarfile.open(fileobj=cast(IO[bytes], _Measured(file)), mode="r:")
        except tarfile.ReadError:
            return None
        for member in archive:
            total += member.size
            if total > MAX_ARCHIVE:
                raise ValueError(f"{path}: more than {MAX_ARCHIVE} bytes in all; unpack it and give the folder")
            content = archive.extractfile(member) if member.isfile() and member.size <= MAX_BYTES else None
            if content is not None:
                members.append((member.name, member.size, partial(bytes, content.read())))
            elif not member.isdir():
                members.append((member.name, member.size, partial(_refuse_member, member.name)))
    return members


def _refuse_member(name: str) -> bytes:
    raise OSError(f"{name} is a link or no regular file; pack the archive with tar --dereference")


@dataclass(frozen=True)
class TreePath:
    """A file or folder in a `FileTree`, with the part of `pathlib.Path` that `lib.datasets.parsing` needs."""

    tree: FileTree
    name: str

    def __truediv__(self, name: str) -> TreePath:
        return TreePath(self.tree, f"{self.name.rstrip('/')}/{name}" if self.name else name)

    def __str__(self) -> str:
        return self.tree.describe(self.name)

    def is_file(self) -> bool:
        """Tell whether the file is there."""
        return self.tree.has(self.name)

    def read_text(self, encoding: str | None = "utf-8-sig") -> str:
        """Read it as `FileTree.read` does, always as UTF-8."""
        return self.tree.read(self.name)


SEPARATORS_OF_RESULTS = SEPARATORS | str.maketrans(";", " ")
SEPARATOR_NAMES = {",": "comma", "\t": "tab", ";": "semicolon"}


def parse_rows(text: str, where: str, columns: tuple[int, ...]) -> tuple[np.ndarray, str]:
    """Parse rows of numbers separated by commas, semicolons, tabs, blanks or a mix of them.

    Blank lines at the end are ignored, others are errors, because row i belongs to frame i.

    Args:
        text: content of the file.
        where: its name, for errors, which name the line, too.
        columns: allowed numbers of columns.

    Returns:
        (N, columns) float64, in which NaN is allowed, and the name of the separator: comma, semicolon, tab, blank or
        mixed.

    Raises:
        ValueError: an empty file, a row that is no row of numbers, an empty field, commas and semicolons in one file
            (decimal commas, as they may be), another number of columns, or an infinite number.
    """
    text = text.rstrip()
    if not text:
        raise ValueError(f"{where}: empty; expected rows of {_either(columns)} numbers")
    lines = text.split("\n")
    used = [name for character, name in SEPARATOR_NAMES.items() if character in text]
    close = "\n" + text.replace(" ", "").replace("\t", "")
    empty = any(bad in close for bad in (",,", ";;", "\n,", "\n;")) or "\t\t" in text  # would move those behind it
    rows = None
    if not empty and not {"comma", "semicolon"} <= set(used):
        rows = load_rows(text.translate(SEPARATORS_OF_RESULTS).split("\n"))
    if rows is None or rows.shape[1] not in columns or len(rows) != len(lines) or np.isinf(rows).any():
        raise ValueError(f"{where}:{_first_bad_line(lines, columns)}")
    return rows, used[0] if len(used) == 1 else "mixed" if used else "blank"


@dataclass(frozen=True)
class ResultTable:
    """Rows of a one-pass result file.

    Attributes:
        boxes: (N, 4) or (N, 8), pixels, as written; NaN where a named column is empty.
        scores: (N,), or None if there is no column for them.
        separator: its name.
        columns: what they are, in words; the same for all files of one writer.
        corners: whether the four numbers are corners, where the names of the columns say so; None: they don't.
    """

    boxes: np.ndarray
    scores: np.ndarray | None
    separator: str
    columns: str
    corners: bool | None = None


UNNAMED = {4: "4 numbers", 5: "4 numbers and a score", 8: "8 corner numbers"}  # meaning of columns by their number
XYWH = (("x", "x1", "left", "xmin"), ("y", "y1", "top", "ymin"), ("w", "width"), ("h", "height"))
CORNERS = (*XYWH[:2], ("x2", "right", "xmax"), ("y2", "bottom", "ymax"))
SCORE = ("score", "scores", "conf", "confidence")
FRAME = ("frame", "frame_id", "frame_index", "frame_number", "index")


def parse_table(text: str, where: str) -> ResultTable:
    """Parse a one-pass result file: rows of numbers, or a table whose first line names the columns.

    Without names, 4 numbers are a box and 8 are its corners. A fifth one is the score, unless the first one counts the
    rows from 0 or 1: `frame, x, y, w, h` or, with a sixth one, `frame, x, y, w, h, score`. With names, columns may come
    in any order, and others are left alone. Frame numbers must count the rows without a gap.

    Args:
        text: content of the file.
        where: its name, for errors, which name the line, too.

    Raises:
        ValueError: as `parse_rows`; a first line that names no box; frame numbers with a gap.
    """
    first = text.lstrip().split("\n", 1)[0].strip()
    if _numbers(first) is None and any(character.isalpha() for character in first):
        return _parse_named(text, where)
    rows, separator = parse_rows(text, where, (4, 5, 6, 8))
    columns = UNNAMED.get(rows.shape[1], "")
    if rows.shape[1] in (5, 6):
        counts = rows[0, 0] in (0, 1) and np.array_equal(rows[:, 0], np.round(rows[:, 0])) and len(rows) > 1
        if counts and (np.diff(rows[:, 0]) > 0).all():
            _check_frames(rows[:, 0], where, 1)
            rows = rows[:, 1:]
            columns = f"frame number, {UNNAMED[rows.shape[1]]}"
        elif rows.shape[1] == 6:
            raise ValueError(
                f"{where}:1: 6 numbers, which are read as frame,x,y,w,h,score only if the first ones count the rows "
                f"from 0 or 1; else name the columns in a first line: {text.split(chr(10), 1)[0][:80]!r}"
            )
    scores = rows[:, 4] if rows.shape[1] == 5 else None
    return ResultTable(rows[:, :4] if rows.shape[1] == 5 else rows, scores, separator, columns)


def _parse_named(text: str, where: str) -> ResultTable:
    """Parse a table whose first line names the columns."""
    heading, *lines = text.rstrip().split("\n")
    heading = heading.lstrip("# \t")
    separator = next((character for character in SEPARATOR_NAMES if character in heading), None)

    def split(line: str) -> list[str]:
        return [field.strip(" \t\"'") for field in line.strip("\r ").split(separator)]

    names = [name.lower() for name in split(heading)]
    place: dict[str, int] = {}
    for meaning in {*XYWH, *CORNERS, SCORE, FRAME}:
        at = [k for k, name in enumerate(names) if name in meaning]
        if len(at) > 1:
            raise ValueError(f"{where}:1: two columns for the same thing, {names[at[0]]!r} and {names[at[1]]!r}")
        if at:
            place[meaning[0]] = at[0]
    box = next((form for form in (XYWH, CORNERS) if all(meaning[0] in place for meaning in form)), None)
    if box is None:
        raise ValueError(
            f"{where}:1: expected numbers, or names of columns with a box (x,y,w,h or x1,y1,x2,y2; also frame, score), "
            f"got {heading[:80]!r}"
        )
    if not lines:
        raise ValueError(f"{where}: no rows below the names of the columns")
    table = [split(line) for line in lines]
    for number, fields in enumerate(table, start=2):
        if len(fields) != len(names):
            word = "blank line between rows; " if fields == [""] else ""
            raise ValueError(f"{where}:{number}: {word}expected {len(names)} fields as in line 1, got {len(fields)}")

    def column(meaning: tuple[str, ...]) -> np.ndarray:
        at = place[meaning[0]]
        values = np.empty(len(table))
        for row, fields in enumerate(table):
            try:
                values[row] = parse_number(fields[at] or "nan")
            except ValueError:
                raise ValueError(f"{where}:{row + 2}: {names[at]} is {fields[at][:40]!r}, expected a number") from None
        if np.isinf(values).any():
            raise ValueError(f"{where}:{int(np.argmax(np.isinf(values))) + 2}: {names[at]} is infinite")
        return values

    if FRAME[0] in place:
        _check_frames(column(FRAME), where, 2)
    boxes = np.stack([column(meaning) for meaning in box], axis=1)
    return ResultTable(
        boxes,
        column(SCORE) if SCORE[0] in place else None,
        SEPARATOR_NAMES.get(separator or "", "blank"),
        f"columns {' '.join(name or '?' for name in names)}",
        box is CORNERS,
    )


def _check_frames(frames: np.ndarray, where: str, first_line: int) -> None:
    """Refuse frame numbers that do not count the rows, because row i belongs to frame i."""
    bad = np.flatnonzero(np.diff(frames) != 1)
    if len(bad):
        before, after = frames[bad[0]], frames[bad[0] + 1]
        raise ValueError(
            f"{where}:{first_line + int(bad[0]) + 1}: frame {after:g} follows frame {before:g}; expected a row for "
            "every frame, in order"
        )


def parse_column(text: str, where: str) -> np.ndarray:
    """Parse one number per line to (N,) float64; an empty line is 0, as the VOT toolkit reads a missing confidence.

    Raises:
        ValueError: a line that is no number.
    """
    lines = text.removesuffix("\n").split("\n")
    try:
        return np.array([parse_number(line.strip() or "0") for line in lines])
    except ValueError:
        raise ValueError(f"{where}:{_first_bad_line([line or '0' for line in lines], (1,))}") from None


def parse_regions(text: str, where: str) -> np.ndarray:
    """Parse a VOT trajectory: 4 numbers `x, y, w, h` per line, or one number (a special code, "nothing reported").

    Returns:
        (N, 4) float64 xywh; a row of NaN where nothing was reported.

    Raises:
        ValueError: any other line.
    """
    regions = []
    for number, line in enumerate(text.rstrip().split("\n"), start=1):
        values = _numbers(line)
        if values is None or len(values) not in (1, 4) or np.isinf(values).any():
            raise ValueError(f"{where}:{number}: expected 4 numbers or one special code, got {line[:80]!r}")
        regions.append(values if len(values) == 4 else [np.nan] * 4)
    return np.array(regions)


def spell_out_codes(text: str) -> str:
    """Write `nan` in all columns of lines with one number, a code of the VOT toolkit, where other lines have more."""
    lines = text.rstrip().split("\n")
    widths = [len(_numbers(line) or ()) for line in lines]
    if 1 not in widths or max(widths) == 1:
        return text
    return "\n".join(
        ",".join(["nan"] * max(widths)) if width == 1 else line for line, width in zip(lines, widths, strict=True)
    )


def decode_trajectory(data: bytes, where: str) -> str:
    """Turn a binary trajectory, which newer versions of the toolkit write by default, into what `parse_regions` reads.

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
        return [parse_number(token) for token in line.translate(SEPARATORS_OF_RESULTS).split()]
    except ValueError:
        return None


def _either(columns: tuple[int, ...]) -> str:
    return " or ".join([*filter(None, [", ".join(map(str, columns[:-1]))]), str(columns[-1])])


def _first_bad_line(lines: list[str], columns: tuple[int, ...]) -> str:
    """Number of the first offending line and what is wrong with it."""
    width = None
    for number, line in enumerate(lines, start=1):
        values, close = _numbers(line), line.replace(" ", "").replace("\t", "")
        if "," in line and ";" in line:
            return f"{number}: both comma and semicolon; write a decimal point and one separator, got {line[:80]!r}"
        if ",," in close or ";;" in close or close.startswith((",", ";")) or "\t\t" in line.strip():
            return f"{number}: an empty field; expected nan where nothing was reported, got {line[:80]!r}"
        if values is None:
            wanted = f"{_either(columns)} numbers between comma, tab or blank (nan where nothing was reported)"
            return f"{number}: expected {wanted}, got {line[:80]!r}"
        if not values:
            return f"{number}: blank line between rows; expected one row per frame"
        if len(values) not in columns or (width is not None and len(values) != width):
            return f"{number}: expected {width or _either(columns)} numbers, got {len(values)}: {line[:80]!r}"
        if np.isinf(values).any():
            return f"{number}: infinite number in {line[:80]!r}; expected pixels"
        width = len(values)
    if any(";" in line for line in lines) and any("," in line for line in lines):
        return "1: comma in some rows and semicolon in others; write a decimal point and one separator"
    return f"1: not rows of numbers; expected {_either(columns)} per line"
