"""From the `data` section of an experiment to sources of samples."""

from __future__ import annotations

import functools
from pathlib import Path

from lib import datasets
from lib.datasets.frames import decode_frame
from lib.training.augment import PairAugmentation
from lib.training.cache import FrameCache
from lib.training.dropout import ModalityDropout
from lib.training.loader import PairDataset, ReadFrame
from lib.training.sampling import PairSampler, Source
from patrack.config.schema import Config, SourceConfig

__all__ = ["build_dataset", "frame_reader", "load_sources"]


def load_sources(config: Config, root: Path | None) -> tuple[list[Source], list[Source]]:
    """The data sets of data.train and data.val.

    Args:
        config: the experiment.
        root: folder that holds the data sets.

    Raises:
        ValueError: unknown, missing or inconsistent data sets.
    """

    def load(item: SourceConfig) -> Source:
        own = Path(item.root) if item.root else None
        excluded = set(item.exclude_attributes)
        loaded = datasets.load(item.name, item.split, own, root)
        sequences = tuple(sequence for sequence in loaded if excluded.isdisjoint(sequence.attributes))
        return Source(f"{item.name}/{item.split}", sequences, item.weight)

    val = config.data.val if config.data.val_samples else []
    return [load(item) for item in config.data.train], [load(item) for item in val]


def build_dataset(config: Config, sources: list[Source], frames: ReadFrame, *, training: bool) -> PairDataset:
    """Samples of an experiment.

    Args:
        config: the experiment.
        sources: what to draw from.
        frames: reads a frame.
        training: False leaves out brightness, the flip of single crops and modality dropout, and puts every box
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
    channels = 3 if config.modality == "rgb" else 6
    sampler = PairSampler(sources, data.max_gap)
    return PairDataset(
        sampler,
        augment,
        frames,
        config.seed,
        channels,
        data.redraw_on_error,
        data.region_probability if training else 0.0,
    )


def frame_reader(config: Config, sources: list[Source]) -> ReadFrame:
    """Reads a frame of these sources: from its files (those of X only if needed), or from `FrameCache` with
    data.cache_frames.
    """
    with_x = config.modality != "rgb"
    if not config.data.cache_frames:
        return functools.partial(decode_frame, with_x=with_x)
    sequences = (sequence for source in sources for sequence in source.sequences)
    return FrameCache.build(sequences, with_x=with_x).read_frame
