"""Names and paths as users write them, and writing files so that a reader never sees a half-written one."""

from __future__ import annotations

import errno
import glob
import hashlib
import logging
import os
import platform
import re
import shutil
import sys
import tempfile
import time
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

__all__ = [
    "LOCK",
    "FolderInUse",
    "atomic_write",
    "file_sha256",
    "folder_lock",
    "named_if_full",
    "remove_leftovers",
    "safe_name",
    "user_path",
]

logger = logging.getLogger(__name__)

_TEMPORARY = re.compile(r"\.tmp-(\d+)-.*")
_UNPRINTED = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of characters that no name has: controls, half characters, ends of lines and paragraphs."""
LOCK = ".lock"
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MAX_NAME = 200
"""Longest name, in bytes; file systems allow 255, and endings and the names of temporary files need some of them."""
LEFT_ALONE = 24 * 3600.0
"""Seconds after which a temporary file counts as left over, whoever may have written it."""


class FolderInUse(ValueError):
    """Another process writes to the folder; the message says which."""


def user_path(path: str | os.PathLike[str]) -> Path:
    """Read a path as a user writes it, on a command line, in YAML or in the environment.

    `~` and `~name` become a home folder, `$NAME` and `${NAME}` the environment variable, as in a shell. What is there
    under a name with `$` is taken as it is.

    Raises:
        ValueError: no such variable, or no such home.
    """
    text = os.fspath(path)
    if "$" in text and not Path(text).exists():
        unset = [name for pair in _VARIABLE.findall(text) for name in pair if name and name not in os.environ]
        if unset:
            raise ValueError(f"path {text!r}: the environment variable {unset[0]} is not set")
        text = os.path.expandvars(text)
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(f"path {text!r}: there is no such home folder; write the path in full") from error


def safe_name(name: object, what: str = "") -> str:
    """Check a name that becomes that of a file or folder: it must not lead elsewhere on Linux, macOS or Windows.

    Args:
        name: as it was given: in a file, on a command line, in a config.
        what: where that was, such as "--name"; begins the message.

    Returns:
        The name.

    Raises:
        ValueError: empty, only dots and blanks, with `/`, `\\`, `:` or control characters, or over 200 bytes; says
            which.
    """
    if not isinstance(name, str) or not name.strip(". "):
        problem = "it must have a letter, digit or sign other than dots and blanks"
    elif wrong := sorted({c for c in name if c in "/\\:" or unicodedata.category(c) in _UNPRINTED}):
        problem = f"it must not have {' or '.join(map(repr, wrong[:5]))}"
    elif len(name.encode()) > MAX_NAME:
        problem = f"it has {len(name.encode())} bytes, at most {MAX_NAME} can be used"
    else:
        return name
    shown = repr(name) if len(repr(name)) <= 80 else f"{repr(name)[:77]}..."
    raise ValueError(f"{what}{': ' if what else ''}{shown} can't name a file or folder: {problem}")


@contextmanager
def named_if_full(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name the file in the error that a block raises for want of room; Python says "No space left on device" only.

    Raises:
        OSError: a disk or quota is full, or a file as large as it may be; the message names `path`.
    """
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error  # a library may have put its own words over it
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__cause__ or cause.__context__
        if cause is None or cause.errno not in NO_ROOM or cause.strerror is None or cause.filename is not None:
            raise  # something else, named already, or of another file
        named = OSError(
            f"cannot write {path}: {cause.strerror}; make room in {Path(path).resolve().parent} or choose another "
            "output folder"
        )
        named.errno = cause.errno
        raise named from error


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file that takes the place of `path` when the block ends without an exception.

    The temporary file lies in the folder of `path`, is synchronized to disk before the exchange and is removed when
    the block fails (Ctrl-C included); a file already at `path` is then left as it was. One that a killed process has
    left is deleted. Parent folders are made.

    Args:
        path: the file to write; a link is followed, so that its target is replaced and the link stays.
        mode: `"w"` (UTF-8 text, line ends as written) or `"wb"` (bytes).

    Yields:
        The open file. What is written shows up under `path` only after the block.

    Raises:
        ValueError: for another mode.
        OSError: if the folder cannot be made or written, has no room, or `path` is a folder, device or pipe; the
            message names `path`.
    """
    if mode not in ("w", "wb"):
        raise ValueError(f"mode must be 'w' or 'wb', got {mode!r}")
    target = Path(path).resolve()
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder; give a file name")
    if target.exists() and not target.is_file():  # root could replace /dev/null
        raise OSError(f"cannot write {path}: it is a device or a pipe, not a file; give a file name")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent, target.name)
        prefix, suffix = f".tmp-{os.getpid()}-", f"-{target.name[-40:]}"
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=prefix, suffix=suffix)
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = "choose another output folder or make it writable"
        raise type(error)(f"cannot write {path}: {reason} (folder {target.parent}); {remedy}") from error
    os.close(descriptor)
    temporary = Path(name)
    try:
        binary = mode == "wb"
        with (
            named_if_full(path),
            temporary.open(mode, encoding=None if binary else "utf-8", newline=None if binary else "") as file,
        ):
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            permissions = target.stat().st_mode & 0o777
        else:  # those of any new file
            umask = os.umask(0)
            os.umask(umask)
            permissions = 0o666 & ~umask
        temporary.chmod(permissions)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def folder_lock(folder: str | os.PathLike[str], option: str = "--output") -> Iterator[None]:
    """Make a folder this process's own while the block runs; the lock goes with the process, however it ends.

    It is a lock on the file `.lock` there, which says who holds it and goes with the block. Parent folders are made.

    Args:
        folder: to be locked.
        option: by which a user chooses another folder.

    Raises:
        FolderInUse: another process has it.
        OSError: the folder can't be written.
    """
    path = Path(folder, LOCK)
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        while True:
            file = stack.enter_context(path.open("a+", encoding="utf-8"))
            if os.name != "posix":
                break
            import fcntl

            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    file.seek(0)
                    holder = file.read().strip() or "another process"
                    raise FolderInUse(
                        f"{folder} is in use by {holder}: wait for it, stop it, or give another {option}"
                    ) from None
                logger.warning("%s can't be locked (%s): let no second process write to it", folder, error)
            if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
                break
            file.close()  # whoever held it has just deleted it
        try:
            with named_if_full(path):
                file.truncate(0)
                note = f"process {os.getpid()} on {platform.node()} ({' '.join(sys.argv)[:200]})\n"
                os.write(file.fileno(), note.encode())
            yield
        finally:
            if os.name == "posix":
                path.unlink(missing_ok=True)


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Hash the bytes of a file, 64 hexadecimal digits.

    Raises:
        OSError: it can't be read.
    """
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def remove_leftovers(folder: str | os.PathLike[str], name: str | None = None) -> list[Path]:
    """Delete what killed processes left in a folder: temporary files and folders, named `.tmp-<process>-...`.

    To be called where a run starts, before it writes. A file whose process still runs on this machine is kept (this
    very process excepted, which writes nothing yet), so that runs may share a folder; after a day it goes as well.

    Args:
        folder: need not be there.
        name: of a file; only what was to become this one is deleted, and nothing of this process.

    Returns:
        What was deleted.
    """
    deleted = []
    for path in sorted(Path(folder).glob(".tmp-*" if name is None else f".tmp-*-{glob.escape(name[-40:])}")):
        match = _TEMPORARY.fullmatch(path.name)
        if not match:
            continue
        process = int(match[1])
        try:
            in_use = _is_running(process) and (name is not None or process != os.getpid())
            if in_use and time.time() - path.stat().st_mtime <= LEFT_ALONE:
                continue
        except FileNotFoundError:
            continue  # its process has just finished
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            try:
                path.unlink(missing_ok=True)
            except PermissionError:
                continue  # somebody else's, in a folder of many
        deleted.append(path)
    if deleted:
        logger.info("deleted %d temporary files that a killed process left in %s", len(deleted), folder)
    return deleted


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)  # sends nothing
        if sys.platform == "linux":  # one that has ended, but whose parent does not ask, is there all the same
            return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # it belongs to somebody else; or no such number can exist, which says nothing
    return True
