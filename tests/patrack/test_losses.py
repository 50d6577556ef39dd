"""Losses on hand-computed cases; their values on the reference weights are in test_parity.py."""

from __future__ import annotations

import math

import pytest
import torch

from patrack.head import CenterHead, decode_boxes
from patrack.losses import dense_box_losses, focal_loss, gaussian_target, tracking_loss


@pytest.mark.parametrize(
    ("a", "b", "giou", "iou"),
    [
        ([0, 0, 2, 2], [0, 0, 2, 2], 1.0, 1.0),
        ([0, 0, 1, 1], [1, 0, 2, 1], 0.0, 0.0),
        ([0, 0, 1, 1], [3, 0, 4, 1], -0.5, 0.0),
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7 - 2 / 9, 1 / 7),
    ],
    ids=["equal", "touching edges", "two apart", "overlapping"],
)
def test_giou_loss_and_iou_of_the_box(a: list[float], b: list[float], giou: float, iou: float) -> None:
    corners = torch.tensor([a, b], dtype=torch.float64) / 4  # of a crop with side 4
    start, size = corners[:, :2], corners[:, 2:] - corners[:, :2]
    output = {
        "score_map": torch.full((1, 1, 4, 4), 0.3, dtype=torch.float64),
        "pred_boxes": torch.cat((start + size / 2, size), dim=1)[:1],
    }
    parts = tracking_loss(output, torch.cat((start, size), dim=1)[1:])[1]
    assert parts["giou"].item() == pytest.approx(1 - giou)
    assert parts["iou"].item() == pytest.approx(iou)


def test_target_peaks_at_the_rounded_centre() -> None:
    heat = gaussian_target(torch.tensor([[0.25, 0.5, 0.25, 0.25]]), 16)  # centre (6, 10), 4 x 4 cells
    assert heat[0, 0, 10, 6] == 1
    assert heat.max() == 1
    assert (heat == 1).sum() == 1
    radius = heat[0, 0, 10].nonzero().flatten()
    assert torch.equal(heat, heat.clamp(0, 1))
    assert radius.min().item() + radius.max().item() == 12  # symmetric around column 6


def test_target_far_outside_is_empty_and_its_loss_is_finite() -> None:
    heat = gaussian_target(torch.tensor([[1.5, 0.5, 0.2, 0.2]]), 8)
    assert heat.abs().max() == 0
    assert torch.isfinite(focal_loss(torch.full((1, 1, 8, 8), 0.2), heat))


def test_focal_loss_by_hand() -> None:
    target = torch.tensor([[[[1.0, 0.5], [0.0, 0.0]]]])
    score = torch.tensor([[[[0.8, 0.3], [0.1, 0.2]]]])
    expected = -(
        math.log(0.8) * 0.2**2 + math.log(0.7) * 0.3**2 * 0.5**4 + math.log(0.9) * 0.1**2 + math.log(0.8) * 0.2**2
    )
    assert focal_loss(score, target).item() == pytest.approx(expected, rel=1e-5)


def test_weights_scale_their_terms() -> None:
    output = {
        "score_map": torch.full((1, 1, 4, 4), 0.3),
        "pred_boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]]),
    }
    gt = torch.tensor([[0.3, 0.4, 0.3, 0.3]])
    parts = tracking_loss(output, gt)[1]
    for weights in ((1.0, 0.0, 0.0), (0.0, 2.0, 0.0), (0.5, 1.0, 3.0)):
        total = tracking_loss(output, gt, *weights)[0].item()
        names = ("giou", "l1", "focal")
        assert total == pytest.approx(sum(w * parts[n].item() for w, n in zip(weights, names, strict=True)))


def test_a_saturated_score_in_bf16_keeps_the_loss_finite() -> None:
    head = CenterHead(4, 8).eval()
    torch.nn.init.constant_(head.score[-1].bias, 20.0)  # sigmoid is 1, and so is 1 - 1e-4 in bf16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = head(torch.randn(1, 4, 4, 4))
    assert {value.dtype for value in output.values()} == {torch.float32}
    assert output["score_map"].max() < 1
    loss, _ = tracking_loss(output, torch.tensor([[0.3, 0.4, 0.3, 0.3]]))
    assert torch.isfinite(loss)


def test_box_is_read_at_the_peak_of_the_response() -> None:
    response = torch.zeros(1, 1, 4, 4)
    response[0, 0, 2, 1] = 1.0
    size = torch.zeros(1, 2, 4, 4)
    size[0, :, 2, 1] = torch.tensor([0.3, 0.6])
    offset = torch.zeros(1, 2, 4, 4)
    offset[0, :, 2, 1] = torch.tensor([0.5, 0.25])
    torch.testing.assert_close(decode_boxes(response, size, offset), torch.tensor([[1.5 / 4, 2.25 / 4, 0.3, 0.6]]))


def test_dense_losses_vanish_for_maps_that_tell_the_box_in_every_near_cell() -> None:
    grid, box = 8, torch.tensor([[0.30, 0.40, 0.20, 0.25]])
    center = (box[0, :2] + box[0, 2:] / 2) * grid
    cells = torch.arange(grid, dtype=torch.float32)
    offset = torch.stack(((center[0] - cells).expand(grid, grid), (center[1] - cells)[:, None].expand(grid, grid)))
    size = box[0, 2:].view(1, 2, 1, 1).expand(1, 2, grid, grid).clone()
    giou, l1 = dense_box_losses(size, offset[None], box, radius=1.5)
    assert torch.allclose(giou, torch.zeros(1), atol=1e-5)
    assert torch.allclose(l1, torch.zeros(1), atol=1e-6)
    size[0, :, 4, 3] = 0.5  # the centre (3.2, 4.2) lies in this cell
    near = dense_box_losses(size, offset[None], box, radius=1.5)
    assert near[0] > 0.01
    assert near[1] > 0.01
    size[0, :, 4, 3], size[0, :, 0, 0] = box[0, 2:], 0.5  # far from it
    assert dense_box_losses(size, offset[None], box, radius=1.5)[1] < 1e-6


def test_dense_losses_of_a_centre_outside_the_crop_are_zero() -> None:
    maps = torch.rand(2, 2, 8, 8)
    giou, l1 = dense_box_losses(maps, maps, torch.tensor([[1.5, 0.4, 0.2, 0.2], [0.4, 0.4, 0.2, 0.2]]), radius=1.5)
    assert (giou[0], l1[0]) == (0, 0)
    assert l1[1] > 0


def test_dense_losses_of_parts_add_up_to_those_of_the_batch() -> None:
    torch.manual_seed(0)
    score, size, offset = (torch.rand(4, n, 8, 8) for n in (1, 2, 2))
    boxes = torch.rand(4, 4) * 0.3 + 0.2

    def loss(a: int, b: int, **share: object) -> torch.Tensor:
        maps = {"score_map": score[a:b], "size_map": size[a:b], "offset_map": offset[a:b]}
        maps["pred_boxes"] = decode_boxes(*maps.values())
        return tracking_loss(maps, boxes[a:b], dense_radius=1.5, **share)[0]

    part = {"batch_size": 4, "positives": torch.tensor(4.0)}
    assert torch.allclose(loss(0, 1, **part) + loss(1, 4, **part), loss(0, 4), atol=1e-5)
