"""The event sensor: what changed, in the colors of one of the usual renderings."""

from __future__ import annotations

import cv2
import numpy as np

from lib.synthetic.render import View
from lib.synthetic.scene import Scene
from lib.synthetic.sensing import misalignment, noise
from patrack.modality import OFF_COLOUR, ON_COLOUR

__all__ = ["EVENT_COLORS", "EventSensor"]

# How event pictures are colored: canvas, ON, OFF; B,G,R.
EVENT_COLORS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "white_red_blue": ((255, 255, 255), ON_COLOUR[::-1], OFF_COLOUR[::-1]),  # VisEvent's
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
        poor, flags = scene.plan.poor_x, scene.attributes
        own = rng.spawn(1)[0]  # a stream of its own: the pictures of the other sensor stay as they are
        self.rendering = str(own.choice(list(EVENT_COLORS), p=_EVENT_SHARES))
        graded = own.random() < 0.6 and self.rendering == "gray_gray"
        self.window = float(np.exp(own.uniform(np.log(5), np.log(50))))  # milliseconds
        threshold = own.uniform(0.25, 0.5) if poor else own.uniform(0.1, 0.25)
        uneven = np.exp(own.uniform(0.05, 0.3) * noise(own, "normal", height, width))
        self.threshold = np.clip(threshold * _LOG_SCALE * uneven, 3, 250).astype(np.uint8)
        self.noise = float(10 ** own.uniform(-3.2, -1.7 if poor else -2.6))
        if not poor and own.random() < 0.5:
            self.noise = float(10 ** own.uniform(-4.5, -3.2))
        count = int(own.integers(1, 30)) if own.random() < 0.4 else 0
        self.hot = np.column_stack([own.integers(0, height, count), own.integers(0, width, count)])
        self.hot_on = own.random(count) < 0.5
        self.matrix = misalignment(own, scene, (0.03, 0.012), 0.02, 0.8) if own.random() < 0.4 else None
        # a pixel's code: how many steps of log intensity it rose or fell, or just that it did
        self.graded, (self.empty, self.on, self.off) = graded, (128, 255, 0) if graded else (0, 1, 2)
        self.colors = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3)
        if not graded:
            self.colors[0, :3] = EVENT_COLORS[self.rendering]
        flags.add(f"{self.rendering.split('_')[0]}_canvas")
        flags |= {name for name, on in (("short_window", self.window < _EDGES_BELOW),
                                        ("long_window", self.window >= 30),
                                        ("hot_pixels", count > 0)) if on}  # fmt: skip
        self.table = np.round(_LOG_SCALE * (np.log(np.arange(256) + 12.0) - np.log(12.0))).astype(np.uint8)
        self.before: np.ndarray | None = None
        self.traces: list[np.ndarray] = []

    def __call__(self, view: View, t: int, rng: np.random.Generator) -> np.ndarray:
        """(H, W, 3) uint8, B,G,R: a canvas with OFF painted over ON; nothing but canvas at the first call."""
        intensity = cv2.LUT(cv2.cvtColor(view.color, cv2.COLOR_BGR2GRAY), self.table)
        before, self.before = self.before, intensity
        if before is None:
            return self._paint(np.full_like(intensity, self.empty))
        rise, fall = cv2.subtract(intensity, before), cv2.subtract(before, intensity)
        on, off = cv2.compare(rise, self.threshold, cv2.CMP_GT), cv2.compare(fall, self.threshold, cv2.CMP_GT)
        if self.window < _EDGES_BELOW:
            kernel = np.ones((2, 2) if self.window < 8 else (4, 4), np.uint8)
            edge = cv2.morphologyEx(intensity, cv2.MORPH_GRADIENT, kernel)
            edge = cv2.compare(edge, self.threshold, cv2.CMP_GT)
            on, off = cv2.bitwise_and(on, edge), cv2.bitwise_and(off, edge)
        if self.graded:
            code = cv2.subtract(cv2.add(np.full_like(on, 128), cv2.bitwise_and(rise, on)), cv2.bitwise_and(fall, off))
        else:
            code = cv2.max(cv2.bitwise_and(on, 1), cv2.bitwise_and(off, 2))
        past = round(self.window / _FRAME_MS) - 1
        if past > 0:
            self.traces = [code, *self.traces[:past]]
            code = code.copy()
            for trace in self.traces[1:]:
                code = cv2.copyTo(trace, cv2.compare(code, self.empty, cv2.CMP_EQ), code)
        self._disturb(code, rng)
        return self._paint(code)

    def _disturb(self, code: np.ndarray, rng: np.random.Generator) -> None:
        """Add single events anywhere, and those of pixels that fire without a cause."""
        height, width = code.shape
        count = rng.poisson(self.noise * height * width)
        where = rng.integers(0, height, count), rng.integers(0, width, count)
        code[where] = np.where(rng.random(count) < 0.5, self.on, self.off)
        fired = rng.random(len(self.hot)) < 0.8
        y, x = self.hot[fired].T
        code[y, x] = np.where(self.hot_on[fired], self.on, self.off)

    def _paint(self, code: np.ndarray) -> np.ndarray:
        """Codes (H, W) as colors, where the misaligned sensor sees them."""
        if self.matrix is not None:
            size = (code.shape[1], code.shape[0])
            code = cv2.warpAffine(code, self.matrix, size, flags=cv2.INTER_NEAREST, borderValue=self.empty)
        return cv2.LUT(cv2.cvtColor(code, cv2.COLOR_GRAY2BGR), self.colors)
