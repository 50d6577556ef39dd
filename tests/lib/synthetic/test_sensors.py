"""Properties of thermal, depth and event cameras: they occur, and do to the pictures what they should."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from lib.synthetic.benchmark import Job, draw_scene
from lib.synthetic.compose import make_scene
from lib.synthetic.scene import Scene, render
from lib.synthetic.sensors import EVENT_COLORS, DepthSensor, EventSensor, ThermalSensor
from sensor_data import SIZE, cameras, good_scene, poor_scene


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


def test_both_polarities_occur_and_invert_the_picture() -> None:
    share = np.mean([sensor.black_hot for sensor in cameras(good_scene("rgbt"), 200)])
    assert 0.25 < share < 0.45  # 0.35
    sensor = _plain_thermal(good_scene("rgbt"))
    white = _picture(sensor, good_scene("rgbt"))
    sensor.black_hot = True
    np.testing.assert_allclose(_picture(sensor, good_scene("rgbt")), 255 - white, atol=1)


def test_low_contrast_narrows_the_range_of_levels() -> None:
    sensor = _plain_thermal(good_scene("rgbt"))
    full = _picture(sensor, good_scene("rgbt")).std()
    sensor.contrast[:] = 0.2
    assert _picture(sensor, good_scene("rgbt")).std() == pytest.approx(0.2 * full, rel=0.1)


def test_poor_thermal_sensors_reach_lower_contrast() -> None:
    good, poor = ([s.contrast[1] for s in cameras(scene, 200)] for scene in (good_scene("rgbt"), poor_scene("rgbt")))
    assert min(good) >= 0.3
    assert min(poor) < 0.2


def test_halo_darkens_the_surroundings_of_what_is_hot() -> None:
    scene = good_scene("rgbt")
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
    for sensor in cameras(good_scene("rgbt", 30), 60):
        steps = np.abs(np.diff(sensor.level))
        assert steps[:2].max() < 0.02
        jumps.append(steps.max() > 0.03)
    assert 0.1 < np.mean(jumps) < 0.6


def test_a_jump_shifts_all_levels_from_one_frame_to_the_next() -> None:
    scene = good_scene("rgbt")
    sensor = _plain_thermal(scene)
    before = _picture(sensor, scene)
    sensor.level[1:] = 0.1
    assert np.median(_picture(sensor, scene) - before) == pytest.approx(25, abs=2)


def test_bad_pixels_stay_where_they_are() -> None:
    scene = good_scene("rgbt", 30)
    sensor = next(s for s in cameras(scene, 60) if np.abs(s.pattern).max() > 40)
    places = np.abs(sensor.pattern) > 20
    assert 0 < places.mean() < 0.01


def test_lower_resolution_removes_detail_but_not_size() -> None:
    scene = good_scene("rgbt")
    sensor = _plain_thermal(scene)
    sharp = _picture(sensor, scene)
    sensor.factor, sensor.size = 3.0, (SIZE[0] // 3, SIZE[1] // 3)
    sensor.pattern = np.zeros(sensor.size[::-1], np.float32)
    coarse = _picture(sensor, scene)
    assert coarse.shape == sharp.shape
    assert np.abs(np.diff(coarse)).max() < np.abs(np.diff(sharp)).max()
    assert np.corrcoef(coarse.ravel(), sharp.ravel())[0, 1] > 0.9


def _plane(scene: Scene, distance: float) -> object:
    """A view of a wall."""
    view = render(scene, 1)
    nothing = np.zeros(SIZE[::-1], bool)
    return replace(view, distance=np.full(SIZE[::-1], distance, np.float32), reflective=nothing)


def test_lattice_holes_reach_seven_tenths() -> None:
    scene = good_scene("rgbd")
    shares = [
        sensor.lattice.mean() for sensor in cameras(poor_scene(scene.modality), 300) if sensor.lattice is not None
    ]
    assert 0.66 < max(shares) < 0.75
    assert min(shares) < 0.3
    good = [sensor.lattice.mean() for sensor in cameras(scene, 200) if sensor.lattice is not None]
    assert max(good) < 0.35  # where only X shows the target, most of it stays


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7])
def test_lattice_is_a_regular_grid_of_the_given_share(share: float) -> None:
    lattice = DepthSensor._lattice(np.random.default_rng(0), share, 240, 320)
    assert lattice.mean() == pytest.approx(share, abs=0.02)
    met = ~lattice
    np.testing.assert_array_equal(met, np.outer(met.any(1), met.any(0)))


def test_depth_misregistration_reaches_thirty_pixels_of_640() -> None:
    center = np.array([(SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2, 1])
    scene = good_scene("rgbd")
    matrices = [sensor.matrix for sensor in cameras(scene, 200)]
    moved = [np.hypot(*(m @ center - center[:2])) * 640 / SIZE[0] for m in matrices if m is not None]
    assert 0.45 < len(moved) / len(matrices) < 0.75  # 0.6
    assert max(moved) > 40
    assert np.mean(np.array(moved) > 30) > 0.15
    scales = [np.sqrt(np.linalg.det(m[:, :2])) for m in matrices if m is not None]
    assert max(scales) > 1.03
    assert min(scales) < 0.97
    assert "misregistered" in scene.attributes


def test_nothing_is_measured_beyond_the_range() -> None:
    scene = poor_scene("rgbd")
    limits = [sensor.limit for sensor in cameras(scene, 100)]
    assert min(limits) < 4000
    sensor = cameras(scene, 1)[0]
    sensor.limit = 4000.0
    assert not sensor(_plane(scene, 4500), 1, np.random.default_rng(0)).any()
    assert sensor(_plane(scene, 3500), 1, np.random.default_rng(0)).any()
    assert not sensor(_plane(scene, 250), 1, np.random.default_rng(0)).any()


def test_only_poor_depth_sensors_lose_the_target_to_their_range() -> None:
    scene = good_scene("rgbd")
    far = replace(scene, actors=(replace(scene.actors[0], distance=scene.actors[0].distance * 0 + 6000),))
    assert min(sensor.limit for sensor in cameras(far, 60)) > 6000
    assert min(sensor.limit for sensor in cameras(replace(far, plan=poor_scene("rgbd").plan), 60)) < 6000


def test_depth_is_quantised_in_steps_that_grow_with_the_square() -> None:
    scene = good_scene("rgbd")
    sensor = cameras(scene, 1)[0]
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
    sensor = cameras(good_scene("rgbd"), 1)[0]
    sensor.baseline = baseline
    z = np.full(SIZE[::-1], 2000.0, np.float32)
    z[:, 40:50] = 1000.0
    columns = np.flatnonzero(sensor._shadow(z).any(0))
    expected = (50, 51) if side == "right" else (38, 39)  # 3 pixels of disparity, half a pixel of tolerance
    np.testing.assert_array_equal(columns, expected)


@cache
def _depth_scenes() -> list[Scene]:
    return [make_scene(np.random.default_rng(seed), "rgbd", 4, *SIZE) for seed in range(30)]


def test_depth_targets_stand_between_a_third_of_a_meter_and_ten() -> None:
    target = [scene.actors[0].distance[1] for scene in _depth_scenes()]
    assert min(target) < 900
    assert max(target) > 3000
    assert 300 < min(target) < max(target) < 10000


def test_relief_puts_the_target_just_before_what_is_behind_it() -> None:
    scene, _ = draw_scene(Job("rgbd", "train", 0, 4, SIZE, 0))
    alone = replace(scene, actors=scene.actors[:1], relief=0.02)
    view = render(alone, 1)
    background = render(replace(alone, actors=(replace(scene.actors[0], position=scene.actors[0].position + 1e4),)), 1)
    inside = view.silhouette
    assert inside.any()
    np.testing.assert_allclose(view.distance[inside], 0.98 * background.distance[inside], rtol=1e-5)


def test_low_relief_only_where_rgb_does_not_fail() -> None:
    scenes = _depth_scenes()
    low = [scene for scene in scenes if scene.relief is not None]
    assert low
    assert all("low_relief" in scene.attributes and not scene.plan.needs_x for scene in low)
    assert any(scene.relief is None and not scene.plan.needs_x for scene in scenes)


def test_misregistered_depth_is_moved_as_its_matrix_says() -> None:
    scene, _ = draw_scene(Job("rgbd", "train", 0, 4, SIZE, 0))
    sensor = DepthSensor(scene, np.random.default_rng(0))
    view = render(scene, 1)
    sensor.coarse, sensor.margin, sensor.lattice, sensor.matrix = 1, 0, None, None
    straight = sensor(view, 1, np.random.default_rng(5))
    sensor.matrix = np.array([[1.0, 0, 3], [0, 1, -1]])
    shifted = sensor(view, 1, np.random.default_rng(5))
    np.testing.assert_array_equal(shifted[:-1, 3:], straight[1:, :-3])


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
    sensors = cameras(good_scene("rgbe"), 300)
    assert {sensor.rendering for sensor in sensors} == set(EVENT_COLORS)
    assert any(sensor.graded for sensor in sensors)
    canvas = {name.split("_")[0] for name in EVENT_COLORS}
    assert canvas == {"white", "gray", "black"}


@pytest.mark.parametrize("rendering", list(EVENT_COLORS))
def test_pictures_hold_the_three_colors_of_their_rendering_only(rendering: str) -> None:
    blank, *others = _events(_moving(good_scene("rgbe")), 20.0, rendering)
    assert (blank == EVENT_COLORS[rendering][0]).all()
    colors = {tuple(color) for image in others for color in image.reshape(-1, 3).tolist()}
    assert colors == set(EVENT_COLORS[rendering])


def test_longer_windows_hold_more_events() -> None:
    assert min(s.window for s in cameras(good_scene("rgbe"), 200)) < 6
    assert max(s.window for s in cameras(good_scene("rgbe"), 200)) > 45
    scene = _moving(good_scene("rgbe"))
    fired = [np.mean([(i != 255).any(-1).mean() for i in _events(scene, w)[3:]]) for w in (5.0, 12.0, 20.0, 50.0)]
    assert fired == sorted(fired)
    assert fired[0] < 0.8 * fired[2]
    assert fired[3] > 1.3 * fired[2]


def test_nothing_moves_nothing_fires_but_hot_pixels() -> None:
    scene = good_scene("rgbe")
    sensor = next(s for s in cameras(scene, 30) if len(s.hot) > 5 and not s.graded)
    sensor.noise, sensor.matrix = 0.0, None
    view = render(scene, 1)
    images = [sensor(view, 1, np.random.default_rng(seed)) for seed in range(5)]
    fired = np.array([(image != EVENT_COLORS[sensor.rendering][0]).any(-1) for image in images])
    assert not fired[0].any()
    assert fired[1:].any()
    places = {tuple(place) for place in np.argwhere(fired.any(0)).tolist()}
    assert places <= {tuple(place) for place in sensor.hot.tolist()}


def test_events_fill_the_picture_when_the_camera_moves() -> None:
    scene = replace(good_scene("rgbe"), actors=good_scene("rgbe").actors[:1])
    pan = 3.0 * np.arange(scene.length + 1)[:, None] * np.array([1.0, 0.5])
    still, moving = (replace(scene, camera=replace(_moving(scene).camera, pan=p)) for p in (np.zeros_like(pan), pan))
    quarters = [image for image in _events(moving, 20.0)[2:]]
    fired = np.mean([(image != 255).any(-1) for image in quarters], axis=0)
    rest = np.mean([(image != 255).any(-1) for image in _events(still, 20.0)[2:]], axis=0)
    assert fired.mean() > 3 * rest.mean()


def test_graded_events_are_gray_and_brighter_where_it_brightened() -> None:
    images = _events(_moving(good_scene("rgbe")), 20.0, graded=True, empty=128, on=255, off=0,
                     colors=np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3))  # fmt: skip
    assert (images[0] == 128).all()
    assert images[2].max() > 140
    assert images[2].min() < 116
    assert (images[2][..., 0] == images[2][..., 2]).all()


def test_single_noise_events_are_as_many_as_the_rate_says() -> None:
    scene = good_scene("rgbe")
    sensor = EventSensor(scene, np.random.default_rng(1))
    sensor.noise, sensor.hot, sensor.hot_on, sensor.matrix = 0.02, sensor.hot[:0], sensor.hot_on[:0], None
    view = render(scene, 1)
    empty = sensor(view, 1, np.random.default_rng(0))
    noisy = sensor(view, 1, np.random.default_rng(0))
    assert (noisy != empty).any(-1).mean() == pytest.approx(0.02, abs=0.008)
