"""The report: one folder with `index.html`, small pictures and the numbers; it opens from disk and loads nothing else.

The page holds its style, its script and its charts (inline SVG). Its content security policy allows that one script and
pictures from its own folder, nothing else: a name with HTML in it stays text, and no request leaves the disk.

It also has facts that the means hide: where a tracker loses its target, whether it finds it again, how fast it is.
These are the same for every benchmark, not metrics of one: overlaps are taken between boxes as written and the true
boxes, the best of both modalities, without the repairs of a protocol.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Words
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from lib.datasets import Sequence, data_set_names, load, resolve_data_root
from lib.evaluation import Evaluation
from lib.evaluation.boxes import iou
from lib.evaluation.files import FileTree, parse_column
from lib.evaluation.ground_truth import GroundTruth
from lib.evaluation.scores import to_json
from lib.report.figures import PLOTS, curve_chart, looks, missing_chart, radar
from lib.report.folder import replace_report, report_folder
from lib.report.missing import MissingScores, missing_rows, without
from lib.report.pictures import Strip, film_strip
from lib.report.tables import compare, count_scored, difference_rows, perfect_rows, primary_metric

__all__ = ["LoadSequence", "find_images", "find_losses", "overlaps", "read_speed", "write_report"]

logger = logging.getLogger(__name__)

LoadSequence = Callable[[str], Sequence]
"""Gives a sequence with its image files by its name; raises ValueError or OSError if it cannot."""
WIDE, NARROW = (9.2, 6.0), (5.2, 5.2)  # size of the radar: on a screen, and on a telephone with numbers for names
LOST = 0.1  # overlap at or below which the target counts as missed
GRACE = 10  # missed frames in a row that make a failure
AGAIN = 0.5  # overlap from which the target counts as found again
TIME_FILES = ("{seq}_times.txt", "{seq}/{seq}_time.value")  # of ours, of the VOT toolkit


# ---- Facts that the means hide


@dataclass
class Losses:
    """Failures of one tracker, on one sequence or summed over many."""

    frames: int = 0  # with a target, the first left out
    lost_frames: int = 0  # of those, between the start of a failure and finding the target again
    failures: int = 0  # runs of `GRACE` frames or more with overlap <= `LOST`
    found_again: int = 0  # failures after which an overlap >= `AGAIN` was reached
    delays: list[int] = field(default_factory=list)  # frames from the start of each such failure until then
    returns: int = 0  # times that the target comes back after having been absent
    caught: int = 0  # returns after which an overlap >= `AGAIN` was reached within `GRACE` frames
    failed_sequences: int = 0  # sequences with a failure

    @property
    def delay(self) -> float | None:
        """Median of the delays; None if there are none."""
        return float(np.median(self.delays)) if self.delays else None

    def add(self, other: Losses) -> None:
        """Add another sequence."""
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))


def overlaps(truth: GroundTruth, boxes: np.ndarray) -> np.ndarray:
    """Compute the overlap in every annotated frame.

    Args:
        truth: of the sequence.
        boxes: (N, 4) xywh, pixels; a row with NaN means that nothing was reported.

    Returns:
        (N,) in [0, 1]; NaN where there is no target.
    """
    values = np.zeros(truth.frames)
    present = np.zeros(truth.frames, dtype=bool)
    for reference in truth.boxes:
        there = ~np.isnan(reference).any(axis=1) & (reference[:, 2:] > 0).all(axis=1)
        sized = np.nan_to_num(boxes[: truth.frames], nan=-1.0)
        overlap = np.where((sized[:, 2:] > 0).all(axis=1) & there, np.nan_to_num(iou(sized, reference)), 0.0)
        values, present = np.maximum(values, overlap), present | there
    if truth.absent is not None:
        present &= ~truth.absent
    return np.where(present, values, np.nan)


def find_losses(overlap: np.ndarray) -> Losses:
    """Count failures and recoveries in the overlaps (N,) of one sequence; frames without a target are passed over."""
    present = np.flatnonzero(~np.isnan(overlap[1:])) + 1  # frame numbers
    values = overlap[present]
    found = Losses(frames=len(values))
    again = np.flatnonzero(values >= AGAIN)
    resume = 0

    # Failures, by the starts and ends (exclusive) of runs of missed frames; each lasts until the target is found again.
    missed = np.concatenate([[False], values <= LOST, [False]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(missed)).tolist()
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if start < resume or end - start < GRACE:
            continue
        found.failures += 1
        later = again[again >= end]
        resume = int(later[0]) if len(later) else len(values)
        found.lost_frames += resume - start
        if len(later):
            found.found_again += 1
            found.delays.append(resume - start)
    found.failed_sequences = int(found.failures > 0)

    # The target comes back where frame numbers leave a gap.
    for position in np.flatnonzero(np.diff(present) > 1) + 1:
        found.returns += 1
        found.caught += int((values[position : position + GRACE] >= AGAIN).any())
    return found


@dataclass(frozen=True)
class Speed:
    """Time in the tracker, without reading images."""

    fps: float | None = None  # frames per second over all frames but the first of each sequence
    median: float | None = None  # of the time per frame, milliseconds
    slowest: float | None = None  # 95 % of the frames take at most this, milliseconds
    sequences: int = 0  # number of sequences with times
    device: str = ""  # what it ran on, as `run.json` says; empty if unknown
    note: str = ""  # what is wrong with the files; empty if nothing is


def read_speed(source: str | Path, truth: Mapping[str, GroundTruth]) -> Speed:
    """Read the speed from the files of seconds per frame in a folder or archive of results.

    Args:
        source: folder of the result files, which may lie in an archive.
        truth: of the sequences wanted, by name.

    Returns:
        Values of None if there are no files; a bad file is left out and named in the note.
    """
    tree = FileTree(source)
    form = next((form for form in TIME_FILES if any(tree.has(form.format(seq=name)) for name in truth)), None)
    if form is None:
        return Speed(note="no files with times")
    times, problems = [], []
    for name in truth:
        file = form.format(seq=name)
        if not tree.has(file):
            continue
        try:
            seconds = parse_column(tree.read(file).rstrip(), tree.describe(file))[1:]
        except ValueError as error:
            problems.append(str(error))
            continue
        if not np.isfinite(seconds).all() or (seconds < 0).any() or not seconds.sum() > 0:
            problems.append(f"{tree.describe(file)}: expected a time in seconds per frame, at least two")
            continue
        times.append(seconds)
    note = f"{len(problems)} files of times left out: {problems[0]}" if problems else ""
    if not times:
        return Speed(note=note or "no files with times")
    device = ""
    if tree.has("run.json"):
        try:
            content = json.loads(tree.read("run.json"))
            device, threads = str(content.get("device") or ""), content.get("threads")
            if device == "cpu" and threads:
                device += f", {threads} thread{'' if threads == 1 else 's'}"
        except (ValueError, AttributeError):  # a file of somebody else's
            device = ""

    every = np.concatenate(times)
    median, slowest = (1000.0 * float(value) for value in np.percentile(every, [50, 95]))
    return Speed(len(every) / float(every.sum()), median, slowest, len(times), device, note)


# ---- The page


@dataclass
class Shown:
    """A sequence with pictures, or the reason `why` it has none; `mean` is its score over all trackers."""

    name: str
    mean: float
    strip: Strip | None = None
    why: str = ""
    values: list[str] = field(default_factory=list)


def find_images(dataset: str, split: str, data_root: str | None) -> tuple[LoadSequence | None, str]:
    """Find out how the sequences of a data set are loaded, one by one, when they are to be shown.

    Args:
        dataset, split: whose sequences.
        data_root: folder that holds the data sets; None: the environment variable PATRACK_DATA.

    Returns:
        A function, or None; and why there is none, in words for the reader of the report.
    """
    root = resolve_data_root(data_root)
    if root is None:
        return None, "the images need --data-root or PATRACK_DATA"
    if dataset not in data_set_names():
        return None, f"the images of {dataset} cannot be read"
    return lambda name: load(dataset, split, None, root, [name])[0], ""


def write_report(
    evaluation: Evaluation,
    folder: str | Path,
    *,
    images: LoadSequence | None = None,
    no_images: str = "no images were given",
    shown: int = 3,
    published: Words[str] | None = None,
    missing: MissingScores | None = None,
) -> Path:
    """Write the report of an evaluation.

    Args:
        evaluation: of at least one tracker.
        folder: made if it is not there. A report in it is replaced, all at once and last; other files stay.
        images: gives a sequence with its images, for the film strips; None: there are none, and `no_images` says why.
        shown: number of worst and of best sequences with film strips.
        published: published rows beside the measured ones, see `lib.report.tables.compare`.
        missing: scores over the share of frames that lack a stream, for a section of their own.

    Returns:
        Path of `index.html`.

    Raises:
        OSError: the folder cannot be written.
        ValueError: a published row that there is not, `missing` of another data set, split or protocol, or a folder
            with somebody else's `index.html` or `scores.json`.
        FolderInUse: another process writes a report there.
    """
    table = compare(evaluation, published=published)
    if missing is not None:
        for what in ("dataset", "split", "protocol"):
            other, ours = getattr(missing, what), getattr(evaluation, what)
            if other != ours:
                raise ValueError(f"the scores with streams missing are of {what} {other}, and the report of {ours}")
    folder = Path(folder)
    trackers = [replace(scores, name=scores.label) for scores in evaluation.trackers.values()]
    metrics, main = list(trackers[0].metrics), primary_metric(trackers[0].metrics)

    # Failures of every tracker on every sequence; their sums are None where a protocol has several runs per sequence.
    overlap = {
        (k, name): overlaps(evaluation.truth[name], boxes)
        for k, tracker in enumerate(trackers)
        for name, boxes in tracker.boxes.items()
    }
    losses = {key: find_losses(values) for key, values in overlap.items()}
    totals: list[Losses | None] = [None] * len(trackers)
    for (k, _), found in losses.items():
        total = totals[k] = totals[k] or Losses()
        total.add(found)

    # The table of sequences: per tracker, its metrics in percent and its number of failures, or "-".
    rows: list[dict[str, Any]] = []
    for name, frames in evaluation.frames.items():
        scores = []
        for k, tracker in enumerate(trackers):
            texts = [_percent(tracker.sequences.get(name, {}).get(metric)) for metric in metrics]
            scores.append([*texts, str(losses[k, name].failures) if (k, name) in losses else "-"])
        attributes = evaluation.truth[name].attributes
        rows.append({"name": name, "frames": frames, "attributes": attributes, "scores": scores})

    # How much of the benchmark each tracker covers; a chart for every curve, and the radar of the attributes that every
    # tracker has; fewer than three make no polygon.
    charts, covered = [], [count_scored(evaluation, tracker) for tracker in trackers]
    groups = [(tracker.missing, not complete) for tracker, (_, complete, _) in zip(trackers, covered, strict=True)]
    for curve in {**PLOTS, **trackers[0].curves}:
        if curve in trackers[0].curves:
            _, title, metric = PLOTS.get(curve, (curve, curve, curve))
            values = [float(np.nan_to_num(tracker.metrics[metric])) for tracker in trackers]
            curves = [tracker.curves[curve] for tracker in trackers]
            charts.append(curve_chart(title, metric, curves, values, groups))
    common = [name for name in trackers[0].attributes if all(name in tracker.attributes for tracker in trackers)]
    radars = {}
    if len(common) >= 3:
        spokes = [[np.nan_to_num(tracker.attributes[name][main]) for tracker in trackers] for name in common]
        names = [f"{name} ({trackers[0].attributes[name]['sequences']:.0f})" for name in common]
        numbers = [str(number) for number in range(1, len(names) + 1)]
        radars = {"long": radar(spokes, names, WIDE), "short": radar(spokes, numbers, NARROW)}

    # Scores over the share of frames that lack a stream. A tracker that has a row above looks as it does there.
    missing_charts = []
    if missing is not None:
        named = list(dict.fromkeys([*evaluation.trackers, *missing.trackers]))
        places, look = [named.index(name) for name in missing.trackers], looks(len(named))
        for stream in missing.streams:
            missing_charts.append(
                {
                    "title": f"{missing.metric} without {without(stream)}",
                    "svg": missing_chart(missing, stream, places),
                    "lines": [(number, named[number], look[number]) for number in places],
                    "rows": missing_rows(missing, stream),
                }
            )

    # The sequences with the lowest and the highest mean over the trackers, each at most once. They are ranked by the
    # main metric, or the last one that single sequences have (there is no EAO of one sequence).
    known = [metric for metric in metrics if metric in next(iter(trackers[0].sequences.values()))]
    by = main if main in known else known[-1]
    entries = []
    for name in evaluation.frames:
        scored = [tracker.sequences[name][by] for tracker in trackers if name in tracker.sequences]
        if scored:
            texts = [_percent(tracker.sequences.get(name, {}).get(by)) for tracker in trackers]
            entries.append(Shown(name, float(np.mean(np.nan_to_num(scored))), why=no_images, values=texts))
    entries.sort(key=lambda entry: entry.mean)
    worst = entries[: min(shown, (len(entries) + 1) // 2)]
    best = entries[len(worst) :][::-1][:shown]

    # Their film strips. Nothing is written before everything is made.
    with report_folder(folder):
        pictures: dict[str, bytes] = {}
        for number, entry in enumerate([*worst, *best] if images is not None else []):
            assert images is not None
            boxes = {k: tracker.boxes[entry.name] for k, tracker in enumerate(trackers) if entry.name in tracker.boxes}
            measured = {k: overlap[k, entry.name] for k in boxes}
            try:
                truth = evaluation.truth[entry.name]
                entry.strip, its = film_strip(images(entry.name), truth, boxes, measured, f"{number:02d}")
                pictures |= its
            except (ValueError, OSError) as error:
                logger.warning("no film strip of %s: %s", entry.name, error)
                entry.why = str(error)

        # The page. The policy in its head names the script by its hash.
        loader = PackageLoader("lib.report")
        environment = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        environment.filters["percent"] = _percent
        script, style = (loader.get_source(environment, name)[0] for name in ("report.js", "report.css"))
        page = environment.get_template("report.html").render(
            script=script,
            style=style,
            digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            evaluation=evaluation,
            trackers=trackers,
            looks=looks(len(trackers)),
            main=main,
            by=by,
            by_index=metrics.index(by),
            table=table,
            venues=any(row.venue for row in table.rows),
            covered=covered,
            perfects=[([scores.name for scores in group], perfect) for group, perfect in perfect_rows(evaluation)],
            differences=difference_rows(evaluation.labeled_differences),
            apart=any(tracker.missing for tracker in trackers),
            missing=missing,
            missing_charts=missing_charts,
            charts=charts,
            radars=radars,
            attributes=common,
            sequences=rows,
            worst=worst,
            best=best,
            losses=totals,
            speeds=[read_speed(Path(tracker.source) / tracker.folder, evaluation.truth) for tracker in trackers],
            limits={"lost": LOST, "grace": GRACE, "again": AGAIN},
        )
        return replace_report(folder, page, to_json(evaluation), pictures)


def _percent(value: float | None) -> str:
    """Format a fraction in percent, `-` if it is missing or not finite."""
    return "-" if value is None or not np.isfinite(value) else f"{100 * value:.1f}"
