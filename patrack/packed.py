"""Affine layers with constant weights, in the form that is fast on each device.

Matrix products on a CPU bring the weights into a layout of their own at every call. With `Affine.pack` this happens
once, through the operators that `torch.compile` packs weights with: MKL's for fp32, oneDNN's for bf16. On a GPU, and
where PyTorch was built without them, packing changes nothing.
"""

from __future__ import annotations

import platform
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Affine", "packing_library"]


LEAST_WIDTH = 512
"""Smaller layers gain nothing: measured with 192 and 768 channels."""


def packing_library(weight: Tensor) -> str | None:
    """Choose the library that packs weights (out, in) of this device, dtype and size: "mkl", "onednn", or None.

    None means that packing isn't possible here, or gains nothing.

    With oneDNN's packed weights, layers without more outputs than inputs took up to 1.7 times as long.
    """
    if weight.device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64") or min(weight.shape) < LEAST_WIDTH:
        return None
    if weight.dtype == torch.float32:
        found = torch.backends.mkl.is_available() and hasattr(torch.ops.mkl, "_mkl_linear")
        return "mkl" if found else None
    if weight.dtype == torch.bfloat16 and weight.shape[0] > weight.shape[1] and torch.backends.mkldnn.is_available():
        found = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return "onednn" if found else None
    return None


class Affine(nn.Module):
    """Compute x W^T + b, with constants instead of parameters.

    Args:
        weight: (out, in).
        bias: (out,), or None.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().clone())
        self.register_buffer("bias", None if bias is None else bias.detach().clone())
        self.library: str | None = None
        self._packed: Tensor | None = None
        self._rows = 0

    @classmethod
    def behind(cls, norm: nn.LayerNorm, weight: Tensor, bias: Tensor | None = None) -> Affine:
        """Make a layer that reads what a norm gives, with the norm's scale and shift folded in."""
        shift = weight @ norm.bias
        return cls(weight * norm.weight, shift if bias is None else shift + bias)

    def pack(self) -> None:
        """Packs the weights at the next call, for as many rows as it has; calls with others stay right, but slower.

        Takes as much memory again as the weights do. A copy, or a move to another device or dtype, isn't packed.
        """
        self.library, self._packed = packing_library(self.weight), None

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x (R, N, in), and what is added to the output, (R, N, out) or None -> (R, N, out)."""
        if self.library is not None:
            return self._with_packed_weights(x, residual)
        if residual is None:
            return F.linear(x, self.weight, self.bias)
        out = torch.addmm(residual.flatten(0, 1), x.flatten(0, 1), self.weight.T).view(residual.shape)
        return out if self.bias is None else out.add_(self.bias)

    def _with_packed_weights(self, x: Tensor, residual: Tensor | None) -> Tensor:
        mkl = self.library == "mkl"
        if self._packed is None:
            self._rows = x.shape[:-1].numel()
            reorder = torch.ops.mkl._mkl_reorder_linear_weight if mkl else torch.ops.mkldnn._reorder_linear_weight
            self._packed = reorder(self.weight, self._rows)
        if mkl:
            out = torch.ops.mkl._mkl_linear(x, self._packed, self.weight, self.bias, self._rows)
        else:
            out = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")
        return out if residual is None else out.add_(residual)

    def _apply(self, *args: Any, **kwargs: Any) -> Affine:
        self.library = self._packed = None  # of the weights as they were
        return super()._apply(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"library": None, "_packed": None}
