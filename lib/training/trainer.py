"""The training loop: steps, epochs, validation, checkpoints. Nothing here knows a data set or a file format."""

from __future__ import annotations

import logging
import signal
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from lib.processes import Processes
from lib.training import log
from lib.training.checkpoint import Position, TrainingState, model_state, restore_model, save_state
from lib.training.interrupt import Interrupted, StopSignal
from lib.training.loader import Batch, EpochBatches, PairDataset, make_loader
from lib.training.optim import keep_ratio_at, learning_rate_factor, set_learning_rate
from lib.training.seeding import rng_state, set_rng_state
from lib.training.step import BatchStep, NotFiniteError
from patrack import freeze_batchnorm
from patrack.config.schema import Config

__all__ = ["LAST", "NotFiniteError", "Trainer"]

logger = logging.getLogger(__name__)

LAST = "last.pt"
NAMED_PAIRS = 8


class Trainer:
    """Trains a model in a run folder.

    Args:
        config: the experiment.
        model: with its foundation loaded; moved to `device`.
        train_data: samples of epochs 1, 2, ...
        val_data: validation samples (drawn as epoch 0, the same each time), or None.
        folder: run folder; checkpoints, CSV logs and TensorBoard files go there.
        device: to train on.
        foundation: hash of the frozen foundation, written to checkpoints; "" if it trains.
        processes: that share every batch. All hold the same weights and draw the same random numbers; only the first
            one writes.
    """

    def __init__(
        self,
        config: Config,
        model: nn.Module,
        train_data: PairDataset,
        val_data: PairDataset | None,
        folder: Path,
        device: torch.device,
        foundation: str = "",
        processes: Processes | None = None,
    ) -> None:
        train, data = config.train, config.data
        self.config, self.folder, self.device, self.foundation = config, folder, device, foundation
        self.processes = processes or Processes()
        self.model = model.to(device)
        rank, world = self.processes.rank, self.processes.world
        self.batches = EpochBatches(data.samples_per_epoch, train.total_batch_size, rank, world)
        self.work = BatchStep(train, self.model, device, self.processes)
        self.steps_per_epoch = self.batches.steps
        self.train_data, self.val_data = train_data, val_data if data.val_samples else None
        self._loader: DataLoader | None = None
        self.position = Position()
        self._stop = StopSignal()
        self._started: float | None = None
        self._saved = 0.0
        self._no_bar = None if self.processes.first else True  # None: a bar if there is a terminal
        self._steps: log.CsvLog | None = None
        self._validations: log.CsvLog | None = None
        self._board: Any = None

    @property
    def seconds(self) -> float:
        """Wall time spent in `fit`, this and earlier runs together."""
        running = 0.0 if self._started is None else time.perf_counter() - self._started
        return self.position.seconds + running

    def state(self) -> TrainingState:
        """Everything a continuation needs."""
        at = self.position
        return TrainingState(
            config=self.config.model_dump(mode="json"),
            model=model_state(self.model, self.config.train.trainable),
            foundation=self.foundation,
            optimizer=self.work.optimizer.state_dict(),
            scaler=self.work.scaler.state_dict(),
            epoch=at.epoch,
            step=at.step,
            global_step=at.global_step,
            seconds=self.seconds,
            rng=rng_state(),
        )

    def restore(self, state: TrainingState) -> None:
        """Goes back to a checkpoint; from there on a run on CPU is bit-identical to one that never stopped."""
        restore_model(self.model, state.model, self.config.train.trainable)
        self.work.optimizer.load_state_dict(state.optimizer)
        self.work.scaler.load_state_dict(state.scaler)
        self.position = Position(state.epoch, state.step, state.global_step, state.seconds)
        set_rng_state(state.rng)

    def save(self, name: str = LAST) -> Path:
        """Writes a checkpoint (the first process does) and returns its path.

        Raises:
            NotFiniteError: NaN or infinity among the weights; the older checkpoint stays.
            OSError: it can't be written.
        """
        path = self.folder / "checkpoints" / name
        if self.processes.first:
            state = self.state()
            bad = [name for name, tensor in state.model.items() if not torch.isfinite(tensor).all()]
            if bad:
                raise NotFiniteError(
                    f"{len(bad)} of {len(state.model)} trained tensors hold NaN or infinity after step "
                    f"{state.global_step}, {bad[0]} among them; the last checkpoint is from before. {self._advice()}"
                )
            save_state(state, path)
        self._saved = time.monotonic()
        return path

    def _save_if_due(self) -> None:
        minutes = self.config.train.checkpoint_minutes
        if self.processes.first and minutes and time.monotonic() - self._saved >= 60 * minutes:
            self.save()

    def fit(self) -> None:
        """Trains from the present position to the last epoch.

        Raises:
            Interrupted: a signal came; the checkpoint is written.
            NotFiniteError: NaN or infinity; the last checkpoint is from before it.
            SampleError: a sample cannot be read.
        """
        at = self.position
        self._started = time.perf_counter()
        self._saved = time.monotonic()
        if self.processes.first:
            self._open_logs()
        self._loader = self._make_loader(self.train_data, self.batches)
        try:
            with self._stop:
                if at.global_step == 0:
                    self.save()
                while at.epoch <= self.config.train.epochs:
                    self._epoch()
        finally:
            at.seconds, self._started = self.seconds, None
            self._loader = None  # ends its workers
            log.close_all(self._steps, self._validations, self._board)

    def _open_logs(self) -> None:
        at, folder = self.position, self.folder
        self._steps = log.CsvLog(folder / "train.csv", log.STEP_COLUMNS, at.global_step)
        pending = at.step == self.steps_per_epoch  # the validation of this epoch is still to come
        self._validations = log.CsvLog(folder / "validation.csv", log.VALIDATION_COLUMNS, at.global_step - pending)
        self._board = log.open_tensorboard(folder / "tensorboard", at.global_step + 1)

    def _make_loader(self, data: PairDataset, batches: EpochBatches) -> DataLoader:
        return make_loader(data, batches, self.config.data.num_workers, pin_memory=self.device.type == "cuda")

    def _epoch(self) -> None:
        """The rest of the present epoch; ends at the start of the next."""
        at, train, elimination = self.position, self.config.train, self.config.model.elimination
        keep = keep_ratio_at(at.epoch, elimination.keep_ratio, elimination.start_epoch, elimination.warmup_epochs)
        self.model.set_keep_ratio(keep)
        self._set_train_mode()
        self._train_steps()
        last = at.epoch == train.epochs
        if self.val_data and (last or at.epoch % train.val_every == 0):
            self.save()
            self._validate()
        kept = f"epoch_{at.epoch:04d}.pt" if last or at.epoch % train.checkpoint_every == 0 else None
        at.epoch, at.step = at.epoch + 1, 0
        if kept:
            self.save(kept)
        self.save()

    def _set_train_mode(self) -> None:
        """Dropout and stochastic depth act; BatchNorm statistics stay unless they are asked to move."""
        self.model.train()
        if self.work.frozen_batchnorm:
            freeze_batchnorm(self.model)

    def _train_steps(self) -> None:
        at = self.position
        if at.step == self.steps_per_epoch:
            return
        self.batches.start(at.epoch, at.step)
        window = log.StepWindow()
        title = f"epoch {at.epoch}/{self.config.train.epochs}"
        with tqdm(total=self.steps_per_epoch, initial=at.step, desc=title, leave=False, disable=self._no_bar) as bar:
            before = time.perf_counter()
            for batch in self._loader:
                got = time.perf_counter()
                row, stopped = self._step(batch)
                now = time.perf_counter()
                at.step += 1
                at.global_step += 1
                self._log_step(row, window, now - before, got - before)
                bar.update()
                if stopped:
                    self._interrupt()
                if at.step % self.config.train.print_every == 0 or at.step == self.steps_per_epoch:
                    self._log_window(title, window)
                    window = log.StepWindow()
                self._save_if_due()
                before = time.perf_counter()

    def _step(self, batch: Batch) -> tuple[dict[str, float], bool]:
        """One optimiser step; returns the CSV row without its times, and whether to stop."""
        at, train, work = self.position, self.config.train, self.work
        factor = learning_rate_factor(
            at.global_step,
            self.steps_per_epoch,
            schedule=train.schedule,
            epochs=train.epochs,
            drop_epoch=train.lr_drop_epoch,
            drop_factor=train.lr_drop_factor,
            drop_repeats=train.lr_drop_repeats,
            warmup_steps=train.warmup_steps,
        )
        rate = set_learning_rate(work.optimizer, factor)
        pieces = work.split(batch, train.total_batch_size, self.batches.share.start)
        terms, stopped = work.summed(work.gradients(pieces), self._stop.number is not None)
        if not work.finite(terms):
            raise NotFiniteError(self._blame(f"loss is {terms['loss']}", batch, terms))
        try:
            norm = work.step()
        except FloatingPointError as error:
            raise NotFiniteError(self._blame(str(error), batch, terms)) from error
        return {"step": at.global_step + 1, "epoch": at.epoch, "lr": rate, **terms, "grad_norm": norm}, stopped

    def _blame(self, what: str, batch: Batch, terms: dict[str, float]) -> str:
        """Message for a batch that broke the training; all processes come here together."""
        at = self.position
        names = [self.train_data.sampler.describe(pair) for pair in batch.pairs()]
        pairs = [pair for share in self.processes.gather(names) for pair in share]
        named, rest = pairs[:NAMED_PAIRS], pairs[NAMED_PAIRS:]
        values = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
        if rest:
            logger.error("the failing batch, its pairs from number %d on:\n  %s", NAMED_PAIRS, "\n  ".join(rest))
        more = f"\n  and {len(rest)} more" if rest else ""
        return (
            f"{what} in epoch {at.epoch}, step {at.step + 1} ({values}); the last checkpoint is from before. "
            f"{self._advice()} The batch:\n  " + "\n  ".join(named) + more
        )

    def _advice(self) -> str:
        train = self.config.train
        clip = train.grad_clip or "off"
        return (
            f"Look at the data, or lower train.lr (now {train.lr:g}), clip more with train.grad_clip (now {clip}) "
            f"or raise train.warmup_steps (now {train.warmup_steps})."
        )

    def _interrupt(self) -> None:
        path = self.save()
        number = int(self._stop.number or signal.SIGTERM)  # of this process, or of one that shares the batch
        raise Interrupted(f"stopped after step {self.position.global_step}, checkpoint written to {path}", number)

    @torch.no_grad()
    def _validate(self) -> None:
        """Mean loss over the validation samples; uses no random number of the training."""
        at, data = self.position, self.config.data
        size = min(self.config.train.total_batch_size, data.val_samples)
        batches = EpochBatches(data.val_samples, size, self.processes.rank, self.processes.world)
        batches.start(0)
        self.model.eval()
        totals: dict[str, float] = {}
        loader = self._make_loader(self.val_data, batches)
        for batch in tqdm(loader, desc="validation", leave=False, disable=self._no_bar):
            terms = self.work.losses(self.work.split(batch, size, batches.share.start))
            values, stopped = self.work.summed(terms, self._stop.number is not None)
            for name, value in values.items():
                totals[name] = totals.get(name, 0.0) + value / batches.steps
            if stopped:
                self._interrupt()
        if not self.work.finite(totals):
            raise NotFiniteError(
                f"the validation loss after epoch {at.epoch}, step {at.global_step} is {totals['loss']}: the training "
                f"has diverged. {self._advice()}"
            )
        if self._validations:
            self._validations.write({"step": at.global_step, "epoch": at.epoch, **totals})
        self._scalars("val", totals)
        parts = "  ".join(f"{name} {value:.4f}" for name, value in totals.items())
        logger.info("epoch %d validation: %s", at.epoch, parts)

    def _log_step(self, row: dict[str, float], window: log.StepWindow, seconds: float, waited: float) -> None:
        samples = self.batches.batch_size
        losses = {name: row[name] for name in log.LOSS_COLUMNS}
        window.add(losses, samples, seconds, waited)
        speed = {"samples_per_second": samples / seconds, "data_wait": waited / seconds}
        if self._steps:
            self._steps.write(row | speed)
        self._scalars("train", {**losses, "lr": row["lr"], "grad_norm": row["grad_norm"], **speed})

    def _log_window(self, title: str, window: log.StepWindow) -> None:
        rate = self.work.optimizer.param_groups[0]["lr"]
        step = f"step {self.position.step}/{self.steps_per_epoch}"
        logger.info("%s %s: %s  lr %.3g", title, step, window.line(), rate)
        if window.data_wait > log.DATA_WAIT_LIMIT:
            logger.warning(
                "%.0f %% of the time went into waiting for data (limit %.0f %%): raise data.num_workers (now %d) or "
                "set data.cache_frames",
                100 * window.data_wait,
                100 * log.DATA_WAIT_LIMIT,
                self.config.data.num_workers,
            )

    def _scalars(self, group: str, values: dict[str, float]) -> None:
        if self._board:
            for name, value in values.items():
                self._board.add_scalar(f"{group}/{name}", value, self.position.global_step)
