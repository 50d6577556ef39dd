"""What the differences between variants are worth: over seeds and over sequences at once.

Every variant is scored on the same sequences, and trained with the same seeds, so a difference to the reference is
paired in both. Two things make it uncertain, and their variances add up:

- **which sequences the benchmark has**: the paired bootstrap of `lib.evaluation.bootstrap`, of the difference that is
  averaged over the seeds;
- **chance in training**: the variance of the differences of single seeds, divided by their number.

The interval is that of Student's t with the degrees of freedom of such a sum (Satterthwaite, Biometrics Bulletin 2,
1946). Seeds are not resampled as the sequences are: three of them have ten different draws, whose spread is a
fifth too narrow, and whose tails end where t with two degrees of freedom has a quarter of its mass. The part of the
chance in training that differs from sequence to sequence counts in both terms, which makes intervals wider rather than
narrower.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit  # distribution of Student's t and its quantiles

from lib.evaluation.bootstrap import SEED, draw, resample
from lib.evaluation.scores import TrackerScores

__all__ = ["DRAWS", "LEVEL", "Average", "Gap", "average", "compare", "holm", "needed_if_alike"]

LEVEL = 0.95
DRAWS = 2000
"""Draws of sequences: enough for a standard error, of which no percentiles are read."""
POWER = 0.8


@dataclass(frozen=True)
class Average:
    """A metric over seeds: mean, sample standard deviation (None for one) and the values by seed."""

    mean: float
    sd: float | None
    values: dict[int, float]


@dataclass(frozen=True)
class Gap:
    """Difference of a variant to the reference.

    Attributes:
        value: mean over the pairs of runs.
        sd: of these pairs; None for one.
        values: by seed.
        error: standard error.
        freedom: degrees of freedom of the error.
        low, high: the interval of `LEVEL`; None if nothing is known about the uncertainty.
        p: two-sided.
        sequences: number of them; 0: their choice is not in the interval.
        seeds_count: pairs of trainings whose spread is in the interval; less than 2: chance in training is not in it.
        from_seeds: share of the variance that comes from chance in training.
    """

    value: float
    sd: float | None
    values: dict[int, float]
    error: float
    freedom: float
    low: float | None
    high: float | None
    p: float | None
    sequences: int
    seeds_count: int
    from_seeds: float

    def needed(self, comparisons: int = 1) -> float | None:
        """The smallest difference whose interval would leave 0 out, with this uncertainty, among so many of them."""
        if self.low is None:
            return None
        return _half_width(self.error, self.freedom, comparisons)

    @property
    def found(self) -> float | None:
        """True difference that would be found, at `LEVEL`, in four cases of five."""
        if self.low is None:
            return None
        return _half_width(self.error, self.freedom) + float(stdtrit(self.freedom, POWER)) * self.error


def average(values: Mapping[int, float]) -> Average:
    """Average the values of seeds."""
    spread = statistics.stdev(values.values()) if len(values) > 1 else None
    return Average(statistics.fmean(values.values()), spread, dict(values))


def compare(
    scores: Mapping[str, Mapping[int, TrackerScores]],
    values: Mapping[str, Mapping[int, float]],
    reference: str,
    trained: Mapping[str, bool],
) -> dict[str, Gap]:
    """Compare all variants with the reference.

    Args:
        scores: by variant and seed, of the same sequences under the same rules; may lack what has no result files.
        values: of the metric that is compared, likewise.
        reference: one of the variants.
        trained: whether a variant is; an untrained one is the same with every seed.

    Returns:
        By variant; those without a run to be paired with one of the reference are left out.
    """
    samples: dict[int, np.ndarray] = {}  # by number of sequences

    def resampled(tracker: TrackerScores) -> np.ndarray:
        sequences = tuple(tracker.sequences)
        if len(sequences) not in samples:
            samples[len(sequences)] = draw(len(sequences), DRAWS, SEED)
        return resample(tracker, sequences, samples[len(sequences)])

    known = {
        (name, seed): resampled(tracker)
        for name, by_seed in scores.items()
        for seed, tracker in by_seed.items()
        if tracker.resampled is not None
    }

    gaps = {}
    for name, mine in values.items():
        theirs = values[reference]
        if name == reference or not mine or not theirs:
            continue
        if trained[name] and trained[reference]:
            pairs = {seed: (seed, seed) for seed in mine if seed in theirs}
        elif trained[name]:
            pairs = {seed: (seed, next(iter(theirs))) for seed in mine}
        else:
            pairs = {seed: (next(iter(mine)), seed) for seed in theirs}
        if not pairs:
            continue
        single = {seed: mine[a] - theirs[b] for seed, (a, b) in pairs.items()}
        spread = statistics.stdev(single.values()) if len(single) > 1 else None
        parts = []  # variance of the mean, and its degrees of freedom
        count = 0
        if all((name, a) in known and (reference, b) in known for a, b in pairs.values()):
            count = len(scores[name][next(iter(mine))].sequences)
            if count > 1:
                drawn = np.mean([known[name, a] - known[reference, b] for a, b in pairs.values()], axis=0)
                parts.append((float(np.var(drawn[1:])) * count / (count - 1), count - 1))
        if spread is not None:
            parts.append((spread**2 / len(single), len(single) - 1))
        value = statistics.fmean(single.values())
        error = math.sqrt(sum(variance for variance, _ in parts))
        from_seeds = 0.0 if spread is None or not error else spread**2 / len(single) / error**2
        rest = sum(variance**2 / freedom for variance, freedom in parts)
        freedom = error**4 / rest if rest else float(max((freedom for _, freedom in parts), default=0))
        low = high = p = None
        if parts:
            half = _half_width(error, freedom)
            low, high = value - half, value + half
            p = (0.0 if value else 1.0) if not error else 2 * float(stdtr(freedom, -abs(value) / error))
        gaps[name] = Gap(
            value, spread, single, error, freedom, low, high, p, count if count > 1 else 0, len(single), from_seeds
        )
    return gaps


def needed_if_alike(
    values: Mapping[str, Mapping[int, float]], gaps: Mapping[str, Gap], reference: str, trained: Mapping[str, bool]
) -> float | None:
    """Compute the smallest difference that could be told from none if chance in training were as large in all variants.

    It is then estimated from all of them together: what is left when the means of variants and of seeds are
    taken out, two-way analysis of variance without replication. With few seeds that is far better known than the
    variance of one difference, but wrong for a variant whose training is less stable than the others'.

    Args:
        values: of the metric that is compared, by variant and seed.
        gaps: of `compare`.
        trained: whether a variant is; the others have no chance in training.

    Returns:
        The difference; None with fewer than three trained variants, the reference among them, or two seeds in common.
    """
    names = [name for name in values if trained[name] and (name in gaps or name == reference)]
    seeds = [seed for seed in values[reference] if all(seed in values[name] for name in names)]
    if len(names) < 3 or reference not in names or len(seeds) < 2:
        return None
    table = np.array([[values[name][seed] for seed in seeds] for name in names])
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    freedom = (len(names) - 1) * (len(seeds) - 1)
    of_seeds = 2 * float((rest**2).sum()) / freedom / len(seeds)
    others = [gaps[name] for name in names if name != reference]
    of_sequences = statistics.median(gap.error**2 * (1 - gap.from_seeds) for gap in others)
    parts = [(of_seeds, freedom), *((of_sequences, gap.sequences - 1) for gap in others[:1] if gap.sequences)]
    spread = sum(variance**2 / of for variance, of in parts)
    if not spread:
        return 0.0
    total = sum(variance for variance, _ in parts)
    return _half_width(math.sqrt(total), total**2 / spread)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust p-values for their number (Holm, Scandinavian Journal of Statistics 6, 1979); in the order given."""
    adjusted: dict[str, float] = {}
    highest = 0.0
    ordered = sorted(p_values, key=lambda name: p_values[name])
    for rank, name in enumerate(ordered):
        highest = max(highest, min(1.0, p_values[name] * (len(ordered) - rank)))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}


def _half_width(error: float, freedom: float, comparisons: int = 1) -> float:
    """Half of the interval of `LEVEL`, for one of so many comparisons."""
    return float(stdtrit(freedom, 1 - (1 - LEVEL) / 2 / comparisons)) * error
