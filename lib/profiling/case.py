"""What is measured and how: an experiment's untrained network on made-up frames, timed in turns.

In turns, so that a machine that is busy for a while slows all that is compared alike.
"""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib import datasets
from lib.datasets import Sequence
from lib.synthetic import generate
from lib.synthetic.scene import MODALITIES
from lib.training.checkpoint import seed_everything
from patrack import Tracker, build_model
from patrack import config as configs
from patrack.build import tracker_of
from patrack.config.schema import Config
from patrack.fused import FusedNetwork
from patrack.network import Network
from patrack.predictor import PRECISIONS, PlainNetwork, Predictor, tracking_network

__all__ = [
    "Case",
    "Effort",
    "Row",
    "exact",
    "in_turns",
    "median",
    "peak_memory",
    "predict",
    "reset_peak_memory",
    "untrained_model",
]

Run = Callable[[], object]
LEAST_ROUNDS = 3
FRAMES, QUICK_FRAMES = 40, 6


@dataclass(frozen=True)
class Effort:
    """Number of measurements, and time for them.

    Attributes:
        repeats: rounds, unless they take too long.
        warm_up: rounds before them that don't count.
        seconds: after which a measurement ends, with three rounds at least.
    """

    repeats: int = 20
    warm_up: int = 2
    seconds: float = 60.0


def untrained_model(config: Config) -> Network:
    """Build an experiment's network with initial weights, whose boxes keep their size.

    Any untrained network finds some box, but usually one twice as large as the last, and soon crops would be far larger
    than the image, which costs time that trained weights don't cost.
    """
    seed_everything(config.seed)
    model = build_model(config).eval()
    share = 1.0 / config.crop.search_factor  # of the search crop's side
    bias = model.head.size[-1].bias
    assert isinstance(bias, Tensor)
    nn.init.constant_(bias, math.log(share / (1.0 - share)))
    return model


def predict(predictor: Predictor, crops: Mapping[int, np.ndarray]) -> dict[int, list[float]]:
    """Take one step: the crops' bytes to the device, network, boxes back, all by slot."""
    predictor.launch(crops)
    return predictor.fetch()


@dataclass
class Case:
    """Settings, network and frames that all sections share.

    Attributes:
        config_name, overrides: experiment, and `key=value` settings that change it.
        folder: for files that are made up; belongs to this case.
        image_size: width and height of frames, pixels.
        batch: pairs per training step; None: see `lib.profiling.sections.batch_size`.
        quick: few points on each curve.
    """

    config_name: str
    overrides: tuple[str, ...]
    device: torch.device
    effort: Effort
    folder: Path
    image_size: tuple[int, int] = (640, 480)
    batch: int | None = None
    quick: bool = False
    _folded: dict[str, FusedNetwork] = field(default_factory=dict, repr=False)

    @cached_property
    def config(self) -> Config:
        """Settings of the experiment."""
        return configs.load(self.config_name, self.overrides)

    def changed(self, *overrides: str) -> Case:
        """Copy the case with other settings."""
        return replace(self, overrides=(*self.overrides, *overrides), _folded={})

    @cached_property
    def model(self) -> Network:
        """Network as it is trained, fp32, in eval mode."""
        pairs = self.config.model.modalities  # of a joint network, that of its first pair
        return untrained_model(self.config).to(self.device).of_modality(pairs[0] if pairs else None)

    @property
    def precisions(self) -> list[str]:
        """Precisions that are compared on this device; fp16 is slow on CPUs."""
        return ["fp32", "bf16", "fp16"] if self.device.type == "cuda" else ["fp32", "bf16"]

    @property
    def rows(self) -> int:
        """Token sequences per target: one per stream."""
        return 2 if self.config.model.streams == "both" else 1

    @property
    def tokens(self) -> int:
        """Tokens of templates and search crop together, per stream."""
        model = self.config.model
        crops = [model.template_size] * model.templates + [model.search_size]
        return sum((size // model.patch_size) ** 2 for size in crops)

    def folded(self, precision: str) -> FusedNetwork:
        """Give the network that tracks; it is folded once in fp32, then rounded."""
        if not self._folded:
            network = tracking_network(self.model, "fp32")
            assert isinstance(network, FusedNetwork)
            self._folded["fp32"] = network
        if precision not in self._folded:
            self._folded[precision] = copy.deepcopy(self._folded["fp32"]).to(PRECISIONS[precision])
        return self._folded[precision]

    def inputs(self, network: FusedNetwork | PlainNetwork) -> tuple[Tensor, Tensor]:
        """Make a network's arguments for one target, on the device: the template's tokens and a search crop."""
        model = self.config.model
        template, search = (
            torch.from_numpy(self.image(side)).unsqueeze(0).to(self.device)
            for side in (model.template_size, model.search_size)
        )
        embedded = network.embed_template(template)
        several = network.templates > 1
        return embedded.unsqueeze(1).repeat_interleave(network.templates, 1) if several else embedded, search

    def image(self, size: int | tuple[int, int], seed: int = 0) -> np.ndarray:
        """Make noise of the network's channels: (H, W, C) uint8; `size` is the side or (width, height), pixels."""
        width, height = (size, size) if isinstance(size, int) else size
        channels = 6 if self.rows == 2 else 3
        return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Target in the middle, xywh in pixels, with its search crop inside the image."""
        width, height = self.image_size
        return 0.4375 * width, 0.4375 * height, width / 8, height / 8

    def predictor(self, precision: str, slots: int = 1) -> Predictor:
        """Make a predictor whose slots all have a target."""
        predictor = self.tracker(self.folded(precision)).predictor(slots)
        for slot in range(slots):
            predictor.set_template(slot, self.image(self.config.model.template_size))
        return predictor

    def step(self, precision: str, slots: int = 1) -> Callable[[], object]:
        """Make a call of `predict` with as many targets as slots, on crops in memory."""
        predictor = self.predictor(precision, slots)
        crops = {slot: self.image(self.config.model.search_size, seed=slot) for slot in range(slots)}
        return lambda: predict(predictor, crops)

    def tracker(self, network: nn.Module) -> Tracker:
        """Make a tracker with the experiment's settings around a network from `folded`, or another."""
        return tracker_of(network, self.config, self.device)

    @property
    def synthetic_modality(self) -> str:
        """Modality of the SynthRGBX set that stands for the experiment's data."""
        return self.config.modality if self.config.modality in MODALITIES else MODALITIES[0]

    def test_sequence(self) -> Sequence:
        """Draw the one sequence that is followed."""
        return self.sequences("test", 1, QUICK_FRAMES if self.quick else FRAMES)[0]

    def sequences(self, split: str, count: int, length: int) -> list[Sequence]:
        """Draw SynthRGBX sequences of `image_size` into `folder` (JPEG pairs; X of RGB-D is PNG)."""
        modality = self.synthetic_modality
        root = self.folder / "SynthRGBX" / modality
        generate(root, modality, split, count, length, self.image_size, self.config.seed)
        return datasets.load(f"synth{modality}", split, data_root=self.folder)


# ---- Timing things against each other, and the numbers that come of it, each with its unit and spread


def in_turns(
    runs: Mapping[str, Run], device: torch.device, effort: Effort, before: Run | None = None
) -> dict[str, np.ndarray]:
    """Call every run once a round, in an order of its own, so that none always follows the same other one.

    Args:
        runs: by name.
        device: waited for at both ends of every call.
        before: called ahead of each run, not timed.

    Returns:
        Seconds by name, (rounds,); what is compared should be divided round by round.
    """

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    names, rng = list(runs), np.random.default_rng(0)
    rounds: list[dict[str, float]] = []
    start = time.perf_counter()
    for number in range(effort.warm_up + effort.repeats):
        if number == effort.warm_up:  # what came before doesn't count
            start, rounds = time.perf_counter(), []
        seconds = {}
        for name in names if number < effort.warm_up else rng.permutation(names).tolist():
            if before is not None:
                before()
            wait()
            begin = time.perf_counter()
            runs[name]()
            wait()
            seconds[name] = time.perf_counter() - begin
        rounds.append(seconds)
        if number >= effort.warm_up and len(rounds) >= LEAST_ROUNDS and time.perf_counter() - start > effort.seconds:
            break
    return {name: np.array([one[name] for one in rounds]) for name in names}


def reset_peak_memory(device: torch.device) -> None:
    """Begin a new `peak_memory`; on a CPU there is no such thing."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> tuple[float, str]:
    """Read the most memory used, MiB, and say what that means.

    On a GPU, of tensors since `reset_peak_memory`; on a CPU, of the whole process since its start.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20, "tensors on the GPU"
    import resource  # not there on Windows

    unit = 1 if sys.platform == "darwin" else 2**10
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return most / 2**20, "ru_maxrss: the whole process since its start, so it never falls"


@dataclass(frozen=True)
class Row:
    """One number.

    Attributes:
        key: section.name, the same in every run; bounds refer to it.
        text: what it is.
        value: the median, or the number itself.
        unit: "" for ratios.
        low, high: quartiles; None for what wasn't measured repeatedly.
        rounds: measurements behind it.
        precision: of weights and activations; "" where there are none.
        at: batch size, tokens, ... for a number on a curve.
        note: what to keep in mind.
    """

    key: str
    text: str
    value: float
    unit: str = ""
    low: float | None = None
    high: float | None = None
    rounds: int = 1
    precision: str = ""
    at: float | None = None
    note: str = ""


def median(key: str, text: str, values: np.ndarray, unit: str = "", **more: Any) -> Row:
    """Make a row of repeated measurements (rounds,)."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return Row(key, text, middle, unit, low, high, len(values), **more)


def exact(key: str, text: str, value: float, unit: str = "", **more: Any) -> Row:
    """Make a row of one number."""
    return Row(key, text, float(value), unit, **more)
