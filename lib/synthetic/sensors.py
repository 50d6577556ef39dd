"""The sensors: from what is there (`View`) to what an RGB, thermal, depth or event camera reports of it.

A sensor draws its own traits when it is made; what is random in a frame comes from a generator given per frame. Noise
is cut from fixed tiles at random offsets, which is far cheaper than drawing it per pixel.
"""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import cv2
import numpy as np

from lib.synthetic.objects import fractal, overlap
from lib.synthetic.scene import Outage, Scene, View, make_wave
from patrack.modality import DEPTH_LIMIT, OFF_COLOR, ON_COLOR

_TILE = 640


@lru_cache(maxsize=4)
def _tile(kind: str, channels: int) -> np.ndarray:
    """A fixed noise tile (_TILE, _TILE[, channels]) float32: normal, uniform or blobs (smooth, uniform values)."""
    rng = np.random.default_rng(20240229 + channels)
    shape = (_TILE, _TILE) if channels == 1 else (_TILE, _TILE, channels)
    if kind == "normal":
        return rng.standard_normal(shape, dtype=np.float32)
    if kind == "uniform":
        return rng.random(shape, dtype=np.float32)
    smooth = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), 2.2)
    ranks = np.empty(smooth.size, np.float32)
    ranks[np.argsort(smooth, axis=None)] = np.linspace(0, 1, smooth.size, dtype=np.float32)
    return ranks.reshape(shape)


def _noise(rng: np.random.Generator, kind: str, height: int, width: int, channels: int = 1) -> np.ndarray:
    """A window of a noise tile at a random place, (height, width[, channels]) float32."""
    tile = _tile(kind, channels)
    if height > _TILE or width > _TILE:
        repeats = (-(-height // _TILE) + 1, -(-width // _TILE) + 1) + (1,) * (tile.ndim - 2)
        tile = np.tile(tile, repeats)
    y, x = rng.integers(tile.shape[0] - height + 1), rng.integers(tile.shape[1] - width + 1)
    return tile[y : y + height, x : x + width]


def misalignment(
    rng: np.random.Generator, scene: Scene, offset: tuple[float, float], stretch: float, turn: float
) -> np.ndarray:
    """Draw how X is displaced against RGB: a constant offset, scale and rotation about the picture's center.

    Args:
        rng, scene: the latter gives the size, and gets the attribute `misregistered`.
        offset: limits in x and y, as shares of the width.
        stretch, turn: limits of the scale's distance from 1, and of the angle, degrees.

    Returns:
        (2, 3) float64, an affine matrix from pixel coordinates in RGB to those in X.
    """
    scene.attributes.add("misregistered")
    # the sideways offset is at least a third of its limit: two cameras stand side by side
    shift = np.array([rng.uniform(0.33, 1) * rng.choice([-1, 1]), rng.uniform(-1, 1)]) * offset * scene.width
    center = (scene.width - 1) / 2, (scene.height - 1) / 2
    matrix = cv2.getRotationMatrix2D(center, rng.uniform(-turn, turn), 1 + rng.uniform(-stretch, stretch))
    return matrix + np.column_stack([np.zeros((2, 2)), shift])


def _enlarged(matrix: np.ndarray | None, factor: tuple[float, float]) -> np.ndarray:
    """An affine matrix (2, 3; None: identity) for pictures whose pixels are (x, y) times as large."""
    matrix, scale = np.eye(2, 3) if matrix is None else matrix, np.array(factor)
    return np.column_stack([matrix[:, :2] * scale, matrix[:, 2] + matrix[:, :2] @ (scale / 2 - 0.5)])


def drop_out(outage: Outage, image: np.ndarray, before: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Replace the image of a stream that is out; `before` is the image that it delivered last.

    Noise is in color in RGB, gray in 8-bit X, and any range up to 10 m in depth (H, W) uint16.
    """
    if outage.kind == "frozen":
        return before
    if outage.kind == "black":
        return np.zeros_like(image)
    height, width = image.shape[:2]
    values = _noise(rng, "uniform", height, width, 3 if outage.stream == "rgb" else 1)
    if image.ndim == 2:
        return (values * DEPTH_LIMIT).astype(np.uint16)
    values = (values * 255).astype(np.uint8)
    return values if values.ndim == 3 else cv2.cvtColor(values, cv2.COLOR_GRAY2BGR)


def _line_kernel(motion: np.ndarray) -> np.ndarray | None:
    """A motion-blur kernel for a displacement (2,) in pixels; None if shorter than 1.5 pixels."""
    length = min(float(np.hypot(*motion)), 25.0)
    if length < 1.5:
        return None
    size = 2 * int(np.ceil(length / 2)) + 1
    kernel = np.zeros((size, size), np.float32)
    half = motion / max(float(np.hypot(*motion)), 1e-6) * length / 2
    for u in np.linspace(-1, 1, 2 * size):
        x, y = np.round(half * u + size // 2).astype(int)
        kernel[y, x] += 1
    return kernel / kernel.sum()


class RgbSensor:
    """A color camera: exposure, light, motion blur, defocus, glare, fog, noise, tone, compression artefacts."""

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self.scene = scene
        height, width = scene.height, scene.width
        self.exposure = float(rng.uniform(0.5, 0.95)) if rng.random() < 0.3 else float(rng.uniform(0, 0.3))
        self.noise = float(rng.uniform(5, 13)) if rng.random() < 0.2 else float(rng.uniform(0.8, 4))
        self.dark_noise = float(rng.uniform(3, 6))
        self.defocus = float(rng.uniform(1.0, 2.4)) if rng.random() < 0.12 else 0.0
        self.quality = int(rng.integers(12, 40)) if rng.random() < 0.15 else None
        self.gray = rng.random() < 0.15
        scene.note(
            motion_blur=self.exposure >= 0.5,
            noise=self.noise >= 5,
            defocus=self.defocus > 0,
            compression=self.quality is not None,
            gray_camera=self.gray,
        )
        shadows = rng.uniform(0.1, 0.7) * (fractal(rng, height, width, 1.5, 2) - 0.5)
        light = (np.float32(rng.uniform(0.85, 1.45)) * (1 + shadows)).astype(np.float32)
        self.light = cv2.merge([light] * 3)
        self.flicker = float(rng.uniform(0, 0.05))

        # Response per channel: gamma, contrast, color cast; (1, 256, 3).
        curve = 255 * np.linspace(0, 1, 256) ** rng.uniform(0.75, 1.35)
        tint = rng.uniform(0.85, 1.08, 3) if rng.random() < 0.5 else np.ones(3)
        table = np.clip((curve[:, None] - 110) * rng.uniform(0.7, 1.15) * tint + 110 * tint, 0, 255)
        table -= table[0].min()
        self.tone = np.clip(table, 0, 255).astype(np.uint8)[None]

        # A lamp that keeps the target covered without telling where it is: center (T, 2) and radius, pixels.
        target, count = scene.actors[0], len(scene.actors[0].position)
        window = min(41, count)
        padded = np.pad(target.position, ((window // 2, window - 1 - window // 2), (0, 0)), mode="edge")
        path = np.stack([np.convolve(padded[:, k], np.ones(window) / window, "valid") for k in range(2)], -1)
        size = float(max(target.sprite.size)) * float(target.scale.max())
        sway = [make_wave(rng, rng.uniform(15, 50), np.arange(count)) for _ in range(2)]
        self.lamp_path = path + rng.normal(0, 0.4, 2) * size + 0.7 * size * np.stack(sway, -1)
        away = np.abs(self.lamp_path - target.position)[scene.schedules.glare > 0.5]
        reach = float(np.percentile(np.hypot(*away.T), 85)) if len(away) else 0.0
        self.lamp_radius = int(np.clip(1.5 * reach + rng.uniform(1.4, 2.4) * size, 40, 0.6 * width))
        y, x = np.mgrid[-1:1:128j, -1:1:128j]
        radius = np.hypot(x, y)
        self.glow = (np.clip(1.6 * np.exp(-3.2 * radius**2) - 0.06, 0, None) * (radius < 1)).astype(np.float32)
        self.lamp_color = np.array([rng.uniform(0.75, 1.0), rng.uniform(0.88, 1.0), 1.0], np.float32)

    def __call__(self, view: View, t: int, rng: np.random.Generator) -> np.ndarray:
        """Take a picture at time index `t`: (H, W, 3) uint8, B,G,R."""
        s, camera, target = self.scene.schedules, self.scene.camera, self.scene.actors[0]
        height, width = view.color.shape[:2]

        # Motion blur of the whole picture by the camera, and of the target's surroundings by the target.
        image, before = view.color, max(t - 1, 0)
        kernel = _line_kernel(self.exposure * (camera.pan[t] - camera.pan[before]))
        if kernel is not None:
            image = cv2.filter2D(view.color, -1, kernel)
        kernel = _line_kernel(self.exposure * (target.position[t] - target.position[before]))
        x, y, w, h = view.box.astype(int)
        if kernel is not None and w:
            margin = kernel.shape[0] // 2
            window = np.s_[max(0, y - margin) : y + h + margin, max(0, x - margin) : x + w + margin]
            image = image.copy() if image is view.color else image
            image[window] = cv2.filter2D(view.color[window], -1, kernel)
        if self.defocus:
            image = cv2.GaussianBlur(image, (0, 0), self.defocus)

        # Light, fog, and a lamp that shines into the camera from about where the target is.
        gain = s.gain[t] * (1 + self.flicker * rng.standard_normal())
        lit: np.ndarray = cv2.multiply(image.astype(np.float32), self.light, scale=gain)
        if s.fog[t] > 0:
            lit = lit * np.float32(1 - s.fog[t]) + np.float32(185 * s.fog[t])
        if s.glare[t] > 0:
            side = 2 * self.lamp_radius
            left, top = (self.lamp_path[t] - self.lamp_radius).astype(int)
            windows = overlap(left, top, (side, side), lit.shape)
            if windows is not None:
                seen, part = windows
                glow = cv2.resize(self.glow, (side, side))[part]
                lit[seen] += glow[..., None] * self.lamp_color * np.float32(950 * float(s.glare[t]))
                lit += np.float32(25 * float(s.glare[t]))

        # The sensor and what is done to its picture.
        sigma = self.noise if s.gain[t] > 0.3 else max(self.noise, self.dark_noise)
        lit += _noise(rng, "normal", height, width, 3) * np.float32(sigma)
        image = cv2.LUT(np.clip(lit, 0, 255).astype(np.uint8), self.tone)
        if self.gray:
            image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        if self.quality is not None:
            encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1]
            image = cast(np.ndarray, cv2.imdecode(encoded, cv2.IMREAD_COLOR))
        return image


class ThermalSensor:
    """A microbolometer: blurred temperature, slow gain control, noise and fixed pattern; no albedo.

    Each camera has a polarity, contrast, brightness and resolution of its own; some surround hot things with a halo,
    have pixels with a wrong offset, drift, or jump when their shutter calibrates them.
    """

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        width, height, count = scene.width, scene.height, scene.length + 1
        poor = scene.plan.poor_x
        rng = rng.spawn(1)[0]  # a stream of its own: the pictures of the other sensor stay as they are
        self.factor = float(rng.uniform(1.5, 3.5 if poor else 2.5)) if rng.random() < 0.4 else 1.0
        self.size = (round(width / self.factor), round(height / self.factor))
        self.matrix = misalignment(rng, scene, (0.03, 0.012), 0.02, 0.8) if rng.random() < 0.5 else None
        self.blur = float(rng.uniform(0.6, 1.5)) / self.factor**0.5
        self.noise = float(rng.uniform(3, 9) if poor else rng.uniform(0.8, 4))
        self.halo = float(rng.uniform(0.3, 0.9) * rng.choice([-1, 1])) if rng.random() < 0.35 else 0.0
        self.halo_reach = float(rng.uniform(1.5, 5))
        columns, rows = self.size
        self.pattern = rng.uniform(0, 2.5) * _noise(rng, "normal", 1, columns)
        self.pattern = self.pattern + rng.uniform(0, 1) * _noise(rng, "normal", rows, columns)
        bad = rng.random() < 0.25
        if bad:
            wrong = _noise(rng, "uniform", rows, columns) < 10 ** rng.uniform(-3.7, -2.3)
            self.pattern[wrong] += rng.uniform(30, 120, wrong.sum()) * rng.choice([-1, 1], wrong.sum())
        self.black_hot = bool(rng.random() < 0.35)
        self.gamma = float(np.exp(rng.uniform(-0.5, 0.8)))
        low_contrast = rng.random() < (0.5 if poor else 0.2)
        contrast = rng.uniform(0.12 if poor else 0.3, 0.55) if low_contrast else np.exp(rng.uniform(-0.3, 0.7))
        level = rng.uniform(-0.25, 0.25) * (1 if low_contrast else 0.6)
        drift = make_wave(rng, rng.uniform(40, 200), np.arange(count))
        self.contrast = np.full(count, float(contrast))
        self.level = level + rng.uniform(0, 0.12) * (drift - drift[1]) * min(1.0, float(contrast))
        jumps = rng.random() < 0.3 and count > 4
        if jumps:
            for at in rng.integers(4, count, rng.integers(1, 4)):
                self.level[at:] += rng.choice([-1, 1]) * rng.uniform(0.06, 0.25) * min(1.0, float(contrast))
                self.contrast[at:] *= np.exp(rng.normal(0, 0.2))
        scene.note(
            low_resolution=self.factor > 1,
            halo=self.halo != 0,
            bad_pixels=bad,
            black_hot=self.black_hot,
            low_contrast=low_contrast,
            thermal_jump=jumps,
        )
        self.low: float | None = None
        self.high = 0.0

    def __call__(self, view: View, t: int, rng: np.random.Generator) -> np.ndarray:
        """Take a picture at time index `t`: (H, W, 3) uint8, three equal channels."""
        assert view.temperature is not None
        heat = view.temperature
        height, width = heat.shape
        columns, rows = self.size
        if self.factor > 1:
            if self.factor > 2:
                heat = cv2.resize(heat, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
            heat = cv2.resize(heat, self.size, interpolation=cv2.INTER_LINEAR)
        heat = cv2.GaussianBlur(heat, (0, 0), self.blur)

        # Gain control follows the range of temperatures slowly.
        counts = np.cumsum(np.bincount(heat[::4, ::4].ravel(), minlength=256))
        low, high = np.searchsorted(counts, counts[-1] * np.array([0.01, 0.995])).astype(float)
        middle, spread = (low + high) / 2, max(high - low, 50.0)
        low, high = middle - 0.6 * spread, middle + 0.6 * spread
        if self.low is None:
            self.low, self.high = low, high
        self.low, self.high = 0.95 * self.low + 0.05 * low, 0.95 * self.high + 0.05 * high
        gain = np.float32(255 / (self.high - self.low))
        out = (heat.astype(np.float32) - np.float32(self.low)) * gain
        if self.halo:
            wide = cv2.resize(heat, (columns // 4, rows // 4), interpolation=cv2.INTER_AREA)
            wide = cv2.GaussianBlur(wide, (0, 0), self.halo_reach).astype(np.float32) - np.float32(middle)
            out -= cv2.resize(wide * (gain * np.float32(self.halo)), self.size)
        out += np.float32(self.noise) * _noise(rng, "normal", rows, columns) + self.pattern

        # The camera's response: polarity, gamma, contrast and brightness.
        x = np.linspace(0, 1, 256)
        if self.black_hot:
            x = 1 - x
        x = 0.5 + self.contrast[t] * (x**self.gamma - 0.5) + self.level[t]
        image = cv2.LUT(np.clip(out, 0, 255).astype(np.uint8), np.clip(255 * x, 0, 255).astype(np.uint8))
        if self.factor > 1 or self.matrix is not None:
            matrix = _enlarged(self.matrix, (width / columns, height / rows))
            image = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR,
                                   borderMode=cv2.BORDER_REFLECT_101)  # fmt: skip
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)


_SHADOW_REACH = 64  # columns, a power of two; no shadow is longer


class DepthSensor:
    """A structured-light or time-of-flight camera: millimeters, noise growing with the square of the range, holes.

    It stands beside the color camera: what it sees is often not registered to RGB, and where its light is blocked by
    something nearer there is a shadow. Its range ends at 4 to 10 m.
    """

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self.scene = scene
        width, height = scene.width, scene.height
        poor = scene.plan.poor_x
        rng = rng.spawn(1)[0]  # a stream of its own: the pictures of the other sensor stay as they are
        self.nearest = 300.0
        self.limit = float(rng.uniform(3500, 4500) if rng.random() < 0.45 else rng.uniform(6000, DEPTH_LIMIT))
        target = scene.actors[0].distance
        # how far the place goes, but for some percent of it: a frame that is mostly empty becomes one color
        far = scene.distance / np.percentile(scene.background.nearness[::8, ::8], (5, rng.uniform(5, 42)))
        if not poor or rng.random() < 0.7:
            self.limit = max(self.limit, 1.15 * float(target.max()), float(far[1]))
        short = self.limit < far[0]
        self.noise = float(rng.uniform(0.4e-6, 1.8e-6))
        # difference of 1 / distance between steps: their size is that times the squared distance; 2.8e-6 for a Kinect
        self.disparity_step = float(np.exp(rng.uniform(np.log(1.2e-6), np.log(6e-6))))
        self.coarsest = float(rng.uniform(15, 45)) if rng.random() < 0.15 else 1.0
        self.edge_loss = float(rng.uniform(0.1, 0.8))
        self.specks = float(rng.uniform(0, 0.015)) if rng.random() < 0.6 else 0.0  # share of pixels lost anywhere
        self.coarse = 2 if rng.random() < 0.4 else 1  # its pixels are as large as that many of the picture's
        self.baseline = 0.0
        if rng.random() < 0.6:  # disparity of a meter's distance, pixels; that of a Kinect is 0.068 of the width
            self.baseline = float(rng.uniform(0.02, 0.07) * width * rng.choice([-1, 1])) / self.coarse * 1000
        self.margin = round(rng.uniform(0.005, 0.025) * width / self.coarse) if rng.random() < 0.4 else 0
        self.matrix = None
        if rng.random() < 0.6:
            large = rng.random() < 0.5
            limits = ((0.075, 0.02), 0.06, 1.5) if large else ((0.03, 0.006), 0.02, 0.0)
            self.matrix = misalignment(rng, scene, *limits)
        self.border = int(rng.choice([cv2.BORDER_CONSTANT, cv2.BORDER_REFLECT_101]))
        self.lattice = None
        spare = scene.plan.x_failure is None and not short
        if rng.random() < (0.3 if poor else 0.2 * spare):
            share = rng.uniform(0.15, 0.72) if poor else rng.uniform(0.1, 0.3)
            self.lattice = self._lattice(rng, float(share), height, width)
        beyond = float(np.median(target)) > self.limit
        scene.note(
            short_range=short,
            out_of_range=beyond,
            coarse_depth=self.coarsest > 1,
            depth_shadow=self.baseline != 0,
            lattice_holes=self.lattice is not None,
        )

    @staticmethod
    def _lattice(rng: np.random.Generator, share: float, height: int, width: int) -> np.ndarray:
        """Pixels (height, width) bool without a measurement because a coarser grid was spread over the picture.

        share: of the pixels, 0…0.75. A row or column is met when the grid has a point in it.
        """
        keep = (1 - share) ** 0.5
        met = [np.diff(np.floor((np.arange(n + 1) + rng.random()) * keep)) > 0 for n in (height, width)]
        return ~np.outer(*met)

    def __call__(self, view: View, t: int, rng: np.random.Generator) -> np.ndarray:
        """Measure at time index `t`: (H, W) uint16 millimeters, 0 = no measurement."""
        assert view.distance is not None
        assert view.reflective is not None
        s = self.scene.schedules
        z = np.ascontiguousarray(view.distance[:: self.coarse, :: self.coarse])
        height, width = z.shape
        blobs = _noise(rng, "blobs", height, width)
        grain = _noise(rng, "normal", height, width)
        if s.range_noise[t] > 1.5:  # interference comes in grains of several pixels
            grain = grain + 2 * cv2.resize(_noise(rng, "normal", height // 5 + 1, width // 5 + 1), (width, height))
        noisy = np.maximum(z + grain * (z * z) * np.float32(self.noise * s.range_noise[t]), np.float32(100))
        if self.coarsest > 1:
            noisy = np.rint(noisy * np.float32(1 / self.coarsest)) * np.float32(self.coarsest)
        else:  # it measures whole steps of disparity
            step = np.float32(self.disparity_step)
            with np.errstate(divide="ignore"):  # less than half a step: infinitely far, and lost below
                noisy = 1 / (np.rint(1 / (noisy * step)) * step)

        # No measurement at edges, beyond the range, in specks, on reflective things, in the projector's shadow.
        span = cv2.dilate(z, np.ones((3, 5))) - cv2.erode(z, np.ones((3, 5)))
        lost = (span > 0.08 * z) & (blobs < self.edge_loss)
        lost |= (noisy > self.limit) | (noisy < self.nearest) | (blobs < self.specks)
        lost |= view.reflective[:: self.coarse, :: self.coarse] & (blobs < 0.85)
        if self.baseline:
            lost |= self._shadow(z)
        if s.holes[t] > 0:  # sun or a shiny surface: most of the target, and much around it, gives no answer
            strength = float(s.holes[t])
            x, y, w, h = view.box.astype(int) // self.coarse
            window = np.s_[max(0, y - h) : y + 2 * h, max(0, x - w) : x + 2 * w]
            lost |= blobs < 0.25 * strength
            lost[window] |= blobs[window] < 0.8 * strength
            lost |= view.silhouette[:: self.coarse, :: self.coarse] & (blobs < 0.97 * strength)
        if self.margin:
            lost[:, -self.margin :] = True
        noisy[lost] = 0
        image = np.clip(noisy, 0, 65535).astype(np.uint16)
        if self.matrix is not None or self.coarse > 1:
            matrix = _enlarged(self.matrix, (self.coarse, self.coarse))
            size = (self.scene.width, self.scene.height)
            image = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_NEAREST, borderMode=self.border)
        if self.lattice is not None:
            image[self.lattice] = 0
        return image

    def _shadow(self, z: np.ndarray) -> np.ndarray:
        """Pixels (H, W) bool in the shadow of the projector, which stands beside the camera, left or right of it.

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


# How event pictures are colored: canvas, ON, OFF; B,G,R.
EVENT_COLORS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "white_red_blue": ((255, 255, 255), ON_COLOR[::-1], OFF_COLOR[::-1]),  # VisEvent's
    "white_blue_green": ((255, 255, 255), (220, 40, 20), (30, 170, 40)),
    "white_gray": ((255, 255, 255), (150, 150, 150), (0, 0, 0)),
    "gray_red_blue": ((128, 128, 128), (0, 0, 255), (255, 0, 0)),
    "gray_blue_green": ((128, 128, 128), (255, 0, 0), (0, 255, 0)),
    "gray_gray": ((128, 128, 128), (255, 255, 255), (0, 0, 0)),
    "black_red_blue": ((0, 0, 0), (0, 0, 255), (255, 0, 0)),
    "black_blue_green": ((0, 0, 0), (255, 0, 0), (0, 255, 0)),
    "black_gray": ((0, 0, 0), (255, 255, 255), (120, 120, 120)),
}
_EVENT_SHARES = (0.4, 0.06, 0.06, 0.07, 0.05, 0.14, 0.1, 0.06, 0.06)
_FRAME_MS = 20.0  # between frames: what windows are compared with
_EDGES_BELOW = 14.0  # milliseconds; shorter windows leave only the edges where they are now
_LOG_SCALE = 80  # steps of log intensity per unit


class EventSensor:
    """An event camera: where log intensity changed by more than a threshold within a window before the frame.

    A window as long as the time between frames takes all changes since the last frame; a shorter one leaves only the
    edges where they are now, a longer one the traces of earlier frames too.
    """

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        width, height = scene.width, scene.height
        poor = scene.plan.poor_x
        rng = rng.spawn(1)[0]  # a stream of its own: the pictures of the other sensor stay as they are
        self.rendering = str(rng.choice(list(EVENT_COLORS), p=_EVENT_SHARES))
        graded = rng.random() < 0.6 and self.rendering == "gray_gray"
        self.window = float(np.exp(rng.uniform(np.log(5), np.log(50))))  # milliseconds
        threshold = rng.uniform(0.25, 0.5) if poor else rng.uniform(0.1, 0.25)
        uneven = np.exp(rng.uniform(0.05, 0.3) * _noise(rng, "normal", height, width))
        self.threshold = np.clip(threshold * _LOG_SCALE * uneven, 3, 250).astype(np.uint8)
        self.noise = float(10 ** rng.uniform(-3.2, -1.7 if poor else -2.6))
        if not poor and rng.random() < 0.5:
            self.noise = float(10 ** rng.uniform(-4.5, -3.2))
        count = int(rng.integers(1, 30)) if rng.random() < 0.4 else 0
        self.hot = np.column_stack([rng.integers(0, height, count), rng.integers(0, width, count)])
        self.hot_on = rng.random(count) < 0.5
        self.matrix = misalignment(rng, scene, (0.03, 0.012), 0.02, 0.8) if rng.random() < 0.4 else None
        # a pixel's code: how many steps of log intensity it rose or fell, or just that it did
        self.graded, (self.empty, self.on, self.off) = graded, (128, 255, 0) if graded else (0, 1, 2)
        self.colors = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3)
        if not graded:
            self.colors[0, :3] = EVENT_COLORS[self.rendering]
        scene.note(
            **{f"{self.rendering.split('_')[0]}_canvas": True},
            short_window=self.window < _EDGES_BELOW,
            long_window=self.window >= 30,
            hot_pixels=count > 0,
        )
        self.table = np.round(_LOG_SCALE * (np.log(np.arange(256) + 12.0) - np.log(12.0))).astype(np.uint8)
        self.before: np.ndarray | None = None
        self.traces: list[np.ndarray] = []

    def __call__(self, view: View, t: int, rng: np.random.Generator) -> np.ndarray:
        """Take a picture at time index `t`: (H, W, 3) uint8 B,G,R; OFF lies over ON; only canvas at the first call."""
        intensity = cv2.LUT(cv2.cvtColor(view.color, cv2.COLOR_BGR2GRAY), self.table)
        before, self.before = self.before, intensity
        if before is None:
            return self._paint(np.full_like(intensity, self.empty))
        rise, fall = cv2.subtract(intensity, before), cv2.subtract(before, intensity)
        on: np.ndarray = cv2.compare(rise, self.threshold, cv2.CMP_GT)  # 0 or 255
        off: np.ndarray = cv2.compare(fall, self.threshold, cv2.CMP_GT)
        if self.window < _EDGES_BELOW:
            kernel = np.ones((2, 2) if self.window < 8 else (4, 4), np.uint8)
            edge = cv2.morphologyEx(intensity, cv2.MORPH_GRADIENT, kernel)
            edge = cv2.compare(edge, self.threshold, cv2.CMP_GT)
            on, off = cv2.bitwise_and(on, edge), cv2.bitwise_and(off, edge)
        if self.graded:
            code = cv2.subtract(cv2.add(np.full_like(on, 128), cv2.bitwise_and(rise, on)), cv2.bitwise_and(fall, off))
        else:
            code = np.maximum(on & 1, off & 2)
        past = round(self.window / _FRAME_MS) - 1
        if past > 0:
            self.traces = [code, *self.traces[:past]]
            code = code.copy()
            for trace in self.traces[1:]:
                code = np.where(code == self.empty, trace, code)

        # Single events anywhere, and those of pixels that fire without a cause.
        height, width = code.shape
        count = rng.poisson(self.noise * height * width)
        where = rng.integers(0, height, count), rng.integers(0, width, count)
        code[where] = np.where(rng.random(count) < 0.5, self.on, self.off)
        fired = rng.random(len(self.hot)) < 0.8
        y, x = self.hot[fired].T
        code[y, x] = np.where(self.hot_on[fired], self.on, self.off)
        return self._paint(code)

    def _paint(self, code: np.ndarray) -> np.ndarray:
        """Codes (H, W) as colors, where the misaligned sensor sees them."""
        if self.matrix is not None:
            size = (code.shape[1], code.shape[0])
            code = cv2.warpAffine(code, self.matrix, size, flags=cv2.INTER_NEAREST, borderValue=self.empty)
        return cv2.LUT(cv2.cvtColor(code, cv2.COLOR_GRAY2BGR), self.colors)
