"""Streams that are misaligned, lag, or drop out for a while: the same for all pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lib.synthetic.benchmark import Job, draw_scene, frames
from lib.synthetic.scene import MODALITIES, OUTAGES, Outage, Scene, make_plan, render
from lib.synthetic.sensors import drop_out, misalignment
from sensor_data import SENSORS, SIZE, cameras, good_scene


@pytest.mark.parametrize("modality", MODALITIES)
def test_misaligned_pictures_show_things_elsewhere(modality: str) -> None:
    scene = good_scene(modality)
    made = cameras(scene, 200)
    assert 0.3 < np.mean([sensor.matrix is not None for sensor in made]) < 0.75
    # one camera of full resolution, straight and 5 pixels to the right
    sensor = next(s for s in made if getattr(s, "factor", 1) == getattr(s, "coarse", 1) == 1 and s.matrix is not None)
    sensor.lattice = None
    views = [render(scene, t) for t in (0, 1)]
    pictures = []
    for offset in (0.0, 5.0):
        sensor.matrix = np.array([[1.0, 0, offset], [0, 1, 0]])
        sensor.before = sensor.low = None
        pictures.append([sensor(view, t, np.random.default_rng(3)) for t, view in enumerate(views)][1])
    np.testing.assert_array_equal(pictures[1][:, 5:], pictures[0][:, :-5])


def test_misalignment_keeps_its_limits() -> None:
    scene = good_scene("rgbt")
    center = np.array([(SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2, 1])
    for seed in range(50):
        matrix = misalignment(np.random.default_rng(seed), scene, (0.05, 0.02), 0.1, 2.0)
        x, y = matrix @ center - center[:2]
        assert 0.33 * 0.05 * SIZE[0] <= abs(x) <= 0.05 * SIZE[0] + 1e-9
        assert abs(y) <= 0.02 * SIZE[0]
        assert 0.9 <= np.sqrt(np.linalg.det(matrix[:, :2])) <= 1.1


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("shift", [-2, 0, 1])
def test_x_sees_the_scene_some_frames_apart(modality: str, shift: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = good_scene(modality, 12)
    scene = replace(scene, plan=replace(scene.plan, time_shift=shift))
    seen: list[int] = []
    sensor = SENSORS[modality]
    original = sensor.__call__

    def watch(self: object, view: object, t: int, rng: np.random.Generator) -> np.ndarray:
        np.testing.assert_array_equal(view.color, render(scene, t).color)
        seen.append(t)
        return original(self, view, t, rng)

    monkeypatch.setattr(sensor, "__call__", watch)
    made = list(frames(scene, np.random.default_rng(0)))
    seen = seen[1:] if modality == "rgbe" else seen
    middle = slice(4, 9)
    np.testing.assert_array_equal(seen[middle], np.arange(1, 13)[middle] - shift)
    assert 0 <= min(seen) <= max(seen) <= scene.length
    assert np.abs(np.diff(seen)).max() == 1  # turned back at the ends: never still
    for t, frame in enumerate(made, 1):
        np.testing.assert_array_equal(frame.view.box, render(scene, t).box)


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("stream", ["rgb", "x"])
@pytest.mark.parametrize("kind", list(OUTAGES))
def test_outages_change_the_planned_frames_of_one_stream_only(modality: str, stream: str, kind: str) -> None:
    scene = good_scene(modality)
    outage = Outage(stream, kind, 2, 4)
    out = replace(scene, plan=replace(scene.plan, outages=(outage,)))
    pictures = []
    for s in (scene, out):
        # noise draws from the generator of the frames: give each frame its own, so that the others compare
        pictures.append([(f.rgb.copy(), f.x.copy()) for f in _frame_by_frame(s)])
    for k, (good, bad) in enumerate(zip(*pictures, strict=True)):
        for name, a, b in zip(("rgb", "x"), good, bad, strict=True):
            if name != stream or k not in (2, 3):
                np.testing.assert_array_equal(a, b)
            elif kind == "black":
                assert not b.any()
            elif kind == "frozen":
                np.testing.assert_array_equal(b, pictures[0][1][name == "x"])
            else:
                assert (a != b).mean() > 0.5


def _frame_by_frame(scene: Scene) -> list:
    """The frames with noise that does not depend on what was drawn before."""

    class Repeating:
        """A generator that starts anew for each draw."""

        def spawn(self, count: int) -> list[np.random.Generator]:
            return [np.random.default_rng(k) for k in range(count)]

        def __getattr__(self, name: str) -> object:
            return getattr(np.random.default_rng(5), name)

    return list(frames(scene, Repeating()))


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("length", [2, 3, 6, 60])
def test_planned_outages_spare_the_first_frame_and_the_other_stream(modality: str, length: int) -> None:
    kinds = set()
    for seed in range(400):
        plan = make_plan(np.random.default_rng(seed), modality, length)
        assert len(plan.outages) <= 1
        assert abs(plan.time_shift) <= max(0, length // 4)
        for outage in plan.outages:
            kinds.add((outage.stream, outage.kind))
            assert 1 <= outage.start < outage.end <= length
            assert not (outage.stream == "x" and plan.rgb_failure)
            assert not (outage.stream == "rgb" and plan.x_failure)
        assert not (plan.needs_x and plan.poor_x)
    assert kinds == {(stream, kind) for stream in ("rgb", "x") for kind in OUTAGES}


def test_outages_and_lags_have_the_stated_shares() -> None:
    plans = [make_plan(np.random.default_rng(seed), "rgbt", 60) for seed in range(2000)]
    x = np.mean([any(o.stream == "x" for o in p.outages) for p in plans])
    rgb = np.mean([any(o.stream == "rgb" for o in p.outages) for p in plans])
    assert 0.10 < x < 0.16
    assert 0.04 < rgb < 0.10
    assert 0.26 < np.mean([p.time_shift != 0 for p in plans]) < 0.34
    assert max(abs(p.time_shift) for p in plans) == 4


def test_outages_and_lag_become_attributes() -> None:
    scene = good_scene("rgbd", 12)
    plan = replace(scene.plan, outages=(Outage("x", "frozen", 2, 4),), time_shift=-1)
    for given, expected in ((scene.plan, set()), (plan, {"x_frozen", "time_shift"})):
        drawn = replace(scene, plan=given, attributes=set())
        next(frames(drawn, np.random.default_rng(0)))
        assert {name for name in drawn.attributes if name[:2] == "x_" or name == "time_shift"} == expected


@pytest.mark.parametrize(
    "image", [np.zeros((8, 10), np.uint16), np.zeros((8, 10, 3), np.uint8)], ids=["depth", "8-bit"]
)
def test_noise_has_the_type_of_the_picture(image: np.ndarray) -> None:
    made = drop_out(Outage("x", "noise", 1, 2), image, image, np.random.default_rng(0))
    assert made.dtype == image.dtype
    assert made.shape == image.shape
    assert made.std() > 50


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_sequence_is_the_same_whenever_it_is_made(modality: str) -> None:
    job = Job(modality, "test", 3, 8, SIZE, 11)
    first, second = (list(frames(*draw_scene(job))) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.rgb, b.rgb)
        np.testing.assert_array_equal(a.x, b.x)


def test_pictures_of_odd_sizes_are_made() -> None:
    for modality in MODALITIES:
        scene, rng = draw_scene(Job(modality, "train", 0, 4, (98, 66), 2))
        for frame in frames(scene, rng):
            assert frame.x.shape[:2] == frame.rgb.shape[:2] == (66, 98)
