"""Small sequences in memory and on disk, and a model of two layers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lib.training.loader import PairDataset
from lib.training.run import run_training
from lib.training.samples import PairAugmentation, PairSampler, Source
from lib.training.trainer import Trainer
from patrack import build_model
from patrack import config as config_files
from patrack.config.schema import Config
from patrack.recordings.frames import DecodedFrame
from patrack.recordings.sequence import Sequence
from patrack.weights import save_base_model
from small_models import TRAINED, TRAINED_ADAPTERS

WIDTH, HEIGHT = 64, 48
TINY = (
    *TRAINED,
    *TRAINED_ADAPTERS,
    "data.samples_per_epoch=16",
    "data.val_samples=4",
    "data.num_workers=0",
    "train.total_batch_size=4",
    "train.epochs=2",
    "train.lr=4e-4",
    "train.schedule=step",
    "train.warmup_steps=0",
    "train.lr_drop_epoch=1",
    "train.val_every=1",
    "train.checkpoint_every=1",
    "train.print_every=2",
)


@pytest.fixture(autouse=True)
def _few_threads() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def make_sequence() -> Callable[..., Sequence]:
    """Sequences without files: 30 frames, a box of 12x10 that moves to the right."""

    def make(
        name: str = "walk", length: int = 30, visible: np.ndarray | None = None, modality: str = "rgbt"
    ) -> Sequence:
        boxes = np.tile([20.0, 16.0, 12.0, 10.0], (length, 1))
        boxes[:, 0] += np.arange(length) * 0.5
        return Sequence(
            name=name,
            modality=modality,
            rgb_files=tuple(Path(f"{name}/{n}.png") for n in range(length)),
            x_files=None if modality == "rgb" else tuple(Path(f"{name}/x{n}.png") for n in range(length)),
            boxes=boxes,
            visible=np.ones(length, bool) if visible is None else visible,
            absent=np.zeros(length, bool),
        )

    return make


@pytest.fixture
def read_frame() -> Callable[[Sequence, int], DecodedFrame]:
    """Frames of `make_sequence`: noise that depends on the frame's number, a bright rectangle where the box is."""

    def read(sequence: Sequence, index: int) -> DecodedFrame:
        channels = 3 if sequence.x_files is None else 6
        noise = np.random.default_rng(index).integers(0, 100, (HEIGHT, WIDTH, channels), dtype=np.uint8)
        x, y, w, h = sequence.boxes[index].astype(int)
        noise[y : y + h, x : x + w] = 200
        return DecodedFrame.from_image(noise)

    return read


@pytest.fixture
def make_config() -> Callable[..., Config]:
    """`rgbt_tiny` (or another one) with two layers of 16 channels, and further overrides."""

    def make(*overrides: str, name: str = "rgbt_tiny") -> Config:
        return config_files.load(name, [*TINY, *overrides])

    return make


@pytest.fixture
def make_dataset(make_sequence: Callable, read_frame: Callable) -> Callable[..., PairDataset]:
    """Samples from two sequences in memory."""

    def make(seed: int = 0, read: Callable = read_frame, training: bool = True, channels: int = 6) -> PairDataset:
        sequences = tuple(make_sequence(name, modality="rgbt" if channels == 6 else "rgb") for name in ("walk", "run"))
        augment = PairAugmentation(template_size=32, search_size=64, training=training)
        return PairDataset(PairSampler([Source("memory/train", sequences)], 10), augment, read, seed, channels)

    return make


@pytest.fixture
def make_trainer(make_config: Callable, make_dataset: Callable) -> Callable[..., Trainer]:
    """A trainer on data in memory; the same arguments give the same run."""

    def make(folder: Path, *overrides: str, name: str = "rgbt_tiny", **data: object) -> Trainer:
        config = make_config(*overrides, name=name)
        channels = 3 if config.modality == "rgb" else 6
        torch.manual_seed(config.seed)
        model = build_model(config)
        train = make_dataset(config.seed, channels=channels, **data)
        val = make_dataset(config.seed, training=False, channels=channels)
        folder.mkdir(parents=True, exist_ok=True)
        return Trainer(config, model, train, val, folder, torch.device("cpu"), "")

    return make


@pytest.fixture
def data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with a small SynthRGBX RGB-T set: two sequences of 20 frames in each split."""
    monkeypatch.delenv("PATRACK_DATA", raising=False)
    root = tmp_path / "data"
    for split in ("training", "val"):
        names = []
        for number in range(2):
            names.append(f"{split}_{number}")
            _write_sequence(root / "SynthRGBX" / "rgbt" / f"{split}set" / names[-1], number)
        (root / "SynthRGBX" / "rgbt" / f"{split}setList.txt").write_text("\n".join(names) + "\n")
    return root


@pytest.fixture
def base_model(tmp_path: Path, make_config: Callable) -> Path:
    """Random base model weights of the test model's size."""
    torch.manual_seed(5)
    save_base_model(build_model(make_config()), tmp_path / "base_model.safetensors")
    return tmp_path / "base_model.safetensors"


@pytest.fixture
def train(tmp_path: Path, make_config: Callable, data_root: Path, base_model: Path) -> Callable[..., Path]:
    """Trains the RGB-T test experiment in `tmp_path/runs`."""

    def run(*overrides: str, **more: object) -> Path:
        config = make_config(f"model.base_model={base_model}", *overrides)
        return run_training(config, data_root=str(data_root), output=str(tmp_path / "runs"), **more)

    return run


def _write_sequence(folder: Path, seed: int, length: int = 20) -> None:
    for kind in ("visible", "infrared"):
        (folder / kind).mkdir(parents=True)
        for index, image in enumerate(_encoded(kind, seed, length)):
            (folder / kind / f"{kind[0]}{index:03d}.jpg").write_bytes(image)
    boxes = "".join(f"{10 + index},14,14,12\n" for index in range(length))
    for name in ("visible.txt", "infrared.txt", "init.txt"):
        (folder / name).write_text(boxes)


@functools.cache  # the tests write these few sequences many times
def _encoded(kind: str, seed: int, length: int) -> list[bytes]:
    """JPEG images of noise with a bright target that moves to the right."""
    rng = np.random.default_rng((seed, len(kind)))
    images = rng.integers(0, 100, (length, HEIGHT, WIDTH, 3), dtype=np.uint8)
    for index, image in enumerate(images):
        image[14:26, 10 + index : 24 + index] = 220
    return [cv2.imencode(".jpg", image)[1].tobytes() for image in images]
