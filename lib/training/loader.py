"""From the `data` section of an experiment to batches: data sets, decoded frames, samples, collation, workers."""

from __future__ import annotations

import functools
import hashlib
import logging
import math
import os
import shutil
import signal
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from lib import datasets
from lib.training.samples import (
    FramePair,
    InvalidCrop,
    Look,
    ModalityDropout,
    PairAugmentation,
    PairCrops,
    PairSampler,
    Source,
    draw_region,
    sample_generator,
)
from patrack.config.schema import Config, SourceConfig
from patrack.files import atomic_write, remove_leftovers
from patrack.modality import JOINT, modalities
from patrack.network import normalize
from patrack.recordings.frames import DecodedFrame, decode_frame
from patrack.recordings.sequence import Sequence

__all__ = [
    "MAX_DRAWS",
    "Batch",
    "EpochBatches",
    "FrameCache",
    "PairDataset",
    "SampleError",
    "build_dataset",
    "frame_reader",
    "load_sources",
    "make_loader",
]

logger = logging.getLogger(__name__)

MAX_DRAWS = 100
"""Pairs tried for one sample before its invalid crops count as a fault of the data."""
PREFETCH = 4
CACHE_VERSION = 2
SPARE_BYTES = 1 << 30
"""Bytes that a frame cache leaves free on its disk."""

ReadFrame = Callable[[Sequence, int], DecodedFrame]
Key = tuple[int, int]  # epoch, index
CacheKey = tuple[str, str, str]
Place = tuple[int, tuple[int, ...]]  # offset in the file, (N, H, W, C)


class SampleError(RuntimeError):
    """A sample cannot be made; the message (one line) names data set, sequence and frames."""

    def __init__(self, message: str) -> None:
        # torch passes an exception on from a worker with the whole traceback as its message; the last line says it
        super().__init__(message.strip().splitlines()[-1].removeprefix(f"{__name__}.SampleError: "))


@dataclass
class Batch:
    """Collated samples, pixels still uint8.

    Attributes:
        template: (B, C, Hz, Hz) uint8, C = 3 for RGB alone, else 6; with an online template (B, 2, C, Hz, Hz).
        search: (B, C, Hx, Hx) uint8.
        boxes: (B, 4) float32, xywh normalized to the search crop.
        frames: (B, 4) int64: source, sequence, template frame, search frame; (B, 5) with that of an online template.
        modality: (B,) int64, each sample's place in `patrack.modality.modalities()`; None: not known.
    """

    template: Tensor
    search: Tensor
    boxes: Tensor
    frames: Tensor
    modality: Tensor | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def pin_memory(self) -> Batch:
        """Called by the loader; makes copies to a GPU asynchronous."""
        template, search, boxes = (item.pin_memory() for item in (self.template, self.search, self.boxes))
        return Batch(template, search, boxes, self.frames, self.modality)

    def to_device(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Copies and normalizes network inputs: template (B, [2,] C, Hz, Hz), search (B, C, Hx, Hx), boxes (B, 4)."""
        template, search, boxes = (
            item.to(device, non_blocking=True) for item in (self.template, self.search, self.boxes)
        )
        return normalize(template.movedim(-3, -1)), normalize(search.movedim(-3, -1)), boxes

    def part(self, first: int, end: int) -> Batch:
        """Returns samples `first` to `end` - 1."""
        modality = None if self.modality is None else self.modality[first:end]
        template, search, boxes = (item[first:end] for item in (self.template, self.search, self.boxes))
        return Batch(template, search, boxes, self.frames[first:end], modality)

    def pairs(self) -> list[FramePair]:
        """Lists the frames that each sample was made of."""
        return [
            FramePair(source, sequence, template, search, online=online[0] if online else None)
            for source, sequence, template, search, *online in self.frames.tolist()
        ]


class PairDataset(Dataset):
    """Sample (epoch, index) as a pure function of the seed and the two numbers.

    Args:
        sampler: draws frame pairs.
        augment: makes crops of them.
        read_frame: (sequence, frame number) -> the frame.
        seed: of the run.
        channels: 3 keeps the RGB triple only; 6 needs both modalities.
        region_probability: share of the pairs that follow a part of the template's frame (`draw_region`); 0 consumes
            no random number.
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
        """Makes one sample.

        Raises:
            SampleError: a frame cannot be read or used, or 100 draws in a row gave no valid sample.
        """
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: list[Key]) -> list[tuple[PairCrops, FramePair]]:
        """Makes the samples of a batch; torch's loader calls it."""
        # all are drawn before the first is read: between images, small code runs cold
        rngs = [sample_generator(self.seed, *key) for key in keys]
        pairs = [self.sampler.draw(rng, index) for rng, (_, index) in zip(rngs, keys, strict=True)]
        return [self._sample(*one) for one in zip(keys, rngs, pairs, strict=True)]

    def _sample(self, key: Key, rng: np.random.Generator, pair: FramePair) -> tuple[PairCrops, FramePair]:
        for _ in range(MAX_DRAWS):
            sequence, boxes = self.sampler.sequence(pair), self.sampler.sequence(pair).boxes
            try:
                follows_region = self.region_probability and rng.random() < self.region_probability
                template = self._frame(sequence, pair.template)
                if follows_region:
                    region = draw_region(template, rng)
                    online = None if pair.online is None else (template, region)
                    return self.augment(template, region, template, region, rng, online), pair
                search = self._frame(sequence, pair.search)
                online = None if pair.online is None else (self._frame(sequence, pair.online), boxes[pair.online])
                return self.augment(template, boxes[pair.template], search, boxes[pair.search], rng, online), pair
            except (ValueError, OSError, cv2.error) as error:
                fault = f"{self.sampler.describe(pair)}: {error}"
                if not (self.redraw_on_error or isinstance(error, InvalidCrop)):
                    raise SampleError(f"sample {key[1]} of epoch {key[0]}: {fault}") from error
            pair = self.sampler.draw(rng, key[1])
        raise SampleError(f"sample {key[1]} of epoch {key[0]}: {MAX_DRAWS} draws without a valid crop; last: {fault}")

    def _frame(self, sequence: Sequence, number: int) -> DecodedFrame:
        frame = self.read_frame(sequence, number)
        if frame.shape[2] < self.channels:
            raise ValueError(f"frame {number} has no X modality, which this experiment needs")
        return frame if self.channels == 6 else frame.rgb()


def load_sources(config: Config, root: Path | None) -> tuple[list[Source], list[Source]]:
    """Loads the data sets of data.train and data.val from the folder `root` that holds them.

    Raises:
        ValueError: unknown, missing or inconsistent data sets, or one of a modality that a joint experiment lacks; or
            it is told to be for one pair alone.
    """
    pairs = config.model.modalities
    if pairs and config.modality != JOINT:
        raise ValueError(
            f"modality={config.modality} picks one pair of a joint experiment, for tracking: train it with "
            f"modality={JOINT}, or an experiment for {config.modality} alone"
        )

    def load(item: SourceConfig) -> Source:
        excluded = set(item.exclude_attributes)
        loaded = datasets.load(item.name, item.split, Path(item.root) if item.root else None, root, for_frames=True)
        sequences = tuple(sequence for sequence in loaded if excluded.isdisjoint(sequence.attributes))
        others = sorted({sequence.modality for sequence in sequences}.difference(pairs))
        if pairs and others:
            raise ValueError(
                f"data set {item.name} is {', '.join(others)}, but {config.name} is a joint experiment for "
                f"{', '.join(pairs)}: take it out of data, or name its modality in model.modalities"
            )
        return Source(f"{item.name}/{item.split}", sequences, item.weight)

    val = config.data.val if config.data.val_samples else []
    return [load(item) for item in config.data.train], [load(item) for item in val]


class FrameCache:
    """Decoded frames of whole data sets in one file that all loader processes map into memory.

    Each frame is decoded once, before training; the operating system shares the pages between processes and runs.
    Meant for sets that fit in memory. The file lies in the temporary folder (TMPDIR) and is used again by later runs.

    Args:
        path: the file.
        places: where each sequence lies in it.
    """

    def __init__(self, path: Path, places: Mapping[CacheKey, Place]) -> None:
        self.path, self.places = path, dict(places)
        self._bytes: np.ndarray | None = None

    def __getstate__(self) -> dict:
        return {"path": self.path, "places": self.places, "_bytes": None}

    def read_frame(self, sequence: Sequence, index: int) -> DecodedFrame:
        """Returns frame `index`; its pixels are read-only."""
        if self._bytes is None:
            self._bytes = np.memmap(self.path, np.uint8, mode="r")
        offset, (_, *shape) = self.places[_cache_key(sequence)]
        size = math.prod(shape)
        start = offset + index * size
        return DecodedFrame.from_image(np.asarray(self._bytes[start : start + size]).reshape(shape))

    @classmethod
    def build(cls, sequences: Iterable[Sequence], folder: Path | None = None, with_x: bool = True) -> FrameCache:
        """Decodes all frames, or finds the file that an earlier run made of the same ones.

        Args:
            sequences: to be cached; one that is given twice is kept once.
            folder: for the file; default: one of this user's in the temporary folder.
            with_x: False keeps RGB alone.

        Raises:
            FrameError: a frame cannot be read.
            ValueError: a sequence whose frames differ in size.
            OSError: not enough space on the disk of the folder.
        """
        if folder is None:
            user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
            folder = Path(tempfile.gettempdir()) / f"patrack-frames-{user}"
        unique = {_cache_key(sequence): sequence for sequence in sequences}

        # the file's name says what is in it: shapes, and name, size and time of every file
        places: dict[CacheKey, Place] = {}
        total, digest = 0, hashlib.sha256(f"{CACHE_VERSION}".encode())
        for key, sequence in unique.items():
            shape = (len(sequence), *decode_frame(sequence, 0, with_x).shape)
            places[key] = (total, shape)
            total += math.prod(shape)
            digest.update(f"{key}{shape}".encode())
            for files in (sequence.rgb_files, sequence.x_files if with_x else None):
                paths = dict.fromkeys(item if isinstance(item, Path) else item.path for item in files or ())
                for item in paths:
                    stat = item.stat() if item.exists() else None  # X may lack frames
                    digest.update(f"{item.name} {stat and (stat.st_size, stat.st_mtime_ns)}\n".encode())
        path = folder / f"{digest.hexdigest()[:24]}.u8"
        sums = path.with_suffix(".crc32")
        if path.is_file() and path.stat().st_size == total and sums.is_file():
            if sums.read_text(encoding="utf-8") == _crc32(path, places):
                logger.info("decoded frames: %s (%.1f GB, from an earlier run)", path, total / 1e9)
                return cls(path, places)
            logger.warning("decoded frames: %s is damaged and made anew", path)

        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_leftovers(folder)
        free = shutil.disk_usage(folder).free
        if total + SPARE_BYTES > free:
            raise OSError(
                f"data.cache_frames needs {total / 1e9:.1f} GB in {folder}, {free / 1e9:.1f} GB are free; "
                "set TMPDIR to a larger disk or data.cache_frames=false"
            )
        logger.info("decoding %d sequences into %s (%.1f GB)", len(unique), path, total / 1e9)
        # each sequence has its part of the file, so threads decode side by side
        with atomic_write(path, "wb") as file, ThreadPoolExecutor(os.cpu_count()) as pool:
            file.truncate(total)
            memory = np.memmap(file.name, np.uint8, mode="r+", shape=(total,))

            def decode(key: CacheKey) -> None:
                offset, shape = places[key]
                frames = memory[offset : offset + math.prod(shape)].reshape(shape)
                for index in range(shape[0]):
                    frame = decode_frame(unique[key], index, with_x).image()
                    if frame.shape != shape[1:]:
                        raise ValueError(
                            f"{unique[key].name}: frame {index} is {frame.shape}, frame 0 is {shape[1:]}; "
                            "set data.cache_frames=false"
                        )
                    frames[index] = frame

            for _ in tqdm(pool.map(decode, unique), "decoding frames", len(unique), leave=False, disable=None):
                pass
            memory.flush()
        with atomic_write(sums) as file:
            file.write(_crc32(path, places))
        logger.info("decoded frames: %s (%.1f GB); kept for later runs, may be deleted", path, total / 1e9)
        return cls(path, places)


def _crc32(path: Path, places: dict[CacheKey, Place]) -> str:
    """Checksums of the sequences in a file of decoded frames, a line each."""
    memory = np.memmap(path, np.uint8, mode="r")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = [memory[start : start + math.prod(shape)] for start, shape in places.values()]
        return "".join(f"{value:08x}\n" for value in pool.map(zlib.crc32, parts))


def _cache_key(sequence: Sequence) -> CacheKey:
    x = "" if sequence.x_files is None else str(sequence.x_files[0])
    how = [sequence.clip_depth, *(rule for rule in (sequence.x_range, sequence.x_transform) if rule is not None)]
    return (f"{sequence.modality}{' '.join(map(str, how))}", str(sequence.rgb_files[0]), x)


def frame_reader(config: Config, sources: list[Source]) -> ReadFrame:
    """Returns a function that reads a frame of these sources: from its files (those of X only if needed), or from
    `FrameCache` with data.cache_frames.
    """
    with_x = config.modality != "rgb"
    if not config.data.cache_frames:
        return functools.partial(decode_frame, with_x=with_x)
    sequences = (sequence for source in sources for sequence in source.sequences)
    return FrameCache.build(sequences, with_x=with_x).read_frame


def build_dataset(config: Config, sources: list[Source], frames: ReadFrame, *, training: bool) -> PairDataset:
    """Makes the samples of an experiment.

    Without `training`, brightness, the flip of single crops and modality dropout are left out, and every box is put
    where it is.

    Raises:
        ValueError: modality dropout for a model of one stream; or as `PairSampler`.
    """
    data, model, crop = config.data, config.model, config.crop
    dropout = ModalityDropout(**data.modality_dropout.model_dump())
    if training and dropout.acts and model.streams != "both":
        raise ValueError(
            f"data.modality_dropout (rgb {dropout.rgb}, x {dropout.x}) needs two streams, but model.streams is "
            f"{model.streams}: set data.modality_dropout.rgb=0 data.modality_dropout.x=0"
        )
    augment = PairAugmentation(
        template_size=model.template_size,
        search_size=model.search_size,
        template_factor=crop.template_factor,
        search_factor=crop.search_factor,
        template_jitter=(data.template_center_jitter, data.template_scale_jitter),
        search_jitter=(data.search_center_jitter, data.search_scale_jitter),
        online_jitter=(data.online_center_jitter, data.online_scale_jitter),
        template_outline=crop.template_outline,
        stretch_jitter=data.stretch_jitter if training else 0.0,
        gray_probability=data.gray_probability,
        flip_probability=data.flip_probability,
        crop_flip_probability=data.crop_flip_probability,
        brightness_jitter=data.brightness_jitter,
        dropout=dropout,
        flip_shift=1 if training and data.flip_label == "published" else 0,
        training=training,
    )
    return PairDataset(
        PairSampler(sources, data.max_gap, data.balanced, online=model.templates > 1),
        augment,
        frames,
        config.seed,
        channels=3 if config.modality == "rgb" else 6,
        redraw_on_error=data.redraw_on_error,
        region_probability=data.region_probability if training else 0.0,
    )


class EpochBatches(Sampler[list[Key]]):
    """Sample numbers that this process computes, batch by batch; `start` sets the epoch and the first batch.

    Args:
        samples: per epoch; an incomplete last batch is left out.
        batch_size: pairs per step, over all processes.
        rank: of this process.
        world_size: number of processes; each computes consecutive samples of every batch, in numbers that differ by at
            most one.

    Raises:
        ValueError: an epoch is smaller than a batch, or a batch smaller than the number of processes.
    """

    def __init__(self, samples: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        if samples < batch_size:
            raise ValueError(f"samples per epoch ({samples}) must be at least the total batch size ({batch_size})")
        if batch_size < world_size:
            raise ValueError(f"a batch of {batch_size} pairs cannot be shared by {world_size} processes; start fewer")
        self.steps, self.batch_size = samples // batch_size, batch_size
        self.share = range(rank * batch_size // world_size, (rank + 1) * batch_size // world_size)
        self.epoch = self.first = 0

    def start(self, epoch: int, first: int = 0) -> None:
        """Makes the next iteration yield batches `first`, `first` + 1, ... of `epoch`."""
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
    template = _pixels([item.template for item in crops])
    frames = [[p.source, p.sequence, p.template, p.search] for p in pairs]
    online = [item.online for item in crops if item.online is not None]
    if online:
        template = torch.stack((template, _pixels(online)), dim=1)
        frames = [[*row, p.online] for row, p in zip(frames, pairs, strict=True)]
    return Batch(
        template=template,
        search=_pixels([item.search for item in crops]),
        boxes=torch.from_numpy(np.stack([item.box for item in crops])),
        frames=torch.tensor(frames),
        modality=torch.tensor([modalities().index(p.modality) for p in pairs]) if pairs[0].modality else None,
    )


def _pixels(looks: list[Look]) -> Tensor:
    """Makes (B, C, H, W) uint8."""
    height, width, channels = looks[0].patch.shape
    out = np.empty((len(looks), channels, height, width), np.uint8)
    for look, place in zip(looks, out, strict=True):
        look.write(place)
    return torch.from_numpy(out)


def make_loader(dataset: PairDataset, batches: EpochBatches, num_workers: int, pin_memory: bool = False) -> DataLoader:
    """Makes a loader of `Batch`es whose workers live as long as it does; 0 workers: this process makes the samples."""
    workers: dict[str, Any] = {"persistent_workers": True, "prefetch_factor": PREFETCH} if num_workers else {}
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
