"""Damaged and hostile input for tests of properties, and a watch over what reading it does.

Damages are made to small valid files (bits flipped; blocks cut, repeated, swapped, overwritten), which reach further
into a reader than random bytes do.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st

WORDS = (
    *("nan", "inf", "-inf", "1e999", "-1e-999", "1_0", "0x10", "1j", "٣", "\ufeff", "\x00", "\x0c", "\x85", "\u2028"),
    *("\n", "\r", "\r\n", "\n\n", ",", ",,", ";", "\t", " ", "-", "..", "/", "\\", "#", '"', "'", "é", "9" * 5000),
    *(":", "- ", "{", "}", "[", "]", "&a ", "*a", "!!python/object/apply:os.system ", "!!binary ", "<<: ", "? ", "|\n"),
    *("2026-13-45", "1:30", "0o17", "~", "true", "[" * 500, "{a: " * 500),
)
"""Text that readers of numbers, names and YAML trip over."""
NUMBERS = (
    b"\x00" * 4,
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x00" * 8,
    b"\xff" * 8,
    b"\x00\x00\x00\x80",
)
"""Sizes and counts that are read from files: none, most, negative."""


@st.composite
def damaged(draw: st.DrawFn, content: bytes, most: int = 3) -> bytes:
    """A file with 1 to `most` damages, which may lie near its ends, where headers and directories are."""
    data = content
    for _ in range(draw(st.integers(1, most))):
        near = min(len(data), 200)
        at = draw(st.one_of(st.integers(0, near), st.integers(0, len(data)), st.integers(len(data) - near, len(data))))
        length = draw(st.one_of(st.integers(0, 8), st.integers(0, 300)))
        block = data[at : at + length]
        kind = draw(st.sampled_from(("flip", "number", "overwrite", "cut", "insert", "repeat", "swap", "truncate")))
        if kind == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]
        elif kind == "number":
            number = draw(st.sampled_from(NUMBERS))
            data = data[:at] + number + data[at + len(number) :]
        elif kind == "overwrite":
            data = data[:at] + bytes([draw(st.integers(0, 255))]) * len(block) + data[at + length :]
        elif kind == "cut":
            data = data[:at] + data[at + length :]
        elif kind == "insert":
            data = data[:at] + draw(st.binary(max_size=16)) + data[at:]
        elif kind == "repeat":
            data = data[:at] + block * 2 + data[at + length :]
        elif kind == "swap":
            other = draw(st.integers(0, len(data)))
            first, second = sorted((at, other))
            data = data[:first] + data[second:] + data[first:second]
        elif kind == "truncate":
            data = data[:at]
    return data


@st.composite
def damaged_text(draw: st.DrawFn, content: str, most: int = 3) -> str:
    """A text with 1 to `most` damages: words put in, or characters and lines cut, repeated or moved."""
    text = content
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, len(text)))
        length = draw(st.integers(0, 12))
        kind = draw(st.sampled_from(("word", "replace", "character", "cut", "repeat", "line", "truncate")))
        if kind == "word":
            text = text[:at] + draw(st.sampled_from(WORDS)) + text[at:]
        elif kind == "replace":
            text = text[:at] + draw(st.sampled_from(WORDS)) + text[at + length :]
        elif kind == "character":
            text = text[:at] + draw(st.characters(codec="utf-8")) + text[at + 1 :]
        elif kind == "cut":
            text = text[:at] + text[at + length :]
        elif kind == "repeat":
            text = text[:at] + text[at : at + length] * 2 + text[at + length :]
        elif kind == "line":
            lines = text.split("\n")
            moved = lines.pop(draw(st.integers(0, len(lines) - 1)))
            text = "\n".join([*lines, moved])
        elif kind == "truncate":
            text = text[:at]
    return text


def any_bytes(*valid: bytes) -> st.SearchStrategy[bytes]:
    """Damaged forms of valid files, seldom bytes at random."""
    return st.one_of(*(damaged(content) for content in valid), st.binary(max_size=200))


def any_text(*valid: str) -> st.SearchStrategy[str]:
    """Damaged forms of valid texts, seldom text at random."""
    return st.one_of(*(damaged_text(content) for content in valid), st.text(max_size=60))


def any_text_file(*valid: str) -> st.SearchStrategy[bytes]:
    """Files of damaged texts, in UTF-8 or damaged in that, too."""
    return st.one_of(any_text(*valid).map(str.encode), any_bytes(*(text.encode() for text in valid)))


class Forbidden(BaseException):
    """Reading a file did something that reading never does; no reader takes it for damage."""


_allowed: Path | None = None
_watching = False
_EXECUTES = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen", "socket.connect", "pty.spawn")
_CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod")


def _audit(event: str, args: tuple[object, ...]) -> None:
    if not _watching:
        return
    if event in _EXECUTES:
        raise Forbidden(f"{event} {args}")
    path = None
    if event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
        path = args[0]
    elif event in _CHANGES:
        path = args[0]
    if isinstance(path, str | bytes | os.PathLike):
        folder = Path(os.fsdecode(path)).absolute()
        if _allowed is None or not folder.is_relative_to(_allowed):
            raise Forbidden(f"{event} {path!r}")


sys.addaudithook(_audit)  # for good, so it looks at nothing outside of `only_reads`


@contextmanager
def only_reads(folder: Path | None = None) -> Iterator[None]:
    """Stop, with `Forbidden`, whatever starts a program, opens a connection, or writes anywhere but below `folder`."""
    global _allowed, _watching
    _allowed, _watching = folder, True
    try:
        yield
    finally:
        _watching = False
