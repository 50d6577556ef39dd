"""A workspace for the VOT toolkit: what is written, what is checked first, and that results survive a second time."""

import numpy as np
import pytest
import yaml

from lib.datasets import DataError
from lib.evaluation.files import FileTree
from lib.evaluation.ground_truth import read_annotations
from lib.vot.workspace import STACKS, find_sequences, spread_anchors, workspace_stack, write_workspace
from vot_data import SIZE, truth_of, write_data

LONG, MULTI = STACKS["depthtrack"], STACKS["votrgbd2022"]


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / "data", absent=[3])


def sequences(root, **more):
    return find_sequences("synthrgbd", "test", root, **more)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def properties(workspace, name):
    return dict(line.split("=", 1) for line in (workspace / "sequences" / name / "sequence").read_text().splitlines())


def test_the_workspace_names_stack_registry_list_channels_and_size(data, tmp_path):
    write_workspace(tmp_path / "ws", LONG, sequences(data))
    assert yaml.safe_load((tmp_path / "ws" / "config.yaml").read_text()) == {
        "stack": "vot2021/rgbd",
        "registry": ["./trackers.ini"],
    }
    assert (tmp_path / "ws" / "sequences" / "list.txt").read_text() == "one\ntwo\n"
    found = properties(tmp_path / "ws", "two")
    assert found["channels.color"] == f"{data}/two/color/%08d.jpg"
    assert found["channels.depth"] == f"{data}/two/depth/%08d.png"
    assert (found["width"], found["height"]) == tuple(map(str, SIZE))


def test_a_registry_is_written_with_the_workspace_on_request(data, tmp_path):
    write_workspace(tmp_path / "ws", LONG, sequences(data), registry="[PATrack]\n")
    assert (tmp_path / "ws" / "trackers.ini").read_text() == "[PATrack]\n"


def test_our_own_reader_reads_the_annotation_that_is_written(data, tmp_path):
    write_workspace(tmp_path / "ws", LONG, sequences(data))
    read = read_annotations("depthtrack", FileTree(tmp_path / "ws" / "sequences"))
    expected = truth_of(1, 6)
    expected[3] = np.nan
    np.testing.assert_array_equal(read["two"].boxes[0], expected)
    assert read["two"].image_size == SIZE


def test_lines_missing_at_the_end_become_unknown_and_surplus_ones_go(data, tmp_path):
    lines = (data / "one" / "groundtruth.txt").read_text().splitlines()
    (data / "one" / "groundtruth.txt").write_text("\n".join(lines[:4]))
    (data / "two" / "groundtruth.txt").write_text("\n".join(lines + lines))
    found = sequences(data)
    assert found[0].truth[4:] == ("nan,nan,nan,nan",) * 2
    assert len(found[1].truth) == 6


def test_frames_that_are_not_numbered_from_one_are_linked_under_the_toolkits_names(tmp_path):
    data = write_data(tmp_path / "data", first=7)
    for _ in range(2):  # the second time the links are there
        write_workspace(tmp_path / "ws", LONG, sequences(data))
    place = tmp_path / "ws" / "sequences" / "one"
    assert properties(tmp_path / "ws", "one")["channels.color"] == "color/%08d.jpg"
    first = place / "color" / "00000001.jpg"
    assert first.resolve() == data / "one" / "color" / "00000007.jpg"
    assert not (place / "color" / "00000007.jpg").exists()


def test_writing_again_changes_nothing_and_keeps_results(data, tmp_path):
    workspace = tmp_path / "ws"
    write_workspace(workspace, LONG, sequences(data))
    kept = workspace / "results" / "PATrack" / "rgbd-unsupervised" / "one" / "one_001.bin"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"numbers")
    before = contents(workspace)
    write_workspace(workspace, LONG, sequences(data))
    assert contents(workspace) == before


def test_a_users_own_settings_in_config_yaml_stay(data, tmp_path):
    workspace = tmp_path / "ws"
    write_workspace(workspace, LONG, sequences(data))
    (workspace / "config.yaml").write_text("stack: vot2021/rgbd\nregistry: [./trackers.ini, ./more.ini]\n")
    write_workspace(workspace, LONG, sequences(data))
    assert "more.ini" in (workspace / "config.yaml").read_text()


def change_images(root):
    (root / "one" / "color" / "00000001.jpg").rename(root / "one" / "color" / "00000000.jpg")
    (root / "one" / "depth" / "00000001.png").rename(root / "one" / "depth" / "00000000.png")
    for place in (root / "one" / "color", root / "one" / "depth"):
        for number in range(2, 7):
            (path,) = place.glob(f"0000000{number}.*")
            path.rename(path.with_stem(f"0000000{number - 1}"))


def change_first_box(root):
    lines = (root / "one" / "groundtruth.txt").read_text().splitlines()
    (root / "one" / "groundtruth.txt").write_text("\n".join(["9,9,9,9", *lines[1:]]))


def change_length(root):
    (root / "one" / "color" / "00000006.jpg").unlink()
    (root / "one" / "depth" / "00000006.png").unlink()


def change_a_later_box(root):
    lines = (root / "one" / "groundtruth.txt").read_text().splitlines()
    (root / "one" / "groundtruth.txt").write_text("\n".join([*lines[:-1], "9,9,9,9"]))


@pytest.mark.parametrize("change", [change_images, change_first_box, change_length, change_a_later_box])
def test_sequences_that_have_results_stay_what_the_results_were_made_of(data, tmp_path, change):
    workspace = tmp_path / "ws"
    write_workspace(workspace, LONG, sequences(data))
    change(data)
    kept = workspace / "results" / "PATrack" / "rgbd-unsupervised" / "one" / "one_001.bin"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"numbers")
    before = contents(workspace)
    if change is change_a_later_box:
        return write_workspace(workspace, LONG, sequences(data))  # it matters for scores only
    with pytest.raises(ValueError, match=r"ws/results holds results of one, made with images .*--workspace"):
        write_workspace(workspace, LONG, sequences(data))
    assert contents(workspace) == before
    kept.unlink()
    return write_workspace(workspace, LONG, sequences(data))


def test_a_workspace_of_another_stack_is_refused_before_anything_is_written(data, tmp_path):
    write_workspace(tmp_path / "ws", LONG, sequences(data))
    before = contents(tmp_path / "ws")
    with pytest.raises(ValueError, match="stack vot2021/rgbd, not vot2022/rgbd"):
        write_workspace(tmp_path / "ws", MULTI, sequences(data), anchors=3)
    assert contents(tmp_path / "ws") == before


@pytest.mark.parametrize("text", ["stack: [", "stack: [vot2021/rgbd]", "- a", "stack: !!python/name:os.system x"])
def test_a_damaged_workspace_is_named(data, tmp_path, text):
    write_workspace(tmp_path / "ws", LONG, sequences(data))
    (tmp_path / "ws" / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"ws(/config\.yaml)?: (not YAML|stack)"):
        workspace_stack(tmp_path / "ws")


def test_anchors_of_the_data_set_are_taken_over(data, tmp_path):
    for name in ("one", "two"):
        (data / name / "anchor.value").write_text("1\n0\n0\n0\n0\n-1\n")
    write_workspace(tmp_path / "ws", MULTI, sequences(data), anchors=2)
    assert (tmp_path / "ws" / "sequences" / "one" / "anchor.value").read_text() == "1\n0\n0\n0\n0\n-1\n"


def test_a_multi_start_stack_without_anchors_says_what_is_missing(data, tmp_path):
    with pytest.raises(ValueError, match=r"sequence one: no anchor.value.*--anchors 50"):
        write_workspace(tmp_path / "ws", MULTI, sequences(data))
    assert not (tmp_path / "ws").exists()


@pytest.mark.parametrize(
    ("present", "step", "expected"),
    [
        ("1111111", 3, [1, 0, 0, 1, 0, 0, -1]),
        ("1110111", 3, [1, 0, 0, 0, -1, 0, -1]),
        ("1111100", 3, [1, 0, 0, 1, -1, 0, 0]),
        ("1", 50, [1]),
    ],
    ids=["every third", "absent: the next", "absent at the end", "one frame"],
)
def test_made_anchors_run_towards_the_farther_end_from_frames_with_a_target(present, step, expected):
    assert spread_anchors(np.array([value == "1" for value in present]), step).tolist() == expected


def test_anchors_need_a_distance():
    with pytest.raises(ValueError, match="at least 1 frame apart, got 0"):
        spread_anchors(np.ones(3, dtype=bool), 0)


def break_list(data):
    (data / "test.txt").unlink()


def break_folder(data):
    (data / "two").rename(data / "elsewhere")


def break_gap(data):
    (data / "one" / "color" / "00000003.jpg").unlink()


def break_count(data):
    (data / "one" / "depth" / "00000006.png").unlink()


def break_truth(data):
    (data / "two" / "groundtruth.txt").unlink()


def break_line(data):
    (data / "two" / "groundtruth.txt").write_text("1,2,3,4\n1,2,x,4\n")


def break_first(data):
    (data / "two" / "groundtruth.txt").write_text("nan,nan,nan,nan\n1,2,3,4\n")


def break_image(data):
    (data / "two" / "color" / "00000001.jpg").write_bytes(b"no image")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_list, "no list of split 'test'"),
        (break_folder, "sequence two: in the list, .*no such folder"),
        (break_gap, r"one/color: no image 3 .*1\.jpg .*6\.jpg"),
        (break_count, "sequence one: 6 color and 5 depth images"),
        (break_truth, r"two: no annotation .*groundtruth\.txt"),
        (break_line, "two/groundtruth.txt: line 2: "),
        (break_first, r"two/groundtruth\.txt: .*first frame .*no box"),
        (break_image, "two/color/00000001.jpg: not a readable image"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_a_damaged_data_set_is_an_error_that_names_the_place(data, damage, message):
    damage(data)
    with pytest.raises(ValueError, match=message):
        sequences(data)


def test_all_sequences_that_cannot_be_used_are_listed(data):
    break_gap(data)
    break_truth(data)
    with pytest.raises(ValueError, match=r"(?s)2 of 2 .*one/color.*two: no annotation"):
        sequences(data)


def test_an_unknown_sequence_or_data_set_names_the_nearest(data):
    with pytest.raises(DataError, match=r"no sequence 'onee' \(nearest: 'one'\)"):
        sequences(data, names=["onee"])
    with pytest.raises(ValueError, match=r"'depthtrak' \(nearest: 'depthtrack'\)"):
        find_sequences("depthtrak", "test", data)
