"""The folder that tracking writes: results count as complete only if every number of them is there."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostile import any_text_file
from lib.evaluation.files import parse_rows
from lib.inference import runner
from lib.inference.results import SequenceResult, is_complete, refuse_shared_files, write_result
from small_models import tiny_config

FRAMES = 4
RESULT = SequenceResult(np.arange(16.0).reshape(4, 4) + 1, np.linspace(1, 0.5, 4), np.full(4, 0.01), 1.0)


@pytest.mark.parametrize("end", ["", "_scores", "_times"])
@given(data=st.data())
def test_damaged_results_are_not_taken_for_complete_ones(end, data, folder):
    write_result(folder, "a", RESULT)
    assert is_complete(folder, "a", RESULT.boxes[0], FRAMES)
    path = folder / f"a{end}.txt"
    path.write_bytes(data.draw(any_text_file(path.read_text())))
    if is_complete(folder, "a", RESULT.boxes[0], FRAMES):
        rows, _ = parse_rows(path.read_text(encoding="utf-8").replace(",", " "), "a", (1, 4))
        assert rows.shape == (FRAMES, 1 if end else 4)
        assert np.isfinite(rows).all()


@pytest.mark.parametrize(
    "rows", ["garbage\n" * 3, "1,2,3\n" * 3, "nan,nan,nan,nan\n" * 3, "inf,1,1,1\n" * 3, "1_0,1,1,1\n" * 3, "\n" * 3]
)
def test_rows_that_are_no_boxes_are_tracked_again(rows, folder):
    write_result(folder, "a", RESULT)
    path = folder / "a.txt"
    path.write_text(path.read_text().split("\n")[0] + "\n" + rows)
    assert not is_complete(folder, "a", RESULT.boxes[0], FRAMES)


@given(
    names=st.lists(
        st.text("ab_", min_size=1, max_size=2).flatmap(lambda n: st.sampled_from([n, f"{n}_scores", f"{n}_times"])),
        unique=True,
    )
)
def test_sequences_that_share_a_file_are_refused(names):
    files = [f"{name}{end}" for name in names for end in ("", "_scores", "_times")]
    try:
        refuse_shared_files(names)
    except ValueError as error:
        assert len(set(files)) < len(files)
        assert sum(repr(name) in str(error) for name in names) == 2
    else:
        assert len(set(files)) == len(files)


def test_sequences_that_share_a_file_are_refused_before_anything_is_tracked(folder, monkeypatch):
    monkeypatch.setattr(
        runner.datasets, "load", lambda *_, **__: [SimpleNamespace(name=n) for n in ("a", "b", "a_scores")]
    )
    with pytest.raises(ValueError, match=r"'a' and 'a_scores' would both write a_scores\.txt: rename one"):
        runner.track_dataset(tiny_config(), runner.Weights(), "lasher", "test", output=folder / "out")
    assert not (folder / "out").exists()
