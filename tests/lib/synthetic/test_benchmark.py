"""The data sets on disk: shapes, determinism, resuming, splits, bad input."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.synthetic import SyntheticError, generate
from lib.synthetic import benchmark as module
from lib.synthetic.benchmark import SPLITS, Job, draw_scene, frames, write_annotations
from lib.synthetic.scene import MODALITIES
from patrack.files import FolderInUse

SIZE, LENGTH = (96, 72), 4


def _digest(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _make(root: Path, modality: str = "rgbt", split: str = "train", count: int = 1, **options: object) -> list[str]:
    return generate(root, modality, split, count, **{"length": LENGTH, "size": SIZE, "seed": 3, **options})


EXPECTED = {
    "rgbt": (
        "trainingset/train_0000",
        "trainingsetList.txt",
        {"visible/v003.jpg", "infrared/i003.jpg", "visible.txt", "infrared.txt", "init.txt"},
    ),
    "rgbd": ("train_0000", "train.txt", {"color/00000004.jpg", "depth/00000004.png", "groundtruth.txt"}),
    "rgbe": (
        "train/train_0000",
        "train/trainlist.txt",
        {"vis_imgs/frame0003.bmp", "event_imgs/frame0003.bmp", "groundtruth.txt", "absent_label.txt"},
    ),
}


@pytest.mark.parametrize("modality", MODALITIES)
def test_folder_has_the_shape_of_the_real_data_set(tmp_path: Path, modality: str) -> None:
    assert _make(tmp_path, modality) == ["train_0000"]
    folder, listing, files = EXPECTED[modality]
    assert (tmp_path / listing).read_text() == "train_0000\n"
    found = {str(p.relative_to(tmp_path / folder)) for p in (tmp_path / folder).rglob("*") if p.is_file()}
    assert files <= found
    assert len(found) == 2 * LENGTH + sum("/" not in name for name in files)
    assert (tmp_path / "attributes/train_0000.txt").read_text().count("\n") == 1
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize("modality", MODALITIES)
def test_files_hold_what_was_rendered(tmp_path: Path, modality: str) -> None:
    _make(tmp_path, modality)
    folder = tmp_path / EXPECTED[modality][0]
    made = list(frames(*draw_scene(Job(modality, "train", 0, LENGTH, SIZE, 3))))
    box_file = folder / ("visible.txt" if modality == "rgbt" else "groundtruth.txt")
    np.testing.assert_array_equal(np.loadtxt(box_file, delimiter=","), [f.view.box for f in made])
    x_files = sorted((folder / {"rgbt": "infrared", "rgbd": "depth", "rgbe": "event_imgs"}[modality]).iterdir())
    rgb_files = sorted((folder / {"rgbt": "visible", "rgbd": "color", "rgbe": "vis_imgs"}[modality]).iterdir())
    for k, frame in enumerate(made):
        rgb, x = (cv2.imread(str(f[k]), cv2.IMREAD_UNCHANGED) for f in (rgb_files, x_files))
        assert rgb.shape == (SIZE[1], SIZE[0], 3)
        assert np.abs(rgb.astype(float) - frame.rgb).mean() < 7  # JPEG halves the color resolution
        if modality == "rgbt":
            assert x.shape == rgb.shape
            assert np.abs(x.astype(float) - frame.x).mean() < 4
        else:
            np.testing.assert_array_equal(x, frame.x)
            assert x.dtype == (np.uint16 if modality == "rgbd" else np.uint8)


@pytest.mark.parametrize(
    ("modality", "name", "text"),
    [
        ("rgbt", "visible.txt", "1,2,30,40\n0,0,0,0\n"),
        ("rgbt", "init.txt", "1,2,30,40\n0,0,0,0\n"),
        ("rgbd", "groundtruth.txt", "1.0000,2.0000,30.0000,40.0000\nnan,nan,nan,nan\n"),
        ("rgbe", "groundtruth.txt", "1.0000,2.0000,30.0000,40.0000\n0.0000,0.0000,0.0000,0.0000\n"),
        ("rgbe", "absent_label.txt", "1\n0\n"),
    ],
)
def test_absent_frames_are_written_as_the_real_data_set_does(
    tmp_path: Path, modality: str, name: str, text: str
) -> None:
    boxes = np.array([[1.0, 2, 30, 40], [5, 6, 7, 8]])
    write_annotations(tmp_path, modality, boxes, np.array([False, True]))
    assert (tmp_path / name).read_text() == text


@pytest.mark.parametrize(("modality", "folder", "flags"), [("rgbt", "AttriSeqsTxt", 19), ("rgbe", "att", 17)])
def test_own_attribute_flags_of_the_real_data_set_are_written(
    tmp_path: Path, modality: str, folder: str, flags: int
) -> None:
    _make(tmp_path, modality)
    row = (tmp_path / folder / "train_0000.txt").read_text().strip().split(",")
    assert len(row) == flags
    assert set(row) <= {"0", "1"}
    assert len((tmp_path / folder / "attributes.txt").read_text().split()) == flags


@pytest.mark.parametrize(
    ("inside", "occluded", "width", "expected"),
    [
        ((1, 1), (0, 0.1), 20, set()),
        ((1, 1), (0, 0.2), 20, {"occlusion"}),
        ((1, 1), (0, 0.98), 20, {"occlusion", "full_occlusion"}),
        ((1, 0.4), (0, 0), 20, {"out_of_view"}),
        ((1, 0), (0, 0), 20, {"out_of_view"}),
        ((1, 1), (0, 0), 4, {"small_target"}),
    ],
    ids=["nothing", "partly-hidden", "hidden", "leaving", "gone", "small"],
)
def test_attributes_are_read_off_the_rendered_frames(
    inside: tuple, occluded: tuple, width: float, expected: set[str]
) -> None:
    scene, _ = draw_scene(Job("rgbt", "train", 0, 2, SIZE, 3))
    scene.attributes.clear()
    boxes = np.tile([1.0, 1, width, width], (2, 1))
    module._observed(scene, boxes, np.array(inside), np.array(occluded))
    assert scene.attributes == expected


def test_content_does_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    _make(tmp_path / "one", "rgbe", count=3, workers=1)
    _make(tmp_path / "two", "rgbe", count=3, workers=2)
    assert _digest(tmp_path / "one") == _digest(tmp_path / "two")


def test_another_seed_gives_other_sequences(tmp_path: Path) -> None:
    _make(tmp_path / "a", seed=3)
    _make(tmp_path / "b", seed=4)
    a, b = _digest(tmp_path / "a"), _digest(tmp_path / "b")
    assert a.keys() == b.keys()
    assert all(a[name] != b[name] for name in a if name.endswith(".jpg"))


def test_splits_and_modalities_never_share_a_random_stream() -> None:
    jobs = [
        Job(m, s, i, LENGTH, SIZE, seed) for m, s, i, seed in itertools.product(MODALITIES, SPLITS, range(8), (0, 1))
    ]
    first = {(int(job.rng(attempt).integers(2**63)), job.rng(attempt).random()) for job in jobs for attempt in range(3)}
    assert len(first) == 3 * len(jobs)


def test_splits_show_different_scenes(tmp_path: Path) -> None:
    for split in SPLITS:
        _make(tmp_path, "rgbd", split)
    color = [(tmp_path / f"{split}_0000/color/00000001.jpg").read_bytes() for split in SPLITS]
    assert len(set(color)) == 3
    assert [(tmp_path / f"{split}.txt").read_text() for split in SPLITS] == [f"{split}_0000\n" for split in SPLITS]


def test_complete_sequences_are_kept_and_missing_ones_added(tmp_path: Path) -> None:
    _make(tmp_path)
    mark = tmp_path / "trainingset/train_0000/mark"
    mark.touch()
    seen: list[tuple[str, bool]] = []
    _make(tmp_path, count=2, progress=lambda name, new: seen.append((name, new)))
    assert mark.exists()
    assert seen == [("train_0000", False), ("train_0001", True)]
    assert (tmp_path / "trainingsetList.txt").read_text() == "train_0000\ntrain_0001\n"


def test_interruption_leaves_no_half_sequence_and_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = itertools.count()
    original = module.write_frame

    def interrupted(*args: object) -> None:
        if next(calls) == LENGTH + 2:  # in the middle of the second sequence
            raise KeyboardInterrupt
        original(*args)

    monkeypatch.setattr(module, "write_frame", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _make(tmp_path / "a", count=2)
    assert sorted(p.name for p in (tmp_path / "a/trainingset").iterdir() if p.name[0] != ".") == ["train_0000"]
    monkeypatch.undo()
    _make(tmp_path / "a", count=2)
    _make(tmp_path / "b", count=2)
    assert _digest(tmp_path / "a") == _digest(tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "message"),
    [({"seed": 4}, "seed 3 .asked 4"), ({"length": 5}, "length of train 4 .asked 5"), ({"size": (64, 48)}, "size")],
    ids=["seed", "length", "size"],
)
def test_other_parameters_in_an_existing_folder_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    _make(tmp_path)
    before = _digest(tmp_path)
    with pytest.raises(SyntheticError, match=message):
        _make(tmp_path, **change)
    assert _digest(tmp_path) == before


def test_another_version_is_refused(tmp_path: Path) -> None:
    _make(tmp_path)
    meta = tmp_path / module.META_NAME
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "version": 1}))
    with pytest.raises(SyntheticError, match=r"version 1, .*version 2.*--output"):
        _make(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[1]"])
def test_damaged_parameter_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / module.META_NAME).write_text(text)
    with pytest.raises(SyntheticError, match=module.META_NAME):
        _make(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modality": "rgbx"}, "modality must be one of .* got 'rgbx'"),
        ({"split": "training"}, "split must be one of .* got 'training'"),
        ({"size": (97, 72)}, "size must be even .* got 97x72"),
        ({"size": (32, 24)}, "at least 64x48, got 32x24"),
        ({"count": 0}, "sequences must be at least 1, got 0"),
        ({"length": 1}, "length must be at least 2, got 1"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"seed": -1}, "seed must not be negative, got -1"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_argument_is_named_before_anything_is_written(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(SyntheticError, match=message):
        _make(tmp_path / "out", **change)
    assert not (tmp_path / "out").exists()


def test_all_bad_arguments_are_listed_together(tmp_path: Path) -> None:
    with pytest.raises(SyntheticError, match=r"'rgbx'.*'dev'.*sequences"):
        _make(tmp_path, "rgbx", "dev", 0)


def test_unwritable_output_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SyntheticError, match=r"file.rgbt.*--output"):
        _make(tmp_path / "file/rgbt")


def test_full_disk_is_reported_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_frame", full)
    with pytest.raises(SyntheticError, match=r"No space left.*repeat the command"):
        _make(tmp_path)


def test_a_folder_that_another_process_fills_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def in_use(folder: Path) -> Iterator[None]:
        raise FolderInUse(f"{folder} is in use by process 7")
        yield

    monkeypatch.setattr(module, "folder_lock", in_use)
    with pytest.raises(SyntheticError, match=r"set is in use by process 7"):
        _make(tmp_path / "set")
