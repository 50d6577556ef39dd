import time

import numpy as np
import torch

from lib.profiling.case import Effort, in_turns, median, peak_memory

CPU = torch.device("cpu")


def test_every_run_takes_part_in_every_round_at_changing_places():
    calls = []
    times = in_turns({name: lambda name=name: calls.append(name) for name in "abc"}, CPU, Effort(6, 1, 60.0))
    rounds = ["".join(calls[start : start + 3]) for start in range(0, len(calls), 3)]
    assert [sorted(one) for one in rounds] == [["a", "b", "c"]] * 7
    assert {one[0] for one in rounds} == {"a", "b", "c"}
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 6, "b": 6, "c": 6}


def test_long_measurement_ends_after_three_rounds():
    times = in_turns({"a": lambda: time.sleep(0.002)}, CPU, Effort(50, 0, 0.001))
    assert len(times["a"]) == 3
    assert times["a"].min() >= 0.002


def test_preparation_is_not_timed():
    times = in_turns({"a": lambda: None}, CPU, Effort(3, 0, 1.0), before=lambda: time.sleep(0.01))
    assert times["a"].max() < 0.01


def test_peak_memory_of_a_cpu_says_what_it_is():
    most, note = peak_memory(CPU)
    assert most > 50  # MiB: torch alone takes more
    assert "ru_maxrss" in note


def test_median_has_quartiles_and_number_of_rounds():
    row = median("step.crop", "crop", np.array([4.0, 1.0, 2.0, 3.0, 5.0]), "ms")
    assert (row.value, row.low, row.high, row.rounds) == (3.0, 2.0, 4.0, 5)
