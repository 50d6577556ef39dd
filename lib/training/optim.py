"""Optimiser, learning rate, candidate-elimination schedule and the optimiser step, mixed precision included.

Rate and keep ratio are pure functions of the position in the run, so there is no schedule state that could be lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

__all__ = [
    "BASE_RATE",
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


def build_optimizer(
    parameters: dict[str, nn.Parameter], lr: float, weight_decay: float, backbone_lr_scale: float = 1.0
) -> torch.optim.AdamW:
    """AdamW over named parameters; those of the backbone form a group of their own if its rate differs.

    Args:
        parameters: name -> parameter, as `patrack.trainable_parameters` returns them.
        lr: learning rate before the schedule.
        weight_decay: applied to every parameter, as published.
        backbone_lr_scale: factor on `lr` for names that start with "backbone."; 1 for adapter training.
    """
    backbone = [p for name, p in parameters.items() if name.startswith("backbone.")] if backbone_lr_scale != 1.0 else []
    known = {id(p) for p in backbone}
    rest = [p for p in parameters.values() if id(p) not in known]
    groups = [
        {"params": group, "lr": lr * scale, BASE_RATE: lr * scale}
        for group, scale in ((rest, 1.0), (backbone, backbone_lr_scale))
        if group
    ]
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, fused=True)


def learning_rate_factor(
    step: int,
    steps_per_epoch: int,
    *,
    schedule: str,
    epochs: int,
    drop_epoch: int,
    drop_factor: float,
    drop_repeats: bool = False,
    warmup_steps: int = 0,
) -> float:
    """Factor on the learning rate.

    Args:
        step: optimiser steps already done, from 0.
        steps_per_epoch: steps of an epoch.
        schedule: "step": `drop_factor` once `drop_epoch` epochs are done; "cosine": from 1 down to 0 at the end of the
            run; "constant".
        epochs: length of the run.
        drop_epoch: last epoch at the full rate, from 1.
        drop_factor: in (0, 1].
        drop_repeats: the rate drops by the same factor again after every `drop_epoch` epochs, as published.
        warmup_steps: linear rise; step k < warmup_steps runs at (k + 1) / warmup_steps of the scheduled rate.

    Raises:
        ValueError: unknown schedule.
    """
    if schedule == "step":
        drops = step // (drop_epoch * steps_per_epoch)
        factor = drop_factor ** (drops if drop_repeats else min(drops, 1))
    elif schedule == "cosine":
        factor = 0.5 * (1.0 + math.cos(math.pi * min(step / (epochs * steps_per_epoch), 1.0)))
    elif schedule == "constant":
        factor = 1.0
    else:
        raise ValueError(f"schedule must be 'step', 'cosine' or 'constant', got {schedule!r}")
    return factor * min(1.0, (step + 1) / warmup_steps) if warmup_steps else factor


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Sets every group to its base rate times `factor`; returns the first group's rate."""
    for group in optimizer.param_groups:
        group["lr"] = group[BASE_RATE] * factor
    return optimizer.param_groups[0]["lr"]


def keep_ratio_at(epoch: int, keep_ratio: float, start_epoch: int, warmup_epochs: int) -> float:
    """Share of search tokens kept in an epoch (from 1): 1 before `start_epoch`, `keep_ratio` from
    `start_epoch + warmup_epochs` on, a half cosine between."""
    if epoch < start_epoch:
        return 1.0
    if epoch >= start_epoch + warmup_epochs:
        return keep_ratio
    return keep_ratio + (1 - keep_ratio) * (math.cos(math.pi * (epoch - start_epoch) / warmup_epochs) + 1) / 2


def make_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """Loss scaler for fp16, switched off for fp32 and bf16.

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
    """One optimiser step on the gradients that are there: unscale, clip, step. They are clipped in their true scale.

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
