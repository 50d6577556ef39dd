"""How tracking went: of one sequence, and of all."""

from __future__ import annotations

from dataclasses import dataclass, field

from lib.datasets.sequence import Sequence

__all__ = ["Outcome", "Summary", "TrackingError", "failure", "merge"]


class TrackingError(RuntimeError):
    """A sequence can't be tracked; the message names sequence and frame."""


def failure(sequence: Sequence, number: int, error: Exception) -> TrackingError:
    """Why a sequence ends at a frame (from 0)."""
    return TrackingError(f"sequence {sequence.name}, frame {number} (from 0): {error}")


@dataclass(frozen=True)
class Outcome:
    """How one sequence went.

    Attributes:
        name: of the sequence.
        frames: number of frames tracked.
        seconds: wall time, reading included.
        tracking_seconds: time in the tracker.
        error: why there is no result; empty if there is one.
    """

    name: str
    frames: int = 0
    seconds: float = 0.0
    tracking_seconds: float = 0.0
    error: str = ""


@dataclass
class Summary:
    """How a run went: names of the sequences done now and kept from before, reasons of failures, and the wall time."""

    finished: list[Outcome] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0

    def describe(self) -> str:
        """For the user: counts, frames per second, failures."""
        counts = f"{len(self.finished)} tracked, {len(self.kept)} kept from before, {len(self.failed)} failed"
        lines = [f"sequences: {counts}"]
        frames = sum(outcome.frames for outcome in self.finished)
        spent = sum(outcome.tracking_seconds for outcome in self.finished)
        if spent:  # none if every sequence of a batch is a single frame
            tracking = frames / spent
            lines.append(
                f"{frames} frames in {self.seconds:.1f} s: {frames / self.seconds:.1f} FPS with reading; "
                f"per process {tracking:.1f} FPS tracking"
            )
        lines += [f"failed: {outcome.name}: {outcome.error}" for outcome in self.failed]
        return "\n".join(lines)


def merge(summaries: list[Summary]) -> Summary:
    """How a run went whose sequences were shared."""
    whole = Summary()
    for summary in summaries:
        whole.finished += summary.finished
        whole.kept += summary.kept
        whole.failed += summary.failed
        whole.seconds = max(whole.seconds, summary.seconds)
    return whole
