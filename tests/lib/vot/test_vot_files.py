"""Result files of the VOT toolkit: its binary form, and ours read back."""

import numpy as np
import pytest

from lib.evaluation.annotations import GroundTruth
from lib.evaluation.filetree import FileTree
from lib.evaluation.vot import read_long_term
from lib.vot.files import is_written, write_run


def truth(frames, anchors=None):
    return {"a": GroundTruth((np.tile([1.0, 2.0, 3.0, 4.0], (frames, 1)),), image_size=(64, 48), anchors=anchors)}


def test_what_is_written_reads_back_with_the_first_row_as_initialisation(tmp_path):
    boxes = np.array([[1, 2, 3, 4], [5.5, 6, 7, 8], [np.nan] * 4])
    write_run(tmp_path / "a", "a_001", boxes, np.array([1, 0.5, 0.1]), np.array([0.1, 0.2, 0.3]))
    assert (tmp_path / "a" / "a_001.txt").read_text() == "1\n5.5000,6.0000,7.0000,8.0000\n0\n"
    assert (tmp_path / "a" / "a_001_confidence.value").read_text() == "\n0.5\n0.1\n"
    assert (tmp_path / "a" / "a_001_time.value").read_text() == "0.1\n0.2\n0.3\n"
    files = read_long_term(FileTree(tmp_path), truth(3))
    assert not files.problems
    np.testing.assert_array_equal(files.rows["a"][0], [[np.nan] * 4, [5.5, 6, 7, 8], [np.nan] * 4])


def test_boxes_and_confidences_must_be_equally_many(tmp_path):
    with pytest.raises(ValueError, match=r"run r: \(2, 4\) boxes for 3 confidences"):
        write_run(tmp_path, "r", np.zeros((2, 4)), np.zeros(3))


@pytest.mark.parametrize("suffix", [".txt", ".bin"])
def test_a_run_counts_as_written_in_either_form(tmp_path, suffix):
    assert not is_written(tmp_path, "r")
    (tmp_path / f"r{suffix}").touch()
    assert is_written(tmp_path, "r")
