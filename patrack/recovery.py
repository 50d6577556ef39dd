"""Lost and found: what a tracker does when its target can't be seen, and how it comes back.

A plain tracker takes the best place in every frame, so when its target is hidden or has left the image, the box jumps
to whatever looks most alike, and the next search begins there. With recovery the box is held while the score is low;
after some such frames the target counts as lost, and is looked for around the place where it was, farther and farther
out, until it is seen again in several frames on end.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from patrack.config.schema import RecoveryConfig
from patrack.target import Frame, Present, Target

__all__ = ["Recovery"]

Predict = Callable[[np.ndarray], list[float]]
"""Search crop -> cx, cy, w, h normalized to it, and the score."""
SPACING = 0.5
"""Distance between the centers of search crops, in sides of a crop: then one of them has the target well inside."""
GLIMPSE = 0.5
"""Share of the score that is needed off the center of a crop, where the Hann window lowers it, for a second look."""


class Recovery:
    """Follows one target, and looks for it where it is lost.

    Args:
        target: just started.
        config: `test.recovery` of the experiment.

    Attributes:
        lost: the target isn't seen at present.
    """

    def __init__(self, target: Target, config: RecoveryConfig) -> None:
        self.target, self.config = target, config
        self.lost = False
        self._low = self._seen = 0  # frames on end
        self._place = 0
        self._held = target.box.copy()

    def step(self, frame: np.ndarray | Frame, present: Present, predict: Predict) -> tuple[np.ndarray, float]:
        """Find the target in the next frame, as `Target.search_crop` and `Target.accept` do.

        Args:
            frame, present: as for `Target.search_crop`.
            predict: computes what is in a search crop; called several times while the target is lost.

        Returns:
            box (4,) float64 xywh in pixels; score.

        Raises:
            RuntimeError: as `Target.accept`.
        """
        target, config = self.target, self.config
        crop = target.search_crop(frame, present)
        if crop is None:
            return target.stay()
        box, score = target.accept(predict(crop))
        if not self.lost:
            if score >= config.lost_below:
                self._low, self._held = 0, box
                return box, score
            self._low += 1
            if self._low < config.lost_after:
                return box, score
            self.lost, self._seen, self._place = True, 0, 0
        if score >= config.found_above:
            self._seen += 1
            if self._seen >= config.found_after:
                self.lost, self._low = False, 0
            return box, score

        # It isn't here: look farther out.
        self._seen = 0
        if score >= config.lost_below:
            return box, score
        first, *others = self._places(target.frame_shape)
        chosen = [others[(self._place + k) % len(others)] for k in range(min(config.tries, len(others)))]
        self._place += len(chosen)
        for place in (first, *chosen):
            target.box = place
            glimpse = predict(self._crop(frame, present))
            if not glimpse[4] >= GLIMPSE * config.found_above:
                continue
            target.box = target.locate(glimpse)
            again = predict(self._crop(frame, present))
            if again[4] >= config.found_above:
                target.box, self._seen = target.locate(again), 1
                return target.box.copy(), again[4]
        target.box = box
        return self._held.copy(), score

    def _crop(self, frame: np.ndarray | Frame, present: Present) -> np.ndarray:
        crop = self.target.search_crop(frame, present)
        assert crop is not None  # the first one of this frame was there
        return crop

    def _places(self, shape: tuple[int, ...]) -> list[np.ndarray]:
        """List boxes around which search crops cover the image: the last known one, then others, the nearest first."""
        x, y, w, h = self._held.tolist()
        step = SPACING * self.target.settings.crop.search_factor * math.sqrt(w * h)
        columns, rows = (math.ceil(size / step) for size in (shape[1], shape[0]))
        offsets = [
            (i * step, j * step)
            for i in range(-columns, columns + 1)
            for j in range(-rows, rows + 1)
            if not (i or j) or (0 <= x + 0.5 * w + i * step <= shape[1] and 0 <= y + 0.5 * h + j * step <= shape[0])
        ]
        offsets.sort(key=lambda offset: offset[0] ** 2 + offset[1] ** 2)
        return [np.array([x + right, y + down, w, h]) for right, down in offsets]
