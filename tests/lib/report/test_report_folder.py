"""The folder of a report holds one whole report at every moment, and what belongs to others stays."""

import os
import re
import signal

import pytest

from lib.report.folder import MARKS, picture_name, replace_report, report_folder
from patrack.files import FolderInUse

OLD, NEW = b"old", b"new"


def report(kind):
    """Page, numbers and pictures of a report; two of three pictures have the same names but for their content."""
    pictures = {picture_name(f"00-{row}-rgb", kind + bytes([row])): kind + bytes([row]) for row in (1, 2)}
    pictures[picture_name("01-0-x", b"same")] = b"same"
    images = "".join(f'<image href="{name}"/>' for name in pictures)
    return f"{MARKS[0]}<p>{kind.decode()}</p>{images}", f"numbers of {kind.decode()}", pictures


def write(folder, kind):
    with report_folder(folder):
        replace_report(folder, *report(kind))


def whole(folder):
    """The kind of the report in the folder, after making sure that all of it is there and of that kind."""
    page = (folder / "index.html").read_text()
    kind = OLD if "<p>old" in page else NEW
    assert page == report(kind)[0]
    for name in re.findall(r'href="(.+?)"', page):
        assert (folder / name).read_bytes() == report(kind)[2][name]
    return kind


@pytest.fixture
def folder(tmp_path):
    """The old report, and files of somebody else."""
    place = tmp_path / "out"
    write(place, OLD)
    for name in ("notes.txt", "images/mine.jpg", "images/00-1-rgb.jpg", "images/00-1-rgb-0123456789abcdef.jpg"):
        (place / name).write_bytes(b"mine")
    return place


def names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


FOREIGN = {"notes.txt", "images/mine.jpg", "images/00-1-rgb.jpg", "images/00-1-rgb-0123456789abcdef.jpg"}


def test_a_report_takes_the_place_of_another(folder):
    write(folder, NEW)
    assert whole(folder) == NEW
    assert (folder / "scores.json").read_text() == "numbers of new"
    assert names(folder) == {"index.html", "scores.json", *report(NEW)[2], *FOREIGN}


def stop_at(monkeypatch, number, stop):
    """Let `stop` happen before the call `number` (from 0) that exchanges, deletes or synchronizes a file."""
    calls = iter(range(10000))
    for name in ("replace", "unlink", "fsync"):
        real = getattr(os, name)

        def call(*arguments, real=real, **more):
            if next(calls) == number:
                stop()
            return real(*arguments, **more)

        monkeypatch.setattr(os, name, call)
    return calls


def test_a_failure_anywhere_leaves_the_old_report_or_the_new_one(folder, monkeypatch):
    def stop():
        raise OSError(28, "No space left on device")

    stopped = 0
    for number in range(100):
        with monkeypatch.context() as patch:
            calls = stop_at(patch, number, stop)
            try:
                write(folder, NEW)
            except OSError:
                stopped += 1
            finished = next(calls) <= number
        kind = whole(folder)
        scores = folder / "scores.json"
        assert scores.read_text() == f"numbers of {kind.decode()}" if scores.exists() else kind == NEW
        assert names(folder) >= FOREIGN
        if kind == OLD:
            assert names(folder) == {"index.html", "scores.json", *report(OLD)[2], *FOREIGN}
        write(folder, OLD)
        if finished:
            break
    assert stopped > 8


@pytest.mark.skipif(os.name != "posix", reason="kills")
def test_a_kill_anywhere_leaves_the_old_report_or_the_new_one(folder, monkeypatch):
    seen = []
    for number in range(100):
        child = os.fork()
        if child == 0:
            try:
                stop_at(monkeypatch, number, lambda: os.kill(os.getpid(), signal.SIGKILL))
                write(folder, NEW)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        seen.append(whole(folder))
        scores = folder / "scores.json"
        assert not scores.exists() or scores.read_text() == f"numbers of {seen[-1].decode()}"
        assert names(folder) >= FOREIGN
        write(folder, OLD)  # nothing of the killed one is left
        assert names(folder) == {"index.html", "scores.json", *report(OLD)[2], *FOREIGN}
        if status == 0:
            break
    assert seen == sorted(seen, reverse=True)  # old, then new
    assert seen.count(OLD) > 4
    assert seen.count(NEW) > 4


@pytest.mark.parametrize("name", ["index.html", "scores.json"])
def test_a_page_or_numbers_of_somebody_else_are_not_replaced(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=f"--output .*: {name} there is of no report"):
        write(tmp_path, NEW)
    assert (tmp_path / name).read_text() == "mine"


def test_a_report_of_an_earlier_version_is_replaced_with_its_pictures(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("00-1-rgb.jpg", "00-2-rgb.jpg"):
        (tmp_path / "images" / name).write_bytes(b"x")
    (tmp_path / "index.html").write_text(f'{MARKS[1]}<image href="images/00-1-rgb.jpg"/>')
    write(tmp_path, NEW)
    assert whole(tmp_path) == NEW
    assert names(tmp_path) == {"index.html", "scores.json", "images/00-2-rgb.jpg", *report(NEW)[2]}


@pytest.mark.skipif(os.name != "posix", reason="locks")
def test_a_second_process_is_refused_with_the_first_one_named(folder):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with report_folder(folder):
                os.write(writer, b"x")
                signal.pause()
        finally:
            os._exit(0)
    os.read(reader, 1)
    with pytest.raises(FolderInUse, match=f"out is in use by process {child} "):
        write(folder, NEW)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert whole(folder) == OLD
    write(folder, NEW)
    assert whole(folder) == NEW
