"""A whole training run: folder, data, model, trainer, exported weights, manifest."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from lib import config as config_files
from lib import datasets
from lib.datasets.frames import read_frame
from lib.schema import Config, SourceConfig
from lib.training import log
from lib.training.augment import PairAugmentation
from lib.training.cache import FrameCache
from lib.training.checkpoint import CheckpointError, TrainingState, config_differences, load_state
from lib.training.interrupt import Interrupted
from lib.training.loader import PairDataset, ReadFrame
from lib.training.manifest import MANIFEST, describe_sources, environment, update_manifest
from lib.training.sampling import PairSampler, Source
from lib.training.seeding import seed_everything
from lib.training.trainer import LAST, Trainer
from patrack import build_model
from patrack.weights import WeightsError, foundation_hash, load_foundation, save_adapters, save_foundation

__all__ = ["RunFolderError", "build_dataset", "load_sources", "prepare_folder", "run_training"]

logger = logging.getLogger(__name__)

ADAPTERS, FOUNDATION = "adapters.safetensors", "foundation.safetensors"
WRITTEN = ("checkpoints", "tensorboard", "train.csv", "validation.csv", "train.log", config_files.SAVED_NAME, MANIFEST)


class RunFolderError(ValueError):
    """The run folder cannot be used as asked."""


def run_training(
    config: Config,
    *,
    data_root: str | None = None,
    output: str = "runs",
    resume: bool = False,
    overwrite: bool = False,
    device: str = "cpu",
) -> Path:
    """Trains an experiment in `<output>/<config.name>/`.

    Args:
        config: the experiment.
        data_root: folder that holds the data sets; before PATRACK_DATA and config.data.root.
        output: folder of run folders.
        resume: go on with the run in the folder.
        overwrite: delete the run in the folder and start anew.
        device: a torch device.

    Returns:
        The weights file: `adapters.safetensors` or `foundation.safetensors`.

    Raises:
        RunFolderError: the folder holds a run and neither flag is given, or there is none to resume.
        Interrupted: a signal came; the checkpoint is written.
        ValueError, OSError, RuntimeError: as the parts raise them.
    """
    folder = Path(output) / config.name
    prepare_folder(folder, resume=resume, overwrite=overwrite)
    state = _resumed_state(folder, config) if resume else None
    with log.log_to_file(folder / "train.log"), _recorded(folder):
        torch_device = torch.device(device)
        seed_everything(config.seed)
        model, foundation = _load_model(config)
        train, val = load_sources(config, data_root)
        config_files.save(config, folder / config_files.SAVED_NAME)
        update_manifest(
            folder,
            {"name": config.name, "seed": config.seed, "foundation_sha256": foundation or None}
            | {"train": describe_sources(train), "val": describe_sources(val)}
            | environment(torch_device),
        )
        frames = _frame_reader(config, [*train, *val])
        trainer = Trainer(
            config,
            model,
            build_dataset(config, train, frames, training=True),
            build_dataset(config, val, frames, training=False) if val and config.data.val_samples else None,
            folder,
            torch_device,
            foundation,
        )
        _announce(config, trainer)
        if state:
            _check_foundation(state, foundation, folder)
            trainer.restore(state)
            logger.info("going on at epoch %d, step %d", state.epoch, state.step)
        trainer.fit()
        path = _export(config, trainer.model, folder)
        _finish(folder, trainer)
    return path


def prepare_folder(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Makes the run folder or checks that it may be used.

    Raises:
        RunFolderError: see `run_training`; or the folder cannot be written.
    """
    present = [name for name in (*WRITTEN, ADAPTERS, FOUNDATION) if (folder / name).exists()]
    if resume and not present:
        raise RunFolderError(f"--resume: there is no run in {folder}; leave --resume out to start one")
    if present and not (resume or overwrite):
        raise RunFolderError(
            f"{folder} already holds a run ({', '.join(present)}): give --resume to go on with it, --overwrite to "
            "delete it and start anew, or another --output or name=..."
        )
    try:
        if overwrite:
            for name in present:
                shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RunFolderError(f"cannot write to the run folder {folder} (from --output): {error.strerror}") from error


def _resumed_state(folder: Path, config: Config) -> TrainingState | None:
    """The last checkpoint; None if the run was stopped before it wrote one."""
    path = folder / "checkpoints" / LAST
    if not path.exists():
        saved = folder / config_files.SAVED_NAME
        if saved.exists():
            _refuse_differences(config_files.load(saved).model_dump(mode="json"), config, saved)
        logger.warning("the run in %s has no checkpoint yet: starting from its beginning", folder)
        return None
    state = load_state(path)
    _refuse_differences(state.config, config, path)
    return state


def _refuse_differences(old: dict, config: Config, path: Path) -> None:
    differences = config_differences(old, config.model_dump(mode="json"))
    if differences:
        raise CheckpointError(
            f"--resume: {path} is from another configuration:\n  " + "\n  ".join(differences) + "\n"
            "Give the same settings, or start another run (another --output or name=...)"
        )


def _check_foundation(state: TrainingState, foundation: str, folder: Path) -> None:
    if state.foundation != foundation:
        raise CheckpointError(
            f"--resume: the run in {folder} trains on foundation {state.foundation[:16]}, the one now loaded has hash "
            f"{foundation[:16]}: model.foundation has changed"
        )


@contextmanager
def _recorded(folder: Path) -> Iterator[None]:
    """Writes to the manifest and the run's log how the run ended."""
    update_manifest(folder, {"status": "running", "command": sys.argv})
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, Interrupted | KeyboardInterrupt)
        update_manifest(folder, {"status": "interrupted" if stopped else "failed", "error": str(error)})
        raise


def _load_model(config: Config) -> tuple[nn.Module, str]:
    """The model and the hash of its foundation ("" if the foundation trains too)."""
    model = build_model(config)
    name = config.model.foundation
    trains_all = config.train.trainable == "all"
    if name is None:
        if not trains_all:
            raise WeightsError(
                "model.foundation is not set: adapters need trained foundation weights. Train them with an rgb_* "
                "experiment, or set model.foundation=FILE"
            )
        logger.info("no model.foundation: training from random weights")
        return model, ""
    path = config_files.project_path(name)
    if not path.is_file():
        raise WeightsError(
            f"model.foundation: {path} not found (key set to {name!r}). Train it with an rgb_* experiment "
            f"(it writes {FOUNDATION}), or set model.foundation=FILE, e.g. an OSTrack checkpoint"
        )
    if trains_all:
        _load_start(model, path)
        return model, ""
    load_foundation(model, path)
    return model, foundation_hash(model)


def _load_start(model: nn.Module, path: Path) -> None:
    """Start of full training: a whole foundation, or a plain ViT, whose head then keeps its initial values."""
    try:
        load_foundation(model, path)
        logger.info("starting from the foundation %s", path)
    except WeightsError as whole:
        try:
            load_foundation(model, path, resize_position_embeddings=True, backbone_only=True)
        except WeightsError:
            raise whole from None
        logger.info("starting from the backbone of %s; the head is new", path)


def load_sources(config: Config, data_root: str | None) -> tuple[list[Source], list[Source]]:
    """The data sets of data.train and data.val.

    Raises:
        ValueError: unknown, missing or inconsistent data sets.
    """
    root = datasets.resolve_data_root(data_root, config.data.root)

    def load(item: SourceConfig) -> Source:
        own = Path(item.root) if item.root else None
        excluded = set(item.exclude_attributes)
        loaded = datasets.load(item.name, item.split, own, root)
        sequences = tuple(sequence for sequence in loaded if excluded.isdisjoint(sequence.attributes))
        return Source(f"{item.name}/{item.split}", sequences, item.weight)

    val = config.data.val if config.data.val_samples else []
    return [load(item) for item in config.data.train], [load(item) for item in val]


def build_dataset(config: Config, sources: list[Source], frames: ReadFrame, *, training: bool) -> PairDataset:
    """Samples of an experiment.

    Args:
        config: the experiment.
        sources: what to draw from.
        frames: reads a frame.
        training: False leaves out brightness and the flip of single crops.
    """
    data, model, crop = config.data, config.model, config.crop
    augment = PairAugmentation(
        template_size=model.template_size,
        search_size=model.search_size,
        template_factor=crop.template_factor,
        search_factor=crop.search_factor,
        template_jitter=(data.template_center_jitter, data.template_scale_jitter),
        search_jitter=(data.search_center_jitter, data.search_scale_jitter),
        gray_probability=data.gray_probability,
        flip_probability=data.flip_probability,
        crop_flip_probability=data.crop_flip_probability,
        brightness_jitter=data.brightness_jitter,
        training=training,
    )
    channels = 3 if config.modality == "rgb" else 6
    return PairDataset(PairSampler(sources, data.max_gap), augment, frames, config.seed, channels)


def _frame_reader(config: Config, sources: list[Source]) -> ReadFrame:
    if not config.data.cache_frames:
        return read_frame
    return FrameCache.build(sequence for source in sources for sequence in source.sequences).read_frame


def _announce(config: Config, trainer: Trainer) -> None:
    train = config.train
    count = sum(parameter.numel() for parameter in trainer.parameters.values())
    logger.info("%s: %s trainable parameters (%s)", config.name, f"{count:,}", train.trainable)
    logger.info(
        "%d epochs of %d steps, %d pairs per step, learning rate %g, %s, device %s, run folder %s",
        train.epochs,
        trainer.steps_per_epoch,
        train.total_batch_size,
        train.lr,
        train.precision,
        trainer.device,
        trainer.folder,
    )


def _export(config: Config, model: nn.Module, folder: Path) -> Path:
    """Writes what was trained in the form that tracking loads."""
    if config.train.trainable == "adapters":
        path = folder / ADAPTERS
        save_adapters(model, path, {"name": config.name, "modality": config.modality, "seed": str(config.seed)})
        return path
    path = folder / FOUNDATION
    save_foundation(model, path, half=True)
    return path


def _finish(folder: Path, trainer: Trainer) -> None:
    rows = log.read_rows(folder / "train.csv")
    validations = log.read_rows(folder / "validation.csv")
    last = [row for row in rows if row["epoch"] == rows[-1]["epoch"]] if rows else []
    values = {
        "status": "finished",
        "error": None,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "wall_seconds": round(trainer.seconds, 1),
        "steps": trainer.position.global_step,
        "final": {"train": log.means(last), "val": validations[-1] if validations else None},
    }
    update_manifest(folder, values)
