"""The depth sensor: from distances to what a depth camera beside the RGB camera reports of them."""

from __future__ import annotations

import cv2
import numpy as np

from lib.synthetic.render import View
from lib.synthetic.scene import Scene
from lib.synthetic.sensing import enlarge, misalignment, noise
from patrack.modality import DEPTH_LIMIT

__all__ = ["DepthSensor"]

_SHADOW_REACH = 64  # columns, a power of two; no shadow is longer


class DepthSensor:
    """A structured-light or time-of-flight camera: millimetres, noise growing with the square of the range, holes.

    It stands beside the colour camera: what it sees is often not registered to RGB, and where its light is blocked by
    something nearer there is a shadow. Its range ends at 4 to 10 m.
    """

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self.scene = scene
        width, height = scene.width, scene.height
        poor, flags = scene.plan.poor_x, scene.attributes
        own = rng.spawn(1)[0]  # a stream of its own: the pictures of the other sensor stay as they are
        self.nearest = 300.0
        self.limit = float(own.uniform(3500, 4500) if own.random() < 0.45 else own.uniform(6000, DEPTH_LIMIT))
        target = scene.actors[0].distance
        # how far the place goes, but for some percent of it: a frame that is mostly empty becomes one color
        far = scene.distance / np.percentile(scene.background.nearness[::8, ::8], (5, own.uniform(5, 42)))
        if not poor or own.random() < 0.7:
            self.limit = max(self.limit, 1.15 * float(target.max()), float(far[1]))
        short = self.limit < far[0]
        self.noise = float(own.uniform(0.4e-6, 1.8e-6))
        # difference of 1 / distance between steps: their size is that times the squared distance; 2.8e-6 for a Kinect
        self.disparity_step = float(np.exp(own.uniform(np.log(1.2e-6), np.log(6e-6))))
        self.coarsest = float(own.uniform(15, 45)) if own.random() < 0.15 else 1.0
        self.edge_loss = float(own.uniform(0.1, 0.8))
        self.specks = float(own.uniform(0, 0.015)) if own.random() < 0.6 else 0.0  # share of pixels lost anywhere
        self.coarse = 2 if own.random() < 0.4 else 1  # its pixels are as large as that many of the picture's
        self.baseline = 0.0
        if own.random() < 0.6:  # disparity of a metre's distance, pixels; that of a Kinect is 0.068 of the width
            self.baseline = float(own.uniform(0.02, 0.07) * width * own.choice([-1, 1])) / self.coarse * 1000
        self.margin = round(own.uniform(0.005, 0.025) * width / self.coarse) if own.random() < 0.4 else 0
        self.matrix = None
        if own.random() < 0.6:
            large = own.random() < 0.5
            limits = ((0.075, 0.02), 0.06, 1.5) if large else ((0.03, 0.006), 0.02, 0.0)
            self.matrix = misalignment(own, scene, *limits)
        self.border = int(own.choice([cv2.BORDER_CONSTANT, cv2.BORDER_REFLECT_101]))
        self.lattice = None
        spare = scene.plan.x_failure is None and not short
        if own.random() < (0.3 if poor else 0.2 * spare):
            share = own.uniform(0.15, 0.72) if poor else own.uniform(0.1, 0.3)
            self.lattice = self._lattice(own, float(share), height, width)
        beyond = float(np.median(target)) > self.limit
        flags |= {name for name, on in (("short_range", short), ("out_of_range", beyond),
                                        ("coarse_depth", self.coarsest > 1), ("depth_shadow", self.baseline != 0),
                                        ("lattice_holes", self.lattice is not None)) if on}  # fmt: skip

    @staticmethod
    def _lattice(rng: np.random.Generator, share: float, height: int, width: int) -> np.ndarray:
        """Where nothing arrives because a coarser grid was spread over the picture; (height, width) bool.

        share: of the pixels, 0…0.75. A row or column is met when the grid has a point in it.
        """
        keep = (1 - share) ** 0.5
        met = [np.diff(np.floor((np.arange(n + 1) + rng.random()) * keep)) > 0 for n in (height, width)]
        return ~np.outer(*met)

    def __call__(self, view: View, t: int, rng: np.random.Generator) -> np.ndarray:
        """(H, W) uint16 millimetres, 0 = no measurement."""
        s = self.scene.schedules
        z = np.ascontiguousarray(view.distance[:: self.coarse, :: self.coarse])
        height, width = z.shape
        blobs = noise(rng, "blobs", height, width)
        grain = noise(rng, "normal", height, width)
        if s.range_noise[t] > 1.5:  # interference comes in grains of several pixels
            grain = grain + 2 * cv2.resize(noise(rng, "normal", height // 5 + 1, width // 5 + 1), (width, height))
        noisy = cv2.max(z + grain * (z * z) * np.float32(self.noise * s.range_noise[t]), 100.0)
        if self.coarsest > 1:
            noisy = np.rint(noisy * np.float32(1 / self.coarsest)) * np.float32(self.coarsest)
        else:  # it measures whole steps of disparity
            step = np.float32(self.disparity_step)
            noisy = 1 / (np.rint(1 / (noisy * step)) * step)
        span = cv2.dilate(z, np.ones((3, 5))) - cv2.erode(z, np.ones((3, 5)))
        lost = (span > 0.08 * z) & (blobs < self.edge_loss)
        lost |= (noisy > self.limit) | (noisy < self.nearest) | (blobs < self.specks)
        lost |= view.reflective[:: self.coarse, :: self.coarse] & (blobs < 0.85)
        if self.baseline:
            lost |= self._shadow(z)
        if s.holes[t] > 0:
            self._lose_target(lost, view, t, blobs, float(s.holes[t]))
        if self.margin:
            lost[:, -self.margin :] = True
        noisy[lost] = 0
        image = np.clip(noisy, 0, 65535).astype(np.uint16)
        if self.matrix is not None or self.coarse > 1:
            matrix = enlarge(np.eye(2, 3) if self.matrix is None else self.matrix, (self.coarse, self.coarse))
            size = (self.scene.width, self.scene.height)
            image = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_NEAREST, borderMode=self.border)
        if self.lattice is not None:
            image[self.lattice] = 0
        return image

    def _shadow(self, z: np.ndarray) -> np.ndarray:
        """Where the projector's light does not arrive, (H, W) bool: it stands beside the camera, left or right of it.

        A point at column x lies in the projector's picture at x + disparity; in a row, what something nearer passes
        over is dark.
        """
        column = np.arange(z.shape[1], dtype=np.float32) + np.float32(self.baseline) / z
        if self.baseline < 0:  # mirrored, so that light always comes from the left
            column = z.shape[1] - cv2.flip(column, 1)
        covered = column.copy()  # the largest value within `_SHADOW_REACH` columns to the left
        reach = 1
        while reach < min(_SHADOW_REACH, z.shape[1]):
            covered[:, reach:] = cv2.max(covered[:, reach:], covered[:, :-reach])
            reach *= 2
        dark = covered > column + 0.5
        return dark[:, ::-1] if self.baseline < 0 else dark

    def _lose_target(self, lost: np.ndarray, view: View, t: int, blobs: np.ndarray, strength: float) -> None:
        """Direct sun or a shiny surface: most of the target, and much around it, gives no answer."""
        x, y, w, h = view.box.astype(int) // self.coarse
        window = np.s_[max(0, y - h) : y + 2 * h, max(0, x - w) : x + 2 * w]
        lost |= blobs < 0.25 * strength
        lost[window] |= blobs[window] < 0.8 * strength
        lost |= view.silhouette[:: self.coarse, :: self.coarse] & (blobs < 0.97 * strength)
