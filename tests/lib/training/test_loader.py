from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._utils import ExceptionWrapper

from lib import datasets
from lib.training import loader
from lib.training.loader import MAX_DRAWS, Batch, EpochBatches, FrameCache, PairDataset, SampleError, make_loader
from patrack.crop import MEAN, STD
from patrack.modality import modalities
from patrack.recordings.frames import DecodedFrame, FrameError, decode_frame, read_frame
from patrack.recordings.sequence import Sequence


def batches_of(dataset: PairDataset, workers: int, epoch: int = 1, first: int = 0) -> list[Batch]:
    order = EpochBatches(12, 4)
    order.start(epoch, first)
    return list(make_loader(dataset, order, workers))


def same(a: Batch, b: Batch) -> bool:
    return all(
        torch.equal(getattr(a, key), getattr(b, key)) for key in ("template", "search", "boxes", "frames", "modality")
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_the_number_of_workers(make_dataset: Callable, workers: int) -> None:
    alone, shared = batches_of(make_dataset(), 0), batches_of(make_dataset(), workers)
    assert len(alone) == len(shared) == 3
    assert all(same(a, b) for a, b in zip(alone, shared, strict=True))


def test_an_epoch_can_start_at_any_batch(make_dataset: Callable) -> None:
    whole, rest = batches_of(make_dataset(), 0), batches_of(make_dataset(), 0, first=2)
    assert len(rest) == 1
    assert same(whole[2], rest[0])


def test_epochs_and_seeds_give_other_samples(make_dataset: Callable) -> None:
    first = batches_of(make_dataset(), 0)[0]
    assert not same(first, batches_of(make_dataset(), 0, epoch=2)[0])
    assert not same(first, batches_of(make_dataset(seed=1), 0)[0])


def test_loading_uses_no_random_number_of_the_process(make_dataset: Callable) -> None:
    before = torch.get_rng_state()
    batches_of(make_dataset(), 1)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("channels", [3, 6])
def test_batch_becomes_normalized_network_input(make_dataset: Callable, channels: int) -> None:
    batch = batches_of(make_dataset(channels=channels), 0)[0]
    template, search, boxes = batch.to_device(torch.device("cpu"))
    assert template.shape == (4, channels, 32, 32)
    assert search.shape == (4, channels, 64, 64)
    assert boxes.shape == (4, 4)
    mean, std = np.array(MEAN * (channels // 3)), np.array(STD * (channels // 3))
    expected = (batch.search[1, :, 30, 40].numpy() / 255 - mean) / std
    assert search[1, :, 30, 40].numpy() == pytest.approx(expected, abs=1e-5)


def test_unreadable_frame_is_an_error_that_names_sequence_and_frames(make_dataset: Callable) -> None:
    def broken(sequence: Sequence, index: int) -> DecodedFrame:
        raise FrameError(f"{sequence.rgb_files[index]}: not a readable image")

    with pytest.raises(SampleError) as caught:
        batches_of(make_dataset(read=broken), 0)
    message = str(caught.value)
    assert message.startswith("sample 0 of epoch 1: memory/train: ")
    assert "template frame" in message
    assert message.endswith(".png: not a readable image")


def test_error_from_a_worker_keeps_its_one_line() -> None:
    try:
        raise SampleError("sample 3 of epoch 1: set: walk") from FrameError("file.png")
    except SampleError:
        passed_on = ExceptionWrapper(where="in DataLoader worker process 0")  # what torch sends to the main process
    with pytest.raises(SampleError) as caught:
        passed_on.reraise()
    assert str(caught.value) == "sample 3 of epoch 1: set: walk"


def test_frame_without_x_is_an_error_for_two_modalities(make_dataset: Callable, read_frame: Callable) -> None:
    dataset = make_dataset(read=lambda sequence, index: read_frame(sequence, index).rgb())
    with pytest.raises(SampleError, match="has no X modality"):
        dataset[1, 0]


def test_invalid_crop_leads_to_another_pair_of_the_same_generator(make_dataset: Callable, read_frame: Callable) -> None:
    def small_then_normal(sequence: Sequence, index: int) -> DecodedFrame:
        frame = read_frame(sequence, index)  # the box lies outside the small ones
        return DecodedFrame.from_image(frame.image()[:5, :5]) if index < 15 else frame

    dataset = make_dataset(read=small_then_normal)
    pairs = [dataset[1, index][1] for index in range(20)]
    assert all(pair.template >= 15 for pair in pairs)
    assert pairs == [dataset[1, index][1] for index in range(20)]


def test_only_invalid_crops_are_an_error(make_dataset: Callable) -> None:
    dataset = make_dataset(read=lambda *_: DecodedFrame.from_image(np.zeros((4, 4, 6), np.uint8)))
    with pytest.raises(SampleError, match=f"{MAX_DRAWS} draws without a valid crop"):
        dataset[1, 0]


def test_error_leads_to_another_draw_only_when_asked_as_published(make_dataset: Callable, read_frame: Callable) -> None:
    def broken_early(sequence: Sequence, index: int) -> DecodedFrame:
        if index < 15:
            raise FrameError(f"{index}: not a readable image")
        return read_frame(sequence, index)

    dataset = make_dataset(read=broken_early)
    dataset.redraw_on_error = True
    assert all(dataset[1, index][1].template >= 15 for index in range(20))
    dataset.redraw_on_error = False
    with pytest.raises(SampleError, match="not a readable image"):
        [dataset[1, index] for index in range(20)]


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_processes_share_every_batch_without_gap_or_overlap(world: int) -> None:
    def keys(rank: int, count: int) -> list[list]:
        batches = EpochBatches(20, 8, rank, count)
        batches.start(3)
        return list(batches)

    shares = [keys(rank, world) for rank in range(world)]
    assert [[key for share in shares for key in share[step]] for step in range(2)] == keys(0, 1)
    assert max(len(share[0]) for share in shares) - min(len(share[0]) for share in shares) <= 1


def test_more_processes_than_pairs_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"batch of 2 pairs .*3 processes"):
        EpochBatches(8, 2, 0, 3)


def test_epoch_smaller_than_a_batch_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"samples per epoch \(3\)"):
        EpochBatches(3, 4)


def test_a_batch_says_the_modality_of_each_sample(make_dataset: Callable) -> None:
    (first, *_) = batches_of(make_dataset(), 0)
    assert [modalities()[number] for number in first.modality.tolist()] == ["rgbt"] * 4
    batch = replace(first, modality=torch.tensor([0, 2, 1, 0]))
    assert batch.part(1, 3).modality.tolist() == [2, 1]


@pytest.fixture
def sequences(data_root: Path) -> list[Sequence]:
    return datasets.load("synthrgbt", "train", data_root=data_root)


def test_cached_frames_equal_decoded_ones_also_in_another_process(sequences: list[Sequence], tmp_path: Path) -> None:
    frames = pickle.loads(pickle.dumps(FrameCache.build(sequences, tmp_path / "cache")))
    for sequence in sequences:
        for index in (0, 7, 19):
            assert np.array_equal(frames.read_frame(sequence, index).image(), read_frame(sequence, index))


def test_second_build_decodes_nothing_but_first_frames(
    sequences: list[Sequence], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = FrameCache.build(sequences, tmp_path / "cache")
    read = []
    monkeypatch.setattr(
        loader, "decode_frame", lambda sequence, index, x: (read.append(index), decode_frame(sequence, index, x))[1]
    )
    assert FrameCache.build(sequences, tmp_path / "cache").path == first.path
    assert read == [0, 0]


def test_cache_of_rgb_alone_is_half_as_large(sequences: list[Sequence], tmp_path: Path) -> None:
    both, rgb = (FrameCache.build(sequences, tmp_path / "cache", with_x=x) for x in (True, False))
    assert both.path.stat().st_size == 2 * rgb.path.stat().st_size
    assert np.array_equal(rgb.read_frame(sequences[1], 7).image(), read_frame(sequences[1], 7)[..., :3])


def test_changed_files_give_another_cache(sequences: list[Sequence], tmp_path: Path) -> None:
    first = FrameCache.build(sequences, tmp_path / "cache").path
    target, other = sequences[0].rgb_files[9], sequences[1].rgb_files[9]
    target.write_bytes(other.read_bytes())
    assert FrameCache.build(sequences, tmp_path / "cache").path != first


def test_a_damaged_cache_is_made_anew(
    sequences: list[Sequence], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = FrameCache.build(sequences, tmp_path / "cache").path
    whole = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(len(whole) // 2)
        file.write(b"damage")
    assert FrameCache.build(sequences, tmp_path / "cache").path == path
    assert f"{path} is damaged and made anew" in caplog.text
    assert path.read_bytes() == whole


def test_unreadable_frame_is_an_error_and_leaves_no_file(sequences: list[Sequence], tmp_path: Path) -> None:
    sequences[1].rgb_files[9].write_bytes(b"broken")
    with pytest.raises(FrameError, match="009"):
        FrameCache.build(sequences, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_too_small_disk_is_an_error_that_says_what_to_do(
    sequences: list[Sequence], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(OSError, match=r"data\.cache_frames needs .* TMPDIR"):
        FrameCache.build(sequences, tmp_path / "cache")
