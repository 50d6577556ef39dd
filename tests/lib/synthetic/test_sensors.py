"""Sensors as varied as real ones: what each of their properties does to the pictures, and that it occurs."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest

from lib.synthetic.benchmark import Job, draw_scene, frames
from lib.synthetic.plan import MODALITIES, OUTAGES, Outage, Plan, make_plan
from lib.synthetic.render import render
from lib.synthetic.scene import Scene
from lib.synthetic.sensors import EVENT_COLORS, DepthSensor, EventSensor, ThermalSensor, drop_out, misalignment

SIZE = (96, 72)
SENSORS = {"rgbt": ThermalSensor, "rgbd": DepthSensor, "rgbe": EventSensor}


@cache
def _scene(modality: str, length: int = 6) -> Scene:
    """A scene in which nothing fails."""
    scene, _ = draw_scene(Job(modality, "train", 1, length, SIZE, 7))
    window = (1e6, 2e6, 1.0)
    return replace(scene, plan=Plan(None, window, None, window), attributes=set())


def _poor(scene: Scene) -> Scene:
    return replace(scene, plan=replace(scene.plan, poor_x=True))


def _cameras(scene: Scene, count: int) -> list:
    """Sensors that differ by their generator only."""
    return [SENSORS[scene.modality](scene, np.random.default_rng(seed)) for seed in range(count)]


def _plain_thermal(scene: Scene) -> ThermalSensor:
    """A thermal sensor of full resolution without noise, pattern, halo, drift or misalignment."""
    sensor = ThermalSensor(scene, np.random.default_rng(0))
    sensor.factor, sensor.size, sensor.matrix, sensor.halo, sensor.noise = 1.0, SIZE, None, 0.0, 0.0
    sensor.pattern, sensor.black_hot, sensor.gamma = np.zeros(SIZE[::-1], np.float32), False, 1.0
    sensor.contrast, sensor.level = np.ones(scene.length + 1), np.zeros(scene.length + 1)
    return sensor


def _picture(sensor: ThermalSensor, scene: Scene, t: int = 1) -> np.ndarray:
    sensor.low = None
    return sensor(render(scene, t), t, np.random.default_rng(2))[..., 0].astype(float)


# --- thermal ---


def test_both_polarities_occur_and_invert_the_picture() -> None:
    share = np.mean([sensor.black_hot for sensor in _cameras(_scene("rgbt"), 200)])
    assert 0.25 < share < 0.45  # 0.35
    sensor = _plain_thermal(_scene("rgbt"))
    white = _picture(sensor, _scene("rgbt"))
    sensor.black_hot = True
    np.testing.assert_allclose(_picture(sensor, _scene("rgbt")), 255 - white, atol=1)


def test_low_contrast_narrows_the_range_of_levels() -> None:
    sensor = _plain_thermal(_scene("rgbt"))
    full = _picture(sensor, _scene("rgbt")).std()
    sensor.contrast[:] = 0.2
    assert _picture(sensor, _scene("rgbt")).std() == pytest.approx(0.2 * full, rel=0.1)


def test_poor_thermal_sensors_reach_lower_contrast() -> None:
    good, poor = ([s.contrast[1] for s in _cameras(scene, 200)] for scene in (_scene("rgbt"), _poor(_scene("rgbt"))))
    assert min(good) >= 0.3
    assert min(poor) < 0.2


def test_halo_darkens_the_surroundings_of_what_is_hot() -> None:
    scene = _scene("rgbt")
    view = render(scene, 1)
    heat = np.full(SIZE[::-1], 60, np.uint8)
    heat[30:42, 40:56] = 160
    sensor = _plain_thermal(scene)
    plain = sensor(replace(view, temperature=heat), 1, np.random.default_rng(2)).astype(float)
    sensor.low, sensor.halo, sensor.halo_reach = None, 0.8, 2.0
    halo = sensor(replace(view, temperature=heat), 1, np.random.default_rng(2)).astype(float)
    change = (halo - plain)[..., 0]
    assert change[28, 48] < change[5, 5] - 5


def test_calibration_jumps_never_touch_the_first_frames() -> None:
    jumps = []
    for sensor in _cameras(_scene("rgbt", 30), 60):
        steps = np.abs(np.diff(sensor.level))
        assert steps[:2].max() < 0.02
        jumps.append(steps.max() > 0.03)
    assert 0.1 < np.mean(jumps) < 0.6


def test_a_jump_shifts_all_levels_from_one_frame_to_the_next() -> None:
    scene = _scene("rgbt")
    sensor = _plain_thermal(scene)
    before = _picture(sensor, scene)
    sensor.level[1:] = 0.1
    assert np.median(_picture(sensor, scene) - before) == pytest.approx(25, abs=2)


def test_bad_pixels_stay_where_they_are() -> None:
    scene = _scene("rgbt", 30)
    sensor = next(s for s in _cameras(scene, 60) if np.abs(s.pattern).max() > 40)
    places = np.abs(sensor.pattern) > 20
    assert 0 < places.mean() < 0.01


def test_lower_resolution_removes_detail_but_not_size() -> None:
    scene = _scene("rgbt")
    sensor = _plain_thermal(scene)
    sharp = _picture(sensor, scene)
    sensor.factor, sensor.size = 3.0, (SIZE[0] // 3, SIZE[1] // 3)
    sensor.pattern = np.zeros(sensor.size[::-1], np.float32)
    coarse = _picture(sensor, scene)
    assert coarse.shape == sharp.shape
    assert np.abs(np.diff(coarse)).max() < np.abs(np.diff(sharp)).max()
    assert np.corrcoef(coarse.ravel(), sharp.ravel())[0, 1] > 0.9


# --- depth ---


def _plane(scene: Scene, distance: float) -> object:
    """A view of a wall."""
    view = render(scene, 1)
    nothing = np.zeros(SIZE[::-1], bool)
    return replace(view, distance=np.full(SIZE[::-1], distance, np.float32), reflective=nothing)


def test_lattice_holes_reach_seven_tenths() -> None:
    scene = _scene("rgbd")
    shares = [sensor.lattice.mean() for sensor in _cameras(_poor(scene), 300) if sensor.lattice is not None]
    assert 0.66 < max(shares) < 0.75
    assert min(shares) < 0.3
    good = [sensor.lattice.mean() for sensor in _cameras(scene, 200) if sensor.lattice is not None]
    assert max(good) < 0.35  # where only X shows the target, most of it stays


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7])
def test_lattice_is_a_regular_grid_of_the_given_share(share: float) -> None:
    lattice = DepthSensor._lattice(np.random.default_rng(0), share, 240, 320)
    assert lattice.mean() == pytest.approx(share, abs=0.02)
    met = ~lattice
    np.testing.assert_array_equal(met, np.outer(met.any(1), met.any(0)))


def test_depth_misregistration_reaches_thirty_pixels_of_640() -> None:
    centre = np.array([(SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2, 1])
    scene = _scene("rgbd")
    matrices = [sensor.matrix for sensor in _cameras(scene, 200)]
    moved = [np.hypot(*(m @ centre - centre[:2])) * 640 / SIZE[0] for m in matrices if m is not None]
    assert 0.45 < len(moved) / len(matrices) < 0.75  # 0.6
    assert max(moved) > 40
    assert np.mean(np.array(moved) > 30) > 0.15
    scales = [np.sqrt(np.linalg.det(m[:, :2])) for m in matrices if m is not None]
    assert max(scales) > 1.03
    assert min(scales) < 0.97
    assert "misregistered" in scene.attributes


def test_nothing_is_measured_beyond_the_range() -> None:
    scene = _poor(_scene("rgbd"))
    limits = [sensor.limit for sensor in _cameras(scene, 100)]
    assert min(limits) < 4000
    sensor = _cameras(scene, 1)[0]
    sensor.limit = 4000.0
    assert not sensor(_plane(scene, 4500), 1, np.random.default_rng(0)).any()
    assert sensor(_plane(scene, 3500), 1, np.random.default_rng(0)).any()
    assert not sensor(_plane(scene, 250), 1, np.random.default_rng(0)).any()


def test_only_poor_depth_sensors_lose_the_target_to_their_range() -> None:
    scene = _scene("rgbd")
    far = replace(scene, actors=(replace(scene.actors[0], distance=scene.actors[0].distance * 0 + 6000),))
    assert min(sensor.limit for sensor in _cameras(far, 60)) > 6000
    assert min(sensor.limit for sensor in _cameras(_poor(far), 60)) < 6000


def test_depth_is_quantised_in_steps_that_grow_with_the_square() -> None:
    scene = _scene("rgbd")
    sensor = _cameras(scene, 1)[0]
    sensor.disparity_step, sensor.coarsest, sensor.noise, sensor.limit = 4e-6, 1.0, 1e-6, 1e4
    sensor.matrix, sensor.lattice = None, None
    steps = []
    for distance in (1500, 3000):
        ramp = np.tile(np.linspace(distance, 1.05 * distance, SIZE[0], dtype=np.float32), (SIZE[1], 1))
        values = np.unique(sensor(replace(_plane(scene, distance), distance=ramp), 1, np.random.default_rng(0)))
        steps.append(np.diff(values[values > 0].astype(float)).mean())
    assert steps[1] == pytest.approx(4e-6 * 3075**2, rel=0.05)
    assert steps[1] / steps[0] == pytest.approx(4, rel=0.06)
    sensor.coarsest = 40.0
    values = np.unique(sensor(replace(_plane(scene, 3000), distance=ramp), 1, np.random.default_rng(0)))
    assert (values % 40 == 0).all()


@pytest.mark.parametrize(("baseline", "side"), [(6000.0, "right"), (-6000.0, "left")])
def test_light_is_blocked_on_one_side_of_what_is_near(baseline: float, side: str) -> None:
    sensor = _cameras(_scene("rgbd"), 1)[0]
    sensor.baseline = baseline
    z = np.full(SIZE[::-1], 2000.0, np.float32)
    z[:, 40:50] = 1000.0
    columns = np.flatnonzero(sensor._shadow(z).any(0))
    expected = (50, 51) if side == "right" else (38, 39)  # 3 pixels of disparity, half a pixel of tolerance
    np.testing.assert_array_equal(columns, expected)


def test_depth_targets_stand_between_a_third_of_a_metre_and_ten() -> None:
    target = [draw_scene(Job("rgbd", "train", i, 4, SIZE, 7))[0].actors[0].distance[1] for i in range(25)]
    assert min(target) < 900
    assert max(target) > 3000
    assert 300 < min(target) < max(target) < 10000


# --- events ---


def _events(scene: Scene, window: float, rendering: str = "white_red_blue", **options: object) -> list[np.ndarray]:
    """Pictures of all frames, without noise."""
    sensor = EventSensor(scene, np.random.default_rng(1))
    sensor.window, sensor.noise, sensor.matrix, sensor.hot = window, 0.0, None, sensor.hot[:0]
    sensor.hot_on, sensor.graded, (sensor.empty, sensor.on, sensor.off) = sensor.hot_on[:0], False, (0, 1, 2)
    sensor.colors[0, :3] = EVENT_COLORS[rendering]
    for name, value in options.items():
        setattr(sensor, name, value)
    return [sensor(render(scene, t), t, np.random.default_rng(2)) for t in range(scene.length + 1)]


def _moving(scene: Scene) -> Scene:
    """The target alone moves, 4 pixels a frame, in front of a fixed camera."""
    count = scene.length + 1
    target = scene.actors[0]
    path = np.array(SIZE) / 2 + 4.0 * (np.arange(count) - count / 2)[:, None] * np.array([1, 0])
    fixed = {n: np.repeat(getattr(scene.camera, n)[1:2], count, 0) for n in ("zoom", "angle", "pan")}
    return replace(scene, actors=(replace(target, position=path),), camera=replace(scene.camera, **fixed))


def test_every_canvas_and_coloring_occurs() -> None:
    sensors = _cameras(_scene("rgbe"), 300)
    assert {sensor.rendering for sensor in sensors} == set(EVENT_COLORS)
    assert any(sensor.graded for sensor in sensors)
    canvas = {name.split("_")[0] for name in EVENT_COLORS}
    assert canvas == {"white", "gray", "black"}


@pytest.mark.parametrize("rendering", list(EVENT_COLORS))
def test_pictures_hold_the_three_colors_of_their_rendering_only(rendering: str) -> None:
    blank, *others = _events(_moving(_scene("rgbe")), 20.0, rendering)
    assert (blank == EVENT_COLORS[rendering][0]).all()
    colors = {tuple(color) for image in others for color in image.reshape(-1, 3).tolist()}
    assert colors == set(EVENT_COLORS[rendering])


def test_longer_windows_hold_more_events() -> None:
    assert min(s.window for s in _cameras(_scene("rgbe"), 200)) < 6
    assert max(s.window for s in _cameras(_scene("rgbe"), 200)) > 45
    scene = _moving(_scene("rgbe"))
    fired = [np.mean([(i != 255).any(-1).mean() for i in _events(scene, w)[3:]]) for w in (5.0, 12.0, 20.0, 50.0)]
    assert fired == sorted(fired)
    assert fired[0] < 0.8 * fired[2]
    assert fired[3] > 1.3 * fired[2]


def test_nothing_moves_nothing_fires_but_hot_pixels() -> None:
    scene = _scene("rgbe")
    sensor = next(s for s in _cameras(scene, 30) if len(s.hot) > 5 and not s.graded)
    sensor.noise, sensor.matrix = 0.0, None
    view = render(scene, 1)
    images = [sensor(view, 1, np.random.default_rng(seed)) for seed in range(5)]
    fired = np.array([(image != EVENT_COLORS[sensor.rendering][0]).any(-1) for image in images])
    assert not fired[0].any()
    assert fired[1:].any()
    places = {tuple(place) for place in np.argwhere(fired.any(0)).tolist()}
    assert places <= {tuple(place) for place in sensor.hot.tolist()}


def test_events_fill_the_picture_when_the_camera_moves() -> None:
    scene = replace(_scene("rgbe"), actors=_scene("rgbe").actors[:1])
    pan = 3.0 * np.arange(scene.length + 1)[:, None] * np.array([1.0, 0.5])
    still, moving = (replace(scene, camera=replace(_moving(scene).camera, pan=p)) for p in (np.zeros_like(pan), pan))
    quarters = [image for image in _events(moving, 20.0)[2:]]
    fired = np.mean([(image != 255).any(-1) for image in quarters], axis=0)
    rest = np.mean([(image != 255).any(-1) for image in _events(still, 20.0)[2:]], axis=0)
    assert fired.mean() > 3 * rest.mean()


def test_graded_events_are_gray_and_brighter_where_it_brightened() -> None:
    images = _events(_moving(_scene("rgbe")), 20.0, graded=True, empty=128, on=255, off=0,
                     colors=np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3))  # fmt: skip
    assert (images[0] == 128).all()
    assert images[2].max() > 140
    assert images[2].min() < 116
    assert (images[2][..., 0] == images[2][..., 2]).all()


def test_single_noise_events_are_as_many_as_the_rate_says() -> None:
    scene = _scene("rgbe")
    sensor = EventSensor(scene, np.random.default_rng(1))
    sensor.noise, sensor.hot, sensor.hot_on, sensor.matrix = 0.02, sensor.hot[:0], sensor.hot_on[:0], None
    view = render(scene, 1)
    empty = sensor(view, 1, np.random.default_rng(0))
    noisy = sensor(view, 1, np.random.default_rng(0))
    assert (noisy != empty).any(-1).mean() == pytest.approx(0.02, abs=0.008)


# --- alignment, lag and outages: all pairs ---


@pytest.mark.parametrize("modality", MODALITIES)
def test_misaligned_pictures_show_things_elsewhere(modality: str) -> None:
    scene = _scene(modality)
    share = np.mean([sensor.matrix is not None for sensor in _cameras(scene, 200)])
    assert 0.3 < share < 0.75


def test_misalignment_keeps_its_limits() -> None:
    scene = _scene("rgbt")
    centre = np.array([(SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2, 1])
    for seed in range(50):
        matrix = misalignment(np.random.default_rng(seed), scene, (0.05, 0.02), 0.1, 2.0)
        x, y = matrix @ centre - centre[:2]
        assert 0.33 * 0.05 * SIZE[0] <= abs(x) <= 0.05 * SIZE[0] + 1e-9
        assert abs(y) <= 0.02 * SIZE[0]
        assert 0.9 <= np.sqrt(np.linalg.det(matrix[:, :2])) <= 1.1


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("shift", [-2, 0, 1])
def test_x_sees_the_scene_some_frames_apart(modality: str, shift: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = _scene(modality, 12)
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
    scene = _scene(modality)
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
    for index in range(40):
        scene, _ = draw_scene(Job("rgbd", "val", index, 8, SIZE, 7))
        names = {f"{o.stream}_{o.kind}" for o in scene.plan.outages} | (
            {"time_shift"} if scene.plan.time_shift else set()
        )
        possible = {f"{stream}_{kind}" for stream in ("rgb", "x") for kind in OUTAGES} | {"time_shift"}
        assert scene.attributes & possible == names


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


def test_pictures_of_odd_sizes_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    for modality in MODALITIES:
        scene, rng = draw_scene(Job(modality, "train", 0, 4, (98, 66), 2))
        for frame in frames(scene, rng):
            assert frame.x.shape[:2] == frame.rgb.shape[:2] == (66, 98)
    assert cv2.getNumThreads() >= 0
