"""Files of boxes, flags, names and results rows: written and read back, and anything else refused by name and line."""

from __future__ import annotations

import re
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostile import any_bytes, any_text, any_text_file, only_reads
from lib.datasets.parsing import (
    parse_boxes,
    read_attributes,
    read_boxes,
    read_flags,
    read_names,
    read_numbers,
    read_text,
)
from lib.evaluation.files import (
    FileTree,
    decode_trajectory,
    parse_column,
    parse_regions,
    parse_rows,
    parse_table,
    spell_out_codes,
)
from lib.evaluation.results import write_boxes
from patrack.recordings.sequence import DataError

numbers = st.floats(-1e6, 1e6).map(lambda value: round(value, 4))
rows_of_boxes = st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=1, max_size=6)
TABLE = "10,20,30,40\n11.5,21,30,40\n12,22,30.25,40\nnan,nan,nan,nan\n"
NAMED = "frame,x,y,w,h,score\n0,10,20,30,40,0.5\n1,11,21,30,40,0.75\n"
FRAMES = "1 10 20 30 40 0.5\n2 11 21 30 40 0.75\n3 12 22 30 40 0.25\n"
TRAJECTORY = struct.pack("<hIBIBffff", 1, 2, 0, 1, 1, 10, 20, 30, 40)


@given(rows=rows_of_boxes)
def test_boxes_read_back_as_written_in_every_way(rows, folder):
    path, boxes = folder / "a.txt", np.array(rows)
    write_boxes(path, boxes)
    np.testing.assert_allclose(read_boxes(path), boxes, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(parse_table(read_text(path), "a").boxes, read_boxes(path))


@given(
    rows=rows_of_boxes,
    separator=st.sampled_from([",", "\t", " ", ", ", "  "]),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
    tail=st.sampled_from(["", "\n", "\n\n \n"]),
)
def test_separators_line_ends_and_marks_change_nothing(rows, separator, end, mark, tail, folder):
    text = end.join(separator.join(map(repr, row)) for row in rows) + tail
    path = folder / "a.txt"
    path.write_text(mark + text, encoding="utf-8", newline="")
    np.testing.assert_array_equal(read_boxes(path), np.array(rows))
    assert np.array_equal(parse_table(FileTree(folder).read("a.txt"), "a").boxes, np.array(rows))


@given(any_text(TABLE, "1\t2\t3\t4\n5\t6\t7\t8"))
def test_a_line_means_the_same_whatever_lines_stand_around_it(text):
    boxes, problems = parse_boxes(text)
    wrong = {number for number, _ in problems}
    lines = text.replace("\r\n", "\n").replace("\r", "\n").rstrip().split("\n")
    assert len(boxes) == (len(lines) if lines != [""] else 0)
    for number, (line, box) in enumerate(zip(lines, boxes, strict=False), start=1):
        alone, problem = parse_boxes(line)
        assert bool(problem) == (number in wrong)
        assert len(alone) == 0 or np.array_equal(alone[0], box, equal_nan=True)


@pytest.mark.parametrize(
    "read",
    [
        read_boxes,
        lambda path: read_boxes(path, corners=True, polygons=True, complete=True),
        read_flags,
        lambda path: read_flags(path, highest=8),
        read_names,
        lambda path: read_names(path, nested=True),
        lambda path: read_numbers.__wrapped__(path),
    ],
    ids=["boxes", "corners", "flags", "flags to 8", "names", "nested names", "numbers"],
)
@given(data=any_text_file(TABLE, "0\n1\n1.0\n0\n", "a\nb_2\nc/d\n", "sequence,number\na,3\nb,4\n"))
def test_any_file_of_lines_is_read_or_refused_with_path_and_line(read, data, folder):
    path = folder / "a.txt"
    path.write_bytes(data)
    with only_reads():
        try:
            held = read(path)
        except DataError as error:
            assert re.match(rf"{re.escape(str(path))}: (line \d+: |not a UTF-8 text file)", str(error))
            return
    if isinstance(held, np.ndarray) and held.dtype != bool:
        assert held.shape[1:] == (4,)
        assert not np.isinf(held).any()
    elif isinstance(held, list):
        assert not [name for name in held if name in ("", ".", "..") or set(name) & set("/\\:\0")]


@given(data=any_text_file("0,1,0\n", "night, occlusion\n"))
def test_any_file_of_attributes_is_read_or_refused_with_its_path(data, folder):
    from lib.datasets import DATA_SETS

    for row in DATA_SETS.values():
        if row.attribute_folder and not row.attributes_by_column:
            path = folder / row.attribute_folder / "a.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            try:
                read_attributes(folder, "a", row)
            except DataError as error:
                assert str(path) in str(error)


@pytest.mark.parametrize(
    "parse",
    [
        parse_table,
        lambda text, where: parse_table(spell_out_codes(text), where),
        lambda text, where: parse_rows(text, where, (4, 5)),
        parse_regions,
        parse_column,
    ],
    ids=["table", "with codes", "rows", "regions", "column"],
)
@given(text=any_text(TABLE, NAMED, FRAMES, "1\n10,20,30,40\n0\n", "\n0.5\n0.25\n"))
def test_any_result_file_is_read_or_refused_with_its_name(parse, text):
    try:
        held = parse(text, "NAME")
    except ValueError as error:
        assert type(error) is ValueError
        assert re.match(r"NAME:(\d+:)? ", str(error)), error
        return
    rows = held.boxes if hasattr(held, "boxes") else held[0] if isinstance(held, tuple) else held
    assert rows.dtype == np.float64
    assert parse is parse_column or not np.isinf(rows).any()  # a confidence may be infinite, as in the VOT toolkit


@given(any_bytes(TRAJECTORY))
def test_any_binary_trajectory_is_read_or_refused_with_its_name(data):
    try:
        text = decode_trajectory(data, "NAME")
    except ValueError as error:
        assert str(error).startswith("NAME: ")
        return
    try:
        assert len(parse_regions(text, "NAME")) == max(text.count("\n") + 1, 1)
    except ValueError as error:
        assert str(error).startswith("NAME:")


def test_a_binary_trajectory_that_promises_billions_of_frames_takes_no_memory():
    with pytest.raises(ValueError, match="truncated after 0 frames"):
        decode_trajectory(struct.pack("<hI", 1, 2**32 - 1), "NAME")
