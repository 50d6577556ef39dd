"""torchrun with gloo: however a batch is split over processes and parts, the outcome is the same."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest
import torch

from commands import load_command
from lib import distributed
from lib.distributed import DistributedContext, device_of, distributed_context, rank_and_world, reason_of
from lib.training.manifest import read_manifest
from lib.training.run import run_training
from patrack import config as config_files
from patrack.weights import read_tensors
from small_models import TRAINED

ROOT = Path(__file__).parents[3]
WORKER = Path(__file__).with_name("ddp_worker.py")
SMALL = (
    *TRAINED,
    "data.train.0.name=synthrgbt",
    "data.samples_per_epoch=24",
    "data.val_samples=0",
    "data.num_workers=0",
    "train.total_batch_size=8",
    "train.epochs=1",
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[list[str]], Path]]:
    """Starts a torchrun job; returns the file of what it prints, for `finish`."""
    environment = {key: value for key, value in os.environ.items() if key != "PATRACK_DATA"}
    environment |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name("launcher.py"))]
    folder = tmp_path_factory.mktemp("jobs")
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, text=True, bufsize=1, start_new_session=True
    ) as launcher:

        def give(words: list[str]) -> Path:
            log = folder / f"{len(list(folder.iterdir()))}.log"
            log.touch()
            launcher.stdin.write(json.dumps([["--nproc-per-node", *words], str(log)]) + "\n")
            return log

        yield give
        os.killpg(launcher.pid, signal.SIGKILL)  # with every job that hasn't ended


def finish(log: Path) -> tuple[int, str]:
    """Waits for a job; its exit code and all that it printed."""
    end, code = time.monotonic() + 100, log.with_name(f"{log.name}.code")
    while not code.exists():
        assert time.monotonic() < end, f"a job has not ended; it said:\n{log.read_text()}"
        time.sleep(0.02)
    return int(code.read_text()), log.read_text()


@pytest.fixture(scope="module")
def worker() -> ModuleType:
    return load_command(str(WORKER))


@pytest.fixture(scope="module")
def one_process(worker: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict]:
    """What a single process computes for a case."""
    folder = tmp_path_factory.mktemp("one")
    torch.set_num_threads(1)

    def compute(case: str) -> dict:
        path = folder / case / "rank_0.pt"
        if not path.exists():
            worker.run_case(case, folder, DistributedContext())
        return torch.load(path)

    return compute


@pytest.fixture(scope="module")
def two_processes(start: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case, computed in one torchrun job of two processes."""
    folder = tmp_path_factory.mktemp("two")
    cases = ["adapters", "accumulated", "uneven", "batchnorm", "interrupted", "disagree"]
    code, said = finish(start(["2", "--standalone", str(WORKER), str(folder), *cases]))
    assert code == 0, said
    return folder


def largest_error(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Over all tensors, relative to the largest value of any."""
    assert a.keys() == b.keys()
    errors = [float((a[name].double() - b[name].double()).abs().max()) for name in a]
    return max(errors) / max(float(tensor.abs().max()) for tensor in a.values())


@pytest.mark.parametrize("case", ["adapters", "accumulated", "uneven", "batchnorm"])
def test_two_processes_compute_what_one_does(two_processes: Path, one_process: Callable, case: str) -> None:
    whole = one_process("batchnorm" if case == "batchnorm" else "adapters")
    parts = [torch.load(two_processes / case / f"rank_{rank}.pt") for rank in range(2)]
    assert all(torch.equal(parts[0]["weights"][key], parts[1]["weights"][key]) for key in whole["weights"])
    for step, frames in enumerate(whole["frames"]):  # three training batches and one of validation
        assert torch.equal(frames, torch.cat([part["frames"][step] for part in parts]))
    assert largest_error(whole["gradients"], parts[0]["gradients"]) < 1e-5
    assert largest_error(whole["weights"], parts[0]["weights"]) < 1e-5


@pytest.mark.parametrize("case", ["accumulated", "uneven"])
def test_accumulated_parts_give_the_gradients_of_the_whole(one_process: Callable, case: str) -> None:
    whole, parts = one_process("adapters"), one_process(case)
    assert largest_error(whole["gradients"], parts["gradients"]) < 1e-5


def test_gradients_depend_on_every_sample_and_mask(one_process: Callable, worker: ModuleType, tmp_path: Path) -> None:
    """The comparisons above could fail: half of the batch, or other masks, give other gradients."""
    worker.CASES["other masks"] = ("rgbt_tiny", ("model.drop_path=0.41",))
    worker.run_case("other masks", tmp_path, DistributedContext())
    other = torch.load(tmp_path / "other masks" / "rank_0.pt")
    assert largest_error(one_process("adapters")["gradients"], other["gradients"]) > 1e-3


def test_signal_to_one_process_stops_all_at_one_step_and_the_rest_is_bit_identical(two_processes: Path) -> None:
    said = {(two_processes / "interrupted" / f"stopped_{rank}").read_text() for rank in range(2)}
    assert len(said) == 1
    assert "stopped after step 3" in said.pop()
    for rank in range(2):
        whole = torch.load(two_processes / "adapters" / f"rank_{rank}.pt")["weights"]
        resumed = torch.load(two_processes / "interrupted" / f"rank_{rank}.pt")["weights"]
        assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_no_thread_of_the_group_outlives_it(two_processes: Path) -> None:
    """One that frees a tensor while the interpreter ends would abort a process that has done its work."""
    assert [(two_processes / f"threads_{rank}").read_text() for rank in range(2)] == ["0", "0"]


def test_processes_with_other_settings_or_data_are_told_so(two_processes: Path) -> None:
    for rank in range(2):
        said = (two_processes / f"disagree_{rank}").read_text()
        assert "process 1: train.lr: 0.1 -> 0.2" in said
        assert "process 1: train: a (1 sequences, 9 frames, 000000000000) -> a (2 sequences" in said


def test_two_machines_train_what_one_process_does(start: Callable, data_root: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = str(ROOT / "tracking" / "train.py")
    words = ["--config", "rgb_tiny", "--data-root", str(data_root), "--device", "cpu", "--threads", "1", *SMALL]
    meeting = ["--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "test"]
    jobs = [
        start(
            ["1", *meeting, "--node-rank", str(node), "--local-addr", "127.0.0.1", script, "--output", output, *words]
        )
        for node, output in enumerate((str(tmp_path / "first"), str(tmp_path / "second")))
    ]
    ends = [finish(job) for job in jobs]
    assert [code for code, _ in ends] == [0, 0], ends
    folders = [tmp_path / name for name in ("first", "second") if (tmp_path / name).exists()]
    assert len(folders) == 1  # only the first process writes; which machine has it is torchrun's choice
    manifest = read_manifest(folders[0] / "rgb_tiny")
    assert manifest["batch"] == {"total": 8, "processes": 2, "accumulation": 1, "at_once": 4}
    alone = run_training(config_files.load("rgb_tiny", SMALL), data_root=str(data_root), output=str(tmp_path / "alone"))
    weights = [read_tensors(file)[0] for file in (alone, folders[0] / "rgb_tiny" / "base_model.safetensors")]
    assert largest_error(*weights) < 1e-3  # stored in 16 bits


def test_process_that_fails_ends_all_and_the_reason_is_said(start: Callable, data_root: Path, tmp_path: Path) -> None:
    for path in (data_root / "SynthRGBX" / "rgbt" / "trainingset").glob("*/visible/v01*.jpg"):
        path.write_bytes(b"")
    words = ["--config", "rgb_tiny", "--data-root", str(data_root), "--device", "cpu", "--output", str(tmp_path)]
    code, said = finish(start(["2", "--standalone", str(ROOT / "tracking" / "train.py"), *words, *SMALL]))
    assert code == 1
    assert "SampleError: sample" in said
    assert "SampleError: sample" in said.partition("Root Cause")[2]  # torchrun names the first failure
    assert "finished:" not in said
    manifest = read_manifest(tmp_path / "rgb_tiny")
    assert manifest["status"] == "failed"
    assert "v01" in manifest["error"]


def test_process_that_is_killed_ends_all(start: Callable, tmp_path: Path) -> None:
    code, said = finish(start(["2", "--standalone", str(WORKER), str(tmp_path), "die"]))
    assert code == 1
    assert "Signal 9 (SIGKILL)" in said
    assert not (tmp_path / "adapters" / "rank_0.pt").exists()


def test_tracking_deals_out_the_sequences(start: Callable, data_root: Path, tmp_path: Path) -> None:
    words = ["--config", "rgb_tiny", "--dataset", "synthrgbt", "--split", "val", "--checkpoint", "none"]
    places = ["--data-root", str(data_root), "--output", str(tmp_path / "out"), "--device", "cpu"]
    code, said = finish(start(["2", "--standalone", str(ROOT / "tracking" / "test.py"), *words, *places, *SMALL]))
    assert code == 0, said
    assert said.count("sequences: 2 tracked, 0 kept from before, 0 failed") == 1
    for name in ("val_0", "val_1"):
        assert len((tmp_path / "out" / f"{name}.txt").read_text().splitlines()) == 20


@pytest.mark.parametrize(("rank", "world"), [("2", "2"), ("x", "2"), ("0", "-1"), ("²", "3")])
def test_variables_that_make_no_sense_are_an_error(rank: str, world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", world)
    with pytest.raises(ValueError, match="torchrun"):
        rank_and_world()


def test_one_gpu_for_many_processes_is_an_error() -> None:
    assert device_of("cuda", DistributedContext(3, 4, 1)) == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="one GPU for 4 processes"):
        device_of("cuda:0", DistributedContext(3, 4, 1))


def test_process_whose_neighbours_do_not_come_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "START_TIMEOUT", timedelta(seconds=1))
    with pytest.raises(RuntimeError, match=rf"not all 2 .*127\.0\.0\.1:{port} .*0:00:01"):
        with distributed_context():
            pass


def test_broken_connection_is_said_in_words() -> None:
    error = RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer")
    assert "another process has ended without a word" in reason_of(error)
    assert reason_of(ValueError("gloo/transport")) == "ValueError: gloo/transport"
