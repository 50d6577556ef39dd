"""Modality dropout: training pairs of which one stream is missing, so that the network can do without either.

A missing stream is black, which is what tracking makes of it (`patrack.tracker`). A missing X may show other images
that tell nothing, too, so that an X without information does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.datasets.decoded import DecodedFrame
from lib.datasets.missing import black_rgb, substitute_x

__all__ = ["ModalityDropout"]


@dataclass(frozen=True)
class ModalityDropout:
    """Takes RGB or X, never both, from a (template, search) pair of frames.

    Attributes:
        rgb, x: shares of the pairs that lack the stream; their sum is at most 1.
        one_frame: share of these in which only the template or only the search frame lacks it, evenly.
        x_shows: what a missing X shows, drawn evenly: kinds of `lib.datasets.missing`, or "frozen": the search
            frame shows X of the template's frame, which keeps it.
    """

    rgb: float = 0.0
    x: float = 0.0
    one_frame: float = 0.5
    x_shows: Sequence[str] = ("black",)

    @property
    def acts(self) -> bool:
        """Whether anything is ever dropped."""
        return self.rgb > 0 or self.x > 0

    def __call__(
        self, template: DecodedFrame, search: DecodedFrame, rng: np.random.Generator
    ) -> tuple[DecodedFrame, DecodedFrame]:
        """Frames of two streams -> the same, or with one stream replaced in one of them or in both.

        Raises:
            ValueError: a frame without X.
        """
        stream, frames = rng.random(2).tolist()
        if stream >= self.rgb + self.x:
            return template, search
        in_template = not self.one_frame / 2 <= frames < self.one_frame
        in_search = frames >= self.one_frame / 2
        if stream < self.rgb:
            return black_rgb(template) if in_template else template, black_rgb(search) if in_search else search
        kind = self.x_shows[rng.integers(len(self.x_shows))]
        if kind == "frozen":
            old = template.streams()[1] if template.shape == search.shape else search.streams()[1]
            return template, DecodedFrame((search.streams()[0], old))
        seed = rng.integers(2**32)  # one for both frames: the same colour; noise is different where frames are cropped
        return (
            substitute_x(template, kind, np.random.default_rng(seed)) if in_template else template,
            substitute_x(search, kind, np.random.default_rng(seed)) if in_search else search,
        )
