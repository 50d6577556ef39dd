from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.training.loader import build_dataset, collate
from lib.training.samples import ModalityDropout, PairAugmentation, sample_generator
from patrack.config import ConfigError
from patrack.config.schema import ModalityDropoutConfig
from patrack.recordings.frames import DecodedFrame

BOX = np.array([20.0, 12.0, 16.0, 12.0])
DRAWS = 400


def frame(seed: int) -> DecodedFrame:
    return DecodedFrame.from_image(np.random.default_rng(seed).integers(1, 256, (40, 60, 6), np.uint8))


def outcome(before: DecodedFrame, after: DecodedFrame) -> str:
    """What happened to one frame: "" or the stream that changed."""
    old, new = before.image(), after.image()
    same = {"rgb": np.array_equal(old[..., :3], new[..., :3]), "x": np.array_equal(old[..., 3:], new[..., 3:])}
    return " ".join(stream for stream, kept in same.items() if not kept)


def outcomes(dropout: ModalityDropout) -> Counter:
    template, search = frame(0), frame(1)
    found: Counter = Counter()
    for seed in range(DRAWS):
        first, second = dropout((template, search), sample_generator(seed, 0, 0))
        found[outcome(template, first), outcome(search, second)] += 1
    return found


def test_one_stream_is_missing_in_one_frame_or_in_both_and_never_two_streams_at_once() -> None:
    found = outcomes(ModalityDropout(rgb=0.3, x=0.5, one_frame=0.5))
    expected = {
        ("", ""): 0.2,
        ("rgb", "rgb"): 0.15,
        ("rgb", ""): 0.075,
        ("", "rgb"): 0.075,
        ("x", "x"): 0.25,
        ("x", ""): 0.125,
        ("", "x"): 0.125,
    }
    assert found.keys() == expected.keys()
    for key, share in expected.items():
        assert found[key] / DRAWS == pytest.approx(share, abs=4 * (share * (1 - share) / DRAWS) ** 0.5), key


def test_all_pairs_may_lack_a_stream() -> None:
    assert outcomes(ModalityDropout(rgb=0.4, x=0.6, one_frame=0.0)).keys() == {("rgb", "rgb"), ("x", "x")}
    assert outcomes(ModalityDropout(x=1.0, one_frame=1.0)).keys() == {("x", ""), ("", "x")}


@pytest.mark.parametrize("kind", ["black", "constant", "noise", "copy", "frozen"])
def test_missing_x_shows_what_is_asked_for(kind: str) -> None:
    template, search = frame(0), frame(1)
    dropout = ModalityDropout(x=1.0, one_frame=0.0, x_shows=(kind,))
    first, second = (item.image() for item in dropout((template, search), sample_generator(0, 1, 2)))
    x_first, x_second = first[..., 3:], second[..., 3:]
    assert np.array_equal(first[..., :3], template.image()[..., :3])
    assert np.array_equal(second[..., :3], search.image()[..., :3])
    if kind == "black":
        assert not x_first.any()
        assert not x_second.any()
    elif kind == "constant":
        assert (x_first == x_first[0, 0]).all()
        assert np.array_equal(x_first, x_second)
    elif kind == "noise":
        assert 60 < x_second.std() < 90
        assert not np.array_equal(x_second, search.image()[..., 3:])
    elif kind == "copy":
        assert np.array_equal(x_first, first[..., :3])
        assert np.array_equal(x_second, second[..., :3])
    else:
        assert np.array_equal(x_first, template.image()[..., 3:])
        assert np.array_equal(x_second, x_first)


def test_missing_rgb_is_black_in_the_crop_and_x_is_not() -> None:
    augment = PairAugmentation(template_size=32, search_size=64, dropout=ModalityDropout(rgb=1.0, one_frame=0.0))
    pair = augment(frame(0), BOX, frame(1), BOX, sample_generator(0, 1, 0))
    for crop in (pair.template.pixels, pair.search.pixels):
        assert not crop[..., :3].any()
        assert crop[..., 3:].any()


@pytest.mark.parametrize("kind", ["black", "constant", "noise", "copy", "frozen"])
def test_crops_of_every_kind_can_be_made_in_every_way(kind: str) -> None:
    augment = PairAugmentation(
        template_size=32,
        search_size=64,
        gray_probability=0.5,
        dropout=ModalityDropout(x=1.0, x_shows=(kind,)),
        search_jitter=(0.5, 0.3),
    )
    samples = [augment(frame(0), BOX, frame(1), BOX, sample_generator(seed, 1, 0)) for seed in range(40)]
    looks = [look for sample in samples for look in (sample.template, sample.search)]
    assert all(look.pixels.shape[2] == 6 for look in looks)


def test_without_dropout_no_random_number_is_consumed() -> None:
    plain = PairAugmentation(template_size=32, search_size=64)
    never = PairAugmentation(template_size=32, search_size=64, dropout=ModalityDropout(x_shows=("noise",)))
    validation = PairAugmentation(template_size=32, search_size=64, dropout=ModalityDropout(x=1.0), training=False)
    rngs = [sample_generator(4, 1, 0) for _ in range(2)]
    first, second = (
        augment(frame(0), BOX, frame(1), BOX, rng) for augment, rng in zip((plain, never), rngs, strict=True)
    )
    assert np.array_equal(first.search.pixels, second.search.pixels)
    assert rngs[0].random() == rngs[1].random()
    assert validation(frame(0), BOX, frame(1), BOX, sample_generator(4, 1, 0)).search.pixels[..., 3:].any()


def test_samples_repeat_bit_for_bit(make_dataset: Callable) -> None:
    batches = []
    for _ in range(2):
        dataset = make_dataset()
        dataset.augment.dropout = ModalityDropout(0.3, 0.7, x_shows=ModalityDropoutConfig().x_shows)
        batches.append(collate(dataset.__getitems__([(1, index) for index in range(32)])))
    for name in ("template", "search", "boxes"):
        assert torch.equal(getattr(batches[0], name), getattr(batches[1], name))


def test_run_with_dropout_trains_and_its_shares_reach_the_samples(
    train: Callable, make_config: Callable, tmp_path: Path
) -> None:
    settings = ("data.modality_dropout.rgb=0.5", "data.modality_dropout.x=0.5", "train.epochs=1")
    assert train(*settings).is_file()
    with pytest.raises(ValueError, match=r"data\.modality_dropout\.x: 0\.5 -> 0\.25"):
        train(settings[0], "data.modality_dropout.x=0.25", settings[2], resume=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("rgb=0.6", "x=0.5"), "add up to at most 1"),
        (("x=-0.1",), "modality_dropout.x"),
        (("x_shows=[]",), "x_shows"),
        (("x_shows=[white]",), "white"),
    ],
)
def test_impossible_settings_are_refused(make_config: Callable, settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config(*(f"data.modality_dropout.{setting}" for setting in settings))


def test_dropout_needs_two_streams(make_config: Callable) -> None:
    config = make_config("data.modality_dropout.x=0.5", name="rgb_tiny")
    with pytest.raises(ValueError, match="needs two streams"):
        build_dataset(config, [], lambda *_: None, training=True)
