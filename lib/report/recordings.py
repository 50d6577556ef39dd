"""A comparison on recordings to read and to look at: tables in Markdown, all values in JSON, a film strip each."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke

from lib.datasets import Sequence
from lib.evaluation.evaluate import RecordingScores, mean_scores
from lib.report.figures import COLORS, save_figure, show_literally
from patrack.files import atomic_write, folder_lock
from patrack.recordings.frames import read_frame
from patrack.recordings.overlay import panels
from patrack.recordings.sequence import shows_target

__all__ = ["markdown", "to_dict", "write_comparison", "write_strip"]

Scores = Mapping[str, Mapping[str, RecordingScores]]  # by recording and tracker
FRAMES = 6
PANEL = 3.4  # inches wide
LEGEND_WIDTH, LEGEND_HEIGHT = 2.8, 0.24  # inches per entry and row of the legend
LINES = (*COLORS[:6], "#F0E442", *COLORS[7:])  # yellow instead of black, which night scenes would hide
MARGIN = 0.35  # around the boxes, in units of what they span
TRUTH = "white"
MEASURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "mean_iou": ("Mean IoU", "{:.3f}".format),
    "above_half": ("Share of frames above IoU 0.5", "{:.2f}".format),
    "held": ("Frames until lost", "{:.0f}".format),
    "fps": ("Frames per second", "{:.0f}".format),
}


def write_comparison(
    folder: Path,
    recordings: Iterable[Sequence],
    scores: Scores,
    origins: Mapping[str, Iterable[str]],
    strips: bool = True,
) -> str:
    """Write `comparison.md`, `comparison.json` and, if asked for, a strip `<recording>.png` each.

    Args:
        folder: made if it isn't there; every file is written whole or not at all.
        recordings, scores: what was compared, and the scores by recording and tracker.
        origins: what each tracker is, by name.
        strips: draw them.

    Returns:
        The tables of `comparison.md`.

    Raises:
        FrameError: an image can't be read.
        FolderInUse: another process writes to the folder.
        OSError: a file can't be written.
    """
    recordings = list(recordings)
    text = markdown(recordings, scores, origins)
    with folder_lock(folder):
        for recording in recordings if strips else []:
            write_strip(folder / f"{recording.name}.png", recording, scores[recording.name], origins)
        with atomic_write(folder / "comparison.json") as file:
            json.dump(to_dict(recordings, scores, origins), file, indent=1, allow_nan=False)
        with atomic_write(folder / "comparison.md") as file:
            file.write(text)
    return text


def markdown(recordings: Iterable[Sequence], scores: Scores, origins: Mapping[str, Iterable[str]]) -> str:
    """Write a table per measure: a row per recording, then means; the best overlap of a row is bold.

    Arguments are those of `write_comparison`.
    """

    def row(first: list[str], values: Mapping[str, float], form: Callable[[float], str], notes: dict[str, str]) -> str:
        cells = {name: form(value) for name, value in values.items()}
        if measure in ("mean_iou", "above_half") and len(cells) > 1:
            best = max(cells.values())
            cells = {name: f"**{cell}**" if cell == best else cell for name, cell in cells.items()}
        return line([*first, *(notes.get(name, "{}").format(cells.get(name, "-")) for name in origins)])

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    recordings, lines = list(recordings), []
    for measure, (title, form) in MEASURES.items():
        lines += [f"## {title}", "", line(["recording", "kind", "annotated", *origins])]
        lines += ["|---|---|--:|" + "--:|" * len(origins)]
        for recording in recordings:
            its = scores[recording.name]
            annotated = f"{shows_target(recording)[1:].sum()} of {len(recording) - 1}"
            notes = {name: "≥ {}" for name, score in its.items() if measure == "held" and not score.lost}
            values = {name: getattr(score, measure) for name, score in its.items()}
            lines.append(row([recording.name, recording.modality, annotated], values, form, notes))
        for title, group, means in _means(recordings, scores, origins):
            notes = {}
            for name, mean in means.items():
                lost = f", lost {mean['lost']}" if measure == "held" else ""
                fewer = f" (of {mean['recordings']})" if mean["recordings"] < len(group) else ""
                notes[name] = "{}" + lost + fewer
            values = {name: mean[measure] for name, mean in means.items()}
            lines.append(row([f"**{title}**", "", ""], values, form, notes))
        lines.append("")
    lines += [f"- {name}: {'; '.join(texts)}" for name, texts in origins.items()]
    lines += [
        "",
        "Every tracker starts from the recording's first box, which doesn't count; nor do frames without a true box. "
        "Lost: from the first annotated frame of a stretch below IoU 0.2 that lasts 10 frames or to the last annotated "
        "frame; ≥: never. A mean counts every recording once; one over fewer recordings says over how many. Frames per "
        "second: from the median time of a frame, files read beforehand.",
    ]
    return "\n".join(lines) + "\n"


def to_dict(recordings: Iterable[Sequence], scores: Scores, origins: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """Collect everything that was measured, per recording and frame, and the means of `markdown`."""
    recordings = list(recordings)
    return {
        "trackers": {name: list(texts) for name, texts in origins.items()},
        "mean": {title: means for title, _, means in _means(recordings, scores, origins)},
        "recordings": {
            recording.name: {
                "modality": recording.modality,
                "frames": len(recording),
                "skipped": recording.cut,
                "annotated": np.flatnonzero(shows_target(recording)).tolist(),
                "trackers": {
                    name: {
                        **{key: getattr(score, key) for key in ("mean_iou", "above_half", "held", "lost", "fps")},
                        "overlaps": [None if np.isnan(v) else round(v, 4) for v in score.overlaps.tolist()],
                        "boxes": score.boxes.round(2).tolist(),
                    }
                    for name, score in scores[recording.name].items()
                },
            }
            for recording in recordings
        },
    }


def _means(
    recordings: list[Sequence], scores: Scores, trackers: Iterable[str]
) -> list[tuple[str, list[Sequence], dict[str, dict[str, float]]]]:
    """Average over each modality that has several recordings, if there are more, then all: title, recordings, means."""
    kinds = {kind: [r for r in recordings if r.modality == kind] for kind in sorted({r.modality for r in recordings})}
    groups = [(f"mean, {kind}", group) for kind, group in kinds.items() if 1 < len(group) < len(recordings)]
    means = []
    for title, group in [*groups, ("mean", recordings)]:
        of = {name: [scores[r.name][name] for r in group if name in scores[r.name]] for name in trackers}
        means.append((title, group, {name: mean_scores(found) for name, found in of.items() if found}))
    return means


def write_strip(
    path: Path, recording: Sequence, scores: Mapping[str, RecordingScores], trackers: Iterable[str]
) -> None:
    """Draw some frames of a recording with every tracker's box and the true one, RGB above X, as a PNG file.

    All panels show the same part of the image: the boxes in these frames and some room around them. The order of
    `trackers`, that of the table, gives each its color.

    Raises:
        FrameError: an image can't be read.
        OSError: the file can't be written.
    """
    annotated = np.flatnonzero(shows_target(recording))
    shown = annotated[np.unique(np.linspace(0, len(annotated) - 1, FRAMES).round().astype(int))].tolist()
    frames = [read_frame(recording, index) for index in shown]
    colors = {name: LINES[k % len(LINES)] for k, name in enumerate(trackers)}

    # The part of the image (left, top, right, bottom) that holds all boxes with a margin, in the image's aspect.
    height, width, channels = frames[0].shape
    boxes = np.concatenate([recording.boxes[shown], *(score.boxes[shown] for score in scores.values())])
    low = np.clip(boxes[:, :2].min(axis=0), 0, (width, height))
    high = np.clip((boxes[:, :2] + boxes[:, 2:]).max(axis=0), 0, (width, height))
    center, span = (low + high) / 2, (high - low) * (1 + 2 * MARGIN)
    size = np.array([width, height]) * min(1.0, max(span[0] / width, span[1] / height))
    left, top = np.clip(center - size / 2, 0, np.array([width, height]) - size)
    right, bottom = left + size[0], top + size[1]

    # A column per frame, a row per stream, the legend below; sizes in inches.
    streams, panel_height = channels // 3, PANEL * size[1] / size[0]
    entries = max(1, int(PANEL * len(shown) / LEGEND_WIDTH))
    legend_height = 0.2 + LEGEND_HEIGHT * math.ceil((1 + len(scores)) / entries)
    figure_width, figure_height = PANEL * len(shown), panel_height * streams + legend_height
    figure = Figure(figsize=(figure_width, figure_height), dpi=110, facecolor="#222222")
    outline: list[AbstractPathEffect] = [withStroke(linewidth=3, foreground="black")]
    for column, (index, frame) in enumerate(zip(shown, frames, strict=True)):
        for stream, image in enumerate(panels(frame, recording.modality)):
            corner = column / len(shown), 1 - panel_height * (stream + 1) / figure_height
            axes = figure.add_axes((*corner, 0.995 / len(shown), 0.99 * panel_height / figure_height))
            axes.imshow(image, interpolation="antialiased")
            axes.set(xlim=(left, right), ylim=(bottom, top))
            axes.axis("off")
            drawn = [(score.boxes[index], colors[name], 1.8, "solid") for name, score in scores.items()]
            for (x, y, w, h), color, line, dash in [*drawn, (recording.boxes[index], TRUTH, 1.2, (0, (4, 3)))]:
                box = Rectangle((x - 0.5, y - 0.5), w, h, fill=False, edgecolor=color, linewidth=line, linestyle=dash)
                if color != TRUTH:
                    box.set_path_effects(outline)
                axes.add_patch(box)
            caption = f"frame {index + recording.cut}" if stream == 0 else ""
            text = axes.text(0.02, 0.97, caption, transform=axes.transAxes, va="top", color=TRUTH, fontsize=11)
            text.set_path_effects(outline)
    handles = [Line2D([], [], color=TRUTH, linewidth=2, linestyle=(0, (3, 2)))]
    handles += [Line2D([], [], color=colors[name], linewidth=3) for name in scores]
    labels = [f"true box, {recording.name}", *(f"{name}  {score.mean_iou:.3f}" for name, score in scores.items())]
    figure.legend(handles, labels, loc="lower center", ncol=entries, frameon=False, labelcolor=TRUTH, fontsize=11)
    show_literally(figure)
    save_figure(figure, path, dpi=figure.dpi)
