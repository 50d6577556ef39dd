"""Parsing numbers: what trackers write, and what must be refused with file and line."""

import zipfile

import numpy as np
import pytest

from lib.evaluation.files import FileTree, parse_column, parse_regions, parse_rows, parse_table


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        pytest.param("1,2,3,4\n5,6,7,8\n", "comma", id="comma"),
        pytest.param("1\t2\t3\t4\n5\t6\t7\t8", "tab", id="tab, no last newline"),
        pytest.param("1 2 3 4\n5  6 7 8\n", "blank", id="blanks"),
        pytest.param("1;2;3;4\n5; 6; 7; 8\n", "semicolon", id="semicolon"),
        pytest.param("1, 2,\t3,4\n5,6,7,8\n", "mixed", id="mixed"),
        pytest.param("1, 2, 3, 4\n5, 6, 7, 8\n", "comma", id="comma and blank"),
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
        pytest.param("1|2|3|4\n", r"f\.txt:1: .*comma, tab or blank.*'1\|2\|3\|4'", id="unknown separator"),
        pytest.param("1,5;2;3;4\n", r"f\.txt:1: both comma and semicolon; write a decimal point", id="decimal comma"),
        pytest.param("1;2;3;4\n1,2,3,4\n", r"f\.txt:1: comma in some rows and semicolon", id="separators differ"),
        pytest.param("1,2,3,4\n1,,3,4,5\n", r"f\.txt:2: an empty field; expected nan", id="empty field"),
        pytest.param(",1,2,3,4\n", r"f\.txt:1: an empty field", id="empty field in front"),
        pytest.param("1\t2\t3\t4\n1\t\t3\t4\t5\n", r"f\.txt:2: an empty field", id="empty field between tabs"),
        pytest.param("1,2,3,4\nNone,None,None,None\n", r"f\.txt:2: .*\(nan where nothing was reported\)", id="None"),
        pytest.param("[1, 2, 3, 4]\n", r"f\.txt:1: expected 4 or 8 numbers", id="brackets"),
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


BOXES = [[10, 20, 30, 40], [11, 21, 31, 41], [12, 22, 32, 42]]


@pytest.mark.parametrize(
    ("text", "columns", "scores"),
    [
        pytest.param("10,20,30,40\n11,21,31,41\n12,22,32,42\n", "4 numbers", None, id="boxes"),
        pytest.param(
            "10 20 30 40 .9\n11 21 31 41 .8\n12 22 32 42 .7", "4 numbers and a score", [0.9, 0.8, 0.7], id="score"
        ),
        pytest.param(
            "0,10,20,30,40\n1,11,21,31,41\n2,12,22,32,42\n", "frame number, 4 numbers", None, id="frame from 0"
        ),
        pytest.param(
            "1,10,20,30,40\n2,11,21,31,41\n3,12,22,32,42\n", "frame number, 4 numbers", None, id="frame from 1"
        ),
        pytest.param(
            "0,10,20,30,40,.9\n1,11,21,31,41,.8\n2,12,22,32,42,.7\n",
            "frame number, 4 numbers and a score",
            [0.9, 0.8, 0.7],
            id="frame and score",
        ),
        pytest.param(
            "frame,time,x,y,w,h,score,lost\n0,0.0,10,20,30,40,.9,0\n1,.04,11,21,31,41,.8,0\n2,.08,12,22,32,42,.7,1\n",
            "columns frame time x y w h score lost",
            [0.9, 0.8, 0.7],
            id="our own table",
        ),
        pytest.param(
            "# x y w h\n10 20 30 40\n11 21 31 41\n12 22 32 42\n", "columns x y w h", None, id="heading of numpy"
        ),
        pytest.param(
            ",Confidence,H,W,Y,X\n7,.9,40,30,20,10\n8,.8,41,31,21,11\n9,.7,42,32,22,12\n",
            "columns ? confidence h w y x",
            [0.9, 0.8, 0.7],
            id="other order, nameless index",
        ),
        pytest.param(
            '"x";"y";"w";"h"\n"10";"20";"30";"40"\n11;21;31;41\n12;22;32;42\n', "columns x y w h", None, id="quoted"
        ),
    ],
)
def test_tables_of_every_writer(text, columns, scores):
    table = parse_table(text, "f.csv")
    assert table.boxes.tolist() == BOXES
    assert table.columns == columns
    assert (None if table.scores is None else table.scores.tolist()) == scores


@pytest.mark.parametrize("names", ["x1,y1,x2,y2", "left,top,right,bottom", "xmin,ymin,xmax,ymax"])
def test_names_of_columns_tell_corners(names):
    assert parse_table(f"{names}\n1,2,3,4\n", "f.csv").corners is True
    assert parse_table("left,top,width,height\n1,2,3,4\n", "f.csv").corners is False
    assert parse_table("1,2,3,4\n", "f.csv").corners is None


def test_an_empty_field_below_a_name_is_nothing_reported():
    table = parse_table("frame,x,y,w,h\n0,1,2,3,4\n1,,,,\n", "f.csv")
    assert np.isnan(table.boxes).all(axis=1).tolist() == [False, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("cx,cy,w,h\n1,2,3,4\n", r"f\.csv:1: .*names of columns with a box .*'cx,cy,w,h'", id="centers"),
        pytest.param("x,y,w,h\n", r"f\.csv: no rows below", id="names only"),
        pytest.param("x,y,w,h\n1,2,3\n", r"f\.csv:2: expected 4 fields as in line 1, got 3", id="short row"),
        pytest.param("x,y,w,h\n1,2,3,4\n\n1,2,3,4\n", r"f\.csv:3: blank line", id="blank line"),
        pytest.param("x,y,w,h\n1,2,3,4\n1,2,q,4\n", r"f\.csv:3: w is 'q'", id="no number"),
        pytest.param("x,y,w,h\n1,2,inf,4\n", r"f\.csv:2: w is infinite", id="infinite"),
        pytest.param("x,left,y,w,h\n1,2,3,4,5\n", r"f\.csv:1: two columns for the same", id="twice"),
        pytest.param(
            "frame,x,y,w,h\n0,1,2,3,4\n2,1,2,3,4\n", r"f\.csv:3: frame 2 follows frame 0; expected a row for", id="gap"
        ),
        pytest.param("0,1,2,3,4\n1,1,2,3,4\n3,1,2,3,4\n", r"f\.csv:3: frame 3 follows frame 1", id="gap without names"),
        pytest.param("5,1,2,3,4,1\n6,1,2,3,4,1\n", r"f\.csv:1: 6 numbers, .* name the columns", id="six"),
        pytest.param("0,1,2,3,4,1,7\n", r"f\.csv:1: expected 4, 5, 6 or 8 numbers, got 7", id="seven"),
    ],
)
def test_bad_tables_name_file_line_and_expectation(text, message):
    with pytest.raises(ValueError, match=message):
        parse_table(text, "f.csv")


@pytest.mark.parametrize("row", ["inf,2,3,4", "1,1e999,3,4", "1_0,2,3,4"])
def test_trajectories_hold_finite_numbers_only(row):
    with pytest.raises(ValueError, match=rf"f\.txt:2: expected 4 numbers or one special code, got '{row}'"):
        parse_regions(f"1\n{row}\n", "f.txt")
    with pytest.raises(ValueError, match=r"f\.txt:2:"):
        parse_column("0.5\n1_0\n", "f.txt")


def test_an_archive_with_a_name_of_no_letter_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "1,2,3,4\n")
    data = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(data.replace(b"a.txt", b"\0.txt"))  # ends the name for zipfile
    assert FileTree(tmp_path / "a.zip").walk(1) == []
