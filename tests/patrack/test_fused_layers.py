"""Packed weights change nothing but the time."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from patrack.fused_layers import LEAST_WIDTH, Affine, packing_library

WIDE = LEAST_WIDTH + 8
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float64: 1e-12}  # of values around 1


def layer(outputs: int, inputs: int, dtype: torch.dtype, bias: bool = True) -> Affine:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
    return Affine(weight.to(dtype), torch.randn(outputs, generator=generator).to(dtype) if bias else None)


def expected(affine: Affine, x: torch.Tensor, residual: torch.Tensor | None) -> torch.Tensor:
    bias = None if affine.bias is None else affine.bias.double()
    out = F.linear(x.double(), affine.weight.double(), bias)
    return out if residual is None else out + residual.double()


@pytest.mark.parametrize("with_residual", [False, True], ids=["alone", "residual"])
@pytest.mark.parametrize("bias", [False, True], ids=["no-bias", "bias"])
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize(("outputs", "inputs"), [(2 * WIDE, WIDE), (WIDE, WIDE), (WIDE, 8), (8, WIDE)])
@torch.inference_mode()
def test_the_same_with_and_without(outputs, inputs, dtype, bias, with_residual) -> None:
    plain, packed = layer(outputs, inputs, dtype, bias), layer(outputs, inputs, dtype, bias)
    packed.pack()
    for rows, count in ((2, 40), (2, 40), (6, 40), (2, 25)):
        x = torch.randn(rows, count, inputs).to(dtype)
        residual = torch.randn(rows, count, outputs).to(dtype) if with_residual else None
        before = None if residual is None else residual.clone()
        exact = expected(plain, x, residual)
        for affine in (plain, packed):
            found = affine(x, residual)
            assert found.shape == exact.shape
            assert found.dtype == dtype
            assert (found.double() - exact).abs().max() < TOLERANCE[dtype] * exact.abs().max()
        assert residual is None or torch.equal(residual, before)


@torch.inference_mode()
def test_a_slice_of_tokens_can_be_read() -> None:
    packed = layer(2 * WIDE, WIDE, torch.float32)
    packed.pack()
    x, residual = torch.randn(2, 50, WIDE)[:, 10:], torch.randn(2, 50, 2 * WIDE)[:, 10:]
    assert torch.allclose(packed(x, residual), expected(packed, x, residual).float(), atol=1e-4)


def test_fp32_is_packed_where_mkl_is_there() -> None:
    if not torch.backends.mkl.is_available():
        pytest.skip("this PyTorch was built without MKL, which packs fp32 weights")
    assert packing_library(torch.zeros(WIDE, WIDE)) == "mkl"
    affine = layer(WIDE, WIDE, torch.float32)
    affine.pack()
    with torch.inference_mode():
        affine(torch.zeros(1, 3, WIDE))
    assert affine._packed is not None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_nothing_packs_other_precisions(dtype) -> None:
    assert packing_library(torch.zeros(2 * WIDE, WIDE, dtype=dtype)) is None


def test_narrow_layers_are_not_packed() -> None:
    assert packing_library(torch.zeros(WIDE, 8)) is None
    assert packing_library(torch.zeros(8, WIDE)) is None
    assert packing_library(torch.zeros(WIDE, WIDE, dtype=torch.bfloat16)) is None


@pytest.mark.parametrize(
    "change", [copy.deepcopy, lambda affine: affine.to(torch.bfloat16), lambda affine: affine.cpu()]
)
@torch.inference_mode()
def test_weights_that_were_copied_or_moved_are_read_anew(change) -> None:
    affine = layer(2 * WIDE, WIDE, torch.float32)
    affine.pack()
    x = torch.randn(1, 4, WIDE)
    affine(x)
    other = change(affine)
    other.weight.zero_()
    x = x.to(other.weight.dtype)
    assert torch.equal(other(x), other.bias.expand(1, 4, -1))


def test_a_norm_is_folded_into_the_layer_behind_it() -> None:
    norm, linear = nn.LayerNorm(16), nn.Linear(16, 5)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, 3, 16)
    assert torch.allclose(
        Affine.behind(norm, linear.weight, linear.bias)(F.layer_norm(x, (16,))), linear(norm(x)), atol=1e-5
    )
