"""Parsing boxes, flags and name lists."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from lib.datasets import DATA_SETS
from lib.datasets.parsing import (
    parse_boxes,
    parse_flags,
    parse_names,
    read_attributes,
    read_boxes,
    read_flags,
    read_names,
)
from lib.evaluation.files import FileTree
from patrack.recordings.sequence import DataError

NAN = float("nan")
TWO = [[1, 2, 3, 4], [5.5, 6, 7, 8]]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"1,2,3,4\n5.5,6,7,8\n", id="comma"),
        pytest.param(b"1\t2\t3\t4\n5.5\t6\t7\t8\n", id="tab"),
        pytest.param(b"1 2 3 4\n5.5   6  7 8", id="blanks, no newline at the end"),
        pytest.param(b"\xef\xbb\xbf1,2,3,4\n5.5,6,7,8\n", id="byte order mark"),
        pytest.param(b"1,2,3,4\r\n5.5,6,7,8\r\n", id="CRLF"),
        pytest.param(b"1,2,3,4\r5.5,6,7,8\r", id="CR"),
        pytest.param(b"1,2,3,4\n5.5,6,7,8\n\n  \n\n", id="blank lines at the end"),
        pytest.param(b" 1, 2, 3, 4 \n5.5,\t6,7 ,8,\n", id="comma and blanks, comma at the end"),
        pytest.param(b"1 2 3 4\n5.5,6,7,8\n", id="two separators"),
        pytest.param(b"1e0,2.0,3,4\n55e-1,6,+7,8\n", id="number formats"),
    ],
)
def test_boxes_are_read_in_every_usual_format(tmp_path, data):
    path = tmp_path / "groundtruth.txt"
    path.write_bytes(data)
    boxes = read_boxes(path)
    assert boxes.dtype == np.float64
    np.testing.assert_array_equal(boxes, TWO)


@pytest.mark.parametrize("line", ["nan,nan,nan,nan", "NaN NaN NaN NaN", "nan\tnan\tnan\tnan", "1,2,nan,4", ""])
def test_nan_and_blank_lines_become_rows_of_nan(line):
    boxes, problems = parse_boxes(f"1,2,3,4\n{line}\n5,6,7,8\n")
    assert problems == []
    np.testing.assert_array_equal(boxes, [[1, 2, 3, 4], [NAN] * 4, [5, 6, 7, 8]])


def test_an_empty_file_has_no_boxes():
    boxes, problems = parse_boxes("\n\n")
    assert boxes.shape == (0, 4)
    assert problems == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("1,2,3", "got 3", id="too few"),
        pytest.param("1,2,3,4,5", "got 5", id="too many"),
        pytest.param("1,2,,4", "1,2,,4", id="empty field"),
        pytest.param("1,2,x,4", "1,2,x,4", id="not a number"),
        pytest.param("1,2,inf,4", "infinite", id="infinite"),
    ],
)
def test_a_bad_box_names_file_and_line(tmp_path, line, message):
    path = tmp_path / "init.txt"
    path.write_text(f"1,2,3,4\n{line}\n5,6,7,8\n")
    with pytest.raises(DataError, match=r"init\.txt: line 2: ") as error:
        read_boxes(path)
    assert message in str(error.value)


def test_bad_lines_do_not_compensate_each_other():
    _, problems = parse_boxes("1,2,3\n1,2,3,4,5\n")
    assert [number for number, _ in problems] == [1, 2]


def test_a_binary_file_is_named(tmp_path):
    path = tmp_path / "groundtruth.txt"
    path.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(DataError, match=r"groundtruth\.txt: not a UTF-8"):
        read_boxes(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"init\.txt: cannot be read: No such file"):
        read_boxes(tmp_path / "init.txt")


def test_flags_are_read(tmp_path):
    path = tmp_path / "absent_label.txt"
    path.write_bytes(b"\xef\xbb\xbf0\r\n1\r\n1.0\r\n\r\n")
    np.testing.assert_array_equal(read_flags(path), [False, True, True])


@pytest.mark.parametrize("line", ["2", "yes", "", "0 1"])
def test_a_bad_flag_names_its_line(line):
    _, problems = parse_flags(f"1\n{line}\n0\n")
    assert [number for number, _ in problems] == [2]


def test_names_are_read_in_order():
    names, problems = parse_names("b`q\r\nleftgirl'swhitebag\r\n\r\na-1\r\n")
    assert names == ["b`q", "leftgirl'swhitebag", "a-1"]
    assert problems == []


@pytest.mark.parametrize("name", ["..", ".", "../other", "/etc", "a/../../b", "a\\b", "C:", "a/b", "a\tb"])
def test_a_listed_name_cannot_leave_its_folder(tmp_path, name):
    path = tmp_path / "list.txt"
    path.write_text(f"good\n{name}\n")
    with pytest.raises(DataError, match=r"list\.txt: line 2: '.+' can't name a file or folder"):
        read_names(path)


def test_a_name_listed_twice_is_an_error():
    names, problems = parse_names("a\nb\na\n")
    assert names == ["a", "b"]
    assert problems == [(3, "'a' is listed twice")]


def test_annotations_of_a_benchmark_must_be_complete():
    assert parse_boxes("", complete=True)[1] == [(1, "empty; expected a row of 4 numbers per frame")]
    assert [number for number, _ in parse_boxes("1,2,3,4\n\n5,6,7,8\n", complete=True)[1]] == [2]
    assert parse_boxes("1,2,3,4\nnan,nan,nan,nan\n\n", complete=True)[1] == []


@pytest.mark.parametrize("lines", ["1,,2,3,4\n5,6,7,8\n", "1,2,3,4\n1,2,3,,4\n", "1, ,2,3,4\n"])
def test_a_field_left_empty_is_not_skipped(lines):
    _, problems = parse_boxes(lines)
    assert len(problems) == 1


def test_a_file_in_an_archive_is_read_as_one_in_a_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("top/s/init.txt", b"\xef\xbb\xbf1,2,3,4\r\n5.5 6 7 8\r\n")
        archive.writestr("top/AttriSeqsTxt/s.txt", "1," + "0," * 17 + "1\n")
        archive.writestr("top/s/bad.txt", "1,2,3,4\n1,2\n")
    root = FileTree(tmp_path / "a.zip") / "top"
    np.testing.assert_array_equal(read_boxes(root / "s" / "init.txt"), TWO)
    assert read_attributes(root, "s", DATA_SETS["lasher"]) == ("NO", "ARC")
    assert read_attributes(root, "t", DATA_SETS["lasher"]) == ()
    with pytest.raises(DataError, match=r"a\.zip/top/s/bad\.txt: line 2: .*got 2"):
        read_boxes(root / "s" / "bad.txt")


def test_a_damaged_decimal_point_is_no_thousands_separator(tmp_path):
    (tmp_path / "a.txt").write_text("1,2,3,4\n1_0,2,3,4\n")
    with pytest.raises(DataError, match=r"a\.txt: line 2: .*got '1_0,2,3,4'"):
        read_boxes(tmp_path / "a.txt")
