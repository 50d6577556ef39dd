"""A folder or a zip archive of text files, read the same way. Nothing is ever unpacked to disk."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lib.evaluation.rows import decode_trajectory

__all__ = ["MAX_BYTES", "FileTree", "TreePath"]

MAX_BYTES = 64 * 2**20  # of one text file; the longest real one has under 1 MB


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
        self.path = Path(path).expanduser()
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
            self._files.setdefault(_folder(parts.parent), set()).add(parts.name)
            for inner in parts.parents:
                if inner.name:
                    self._folders.setdefault(_folder(inner.parent), set()).add(inner.name)

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


def _folder(path: PurePosixPath) -> str:
    return "" if path == PurePosixPath() else str(path)


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
