"""Results of an evaluation: typed, comparable, and the same as in their JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from patrack.files import atomic_write

if TYPE_CHECKING:
    from lib.evaluation.ground_truth import GroundTruth

__all__ = [
    "Curve",
    "Difference",
    "Evaluation",
    "EvaluationError",
    "TrackerScores",
    "primary_metric",
    "to_json",
    "write_json",
]

PRIMARY = ("SR", "MSR", "F", "EAO")  # the metric that ranks, whichever the benchmark has


def primary_metric(metrics: Mapping[str, object] | tuple[str, ...]) -> str:
    """Name the metric that a benchmark ranks by: the one of `PRIMARY` that it has, else its first."""
    return next((metric for metric in PRIMARY if metric in metrics), next(iter(metrics)))


class EvaluationError(ValueError):
    """Everything that is wrong with the given result files.

    Args:
        problems: by tracker, naming the file, the line where there is one, and what was expected; kept as an attribute.
            The message has the first `SHOWN` of each tracker.
    """

    SHOWN = 20

    def __init__(self, problems: dict[str, list[str]]) -> None:
        self.problems = problems
        lines = []
        for tracker, texts in problems.items():
            lines.append(f"{tracker}: {len(texts)} problem{'s' if len(texts) > 1 else ''} in its result files")
            lines += [f"  {line}" for problem in texts[: self.SHOWN] for line in problem.split("\n")]
            if len(texts) > self.SHOWN:
                lines.append(f"  ... and {len(texts) - self.SHOWN} more")
        super().__init__("\n".join(lines))


@dataclass(frozen=True)
class Curve:
    """A plotted line: `y` over `x`, both of the same length, in the units the labels say."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    x_label: str
    y_label: str


@dataclass(frozen=True)
class TrackerScores:
    """Scores of one tracker under a protocol, and where they come from.

    Attributes:
        metrics: value of every metric over all scored sequences, in [0, 1].
        sequences: the same per sequence, plus "frames".
        attributes: the same over the sequences that carry an attribute, plus "sequences", their number.
        curves: by metric name (or name of the curve for the VOT protocols).
        notes: facts a reader of the numbers should know, e.g. sequences that the protocol leaves out.
        name: as given by the user; this and what follows is filled in by `evaluate`.
        template_update: how the tracker replaced a template while it ran, in words, as a `run.json` beside the results
            tells; empty: it did not, or nothing is known.
        source: folder or archive of the result files.
        folder: below it, that they were found in; ends with `/`, or is empty.
        missing: what tells which frames the tracker saw without RGB or X (`lib.datasets.missing`): what masks were
            drawn by, or their digest; empty if it saw all that there is, as far as its `run.json` says.
        file_format: what was detected or asked for, in words.
        left_out: sequences that were not scored, with the reason; empty unless missing files were allowed.
        perfect: what a tracker without any error would score on the same sequences, which is rarely 1; empty for the
            VOT protocols.
        boxes: (N, 4) xywh, pixels, by scored sequence, before the protocol's repairs; NaN rows: nothing reported. Empty
            for protocols with several runs per sequence.
        resampled: the primary metric if every sequence counted as often as said: takes (B, S) numbers, S as in
            `sequences`, and gives (B,) values in [0, 1]; neither compared nor written to JSON. None: not known.
    """

    metrics: dict[str, float]
    sequences: dict[str, dict[str, float]]
    attributes: dict[str, dict[str, float]] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    name: str = ""
    template_update: str = ""
    source: str = ""
    folder: str = ""
    missing: str = ""
    file_format: str = ""
    left_out: dict[str, str] = field(default_factory=dict)
    perfect: dict[str, float] = field(default_factory=dict)
    boxes: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)
    resampled: Callable[[np.ndarray], np.ndarray] | None = field(default=None, repr=False, compare=False)

    @property
    def suffix(self) -> str:
        """What is said behind the name about what was missing, e.g. " [missing x:0.5]"; empty if nothing was."""
        return f" [missing {self.missing.split(',')[0][:40]}]" if self.missing else ""

    @property
    def label(self) -> str:
        """The name, with what was missing."""
        return self.name + self.suffix


@dataclass(frozen=True)
class Difference:
    """Difference of two trackers in a metric, with its uncertainty; see `lib.evaluation.bootstrap`.

    Attributes:
        tracker: whose value is the first one.
        reference: whose value is subtracted.
        metric: that is compared, as a rule the primary one.
        value: the difference, a fraction; over the sequences that both were scored on.
        low, high: ends of the interval that holds 95 % of the differences over resampled sequences.
        sequences: number of sequences that both were scored on.
    """

    tracker: str
    reference: str
    metric: str
    value: float
    low: float
    high: float
    sequences: int

    @property
    def certain(self) -> bool:
        """Whether the interval leaves 0 out: these sequences tell the two apart."""
        return not self.low <= 0.0 <= self.high


@dataclass(frozen=True)
class Evaluation:
    """Scores of several trackers under one protocol.

    Attributes:
        dataset: name of the benchmark.
        protocol: name of the variant, e.g. "official".
        title: whose rule that is.
        ground_truth: where the annotations came from.
        frames: annotated frames of each sequence, all that could have been scored.
        trackers: in the order given.
        perfect: what a tracker without any error would score on all of these; empty for the VOT protocols.
        left_out: trackers that could not be scored at all, with the reasons; only if missing files were allowed.
        truth: annotation by sequence name; neither compared nor written to JSON.
        split: of the benchmark.
        benchmark_size: number of sequences of the whole split: the official one where there is one, else all that lie
            in the source of the ground truth. 0 (the default) stands for the number of `frames`.
        differences: of every other tracker to the reference, in the primary metric.
        notes: facts about the rules that a reader of the numbers should know.
    """

    dataset: str
    protocol: str
    title: str
    ground_truth: str
    frames: dict[str, int]
    trackers: dict[str, TrackerScores]
    perfect: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    truth: dict[str, GroundTruth] = field(default_factory=dict, repr=False, compare=False)
    split: str = "test"
    benchmark_size: int = 0
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.benchmark_size:
            object.__setattr__(self, "benchmark_size", len(self.frames))

    @property
    def labeled_differences(self) -> tuple[Difference, ...]:
        """The differences with labels instead of names, which say what was missing."""

        def label(name: str) -> str:
            return name + (self.trackers[name].suffix if name in self.trackers else "")

        return tuple(
            replace(each, tracker=label(each.tracker), reference=label(each.reference)) for each in self.differences
        )

    @property
    def covered(self) -> str:
        """How much of the benchmark could be scored, e.g. "245 of 245 sequences"."""
        return f"{len(self.frames)} of {self.benchmark_size} sequences"

    def to_dict(self) -> dict[str, Any]:
        """Make a dictionary for JSON: numbers in full precision, None where one does not exist, no curves."""
        content = {
            "dataset": self.dataset,
            "protocol": self.protocol,
            "title": self.title,
            "ground_truth": self.ground_truth,
            "split": self.split,
            "sequences": len(self.frames),
            "benchmark_sequences": self.benchmark_size,
            "frames": sum(self.frames.values()),
            "perfect": self.perfect,
            "left_out": self.left_out,
            "notes": list(self.notes),
            "differences": [asdict(difference) for difference in self.differences],
            "trackers": {
                name: {
                    "source": scores.source,
                    **({"missing": scores.missing} if scores.missing else {}),
                    "format": scores.file_format,
                    "metrics": scores.metrics,
                    "sequences": scores.sequences,
                    "attributes": scores.attributes,
                    "left_out": scores.left_out,
                    "perfect": scores.perfect,
                    "notes": list(scores.notes),
                }
                for name, scores in self.trackers.items()
            },
        }
        return _without_nan(content)


def _without_nan(value: Any) -> Any:
    """Replace every number that is not finite, which JSON does not have, by None."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def to_json(evaluation: Evaluation) -> str:
    """Turn an evaluation into JSON with all its digits; null stands for a number that does not exist."""
    return json.dumps(evaluation.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: str | Path, evaluation: Evaluation) -> None:
    """Write an evaluation with all its digits, atomically, see `to_json`."""
    with atomic_write(path) as file:
        file.write(to_json(evaluation))
