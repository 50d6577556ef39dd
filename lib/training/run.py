"""A whole training run: folder, data, model, trainer, exported weights, manifest."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch import nn

from lib import datasets
from lib.processes import Processes, device_of
from lib.training import log
from lib.training.agreement import check_agreement
from lib.training.checkpoint import CheckpointError, TrainingState
from lib.training.folder import (
    ADAPTERS,
    FOUNDATION,
    MODEL,
    RunFolderError,
    holds_run,
    locked,
    prepare_folder,
    recorded,
    resumed_state,
)
from lib.training.manifest import (
    describe_sources,
    environment,
    file_sha256,
    fingerprint,
    hardware,
    read_manifest,
    update_manifest,
)
from lib.training.repeat import check_data, check_same, compare_weights
from lib.training.seeding import seed_everything
from lib.training.sources import build_dataset, frame_reader, load_sources
from lib.training.trainer import Trainer
from patrack import build_model
from patrack import config as config_files
from patrack.config.schema import Config
from patrack.network import adapter_names
from patrack.weights import (
    WeightsError,
    foundation_hash,
    load_foundation,
    save_adapters,
    save_foundation,
    save_model,
)

__all__ = ["RunFolderError", "build_dataset", "load_sources", "prepare_folder", "run_training"]

logger = logging.getLogger(__name__)


def run_training(
    config: Config,
    *,
    data_root: str | None = None,
    output: str = "runs",
    resume: bool = False,
    overwrite: bool = False,
    device: str = "cpu",
    allow_changes: Collection[str] = (),
    repeat_of: Path | None = None,
    allow_other_data: bool = False,
    processes: Processes | None = None,
) -> Path:
    """Trains an experiment in `<output>/<config.name>/`.

    Args:
        config: the experiment.
        data_root: folder that holds the data sets; before PATRACK_DATA and config.data.root.
        output: folder of run folders.
        resume: go on with the run in the folder.
        overwrite: delete the run in the folder and start anew.
        device: a torch device; "cuda" becomes the GPU of each process.
        allow_changes: keys that may differ from those of a run that goes on.
        repeat_of: folder of a finished run that this one repeats: data and foundation must be the same.
        allow_other_data: only warn if the data are not those of `repeat_of`, or of the run that goes on.
        processes: that train together; default: this one alone. The first one reads and writes the run folder.

    Returns:
        The weights file: `adapters.safetensors` or `foundation.safetensors`.

    Raises:
        RunFolderError: the folder holds a run and neither flag is given, there is none to resume, or it is in use.
        Interrupted: a signal came; the checkpoint is written.
        ValueError, OSError, RuntimeError: as the parts raise them.
    """
    processes = processes or Processes()
    if config.train.total_batch_size < processes.world:
        raise ValueError(
            f"train.total_batch_size = {config.train.total_batch_size} is less than the number of processes "
            f"({processes.world}), each of which needs a pair: raise it, or lower --nproc-per-node or --nnodes"
        )
    folder = Path(output) / config.name
    with locked(folder) if processes.first else nullcontext():
        state = None
        if processes.first:
            if overwrite and holds_run(folder):
                _check_inputs(config, data_root, device, processes)
            prepare_folder(folder, resume=resume, overwrite=overwrite)
            state = resumed_state(folder, config, allow_changes) if resume else None
        logs = log.log_to_file(folder / "train.log") if processes.first else nullcontext()
        with logs, recorded(folder, processes) as steps:
            began = repeat_of or (folder if resume else None)
            before = processes.from_first(read_manifest(began) if began and processes.first else {})
            trainer = _prepare(config, folder, data_root, device, processes, before, repeat_of, allow_other_data)
            state = processes.from_first(state)
            if state:
                _check_foundation(state, trainer.foundation, folder)
                trainer.restore(state)
                if state.epoch > config.train.epochs:
                    logger.info("all %d epochs are done: only the result is written again", config.train.epochs)
                else:
                    logger.info("going on at epoch %d, step %d", state.epoch, state.step)
            steps.append("training")
            trainer.fit()
            return _finish(config, folder, trainer, repeat_of)


def _check_inputs(config: Config, data_root: str | None, device: str, processes: Processes) -> None:
    """What would end a new run at its start does so now, while the run that it replaces is still there."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)  # all of it is said again when the run begins
    try:
        device_of(device, processes)
        load_sources(config, datasets.resolve_data_root(data_root, config.data.root))
        _load_model(config)
    finally:
        logging.disable(before)


def _prepare(
    config: Config,
    folder: Path,
    data_root: str | None,
    device: str,
    processes: Processes,
    before: Mapping[str, Any],
    repeat_of: Path | None,
    allow_other_data: bool,
) -> Trainer:
    """Data, model and manifest of a run, the same in every process.

    Args: as of `run_training`, and
        before: manifest of the run that goes on or is repeated.
    """
    own_device = device_of(device, processes)
    seed_everything(config.seed)
    model, foundation = _load_model(config)
    root = datasets.resolve_data_root(data_root, config.data.root)
    train, val = load_sources(config, root)
    facts = {
        "name": config.name,
        "seed": config.seed,
        "config": config.model_dump(mode="json"),
        "foundation_sha256": foundation or None,
        "foundation_file": _foundation_file(config),
        "train": describe_sources(train),
        "val": describe_sources(val),
        "data_fingerprint": fingerprint([*train, *val]),
        "data_root": None if root is None else str(root.resolve()),
        "processes": processes.world,
    } | environment(own_device)
    check_agreement(facts, processes)
    if repeat_of is not None:
        check_same(before, facts, repeat_of, allow_other_data)
    else:
        check_data("--resume", before, facts, folder, allow_other_data)
    with processes.one_by_one_per_machine():
        frames = frame_reader(config, [*train, *val])
    trainer = Trainer(
        config,
        model,
        build_dataset(config, train, frames, training=True),
        build_dataset(config, val, frames, training=False) if val and config.data.val_samples else None,
        folder,
        own_device,
        foundation,
        processes,
    )
    if processes.first:
        config_files.save(config, folder / config_files.SAVED_NAME)
        update_manifest(folder, facts | {"hardware": hardware()})
        update_manifest(folder, {"batch": _batch(config, trainer), "learning_rate": {"base": config.train.lr}})
    _announce(config, trainer)
    return trainer


def _foundation_file(config: Config) -> dict[str, str] | None:
    if config.model.foundation is None:
        return None
    return {
        "path": config.model.foundation,
        "sha256": file_sha256(config_files.project_path(config.model.foundation)),
    }


def _batch(config: Config, trainer: Trainer) -> dict[str, int]:
    """How a batch is split: its size, the processes, and the largest number of pairs computed at once."""
    share = -(-config.train.total_batch_size // trainer.processes.world)
    return {
        "total": config.train.total_batch_size,
        "processes": trainer.processes.world,
        "accumulation": trainer.work.parts,
        "at_once": -(-share // trainer.work.parts),
    }


def _check_foundation(state: TrainingState, foundation: str, folder: Path) -> None:
    if state.foundation != foundation:
        raise CheckpointError(
            f"--resume: the run in {folder} trains on foundation {state.foundation[:16]}, the one now loaded has hash "
            f"{foundation[:16]}: model.foundation has changed"
        )


def _load_model(config: Config) -> tuple[nn.Module, str]:
    """The model and the hash of its foundation ("" if the foundation trains too)."""
    name = config.model.foundation
    trains_all = config.train.trainable == "all"
    if name is None:
        if not trains_all:
            raise WeightsError(
                "model.foundation is not set: adapters need trained foundation weights. Train them with an rgb_* "
                "experiment, or set model.foundation=FILE"
            )
        logger.info("no model.foundation: training from random weights")
        return build_model(config), ""
    path = config_files.project_path(name)
    if not path.is_file():
        raise WeightsError(
            f"model.foundation: {path} not found (key set to {name!r}). Train it with an rgb_* experiment "
            f"(it writes {FOUNDATION}), or set model.foundation=FILE, e.g. an OSTrack checkpoint"
        )
    model = build_model(config)
    if trains_all:
        _load_start(model, path, config.model.resize_position_embeddings)
        return model, ""
    load_foundation(model, path, config.model.resize_position_embeddings)
    return model, foundation_hash(model)


def _load_start(model: nn.Module, path: Path, resize: bool) -> None:
    """Start of full training: a whole foundation, or a plain ViT, whose head then keeps its initial values."""
    try:
        load_foundation(model, path, resize)
        logger.info("starting from the foundation %s", path)
    except WeightsError as whole:
        try:
            load_foundation(model, path, resize, backbone_only=True)
        except WeightsError as backbone:
            raise (backbone if "another token grid" in str(backbone) else whole) from None
        logger.info("starting from the backbone of %s; the head is new", path)


def _announce(config: Config, trainer: Trainer) -> None:
    train, batch = config.train, _batch(config, trainer)
    count = sum(parameter.numel() for parameter in trainer.work.parameters.values())
    logger.info("%s: %s trainable parameters (%s)", config.name, f"{count:,}", train.trainable)
    logger.info(
        "%d epochs of %d steps, %d pairs per step (processes %d, parts per process %d, at once %d), learning rate %g "
        "(as written: not scaled with the batch), %s, device %s, run folder %s",
        train.epochs,
        trainer.steps_per_epoch,
        batch["total"],
        batch["processes"],
        batch["accumulation"],
        batch["at_once"],
        train.lr,
        train.precision,
        trainer.device,
        trainer.folder,
    )
    if not trainer.work.frozen_batchnorm and batch["processes"] > 1:
        logger.info("BatchNorm trains: its statistics are those of the whole batch, summed over the processes")


def _finish(config: Config, folder: Path, trainer: Trainer, repeat_of: Path | None) -> Path:
    """Writes what was trained in the form that tracking loads, and how it went; returns the weights file."""
    adapters = config.train.trainable == "adapters"
    whole = not adapters and bool(adapter_names(trainer.model))  # full fine-tuning of a model that has adapters
    path = folder / (ADAPTERS if adapters else MODEL if whole else FOUNDATION)
    if not trainer.processes.first:
        return path
    notes = {"name": config.name, "modality": config.modality, "seed": str(config.seed)}
    if adapters:
        save_adapters(trainer.model, path, notes)
    elif whole:
        save_model(trainer.model, path, half=True, metadata=notes)
    else:
        save_foundation(trainer.model, path, half=True)
    rows = log.read_rows(folder / "train.csv")
    validations = log.read_rows(folder / "validation.csv")
    last = [row for row in rows if row["epoch"] == rows[-1]["epoch"]] if rows else []
    gpus = trainer.processes.world if trainer.device.type == "cuda" else 0
    values: dict[str, Any] = {
        "status": "finished",
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "wall_seconds": round(trainer.seconds, 1),
        "wall_hours": round(trainer.seconds / 3600, 4),
        "gpu_hours": round(trainer.seconds / 3600 * gpus, 4),
        "steps": trainer.position.global_step,
        "learning_rate": {"base": config.train.lr, "final": rows[-1]["lr"] if rows else None},
        "weights": {"file": path.name, "sha256": file_sha256(path)},
        "final": {"train": log.means(last), "val": validations[-1] if validations else None},
    }
    if repeat_of is not None:
        values["repeat_of"] = compare_weights(repeat_of, values)
    update_manifest(folder, values)
    return path
