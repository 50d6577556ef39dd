"""The case that is measured: an experiment's network with untrained weights, and made-up frames."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lib import datasets
from lib.datasets import Sequence
from lib.profiling.timing import Effort
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

__all__ = ["Case", "predict", "untrained_model"]

FRAMES, QUICK_FRAMES = 40, 6


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
        config_name: experiment.
        overrides: `key=value` settings.
        device: where it computes.
        effort: how often things are measured.
        folder: for files that are made up; belongs to this case.
        image_size: width and height of frames, pixels.
        batch: pairs per training step; None: see `lib.profiling.training.batch_size`.
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
        return untrained_model(self.config).to(self.device)

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
        """Tokens of template and search crop together, per stream."""
        model = self.config.model
        return sum((size // model.patch_size) ** 2 for size in (model.template_size, model.search_size))

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
        return network.embed_template(template), search

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
