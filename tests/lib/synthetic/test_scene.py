"""Drawn scenes: geometry of boxes, failures that are physical, sensors that complement each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lib.synthetic.benchmark import Job, draw_scene, frames
from lib.synthetic.compose import make_scene
from lib.synthetic.scene import MODALITIES, RGB_FAILURES, X_FAILURES, Plan, Scene, make_plan, make_schedules, render
from lib.synthetic.sensors import EVENT_COLORS, DepthSensor, EventSensor, RgbSensor, ThermalSensor

SIZE = (96, 72)
ALWAYS = (-1e3, 1e6, 1.0)  # a window that covers every frame


def _scene(modality: str, index: int = 0, length: int = 6) -> Scene:
    return draw_scene(Job(modality, "train", index, length, SIZE, 7))[0]


def _with(modality: str, attribute: str, length: int) -> tuple[Scene, np.random.Generator]:
    """The first scene that has the attribute, and its generator."""
    for seed in range(100):
        if attribute in str(make_plan(np.random.default_rng(seed), modality, length)):
            rng = np.random.default_rng(seed)
            return make_scene(rng, modality, length, *SIZE), rng
    raise AssertionError(f"no {modality} scene with {attribute}")


def _failing(scene: Scene, rgb: str | None = None, x: str | None = None) -> Scene:
    """Let the given failures last throughout a scene."""
    plan = Plan(rgb, ALWAYS, x, ALWAYS)
    schedules = make_schedules(np.random.default_rng(0), plan, np.arange(-1.0, scene.length))
    return replace(scene, plan=plan, schedules=schedules)


def _alone(scene: Scene) -> Scene:
    """Leave nobody but the target in a scene."""
    return replace(scene, actors=scene.actors[:1])


def _still(scene: Scene) -> Scene:
    """Stop all motion of a scene, at its first frame."""

    def frozen(part: object, *names: str) -> dict[str, np.ndarray]:
        return {name: np.repeat(getattr(part, name)[1:2], scene.length + 1, 0) for name in names}

    actors = []
    for a in scene.actors:
        pose = replace(a.pose, **frozen(a.pose, "angle", "shear", "phase", "warp"))
        actors.append(replace(a, pose=pose, **frozen(a, "position", "scale", "distance")))
    camera = replace(scene.camera, **frozen(scene.camera, "zoom", "angle", "pan"))
    return replace(scene, actors=tuple(actors), camera=camera)


def _undisturbed(scene: Scene) -> Scene:
    """Take outages, time shift and poor sensors out of a scene."""
    return replace(scene, plan=replace(scene.plan, outages=(), time_shift=0, poor_x=False))


def _registered(sensor: DepthSensor | EventSensor) -> DepthSensor | EventSensor:
    """The sensor where the RGB camera is, with pixels of the same size and no lattice, margin or shadow."""
    sensor.matrix = None
    if isinstance(sensor, DepthSensor):
        sensor.coarse, sensor.margin, sensor.baseline, sensor.lattice = 1, 0, 0.0, None
    return sensor


def _plain_events(scene: Scene) -> EventSensor:
    """An event sensor of VisEvent's colors without noise; a window as long as the time between frames."""
    sensor = _registered(EventSensor(scene, np.random.default_rng(1)))
    sensor.noise, sensor.hot, sensor.hot_on, sensor.window = 0.0, sensor.hot[:0], sensor.hot_on[:0], 20.0
    sensor.graded, (sensor.empty, sensor.on, sensor.off) = False, (0, 1, 2)
    sensor.colors[0, :3] = EVENT_COLORS["white_red_blue"]
    return sensor


def _contrast(image: np.ndarray, silhouette: np.ndarray) -> float:
    """Distance between the target's mean and that of a ring around it, levels."""
    values = image.reshape(*image.shape[:2], -1).astype(float)
    rows, cols = np.where(silhouette)
    ring = np.zeros_like(silhouette)
    ring[max(0, rows.min() - 5) : rows.max() + 6, max(0, cols.min() - 5) : cols.max() + 6] = True
    return float(np.abs(values[silhouette].mean(0) - values[ring & ~silhouette].mean(0)).max())


@pytest.mark.parametrize("index", range(4))
def test_box_is_the_bounds_of_the_silhouette_without_occluders(index: int) -> None:
    scene = _scene("rgbt", index)
    for t in range(1, scene.length + 1):
        view, lone = render(scene, t), render(_alone(scene), t)
        rows, cols = np.where(lone.silhouette)
        if len(rows):
            expected = [cols.min(), rows.min(), np.ptp(cols) + 1, np.ptp(rows) + 1]
            np.testing.assert_array_equal(view.box, expected)
        np.testing.assert_array_equal(view.silhouette, lone.silhouette)


def test_silhouette_is_where_the_target_changes_the_picture() -> None:
    scene = _alone(_scene("rgbt"))
    empty = replace(scene, actors=(replace(scene.actors[0], position=scene.actors[0].position + 1e4),))
    with_target, without = render(scene, 1), render(empty, 1)
    changed = (with_target.color != without.color).any(-1)
    assert (changed & with_target.silhouette).sum() > 0.8 * with_target.silhouette.sum()
    x, y, w, h = with_target.box.astype(int)
    changed[max(0, y - 1) : y + h + 1, max(0, x - 1) : x + w + 1] = False  # one pixel of soft outline
    assert not changed.any()


def test_box_is_clipped_to_the_image() -> None:
    scene = _alone(_scene("rgbt"))
    target = scene.actors[0]
    edge = np.tile([float(SIZE[0]), SIZE[1] / 2], (len(target.position), 1))
    view = render(replace(scene, actors=(replace(target, position=edge),)), 1)
    assert view.box[0] + view.box[2] == SIZE[0]
    assert 0.2 < view.visible < 0.8


def test_target_outside_the_image_is_absent() -> None:
    scene = _scene("rgbe")
    gone = replace(scene.actors[0], position=scene.actors[0].position + 1e4)
    view = render(replace(scene, actors=(gone, *scene.actors[1:])), 1)
    assert view.absent
    np.testing.assert_array_equal(view.box, 0)


def test_fully_occluded_target_is_absent_but_keeps_its_box() -> None:
    scene = _alone(_scene("rgbt", 1))
    target = scene.actors[0]
    cover = replace(target, role="occluder", scale=target.scale * 3, distance=target.distance * 0.5)
    shown, hidden = render(scene, 1), render(replace(scene, actors=(target, cover)), 1)
    assert not shown.absent
    assert hidden.occluded > 0.9
    assert hidden.inside == shown.inside
    np.testing.assert_array_equal(hidden.box, shown.box)


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("index", range(3))
def test_first_frame_shows_the_target(modality: str, index: int) -> None:
    view = render(_scene(modality, index), 1)
    assert view.visible > 0.97
    assert view.box[2:].min() >= 3


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("length", [2, 6, 60])
def test_first_frames_are_free_of_failures(modality: str, length: int) -> None:
    for index in range(60):
        plan = make_plan(np.random.default_rng(index), modality, length)
        s = make_schedules(np.random.default_rng(0), plan, np.arange(-1.0, length))
        first = np.array([s.gain, s.glare, s.fog, s.crossover, s.holes, s.range_noise])[:, :2]
        np.testing.assert_array_equal(first, np.array([1, 0, 0, 0, 0, 1])[:, None] * np.ones(2))


@pytest.mark.parametrize("modality", MODALITIES)
def test_failures_have_the_stated_shares(modality: str) -> None:
    plans = [make_plan(np.random.default_rng(index), modality, 60) for index in range(1000)]
    rgb, x = np.array([(p.rgb_failure is not None, p.x_failure is not None) for p in plans]).T
    assert 0.40 < rgb.mean() < 0.55  # 0.48
    assert 0.20 < x.mean() < 0.29  # 0.24
    assert (rgb & x).mean() < 0.06  # 0.03
    assert {p.rgb_failure for p in plans} == {*RGB_FAILURES[modality], None}
    assert {p.x_failure for p in plans} == {*X_FAILURES[modality], None}


def test_failure_leaves_the_scene_alone() -> None:
    scene = _failing(_scene("rgbt"), rgb="darkness")
    other = _failing(scene)
    np.testing.assert_array_equal(render(scene, 3).color, render(other, 3).color)
    np.testing.assert_array_equal(render(scene, 3).temperature, render(other, 3).temperature)


@pytest.mark.parametrize("failure", ["darkness", "overexposure", "glare", "fog"])
@pytest.mark.parametrize(("modality", "sensor"), [("rgbt", ThermalSensor), ("rgbd", DepthSensor)])
def test_rgb_failure_hides_the_target_from_rgb_only(failure: str, modality: str, sensor: type) -> None:
    scene = _alone(_failing(_scene(modality, 2)))
    failing = _failing(scene, rgb=failure)
    view = render(scene, 1)

    def contrasts(s: Scene) -> tuple[float, float]:
        rgb, x = RgbSensor(s, np.random.default_rng(1)), sensor(s, np.random.default_rng(1))
        images = rgb(view, 1, np.random.default_rng(2)), x(view, 1, np.random.default_rng(2))
        return _contrast(images[0], view.silhouette), _contrast(images[1], view.silhouette)

    good, bad = contrasts(scene), contrasts(failing)
    assert bad[0] < 0.25 * good[0]
    assert bad[1] == good[1]


def test_thermal_crossover_lowers_the_targets_thermal_contrast() -> None:
    scene = _alone(_failing(_scene("rgbt", 1)))
    crossed = _failing(scene, x="thermal_crossover")
    good, bad = render(scene, 1), render(crossed, 1)
    silhouette = good.silhouette
    assert _contrast(bad.temperature, silhouette) < 0.35 * _contrast(good.temperature, silhouette)
    np.testing.assert_array_equal(bad.color, good.color)


def test_depth_holes_take_the_target_away() -> None:
    scene = _failing(_scene("rgbd"))
    view = render(scene, 1)

    def holes(s: Scene) -> float:
        depth = _registered(DepthSensor(s, np.random.default_rng(1)))(view, 1, np.random.default_rng(2))
        return float((depth[view.silhouette] == 0).mean())

    assert holes(scene) < 0.5
    assert holes(_failing(scene, x="depth_holes")) > 0.9


def test_depth_noise_grows_with_the_square_of_the_distance() -> None:
    scene = _failing(_scene("rgbd"))
    view = render(scene, 1)
    spread = []
    for distance in (1000.0, 4000.0):
        flat = replace(
            view, distance=np.full_like(view.distance, distance), reflective=np.zeros(view.color.shape[:2]) > 0
        )
        sensor = _registered(DepthSensor(scene, np.random.default_rng(1)))
        sensor.limit, sensor.noise, sensor.disparity_step, sensor.coarsest = 1e5, 1e-5, 1e-9, 1.0
        depth = sensor(flat, 1, np.random.default_rng(2)).astype(float)
        spread.append(depth[depth > 0].std())
    assert spread[1] / spread[0] == pytest.approx(16, rel=0.15)


def test_depth_beyond_the_range_is_zero() -> None:
    scene = _scene("rgbd")
    view = render(scene, 1)
    sensor = DepthSensor(scene, np.random.default_rng(1))
    sensor.limit = 1.0
    assert not sensor(view, 1, np.random.default_rng(2)).any()


def test_events_are_blank_when_nothing_moves() -> None:
    scene = _still(_scene("rgbe"))
    sensor = _plain_events(scene)
    images = [sensor(render(scene, t), t, np.random.default_rng(2)) for t in range(scene.length + 1)]
    assert (np.array(images) == 255).all()


def test_events_appear_where_something_moves_even_in_the_dark() -> None:
    scene = _alone(_failing(_still(_scene("rgbe")), rgb="darkness"))
    target = scene.actors[0]
    moved = target.position + 3.0 * np.arange(len(target.position))[:, None]
    scene = replace(scene, actors=(replace(target, position=moved),))
    sensor = _plain_events(scene)
    sensor(render(scene, 0), 0, np.random.default_rng(2))
    view = render(scene, 1)
    image = sensor(view, 1, np.random.default_rng(2))
    colors = {tuple(c) for c in image.reshape(-1, 3).tolist()}
    assert colors <= {(255, 255, 255), (30, 30, 220), (200, 30, 30)}
    x, y, w, h = view.box.astype(int)
    fired = (image != 255).any(-1)
    assert fired[y : y + h, x : x + w].sum() > 10
    fired[max(0, y - 6) : y + h + 6, max(0, x - 6) : x + w + 6] = False
    assert not fired.any()


def test_static_scene_stops_everything_but_only_in_its_window() -> None:
    scene, rng = _with("rgbe", "static_scene", 30)
    steps = np.abs(np.diff(scene.actors[0].position, axis=0)).sum(1)
    assert (steps == 0).sum() >= 3
    assert (steps > 0).sum() >= 3
    still = int(np.flatnonzero(steps == 0)[1])
    events = [f.x for f in frames(_undisturbed(scene), rng)][still]
    canvas = np.median(events.reshape(-1, 3), axis=0)
    assert (events != canvas).any(-1).mean() < 0.03


def test_twin_looks_like_the_target_but_differs_in_temperature_and_distance() -> None:
    scene, _ = _with("rgbt", "similar_rgb", 12)
    target, twin = scene.actors[0], next(a for a in scene.actors if a.role == "twin")
    assert twin.sprite is target.sprite
    assert abs(twin.temperature - target.temperature) > 20
    assert (np.abs(twin.distance / target.distance - 1) > 0.2).all()
