"""Looking inside changes nothing, and shows what is there."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from patrack.explain import Explainer, draw_insight, look
from patrack.tracker import Tracker
from small_networks import crops, small

FRAMES = [np.random.default_rng(k).integers(0, 256, (60, 80, 6), dtype=np.uint8) for k in range(4)]


def tracker(**changes: object) -> Tracker:
    made = Tracker(small(**changes), modality="rgbt")
    made.initialize(FRAMES[0], (30, 20, 16, 14))
    return made


def test_boxes_are_the_same_to_the_last_bit_and_nothing_is_left_in_the_model():
    plain, watched = tracker(), tracker()
    watched.model.train()
    explainer = Explainer(watched)
    for frame in FRAMES[1:]:
        box, score = plain.track(frame)
        result, insight, crop = explainer.track(frame)
        assert np.array_equal(result.box, box)
        assert result.score == score
        assert insight is not None
        assert crop.shape == (32, 32, 6)
    assert watched.model.training
    assert all(not module._forward_hooks for module in watched.model.modules())


def test_what_is_shown_is_what_the_network_did():
    model = small()
    template, search = crops(model.template_size, 1)[0].numpy(), crops(model.search_size, 1)[0].numpy()
    insight = look(model, template, search, "rgbt")
    grid, depth = model.search_grid, len(model.backbone.blocks)
    assert insight.score.shape == (grid, grid)
    # one block eliminates: a share of 0.7 goes on behind it
    assert (insight.kept == depth).sum() == int(np.ceil(0.7 * grid**2))
    assert insight.kept.min() == 1
    for maps in insight.attention.values():
        assert maps.shape == (depth, grid, grid)
        assert (maps.sum(axis=(1, 2)) < 1).all()  # the rest goes to the template itself
        assert (maps[-1][insight.kept < depth] == 0).all()
    assert set(insight.high) == set(insight.low) == {"rgb", "x"}
    assert insight.shared.shape == (grid, grid)
    assert (insight.shared > 0).any()


@pytest.mark.parametrize(
    ("changes", "has"),
    [
        pytest.param({"method": "bat"}, (False, False, False), id="bat"),
        pytest.param({"adapters": {"mda": {"parts": "high"}}}, (True, False, True), id="high-only"),
        pytest.param({"adapters": {"cea": {"shared_query": False}}}, (True, True, False), id="unshared"),
        pytest.param({"streams": "rgb"}, (False, False, False), id="one-stream"),
        pytest.param({"templates": 2}, (True, True, True), id="two-templates"),
    ],
)
def test_only_what_a_network_has_is_shown(changes, has):
    model = small(**changes)
    insight = look(model, crops(model.template_size, 1)[0].numpy(), crops(model.search_size, 1)[0].numpy())
    assert (bool(insight.high), bool(insight.low), insight.shared is not None) == has


def test_attention_of_a_plain_network_is_that_of_its_template():
    model = small(streams="rgb", elimination={"layers": [], "keep_ratio": 1.0})
    template, search = crops(model.template_size, 1)[0].numpy(), crops(model.search_size, 1)[0].numpy()
    seen = {}
    block = model.backbone.blocks[0]
    handle = block.attn.register_forward_hook(lambda module, inputs, output: seen.update(tokens=inputs[0].clone()))
    insight = look(model, template, search)
    handle.remove()
    with torch.inference_mode():
        q, k, _ = block.attn.qkv(seen["tokens"]).unflatten(2, (3, block.attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(dim=3)[0]  # (heads, N, N)
    first = model.backbone.template_grid**2
    expected = weights[:, :first, first:].mean(dim=(0, 1)).numpy()
    np.testing.assert_allclose(insight.attention["rgb"][0].ravel(), expected, rtol=1e-5)


def test_pictures_are_drawn_in_rows_of_streams():
    explainer = Explainer(tracker())
    _, insight, crop = explainer.track(FRAMES[1])
    picture = draw_insight(insight, crop, "rgbt")
    assert picture.dtype == np.uint8
    assert picture.shape == (2 * 188, 8 * 168, 3)
    assert cv2.imencode(".png", picture)[0]


def test_frames_without_a_stream_show_nothing():
    explainer = Explainer(tracker())
    assert explainer.track(FRAMES[1], present=(False, False))[1:] == (None, None)


def test_foreign_networks_cannot_be_looked_into():
    class Other(nn.Module):
        streams, template_size, search_size = "both", 32, 64

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

    with pytest.raises(ValueError, match="Other can't be looked into"):
        Explainer(Tracker(Other()))
