"""What one process of a torchrun job does in test_distributed.py: gradients, samples and weights to files.

torchrun --nproc-per-node N ddp_worker.py OUTPUT_FOLDER CASE ...
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import torch

from lib.distributed import DistributedContext, distributed_context
from lib.training.checkpoint import load_state
from lib.training.loader import PairDataset
from lib.training.manifest import check_agreement
from lib.training.samples import PairAugmentation, PairSampler, Source
from lib.training.trainer import LAST, Trainer
from patrack import build_model
from patrack import config as config_files
from patrack.recordings.frames import DecodedFrame
from patrack.recordings.sequence import Sequence
from small_models import TRAINED, TRAINED_ADAPTERS

SETTINGS = (
    *TRAINED,
    *TRAINED_ADAPTERS,
    "model.drop_path=0.4",
    "model.adapters.init=published",
    "data.samples_per_epoch=24",
    "data.val_samples=8",
    "data.num_workers=0",
    "train.total_batch_size=8",
    "train.epochs=1",
    "train.val_every=1",
    "train.grad_clip=0",
    "train.lr=1e-3",
)
CASES = {
    "adapters": ("rgbt_tiny", ()),
    "accumulated": ("rgbt_tiny", ("train.max_batch_per_process=2",)),
    "batchnorm": ("rgb_tiny", ("train.freeze_batchnorm=false",)),
    "uneven": ("rgbt_tiny", ("train.max_batch_per_process=3",)),
    "interrupted": ("rgbt_tiny", ()),
}


def read(sequence: Sequence, index: int) -> DecodedFrame:
    """A frame of noise with a bright target; every fourth target lies where its crop has no peak inside."""
    channels = 3 if sequence.x_files is None else 6
    frame = np.random.default_rng(index).integers(0, 100, (48, 64, channels), dtype=np.uint8)
    x, y, w, h = sequence.boxes[index].astype(int)
    frame[y : y + h, x : x + w] = 200
    return DecodedFrame.from_image(frame)


def make_trainer(folder: Path, name: str, overrides: tuple[str, ...], context: DistributedContext) -> Trainer:
    """A trainer on two sequences in memory, with search jitter that puts some targets outside the crop."""
    config = config_files.load(name, [*SETTINGS, *overrides])
    channels = 3 if config.modality == "rgb" else 6
    boxes = np.tile([20.0, 16.0, 12.0, 10.0], (30, 1))
    files = tuple(Path(f"{n}.png") for n in range(30))
    flags = np.ones(30, bool)
    sequence = Sequence("one", config.modality, files, files if channels == 6 else None, boxes, flags, ~flags)
    torch.manual_seed(config.seed)
    model = build_model(config)

    def data(training: bool) -> PairDataset:
        augment = PairAugmentation(template_size=32, search_size=64, search_jitter=(9.0, 0.25), training=training)
        return PairDataset(PairSampler([Source("memory", (sequence,))], 10), augment, read, config.seed, channels)

    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    return Trainer(config, model, data(True), data(False), folder, torch.device("cpu"), "", context)


def run_case(case: str, output: Path, context: DistributedContext) -> None:
    """Trains one epoch; writes the first step's gradients, the samples, the final weights."""
    name, overrides = CASES[case]
    folder = output / case
    trainer = make_trainer(folder, name, overrides, context)
    gradients: dict[str, torch.Tensor] = {}
    frames = []
    work_step, work_split = trainer.work.step, trainer.work.split

    def step() -> float:
        if not gradients:
            gradients.update({key: p.grad.clone() for key, p in trainer.work.parameters.items()})
        if case == "interrupted" and context.rank == context.world_size - 1 and trainer.position.global_step == 1:
            trainer._stop.number = 15  # only this process has seen the signal
        return work_step()

    def split(batch, total, first):
        frames.append(batch.frames)
        return work_split(batch, total, first)

    trainer.work.step, trainer.work.split = step, split
    try:
        trainer.fit()
    except Exception as error:
        if case != "interrupted":
            raise
        (folder / f"stopped_{context.rank}").write_text(str(error))
        state = context.broadcast(load_state(folder / "checkpoints" / LAST) if context.is_main else None)
        trainer = make_trainer(folder, name, overrides, context)
        torch.manual_seed(99)
        trainer.restore(state)
        trainer.fit()
    content = {"gradients": gradients, "frames": frames, "weights": trainer.model.state_dict()}
    torch.save(content, folder / f"rank_{context.rank}.pt")


def main() -> None:
    """Runs cases one after the other in the same processes."""
    output, cases = Path(sys.argv[1]), sys.argv[2:]
    torch.set_num_threads(1)
    with distributed_context() as context:
        for case in cases:
            if case == "disagree":
                lr = 0.1 + 0.1 * (context.rank == 1)
                sources = [{"name": "a", "sequences": 1 + context.rank, "frames": 9, "sha256": "0" * 64}]
                facts = {"config": {"train": {"lr": lr}}, "versions": {"torch": "1"}, "base_model_sha256": "f"}
                try:
                    check_agreement(facts | {"train": sources, "val": [], "revision": "r"}, context)
                except ValueError as error:
                    (output / f"disagree_{context.rank}").write_text(str(error))
            elif case == "die" and context.rank == 1:
                os.kill(os.getpid(), 9)
            else:
                run_case("adapters" if case == "die" else case, output, context)
    left = [thread for thread in Path("/proc/self/task").glob("*/comm") if "gloo" in thread.read_text()]
    (output / f"threads_{context.rank}").write_text(str(len(left)))


if __name__ == "__main__":
    main()
