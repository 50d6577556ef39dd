"""Choosing the two frames of a training pair: the causal rule of OSTrack and its descendants.

The published sampler draws another sample after any exception, so broken data goes unnoticed. Here only two stated
rules lead to another draw (a gap without a visible frame, an invalid crop), both inside the sample's own generator;
everything else is an error that names the sample.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence as Many
from dataclasses import dataclass, field

import numpy as np

from lib.datasets.sequence import Sequence

__all__ = ["MIN_LENGTH", "MIN_USABLE", "FramePair", "PairSampler", "Source", "sample_generator", "usable_frames"]

logger = logging.getLogger(__name__)

MIN_LENGTH = 20
"""Shortest sequence that is drawn from, frames."""
MIN_USABLE = 5
"""Fewest usable frames of a sequence that is drawn from: more than twice the two frames of a pair."""
GAP_GROWTH = 5
"""Frames by which the largest gap grows each time no frame for the search crop lies in it."""


@dataclass(frozen=True)
class Source:
    """One data set that pairs are drawn from.

    Attributes:
        name: shown in messages, e.g. "lasher/train".
        sequences: all of its sequences.
        weight: share of the pairs, relative to the other sources; > 0.
    """

    name: str
    sequences: tuple[Sequence, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class FramePair:
    """The origin of one sample: numbers of the source, of the sequence in it, and of the two frames (from 0)."""

    source: int
    sequence: int
    template: int
    search: int
    modality: str = field(default="", compare=False)
    """Modality of the sequence, "rgbt" for instance; empty: not known."""


def sample_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Makes the generator of one training sample: a pure function of its three numbers (each below 2**32).

    So what is drawn does not depend on how many workers or processes draw, nor on where a run was interrupted.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(np.array((seed, epoch, index), np.uint32))))


def usable_frames(sequence: Sequence) -> np.ndarray:
    """Lists the frames that training may show: visible, with a finite box of positive width and height.

    Returns:
        (n,) int64, ascending.
    """
    boxes = np.asarray(sequence.boxes, np.float64)
    with np.errstate(invalid="ignore"):
        sound = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    return np.flatnonzero(sound & np.asarray(sequence.visible, bool))


class PairSampler:
    """Draws (template, search) frame pairs.

    A source by weight, one of its sequences uniformly, a template uniformly among its usable frames, then a search
    frame uniformly among the usable frames in [template + 1, template + gap). Without one there, a new template is
    drawn and the gap grows by 5. A still shows template and search in the same image.

    Args:
        sources: data sets; stills without a usable box are left out, other sequences if shorter than 20 frames or with
            fewer than 5 usable ones.
        max_gap: frames.

    Raises:
        ValueError: there is no source, or one has no sequence left.
    """

    def __init__(self, sources: Many[Source], max_gap: int) -> None:
        if not sources:
            raise ValueError("no data set to draw from: data.train (or data.val) is empty")
        self.sources = tuple(sources)
        self.max_gap = max_gap
        self._usable: list[dict[int, np.ndarray]] = []
        self._numbers: list[np.ndarray] = []
        for source in self.sources:
            kept, total = {}, len(source.sequences)
            for number, sequence in enumerate(source.sequences):
                frames = usable_frames(sequence)
                shortest, fewest = (1, 1) if sequence.still else (MIN_LENGTH, MIN_USABLE)
                if len(sequence) >= shortest and len(frames) >= fewest:
                    kept[number] = frames
            if not kept:
                raise ValueError(
                    f"{source.name}: none of its {total} sequences has at least {MIN_LENGTH} frames, "
                    f"{MIN_USABLE} of them usable"
                )
            if len(kept) < total:
                logger.info("%s: %d of %d sequences too short, left out", source.name, total - len(kept), total)
            self._usable.append(kept)
            self._numbers.append(np.fromiter(kept, np.int64))
        weights = np.array([source.weight for source in self.sources], np.float64)
        self._cumulative = np.cumsum(weights / weights.sum())

    def draw(self, rng: np.random.Generator) -> FramePair:
        """Draws one pair; consumes a varying number of values of `rng`."""
        source = min(int(np.searchsorted(self._cumulative, rng.random(), side="right")), len(self.sources) - 1)
        # an index from `integers` is what `rng.choice` draws, in a fraction of its time
        numbers = self._numbers[source]
        sequence = int(numbers[rng.integers(len(numbers))])
        usable = self._usable[source][sequence]
        modality = self.sources[source].sequences[sequence].modality
        if len(usable) == 1:  # a still
            return FramePair(source, sequence, int(usable[0]), int(usable[0]), modality)
        gap = self.max_gap
        while True:  # ends: some template has a successor, and the gap grows until it is reached
            template = int(usable[rng.integers(len(usable) - 1)])
            first, last = np.searchsorted(usable, [template + 1, template + gap])
            if first < last:
                return FramePair(source, sequence, template, int(usable[rng.integers(first, last)]), modality)
            gap += GAP_GROWTH

    def sequence(self, pair: FramePair) -> Sequence:
        """Returns the sequence that a pair was drawn from."""
        return self.sources[pair.source].sequences[pair.sequence]

    def describe(self, pair: FramePair) -> str:
        """Names data set, sequence and frames in one line, so that the pair can be found again."""
        name = self.sequence(pair).name
        return f"{self.sources[pair.source].name}: {name}, template frame {pair.template}, search frame {pair.search}"
