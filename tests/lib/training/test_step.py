"""A step's schedule and optimizer, what it costs, how it may be computed, and masks of a batch computed in parts."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from lib.distributed import DistributedContext
from lib.training.loader import Batch
from lib.training.step import (
    BASE_RATE,
    BatchStep,
    MicroBatch,
    WholeBatch,
    build_optimizer,
    clipped_step,
    keep_ratio_at,
    learning_rate_factor,
    make_scaler,
    set_learning_rate,
)
from patrack import build_model, freeze_batchnorm, tracking_loss, trainable_parameters
from patrack import config as config_files
from patrack.config.schema import EliminationConfig, TrainConfig

CPU = torch.device("cpu")
SMALL = ("model.depth=3", "model.adapters.cea.layers=[1]", "model.elimination.layers=[]", "model.base_model=null")


def make_step(*settings: str) -> BatchStep:
    config = config_files.load("rgbt_tiny", [*SMALL, *settings])
    torch.manual_seed(0)
    model = build_model(config).train()
    freeze_batchnorm(model)
    return BatchStep(config.train, model, torch.device("cpu"), DistributedContext())


def make_batch(count: int) -> Batch:
    generator = torch.Generator().manual_seed(1)
    pixels = [torch.randint(0, 256, (count, 6, n, n), dtype=torch.uint8, generator=generator) for n in (48, 96)]
    boxes = torch.tensor([[0.4, 0.35, 0.2, 0.3]]).repeat(count, 1)
    return Batch(*pixels, boxes, torch.zeros(count, 4, dtype=torch.int64))


def gradients(step: BatchStep, batch: Batch, part: MicroBatch) -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    step.gradients([(batch, part)])
    return {name: parameter.grad.clone() for name, parameter in step.parameters.items()}


@pytest.mark.slow
def test_compiled_network_gives_the_same_gradients_with_the_same_masks(monkeypatch) -> None:
    # the graph is traced as for any compiler; building C++ from it would take minutes
    original = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda model, options, **more: functools.partial(original, backend="aot_eager")(model, **more)
    )
    batch = make_batch(3)
    plain, compiled = (
        make_step("model.depth=2", "model.adapters.cea.enabled=false", f"train.compile={value}")
        for value in ("false", "true")
    )
    assert plain.network is plain.model
    assert compiled.network is not compiled.model
    for part in (
        MicroBatch(0, 3, 3),
        MicroBatch(3, 3, 9, torch.tensor(9.0)),
    ):  # alone, and in the middle of a larger batch
        expected, found = gradients(plain, batch, part), gradients(compiled, batch, part)
        for name, value in expected.items():
            scale = float(value.abs().max())
            assert float((found[name] - value).abs().max()) <= 1e-4 * scale, name


def saved_bytes(model: torch.nn.Module, count: int) -> int:
    """Memory that stays allocated between forward and backward, without parameters."""
    own = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    batch = make_batch(count)
    template, search, boxes = batch.to_device(torch.device("cpu"))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        tracking_loss(model(template, search), boxes)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def test_only_what_adapters_need_is_kept_for_backward() -> None:
    model = make_step().model
    per_sample = (saved_bytes(model, 4) - saved_bytes(model, 2)) / 2
    trainable_parameters(model, "all")
    everything = (saved_bytes(model, 4) - saved_bytes(model, 2)) / 2
    assert per_sample < 8.6e6  # measured 8.19 MB; the attention maps of one block would add 1.04 MB
    assert per_sample < 0.75 * everything


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
    factor = learning_rate_factor(TrainConfig(schedule=schedule, epochs=60, lr_drop_epoch=48), step, 10)
    assert factor == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("step", "expected"), [(479, 1.0), (480, 0.1), (959, 0.1), (960, 0.01), (1440, 0.001)])
def test_step_decay_repeats_when_asked_as_published(step: int, expected: float) -> None:
    config = TrainConfig(schedule="step", epochs=200, lr_drop_epoch=48, lr_drop_repeats=True)
    factor = learning_rate_factor(config, step, 10)
    assert factor == pytest.approx(expected, rel=1e-12)


def test_warmup_is_linear_and_reaches_the_full_rate() -> None:
    config = TrainConfig(schedule="constant", warmup_steps=4)
    factors = [learning_rate_factor(config, k, 10) for k in range(6)]
    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_unknown_schedule_is_an_error() -> None:
    with pytest.raises(ValueError, match="'warm'"):
        TrainConfig(schedule="warm")


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(1, 1.0), (3, 1.0), (4, 1.0), (5, 0.9971), (12, 0.85), (20, 0.7), (60, 0.7)],
)
def test_keep_ratio_follows_the_published_schedule(epoch: int, expected: float) -> None:
    config = EliminationConfig(keep_ratio=0.7, start_epoch=4, warmup_epochs=16)
    assert keep_ratio_at(config, epoch) == pytest.approx(expected, abs=1e-4)  # 0.9971: architecture notes, epoch 5


def test_backbone_has_its_own_rate_and_the_schedule_keeps_the_ratio() -> None:
    model = nn.ModuleDict({"backbone": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    optimizer = build_optimizer(
        dict(model.named_parameters()), 1e-3, 1e-4, lambda name: 0.1 if name.startswith("backbone.") else 1.0
    )
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


def mask(part: MicroBatch, rows: int) -> torch.Tensor:
    torch.manual_seed(0)
    with WholeBatch(part, DistributedContext()):
        return torch.empty(rows, 1, 1).bernoulli_(0.5)


def test_masks_of_parts_are_rows_of_the_mask_that_pytorch_draws_for_the_whole() -> None:
    torch.manual_seed(0)
    plain = torch.empty(8, 1, 1).bernoulli_(0.5)  # two streams of four samples
    assert torch.equal(mask(MicroBatch(0, 4, 4), 8), plain)
    parts = [mask(MicroBatch(first, 2, 4), 4) for first in (0, 2)]
    assert torch.equal(torch.cat([part.view(2, 2) for part in parts], dim=1), plain.view(2, 4))


def test_mask_of_a_batch_computed_at_once_is_drawn_in_place() -> None:
    copies: list[str] = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func, _types, args=(), kwargs=None):
            copies.extend(["copy"] if func is torch.Tensor.copy_ else [])
            return func(*args, **(kwargs or {}))

    with Watch():
        mask(MicroBatch(0, 2, 2), 4)
        assert not copies
        mask(MicroBatch(0, 2, 4), 4)
    assert copies
