"""check_data: silent on a good data set, precise on each defect."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest

from lib.datasets import DATA_SETS, DataError, load
from lib.datasets.loading import to_use_a_part
from scripts.check_data import Finding, Kind, check_sequence
from scripts.check_data import main as check_data

FOLDER = "trainingset/a"


@pytest.fixture
def lasher(tmp_path, write_sequence, box_lines):
    """A good LasHeR root with sequence a for training and b for testing, 5 frames each."""
    rgb, x = ([f"{letter}{k:03d}.png" for k in range(5)] for letter in "vi")
    for part, name in (("trainingset", "a"), ("testingset", "b")):
        texts = dict.fromkeys(("init.txt", "visible.txt", "infrared.txt"), box_lines(5))
        write_sequence(tmp_path / part / name, ("visible", rgb), ("infrared", x), texts)
        (tmp_path / f"{part}List.txt").write_text(f"{name}\n")
    return tmp_path


def run(capsys, root, *flags, split="train"):
    code = check_data(["--dataset", "lasher", "--root", str(root), "--split", split, *flags])
    return code, capsys.readouterr().out


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("images", ["none", "sample", "all"])
def test_a_good_data_set_exits_0(capsys, lasher, split, images):
    code, out = run(capsys, lasher, "--images", images, "--notes", split=split)
    assert code == 0, out
    assert "ERROR" not in out
    assert "everything agrees" in out
    assert f"lasher {split}" in out


def _edit(path, line, text):
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n")


DEFECTS = [
    ("listed folder is gone", lambda r: (r / "trainingset/a").rename(r / "trainingset/z"), "none of its 1 sequences"),
    (
        "one of two listed is gone",
        lambda r: (r / "trainingsetList.txt").write_text("a\nc\n"),
        "c: listed, but there is",
    ),
    ("list leads out", lambda r: (r / "trainingsetList.txt").write_text("a\n../b\n"), "List.txt: line 2: '../b'"),
    ("listed twice", lambda r: (r / "trainingsetList.txt").write_text("a\na\n"), "line 2: 'a' is listed twice"),
    ("no RGB folder", lambda r: (r / FOLDER / "visible").rename(r / FOLDER / "rgb"), "a/visible: no such folder"),
    ("X frame lost", lambda r: (r / FOLDER / "infrared/i004.png").unlink(), "5 images in visible, 4 in infrared"),
    ("gap", lambda r: (r / FOLDER / "infrared/i002.png").unlink(), "infrared: numbering has gaps after i001.png"),
    ("too few boxes", lambda r: (r / FOLDER / "init.txt").write_text("1,2,3,4\n" * 4), "5 images in visible, 4 boxes"),
    ("no boxes", lambda r: (r / FOLDER / "init.txt").write_text(""), "the annotation is empty"),
    ("no box file", lambda r: [p.unlink() for p in (r / FOLDER).glob("*.txt")], "no annotation (looked for init.txt"),
    ("bad box", lambda r: _edit(r / FOLDER / "init.txt", 3, "1,2,3"), "init.txt line 3: expected 4 numbers"),
    (
        "blank line",
        lambda r: _edit(r / FOLDER / "init.txt", 2, ""),
        "blank lines before the end, read as no box: 2",
    ),
    ("absent at first", lambda r: _edit(r / FOLDER / "init.txt", 1, "0,0,0,0"), "absent in the first frame"),
    ("box outside", lambda r: _edit(r / FOLDER / "init.txt", 4, "32,0,5,5"), "box outside the 32x24 image in frames 3"),
    ("first image damaged", lambda r: (r / FOLDER / "visible/v000.png").write_bytes(b"x"), "v000.png: not a readable"),
    (
        "file of one number twice",
        lambda r: (r / FOLDER / "visible/w001.png").touch(),
        "v001.png, w001.png",
    ),
]


@pytest.mark.parametrize(("damage", "message"), [d[1:] for d in DEFECTS], ids=[d[0] for d in DEFECTS])
def test_each_defect_is_reported_and_exits_1(capsys, lasher, damage, message):
    damage(lasher)
    code, out = run(capsys, lasher)
    assert code == 1
    assert message in out
    assert "ERROR lasher train" in out


def test_lost_frames_that_cancel_out_are_found(capsys, lasher):
    (lasher / FOLDER / "visible/v001.png").unlink()
    (lasher / FOLDER / "infrared/i003.png").unlink()
    (lasher / FOLDER / "init.txt").write_text("1,2,3,4\n" * 4)
    code, out = run(capsys, lasher)
    assert code == 1
    assert "RGB and X are numbered differently: v002.png is paired with i001.png" in out


def test_a_gap_in_all_three_is_only_a_note(capsys, lasher):
    for name in ("visible/v002.png", "infrared/i002.png"):
        (lasher / FOLDER / name).unlink()
    (lasher / FOLDER / "init.txt").write_text("1,2,3,4\n" * 4)
    code, out = run(capsys, lasher, "--notes")
    assert code == 0
    assert "visible: numbering has gaps after v001.png" in out


def test_images_between_the_sampled_ones_are_found_with_all(capsys, lasher):
    (lasher / FOLDER / "infrared/i001.png").write_bytes(b"")
    assert run(capsys, lasher)[0] == 0
    code, out = run(capsys, lasher, "--images", "all", "--workers", "3")
    assert code == 1
    assert "infrared/i001.png: not a readable image" in out


def test_images_of_another_size_are_found(capsys, lasher, write_images):
    small = np.zeros((6, 8, 3), dtype=np.uint8)
    cv2.imwrite(str(lasher / FOLDER / "infrared/i002.png"), small)
    assert "infrared/i002.png is 8x6" in run(capsys, lasher)[1]
    cv2.imwrite(str(lasher / FOLDER / "visible/v002.png"), small)
    assert "visible/v002.png: 8x6, 32x24 before" in run(capsys, lasher)[1]


def test_all_splits_are_checked_and_a_missing_one_is_one_line(capsys, lasher):
    (lasher / FOLDER).rename(lasher / "elsewhere")
    code, out = run(capsys, lasher, split="all")
    assert code == 1
    assert "ERROR lasher train: none of its 1 sequences is there" in out
    assert "ERROR lasher val: none of its 97 sequences is there" in out


def test_a_sequence_in_train_and_test_is_reported(capsys, tmp_path, write_sequence, box_lines):
    names = [f"{k:08d}.png" for k in range(1, 4)]
    write_sequence(tmp_path / "s", ("color", names), ("depth", names), {"groundtruth.txt": box_lines(3)})
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.txt").write_text("s\n")
    assert check_data(["--dataset", "synthrgbd", "--root", str(tmp_path)]) == 1
    assert "1 sequences are in train and in test: s" in capsys.readouterr().out


def test_visevent_leading_absent_frames_are_a_note(tmp_path, write_sequence, box_lines):
    names = [f"frame{k:04d}.bmp" for k in range(4)]
    texts = {"groundtruth.txt": ["0,0,0,0", *box_lines(4)[1:]], "absent_label.txt": list("0111")}
    folder = write_sequence(tmp_path / "s", ("vis_imgs", names), ("event_imgs", names), texts)
    report = check_sequence("s", folder, DATA_SETS["visevent"], images="all")
    assert report.errors == []
    assert report.notes == ["absent in the first 1 frames, which are cut"]


def test_visevent_flags_are_checked(tmp_path, write_sequence, box_lines):
    names = [f"frame{k:04d}.bmp" for k in range(4)]
    texts = {"groundtruth.txt": [*box_lines(3), "0,0,0,0"], "absent_label.txt": ["1", "1", "1", "1", "1"]}
    folder = write_sequence(tmp_path / "s", ("vis_imgs", names), ("event_imgs", names[:3]), texts)
    report = check_sequence("s", folder, DATA_SETS["visevent"])
    assert Finding(Kind.COUNTS, "4 boxes, but 5 flags in absent_label.txt") in report.errors
    assert Finding(Kind.NO_X, "no event_imgs image for 1 frames: frame0003.bmp") in report.errors
    assert report.notes == ["absent_label.txt says present where the box is empty, in lines 4"]


def test_a_folder_data_set_is_checked(capsys, tmp_path, write_sequence, box_lines):
    names = [f"{k}.png" for k in range(3)]
    write_sequence(tmp_path / "train/a", ("rgb", names), ("x", names), {"groundtruth.txt": box_lines(3)})
    (tmp_path / "dataset.yaml").write_text("modality: rgbt\n")
    arguments = ["--dataset", "folder", "--root", str(tmp_path)]
    assert check_data(arguments) == 0
    (tmp_path / "train/a/groundtruth.txt").write_text("1,1,1\n")
    assert check_data(arguments) == 1
    assert "groundtruth.txt line 1" in capsys.readouterr().out


@pytest.fixture
def part_of_lasher(tmp_path, write_sequence, box_lines):
    """A LasHeR root with 12 of 40 listed sequences: s00 to s11, of which 6 lack X and 4 have a bad box."""
    for k in range(12):
        rgb, x = ([f"{letter}{i:03d}.png" for i in range(2)] for letter in "vi")
        texts = dict.fromkeys(("init.txt", "visible.txt", "infrared.txt"), box_lines(2))
        if 6 <= k < 10:
            texts["init.txt"] = ["1,1,4,4", "1,1,x,4"]
        folder = tmp_path / f"trainingset/s{k:02d}"
        write_sequence(folder, ("visible", rgb), ("infrared", x) if k >= 6 else None, texts)
    (tmp_path / "trainingsetList.txt").write_text("".join(f"s{k:02d}\n" for k in range(40)))
    return tmp_path


def test_errors_of_a_part_are_grouped_with_counts_first_names_and_what_to_do(capsys, part_of_lasher):
    code, out = run(capsys, part_of_lasher)
    assert code == 1
    heads = [line for line in out.splitlines() if line.startswith("ERROR")]
    assert heads == [
        "ERROR lasher train: listed, but not there: 28 of 40 sequences",
        "ERROR lasher train: RGB or X can't be found: 6 of 40 sequences",
        "ERROR lasher train: unreadable lines in text files: 4 of 40 sequences",
    ]
    assert "    s12: listed, but there is no such folder\n    s13: " in out
    assert "... and 25 more sequences" in out
    assert (
        f"what to do: copy the missing ones, or take them out of the list {part_of_lasher}/trainingsetList.txt" in out
    )
    assert "init.txt line 2: expected 4 numbers" in out
    assert "what to do: correct these lines" in out
    assert len(out.splitlines()) < 25
    assert "38 errors" in out


def test_notes_and_the_file_have_every_error(capsys, part_of_lasher, tmp_path):
    code, out = run(capsys, part_of_lasher, "--notes", "--output", str(tmp_path / "found/errors.csv"))
    assert code == 1
    assert "more sequences" not in out
    assert out.count("listed, but there is no such folder") == 28
    with (tmp_path / "found/errors.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["level"] for row in rows].count("error") == 38
    assert rows[0]["sequence"] == "s00"
    assert rows[0]["kind"] == "RGB or X can't be found"
    assert "infrared" in rows[0]["message"]


def test_loading_a_part_is_one_error_with_counts_and_first_names(part_of_lasher):
    with pytest.raises(DataError) as caught:
        load("lasher", "train", part_of_lasher)
    lines = str(caught.value).splitlines()
    assert "28 of 40 sequences are not in" in lines[0]
    assert "s12, s13, s14, s15, s16, ..." in lines[0]
    assert lines[1] == "10 of 40 sequences can't be read:"
    assert "s00" in lines[2]
    assert lines[5] == "  ... and 7 more"
    assert f"check_data.py --dataset lasher --root {part_of_lasher} --split train" in lines[6]
    assert "take them out of the list" in lines[7]
    assert len(lines) == 8


def test_one_bad_sequence_is_named_without_more_words(part_of_lasher):
    with pytest.raises(DataError) as caught:
        load("lasher", "train", part_of_lasher, sequences=["s07", "s11"])
    assert "\n" not in str(caught.value)
    assert "s07/init.txt" in str(caught.value)


def test_what_to_do_about_a_part_follows_from_where_the_list_is(tmp_path):
    assert f"name those that are there in {tmp_path}/trainingsetList.txt" in to_use_a_part(
        DATA_SETS["lasher"], "train", tmp_path
    )
    assert "--sequences" in to_use_a_part(DATA_SETS["rgbt234"], "test", tmp_path)


def test_a_missing_data_set_exits_1(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("PATRACK_DATA", raising=False)
    assert check_data(["--dataset", "lasher"]) == 1
    assert check_data(["--dataset", "lasher", "--data-root", str(tmp_path)]) == 1
    assert "looked for a folder LasHeR" in capsys.readouterr().out
    assert check_data(["--dataset", "lasher", "--data-root", str(tmp_path), "--output", str(tmp_path / "a.csv")]) == 1
    assert "looked for a folder LasHeR" in (tmp_path / "a.csv").read_text()


def test_help_is_shown(capsys):
    with pytest.raises(SystemExit) as exit_:
        check_data(["--help"])
    assert exit_.value.code == 0
    assert "--images" in capsys.readouterr().out


def test_a_block_destroyed_within_a_jpeg_file_is_an_error(tmp_path, write_sequence, box_lines, capsys):
    pytest.importorskip("simplejpeg", reason='needs simplejpeg: pip install "patrack[check]"')
    names = [f"{k:03d}.jpg" for k in range(3)]
    (tmp_path / "dataset.yaml").write_text("modality: rgb\n")
    folder = tmp_path / "test" / "a"
    write_sequence(folder, ("rgb", names), ("x", names), {"groundtruth.txt": box_lines(3)})
    picture = cv2.resize(np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8), (320, 240))
    for name in names:
        cv2.imwrite(str(folder / "rgb" / name), picture)
    arguments = ["--dataset", "folder", "--root", str(tmp_path), "--split", "test", "--images", "all"]
    assert check_data(arguments) == 0, capsys.readouterr().out
    data = bytearray((folder / "rgb/001.jpg").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 256] = np.random.default_rng(1).bytes(256)
    (folder / "rgb/001.jpg").write_bytes(data)
    assert check_data(arguments) == 1
    out = capsys.readouterr().out
    assert "decoded with warnings" in out
    assert "001.jpg: Corrupt JPEG data" in out
