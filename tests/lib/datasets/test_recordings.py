"""Own recordings: a pair of folders or videos, a folder of pairs as a data set, any annotated folder."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from lib.datasets import DataError, load
from lib.datasets.recordings import find_recordings, load_pair, read_recording
from patrack.recordings.frames import FrameError, read_frame
from patrack.recordings.options import read_transform, value_range
from recording_data import boxes, text, write_recording


@pytest.fixture
def recording(tmp_path, write_sequence, box_lines):
    """A pair of folders with 4 frames each."""
    rgb, x = [f"{k}.png" for k in range(9, 13)], [f"ir{k:02d}.bmp" for k in range(4)]
    return write_sequence(tmp_path / "walk", ("rgb", rgb), ("ir", x), {"boxes.txt": box_lines(4)})


def test_a_pair_of_folders_is_read(recording, codes_match):
    sequence = load_pair(recording / "rgb", recording / "ir", "rgbt", recording / "boxes.txt")
    assert (sequence.name, sequence.modality, len(sequence)) == ("walk", "rgbt", 4)
    assert sequence.visible.all()
    codes_match(sequence)


def test_a_pair_needs_no_boxes(recording, codes_match):
    sequence = load_pair(recording / "rgb", recording / "ir", "rgbt", name="mine")
    assert sequence.name == "mine"
    assert np.isnan(sequence.boxes).all()
    assert not sequence.visible.any()
    assert not sequence.absent.any()
    codes_match(sequence)


def test_one_box_is_enough_and_the_rest_is_unknown(recording):
    (recording / "boxes.txt").write_text("1,2,3,4\n")
    sequence = load_pair(recording / "rgb", recording / "ir", "rgbt", recording / "boxes.txt")
    assert sequence.boxes[0].tolist() == [1, 2, 3, 4]
    assert np.isnan(sequence.boxes[1:]).all()


def test_sparse_boxes_are_put_on_their_frames(recording):
    (recording / "boxes.txt").write_text("0 0 5 5\n3 0 5 5\n")
    sequence = load_pair(recording / "rgb", recording / "ir", "rgbt", recording / "boxes.txt", box_step=3)
    assert sequence.visible.tolist() == [True, False, False, True]
    assert sequence.boxes[3, 0] == 3
    assert not sequence.absent.any()


def test_lines_that_may_be_for_every_second_frame_are_an_error(recording):
    (recording / "boxes.txt").write_text("0 0 5 5\n3 0 5 5\n")
    with pytest.raises(DataError, match=r"2 lines for 4 frames: one for every 2 to 3 .*--box-step 2 or 3, or"):
        load_pair(recording / "rgb", recording / "ir", "rgbt", recording / "boxes.txt")


def test_rgb_alone_is_read(recording, codes_match):
    sequence = load_pair(recording / "rgb", None, "rgb", recording / "boxes.txt")
    assert sequence.x_files is None
    codes_match(sequence)


@pytest.fixture
def numbered(recording):
    """The same recording with one numbering for both sides: 9 to 12."""
    for path in sorted((recording / "ir").iterdir()):
        path.rename(path.with_name(f"ir{int(path.stem[2:]) + 9}.bmp"))
    numbers = range(9, 13)
    return (
        recording,
        [recording / "rgb" / f"{n}.png" for n in numbers],
        [recording / "ir" / f"ir{n}.bmp" for n in numbers],
    )


def test_counts_that_differ_are_paired_by_number_and_the_rest_is_said(numbered, caplog):
    recording, _, x = numbered
    x[2].unlink()
    with caplog.at_level("WARNING"):
        sequence = load_pair(recording / "rgb", recording / "ir", "rgbt", recording / "boxes.txt")
    assert "3 of 4 RGB frames paired by number; 1 have no X frame, 0 X frames are not used" in caplog.text
    assert [path.name for path in sequence.x_files] == ["ir9.bmp", "ir10.bmp", "11.png", "ir12.bmp"]
    assert sequence.present.tolist() == [[True, True], [True, True], [True, False], [True, True]]
    assert not sequence.visible[2]  # never trained on
    assert not read_frame(sequence, 2)[..., 3:].any()
    assert read_frame(sequence, 3)[..., 3:].any()


def test_numbers_decide_where_each_side_lacks_other_frames(numbered, caplog):
    """Equal counts that hide a frame lost here and another one there."""
    recording, rgb, x = numbered
    rgb[1].unlink()
    x[3].unlink()
    sequence = load_pair(recording / "rgb", recording / "ir", "rgbt")
    assert [path.name for path in sequence.x_files] == ["ir9.bmp", "ir11.bmp", "12.png"]
    assert "2 of 3 RGB frames paired by number" in caplog.text
    assert load_pair(recording / "rgb", recording / "ir", "rgbt", pairing="index").present is None


def test_different_counts_can_not_be_paired_by_position(recording):
    next((recording / "ir").iterdir()).unlink()
    with pytest.raises(DataError, match=r"4 RGB frames and 3 X frames"):
        load_pair(recording / "rgb", recording / "ir", "rgbt", pairing="index")


def test_more_boxes_than_frames_are_an_error(recording):
    (recording / "boxes.txt").write_text("1,2,3,4\n" * 5)
    with pytest.raises(DataError, match=r"4 RGB frames, 4 X frames, 5 boxes"):
        load_pair(recording / "rgb", recording / "ir", "rgbt", recording / "boxes.txt")


@pytest.mark.parametrize(
    ("x", "modality", "message"),
    [
        pytest.param("ir", "rgb", "'rgb' must not have a second", id="X without use"),
        pytest.param(None, "rgbt", "'rgbt' needs a second", id="X missing"),
        pytest.param("ir", "thermal", "must be one of .* got 'thermal'", id="unknown modality"),
    ],
)
def test_modality_and_folders_must_fit(recording, x, modality, message):
    with pytest.raises(ValueError, match=message):
        load_pair(recording / "rgb", x and recording / x, modality)


def test_a_missing_folder_is_named(recording):
    with pytest.raises(DataError, match=r"walk/thermal: no such folder"):
        load_pair(recording / "rgb", recording / "thermal", "rgbt")


def test_a_damaged_frame_in_the_middle_is_named_and_the_others_are_read(recording):
    (recording / "rgb" / "11.png").write_bytes(b"")
    sequence = load_pair(recording / "rgb", recording / "ir", "rgbt")
    assert read_frame(sequence, 1).shape == (24, 32, 6)
    with pytest.raises(FrameError, match=r"rgb/11\.png"):
        read_frame(sequence, 2)
    assert read_frame(sequence, 3).shape == (24, 32, 6)


def _write_video(path, values, rate=25):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, (64, 48))
    for value in values:
        writer.write(np.full((48, 64, 3), value, dtype=np.uint8))
    writer.release()


def test_a_pair_of_videos_is_read(tmp_path, codes_match):
    _write_video(tmp_path / "clip/rgb.avi", range(0, 60, 10))
    _write_video(tmp_path / "clip/x.avi", range(5, 65, 10))
    sequence = load_pair(tmp_path / "clip/rgb.avi", tmp_path / "clip/x.avi", "rgbt")
    assert (sequence.name, len(sequence)) == ("clip", 6)
    codes_match(sequence)


def test_a_video_that_was_cut_off_is_said_to_be(tmp_path, caplog):
    _write_video(tmp_path / "rgb.mkv", range(0, 240, 10))
    assert len(load_pair(tmp_path / "rgb.mkv", None, "rgb")) == 24
    assert not caplog.records
    content = (tmp_path / "rgb.mkv").read_bytes()
    (tmp_path / "rgb.mkv").write_bytes(content[: len(content) // 2])
    cut = load_pair(tmp_path / "rgb.mkv", None, "rgb")
    assert 1 <= len(cut) < 24
    assert f"rgb.mkv: only {len(cut)} of the 24 frames that the file states can be decoded" in caplog.text


def test_videos_of_different_rates_are_paired_by_their_times(tmp_path, caplog):
    _write_video(tmp_path / "rgb.avi", range(0, 120, 20), rate=30)
    _write_video(tmp_path / "x.avi", range(0, 120, 60), rate=10)
    recording = load_pair(tmp_path / "rgb.avi", tmp_path / "x.avi", "rgbt")
    shown = [int(read_frame(recording, k)[0, 0, 3]) for k in range(5)]
    assert shown == pytest.approx([0, 0, 60, 60, 60], abs=3)
    assert recording.streams_at(5) == (True, False)
    assert "paired by time (at most 0.05 s apart)" in caplog.text
    assert "both are taken to begin at the same moment" in caplog.text


def test_a_video_and_a_folder_make_a_pair(tmp_path, write_images, codes_match):
    _write_video(tmp_path / "rgb.avi", range(0, 30, 10))
    write_images(tmp_path / "x", ["0.png", "1.png", "2.png"], 5)
    with pytest.raises(FrameError, match=r"rgb\.avi .*64x48, .*x/0\.png .*32x24"):
        read_frame(load_pair(tmp_path / "rgb.avi", tmp_path / "x", "rgbt"), 0)


@pytest.fixture
def dataset(tmp_path, write_sequence, box_lines):
    """A folder data set: two sequences listed for training, one in a folder for validation."""
    names = [f"{k}.png" for k in range(4)]
    texts = {"groundtruth.txt": box_lines(4)}
    for place in ("a", "b", "val/c"):
        write_sequence(tmp_path / place, ("rgb", names), ("x", names), texts)
    (tmp_path / "dataset.yaml").write_text("modality: rgbe\nmin_size: 15\n")
    (tmp_path / "train.txt").write_text("b\na\n")
    return tmp_path


def test_a_folder_data_set_is_read_by_list_or_by_folder(dataset, codes_match):
    train, val = load("folder", "train", root=dataset), load("folder", "val", root=dataset)
    assert [s.name for s in train] == ["b", "a"]
    assert [s.name for s in val] == ["c"]
    for sequence in (*train, *val):
        assert sequence.modality == "rgbe"
        codes_match(sequence)


def test_min_size_limits_training_frames(dataset):
    assert not load("folder", "val", root=dataset)[0].visible.any()  # boxes are 15 wide


def test_sizes_and_values_of_x_are_set_for_the_data_set(dataset):
    settings = "modality: rgbt\nx_range: [7000, 7510]\nx_transform: calibration.txt\n"
    (dataset / "dataset.yaml").write_text(settings)
    (dataset / "calibration.txt").write_text("2, 0, 1\n0 2 3\n0 0 1\n")
    sequence = load("folder", "val", root=dataset)[0]
    assert sequence.x_range == (7000, 7510)
    assert sequence.x_transform == ((2, 0, 1), (0, 2, 3), (0, 0, 1))
    (dataset / "dataset.yaml").write_text("modality: rgbd\nclip_depth: measured\nx_transform: resize\n")
    sequence = load("folder", "val", root=dataset)[0]
    assert (sequence.clip_depth, sequence.x_transform) == ("measured", "resize")


def test_thermal_of_more_than_8_bits_gets_a_range_in_a_data_set(dataset):
    (dataset / "dataset.yaml").write_text("modality: rgbt\n")
    for k, path in enumerate(sorted((dataset / "a/x").iterdir())):
        cv2.imwrite(str(path), np.full((24, 32), 8000 + k, np.uint16))
    loaded = load("folder", "train", root=dataset, for_frames=True)
    ranges = {sequence.name: sequence.x_range for sequence in loaded}
    assert load("folder", "train", root=dataset)[0].x_range is None
    assert ranges == {"a": (8000, 8003), "b": None}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("1 2 3\n", r"x transform .*invertible matrix of 3 x 3", id="one row"),
        pytest.param("1 0 0\n0 1 0\n0 0 0\n", "invertible", id="singular"),
        pytest.param("1 0 0\n0 one 0\n0 0 1\n", "neither the word resize nor a file of 3 x 3 numbers", id="words"),
        pytest.param(None, "neither the word resize nor a file.*no such|cannot be read|No such", id="no file"),
    ],
)
def test_what_is_no_homography_is_an_error(tmp_path, text, message):
    if text is not None:
        (tmp_path / "h.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_transform(str(tmp_path / "h.txt"))


def test_a_homography_may_be_an_array_in_a_file(tmp_path):
    np.save(tmp_path / "h.npy", np.diag([2, 3, 1]))
    assert read_transform(str(tmp_path / "h.npy")) == ((2, 0, 0), (0, 3, 0), (0, 0, 1))
    assert read_transform("resize") == "resize"


@pytest.mark.parametrize("text", ["1", "1,2,3", "2,1", "low,high", "nan,1"])
def test_a_range_is_two_numbers(text):
    with pytest.raises(ValueError, match="must be two numbers LOW,HIGH"):
        value_range(text)
    assert value_range("-2, 5e3") == (-2, 5000)


def test_lines_that_may_be_for_every_second_frame_are_a_warning_in_a_data_set(dataset, caplog):
    (dataset / "a/groundtruth.txt").write_text("0 0 5 5\n3 0 5 5\n")
    load("folder", "train", root=dataset)
    assert [record.message for record in caplog.records] == [
        "a: 4 RGB frames, 4 X frames, 2 boxes: is there one for every 2 to 3 frames? Then say so: box_step"
    ]


def test_absent_flags_are_1_where_the_target_is_absent(dataset):
    (dataset / "a/absent.txt").write_text("0\n1\n1\n0\n")
    sequence = load("folder", "train", root=dataset, sequences=["a"])[0]
    assert sequence.absent.tolist() == [False, True, True, False]


def test_a_video_may_stand_in_for_a_folder(dataset):
    for side, offset in (("rgb", 0), ("x", 5)):
        for path in (dataset / "a" / side).iterdir():
            path.unlink()
        (dataset / "a" / side).rmdir()
        _write_video(dataset / "a" / f"{side}.avi", range(offset, offset + 40, 10))
    assert len(load("folder", "train", root=dataset, sequences=["a"])[0]) == 4


def test_x_is_never_optional_in_a_data_set(dataset):
    (dataset / "a/x").rename(dataset / "a/thermal")
    with pytest.raises(DataError, match=r"a/x: no such folder"):
        load("folder", "train", root=dataset)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(None, "write a line such as 'modality: rgbt'", id="no file"),
        pytest.param("", "modality: Field required", id="empty"),
        pytest.param("modality: sonar", "modality: .*got 'sonar'", id="unknown modality"),
        pytest.param("modality: rgbt\nboxstep: 3", "boxstep: .*box_step", id="unknown key"),
        pytest.param("modality: rgbt\nbox_step: 0", "box_step: ", id="out of range"),
        pytest.param("modality: [", "not valid YAML", id="no YAML"),
    ],
)
def test_wrong_settings_are_explained(dataset, text, message):
    path = dataset / "dataset.yaml"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(DataError, match=rf"dataset\.yaml(:1)?: .*{message}"):
        load("folder", "train", root=dataset)


def test_an_unknown_split_is_explained(dataset):
    with pytest.raises(DataError, match=r"split 'test': .*test\.txt .* folder test/"):
        load("folder", "test", root=dataset)


@pytest.mark.parametrize("split", ["../outside", "a/../../outside", ".."])
def test_a_split_does_not_lead_out_of_the_folder(dataset, split):
    (dataset.parent / "outside.txt").write_text("a\n")
    with pytest.raises(DataError, match=rf"^split: '{re.escape(split)}' can't name a file or folder"):
        load("folder", split, root=dataset)


# --- told by the names in their folder


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
    with pytest.raises(DataError, match=r"no recording.*visible.*groundtruth_rect\.txt"):
        find_recordings(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        find_recordings(tmp_path / "b")


def test_modality_is_asked_for_where_the_names_leave_it_open(tmp_path):
    folder = write_recording(tmp_path / "r", ("rgb", "x"))
    with pytest.raises(DataError, match=r"folder x, .*--modality"):
        read_recording(folder)
    assert read_recording(folder, "rgbe").modality == "rgbe"
    assert read_recording(folder, "rgb").x_files is None


def test_two_kinds_of_x_need_a_choice(tmp_path):
    folder = write_recording(tmp_path / "r", ("color", "depth", "ir"))
    with pytest.raises(DataError, match="rgbt and rgbd"):
        read_recording(folder)
    assert read_recording(folder, "rgbt").x_files[0].parent.name == "ir"
    with pytest.raises(DataError, match="no X frames of modality rgbe"):
        read_recording(folder, "rgbe")


def test_lines_of_every_tenth_frame_are_spread_as_the_known_layout_says(tmp_path):
    lines = text(boxes(21)[::10])
    recording = read_recording(write_recording(tmp_path / "r", ("rgb", "ir"), 21, "rgb.txt", lines))
    assert np.flatnonzero(recording.annotated).tolist() == [0, 10, 20]


def test_fewer_lines_than_frames_are_not_guessed_at(tmp_path):
    folder = write_recording(tmp_path / "r", lines=text(boxes(12)[::4]))
    with pytest.raises(DataError, match=r"3 lines for 12 frames: .* 4 to 5 .*--box-step 1"):
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
    with pytest.raises(DataError, match="1 boxes; it needs one in a later frame"):
        read_recording(folder)


@pytest.mark.parametrize(("argument", "value"), [("modality", "thermal"), ("box_step", 0)])
def test_unknown_values_are_refused(tmp_path, argument, value):
    with pytest.raises(ValueError, match=f"{argument} must be"):
        find_recordings(write_recording(tmp_path / "r"), **{argument: value})


# --- a file of events as X


@pytest.fixture
def with_events(tmp_path, write_images):
    """Write four RGB frames with the given names, 32 x 24 pixels, and events at x = 0 .. 30, one each 10 ms."""

    def make(names, start_us=0):
        write_images(tmp_path / "rgb", names, 0)
        x = np.arange(31)
        t = start_us + 10_000 * x
        np.savez(tmp_path / "x.npz", t_us=t, x=x, y=np.full(31, 5), p=x % 2)
        return tmp_path / "rgb", tmp_path / "x.npz"

    return make


def _columns(recording, number):
    """Columns with an event in a frame."""
    return np.flatnonzero((read_frame(recording, number)[5, :, 3:] != 255).any(axis=1)).tolist()


def test_events_are_drawn_by_the_times_in_rgb_names(with_events):
    paths = with_events([f"{4.9 + k / 10:.6f}.png" for k in range(4)], start_us=4_850_000)
    recording = load_pair(*paths, "rgbe")
    assert len(recording) == 4
    assert [_columns(recording, k) for k in (0, 1, 3, 2)] == [
        list(range(5)),
        list(range(5, 15)),
        list(range(25, 31)),
        list(range(15, 25)),
    ]
    frame = read_frame(recording, 0)
    assert frame[5, 1, 3:].tolist() == [220, 30, 30]  # on
    assert frame[5, 2, 3:].tolist() == [30, 30, 200]


def test_events_of_another_clock_need_to_be_told(with_events):
    paths = with_events([f"{4.9 + k / 10:.6f}.png" for k in range(4)])
    with pytest.raises(DataError, match=r"x\.npz: 4 of 4 RGB frames lie before .*--pair index"):
        load_pair(*paths, "rgbe")
    assert _columns(load_pair(*paths, "rgbe", pairing="index"), 0) == list(range(10))


def test_events_need_the_rate_of_frames_without_times(with_events):
    paths = with_events(["a.png", "b.png", "c.png", "d.png"])
    with pytest.raises(DataError, match=r"x\.npz: the names of the RGB frames don't tell .*--fps N"):
        load_pair(*paths, "rgbe")
    assert _columns(load_pair(*paths, "rgbe", fps=10), 1) == list(range(10, 20))
    with pytest.raises(DataError, match=r"x\.npz: no frame can be decoded"):
        load_pair(*paths, "rgbt")


def test_events_outside_of_rgb_are_an_error_that_names_the_file(with_events):
    rgb, x = with_events(["a.png", "b.png", "c.png", "d.png"])
    for path in rgb.iterdir():
        cv2.imwrite(str(path), np.zeros((24, 30, 3), np.uint8))
    with pytest.raises(FrameError, match=r"x\.npz: events reach to x = 30, y = 5, outside of an image of 30x24"):
        read_frame(load_pair(rgb, x, "rgbe", fps=10), 0)


def test_a_file_of_events_may_stand_in_for_a_folder(dataset):
    for path in (dataset / "a/x").iterdir():
        path.unlink()
    (dataset / "a/x").rmdir()
    k = np.arange(31)
    np.savez(dataset / "a/x.npz", t_us=10_000 * k, x=k, y=k // 2, p=k % 2)
    (dataset / "dataset.yaml").write_text("modality: rgbe\nfps: 10\n")
    assert _columns(load("folder", "train", root=dataset, sequences=["a"])[0], 1) == [10, 11]


def test_a_recording_with_a_file_of_events_is_told_by_its_name(with_events):
    rgb, x = with_events([f"{4.9 + k / 10:.6f}.png" for k in range(4)], start_us=4_850_000)
    x.rename(rgb.parent / "events.npz")
    (rgb.parent / "groundtruth.txt").write_text("1,2,3,4\n" * 4)
    recording = read_recording(rgb.parent)
    assert recording.modality == "rgbe"
    assert _columns(recording, 1) == list(range(5, 15))


@pytest.mark.parametrize(
    "text", ["modality: &a rgbt\nx_transform: *a\n", "modality: rgbt\nfps: !!int 3\nfps: 4\n", "modality: " + "[" * 999]
)
def test_settings_of_a_folder_are_plain_data(tmp_path, text):
    (tmp_path / "dataset.yaml").write_text(text)
    with pytest.raises(DataError, match=r"dataset\.yaml(:\d)?: "):
        load("folder", "train", root=tmp_path)
