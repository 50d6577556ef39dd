from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lib.training.step import (
    BASE_RATE,
    build_optimizer,
    clipped_step,
    keep_ratio_at,
    learning_rate_factor,
    make_scaler,
    set_learning_rate,
)

CPU = torch.device("cpu")


def stepped(loss: torch.Tensor, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, *rest, **more) -> float:
    scaler.scale(loss).backward()
    return clipped_step(optimizer, scaler, *rest, **more)


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("step", 0, 1.0),
        ("step", 479, 1.0),
        ("step", 480, 0.1),
        ("step", 599, 0.1),
        ("cosine", 0, 1.0),
        ("cosine", 300, 0.5),
        ("cosine", 600, 0.0),
        ("constant", 599, 1.0),
        ("step", 960, 0.1),
    ],
)
def test_learning_rate_factor(schedule: str, step: int, expected: float) -> None:
    factor = learning_rate_factor(step, 10, schedule=schedule, epochs=60, drop_epoch=48, drop_factor=0.1)
    assert factor == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("step", "expected"), [(479, 1.0), (480, 0.1), (959, 0.1), (960, 0.01), (1440, 0.001)])
def test_step_decay_repeats_when_asked_as_published(step: int, expected: float) -> None:
    factor = learning_rate_factor(
        step, 10, schedule="step", epochs=200, drop_epoch=48, drop_factor=0.1, drop_repeats=True
    )
    assert factor == pytest.approx(expected, rel=1e-12)


def test_warmup_is_linear_and_reaches_the_full_rate() -> None:
    factors = [
        learning_rate_factor(k, 10, schedule="constant", epochs=2, drop_epoch=1, drop_factor=0.1, warmup_steps=4)
        for k in range(6)
    ]
    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_unknown_schedule_is_an_error() -> None:
    with pytest.raises(ValueError, match="'warm'"):
        learning_rate_factor(0, 1, schedule="warm", epochs=1, drop_epoch=1, drop_factor=0.1)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(1, 1.0), (3, 1.0), (4, 1.0), (5, 0.9971), (12, 0.85), (20, 0.7), (60, 0.7)],
)
def test_keep_ratio_follows_the_published_schedule(epoch: int, expected: float) -> None:
    assert keep_ratio_at(epoch, 0.7, 4, 16) == pytest.approx(expected, abs=1e-4)  # 0.9971: architecture notes, epoch 5


def test_backbone_has_its_own_rate_and_the_schedule_keeps_the_ratio() -> None:
    model = nn.ModuleDict({"backbone": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    optimizer = build_optimizer(dict(model.named_parameters()), 1e-3, 1e-4, backbone_lr_scale=0.1)
    assert [group[BASE_RATE] for group in optimizer.param_groups] == pytest.approx([1e-3, 1e-4])
    assert set_learning_rate(optimizer, 0.5) == pytest.approx(5e-4)
    assert optimizer.param_groups[1]["lr"] == pytest.approx(5e-5)
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {id(p) for p in model.parameters()}


def test_adapters_form_one_group_with_published_weight_decay() -> None:
    model = nn.ModuleDict({"backbone": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    optimizer = build_optimizer(dict(model.named_parameters()), 4e-4, 1e-4)
    assert len(optimizer.param_groups) == 1
    assert optimizer.param_groups[0]["weight_decay"] == 1e-4


def test_gradients_are_clipped_after_unscaling() -> None:
    weight = nn.Parameter(torch.zeros(4))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    norm = stepped((weight * 3.0).sum(), optimizer, scaler, [weight], grad_clip=0.1)
    assert norm == pytest.approx(6.0)  # the true norm: scaled, it would be 6144
    assert weight.detach().norm().item() == pytest.approx(0.1, abs=1e-6)  # clipped still scaled, it would be 1e-4


def test_no_clipping_with_zero() -> None:
    weight = nn.Parameter(torch.zeros(4))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    stepped((weight * 3.0).sum(), optimizer, make_scaler("fp32", CPU), [weight], grad_clip=0.0)
    assert weight.detach().tolist() == [-3.0] * 4


def test_scaler_skips_a_step_that_overflows_and_lowers_its_scale() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    norm = stepped((weight * math.inf).sum(), optimizer, scaler, [weight], grad_clip=0.1)
    assert not math.isfinite(norm)
    assert weight.detach().tolist() == [1.0, 1.0]
    assert scaler.get_scale() == 512.0


def test_infinite_gradient_without_scaler_is_an_error_and_leaves_the_weights() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    with pytest.raises(FloatingPointError, match="gradient norm"):
        stepped((weight * math.inf).sum(), optimizer, make_scaler("bf16", CPU), [weight], grad_clip=0.1)
    assert weight.detach().tolist() == [1.0, 1.0]


def test_fp16_on_cpu_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs a CUDA device"):
        make_scaler("fp16", CPU)
