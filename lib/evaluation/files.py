"""A folder or a zip archive of text files, read the same way, and their content as rows, columns and trajectories.

Nothing is ever unpacked to disk. Errors name the file, and the line where there is one.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from lib.datasets.parsing import SEPARATORS, load_rows
from patrack.files import user_path

__all__ = ["MAX_BYTES", "FileTree", "TreePath", "decode_trajectory", "parse_column", "parse_regions", "parse_rows"]

MAX_BYTES = 64 * 2**20  # of one text file; the longest real one has under 1 MB
TRAJECTORY_VERSION = 1  # of binary trajectories


class FileTree:
    """Text files below a folder or inside a zip archive, by their name relative to it (`/` between folders).

    Args:
        path: folder or `.zip` file.
        flag: what the user called it, for error messages, e.g. "--results A".

    Raises:
        FileNotFoundError: if `path` does not exist.
        ValueError: if it is neither a folder nor a readable zip archive, or the archive has an absolute name or one
            with `..`, which no honest result archive needs, or one name twice.
    """

    def __init__(self, path: str | Path, flag: str = "path") -> None:
        self.path = user_path(path)
        self._zip: zipfile.ZipFile | None = None
        self._folders: dict[str, set[str]] = {}
        self._files: dict[str, set[str]] = {}
        self._stored: dict[str, str] = {}
        if self.path.is_dir():
            return
        if not self.path.exists():
            raise FileNotFoundError(f"{flag}: there is no {self.path}; give a folder or a zip archive")
        if not zipfile.is_zipfile(self.path):
            raise ValueError(f"{flag}: {self.path} is neither a folder nor a zip archive")
        try:
            self._zip = zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, OSError) as error:
            raise ValueError(f"{flag}: {self.path} is no readable zip archive ({error})") from error
        for name in self._zip.namelist():
            parts = PurePosixPath(name.replace("\\", "/"))
            if parts.is_absolute() or ".." in parts.parts or (parts.parts and ":" in parts.parts[0]):
                raise ValueError(f"{flag}: {self.path} holds the unsafe name {name!r} (absolute or with '..')")
            if name.endswith("/") or "__MACOSX" in parts.parts:
                continue
            if str(parts) in self._stored:
                raise ValueError(f"{flag}: {self.path} holds {str(parts)!r} twice; which one counts is ambiguous")
            self._stored[str(parts)] = name
            folder, _, last = str(parts).rpartition("/")
            self._files.setdefault(folder, set()).add(last)
            while folder:
                folder, _, last = folder.rpartition("/")
                self._folders.setdefault(folder, set()).add(last)

    def __truediv__(self, name: str) -> TreePath:
        return TreePath(self, name)

    def describe(self, name: str = "") -> str:
        """Name a file for an error message: `folder/file` or `archive.zip:file`."""
        if self._zip is not None:
            return f"{self.path}:{name}" if name else str(self.path)
        return str(self.path / name)

    def files(self, folder: str = "") -> list[str]:
        """List the files directly in `folder`: sorted names without it; none if there is no such folder."""
        if self._zip is not None:
            return sorted(self._files.get(folder.rstrip("/"), ()))
        place = self.path / folder
        return sorted(item.name for item in place.iterdir() if item.is_file()) if place.is_dir() else []

    def folders(self, folder: str = "") -> list[str]:
        """List the folders directly in `folder`: sorted names without it."""
        if self._zip is not None:
            return sorted(self._folders.get(folder.rstrip("/"), ()))
        place = self.path / folder
        return sorted(item.name for item in place.iterdir() if item.is_dir()) if place.is_dir() else []

    def has(self, name: str) -> bool:
        """Tell whether the file is there."""
        if self._zip is not None:
            parent, _, last = name.rpartition("/")
            return last in self._files.get(parent, ())
        return (self.path / name).is_file()

    def read(self, name: str) -> str:
        """Read a text file, line ends as `\\n`, without a byte-order mark; a VOT `.bin` file in its text form.

        Raises:
            ValueError: if it is larger than `MAX_BYTES`, not UTF-8 text, or cannot be read; the message names it.
        """
        try:
            stored = self._stored[name] if self._zip else name
            size = self._zip.getinfo(stored).file_size if self._zip else (self.path / name).stat().st_size
            if size > MAX_BYTES:
                raise ValueError(f"{self.describe(name)}: {size} bytes, expected a text file below {MAX_BYTES}")
            data = self._zip.read(stored) if self._zip else (self.path / name).read_bytes()
            text = decode_trajectory(data, self.describe(name)) if name.endswith(".bin") else data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.describe(name)}: not a text file (byte {error.start} is not UTF-8)") from error
        except (KeyError, OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
            raise ValueError(f"{self.describe(name)}: cannot be read ({error})") from error
        return text.replace("\r\n", "\n").replace("\r", "\n")


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


def parse_rows(text: str, where: str, columns: tuple[int, ...]) -> tuple[np.ndarray, str]:
    """Parse rows of numbers separated by commas, tabs, blanks or a mix of them.

    Blank lines at the end are ignored, others are errors, because row i belongs to frame i.

    Args:
        text: content of the file.
        where: its name, for errors, which name the line, too.
        columns: allowed numbers of columns.

    Returns:
        (N, columns) float64, in which NaN is allowed, and the name of the separator: comma, tab, blank or mixed.

    Raises:
        ValueError: an empty file, a row that is no row of numbers, another number of columns, or an infinite number.
    """
    lines = text.rstrip().split("\n")
    if lines == [""]:
        raise ValueError(f"{where}: empty; expected rows of {' or '.join(map(str, columns))} numbers")
    rows = load_rows(text.rstrip().translate(SEPARATORS).split("\n"))
    if rows is None or rows.shape[1] not in columns or len(rows) != len(lines) or np.isinf(rows).any():
        raise ValueError(f"{where}:{_first_bad_line(lines, columns)}")
    if "," in text and "\t" in text:
        return rows, "mixed"
    return rows, "comma" if "," in text else "tab" if "\t" in text else "blank"


def parse_column(text: str, where: str) -> np.ndarray:
    """Parse one number per line to (N,) float64; an empty line is 0, as the VOT toolkit reads a missing confidence.

    Raises:
        ValueError: a line that is no number.
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
        ValueError: any other line.
    """
    regions = []
    for number, line in enumerate(text.rstrip().split("\n"), start=1):
        values = _numbers(line)
        if values is None or len(values) not in (1, 4):
            raise ValueError(f"{where}:{number}: expected 4 numbers or one special code, got {line[:80]!r}")
        regions.append(values if len(values) == 4 else [np.nan] * 4)
    return np.array(regions)


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
        return [float(token) for token in line.translate(SEPARATORS).split()]
    except ValueError:
        return None


def _first_bad_line(lines: list[str], columns: tuple[int, ...]) -> str:
    """Number of the first offending line and what is wrong with it."""
    either = " or ".join(map(str, columns))
    width = None
    for number, line in enumerate(lines, start=1):
        values = _numbers(line)
        if values is None:
            return f"{number}: expected {either} numbers separated by comma, tab or blank, got {line[:80]!r}"
        if not values:
            return f"{number}: blank line between rows; expected one row per frame"
        if len(values) not in columns or (width is not None and len(values) != width):
            return f"{number}: expected {width or either} numbers, got {len(values)}: {line[:80]!r}"
        if np.isinf(values).any():
            return f"{number}: infinite number in {line[:80]!r}; expected pixels"
        width = len(values)
    return f"1: not rows of numbers; expected {either} per line"
