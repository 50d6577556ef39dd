"""Finding data sets, splits and lists; every error says what was looked for."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from lib.datasets import DATA_SETS, DataError, data_set_names, load, resolve_data_root
from lib.datasets.catalog import PACKAGED_LISTS
from lib.datasets.loading import dataset_root
from lib.datasets.parsing import read_names

COUNTS = {
    "lasher_train": 979,
    "lasher_test": 245,
    "lasher_peer_train": 882,
    "lasher_peer_val": 97,
    "depthtrack_train": 146,
    "depthtrack_val": 6,
    "depthtrack_test": 50,
    "visevent_train": 500,
    "visevent_test": 320,
}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.delenv("PATRACK_DATA", raising=False)


@pytest.mark.parametrize("name", COUNTS)
def test_packaged_lists_are_complete(name):
    assert len(read_names(PACKAGED_LISTS / f"{name}.txt")) == COUNTS[name]


@pytest.mark.parametrize("name", ["lasher", "depthtrack", "visevent"])
def test_no_split_shares_a_sequence_with_test(name):
    splits = DATA_SETS[name].splits
    names = {key: set(read_names(PACKAGED_LISTS / rule.packaged)) for key, rule in splits.items()}
    for key in set(splits) - {"test"}:
        assert not names[key] & names["test"], key


def test_lasher_peer_split_divides_the_official_training_list():
    train, peer, val = (
        set(read_names(PACKAGED_LISTS / f"lasher_{key}.txt")) for key in ("train", "peer_train", "peer_val")
    )
    assert not peer & val
    assert peer | val == train


@pytest.mark.parametrize(
    ("cli", "environment", "config", "expected"),
    [
        ("a", "b", "c", "a"),
        (None, "b", "c", "b"),
        (None, None, "c", "c"),
        (None, None, None, None),
        ("", "", "c", "c"),
    ],
)
def test_data_root_comes_from_flag_then_environment_then_config(monkeypatch, cli, environment, config, expected):
    if environment is not None:
        monkeypatch.setenv("PATRACK_DATA", environment)
    assert resolve_data_root(cli, config) == (expected and Path(expected))


@pytest.mark.parametrize("place", ["~/sets", "$SETS", "${SETS}"])
def test_data_root_may_begin_with_home_or_a_variable(monkeypatch, tmp_path, place):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SETS", str(tmp_path / "sets"))
    monkeypatch.delenv("PATRACK_DATA", raising=False)
    assert resolve_data_root(place) == resolve_data_root(None, place) == tmp_path / "sets"
    monkeypatch.setenv("PATRACK_DATA", place)
    assert resolve_data_root() == tmp_path / "sets"
    (tmp_path / "sets/GTOT").mkdir(parents=True)
    assert dataset_root("gtot", Path(f"{place}/GTOT"), None) == tmp_path / "sets/GTOT"


def test_data_root_with_an_unset_variable_names_its_origin(monkeypatch):
    monkeypatch.delenv("UNSET_PLACE", raising=False)
    with pytest.raises(DataError, match=r"data\.root: path .* UNSET_PLACE is not set"):
        resolve_data_root(None, "$UNSET_PLACE/sets")
    monkeypatch.setenv("PATRACK_DATA", "$UNSET_PLACE")
    with pytest.raises(DataError, match=r"PATRACK_DATA: path .* UNSET_PLACE is not set"):
        resolve_data_root()


def test_unknown_name_lists_names_and_the_nearest():
    with pytest.raises(DataError, match=r"'lashr' \(nearest: 'lasher'\)") as error:
        load("lashr", "train")
    assert all(name in str(error.value) for name in data_set_names())


@pytest.mark.parametrize("name", [name for name in data_set_names() if name != "folder"])
def test_without_a_data_root_the_error_says_how_to_give_one(name):
    with pytest.raises(DataError, match=r"--data-root, set PATRACK_DATA or data\.root"):
        load(name, "train")


def test_folder_needs_its_own_root():
    with pytest.raises(DataError, match="has no usual place: give its own root"):
        load("folder", "train", data_root=Path("anywhere"))


def test_missing_set_says_what_was_looked_for_and_where(tmp_path, monkeypatch):
    (tmp_path / "GTOT").mkdir()
    with pytest.raises(DataError, match=r"LasHeR.*--data-root or data\.root.*GTOT"):
        load("lasher", "train", data_root=tmp_path)
    monkeypatch.setenv("PATRACK_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"\(from PATRACK_DATA\)"):
        load("lasher", "train", data_root=tmp_path)


def test_missing_root_of_a_set_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no folder .*gone"):
        load("lasher", "train", root=tmp_path / "gone")


def test_unknown_split_lists_the_known_ones(tmp_path):
    with pytest.raises(DataError, match=r"VisEvent .*split 'val'.* train, test"):
        load("visevent", "val", root=tmp_path)


def test_missing_list_says_where_it_was_expected(tmp_path):
    with pytest.raises(DataError, match=r"split 'val': looked for valsetList\.txt in "):
        load("synthrgbt", "val", root=tmp_path)


def test_missing_sequences_are_counted_and_named(tmp_path):
    with pytest.raises(DataError, match=r"245 of 245 .*testingset .*: 10runone, "):
        load("lasher", "test", root=tmp_path)


def test_unknown_sequence_names_the_nearest(tmp_path):
    with pytest.raises(DataError, match=r"no sequence '10runon' \(nearest: '10runone'\)"):
        load("lasher", "test", root=tmp_path, sequences=["10runon"])


def test_a_list_cannot_point_out_of_the_data_set(tmp_path):
    (tmp_path / "trainingsetList.txt").write_text("../elsewhere\n")
    with pytest.raises(DataError, match=r"trainingsetList\.txt: line 1"):
        load("lasher", "train", root=tmp_path)


def test_the_list_on_disk_comes_before_the_packaged_one(tmp_path, write_sequence, box_lines):
    (tmp_path / "trainingsetList.txt").write_text("mine\r\n")
    images = [f"{k}.png" for k in range(2)]
    texts = {"init.txt": box_lines(2)}
    write_sequence(tmp_path / "trainingset/mine", ("visible", images), ("infrared", images), texts)
    assert [s.name for s in load("lasher", "train", tmp_path)] == ["mine"]


def test_indexing_opens_no_image(tmp_path, write_sequence, box_lines, monkeypatch):
    images = [f"{k}.png" for k in range(3)]
    write_sequence(tmp_path / "trainingset/a", ("visible", images), ("infrared", images), {"init.txt": box_lines(3)})
    (tmp_path / "trainingsetList.txt").write_text("a\n")
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was opened"))
    monkeypatch.setattr(cv2, "imread", lambda path, *_: pytest.fail(f"{path} was opened"))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("an image was decoded"))
    assert len(load("lasher", "train", tmp_path)[0]) == 3
