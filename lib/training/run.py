"""A whole training run: its folder, data, model, trainer, exported weights, manifest."""

from __future__ import annotations

import difflib
import logging
import shutil
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from lib import datasets
from lib.distributed import DistributedContext, device_of, reason_of
from lib.training import log
from lib.training import manifest as manifests
from lib.training.checkpoint import TrainingState, load_state, seed_everything
from lib.training.loader import build_dataset, frame_reader, load_sources
from lib.training.manifest import MANIFEST, config_differences, read_manifest, update_manifest
from lib.training.trainer import LAST, Interrupted, Trainer
from patrack import Network, build_model
from patrack import config as configs
from patrack.build import ADAPTERS, BASE_MODEL, MODEL
from patrack.config.schema import Config
from patrack.files import file_sha256, folder_lock, user_path
from patrack.network import adapter_names
from patrack.weights import (
    WeightsError,
    base_model_hash,
    base_model_path,
    load_base_model,
    save_adapters,
    save_base_model,
    save_model,
)

__all__ = ["check_free", "files_of_run", "locked", "prepare_folder", "recorded", "resumed_state", "run_training"]

logger = logging.getLogger(__name__)

WRITTEN = (
    *("checkpoints", "tensorboard", "train.csv", "validation.csv", "train.log", configs.SAVED_NAME, MANIFEST),
    *(ADAPTERS, BASE_MODEL, MODEL),
)
LEFTOVERS = (".tmp-*", ".*.tmp")
"""Names that half-written files have: of `patrack.files.atomic_write` and of `patrack.weights`."""


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
        data_root: folder that holds the data sets; before PATRACK_DATA and config.data.root.
        resume, overwrite: go on with the run in the folder, or delete it and start anew.
        device: a torch device; "cuda" becomes the GPU of each process.
        allow_changes: keys that may differ from those of a run that goes on.
        repeat_of: folder of a finished run that this one repeats: data and base model must be the same.
        allow_other_data: only warn if the data are not those of `repeat_of`, or of the run that goes on.
        context: the processes that train together; default: this one alone. The main one reads and writes the run
            folder.

    Returns:
        The weights file: `adapters.safetensors`, `base_model.safetensors` or `model.safetensors`.

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
    folder = user_path(output) / config.name
    logger.info("training %s on %s: reading base model and data sets", config.name, device)

    # the folder, which the main process alone looks at
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
            start_from = config.model.base_model
            if start_from is not None:
                with context.first_on_machine_first():  # where one fetches the weights, the others use its file
                    base_model_path(start_from)
            seed_everything(config.seed)
            model, base_model = _load_model(config)
            root = datasets.resolve_data_root(data_root, config.data.root)
            train, val = load_sources(config, root)
            described_train, described_val = manifests.describe_sources(train), manifests.describe_sources(val)
            facts = {
                "name": config.name,
                "seed": config.seed,
                "config": config.model_dump(mode="json"),
                "base_model_sha256": base_model or None,
                "base_model_file": start_from
                and {"path": start_from, "sha256": file_sha256(base_model_path(start_from))},
                "train": described_train,
                "val": described_val,
                "data_fingerprint": manifests.fingerprint([*train, *val]),
                "data_root": None if root is None else str(root.resolve()),
                "processes": context.world_size,
            } | manifests.environment(own_device)

            # the other processes, the run that is repeated or the one that goes on must have had the same
            manifests.check_agreement(facts, context)
            earlier = repeat_of or (folder if resume else None)
            before = context.broadcast(read_manifest(earlier) if earlier and context.is_main else {})
            if repeat_of is not None:
                manifests.check_same(before, facts, repeat_of, allow_other_data)
            else:
                manifests.check_data("--resume", before, facts, folder, allow_other_data)

            with context.first_on_machine_first():  # where one decodes, the others use the file
                frames = frame_reader(config, [*train, *val])
            trainer = Trainer(
                config,
                model,
                build_dataset(config, train, frames, training=True),
                build_dataset(config, val, frames, training=False) if val and config.data.val_samples else None,
                folder,
                own_device,
                base_model,
                context,
            )

            # say in the log, and write to the folder, what is about to be trained and how a batch is split
            settings, micro_batches = config.train, trainer.work.micro_batches
            share = -(-settings.total_batch_size // context.world_size)
            batch = {
                "total": settings.total_batch_size,
                "processes": context.world_size,
                "accumulation": micro_batches,
                "at_once": -(-share // micro_batches),
            }
            if context.is_main:
                configs.save(config, folder / configs.SAVED_NAME)
                more = {"hardware": manifests.hardware(), "batch": batch, "learning_rate": {"base": settings.lr}}
                update_manifest(folder, facts | more)
            count = sum(parameter.numel() for parameter in trainer.work.parameters.values())
            frozen = sum(parameter.numel() for parameter in model.parameters()) - count
            logger.info(
                "%s: %s parameters train (%s), %s are frozen",
                config.name,
                f"{count:,}",
                settings.trainable,
                f"{frozen:,}",
            )
            for use, described in (("train", described_train), ("validation", described_val)):
                for source in described:
                    logger.info(
                        "%s: %s, %s sequences, %s frames (%s usable), weight %g",
                        *(use, source["name"], f"{source['sequences']:,}", f"{source['frames']:,}"),
                        *(f"{source['usable_frames']:,}", source["weight"]),
                    )
            if config.data.balanced:
                logger.info("equal shares of the modalities of these sets; weights divide the share of each")
            logger.info(
                "%d epochs of %d steps, %d pairs per step (processes %d, parts per process %d, at once %d), learning "
                "rate %g (as written: not scaled with the batch), %s, device %s",
                settings.epochs,
                trainer.steps_per_epoch,
                *batch.values(),
                settings.lr,
                settings.precision,
                own_device,
            )
            logger.info(
                "run folder %s, with train.log and train.csv; Ctrl-C stops, the same command with --resume goes on",
                folder,
            )
            if not trainer.work.frozen_batchnorm and context.world_size > 1:
                logger.info("BatchNorm trains: its statistics are those of the whole batch, summed over the processes")

            # begin, or go on where the last checkpoint was written
            state = context.broadcast(state)
            if state:
                if state.base_model != base_model:
                    raise ValueError(
                        f"--resume: the run in {folder} trains on base model {state.base_model[:16]}, the one now "
                        f"loaded has hash {base_model[:16]}: model.base_model has changed"
                    )
                trainer.restore(state)
                if state.epoch > config.train.epochs:
                    logger.info("all %d epochs are done: only the result is written again", config.train.epochs)
                else:
                    logger.info(
                        "going on at epoch %d, step %d (%d of %d steps are done)",
                        *(state.epoch, state.step, state.global_step, config.train.epochs * trainer.steps_per_epoch),
                    )
            began.append("training")
            trainer.fit()
            return _export(config, trainer, repeat_of)


def _load_model(config: Config) -> tuple[Network, str]:
    """Builds the model; returns it and the hash of its base model ("" if the base model trains too)."""
    name = config.model.base_model
    trains_all = config.train.trainable == "all"
    if name is None:
        if not trains_all:
            raise WeightsError(
                "model.base_model is not set: adapters need trained base model weights. Train them with an rgb_* "
                "experiment, or set model.base_model=FILE"
            )
        logger.info("no model.base_model: training from random weights")
        return build_model(config), ""
    path, resize = base_model_path(name), config.model.resize_position_embeddings
    model = build_model(config)
    if not trains_all:
        load_base_model(model, path, resize)
        return model, base_model_hash(model)
    # full training starts from a whole base model, or from a plain ViT, whose head then keeps its initial values
    try:
        load_base_model(model, path, resize)
        logger.info("starting from the base model %s", path)
    except WeightsError as whole:
        try:
            load_base_model(model, path, resize, backbone_only=True)
        except WeightsError as backbone:
            raise (backbone if "another token grid" in str(backbone) else whole) from None
        logger.info("starting from the backbone of %s; the head is new", path)
    return model, ""


def _export(config: Config, trainer: Trainer, repeat_of: Path | None) -> Path:
    """Writes the weights in the form that tracking loads, and to the manifest how training went; returns their file."""
    model, folder = trainer.model, trainer.folder
    adapters = config.train.trainable == "adapters"
    whole = not adapters and bool(adapter_names(model))  # full fine-tuning of a model that has adapters
    path = folder / (ADAPTERS if adapters else MODEL if whole else BASE_MODEL)
    if not trainer.context.is_main:
        return path
    # the weights
    notes = {"name": config.name, "modality": config.modality, "seed": str(config.seed)}
    if adapters:
        save_adapters(model, path, notes)
    elif whole:
        save_model(model, path, half=True, metadata=notes)
    else:
        save_base_model(model, path, half=True)

    # how training went
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
        values["repeat_of"] = manifests.compare_weights(repeat_of, values)
    update_manifest(folder, values)
    return path


# ---- The folder of a run: who may use it, what lies in it, where a run in it goes on


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes a run folder this process's own, see `patrack.files.folder_lock`.

    Raises:
        ValueError: another process trains in it, or it cannot be written.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(folder_lock(folder))
        except OSError as error:
            raise _not_writable(folder, error) from error
        yield


def prepare_folder(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Makes the run folder or checks that it may be used; removes half-written files of a run that was killed.

    Raises:
        ValueError: it holds a run and neither flag is given, there is none to resume, or it cannot be written.
    """
    present = files_of_run(folder)
    if resume and not present:
        raise ValueError(f"--resume: there is no run in {folder}; leave --resume out to start one")
    if not (resume or overwrite):
        check_free(folder)
    try:
        if not resume:
            for name in present:
                shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        for place in (folder, folder / "checkpoints"):
            for path in (path for pattern in LEFTOVERS for path in place.glob(pattern)):
                logger.info("removing %s, left half-written by a run that was killed", path)
                path.unlink()
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _not_writable(folder, error) from error


def _not_writable(folder: Path, error: OSError) -> ValueError:
    return ValueError(
        f"cannot write to the run folder {folder} (from --output): {error.strerror or error}; give another --output, "
        "or make it writable"
    )


def files_of_run(folder: Path) -> list[str]:
    """Lists files and folders that a run has written here; empty if there is none."""
    return [name for name in WRITTEN if (folder / name).exists()]


def check_free(folder: Path) -> None:
    """Checks that a new run may begin here: there is nothing, or only what a run left that failed before it began.

    Raises:
        ValueError: it holds a run.
    """
    present = files_of_run(folder)
    if not present:
        return
    # nothing can be lost of a run that was killed at once
    if present == ["checkpoints"] and not any((folder / "checkpoints").glob("[!.]*")):
        return
    # or that failed at its start, over a wrong --device or --data-root say
    if {"checkpoints", "train.log", MANIFEST}.issuperset(present) and not any(folder.glob("checkpoints/*.pt")):
        manifest = read_manifest(folder)
        if "config" not in manifest and manifest.get("status") in ("failed", "interrupted", "running"):
            return
    raise ValueError(
        f"{folder} already holds a run ({', '.join(present)}): give --resume to go on with it, --overwrite to "
        "delete it and start anew, or another --output or name=..."
    )


def resumed_state(folder: Path, config: Config, allowed: Collection[str] = ()) -> TrainingState | None:
    """Reads the last checkpoint; None if the run was stopped before it wrote one.

    Raises:
        ValueError: a configuration that differs in other keys (or groups of keys) than those that are allowed; lists
            them. Or an unknown key is allowed.
    """
    # a misspelled key must not look like one that did not differ
    new = config.model_dump(mode="json")
    known = _keys(new)
    for key in allowed:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"--allow-changes: there is no setting {key!r}{hint}")

    # what was, against what is asked for
    path, saved = folder / "checkpoints" / LAST, folder / configs.SAVED_NAME
    state = load_state(path) if path.exists() else None
    if state is None and not saved.exists():
        return None
    # validated: keys that are newer than the run get the values that it had
    old = configs.load(saved) if state is None else Config.model_validate(state.config)
    differences = config_differences(old.model_dump(mode="json"), new)
    refused = [line for key, line in differences.items() if not any(f"{key}.".startswith(f"{a}.") for a in allowed)]
    if refused:
        raise ValueError(
            f"--resume: {path if state else saved} is from another configuration:\n  " + "\n  ".join(refused) + "\n"
            "Give the same settings, start another run (another --output or name=...), or accept a run that is of one "
            "piece no longer: --allow-changes " + " ".join(differences)
        )
    for line in differences.values():
        logger.warning("going on with another setting: %s", line)
    if differences:
        update_manifest(folder, {"changed_on_resume": list(differences.values())})
    if state is None:
        logger.warning("the run in %s has no checkpoint yet: starting from its beginning", folder)
    return state


def _keys(group: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Lists dotted names of all settings and groups of settings."""
    names = []
    for key, value in group.items():
        names += [prefix + key, *(_keys(value, f"{prefix}{key}.") if isinstance(value, Mapping) else ())]
    return names


@contextmanager
def recorded(folder: Path, context: DistributedContext) -> Iterator[list[str]]:
    """Writes to the manifest how the run ended, and why if it failed: the main process does.

    Yields:
        An empty list, to be filled once training begins. A finished run that is only asked in vain to go on (with other
        data, say) stays finished.
    """
    began: list[str] = []
    earlier = {}
    if context.is_main:
        earlier = {key: value for key, value in read_manifest(folder).items() if key in ("status", "command", "error")}
        update_manifest(folder, {"status": "running", "command": sys.argv, "error": None})
    try:
        yield began
    except BaseException as error:
        stopped = isinstance(error, Interrupted | KeyboardInterrupt)
        reason = str(error) if stopped else context.first_failure(reason_of(error))
        if context.is_main:
            ended = {"status": "interrupted" if stopped else "failed", "error": reason}
            try:
                update_manifest(folder, earlier if earlier.get("status") == "finished" and not began else ended)
            except OSError as second:  # disk full, say: must not hide the first error
                logger.error("%s does not say how the run ended: %s", folder / MANIFEST, second)
        raise
