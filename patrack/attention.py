"""Softmax attention for the ViT and the adapters, in the form that is fast on each device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["attend"]


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
    """softmax(scale * q k^T) v.

    Args:
        q: (..., N, D).
        k: (..., M, D).
        v: (..., M, D).
        scale: factor on the logits; None: 1 / sqrt(D).

    Returns:
        (..., N, D).
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and torch.is_grad_enabled():
        # PyTorch's bf16 backward of fused attention is several times slower than the fp32 one on a CPU
        with torch.autocast("cpu", enabled=False):
            return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), scale=scale).to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, scale=scale)
