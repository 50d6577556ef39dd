"""The folder of a report: it holds one whole report at every moment, the old one or the new one, whatever happens.

    index.html      the page; exchanged at once, which is when the new report takes the old one's place
    scores.json     its numbers; away for a moment meanwhile, so that they never lie beside the page of another report
    images/         pictures, each named after its content too, so that those of two reports can lie side by side
    .lock           there while a process writes; says which

Other files in the folder, and in `images/`, are never touched.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from patrack.files import atomic_write, folder_lock, remove_leftovers

__all__ = ["picture_name", "replace_report", "report_folder"]

PAGE, SCORES, IMAGES = "index.html", "scores.json", "images"
PICTURE = re.compile(r"\d+-\d+-(?:rgb|x)(?:-([0-9a-f]{16}))?\.jpg")
MARKS = ('<meta name="generator" content="PATrack">', "All digits are in scores.json beside this page.")
"""What makes a page ours; the second one: earlier versions."""


def picture_name(stem: str, content: bytes) -> str:
    """Name a picture, relative to the report.

    Args:
        stem: `<strip>-<row>-<rgb or x>`; nothing of the data set gets into a file name.
        content: of the JPEG file.
    """
    return f"{IMAGES}/{stem}-{hashlib.sha256(content).hexdigest()[:16]}.jpg"


@contextmanager
def report_folder(folder: Path) -> Iterator[None]:
    """Make a folder this process's own, to put a report there; made if it is not there.

    Raises:
        ValueError: it holds a page or numbers that are no report's, which a report would replace.
        FolderInUse: another process writes a report there.
        OSError: it can't be written.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--output {folder} is a file; give a folder")
    with folder_lock(folder):
        remove_leftovers(folder)
        remove_leftovers(folder / IMAGES)
        there = [name for name in (PAGE, SCORES) if (folder / name).exists()]
        if there and not any(mark in _page(folder) for mark in MARKS):
            raise ValueError(
                f"--output {folder}: {there[0]} there is of no report; give another folder, or move it away"
            )
        yield


def replace_report(folder: Path, page: str, scores: str, pictures: Mapping[str, bytes]) -> Path:
    """Put a report in the place of the one in the folder, if there is one; within `report_folder`.

    Args:
        folder: of the report.
        page, scores: content of `index.html` and of `scores.json`.
        pictures: content by name, from `picture_name`.

    Returns:
        The path of `index.html`.

    Raises:
        OSError: a file can't be written; the earlier report is there as it was.
    """
    path, numbers, aside = folder / PAGE, folder / SCORES, folder / f".tmp-{os.getpid()}-{SCORES}"
    before = _page(folder)
    try:
        for name, content in pictures.items():
            with atomic_write(folder / name, mode="wb") as file:
                file.write(content)
        with atomic_write(numbers) as numbers_file, atomic_write(path) as page_file:
            for text, file in ((scores, numbers_file), (page, page_file)):
                file.write(text)
                file.flush()
                os.fsync(file.fileno())  # from here on nothing needs room
            if numbers.is_file() and not numbers.is_symlink():
                numbers.replace(aside)
    except BaseException:
        if aside.exists() and _page(folder) == before:
            aside.replace(numbers)
        _remove_pictures(folder, _page(folder), before)
        raise
    aside.unlink(missing_ok=True)
    _remove_pictures(folder, page, before)
    return path


def _page(folder: Path) -> str:
    path = folder / PAGE
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _remove_pictures(folder: Path, page: str, before: str) -> None:
    """Delete pictures of reports that the page does not show: their names say so, and their content or an old page."""
    for path in (folder / IMAGES).glob("*.jpg"):
        match = PICTURE.fullmatch(path.name)
        shown = f'href="{IMAGES}/{path.name}"'
        if match is None or shown in page:
            continue
        if picture_name(path.stem.rpartition("-")[0], path.read_bytes()) == f"{IMAGES}/{path.name}" or shown in before:
            path.unlink()
