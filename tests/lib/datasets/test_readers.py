"""Each data set, written to disk in its own layout with its known defects; frame k of RGB, X and box must match."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest

from lib.datasets import load
from patrack.recordings.frames import FrameError, read_frame

NAN4 = "nan,nan,nan,nan"
NAMING = [
    pytest.param([f"v{k:03d}.jpg" for k in range(12)], [f"i{k:03d}.jpg" for k in range(12)], id="v and i prefixes"),
    pytest.param([f"{k}.jpg" for k in range(12)], [f"{k}.jpg" for k in range(12)], id="no padding"),
    pytest.param(
        [f"{k:06d}.jpg" for k in range(37, 49)],
        [f"ir_{k}.png" for k in range(1, 13)],
        id="other first numbers and types",
    ),
]


@pytest.fixture
def lasher(tmp_path, write_sequence, box_lines):
    """A LasHeR root to which sequences can be added."""
    (tmp_path / "trainingsetList.txt").touch()
    (tmp_path / "testingsetList.txt").touch()

    def add(name, rgb=None, x=None, part="trainingset", texts=None):
        rgb = rgb or [f"v{k:03d}.jpg" for k in range(3)]
        x = x or [f"i{k:03d}.jpg" for k in range(3)]
        if texts is None:
            texts = dict.fromkeys(("init.txt", "visible.txt", "infrared.txt"), box_lines(len(rgb)))
        write_sequence(tmp_path / part / name, ("visible", rgb), ("infrared", x), texts)
        with (tmp_path / f"{part}List.txt").open("a") as names:
            names.write(name + "\n")
        return tmp_path

    return add


@pytest.mark.parametrize(("rgb", "x"), NAMING)
def test_lasher_frames_match_under_any_naming(lasher, codes_match, rgb, x):
    root = lasher("2up", rgb, x)
    (sequence,) = load("lasher", "train", root)
    assert (sequence.name, sequence.modality, len(sequence)) == ("2up", "rgbt", 12)
    assert [path.name for path in sequence.rgb_files] == rgb
    assert [path.name for path in sequence.x_files] == x
    assert sequence.visible.all()
    codes_match(sequence)


def test_lasher_keeps_time_order_beyond_999_frames(tmp_path, lasher, box_lines):
    root = lasher("long")
    for folder, letter in (("visible", "v"), ("infrared", "i")):
        for path in (root / "trainingset/long" / folder).iterdir():
            path.unlink()
        for k in range(1003):
            (root / "trainingset/long" / folder / f"{letter}{k:03d}.jpg").touch()
    (root / "trainingset/long/init.txt").write_text("\n".join(box_lines(1003)))
    (sequence,) = load("lasher", "train", root)
    assert [path.name for path in sequence.rgb_files[998:1002]] == ["v998.jpg", "v999.jpg", "v1000.jpg", "v1001.jpg"]
    assert [path.name for path in sequence.x_files[999:1001]] == ["i999.jpg", "i1000.jpg"]
    assert sequence.boxes[1000, 0] == 1000


def test_lasher_reads_init_before_visible(lasher):
    root = lasher("a", texts={"init.txt": ["1,2,3,4"] * 3, "visible.txt": ["9,9,9,9"] * 3})
    (sequence,) = load("lasher", "train", root)
    assert sequence.boxes[0].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("present", ["init.txt", "visible.txt"])
def test_lasher_needs_only_one_of_its_box_files(lasher, box_lines, codes_match, present):
    root = lasher("cameraman_1202", texts={present: box_lines(3), "infrared.txt": ["7,7,7,7"] * 3})
    (sequence,) = load("lasher", "train", root)
    codes_match(sequence)


def test_lasher_boxes_without_size_are_absent(lasher):
    lines = ["1,2,3,4", "0,0,0,0", "5,6,0,8"]
    (sequence,) = load("lasher", "train", lasher("a", texts={"init.txt": lines}))
    assert sequence.absent.tolist() == [False, True, True]
    assert sequence.visible.tolist() == [True, False, False]


def test_lasher_is_cut_to_its_shorter_folder_with_a_warning(lasher, caplog, codes_match):
    root = lasher("lost", [f"v{k:03d}.jpg" for k in range(5)], [f"i{k:03d}.jpg" for k in range(4)])
    with caplog.at_level(logging.WARNING):
        (sequence,) = load("lasher", "train", root)
    assert len(sequence) == 4
    assert "lost: 5 RGB frames, 4 X frames, 5 boxes; cut to the shortest" in caplog.text
    codes_match(sequence)


def test_lasher_names_and_attributes(lasher):
    root = lasher("leftgirl'swhitebag", part="testingset")
    lasher("blkboy`shead", part="testingset")
    (root / "AttriSeqsTxt").mkdir()
    (root / "AttriSeqsTxt/blkboy`shead.txt").write_text("1,0,1" + ",0" * 15 + ",1\n")
    sequences = load("lasher", "test", root)
    assert [s.name for s in sequences] == ["leftgirl'swhitebag", "blkboy`shead"]
    assert [s.attributes for s in sequences] == [(), ("NO", "TO", "ARC")]


def test_lasher_folders_are_found_in_any_case(tmp_path, lasher):
    lasher("a")
    (tmp_path / "trainingset").rename(tmp_path / "TrainingSet")
    assert [s.name for s in load("lasher", "train", tmp_path)] == ["a"]


@pytest.fixture
def depthtrack(tmp_path, write_sequence):
    """A DepthTrack root with one sequence of the test list: 8 digits, from 1."""

    def make(lines, n_rgb=5, n_x=5, place=""):
        write_sequence(
            tmp_path / place / "adapter01_indoor",
            ("color", [f"{k:08d}.jpg" for k in range(1, n_rgb + 1)]),
            ("depth", [f"{k:08d}.png" for k in range(1, n_x + 1)]),
            {"groundtruth.txt": lines},
        )
        return load("depthtrack", "test", tmp_path, sequences=["adapter01_indoor"])[0]

    return make


@pytest.mark.parametrize("place", ["", "Test", "sequences"])
def test_depthtrack_frames_match(depthtrack, box_lines, place):
    sequence = depthtrack(box_lines(5), place=place)
    assert (sequence.modality, sequence.clip_depth, len(sequence)) == ("rgbd", True, 5)
    assert [path.name for path in sequence.rgb_files][::4] == ["00000001.jpg", "00000005.jpg"]
    assert sequence.boxes[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_depthtrack_depth_images_match_their_frames(tmp_path, depthtrack, box_lines):
    sequence = depthtrack(box_lines(5))
    for k in range(5):  # a hole in column k
        depth = np.full((24, 32), 1000, dtype=np.uint16)
        depth[:, k] = 0
        cv2.imwrite(str(tmp_path / "adapter01_indoor" / "depth" / f"{k + 1:08d}.png"), depth)
    for k in range(5):
        frame = read_frame(sequence, k)
        assert abs(frame[0, 0, :3].astype(int) - 10 * k).max() <= 2
        assert frame[0, k, 3:].tolist() == [128, 0, 0]  # lowest of JET, B, G, R
        assert frame[0, k + 1, 3:].tolist() == [0, 0, 128]


def test_depthtrack_nan_is_absent(depthtrack):
    sequence = depthtrack(["0,1,15,16", NAN4, "2,1,15,16", NAN4, "4,1,15,16"])
    assert sequence.absent.tolist() == [False, True, False, True, False]
    assert sequence.visible.tolist() == [True, False, True, False, True]
    assert np.isnan(sequence.boxes[1]).all()


def test_depthtrack_frames_without_a_line_are_unknown(depthtrack, box_lines, caplog):
    with caplog.at_level(logging.WARNING):
        sequence = depthtrack(box_lines(3))
    assert len(sequence) == 5
    assert np.isnan(sequence.boxes[3:]).all()
    assert not sequence.visible[3:].any()
    assert not sequence.absent.any()
    assert "5 X frames, 3 boxes" in caplog.text


def test_depthtrack_trains_on_boxes_above_10_pixels_only(depthtrack):
    sequence = depthtrack(["0,0,10,50", "0,0,50,10", "0,0,10.5,10.5", "0,0,11,11", "0,0,5,5"])
    assert sequence.visible.tolist() == [False, False, True, True, False]
    assert not sequence.absent.any()


def test_depthtrack_needs_as_many_depth_as_colour_images(depthtrack, box_lines):
    with pytest.raises(ValueError, match=r"adapter01_indoor: .*5 RGB frames, 4 X frames"):
        depthtrack(box_lines(5), n_x=4)


@pytest.fixture
def visevent(tmp_path, write_sequence):
    """A VisEvent root with one test sequence; frames start at 3 and have a gap."""
    numbers = [3, 4, 5, 7, 8, 9]

    def make(lines, flags, event_numbers=numbers):
        write_sequence(
            tmp_path / "test" / "00419_UAV_outdoor6",
            ("vis_imgs", [f"frame{k:04d}.bmp" for k in numbers]),
            ("event_imgs", [f"frame{k:04d}.bmp" for k in event_numbers]),
            {"groundtruth.txt": lines} | ({} if flags is None else {"absent_label.txt": flags}),
        )
        (tmp_path / "test" / "testlist.txt").write_text("00419_UAV_outdoor6\n")
        return load("visevent", "test", tmp_path)[0]

    return make


def test_visevent_leading_absent_frames_are_cut(visevent, codes_match):
    lines = ["0,0,0,0", "0,0,0,0", *(f"{k},1,15,16" for k in (2, 3, 4, 5))]
    sequence = visevent(lines, list("001101"))
    assert len(sequence) == 4
    assert sequence.rgb_files[0].name == sequence.x_files[0].name == "frame0005.bmp"
    assert sequence.absent.tolist() == [False, False, True, False]
    assert sequence.visible.tolist() == [True, True, False, True]
    codes_match(sequence, first=2)


def test_visevent_numbers_with_gaps_are_paired_by_name(visevent, box_lines, codes_match):
    sequence = visevent(box_lines(6), ["1"] * 6)
    assert len(sequence) == 6
    codes_match(sequence)


def test_visevent_trains_on_boxes_above_5_pixels_only(visevent):
    lines = ["0,0,5,50", "0,0,5.1,5.1", "0,0,50,5", "0,0,9,9", "0,0,9,9", "0,0,9,9"]
    assert visevent(lines, list("111101")).visible.tolist() == [False, True, False, True, False, True]


def test_visevent_is_cut_to_what_has_images(visevent, box_lines, caplog):
    with caplog.at_level(logging.WARNING):
        sequence = visevent(box_lines(9), ["1"] * 9)
    assert len(sequence) == 6
    assert "6 RGB frames, 6 X frames, 9 boxes, 9 flags; cut to the shortest" in caplog.text


def test_visevent_frame_without_event_image_is_named_and_never_trained_on(visevent, box_lines, caplog):
    with caplog.at_level(logging.WARNING):
        sequence = visevent(box_lines(6), ["1"] * 6, event_numbers=[3, 4, 7, 8, 9])
    assert "5 of 6 RGB frames paired by name; 1 have no X frame" in caplog.text
    assert sequence.visible.tolist() == [True, True, False, True, True, True]
    with pytest.raises(FrameError, match=r"event_imgs/frame0005\.bmp: cannot be read"):
        read_frame(sequence, 2)


def test_visevent_without_flags_takes_empty_boxes_as_absent(visevent):
    sequence = visevent(["0,0,0,0", "1,1,15,16", "0,0,0,0", *(f"{k},1,15,16" for k in (3, 4, 5))], None)
    assert sequence.absent.tolist() == [False, True, False, False, False]


def test_visevent_never_present_is_an_error(visevent, box_lines):
    with pytest.raises(ValueError, match=r"00419_UAV_outdoor6: .*absent in all 6"):
        visevent(box_lines(6), ["0"] * 6)


@pytest.fixture
def synthrgbx(tmp_path, write_sequence, box_lines):
    """A data root with SynthRGBX: one sequence per modality and split."""
    base = tmp_path / "SynthRGBX"
    for number, split in enumerate(("train", "val", "test")):
        name = f"seq{number}"
        part = {"train": "trainingset", "val": "valset", "test": "testingset"}[split]
        rgb, x = ([f"{letter}{k:03d}.jpg" for k in range(4)] for letter in "vi")
        texts = {"init.txt": box_lines(4), "visible.txt": box_lines(4), "infrared.txt": box_lines(4)}
        write_sequence(base / "rgbt" / part / name, ("visible", rgb), ("infrared", x), texts)
        (base / "rgbt" / f"{part}List.txt").write_text(name + "\n")

        rgb, x = ([f"{k:08d}.{suffix}" for k in range(1, 5)] for suffix in ("jpg", "png"))
        texts = {"groundtruth.txt": box_lines(4)}
        write_sequence(base / "rgbd" / name, ("color", rgb), ("depth", x), texts, np.uint16)
        (base / "rgbd" / f"{split}.txt").write_text(name + "\n")

        names = [f"frame{k:04d}.bmp" for k in range(4)]
        texts = {"groundtruth.txt": box_lines(4), "absent_label.txt": ["1"] * 4}
        write_sequence(base / "rgbe" / split / name, ("vis_imgs", names), ("event_imgs", names), texts)
        (base / "rgbe" / split / f"{split}list.txt").write_text(name + "\n")
        for modality in ("rgbt", "rgbd", "rgbe"):
            (base / modality / "attributes").mkdir(exist_ok=True)
            (base / modality / "attributes" / f"{name}.txt").write_text("occlusion,camera motion,X failure\n")
    return tmp_path


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("modality", ["rgbt", "rgbe"])
def test_synthetic_sets_are_read_by_the_same_rules(synthrgbx, codes_match, modality, split):
    (sequence,) = load(f"synth{modality}", split, data_root=synthrgbx)
    assert (sequence.modality, len(sequence)) == (modality, 4)
    assert sequence.attributes == ("occlusion", "camera motion", "X failure")
    codes_match(sequence)


def test_synthetic_depth_is_read(synthrgbx):
    (sequence,) = load("synthrgbd", "val", data_root=synthrgbx)
    assert read_frame(sequence, 3).shape == (24, 32, 6)


def test_synthetic_rgb_joins_all_three(synthrgbx, codes_match):
    sequences = load("synthrgb", "val", data_root=synthrgbx)
    assert [s.name for s in sequences] == ["rgbt_seq1", "rgbd_seq1", "rgbe_seq1"]
    for sequence in sequences:
        assert (sequence.modality, sequence.x_files) == ("rgb", None)
        codes_match(sequence)
    assert [s.name for s in load("synthrgb", "val", data_root=synthrgbx, sequences=["rgbd_seq1"])] == ["rgbd_seq1"]
