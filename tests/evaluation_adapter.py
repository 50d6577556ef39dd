"""Our evaluator behind the hook of a reference check: one function from files to a plain dictionary.

    def evaluate(benchmark, gt_root, results_dir, prefix="", box_format="ltwh", mode="official", list_file=None) -> dict

The reference results are longer than the annotation in places; the toolkits cut them, so this does too.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs as a file of its own, outside the test suite

from lib.evaluation import evaluate as evaluate_results
from lib.evaluation import protocols_of

FORMATS = {"ltwh": "xywh", "ltrb": "corners", "corner8": "corners"}


def evaluate(
    benchmark: str,
    gt_root: str,
    results_dir: str,
    prefix: str = "",
    box_format: str = "ltwh",
    mode: str = "official",
    list_file: str | None = None,
) -> dict:
    """Score one tracker; raises NotImplementedError for a benchmark or mode that we do not have."""
    dataset = benchmark.lower().replace("-", "")
    if mode not in protocols_of(dataset):
        raise NotImplementedError(f"{benchmark} {mode}")
    names = Path(list_file).read_text(encoding="utf-8-sig").split() if list_file else None
    evaluation = evaluate_results(
        dataset,
        {"tracker": results_dir},
        ground_truth=gt_root,
        protocol=mode,
        names=names,
        box_format=FORMATS[box_format],
        prefix=prefix,
        longer="cut",
    )
    scores = evaluation.trackers["tracker"]
    curves = {name.lower(): list(curve.y) for name, curve in scores.curves.items()}
    if "Pr" in scores.curves:
        recall, precision = scores.curves["Pr"].x, scores.curves["Pr"].y
        curves = {"recall": list(recall), "precision": list(precision), "f": list(scores.curves["F"].y)}
    return {
        "overall": scores.metrics,
        "attributes": scores.attributes,
        "per_sequence": {"seqs": list(scores.sequences)}
        | {
            metric: [values[metric] for values in scores.sequences.values()]
            for metric in scores.metrics
            if all(metric in values for values in scores.sequences.values())
        },
        "curves": curves,
    }
