"""Scores of trackers over the share of frames that lack a stream: what `scripts/missing_modality.py` measures.

A curve per tracker and stream is the benchmark's main metric over the share of frames without that stream. Its two
numbers: the mean over the shares is the area under the curve (trapezoids) divided by the range of the shares; the loss
is the score with no frame missing minus that mean. Intervals hold 95 % of the values of the paired bootstrap over
sequences (`lib.evaluation.bootstrap`): every score of every tracker is taken on the same draws.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from collections.abc import Sequence as Items
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lib.datasets.missing import LACKING, STREAMS
from lib.evaluation import Evaluation
from lib.evaluation.bootstrap import DRAWS, FEW, SEED, score_draws
from lib.evaluation.scores import primary_metric

__all__ = [
    "ALONE",
    "Estimate",
    "MissingCurve",
    "MissingScores",
    "mask_name",
    "missing_rows",
    "read_missing",
    "result_name",
    "summarize",
    "to_csv",
    "to_markdown",
    "without",
]

FORMAT = "patrack missing 1"
ALONE = {"rgb": "RGB only", "x": "X only"}
"""Names of the base model on a single stream."""


def mask_name(stream: str, share: float) -> str:
    """Name of a mask and its results; where nothing is missing, all streams have the same."""
    return "complete" if share == 0 else f"{stream}-{share:g}"


def result_name(tracker: str, stream: str, share: float) -> str:
    """Name of a tracker's scores with a mask, in an evaluation of all."""
    return f"{tracker}, {mask_name(stream, share)}"


def without(stream: str) -> str:
    """What a stream's frames lack, in words."""
    return "RGB or X" if stream not in STREAMS else stream.upper()


@dataclass(frozen=True)
class Estimate:
    """A difference of scores, a fraction, and the ends of its 95 % interval; None where sequences can't be drawn."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class MissingCurve:
    """Scores of one tracker without one stream.

    Attributes:
        tracker: its name.
        stream: that is missing: rgb, x or either.
        scores: main metric at each share, fractions.
        mean: over the shares; None for a single share.
        loss: score with no frame missing, minus `mean`; None without share 0.
        gain: `mean` minus that of the first tracker; None for that one.
        gone: score at share 1, minus the base model's on the other stream alone; None if either isn't there.
    """

    tracker: str
    stream: str
    scores: tuple[float, ...]
    mean: float | None = None
    loss: Estimate | None = None
    gain: Estimate | None = None
    gone: Estimate | None = None


@dataclass(frozen=True)
class MissingScores:
    """Curves of several trackers on the same sequences with the same masks.

    Attributes:
        dataset, split, protocol, title: whose sequences, and the rules they are scored by.
        metric: main metric of the benchmark.
        sequences, benchmark_size: how many were scored, and how many there are.
        shares: of the frames that lack the stream, ascending.
        gap, seed: of the masks, see `lib.datasets.missing.RandomMasks`.
        curves: by tracker, then stream.
        alone: score of the base model with all frames on one stream alone: by that stream, rgb or x.
        origins: what each tracker is, by name.
    """

    dataset: str
    split: str
    protocol: str
    title: str
    metric: str
    sequences: int
    benchmark_size: int
    shares: tuple[float, ...]
    gap: int
    seed: int
    curves: tuple[MissingCurve, ...]
    alone: dict[str, float] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)

    @property
    def trackers(self) -> list[str]:
        """Their names, in order."""
        return list(dict.fromkeys(curve.tracker for curve in self.curves))

    @property
    def streams(self) -> list[str]:
        """What is missing, in order."""
        return list(dict.fromkeys(curve.stream for curve in self.curves))

    @property
    def heading(self) -> str:
        """Whose scores these are, with all that a reader must know to repeat them."""
        return (
            f"{self.metric} on {self.dataset}, split {self.split}, {self.sequences} of {self.benchmark_size} sequences,"
            f" protocol {self.protocol} ({self.title}), percent; streams missing in gaps of {self.gap} frames, seed"
            f" {self.seed}"
        )

    @property
    def notes(self) -> list[str]:
        """What the columns mean, and what they don't say."""
        first, least = self.trackers[0], self.shares[0]
        span = f"{least:g} to {self.shares[-1]:g}"
        notes = [
            f"mean: area under the curve from share {span} of the frames, divided by that range; loss: score with no "
            "frame missing, minus the mean",
            f"[low, high]: 95 % intervals of the paired bootstrap over sequences ({DRAWS} draws, seed {SEED}); they "
            "say nothing about chance in training or in where the gaps lie",
        ]
        if len(self.trackers) > 1:
            notes.append(f"gain: the mean minus that of {first}, the first tracker")
        if 1 in self.shares:
            notes.append("at share 1 the first frame lacks a single stream as well; otherwise it is complete")
        if self.alone:
            names = " and ".join(ALONE[stream] for stream in self.alone)
            notes.append(f"{names}: the base model of {first} on that stream alone, with no frame missing")
        if any(curve.gone for curve in self.curves):
            notes.append(
                "gone: score at share 1, minus the base model's on the other stream alone, which is what there is "
                "without any fusion"
            )
        if self.sequences < FEW:
            notes.append(f"with fewer than {FEW} sequences the intervals tend to be too narrow")
        if self.sequences < self.benchmark_size:
            notes.append("scores on a part of a benchmark do not compare with scores on the whole")
        return notes

    def to_dict(self) -> dict[str, Any]:
        """Make a dictionary for JSON, which `read_missing` reads."""
        return {"format": FORMAT, **asdict(self)}


def summarize(
    evaluation: Evaluation,
    trackers: Mapping[str, str],
    streams: Items[str],
    shares: Items[float],
    *,
    gap: int,
    seed: int,
) -> MissingScores:
    """Make curves of scores.

    Args:
        evaluation: has each tracker under `result_name` for every stream and share, and perhaps the base model on one
            stream under the names of `ALONE`.
        trackers: what each is, by name; the first one is what others are compared with.
        streams: that are missing.
        shares: ascending, different ones.
        gap, seed: of the masks.
    """
    metric = primary_metric(next(iter(evaluation.trackers.values())).metrics)
    draws = score_draws(evaluation.trackers)

    def estimate(weights: Mapping[str, float]) -> Estimate:
        """A weighted sum of scores, by the names of the evaluation."""
        value = sum(weight * evaluation.trackers[name].metrics[metric] for name, weight in weights.items())
        if not draws:
            return Estimate(value)
        drawn = np.sum([weight * draws[name] for name, weight in weights.items()], axis=0)
        low, high = np.percentile(drawn, [2.5, 97.5]).tolist()
        return Estimate(value, low, high)

    def minus(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
        return {name: one.get(name, 0.0) - other.get(name, 0.0) for name in {**one, **other}}

    def mean_of(tracker: str, stream: str) -> dict[str, float]:
        """The weights of its scores in the mean: half of the neighboring intervals, by the trapezoid rule."""
        edges = np.diff(np.array(shares), prepend=shares[0], append=shares[-1])
        weights = (edges[:-1] + edges[1:]) / 2 / (shares[-1] - shares[0])
        return {result_name(tracker, stream, share): w for share, w in zip(shares, weights.tolist(), strict=True)}

    curves, first = [], next(iter(trackers))
    for tracker in trackers:
        for stream in streams:
            names = [result_name(tracker, stream, share) for share in shares]
            scores = tuple(evaluation.trackers[name].metrics[metric] for name in names)
            mean = loss = gain = gone = None
            if len(shares) > 1:
                weights = mean_of(tracker, stream)
                mean = estimate(weights).value
                if shares[0] == 0:
                    loss = estimate(minus({names[0]: 1.0}, weights))
                if tracker != first:
                    gain = estimate(minus(weights, mean_of(first, stream)))
            other = ALONE[STREAMS[1 - STREAMS.index(stream)]] if stream in STREAMS else ""
            if shares[-1] == 1 and other in evaluation.trackers:
                gone = estimate({names[-1]: 1.0, other: -1.0})
            curves.append(MissingCurve(tracker, stream, scores, mean, loss, gain, gone))
    alone = {
        stream: evaluation.trackers[name].metrics[metric]
        for stream, name in ALONE.items()
        if name in evaluation.trackers
    }
    about = evaluation.dataset, evaluation.split, evaluation.protocol, evaluation.title, metric
    return MissingScores(
        *about,
        sequences=len(evaluation.frames),
        benchmark_size=evaluation.benchmark_size,
        shares=tuple(shares),
        gap=gap,
        seed=seed,
        curves=tuple(curves),
        alone=alone,
        origins=dict(trackers),
    )


def read_missing(path: Path) -> MissingScores:
    """Read what `MissingScores.to_dict` gave.

    Args:
        path: the JSON file, or the folder that holds it as missing.json.

    Raises:
        ValueError: it isn't there, or is another file; names it.
    """
    file = path / "missing.json" if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise ValueError("another format")
        content.pop("scores", None)
        estimates = ("loss", "gain", "gone")
        curves = []
        for curve in content.pop("curves"):
            curve |= {key: Estimate(**curve[key]) for key in estimates if curve[key] is not None}
            curves.append(MissingCurve(**{**curve, "scores": tuple(curve["scores"])}))
        scores = MissingScores(**{**content, "shares": tuple(content["shares"])}, curves=tuple(curves))
        strange = [stream for stream in scores.streams if stream not in LACKING]
        if not curves or strange or any(len(curve.scores) != len(scores.shares) for curve in curves):
            raise ValueError("curves that don't fit the shares")
    except OSError as error:
        why = error.strerror or error
        raise ValueError(f"{file}: cannot be read: {why}; give the --output of scripts/missing_modality.py") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file}: not the scores that scripts/missing_modality.py writes as missing.json ({error}); give its "
            "--output"
        ) from error
    return scores


def missing_rows(scores: MissingScores, stream: str) -> list[list[str]]:
    """Write the curves of a stream as a table, in percent, with a head; the base model on the other stream last."""

    def written(estimate: Estimate | None) -> str:
        if estimate is None:
            return "-"
        ends = [estimate.low, estimate.high] if estimate.low is not None and estimate.high is not None else []
        text, *interval = (f"{round(100 * number, 1) + 0.0:+.1f}" for number in [estimate.value, *ends])  # no -0.0
        return f"{text} [{', '.join(interval)}]" if interval else text

    curves = [curve for curve in scores.curves if curve.stream == stream]
    columns = {
        "mean": [f"{100 * curve.mean:.1f}" if curve.mean is not None else "-" for curve in curves],
        "loss": [written(curve.loss) for curve in curves],
        "gain": [written(curve.gain) for curve in curves],
        "gone": [written(curve.gone) for curve in curves],
    }
    columns = {name: cells for name, cells in columns.items() if any(cell != "-" for cell in cells)}
    rows = [[f"without {without(stream)}", *(f"{share:g}" for share in scores.shares), *columns]]
    for k, curve in enumerate(curves):
        rows.append(
            [curve.tracker, *(f"{100 * v:.1f}" for v in curve.scores), *(cells[k] for cells in columns.values())]
        )
    for alone, score in scores.alone.items():
        if alone != stream:
            cells = [f"{100 * score:.1f}"] * len(scores.shares)
            rows.append([f"{ALONE[alone]} (base model)", *cells, *("-" for _ in columns)])
    return rows


def to_markdown(scores: MissingScores) -> str:
    """Write a table per stream, and what its columns mean."""

    def escape(text: str) -> str:
        return " ".join(text.split()).replace("|", r"\|").replace("<", "&lt;")

    lines = [escape(scores.heading)]
    for stream in scores.streams:
        head, *rest = missing_rows(scores, stream)
        lines += ["", f"| {' | '.join(map(escape, head))} |", "| --- |" + " ---: |" * (len(head) - 1)]
        lines += [f"| {' | '.join(map(escape, row))} |" for row in rest]
    lines += ["", *(f"- {escape(note)}" for note in scores.notes)]
    return "\n".join(lines) + "\n"


def to_csv(scores: MissingScores, evaluation: Evaluation) -> str:
    """Write every metric of every tracker, stream and share, in percent."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    metrics = list(next(iter(evaluation.trackers.values())).metrics)
    writer.writerow(["dataset", "split", "protocol", "tracker", "stream", "share", *metrics, "sequences"])
    rows = [(curve.tracker, curve.stream, share) for curve in scores.curves for share in scores.shares]
    named = [(*row, result_name(*row)) for row in rows]
    named += [(name, "", 0.0, name) for name in (ALONE[stream] for stream in scores.alone)]
    for tracker, stream, share, name in named:
        values = [f"{100 * evaluation.trackers[name].metrics[metric]:.4f}" for metric in metrics]
        about = [scores.dataset, scores.split, scores.protocol]
        writer.writerow([*about, tracker, stream, f"{share:g}", *values, scores.sequences])
    return file.getvalue()
