"""The training loop: steps, epochs, validation, checkpoints. Nothing here knows a data set or a file format."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from lib.distributed import DistributedContext
from lib.training import log
from lib.training.checkpoint import (
    Position,
    TrainingState,
    model_state,
    restore_model,
    rng_state,
    save_state,
    set_rng_state,
)
from lib.training.loader import Batch, EpochBatches, PairDataset, make_loader
from lib.training.step import BatchStep, keep_ratio_at, learning_rate_factor, set_learning_rate
from patrack import Network, freeze_batchnorm
from patrack.config.schema import Config

__all__ = ["LAST", "Interrupted", "StopSignal", "Trainer"]

logger = logging.getLogger(__name__)

LAST = "last.pt"
NAMED_PAIRS = 8


class Interrupted(Exception):
    """A run was stopped by a signal after its checkpoint was written.

    Attributes:
        exit_code: 128 + signal number, as shells count.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class StopSignal:
    """Context manager that catches the first Ctrl-C or SIGTERM; a second one acts at once (KeyboardInterrupt).

    Outside the main thread it catches nothing.

    Attributes:
        number: of the signal that was caught; the training loop looks at it after every step.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        def stop(number: int, _: FrameType | None) -> None:
            if self.number is not None:
                raise KeyboardInterrupt
            self.number = number
            logger.warning("%s: stopping after this step; once more to stop at once", signal.Signals(number).name)

        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


class Trainer:
    """Trains a model in a run folder.

    Args:
        model: with its base model loaded; moved to `device`.
        train_data: samples of epochs 1, 2, ...
        val_data: validation samples (drawn as epoch 0, the same each time), or None.
        folder: run folder; checkpoints, CSV logs and TensorBoard files go there.
        base_model: hash of the frozen base model, written to checkpoints; "" if it trains.
        context: the processes that share every batch. All hold the same weights and draw the same random numbers; only
            the main one writes.
    """

    def __init__(
        self,
        config: Config,
        model: Network,
        train_data: PairDataset,
        val_data: PairDataset | None,
        folder: Path,
        device: torch.device,
        base_model: str = "",
        context: DistributedContext | None = None,
    ) -> None:
        train, data = config.train, config.data
        self.config, self.folder, self.device, self.base_model = config, folder, device, base_model
        self.context = context or DistributedContext()
        self.model = model.to(device)
        rank, world_size = self.context.rank, self.context.world_size
        self.batches = EpochBatches(data.samples_per_epoch, train.total_batch_size, rank, world_size)
        self.work = BatchStep(train, self.model, device, self.context)
        self.steps_per_epoch = self.batches.steps
        self.train_data, self.val_data = train_data, val_data if data.val_samples else None
        self.position = Position()
        self._loader: DataLoader | None = None
        self._stop = StopSignal()
        self._started: float | None = None
        self._saved = 0.0
        self._no_bar = None if self.context.is_main else True  # None: a bar if there is a terminal
        self._steps: log.CsvLog | None = None
        self._validations: log.CsvLog | None = None
        self._board: log.Board | None = None
        self._pace = log.Pace()

    @property
    def seconds(self) -> float:
        """Wall time spent in `fit`, this and earlier runs together."""
        running = 0.0 if self._started is None else time.perf_counter() - self._started
        return self.position.seconds + running

    def state(self) -> TrainingState:
        """Collects everything a continuation needs."""
        return TrainingState(
            config=self.config.model_dump(mode="json"),
            model=model_state(self.model, self.config.train.trainable),
            base_model=self.base_model,
            optimizer=self.work.optimizer.state_dict(),
            scaler=self.work.scaler.state_dict(),
            **asdict(self.position) | {"seconds": self.seconds},
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
        """Writes a checkpoint (the main process does) and returns its path.

        Raises:
            FloatingPointError: NaN or infinity among the weights; the older checkpoint stays.
            OSError: it can't be written.
        """
        path = self.folder / "checkpoints" / name
        if self.context.is_main:
            state = self.state()
            bad = [name for name, tensor in state.model.items() if not torch.isfinite(tensor).all()]
            if bad:
                raise FloatingPointError(
                    f"{len(bad)} of {len(state.model)} trained tensors hold NaN or infinity after step "
                    f"{state.global_step}, {bad[0]} among them; the last checkpoint is from before. {self._advice()}"
                )
            save_state(state, path)
        self._saved = time.monotonic()
        return path

    def fit(self) -> None:
        """Trains from the present position to the last epoch.

        Raises:
            Interrupted: a signal came; the checkpoint is written.
            FloatingPointError: NaN or infinity; the last checkpoint is from before it.
            SampleError: a sample cannot be read.
        """
        at, train = self.position, self.config.train
        self._started = time.perf_counter()
        self._saved = time.monotonic()
        if self.context.is_main:
            self._steps = log.CsvLog(self.folder / "train.csv", log.STEP_COLUMNS, at.global_step)
            pending = at.step == self.steps_per_epoch  # the validation of this epoch is still to come
            kept = at.global_step - pending
            self._validations = log.CsvLog(self.folder / "validation.csv", log.VALIDATION_COLUMNS, kept)
            self._board = log.open_tensorboard(self.folder / "tensorboard", at.global_step + 1)
        self._loader = self._make_loader(self.train_data, self.batches)
        self._pace = log.Pace()
        try:
            with self._stop:
                if at.global_step == 0:
                    self.save()
                while at.epoch <= train.epochs:
                    self.model.set_keep_ratio(keep_ratio_at(self.config.model.elimination, at.epoch))
                    # dropout and stochastic depth act; BatchNorm statistics stay unless they are asked to move
                    self.model.train()
                    if self.work.frozen_batchnorm:
                        freeze_batchnorm(self.model)
                    if at.step < self.steps_per_epoch:
                        self._train_epoch()

                    if self._validates(at.epoch):
                        self.save()
                        self.validate()
                    last = at.epoch == train.epochs
                    kept_name = f"epoch_{at.epoch:04d}.pt" if last or at.epoch % train.checkpoint_every == 0 else None
                    at.epoch, at.step = at.epoch + 1, 0
                    if kept_name:
                        self.save(kept_name)
                    self.save()
        finally:
            at.seconds, self._started = self.seconds, None
            self._loader = None  # ends its workers
            log.close_all(self._steps, self._validations, self._board)

    def _make_loader(self, data: PairDataset, batches: EpochBatches) -> DataLoader:
        return make_loader(data, batches, self.config.data.num_workers, pin_memory=self.device.type == "cuda")

    def _train_epoch(self) -> None:
        """Takes the steps that are left of the present epoch, logs them, and saves when it is time."""
        assert self._loader is not None
        at, train, size = self.position, self.config.train, self.batches.batch_size
        self.batches.start(at.epoch, at.step)
        self._pace.start()
        unlogged: list[dict[str, float]] = []
        warned = False
        title = f"epoch {at.epoch}/{train.epochs}"
        with tqdm(total=self.steps_per_epoch, initial=at.step, desc=title, leave=False, disable=self._no_bar) as bar:
            before = time.perf_counter()
            for batch in self._loader:
                received = time.perf_counter()
                row, stopped = self.train_step(batch)
                seconds, waited = time.perf_counter() - before, received - before
                at.step += 1
                at.global_step += 1

                # the step as it is logged; the file has it before anything can stop the run
                row |= {"samples_per_second": size / seconds, "data_wait": waited / seconds}
                unlogged.append(row)
                if self._steps:
                    self._steps.write(row)
                self._scalars("train", row)
                bar.update()
                if stopped:
                    self._interrupt()
                self._pace.step()
                due = at.step % train.print_every == 0 or at.step == self.steps_per_epoch
                if due or self._pace.steps in log.EARLY_STEPS:
                    place = f"{title} step {at.step}/{self.steps_per_epoch}"
                    waiting = log.log_steps(place, unlogged, size, self._outlook())
                    unlogged = []
                    # once an epoch, and not about the first steps, which wait for the loader to start
                    if due and waiting > log.DATA_WAIT_LIMIT and not warned and self._pace.steps >= log.SETTLED_STEPS:
                        log.warn_of_waiting(waiting, self.config.data.num_workers)
                        warned = True
                minutes = train.checkpoint_minutes
                if self.context.is_main and minutes and time.monotonic() - self._saved >= 60 * minutes:
                    self.save()
                before = time.perf_counter()

    def train_step(self, batch: Batch) -> tuple[dict[str, float], bool]:
        """Takes one optimizer step; returns the CSV row without its times, and True to stop after it."""
        at, train, work = self.position, self.config.train, self.work
        rate = set_learning_rate(work.optimizer, learning_rate_factor(train, at.global_step, self.steps_per_epoch))
        micro_batches = work.split(batch, train.total_batch_size, self.batches.share.start)
        terms, stopped = work.summed(work.gradients(micro_batches), self._stop.number is not None)
        try:
            if not math.isfinite(terms["loss"]):
                raise FloatingPointError(f"loss is {terms['loss']}")
            norm = work.step()
        except FloatingPointError as error:  # in all processes together
            names = [self.train_data.sampler.describe(pair) for pair in batch.pairs()]
            pairs = [pair for share in self.context.all_gather(names) for pair in share]
            named, rest = pairs[:NAMED_PAIRS], pairs[NAMED_PAIRS:]
            values = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
            if rest:
                logger.error("the failing batch, its pairs from number %d on:\n  %s", NAMED_PAIRS, "\n  ".join(rest))
            more = f"\n  and {len(rest)} more" if rest else ""
            raise FloatingPointError(
                f"{error} in epoch {at.epoch}, step {at.step + 1} ({values}); the last checkpoint is from before. "
                f"{self._advice()} The batch:\n  " + "\n  ".join(named) + more
            ) from error
        return {"step": at.global_step + 1, "epoch": at.epoch, "lr": rate, **terms, "grad_norm": norm}, stopped

    def _outlook(self) -> str:
        """Says how long epoch and run still take, and how much memory the GPU needs."""
        at, train = self.position, self.config.train
        in_epoch = self.steps_per_epoch - at.step
        in_run = in_epoch + (train.epochs - at.epoch) * self.steps_per_epoch
        to_come = [epoch for epoch in range(at.epoch, train.epochs + 1) if self._validates(epoch)]
        pairs = self.config.data.val_samples
        text = self._pace.left(in_epoch, in_run, len(to_come), pairs / train.total_batch_size)
        if self.device.type == "cuda":
            text += f"  GPU memory {torch.cuda.max_memory_allocated(self.device) / 2**30:.1f} GiB"
        return text

    def _validates(self, epoch: int) -> bool:
        """Tells whether there is a validation after an epoch."""
        train = self.config.train
        return self.val_data is not None and (epoch == train.epochs or epoch % train.val_every == 0)

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
    def validate(self) -> None:
        """Logs the mean loss over the validation samples; uses no random number of the training.

        Raises:
            Interrupted, FloatingPointError: as `fit`.
        """
        assert self.val_data is not None
        at, samples, began = self.position, self.config.data.val_samples, time.perf_counter()
        size = min(self.config.train.total_batch_size, samples)
        batches = EpochBatches(samples, size, self.context.rank, self.context.world_size)
        batches.start(0)  # no epoch of the training: the same samples each time
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
        if not math.isfinite(totals["loss"]):
            raise FloatingPointError(
                f"the validation loss after epoch {at.epoch}, step {at.global_step} is {totals['loss']}: the training "
                f"has diverged. {self._advice()}"
            )
        if self._validations:
            self._validations.write({"step": at.global_step, "epoch": at.epoch, **totals})
        self._scalars("val", totals)
        seconds = time.perf_counter() - began
        self._pace.validated(seconds)
        parts = "  ".join(f"{name} {value:.4f}" for name, value in totals.items())
        logger.info(
            "epoch %d validation: %s  %d samples in %s", at.epoch, parts, samples, tqdm.format_interval(seconds)
        )

    def _scalars(self, group: str, values: dict[str, float]) -> None:
        if self._board:
            for name, value in values.items():
                if name not in ("step", "epoch"):
                    self._board.add_scalar(f"{group}/{name}", value, self.position.global_step)
