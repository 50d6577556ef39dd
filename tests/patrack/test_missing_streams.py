"""A stream that is absent is black for the network; without any, the target stays where it was."""

import numpy as np
import pytest
import torch
from torch import nn

from patrack import build_model
from patrack.network import normalize
from patrack.tracker import Tracker
from small_models import tiny_config

GRID, SIZE = 4, 64
BOX = (100, 80, 40, 40)


class Recorder(nn.Module):
    """Remembers its inputs; the target moves to the right."""

    template_size, search_size, patch_size, search_grid = 32, SIZE, 16, GRID

    def __init__(self, streams="both"):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))
        self.streams, self.inputs = streams, []

    def forward(self, template, search):
        self.inputs.append((template, search))
        score = torch.full((1, 1, GRID, GRID), 0.1)
        score[0, 0, 1, 2] = 0.8
        maps = torch.full((1, 2, GRID, GRID), 0.5)
        return {"score_map": score, "size_map": maps / 2, "offset_map": maps, "pred_boxes": None}


def frame(seed=0, channels=6):
    return np.random.default_rng(seed).integers(1, 256, (200, 300, channels), np.uint8)


def is_black(image):
    """Of one stream in network input."""
    return torch.equal(image, normalize(torch.zeros(1, *image.shape[-2:], 3, dtype=torch.uint8)))


@pytest.mark.parametrize(("present", "black"), [((False, True), [True, False]), ((True, False), [False, True])])
def test_absent_stream_is_black_in_the_search_crop_and_the_other_is_as_ever(present, black):
    tracker = Tracker(Recorder())
    tracker.initialize(frame(), BOX)
    tracker.track(frame(1), present=present)
    complete = Tracker(Recorder())
    complete.initialize(frame(), BOX)
    complete.track(frame(1))
    (template, search), (whole_template, whole) = tracker.model.inputs[0], complete.model.inputs[0]
    assert [is_black(search[:, :3]), is_black(search[:, 3:])] == black
    kept = slice(0, 3) if present[0] else slice(3, 6)
    assert torch.equal(search[:, kept], whole[:, kept])
    assert torch.equal(template, whole_template)


@pytest.mark.parametrize(("present", "black"), [((False, True), [True, False]), ((True, False), [False, True])])
def test_stream_that_the_first_frame_lacks_is_black_in_the_template(present, black):
    tracker = Tracker(Recorder())
    tracker.initialize(frame(), BOX, present=present)
    tracker.track(frame(1))
    template, search = tracker.model.inputs[0]
    assert [is_black(template[:, :3]), is_black(template[:, 3:])] == black
    assert not is_black(search[:, :3])
    assert not is_black(search[:, 3:])


def test_what_the_frame_holds_of_an_absent_stream_does_not_matter():
    model = build_model(tiny_config({"embed_dim": 16}))
    found = []
    for x in (frame(5)[..., 3:], np.zeros((200, 300, 3), np.uint8)):
        tracker = Tracker(model)
        tracker.initialize(np.concatenate([frame()[..., :3], x], axis=2), BOX, present=(True, False))
        steps = [np.concatenate([frame(n)[..., :3], x], axis=2) for n in (1, 2)]
        found.append([np.append(*tracker.track(step, present=(True, False))) for step in steps])
    assert np.array_equal(*found)


def test_without_any_stream_the_target_stays_with_score_zero_and_goes_on_from_there():
    tracker, other = Tracker(Recorder()), Tracker(Recorder())
    for each in (tracker, other):
        each.initialize(frame(), BOX)
        last, _ = each.track(frame(1))
    box, score = tracker.track(frame(2), present=(False, False))
    assert box.tolist() == last.tolist()
    assert score == 0.0
    assert len(tracker.model.inputs) == 1
    box[:] = -1  # a copy
    assert np.array_equal(tracker.track(frame(3))[0], other.track(frame(3))[0])


@pytest.mark.parametrize(
    ("streams", "present", "stays"),
    [
        ("rgb", (False, True), True),
        ("rgb", (True, False), False),
        ("x", (True, False), True),
        ("x", (False, True), False),
        ("both", (False, True), False),
    ],
)
def test_only_the_streams_that_the_network_reads_count(streams, present, stays):
    tracker = Tracker(Recorder(streams))
    tracker.initialize(frame(), BOX)
    _, score = tracker.track(frame(1), present=present)
    assert (score == 0.0) == stays
    if stays:
        with pytest.raises(ValueError, match=r"no stream .*start at a frame"):
            tracker.initialize(frame(), BOX, present=present)


def test_first_frame_without_any_stream_is_refused_and_the_target_before_is_kept():
    tracker = Tracker(Recorder())
    tracker.initialize(frame(), BOX)
    with pytest.raises(ValueError, match=r"present \(RGB, X\) is \(False, False\)"):
        tracker.initialize(frame(), (10, 10, 20, 20), present=(False, False))
    tracker.track(frame(1))


def test_frame_of_another_shape_is_refused_even_if_nothing_is_present():
    tracker = Tracker(Recorder())
    tracker.initialize(frame(), BOX)
    with pytest.raises(ValueError, match="first frame's shape"):
        tracker.track(frame(1)[:100], present=(False, False))


def test_rgb_alone_in_three_channels_may_miss_a_frame():
    tracker = Tracker(Recorder("rgb"))
    tracker.initialize(frame(channels=3), BOX)
    assert tracker.track(frame(1, channels=3), present=(False, False))[1] == 0.0
    assert tracker.track(frame(2, channels=3))[1] > 0
