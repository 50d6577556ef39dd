"""Data sets drawn with real pictures: determinism, exact boxes, parts, identity, folders that are not right."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.synthetic import SyntheticError, compose_photos, generate
from lib.synthetic import benchmark as module
from lib.synthetic.benchmark import Job, draw_scene, frames
from lib.synthetic.compose_photos import TARGETS, make_photo_scene
from lib.synthetic.objects import BORDER, Sprite
from lib.synthetic.pictures import INDEX_NAME, PLACES, Pictures, cutout_sprite, make_photo_background, photo_sprite
from lib.synthetic.scene import MODALITIES, Scene, render

SIZE, LENGTH = (96, 72), 4
FILM = {"files": ["cutouts/thing/0.png"], "kind": "thing", "clip": 0, "frames": [0], "boxes": [[1, 2, 30, 20]]}


def _digest(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _make(root: Path, pictures: Path | None, modality: str = "rgbt", count: int = 2, **options: object) -> list[str]:
    return generate(root, modality, "train", count, LENGTH, SIZE, **{"seed": 3, "pictures": pictures, **options})


def _scene(folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, seed: int = 0, modality: str = "rgbt") -> Scene:
    monkeypatch.setattr(compose_photos, "TARGETS", {kind: 1.0})
    return make_photo_scene(np.random.default_rng(seed), modality, LENGTH, *SIZE, Pictures(folder))


@pytest.mark.parametrize(
    ("modality", "boxes"),
    [
        ("rgbt", [[31, 33, 9, 23], [31, 32, 9, 23], [31, 32, 9, 22]]),
        ("rgbd", [[10, 13, 17, 16], [10, 12, 17, 16], [11, 12, 16, 16]]),
        ("rgbe", [[49, 25, 9, 21], [49, 25, 9, 21], [49, 25, 9, 21]]),
    ],
)
def test_without_pictures_the_scenes_are_those_drawn_before_there_were_any(modality: str, boxes: list) -> None:
    made = frames(*draw_scene(Job(modality, "train", 0, 3, SIZE, 3)))
    np.testing.assert_array_equal([f.view.box for f in made], boxes)  # as version 1 drew them


@pytest.mark.parametrize("modality", MODALITIES)
def test_content_depends_on_seed_and_pictures_only(pictures_folder: Path, tmp_path: Path, modality: str) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(pictures_folder, moved)
    _make(tmp_path / "a", pictures_folder, modality)
    _make(tmp_path / "b", moved, modality, workers=2 if modality == "rgbd" else 1)
    assert _digest(tmp_path / "a") == _digest(tmp_path / "b")


def test_pictures_change_what_is_drawn(pictures_folder: Path, tmp_path: Path) -> None:
    _make(tmp_path / "a", pictures_folder)
    _make(tmp_path / "b", None)
    name = "trainingset/train_0000/visible/v000.jpg"
    assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "b" / name).read_bytes()


def test_data_set_is_continued_with_the_same_pictures_only(pictures_folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    _make(root, pictures_folder, count=1)
    _make(root, pictures_folder, count=2)
    with pytest.raises(SyntheticError, match=r"pictures '[0-9a-f]{64}' \(asked None\)"):
        _make(root, None)
    (pictures_folder / "photographs/0.jpg").write_bytes((pictures_folder / "photographs/1.jpg").read_bytes())
    with pytest.raises(SyntheticError, match=r"other parameters: pictures"):
        _make(root, pictures_folder)


def test_drawn_data_set_is_not_continued_with_pictures(pictures_folder: Path, tmp_path: Path) -> None:
    _make(tmp_path / "data", None, count=1)
    with pytest.raises(SyntheticError, match=r"pictures None \(asked '[0-9a-f]{64}'\)"):
        _make(tmp_path / "data", pictures_folder)


@pytest.mark.parametrize("kind", TARGETS)
def test_box_is_the_bounds_of_the_targets_alpha(
    pictures_folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    checked = 0
    for seed in range(6):
        scene = _scene(pictures_folder, monkeypatch, kind, seed)
        target = scene.actors[0]
        white = tuple(np.dstack([c[..., 3]] * 4) for c in target.sprite.color)
        place = replace(scene.background, albedo=np.zeros_like(scene.background.albedo), frames=())
        white_sprite = Sprite(white, target.sprite.heat)
        alone = replace(scene, actors=(replace(target, sprite=white_sprite, painted=True),), background=place)
        for t in range(1, LENGTH + 1):
            shown = render(alone, t).color[..., 0] > 127
            x, y, w, h = cv2.boundingRect(shown.astype(np.uint8))
            expected = [x, y, w, h] if w else [0, 0, 0, 0]
            np.testing.assert_array_equal(render(scene, t).box, expected)
            checked += w > 0
    assert checked > 5


@pytest.mark.parametrize("kind", ["part", "region"])
def test_part_of_what_is_there_adds_nothing_to_the_picture(
    pictures_folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for modality in ("rgbt", "rgbd"):
        scene = _scene(pictures_folder, monkeypatch, kind, 1, modality)
        far = replace(scene.actors[0], position=scene.actors[0].position + 1e4)
        without = render(replace(scene, actors=(far, *scene.actors[1:])), 1)
        view = render(scene, 1)
        assert view.box[2:].prod() > 0
        np.testing.assert_array_equal(view.color, without.color)
        if modality == "rgbt":
            np.testing.assert_array_equal(view.temperature, without.temperature)
        else:
            np.testing.assert_array_equal(view.distance, without.distance)


def test_filmed_target_is_where_the_clip_shows_it(pictures_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = _scene(pictures_folder, monkeypatch, "filmed", 3)
    place, target = scene.background, scene.actors[0]
    (film,) = Pictures(pictures_folder).films
    assert not target.painted
    marked = []
    for frame, color in zip(place.frames, target.sprite.color, strict=True):  # the thing in white on black
        (x, y, w, h), shown = next(box for box in film.boxes if box[2] == color.shape[1] - 2 * BORDER), 0 * frame
        cv2.ellipse(shown, (x + w // 2, y + h // 2), (w // 2 - 1, h // 2 - 1), 0, 0, 360, (255,) * 3, -1)
        marked.append(shown)
    scene = replace(scene, background=replace(place, frames=tuple(marked)), actors=(target,))
    for t in range(1, LENGTH + 1):
        view = render(scene, t)
        shown = cv2.boundingRect((view.color[..., 0] > 127).astype(np.uint8))
        assert shown[2] > 0
        np.testing.assert_allclose(view.box, shown, atol=2)


def test_row_shows_equals_beside_the_target_that_stand_still_in_the_place(
    pictures_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = _scene(pictures_folder, monkeypatch, "row", 2)
    target, equals = scene.actors[0], [a for a in scene.actors if a.role == "equal"]
    assert len(equals) >= 2
    for actor in (target, *equals):
        world = [scene.camera.lift(actor.position[t], t) for t in range(LENGTH + 1)]
        np.testing.assert_allclose(world - world[0], 0, atol=1e-6)


def test_object_plays_its_pictures_in_order(pictures_folder: Path) -> None:
    pictures = Pictures(pictures_folder)
    person = next(c for c in pictures.cutouts if c.kind == "person")
    sprite = cutout_sprite(pictures, np.random.default_rng(0), person, 40.0)
    widths = [c.shape[1] for c in sprite.color]
    assert len(widths) == 5
    assert widths == sorted(widths)  # as they were photographed: each wider than the one before
    assert all((c[..., :3] <= c[..., 3:]).all() for c in sprite.color)  # multiplied by alpha


@pytest.mark.parametrize("aspect", [1 / 6, 1 / 2, 1.0, 6.0])
def test_shape_has_the_wanted_size_and_aspect(pictures_folder: Path, aspect: float) -> None:
    sprite = photo_sprite(Pictures(pictures_folder), np.random.default_rng(3), 60.0, aspect)
    width, height = sprite.size
    assert (width * height) ** 0.5 == pytest.approx(60, rel=0.05)
    assert width / height == pytest.approx(aspect, rel=0.1)


@pytest.mark.parametrize("kind", PLACES)
def test_place_has_looks_temperature_and_distance(pictures_folder: Path, kind: str) -> None:
    b = make_photo_background(Pictures(pictures_folder), np.random.default_rng(1), 140, 180, LENGTH, kind)
    assert b.albedo.std() > 3
    assert b.temperature.dtype == np.uint8
    assert b.temperature.std() > 0.5
    assert b.nearness.min() > 0.2
    assert (len(b.frames) > 1) == (kind == "clip")
    if kind == "clip":
        assert len(b.playing) == LENGTH
        assert max(b.playing) < len(b.frames)


def _index(folder: Path) -> dict:
    return json.loads((folder / INDEX_NAME).read_text())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"photographs": [{"file": "../secret.jpg"}]}, r"'\.\./secret\.jpg' leads out of the folder"),
        ({"photographs": [{"file": "photographs/none.jpg"}]}, "'photographs/none.jpg', which is not there"),
        ({"photographs": []}, "0 photographs and 3 cut-outs"),
        ({"photographs": "all"}, "photographs, clips, cutouts are lists"),
        ({"clips": [{"files": [1]}]}, "an entry of clips must have 'files'"),
        ({"clips": ["a"]}, "an entry of clips must have 'files', got 'a'"),
        ({"cutouts": [{"files": ["cutouts/thing/0.png"], "kind": "dog"}]}, "kind must be one of .* got 'dog'"),
        ({"cutouts": [{**FILM, "clip": 1}]}, r"must have a clip \(0 to 0\).* got clip 1"),
        ({"cutouts": [{**FILM, "frames": [9]}]}, "a frame of it and a box"),
        ({"cutouts": [{**FILM, "boxes": [[1, 2, 3]]}]}, "a frame of it and a box"),
        ({"cutouts": [{**FILM, "boxes": None}]}, "a frame of it and a box"),
    ],
    ids=["outside", "missing", "none", "no-list", "no-name", "no-mapping", "kind", "clip", "frame", "box", "no-boxes"],
)
def test_wrong_index_is_named(pictures_folder: Path, tmp_path: Path, change: dict, message: str) -> None:
    (tmp_path / "secret.jpg").write_bytes((pictures_folder / "photographs/0.jpg").read_bytes())
    (pictures_folder / INDEX_NAME).write_text(json.dumps({**_index(pictures_folder), **change}))
    with pytest.raises(SyntheticError, match=message):
        _make(tmp_path / "out", pictures_folder)
    assert not (tmp_path / "out").exists()


def test_link_out_of_the_folder_is_refused(pictures_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (pictures_folder / "photographs/0.jpg").unlink()
    (pictures_folder / "photographs/0.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(SyntheticError, match=r"'photographs/0\.jpg' leads out"):
        Pictures(pictures_folder)


@pytest.mark.parametrize("text", [None, "", "[1]"], ids=["empty-folder", "empty-file", "list"])
def test_folder_without_a_usable_index_is_named(tmp_path: Path, text: str | None) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    if text is not None:
        (folder / INDEX_NAME).write_text(text)
    with pytest.raises(SyntheticError, match=r"empty.*(--pictures|JSON|mapping)"):
        _make(tmp_path / "out", folder)


@pytest.mark.parametrize("group", ["photographs/0.jpg", "cutouts/thing/0.png"])
def test_unreadable_picture_is_named(pictures_folder: Path, group: str) -> None:
    (pictures_folder / group).write_bytes(b"not a picture")
    pictures = Pictures(pictures_folder)
    read = pictures.photograph if group.endswith("jpg") else pictures.cut
    with pytest.raises(SyntheticError, match=rf"{group} is not a picture"):
        read(group)


def test_picture_without_transparency_is_no_cut_out(pictures_folder: Path) -> None:
    path = pictures_folder / "cutouts/thing/0.png"
    path.write_bytes(cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1].tobytes())
    with pytest.raises(SyntheticError, match=r"transparency.*\(9, 9, 3\)"):
        Pictures(pictures_folder).cut("cutouts/thing/0.png")


def test_unreadable_picture_ends_the_command_with_its_name(
    pictures_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (pictures_folder / "photographs").iterdir():
        path.write_bytes(b"not a picture")
    monkeypatch.setattr(module, "_DRAWN_SHARE", 0.0)
    with pytest.raises(SyntheticError, match="not a picture"):
        _make(tmp_path / "out", pictures_folder, count=6)


def test_share_of_the_sequences_stays_drawn(pictures_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(module, "_acceptable", lambda scene: seen.append(scene.natural) or True)
    for index in range(40):
        draw_scene(Job("rgbt", "train", index, 2, SIZE, 3, pictures_folder))
    assert 1 <= seen.count(False) <= 10
