"""One optimizer step over all processes and all micro-batches, and the loss of a validation batch.

Learning rate and keep ratio are pure functions of the position in the run, so there is no schedule state that could be
lost. A batch that is computed in micro-batches (over processes, or one after the other) behaves as if it were computed
at once. Three things look at more than one sample: the losses' normalization, random masks (dropout, stochastic depth)
and BatchNorm in training. Each is told here what the whole batch is, so that the number of micro-batches changes
nothing but the rounding.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.overrides import TorchFunctionMode

from lib.distributed import DistributedContext
from lib.training.loader import Batch
from lib.training.log import LOSS_COLUMNS
from patrack import Network, tracking_loss, trainable_parameters
from patrack.config.schema import EliminationConfig, TrainConfig
from patrack.losses import count_positives

__all__ = [
    "BASE_RATE",
    "BatchStep",
    "MicroBatch",
    "WholeBatch",
    "build_optimizer",
    "clipped_step",
    "keep_ratio_at",
    "learning_rate_factor",
    "make_scaler",
    "set_learning_rate",
]

BASE_RATE = "base_lr"
"""Key of a parameter group: its learning rate before the schedule."""
SMALLEST_SCALE = 1.0
BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")  # torch 2.15 renamed it
    if name in inspect.signature(DistributedDataParallel).parameters
)
"""Option of DDP that copies buffers, which are the same everywhere anyway: frozen, or statistics of the whole batch."""
RECOMPILE_LIMIT = 64
AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def build_optimizer(
    parameters: dict[str, nn.Parameter],
    lr: float,
    weight_decay: float,
    scale_of: Callable[[str], float] = lambda _name: 1.0,
) -> torch.optim.AdamW:
    """Makes AdamW; parameters of the same rate form a group.

    Args:
        parameters: name -> parameter, as `patrack.trainable_parameters` returns them.
        lr: learning rate before the schedule.
        weight_decay: applied to every parameter, as published.
        scale_of: factor on `lr` by the parameter's name.
    """
    by_scale: dict[float, list[nn.Parameter]] = {1.0: []}  # the first group's rate is the one that is logged
    for name, parameter in parameters.items():
        by_scale.setdefault(scale_of(name), []).append(parameter)
    groups = [{"params": group, "lr": lr * scale, BASE_RATE: lr * scale} for scale, group in by_scale.items() if group]
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, fused=True)


def learning_rate_factor(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """Returns the factor on the learning rate after `step` optimizer steps of the run.

    Schedule "step": `lr_drop_factor` once `lr_drop_epoch` epochs are done, and again after every so many with
    `lr_drop_repeats`, as published; "cosine": from 1 down to 0 at the end of the run. The rise is linear: step k, from
    0, runs at (k + 1) / warmup_steps of the scheduled rate.
    """
    factor = 1.0
    if config.schedule == "step":
        drops = step // (config.lr_drop_epoch * steps_per_epoch)
        factor = config.lr_drop_factor ** (drops if config.lr_drop_repeats else min(drops, 1))
    elif config.schedule == "cosine":
        factor = 0.5 * (1.0 + math.cos(math.pi * min(step / (config.epochs * steps_per_epoch), 1.0)))
    return factor * min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else factor


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Sets every group to its base rate times `factor`; returns the first group's rate."""
    for group in optimizer.param_groups:
        group["lr"] = group[BASE_RATE] * factor
    return optimizer.param_groups[0]["lr"]


def keep_ratio_at(config: EliminationConfig, epoch: int) -> float:
    """Returns the share of search tokens kept in an epoch (from 1): 1 before `start_epoch`, `keep_ratio` from
    `start_epoch + warmup_epochs` on, a half cosine between."""
    keep, done = config.keep_ratio, epoch - config.start_epoch
    if done < 0:
        return 1.0
    if done >= config.warmup_epochs:
        return keep
    return keep + (1 - keep) * (math.cos(math.pi * done / config.warmup_epochs) + 1) / 2


def make_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """Makes the loss scaler for fp16, switched off for fp32 and bf16.

    Raises:
        ValueError: fp16 on another device than CUDA.
    """
    if precision == "fp16" and device.type != "cuda":
        raise ValueError(f"train.precision fp16 needs a CUDA device, got {device}; use bf16 or fp32")
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def clipped_step(
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    parameters: Iterable[nn.Parameter],
    grad_clip: float,
) -> float:
    """Takes one optimizer step on the gradients that are there: unscale, clip (in their true scale), step.

    Args:
        grad_clip: largest total gradient norm; 0: no clipping.

    Returns:
        Total gradient norm before clipping; not finite in a step that an fp16 scaler skips.

    Raises:
        FloatingPointError: gradients are not finite and no scaler can be blamed, or its scale fell below 1. The
            weights are as before the step.
    """
    scaler.unscale_(optimizer)
    norm = float(nn.utils.clip_grad_norm_(parameters, grad_clip or math.inf))
    if not math.isfinite(norm) and not (scaler.is_enabled() and scaler.get_scale() > SMALLEST_SCALE):
        raise FloatingPointError(f"gradient norm is {norm}")
    scaler.step(optimizer)
    scaler.update()
    return norm


@dataclass(frozen=True)
class MicroBatch:
    """Position in the whole batch of the samples that are computed at once.

    Attributes:
        first: number of the first one, from 0.
        count: how many.
        total: samples in the whole batch.
        positives: positive cells of the whole batch's score targets, () on the device; None if this is all of it.
    """

    first: int
    count: int
    total: int
    positives: Tensor | None = None


def micro_batch_bounds(count: int, largest: int | None) -> list[tuple[int, int]]:
    """Cuts `count` samples into as few parts of nearly the same size as keep each at or below `largest`.

    Returns:
        (first, past the last) of each part.
    """
    parts = math.ceil(count / largest) if largest else 1
    return [(k * count // parts, (k + 1) * count // parts) for k in range(parts)]


class WholeBatch(TorchFunctionMode):
    """Inside this block random masks and BatchNorm statistics are those of the whole batch.

    Masks are drawn for the whole batch, in each process from the same generator state, and cut down to the micro-batch:
    the numbers drawn do not depend on how it is split. Rows of a network input may be several blocks of the samples
    (one block per stream).

    Args:
        part: the samples that are computed.
        context: processes over which BatchNorm statistics are summed. Micro-batches one after the other cannot share
            statistics.
    """

    def __init__(self, part: MicroBatch, context: DistributedContext) -> None:
        super().__init__()
        self.part, self.context = part, context

    def __torch_function__(self, func: Callable, _types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Replaces the three functions that mix or draw for samples; everything else is left alone."""
        kwargs = kwargs or {}
        if func is torch.Tensor.bernoulli_ and self.part.count < self.part.total:
            return args[0].copy_(self._mask_rows(args[0], *args[1:], **kwargs))
        if func is F.dropout:
            return self._dropout(*args, **kwargs)
        if func is F.batch_norm and self.context.world_size > 1:
            return self._batch_norm(*args, **kwargs)
        return func(*args, **kwargs)

    def _mask_rows(self, like: Tensor, probability: float = 0.5) -> Tensor:
        """Draws the whole batch's random mask and returns the rows of this micro-batch, in the shape of `like`."""
        part = self.part
        if len(like) % part.count:
            raise ValueError(f"a mask of {len(like)} rows is drawn for {part.count} samples: rows must be a multiple")
        blocks = len(like) // part.count
        whole = like.new_empty(blocks * part.total, *like.shape[1:]).bernoulli_(probability)
        whole = whole.view(blocks, part.total, *like.shape[1:])
        return whole[:, part.first : part.first + part.count].reshape(like.shape)

    def _dropout(self, tensor: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if inplace:
            raise ValueError("dropout in place is not supported in training")
        if not training or p == 0.0:
            return tensor
        return tensor * self._mask_rows(tensor, 1.0 - p) * (1.0 / (1.0 - p)) if p < 1.0 else tensor * 0.0

    def _batch_norm(
        self,
        tensor: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """BatchNorm over (B, C, ...) of all processes; also on the CPU, which PyTorch's SyncBatchNorm is not."""
        if not training:
            return F.batch_norm(tensor, running_mean, running_var, weight, bias, False, momentum, eps)
        from torch.distributed.nn.functional import all_reduce  # gradients flow back to all processes

        axes, shape = [0, *range(2, tensor.dim())], (1, -1, *[1] * (tensor.dim() - 2))
        values = tensor.float()
        count = self.context.all_reduce(torch.tensor(float(values[:, 0].numel()), device=tensor.device))
        mean = all_reduce(values.sum(axes)) / count  # (C)
        centered = values - mean.view(shape)
        variance = all_reduce(centered.square().sum(axes)) / count  # (C)
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean.to(running_mean.dtype), momentum)
                running_var.lerp_((variance * count / (count - 1)).to(running_var.dtype), momentum)
        out = centered * (variance + eps).rsqrt().view(shape)
        if weight is not None:
            out = out * weight.view(shape)
        if bias is not None:
            out = out + bias.view(shape)
        return out.to(tensor.dtype)


class BatchStep:
    """Computes losses, gradients and optimizer steps of whole batches, however they are split.

    Args:
        model: on the `device` of this process.
        context: the processes that share a batch.

    Raises:
        ValueError: settings that do not go together.
    """

    def __init__(self, config: TrainConfig, model: Network, device: torch.device, context: DistributedContext) -> None:
        self.config, self.model, self.device, self.context = config, model, device, context
        self.parameters = trainable_parameters(model, config.trainable, config.frozen_blocks)

        def scale_of(name: str) -> float:
            if config.trainable == "all" and name.startswith("backbone."):
                return config.backbone_lr_scale
            return model.rate_of(name)

        self.optimizer = build_optimizer(self.parameters, config.lr, config.weight_decay, scale_of)
        self.scaler = make_scaler(config.precision, device)
        self.frozen_batchnorm = config.freeze_batchnorm or config.trainable == "adapters"
        share = -(-config.total_batch_size // context.world_size)
        self.micro_batches = len(micro_batch_bounds(share, config.max_batch_per_process))
        if self.micro_batches > 1 and not self.frozen_batchnorm:
            raise ValueError(
                f"train.freeze_batchnorm=false needs the whole batch at once, but {share} pairs per process are more "
                f"than train.max_batch_per_process ({config.max_batch_per_process}): raise it, start more processes, "
                "or set train.freeze_batchnorm=true"
            )
        self.network: nn.Module = model
        if config.compile:
            # the same module with a compiled forward; masks are drawn by the same generators as without. Every share of
            # search tokens that `model.elimination` goes through is compiled anew.
            model.before_compiling()
            limits = torch._dynamo.config
            limits.recompile_limit = max(limits.recompile_limit, RECOMPILE_LIMIT)
            self.network = cast(nn.Module, torch.compile(model, dynamic=False, options={"fallback_random": True}))
        if context.world_size > 1:
            ids = [device.index] if device.type == "cuda" else None
            options: dict[str, Any] = {"device_ids": ids, BUFFERS: False}
            self.network = DistributedDataParallel(self.network, **options)

    def split(self, batch: Batch, total: int, first: int) -> list[tuple[Batch, MicroBatch]]:
        """Cuts this process's share of a batch into micro-batches.

        Args:
            batch: the share.
            total: samples of the whole batch.
            first: number in it of the share's first sample.
        """
        bounds = micro_batch_bounds(len(batch), self.config.max_batch_per_process)
        if len(bounds) == 1 and self.context.world_size == 1:
            return [(batch, MicroBatch(0, total, total))]
        positives = self.context.all_reduce(count_positives(batch.boxes, self.model.search_grid).to(self.device))
        return [(batch.part(a, b), MicroBatch(first + a, b - a, total, positives)) for a, b in bounds]

    def loss(self, batch: Batch, part: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the loss of a micro-batch (with graph) and its terms without; over all of them they add up to those
        of the batch."""
        config, dtype, grad = self.config, AUTOCAST[self.config.precision], torch.is_grad_enabled()
        # without gradients, as in validation, there is nothing to exchange and nothing random
        template, search, boxes = batch.to_device(self.device)
        modality = None if batch.modality is None else batch.modality.to(self.device)
        with (
            torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None),
            WholeBatch(part, self.context) if grad else nullcontext(),
        ):
            output = (self.network if grad else self.model)(template, search, modality=modality)
        weights = (config.giou_weight, config.l1_weight, config.focal_weight)
        share: dict[str, Any] = {}
        if part.positives is not None:  # normalized as a share of the whole batch
            share = {"batch_size": part.total, "positives": part.positives}

        def of(maps: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            return tracking_loss(maps, boxes, *weights, dense_radius=config.dense_radius, **share)

        loss, terms = self.model.training_loss(output, of) if grad else of(output)
        return loss, {"loss": loss.detach(), **terms}

    def gradients(self, micro_batches: list[tuple[Batch, MicroBatch]]) -> Tensor:
        """Puts the gradients of the whole batch into the parameters of every process.

        Returns:
            Sums of the terms (`LOSS_COLUMNS`) over this process's micro-batches.
        """
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros(len(LOSS_COLUMNS), device=self.device)
        on_gpu = self.device.type == "cuda"
        random_state = torch.cuda.get_rng_state(self.device) if on_gpu else torch.get_rng_state()
        for number, (batch, part) in enumerate(micro_batches):
            # each micro-batch draws the masks of the whole batch
            if on_gpu:
                torch.cuda.set_rng_state(random_state, self.device)
            else:
                torch.set_rng_state(random_state)
            # gradients are exchanged once, with those of the last micro-batch
            exchange: AbstractContextManager = nullcontext()
            if number < len(micro_batches) - 1 and isinstance(self.network, DistributedDataParallel):
                exchange = self.network.no_sync()
            with exchange:
                loss, terms = self.loss(batch, part)
                # DDP takes the mean over processes, but every loss is already normalized by the whole batch
                scale = self.context.world_size
                self.scaler.scale(loss * scale if scale > 1 else loss).backward()
            total += torch.stack([terms[name].float() for name in LOSS_COLUMNS])
        return total

    def losses(self, micro_batches: list[tuple[Batch, MicroBatch]]) -> Tensor:
        """Returns the sums that `gradients` returns, and computes no gradient."""
        terms = [self.loss(batch, part)[1] for batch, part in micro_batches]
        return torch.stack([torch.stack([one[name].float() for name in LOSS_COLUMNS]) for one in terms]).sum(dim=0)

    def step(self) -> float:
        """Clips and applies the gradients; see `clipped_step`."""
        return clipped_step(self.optimizer, self.scaler, self.parameters.values(), self.config.grad_clip)

    def summed(self, terms: Tensor, stopped: bool) -> tuple[dict[str, float], bool]:
        """Adds up terms over all processes; returns them as numbers, and True if any process was asked to stop."""
        values = self.context.all_reduce(torch.cat((terms, terms.new_tensor([float(stopped)])))).tolist()
        return dict(zip(LOSS_COLUMNS, values[:-1], strict=True)), values[-1] > 0
