"""Scores as plain aligned text."""

from __future__ import annotations

from lib.evaluation.scores import Evaluation, TrackerScores

__all__ = ["attribute_table", "evaluation_table", "format_table"]


def format_table(rows: list[list[str]], left: tuple[int, ...] = (0,)) -> str:
    """Align columns: those named to the left, the others to the right.

    Args:
        rows: the header first; all of the same length.
        left: numbers of the columns with words.

    Returns:
        Lines joined by `\n`, without blanks at their ends.
    """
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(widths[k]) if k in left else cell.rjust(widths[k]) for k, cell in enumerate(row))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def evaluation_table(evaluation: Evaluation, *, attributes: bool = False) -> str:
    """Everything a reader needs to quote the numbers: rules, data, scores, formats, and what was left out.

    Args:
        evaluation: of at least one tracker.
        attributes: add a table per tracker.

    Returns:
        Text of several lines.
    """
    trackers = list(evaluation.trackers.values())
    total = len(evaluation.frames)
    metrics = list(trackers[0].metrics)
    rows = [["tracker", *metrics, "sequences", "result files"]]
    for scores in trackers:
        values = [f"{scores.metrics[metric]:.4f}" for metric in metrics]
        rows.append([scores.name, *values, f"{len(scores.sequences)} of {total}", scores.file_format])
    if evaluation.perfect:
        values = [f"{evaluation.perfect[metric]:.4f}" for metric in metrics]
        rows.append(["(perfect tracker)", *values, f"{total} of {total}", "the true boxes under these rules"])
    parts = [
        f"{evaluation.dataset}, protocol {evaluation.protocol} ({evaluation.title}): {total} sequences, "
        f"{sum(evaluation.frames.values())} annotated frames\nground truth: {evaluation.ground_truth}",
        format_table(rows, left=(0, len(rows[0]) - 1)),
    ]
    remarks = [line for scores in trackers for line in _remarks(scores)]
    for name, problems in evaluation.left_out.items():
        remarks += [f"{name}: NOT scored", *(f"  {problem}" for problem in problems)]
    if remarks:
        parts.append("\n".join(remarks))
    if attributes:
        parts += [attribute_table(scores) for scores in trackers]
    return "\n\n".join(parts)


def attribute_table(scores: TrackerScores) -> str:
    """One row per attribute, with the number of sequences that carry it."""
    if not scores.attributes:
        return f"{scores.name}: the ground truth used names no attributes"
    metrics = list(scores.metrics)
    rows = [[f"{scores.name}, attribute", *metrics, "sequences"]]
    for name, values in scores.attributes.items():
        rows.append([name, *(f"{values[metric]:.4f}" for metric in metrics), str(values["sequences"])])
    return format_table(rows)


def _remarks(scores: TrackerScores) -> list[str]:
    lines = [f"{scores.name}: {note}" for note in scores.notes]
    if scores.left_out:
        lines.append(f"{scores.name}: scored WITHOUT {len(scores.left_out)} sequences:")
        lines += [f"  {problem}" for problem in scores.left_out.values()]
    return lines
