"""The RGB and the thermal sensor: from what is there (`View`) to what a camera reports.

All randomness of a frame comes from a generator given per frame.
"""

from __future__ import annotations

import cv2
import numpy as np

from lib.synthetic.motion import make_wave
from lib.synthetic.render import View
from lib.synthetic.scene import Scene
from lib.synthetic.sensing import enlarge, misalignment, noise
from lib.synthetic.textures import fractal

__all__ = ["RgbSensor", "ThermalSensor"]


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
        lit += noise(rng, "normal", height, width, 3) * np.float32(sigma)
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
    """A microbolometer: blurred temperature, slow gain control, noise and fixed pattern; no albedo.

    Each camera has a polarity, contrast, brightness and resolution of its own; some surround hot things with a halo,
    have pixels with a wrong offset, drift, or jump when their shutter calibrates them.
    """

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        width, height, count = scene.width, scene.height, scene.length + 1
        poor, flags = scene.plan.poor_x, scene.attributes
        own = rng.spawn(1)[0]  # a stream of its own: the pictures of the other sensor stay as they are
        self.factor = float(own.uniform(1.5, 3.5 if poor else 2.5)) if own.random() < 0.4 else 1.0
        self.size = (round(width / self.factor), round(height / self.factor))
        self.matrix = None
        if own.random() < 0.5:
            self.matrix = misalignment(own, scene, (0.03, 0.012), 0.02, 0.8)
        self.blur = float(own.uniform(0.6, 1.5)) / self.factor**0.5
        self.noise = float(own.uniform(3, 9) if poor else own.uniform(0.8, 4))
        self.halo = float(own.uniform(0.3, 0.9) * own.choice([-1, 1])) if own.random() < 0.35 else 0.0
        self.halo_reach = float(own.uniform(1.5, 5))
        columns, rows = self.size
        self.pattern = own.uniform(0, 2.5) * noise(own, "normal", 1, columns) + own.uniform(0, 1) * noise(
            own, "normal", rows, columns
        )
        bad = own.random() < 0.25
        if bad:
            wrong = noise(own, "uniform", rows, columns) < 10 ** own.uniform(-3.7, -2.3)
            self.pattern[wrong] += own.uniform(30, 120, wrong.sum()) * own.choice([-1, 1], wrong.sum())
        self.black_hot = bool(own.random() < 0.35)
        self.gamma = float(np.exp(own.uniform(-0.5, 0.8)))
        low_contrast = own.random() < (0.5 if poor else 0.2)
        contrast = own.uniform(0.12 if poor else 0.3, 0.55) if low_contrast else np.exp(own.uniform(-0.3, 0.7))
        level = own.uniform(-0.25, 0.25) * (1 if low_contrast else 0.6)
        drift = make_wave(own, own.uniform(40, 200))(np.arange(count))
        self.contrast = np.full(count, float(contrast))
        self.level = level + own.uniform(0, 0.12) * (drift - drift[1]) * min(1.0, float(contrast))
        jumps = own.random() < 0.3 and count > 4
        if jumps:
            for at in own.integers(4, count, own.integers(1, 4)):
                self.level[at:] += own.choice([-1, 1]) * own.uniform(0.06, 0.25) * min(1.0, float(contrast))
                self.contrast[at:] *= np.exp(own.normal(0, 0.2))
        flags |= {name for name, on in (("low_resolution", self.factor > 1), ("halo", self.halo != 0),
                                        ("bad_pixels", bad), ("black_hot", self.black_hot),
                                        ("low_contrast", low_contrast), ("thermal_jump", jumps)) if on}  # fmt: skip
        self.low: float | None = None
        self.high = 0.0

    def __call__(self, view: View, t: int, rng: np.random.Generator) -> np.ndarray:
        """(H, W, 3) uint8, three equal channels."""
        height, width = view.temperature.shape
        columns, rows = self.size
        heat = view.temperature
        if self.factor > 1:
            if self.factor > 2:
                heat = cv2.resize(heat, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
            heat = cv2.resize(heat, self.size, interpolation=cv2.INTER_LINEAR)
        heat = cv2.GaussianBlur(heat, (0, 0), self.blur)
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
        out += np.float32(self.noise) * noise(rng, "normal", rows, columns) + self.pattern
        image = cv2.LUT(np.clip(out, 0, 255).astype(np.uint8), self._tone(t))
        if self.factor > 1 or self.matrix is not None:
            matrix = np.eye(2, 3) if self.matrix is None else self.matrix
            matrix = enlarge(matrix, (width / columns, height / rows))
            image = cv2.warpAffine(
                image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
            )
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)

    def _tone(self, t: int) -> np.ndarray:
        """Response at time `t`: gamma, contrast, brightness and polarity; (256,) uint8."""
        x = np.linspace(0, 1, 256)
        if self.black_hot:
            x = 1 - x
        x = 0.5 + self.contrast[t] * (x**self.gamma - 0.5) + self.level[t]
        return np.clip(255 * x, 0, 255).astype(np.uint8)
