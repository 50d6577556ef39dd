"""What the properties of thermal and depth cameras do to the pictures, and that they occur."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lib.synthetic.benchmark import Job, draw_scene
from lib.synthetic.render import render
from lib.synthetic.scene import Scene
from lib.synthetic.sensors import DepthSensor, ThermalSensor
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


def test_depth_targets_stand_between_a_third_of_a_metre_and_ten() -> None:
    target = [draw_scene(Job("rgbd", "train", i, 4, SIZE, 7))[0].actors[0].distance[1] for i in range(25)]
    assert min(target) < 900
    assert max(target) > 3000
    assert 300 < min(target) < max(target) < 10000
