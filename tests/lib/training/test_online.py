"""Samples with a second, online template: where it comes from, and that all else stays what it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.training.loader import build_dataset, collate
from lib.training.samples import ModalityDropout, PairSampler, Source, sample_generator
from patrack.network import normalize
from patrack.recordings.frames import DecodedFrame
from patrack.weights import read_weights

DRAWS = 200


def test_it_lies_between_template_and_search_and_the_pair_is_the_usual_one(make_sequence: Callable) -> None:
    visible = np.arange(30) % 3 > 0
    sources = [Source("memory/train", (make_sequence(visible=visible),))]
    usual, online = PairSampler(sources, 12), PairSampler(sources, 12, online=True)
    places = set()
    for seed in range(DRAWS):
        pair = online.draw(sample_generator(seed, 0, 0))
        before = usual.draw(sample_generator(seed, 0, 0))
        assert (pair.template, pair.search) == (before.template, before.search)
        assert before.online is None
        assert pair.online is not None
        assert pair.template <= pair.online < pair.search
        assert visible[pair.online]
        places.add((pair.online == pair.template, pair.search - pair.online < 3))
    assert places == {(True, True), (True, False), (False, True), (False, False)}
    assert f"online template frame {pair.online}" in online.describe(pair)


def test_a_still_shows_it_in_the_same_image(make_sequence: Callable) -> None:
    still = make_sequence(length=1)
    object.__setattr__(still, "still", True)
    pair = PairSampler([Source("memory/train", (still,))], 12, online=True).draw(sample_generator(0, 0, 0))
    assert (pair.template, pair.online, pair.search) == (0, 0, 0)


def test_batch_holds_both_templates_and_the_frames_of_all_three_crops(make_dataset: Callable) -> None:
    usual, online = make_dataset(), make_dataset()
    online.sampler.online = True
    online.augment.online_jitter = (0.4, 0.2)
    keys = [(1, number) for number in range(6)]
    one, two = collate([usual[key] for key in keys]), collate([online[key] for key in keys])
    assert two.template.shape == (6, 2, 6, 32, 32)
    assert two.frames[:, :4].tolist() == one.frames.tolist()
    assert [pair.online for pair in two.pairs()] == two.frames[:, 4].tolist()
    assert [pair.online for pair in one.pairs()] == [None] * 6
    assert not any(torch.equal(first, second) for first, second in two.template)
    template, _, _ = two.to_device(torch.device("cpu"))
    assert torch.equal(template[:, 1], normalize(two.template[:, 1].movedim(1, -1)))
    assert two.part(2, 4).template.shape == (2, 2, 6, 32, 32)


def test_what_template_and_search_consume_does_not_change(make_dataset: Callable) -> None:
    augment = make_dataset().augment
    augment.template_outline, augment.online_jitter = 2, (0.4, 0.2)
    frame = DecodedFrame.from_image(np.random.default_rng(0).integers(0, 256, (48, 64, 6), np.uint8))
    box = np.array([20.0, 16.0, 12.0, 10.0])
    usual = augment(frame, box, frame, box, sample_generator(0, 0, 0))
    online = augment(frame, box, frame, box, sample_generator(0, 0, 0), (frame, box))
    assert usual.online is None
    assert np.array_equal(online.template.pixels, usual.template.pixels)
    assert np.array_equal(online.search.pixels, usual.search.pixels)
    assert online.online is not None
    assert online.online.outlined is not None
    assert not np.array_equal(online.online.pixels, online.template.pixels)


def test_regions_give_all_three_crops_from_one_frame(make_dataset: Callable, read_frame: Callable) -> None:
    read = []

    def noted(sequence: object, index: int) -> DecodedFrame:
        read.append(index)
        return read_frame(sequence, index)

    dataset = make_dataset(read=noted)
    dataset.sampler.online, dataset.region_probability = True, 1.0
    crops, _ = dataset[1, 0]
    assert len(read) == 1
    assert crops.online is not None


def test_it_lacks_a_stream_only_where_template_and_search_both_do() -> None:
    frames = [
        DecodedFrame.from_image(np.random.default_rng(k).integers(1, 256, (20, 30, 6), np.uint8)) for k in range(3)
    ]
    seen = set()
    for seed in range(DRAWS):
        dropout = ModalityDropout(rgb=0.5, x=0.5, one_frame=0.5)
        kept = dropout(frames, sample_generator(seed, 0, 0))
        changed = [not np.array_equal(a.image(), b.image()) for a, b in zip(frames, kept, strict=True)]
        assert changed[2] == (changed[0] and changed[1])
        seen.add(tuple(changed))
    assert seen == {(True, True, True), (True, False, False), (False, True, False)}
    frozen = ModalityDropout(x=1.0, one_frame=0.0, x_shows=("frozen",))(frames, sample_generator(0, 0, 0))
    assert all(np.array_equal(frame.image()[..., 3:], frames[0].image()[..., 3:]) for frame in frozen)
    assert np.array_equal(frozen[2].image()[..., :3], frames[2].image()[..., :3])


def test_settings_reach_the_samples(make_config: Callable, make_sequence: Callable, read_frame: Callable) -> None:
    sources = [Source("memory/train", (make_sequence(),))]
    config = make_config("data.online_center_jitter=0.5", "data.online_scale_jitter=0.2", "model.templates=2")
    dataset = build_dataset(config, sources, read_frame, training=True)
    assert dataset.augment.online_jitter == (0.5, 0.2)
    assert dataset.sampler.online
    assert not build_dataset(make_config(), sources, read_frame, training=True).sampler.online


@pytest.mark.parametrize("key", ["center", "scale"])
def test_negative_jitter_is_refused(make_config: Callable, key: str) -> None:
    with pytest.raises(ValueError, match=f"online_{key}_jitter"):
        make_config(f"data.online_{key}_jitter=-0.1")


def test_a_run_trains_and_its_adapters_say_so(train: Callable[..., Path]) -> None:
    weights = train("model.templates=2", "data.samples_per_epoch=4", "train.epochs=1", "data.val_samples=4")
    _, header = read_weights(weights)
    assert '"model.templates": "2"' in header["reading"]
