"""Our tracker in a VOT workspace: as the process that the official toolkit talks to, or without the toolkit.

`serve` answers TraX messages, one per frame; the protocol comes from the package vot-trax, which is optional.

`run_workspace` takes the same frames and starts and leaves the files that the toolkit analyzes. It needs no package,
reads the weights once, and does the multi-start runs that the toolkit's versions 0.8.0 to 0.9.0 fail at. A run lies in
`<workspace>/results/<tracker>/<experiment>/<sequence>/` as `<run>.txt` (or `<run>.bin`), `<run>_confidence.value` and
`<run>_time.value`; `<run>` is `<sequence>_001` in a long-term experiment and `<sequence>_<anchor frame, 8 digits>` in a
multi-start one. Whose results these are, `lib.vot.results` keeps.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from lib.datasets.fingerprint import fingerprint
from lib.datasets.parsing import read_text
from lib.evaluation.files import FileTree
from lib.evaluation.ground_truth import read_annotations
from lib.inference.results import TrackingError
from lib.inference.sequence import FrameTracker, track_frames
from lib.vot.results import claim, results_folder
from lib.vot.workspace import COLOR, X_CHANNELS, workspace_stack
from patrack.files import atomic_write
from patrack.recordings.frames import read_frame
from patrack.recordings.sequence import FileList, Frames, Sequence

if TYPE_CHECKING:
    from patrack.tracker import Tracker

__all__ = [
    "INSTALL",
    "Run",
    "as_sequence",
    "import_trax",
    "read_images",
    "read_runs",
    "run_workspace",
    "serve",
    "write_run",
]

logger = logging.getLogger(__name__)

INSTALL = 'pip install -e ".[vot]"'


def import_trax() -> ModuleType:
    """Import the package vot-trax.

    Raises:
        RuntimeError: it is not installed, or does not work here; the message says how to install it.
    """
    try:
        import trax  # type: ignore[import-untyped]
        import trax.image  # type: ignore[import-untyped]
        import trax.region  # type: ignore[import-untyped]
        import trax.server  # type: ignore[import-untyped]
    except (ImportError, OSError) as error:
        raise RuntimeError(f"the VOT toolkit's protocol can't be used ({error}); install it: {INSTALL}") from error
    return trax


def as_sequence(name: str, files: Mapping[str, Frames], boxes: np.ndarray, clip_depth: bool = True) -> Sequence:
    """Make a sequence of N frames.

    Args:
        name: for messages.
        files: N by channel: "color", and "depth" or "ir" for a second modality.
        boxes: (N, 4) xywh, pixels; NaN where there is none.
        clip_depth: as in `Sequence`.
    """
    modality = next((modality for modality, channel in X_CHANNELS.items() if channel in files), "rgb")
    absent = np.isnan(boxes).any(axis=1)
    return Sequence(
        name=name,
        modality=modality,
        rgb_files=files[COLOR],
        x_files=files.get(X_CHANNELS.get(modality, "")),
        boxes=boxes,
        visible=~absent,
        absent=absent,
        clip_depth=clip_depth,
    )


def read_images(files: Mapping[str, Path], clip_depth: bool = True) -> np.ndarray:
    """Read one frame, (H, W, 6) or (H, W, 3) uint8, from the image file of each channel; see `read_frame`."""
    one_each = {channel: (file,) for channel, file in files.items()}
    return read_frame(as_sequence("frame", one_each, np.full((1, 4), np.nan), clip_depth), 0)


def serve(
    make_tracker: Callable[[], Tracker],
    channels: tuple[str, ...],
    name: str,
    clip_depth: bool = True,
    claim_results: Callable[[Tracker], AbstractContextManager[object]] = nullcontext,
) -> int:
    """Answer the toolkit on stdin and stdout until it says goodbye.

    Each initialisation starts on a new target with the same network, so the weights are read only once: after the
    greeting, because the toolkit keeps no log of a tracker that fails before it.

    Args:
        make_tracker: builds the tracker, which is then initialised as often as the toolkit wants.
        channels: see `lib.vot.workspace.channels_of`.
        name: told to the toolkit.
        clip_depth: as in `Sequence`.
        claim_results: entered before the first frame, so that it can refuse to add to another run's results.

    Returns:
        Number of frames answered.

    Raises:
        RuntimeError: see `import_trax`.
        ValueError, OSError, RuntimeError: from `make_tracker` or `claim_results`, or a frame or box that can't be used;
            the toolkit is told first.
    """
    trax = import_trax()
    answered = 0
    server = trax.server.Server([trax.region.Region.RECTANGLE], [trax.image.Image.PATH], list(channels), name)
    try:
        tracker = make_tracker()
        with claim_results(tracker):
            while (request := server.wait()).type != trax.TraxStatus.QUIT:
                frame = read_images({key: Path(image.path()) for key, image in request.image.items()}, clip_depth)
                if request.type == trax.TraxStatus.INITIALIZE:
                    if len(request.objects) != 1:
                        many = len(request.objects)
                        raise ValueError(f"one target is tracked at a time, the toolkit asks for {many}")
                    region = request.objects[0][0]
                    tracker.initialize(frame, np.array(region.bounds(), dtype=np.float64))
                    server.status([(region, {})])
                else:
                    box, score = tracker.track(frame)
                    answer = trax.region.Rectangle.create(*box.tolist())
                    server.status([(answer, {"confidence": score})])
                answered += 1
    except (ValueError, OSError, RuntimeError) as error:
        server.quit(str(error))
        raise
    logger.info("%d frames tracked", answered)
    return answered


@dataclass(frozen=True)
class Run:
    """One run of a workspace: its name, the folder of its results below that of the tracker, and its frames."""

    name: str
    folder: str
    frames: int
    video: Callable[[], Sequence]  # lists the frames in the order of tracking


def read_runs(folder: Path, channels: tuple[str, ...], clip_depth: bool = True) -> tuple[list[Run], dict[str, str]]:
    """List the runs of a workspace, and tell what each sequence is made of.

    Args:
        folder: the workspace.
        channels: see `lib.vot.workspace.channels_of`.
        clip_depth: as in `Sequence`.

    Returns:
        The runs, and by sequence SHA-256 of everything in the data that its runs depend on.

    Raises:
        TrackingError: a sequence without one of the channels.
        ValueError: no workspace of a known stack, or annotations that are missing or malformed.
        OSError: the workspace has no sequences.
    """
    stack = workspace_stack(folder)
    truth = read_annotations("votrgbd2022", FileTree(folder / "sequences", "sequences of the workspace"))

    def video(sequence: str, frames: np.ndarray) -> Sequence:
        """Frames (L,) by their numbers, from 0; the `sequence` file has a pattern of images, which count from 1."""
        place = folder / "sequences" / sequence
        lines = dict(line.split("=", 1) for line in read_text(place / "sequence").splitlines() if "=" in line)
        files = {}
        for channel in channels:
            pattern = lines.get(f"channels.{channel}", "").strip()
            if not pattern:
                raise TrackingError(f"{place / 'sequence'}: no line channels.{channel}=..., which the tracker needs")
            path = place / pattern
            try:
                files[channel] = FileList(path.parent, [path.name % number for number in (frames + 1).tolist()])
            except (TypeError, ValueError) as error:
                raise TrackingError(
                    f"{place / 'sequence'}: channels.{channel} must be a path with one number, such as %08d.jpg, got "
                    f"{pattern!r} ({error})"
                ) from error
        return as_sequence(sequence, files, truth[sequence].boxes[0][frames], clip_depth)

    runs, data = [], {}
    for sequence, annotation in truth.items():
        its = {f"{sequence}_001": np.arange(annotation.frames)}
        if stack.multi_start:
            its = {f"{sequence}_{anchor:08d}": frames for anchor, frames in annotation.runs().items()}
            if not its:
                raise ValueError(f"sequence {sequence}: no anchors in anchor.value, which says where runs start")
        starts = [(run, len(frames), annotation.boxes[0][frames[0]].tolist()) for run, frames in its.items()]
        whole = fingerprint(video(sequence, np.arange(annotation.frames)))
        data[sequence] = hashlib.sha256(f"{whole} {starts}".encode()).hexdigest()
        runs += [
            Run(run, f"{stack.experiment}/{sequence}", len(frames), partial(video, sequence, frames))
            for run, frames in its.items()
        ]
    return runs, data


def run_workspace(
    tracker: FrameTracker,
    folder: Path,
    name: str,
    channels: tuple[str, ...],
    identity: Mapping[str, Any],
    clip_depth: bool = True,
    overwrite: bool = False,
) -> int:
    """Track what is not yet in `results/<name>/` of a workspace.

    Args:
        tracker: initialized here, once per run.
        folder: the workspace.
        name: of the tracker.
        channels: see `lib.vot.workspace.channels_of`.
        identity: everything that results depend on but the data, see `patrack.build.identity`.
        clip_depth: as in `Sequence`.
        overwrite: delete results there that are of another identity or other data, which are refused otherwise.

    Returns:
        Number of runs done now; the others were there.

    Raises:
        TrackingError: a frame can't be read or tracked; finished runs stay.
        ValueError: no workspace of a known stack, annotations that are missing or malformed, or results of another run.
        FolderInUse: another process writes results under this name.
        OSError: the workspace has no sequences, or results can't be written.
    """
    results = results_folder(folder, name)
    runs, data = read_runs(folder, channels, clip_depth)
    with claim(results, identity, data, overwrite):
        ends = (".txt", ".bin")  # ours, the toolkit's
        todo = [run for run in runs if not any((results / run.folder / f"{run.name}{end}").is_file() for end in ends)]
        with tqdm(total=sum(run.frames for run in todo), unit="frame") as bar:
            for run in todo:
                video = replace(run.video(), name=run.name)
                result = track_frames(tracker, video, video.boxes[0], lambda *_: bar.update())
                write_run(results / run.folder, run.name, result.boxes, result.scores, result.times)
    if todo and (folder / "cache").is_dir():
        logger.warning(
            "the toolkit may keep numbers of earlier results: delete %s before its analysis", folder / "cache"
        )
    return len(todo)


def write_run(folder: Path, run: str, boxes: np.ndarray, confidences: np.ndarray, seconds: np.ndarray) -> None:
    """Write one run as the toolkit does; row 0 becomes the initialization. The trajectory comes last, atomically.

    Args:
        folder: of the sequence.
        run: name of the run.
        boxes: (N, 4) xywh, pixels; a row of NaN: nothing reported.
        confidences: (N,); the first is not written.
        seconds: (N,) time per frame.

    Raises:
        ValueError: lengths that differ.
        OSError: the folder can't be written.
    """
    if boxes.shape != (len(confidences), 4) or len(seconds) != len(boxes):
        raise ValueError(
            f"run {run}: {boxes.shape} boxes for {len(confidences)} confidences and {len(seconds)} times; need (N, 4) "
            "and (N,)"
        )
    rows = [",".join(f"{value:.4f}" for value in box) if np.isfinite(box).all() else "0" for box in boxes[1:]]
    files = {
        "_confidence.value": ["", *(repr(value) for value in confidences[1:].tolist())],
        "_time.value": [repr(value) for value in seconds.tolist()],
        ".txt": ["1", *rows],  # 1 is the code of the row in which the tracker was given the target
    }
    for ending, lines in files.items():
        with atomic_write(folder / f"{run}{ending}") as file:
            file.writelines(f"{line}\n" for line in lines)
