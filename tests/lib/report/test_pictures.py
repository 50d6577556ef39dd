"""Overlay video and film strips: right colors, boxes where they belong, whole files only."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from lib.report.page import find_images
from lib.report.pictures import PREDICTED, OverlayVideo, draw_frame, film_strip
from report_data import make_evaluation

BOX = np.array([40.0, 60.0, 50.0, 30.0])


def colored(height=180, width=240):
    """RGB pure red, X with channels 10, 20, 30."""
    frame = np.zeros((height, width, 6), np.uint8)
    frame[..., 0] = 255
    frame[..., 3:] = (10, 20, 30)
    return frame


@pytest.mark.parametrize(
    ("modality", "x_color"),
    [("rgbt", [30, 20, 10]), ("rgbe", [30, 20, 10]), ("rgbd", [10, 20, 30])],
)
def test_colors_are_right_in_both_panels(modality, x_color):
    picture = draw_frame(colored(), BOX, modality=modality)
    width = picture.shape[1]
    assert picture[-5, 5].tolist() == [0, 0, 255]  # red, in B, G, R
    assert picture[-5, width - 5].tolist() == x_color


@pytest.mark.parametrize(
    ("height", "width", "channels", "size"),
    [
        pytest.param(1080, 1920, 6, (360, 1280), id="large"),
        pytest.param(480, 640, 6, (480, 1280), id="vga"),
        pytest.param(180, 240, 6, (240, 640), id="small-is-enlarged"),
        pytest.param(101, 333, 6, (100, 664), id="odd"),
        pytest.param(1080, 1920, 3, (720, 1280), id="one-panel"),
    ],
)
def test_picture_is_even_and_at_most_1280_wide(height, width, channels, size):
    picture = draw_frame(np.zeros((height, width, channels), np.uint8), BOX)
    assert picture.shape == (*size, 3)


def test_boxes_are_drawn_in_both_panels_at_scale():
    frame = np.zeros((480, 640, 6), np.uint8)  # drawn at its own size
    picture = draw_frame(frame, BOX, true_box_xywh=BOX + np.array([100, 0, 0, 0]))
    for offset in (0, 640):
        assert picture[75, offset + 40].tolist() == list(PREDICTED)
        assert picture[75, offset + 90].tolist() == list(PREDICTED)
        blue, green, red = picture[75, offset + 140].tolist()  # a thin magenta line, smoothed
        assert (blue > 200, green, red > 200) == (True, 0, True)
        assert picture[75, offset + 65].tolist() == [0, 0, 0]


@pytest.mark.parametrize("box", [[np.nan] * 4, [-1e9, 5, 2e9, 4], [5000, 5000, 3, 3]], ids=str)
def test_boxes_that_are_unknown_or_far_away_do_no_harm(box):
    picture = draw_frame(colored(), BOX, true_box_xywh=np.array(box))
    assert picture.shape == (240, 640, 3)


def test_frame_is_left_as_it_was():
    frame = colored()
    draw_frame(frame, BOX, "caption", BOX)
    assert np.array_equal(frame, colored())


def test_video_has_every_frame(tmp_path):
    path = tmp_path / "new" / "overlay.mp4"
    with OverlayVideo(path, "rgbt") as video:
        for k in range(7):
            video.write(colored(60, 80), BOX, f"frame {k}")
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    assert len(frames) == 7
    blue, green, red = frames[0][-20, 20].tolist()
    assert red > 200
    assert blue < 60
    assert green < 60


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError], ids=["ctrl-c", "error"])
def test_interrupted_video_leaves_the_old_one(tmp_path, error):
    path = tmp_path / "overlay.mp4"
    path.write_bytes(b"old")

    def interrupted():
        with OverlayVideo(path, "rgbt") as video:
            video.write(colored(60, 80), BOX)
            raise error

    with pytest.raises(error):
        interrupted()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["overlay.mp4"]


def test_fps_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="fps must be > 0, got 0"):
        OverlayVideo(tmp_path / "o.mp4", "rgbt", fps=0)


def test_encoder_that_fails_is_an_error_naming_the_video(tmp_path, monkeypatch):
    class Closed:
        def __init__(self, *_):
            pass

        def isOpened(self):
            return False

        def release(self):
            pass

    monkeypatch.setattr(cv2, "VideoWriter", Closed)
    with pytest.raises(OSError, match=r"can't write video .*o\.mp4"), OverlayVideo(tmp_path / "o.mp4", "rgbt") as video:
        video.write(colored(), BOX)


def test_images_of_other_numbers_than_the_annotation_are_refused(tmp_path):
    evaluation = make_evaluation(tmp_path)
    images, _ = find_images("synthrgbt", "test", str(tmp_path))
    truth = replace(evaluation.truth["bike"], boxes=(np.ones((70, 4)),))
    with pytest.raises(ValueError, match="bike: 40 images, but 70 annotation rows"):
        film_strip(images("bike"), truth, {}, {}, "00")


def test_an_annotation_of_every_tenth_frame_shows_those_frames(tmp_path):
    evaluation = make_evaluation(tmp_path)
    images, _ = find_images("synthrgbt", "test", str(tmp_path))
    truth = replace(evaluation.truth["bike"], boxes=(np.ones((4, 4)),))
    strip, files = film_strip(images("bike"), truth, {}, {}, "00")
    assert [name for picture in strip.pictures for name in picture.files] == list(files)
    assert [picture.frame for picture in strip.pictures] == [0, 10, 20, 30]
