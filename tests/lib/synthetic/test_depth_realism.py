"""Depth targets that lie on what is behind them, and depth that is not registered to RGB."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lib.synthetic.benchmark import Job, draw_scene
from lib.synthetic.render import render
from lib.synthetic.scene import Scene
from lib.synthetic.sensors import DepthSensor


def drawn(index: int) -> tuple[Scene, np.random.Generator]:
    return draw_scene(Job("rgbd", "train", index, 4, (96, 72), 0))


def test_relief_puts_the_target_just_before_what_is_behind_it() -> None:
    scene, _ = drawn(0)
    alone = replace(scene, actors=scene.actors[:1], relief=0.02)
    view = render(alone, 1)
    background = render(replace(alone, actors=(replace(scene.actors[0], position=scene.actors[0].position + 1e4),)), 1)
    inside = view.silhouette
    assert inside.any()
    np.testing.assert_allclose(view.distance[inside], 0.98 * background.distance[inside], rtol=1e-5)


def test_low_relief_only_where_rgb_does_not_fail() -> None:
    scenes = [drawn(index)[0] for index in range(30)]
    low = [scene for scene in scenes if scene.relief is not None]
    assert low
    assert all("low_relief" in scene.attributes and not scene.plan.needs_x for scene in low)
    assert any(scene.relief is None and not scene.plan.needs_x for scene in scenes)


def test_misregistered_depth_is_moved_as_its_matrix_says() -> None:
    scene, _ = drawn(0)
    sensor = DepthSensor(scene, np.random.default_rng(0))
    view = render(scene, 1)
    sensor.coarse, sensor.margin, sensor.lattice, sensor.matrix = 1, 0, None, None
    straight = sensor(view, 1, np.random.default_rng(5))
    sensor.matrix = np.array([[1.0, 0, 3], [0, 1, -1]])
    shifted = sensor(view, 1, np.random.default_rng(5))
    np.testing.assert_array_equal(shifted[:-1, 3:], straight[1:, :-3])
