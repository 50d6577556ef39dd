"""A comparison on recordings to read and to look at: tables in Markdown, all values in JSON, a film strip each."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from lib.datasets.frames import read_frame
from lib.datasets.sequence import Sequence, shows_target
from lib.evaluation.recordings import RecordingScores, mean_scores
from lib.report.style import COLOURS
from patrack.files import atomic_write

__all__ = ["markdown", "strip_name", "to_dict", "write_json", "write_markdown", "write_strip"]

Scores = Mapping[str, Mapping[str, RecordingScores]]
FRAMES = 6
PANEL = 3.4  # inches wide
DPI = 110
LEGEND_WIDTH, LEGEND_HEIGHT = 2.8, 0.24  # inches per entry and row of the legend
LINES = (*COLOURS[:6], "#F0E442", *COLOURS[7:])  # yellow instead of black, which night scenes would hide
MARGIN = 0.35  # around the boxes, in units of what they span
TRUTH = "white"
MEASURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "mean_iou": ("Mean IoU", "{:.3f}".format),
    "above_half": ("Share of frames above IoU 0.5", "{:.2f}".format),
    "held": ("Frames until lost", "{:.0f}".format),
    "fps": ("Frames per second", "{:.0f}".format),
}


def markdown(recordings: Iterable[Sequence], scores: Scores, origins: Mapping[str, Iterable[str]]) -> str:
    """A table per measure: a row per recording, then means; the best overlap of a row is bold.

    Args:
        recordings: that were compared.
        scores: by recording and tracker.
        origins: what each tracker is, by name.
    """
    recordings, trackers = list(recordings), list(origins)
    lines = []
    for measure, (title, form) in MEASURES.items():
        lines += [f"## {title}", "", _row(["recording", "kind", "annotated", *trackers])]
        lines += ["|---|---|--:|" + "--:|" * len(trackers)]
        for recording in recordings:
            of_it = scores[recording.name]
            cells = _marked({name: getattr(of_it[name], measure) for name in of_it}, trackers, form, measure)
            if measure == "held":
                cells = [
                    f"≥ {c}" if n in of_it and not of_it[n].lost else c for n, c in zip(trackers, cells, strict=True)
                ]
            annotated = f"{shows_target(recording)[1:].sum()} of {len(recording) - 1}"
            lines.append(_row([recording.name, recording.modality, annotated, *cells]))
        for title, group in _groups(recordings):
            means = _means(group, scores, trackers)
            cells = _marked({name: mean[measure] for name, mean in means.items()}, trackers, form, measure)
            for k, name in enumerate(trackers):
                if name in means and measure == "held":
                    cells[k] += f", lost {means[name]['lost']}"
                if name in means and means[name]["recordings"] < len(group):
                    cells[k] += f" (of {means[name]['recordings']})"
            lines.append(_row([f"**{title}**", "", "", *cells]))
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


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _marked(values: Mapping[str, float], trackers: list[str], form: Callable[[float], str], measure: str) -> list[str]:
    """Cells in the order of the trackers, "-" where there is no value."""
    cells = {name: form(value) for name, value in values.items()}
    if measure in ("mean_iou", "above_half") and len(values) > 1:
        best = max(cells.values())
        cells = {name: f"**{cell}**" if cell == best else cell for name, cell in cells.items()}
    return [cells.get(name, "-") for name in trackers]


def _groups(recordings: list[Sequence]) -> list[tuple[str, list[Sequence]]]:
    """All recordings; before that those of each modality that has several, if there is more than one."""
    of_kind = {kind: [r for r in recordings if r.modality == kind] for kind in sorted({r.modality for r in recordings})}
    several = [(f"mean, {kind}", group) for kind, group in of_kind.items() if 1 < len(group) < len(recordings)]
    return [*several, ("mean", recordings)]


def _means(recordings: list[Sequence], scores: Scores, trackers: Iterable[str]) -> dict[str, dict[str, float]]:
    of = {name: [scores[r.name][name] for r in recordings if name in scores[r.name]] for name in trackers}
    return {name: mean_scores(found) for name, found in of.items() if found}


def to_dict(recordings: Iterable[Sequence], scores: Scores, origins: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """Everything that was measured, per recording and frame, and the means of `markdown`."""
    recordings = list(recordings)
    return {
        "trackers": {name: list(texts) for name, texts in origins.items()},
        "mean": {title: _means(group, scores, origins) for title, group in _groups(recordings)},
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


def write_markdown(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_write(path) as file:
        file.write(text)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON file whole or not at all; NaN is refused."""
    with atomic_write(path) as file:
        json.dump(values, file, indent=1, allow_nan=False)


def strip_name(recording: Sequence) -> str:
    """File name of a recording's strip."""
    return f"{recording.name}.png"


def write_strip(
    path: Path, recording: Sequence, scores: Mapping[str, RecordingScores], trackers: Iterable[str]
) -> None:
    """Draw some frames of a recording with every tracker's box and the true one, RGB above X, as a PNG file.

    All panels show the same part of the image: the boxes in these frames and some room around them.

    Args:
        path: the file.
        recording: its images are read.
        scores: by tracker.
        trackers: names in the order of the table, which gives each its colour.

    Raises:
        FrameError: an image can't be read.
        OSError: the file can't be written.
    """
    annotated = np.flatnonzero(shows_target(recording))
    shown = annotated[np.unique(np.linspace(0, len(annotated) - 1, FRAMES).round().astype(int))].tolist()
    frames = [read_frame(recording, index) for index in shown]
    colours = {name: LINES[k % len(LINES)] for k, name in enumerate(trackers)}
    height, width, channels = frames[0].shape
    boxes = [recording.boxes[shown], *(score.boxes[shown] for score in scores.values())]
    part = _part_shown(np.concatenate(boxes), width, height)
    # the figure: a column per frame, a row per stream, the legend below
    streams, panel_height = channels // 3, PANEL * (part[3] - part[1]) / (part[2] - part[0])
    entries = max(1, int(PANEL * len(shown) / LEGEND_WIDTH))
    legend = 0.2 + LEGEND_HEIGHT * math.ceil((1 + len(scores)) / entries)
    size = PANEL * len(shown), panel_height * streams + legend
    figure = Figure(figsize=size, dpi=DPI, facecolor="#222222")
    FigureCanvasAgg(figure)
    for column, (index, frame) in enumerate(zip(shown, frames, strict=True)):
        placed = [(score.boxes[index], colours[name]) for name, score in scores.items()]
        for stream in range(streams):
            corner = column / len(shown), 1 - panel_height * (stream + 1) / size[1]
            axes = figure.add_axes((*corner, 0.995 / len(shown), 0.99 * panel_height / size[1]))
            image = frame[:, :, 3 * stream : 3 * stream + 3]
            if stream == 1 and recording.modality == "rgbd":  # depth colours are in B, G, R order
                image = image[:, :, ::-1]
            caption = f"frame {index + recording.cut}" if stream == 0 else ""
            _draw_panel(axes, image, part, placed, recording.boxes[index], caption)
    handles = [Line2D([], [], color=TRUTH, linewidth=2, linestyle=(0, (3, 2)))]
    handles += [Line2D([], [], color=colours[name], linewidth=3) for name in scores]
    labels = [f"true box, {recording.name}", *(f"{name}  {score.mean_iou:.3f}" for name, score in scores.items())]
    figure.legend(handles, labels, loc="lower center", ncol=entries, frameon=False, labelcolor=TRUTH, fontsize=11)
    with atomic_write(path, mode="wb") as file:
        figure.savefig(file, format="png")


def _draw_panel(
    axes: Axes,
    image: np.ndarray,
    part: tuple[float, float, float, float],
    placed: list[tuple[np.ndarray, str]],
    truth: np.ndarray,
    caption: str,
) -> None:
    """Part of an image (left, top, right, bottom) with boxes in colours, over them the true one, dashed."""
    axes.imshow(image, interpolation="antialiased")
    axes.set(xlim=(part[0], part[2]), ylim=(part[3], part[1]))
    axes.axis("off")
    for box, colour in placed:
        edges = {"fill": False, "edgecolor": colour, "linewidth": 1.8, "path_effects": [_outline(3)]}
        axes.add_patch(Rectangle(box[:2] - 0.5, box[2], box[3], **edges))
    dashes = {"fill": False, "edgecolor": TRUTH, "linewidth": 1.2, "linestyle": (0, (4, 3))}
    axes.add_patch(Rectangle(truth[:2] - 0.5, truth[2], truth[3], **dashes))
    axes.text(
        *(0.02, 0.97, caption),
        transform=axes.transAxes,
        va="top",
        color=TRUTH,
        fontsize=11,
        path_effects=[_outline(3)],
    )


def _outline(width: float) -> withStroke:
    return withStroke(linewidth=width, foreground="black")


def _part_shown(boxes: np.ndarray, width: int, height: int) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the part of an image that holds some (N, 4) xywh boxes, in the image's aspect."""
    low = np.clip(boxes[:, :2].min(axis=0), 0, (width, height))
    high = np.clip((boxes[:, :2] + boxes[:, 2:]).max(axis=0), 0, (width, height))
    centre, span = (low + high) / 2, (high - low) * (1 + 2 * MARGIN)
    scale = min(1.0, max(span[0] / width, span[1] / height))
    size = scale * np.array([width, height])
    start = np.clip(centre - size / 2, 0, np.array([width, height]) - size)
    return start[0], start[1], start[0] + size[0], start[1] + size[1]
