"""Folders and archives of results: the same in every form and order; anything else is refused, nothing unpacked."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostile import any_bytes, any_text_file, damaged, only_reads
from lib.evaluation.files import MAX_LINE, FileTree
from lib.evaluation.ground_truth import GroundTruth
from lib.evaluation.protocols import LongTerm, MultiStart, OnePass, protocols_of
from lib.evaluation.results import read_results

BOXES = np.array([[10.0, 20, 30, 40], [11, 21, 30, 40], [12, 22, 30, 40]])
TRUTH = {name: GroundTruth((BOXES,), anchors=np.array([1, 0, -1])) for name in ("car", "bike_2")}
ROWS = "10,20,30,40\n11,21,30,40\n12,22,30,40\n"
FILES = {
    "plain": {f"{name}.txt": ROWS for name in TRUTH},
    "run": {
        f"out/{name}{end}": text for name in TRUTH for end, text in ((".txt", ROWS), ("_scores.txt", "1\n0.5\n0.5\n"))
    },
    "vot": {
        f"rgbd/{name}/{name}_001{end}": text
        for name in TRUTH
        for end, text in ((".txt", "1\n11,21,30,40\n0\n"), ("_confidence.value", "\n0.5\n0.25\n"))
    },
    "anchors": {
        f"{name}/{name}_{anchor:08d}.txt": "1\n11,21,30,40\n12,22,30,40\n" for name in TRUTH for anchor in (0, 2)
    },
}
RULES = [
    next(
        rules
        for name in ("lasher", "depthtrack", "votrgbd2022")
        for rules in protocols_of(name).values()
        if isinstance(rules, kind)
    )
    for kind in (OnePass, LongTerm, MultiStart)
]


def zipped(files: dict[str, str | bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


def tarred(files: dict[str, str | bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


VALID = [
    *(pack(files) for pack in (zipped, tarred) for files in (FILES["run"], FILES["vot"])),
    *(zipped(FILES["plain"], kind) for kind in (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)),
    *(tarred(FILES["plain"], f"w:{kind}") for kind in ("gz", "bz2", "xz")),
]


def read_all(path: Path) -> None:
    """Open it as every protocol does; whatever is wrong is an error, or a problem, that names the path."""
    try:
        tree = FileTree(path, "--results")
    except (ValueError, FileNotFoundError) as error:
        assert type(error) in (ValueError, FileNotFoundError)
        assert str(path) in str(error)
        return
    for name in tree.walk(4):
        assert tree.has(name)
        try:
            tree.read(name)
        except ValueError as error:
            assert type(error) is ValueError
            assert str(path) in str(error)
    for rules in RULES:
        results = read_results(tree, TRUTH, rules)
        assert all(str(path) in text for text in results.problems.values())
        assert results.problems or results.rows.keys() == TRUTH.keys()


@pytest.mark.parametrize("form", FILES)
@given(data=st.data())
def test_a_folder_and_archives_in_any_order_hold_the_same_results(form, data, folder):
    files = FILES[form]
    items = dict(data.draw(st.permutations(list(files.items()))))
    for name, text in files.items():
        (folder / "plain" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "plain" / name).write_text(text)
    (folder / "a.zip").write_bytes(zipped(items))
    (folder / "a.tar").write_bytes(tarred(items))
    (folder / "a.tgz").write_bytes(tarred(items, "w:gz"))
    rules = RULES[{"vot": 1, "anchors": 2}.get(form, 0)]
    trees = [FileTree(folder / name) for name in ("plain", "a.zip", "a.tar", "a.tgz")]
    held = [read_results(tree, TRUTH, rules) for tree in trees]
    assert [tree.walk(4) for tree in trees] == [sorted(files)] * 4
    for results in held:
        assert not results.problems
        assert (results.folder, results.file_format) == (held[0].folder, held[0].file_format)
        for name, rows in results.rows.items():
            np.testing.assert_equal(rows, held[0].rows[name])


@given(data=any_bytes(*VALID))
def test_any_damaged_archive_is_read_or_refused(data, folder):
    path = folder / "a.zip"
    path.write_bytes(data)
    with only_reads():
        read_all(path)


@given(
    contents=st.lists(any_text_file(ROWS, "frame,x,y,w,h\n0,1,2,3,4\n", "1\n11,21,30,40\n0\n"), min_size=2, max_size=2)
)
def test_any_files_in_an_archive_are_read_or_refused(contents, folder):
    path = folder / "a.zip"
    for form in ("plain", "vot", "anchors"):
        path.write_bytes(zipped({**FILES[form], **dict(zip(FILES[form], contents, strict=False))}))
        read_all(path)


PARTS = st.sampled_from(
    ["..", ".", "", "car.txt", "a", "C:", "~", "\\", "é", "\x01", "car", "__MACOSX", "._car.txt", " "]
)


@given(
    names=st.lists(st.lists(PARTS, min_size=1, max_size=5).map("/".join).filter(bool), min_size=1, max_size=4),
    pack=st.sampled_from([zipped, tarred]),
)
def test_names_that_lead_elsewhere_are_refused_and_nothing_is_written(names, pack, folder):
    path = folder / "a.archive"
    path.write_bytes(pack(dict.fromkeys(names, ROWS)))
    before = sorted(folder.iterdir())
    with only_reads():
        try:
            tree = FileTree(path)
        except ValueError as error:
            assert str(path) in str(error)
            return
    held = [name for name in names if not name.endswith("/")]  # folders are not looked at
    assert not [name for name in held if ".." in name.replace("\\", "/").split("/") or name.startswith(("/", "\\"))]
    assert all(not name.startswith("/") and ".." not in name.split("/") for name in tree.walk(9))
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_file_are_never_followed(kind, folder):
    (folder / "secret.txt").write_text(ROWS)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("car.txt")
        entry.type, entry.linkname = kind, str(folder / "secret.txt")
        archive.addfile(entry)
    (folder / "a.tar").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match=r"a\.tar/car\.txt: cannot be read \(car\.txt is a link or no regular file"):
        FileTree(folder / "a.tar").read("car.txt")


def test_a_small_archive_with_one_endless_line_is_refused_before_it_is_parsed(folder):
    (folder / "a.zip").write_bytes(zipped({"car.txt": "1," * (8 * MAX_LINE), "bike_2.txt": ROWS}))
    with pytest.raises(ValueError, match=r"a\.zip/car\.txt: a line of \d+ characters"):
        FileTree(folder / "a.zip").read("car.txt")


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_compressed_header_that_grows_beyond_measure_is_refused(mode, folder):
    plain = tarfile.TarInfo("x")
    plain.type, plain.size = tarfile.XHDTYPE, 3 * 2**30
    opened = {"w:gz": gzip.open, "w:bz2": bz2.open, "w:xz": lzma.open}[mode]
    path = folder / "a.tar.gz"
    with opened(path, "wb") as file:
        file.write(plain.tobuf(tarfile.GNU_FORMAT))
        for _ in range(40):
            file.write(bytes(2**20))
    with pytest.raises(ValueError, match="no readable archive"):
        FileTree(path)


@given(data=damaged(b"".join(VALID[:1])))
def test_a_damaged_zip_never_gives_other_rows(data, folder):
    path = folder / "a.zip"
    path.write_bytes(data)
    try:
        tree = FileTree(path)
        held = {name: tree.read(name) for name in FILES["run"] if tree.has(name)}
    except (ValueError, FileNotFoundError):
        return
    assert all(text in (FILES["run"][name], "") for name, text in held.items())  # or none, which is refused later
