"""The other data sets of the field, each on disk in its own layout with its known defects."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from lib.datasets import DATA_SETS, load
from lib.datasets.catalog import PACKAGED_LISTS
from lib.datasets.parsing import read_numbers
from patrack.recordings.frames import read_frame
from patrack.recordings.sequence import DataError
from scripts.check_data import check_sequence


def numbered(pattern, count, start=0):
    return [pattern % k for k in range(start, start + count)]


# --- RGB + thermal


@pytest.fixture
def rgbt234(tmp_path, write_sequence, box_lines):
    """One sequence of RGBT234, with as many images and lines as asked for."""

    def make(name="afterrain", images=5, lines=5, dataset="rgbt234", **texts):
        x_lines = [line.replace(",1,", ",3,") for line in box_lines(lines)]
        texts = texts or {"visible.txt": box_lines(lines), "infrared.txt": x_lines, "init.txt": ["9,9,9,9"] * lines}
        names = numbered("%05d.jpg", images, start=1)
        write_sequence(tmp_path / name, ("visible", names), ("infrared", [f"i{n}" for n in names]), texts)
        return load(dataset, "test", tmp_path, sequences=[name])[0]

    return make


def test_rgbt234_has_a_box_per_modality(rgbt234, codes_match):
    sequence = rgbt234()
    codes_match(sequence)
    assert sequence.boxes[:, 1].tolist() == [1] * 5
    assert sequence.x_boxes[:, 1].tolist() == [3] * 5


@pytest.mark.parametrize(
    ("name", "images", "lines", "frames"), [("man4", 6, 5, 5), ("orangeman1", 5, 6, 5)], ids=["man4", "orangeman1"]
)
def test_rgbt234_with_another_number_of_lines_than_images_is_cut(rgbt234, codes_match, name, images, lines, frames):
    sequence = rgbt234(name, images, lines)
    assert (len(sequence), len(sequence.x_boxes)) == (frames, frames)
    codes_match(sequence)
    assert any("known: " in note for note in check_sequence(name, _folder(sequence), DATA_SETS["rgbt234"]).notes)


def _folder(sequence):
    return sequence.rgb_files[0].parent.parent


def test_rgbt234_attributes_are_in_a_file_each(rgbt234, tmp_path):
    (tmp_path / "attr_txt").mkdir()
    (tmp_path / "attr_txt/SequencesName.txt").write_text("aftertree\nafterrain\n")
    for name in DATA_SETS["rgbt234"].attribute_names:
        (tmp_path / f"attr_txt/{name}.txt").write_text("1\n1\n" if name in ("TC", "SC") else "1\n0\n")
    assert rgbt234().attributes == ("TC", "SC")


def test_rgbt234_without_the_boxes_of_one_modality_is_reported(rgbt234, tmp_path, box_lines):
    sequence = rgbt234(**{"visible.txt": box_lines(5)})
    assert sequence.x_boxes is None
    report = check_sequence("afterrain", _folder(sequence), DATA_SETS["rgbt234"], images="none")
    assert "no infrared.txt; the maximum over both modalities cannot be scored" in report.errors[0].text


def test_rgbt210_has_one_annotation_with_empty_boxes(rgbt234, tmp_path):
    sequence = rgbt234(dataset="rgbt210", **{"init.txt": ["0,1,15,16", "0,0,0,0", "2,1,15,16", "3,1,0,9", "4,1,15,16"]})
    assert sequence.absent.tolist() == [False, True, False, True, False]
    assert sequence.x_boxes is None


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_gtot_corners_become_boxes(tmp_path, write_sequence, codes_match, suffix):
    corners = [f"{k} 1 {k + 15} 17 " for k in range(4)]
    texts = {"groundTruth_v.txt": corners, "groundTruth_i.txt": [f"{k} 1 {k + 10} 11" for k in range(4)]}
    names = numbered(f"%05d.{suffix}", 4, start=1)
    write_sequence(tmp_path / "BlackCar", ("v", names), ("i", names), texts)
    (sequence,) = load("gtot", "test", tmp_path, sequences=["BlackCar"])
    codes_match(sequence)
    assert sequence.boxes[2].tolist() == [2, 1, 15, 16]
    assert sequence.x_boxes[2].tolist() == [2, 1, 10, 10]


@pytest.fixture
def vtuav(tmp_path, write_sequence):
    """A sequence of VTUAV's test part: 24 frames, a line per 10 from frame `first` on; row k has x = its frame."""

    def make(name, first, place="test_ST_001", frames=24):
        lines = [f"{k} 1 15 16" for k in range(first, frames, 10)]
        names = numbered("%06d.jpg", frames)
        folder = tmp_path / place / name
        write_sequence(folder, ("rgb", names), ("ir", names), {"rgb.txt": lines, "ir.txt": lines})
        return tmp_path

    return make


@pytest.mark.parametrize("place", ["test_ST_001", "test_ST_012", "test/test_ST_003", "VTUAV_test/test_ST_004", ""])
def test_vtuav_has_a_line_per_ten_frames(vtuav, codes_match, caplog, place):
    root = vtuav("animal_001", 0, place)
    with caplog.at_level(logging.WARNING):
        (sequence,) = load("vtuav", "test", root, sequences=["animal_001"])
    assert len(sequence) == 24
    assert np.flatnonzero(sequence.annotated).tolist() == [0, 10, 20]
    assert not sequence.absent.any()
    assert caplog.text == ""
    codes_match(sequence)
    assert check_sequence("animal_001", _folder(sequence), DATA_SETS["vtuav"], images="all").errors == []


def test_vtuav_begins_at_the_first_annotated_frame(vtuav, codes_match):
    offset = read_numbers(PACKAGED_LISTS / "vtuav_first_frames.csv")["car_007"]
    (sequence,) = load("vtuav", "test", vtuav("car_007", offset), sequences=["car_007"])
    assert (offset, sequence.cut, len(sequence)) == (7, 7, 17)
    assert np.flatnonzero(sequence.annotated).tolist() == [0, 10]
    assert sequence.boxes[[0, 10], 0].tolist() == [7, 17]
    codes_match(sequence, first=7)


def test_vtuav_absent_is_a_row_of_zeros(vtuav):
    root = vtuav("animal_001", 0)
    (root / "test_ST_001/animal_001/rgb.txt").write_text("1 1 9 9\n0 0 0 0\n3 1 9 9\n")
    (sequence,) = load("vtuav", "test", root, sequences=["animal_001"])
    assert np.flatnonzero(sequence.absent).tolist() == [10]
    assert np.flatnonzero(sequence.visible).tolist() == [0, 20]


def test_vtuav_lacking_lines_are_found(vtuav):
    root = vtuav("animal_001", 0)
    (root / "test_ST_001/animal_001/rgb.txt").write_text("1 1 9 9\n2 1 9 9\n")
    report = check_sequence("animal_001", root / "test_ST_001/animal_001", DATA_SETS["vtuav"], images="none")
    assert {"24 images in rgb, 2 boxes", "2 boxes, but 3 in ir.txt"} <= {error.text for error in report.errors}


def test_vtuav_splits_do_not_overlap():
    names = {
        split: set((PACKAGED_LISTS / rule.packaged).read_text().split())
        for split, rule in DATA_SETS["vtuav"].splits.items()
    }
    assert {split: len(found) for split, found in names.items()} == {
        "train": 157,
        "val": 50,
        "train_lt": 33,
        "val_lt": 10,
        "test": 176,
        "test_lt": 74,
    }
    assert len(set.union(*names.values())) == 500


# --- RGB + depth


@pytest.mark.parametrize("box_file", ["groundtruth_rect.txt", "groundtruth.txt"])
@pytest.mark.parametrize("place", ["Adapter", "train/Adapter", ""])
def test_rgbd1k_lies_in_class_folders_and_is_not_clipped(tmp_path, write_sequence, box_lines, place, box_file):
    color, depth = numbered("%08d.jpg", 4, 1), numbered("%08d.png", 4, 1)
    texts = {box_file: ["0,1,5,6", *box_lines(4)[1:]]}
    write_sequence(tmp_path / place / "adapter1", ("color", color), ("depth", depth), texts, np.uint16)
    (sequence,) = load("rgbd1k", "train", tmp_path, sequences=["adapter1"])
    assert (sequence.modality, sequence.clip_depth) == ("rgbd", False)
    assert sequence.visible.all()  # DepthTrack would leave the first, small box out
    assert read_frame(sequence, 3).shape == (24, 32, 6)


def test_rgbd1k_test_list_on_disk_may_name_class_folders(tmp_path, write_sequence, box_lines):
    color, depth = numbered("%08d.jpg", 3, 1), numbered("%08d.png", 3, 1)
    write_sequence(
        tmp_path / "Ball/ball9", ("color", color), ("depth", depth), {"groundtruth.txt": box_lines(3)}, np.uint16
    )
    (tmp_path / "list.txt").write_text("Ball/ball9\n")
    assert [s.name for s in load("rgbd1k", "test", tmp_path)] == ["ball9"]
    (tmp_path / "list.txt").write_text("Ball/../../ball9\n")
    with pytest.raises(DataError, match=r"list\.txt: line 1: .* can't name a file or folder"):
        load("rgbd1k", "test", tmp_path)


@pytest.mark.parametrize(
    ("dataset", "name"), [("cdtb", "backpack_blue"), ("votrgbd2022", "backpack_blue_1")], ids=["cdtb", "votrgbd2022"]
)
@pytest.mark.parametrize("place", ["", "sequences"])
def test_vot_sets_read_polygons_nan_and_missing_lines(tmp_path, write_sequence, dataset, name, place):
    lines = ["0,1,15,16", "11,1,11,17,1,17,1,1", "nan,nan,nan,nan", "3,1,15,16"]
    color, depth = numbered("%08d.jpg", 5, 1), numbered("%08d.png", 5, 1)
    write_sequence(tmp_path / place / name, ("color", color), ("depth", depth), {"groundtruth.txt": lines}, np.uint16)
    (sequence,) = load(dataset, "test", tmp_path, sequences=[name])
    assert sequence.boxes[1].tolist() == [1, 1, 10, 16]
    assert sequence.absent.tolist() == [False, False, True, False, False]
    assert sequence.annotated.tolist() == [True, True, True, True, False]
    assert sequence.clip_depth


# --- RGB + events


@pytest.fixture
def coesot(tmp_path, write_sequence):
    """A COESOT root: image types are mixed, names of the two modalities need not match."""

    def make(name="dvSave-2021_07_30_11_04_12", flags="01101", part="test"):
        aps = ["frame0000.png", "frame0001.bmp", "frame0002.png", "frame0003.bmp", "frame0004.png"]
        dvs = numbered("frame%04d.bmp", 5, start=3)
        lines = ["0,0,0,0" if flag == "0" else f"{k}.0,1.0,15.0,16.0" for k, flag in enumerate(flags)]
        texts = {"groundtruth.txt": lines, "absent.txt": list(flags), "start_end_index.txt": ["1,493"]}
        write_sequence(tmp_path / part / name, (f"{name}_aps", aps), (f"{name}_dvs", dvs), texts)
        return tmp_path

    return make


def test_coesot_is_paired_by_position_and_begins_with_the_target(coesot, codes_match):
    root = coesot()
    (sequence,) = load("coesot", "test", root, sequences=["dvSave-2021_07_30_11_04_12"])
    assert (sequence.modality, sequence.cut, len(sequence)) == ("rgbe", 1, 4)
    assert sequence.absent.tolist() == [False, False, True, False]
    codes_match(sequence, first=1)


def test_coesot_training_part_is_all_that_lies_in_it(coesot):
    root = coesot("b", "11111", "train")
    coesot("a", "11111", "train")
    assert [s.name for s in load("coesot", "train", root)] == ["a", "b"]
    (root / "train/list.txt").write_text("b\n")
    assert [s.name for s in load("coesot", "train", root)] == ["b"]


def test_coesot_damaged_events_are_a_known_defect(coesot):
    name = "dvSave-2022_08_18_16_47_33"
    report = check_sequence(name, coesot(name) / "test" / name, DATA_SETS["coesot"])
    assert report.errors == []
    assert any("event images are blank" in note for note in report.notes)


@pytest.mark.parametrize(
    ("folder", "events", "first"),
    [
        pytest.param("events/events_dvs", 105 + 4, 105, id="recording of the event camera"),
        pytest.param("events/events_dvs", 105 + 9, 105, id="longer recording"),
        pytest.param("event_imgs", 4, 0, id="cut out already"),
        pytest.param("dvs", 4, 0, id="another name"),
    ],
)
def test_fe108_events_begin_at_the_start_frame(tmp_path, write_sequence, box_lines, folder, events, first):
    texts = {"groundtruth_rect.txt": box_lines(4)}
    images = numbered("%04d.jpg", 4, start=1)
    path = write_sequence(tmp_path / "test/airplane", ("img", images), (folder, ["seed.bmp"]), texts)
    (path / folder / "seed.bmp").unlink()
    for name in numbered("frame%04d.bmp", events):
        (path / folder / name).touch()
    (sequence,) = load("fe108", "test", tmp_path)
    wanted = [f"frame{first + k:04d}.bmp" for k in range(4)]
    assert [file.name for file in sequence.x_files] == wanted
    assert sequence.cut == 0
    assert sequence.boxes[:, 0].tolist() == [0, 1, 2, 3]


def test_fe108_with_too_few_events_is_an_error(tmp_path, write_sequence, box_lines):
    images, events = numbered("%04d.jpg", 4, 1), numbered("frame%04d.bmp", 20)
    texts = {"groundtruth_rect.txt": box_lines(4)}
    folder = write_sequence(tmp_path / "test/airplane", ("img", images), ("events/events_dvs", events), texts)
    with pytest.raises(DataError, match=r"airplane: 20 X frames; needs 4.*109"):
        load("fe108", "test", tmp_path)
    assert "needs 4" in check_sequence("airplane", folder, DATA_SETS["fe108"]).errors[0].text
