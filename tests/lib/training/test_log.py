from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from lib.training.log import CsvLog, Pace, log_steps, log_to_file, means, open_tensorboard, read_rows

COLUMNS = ("step", "epoch", "loss")


def row(step: int) -> dict[str, float]:
    return {"step": step, "epoch": 1, "loss": step / 3}


def test_rows_are_on_disk_at_once(tmp_path: Path) -> None:
    log = CsvLog(tmp_path / "a.csv", COLUMNS)
    log.write(row(1))
    assert (tmp_path / "a.csv").read_text() == "step,epoch,loss\n1,1,0.333333333\n"
    log.close()


def test_going_on_drops_later_rows_and_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    log = CsvLog(path, COLUMNS)
    for step in range(1, 6):
        log.write(row(step))
    log.close()
    path.write_text(path.read_text() + "6,1")
    log = CsvLog(path, COLUMNS, last_step=3)
    log.write(row(4))
    log.close()
    assert [item["step"] for item in read_rows(path)] == [1, 2, 3, 4]


def test_row_with_other_columns_is_an_error(tmp_path: Path) -> None:
    log = CsvLog(tmp_path / "a.csv", COLUMNS)
    with pytest.raises(ValueError, match="extra"):
        log.write(row(1) | {"extra": 1.0})
    log.close()


def test_steps_are_logged_with_means_speed_and_data_share(caplog: pytest.LogCaptureFixture) -> None:
    losses = [dict.fromkeys(("loss", "giou", "l1", "focal", "iou"), value) for value in (1.0, 3.0)]
    rows = [
        losses[0] | {"lr": 1e-3, "samples_per_second": 4.0, "data_wait": 0.3},  # 2 s
        losses[1] | {"lr": 1e-4, "samples_per_second": 2.0, "data_wait": 0.6},  # 4 s
    ]
    with caplog.at_level(logging.INFO):
        waiting = log_steps("epoch 1/2 step 2/4", rows, samples=8, more="left: epoch 00:06, run 00:18")
    assert waiting == pytest.approx((0.3 * 2 + 0.6 * 4) / 6)
    assert "epoch 1/2 step 2/4: loss 2.0000  giou 2.0000" in caplog.text
    assert "2.7 samples/s  data 50 %  lr 0.0001  left: epoch 00:06, run 00:18" in caplog.text


class Clock:
    """Seconds that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def pace_after(*durations: float) -> Pace:
    """A pace that has seen steps of these durations, in seconds."""
    clock = Clock()
    pace = Pace(clock)
    clock.now += 500.0  # base model, workers: before the first step
    pace.start()
    for duration in durations:
        clock.now += duration
        pace.step()
    return pace


def test_time_left_is_steps_left_times_what_a_step_takes() -> None:
    assert pace_after(2.0).left(30, 3600, 0) == "left: epoch 01:00, run 2:00:00"


def test_first_step_counts_only_while_it_is_the_only_one() -> None:
    assert pace_after(60.0, 1.0, 3.0).left(10, 100, 0) == "left: epoch 00:20, run 03:20"


def test_a_machine_that_gets_slower_shows_in_the_time_left() -> None:
    fast = [1.0] * 500
    assert pace_after(*fast).left(60, 60, 0) == "left: epoch 01:00, run 01:00"
    assert pace_after(*fast, *[4.0] * Pace.SPAN).left(60, 60, 0) == "left: epoch 04:00, run 04:00"


def test_validations_to_come_are_part_of_the_run() -> None:
    pace = pace_after(2.0)
    assert pace.left(10, 20, 3, validation_steps=10) == "left: epoch 00:20, run 01:10"  # 40 + 3 * 10 * 2 / 2
    pace.validated(100.0)
    assert pace.left(10, 20, 3, validation_steps=10) == "left: epoch 00:20, run 05:40"  # 40 + 3 * 100


def test_time_between_epochs_is_part_of_no_step() -> None:
    clock = Clock()
    pace = Pace(clock)
    for _ in range(2):
        pace.start()
        for _ in range(3):
            clock.now += 1.0
            pace.step()
        clock.now += 1000.0  # validation and checkpoints
    assert pace.left(60, 60, 0) == "left: epoch 01:00, run 01:00"


def test_means_of_rows() -> None:
    rows = [dict.fromkeys(("loss", "giou", "l1", "focal", "iou"), value) for value in (1.0, 3.0)]
    assert means(rows)["giou"] == 2.0
    assert means([]) == {}


def test_log_file_gets_the_traceback_of_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    before = list(logging.getLogger().handlers)

    def fail() -> None:
        with log_to_file(path):
            logging.getLogger("x").warning("hello")
            raise ZeroDivisionError("division by zero")

    with pytest.raises(ZeroDivisionError):
        fail()
    text = path.read_text()
    assert "hello" in text
    assert "ZeroDivisionError: division by zero" in text
    assert logging.getLogger().handlers == before


def test_log_file_that_cannot_be_written_says_so_once(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with log_to_file(full):
        for number in range(3):
            logging.getLogger("test").warning("line %d", number)
    assert caplog.text.count("/dev/full is incomplete: [Errno 28]") == 1
    assert "Traceback" not in capsys.readouterr().err


def test_tensorboard_that_cannot_be_written_names_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("tensorboard")
    board = open_tensorboard(tmp_path / "tensorboard", 1)
    (tmp_path / "tensorboard").rename(tmp_path / "gone")  # as if the disk had gone; at once, the writer is at work

    def add(count: int) -> None:
        for step in range(count):
            board.add_scalar("loss", 1.0, step)
            time.sleep(0.005)

    with pytest.raises(OSError, match=r"cannot write .*tensorboard.*checkpoint"):
        add(1000)
    with pytest.raises(OSError, match=r"tensorboard: .*No such file"):
        board.close()
    assert "Traceback" not in capsys.readouterr().err
