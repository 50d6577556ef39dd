"""What the properties of event cameras do to the pictures, and that they occur."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lib.synthetic.render import render
from lib.synthetic.scene import Scene
from lib.synthetic.sensors import EVENT_COLORS, EventSensor
from sensor_data import SIZE, cameras, good_scene


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
