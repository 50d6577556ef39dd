"""From an experiment and its weights files to a `Tracker`, and what identifies its results."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from patrack.config import SAVED_NAME, experiment_names, project_path
from patrack.config.schema import Config
from patrack.network import adapter_parameters, build_model
from patrack.tracker import Tracker
from patrack.weights import WeightsError, checkpoint_kind, load_checkpoint, load_foundation, model_hash

__all__ = ["UNTRAINED", "build_tracker", "find_checkpoint", "identity", "tracker_of", "weights_beside"]

logger = logging.getLogger(__name__)

UNTRAINED = "none"
"""Value of --checkpoint that asks for initial weights."""
ADAPTERS, FOUNDATION, MODEL = "adapters.safetensors", "foundation.safetensors", "model.safetensors"
IN_RUN_FOLDER = (ADAPTERS, FOUNDATION, MODEL, "checkpoints/last.pt")


def build_tracker(config: Config, checkpoint: str | None = None, device: str = "cpu") -> Tracker:
    """The tracker of an experiment.

    Args:
        config: sizes, `model.foundation`, crop and test settings.
        checkpoint: adapter file, whole model, training checkpoint, foundation, released weights, or the folder of a
            training run; "none": initial weights; None: what ships with the project for this experiment.
        device: a torch device.

    Raises:
        WeightsError: a file is missing or doesn't fit.
    """
    with torch.device("meta"):  # without values, so that missing files are reported at once
        has_adapters = bool(adapter_parameters(build_model(config)))
    path = find_checkpoint(config, checkpoint, has_adapters)
    torch.manual_seed(config.seed)
    model = build_model(config)
    if path is not None and not has_adapters and checkpoint_kind(path) == "adapters":
        logger.warning("%s is not used: with model.streams=%s the foundation runs alone", path, config.model.streams)
        path = None
    if path is None or checkpoint_kind(path) == "adapters":
        _load_foundation(model, config)
    if path is None and has_adapters:
        logger.warning("the adapters keep their initial values (--checkpoint %s)", UNTRAINED)
    if path is not None:
        kind = load_checkpoint(model, path, config.model.resize_position_embeddings)
        logger.info("weights (%s) from %s", kind, path)
    return tracker_of(model, config, device, config.test.precision)


def tracker_of(network: nn.Module, config: Config, device: str | torch.device, precision: str | None = None) -> Tracker:
    """A tracker with the experiment's settings around a network that has its weights.

    Args:
        network, device, precision: as `Tracker`.
        config: crop and test settings.
    """
    crop, test = config.crop, config.test
    return Tracker(
        network,
        template_factor=crop.template_factor,
        search_factor=crop.search_factor,
        window=test.window,
        clip_margin=test.clip_margin,
        device=device,
        precision=precision,
        compile=test.compile,
        size_update=test.size_update,
        template_outline=crop.template_outline,
        size_calibration=test.size_calibration,
    )


def find_checkpoint(config: Config, checkpoint: str | None, has_adapters: bool) -> Path | None:
    """The weights file that is meant, None if the foundation (or nothing) is enough.

    Raises:
        WeightsError: nothing there, or nothing given and nothing shipped.
    """
    if checkpoint == UNTRAINED:
        return None
    if checkpoint is not None:
        path = Path(checkpoint).expanduser()
        if not path.is_dir():
            return path
        unsuitable = (FOUNDATION,) if has_adapters else (ADAPTERS, MODEL)
        wanted = [name for name in IN_RUN_FOLDER if name not in unsuitable]
        for name in wanted:
            if (path / name).is_file():
                return path / name
        raise WeightsError(f"--checkpoint {path}: no weights in this folder; looked for {', '.join(wanted)}")
    if not has_adapters and config.model.foundation is not None and config.train.trainable == "adapters":
        return None  # of an experiment that trains everything, the foundation is only where it started
    shipped = project_path(f"weights/{config.name}.safetensors")
    if shipped.is_file():
        return shipped
    raise WeightsError(
        f"no weights for {config.name}: there is no {shipped}; give --checkpoint FILE (or the folder of a training "
        f"run), or --checkpoint {UNTRAINED} to run untrained weights"
    )


def weights_beside(config_argument: str) -> str | None:
    """The run folder that `--config` names, directly or by its `config.yaml`, if weights lie in it."""
    path = Path(config_argument).expanduser()
    folder = path.parent if path.name == SAVED_NAME else path
    if config_argument in experiment_names() or not any((folder / name).is_file() for name in IN_RUN_FOLDER):
        return None
    return str(folder)


def _load_foundation(model: nn.Module, config: Config) -> None:
    name = config.model.foundation
    if name is None:
        logger.warning("no model.foundation: the foundation keeps its initial values")
        return
    path = project_path(name)
    if not path.is_file():
        raise WeightsError(f"model.foundation: {path} not found (key set to {name!r}); set model.foundation=FILE")
    load_foundation(model, path, config.model.resize_position_embeddings)
    logger.info("foundation from %s", path)


def identity(config: Config, tracker: Tracker, **source: Any) -> dict[str, Any]:
    """Everything that results depend on: settings, a hash of all weights, and where the frames come from.

    Args:
        config: the experiment.
        tracker: built from it.
        source: e.g. dataset and split.
    """
    settings = config.model_dump(mode="json", include={"modality", "model", "crop", "test"})
    for key in ("foundation", "resize_position_embeddings"):  # where weights come from; they themselves are hashed
        del settings["model"][key]
    return {**source, "weights_sha256": model_hash(tracker.model), **settings}
