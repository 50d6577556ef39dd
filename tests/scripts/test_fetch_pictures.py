"""scripts/fetch_pictures.py, as far as it works without a network."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from commands import load_command
from lib.synthetic.pictures import Pictures
from lib.synthetic.textures import texture


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
