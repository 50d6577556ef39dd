"""Training losses on the centre head's output: focal, GIoU and L1 (OSTrack, arXiv 2203.11991, section 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_convert, box_iou, generalized_box_iou_loss  # type: ignore[import-untyped]

__all__ = [
    "count_positives",
    "dense_box_losses",
    "focal_loss",
    "gaussian_target",
    "tracking_loss",
]

MIN_OVERLAP = 0.7
FOCAL_ALPHA, FOCAL_BETA = 2.0, 4.0


def _gaussian_radius(width: Tensor, height: Tensor) -> Tensor:
    """Radius in cells that keeps the overlap at 0.7 by CornerNet's original formula (arXiv 1808.01244)."""
    total, area = width + height, width * height

    def root(a: float, b: Tensor, c: Tensor) -> Tensor:
        return (b + (b * b - 4 * a * c).sqrt()) / 2

    both_inside = root(1.0, total, area * (1 - MIN_OVERLAP) / (1 + MIN_OVERLAP))
    smaller = root(4.0, 2 * total, (1 - MIN_OVERLAP) * area)
    larger = root(4 * MIN_OVERLAP, -2 * MIN_OVERLAP * total, (MIN_OVERLAP - 1) * area)
    return torch.minimum(torch.minimum(both_inside, smaller), larger)


def gaussian_target(gt_xywh: Tensor, grid: int) -> Tensor:
    """Target of the score map: a Gaussian around the rounded centre cell, 1 at its peak.

    Args:
        gt_xywh: (B, 4), normalised to the search crop.
        grid: cells a side.

    Returns:
        (B, 1, grid, grid) in [0, 1]; all zeros where the centre lies outside the grid.
    """
    boxes = gt_xywh * grid
    center = (boxes[:, :2] + boxes[:, 2:] / 2).round()
    radius = _gaussian_radius(boxes[:, 2], boxes[:, 3]).clamp(min=0).floor().view(-1, 1, 1)
    cells = torch.arange(grid, dtype=boxes.dtype, device=boxes.device)
    dx = cells.view(1, 1, -1) - center[:, 0].view(-1, 1, 1)
    dy = cells.view(1, -1, 1) - center[:, 1].view(-1, 1, 1)
    sigma = (2 * radius + 1) / 6
    heat = torch.exp(-(dx * dx + dy * dy) / (2 * sigma * sigma))
    inside = (dx.abs() <= radius) & (dy.abs() <= radius)
    outside = ((center < 0) | (center >= grid)).any(dim=1).view(-1, 1, 1)
    return (heat * (inside & ~outside)).unsqueeze(1)


def count_positives(gt_xywh: Tensor, grid: int) -> Tensor:
    """Number of peaks in the score targets of boxes (B, 4): what `focal_loss` divides by. () float."""
    return (gaussian_target(gt_xywh, grid) == 1).sum().to(gt_xywh.dtype)


def focal_loss(score_map: Tensor, target: Tensor, positives: Tensor | None = None) -> Tensor:
    """CenterNet's focal loss (arXiv 1904.07850, section 3): (B, 1, h, w) scores in (0, 1) against a Gaussian target.

    The sum over all cells is divided by `positives`, (), by default the number of peaks in `target`; at least by 1.
    """
    positive = target == 1
    count = positive.sum() if positives is None else positives
    hit = score_map.log() * (1 - score_map) ** FOCAL_ALPHA * positive
    miss = (1 - score_map).log() * score_map**FOCAL_ALPHA * (1 - target) ** FOCAL_BETA * ~positive
    return -(hit + miss).sum() / count.clamp(min=1)


def dense_box_losses(size_map: Tensor, offset_map: Tensor, gt_xywh: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Box losses of every cell near the true centre, not only of the score map's peak.

    The peak trains one cell of a sample and a wrong one at first; with few samples sizes are learnt from its
    neighbours as well, and a peak that is a cell off still gives the right box (as in FCOS, arXiv 1904.01355,
    section 3.1).

    Args:
        size_map, offset_map: (B, 2, h, h), of `CenterHead`.
        gt_xywh: (B, 4), normalised to the search crop.
        radius: cells whose corner lies nearer than this to the true centre, along both axes, are trained.

    Returns:
        GIoU loss and L1 loss per sample, (B,) each: means over its cells, 0 where the centre lies outside the crop.
    """
    grid = size_map.shape[-1]
    center = (gt_xywh[:, :2] + gt_xywh[:, 2:] / 2) * grid
    cells = torch.arange(grid, dtype=gt_xywh.dtype, device=gt_xywh.device)
    near_x = (cells - center[:, :1]).abs() < radius  # (B, h)
    near_y = (cells - center[:, 1:]).abs() < radius
    near = near_y.unsqueeze(2) & near_x.unsqueeze(1)  # (B, h, h)
    row, y, x = near.nonzero(as_tuple=True)
    offset = offset_map[row, :, y, x]  # (n, 2)
    boxes = torch.cat((torch.stack((x + offset[:, 0], y + offset[:, 1]), dim=1) / grid, size_map[row, :, y, x]), dim=1)
    truth = box_convert(gt_xywh, "xywh", "xyxy").clamp(0.0, 1.0)[row]
    boxes = box_convert(boxes, "cxcywh", "xyxy")
    giou = generalized_box_iou_loss(boxes, truth, eps=0.0)  # as published; nothing is added to a union
    count = near.sum(dim=(1, 2)).clamp(min=1)
    zeros = boxes.new_zeros(len(gt_xywh))
    return (
        zeros.index_add(0, row, giou) / count,
        zeros.index_add(0, row, (boxes - truth).abs().mean(dim=1)) / count,
    )


def tracking_loss(
    output: dict[str, Tensor],
    gt_xywh: Tensor,
    giou_weight: float = 2.0,
    l1_weight: float = 5.0,
    focal_weight: float = 1.0,
    *,
    dense_radius: float = 0.0,
    batch_size: int | None = None,
    positives: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Weighted sum of the three losses, in the precision of the maps.

    Args:
        output: `Network.forward`'s maps and boxes of B pairs; a method's `extra_loss` is added as it is.
        gt_xywh: (B, 4), normalised to the search crop; it may reach beyond the crop.
        giou_weight: factor on the GIoU loss.
        l1_weight: factor on the L1 loss of the corners.
        focal_weight: factor on the focal loss of the score map.
        dense_radius: adds `dense_box_losses` within this many cells, with the same weights; 0: the peak's box alone.
        batch_size: pairs in the whole batch, if the B ones are only a part of it; the losses of all parts then add up
            to the loss of the whole batch.
        positives: (), `count_positives` of the whole batch; given together with `batch_size`.

    Returns:
        The scalar loss, and its detached parts `giou`, `l1`, `focal`, with the mean `iou`.
    """
    score_map, boxes = output["score_map"], output["pred_boxes"]
    gt_xywh = gt_xywh.to(boxes.dtype)
    gt_xyxy = box_convert(gt_xywh, "xywh", "xyxy").clamp(0.0, 1.0)
    pred_xyxy = box_convert(boxes, "cxcywh", "xyxy")
    iou = box_iou(pred_xyxy.detach(), gt_xyxy).diagonal()
    share = 1.0 if batch_size is None else len(boxes) / batch_size
    parts = {
        "giou": generalized_box_iou_loss(pred_xyxy, gt_xyxy, "mean", eps=0.0) * share,
        "l1": F.l1_loss(pred_xyxy, gt_xyxy) * share,
        "focal": focal_loss(score_map, gaussian_target(gt_xywh, score_map.shape[-1]), positives),
    }
    if dense_radius > 0.0:
        dense = dense_box_losses(output["size_map"], output["offset_map"], gt_xywh, dense_radius)
        parts["giou"], parts["l1"] = (
            parts[name] + d.mean() * share for name, d in zip(("giou", "l1"), dense, strict=True)
        )
    loss = giou_weight * parts["giou"] + l1_weight * parts["l1"] + focal_weight * parts["focal"]
    if "extra_loss" in output:
        loss = loss + output["extra_loss"] * share
    return loss, {name: value.detach() for name, value in {**parts, "iou": iou.mean() * share}.items()}
