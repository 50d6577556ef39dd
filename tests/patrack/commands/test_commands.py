"""The command `patrack`: what it writes, and what it says."""

from __future__ import annotations

import csv
import itertools
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from patrack import gui
from patrack.commands import main
from patrack.recordings import live

BOX = "52,40,24,20"


def scene(count: int = 5) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """RGB (B, G, R) and thermal images of a bright square that moves over noise."""
    noise = np.random.default_rng(0).integers(0, 90, (120, 160, 3), dtype=np.uint8)
    rgb = []
    for k in range(count):
        rgb.append(noise.copy())
        rgb[-1][40 + k : 60 + k, 52 + 2 * k : 76 + 2 * k] = (60, 180, 220)
    return rgb, [np.where(image[:, :, 2] > 200, 230, image[:, :, 1] // 2).astype(np.uint8) for image in rgb]


def write(folder: Path, images: list[np.ndarray]) -> str:
    folder.mkdir()
    for k, image in enumerate(images):
        assert cv2.imwrite(str(folder / f"{k:03d}.png"), image)
    return str(folder)


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    rgb, x = scene()
    return ["--rgb", write(tmp_path / "visible", rgb), "--x", write(tmp_path / "infrared", x)]


def track(*words: str, output: Path | None = None) -> int:
    where = [] if output is None else ["--output", str(output)]
    return main(["track", *words, "--weights", "rgbt_tiny", "--device", "cpu", *where])


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "track.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_recordings_give_a_table_json_and_a_video(pair, tmp_path, capsys):
    out = tmp_path / "out"
    assert track(*pair, "--box", BOX, output=out) == 0
    table, whole = rows(out), json.loads((out / "track.json").read_text())
    assert [row["frame"] for row in table] == ["0", "1", "2", "3", "4"]
    assert [frame["box"] for frame in whole["frames"]] == [[float(row[key]) for key in "xywh"] for row in table]
    assert (whole["modality"], whole["weights"]) == ("rgbt", "rgbt_tiny")
    assert abs(float(table[4]["x"]) - 60) < 6
    assert table[4]["time"] == "0.160000"
    capture = cv2.VideoCapture(str(out / "overlay.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    printed = capsys.readouterr().out
    assert "5 frames, target lost in 0" in printed
    assert f"file: {out / 'track.csv'}" in printed
    assert sorted(path.name for path in out.iterdir()) == ["overlay.mp4", "track.csv", "track.json"]


def test_results_are_not_replaced_unless_asked_for(pair, tmp_path, capsys):
    out = tmp_path / "out"
    assert track(*pair, "--box", BOX, "--no-video", "--frames", "2", output=out) == 0
    assert track(*pair, "--box", BOX, output=out) == 1
    assert "holds results already (track.csv, track.json)" in capsys.readouterr().err
    assert track(*pair, "--box", BOX, "--no-video", "--overwrite", output=out) == 0
    assert len(rows(out)) == 5


@pytest.mark.parametrize("layout", ["side-by-side", "stacked"])
def test_one_video_with_both_pictures_is_split(layout, pair, tmp_path):
    rgb, x = scene()
    axis = 1 if layout == "side-by-side" else 0
    both = write(
        tmp_path / "both", [np.concatenate([a, np.dstack([b] * 3)], axis=axis) for a, b in zip(rgb, x, strict=True)]
    )
    assert track("--rgb", both, "--layout", layout, "--box", BOX, "--no-video", output=tmp_path / "one") == 0
    assert track(*pair, "--box", BOX, "--no-video", output=tmp_path / "two") == 0
    assert (tmp_path / "one" / "track.csv").read_bytes() == (tmp_path / "two" / "track.csv").read_bytes()


def test_a_frame_that_cannot_be_read_ends_it_and_what_was_tracked_is_kept(pair, tmp_path, capsys):
    (tmp_path / "infrared" / "003.png").write_bytes(b"no image")
    assert track(*pair, "--box", BOX, output=tmp_path / "out") == 1
    assert len(rows(tmp_path / "out")) == 3
    said = capsys.readouterr()
    assert "003.png: not a readable image" in said.err
    assert "3 frames, target lost in" in said.out
    assert cv2.VideoCapture(str(tmp_path / "out" / "overlay.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_ctrl_c_keeps_what_was_tracked(pair, tmp_path, monkeypatch, capsys):
    from patrack.tracker import Tracker

    follow = Tracker.track

    def interrupted(self, *args, **kwargs):
        result = follow(self, *args, **kwargs)
        if result.number == 3:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(Tracker, "track", interrupted)
    assert track(*pair, "--box", BOX, output=tmp_path / "out") == 130
    assert len(rows(tmp_path / "out")) == 3
    assert "stopped" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--box", "1,2,3"], "--box must be four numbers", id="box"),
        pytest.param(["--box", "500,10,20,20"], "lies outside the image", id="outside"),
        pytest.param(["--box", BOX, "--fps", "0"], "--fps must be above 0", id="fps"),
        pytest.param(["--box", BOX, "--layout", "stacked"], "leave --x out", id="layout-and-x"),
        pytest.param(["--box", BOX, "--x", "no/where"], "no such folder of images or video", id="nothing"),
        pytest.param(["--box", BOX, "--x", "0"], "both be cameras", id="half-live"),
        pytest.param(["--box", BOX, "--weights", "rgbt_nano"], "rgbt_nano", id="weights"),
        pytest.param(["--box", BOX, "--x-range", "9,3"], "lower one first", id="range"),
    ],
)
def test_what_cannot_be_used_is_said_and_leaves_no_files(words, message, pair, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["track", *pair, "--weights", "rgbt_tiny", "--output", str(out), *words]) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_without_a_display_the_box_must_be_given(pair, tmp_path, monkeypatch, capsys):
    for key in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(key, raising=False)
    assert track(*pair, output=tmp_path / "out") == 1
    assert "--box x,y,w,h" in capsys.readouterr().err


class Images:
    """Stands for `cv2.VideoCapture` of a camera that gives all images of a list, then none."""

    def __init__(self, images: list[np.ndarray]) -> None:
        self.left = list(images)

    def isOpened(self) -> bool:
        return True

    def read(self) -> tuple[bool, np.ndarray | None]:
        import time

        time.sleep(0.15)
        return (True, self.left.pop(0)) if self.left else (False, None)

    def release(self) -> None:
        pass


def test_cameras_are_followed_until_they_are_unplugged(tmp_path, monkeypatch, capsys):
    rgb, x = scene(8)
    images = {"0": rgb, "1": x}
    monkeypatch.setattr(live, "_capture", lambda source, raw: Images(images.pop(source, [])))
    words = ["--rgb", "0", "--x", "1", "--modality", "rgbt", "--box", BOX, "--patience", "0.2"]
    assert track(*words, output=tmp_path / "out") == 0
    table = rows(tmp_path / "out")
    assert len(table) >= 3
    times = [float(row["time"]) for row in table]
    assert times[0] == 0
    assert all(later > earlier for earlier, later in itertools.pairwise(times))
    assert cv2.VideoCapture(str(tmp_path / "out" / "overlay.mp4")).isOpened()


# ---- Windows


@pytest.fixture
def pygame(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    return pytest.importorskip("pygame", reason="needs pygame-ce (pip install -e .[gui])")


def drag(pygame, start: tuple[int, int], end: tuple[int, int]) -> None:
    pygame.event.post(pygame.event.Event(pygame.MOUSEBUTTONDOWN, button=1, pos=start))
    pygame.event.post(pygame.event.Event(pygame.MOUSEMOTION, pos=end, rel=(1, 1), buttons=(1, 0, 0)))
    pygame.event.post(pygame.event.Event(pygame.MOUSEBUTTONUP, button=1, pos=end))


@pytest.mark.parametrize("left", [0, 160], ids=["rgb", "x"])
def test_box_is_drawn_by_mouse_in_either_picture(left, pygame):
    frame = np.zeros((120, 160, 6), np.uint8)
    with gui.Window("test") as window:
        window._draw(np.zeros((120, 320, 3), np.uint8))  # opens it, so that events can be posted
        drag(pygame, (left + 5, 5), (left + 6, 6))  # too small: a slip
        drag(pygame, (left + 76, 60), (left + 52, 40))
        assert window.select_box(frame, "rgbt").tolist() == [52, 40, 24, 20]


def test_keys_end_it_or_ask_for_another_box(pygame):
    with gui.Window("test") as window:
        shown = np.zeros((120, 160, 6), np.uint8), np.array([1.0, 2, 30, 40]), "frame 1", "rgbt"
        assert window.show(*shown) is None
        for key, meaning in ((pygame.K_q, "end"), (pygame.K_r, "box")):
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))
            assert window.show(*shown) == meaning
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_ESCAPE))
        with pytest.raises(KeyboardInterrupt):
            window.select_box(shown[0], "rgbt")


def test_shown_while_it_is_tracked(pygame, pair, tmp_path, monkeypatch):
    monkeypatch.setattr(gui.Window, "select_box", lambda *_: np.array([52.0, 40, 24, 20]))
    asked = iter([None, "box", None, "end"])
    monkeypatch.setattr(gui.Window, "show", lambda *_: next(asked))
    assert track(*pair, "--show", "--no-video", output=tmp_path / "out") == 0
    assert [row["frame"] for row in rows(tmp_path / "out")] == ["0", "1", "2", "3"]


# ---- The command itself


def test_doctor_finds_nothing_wrong_here(capsys):
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "PROBLEM" not in printed
    assert "rgbt_small" in printed


def test_doctor_counts_what_does_not_work(monkeypatch, capsys):
    from patrack.commands import doctor

    monkeypatch.setattr(doctor, "PACKAGES", ("torch", "no-such-package"))
    assert main(["doctor"]) == 1
    assert "PROBLEM packages: torch" in capsys.readouterr().out


def test_help_needs_no_pytorch():
    code = (
        "import sys; from patrack.commands import main\n"
        "try: main(['track', '--help'])\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("False")
    done = subprocess.run([sys.executable, "-m", "patrack", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("patrack ")


def test_unknown_command_is_a_wrong_command_line():
    with pytest.raises(SystemExit) as stopped:
        main(["follow"])
    assert stopped.value.code == 2
