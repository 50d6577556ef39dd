"""scripts/fetch_pictures.py, as far as it works without a network."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from commands import load_command
from lib.synthetic.objects import texture
from lib.synthetic.pictures import Pictures


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_command("scripts/fetch_pictures.py")


def _davis(folder: Path, *names: str) -> Path:
    rng = np.random.default_rng(0)
    mask = np.zeros((60, 80), np.uint8)
    cv2.circle(mask, (40, 30), 15, 255, -1)
    for name in names:
        for k in range(3):
            for part, image in (("img", texture(rng, 60, 80)), ("mask", mask)):
                path = folder / name / part / f"{k:05d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return folder


def test_masked_sequences_become_clips_and_moving_objects_and_held_out_ones_do_not(
    script: ModuleType, tmp_path: Path
) -> None:
    g = script.Gathering(tmp_path / "out")
    script.add_davis(g, _davis(tmp_path / "davis", "goat", *script.HELD_OUT))
    g.finish()
    pictures = Pictures(tmp_path / "out")
    assert {name.split("_")[1] for name in pictures.photographs} == {"goat"}
    (clip,) = pictures.clips
    assert len(clip) == 3
    moving = [c for c in pictures.cutouts if len(c.files) == 3]
    assert [c.kind for c in moving] == ["thing"]
    assert pictures.cut(moving[0].files[0]).shape[2] == 4


def test_every_picture_names_a_source_with_a_licence(script: ModuleType, tmp_path: Path) -> None:
    g = script.Gathering(tmp_path / "out")
    script.add_davis(g, _davis(tmp_path / "davis", "goat"))
    licensed = {source["name"] for source in g.index["sources"] if source["licence"]}
    used = {entry["source"] for group in ("photographs", "clips", "cutouts") for entry in g.index[group]}
    assert used == licensed


def test_folder_with_something_in_it_is_refused(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(SystemExit):
        script.main(["--output", str(tmp_path)])
    assert "is not empty" in capsys.readouterr().err


def test_missing_tool_is_named(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no-such-tool is not there"):
        script.run(["no-such-tool"], tmp_path)


@pytest.mark.parametrize(("call", "flag"), [("add_davis", "--davis"), ("add_clips", "--clips")])
def test_folder_without_what_is_expected_is_named(script: ModuleType, tmp_path: Path, call: str, flag: str) -> None:
    with pytest.raises(SystemExit, match=rf"\({flag}\) holds no"):
        getattr(script, call)(script.Gathering(tmp_path / "out"), tmp_path)


def test_cut_out_is_cropped_to_the_mask_with_a_soft_edge(script: ModuleType) -> None:
    image = np.full((60, 80, 3), (10, 20, 30), np.uint8)
    mask = np.zeros((60, 80), bool)
    mask[10:40, 20:60] = True
    cut, box = script.cut_out(image, mask)
    assert box == (20, 10, 40, 30)
    assert cut.shape == (30, 40, 4)  # a pixel of the mask on each side is only the edge's softness
    assert cut[14, 19].tolist() == [10, 20, 30, 255]
    assert 0 < cut[14, 0, 3] < 127 < cut[14, 1, 3] < 255


def test_cut_out_is_no_longer_than_asked(script: ModuleType) -> None:
    cut, _ = script.cut_out(np.zeros((200, 400, 3), np.uint8), np.ones((200, 400), bool), longest=100)
    assert max(cut.shape[:2]) == 100


def test_nothing_left_gives_none(script: ModuleType) -> None:
    mask = np.zeros((20, 20), bool)
    mask[3:6, 3:6] = True
    assert script.cut_out(np.zeros((20, 20, 3), np.uint8), mask) is None


@pytest.mark.parametrize("grain", [0, 20], ids=["drawing", "photograph"])
def test_drawing_is_told_from_a_photograph_by_its_flat_areas(script: ModuleType, grain: int) -> None:
    rng = np.random.default_rng(0)
    picture = 120 + rng.normal(0, 1, (40, 40, 4)) * grain
    picture[..., 3] = 255
    assert script.is_photograph(np.clip(picture, 0, 255).astype(np.uint8)) == (grain > 0)


def test_moving_thing_is_found_in_every_frame_and_what_stands_still_is_not(script: ModuleType) -> None:
    frames = []
    for k in range(20):
        frame = np.full((90, 120, 3), 60, np.uint8)
        cv2.rectangle(frame, (5, 60), (20, 80), (200, 200, 200), -1)
        cv2.rectangle(frame, (20 + 3 * k, 20), (34 + 3 * k, 44), (20, 90, 220), -1)
        frames.append(frame)
    (track,) = script.moving_things(frames, smallest=0.005)
    assert [k for k, _ in track] == list(range(20))
    x, y, w, h = cv2.boundingRect(track[10][1].astype(np.uint8))
    assert abs(x - 50) <= 2
    assert abs(y - 20) <= 2
    assert abs(w - 15) <= 4
    assert abs(h - 25) <= 4


def test_region_of_one_color_is_found(script: ModuleType) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (180, 240, 3), dtype=np.uint8)
    cv2.circle(image, (120, 90), 40, (30, 160, 200), -1)
    truth = np.zeros((180, 240), np.uint8)
    cv2.circle(truth, (120, 90), 40, 1, -1)
    overlaps = [(m & (truth > 0)).sum() / (m | (truth > 0)).sum() for m in script.photo_regions(image)]
    assert max(overlaps) > 0.85
