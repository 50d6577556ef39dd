"""Overlay video: right colors, boxes where they belong, the codec and rate that were asked for, whole files only."""

import logging
import resource
from contextlib import contextmanager
from fractions import Fraction

import cv2
import numpy as np
import pytest

from patrack.recordings import overlay as module
from patrack.recordings.overlay import PREDICTED, OverlayVideo, draw_frame

needs_h264 = pytest.mark.skipif(module.av is None, reason="needs PyAV (pip install av)")
BOX = np.array([40.0, 60.0, 50.0, 30.0])
BAR = 36  # pixels above a picture that is at most 1152 wide


@pytest.fixture(params=[pytest.param("h264", marks=needs_h264), "mpeg4"])
def codec(request, monkeypatch):
    """Both ways to write a video: with PyAV, and with OpenCV where PyAV isn't there."""
    if request.param == "mpeg4":
        monkeypatch.setattr(module, "av", None)
    return request.param


def colored(height=180, width=240):
    """RGB pure red, X with channels 10, 20, 30."""
    frame = np.zeros((height, width, 6), np.uint8)
    frame[..., 0] = 255
    frame[..., 3:] = (10, 20, 30)
    return frame


def noise(height=60, width=80, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 6), dtype=np.uint8)


def write(path, frames, fps=25.0, modality="rgbt"):
    with OverlayVideo(path, modality, fps) as video:
        for k, frame in enumerate(frames):
            video.write(frame, BOX, f"frame {k}")


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
    ("height", "width", "channels", "scale", "size"),
    [
        pytest.param(1080, 1920, 6, 1, (1080 + 120, 3840), id="large"),
        pytest.param(480, 640, 6, 1, (480 + 40, 1280), id="vga"),
        pytest.param(180, 240, 6, 1, (180 + BAR, 480), id="small"),
        pytest.param(640, 360, 6, 1, (640 + BAR, 720), id="upright"),
        pytest.param(101, 333, 6, 1, (101 + BAR + 1, 666), id="odd"),
        pytest.param(101, 333, 3, 1, (101 + BAR + 1, 334), id="odd-alone"),
        pytest.param(24, 32, 6, 10, (240 + BAR, 640), id="tiny-is-enlarged"),
        pytest.param(1080, 1920, 3, 1, (1080 + 60, 1920), id="one-panel"),
    ],
)
def test_frames_keep_their_size_and_pixels_and_the_picture_is_even(height, width, channels, scale, size):
    frame = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    picture = draw_frame(frame, np.full(4, np.nan))
    assert picture.shape == (*size, 3)
    last = picture[-height * scale :, : width * channels // 3 * scale]
    shown = last[scale // 2 :: scale, scale // 2 :: scale]
    assert np.array_equal(shown, np.concatenate(np.split(frame[:, :, ::-1], channels // 3, axis=2)[::-1], axis=1))


def test_boxes_are_drawn_in_both_panels_where_they_are():
    frame = np.zeros((480, 640, 6), np.uint8)
    picture = draw_frame(frame, BOX, true_box_xywh=BOX + np.array([100, 0, 0, 0]))[40:]
    for offset in (0, 640):
        assert picture[75, offset + 40].tolist() == list(PREDICTED)
        assert picture[75, offset + 90].tolist() == list(PREDICTED)
        blue, green, red = picture[75, offset + 140].tolist()  # a thin magenta line, smoothed
        assert (blue > 200, green, red > 200) == (True, 0, True)
        assert picture[75, offset + 65].tolist() == [0, 0, 0]


def test_box_of_a_tiny_frame_is_enlarged_with_it():
    picture = draw_frame(np.zeros((24, 32, 6), np.uint8), np.array([4, 5, 20, 10]))[BAR:]
    assert picture[100, 40].tolist() == list(PREDICTED)
    assert picture[100, 320 + 240].tolist() == list(PREDICTED)
    assert picture[100, 140].tolist() == [0, 0, 0]


@pytest.mark.parametrize("box", [[np.nan] * 4, [-1e9, 5, 2e9, 4], [5000, 5000, 3, 3]], ids=str)
def test_boxes_that_are_unknown_or_far_away_do_no_harm(box):
    picture = draw_frame(colored(), BOX, true_box_xywh=np.array(box))
    assert picture.shape == (180 + BAR, 480, 3)


def test_each_panel_has_its_name_and_the_caption_hides_nothing_of_the_frame():
    bare, with_caption = (draw_frame(colored(), BOX, caption) for caption in ("", "frame 7  score 0.500"))
    names, caption = bare[: BAR // 2], with_caption[BAR // 2 : BAR]
    assert names[:, :240].any()
    assert names[:, 240:].any()
    assert not bare[BAR // 2 : BAR].any()
    assert caption.any()
    assert np.array_equal(bare[BAR:], with_caption[BAR:])
    assert not np.array_equal(names, draw_frame(colored(), BOX, modality="rgbd")[: BAR // 2])  # thermal, depth


def test_long_caption_of_a_narrow_video_is_written_smaller():
    caption = "frame 123456  score 0.123  lost  without RGB and X" * 2
    picture = draw_frame(np.zeros((500, 321, 3), np.uint8), BOX, caption)
    assert not picture[:BAR, -6:].any()
    assert picture[BAR // 2 : BAR, 250:315].any()


def test_frame_is_left_as_it_was():
    frame = colored()
    draw_frame(frame, BOX, "caption", BOX)
    assert np.array_equal(frame, colored())


@pytest.mark.parametrize("fps", [25.0, 30000 / 1001, 7.5, 0.5])
def test_video_has_every_frame_at_its_rate(tmp_path, codec, fps):
    path = tmp_path / "new" / "overlay.mp4"
    write(path, [colored(61, 81)] * 7, fps)
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 7
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(fps, rel=1e-4)
    fourcc = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little")
    assert fourcc == {"h264": b"h264", "mpeg4": b"FMP4"}[codec]
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    assert len(frames) == 7
    assert frames[0].shape == (61 * 3 + BAR + 1, 81 * 3 * 2, 3)
    blue, green, red = frames[0][-20, 20].tolist()
    assert red > 200
    assert blue < 60
    assert green < 60


@needs_h264
@pytest.mark.parametrize("fps", [29.97002997, 24.0, 1000.0, 1 / 60, 59.94, 1 / 3600], ids=str)
def test_h264_is_as_long_as_its_frames_last(tmp_path, fps):
    path = tmp_path / "overlay.mp4"
    write(path, [colored(60, 80)] * 6, fps)
    with module.av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt, stream.frames) == ("h264", "yuv420p", 6)
        assert float(stream.duration * stream.time_base) == pytest.approx(6 / fps, rel=1e-3)
        assert float(stream.average_rate) == pytest.approx(fps, rel=1e-3)
        if fps == 29.97002997:
            assert stream.average_rate == Fraction(30000, 1001)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays while it is loaded


def test_without_pyav_it_is_said_that_no_browser_plays_it(tmp_path, caplog, codec):
    with caplog.at_level(logging.WARNING):
        write(tmp_path / "overlay.mp4", [colored(60, 80)])
    assert ("pip install av" in caplog.text) == (codec == "mpeg4")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError], ids=["ctrl-c", "error"])
def test_interrupted_video_leaves_the_old_one(tmp_path, codec, error):
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


@contextmanager
def file_size_limit(size):
    """What a full disk does, for this process: no file can be written beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("count", "room"), [(40, 200_000), (1, 3_000)], ids=["while-writing", "at-the-end"])
def test_full_disk_is_an_error_that_names_the_video_and_keeps_the_old_one(tmp_path, codec, count, room):
    path = tmp_path / "overlay.mp4"
    path.write_bytes(b"old")
    with file_size_limit(room), pytest.raises(OSError, match=r"can't write video .*overlay\.mp4.*--no-video"):
        write(path, [noise(seed=k) for k in range(count)])
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["overlay.mp4"]


@needs_h264
def test_picture_that_the_encoder_refuses_is_an_error_that_names_the_video(tmp_path):
    with pytest.raises(OSError, match=r"can't write video .*o\.mp4"):
        write(tmp_path / "o.mp4", [np.zeros((2, 17000, 3), np.uint8)], modality="rgb")


def test_frame_of_another_size_is_refused(tmp_path, codec):
    with pytest.raises(ValueError, match="follows one of"):
        write(tmp_path / "o.mp4", [colored(60, 80), colored(80, 60)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fps", [0, -1.0, float("nan"), float("inf")], ids=str)
def test_fps_must_be_positive(tmp_path, fps):
    with pytest.raises(ValueError, match=f"fps must be > 0, got {fps}"):
        OverlayVideo(tmp_path / "o.mp4", "rgbt", fps=fps)


def test_encoder_that_is_not_there_is_an_error_naming_the_video(tmp_path, monkeypatch):
    class Closed:
        def __init__(self, *_):
            pass

        def isOpened(self):
            return False

    monkeypatch.setattr(module, "av", None)
    monkeypatch.setattr(cv2, "VideoWriter", Closed)
    with pytest.raises(OSError, match=r"can't write video .*o\.mp4: OpenCV has no MPEG-4 encoder"):
        write(tmp_path / "o.mp4", [colored()])
    assert not list(tmp_path.iterdir())
