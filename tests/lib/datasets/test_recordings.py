"""Recordings told by the names in their folders, and which frames the lines of their box files belong to."""

import numpy as np
import pytest

from lib.datasets.recordings import find_recordings, read_recording
from lib.datasets.sequence import DatasetError
from recording_data import boxes, text, write_recording


@pytest.mark.parametrize(
    ("names", "box_file", "modality"),
    [
        (("rgb", "ir"), "rgb.txt", "rgbt"),
        (("visible", "infrared"), "init.txt", "rgbt"),
        (("color", "depth"), "groundtruth.txt", "rgbd"),
        (("vis_imgs", "event_imgs"), "groundtruth.txt", "rgbe"),
        (("img", "thermal"), "groundtruth_rect.txt", "rgbt"),
        (("rgb", "depth"), "boxes.txt", "rgbd"),
        (("images", "events"), "groundtruth.txt", "rgbe"),
        (("img",), "groundtruth_rect.txt", "rgb"),
        (("img", "mask"), "groundtruth_rect.txt", "rgb"),
        ((".",), "groundtruth.txt", "rgb"),
    ],
    ids=["vtuav", "lasher", "depthtrack", "visevent", "thermal", "depth", "events", "rgb", "with-masks", "flat"],
)
def test_names_say_what_a_recording_is(tmp_path, names, box_file, modality):
    recording = read_recording(write_recording(tmp_path / "r", names, box_file=box_file))
    assert (recording.name, recording.modality, len(recording)) == ("r", modality, 12)
    assert recording.rgb_files[3].parent.resolve() == (tmp_path / "r" / names[0]).resolve()
    assert (recording.x_files is not None) == (modality != "rgb")
    np.testing.assert_array_equal(recording.boxes, boxes(12))


def test_folder_holds_recordings_or_is_one(tmp_path):
    write_recording(tmp_path / "b", ("rgb", "ir"))
    write_recording(tmp_path / "a")
    (tmp_path / "notes").mkdir()
    assert [(r.name, r.modality) for r in find_recordings(tmp_path)] == [("a", "rgb"), ("b", "rgbt")]
    assert [r.name for r in find_recordings(tmp_path / "a")] == ["a"]


def test_folder_without_recordings_is_an_error_that_says_what_was_looked_for(tmp_path):
    (tmp_path / "a" / "pictures").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"no recording in it.*visible.*groundtruth_rect\.txt"):
        find_recordings(tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        find_recordings(tmp_path / "b")


def test_modality_is_asked_for_where_the_names_leave_it_open(tmp_path):
    folder = write_recording(tmp_path / "r", ("rgb", "x"))
    with pytest.raises(DatasetError, match=r"a folder x, which may hold anything.*--modality"):
        read_recording(folder)
    assert read_recording(folder, "rgbe").modality == "rgbe"
    assert read_recording(folder, "rgb").x_files is None


def test_two_kinds_of_x_need_a_choice(tmp_path):
    folder = write_recording(tmp_path / "r", ("color", "depth", "ir"))
    with pytest.raises(DatasetError, match="rgbt and rgbd"):
        read_recording(folder)
    assert read_recording(folder, "rgbt").x_files[0].parent.name == "ir"
    with pytest.raises(DatasetError, match="no X frames of modality rgbe"):
        read_recording(folder, "rgbe")


def test_lines_of_every_tenth_frame_are_spread_as_the_known_layout_says(tmp_path):
    lines = text(boxes(21)[::10])
    recording = read_recording(write_recording(tmp_path / "r", ("rgb", "ir"), 21, "rgb.txt", lines))
    assert np.flatnonzero(recording.annotated).tolist() == [0, 10, 20]


def test_fewer_lines_than_frames_are_not_guessed_at(tmp_path):
    folder = write_recording(tmp_path / "r", lines=text(boxes(12)[::4]))
    with pytest.raises(DatasetError, match=r"3 lines for 12 frames: for every 4th frame.*--box-step 1"):
        read_recording(folder)
    assert np.flatnonzero(read_recording(folder, box_step=4).annotated).tolist() == [0, 4, 8]
    assert np.flatnonzero(read_recording(folder, box_step=1).annotated).tolist() == [0, 1, 2]


def test_annotation_that_ends_early_leaves_the_rest_unknown(tmp_path):
    recording = read_recording(write_recording(tmp_path / "r", lines=text(boxes(8))))
    assert (len(recording), recording.annotated.sum()) == (12, 8)


def test_recording_starts_at_its_first_box(tmp_path):
    rows = boxes(12)
    rows[:3] = np.nan
    rows[6] = 0
    recording = read_recording(write_recording(tmp_path / "r", ("rgb", "ir"), lines=text(rows)))
    assert (len(recording), recording.cut, recording.rgb_files[0].name) == (9, 3, "003.png")
    np.testing.assert_array_equal(recording.boxes[0], boxes(12)[3])


def test_only_a_first_box_is_not_enough(tmp_path):
    folder = write_recording(tmp_path / "r", lines=text(boxes(1)))
    with pytest.raises(DatasetError, match="1 boxes; it needs one in a later frame"):
        read_recording(folder)


@pytest.mark.parametrize(("argument", "value"), [("modality", "thermal"), ("box_step", 0)])
def test_unknown_values_are_refused(tmp_path, argument, value):
    with pytest.raises(ValueError, match=f"{argument} must be"):
        find_recordings(write_recording(tmp_path / "r"), **{argument: value})
