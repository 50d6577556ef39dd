"""One scene per sequence: a place, a camera, and objects with looks, temperature, distance and motion.

Times are indexed 0…T-1 with T = length + 1: index 0 is one frame before the first, which the event camera needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lib.synthetic.backgrounds import Background
from lib.synthetic.painter import Sprite
from lib.synthetic.plan import Plan, Schedules

__all__ = ["Actor", "Camera", "Scene"]


@dataclass(frozen=True)
class Camera:
    """Maps background coordinates (pixels from its centre) to the image: zoom * R(angle) w + centre + pan.

    zoom, angle (T,) float64, radians; pan (T, 2), pixels; centre (2,) of the image.
    skew: (T, 2, 2) what a rolling shutter does to the finished picture about its centre, or None: all rows are
    exposed at once.
    """

    zoom: np.ndarray
    angle: np.ndarray
    pan: np.ndarray
    centre: np.ndarray
    skew: np.ndarray | None = None

    def linear(self) -> np.ndarray:
        """zoom * R, (T, 2, 2)."""
        c, s = self.zoom * np.cos(self.angle), self.zoom * np.sin(self.angle)
        return np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)

    def project(self, world: np.ndarray) -> np.ndarray:
        """World points (T, 2) or (2,) to image points (T, 2)."""
        points = np.broadcast_to(world, self.pan.shape)
        return np.einsum("tij,tj->ti", self.linear(), points) + self.centre + self.pan

    def lift(self, image: np.ndarray, index: int) -> np.ndarray:
        """The world point (2,) seen at an image point (2,) at one time."""
        return np.linalg.solve(self.linear()[index], image - self.centre - self.pan[index])


@dataclass(frozen=True)
class Actor:
    """An object over time; arrays have T rows.

    position (T, 2) image pixels of the centre; scale (T, 2) x and y; angle (T,) radians; shear (T,);
    distance (T,) millimetres; phase (T,) index of the sprite's phase; warp (T,) phase of a wave-like deformation,
    `warp_amount` its amplitude as a share of the size; temperature and heat_gain: sensor levels; reflective: no depth;
    painted: False for what is in the place's picture already; sensed: False if it has no temperature and distance of
    its own either. Its silhouette counts all the same.
    """

    role: str
    sprite: Sprite
    position: np.ndarray
    scale: np.ndarray
    angle: np.ndarray
    shear: np.ndarray
    distance: np.ndarray
    phase: np.ndarray
    warp: np.ndarray
    warp_amount: float
    temperature: float
    heat_gain: float
    reflective: bool = False
    painted: bool = True
    sensed: bool = True


@dataclass(frozen=True)
class Scene:
    """Everything the renderer and the sensors need; `actors[0]` is the target.

    relief: how far the target stands out from what is behind it, as a share of that distance; None: it stands where its
    own distance says.
    """

    modality: str
    width: int
    height: int
    length: int
    background: Background
    camera: Camera
    distance: float
    actors: tuple[Actor, ...]
    plan: Plan
    schedules: Schedules
    attributes: set[str] = field(default_factory=set)
    relief: float | None = None
    natural: bool = False
