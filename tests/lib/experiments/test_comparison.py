"""Differences between variants: intervals over seeds and sequences, and what they promise."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from lib.evaluation.scores import TrackerScores
from lib.experiments import comparison
from lib.experiments.comparison import Gap, compare, holm, needed_if_alike


def scores(values: np.ndarray) -> TrackerScores:
    """Scores of a tracker whose metric is the mean over sequences."""
    sequences = {f"s{k}": {"SR": float(value)} for k, value in enumerate(values)}
    return TrackerScores({"SR": float(values.mean())}, sequences, resampled=partial(weighted, values))


def weighted(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return counts @ values / counts.sum(axis=1)


def gap(mine: np.ndarray, theirs: np.ndarray, trained: tuple[bool, bool] = (True, True)) -> Gap:
    """Compare two variants, (seeds, sequences) each."""
    both = {"mine": mine, "theirs": theirs}
    by_seed = {name: {seed: scores(row) for seed, row in enumerate(rows)} for name, rows in both.items()}
    values = {name: {seed: one.metrics["SR"] for seed, one in rows.items()} for name, rows in by_seed.items()}
    return compare(by_seed, values, "theirs", dict(zip(both, trained, strict=True)))["mine"]


@pytest.mark.parametrize(("seeds", "quantile"), [(2, 12.7062), (3, 4.3027), (11, 2.2281), (31, 2.0423)])
def test_intervals_are_those_of_students_t(seeds: int, quantile: float) -> None:  # as printed in any table of it
    errors = np.linspace(-1, 1, seeds)[:, None]  # in all sequences alike: training is all the chance there is
    found = gap(np.full((seeds, 40), 3.0) + errors, np.zeros((seeds, 40)))
    assert found.freedom == pytest.approx(seeds - 1)
    error = errors.std(ddof=1) / seeds**0.5
    assert found.high - found.value == pytest.approx(quantile * error, rel=1e-4)
    at_the_edge = gap(errors + quantile * error * np.ones((seeds, 40)), np.zeros((seeds, 40)))
    assert (at_the_edge.low, at_the_edge.p) == (pytest.approx(0.0, abs=1e-4), pytest.approx(0.05, rel=1e-3))


def test_differences_are_paired_in_seeds_and_sequences() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.uniform(0.0, 1.0, (3, 50))  # far apart from sequence to sequence and seed to seed
    found = gap(theirs + 0.02, theirs)
    assert found.value == pytest.approx(0.02)
    assert found.low == pytest.approx(0.02, abs=1e-6)
    assert (found.sequences, found.seeds_count) == (50, 3)
    assert found.p == pytest.approx(0.0, abs=1e-6)
    same = gap(theirs, theirs)
    assert (same.low, same.high, same.p) == (0.0, 0.0, 1.0)


def test_chance_in_training_and_choice_of_sequences_both_widen_the_interval() -> None:
    rng = np.random.default_rng(1)
    theirs, of_sequences, of_seeds = (
        rng.uniform(0, 1, (3, 60)),
        rng.normal(0, 0.1, 60),
        np.array([[-0.02], [0], [0.02]]),
    )
    sequences, seeds = gap(theirs + of_sequences, theirs), gap(theirs + of_seeds, theirs)
    assert sequences.error == pytest.approx(of_sequences.std(ddof=1) / 60**0.5, rel=0.1)
    assert sequences.freedom == pytest.approx(59)
    assert seeds.error == pytest.approx(0.02 / 3**0.5)
    assert seeds.freedom == pytest.approx(2)
    assert seeds.needed() == pytest.approx(4.3027 * 0.02 / 3**0.5, rel=1e-3)
    both = gap(theirs + of_sequences + of_seeds, theirs)
    assert both.error == pytest.approx(np.hypot(sequences.error, seeds.error), rel=1e-3)
    assert 2 < both.freedom < 59


def test_intervals_hold_the_true_difference_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "DRAWS", 200)
    rng = np.random.default_rng(2)
    held = []
    for _ in range(100):  # three seeds, as much from them as from the sequences
        theirs = rng.uniform(0, 1, (3, 40))
        shift = rng.normal(0, 0.1, 40) + rng.normal(0, 0.016, (3, 1)) + rng.normal(0, 0.05, (3, 40))
        found = gap(theirs + shift, theirs)
        assert found.low is not None
        assert found.high is not None
        held.append(found.low <= 0.0 <= found.high)
    assert 0.88 < np.mean(held) <= 0.99


def test_an_untrained_variant_is_the_same_with_every_seed() -> None:
    rng = np.random.default_rng(3)
    trained, untrained = rng.uniform(0, 1, (3, 30)), rng.uniform(0, 1, (1, 30))
    found = gap(trained, untrained, (True, False))
    assert found.values == {seed: trained[seed].mean() - untrained[0].mean() for seed in range(3)}
    assert gap(untrained, trained, (False, True)).value == pytest.approx(-found.value)
    alone = gap(untrained, untrained + rng.normal(0, 0.1, 30), (False, False))
    assert (alone.seeds_count, alone.sequences) == (1, 30)


def test_without_sequences_only_chance_in_training_is_known() -> None:
    found = compare({}, {"a": {0: 0.5, 1: 0.6}, "b": {0: 0.4, 1: 0.4}}, "b", {"a": True, "b": True})["a"]
    assert found.sequences == 0
    assert (found.value, found.freedom) == (pytest.approx(0.15), pytest.approx(1))
    one = compare({}, {"a": {0: 0.5}, "b": {0: 0.4}}, "b", {"a": True, "b": True})["a"]
    assert (one.low, one.p, one.needed()) == (None, None, None)
    assert compare({}, {"a": {1: 0.5}, "b": {0: 0.4}}, "b", {"a": True, "b": True}) == {}  # no seed in common


def test_chance_in_training_is_known_better_from_all_variants_together() -> None:
    rng = np.random.default_rng(4)
    names = [f"v{k}" for k in range(40)]
    seeds = rng.normal(0, 0.5, 3)  # of no matter: all variants have them
    values = {name: dict(enumerate(0.1 * k + seeds + rng.normal(0, 0.02, 3))) for k, name in enumerate(names)}
    trained = dict.fromkeys(names, True)
    gaps = compare({}, values, "v0", trained)
    limit = needed_if_alike(values, gaps, "v0", trained)
    assert limit == pytest.approx(1.99 * 0.02 * (2 / 3) ** 0.5, rel=0.2)  # 78 degrees of freedom
    assert np.median([gap.needed() for gap in gaps.values()]) > 1.5 * limit
    two = {name: values[name] for name in names[:2]}
    assert needed_if_alike(two, compare({}, two, "v0", trained), "v0", trained) is None


def test_holm_multiplies_the_smallest_by_their_number() -> None:  # Holm 1979; as R's p.adjust
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}
