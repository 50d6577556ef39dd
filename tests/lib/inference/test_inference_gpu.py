"""Tracking on a GPU finds what it finds on a CPU: CUDA graphs, page-locked memory, groups that take turns."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lib import datasets
from lib.inference.sequence import run_batched, track_frames
from lib.synthetic import generate
from patrack import config
from patrack.build import build_tracker

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.timeout(600),
]
NEAR = 0.05  # pixels
ONLINE = ("model.templates=2", "test.template_update={interval: 2, threshold: 0}")
WAYS = [pytest.param((), id="one template"), pytest.param(ONLINE, id="updated template")]


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    generate(root / "SynthRGBX" / "rgbt", "rgbt", "test", 5, 20, (320, 240), 0)
    whole = datasets.load("synthrgbt", "test", data_root=root)
    return [first_frames(sequence, 8 + 3 * number) for number, sequence in enumerate(whole)]


def first_frames(sequence, count):
    parts = ("rgb_files", "x_files", "boxes", "visible", "absent")
    return dataclasses.replace(sequence, x_boxes=None, **{name: getattr(sequence, name)[:count] for name in parts})


@pytest.fixture
def make_tracker(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # PyTorch's default is less than fp32

    def make(device=DEVICE, *overrides):
        return build_tracker(config.load("rgbt_tiny", overrides), device=device)

    return make


@pytest.mark.parametrize("overrides", WAYS)
def test_boxes_are_those_of_a_cpu(make_tracker, sequences, overrides):
    for sequence in sequences[:2]:
        ours, expected = (
            track_frames(make_tracker(device, *overrides), sequence, sequence.boxes[0]) for device in (DEVICE, "cpu")
        )
        assert np.abs(ours.boxes - expected.boxes).max() < NEAR
        assert np.abs(ours.scores - expected.scores).max() < 1e-3


@pytest.mark.parametrize("overrides", WAYS)
@pytest.mark.parametrize("slots", [1, 2, 3, 5])
def test_batched_tracking_finds_the_boxes_of_one_by_one(make_tracker, sequences, tmp_path, slots, overrides):
    tracker = make_tracker(DEVICE, *overrides)
    outcomes = list(run_batched(tracker, sequences, tmp_path, slots))
    assert [outcome.error for outcome in outcomes] == [""] * len(sequences)
    for sequence in sequences:
        alone = track_frames(tracker, sequence, sequence.boxes[0])
        assert np.abs(np.loadtxt(tmp_path / f"{sequence.name}.txt", delimiter=",") - alone.boxes).max() < NEAR


@pytest.mark.parametrize("override", ["test.precision=bf16", "test.precision=fp16", "test.compile=true"])
def test_other_ways_stay_near(make_tracker, sequences, override):
    sequence = sequences[0]
    ours, expected = (
        track_frames(make_tracker(DEVICE, *more), sequence, sequence.boxes[0]) for more in ((override,), ())
    )
    assert np.abs(ours.boxes - expected.boxes).max() < 3.0
