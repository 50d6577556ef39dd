"""tracking/test.py from its command line: data set, recording, and one clear error for every bad input."""

import errno
import json
import logging
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from commands import load_command
from lib.datasets.missing import read_masks
from lib.datasets.recordings import load_pair
from lib.inference.runner import doubts
from patrack import Tracker
from patrack.config import project_path
from patrack.recordings.overlay import OverlayVideo
from small_models import CEA, TRACKED

SMALL = (*TRACKED, CEA)
FIRST = "6.0,5.0,12.0,10.0"
RESUME = Tracker.resume


main = load_command("tracking/test.py").main


def write_images(folder, count=4, size=(24, 32)):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        cv2.imwrite(str(folder / f"{i:03d}.png"), rng.integers(0, 256, (*size, 3), dtype=np.uint8))


@pytest.fixture
def pair(tmp_path):
    write_images(tmp_path / "clip" / "rgb")
    write_images(tmp_path / "clip" / "x")
    return tmp_path / "clip"


@pytest.fixture
def benchmark(tmp_path):
    root = tmp_path / "bench"
    for name in ("one", "two"):
        write_images(root / name / "rgb")
        write_images(root / name / "x")
        (root / name / "groundtruth.txt").write_text(f"{FIRST}\n" * 4)
    (root / "dataset.yaml").write_text("modality: rgbt\n")
    (root / "test.txt").write_text("one\ntwo\n")
    return root


def recording(pair, output, *more, x="x", box=FIRST, config="rgbt_tiny"):
    x = x if x == "none" else str(pair / x)
    options = ["--config", config, "--rgb", str(pair / "rgb"), "--x", x, "--output", str(output), "--device", "cpu"]
    return [*options, *(["--box", box] if box else []), "--checkpoint", "none", *more, *SMALL]


def dataset(root, output, *more):
    options = ["--config", "rgbt_tiny", "--dataset", "folder", "--root", str(root), "--output", str(output)]
    return [*options, "--checkpoint", "none", "--device", "cpu", *more, *SMALL]


def rows(path):
    return np.loadtxt(path, delimiter=",").tolist()


def failure(arguments, caplog):
    """The one error message of a failing run."""
    with caplog.at_level(logging.ERROR):
        assert main(arguments) == 1
    return caplog.text


def test_recording_gives_boxes_scores_and_video(pair, tmp_path, capsys):
    assert main(recording(pair, tmp_path / "out")) == 0
    boxes = rows(tmp_path / "out" / "boxes.txt")
    assert boxes[0] == [6, 5, 12, 10]
    assert np.shape(boxes) == (4, 4)
    assert len(rows(tmp_path / "out" / "scores.txt")) == 4
    capture = cv2.VideoCapture(str(tmp_path / "out" / "overlay.mp4"))
    assert sum(1 for _ in iter(capture.grab, False)) == 4
    assert capture.get(cv2.CAP_PROP_FPS) == 25
    said = capsys.readouterr().out
    assert "4 frames" in said
    out = tmp_path / "out"
    listed = [f"file: {out / name}" for name in ("boxes.txt", "scores.txt", "times.txt", "track.csv", "overlay.mp4")]
    assert said.splitlines()[-6:] == [f"results: {out}", *listed]
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["run.json", *(line.split("/")[-1] for line in listed)]
    )


def table(path):
    """Columns of a track.csv by name."""
    return np.genfromtxt(path, delimiter=",", names=True)


def test_track_says_what_the_other_files_say(pair, tmp_path, caplog):
    out = tmp_path / "out"
    with caplog.at_level(logging.INFO):
        assert main(recording(pair, out)) == 0
    assert "25 frames per second are taken; --fps gives others" in caplog.text
    track = table(out / "track.csv")
    assert track["frame"].tolist() == [0, 1, 2, 3]
    assert np.allclose(track["time"], [0, 0.04, 0.08, 0.12])
    assert np.stack([track[name] for name in "xywh"], axis=1).tolist() == rows(out / "boxes.txt")
    assert track["score"].tolist() == rows(out / "scores.txt")
    assert track["lost"].tolist() == [float(score < 0.3) for score in rows(out / "scores.txt")]


@pytest.mark.parametrize(
    ("options", "fps", "times"),
    [([], 4, [0, 0.25, 0.5, 0.75]), (["--fps", "50"], 50, [0, 0.25, 0.5, 0.75])],
    ids=["as-the-names-say", "asked-for"],
)
def test_times_in_names_are_those_of_track_and_give_the_rate_of_the_video(pair, tmp_path, options, fps, times):
    for folder in ("rgb", "x"):
        for number, path in enumerate(sorted((pair / folder).iterdir())):
            path.rename(path.with_name(f"{1688123455 + number / 4:.3f}.png"))
    assert main(recording(pair, tmp_path / "out", *options)) == 0
    assert cv2.VideoCapture(str(tmp_path / "out" / "overlay.mp4")).get(cv2.CAP_PROP_FPS) == fps
    assert np.allclose(table(tmp_path / "out" / "track.csv")["time"], times)


def test_rate_asked_for_gives_the_times_where_nothing_else_does(pair, tmp_path):
    assert main(recording(pair, tmp_path / "out", "--fps", "10")) == 0
    assert cv2.VideoCapture(str(tmp_path / "out" / "overlay.mp4")).get(cv2.CAP_PROP_FPS) == 10
    assert np.allclose(table(tmp_path / "out" / "track.csv")["time"], [0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize("fps", ["0", "-5", "nan", "inf"])
def test_impossible_rate_is_refused_before_anything_is_loaded(pair, tmp_path, caplog, fps):
    message = failure(recording(pair, tmp_path / "out", "--fps", fps, config="nowhere"), caplog)
    assert f"--fps must be frames per second, above 0, got {float(fps):g}" in message


def test_video_can_be_left_out(pair, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(OverlayVideo, "__init__", None)  # not even begun
    assert main(recording(pair, tmp_path / "out", "--no-video")) == 0
    written = ["boxes.txt", "run.json", "scores.txt", "times.txt", "track.csv"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == written
    assert "overlay.mp4" not in capsys.readouterr().out


def test_video_that_fails_is_an_error_that_keeps_the_rows_and_the_earlier_result(pair, tmp_path, caplog, monkeypatch):
    out = tmp_path / "out"
    assert main(recording(pair, out)) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.name != "run.json"}
    with monkeypatch.context() as patch:
        patch.setattr("patrack.recordings.overlay.av", None)
        patch.setattr("patrack.recordings.overlay._Mpeg4.write", no_room)
        message = failure(recording(pair, out), caplog)
    assert f"can't write video {out / 'overlay.mp4'}: No space left on device" in message
    assert "--no-video" in message
    now = {path.name: path.read_bytes() for path in out.iterdir() if path.name not in ("run.json", "partial.csv")}
    assert now == before
    assert main(recording(pair, out, "--no-video")) == 0
    assert (out / "boxes.txt").read_bytes() == before["boxes.txt"]


def no_room(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_same_recording_again_gives_the_same_and_another_box_needs_overwrite(pair, tmp_path, caplog):
    out = tmp_path / "out"
    assert main(recording(pair, out)) == 0
    first = (out / "boxes.txt").read_text()
    assert main(recording(pair, out)) == 0
    assert (out / "boxes.txt").read_text() == first
    assert "box_xywh" in failure(recording(pair, out, box="5,5,9,9"), caplog)
    assert (out / "boxes.txt").read_text() == first
    assert main(recording(pair, out, "--overwrite", box="5,5,9,9")) == 0
    assert rows(out / "boxes.txt")[0] == [5, 5, 9, 9]


def test_recording_without_x_runs_the_base_model_on_rgb(pair, tmp_path):
    assert main(recording(pair, tmp_path / "out", x="none")) == 0
    assert len(rows(tmp_path / "out" / "boxes.txt")) == 4


def test_ground_truth_is_compared_at_its_stride(pair, tmp_path, capsys):
    truth = tmp_path / "truth.txt"
    truth.write_text(f"{FIRST}\n0,0,4,4\n")
    options = ["--ground-truth", str(truth), "--box-step", "2"]
    assert main(recording(pair, tmp_path / "out", *options, box=None)) == 0
    assert rows(tmp_path / "out" / "boxes.txt")[0] == [6, 5, 12, 10]
    assert "over 1 annotated frames after the first" in capsys.readouterr().out


def test_videos_are_recordings_too(tmp_path):
    for name in ("rgb", "x"):
        writer = cv2.VideoWriter(str(tmp_path / f"{name}.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))
        for value in range(5):
            writer.write(np.full((48, 64, 3), 40 * value, np.uint8))
        writer.release()
    arguments = recording(tmp_path, tmp_path / "out", x="x.mp4")
    arguments[arguments.index("--rgb") + 1] = str(tmp_path / "rgb.mp4")
    assert main(arguments) == 0
    assert len(rows(tmp_path / "out" / "boxes.txt")) == 5
    assert cv2.VideoCapture(str(tmp_path / "out" / "overlay.mp4")).get(cv2.CAP_PROP_FPS) == 10
    assert np.allclose(table(tmp_path / "out" / "track.csv")["time"], [0, 0.1, 0.2, 0.3, 0.4])


def test_data_set_gives_one_result_per_sequence_and_goes_on(benchmark, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(dataset(benchmark, out, "--sequences", "one")) == 0
    assert sorted(path.name for path in out.iterdir()) == ["one.txt", "one_scores.txt", "one_times.txt", "run.json"]
    assert main(dataset(benchmark, out)) == 0
    assert "1 tracked, 1 kept from before, 0 failed" in capsys.readouterr().out
    assert len(rows(out / "two.txt")) == 4


def test_sequences_in_one_batch_give_what_they_give_alone(benchmark, tmp_path):
    assert main(dataset(benchmark, tmp_path / "alone", "--threads", "1")) == 0
    assert main(dataset(benchmark, tmp_path / "batch", "--batch", "2")) == 0
    for name in ("one", "two"):
        alone, batch = (np.array(rows(tmp_path / folder / f"{name}.txt")) for folder in ("alone", "batch"))
        assert np.abs(alone - batch).max() < 0.01


def test_another_precision_is_another_run(benchmark, tmp_path, caplog):
    assert main(dataset(benchmark, tmp_path / "out")) == 0
    arguments = dataset(benchmark, tmp_path / "out", "test.precision=bf16")
    assert "test.precision: 'fp32' -> 'bf16'" in failure(arguments, caplog)
    assert main([*arguments, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(["--batch", "2", "--workers", "2"], "--batch 2 and --workers 2 don't go together", id="both"),
        pytest.param(["--batch", "0"], "--batch must be at least 1, got 0", id="no-batch"),
        pytest.param(["--threads", "-1"], "--threads must be at least 1, got -1", id="no-threads"),
        pytest.param(["--workers", "0"], "--workers must be at least 1, got 0", id="no-workers"),
    ],
)
def test_impossible_divisions_of_the_machine_are_refused(benchmark, tmp_path, caplog, options, message):
    assert message in failure(dataset(benchmark, tmp_path / "out", *options), caplog)


def test_results_of_other_weights_are_not_continued(benchmark, tmp_path, caplog):
    out = tmp_path / "out"
    assert main(dataset(benchmark, out)) == 0
    assert "weights_sha256" in failure(dataset(benchmark, out, "--seed", "7"), caplog)
    assert main(dataset(benchmark, out, "--seed", "7", "--overwrite")) == 0


def test_failed_sequence_gives_exit_code_1_and_the_others_are_kept(benchmark, tmp_path, caplog, capsys):
    (benchmark / "one" / "x" / "002.png").write_bytes(b"broken")
    message = failure(dataset(benchmark, tmp_path / "out"), caplog)
    assert "002.png" in message
    assert "failed: one" in capsys.readouterr().out
    assert len(rows(tmp_path / "out" / "two.txt")) == 4
    assert not (tmp_path / "out" / "one.txt").exists()


def test_ctrl_c_gives_exit_code_130(benchmark, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("patrack.tracker.Tracker.track", interrupted)
    assert main(dataset(benchmark, tmp_path / "out")) == 130
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["run.json"]


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "--dataset lasher" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--config", "rgbt_tiny"], id="no-input"),
        pytest.param(["--config", "rgbt_tiny", "--rgb", "a", "--x", "b", "--dataset", "lasher"], id="both"),
        pytest.param(["--dataset", "lasher"], id="no-config"),
    ],
)
def test_wrong_command_line_gives_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "given", "named"),
    [
        (["--dataset", "lasher"], ["--no-video", "--fps", "10"], "--fps, --no-video would do nothing with --dataset"),
        (["--dataset", "lasher"], ["--box", "1,2,3,4"], "--box would do nothing with --dataset"),
        (["--rgb", "a", "--x", "b"], ["--batch", "4"], "--batch would do nothing with --rgb"),
        (["--rgb", "a"], ["--sequences", "one", "--data-root", "d"], "--data-root, --sequences would do nothing"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_options_that_would_do_nothing_are_refused(capsys, source, given, named):
    with pytest.raises(SystemExit) as caught:
        main(["--config", "rgbt_tiny", *source, *given])
    assert caught.value.code == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize(
    ("box", "message"),
    [
        pytest.param("", "give --box x,y,w,h", id="empty"),
        pytest.param("1,2,3", "--box must be four numbers x,y,w,h", id="three-numbers"),
        pytest.param("a,b,c,d", "--box must be four numbers x,y,w,h", id="text"),
        pytest.param("6,5,0,10", "w > 0 and h > 0", id="zero-area"),
        pytest.param("100,100,5,5", "outside the image of 32 x 24", id="outside"),
        pytest.param("nan,5,5,5", "four finite numbers", id="nan"),
    ],
)
def test_bad_first_box(pair, tmp_path, caplog, box, message):
    assert message in failure(recording(pair, tmp_path / "out", box=box), caplog)
    assert not (tmp_path / "out" / "boxes.txt").exists()


def test_corrected_box_needs_no_overwrite_when_the_bad_one_gave_no_result(pair, tmp_path, caplog):
    failure(recording(pair, tmp_path / "out", box="6,5,0,10"), caplog)
    assert main(recording(pair, tmp_path / "out")) == 0


def test_overwrite_that_fails_leaves_no_result_of_the_old_run_under_the_new_name(pair, tmp_path, caplog):
    assert main(recording(pair, tmp_path / "out")) == 0
    (pair / "rgb" / "002.png").write_bytes(b"broken")
    failure(recording(pair, tmp_path / "out", "--overwrite", box="5,5,9,9"), caplog)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["partial.csv", "run.json"]
    first, *more = (tmp_path / "out" / "partial.csv").read_text().splitlines()
    assert first.startswith("5.0,5.0,9.0,9.0,1.0,")
    assert len(more) == 1


def test_device_that_is_not_there_is_an_error(pair, tmp_path, caplog):
    assert "--device 'cuda:99' can't be used" in failure(
        recording(pair, tmp_path / "out", "--device", "cuda:99"), caplog
    )


def test_rgb_goes_on_alone_where_an_x_frame_is_missing(pair, tmp_path, caplog):
    (pair / "x" / "003.png").unlink()
    assert main(recording(pair, tmp_path / "out")) == 0
    assert "3 of 4 RGB frames paired by number; 1 have no X frame" in caplog.text
    assert len(rows(tmp_path / "out" / "boxes.txt")) == 4


def test_pairing_can_be_chosen(pair, tmp_path, caplog):
    (pair / "x" / "001.png").unlink()
    (pair / "rgb" / "003.png").unlink()
    assert main(recording(pair, tmp_path / "index", "--pair", "index")) == 0
    assert "paired by" not in caplog.text
    assert main(recording(pair, tmp_path / "name", "--pair", "name")) == 0
    assert "2 of 3 RGB frames paired by name" in caplog.text
    assert "not all names hold one" in failure(recording(pair, tmp_path / "time", "--pair", "time"), caplog)


def test_pair_without_x_is_an_error_and_an_rgb_experiment_needs_none(pair, tmp_path, caplog):
    words = recording(pair, tmp_path / "out", x="none")
    del words[words.index("--x") : words.index("--x") + 2]
    assert "rgbt_tiny needs --x" in failure(words, caplog)
    alone = recording(pair, tmp_path / "out", x="none", config="rgb_tiny")
    del alone[alone.index("--x") : alone.index("--x") + 2]
    assert main([word for word in alone if "adapters" not in word]) == 0


@pytest.mark.parametrize(
    ("box", "warning"),
    [("0.2,0.2,0.4,0.4", "is it normalized"), ("6,5,30,20", "Then give 6,5,24,15"), (FIRST, None)],
    ids=["normalized", "corners", "good"],
)
def test_box_that_looks_like_another_form_is_a_warning(pair, tmp_path, caplog, box, warning):
    assert main(recording(pair, tmp_path / "out", box=box)) == 0
    said = [line for line in caplog.messages if line.startswith("box")]
    assert (warning in said[0]) if warning else not said


def test_swapped_sensors_are_a_warning(pair, tmp_path, caplog):
    for path in (pair / "rgb").iterdir():
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    assert main(recording(pair, tmp_path / "out")) == 0
    assert "are --rgb and --x swapped?" in caplog.text


def sixteen_bits(kind, size=(24, 32)):
    """X of a camera, (H, W) uint16."""
    rng = np.random.default_rng(1)
    slope = np.linspace(0, 1, size[1])[None] + rng.uniform(0, 0.02, size)
    holes = rng.random(size) < 0.05
    return {
        "millimeters": np.where(holes, 0, 800 + 2500 * slope),
        "far-millimeters": np.where(holes, 65535, 500 + 9000 * slope),
        "raw-counts": 7200 + 600 * slope,
        "raw-counts-with-dead-pixels": np.where(holes, 0, 7200 + 600 * slope),
        "centikelvins": np.where(holes, 0, 29000 + 1500 * slope),
        "stretched": np.where(holes, 0, 65535 * np.minimum(slope, 1)),
        "stretched-14-bits": np.where(holes, 0, 16383 * np.minimum(slope, 1)),
        "without-holes": 800 + 2500 * slope,
        "black": np.zeros(size),
    }[kind].astype(np.uint16)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("millimeters", True),
        ("far-millimeters", True),
        ("raw-counts", False),
        ("raw-counts-with-dead-pixels", False),
        ("centikelvins", False),
        ("stretched", False),
        ("stretched-14-bits", False),
        ("without-holes", False),
        ("black", False),
    ],
)
def test_depth_in_millimeters_is_told_from_thermal_counts(pair, tmp_path, kind, told):
    for path in (pair / "x").iterdir():
        cv2.imwrite(str(path), sixteen_bits(kind))
    box = np.array([6.0, 5, 12, 10])
    said = [line for line in doubts(load_pair(pair / "rgb", pair / "x", "rgbt"), box) if "flat color" not in line]
    assert (["rgbd_* --config" in line for line in said] == [True]) if told else not said
    if told:
        assert str(pair / "x" / "000.png") in said[0]
    flat = ["flat color" in line for line in doubts(load_pair(pair / "rgb", pair / "x", "rgbd"), box)]
    assert flat == ([True] if kind == "black" else [])


def test_margin_of_a_small_target_fits_it_and_benchmarks_keep_theirs(pair, benchmark, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        assert main(recording(pair, tmp_path / "out", box="6,5,4,6")) == 0
    assert "test.clip_margin is 2 instead of 10" in caplog.text
    assert json.loads((tmp_path / "out" / "run.json").read_text())["identity"]["test"]["clip_margin"] == 2
    (benchmark / "one" / "groundtruth.txt").write_text("6,5,4,6\n" * 4)
    assert main(dataset(benchmark, tmp_path / "set")) == 0
    assert "1 of 2 sequences begin with a target smaller than 10 pixels" in caplog.text
    assert json.loads((tmp_path / "set" / "run.json").read_text())["identity"]["test"]["clip_margin"] == 10


def test_progress_of_a_run_without_a_terminal_is_a_few_lines(pair, tmp_path):
    command = [sys.executable, "tracking/test.py", *recording(pair, tmp_path / "out")]
    done = subprocess.run(command, cwd=project_path(), capture_output=True, text=True, check=True)
    assert 1 <= done.stderr.count("/4 [") <= 3  # bars begin anew with a carriage return


def test_box_may_be_four_words(pair, tmp_path):
    words = recording(pair, tmp_path / "out", "--box", *FIRST.split(","), box=None)
    assert main(words) == 0
    assert rows(tmp_path / "out" / "boxes.txt")[0] == [float(value) for value in FIRST.split(",")]


def stop_at(count):
    """A method that is stopped by Ctrl-C in its call of this number."""
    calls = iter(range(1, count))

    def write(self, *_):
        if next(calls, None) is None:
            raise KeyboardInterrupt

    return write


@pytest.mark.parametrize("stop", ["bad frame", "signal", "row cut off", "templates"])
def test_interrupted_recording_goes_on_to_the_same_boxes(pair, tmp_path, caplog, monkeypatch, stop):
    whole, out = tmp_path / "whole", tmp_path / "out"
    update = "test.template_update={interval: 1, threshold: 0}"
    settings = ["model.templates=2", update] if stop == "templates" else []
    assert main(recording(pair, whole, *settings)) == 0
    assert not (whole / "partial.csv").exists()
    good = (pair / "rgb" / "003.png").read_bytes()
    (pair / "rgb" / "003.png").write_bytes(b"broken")
    with caplog.at_level(logging.INFO):
        if stop == "signal":
            with monkeypatch.context() as patch:
                patch.setattr(OverlayVideo, "write", stop_at(3))
                assert main(recording(pair, out, *settings)) == 130
        else:
            assert "kept in" in failure(recording(pair, out, *settings), caplog)
        partial = out / "partial.csv"
        assert len(partial.read_text().splitlines()) == 3
        if stop == "row cut off":
            partial.write_text(partial.read_text()[:-9])
        (pair / "rgb" / "003.png").write_bytes(good)
        calls = []
        monkeypatch.setattr(Tracker, "resume", lambda self, *where: calls.append(where) or RESUME(self, *where))
        assert main(recording(pair, out, *settings)) == 0
    assert len(calls) == (1 if stop == "row cut off" else 2)  # frames after the first
    assert f"going on behind frame {len(calls)}" in caplog.text
    for name in ("boxes.txt", "scores.txt", "track.csv"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert cv2.VideoCapture(str(out / "overlay.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 4
    assert not partial.exists()


@pytest.mark.parametrize("content", ["1,2,3\n", "a,b,c,d,e,f\n", "1,2,3,4,5,nan\n"])
def test_partial_result_of_another_kind_is_an_error(pair, tmp_path, caplog, content):
    (pair / "rgb" / "003.png").write_bytes(b"broken")
    failure(recording(pair, tmp_path / "out"), caplog)
    caplog.clear()
    (tmp_path / "out" / "partial.csv").write_text(content)
    assert "partial.csv:1: expected x,y,w,h,score,seconds" in failure(recording(pair, tmp_path / "out"), caplog)


def test_rgb_and_x_of_different_size(pair, tmp_path, caplog):
    write_images(pair / "small", size=(12, 16))
    assert "differ in size" in failure(recording(pair, tmp_path / "out", x="small"), caplog)


def test_unreadable_image_in_the_middle_of_a_recording_leaves_the_earlier_result(pair, tmp_path, caplog):
    assert main(recording(pair, tmp_path / "out")) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("[bsot]*")}
    (pair / "rgb" / "002.png").write_bytes(b"broken")
    assert "002.png" in failure(recording(pair, tmp_path / "out"), caplog)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("[bsot]*")} == before
    assert not list((tmp_path / "out").glob(".tmp*"))


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        pytest.param("--config", "rgbt_tinny", "did you mean 'rgbt_tiny'", id="config"),
        pytest.param("--dataset", "lascher", "unknown data set 'lascher' (nearest: 'lasher')", id="dataset"),
        pytest.param("--split", "tset", "no split 'tset'", id="split"),
        pytest.param("--sequences", "oen", "nearest: 'one'", id="sequence"),
        pytest.param("--checkpoint", "nowhere.safetensors", "nowhere.safetensors", id="checkpoint"),
        pytest.param("--root", "nowhere", "no folder nowhere", id="root"),
    ],
)
def test_unknown_names_are_errors_with_a_hint(benchmark, tmp_path, caplog, flag, value, message):
    assert message in failure(dataset(benchmark, tmp_path / "out", flag, value), caplog)


def test_unknown_setting_is_an_error(benchmark, tmp_path, caplog):
    assert "test.windo" in failure([*dataset(benchmark, tmp_path / "out"), "test.windo=false"], caplog)


def test_settings_after_sequences_are_settings(benchmark, tmp_path):
    assert main([*dataset(benchmark, tmp_path / "out"), "--sequences", "one", "test.window=false"]) == 0
    assert not (tmp_path / "out" / "two.txt").exists()


def test_data_set_of_another_modality_is_an_error(benchmark, tmp_path, caplog):
    (benchmark / "dataset.yaml").write_text("modality: rgbe\n")
    assert "is for rgbt, data set folder is rgbe" in failure(dataset(benchmark, tmp_path / "out"), caplog)


def test_output_that_can_not_be_written_is_an_error(benchmark, tmp_path, caplog):
    (tmp_path / "file").write_text("mine")
    assert "--output" in failure(dataset(benchmark, tmp_path / "file" / "out"), caplog)
    assert (tmp_path / "file").read_text() == "mine"


def test_rgb_config_with_x_is_an_error(pair, tmp_path, caplog):
    arguments = [item for item in recording(pair, tmp_path / "out", config="rgb_tiny") if "adapters" not in item]
    assert "give --x none" in failure(arguments, caplog)


def masks(path, **rows):
    path.write_text(json.dumps({name: {"frames": len(data), "data": data} for name, data in rows.items()}))
    return str(path)


FULL, NO_X, NO_RGB, NOTHING = [1, 1], [1, 0], [0, 1], [0, 0]


def test_masks_of_missing_streams_change_the_results_and_belong_to_what_identifies_them(benchmark, tmp_path, caplog):
    complete, out = tmp_path / "complete", tmp_path / "out"
    file = masks(tmp_path / "m.json", one=[FULL, NO_X, NOTHING, NO_RGB], two=[NO_X, NO_X, NO_X, NO_X])
    assert main(dataset(benchmark, complete)) == 0
    assert main(dataset(benchmark, out, "--missing", file)) == 0
    scores = np.loadtxt(out / "one_scores.txt")
    assert scores[2] == 0
    assert (scores[[0, 1, 3]] > 0).all()
    boxes = rows(out / "one.txt")
    assert boxes[2] == boxes[1]
    assert "missing" in json.loads((out / "run.json").read_text())["identity"]
    assert "missing" not in json.loads((complete / "run.json").read_text())["identity"]
    assert main(dataset(benchmark, out, "--missing", file)) == 0  # the same run goes on
    other = masks(tmp_path / "other.json", one=[FULL] * 4, two=[FULL] * 4)
    assert "another run" in failure(dataset(benchmark, out, "--missing", other), caplog)
    assert "another run" in failure(dataset(benchmark, out), caplog)
    assert "another run" in failure(dataset(benchmark, complete, "--missing", file), caplog)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"one": [FULL] * 4}, "no mask for 1 of 2 sequences: two"),
        ({"one": [FULL] * 4, "two": [FULL] * 3}, "the mask of two has 3 rows, the sequence 4 frames"),
        ({"one": [FULL] * 4, "two": [NOTHING] * 4}, "two lacks both streams in frame 0"),
        ({"one": [FULL] * 3 + [[1, 7]], "two": [FULL] * 4}, "sequence one, row 3"),
    ],
)
def test_masks_that_do_not_suit_are_an_error_before_anything_is_tracked(benchmark, tmp_path, caplog, rows, message):
    out = tmp_path / "out"
    assert message in failure(dataset(benchmark, out, "--missing", masks(tmp_path / "m.json", **rows)), caplog)
    assert not out.exists()


def test_recording_with_a_mask_of_its_name_or_with_the_only_one(pair, tmp_path, caplog):
    mask = [NO_RGB, NOTHING, NO_X, FULL]
    only = masks(tmp_path / "only.json", whatever=mask)
    named = masks(tmp_path / "named.json", other=[FULL], clip=mask)
    assert main(recording(pair, tmp_path / "a", "--missing", only)) == 0
    assert main(recording(pair, tmp_path / "b", "--missing", named)) == 0
    assert (tmp_path / "a" / "boxes.txt").read_text() == (tmp_path / "b" / "boxes.txt").read_text()
    assert np.loadtxt(tmp_path / "a" / "scores.txt")[1] == 0
    neither = masks(tmp_path / "neither.json", other=[FULL], another=[FULL])
    message = failure(recording(pair, tmp_path / "c", "--missing", neither), caplog)
    assert "no mask for 1 of 1 sequences: clip" in message


def test_a_rate_draws_masks_that_lie_beside_the_results_and_repeat_them(benchmark, tmp_path, caplog):
    out, again, seeded = tmp_path / "out", tmp_path / "again", tmp_path / "seeded"
    rate = ["--missing", "either:0.67", "--gap", "1"]
    assert main(dataset(benchmark, out, *rate, "--sequences", "two")) == 0
    assert list(read_masks(out / "missing.json")) == ["two"]
    assert main(dataset(benchmark, out, *rate)) == 0  # the rest of the same run
    kept = read_masks(out / "missing.json")
    assert sorted(kept) == ["one", "two"]
    assert all((~mask).sum() == 2 and mask[0].all() and mask.any(axis=1).all() for mask in kept.values())
    assert json.loads((out / "run.json").read_text())["identity"]["missing"] == "either:0.67, gaps of 1 frames, seed 0"
    assert main(dataset(benchmark, again, "--missing", str(out / "missing.json"))) == 0  # by somebody else
    for name in ("one", "two"):
        assert (again / f"{name}.txt").read_text() == (out / f"{name}.txt").read_text()
    message = failure(dataset(benchmark, out, *rate, "--seed", "3"), caplog)
    assert "'either:0.67, gaps of 1 frames, seed 0' -> 'either:0.67, gaps of 1 frames, seed 3'" in message
    assert main(dataset(benchmark, seeded, *rate, "--seed", "3")) == 0
    assert main(dataset(benchmark, seeded, "--overwrite")) == 0  # another run takes the masks of this one away
    assert not (seeded / "missing.json").exists()


def test_a_recording_takes_a_rate_and_keeps_its_mask(pair, tmp_path, caplog):
    assert main(recording(pair, tmp_path / "a", "--missing", "x:1", "--no-video")) == 0
    assert read_masks(tmp_path / "a" / "missing.json")["clip"].tolist() == [[True, False]] * 4
    assert "another run" in failure(recording(pair, tmp_path / "a", "--missing", "x:0.5", "--no-video"), caplog)
    assert "another run" in failure(recording(pair, tmp_path / "a", "--no-video"), caplog)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--missing", "x:2"], "--missing x:2: share of missing frames must lie in [0, 1], got 2.0"),
        (["--missing", "ir:0.5"], "stream must be one of rgb, x, either, got 'ir'"),
        (["--missing", "nowhere.json"], "--missing nowhere.json: there is no such file"),
        (["--gap", "3"], "--gap 3 would do nothing without --missing RATE"),
    ],
)
def test_missing_that_means_nothing_is_an_error(benchmark, tmp_path, caplog, more, message):
    assert message in failure(dataset(benchmark, tmp_path / "out", *more), caplog)
    assert not (tmp_path / "out").exists()


def test_masks_of_unknown_sequences_and_of_a_stream_that_nobody_looks_at_are_said(benchmark, tmp_path, caplog):
    file = masks(tmp_path / "m.json", one=[FULL] * 4, two=[FULL] * 4, three=[FULL] * 4)
    with caplog.at_level(logging.WARNING):
        assert main(dataset(benchmark, tmp_path / "a", "--missing", file, "model.streams=x")) == 0
    assert "1 of its masks are left aside, as folder, split test, doesn't have these sequences: three" in caplog.text
    assert "changes nothing: rgbt_tiny looks at X alone" in caplog.text
