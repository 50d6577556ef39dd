"""What a step costs and how it may be computed: memory for the way back, and a compiled network."""

from __future__ import annotations

import functools

import pytest
import torch

from lib.distributed import DistributedContext
from lib.training.loader import Batch
from lib.training.step import BatchStep, MicroBatch
from patrack import build_model, freeze_batchnorm, tracking_loss, trainable_parameters
from patrack import config as config_files

SMALL = ("model.depth=3", "model.adapters.cea.layers=[1]", "model.elimination.layers=[]", "model.foundation=null")


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
