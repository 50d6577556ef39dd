"""One optimiser step over all processes and all parts of a batch, and the loss of a validation batch."""

from __future__ import annotations

import inspect
import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lib.processes import Processes
from lib.training.loader import Batch
from lib.training.log import LOSS_COLUMNS
from lib.training.optim import build_optimizer, clipped_step, make_scaler
from lib.training.whole_batch import Part, WholeBatch, part_bounds
from patrack import tracking_loss, trainable_parameters
from patrack.config.schema import TrainConfig
from patrack.losses import count_positives

__all__ = ["BatchStep", "NotFiniteError"]

BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")  # torch 2.15 renamed it
    if name in inspect.signature(DistributedDataParallel).parameters
)
"""Buffers are the same everywhere anyway: frozen, or statistics of the whole batch."""
RECOMPILE_LIMIT = 64
AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class NotFiniteError(FloatingPointError):
    """Loss or gradients became NaN or infinite; the message names the batch."""


def _compiled(model: nn.Module) -> nn.Module:
    """The same module with a compiled forward; masks are drawn by the same generators as without.

    Every share of search tokens that `model.elimination` goes through is compiled anew.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, RECOMPILE_LIMIT)
    return torch.compile(model, dynamic=False, options={"fallback_random": True})


class BatchStep:
    """Computes losses, gradients and optimiser steps of whole batches, however they are split.

    Args:
        config: the experiment's optimiser settings.
        model: on its device.
        device: of this process.
        processes: that share a batch.

    Raises:
        ValueError: settings that do not go together.
    """

    def __init__(self, config: TrainConfig, model: nn.Module, device: torch.device, processes: Processes) -> None:
        self.config, self.model, self.device, self.processes = config, model, device, processes
        self.parameters = trainable_parameters(model, config.trainable, config.frozen_blocks)
        scale = config.backbone_lr_scale if config.trainable == "all" else 1.0
        self.optimizer = build_optimizer(self.parameters, config.lr, config.weight_decay, scale)
        self.scaler = make_scaler(config.precision, device)
        self.frozen_batchnorm = config.freeze_batchnorm or config.trainable == "adapters"
        share = -(-config.total_batch_size // processes.world)
        self.parts = len(part_bounds(share, config.max_batch_per_process))
        if self.parts > 1 and not self.frozen_batchnorm:
            raise ValueError(
                f"train.freeze_batchnorm=false needs the whole batch at once, but {share} pairs per process are more "
                f"than train.max_batch_per_process ({config.max_batch_per_process}): raise it, start more processes, "
                "or set train.freeze_batchnorm=true"
            )
        self.network: nn.Module = _compiled(model) if config.compile else model
        if processes.world > 1:
            ids = [device.index] if device.type == "cuda" else None
            self.network = DistributedDataParallel(self.network, device_ids=ids, **{BUFFERS: False})

    def split(self, batch: Batch, total: int, first: int) -> list[tuple[Batch, Part]]:
        """Cuts this process's share of a batch into what is computed at once.

        Args:
            batch: the share.
            total: samples of the whole batch.
            first: number in it of the share's first sample.
        """
        bounds = part_bounds(len(batch), self.config.max_batch_per_process)
        if len(bounds) == 1 and self.processes.world == 1:
            return [(batch, Part(0, total, total))]
        positives = self.processes.sum(count_positives(batch.boxes, self.model.search_grid).to(self.device))
        return [(batch.part(a, b), Part(first + a, b - a, total, positives)) for a, b in bounds]

    def loss(self, batch: Batch, part: Part) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a part (with graph) and its terms without; over all parts they add up to those of the batch."""
        config, dtype = self.config, AUTOCAST[self.config.precision]
        template, search, boxes = batch.to_device(self.device)
        whole = WholeBatch(part, self.processes) if torch.is_grad_enabled() else nullcontext()
        with torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None), whole:
            network = self.network if torch.is_grad_enabled() else self.model
            output = network(template, search)
        weights = (config.giou_weight, config.l1_weight, config.focal_weight)
        share = {} if part.positives is None else {"batch_size": part.total, "positives": part.positives}
        loss, parts = tracking_loss(output, boxes, *weights, dense_radius=config.dense_radius, **share)
        return loss, {"loss": loss.detach(), **parts}

    def gradients(self, pieces: list[tuple[Batch, Part]]) -> Tensor:
        """Gradients of the whole batch, in the parameters of every process.

        Returns:
            Sums of the terms (`LOSS_COLUMNS`) over this process's parts.
        """
        self.optimizer.zero_grad(set_to_none=True)
        random, total = self._random_state(), torch.zeros(len(LOSS_COLUMNS), device=self.device)
        for number, (batch, part) in enumerate(pieces):
            self._set_random_state(random)  # each part draws the masks of the whole batch
            with self._without_exchange() if number < len(pieces) - 1 else nullcontext():
                loss, terms = self.loss(batch, part)
                # DDP takes the mean over processes, but every loss is already normalised by the whole batch
                self.scaler.scale(loss * self.processes.world if self.processes.world > 1 else loss).backward()
            total += torch.stack([terms[name].float() for name in LOSS_COLUMNS])
        return total

    def losses(self, pieces: list[tuple[Batch, Part]]) -> Tensor:
        """The same sums without gradients."""
        terms = [self.loss(batch, part)[1] for batch, part in pieces]
        return torch.stack([torch.stack([one[name].float() for name in LOSS_COLUMNS]) for one in terms]).sum(dim=0)

    def step(self) -> float:
        """Clips and applies the gradients; see `lib.training.optim.clipped_step`."""
        return clipped_step(self.optimizer, self.scaler, self.parameters.values(), self.config.grad_clip)

    def summed(self, terms: Tensor, stopped: bool) -> tuple[dict[str, float], bool]:
        """Terms over all processes as numbers, and whether any of them was asked to stop."""
        values = self.processes.sum(torch.cat((terms, terms.new_tensor([float(stopped)])))).tolist()
        return dict(zip(LOSS_COLUMNS, values[:-1], strict=True)), values[-1] > 0

    @staticmethod
    def finite(terms: dict[str, float]) -> bool:
        """Whether the loss is a number."""
        return math.isfinite(terms["loss"])

    def _without_exchange(self) -> AbstractContextManager:
        network = self.network
        return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()

    def _random_state(self) -> Tensor:
        return torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else torch.get_rng_state()

    def _set_random_state(self, state: Tensor) -> None:
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state, self.device)
        else:
            torch.set_rng_state(state)
