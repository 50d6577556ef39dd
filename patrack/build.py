"""From an experiment and its weights files to a `Tracker`, and what identifies its results."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any

import torch
from torch import nn

from patrack import __version__
from patrack.adapters import TrackingModel
from patrack.config import SAVED_NAME, experiment_names, experiment_path, from_data, load, project_path
from patrack.config.schema import Config
from patrack.files import atomic_write, file_sha256, user_path
from patrack.modality import JOINT, PAIRS
from patrack.network import Network, adapter_parameters, base_model_names, build_model
from patrack.target import Settings
from patrack.tracker import Tracker
from patrack.weights import (
    WeightsError,
    base_model_hash,
    base_model_path,
    kind_of,
    load_adapters,
    load_base_model,
    load_checkpoint,
    model_hash,
    read_weights,
    save_adapters,
    stated_modality,
)

__all__ = [
    "UNTRAINED",
    "build_tracker",
    "config_of_weights",
    "experiment_and_weights",
    "find_checkpoint",
    "identity",
    "load_adapter_model",
    "load_tracker",
    "save_adapter_folder",
    "tracker_of",
    "weights_beside",
]

logger = logging.getLogger(__name__)

UNTRAINED = "none"
"""Value of `checkpoint` that asks for initial weights."""
ADAPTER_MODEL, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
"""Names that the peft library gives to the files of an adapter."""
WEIGHTS_SUFFIXES = (".safetensors", ".pt", ".pth", ".tar", ".bin")
ADAPTERS, BASE_MODEL, MODEL = "adapters.safetensors", "base_model.safetensors", "model.safetensors"
OLD_BASE_MODEL = "foundation.safetensors"
"""Earlier name of the file, in runs that are still read."""
IN_RUN_FOLDER = (ADAPTERS, ADAPTER_MODEL, BASE_MODEL, OLD_BASE_MODEL, MODEL, "checkpoints/last.pt")


def load_tracker(
    name_or_path: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    overrides: Iterable[str] = (),
    **images: Any,
) -> Tracker:
    """Load an experiment with its weights, ready to track.

    Args:
        name_or_path: an experiment's name (`"rgbt_small"`), its YAML file, the folder of a training run or of an
            adapter (`save_adapter_folder`), or a weights file that states its experiment, as ours do.
        checkpoint: see `build_tracker`; None: the weights in that folder or file, or those that ship with the
            experiment.
        device: a torch device.
        overrides: `key.sub=value` settings, e.g. `["test.precision=bf16"]`.
        images: `bgr`, `x_range` and `x_transform` (`patrack.recordings.images.ImagePairs`), and `recover`, see
            `Tracker`.

    Raises:
        ConfigError: there is no such experiment, or something in it is wrong.
        WeightsError: a file is missing or doesn't fit, or doesn't state its experiment.
    """
    config, beside = experiment_and_weights(name_or_path, overrides)
    return build_tracker(config, beside if checkpoint is None else checkpoint, device, **images)


def experiment_and_weights(
    name_or_path: str | os.PathLike[str], overrides: Iterable[str] = ()
) -> tuple[Config, str | None]:
    """Find an experiment by its name, file or folder, or by a weights file; and the weights that lie there, if any do.

    Raises:
        ConfigError, WeightsError: see `load_tracker`.
    """
    text = os.fspath(name_or_path)
    path = user_path(text) if text.strip() and "\0" not in text else Path()
    if path.is_dir() and not (path / SAVED_NAME).is_file() and (path / ADAPTER_MODEL).is_file():
        path = path / ADAPTER_MODEL
    if path.is_file() and path.suffix in WEIGHTS_SUFFIXES:
        return config_of_weights(path, overrides), str(path)
    return load(name_or_path, overrides), weights_beside(name_or_path)


def config_of_weights(path: Path, overrides: Iterable[str] = ()) -> Config:
    """Read from a weights file which experiment it belongs to.

    Its base model is looked for beside it, then among the project's weights. Settings of tracking that it doesn't state
    are those of the experiment of its name, if that has the same model.

    Raises:
        WeightsError: it states none, or can't be read.
        ConfigError: what it states can't be used.
    """
    header = read_weights(path)[1]
    stated = json.loads(header.get("config", "{}"))
    name, modality = header.get("name") or stated.get("name") or path.stem, stated_modality(header)
    if not isinstance(stated.get("model"), dict) or not modality:
        raise WeightsError(
            f"{path} doesn't state the experiment it belongs to: give that as name, and the file as checkpoint"
        )
    data: dict[str, Any] = {"name": name, "modality": modality}
    data |= {key: stated[key] for key in ("model", "crop", "test") if isinstance(stated.get(key), dict)}
    base_model = data["model"].get("base_model")
    if isinstance(base_model, str) and not base_model.startswith("timm:"):
        file = PurePath(base_model).name
        places = (path.parent / file, project_path(f"weights/{file}"), project_path(base_model))
        data["model"] = data["model"] | {"base_model": str(next((p for p in places if p.is_file()), places[-1]))}
    if "test" not in data and name in experiment_names():
        same, own = load(name), from_data(data, path)
        if same.model.model_copy(update={"base_model": own.model.base_model}) == own.model and same.crop == own.crop:
            data["test"] = same.test.model_dump(mode="json")
    return from_data(data, path, overrides)


def build_tracker(
    config: Config,
    checkpoint: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    **images: Any,
) -> Tracker:
    """Make the tracker of an experiment that is already loaded.

    Args:
        config: sizes, `model.base_model`, crop and test settings.
        checkpoint: adapter file, whole model, training checkpoint, base model, released weights, or the folder of a
            training run; "none": initial weights; None: what ships with the project for this experiment.
        device: a torch device.
        images: see `load_tracker`.

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
    if kind in ("adapters", "full"):
        check_pair(path, modality, config)

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
    return tracker_of(model, config, device, config.test.precision, **images)


def check_pair(path: Path | None, stated: str, config: Config) -> None:
    """Compare the modality that weights were trained for with the experiment's; another one is a warning.

    Raises:
        WeightsError: the weights of one pair for a joint experiment, or the other way round.
    """
    joint = JOINT if config.model.modalities else config.modality
    if stated in ("", joint):
        return
    if config.model.streams != "both" or JOINT not in (stated, joint):
        logger.warning("%s was trained for %s, this experiment is for %s", path, stated, config.modality)
        return
    size = config.name.rpartition("_")[2]
    if stated == JOINT:
        raise WeightsError(
            f"{path} holds the weights of a joint model ({JOINT}), but {config.name} is for {config.modality} alone: "
            f"give the experiment that they were trained with, e.g. --config {JOINT}_{size} modality={config.modality}"
        )
    raise WeightsError(
        f"{path} holds weights for {stated} alone, but {config.name} is a joint experiment for "
        f"{', '.join(config.model.modalities)}: give weights of a joint training, or an experiment for {stated}, e.g. "
        f"--config {stated}_{size}"
    )


def tracker_of(
    network: nn.Module, config: Config, device: str | torch.device, precision: str | None = None, **images: Any
) -> Tracker:
    """Put the experiment's crop and test settings and a network that has its weights together.

    Args:
        network, device, precision: see `Tracker`.
        config: crop and test settings, and what the frames are.
        images: see `load_tracker`.

    Raises:
        ValueError: a joint network that treats pairs apart, and `config.modality` doesn't say which pair it is.
    """
    modality = config.modality if config.modality in PAIRS else None
    return Tracker(network, config.crop, config.test, device, precision, modality, name=config.name, **images)


def load_adapter_model(
    name_or_path: str | os.PathLike[str],
    base: Network,
    device: str | torch.device = "cpu",
    overrides: Iterable[str] = (),
) -> TrackingModel:
    """Load an adapter for a base model that is there already; the two share its tensors.

    Args:
        name_or_path: see `load_tracker`.
        base: any network with that base model's tensors.
        device: a torch device.
        overrides: see `load_tracker`.

    Raises:
        ConfigError, WeightsError: as `load_tracker`; the file holds no adapters, or was trained on another base model.
    """
    config, beside = experiment_and_weights(name_or_path, overrides)
    model = build_model(config)
    if not adapter_parameters(model):
        raise WeightsError(f"{name_or_path} is an experiment without adapters ({config.name})")
    path = find_checkpoint(config, beside, has_adapters=True)
    assert path is not None  # only "none" gives no file
    tensors, header = read_weights(path)
    if kind_of(tensors, header) != "adapters":
        raise WeightsError(f"{path} holds {kind_of(tensors, header)} weights, not adapters")
    check_pair(path, stated_modality(header), config)
    state, names = base.state_dict(), base_model_names(model)
    own = model.state_dict()
    if any(name not in state or state[name].shape != own[name].shape for name in names):
        raise WeightsError(
            f"{path} was made for a base model of another size: {config.name} has {config.model.depth} blocks of "
            f"{config.model.embed_dim} channels, the tracker's {base.config.depth} of {base.config.embed_dim}"
        )
    model.load_state_dict({name: state[name] for name in names}, strict=False, assign=True)
    load_adapters(model, path)
    modality = config.modality if config.modality in PAIRS else None
    settings = Settings(config.crop, config.test)
    return TrackingModel(model.to(device), settings, device, config.test.precision, modality, config.name)


def save_adapter_folder(tracked: TrackingModel, folder: Path) -> None:
    """Write an adapter as the peft library lays it out: `adapter_model.safetensors` and `adapter_config.json`.

    The first is an adapter file like any other; the second says the same about it for people and programs that know
    peft's folders.

    Raises:
        WeightsError: the model has no adapters.
        OSError: the folder can't be written.
    """
    model = tracked.model
    if not isinstance(model, Network) or not adapter_parameters(model):
        raise WeightsError("no adapter is active, so there is none to save")
    settings = {
        "model": model.config.model_dump(mode="json"),
        "crop": tracked.settings.crop.model_dump(mode="json"),
        "test": tracked.settings.test.model_dump(mode="json"),
    }
    base_model = settings["model"]["base_model"]
    if isinstance(base_model, str) and not base_model.startswith("timm:"):
        settings["model"]["base_model"] = PurePath(base_model).name  # the folders here are nobody's business
    modality = JOINT if model.config.modalities else tracked.modality or ""
    header = {"name": tracked.name, "modality": modality, "config": json.dumps(settings, sort_keys=True)}
    folder.mkdir(parents=True, exist_ok=True)
    save_adapters(model, folder / ADAPTER_MODEL, {key: value for key, value in header.items() if value})
    adapter = sum(parameter.numel() for parameter in adapter_parameters(model).values())
    description = {
        "peft_type": model.config.method.upper(),
        "base_model_name_or_path": settings["model"]["base_model"],
        "base_model_sha256": base_model_hash(model),
        "adapter_sha256": file_sha256(folder / ADAPTER_MODEL),
        "inference_mode": True,
        "library_name": "patrack",
        "library_version": __version__,
        "name": tracked.name,
        "modality": modality,
        "trainable_parameters": adapter,
        "all_parameters": sum(parameter.numel() for parameter in model.parameters()),
        **settings,
    }
    with atomic_write(folder / ADAPTER_CONFIG) as file:
        json.dump(description, file, indent=1, sort_keys=True)
        file.write("\n")


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
        unsuitable = (BASE_MODEL, OLD_BASE_MODEL) if has_adapters else (ADAPTERS, ADAPTER_MODEL, MODEL)
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
    for key in ("recovery", "confidence"):  # which results of benchmarks don't depend on
        del settings["test"][key]
    for key in ("base_model", "resize_position_embeddings"):  # where weights come from; they themselves are hashed
        del settings["model"][key]
    return {**source, "weights_sha256": model_hash(tracker.model), **settings}
