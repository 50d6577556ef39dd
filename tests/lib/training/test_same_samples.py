"""Samples are, bit for bit, what the straightforward way makes: convert the whole frame, then crop, then vary."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from lib import datasets
from lib.training.loader import FrameCache, PairDataset, collate
from lib.training.samples import InvalidCrop, PairAugmentation, PairSampler, Source, sample_generator
from patrack import crop
from patrack.recordings.frames import DecodedFrame, decode_frame, read_frame
from patrack.recordings.sequence import Sequence

SIZES, FACTORS, JITTERS = (32, 64), (2.0, 4.0), ((0.0, 0.0), (3.0, 0.25))
SAMPLES = range(60)


@pytest.fixture
def sequences(data_root: Path) -> list[Sequence]:
    return datasets.load("synthrgbt", "train", data_root=data_root)


def straightforward_pair(sampler: PairSampler, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One sample from whole (H, W, 6) frames, every random number in the order of the first release."""
    pair = sampler.draw(rng)
    sequence = sampler.sequence(pair)
    gray, flip = rng.random(2) < (0.5, 0.5)
    crops = []
    for number, size, factor, (center, scale) in zip(
        (pair.template, pair.search), SIZES, FACTORS, JITTERS, strict=True
    ):
        image, box = read_frame(sequence, number), sequence.boxes[number]
        if flip:
            image = image[:, ::-1].copy()
            box = np.array([image.shape[1] - 1 - box[0] - box[2], *box[1:]])
        extent = box[2:] * np.exp(rng.standard_normal(2) * scale)
        offset = np.sqrt(extent.prod()) * center * (rng.random(2) - 0.5)
        around = np.concatenate([box[:2] + 0.5 * box[2:] + offset - 0.5 * extent, extent])
        left, top, side = crop.crop_window(around, factor)
        if left >= image.shape[1] or top >= image.shape[0] or left + side <= 0 or top + side <= 0:
            raise InvalidCrop
        patch, resize_factor = crop.sample_crop(image, around, factor, size)
        label = (size - 1) / 2 + (box[:2] + 0.5 * box[2:] - (around[:2] + 0.5 * around[2:])) * resize_factor
        label = np.concatenate([label - 0.5 * (box[2:] * resize_factor), box[2:] * resize_factor]) / size
        if gray:
            patch[..., :3] = cv2.cvtColor(patch[..., :3].copy(), cv2.COLOR_RGB2GRAY)[..., None]
        brightness, crop_flip = rng.random(2)
        levels = np.clip(np.rint(np.arange(256) * (1.0 + 0.2 * (2.0 * brightness - 1.0))), 0, 255).astype(np.uint8)
        patch = levels[patch]
        if crop_flip < 0.5:
            patch, label = patch[:, ::-1], np.array([1.0 - label[0] - label[2], *label[1:]])
        crops.append((patch, label))
    (template, _), (search, label) = crops
    return {"template": template, "search": search, "boxes": label.astype(np.float32)}


@pytest.mark.parametrize("source", ["files", "cache", "arrays"])
def test_samples_are_those_of_whole_frames(sequences: list[Sequence], source: str, tmp_path: Path) -> None:
    readers = {
        "files": decode_frame,
        "cache": FrameCache.build(sequences, tmp_path / "cache").read_frame,
        "arrays": lambda sequence, index: DecodedFrame.from_image(read_frame(sequence, index)),
    }
    sampler = PairSampler([Source("set", tuple(sequences))], 10)
    augment = PairAugmentation(template_size=SIZES[0], search_size=SIZES[1], gray_probability=0.5)
    dataset = PairDataset(sampler, augment, readers[source], seed=3, channels=6)
    batch = collate(dataset.__getitems__([(1, index) for index in SAMPLES]))
    compared = 0
    for index in SAMPLES:
        try:
            expected = straightforward_pair(sampler, sample_generator(3, 1, index))
        except InvalidCrop:
            continue
        compared += 1
        for name, value in expected.items():
            found = getattr(batch, name)[index].numpy()
            assert np.array_equal(found if name == "boxes" else found.transpose(1, 2, 0), value), (index, name)
    assert compared > len(SAMPLES) // 2
    sample, _ = dataset[1, 5]
    assert np.array_equal(sample.template.pixels, batch.template[5].movedim(0, -1))
    assert np.array_equal(sample.search.pixels, batch.search[5].movedim(0, -1))


def test_sampler_draws_as_generator_choice_does(sequences: list[Sequence]) -> None:
    sampler, usable = PairSampler([Source("set", tuple(sequences))], 10), np.arange(20)
    for index in range(50):
        pair, rng = sampler.draw(sample_generator(0, 1, index)), sample_generator(0, 1, index)
        rng.random()  # the source
        assert pair.sequence == rng.choice(len(sequences))
        assert pair.template == rng.choice(usable[:-1])
        assert pair.search == rng.integers(pair.template + 1, min(pair.template + 10, 20))


@pytest.mark.parametrize("key", [(0, 0, 0), (0, 1, 77), (2**32 - 1, 3, 59999)])
def test_generator_is_that_of_the_list_of_its_numbers(key: tuple[int, int, int]) -> None:
    expected = np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(key))))
    assert sample_generator(*key).random(4).tolist() == expected.random(4).tolist()
