"""Scenes in which nothing fails, and many sensors that look at them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from lib.synthetic.benchmark import Job, draw_scene
from lib.synthetic.scene import Plan, Scene
from lib.synthetic.sensors import DepthSensor, EventSensor, ThermalSensor

SIZE = (96, 72)
SENSORS = {"rgbt": ThermalSensor, "rgbd": DepthSensor, "rgbe": EventSensor}


@cache
def good_scene(modality: str, length: int = 6) -> Scene:
    """A scene without failures, outages, time shift and attributes."""
    scene, _ = draw_scene(Job(modality, "train", 1, length, SIZE, 7))
    window = (1e6, 2e6, 1.0)
    return replace(scene, plan=Plan(None, window, None, window), attributes=set())


def poor_scene(modality: str, length: int = 6) -> Scene:
    """A scene of which the X sensor may see little, otherwise like `good_scene`."""
    scene = good_scene(modality, length)
    return replace(scene, plan=replace(scene.plan, poor_x=True))


def cameras(scene: Scene, count: int) -> list:
    """X sensors that differ by their generator only."""
    return [SENSORS[scene.modality](scene, np.random.default_rng(seed)) for seed in range(count)]
