"""Parsing numbers: what trackers write, and what must be refused with file and line."""

import numpy as np
import pytest

from lib.evaluation.files import parse_column, parse_regions, parse_rows


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        pytest.param("1,2,3,4\n5,6,7,8\n", "comma", id="comma"),
        pytest.param("1\t2\t3\t4\n5\t6\t7\t8", "tab", id="tab, no last newline"),
        pytest.param("1 2 3 4\n5  6 7 8\n", "blank", id="blanks"),
        pytest.param("1, 2,\t3,4\n5,6,7,8\n", "mixed", id="mixed"),
        pytest.param("1.0e+00 2.000 3 4\n5 6 7 8\n\n  \n", "blank", id="exponents and blank-padded end"),
        pytest.param("1,2,3,4,\n5,6,7,8,\n", "comma", id="comma at the end of a line"),
    ],
)
def test_rows_of_every_writer(text, separator):
    rows, found = parse_rows(text, "f.txt", (4, 8))
    assert rows.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert found == separator


def test_a_single_row_and_nan_are_fine():
    rows, _ = parse_rows("nan,NaN,1,2", "f.txt", (4,))
    assert np.isnan(rows).tolist() == [[True, True, False, False]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", r"f\.txt: empty", id="empty file"),
        pytest.param("\n \n", r"f\.txt: empty", id="only blank lines"),
        pytest.param("x,y,w,h\n1,2,3,4\n", r"f\.txt:1: expected 4 or 8 numbers .*'x,y,w,h'", id="header"),
        pytest.param("1;2;3;4\n", r"f\.txt:1: .*comma, tab or blank.*'1;2;3;4'", id="semicolons"),
        pytest.param("1,2,3,4\n1,2,3\n", r"f\.txt:2: expected 4 numbers, got 3", id="short row"),
        pytest.param("1,2,3,4\n1,2,3,4,5,6,7,8\n", r"f\.txt:2: expected 4 numbers, got 8", id="formats mixed"),
        pytest.param("1,2,3\n1,2,3\n", r"f\.txt:1: expected 4 or 8 numbers, got 3", id="three columns"),
        pytest.param("1,2,3,4\n\n1,2,3,4\n", r"f\.txt:2: blank line", id="blank line inside"),
        pytest.param("\n1,2,3,4\n", r"f\.txt:1: blank line", id="blank line at the start"),
        pytest.param("1,2,3,4\n1,2,inf,4\n", r"f\.txt:2: infinite", id="infinite"),
        pytest.param("1,2,3,4\n1,2,3,4x\n", r"f\.txt:2: expected .*'1,2,3,4x'", id="garbage at the end"),
        pytest.param("1 2 3 4\n1 2 3 4 # good\n", r"f\.txt:2:", id="comment"),
    ],
)
def test_bad_rows_name_file_line_and_expectation(text, message):
    with pytest.raises(ValueError, match=message):
        parse_rows(text, "f.txt", (4, 8))


def test_an_empty_confidence_is_zero():
    assert parse_column("\n0.5\n1\n", "c.value").tolist() == [0.0, 0.5, 1.0]


def test_a_bad_confidence_names_its_line():
    with pytest.raises(ValueError, match=r"c\.value:3: .*'high'"):
        parse_column("\n0.5\nhigh\n", "c.value")


def test_regions_may_be_special_codes():
    regions = parse_regions("1\n1,2,3,4\n0\nnan,nan,nan,nan\n", "r.txt")
    assert np.isnan(regions).all(axis=1).tolist() == [True, False, True, True]


def test_a_bad_region_names_its_line():
    with pytest.raises(ValueError, match=r"r\.txt:2: expected 4 numbers.*got '1,2'"):
        parse_regions("1\n1,2\n", "r.txt")
