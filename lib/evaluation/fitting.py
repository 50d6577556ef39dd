"""Which rows of a result file belong to the annotated frames."""

from __future__ import annotations

from typing import Literal

import numpy as np

from lib.evaluation.ground_truth import GroundTruth
from lib.evaluation.protocols import OnePass

__all__ = ["Longer", "fit_length"]

Longer = Literal["error", "cut"]


def fit_length(
    rows: np.ndarray, annotation: GroundTruth, where: str, longer: Longer, rules: OnePass, *, thin: bool
) -> tuple[np.ndarray, int]:
    """The rows of the annotated frames, and how many were dropped (or, if negative, added) in front of them.

    Args:
        rows: (R, 4 or 8) all rows of the file.
        annotation: of the sequence.
        where: name of the file, for errors.
        longer: what a file with more rows than frames is: an "error", or "cut" as the toolkits do.
        rules: say how many rows belong to an annotation and where a file may begin.
        thin: keep only the rows that are compared; else, all from the first annotated frame on.

    Raises:
        ValueError: the file is too short or too long, or has no box at all.
    """
    sparse = rules.stride > 1 or annotation.rows is not None
    compared = np.arange(annotation.frames) * rules.stride if annotation.rows is None else annotation.rows
    needed = int(compared[-1]) + 1
    shift = _shift(len(rows), annotation, needed, rules, sparse=sparse)
    if shift < 0:
        rows = np.concatenate([np.zeros((-shift, rows.shape[1])), rows])
    rows = rows[max(shift, 0) :]
    as_images = annotation.images is not None and len(rows) == annotation.images
    wanted = f"{len(rows)} rows; expected {needed}, one per frame"
    if sparse:
        wanted = f"{len(rows)} rows; expected {needed} or more, one per frame, for {annotation.frames} annotated frames"
    if len(rows) < needed and not as_images:
        raise ValueError(f"{where}: too short, {wanted}")
    if len(rows) > needed and not (sparse or as_images) and longer == "error":
        raise ValueError(f"{where}: too long, {wanted} (the toolkits' rule is --cut-longer)")
    if np.isnan(rows).any(axis=1).all():
        raise ValueError(f"{where}: every row holds NaN; expected boxes")
    return (rows[compared[compared < len(rows)]] if thin else rows), shift


def _shift(length: int, annotation: GroundTruth, needed: int, rules: OnePass, *, sparse: bool) -> int:
    """Rows in front of the first annotated frame: more than 0 to drop, fewer to add."""
    lead = annotation.lead if rules.skip_lead else 0
    if lead and annotation.images is not None:
        return lead if length == annotation.images + lead else 0
    if lead and (length == needed + lead or (sparse and length > needed + lead)):
        return lead
    if rules.late_start and annotation.absent is not None:
        late = int(np.argmin(annotation.absent))
        return -late if length == needed - late else 0
    return 0
