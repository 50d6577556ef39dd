"""Centre head and box decoding (OSTrack, arXiv 2203.11991, section 3.3). Legend: B batch, C channels, h and w cells."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["CenterHead", "decode_boxes", "fold_batchnorm", "maps_and_boxes"]

SCORE_FLOOR = 1e-4
SCORE_PRIOR = -2.19
"""Bias of an untrained score map: sigmoid gives 0.1, since most cells are background (CenterNet, arXiv 1904.07850)."""


class ConvBlock(nn.Module):
    """3x3 convolution, batch normalisation, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


def _branch(in_channels: int, channels: int, out_channels: int) -> nn.Sequential:
    widths = (in_channels, channels, channels // 2, channels // 4, channels // 8)
    blocks = [ConvBlock(a, b) for a, b in pairwise(widths)]
    return nn.Sequential(*blocks, nn.Conv2d(widths[-1], out_channels, 1))


def _fp32(values: Tensor) -> Tensor:
    """At least fp32: in bf16 the upper clamp would round to 1, and the loss takes log(1 - score)."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


class CenterHead(nn.Module):
    """Three convolutional branches: target centre, size and sub-cell offset.

    Args:
        in_channels: channels of the features.
        channels: width of the first convolution, halved three times; a multiple of 8.
    """

    def __init__(self, in_channels: int, channels: int = 256) -> None:
        super().__init__()
        if channels % 8:
            raise ValueError(f"channels must be a multiple of 8, got {channels}")
        self.score = _branch(in_channels, channels, 1)
        self.size = _branch(in_channels, channels, 2)
        self.offset = _branch(in_channels, channels, 2)
        nn.init.constant_(self.score[-1].get_parameter("bias"), SCORE_PRIOR)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Search features (B, C, h, w) -> maps and boxes.

        Returns:
            In fp32 or wider: score_map (B, 1, h, w) and size_map (B, 2, h, w) in [1e-4, 1 - 1e-4],
            offset_map (B, 2, h, w) in cells,
            pred_boxes (B, 4) cxcywh normalised to the search crop, at the score map's peak.
        """
        return maps_and_boxes(*(branch(features) for branch in (self.score, self.size, self.offset)))


def maps_and_boxes(score: Tensor, size: Tensor, offset: Tensor) -> dict[str, Tensor]:
    """The branches' outputs (B, 1, h, w), (B, 2, h, w), (B, 2, h, w) -> what `CenterHead.forward` returns."""
    score, size, offset = (_fp32(branch) for branch in (score, size, offset))
    score = score.sigmoid().clamp(SCORE_FLOOR, 1 - SCORE_FLOOR)
    size = size.sigmoid().clamp(SCORE_FLOOR, 1 - SCORE_FLOOR)
    return {
        "score_map": score,
        "size_map": size,
        "offset_map": offset,
        "pred_boxes": decode_boxes(score, size, offset),
    }


@torch.no_grad()
def fold_batchnorm(block: ConvBlock) -> tuple[Tensor, Tensor]:
    """Weight (out, in, 3, 3) and bias (out,) of the convolution that is the block without its ReLU, in eval mode."""
    mean, variance = block.bn.get_buffer("running_mean"), block.bn.get_buffer("running_var")
    bias = block.conv.get_parameter("bias")
    scale = block.bn.weight * (variance + block.bn.eps).rsqrt()
    weight = block.conv.weight * scale.view(-1, 1, 1, 1)
    return weight, (bias - mean) * scale + block.bn.bias


def decode_boxes(response: Tensor, size_map: Tensor, offset_map: Tensor) -> Tensor:
    """Box at the response's peak: (B, 1, h, w), (B, 2, h, w), (B, 2, h, w) -> (B, 4) cxcywh normalised."""
    height, width = response.shape[-2:]
    peak = response.flatten(1).argmax(dim=1)  # (B,)
    at = peak.view(-1, 1, 1).expand(-1, 2, 1)
    size = size_map.flatten(2).gather(2, at).squeeze(2)  # (B, 2)
    offset = offset_map.flatten(2).gather(2, at).squeeze(2)
    x = ((peak % width) + offset[:, 0]) / width
    y = ((peak // width) + offset[:, 1]) / height
    return torch.cat((torch.stack((x, y), dim=1), size), dim=1)
