"""A training sample: which two frames it shows, and how they become two crops and a label.

Choosing frames follows the causal rule of OSTrack and its descendants. Their samplers draw another sample after any
exception, so broken data goes unnoticed. Here only two stated rules lead to another draw (a gap without a visible
frame, an invalid crop), both inside the sample's own generator; everything else is an error that names the sample.

Then come modality dropout, jitter, flips, grayscale and brightness. Everything geometric treats the channels alike, so
RGB and X stay in register; crops stay uint8, which keeps this cheap, and are normalized on the device. Decisions are
drawn in a fixed order: another order would give other samples.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np

from lib.datasets.missing import black_rgb, substitute_x
from patrack import crop
from patrack.recordings.frames import DecodedFrame
from patrack.recordings.sequence import Sequence

__all__ = [
    "MIN_LENGTH",
    "MIN_USABLE",
    "FramePair",
    "InvalidCrop",
    "Look",
    "ModalityDropout",
    "PairAugmentation",
    "PairCrops",
    "PairSampler",
    "Source",
    "brighten",
    "draw_region",
    "flip_boxes",
    "jitter_box",
    "sample_generator",
    "usable_frames",
]

logger = logging.getLogger(__name__)

MIN_LENGTH = 20
"""Shortest sequence that is drawn from, frames."""
MIN_USABLE = 5
"""Fewest usable frames of a sequence that is drawn from: more than twice the two frames of a pair."""
GAP_GROWTH = 5
"""Frames by which the largest gap grows each time no frame for the search crop lies in it."""
LEVELS = np.arange(256.0)
LEVELS_8 = np.arange(256, dtype=np.uint8)[None]
SMALLEST = 20.0
"""sqrt(w * h) of the smallest region, pixels."""
LARGEST = 0.4
"""sqrt(w * h) of the largest region, in shorter sides of the image."""
MOST_ELONGATED = 4.0
"""Width / height of a region, or the other way round."""
LEAST_CONTRAST = 10.0
"""Standard deviation of the gray values, below which a region has nothing to be known by."""


# ---- Which two frames


@dataclass(frozen=True)
class Source:
    """One data set that pairs are drawn from.

    Attributes:
        name: shown in messages, e.g. "lasher/train".
        sequences: all of its sequences.
        weight: share of the pairs, relative to the other sources; > 0.
    """

    name: str
    sequences: tuple[Sequence, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class FramePair:
    """The origin of one sample: numbers of the source, of the sequence in it, and of the two frames (from 0)."""

    source: int
    sequence: int
    template: int
    search: int
    modality: str = field(default="", compare=False)
    """Modality of the sequence, "rgbt" for instance; empty: not known."""
    online: int | None = None
    """Frame of the second template; None: there is none."""


def sample_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Makes the generator of one training sample: a pure function of its three numbers (each below 2**32).

    So what is drawn does not depend on how many workers or processes draw, nor on where a run was interrupted.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(np.array((seed, epoch, index), np.uint32))))


def usable_frames(sequence: Sequence) -> np.ndarray:
    """Lists the frames that training may show: visible, with a finite box of positive width and height.

    Returns:
        (n,) int64, ascending.
    """
    boxes = np.asarray(sequence.boxes, np.float64)
    with np.errstate(invalid="ignore"):
        sound = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    return np.flatnonzero(sound & np.asarray(sequence.visible, bool))


class PairSampler:
    """Draws (template, search) frame pairs.

    A source by weight (of the sample's modality, if they are balanced), one of its sequences uniformly, a template
    uniformly among its usable frames, then a search frame uniformly among the usable frames in [template + 1,
    template + gap). Without one there, a new template is drawn and the gap grows by 5. A still shows template and
    search in the same image. A second, online template is drawn uniformly among the usable frames in [template,
    search): tracking begins with the first one in both places.

    Args:
        sources: data sets; stills without a usable box are left out, other sequences if shorter than 20 frames or with
            fewer than 5 usable ones.
        max_gap: frames.
        balanced: the modalities of the sources, as often as any other: sample i is of modality i mod their number.
        online: draw a second template; False consumes no random number.

    Raises:
        ValueError: there is no source, or one has no sequence left, or with `balanced` is of several modalities.
    """

    def __init__(self, sources: Items[Source], max_gap: int, balanced: bool = False, online: bool = False) -> None:
        if not sources:
            raise ValueError("no data set to draw from: data.train (or data.val) is empty")
        self.sources = tuple(sources)
        self.max_gap, self.online = max_gap, online
        self._usable: list[dict[int, np.ndarray]] = []
        self._numbers: list[np.ndarray] = []
        for source in self.sources:
            kept, total = {}, len(source.sequences)
            for number, sequence in enumerate(source.sequences):
                frames = usable_frames(sequence)
                shortest, fewest = (1, 1) if sequence.still else (MIN_LENGTH, MIN_USABLE)
                if len(sequence) >= shortest and len(frames) >= fewest:
                    kept[number] = frames
            if not kept:
                raise ValueError(
                    f"{source.name}: none of its {total} sequences has at least {MIN_LENGTH} frames, "
                    f"{MIN_USABLE} of them usable"
                )
            if len(kept) < total:
                logger.info("%s: %d of %d sequences too short, left out", source.name, total - len(kept), total)
            self._usable.append(kept)
            self._numbers.append(np.fromiter(kept, np.int64))
        groups: dict[str, list[int]] = {}
        for number, source in enumerate(self.sources):
            kinds = {sequence.modality for sequence in source.sequences} if balanced else {""}
            if len(kinds) > 1:
                raise ValueError(f"{source.name} is of several modalities, {', '.join(sorted(kinds))}: not balanced")
            groups.setdefault(kinds.pop(), []).append(number)
        self.modalities = tuple(groups) if balanced else ()
        self._groups = []  # numbers of sources that exclude each other, and the shares up to each of them
        for numbers in groups.values():
            weights = np.array([self.sources[number].weight for number in numbers], np.float64)
            self._groups.append((numbers, np.cumsum(weights / weights.sum())))

    def draw(self, rng: np.random.Generator, index: int = 0) -> FramePair:
        """Draws the pair of a sample, of which `index` is the number; consumes a varying number of values of `rng`."""
        members, cumulative = self._groups[index % len(self._groups)]
        source = members[min(int(np.searchsorted(cumulative, rng.random(), side="right")), len(members) - 1)]
        # an index from `integers` is what `rng.choice` draws, in a fraction of its time
        numbers = self._numbers[source]
        sequence = int(numbers[rng.integers(len(numbers))])
        usable = self._usable[source][sequence]
        modality = self.sources[source].sequences[sequence].modality
        if len(usable) == 1:  # a still
            only = int(usable[0])
            return FramePair(source, sequence, only, only, modality, only if self.online else None)
        gap = self.max_gap
        while True:  # ends: some template has a successor, and the gap grows until it is reached
            template = int(usable[rng.integers(len(usable) - 1)])
            first, last = np.searchsorted(usable, [template + 1, template + gap])
            if first < last:
                search = int(rng.integers(first, last))
                between = int(usable[rng.integers(first - 1, search)]) if self.online else None
                return FramePair(source, sequence, template, int(usable[search]), modality, between)
            gap += GAP_GROWTH

    def sequence(self, pair: FramePair) -> Sequence:
        """Returns the sequence that a pair was drawn from."""
        return self.sources[pair.source].sequences[pair.sequence]

    def describe(self, pair: FramePair) -> str:
        """Names data set, sequence and frames in one line, so that the pair can be found again."""
        name = self.sequence(pair).name
        online = "" if pair.online is None else f", online template frame {pair.online}"
        frames = f"template frame {pair.template}{online}, search frame {pair.search}"
        return f"{self.sources[pair.source].name}: {name}, {frames}"


# ---- What is made of them


class InvalidCrop(ValueError):
    """The frames cannot give a training sample (empty box or crop outside the image): draw another pair."""


class Look(NamedTuple):
    """A crop before its pixels are made.

    Attributes:
        patch: colors still to be converted.
        brightness: factor on all channels.
        outlined: (4,) xywh of the target, normalized by the side of the crop, to be shown by a line around it; or None.
        outline: width of that line, pixels.
    """

    patch: DecodedFrame
    brightness: float = 1.0
    outlined: np.ndarray | None = None
    outline: int = 0

    def write(self, out: np.ndarray) -> np.ndarray:
        """Writes the pixels into a contiguous (C, size, size) uint8 array and returns it."""
        first = 0
        for plane in self.patch.planes:
            stored = plane.write_channels(out[first:])
            if self.brightness != 1.0:
                brighten(out[first : first + stored], self.brightness, out[first : first + stored])
            if stored == 1:
                out[first + 1 : first + 3] = out[first]
            first += max(stored, 3)
        if self.outlined is not None:
            crop.draw_outline(np.moveaxis(out, 0, -1), self.outlined, self.outline)
        return out

    @property
    def pixels(self) -> np.ndarray:
        """(size, size, C) uint8, a view of channels that lie one after the other."""
        height, width, channels = self.patch.shape
        return np.moveaxis(self.write(np.empty((channels, height, width), np.uint8)), 0, -1)


@dataclass(frozen=True)
class PairCrops:
    """A training sample; `box`: (4,) float32, xywh of the target in the search crop, normalized by Hx, not clipped.

    `online`: a second template, if the network takes one.
    """

    template: Look
    search: Look
    box: np.ndarray
    online: Look | None = None


def jitter_box(
    box: Items[float], center_jitter: float, scale_jitter: float, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Draws the box a crop is made around: size times exp(normal * scale_jitter), center moved by at most
    center_jitter / 2 * sqrt(w h) of the new size on either axis.

    Args:
        box: (4,) xywh, pixels.

    Returns:
        (4,) xywh, pixels.
    """
    x, y, w, h = box
    grow_w, grow_h = np.exp(rng.standard_normal(2) * scale_jitter).tolist()
    new_w, new_h = w * grow_w, h * grow_h
    reach = math.sqrt(new_w * new_h) * center_jitter
    to_x, to_y = rng.random(2).tolist()
    left = x + 0.5 * w + reach * (to_x - 0.5) - 0.5 * new_w
    return left, y + 0.5 * h + reach * (to_y - 0.5) - 0.5 * new_h, new_w, new_h


def flip_boxes(box: Items[float] | np.ndarray, width: float) -> np.ndarray:
    """Mirrors an xywh box left to right in an image of which x runs from 0 to `width`."""
    x, y, w, h = box
    return np.array([width - x - w, y, w, h], np.float64)


def brighten(image: np.ndarray, factor: float, out: np.ndarray | None = None) -> np.ndarray:
    """Multiplies contiguous uint8 of any shape by a factor, rounded and clipped to 0..255; X as well, as published.

    `out`, which may be the image, is written if given; else a new array is returned.
    """
    shape, rows = image.shape, (-1, image.shape[-1])
    image, out = image.reshape(rows), None if out is None else out.reshape(rows)
    levels = np.minimum(np.rint(LEVELS * factor), 255.0)
    if (cv2.convertScaleAbs(LEVELS_8, alpha=factor)[0] == levels).all():  # nearly always; twice as fast as a table
        return cv2.convertScaleAbs(image, out, factor).reshape(shape)
    return cv2.LUT(image, levels.astype(np.uint8), out).reshape(shape)


def draw_region(frame: DecodedFrame, rng: np.random.Generator) -> np.ndarray:
    """Draws any part of a picture as a target, so that a network learns to follow the box it was given.

    Objects have edges of their own, and a network that has seen nothing else finds the object around a headlight. A
    part has no edges but its box's. Size, aspect and place are uniform, the first two in their logarithms. X is not
    looked at.

    Returns:
        (4,) float64, xywh, pixels; inside the frame.

    Raises:
        InvalidCrop: the frame is too small, or the place drawn is plain.
    """
    height, width, _ = frame.shape
    size, aspect, across, down = rng.random(4).tolist()
    largest = max(LARGEST * min(height, width), SMALLEST)
    side = SMALLEST * (largest / SMALLEST) ** size
    elongation = MOST_ELONGATED ** (2 * aspect - 1)
    w, h = side * math.sqrt(elongation), side / math.sqrt(elongation)
    if w >= width or h >= height:
        raise InvalidCrop(f"a region of {w:.0f}x{h:.0f} pixels doesn't fit into {width}x{height}")
    x, y = across * (width - w), down * (height - h)
    shown = frame.rgb().patch((int(x), int(y), math.ceil(side)), 16)[0].image()
    if cv2.meanStdDev(cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY))[1].item() < LEAST_CONTRAST:
        raise InvalidCrop(f"the region at {x:.0f}, {y:.0f} is plain")
    return np.array([x, y, w, h])


@dataclass(frozen=True)
class ModalityDropout:
    """Takes RGB or X, never both, from a (template, search) pair, so that the network can do without either.

    A missing stream is black, which is what tracking makes of it (`patrack.tracker`). A missing X may show other images
    that tell nothing, too, so that an X without information does no harm.

    Attributes:
        rgb, x: shares of the pairs that lack the stream; their sum is at most 1.
        one_frame: share of these in which only the template or only the search frame lacks it, evenly.
        x_shows: contents of a missing X, drawn evenly: kinds of `lib.datasets.missing`, or "frozen": the search
            frame shows X of the template's frame, which keeps it.
    """

    rgb: float = 0.0
    x: float = 0.0
    one_frame: float = 0.5
    x_shows: Items[str] = ("black",)

    @property
    def acts(self) -> bool:
        """True if anything is ever dropped."""
        return self.rgb > 0 or self.x > 0

    def __call__(self, frames: Items[DecodedFrame], rng: np.random.Generator) -> list[DecodedFrame]:
        """Returns the frames, maybe with one stream replaced in some of them.

        Args:
            frames: template, search, and perhaps that of an online template, which lacks what both of the others lack:
                tracking takes none of a frame that lacks what the first one had.
            rng: the sample's generator.

        Raises:
            ValueError: a frame without X.
        """
        template = frames[0]
        stream, which = rng.random(2).tolist()
        if stream >= self.rgb + self.x:
            return list(frames)
        in_template = not self.one_frame / 2 <= which < self.one_frame
        in_search = which >= self.one_frame / 2
        missing = (in_template, in_search, in_template and in_search)[: len(frames)]
        if stream < self.rgb:
            return [black_rgb(frame) if lacks else frame for frame, lacks in zip(frames, missing, strict=True)]
        kind = self.x_shows[int(rng.integers(len(self.x_shows)))]
        if kind == "frozen":
            later = [(frame, template if template.shape == frame.shape else frame) for frame in frames[1:]]
            return [template, *(DecodedFrame((frame.streams()[0], old.streams()[1])) for frame, old in later)]
        seed = rng.integers(2**32)  # one for all frames: the same color; noise is different where frames are cropped
        return [
            substitute_x(frame, kind, np.random.default_rng(seed)) if lacks else frame
            for frame, lacks in zip(frames, missing, strict=True)
        ]


@dataclass(kw_only=True)
class PairAugmentation:
    """Joint and per-crop augmentation of a (template, search) pair.

    First of all, in training only: modality dropout.
    Joint (one decision for both frames): stretch; grayscale of the RGB triple; left-right flip in the image, with
    x' = W - x - w for the left edge of a box, and by one pixel less if `flip_shift` is 1, as published.
    Per frame: jitter of the crop. Per crop, in training only: brightness, left-right flip.

    Args:
        template_size, search_size: sides of the crops, pixels.
        template_factor, search_factor: side of the cropped square in units of sqrt(w * h).
        template_jitter, search_jitter, online_jitter: (center, scale) as in `jitter_box`; the last one of a second
            template, around which tracking has a box that it predicted.
        template_outline: width of the line around the target's box in the template, pixels of the crop; 0: none.
        stretch_jitter: standard deviation of the logarithm of a factor on width / height of everything in both crops,
            which keep the area they show; 0 consumes no random number.
        gray_probability, flip_probability, crop_flip_probability: in [0, 1].
        brightness_jitter: factor uniform in 1 +- this.
        flip_shift: pixels by which the joint flip puts a box too far to the left: 1 as published, 0 in place.
        dropout: of a modality; None, or one that never drops, consumes no random number.
        training: False leaves out the per-crop part, as in published validation, and dropout.
    """

    template_size: int
    search_size: int
    template_factor: float = 2.0
    search_factor: float = 4.0
    template_jitter: tuple[float, float] = (0.0, 0.0)
    search_jitter: tuple[float, float] = (3.0, 0.25)
    online_jitter: tuple[float, float] = (0.0, 0.0)
    template_outline: int = 0
    stretch_jitter: float = 0.0
    gray_probability: float = 0.05
    flip_probability: float = 0.5
    crop_flip_probability: float = 0.5
    brightness_jitter: float = 0.2
    flip_shift: int = 1
    dropout: ModalityDropout | None = None
    training: bool = True

    def __post_init__(self) -> None:
        if not self.training:
            self.crop_flip_probability = self.brightness_jitter = 0.0
        if self.dropout is not None and not (self.training and self.dropout.acts):
            self.dropout = None

    def __call__(
        self,
        template_frame: DecodedFrame,
        template_box: np.ndarray,
        search_frame: DecodedFrame,
        search_box: np.ndarray,
        rng: np.random.Generator,
        online: tuple[DecodedFrame, np.ndarray] | None = None,
    ) -> PairCrops:
        """Crops and augments.

        Args:
            template_frame, search_frame: of 3 or 6 channels.
            template_box, search_box: (4,) float64, xywh, pixels.
            rng: the sample's generator.
            online: frame and box of a second template; without, the others consume the same random numbers.

        Raises:
            InvalidCrop: a box is empty or not finite, or a crop misses the image.
        """
        # what both frames share; the order of all draws is fixed
        frames, boxes = [template_frame, search_frame], [template_box, search_box]
        if online is not None:
            frames.append(online[0])
            boxes.append(online[1])
        if self.dropout is not None:
            frames = self.dropout(frames, rng)
        stretch = math.exp(rng.standard_normal() * self.stretch_jitter) if self.stretch_jitter else 1.0
        gray, flip = rng.random(2).tolist()
        crops = []
        kinds = (
            (self.template_size, self.template_factor, self.template_jitter),
            (self.search_size, self.search_factor, self.search_jitter),
            (self.template_size, self.template_factor, self.online_jitter),
        )
        for frame, box, (size, factor, jitter) in zip(frames, boxes, kinds, strict=False):
            if flip < self.flip_probability:
                frame, box = frame.flipped(), flip_boxes(box, frame.shape[1] - self.flip_shift)
            patch, label = self._crop(frame, box.tolist(), size, factor, jitter, stretch, rng)
            if gray < self.gray_probability:
                patch = patch.gray()
            # of this crop alone
            brightness, crop_flip = rng.random(2).tolist()
            if crop_flip < self.crop_flip_probability:
                patch, label = patch.flipped(), flip_boxes(label, 1.0)
            crops.append((Look(patch, 1.0 + self.brightness_jitter * (2.0 * brightness - 1.0)), label))
        search, label = crops[1]
        templates = [
            look._replace(outlined=target, outline=self.template_outline) if self.template_outline else look
            for look, target in (crops[0], *crops[2:])
        ]
        return PairCrops(templates[0], search, label.astype(np.float32), *templates[1:])

    @staticmethod
    def _crop(
        frame: DecodedFrame,
        box: list[float],
        size: int,
        factor: float,
        jitter: tuple[float, float],
        stretch: float,
        rng: np.random.Generator,
    ) -> tuple[DecodedFrame, np.ndarray]:
        """Cuts out the jittered, stretched square around a box; returns it and the box in it, normalized xywh."""
        height, width, _ = frame.shape
        if not (math.isfinite(sum(box)) and min(box[2:]) > 0):
            raise InvalidCrop(f"box {box} gives no crop")
        around = jitter_box(box, *jitter, rng)
        left, top, side = crop.crop_window(around, factor)
        across = down = side
        if stretch != 1.0:  # the rectangle that is a square when everything is wider by sqrt(stretch) and lower by it
            across, down = (max(round(side * share), 1) for share in (stretch**-0.5, stretch**0.5))
            x, y, w, h = around
            left, top = round(x + 0.5 * w - 0.5 * across), round(y + 0.5 * h - 0.5 * down)
        if left >= width or top >= height or left + across <= 0 or top + down <= 0:
            raise InvalidCrop(f"box {box} gives a crop outside the image of {width}x{height}")
        if stretch == 1.0:
            patch, resize_factor = frame.patch((left, top, side), size)
            return patch, crop.box_to_crop(box, around, resize_factor, size)
        scales = np.array([side / across, side / down] * 2)
        label = crop.box_to_crop(np.array(box) * scales, np.array(around) * scales, size / side, size)
        return frame.stretched_patch((left, top, across, down), size), label
