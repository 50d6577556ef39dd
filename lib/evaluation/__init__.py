"""Scoring trackers: box geometry, metrics, benchmark protocols, result files.

`evaluate` is the way in; running a tracker over a data set is in `lib.inference.runner`.
"""

from lib.evaluation.evaluate import evaluate, parse_results
from lib.evaluation.protocols import protocols_of, scored_data_sets
from lib.evaluation.results import write_boxes
from lib.evaluation.scores import Curve, Difference, Evaluation, EvaluationError, TrackerScores, write_json

__all__ = [
    "Curve",
    "Difference",
    "Evaluation",
    "EvaluationError",
    "TrackerScores",
    "evaluate",
    "parse_results",
    "protocols_of",
    "scored_data_sets",
    "write_boxes",
    "write_json",
]
