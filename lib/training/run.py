"""A whole training run: folder, data, model, trainer, exported weights, manifest."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lib import datasets
from lib.distributed import DistributedContext, device_of
from lib.training import log
from lib.training.checkpoint import seed_everything
from lib.training.compare import check_agreement, check_data, check_same, compare_weights
from lib.training.folder import files_of_run, locked, prepare_folder, recorded, resumed_state
from lib.training.loader import build_dataset, frame_reader, load_sources
from lib.training.manifest import (
    describe_sources,
    environment,
    file_sha256,
    fingerprint,
    hardware,
    read_manifest,
    update_manifest,
)
from lib.training.trainer import Trainer
from patrack import Network, build_model
from patrack import config as config_files
from patrack.build import ADAPTERS, FOUNDATION, MODEL
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

__all__ = ["run_training"]

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
    context: DistributedContext | None = None,
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
        context: the processes that train together; default: this one alone. The main one reads and writes the run
            folder.

    Returns:
        The weights file: `adapters.safetensors`, `foundation.safetensors` or `model.safetensors`.

    Raises:
        Interrupted: a signal came; the checkpoint is written.
        ValueError, OSError, RuntimeError, FloatingPointError: the folder holds a run and neither flag is given, there
            is none to resume, or it is in use; or as the parts raise them.
    """
    context = context or DistributedContext()
    if config.train.total_batch_size < context.world_size:
        raise ValueError(
            f"train.total_batch_size = {config.train.total_batch_size} is less than the number of processes "
            f"({context.world_size}), each of which needs a pair: raise it, or lower --nproc-per-node or --nnodes"
        )
    folder = Path(output) / config.name
    with locked(folder) if context.is_main else nullcontext():
        state = None
        if context.is_main:
            if overwrite and files_of_run(folder):
                # errors that would end the new run at its start come now, while the run that it replaces is still there
                level = logging.root.manager.disable
                logging.disable(logging.INFO)  # all of it is said again when the run begins
                try:
                    device_of(device, context)
                    load_sources(config, datasets.resolve_data_root(data_root, config.data.root))
                    _load_model(config)
                finally:
                    logging.disable(level)
            prepare_folder(folder, resume=resume, overwrite=overwrite)
            state = resumed_state(folder, config, allow_changes) if resume else None
        logs = log.log_to_file(folder / "train.log") if context.is_main else nullcontext()
        with logs, recorded(folder, context) as began:
            # model and data, the same in every process
            own_device = device_of(device, context)
            seed_everything(config.seed)
            model, foundation = _load_model(config)
            root = datasets.resolve_data_root(data_root, config.data.root)
            train, val = load_sources(config, root)
            start_from = config.model.foundation
            facts = {
                "name": config.name,
                "seed": config.seed,
                "config": config.model_dump(mode="json"),
                "foundation_sha256": foundation or None,
                "foundation_file": start_from
                and {"path": start_from, "sha256": file_sha256(config_files.project_path(start_from))},
                "train": describe_sources(train),
                "val": describe_sources(val),
                "data_fingerprint": fingerprint([*train, *val]),
                "data_root": None if root is None else str(root.resolve()),
                "processes": context.world_size,
            } | environment(own_device)

            # the other processes, the run that is repeated or the one that goes on must have had the same
            check_agreement(facts, context)
            earlier = repeat_of or (folder if resume else None)
            before = context.broadcast(read_manifest(earlier) if earlier and context.is_main else {})
            if repeat_of is not None:
                check_same(before, facts, repeat_of, allow_other_data)
            else:
                check_data("--resume", before, facts, folder, allow_other_data)

            with context.first_on_machine_first():  # where one decodes, the others use the file
                frames = frame_reader(config, [*train, *val])
            trainer = Trainer(
                config,
                model,
                build_dataset(config, train, frames, training=True),
                build_dataset(config, val, frames, training=False) if val and config.data.val_samples else None,
                folder,
                own_device,
                foundation,
                context,
            )
            _announce(config, trainer, facts)
            state = context.broadcast(state)
            if state:
                if state.foundation != foundation:
                    raise ValueError(
                        f"--resume: the run in {folder} trains on foundation {state.foundation[:16]}, the one now "
                        f"loaded has hash {foundation[:16]}: model.foundation has changed"
                    )
                trainer.restore(state)
                if state.epoch > config.train.epochs:
                    logger.info("all %d epochs are done: only the result is written again", config.train.epochs)
                else:
                    logger.info("going on at epoch %d, step %d", state.epoch, state.step)
            began.append("training")
            trainer.fit()
            return _export(config, trainer, repeat_of)


def _load_model(config: Config) -> tuple[Network, str]:
    """Builds the model; returns it and the hash of its foundation ("" if the foundation trains too)."""
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
    path, resize = config_files.project_path(name), config.model.resize_position_embeddings
    if not path.is_file():
        raise WeightsError(
            f"model.foundation: {path} not found (key set to {name!r}). Train it with an rgb_* experiment "
            f"(it writes {FOUNDATION}), or set model.foundation=FILE, e.g. an OSTrack checkpoint"
        )
    model = build_model(config)
    if not trains_all:
        load_foundation(model, path, resize)
        return model, foundation_hash(model)
    # full training starts from a whole foundation, or from a plain ViT, whose head then keeps its initial values
    try:
        load_foundation(model, path, resize)
        logger.info("starting from the foundation %s", path)
    except WeightsError as whole:
        try:
            load_foundation(model, path, resize, backbone_only=True)
        except WeightsError as backbone:
            raise (backbone if "another token grid" in str(backbone) else whole) from None
        logger.info("starting from the backbone of %s; the head is new", path)
    return model, ""


def _announce(config: Config, trainer: Trainer, facts: dict[str, Any]) -> None:
    """Says in the log, and writes to the run folder, what is about to be trained and how a batch is split."""
    train, world_size, micro_batches = config.train, trainer.context.world_size, trainer.work.micro_batches
    share = -(-train.total_batch_size // world_size)
    batch = {
        "total": train.total_batch_size,
        "processes": world_size,
        "accumulation": micro_batches,
        "at_once": -(-share // micro_batches),
    }
    if trainer.context.is_main:
        config_files.save(config, trainer.folder / config_files.SAVED_NAME)
        more = {"hardware": hardware(), "batch": batch, "learning_rate": {"base": train.lr}}
        update_manifest(trainer.folder, facts | more)
    count = sum(parameter.numel() for parameter in trainer.work.parameters.values())
    logger.info("%s: %s trainable parameters (%s)", config.name, f"{count:,}", train.trainable)
    logger.info(
        "%d epochs of %d steps, %d pairs per step (processes %d, parts per process %d, at once %d), learning rate %g "
        "(as written: not scaled with the batch), %s, device %s, run folder %s",
        train.epochs,
        trainer.steps_per_epoch,
        *batch.values(),
        train.lr,
        train.precision,
        trainer.device,
        trainer.folder,
    )
    if not trainer.work.frozen_batchnorm and world_size > 1:
        logger.info("BatchNorm trains: its statistics are those of the whole batch, summed over the processes")


def _export(config: Config, trainer: Trainer, repeat_of: Path | None) -> Path:
    """Writes the weights in the form that tracking loads, and to the manifest how training went; returns their file."""
    model, folder = trainer.model, trainer.folder
    adapters = config.train.trainable == "adapters"
    whole = not adapters and bool(adapter_names(model))  # full fine-tuning of a model that has adapters
    path = folder / (ADAPTERS if adapters else MODEL if whole else FOUNDATION)
    if not trainer.context.is_main:
        return path
    notes = {"name": config.name, "modality": config.modality, "seed": str(config.seed)}
    if adapters:
        save_adapters(model, path, notes)
    elif whole:
        save_model(model, path, half=True, metadata=notes)
    else:
        save_foundation(model, path, half=True)
    rows = log.read_rows(folder / "train.csv")
    validations = log.read_rows(folder / "validation.csv")
    last_epoch = [row for row in rows if row["epoch"] == rows[-1]["epoch"]]
    gpus = trainer.context.world_size if trainer.device.type == "cuda" else 0
    values: dict[str, Any] = {
        "status": "finished",
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "wall_seconds": round(trainer.seconds, 1),
        "wall_hours": round(trainer.seconds / 3600, 4),
        "gpu_hours": round(trainer.seconds / 3600 * gpus, 4),
        "steps": trainer.position.global_step,
        "learning_rate": {"base": config.train.lr, "final": rows[-1]["lr"] if rows else None},
        "weights": {"file": path.name, "sha256": file_sha256(path)},
        "final": {"train": log.means(last_epoch), "val": validations[-1] if validations else None},
    }
    if repeat_of is not None:
        values["repeat_of"] = compare_weights(repeat_of, values)
    update_manifest(folder, values)
    return path
