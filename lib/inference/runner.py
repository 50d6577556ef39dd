"""Running a tracker over a data set, or over one recording without a data set.

A sequence that fails (an unreadable frame, a first box without area) is reported with its reason and leaves no result
file; the others go on.
"""

from __future__ import annotations

import functools
import logging
import math
import multiprocessing
import sys
import time
from collections.abc import Callable, Generator
from collections.abc import Sequence as Items
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from lib import datasets
from lib.datasets.fingerprint import fingerprint
from lib.datasets.missing import Missing, RandomMasks, choose_masks, masks_digest, read_masks, with_masks
from lib.datasets.recordings import load_pair
from lib.distributed import distributed_context
from lib.evaluation.boxes import iou
from lib.evaluation.results import MANIFEST, write_boxes
from lib.inference.results import (
    PARTIAL,
    Data,
    Outcome,
    Summary,
    TrackingError,
    claimed,
    is_complete,
    keep_masks,
    partial_result,
    refuse_shared_files,
    write_numbers,
    write_track,
)
from lib.inference.sequence import run_batched, run_sequence, track_frames
from lib.training.manifest import environment
from patrack.build import build_tracker, identity
from patrack.config.schema import Config
from patrack.modality import EVENT, JOINT, PAIRS, ValueRange
from patrack.processes import become_worker
from patrack.recordings.frames import X_FLAGS, DecodedFrame, FrameError, decode_frame, read_image
from patrack.recordings.naming import PairingRule
from patrack.recordings.overlay import OverlayVideo
from patrack.recordings.recording import modality_told_by
from patrack.recordings.sequence import EventFrame, Sequence, VideoFrame, XTransform, first_few
from patrack.recordings.timing import source_times
from patrack.tracker import LOST_BELOW, Tracker

__all__ = ["Weights", "run_sequences", "track_dataset", "track_recording"]

logger = logging.getLogger(__name__)

BEYOND = 1.05  # sides of the image that a box may reach before its numbers are taken for corners
GRAY = 8  # largest difference of channels of an image that counts as gray: JPEG leaves some
HOLES, NEAREST, FARTHEST, SPREAD = 0.01, 100, 20000, 1.5
"""Of a 16-bit image that looks like millimeters: share of pixels without a measurement at least, nearest and farthest
distance, and the latter by the former at least. Raw thermal counts have no holes, or lie closer together, as kelvins
do, or reach down to 0 or up to 65535 where they were stretched."""
DEFAULT_FPS = 25.0
"""Frames per second of a recording that doesn't tell."""


@dataclass(frozen=True)
class Weights:
    """Origin of the weights (`patrack.build.build_tracker`), the device they run on, and whether the results of another
    run in the output folder may be deleted.
    """

    checkpoint: str | None = None
    device: str = "cpu"
    overwrite: bool = False

    def claimed(
        self, output: Path, config: Config, tracker: Tracker, source: dict[str, Any], data: Data | None = None
    ) -> AbstractContextManager[None]:
        """Make the output folder ready for a tracker's results on a source; see `lib.inference.results.claimed`."""
        notes = {"command": sys.argv, "checkpoint": self.checkpoint, **environment(torch.device(self.device))}
        return claimed(output, identity(config, tracker, **source), notes, self.overwrite, data)


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
    missing: Missing | None = None,
    verify_data: bool = False,
) -> Summary:
    """Track a split of a data set (or some of its sequences); complete results of the same run are kept.

    Args:
        dataset, split, root, data_root, sequences: see `lib.datasets.load`.
        output: folder for the results.
        workers, slots: see `run_sequences`.
        missing: which frames lack a stream (`lib.datasets.missing`); None: none does. The masks are kept beside the
            results.
        verify_data: tell the images from others by their contents, not by names, sizes and times only.

    Raises:
        ValueError: unknown or missing data, masks, weights or folder; the message says which.
        OSError: results can't be written.
    """
    folder = datasets.resolve_data_root(data_root, config.data.root)
    names = None if sequences is None else list(dict.fromkeys(sequences))
    chosen = datasets.load(dataset, split, root, folder, names, for_frames=True)
    refuse_shared_files(sequence.name for sequence in chosen)
    kinds = {sequence.modality for sequence in chosen}
    if len(kinds) == 1:
        config = config.of_modality(*kinds)
    # Two streams need the X they were trained on; the base model alone takes any.
    others = {sequence.modality for sequence in chosen} - {config.modality}
    if config.model.streams != "rgb" and others:
        raise ValueError(
            f"{config.name} is for {config.modality}, data set {dataset} is {', '.join(sorted(others))}; "
            f"choose another --config (or set modality={min(others)} to try it all the same)"
        )
    small = [sequence.name for sequence in chosen if np.min(sequence.boxes[0, 2:]) < config.test.clip_margin]
    if small:
        logger.warning(
            "%d of %d sequences begin with a target smaller than %d pixels, which is as small as boxes get "
            "(test.clip_margin, the published rule): %s",
            len(small),
            len(chosen),
            config.test.clip_margin,
            first_few(small),
        )
    source: dict[str, Any] = {"dataset": dataset, "split": split}
    used: dict[str, np.ndarray] = {}
    if missing is not None:
        masks, source["missing"] = choose_masks(missing, chosen)
        chosen = with_masks(chosen, masks, f"--missing {missing}")
        used = {sequence.name: masks[sequence.name] for sequence in chosen}
        unknown = sorted(masks.keys() - used.keys()) if sequences is None else []
        if unknown:
            logger.warning(
                "--missing %s: %d of its masks are left aside, as %s, split %s, doesn't have these sequences: %s",
                missing,
                len(unknown),
                dataset,
                split,
                first_few(unknown),
            )
        if config.model.streams != "both" and not any(
            (~mask[:, int(config.model.streams == "x")]).any() for mask in used.values()
        ):
            logger.warning(
                "--missing %s changes nothing: %s looks at %s alone", missing, config.name, config.model.streams.upper()
            )

    make_tracker = functools.partial(build_tracker, config, weights.checkpoint, weights.device)
    tracker = make_tracker()
    with distributed_context() as context, ExitStack() as stack:  # under torchrun each one tracks its share
        if context.is_main:
            ways = ("files", "contents") if verify_data else ("files",)
            data = {
                sequence.name: {way: fingerprint(sequence, way == "contents")[:32] for way in ways}
                for sequence in chosen
            }
            stack.enter_context(weights.claimed(output, config, tracker, source, data))
            if missing is not None:
                keep_masks(output, used)
        context.barrier()
        if context.world_size > 1:  # dealt out, the longest ones first
            longest_first = sorted(chosen, key=lambda sequence: (-len(sequence), sequence.name))
            chosen = longest_first[context.rank :: context.world_size]
        progress = None if context.is_main else False
        summary = run_sequences(
            make_tracker if workers > 1 else lambda: tracker, chosen, output, workers, slots, progress
        )
        return Summary.of_processes(context.all_gather(summary))


def _with_fitting_margin(config: Config, box_xywh: np.ndarray) -> Config:
    """Let boxes become as small as half of a small target; the published margin keeps every side above 10 pixels."""
    side, margin = float(np.min(box_xywh[2:])), config.test.clip_margin
    if not side < margin:
        return config
    fitting = min(max(math.ceil(side / 2), 1), margin)
    logger.info("the target is %g pixels small: test.clip_margin is %d instead of %d", side, fitting, margin)
    return config.model_copy(update={"test": config.test.model_copy(update={"clip_margin": fitting})})


def doubts(recording: Sequence, box_xywh: np.ndarray) -> list[str]:
    """Collect what looks like a mistake in a recording: its first frame and box can be used, but hardly as they are.

    Args:
        recording: with at least one frame.
        box_xywh: (4,), pixels: the target in it.

    Returns:
        A warning each; none for a frame that can't be read, which is an error later.
    """
    found = []
    x, y, w, h = box_xywh.tolist()
    if 0 < max(w, h) <= 1.0 and max(abs(x), abs(y)) <= 1.0:
        found.append(f"box {[x, y, w, h]} is at most one pixel large: is it normalized? It must be in pixels")
    try:
        if recording.x_files is not None and recording.modality == "rgbt" and recording.streams_at(0)[1]:
            found += _depth_doubt(recording.x_files[0], recording.modality)
        frame = decode_frame(recording, 0)
    except (FrameError, IndexError):
        return found
    height, width = frame.shape[:2]
    if x >= 0 and y >= 0 and (x + w > BEYOND * width or y + h > BEYOND * height):
        found.append(
            f"box x, y, w, h = {[x, y, w, h]} reaches beyond the image of {width} x {height} pixels: are its corners "
            f"x1, y1, x2, y2 meant? Then give {x:g},{y:g},{w - x:g},{h - y:g}"
        )
    if recording.modality == "rgbt":
        gray = [bool((np.ptp(image.astype(np.int16), axis=2) <= GRAY).all()) for image in np.split(frame.image(), 2, 2)]
        if gray == [True, False]:
            found.append("RGB is gray and thermal in color: are --rgb and --x swapped?")
    if frame.shape[2] == 6 and PAIRS[recording.modality].kind != EVENT and recording.streams_at(0)[1]:
        x = frame.image()[:, :, 3:]
        if (x == x[0, 0]).all():
            moved = "; does --x-transform lead from X's pixels to RGB's?" if recording.x_transform else ""
            found.append(f"X is one flat color in the first frame: nothing can be seen in it{moved}")
    return found


def _pair_told_by(x: Path) -> str:
    """Tell by its name what the images of a recording's X are, or by its type that they are events.

    Raises:
        ValueError: neither says it.
    """
    told = modality_told_by(x)
    if told is None:
        ways = ", ".join(f"modality={modality} ({pair.kind})" for modality, pair in PAIRS.items())
        raise ValueError(
            f"--x {x}: its name doesn't say what X is, which a joint experiment must know: add one of {ways}"
        )
    return told


def _depth_doubt(x_file: Path | VideoFrame | EventFrame, modality: str) -> list[str]:
    image = read_image(x_file, X_FLAGS)
    if image.dtype != np.uint16 or image.ndim != 2:
        return []
    measured = image[(image > 0) & (image < 65535)]
    holes = 1 - measured.size / image.size
    if not HOLES <= holes < 1:
        return []
    near, low, high = (float(value) for value in np.percentile(measured, (0.1, 2, 98)))
    if near < NEAREST or high > FARTHEST or high < SPREAD * low:
        return []
    return [
        f"X looks like depth in millimeters, not like {PAIRS[modality].kind} ({x_file}: 16 bits, mostly {low:.0f} to "
        f"{high:.0f}, {holes:.0%} without a measurement): if it is depth, give an rgbd_* --config, such as rgbd_small"
    ]


def run_sequences(
    make_tracker: Callable[[], Tracker],
    sequences: list[Sequence],
    folder: Path,
    workers: int = 1,
    slots: int = 1,
    progress: bool | None = None,
) -> Summary:
    """Track sequences and write their results; complete results in the folder are kept.

    Args:
        make_tracker: builds the tracker; called once, or once per worker (then it must be picklable).
        sequences: annotated sequences with different names.
        folder: claimed for this run (`lib.inference.results.claim`).
        workers: processes; 1: this one. Each worker uses one thread.
        slots: sequences that share each step of the network (`lib.inference.sequence`); more than 1 needs 1 worker.
        progress: show a bar; None: if there is a terminal.

    Raises:
        OSError: a result can't be written.
        RuntimeError: a worker died.
    """
    # what an earlier run has completed stays
    summary, todo = Summary(), []
    for sequence in sequences:
        if is_complete(folder, sequence.name, sequence.boxes[0], len(sequence)):
            summary.kept.append(sequence.name)
        else:
            todo.append(sequence)
    if summary.kept:
        logger.info("%d of %d sequences are complete in %s and kept", len(summary.kept), len(sequences), folder)
    if not todo:
        return summary

    # in several processes, many in one step, or one after the other
    began, hide = time.perf_counter(), None if progress is None else not progress
    with tqdm(total=sum(len(sequence) for sequence in todo), unit="frame", smoothing=0.05, disable=hide) as bar:
        if workers > 1 and len(todo) > 1:
            run = _run_in_workers(make_tracker, todo, folder, workers, bar)
        elif slots > 1:
            run = run_batched(make_tracker(), todo, folder, slots, bar.update)
        else:
            tracker = make_tracker()
            run = (run_sequence(tracker, sequence, folder, lambda *_: bar.update()) for sequence in todo)
        with closing(run) as outcomes:
            for outcome in outcomes:
                (summary.failed if outcome.error else summary.finished).append(outcome)
                if outcome.error:
                    logger.error("%s", outcome.error)
                elif outcome.seconds:
                    bar.set_postfix_str(f"{outcome.name}: tracking {outcome.frames / outcome.seconds:.1f} FPS")
    summary.seconds = time.perf_counter() - began
    flat = {outcome.name: outcome.flat for outcome in summary.finished if outcome.flat}
    if flat:
        logger.warning(
            "%d of %d frames show no depth at all: more than half of their pixels were not measured (0), and the rule "
            "that benchmarks share makes one flat color of these. In %s",
            sum(flat.values()),
            sum(outcome.frames for outcome in summary.finished),
            first_few([f"{name} ({count})" for name, count in sorted(flat.items(), key=lambda item: -item[1])]),
        )
    return summary


def _run_in_workers(
    make_tracker: Callable[[], Tracker], todo: list[Sequence], folder: Path, workers: int, bar: tqdm
) -> Generator[Outcome, None, None]:
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(min(workers, len(todo)), context, _start_worker, (make_tracker, stop))
    try:
        longest_first = sorted(todo, key=len, reverse=True)
        futures = {pool.submit(_run_in_worker, sequence, folder): sequence for sequence in longest_first}
        for future in as_completed(futures):
            bar.update(len(futures[future]))
            yield future.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a worker was killed, perhaps for want of memory; finished sequences are kept, the same command goes on "
            "with the rest (try fewer --workers)"
        ) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


class Stopped(Exception):
    """The run was stopped from outside in the middle of a sequence."""


_worker: dict[str, Any] = {}


def _start_worker(make_tracker: Callable[[], Tracker], stop: Any) -> None:
    """Set up a new process: one thread each for torch and OpenCV; the parent sets `stop`.

    So is the log: the parent has built the same tracker and said what there is to say.
    """
    logging.disable(logging.WARNING)
    become_worker()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _worker.update(tracker=make_tracker(), stop=stop)


def _run_in_worker(sequence: Sequence, folder: Path) -> Outcome:
    def check(*_: Any) -> None:
        if _worker["stop"].is_set():
            raise Stopped

    return run_sequence(_worker["tracker"], sequence, folder, check)


def _refuse_changed_frames(recording: Sequence, output: Path) -> None:
    """Stop where rows that an earlier run left belong to images that have changed since it began."""
    if not ((output / PARTIAL).is_file() and (output / MANIFEST).is_file()):
        return
    began = (output / MANIFEST).stat().st_mtime_ns
    with (output / PARTIAL).open("rb") as file:
        rows = sum(1 for _ in file)
    for files in (recording.rgb_files, recording.x_files):
        for item in dict.fromkeys(item if isinstance(item, Path) else item.path for item in (files or ())[:rows]):
            if item.exists() and item.stat().st_ctime_ns > began:
                raise ValueError(
                    f"{item} has changed since {output / PARTIAL} was begun, whose rows were made from what it was; "
                    "delete that file, or give another --output"
                )


def track_recording(
    config: Config,
    weights: Weights,
    rgb: Path,
    x: Path | None,
    box_xywh: np.ndarray | None,
    *,
    output: Path,
    truth: Path | None = None,
    truth_step: int | None = None,
    fps: float | None = None,
    video: bool = True,
    missing: Missing | None = None,
    pairing: PairingRule = "auto",
    tolerance: float | None = None,
    x_range: ValueRange | None = None,
    x_transform: XTransform | None = None,
) -> str:
    """Track one recording, and write its files (`lib.inference.results.RECORDING_FILES`) after its last frame.

    Until then its rows are kept in `partial.csv`, also when a frame that can't be read or a signal ends the run; the
    same call goes on behind the last of them, to the same boxes. Earlier files of the other names stay until the end.

    Args:
        rgb: folder of images or video.
        x: the same for the other modality; None: the base model runs on RGB alone.
        box_xywh: (4,), pixels: the target in the first frame; None: the first line of `truth`.
        output: folder for the results.
        truth: box file, to draw and compare.
        truth_step: its line k belongs to frame k * truth_step; None: 1 unless that is in doubt.
        fps: frames per second of the video, and of the times in `track.csv` where the source tells none; None: as
            the source says (`patrack.recordings.timing`), else 25.
        video: write `overlay.mp4`.
        missing: which frames lack a stream (`lib.datasets.missing`); a file has one sequence, or one of the
            recording's name. The mask is kept beside the results.
        pairing, tolerance, x_range, x_transform: see `lib.datasets.recordings.load_pair`.

    Returns:
        A text for the user: frames per second, mean score, and mean IoU over the annotated frames after the first;
        then the folder and each file that was written, a line each.

    Raises:
        ValueError: nothing there, counts or sizes that differ, a bad box, rate, weights or folder.
        TrackingError: see `lib.inference.sequence.track_frames`.
        OSError: results can't be written.
    """
    # what is tracked: the images, the first box, the streams that frames lack
    if fps is not None and not 0 < fps < math.inf:
        raise ValueError(f"fps must be frames per second, > 0, got {fps:g}")
    if x is None:
        model = config.model.model_copy(update={"streams": "rgb"})
        config = config.model_copy(update={"modality": "rgb", "model": model})
    elif config.modality == JOINT:
        config = config.of_modality(_pair_told_by(x))
    elif config.modality == "rgb":
        raise ValueError(f"{config.name} tracks RGB alone: give --x none, or a --config for {', '.join(PAIRS)}")
    reading: dict[str, Any] = {"x_range": x_range, "x_transform": x_transform}
    recording = load_pair(
        rgb, x, config.modality, truth, box_step=truth_step, pairing=pairing, tolerance=tolerance, fps=fps, **reading
    )
    if box_xywh is None:
        if truth is None:
            raise ValueError("give --box x,y,w,h (the target in the first frame), or --ground-truth FILE")
        box_xywh = recording.boxes[0]
    config = _with_fitting_margin(config, box_xywh)
    for doubt in doubts(recording, box_xywh):
        logger.warning("%s", doubt)
    tracker = build_tracker(config, weights.checkpoint, weights.device)

    source = {"rgb": str(rgb.resolve()), "x": str(x.resolve()) if x else None, "box_xywh": box_xywh.tolist()}
    if pairing != "auto" or tolerance is not None:
        source |= {"pairing": pairing, "tolerance": tolerance}
    source |= {key: value for key, value in reading.items() if value is not None}
    masks: dict[str, np.ndarray] = {}
    if isinstance(missing, RandomMasks):
        masks, source["missing"] = choose_masks(missing, [recording])
    elif missing is not None:
        masks = read_masks(missing)
        if len(masks) == 1 or recording.name in masks:
            masks = {recording.name: masks.get(recording.name, next(iter(masks.values())))}
        source["missing"] = masks_digest(masks)
    if missing is not None:
        (recording,) = with_masks([recording], masks, f"--missing {missing}")
    _refuse_changed_frames(recording, output)

    # when its frames were taken, and how fast the video shows them
    told = source_times(recording.rgb_files)
    rate = fps or (told[1] if told else DEFAULT_FPS)
    if told is None:
        logger.info(
            "%s: neither a video's frame rate nor times in the names of images: %g frames per second are taken%s",
            recording.name,
            rate,
            "" if fps else "; --fps gives others",
        )
    times = told[0] if told else np.arange(len(recording)) / rate

    # track, and draw the overlay on the way; the files follow when all of it went well
    with weights.claimed(output, config, tracker, source):
        if missing is not None:
            keep_masks(output, masks)
        overlay = OverlayVideo(output / "overlay.mp4", recording.modality, rate) if video else None
        with (
            partial_result(output / PARTIAL) as (before, keep),
            overlay or nullcontext(),
            tqdm(total=len(recording), unit="frame") as bar,
        ):
            if len(before.boxes) > len(recording):
                raise ValueError(
                    f"{output / PARTIAL} has {len(before.boxes)} rows for {len(recording)} frames: the recording has "
                    "changed; delete that file, or give another --output"
                )
            if len(before.boxes):
                logger.info("%s: going on behind frame %d, which an earlier run reached", output, len(before.boxes) - 1)

            def show(number: int, frame: DecodedFrame, box: np.ndarray, score: float) -> None:
                bar.update()
                if overlay is None:
                    return
                absent = [
                    name for name, there in zip(("RGB", "X"), recording.streams_at(number), strict=True) if not there
                ]
                caption = f"frame {number}  score {score:.3f}" + ("  lost" if score < LOST_BELOW else "")
                caption += f"  without {' and '.join(absent)}" if absent else ""
                overlay.write(frame.image(), box, caption, recording.boxes[number])

            try:
                result = track_frames(tracker, recording, box_xywh, show, before, keep)
            except TrackingError as error:
                kept = f"\nThe frames before it are kept in {output / PARTIAL}" if (output / PARTIAL).exists() else ""
                raise TrackingError(f"{error}{kept}") from error
        write_numbers(output / "scores.txt", result.scores)
        write_numbers(output / "times.txt", result.times)
        write_track(output / "track.csv", result, times)
        write_boxes(output / "boxes.txt", result.boxes)
        (output / PARTIAL).unlink(missing_ok=True)

    frames = len(result.boxes)
    text = (
        f"{frames} frames, {frames / result.times.sum():.1f} FPS tracking, "
        f"{frames / result.seconds:.1f} FPS with reading{' and drawing' if video else ''}; "
        f"mean score {result.scores.mean():.3f}"
    )
    known = np.isfinite(recording.boxes[1:]).all(axis=1) & ~recording.absent[1:]
    if known.any():
        mean = float(iou(result.boxes[1:], recording.boxes[1:])[known].mean())
        text += f"; mean IoU {mean:.4f} over {int(known.sum())} annotated frames after the first"
    names = ["boxes.txt", "scores.txt", "times.txt", "track.csv", *(["overlay.mp4"] if video else [])]
    return "\n".join([text, f"results: {output}", *(f"file: {output / name}" for name in names)])
