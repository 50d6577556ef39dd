"""How far a difference between two trackers depends on which sequences a benchmark happens to have.

The paired bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993): sequences are drawn with
replacement, as many as there are; both trackers are scored anew on the same draw, and the middle 95 % of the
differences over many draws are the interval. It says nothing about the chance in training or in a tracker itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lib.evaluation.scores import Difference, TrackerScores, primary_metric

__all__ = ["DRAWS", "FEW", "SEED", "compare_trackers", "draw", "resample", "score_draws"]

DRAWS = 10_000
SEED = 0
FEW = 20
"""With fewer sequences than this the intervals tend to be too narrow."""


def compare_trackers(
    trackers: Mapping[str, TrackerScores], reference: str | None = None, *, draws: int = DRAWS, seed: int = SEED
) -> tuple[Difference, ...]:
    """Compare every tracker with a reference in the primary metric of their benchmark.

    Args:
        trackers: by name, scored under the same rules.
        reference: one of them; None: the first.
        draws: how often sequences are drawn.
        seed: of the draws; equal seeds give equal intervals.

    Returns:
        The differences to the reference, in the order of `trackers`, over the sequences that both were scored on;
        nothing for a pair with fewer than two of these, whose interval would be a point, and for scores that cannot be
        resampled.

    Raises:
        ValueError: an unknown reference.
    """
    if reference is None:
        reference = next(iter(trackers))
    if reference not in trackers:
        raise ValueError(f"the reference must be one of the trackers, {', '.join(trackers)}, got {reference!r}")
    base = trackers[reference]
    metric = primary_metric(base.metrics)
    differences = []
    known: dict[tuple[str, ...], tuple[np.ndarray, np.ndarray]] = {}  # draws and the reference's values by sequences
    for name, tracker in trackers.items():
        common = tuple(sequence for sequence in base.sequences if sequence in tracker.sequences)
        if name == reference or len(common) < 2 or base.resampled is None or tracker.resampled is None:
            continue
        if common not in known:
            counts = draw(len(common), draws, seed)
            known[common] = counts, resample(base, common, counts)
        counts, values = known[common]
        gains = resample(tracker, common, counts) - values
        low, high = np.percentile(gains[1:], [2.5, 97.5])
        differences.append(Difference(name, reference, metric, float(gains[0]), float(low), float(high), len(common)))
    return tuple(differences)


def score_draws(
    trackers: Mapping[str, TrackerScores], *, draws: int = DRAWS, seed: int = SEED
) -> dict[str, np.ndarray]:
    """Score every tracker on the same draws of sequences, for intervals of what is computed from several scores.

    Args:
        trackers: by name, scored under the same rules on the same sequences.
        draws, seed: see `compare_trackers`.

    Returns:
        (draws,) primary metric by name; nothing for fewer than two sequences, scores that cannot be resampled, or
        trackers that were scored on different sequences.
    """
    names = {tuple(sorted(tracker.sequences)) for tracker in trackers.values()}
    if len(names) != 1 or len(common := names.pop()) < 2 or any(t.resampled is None for t in trackers.values()):
        return {}
    counts = draw(len(common), draws, seed)
    return {name: resample(tracker, common, counts)[1:] for name, tracker in trackers.items()}


def draw(size: int, draws: int, seed: int) -> np.ndarray:
    """Draw `size` sequences with replacement: (1 + draws, size), how often each; the first row has each once."""
    drawn = np.random.default_rng(seed).integers(size, size=(draws, size)) + np.arange(draws)[:, None] * size
    counts = np.bincount(drawn.ravel(), minlength=draws * size).reshape(draws, size)
    return np.concatenate([np.ones((1, size)), counts])


def resample(scores: TrackerScores, common: tuple[str, ...], counts: np.ndarray) -> np.ndarray:
    """Score (B,) times, with each common sequence as often as `counts`, (B, n), say, and without the others."""
    assert scores.resampled is not None
    if tuple(scores.sequences) == common:
        return scores.resampled(counts)
    place = {sequence: k for k, sequence in enumerate(scores.sequences)}
    every = np.zeros((len(counts), len(place)))
    every[:, [place[sequence] for sequence in common]] = counts
    return scores.resampled(every)
