"""The table of data sets, and what may be imported with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lib.datasets.catalog import DATA_SETS, FOLDER, PACKAGED_LISTS, data_set_names
from lib.evaluation.protocols import RULES, protocols_of

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", DATA_SETS)
def test_files_a_row_names_are_packaged(name):
    row = DATA_SETS[name]
    files = [row.first_frames, row.first_x_frames]
    files += [file for split in row.splits.values() for file in (split.packaged, split.picked)]
    assert [file for file in files if file and not (PACKAGED_LISTS / file).is_file()] == []
    assert (row.modality == "rgb") == (row.x == ())


def test_every_packaged_file_belongs_to_a_row():
    named = {file for row in DATA_SETS.values() for file in (row.first_frames, row.first_x_frames)}
    for row in DATA_SETS.values():
        named |= {file for split in row.splits.values() for file in (split.packaged, split.picked)}
    assert {path.name for path in PACKAGED_LISTS.iterdir()} - named == {"SOURCE.md"}


@pytest.mark.parametrize("name", [*DATA_SETS, "folder"])
def test_protocols_are_rules_that_exist(name):
    row = DATA_SETS.get(name, FOLDER)
    assert set(row.protocols.values()) <= set(RULES)
    assert list(protocols_of(name)) == list(row.protocols)
    assert not row.annotations or row.protocols, "annotations without a rule to score by"


def test_annotation_forms_name_as_many_modalities_as_the_row():
    for name, row in DATA_SETS.items():
        for form in row.annotations:
            assert len(form.boxes) == (2 if row.x_boxes else 1), name
            assert all("{name}" in file for file in form.boxes), name


def test_names_are_unique_and_folders_differ():
    assert len(set(data_set_names())) == len(data_set_names())
    assert len({row.usual_folder for row in DATA_SETS.values()}) == len(DATA_SETS)


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        pytest.param("lib.datasets, lib.evaluation, lib.evaluation.ground_truth", {"torch", "cv2"}, id="scoring"),
        pytest.param(
            "patrack.recordings.frames, lib.datasets.missing, lib.datasets.recordings", {"torch"}, id="reading"
        ),
    ],
)
def test_data_and_scoring_load_no_torch(modules, heavy):
    code = f"import sys, {modules}\nprint(sorted({heavy} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.strip() == "[]"
