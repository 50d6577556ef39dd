"""The two jobs of tracking/test.py: a data set, or one recording."""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from lib import datasets
from lib.datasets.missing import masks_digest, read_masks, with_masks
from lib.datasets.recordings import load_pair
from lib.datasets.sequence import Sequence
from lib.devices import usable_device
from lib.evaluation.outcome import Summary, merge
from lib.evaluation.result_folder import claim
from lib.inference.recording import RecordingSummary, track_recording
from lib.inference.runner import run_sequences, share_of_sequences
from lib.processes import Processes, device_of, join_processes, rank_and_world
from lib.training.manifest import environment
from patrack import config as configs
from patrack.build import build_tracker, identity, weights_beside
from patrack.config.schema import Config

__all__ = ["Weights", "parse_box", "run", "track_dataset", "track_pair"]


def run(arguments: argparse.Namespace) -> tuple[str, bool]:
    """What tracking/test.py was asked to do.

    Args:
        arguments: of that command line.

    Returns:
        A text for the user, and whether everything was tracked.

    Raises:
        ValueError, OSError, RuntimeError: something can't be used; the message says what.
    """
    _divide_the_machine(arguments)
    names = arguments.sequences or []  # the option takes every word after it, settings too
    seed = [] if arguments.seed is None else [f"seed={arguments.seed}"]
    overrides = [*arguments.overrides, *(name for name in names if "=" in name), *seed]
    config = configs.load(arguments.config, overrides)
    checkpoint = arguments.checkpoint or weights_beside(arguments.config)
    rank, world = rank_and_world()
    device = str(usable_device(arguments.device))
    if world > 1:
        device = str(device_of(device, Processes(rank, world, int(os.environ.get("LOCAL_RANK", rank)))))
    if world > 1 and not arguments.dataset:
        raise ValueError("one recording can't be shared by several processes: start it without torchrun")
    weights = Weights(checkpoint, device, arguments.overwrite)
    if arguments.dataset:
        lacking = f"-{arguments.missing.stem}" if arguments.missing else ""
        output = arguments.output or Path("results", config.name, f"{arguments.dataset}-{arguments.split}{lacking}")
        summary = track_dataset(
            config,
            weights,
            arguments.dataset,
            arguments.split,
            output=output,
            root=arguments.root,
            data_root=arguments.data_root,
            sequences=[name for name in names if "=" not in name] or None,
            workers=arguments.workers,
            slots=arguments.batch,
            missing=arguments.missing,
        )
        return f"{summary.describe()}\nresults: {output}", not summary.failed
    output = arguments.output or Path("results", config.name, arguments.rgb.resolve().parent.name)
    recorded = track_pair(
        config,
        weights,
        arguments.rgb,
        None if arguments.x.lower() == "none" else Path(arguments.x),
        parse_box(arguments.box) if arguments.box else None,
        output=output,
        truth=arguments.groundtruth,
        truth_step=arguments.groundtruth_stride,
        fps=arguments.fps,
        missing=arguments.missing,
    )
    return f"{recorded.describe()}\nresults: {output}", True


def _divide_the_machine(arguments: argparse.Namespace) -> None:
    """Checks --workers, --batch and --threads, and sets the latter."""
    for name in ("workers", "batch", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} must be at least 1, got {value}")
    if arguments.batch > 1 and arguments.workers > 1:
        raise ValueError(
            f"--batch {arguments.batch} and --workers {arguments.workers} don't go together: sequences of one batch "
            "share a process; give one of them"
        )
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
        cv2.setNumThreads(arguments.threads)


@dataclass(frozen=True)
class Weights:
    """Where the weights come from, where they run, and what may be deleted.

    Attributes:
        checkpoint: see `patrack.build.build_tracker`.
        device: a torch device.
        overwrite: delete the results of another run in the output folder.
    """

    checkpoint: str | None = None
    device: str = "cpu"
    overwrite: bool = False


def track_dataset(
    config: Config,
    weights: Weights,
    dataset: str,
    split: str,
    *,
    output: Path,
    root: Path | None = None,
    data_root: str | None = None,
    sequences: Items[str] | None = None,
    workers: int = 1,
    slots: int = 1,
    missing: Path | None = None,
) -> Summary:
    """Track a split of a data set (or some of its sequences); complete results of the same run are kept.

    Args:
        config: the experiment.
        weights: see there.
        dataset, split, root, data_root, sequences: see `lib.datasets.load`.
        output: folder for the results.
        workers, slots: see `lib.inference.runner.run_sequences`.
        missing: file of masks that say which frames lack a stream (`lib.datasets.missing`); None: none does.

    Raises:
        ValueError: unknown or missing data, masks, weights or folder; the message says which.
        OSError: results can't be written.
    """
    places = datasets.resolve_data_root(data_root, config.data.root)
    names = None if sequences is None else list(dict.fromkeys(sequences))
    found = datasets.load(dataset, split, root, places, names)
    _check_modality(config, found, dataset)
    source: dict[str, Any] = {"dataset": dataset, "split": split}
    if missing is not None:
        masks = read_masks(missing)
        found = with_masks(found, masks, f"--missing {missing}")
        source["missing"] = masks_digest(masks)
    make_tracker = functools.partial(build_tracker, config, weights.checkpoint, weights.device)
    tracker = make_tracker()
    with join_processes() as processes:  # under torchrun each one tracks its share
        if processes.first:
            claim(output, identity(config, tracker, **source), _notes(weights), weights.overwrite)
        processes.wait()
        own = share_of_sequences(found, processes.rank, processes.world)
        progress = None if processes.first else False
        maker = make_tracker if workers > 1 else lambda: tracker
        summary = run_sequences(maker, own, output, workers, slots, progress)
        return merge(processes.gather(summary))


def _check_modality(config: Config, sequences: list[Sequence], dataset: str) -> None:
    """Two streams need the X they were trained on; the foundation alone takes any."""
    found = {sequence.modality for sequence in sequences} - {config.modality}
    if config.model.streams != "rgb" and found:
        raise ValueError(
            f"{config.name} is for {config.modality}, data set {dataset} is {', '.join(sorted(found))}; choose another "
            f"--config (or set modality={min(found)} to try it all the same)"
        )


def track_pair(
    config: Config,
    weights: Weights,
    rgb: Path,
    x: Path | None,
    box_xywh: np.ndarray | None,
    *,
    output: Path,
    truth: Path | None = None,
    truth_step: int = 1,
    fps: float = 25.0,
    missing: Path | None = None,
) -> RecordingSummary:
    """Track one recording.

    Args:
        config: the experiment.
        weights: see there.
        rgb: folder of images or video.
        x: the same for the other modality; None: the foundation runs on RGB alone.
        box_xywh: (4,), pixels: the target in the first frame; None: the first line of `truth`.
        output: folder for `boxes.txt`, `scores.txt`, `times.txt`, `overlay.mp4` and `run.json`.
        truth: box file, to draw and compare.
        truth_step: its line k belongs to frame k * truth_step.
        fps: of the overlay.
        missing: file of masks (`lib.datasets.missing`), with one sequence or with one of the recording's name.

    Raises:
        ValueError: nothing there, counts or sizes that differ, a bad box, weights or folder.
        TrackingError: see `lib.inference.recording.track_recording`.
        OSError: results can't be written.
    """
    if x is None:
        model = config.model.model_copy(update={"streams": "rgb"})
        config = config.model_copy(update={"modality": "rgb", "model": model})
    elif config.modality == "rgb":
        raise ValueError(f"{config.name} tracks RGB alone: give --x none, or an rgbt, rgbd or rgbe --config")
    recording = load_pair(rgb, x, config.modality, truth, box_step=truth_step)
    if box_xywh is None:
        if truth is None:
            raise ValueError("give --box x,y,w,h (the target in the first frame), or --groundtruth FILE")
        box_xywh = recording.boxes[0]
    tracker = build_tracker(config, weights.checkpoint, weights.device)
    source = {"rgb": str(rgb.resolve()), "x": str(x.resolve()) if x else None, "box_xywh": box_xywh.tolist()}
    if missing is not None:
        masks = read_masks(missing)
        mask = next(iter(masks.values())) if len(masks) == 1 else masks.get(recording.name)
        chosen = {} if mask is None else {recording.name: mask}
        (recording,) = with_masks([recording], chosen, f"--missing {missing}")
        source["missing"] = masks_digest(chosen)
    claim(output, identity(config, tracker, **source), _notes(weights), weights.overwrite)
    return track_recording(tracker, recording, box_xywh, output, fps)


def _notes(weights: Weights) -> dict[str, Any]:
    device = torch.device(weights.device)
    return {"command": sys.argv, "checkpoint": weights.checkpoint, **environment(device)}


def parse_box(text: str) -> np.ndarray:
    """`x,y,w,h` -> (4,) float64, pixels.

    Raises:
        ValueError: not four numbers.
    """
    try:
        box = np.array([float(part) for part in text.split(",")])
    except ValueError:
        box = np.empty(0)
    if box.shape != (4,):
        raise ValueError(f"--box must be four numbers x,y,w,h in pixels, e.g. 120,80,40,60, got {text!r}")
    return box
