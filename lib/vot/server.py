"""Our tracker as the VOT toolkit wants it: a process that answers TraX messages, one per frame.

The protocol comes from the package vot-trax, which is optional; nothing else here needs it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from lib.datasets.frames import read_frame
from lib.datasets.sequence import Sequence
from patrack.config.schema import Config

if TYPE_CHECKING:
    from patrack.tracker import Tracker

__all__ = ["INSTALL", "as_sequence", "channels_of", "import_trax", "read_images", "serve"]

logger = logging.getLogger(__name__)

INSTALL = 'pip install -e ".[vot]"'
COLOR = "color"
X_CHANNELS = {"rgbd": "depth", "rgbt": "ir"}  # TraX has no channel for events


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


def channels_of(config: Config) -> tuple[str, ...]:
    """List the TraX channels that a tracker of this experiment wants, in the order of its frame.

    Raises:
        ValueError: a modality that TraX does not have.
    """
    if config.modality == "rgb" or config.model.streams == "rgb":
        return (COLOR,)
    if config.modality not in X_CHANNELS:
        raise ValueError(
            f"{config.name} is for {config.modality}, which the VOT toolkit has no channel for; choose one of: rgb, "
            + ", ".join(X_CHANNELS)
        )
    return COLOR, X_CHANNELS[config.modality]


def as_sequence(
    name: str, files: Mapping[str, tuple[Path, ...]], boxes: np.ndarray, clip_depth: bool = True
) -> Sequence:
    """Make a sequence of N frames.

    Args:
        name: for messages.
        files: N by channel: "color", and "depth" or "ir" for a second modality.
        boxes: (N, 4) xywh, pixels; NaN where there is none.
        clip_depth: see `patrack.modality.x_to_three_channels`.
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
    """Read one frame from its image files.

    Args:
        files: by channel: "color", and "depth" or "ir" for a second modality.
        clip_depth: see `patrack.modality.x_to_three_channels`.

    Returns:
        (H, W, 6) uint8, RGB then X; (H, W, 3) for "color" alone.

    Raises:
        FrameError: a file that can't be used.
    """
    one_each = {channel: (file,) for channel, file in files.items()}
    return read_frame(as_sequence("frame", one_each, np.full((1, 4), np.nan), clip_depth), 0)


def serve(make_tracker: Callable[[], Tracker], channels: tuple[str, ...], name: str, clip_depth: bool = True) -> int:
    """Answer the toolkit on stdin and stdout until it says goodbye.

    Each initialisation starts on a new target with the same network, so the weights are read only once: after the
    greeting, because the toolkit keeps no log of a tracker that fails before it.

    Args:
        make_tracker: builds the tracker, which is then initialised as often as the toolkit wants.
        channels: see `channels_of`.
        name: told to the toolkit.
        clip_depth: see `patrack.modality.x_to_three_channels`.

    Returns:
        Number of frames answered.

    Raises:
        RuntimeError: see `import_trax`.
        ValueError, OSError, RuntimeError: from `make_tracker`, or a frame or box that can't be used; the toolkit is
            told first.
    """
    trax = import_trax()
    answered = 0
    server = trax.server.Server([trax.region.Region.RECTANGLE], [trax.image.Image.PATH], list(channels), name)
    try:
        tracker = make_tracker()
        while (request := server.wait()).type != trax.TraxStatus.QUIT:
            frame = read_images({key: Path(image.path()) for key, image in request.image.items()}, clip_depth)
            if request.type == trax.TraxStatus.INITIALIZE:
                if len(request.objects) != 1:
                    raise ValueError(f"one target is tracked at a time, the toolkit asks for {len(request.objects)}")
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
