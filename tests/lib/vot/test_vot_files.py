"""Result files of the VOT toolkit: its binary form, and ours read back."""

import struct

import numpy as np
import pytest

from lib.evaluation.filetree import FileTree
from lib.evaluation.ground_truth import GroundTruth
from lib.evaluation.longterm import read_long_term
from lib.evaluation.multistart import read_multi_start
from lib.vot.files import decode_trajectory, is_written, write_run

CODE = struct.pack("<BI", 0, 1)
BOX = struct.pack("<Bffff", 1, 1.5, 2.25, 30, 40)


def trajectory(*regions, count=None, version=1):
    return struct.pack("<hI", version, len(regions) if count is None else count) + b"".join(regions)


def truth(frames, anchors=None):
    return {"a": GroundTruth((np.tile([1.0, 2.0, 3.0, 4.0], (frames, 1)),), image_size=(64, 48), anchors=anchors)}


def test_a_binary_trajectory_reads_as_the_text_it_stands_for():
    assert decode_trajectory(trajectory(CODE, BOX), "f") == "1\n1.5,2.25,30.0,40.0"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x01", "f: truncated after 0 frames"),
        (trajectory(CODE, BOX, count=3), "f: truncated after 2 frames"),
        (trajectory(CODE, BOX)[:-2], "f: truncated after 1 frames"),
        (trajectory(CODE) + b"x", "f: 1 bytes after the last of 1 frames"),
        (trajectory(CODE, version=2), "f: version 2 of binary trajectories"),
        (trajectory(CODE, struct.pack("<BH", 2, 4)), "frame 1 .* region type 2"),
    ],
    ids=["header", "count", "cut", "more", "version", "polygon"],
)
def test_a_damaged_binary_trajectory_is_an_error_that_names_the_place(data, message):
    with pytest.raises(ValueError, match=message):
        decode_trajectory(data, "f")


def test_long_term_results_are_read_from_binary_files(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a_001.bin").write_bytes(trajectory(CODE, BOX))
    (tmp_path / "a" / "a_001_confidence.value").write_text("\n0.75\n")
    results, form, problems = read_long_term(FileTree(tmp_path), truth(2))
    assert not problems
    assert "binary VOT" in form
    np.testing.assert_array_equal(results["a"][0], [[np.nan] * 4, [1.5, 2.25, 30, 40]])
    assert results["a"][1].tolist() == [0, 0.75]


@pytest.mark.parametrize("anchor", [0, 2], ids=["forwards", "backwards"])
def test_multi_start_results_are_read_from_binary_files(tmp_path, anchor):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / f"a_{anchor:08d}.bin").write_bytes(trajectory(CODE, BOX, BOX))
    anchors = np.zeros(3)
    anchors[anchor] = 1 if anchor == 0 else -1
    results, _, problems = read_multi_start(FileTree(tmp_path), truth(3, anchors))
    assert not problems
    assert results["a"][anchor][1].tolist() == [1.5, 2.25, 30, 40]


def test_what_is_written_reads_back_with_the_first_row_as_initialisation(tmp_path):
    boxes = np.array([[1, 2, 3, 4], [5.5, 6, 7, 8], [np.nan] * 4])
    write_run(tmp_path / "a", "a_001", boxes, np.array([1, 0.5, 0.1]), np.array([0.1, 0.2, 0.3]))
    assert (tmp_path / "a" / "a_001.txt").read_text() == "1\n5.5000,6.0000,7.0000,8.0000\n0\n"
    assert (tmp_path / "a" / "a_001_confidence.value").read_text() == "\n0.5\n0.1\n"
    assert (tmp_path / "a" / "a_001_time.value").read_text() == "0.1\n0.2\n0.3\n"
    results, _, problems = read_long_term(FileTree(tmp_path), truth(3))
    assert not problems
    np.testing.assert_array_equal(results["a"][0], [[np.nan] * 4, [5.5, 6, 7, 8], [np.nan] * 4])


def test_boxes_and_confidences_must_be_equally_many(tmp_path):
    with pytest.raises(ValueError, match=r"run r: \(2, 4\) boxes for 3 confidences"):
        write_run(tmp_path, "r", np.zeros((2, 4)), np.zeros(3))


@pytest.mark.parametrize("suffix", [".txt", ".bin"])
def test_a_run_counts_as_written_in_either_form(tmp_path, suffix):
    assert not is_written(tmp_path, "r")
    (tmp_path / f"r{suffix}").touch()
    assert is_written(tmp_path, "r")
