"""Sensors: from what is there (`View`) to what a camera reports.

All randomness of a frame comes from a generator given per frame; noise is cut from fixed tiles at random offsets,
which is far cheaper than drawing it per pixel.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from lib.modality import OFF_COLOUR, ON_COLOUR
from lib.synthetic.motion import make_wave
from lib.synthetic.render import View
from lib.synthetic.scene import Scene
from lib.synthetic.textures import fractal

__all__ = ["DepthSensor", "EventSensor", "RgbSensor", "ThermalSensor"]

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
    """A colour camera: exposure, light, motion blur, defocus, glare, fog, noise, tone, compression artefacts."""

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self.scene = scene
        height, width = scene.height, scene.width
        flags = scene.attributes
        self.exposure = float(rng.uniform(0.5, 0.95)) if rng.random() < 0.3 else float(rng.uniform(0, 0.3))
        self.noise = float(rng.uniform(5, 13)) if rng.random() < 0.2 else float(rng.uniform(0.8, 4))
        self.dark_noise = float(rng.uniform(3, 6))
        self.defocus = float(rng.uniform(1.0, 2.4)) if rng.random() < 0.12 else 0.0
        self.quality = int(rng.integers(12, 40)) if rng.random() < 0.15 else None
        self.gray = rng.random() < 0.15
        flags |= {name for name, on in (("motion_blur", self.exposure >= 0.5), ("noise", self.noise >= 5),
                                        ("defocus", self.defocus > 0), ("compression", self.quality is not None),
                                        ("gray_camera", self.gray)) if on}  # fmt: skip
        shadows = rng.uniform(0.1, 0.7) * (fractal(rng, height, width, 1.5, 2) - 0.5)
        light = (np.float32(rng.uniform(0.85, 1.45)) * (1 + shadows)).astype(np.float32)
        self.light = cv2.merge([light] * 3)
        self.flicker = float(rng.uniform(0, 0.05))
        self.tone = self._tone(rng)
        self.lamps = self._lamp_path(rng)
        y, x = np.mgrid[-1:1:128j, -1:1:128j]
        radius = np.hypot(x, y)
        self.glow = (np.clip(1.6 * np.exp(-3.2 * radius**2) - 0.06, 0, None) * (radius < 1)).astype(np.float32)
        self.lamp_color = np.array([rng.uniform(0.75, 1.0), rng.uniform(0.88, 1.0), 1.0], np.float32)

    def _lamp_path(self, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """Centre (T, 2) and radius, pixels, of a lamp that keeps the target covered without telling where it is."""
        target = self.scene.actors[0]
        count = len(target.position)
        window = min(41, count)
        padded = np.pad(target.position, ((window // 2, window - 1 - window // 2), (0, 0)), mode="edge")
        path = np.stack([np.convolve(padded[:, k], np.ones(window) / window, "valid") for k in range(2)], -1)
        size = float(max(target.sprite.size)) * float(target.scale.max())
        sway = [make_wave(rng, rng.uniform(15, 50))(np.arange(count)) for _ in range(2)]
        path = path + rng.normal(0, 0.4, 2) * size + 0.7 * size * np.stack(sway, -1)
        away = np.abs(path - target.position)[self.scene.schedules.glare > 0.5]
        reach = float(np.percentile(np.hypot(*away.T), 85)) if len(away) else 0.0
        return path, float(np.clip(1.5 * reach + rng.uniform(1.4, 2.4) * size, 40, 0.6 * self.scene.width))

    @staticmethod
    def _tone(rng: np.random.Generator) -> np.ndarray:
        """Per-channel response: gamma, contrast, colour cast; (1, 256, 3) uint8."""
        x = np.linspace(0, 1, 256)
        curve = 255 * x ** rng.uniform(0.75, 1.35)
        cast = rng.uniform(0.85, 1.08, 3) if rng.random() < 0.5 else np.ones(3)
        table = np.clip((curve[:, None] - 110) * rng.uniform(0.7, 1.15) * cast + 110 * cast, 0, 255)
        table -= table[0].min()
        return np.clip(table, 0, 255).astype(np.uint8)[None]

    def __call__(self, view: View, t: int, rng: np.random.Generator) -> np.ndarray:
        """(H, W, 3) uint8, B,G,R."""
        s = self.scene.schedules
        height, width = view.color.shape[:2]
        image = self._blur(view, t)
        gain = s.gain[t] * (1 + self.flicker * rng.standard_normal())
        lit = cv2.multiply(image.astype(np.float32), self.light, scale=gain)
        if s.fog[t] > 0:
            lit = lit * np.float32(1 - s.fog[t]) + np.float32(185 * s.fog[t])
        if s.glare[t] > 0:
            self._glare(lit, t, float(s.glare[t]))
        sigma = self.noise if s.gain[t] > 0.3 else max(self.noise, self.dark_noise)
        lit += _noise(rng, "normal", height, width, 3) * np.float32(sigma)
        image = cv2.LUT(np.clip(lit, 0, 255).astype(np.uint8), self.tone)
        if self.gray:
            image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        if self.quality is not None:
            image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1], 1)
        return image

    def _blur(self, view: View, t: int) -> np.ndarray:
        """Motion blur of the whole picture by the camera, and of the target's surroundings by the target."""
        camera, target = self.scene.camera, self.scene.actors[0]
        image = view.color
        before = max(t - 1, 0)
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
        return image

    def _glare(self, lit: np.ndarray, t: int, strength: float) -> None:
        """Add a lamp that shines into the camera from about where the target is."""
        path, reach = self.lamps
        radius = int(reach)
        x, y = (path[t] - radius).astype(int)
        height, width = lit.shape[:2]
        x0, y0, x1, y1 = max(0, x), max(0, y), min(width, x + 2 * radius), min(height, y + 2 * radius)
        if x1 <= x0 or y1 <= y0:
            return
        glow = cv2.resize(self.glow, (2 * radius, 2 * radius))[y0 - y : y1 - y, x0 - x : x1 - x]
        lit[y0:y1, x0:x1] += glow[..., None] * self.lamp_color * np.float32(950 * strength)
        lit += np.float32(25 * strength)


class ThermalSensor:
    """A microbolometer: blurred temperature, slow gain control, noise and fixed pattern; no albedo."""

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        height, width = scene.height, scene.width
        self.blur = float(rng.uniform(0.6, 1.5))
        self.noise = float(rng.uniform(0.8, 4))
        self.pattern = rng.uniform(0, 2.5) * _noise(rng, "normal", 1, width) + rng.uniform(0, 1) * _noise(
            rng, "normal", height, width
        )
        self.low: float | None = None
        self.high = 0.0

    def __call__(self, view: View, t: int, rng: np.random.Generator) -> np.ndarray:
        """(H, W, 3) uint8, three equal channels."""
        height, width = view.temperature.shape
        heat = cv2.GaussianBlur(view.temperature, (0, 0), self.blur)
        low, high = np.percentile(heat[::4, ::4], (1, 99.5))
        middle, spread = (low + high) / 2, max(high - low, 50.0)
        low, high = middle - 0.6 * spread, middle + 0.6 * spread
        if self.low is None:
            self.low, self.high = low, high
        self.low, self.high = 0.95 * self.low + 0.05 * low, 0.95 * self.high + 0.05 * high
        out = (heat.astype(np.float32) - np.float32(self.low)) * np.float32(255 / (self.high - self.low))
        out += np.float32(self.noise) * _noise(rng, "normal", height, width) + self.pattern
        return cv2.cvtColor(np.clip(out, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)


class DepthSensor:
    """A structured-light or time-of-flight camera: millimetres, noise growing with the square of the range, holes.

    It stands beside the colour camera. Half of the sequences are not registered: depth is shifted by a few pixels.
    """

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self.scene = scene
        self.limit = float(scene.distance * rng.uniform(1.3, 2.5))
        self.noise = float(rng.uniform(0.6e-6, 1.8e-6))
        self.edge_loss = float(rng.uniform(0.3, 0.8))
        own = rng.spawn(1)[0]  # a stream of its own: the pictures of the other sensors stay as they are
        self.shift = np.zeros(2)
        if own.random() < 0.5:
            self.shift = np.rint(own.uniform(-1, 1, 2) * (0.03 * scene.width, 0.006 * scene.width))
            scene.attributes.add("misregistered")

    def __call__(self, view: View, t: int, rng: np.random.Generator) -> np.ndarray:
        """(H, W) uint16 millimetres, 0 = no measurement."""
        s = self.scene.schedules
        height, width = view.distance.shape
        z = view.distance
        blobs = _noise(rng, "blobs", height, width)
        grain = _noise(rng, "normal", height, width)
        if s.range_noise[t] > 1.5:  # interference comes in grains of several pixels
            grain = grain + 2 * cv2.resize(_noise(rng, "normal", height // 5 + 1, width // 5 + 1), (width, height))
        step = cv2.max(z * z * np.float32(1.2e-6), 1.0)  # disparity steps
        noisy = z + grain * (z * z) * np.float32(self.noise * s.range_noise[t])
        noisy = np.rint(noisy / step) * step
        span = cv2.dilate(z, np.ones((3, 5))) - cv2.erode(z, np.ones((3, 5)))
        lost = (span > 0.08 * z) & (blobs < self.edge_loss)
        lost |= (noisy > self.limit) | (blobs < 0.008) | (view.reflective & (blobs < 0.85))
        if s.holes[t] > 0:
            self._lose_target(lost, view, t, blobs, float(s.holes[t]))
        noisy[lost] = 0
        if self.shift.any():
            matrix = np.column_stack([np.eye(2), self.shift])
            noisy = cv2.warpAffine(
                noisy, matrix, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
            )
        return np.clip(noisy, 0, 65535).astype(np.uint16)

    def _lose_target(self, lost: np.ndarray, view: View, t: int, blobs: np.ndarray, strength: float) -> None:
        """Direct sun or a shiny surface: most of the target, and much around it, gives no answer."""
        x, y, w, h = view.box.astype(int)
        window = np.s_[max(0, y - h) : y + 2 * h, max(0, x - w) : x + 2 * w]
        lost |= blobs < 0.25 * strength
        lost[window] |= blobs[window] < 0.8 * strength
        lost |= view.silhouette & (blobs < 0.97 * strength)


class EventSensor:
    """An event camera: where log intensity changed since the last frame by more than a threshold."""

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self.threshold = float(rng.uniform(0.12, 0.25))
        self.noise = float(10 ** rng.uniform(-4.5, -2.8))
        self.table = np.log(np.arange(256, dtype=np.float32) + 12)
        self.before: np.ndarray | None = None

    def __call__(self, view: View, t: int, rng: np.random.Generator) -> np.ndarray:
        """(H, W, 3) uint8, B,G,R: white canvas, ON red, OFF blue painted over ON; all white at the first call."""
        intensity = self.table[cv2.cvtColor(view.color, cv2.COLOR_BGR2GRAY)]
        canvas = np.full(view.color.shape, 255, np.uint8)
        if self.before is None:
            self.before = intensity
            return canvas
        change = intensity - self.before
        self.before = intensity
        chance = _noise(rng, "uniform", *change.shape)
        canvas[(change > self.threshold) | (chance < self.noise / 2)] = ON_COLOUR[::-1]
        canvas[(change < -self.threshold) | (chance > 1 - self.noise / 2)] = OFF_COLOUR[::-1]
        return canvas
