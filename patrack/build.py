"""From an experiment and its weights files to a `Tracker`, and what identifies its results."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from patrack.config import SAVED_NAME, experiment_path, load, project_path
from patrack.config.schema import Config
from patrack.files import user_path
from patrack.modality import JOINT, PAIRS
from patrack.network import adapter_parameters, build_model
from patrack.tracker import Tracker
from patrack.weights import (
    WeightsError,
    base_model_path,
    kind_of,
    load_base_model,
    load_checkpoint,
    model_hash,
    read_weights,
    stated_modality,
)

__all__ = ["UNTRAINED", "build_tracker", "find_checkpoint", "identity", "load_tracker", "tracker_of", "weights_beside"]

logger = logging.getLogger(__name__)

UNTRAINED = "none"
"""Value of `checkpoint` that asks for initial weights."""
ADAPTERS, BASE_MODEL, MODEL = "adapters.safetensors", "base_model.safetensors", "model.safetensors"
OLD_BASE_MODEL = "foundation.safetensors"
"""Earlier name of the file, in runs that are still read."""
IN_RUN_FOLDER = (ADAPTERS, BASE_MODEL, OLD_BASE_MODEL, MODEL, "checkpoints/last.pt")


def load_tracker(
    name_or_path: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    overrides: Iterable[str] = (),
) -> Tracker:
    """Load an experiment with its weights, ready to track.

    Args:
        name_or_path: an experiment's name (`"rgbt_small"`), its YAML file, or the folder of a training run.
        checkpoint: see `build_tracker`; None: the weights in the run folder, or those that ship with the experiment.
        device: a torch device.
        overrides: `key.sub=value` settings, e.g. `["test.precision=bf16"]`.

    Raises:
        ConfigError: there is no such experiment, or something in it is wrong.
        WeightsError: a file is missing or doesn't fit.
    """
    config = load(name_or_path, overrides)
    return build_tracker(config, weights_beside(name_or_path) if checkpoint is None else checkpoint, device)


def build_tracker(
    config: Config, checkpoint: str | os.PathLike[str] | None = None, device: str | torch.device = "cpu"
) -> Tracker:
    """Make the tracker of an experiment that is already loaded.

    Args:
        config: sizes, `model.base_model`, crop and test settings.
        checkpoint: adapter file, whole model, training checkpoint, base model, released weights, or the folder of a
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
    resize = config.model.resize_position_embeddings
    kind, modality = None, ""
    if path is not None:
        tensors, header = read_weights(path)
        kind, modality = kind_of(tensors, header), stated_modality(header)
    if kind == "adapters" and not has_adapters:
        logger.warning("%s is not used: with model.streams=%s the base model runs alone", path, config.model.streams)
        path = kind = None
    two, joint = config.model.streams == "both", JOINT if config.model.modalities else config.modality
    if kind in ("adapters", "full") and modality not in ("", joint):
        if two and JOINT in (modality, joint):
            raise WeightsError(other_pairs(path, modality, config))
        logger.warning("%s was trained for %s, this experiment is for %s", path, modality, config.modality)

    if kind in (None, "adapters"):  # any other checkpoint brings its own base model
        name = config.model.base_model
        if name is None:
            logger.warning("no model.base_model: the base model keeps its initial values")
        else:
            base_model = base_model_path(name)
            load_base_model(model, base_model, resize)
            logger.info("base model from %s", base_model)
    if path is not None:
        kind = load_checkpoint(model, path, resize)
        logger.info("weights (%s) from %s", kind, path)
    elif has_adapters:
        logger.warning("the adapters keep their initial values (checkpoint %r)", UNTRAINED)
    return tracker_of(model, config, device, config.test.precision)


def other_pairs(path: Path | None, stated: str, config: Config) -> str:
    """Say why the weights of one pair are none for a joint experiment, and the other way round."""
    size = config.name.rpartition("_")[2]
    if stated == JOINT:
        return (
            f"{path} holds the weights of a joint model ({JOINT}), but {config.name} is for {config.modality} alone: "
            f"give the experiment that they were trained with, e.g. --config {JOINT}_{size} modality={config.modality}"
        )
    return (
        f"{path} holds weights for {stated} alone, but {config.name} is a joint experiment for "
        f"{', '.join(config.model.modalities)}: give weights of a joint training, or an experiment for {stated}, e.g. "
        f"--config {stated}_{size}"
    )


def tracker_of(network: nn.Module, config: Config, device: str | torch.device, precision: str | None = None) -> Tracker:
    """Put the experiment's crop and test settings and a network that has its weights together.

    Args:
        network, device, precision: see `Tracker`.
        config: crop and test settings, and what the frames are.

    Raises:
        ValueError: a joint network that treats pairs apart, and `config.modality` doesn't say which pair it is.
    """
    modality = config.modality if config.modality in PAIRS else None
    return Tracker(network, config.crop, config.test, device, precision, modality)


def find_checkpoint(config: Config, checkpoint: str | os.PathLike[str] | None, has_adapters: bool) -> Path | None:
    """Choose the weights file that is meant; None if the base model (or nothing) is enough.

    Raises:
        WeightsError: nothing there, or nothing given and nothing shipped.
    """
    if checkpoint == UNTRAINED:
        return None
    if checkpoint is not None:
        path = user_path(checkpoint)
        if not path.is_dir():
            return path
        unsuitable = (BASE_MODEL, OLD_BASE_MODEL) if has_adapters else (ADAPTERS, MODEL)
        wanted = [name for name in IN_RUN_FOLDER if name not in unsuitable]
        for name in wanted:
            if (path / name).is_file():
                return path / name
        raise WeightsError(f"checkpoint {str(path)!r}: no weights in this folder; looked for {', '.join(wanted)}")
    if not has_adapters and config.model.base_model is not None and config.train.trainable == "adapters":
        return None  # of an experiment that trains everything, the base model is only where it started
    shipped = project_path(f"weights/{config.name}.safetensors")
    if shipped.is_file():
        return shipped
    raise WeightsError(
        f"no weights for {config.name}: there is no {shipped}; train them with tracking/train.py, or give as "
        f"checkpoint a weights file, the folder of a training run, or {UNTRAINED!r} to run untrained weights"
    )


def weights_beside(name_or_path: str | os.PathLike[str]) -> str | None:
    """The run folder that an experiment's path names, directly or by its `config.yaml`, if weights lie in it.

    Raises:
        ConfigError: there is no such experiment, file or run folder.
    """
    path = experiment_path(name_or_path)
    if path.name != SAVED_NAME or not any((path.parent / name).is_file() for name in IN_RUN_FOLDER):
        return None
    return str(path.parent)


def identity(config: Config, tracker: Tracker, **source: Any) -> dict[str, Any]:
    """Collect everything that results depend on: settings, a hash of all weights, and where the frames come from.

    Args:
        config: the experiment.
        tracker: built from it.
        source: e.g. dataset and split.
    """
    settings = config.model_dump(mode="json", include={"modality", "model", "crop", "test"})
    for key in ("base_model", "resize_position_embeddings"):  # where weights come from; they themselves are hashed
        del settings["model"][key]
    return {**source, "weights_sha256": model_hash(tracker.model), **settings}
