"""The package as a library: images in memory, several targets, whole videos, adapters by name."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import patrack
from patrack import MultiTracker, Tracker
from patrack.adapters import TrackingModel
from patrack.modality import x_to_three_channels
from patrack.tensorfiles import read_tensors, write_tensors
from patrack.video import modality_of_x
from patrack.weights import WeightsError

BOX = (52.0, 40.0, 24.0, 20.0)


def images(count: int = 4) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """RGB (H, W, 3) and thermal (H, W) of a bright square that moves over noise."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 90, (120, 160, 3), dtype=np.uint8)
    rgb, x = [], []
    for k in range(count):
        frame = noise.copy()
        frame[40 + k : 60 + k, 52 + 2 * k : 76 + 2 * k] = (220, 180, 60)
        rgb.append(frame)
        x.append(np.where(frame[:, :, 0] > 200, 230, frame[:, :, 1] // 2).astype(np.uint8))
    return rgb, x


RGB, X = images()


@pytest.fixture(scope="module")
def tracker() -> Tracker:
    return Tracker.from_pretrained("rgbt_tiny")


def rows(tracker: Tracker, rgb: list[np.ndarray], x: list[np.ndarray | None]) -> np.ndarray:
    """Boxes and scores of all frames, (N, 5)."""
    found = [tracker.initialize(rgb[0], x[0], BOX)]
    found += [tracker.track(a, b) for a, b in zip(rgb[1:], x[1:], strict=True)]
    return np.array([[*box, score] for box, score in found])


@pytest.fixture(scope="module")
def expected(tracker: Tracker) -> np.ndarray:
    return rows(tracker, RGB, X)


# ---- Images


def test_two_images_and_one_array_are_the_same_frame(tracker, expected):
    whole = [np.dstack([a, x_to_three_channels(b, "thermal")]) for a, b in zip(RGB, X, strict=True)]
    tracker.initialize(whole[0], BOX)
    assert np.array_equal([[*box, score] for box, score in map(tracker.track, whole[1:])], expected[1:])


def test_images_of_opencv_are_said_to_be_b_g_r(expected):
    backwards = [image[:, :, ::-1] for image in RGB]
    assert np.array_equal(rows(Tracker.from_pretrained("rgbt_tiny", bgr=True), backwards, X), expected)
    assert not np.array_equal(rows(Tracker.from_pretrained("rgbt_tiny"), backwards, X), expected)


def test_thermal_counts_get_a_range_and_depth_its_rule(expected):
    counts = [7000 + 10 * image.astype(np.uint16) for image in X]
    fixed = rows(Tracker.from_pretrained("rgbt_tiny", x_range=(7000, 9550)), RGB, counts)
    assert np.array_equal(fixed, expected)
    assert np.isfinite(rows(Tracker.from_pretrained("rgbt_tiny"), RGB, counts)).all()
    meters = [image / 50.0 for image in X]
    depth = Tracker.from_pretrained("rgbd_tiny")
    assert np.array_equal(rows(depth, RGB, meters), rows(depth, RGB, [20 * image.astype(np.uint16) for image in X]))


def test_x_of_another_size_needs_to_be_told_how_it_lies_on_rgb(tracker):
    small = [cv2.resize(image, (80, 60), interpolation=cv2.INTER_AREA) for image in X]
    with pytest.raises(ValueError, match=r"differ in size .*160 x 120 and 80 x 60.*x_transform='resize'"):
        tracker.initialize(RGB[0], small[0], BOX)
    resized = rows(Tracker.from_pretrained("rgbt_tiny", x_transform="resize"), RGB, small)
    homography = ((2.0, 0.0, 0.0), (0.0, 2.0, 0.0), (0.0, 0.0, 1.0))
    warped = rows(Tracker.from_pretrained("rgbt_tiny", x_transform=homography), RGB, small)
    assert np.abs(resized[:, :4] - warped[:, :4]).max() < 3


def test_a_camera_that_drops_out_is_a_missing_stream(tracker):
    tracker.initialize(RGB[0], X[0], BOX)
    lacking = [*tracker.track(RGB[1]), *tracker.track(None, X[2]), *tracker.track(None)]
    whole = [np.dstack([a, b, b, b]) for a, b in zip(RGB, X, strict=True)]
    tracker.initialize(whole[0], BOX)
    marked = [
        tracker.track(frame, present=there) for frame, there in zip(whole[1:], ((1, 0), (0, 1), (0, 0)), strict=True)
    ]
    for got, wanted in zip(lacking, [part for result in marked for part in result], strict=True):
        assert np.array_equal(got, wanted)
    assert marked[-1].score == 0


def test_without_x_in_the_first_frame_the_base_model_tracks_alone(tracker, caplog):
    alone = rows(tracker, RGB, [None] * 4)
    assert "no X image in the first frame" in caplog.text
    assert np.array_equal(alone, rows(Tracker.from_pretrained("rgb_tiny"), RGB, [None] * 4))
    tracker.initialize(RGB[0], None, BOX)
    assert np.array_equal(tracker.track(RGB[1], X[1])[0], alone[1, :4])  # X that appears later is not looked at


@pytest.mark.parametrize(
    ("rgb", "x", "message"),
    [
        pytest.param(RGB[0].astype(float), X[0], "uint8 array", id="float"),
        pytest.param(RGB[0][:, :, :2], X[0], r"\(H, W, 3\)", id="two-channels"),
        pytest.param(RGB[0], X[0][:0], "X image|thermal image must be", id="empty-x"),
        pytest.param(None, None, "no image", id="nothing"),
    ],
)
def test_bad_images_are_refused(tracker, rgb, x, message):
    with pytest.raises(ValueError, match=message):
        tracker.initialize(rgb, x, BOX)


def test_x_for_a_tracker_that_does_not_know_what_it_shows_is_an_error(tracker):
    nameless = Tracker(tracker.model)
    with pytest.raises(ValueError, match="nothing says what it shows"):
        nameless.initialize(RGB[0], X[0], BOX)


# ---- Results


def test_result_unpacks_as_box_and_score_and_says_whether_the_target_is_lost(tracker):
    first = tracker.initialize(RGB[0], X[0], BOX)
    assert (first.box.tolist(), first.score, first.number, first.lost) == (list(BOX), 1.0, 0, False)
    result = tracker.track(RGB[1], X[1])
    box, score = result
    assert box is result.box
    assert (score, result.number) == (result.score, 1)
    assert "number=1" in repr(result)
    sent = pickle.loads(pickle.dumps(result))
    assert np.array_equal(sent.box, box)
    assert (sent.score, sent.number, sent.confidence, sent.lost) == (score, 1, result.confidence, False)


def test_opencvs_words_do_the_same(tracker, expected):
    tracker.init(RGB[0], X[0], BOX)
    located, box = tracker.update(RGB[1], X[1])
    assert located
    assert box == tuple(np.rint(expected[1, :4]).astype(int).tolist())
    cv2.rectangle(RGB[1].copy(), box, (0, 255, 0))  # takes it as it is


# ---- Several targets


def test_several_targets_have_the_boxes_of_trackers_of_their_own(tracker, expected):
    targets = MultiTracker(tracker, slots=2)
    assert targets.track(RGB[0], X[0]) == {}
    square, other = targets.add(RGB[0], X[0], BOX), targets.add(RGB[0], X[0], (10, 70, 30, 30))
    with pytest.raises(ValueError, match="all 2 slots are taken"):
        targets.add(RGB[0], X[0], BOX)
    found = targets.track(RGB[1], X[1])
    assert list(found) == [square, other]
    np.testing.assert_allclose(found[square].box, expected[1, :4], atol=1e-3)
    targets.remove(other)
    late = targets.add(RGB[1], X[1], (54, 41, 24, 20))
    assert late != other
    found = targets.track(RGB[2], X[2])
    np.testing.assert_allclose(found[square].box, expected[2, :4], atol=1e-3)
    assert (found[square].number, found[late].number) == (2, 1)
    with pytest.raises(ValueError, match=f"no target {other}"):
        targets.remove(other)


def test_targets_of_another_video_are_refused(tracker):
    targets = MultiTracker(tracker)
    targets.add(RGB[0], X[0], BOX)
    with pytest.raises(ValueError, match="of one video"):
        targets.add(RGB[0][:100], X[0][:100], BOX)


# ---- Whole videos


def write_folder(folder: Path, frames: list[np.ndarray]) -> Path:
    folder.mkdir()
    for k, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{k:03d}.png"), frame if frame.ndim == 2 else frame[:, :, ::-1])
    return folder


def test_a_video_is_one_call(tmp_path, expected):
    rgb, x = write_folder(tmp_path / "visible", RGB), write_folder(tmp_path / "infrared", X)
    results = list(patrack.track(rgb, x, BOX, tracker="rgbt_tiny"))
    assert np.array_equal([[*box, score] for box, score in results], expected)
    assert [result.number for result in results] == [0, 1, 2, 3]


def test_a_video_is_checked_before_the_first_result(tmp_path):
    rgb, x = write_folder(tmp_path / "visible", RGB), write_folder(tmp_path / "second", X)
    with pytest.raises(ValueError, match="box must be x, y, w, h"):
        patrack.track(rgb, x)
    with pytest.raises(ValueError, match="no such folder of images or video"):
        patrack.track(rgb, tmp_path / "no.mp4", BOX, tracker="rgbt_tiny")
    with pytest.raises(ValueError, match="modality must be one of"):
        patrack.track(rgb, x, BOX, modality="rgbq", tracker="rgbt_tiny")


def test_the_kind_of_x_is_told_by_the_tracker_else_its_name_else_it_is_thermal(tmp_path, caplog):
    rgb = write_folder(tmp_path / "rgb", RGB)
    depth, second = write_folder(tmp_path / "depth", X), write_folder(tmp_path / "second", X)
    assert modality_of_x(depth, None) == "rgbd"
    assert modality_of_x(second, "rgbe_tiny") == "rgbe"
    assert not caplog.text
    assert modality_of_x(second, None) == "rgbt"
    assert "thermal images are assumed" in caplog.text
    assert len(list(patrack.track(rgb, None, BOX, tracker="rgb_tiny"))) == 4


def test_nothing_of_the_framework_is_needed():
    code = "import patrack, sys; patrack.track; print([m for m in sys.modules if m.split('.')[0] == 'lib'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- Adapters


@pytest.fixture
def pair() -> Tracker:
    tracker = Tracker.from_pretrained("rgbt_tiny")
    tracker.load_adapter("rgbd_tiny", adapter_name="depth")
    return tracker


def test_an_adapter_that_was_switched_to_tracks_as_one_that_was_loaded_alone(pair, expected):
    assert pair.active_adapter == "default"
    meters = [image / 50.0 for image in X]
    pair.set_adapter("depth")
    assert np.array_equal(rows(pair, RGB, meters), rows(Tracker.from_pretrained("rgbd_tiny"), RGB, meters))
    pair.set_adapter("default")
    assert np.array_equal(rows(pair, RGB, X), expected)


def test_adapters_share_the_base_model(pair):
    first, second = (pair.adapters[name] for name in ("default", "depth"))
    assert first.model.backbone.blocks[0].attn.qkv.weight is not None
    for name, parameter in first.model.backbone.blocks[2].mlp.fc1.named_parameters():
        other = second.model.backbone.blocks[2].mlp.fc1.get_parameter(name)
        assert other.data_ptr() == parameter.data_ptr()
    assert first.network.blocks[1].half2.first is second.network.blocks[1].half2.first
    assert first.network.patches.proj is second.network.patches.proj
    base = pair.adapters.base.network
    assert base.blocks[1].half2.first.weight.data_ptr() == first.network.blocks[1].half2.first.weight.data_ptr()


def test_switching_in_the_middle_of_a_video_goes_on_where_the_target_is(pair):
    pair.initialize(RGB[0], X[0], BOX)
    before = pair.track(RGB[1], X[1])
    with pair.disable_adapter():
        assert pair.active_adapter is None
        alone = pair.track(RGB[2], X[2])
    assert pair.active_adapter == "default"
    after = pair.track(RGB[3], X[3])
    assert [result.number for result in (before, alone, after)] == [1, 2, 3]
    for k, result in enumerate((before, alone, after), start=1):
        assert np.abs(result.box[:2] - (52 + 2 * k, 40 + k)).max() < 6

    base = Tracker.from_pretrained("rgb_tiny")
    with pair.disable_adapter():
        assert np.array_equal(rows(pair, RGB, X), rows(base, RGB, [None] * 4))


def test_a_deleted_adapter_is_gone_and_the_base_model_tracks_on(pair):
    pair.set_adapter("depth")
    pair.initialize(RGB[0], X[0], BOX)
    pair.delete_adapter("depth")
    assert pair.active_adapter is None
    assert np.abs(pair.track(RGB[1], X[1]).box[:2] - (54, 41)).max() < 6
    with pytest.raises(ValueError, match="no adapter 'depth'; there are: default"):
        pair.set_adapter("depth")
    pair.delete_adapter("default")
    assert pair.adapters.names == []
    pair.load_adapter("rgbt_tiny", "default")
    pair.set_adapter("default")


def test_a_base_model_takes_adapters(expected):
    tracker = Tracker.from_pretrained("rgb_tiny")
    assert tracker.active_adapter is None
    tracker.load_adapter("rgbt_tiny", "thermal")
    tracker.set_adapter("thermal")
    assert np.array_equal(rows(tracker, RGB, X), expected)


@pytest.mark.parametrize("method", ["bat", "lora"])
def test_adapters_of_different_methods_serve_one_base_model(method, tmp_path):
    made = Tracker.from_pretrained("rgbt_tiny", checkpoint="none", overrides=[f"model.method={method}"])
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in made.model.named_parameters():
            if "bat" in name or "lora" in name:
                parameter.normal_(std=0.05)
    alone = Tracker(made.model, made.settings.crop, made.settings.test, modality="rgbt", name="mine")
    alone.save_pretrained(tmp_path / "adapter")
    tracker = Tracker.from_pretrained("rgbt_tiny")
    tracker.load_adapter(tmp_path / "adapter", method)
    tracker.set_adapter(method)
    assert np.array_equal(rows(tracker, RGB, X), rows(alone, RGB, X))


def test_parameters_are_counted_as_in_peft(tracker, capsys):
    tracker.print_trainable_parameters()
    assert capsys.readouterr().out == "trainable params: 90,144 || all params: 1,623,685 || trainable%: 5.5518\n"


# ---- Adapters as files


def test_saved_folder_loads_alone_and_beside_others(tracker, expected, tmp_path):
    tracker.save_pretrained(tmp_path / "mine")
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    stated = json.loads((tmp_path / "mine" / "adapter_config.json").read_text())
    assert (stated["peft_type"], stated["modality"], stated["trainable_parameters"]) == ("PATRACK", "rgbt", 90144)
    assert stated["base_model_name_or_path"] == "rgb_tiny.safetensors"
    for path in (tmp_path / "mine", tmp_path / "mine" / "adapter_model.safetensors"):
        assert np.array_equal(rows(Tracker.from_pretrained(path), RGB, X), expected)
    other = Tracker.from_pretrained("rgbd_tiny")
    other.load_adapter(tmp_path / "mine", "thermal")
    other.set_adapter("thermal")
    assert np.array_equal(rows(other, RGB, X), expected)


def test_shipped_file_states_its_experiment(expected):
    path = patrack.config.project_path("weights/rgbt_tiny.safetensors")
    assert np.array_equal(rows(Tracker.from_pretrained(path), RGB, X), expected)


def test_file_that_states_nothing_is_refused(tmp_path):
    tensors, _ = read_tensors(patrack.config.project_path("weights/rgbt_tiny.safetensors"))
    write_tensors(tensors, tmp_path / "bare.safetensors", {})
    with pytest.raises(WeightsError, match="doesn't state the experiment"):
        Tracker.from_pretrained(tmp_path / "bare.safetensors")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        pytest.param("rgbt_small", "made for a base model of another size: rgbt_small has 7 blocks", id="size"),
        pytest.param("rgb_tiny", "experiment without adapters", id="none"),
        pytest.param("rgbt_nano", "rgbt_nano", id="unknown"),
    ],
)
def test_adapters_that_do_not_fit_are_refused(tracker, path, message):
    with pytest.raises(ValueError, match=message):
        tracker.load_adapter(path, "other")
    assert tracker.adapters.names == ["default"]


def test_adapter_of_another_base_model_of_the_same_size_is_refused(tracker, tmp_path):
    other = Tracker.from_pretrained("rgbt_tiny")
    with torch.no_grad():
        other.model.head.score[0].conv.weight.mul_(1.1)
    Tracker(other.model, other.settings.crop, other.settings.test, modality="rgbt").save_pretrained(tmp_path / "other")
    with pytest.raises(WeightsError, match="trained on another base model"):
        tracker.load_adapter(tmp_path / "other", "other")


def test_names_are_given_once(tracker):
    with pytest.raises(ValueError, match="'default' is loaded already"):
        tracker.load_adapter("rgbd_tiny", "default")
    with pytest.raises(ValueError, match="is empty"):
        tracker.load_adapter("rgbd_tiny", "")


def test_a_model_that_is_not_ours_has_no_base_model():
    class Other(torch.nn.Module):
        streams, template_size, search_size = "both", 32, 64

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

    tracker = Tracker(Other())
    for act in (lambda: tracker.load_adapter("rgbt_tiny", "thermal"), lambda: tracker.delete_adapter("default")):
        with pytest.raises(ValueError, match="Other"):
            act()
    assert isinstance(tracker.adapters.active, TrackingModel)


def test_nothing_loads_the_compiler():
    code = "import patrack, sys; patrack.Tracker.from_pretrained; print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
