"""Data sets for the base model, each on disk in its own layout, and what is drawn from single images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib.datasets import DATA_SETS, load
from lib.datasets.catalog import PACKAGED_LISTS
from lib.datasets.parsing import read_numbers
from lib.training.samples import PairSampler, Source
from patrack.recordings.frames import read_frame
from patrack.recordings.sequence import DataError
from scripts.check_data import check_sequence
from scripts.check_data import main as check_data


def numbered(pattern, count, start=0):
    return [pattern % k for k in range(start, start + count)]


@pytest.fixture
def got10k(tmp_path, write_images, box_lines):
    """GOT-10k's training folder with a list of all 9335 names, of which one is there."""
    folder = tmp_path / "train/GOT-10k_Train_003785"  # number 3784, the first of the usual training part
    write_images(folder, numbered("%08d.jpg", 5, start=1), 0)
    (folder / "groundtruth.txt").write_text("\n".join(box_lines(5)))
    (folder / "absence.label").write_text("0\n1\n0\n0\n0\n")
    (folder / "cover.label").write_text("8\n0\n0\n3\n8\n")
    (folder / "meta_info.ini").write_text("[METAINFO]\n")
    (tmp_path / "train/list.txt").write_text("".join(f"GOT-10k_Train_{k:06d}\n" for k in range(1, 9336)))
    return tmp_path


def test_got10k_flags_and_numbered_split(got10k, codes_match):
    (sequence,) = load("got10k", "train", got10k, sequences=["GOT-10k_Train_003785"])
    assert (sequence.modality, sequence.x_files, len(sequence)) == ("rgb", None, 5)
    assert sequence.absent.tolist() == [False, True, False, False, False]
    assert sequence.visible.tolist() == [True, False, False, True, True]  # frame 2 is covered wholly, but not absent
    codes_match(sequence)


def test_got10k_splits_have_the_usual_sizes(got10k):
    names = {}
    for split, wanted in (("train", 7086), ("val", 1249), ("train_full", 9335)):
        with pytest.raises(DataError, match=rf"\d+ of {wanted} sequences are not in"):
            load("got10k", split, got10k)
        numbers = (PACKAGED_LISTS / f"got10k_{split}_numbers.txt").read_text().split()
        names[split] = set(numbers)
        assert len(numbers) == len(names[split]) == wanted
    assert not names["train"] & names["val"]


def test_got10k_list_that_is_too_short_is_an_error(got10k):
    (got10k / "train/list.txt").write_text("GOT-10k_Train_000001\n")
    with pytest.raises(DataError, match=r"list\.txt: 1 names; .*at least 93\d\d"):
        load("got10k", "train", got10k)


def test_got10k_cover_label_has_numbers_to_8(got10k):
    folder = got10k / "train/GOT-10k_Train_003785"
    assert check_sequence(folder.name, folder, DATA_SETS["got10k"]).errors == []
    (folder / "cover.label").write_text("8\n9\n0\n3\n8\n")
    with pytest.raises(DataError, match=r"cover\.label: line 2: .* 0 to 8, got '9'"):
        load("got10k", "train", got10k, sequences=[folder.name])
    (error,) = check_sequence(folder.name, folder, DATA_SETS["got10k"]).errors
    assert "cover.label line 2: expected a number" in error.text


@pytest.mark.parametrize("place", ["airplane/airplane-10", "airplane-10"], ids=["below its class", "flat"])
def test_lasot_flags_are_one_line_with_commas(tmp_path, write_images, box_lines, codes_match, place):
    write_images(tmp_path / place / "img", numbered("%08d.jpg", 4, start=1), 0)
    texts = {"groundtruth.txt": "\n".join(box_lines(4)), "full_occlusion.txt": "0,1,0,0", "out_of_view.txt": "0,0,0,1"}
    for name, text in texts.items():
        (tmp_path / place / name).write_text(text)
    (sequence,) = load("lasot", "train", tmp_path, sequences=["airplane-10"])
    assert sequence.visible.tolist() == [True, False, True, False]
    assert sequence.absent.tolist() == [False, False, False, True]
    codes_match(sequence)
    assert check_sequence("airplane-10", tmp_path / place, DATA_SETS["lasot"]).errors == []


def test_trackingnet_names_are_not_padded_and_boxes_lie_elsewhere(tmp_path, write_images, box_lines, codes_match):
    for part, name in (("TRAIN_0", "b_1"), ("TRAIN_3", "a_0")):
        write_images(tmp_path / part / "frames" / name, numbered("%d.jpg", 12), 0)
        (tmp_path / part / "anno").mkdir()
        (tmp_path / part / "anno" / f"{name}.txt").write_text("\n".join(box_lines(12)))
    sequences = load("trackingnet", "train", tmp_path)
    assert [s.name for s in sequences] == ["a_0", "b_1"]
    for sequence in sequences:
        codes_match(sequence)  # a plain sort would put 10.jpg before 2.jpg
    (tmp_path / "TRAIN_3/anno/a_0.txt").unlink()
    with pytest.raises(DataError, match=r"a_0: no annotation .*\.\./\.\./anno"):
        load("trackingnet", "train", tmp_path)
    with pytest.raises(DataError, match="TrackingNet test: no sequence in"):
        load("trackingnet", "test", tmp_path)


@pytest.fixture
def coco(tmp_path, write_images):
    """Two images; of five objects one is a crowd, two are not big enough."""
    write_images(tmp_path / "images/train2017", ["000000000001.jpg", "000000000002.jpg"], 0)
    objects = [
        {"id": 11, "image_id": 1, "bbox": [1, 2, 60, 70], "iscrowd": 0},
        {"id": 12, "image_id": 1, "bbox": [1, 2, 90, 90], "iscrowd": 1},
        {"id": 13, "image_id": 1, "bbox": [1, 2, 50, 90], "iscrowd": 0},
        {"id": 14, "image_id": 2, "bbox": [1, 2, 90, 49.9], "iscrowd": 0},
        {"id": 15, "image_id": 2, "bbox": [3, 4, 50.1, 51], "iscrowd": 0},
    ]
    images = [{"id": k, "file_name": f"{k:012d}.jpg"} for k in (1, 2)]
    path = tmp_path / "annotations/instances_train2017.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"images": images, "annotations": objects}))
    return tmp_path


def test_coco_objects_are_stills(coco):
    sequences = load("coco", "train", coco)
    assert [s.name for s in sequences] == ["1_11", "2_15"]
    assert all(s.still and len(s) == 1 and s.visible.all() for s in sequences)
    assert sequences[1].boxes.tolist() == [[3, 4, 50.1, 51]]
    assert abs(read_frame(sequences[1], 0).astype(int) - 10).max() <= 2  # the second image
    assert [s.name for s in load("coco", "train", coco, sequences=["2_15"])] == ["2_15"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda p: p.write_text("[]"), "not an instances file", id="a list"),
        pytest.param(lambda p: p.write_text("{"), "not an instances file", id="no JSON"),
        pytest.param(lambda p: p.unlink(), "cannot be read", id="missing"),
        pytest.param(
            lambda p: p.write_text(p.read_text().replace('"image_id": 2', '"image_id": 7')),
            "no image",
            id="unknown image",
        ),
        pytest.param(
            lambda p: p.write_text(p.read_text().replace('"000000000002', '"../000000000002')),
            r"image file: '\.\./000000000002\.jpg' can't name a file",
            id="path that leads out",
        ),
        pytest.param(
            lambda p: p.write_text(p.read_text().replace('"id": 15', '"id": "../../x"')),
            r"'2_\.\./\.\./x' can't name a file",
            id="id that leads out",
        ),
    ],
)
def test_coco_files_that_are_wrong_are_named(coco, damage, message):
    path = coco / "annotations/instances_train2017.json"
    damage(path)
    with pytest.raises(DataError, match=rf"instances_train2017\.json: .*{message}"):
        load("coco", "train", coco)


def test_coco_is_checked(coco, capsys):
    arguments = ["--dataset", "coco", "--root", str(coco), "--split", "train"]
    assert check_data(arguments) == 0
    (coco / "images/train2017/000000000002.jpg").unlink()
    assert check_data(arguments) == 1
    assert "    2_15: " in capsys.readouterr().out
    assert check_data(["--dataset", "coco", "--root", str(coco), "--split", "val"]) == 1
    assert "no folder of images" in capsys.readouterr().out


def test_lists_are_complete():
    counts = {"rgbt234_test": 234, "rgbt210_test": 210, "gtot_test": 50, "rgbd1k_train": 1001, "cdtb_test": 80}
    counts |= {"votrgbd2022_test": 127, "coesot_test": 527, "fe108_all": 108, "lasot_train": 1120, "lasot_test": 280}
    for name, count in counts.items():
        names = (PACKAGED_LISTS / f"{name}.txt").read_text().splitlines()
        assert len(set(names)) == len(names) == count, name
    assert len(read_numbers(PACKAGED_LISTS / "vtuav_first_frames.csv")) == 47
    starts = read_numbers(PACKAGED_LISTS / "fe108_first_events.csv")
    assert set(starts) == set((PACKAGED_LISTS / "fe108_all.txt").read_text().split())


def test_tables_of_numbers_name_the_bad_line(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("sequence,first_frame\na,3\nb,x\n")
    with pytest.raises(DataError, match=r"t\.csv: line 3: .*number, got 'b,x'"):
        read_numbers(path)


# --- drawn from for training


def test_a_still_is_drawn_as_template_and_search(coco):
    rng = np.random.default_rng(0)
    sampler = PairSampler([Source("coco/train", tuple(load("coco", "train", coco)))], max_gap=200)
    pairs = [sampler.draw(rng) for _ in range(20)]
    assert {(pair.template, pair.search) for pair in pairs} == {(0, 0)}
    assert {sampler.sequence(pair).name for pair in pairs} == {"1_11", "2_15"}


def test_a_video_of_one_frame_is_not_drawn_from(coco):
    stills = load("coco", "train", coco)
    with pytest.raises(ValueError, match="none of its 1 sequences"):
        PairSampler([Source("a", (replace(stills[0], still=False),))], max_gap=200)
    with pytest.raises(ValueError, match="none of its 1 sequences"):
        PairSampler([Source("a", (replace(stills[0], visible=np.zeros(1, dtype=bool)),))], max_gap=200)


def test_a_still_has_one_frame(coco):
    still = load("coco", "train", coco)[0]
    two = np.zeros(2, dtype=bool)
    with pytest.raises(DataError, match="a still has one frame, got 2"):
        replace(still, rgb_files=[Path("a"), Path("b")], boxes=np.zeros((2, 4)), visible=two, absent=two)
