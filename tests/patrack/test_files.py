"""A file is written whole or not at all; paths are read as users write them."""

import errno
import os
import signal
import stat
import subprocess
import sys
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from patrack.config import project_path
from patrack.files import (
    LEFT_ALONE,
    LOCK,
    FolderInUse,
    atomic_write,
    folder_lock,
    named_if_full,
    remove_leftovers,
    safe_name,
    user_path,
)


@pytest.mark.parametrize(("mode", "content"), [("w", "ä\nb\n"), ("wb", b"\x00\r\n")], ids=["text", "bytes"])
def test_content_arrives_unchanged(tmp_path, mode, content):
    path = tmp_path / "file"
    with atomic_write(path, mode) as file:
        file.write(content)
    assert path.read_bytes() == (content.encode() if mode == "w" else content)


def test_parent_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "file.txt"
    with atomic_write(path) as file:
        file.write("x")
    assert path.read_text() == "x"


def test_nothing_is_visible_before_the_end(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with atomic_write(path) as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt], ids=["exception", "ctrl-c"])
def test_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path, failure):
    path = tmp_path / "file"
    path.write_text("old")

    def write_half():
        with atomic_write(path) as file:
            file.write("half")
            raise failure

    with pytest.raises(failure):
        write_half()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG], ids=["full", "quota", "too-large"])
def test_file_that_had_no_room_is_named(tmp_path, code):
    path = tmp_path / "file"
    path.write_text("old")

    def write_without_room():
        with atomic_write(path):
            raise OSError(code, os.strerror(code))

    with pytest.raises(OSError, match=rf"cannot write .*/file: {os.strerror(code)}; make room"):
        write_without_room()
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("file", "old")]


def test_errors_of_other_kinds_or_of_other_files_keep_their_words(tmp_path):
    for error in (OSError(errno.EIO, "broken"), OSError(errno.ENOSPC, "full", "elsewhere")):
        with pytest.raises(OSError) as caught, named_if_full(tmp_path / "file"):  # noqa: PT011
            raise error
        assert caught.value is error


def test_temporary_file_lies_in_the_same_folder(tmp_path):
    path = tmp_path / "file"
    with atomic_write(path) as file:
        assert Path(file.name).parent == tmp_path


def test_a_name_of_greatest_length_can_be_written(tmp_path):
    path = tmp_path / ("n" * 255)
    with atomic_write(path) as file:
        file.write("x")
    assert path.read_text() == "x"


def test_new_file_is_readable_by_others_as_the_umask_says(tmp_path):
    umask = os.umask(0o022)
    try:
        with atomic_write(tmp_path / "file"):
            pass
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_replaced_file_keeps_its_permissions(tmp_path):
    path = tmp_path / "file"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    with atomic_write(path) as file:
        file.write("#!/bin/sh\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o755


def test_link_stays_and_its_target_is_replaced(tmp_path):
    target = tmp_path / "target"
    target.write_text("old")
    link = tmp_path / "link"
    link.symlink_to(target)
    with atomic_write(link) as file:
        file.write("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "blocked").write_text("a file where a folder is wanted")
    path = tmp_path / "blocked" / "sub" / "file.txt"
    with pytest.raises(OSError, match=r"blocked/sub/file\.txt: Not a directory"), atomic_write(path):
        pass


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the administrator may write anywhere")
def test_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match=r"cannot write .*file\.txt"), atomic_write(tmp_path / "file.txt"):
            pass
    finally:
        tmp_path.chmod(0o700)


def test_missing_permission_is_explained(tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("patrack.files.tempfile.mkstemp", refuse)
    with pytest.raises(PermissionError, match=r"file\.txt: Permission denied .*another"):
        atomic_write(tmp_path / "file.txt").__enter__()


def test_folder_in_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError, match="it is a folder"), atomic_write(tmp_path):
        pass


@contextmanager
def full():
    """Let files of this process have 4 kB at most; the kernel then refuses what a full disk would.

    Not a fixture, which would hold while pytest writes its own log.
    """
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_text(path):
    with atomic_write(path) as file:
        file.write("x" * 100_000)


def write_at_the_end(path):
    with atomic_write(path) as file:
        file.write("x" * 4097)  # waits in Python's buffer


def write_archive(path):
    with atomic_write(path, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("member", b"x" * 100_000)


def write_figure(path):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    from lib.report.figures import save_figure

    figure = Figure()
    figure.add_subplot().plot(range(100))
    save_figure(figure, path.with_suffix(".png"))


def write_checkpoint(path):
    import torch

    with atomic_write(path, "wb") as file:
        torch.save({"x": torch.zeros(50_000)}, file)


def write_in_other_words(path):
    with atomic_write(path) as file:
        try:
            file.write("x" * 100_000)
        except OSError:
            raise RuntimeError("my library failed") from None


WRITERS = [write_text, write_at_the_end, write_archive, write_figure, write_checkpoint, write_in_other_words]


@pytest.mark.parametrize("write", WRITERS, ids=lambda function: function.__name__)
def test_the_file_that_had_no_room_is_named_and_the_old_one_stays(tmp_path, write):
    for path in (tmp_path / "file.txt", tmp_path / "file.png"):
        path.write_text("old")
    message = rf"^cannot write {tmp_path}/file\.(txt|png): File too large; make room in "
    with full(), pytest.raises(OSError, match=message):
        write(tmp_path / "file.txt")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file.txt": "old", "file.png": "old"}


def test_a_disk_that_is_full_when_the_file_is_done_is_explained(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)

    def write_two():
        with atomic_write(tmp_path / "outer"), atomic_write(tmp_path / "inner"):
            pass

    with pytest.raises(OSError, match=r"^cannot write .*inner: No space left on device") as caught:
        write_two()
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_another_file_is_left_as_it_is(tmp_path):
    def write():
        with atomic_write(tmp_path / "file"):
            raise OSError(errno.ENOSPC, "No space left on device", "another")

    with pytest.raises(OSError, match=r"No space left on device: 'another'$"):
        write()


@pytest.mark.parametrize("mode", ["a", "r", "w+", ""])
def test_other_modes_are_refused(tmp_path, mode):
    with pytest.raises(ValueError, match="mode must be 'w' or 'wb'"), atomic_write(tmp_path / "file", mode):
        pass


# --- what killed processes leave behind


@pytest.fixture
def dead_process():
    """Number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def test_file_of_a_killed_writer_is_deleted_at_the_next_start(tmp_path):
    program = (
        "import os, signal\n"
        "from patrack.files import atomic_write\n"
        f"with atomic_write({str(tmp_path / 'file')!r}) as file:\n"
        "    file.write('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=project_path(), check=False)
    (left,) = tmp_path.iterdir()
    assert remove_leftovers(tmp_path) == [left]
    assert list(tmp_path.iterdir()) == []


def test_only_temporary_files_and_folders_of_ended_processes_are_deleted(tmp_path, dead_process):
    running = tmp_path / f".tmp-{os.getppid()}-mine.txt"
    foreign = [running, tmp_path / ".tmp-notes", tmp_path / "file.txt", tmp_path / f"x.tmp-{dead_process}-y"]
    for path in (*foreign, tmp_path / f".tmp-{dead_process}-a.txt"):
        path.write_text("x")
    (tmp_path / f".tmp-{dead_process}-folder" / "inside").mkdir(parents=True)
    assert len(remove_leftovers(tmp_path)) == 2
    assert sorted(tmp_path.iterdir()) == sorted(foreign)
    old = time.time() - 2 * LEFT_ALONE
    os.utime(running, (old, old))
    assert remove_leftovers(tmp_path) == [running]


def test_a_writer_deletes_what_a_killed_one_has_left_of_the_same_file(tmp_path, dead_process):
    left = tmp_path / f".tmp-{dead_process}-abcd-file.json"
    kept = [
        tmp_path / name
        for name in (f".tmp-{dead_process}-abcd-other.json", f".tmp-{os.getpid()}-abcd-file.json", ".tmp-x-file.json")
    ]
    for path in (left, *kept):
        path.write_text("x")
    with atomic_write(tmp_path / "file.json"):
        pass
    assert sorted(tmp_path.iterdir()) == sorted([*kept, tmp_path / "file.json"])


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_a_process_that_has_ended_unnoticed_holds_nothing(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and goes on having a number
        left = tmp_path / f".tmp-{process.pid}-file"
        left.write_text("x")
        assert remove_leftovers(tmp_path) == [left]


def test_a_lock_without_room_names_its_file_and_is_not_left(tmp_path, monkeypatch):
    def write(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match=r"cannot write .*\.lock: No space left"), folder_lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_not_there_has_no_leftovers(tmp_path):
    assert remove_leftovers(tmp_path / "nowhere") == []


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_what_is_no_file_is_not_replaced(tmp_path, kind):
    path = Path("/dev/null")
    if kind == "pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
    mode = path.stat().st_mode

    def write():
        with atomic_write(path) as file:
            file.write("x")

    with pytest.raises(OSError, match=f"cannot write {path}: it is a device or a pipe"):
        write()
    assert path.stat().st_mode == mode


@pytest.mark.skipif(os.name != "posix", reason="locks")
def test_a_folder_in_use_is_refused_until_its_process_ends(tmp_path):
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        with folder_lock(tmp_path / "new"):
            os.write(writer, b"x")
            time.sleep(30)
        os._exit(0)
    os.read(reader, 1)
    refused = pytest.raises(FolderInUse, match=rf"new is in use by process {process} on .*pytest.*--output")
    with refused, folder_lock(tmp_path / "new"):
        pass
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    with folder_lock(tmp_path / "new"):
        assert f"process {os.getpid()} " in (tmp_path / "new" / LOCK).read_text()
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["rgbt_tiny", "walker & son", "ä.b-c+d", "..a", "<b>'`\"*?|", "日本 語", "n" * 200, "-x"]
)
def test_a_name_that_stays_where_it_is_put_may_name_a_file(name):
    assert safe_name(name, "--name") == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "must have a letter"),
        (".", "must have a letter"),
        ("..", "must have a letter"),
        (".. ", "must have a letter"),
        (3, "must have a letter"),
        ("a/b", r"must not have '/'"),
        ("../x", "must not have '/'"),
        ("/abs", "must not have '/'"),
        ("a\\b", r"must not have '\\\\'"),
        ("C:", "must not have ':'"),
        ("a\nb\0", r"must not have '\\x00' or '\\n'"),
        ("a\x1b[31m", r"must not have '\\x1b'"),
        ("a\u2028b", "must not have"),
        ("\udcff", "must not have"),
        ("ä" * 101, "has 202 bytes, at most 200"),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(name, reason):
    with pytest.raises(ValueError, match=rf"^--name: .+ can't name a file or folder: it {reason}"):
        safe_name(name, "--name")


def test_paths_are_read_as_users_write_them(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PLACE", str(tmp_path / "place"))
    assert user_path("~/x") == tmp_path / "home/x"
    assert user_path("$PLACE/x") == user_path("${PLACE}/x") == tmp_path / "place/x"
    assert user_path(Path("a/b")) == Path("a/b")
    assert user_path("a~b/~") == Path("a~b/~")


def test_variable_or_home_that_is_not_there_is_named(monkeypatch):
    monkeypatch.delenv("NO_SUCH_PLACE", raising=False)
    with pytest.raises(ValueError, match=r"'\$\{NO_SUCH_PLACE\}/x': the environment variable NO_SUCH_PLACE is not set"):
        user_path("${NO_SUCH_PLACE}/x")
    with pytest.raises(ValueError, match=r"~no-such-user/x.*no such home"):
        user_path("~no-such-user/x")


def test_a_file_with_a_dollar_in_its_name_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("b", "other")
    (tmp_path / "a$b").touch()
    assert user_path(tmp_path / "a$b") == tmp_path / "a$b"
