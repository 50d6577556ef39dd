"""Softmax attention for the ViT and the adapters, in the form that is fast on each device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["attend"]


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
    """softmax(scale * q k^T) v.

    Args:
        q: (B, N, D) or (B, heads, N, D).
        k: (B, M, D) or (B, heads, M, D).
        v: as k.
        scale: factor on the logits; None: 1 / sqrt(D).

    Returns:
        The shape of q.
    """
    if q.ndim == 3:  # the fused kernels of a GPU want heads
        return attend(q.unsqueeze(1), k.unsqueeze(1), v.unsqueeze(1), scale).squeeze(1)
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and torch.is_grad_enabled():
        # PyTorch's bf16 backward of fused attention is several times slower than the fp32 one on a CPU
        with torch.autocast("cpu", enabled=False):
            return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), scale=scale).to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, scale=scale)
