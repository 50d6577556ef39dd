"""Who takes part in a comparison on recordings: our trackers from experiments and runs, and OpenCV's."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from lib.evaluation.comparison import Contestant
from lib.evaluation.peers import csrt_tracker, nano_tracker
from patrack import config as configs
from patrack.build import build_tracker, weights_beside
from patrack.tracker import Tracker
from patrack.weights import model_hash

__all__ = ["OWN", "SHIPPED", "Lineup"]

logger = logging.getLogger(__name__)

RGB, X, BOTH = "RGB", "X", "RGB + X"
OWN = (RGB, X, BOTH)
"""Names of ours: the foundation on either stream alone, and the whole tracker."""
NANO, CSRT = "NanoTrack", "CSRT"
SHIPPED = {modality: f"{modality}_small" for modality in ("rgb", "rgbt", "rgbd", "rgbe")}
"""Experiment by modality that is compared unless another is named."""


class Lineup:
    """Contestants, built one after the other, and what each of them is.

    Args:
        modalities: of the recordings; what nothing would read isn't built.
        device: a torch device, for ours.
        overrides: `key.sub=value` settings for all of ours.

    Attributes:
        origins: a line per tracker about its weights, by the contestant's name.
    """

    def __init__(self, modalities: Iterable[str], device: str = "cpu", overrides: Iterable[str] = ()) -> None:
        self.modalities = sorted(set(modalities))
        self.device, self.overrides = device, list(overrides)
        self.trackers: dict[str, dict[str, object]] = {}
        self.origins: dict[str, list[str]] = {}

    @property
    def contestants(self) -> list[Contestant]:
        """In the order in which they were added."""
        return [Contestant(name, trackers) for name, trackers in self.trackers.items()]

    def add_shipped(self, names: Iterable[str] = OWN, experiments: Mapping[str, str] = SHIPPED) -> None:
        """Add RGB only, X only and RGB + X.

        Args:
            names: of `OWN`.
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
        if modality not in (None, "rgb", config.modality):  # RGB alone can be read with any
            raise ValueError(f"{experiment} is for {config.modality}, but was given for {modality}")
        reads = "rgb" if config.model.streams == "rgb" else config.modality
        if reads in self.trackers.get(name, {}):
            raise ValueError(f"two trackers {name!r} for {reads}: give one of them another name")
        if reads != "rgb" and reads not in self.modalities:
            logger.info("%s (%s) is left out: no recording is %s", name, experiment, reads)
            return
        checkpoint = weights_beside(experiment)
        if config.modality != "rgb" and config.model.streams != "both" and config.model.foundation is not None:
            checkpoint = None  # one stream of a pair is the foundation alone
        tracker: Tracker = build_tracker(config, checkpoint, self.device)
        origin = f"{config.name} ({reads}, streams {config.model.streams}), weights {model_hash(tracker.model)[:12]}"
        self.trackers.setdefault(name, {})[reads] = tracker
        self.origins.setdefault(name, []).append(origin)

    def add_nano(self, folder: Path) -> None:
        """Add `cv2.TrackerNano`. Raises what `lib.evaluation.peers.nano_tracker` raises."""
        self.trackers[NANO] = {"rgb": nano_tracker(folder)}
        self.origins[NANO] = [f"cv2.TrackerNano, files of {folder.name}"]

    def add_csrt(self) -> bool:
        """Add `cv2.TrackerCSRT`; False if this OpenCV has none."""
        tracker = csrt_tracker()
        if tracker is not None:
            self.trackers[CSRT], self.origins[CSRT] = {"rgb": tracker}, ["cv2.TrackerCSRT"]
        return tracker is not None
