"""From sample numbers to batches: reading frames, augmentation, collation, worker processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lib.datasets.decoded import DecodedFrame
from lib.datasets.sequence import Sequence
from lib.training.augment import InvalidCrop, Look, PairAugmentation, PairCrops
from lib.training.regions import draw_region
from lib.training.sampling import FramePair, PairSampler
from lib.training.seeding import sample_generator
from lib.training.whole_batch import share_of
from patrack.network import normalize

__all__ = ["MAX_DRAWS", "Batch", "EpochBatches", "PairDataset", "SampleError", "make_loader"]

MAX_DRAWS = 100
"""Pairs tried for one sample before its invalid crops count as a fault of the data."""
PREFETCH = 4

ReadFrame = Callable[[Sequence, int], DecodedFrame]
Key = tuple[int, int]  # epoch, index


class SampleError(RuntimeError):
    """A sample cannot be made; the message (one line) names data set, sequence and frames."""

    def __init__(self, message: str) -> None:
        # torch passes an exception on from a worker with the whole traceback as its message; the last line says it
        super().__init__(message.strip().splitlines()[-1].removeprefix(f"{__name__}.SampleError: "))


@dataclass
class Batch:
    """Collated samples, pixels still uint8.

    Attributes:
        template: (B, C, Hz, Hz) uint8, C = 3 for RGB alone, else 6.
        search: (B, C, Hx, Hx) uint8.
        boxes: (B, 4) float32, xywh normalized to the search crop.
        frames: (B, 4) int64: source, sequence, template frame, search frame.
    """

    template: Tensor
    search: Tensor
    boxes: Tensor
    frames: Tensor

    def __len__(self) -> int:
        return len(self.boxes)

    def pin_memory(self) -> Batch:
        """Called by the loader; makes copies to a GPU asynchronous."""
        return Batch(self.template.pin_memory(), self.search.pin_memory(), self.boxes.pin_memory(), self.frames)

    def to_device(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Network inputs on a device: template (B, C, Hz, Hz), search (B, C, Hx, Hx), normalized; boxes (B, 4)."""
        template, search, boxes = (
            item.to(device, non_blocking=True) for item in (self.template, self.search, self.boxes)
        )
        return normalize(template.movedim(1, -1)), normalize(search.movedim(1, -1)), boxes

    def part(self, first: int, end: int) -> Batch:
        """Samples `first` to `end` - 1."""
        return Batch(*(item[first:end] for item in (self.template, self.search, self.boxes, self.frames)))

    def pairs(self) -> list[FramePair]:
        """What each sample was made of."""
        return [FramePair(*row) for row in self.frames.tolist()]


class PairDataset(Dataset):
    """Sample (epoch, index) as a pure function of the seed and the two numbers.

    Args:
        sampler: draws frame pairs.
        augment: makes crops of them.
        read_frame: (sequence, frame number) -> the frame.
        seed: of the run.
        channels: 3 keeps the RGB triple only; 6 needs both modalities.
        region_probability: share of the pairs that follow a part of the template's frame (`lib.training.regions`);
            0 consumes no random number.
        redraw_on_error: a pair that cannot be read leads to another draw, as in the published code.
    """

    def __init__(
        self,
        sampler: PairSampler,
        augment: PairAugmentation,
        read_frame: ReadFrame,
        seed: int,
        channels: int,
        redraw_on_error: bool = False,
        region_probability: float = 0.0,
    ) -> None:
        self.sampler, self.augment, self.read_frame = sampler, augment, read_frame
        self.seed, self.channels, self.redraw_on_error = seed, channels, redraw_on_error
        self.region_probability = region_probability

    def __getitem__(self, key: Key) -> tuple[PairCrops, FramePair]:
        """One sample.

        Raises:
            SampleError: a frame cannot be read or used, or 100 draws in a row gave no valid sample.
        """
        return self._sample(key, *self._start(key))

    def __getitems__(self, keys: list[Key]) -> list[tuple[PairCrops, FramePair]]:
        """The samples of a batch. All are drawn before the first is read: between images, small code runs cold."""
        return [self._sample(key, *start) for key, start in zip(keys, [self._start(key) for key in keys], strict=True)]

    def _start(self, key: Key) -> tuple[np.random.Generator, FramePair]:
        rng = sample_generator(self.seed, *key)
        return rng, self.sampler.draw(rng)

    def _sample(self, key: Key, rng: np.random.Generator, pair: FramePair) -> tuple[PairCrops, FramePair]:
        sample = f"sample {key[1]} of epoch {key[0]}"
        for _ in range(MAX_DRAWS):
            try:
                return self._crops(pair, rng), pair
            except InvalidCrop as error:
                fault = f"{self.sampler.describe(pair)}: {error}"
            except (ValueError, OSError, cv2.error) as error:
                fault = f"{self.sampler.describe(pair)}: {error}"
                if not self.redraw_on_error:
                    raise SampleError(f"{sample}: {fault}") from error
            pair = self.sampler.draw(rng)
        raise SampleError(f"{sample}: {MAX_DRAWS} draws without a valid crop; last: {fault}")

    def _crops(self, pair: FramePair, rng: np.random.Generator) -> PairCrops:
        sequence = self.sampler.sequence(pair)
        if self.region_probability and rng.random() < self.region_probability:
            frame = self._frame(sequence, pair.template)
            region = draw_region(frame, rng)
            return self.augment(frame, region, frame, region, rng)
        template, search = (self._frame(sequence, number) for number in (pair.template, pair.search))
        boxes = sequence.boxes
        return self.augment(template, boxes[pair.template], search, boxes[pair.search], rng)

    def _frame(self, sequence: Sequence, number: int) -> DecodedFrame:
        frame = self.read_frame(sequence, number)
        if frame.shape[2] < self.channels:
            raise ValueError(f"frame {number} has no X modality, which this experiment needs")
        return frame if self.channels == 6 else frame.rgb()


class EpochBatches(Sampler[list[Key]]):
    """Sample numbers that this process computes, batch by batch; `start` sets the epoch and the first batch.

    Args:
        samples: per epoch; an incomplete last batch is left out.
        batch_size: pairs per step, over all processes.
        rank: of this process.
        world: number of processes; each computes consecutive samples of every batch.

    Raises:
        ValueError: an epoch is smaller than a batch, or a batch smaller than the number of processes.
    """

    def __init__(self, samples: int, batch_size: int, rank: int = 0, world: int = 1) -> None:
        if samples < batch_size:
            raise ValueError(f"samples per epoch ({samples}) must be at least the total batch size ({batch_size})")
        if batch_size < world:
            raise ValueError(f"a batch of {batch_size} pairs cannot be shared by {world} processes; start fewer")
        self.steps, self.batch_size = samples // batch_size, batch_size
        self.share = share_of(batch_size, rank, world)
        self.epoch = self.first = 0

    def start(self, epoch: int, first: int = 0) -> None:
        """The next iteration yields batches `first`, `first` + 1, ... of `epoch`."""
        self.epoch, self.first = epoch, first

    def __len__(self) -> int:
        return self.steps - self.first

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, size = self.epoch, self.batch_size
        for step in range(self.first, self.steps):
            yield [(epoch, step * size + index) for index in self.share]


def collate(samples: list[tuple[PairCrops, FramePair]]) -> Batch:
    """Makes the pixels of all samples, in place; runs in the worker."""
    crops, pairs = zip(*samples, strict=True)
    return Batch(
        template=_pixels([item.template_look for item in crops]),
        search=_pixels([item.search_look for item in crops]),
        boxes=torch.from_numpy(np.stack([item.box for item in crops])),
        frames=torch.tensor([[p.source, p.sequence, p.template, p.search] for p in pairs]),
    )


def _pixels(looks: list[Look]) -> Tensor:
    """(B, C, H, W) uint8."""
    height, width, channels = looks[0].patch.shape
    out = np.empty((len(looks), channels, height, width), np.uint8)
    for look, place in zip(looks, out, strict=True):
        look.write(place)
    return torch.from_numpy(out)


def make_loader(dataset: PairDataset, batches: EpochBatches, num_workers: int, pin_memory: bool = False) -> DataLoader:
    """A loader of `Batch`es whose workers live as long as it does; 0 workers: samples are made in this process."""
    workers = {"persistent_workers": True, "prefetch_factor": PREFETCH} if num_workers else {}
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
        generator=torch.Generator(),  # its own: the loader would otherwise draw from the generator that dropout uses
        **workers,
    )


def _start_worker(_: int) -> None:
    """One thread each; Ctrl-C and signals to the process group are left to the main process, which ends its step."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
