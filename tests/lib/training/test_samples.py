from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lib.training.samples import (
    LARGEST,
    MOST_ELONGATED,
    SMALLEST,
    InvalidCrop,
    PairAugmentation,
    PairSampler,
    Source,
    brighten,
    draw_region,
    flip_boxes,
    jitter_box,
    sample_generator,
    usable_frames,
)
from patrack.recordings.frames import DecodedFrame

BOX = np.array([30.0, 20.0, 16.0, 12.0])
PLAIN = {"gray_probability": 0.0, "flip_probability": 0.0, "crop_flip_probability": 0.0, "brightness_jitter": 0.0}


def flags(length: int, *frames: int) -> np.ndarray:
    return np.isin(np.arange(length), frames)


def draws(sampler: PairSampler, count: int, seed: int = 0) -> list:
    return [sampler.draw(sample_generator(seed, 1, index)) for index in range(count)]


def test_search_follows_template_within_the_gap_and_both_are_usable(make_sequence: Callable) -> None:
    visible = np.arange(60) % 3 != 0
    sampler = PairSampler([Source("set", (make_sequence(length=60, visible=visible),))], max_gap=7)
    pairs = draws(sampler, 500)
    gaps = {pair.search - pair.template for pair in pairs}
    assert all(visible[pair.template] and visible[pair.search] for pair in pairs)
    assert gaps == set(range(1, 7))  # the published range leaves out the gap itself


def test_template_is_uniform_over_usable_frames_with_a_successor(make_sequence: Callable) -> None:
    usable = [2, 5, 7, 8, 20]
    sampler = PairSampler([Source("set", (make_sequence(visible=flags(30, *usable)),))], max_gap=200)
    counts = np.bincount([pair.template for pair in draws(sampler, 4000)], minlength=30)
    assert set(np.flatnonzero(counts)) == {2, 5, 7, 8}
    assert counts[[2, 5, 7, 8]] == pytest.approx(1000, abs=120)


def test_gap_grows_until_a_search_frame_is_found(make_sequence: Callable) -> None:
    sampler = PairSampler([Source("set", (make_sequence(length=60, visible=flags(60, 0, 15, 30, 45, 59)),))], max_gap=2)
    assert {pair.search - pair.template for pair in draws(sampler, 50)} == {14, 15}


@pytest.mark.parametrize(
    ("box", "visible"),
    [
        ([np.nan] * 4, True),
        ([1, 1, 0, 5], True),
        ([1, 1, 5, -2], True),
        ([1, 1, np.inf, 5], True),
        ([1, 1, 5, 5], False),
    ],
    ids=["no annotation", "zero width", "negative height", "infinite", "not visible"],
)
def test_frame_is_unusable(make_sequence: Callable, box: list[float], visible: bool) -> None:
    sequence = make_sequence(length=4, visible=np.array([True, visible, True, True]))
    sequence.boxes[1] = box
    assert usable_frames(sequence).tolist() == [0, 2, 3]


@pytest.mark.parametrize(
    ("length", "usable", "kept"),
    [(19, 19, False), (20, 20, True), (30, 4, False), (30, 5, True)],
    ids=["19 frames", "20 frames", "4 usable", "5 usable"],
)
def test_short_sequences_are_left_out(make_sequence: Callable, length: int, usable: int, kept: bool) -> None:
    short = make_sequence("short", length=length, visible=np.arange(length) < usable)
    sampler = PairSampler([Source("set", (make_sequence("long"), short))], 200)
    assert (1 in {pair.sequence for pair in draws(sampler, 60)}) == kept


def test_sources_are_drawn_by_weight_and_sequences_uniformly(make_sequence: Callable) -> None:
    many, one = tuple(make_sequence(str(n)) for n in range(4)), (make_sequence("one"),)
    sampler = PairSampler([Source("many", many, 1.0), Source("one", one, 3.0)], 200)
    pairs = draws(sampler, 4000)
    assert sum(pair.source for pair in pairs) / 4000 == pytest.approx(0.75, abs=0.03)
    counts = np.bincount([pair.sequence for pair in pairs if pair.source == 0])
    assert counts == pytest.approx(250, abs=60)


def test_drawing_is_a_pure_function_of_seed_epoch_and_index(make_sequence: Callable) -> None:
    sampler = PairSampler([Source("set", (make_sequence(length=60),))], 200)
    first = draws(sampler, 20)
    assert draws(sampler, 20) == first
    assert [sampler.draw(sample_generator(0, 1, index)) for index in reversed(range(20))] == first[::-1]
    assert draws(sampler, 20, seed=1) != first
    assert [sampler.draw(sample_generator(0, 2, index)) for index in range(20)] != first


def test_no_source_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"data\.train"):
        PairSampler([], 200)


def test_source_without_a_usable_sequence_is_an_error_that_names_it(make_sequence: Callable) -> None:
    with pytest.raises(ValueError, match="lasher/train: none of its 1 sequences"):
        PairSampler([Source("lasher/train", (make_sequence(length=10),))], 200)


def marked_frame(height: int = 80, width: int = 120) -> DecodedFrame:
    """Black but for a target that is red left and green right, in RGB and, in other values, in X."""
    frame = np.zeros((height, width, 6), np.uint8)
    x, y, w, h = BOX.astype(int)
    frame[y : y + h, x : x + w // 2, [0, 3]] = 250, 150
    frame[y : y + h, x + w // 2 : x + w, [1, 4]] = 250, 150
    return DecodedFrame.from_image(frame)


def augmentation(**settings: float) -> PairAugmentation:
    return PairAugmentation(template_size=48, search_size=96, **(PLAIN | settings))


def extent(mask: np.ndarray) -> np.ndarray:
    """xywh of the True pixels."""
    y, x = np.nonzero(mask)
    return np.array([x.min(), y.min(), x.max() + 1 - x.min(), y.max() + 1 - y.min()], float)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"flip_probability": 1.0},
        {"crop_flip_probability": 1.0},
        {"flip_probability": 1.0, "crop_flip_probability": 1.0},
    ],
    ids=["plain", "joint flip", "crop flip", "both flips"],
)
def test_marker_is_at_the_same_place_in_rgb_and_x_and_is_where_the_label_says(settings: dict, seed: int) -> None:
    pair = augmentation(search_jitter=(1.0, 0.2), **settings)(
        marked_frame(), BOX, marked_frame(), BOX, sample_generator(seed, 1, 0)
    )
    for crop in (pair.template.pixels, pair.search.pixels):
        assert np.array_equal(crop[..., :2] > 125, crop[..., 3:5] > 75)
    found = extent(pair.search.pixels[..., :2].max(axis=2) > 125)
    scale = found[2] / BOX[2]  # crop pixels per image pixel
    # rounded crop corner, half a pixel in the label and a whole one in the joint flip, as published; bilinear blur
    assert pair.box * 96 == pytest.approx(found, abs=2.5 * scale)


@pytest.mark.parametrize(
    ("settings", "mirrored"),
    [
        ({}, False),
        ({"flip_probability": 1.0}, True),
        ({"crop_flip_probability": 1.0}, True),
        ({"flip_probability": 1.0, "crop_flip_probability": 1.0}, False),
    ],
    ids=["plain", "joint flip", "crop flip", "both flips"],
)
def test_flips_mirror_the_target(settings: dict, mirrored: bool) -> None:
    pair = augmentation(**settings)(marked_frame(), BOX, marked_frame(), BOX, sample_generator(0, 1, 0))
    for crop in (pair.template.pixels, pair.search.pixels):
        red, green = extent(crop[..., 0] > 125), extent(crop[..., 1] > 125)
        assert (red[0] > green[0]) == mirrored


def test_joint_flip_is_one_decision_and_crop_flips_are_two() -> None:
    def sides(index: int, **settings: float) -> tuple[bool, bool]:
        pair = augmentation(**settings)(marked_frame(), BOX, marked_frame(), BOX, sample_generator(0, 1, index))
        return tuple(
            bool(extent(c[..., 0] > 125)[0] > extent(c[..., 1] > 125)[0])
            for c in (pair.template.pixels, pair.search.pixels)
        )

    assert {sides(index, flip_probability=0.5) for index in range(20)} == {(True, True), (False, False)}
    assert len({sides(index, crop_flip_probability=0.5) for index in range(30)}) == 4


def test_joint_flip_uses_the_published_convention() -> None:
    assert flip_boxes(np.array([10.0, 5.0, 20.0, 8.0]), 100 - 1).tolist() == [69.0, 5.0, 20.0, 8.0]


@pytest.mark.parametrize(("shift", "pixels"), [(1, 1.0), (0, 0.0)], ids=["published", "exact"])
def test_label_of_the_joint_flip_lies_one_pixel_too_far_left_as_published_or_in_place(
    shift: int, pixels: float
) -> None:
    settings = {"flip_probability": 1.0, "search_jitter": (0.0, 0.0), "flip_shift": shift}
    pair = augmentation(**settings)(marked_frame(), BOX, marked_frame(), BOX, sample_generator(0, 1, 0))
    found = extent(pair.search.pixels[..., :2].max(axis=2) > 125)
    scale = found[2] / BOX[2]  # crop pixels per image pixel
    off = (found[0] + found[2] / 2 - (pair.box[0] + pair.box[2] / 2) * 96) / scale
    assert off == pytest.approx(pixels, abs=0.45)  # of the label and the blur: half a crop pixel each


def test_gray_acts_on_the_rgb_triple_only() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 6), dtype=np.uint8)
    out = DecodedFrame.from_image(image).gray().image()
    expected = np.rint(image[..., :3] @ np.array([0.299, 0.587, 0.114]))
    assert np.array_equal(out[..., 3:], image[..., 3:])
    assert np.array_equal(out[..., 0], out[..., 1])
    assert np.array_equal(out[..., 0], out[..., 2])
    assert np.abs(out[..., 0] - expected).max() <= 1


def test_gray_decision_holds_for_template_and_search() -> None:
    pair = augmentation(gray_probability=1.0)(marked_frame(), BOX, marked_frame(), BOX, sample_generator(0, 1, 0))
    for crop in (pair.template.pixels, pair.search.pixels):
        assert np.array_equal(crop[..., 0], crop[..., 1])
        assert not np.array_equal(crop[..., 3], crop[..., 4])


@pytest.mark.parametrize(("factor", "expected"), [(1.2, [0, 120, 255]), (0.8, [0, 80, 192])])
def test_brightness_scales_all_channels_and_saturates(factor: float, expected: list[int]) -> None:
    image = np.broadcast_to(np.array([0, 100, 240], np.uint8)[:, None, None], (3, 4, 6)).copy()
    assert (brighten(image, factor) == np.array(expected)[:, None, None]).all()


@pytest.mark.parametrize("factor", [1.13, 1.1372, 0.5, 0.8])  # 50 * 1.13 lies on a half, where float32 rounds otherwise
def test_brightness_is_rounded_in_double_precision_also_in_place(factor: float) -> None:
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(6, axis=2)
    expected = np.clip(np.rint(image * factor), 0, 255).astype(np.uint8)
    assert np.array_equal(brighten(image, factor), expected)
    assert brighten(image, factor, image).shape == image.shape
    assert np.array_equal(image, expected)


def test_jitter_moves_at_most_half_the_stated_share_of_the_size() -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([jitter_box(BOX, 3.0, 0.25, rng) for _ in range(2000)])
    size = np.sqrt(boxes[:, 2:].prod(axis=1, keepdims=True))
    offset = (boxes[:, :2] + boxes[:, 2:] / 2 - BOX[:2] - BOX[2:] / 2) / size
    assert np.abs(offset).max() <= 1.5
    assert np.abs(offset).max() > 1.45
    assert np.log(boxes[:, 2:] / BOX[2:]).std() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("flips", [0.0, 1.0], ids=["plain", "both flips"])
@pytest.mark.parametrize("seed", range(6))
def test_stretched_target_lies_where_the_label_says_and_both_crops_are_stretched_alike(seed: int, flips: float) -> None:
    augment = augmentation(
        stretch_jitter=0.6, search_jitter=(1.0, 0.2), flip_probability=flips, crop_flip_probability=flips
    )
    pair = augment(marked_frame(), BOX, marked_frame(), BOX, sample_generator(seed, 1, 0))
    stretch = np.exp(sample_generator(seed, 1, 0).standard_normal() * 0.6)
    search, template = (extent(crop[..., :2].max(axis=2) > 125) for crop in (pair.search.pixels, pair.template.pixels))
    assert np.array_equal(pair.search.pixels[..., :2] > 125, pair.search.pixels[..., 3:5] > 75)
    assert pair.box[2] / pair.box[3] == pytest.approx(stretch * BOX[2] / BOX[3], rel=0.06)  # whole pixels of the crop
    assert template[2] / template[3] == pytest.approx(stretch * BOX[2] / BOX[3], rel=0.15)
    scale = np.tile(search[2:] / BOX[2:], 2)  # crop pixels per image pixel
    assert pair.box * 96 == pytest.approx(search, abs=2.5 * scale.max())
    assert np.prod(pair.box[2:]) == pytest.approx(np.prod(search[2:]) / 96**2, rel=0.3)


@pytest.mark.parametrize("seed", range(4))
def test_outline_lies_around_the_target_in_the_template_whatever_is_flipped_and_jittered(seed: int) -> None:
    settings = {"template_jitter": (0.2, 0.1), "flip_probability": 0.5, "crop_flip_probability": 0.5}
    plain, outlined = (
        augmentation(**settings, template_outline=width)(
            marked_frame(), BOX, marked_frame(), BOX, sample_generator(seed, 1, 0)
        )
        for width in (0, 2)
    )
    assert np.array_equal(plain.search.pixels, outlined.search.pixels)
    target = extent(plain.template.pixels[..., :2].max(axis=2) > 125)
    line = extent((plain.template.pixels != outlined.template.pixels).any(axis=2))
    assert line == pytest.approx(target + np.array([-2, -2, 4, 4]), abs=2.5)
    assert (outlined.template.pixels[..., [0, 2, 3, 5]] == 255).all(axis=2).sum() > 4 * target[2]


def test_template_is_not_jittered_by_default() -> None:
    assert jitter_box(BOX, 0.0, 0.0, np.random.default_rng(0)) == pytest.approx(BOX)


def test_validation_has_no_brightness_and_no_crop_flip() -> None:
    augment = PairAugmentation(
        template_size=48,
        search_size=96,
        gray_probability=0,
        flip_probability=0,
        crop_flip_probability=1,
        training=False,
    )
    pair = augment(marked_frame(), BOX, marked_frame(), BOX, sample_generator(0, 1, 0))
    assert pair.template.pixels.max() == 250
    assert extent(pair.template.pixels[..., 0] > 125)[0] < extent(pair.template.pixels[..., 1] > 125)[0]


@pytest.mark.parametrize(
    "box",
    [[np.nan] * 4, [10, 10, 0, 5], [10, 10, 5, -1], [500, 20, 10, 10], [20, -300, 10, 10]],
    ids=["nan", "zero width", "negative height", "right of the image", "above the image"],
)
def test_box_that_gives_no_crop_is_reported(box: list[float]) -> None:
    with pytest.raises(InvalidCrop):
        augmentation()(marked_frame(), np.array(box), marked_frame(), BOX, sample_generator(0, 1, 0))


def noise(height: int = 120, width: int = 160, channels: int = 3) -> DecodedFrame:
    return DecodedFrame.from_image(np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8))


def test_regions_lie_inside_and_have_every_allowed_size_and_shape() -> None:
    boxes = np.array([draw_region(noise(), np.random.default_rng(seed)) for seed in range(300)])
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= [160, 120]).all()
    sides, aspects = np.sqrt(boxes[:, 2:].prod(axis=1)), boxes[:, 2] / boxes[:, 3]
    assert SMALLEST <= sides.min() < 1.05 * SMALLEST
    assert 0.95 * LARGEST * 120 < sides.max() <= LARGEST * 120
    assert 1 / MOST_ELONGATED <= aspects.min() < 1.1 / MOST_ELONGATED
    assert 0.9 * MOST_ELONGATED < aspects.max() <= MOST_ELONGATED


def test_plain_region_and_frame_that_is_too_small_lead_to_another_draw() -> None:
    with pytest.raises(InvalidCrop, match="plain"):
        draw_region(DecodedFrame.from_image(np.full((120, 160, 3), 90, np.uint8)), np.random.default_rng(0))
    with pytest.raises(InvalidCrop, match="doesn't fit into 12x10"):
        draw_region(noise(10, 12), np.random.default_rng(0))


def test_with_regions_alone_both_frames_are_one_and_the_label_is_the_region(
    make_dataset: Callable, read_frame: Callable
) -> None:
    read: list[int] = []

    def noted(sequence: object, number: int) -> DecodedFrame:
        read.append(number)
        return read_frame(sequence, number)

    dataset = make_dataset(read=noted)
    (usual, _), asked = dataset[1, 0], list(read)
    assert len(set(asked)) == 2
    dataset.region_probability = 1.0
    read.clear()
    (followed, _) = dataset[1, 0]
    assert len(read) == 1
    assert not np.array_equal(followed.box, usual.box)


def test_without_regions_no_random_number_is_consumed(make_dataset: Callable) -> None:
    dataset, other = make_dataset(), make_dataset()
    other.region_probability = 1e-12  # draws the number, and never acts
    assert not np.array_equal(dataset[1, 0][0].search.pixels, other[1, 0][0].search.pixels)
