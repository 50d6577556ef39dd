from __future__ import annotations

import logging
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lib.training.checkpoint import Position, load_state
from lib.training.loader import Batch
from lib.training.log import STEP_COLUMNS, VALIDATION_COLUMNS, Pace, read_rows
from lib.training.step import MicroBatch
from lib.training.trainer import LAST, Interrupted, Trainer
from patrack import adapter_parameters

TIMES = ("samples_per_second", "data_wait")


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def history(folder: Path) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if key not in TIMES} for row in read_rows(folder / "train.csv")]


def stop_at(trainer: Trainer, step: int, number: int = signal.SIGTERM) -> None:
    """Sends the process a signal in the middle of a step (from 1, over the whole run)."""
    inner = trainer.work.loss

    def loss(batch: object, part: MicroBatch) -> object:
        if torch.is_grad_enabled() and trainer.position.global_step + 1 == step:
            os.kill(os.getpid(), number)
        return inner(batch, part)

    trainer.work.loss = loss


def test_two_runs_with_one_seed_are_identical_for_twenty_steps(tmp_path: Path, make_trainer: Callable) -> None:
    runs = []
    for name in "ab":
        trainer = make_trainer(tmp_path / name, "data.samples_per_epoch=40")
        trainer.fit()
        runs.append((history(tmp_path / name), weights(trainer)))
    assert len(runs[0][0]) == 20
    assert runs[0][0] == runs[1][0]
    assert equal(runs[0][1], runs[1][1])


def test_another_seed_is_another_run(tmp_path: Path, make_trainer: Callable) -> None:
    for seed in (0, 1):
        make_trainer(tmp_path / str(seed), f"seed={seed}", "train.epochs=1").fit()
    assert history(tmp_path / "0") != history(tmp_path / "1")


@pytest.mark.parametrize("name", ["rgbt_tiny", "rgb_tiny"])
@pytest.mark.parametrize("step", [1, 2, 4, 7], ids=["first step", "mid-epoch", "end of an epoch", "second epoch"])
def test_stopped_and_resumed_run_is_bit_identical(tmp_path: Path, make_trainer: Callable, step: int, name: str) -> None:
    whole = make_trainer(tmp_path / "whole", name=name)
    whole.fit()

    stopped = make_trainer(tmp_path / "stopped", name=name)
    stop_at(stopped, step)
    with pytest.raises(Interrupted) as caught:
        stopped.fit()
    assert caught.value.exit_code == 143
    assert len(history(tmp_path / "stopped")) == step

    torch.manual_seed(999)  # nothing may depend on the state that a new process happens to have
    resumed = make_trainer(tmp_path / "stopped", name=name)
    resumed.restore(load_state(tmp_path / "stopped" / "checkpoints" / LAST))
    resumed.fit()
    assert equal(weights(whole), weights(resumed))
    assert history(tmp_path / "whole") == history(tmp_path / "stopped")
    assert read_rows(tmp_path / "whole" / "validation.csv") == read_rows(tmp_path / "stopped" / "validation.csv")


def test_run_that_died_without_a_word_goes_on_from_its_last_epoch(tmp_path: Path, make_trainer: Callable) -> None:
    make_trainer(tmp_path / "whole").fit()
    died = make_trainer(tmp_path / "died")
    inner = died.work.loss

    def loss(batch: object, part: MicroBatch) -> object:
        if died.position.global_step == 6:
            raise MemoryError
        return inner(batch, part)

    died.work.loss = loss
    with pytest.raises(MemoryError):
        died.fit()
    resumed = make_trainer(tmp_path / "died")
    resumed.restore(load_state(tmp_path / "died" / "checkpoints" / LAST))
    assert resumed.position.global_step == 4
    resumed.fit()
    assert history(tmp_path / "whole") == history(tmp_path / "died")


def test_signal_in_validation_keeps_the_epoch(tmp_path: Path, make_trainer: Callable) -> None:
    make_trainer(tmp_path / "whole").fit()
    trainer = make_trainer(tmp_path / "stopped")
    inner = trainer.work.loss

    def loss(batch: object, part: MicroBatch) -> object:
        if not torch.is_grad_enabled():
            os.kill(os.getpid(), signal.SIGTERM)
        return inner(batch, part)

    trainer.work.loss = loss
    with pytest.raises(Interrupted):
        trainer.fit()
    state = load_state(tmp_path / "stopped" / "checkpoints" / LAST)
    assert (state.epoch, state.step) == (1, 4)
    resumed = make_trainer(tmp_path / "stopped")
    resumed.restore(state)
    resumed.fit()
    assert history(tmp_path / "whole") == history(tmp_path / "stopped")
    assert read_rows(tmp_path / "whole" / "validation.csv") == read_rows(tmp_path / "stopped" / "validation.csv")


def test_run_that_died_after_validation_has_one_row_for_it(tmp_path: Path, make_trainer: Callable) -> None:
    make_trainer(tmp_path / "whole").fit()
    died = make_trainer(tmp_path / "died")
    inner = died.validate

    def validate() -> None:
        inner()
        raise MemoryError

    died.validate = validate
    with pytest.raises(MemoryError):
        died.fit()
    resumed = make_trainer(tmp_path / "died")
    resumed.restore(load_state(tmp_path / "died" / "checkpoints" / LAST))
    resumed.fit()
    assert read_rows(tmp_path / "whole" / "validation.csv") == read_rows(tmp_path / "died" / "validation.csv")


def test_each_epoch_draws_new_samples_and_each_validation_the_same(tmp_path: Path, make_trainer: Callable) -> None:
    trainer = make_trainer(tmp_path / "run")
    inner = trainer.work.loss
    seen: dict[tuple[bool, int], list] = {}

    def loss(batch: Batch, part: MicroBatch) -> object:
        seen.setdefault((torch.is_grad_enabled(), trainer.position.epoch), []).extend(batch.pairs())
        return inner(batch, part)

    trainer.work.loss = loss
    trainer.fit()
    assert {key: len(pairs) for key, pairs in seen.items()} == {
        (True, 1): 16,
        (False, 1): 4,
        (True, 2): 16,
        (False, 2): 4,
    }
    assert seen[True, 1] != seen[True, 2]
    assert seen[False, 1] == seen[False, 2]


def test_signal_handlers_are_put_back(tmp_path: Path, make_trainer: Callable) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    make_trainer(tmp_path / "run", "train.epochs=1").fit()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_frozen_weights_and_batchnorm_statistics_stay_and_adapters_move(tmp_path: Path, make_trainer: Callable) -> None:
    trainer = make_trainer(tmp_path / "run", "model.adapters.init=published", "train.freeze_batchnorm=false")
    before, adapters = weights(trainer), adapter_parameters(trainer.model).keys()
    trainer.fit()
    after = weights(trainer)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == adapters


@pytest.mark.parametrize("freeze", [True, False])
def test_batchnorm_statistics_move_only_when_asked(tmp_path: Path, make_trainer: Callable, freeze: bool) -> None:
    options = (f"train.freeze_batchnorm={str(freeze).lower()}", "train.epochs=1")
    trainer = make_trainer(tmp_path / "run", *options, name="rgb_tiny")
    before = weights(trainer)
    trainer.fit()
    after = weights(trainer)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert ("head.score.0.bn.running_mean" in moved) != freeze
    assert {"backbone.patch_embed.proj.weight", "head.score.4.weight", "backbone.pos_embed_x"} <= moved


def test_stochastic_depth_acts_in_training_and_not_in_validation(tmp_path: Path, make_trainer: Callable) -> None:
    seen = []
    trainer = make_trainer(tmp_path / "run", "model.drop_path=0.5", "train.epochs=1")
    inner = trainer.work.loss

    def loss(batch: object, part: MicroBatch) -> object:
        modes = {module.training for module in trainer.model.modules() if not isinstance(module, nn.BatchNorm2d)}
        norms = {module.training for module in trainer.model.modules() if isinstance(module, nn.BatchNorm2d)}
        seen.append((torch.is_grad_enabled(), modes, norms))
        return inner(batch, part)

    trainer.work.loss = loss
    trainer.fit()
    assert all(norms == {False} for _, _, norms in seen)
    assert all(modes == {grad} for grad, modes, _ in seen)
    assert {grad for grad, _, _ in seen} == {True, False}


def test_keep_ratio_of_each_epoch_reaches_the_model(tmp_path: Path, make_trainer: Callable) -> None:
    trainer = make_trainer(
        tmp_path / "run",
        "train.epochs=3",
        "model.elimination.keep_ratio=0.5",
        "model.elimination.start_epoch=2",
        "model.elimination.warmup_epochs=1",
    )
    ratios = []
    inner = trainer.model.set_keep_ratio
    trainer.model.set_keep_ratio = lambda ratio: (ratios.append(ratio), inner(ratio))
    trainer.fit()
    assert ratios == [1.0, 1.0, 0.5]


def test_nan_loss_stops_and_names_sequences_and_frames(
    tmp_path: Path, make_trainer: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make_trainer(tmp_path / "run")
    inner = trainer.work.loss

    def loss(batch: object, part: MicroBatch) -> object:
        value, parts = inner(batch, part)
        if trainer.position.global_step == 5:
            return value * torch.nan, parts | {"loss": torch.tensor(torch.nan)}
        return value, parts

    trainer.work.loss = loss
    with caplog.at_level(logging.ERROR), pytest.raises(FloatingPointError) as caught:
        trainer.fit()
    message = str(caught.value)
    assert message.startswith("loss is nan in epoch 2, step 2")
    assert message.count("template frame") == 4
    assert "memory/train: " in message
    assert "lower train.lr (now 0.0004)" in message
    assert "template frame" not in caplog.text  # said once, by whoever catches it
    state = load_state(tmp_path / "run" / "checkpoints" / LAST)
    assert state.global_step == 4
    assert all(tensor.isfinite().all() for tensor in state.model.values())


def test_large_failing_batch_is_named_without_saying_a_pair_twice(
    tmp_path: Path, make_trainer: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make_trainer(tmp_path / "run", "train.total_batch_size=12")
    with torch.no_grad():
        trainer.model.head.size[4].weight.fill_(torch.nan)
    with caplog.at_level(logging.ERROR), pytest.raises(FloatingPointError, match="and 4 more") as caught:
        trainer.fit()
    assert str(caught.value).count("template frame") == 8
    assert caplog.text.count("template frame") == 4


def test_weights_that_are_not_finite_replace_no_checkpoint(tmp_path: Path, make_trainer: Callable) -> None:
    trainer = make_trainer(tmp_path / "run")
    path = trainer.folder / "checkpoints" / LAST
    trainer.save()
    before = path.read_bytes()
    with torch.no_grad():
        next(iter(trainer.work.parameters.values())).fill_(torch.inf)
    with pytest.raises(FloatingPointError, match=r"1 of \d+ .* NaN or infinity after step 0"):
        trainer.save()
    assert path.read_bytes() == before


def test_validation_that_is_not_finite_ends_the_run(tmp_path: Path, make_trainer: Callable) -> None:
    trainer = make_trainer(tmp_path / "run", "train.epochs=1")
    trainer.work.losses = lambda pieces: torch.full((5,), torch.nan)
    with pytest.raises(FloatingPointError, match="validation loss after epoch 1, step 4 is nan"):
        trainer.fit()
    assert read_rows(tmp_path / "run" / "validation.csv") == []


def test_nan_weight_stops_at_the_first_step(tmp_path: Path, make_trainer: Callable) -> None:
    trainer = make_trainer(tmp_path / "run")
    with torch.no_grad():
        trainer.model.head.size[4].weight.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="loss is nan in epoch 1, step 1"):
        trainer.fit()


def test_csv_logs_are_complete(tmp_path: Path, make_trainer: Callable) -> None:
    make_trainer(tmp_path / "run").fit()
    rows = read_rows(tmp_path / "run" / "train.csv")
    assert tuple(rows[0]) == STEP_COLUMNS
    assert [(row["step"], row["epoch"]) for row in rows] == [(k + 1, k // 4 + 1) for k in range(8)]
    assert [row["lr"] for row in rows] == pytest.approx([4e-4] * 4 + [4e-5] * 4)
    for row in rows:
        weighted = 2 * row["giou"] + 5 * row["l1"] + row["focal"]
        assert row["loss"] == pytest.approx(weighted, rel=1e-5)
        assert 0 <= row["data_wait"] <= 1
        assert row["samples_per_second"] > 0
        assert row["grad_norm"] > 0
    validation = read_rows(tmp_path / "run" / "validation.csv")
    assert tuple(validation[0]) == VALIDATION_COLUMNS
    assert [row["epoch"] for row in validation] == [1, 2]


def test_checkpoints_are_kept_every_n_epochs_and_at_the_end(tmp_path: Path, make_trainer: Callable) -> None:
    make_trainer(tmp_path / "run", "train.epochs=5", "train.checkpoint_every=2", "train.val_every=9").fit()
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["epoch_0002.pt", "epoch_0004.pt", "epoch_0005.pt", "last.pt"]


def test_bf16_trains(tmp_path: Path, make_trainer: Callable) -> None:
    make_trainer(tmp_path / "run", "train.precision=bf16", "train.epochs=1").fit()
    assert len(history(tmp_path / "run")) == 4


def steps_said(text: str) -> list[tuple[str, str]]:
    """Position and rest of every line about steps."""
    return re.findall(r"epoch (\d+/\d+ step \d+/\d+): .*(left: .*)", text)


def test_first_steps_are_logged_one_by_one_and_later_ones_as_asked(
    tmp_path: Path, make_trainer: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    trainer = make_trainer(tmp_path, "train.print_every=50", "data.samples_per_epoch=32")
    trainer.fit()
    assert [place for place, _ in steps_said(caplog.text)] == [
        *(f"1/2 step {step}/8" for step in (1, 2, 5, 8)),
        *("2/2 step 2/8", "2/2 step 8/8"),  # the 10th of the run, and the last of an epoch
    ]
    assert caplog.text.count("waiting for data") <= 1


def test_time_left_after_going_on_counts_the_steps_that_are_left(
    tmp_path: Path, make_trainer: Callable, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_trainer(tmp_path / "first", "train.epochs=50", "train.val_every=20")
    first.position = Position(epoch=41, step=2, global_step=40 * 4 + 2, seconds=9999.0)
    trainer = make_trainer(tmp_path / "second", "train.epochs=50", "train.val_every=20")
    trainer.restore(first.state())
    asked = []

    def left(self: Pace, *counts: float) -> str:
        asked.append(counts)
        trainer._stop.number = signal.SIGINT  # ends it after one more step
        return "left: soon"

    monkeypatch.setattr(Pace, "left", left)
    with pytest.raises(Interrupted):
        trainer.fit()
    # one step of this epoch, and 9 epochs of 4; one validation, after the last epoch; 4 pairs in one step
    assert asked[0] == (1, 1 + 9 * 4, 1, 1.0)


def test_outlook_on_a_gpu_has_its_memory(
    tmp_path: Path, make_trainer: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(tmp_path)
    trainer._pace.step()
    assert "GPU" not in trainer._outlook()
    trainer.device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**30 if device.type == "cuda" else 0)
    assert trainer._outlook().endswith("GPU memory 3.0 GiB")


def test_waiting_for_data_is_said_once_an_epoch(
    tmp_path: Path, make_trainer: Callable, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lib.training.log.DATA_WAIT_LIMIT", -1.0)  # any share is above
    trainer = make_trainer(tmp_path, "data.samples_per_epoch=48")
    trainer.fit()
    lines = [record.message for record in caplog.records if "waiting for data" in record.message]
    assert len(lines) == 2
    assert "raise data.num_workers (now 0) or set data.cache_frames" in lines[0]
