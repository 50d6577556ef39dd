"""Trackers side by side on annotated recordings: same frames, same first box, same measures.

recordings = find_recordings(Path("recordings"))
mean_ious(model, recordings)        # {"cup": 0.81, ...}, for a model in training

Beside ours, OpenCV's: NanoTrack, whose two networks are files of their own (Apache-2.0,
https://github.com/HonglinChu/SiamTrackers), and CSRT (https://arxiv.org/abs/1611.08461), which is part of the
`opencv-contrib` distributions of cv2. They see RGB only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from torch import nn

from lib.evaluation.evaluate import RecordingScores, measure
from lib.inference.sequence import FrameTracker, track_frames
from patrack import config as configs
from patrack.build import build_tracker, weights_beside
from patrack.modality import JOINT, PAIRS
from patrack.network import Network
from patrack.recordings.frames import DecodedFrame
from patrack.recordings.sequence import Sequence, rgb_only
from patrack.tracker import Tracker
from patrack.weights import model_hash

__all__ = [
    "NANO_FILES",
    "OUR_COLUMNS",
    "SHIPPED",
    "Lineup",
    "OpenCVTracker",
    "compare",
    "csrt_tracker",
    "mean_ious",
    "nano_tracker",
]

logger = logging.getLogger(__name__)

RGB, X, BOTH = "RGB", "X", "RGB + X"
OUR_COLUMNS = (RGB, X, BOTH)
"""Names of ours: the base model on either stream alone, and the whole tracker."""
NANO, CSRT = "NanoTrack", "CSRT"
SHIPPED = {modality: f"{modality}_small" for modality in ("rgb", *PAIRS)}
"""Experiment by modality that is compared unless another is named."""
NANO_FILES = (
    ("nanotrackv2_nanotrack_backbone_sim.onnx", "nanotrackv2_nanotrack_head_sim.onnx"),
    ("nanotrack_backbone_sim.onnx", "nanotrack_head_sim.onnx"),
    ("backbone.onnx", "neckhead.onnx"),
)
"""Names of backbone and head that are looked for, in this order."""


def compare(
    trackers: Mapping[str, Mapping[str, FrameTracker]],
    recordings: Iterable[Sequence],
    on_scores: Callable[[Sequence, str, RecordingScores], object] | None = None,
) -> dict[str, dict[str, RecordingScores]]:
    """Run every tracker over every recording from the recording's first box.

    Args:
        trackers: by name, and by what they read: "rgb" takes the RGB frames of any recording, "rgbt", "rgbd", "rgbe"
            take those recordings with X; a recording gets the one for its modality, else the one for "rgb".
        recordings: annotated, with different names.
        on_scores: called after each run with recording, name of the tracker and score.

    Returns:
        RecordingScores by recording and name; a name without a tracker for a recording is left out there.

    Raises:
        TrackingError: a frame can't be read, or doesn't suit a tracker.
    """
    scores: dict[str, dict[str, RecordingScores]] = {}
    for recording in recordings:
        scores[recording.name] = {}
        for name, versions in trackers.items():
            if recording.modality in versions:
                tracker, seen = versions[recording.modality], recording
            elif "rgb" in versions:
                tracker, seen = versions["rgb"], rgb_only(recording)
            else:
                continue
            result = track_frames(tracker, seen, recording.boxes[0])
            scores[recording.name][name] = measure(result.boxes, recording, result.times)
            if on_scores is not None:
                on_scores(recording, name, scores[recording.name][name])
    return scores


def mean_ious(tracker: nn.Module | FrameTracker, recordings: Iterable[Sequence]) -> dict[str, float]:
    """Measure the mean overlap on each recording, such as those a training is to be judged by.

    Args:
        tracker: a model, which is left as it is, training mode included, and tracked with the default crop settings;
            or a tracker. A model of one stream "rgb" sees RGB only; others need recordings with X.
        recordings: from `lib.datasets.recordings.find_recordings`.

    Returns:
        Mean IoU by the recording's name.

    Raises:
        TrackingError: a frame can't be read, or doesn't suit the tracker.
    """
    model = tracker if isinstance(tracker, nn.Module) else None
    training = [module for module in model.modules() if module.training] if model is not None else []
    try:
        joint = isinstance(model, Network) and bool(model.config.modalities)
        runners: dict[str | None, FrameTracker] = {}
        scores = {}
        for recording in recordings:
            pair = recording.modality if joint else None
            if pair not in runners:
                runners[pair] = cast(FrameTracker, tracker) if model is None else Tracker(model, modality=pair)
            runner = runners[pair]
            rgb_alone = isinstance(runner, Tracker) and runner.network.streams == "rgb"
            seen = rgb_only(recording) if rgb_alone else recording
            boxes = track_frames(runner, seen, recording.boxes[0]).boxes
            scores[recording.name] = measure(boxes, recording).mean_iou
        return scores
    finally:
        for module in training:
            module.training = True


class Lineup:
    """Trackers to compare, built one after the other, and what each of them is.

    Args:
        modalities: of the recordings; what nothing would read isn't built.
        device: a torch device, for ours.
        overrides: `key.sub=value` settings for all of ours.

    Attributes:
        trackers: as `compare` takes them, in the order in which they were added.
        origins: a line per tracker about its weights, by name.
    """

    def __init__(self, modalities: Iterable[str], device: str = "cpu", overrides: Iterable[str] = ()) -> None:
        self.modalities = sorted(set(modalities))
        self.device, self.overrides = device, list(overrides)
        self.trackers: dict[str, dict[str, FrameTracker]] = {}
        self.origins: dict[str, list[str]] = {}

    def add_shipped(self, names: Iterable[str] = OUR_COLUMNS, experiments: Mapping[str, str] = SHIPPED) -> None:
        """Add RGB only, X only and RGB + X.

        Args:
            names: of `OUR_COLUMNS`.
            experiments: name in experiments/, YAML file or run folder, by modality.

        Raises:
            ValueError: an experiment or its weights can't be used, or an experiment is for another modality.
        """
        pairs = [modality for modality in self.modalities if modality != "rgb"]
        wanted = {RGB: [("rgb", "rgb")], X: [(pair, "x") for pair in pairs], BOTH: [(pair, "both") for pair in pairs]}
        for name in names:
            for modality, streams in wanted[name]:
                self.add(name, experiments[modality], [f"model.streams={streams}"], modality)

    def add(self, name: str, experiment: str, overrides: Iterable[str] = (), modality: str | None = None) -> None:
        """Add one of ours; a name may be given again for other modalities, which then share a column.

        Args:
            name: of the column.
            experiment: name in experiments/, YAML file or run folder, whose weights are used then.
            overrides: settings of this one, applied last.
            modality: what the experiment has to be for; None: anything.

        Raises:
            ValueError: the experiment or its weights can't be used, it is for another modality, or the name is taken.
        """
        config = configs.load(experiment, [*self.overrides, *overrides])
        if config.modality == JOINT and config.model.streams != "rgb":
            if modality is None:  # each pair that is there and that it knows
                for pair in config.model.modalities:
                    self.add(name, experiment, overrides, pair)
                return
            config = config.of_modality(modality)
        if modality not in (None, "rgb", config.modality):  # RGB alone can be read with any
            raise ValueError(f"{experiment} is for {config.modality}, but was given for {modality}")
        reads = "rgb" if config.model.streams == "rgb" else config.modality
        if reads in self.trackers.get(name, {}):
            raise ValueError(f"two trackers {name!r} for {reads}: give one of them another name")
        if reads != "rgb" and reads not in self.modalities:
            logger.info("%s (%s) is left out: no recording is %s", name, experiment, reads)
            return
        checkpoint = weights_beside(experiment)
        if config.modality != "rgb" and config.model.streams != "both" and config.model.base_model is not None:
            checkpoint = None  # one stream of a pair is the base model alone
        tracker = build_tracker(config, checkpoint, self.device)
        origin = f"{config.name} ({reads}, streams {config.model.streams}), weights {model_hash(tracker.model)[:12]}"
        self.trackers.setdefault(name, {})[reads] = tracker
        self.origins.setdefault(name, []).append(origin)

    def add_nano(self, folder: Path) -> None:
        """Add `cv2.TrackerNano`. Raises what `nano_tracker` raises."""
        self.trackers[NANO] = {"rgb": nano_tracker(folder)}
        self.origins[NANO] = [f"cv2.TrackerNano, files of {folder.name}"]

    def add_csrt(self) -> bool:
        """Add `cv2.TrackerCSRT`; False if this OpenCV has none."""
        tracker = csrt_tracker()
        if tracker is not None:
            self.trackers[CSRT], self.origins[CSRT] = {"rgb": tracker}, ["cv2.TrackerCSRT"]
        return tracker is not None


class OpenCVTracker:
    """One of cv2's trackers. Its boxes are whole pixels; where it finds nothing, the last box stays, with score 0.

    Args:
        make: a function that returns a new cv2 tracker.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        make()  # so that files that are not what they should be are reported at once
        self._box = np.zeros(4)

    def initialize(self, frame: DecodedFrame, box_xywh: np.ndarray) -> None:
        """Start on a new target, whose box (4,), pixels, is rounded."""
        self._box = np.array(box_xywh, dtype=np.float64)
        left, top, width, height = np.rint(self._box).astype(int).tolist()
        self._tracker = self._make()
        self._tracker.init(_bgr(frame), (left, top, max(width, 1), max(height, 1)))

    def track(self, frame: DecodedFrame) -> tuple[np.ndarray, float]:
        """Box (4,) xywh, pixels, in the next frame; score: 1 found, 0 not."""
        found, box = self._tracker.update(_bgr(frame))
        if found:
            self._box = np.array(box, dtype=np.float64)
        return self._box.copy(), float(found)


def _bgr(frame: DecodedFrame) -> np.ndarray:
    """(H, W, 3) uint8; no copy of a frame that was decoded by OpenCV."""
    pixels, backwards = frame.planes[0]
    if backwards and pixels.ndim == 3:
        return pixels
    return cv2.cvtColor(frame.rgb().image(), cv2.COLOR_RGB2BGR)


def nano_tracker(folder: Path) -> OpenCVTracker:
    """Make a `cv2.TrackerNano` with the files of a folder.

    Raises:
        FileNotFoundError: no pair of `NANO_FILES` is there.
        ValueError: this cv2 has no TrackerNano, or can't read the files.
    """
    opencv = cast(Any, cv2)  # its stubs lack some trackers
    if not hasattr(opencv, "TrackerNano"):
        raise ValueError(f"OpenCV {cv2.__version__} has no TrackerNano; 4.7 and newer have it")
    pairs = [(folder / backbone, folder / head) for backbone, head in NANO_FILES]
    complete = [pair for pair in pairs if all(path.is_file() for path in pair)]
    if not complete:
        wanted = "; ".join(" and ".join(names) for names in NANO_FILES)
        there = sorted(path.name for path in folder.glob("*.onnx")) if folder.is_dir() else "no such folder"
        raise FileNotFoundError(
            f"{folder}: NanoTrack's files are missing; looked for {wanted}; there: {there or 'no .onnx file'}"
        )
    backbone, head = complete[0]
    parameters = opencv.TrackerNano_Params()
    parameters.backbone, parameters.neckhead = str(backbone), str(head)

    def make() -> Any:
        level = opencv.utils.logging.setLogLevel(opencv.utils.logging.LOG_LEVEL_ERROR)  # OpenCV 5 warns of its default
        try:
            return opencv.TrackerNano_create(parameters)
        finally:
            opencv.utils.logging.setLogLevel(level)

    try:
        return OpenCVTracker(make)
    except cv2.error as error:
        raise ValueError(f"{backbone} and {head}: OpenCV {cv2.__version__} can't read them: {error}") from error


def csrt_tracker() -> OpenCVTracker | None:
    """Make a `cv2.TrackerCSRT`; None if this cv2 has none, as those without contrib modules."""
    create = getattr(cv2, "TrackerCSRT_create", None)
    return OpenCVTracker(create) if create is not None else None
