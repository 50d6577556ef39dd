"""The processes that `torchrun` started together: who is who, sums over all of them, and why one of them failed.

Without torchrun there is one process, and every function here is trivial. The launcher is PyTorch's own: it sets
RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, and ends all processes when one of them fails.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeGuard, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from lib.devices import usable_device

__all__ = [
    "Processes",
    "WholeSum",
    "device_of",
    "join_processes",
    "lost_neighbour",
    "rank_and_world",
    "reason_of",
    "set_up_logging",
]

logger = logging.getLogger(__name__)

T = TypeVar("T")
PATIENCE = timedelta(hours=2)
"""How long processes wait for each other: as long as the first one may need to decode a data set."""
MEETING = timedelta(minutes=10)
"""How long a process waits at the start for the others to come."""
FAILURE = "patrack/first failure"
BROKEN = ("gloo/transport", "Connection closed by peer", "NCCL")
"""What the errors of a process say whose neighbour has gone."""


def rank_and_world() -> tuple[int, int]:
    """This process's number and their count, as torchrun says: (0, 1) without it.

    Raises:
        ValueError: the variables make no sense.
    """
    rank, world = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    if rank is None and world is None:
        return 0, 1
    if not (_is_number(rank) and _is_number(world) and int(rank) < int(world)):
        raise ValueError(
            f"RANK={rank!r} and WORLD_SIZE={world!r} are set wrongly: they must be a process's number, from 0, and the "
            "number of all; start with torchrun, or unset both"
        )
    return int(rank), int(world)


def _is_number(text: str | None) -> TypeGuard[str]:
    return text is not None and text.isascii() and text.isdecimal()


def _check_meeting_point() -> None:
    """What else torchrun sets, for processes that were started by hand."""
    port, local = os.environ.get("MASTER_PORT"), os.environ.get("LOCAL_RANK", "0")
    if not os.environ.get("MASTER_ADDR") or not _is_number(port) or not 0 < int(port) < 65536:
        raise ValueError(
            f"MASTER_ADDR={os.environ.get('MASTER_ADDR')!r} and MASTER_PORT={port!r} must be the host of process 0 and "
            "a free port there, 1 to 65535; start with torchrun, which sets them, or unset RANK and WORLD_SIZE"
        )
    if not _is_number(local):
        raise ValueError(f"LOCAL_RANK={local!r} must be the process's number on its machine, from 0")


def set_up_logging() -> None:
    """Log lines of the first process; of the others errors only, with their number.

    Raises:
        ValueError: see `rank_and_world`; what is logged about it is shown.
    """
    try:
        rank, world = rank_and_world()
    except ValueError:
        logging.basicConfig(format="%(levelname)s %(message)s")
        raise
    who = f"[process {rank}] " if world > 1 else ""
    logging.basicConfig(level=logging.ERROR if rank else logging.INFO, format=f"{who}%(levelname)s %(message)s")


@dataclass(frozen=True)
class Processes:
    """All processes of a job, seen from one of them.

    Attributes:
        rank: of this one, from 0.
        world: how many there are.
        local_rank: number on this machine, from 0.
        store: what they share besides tensors; None for a single process.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    store: Any = field(default=None, repr=False)

    @property
    def first(self) -> bool:
        """Whether this one logs and writes files."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Adds up a tensor over all processes, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def gather(self, value: T) -> list[T]:
        """Everybody's value, by rank; it must be picklable."""
        values: list[Any] = [value]
        if self.world > 1:
            values = [None] * self.world
            dist.all_gather_object(values, value)
        return values

    def from_first(self, value: T) -> T:
        """The value of process 0, for everybody."""
        box = [value]
        if self.world > 1:
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Until all processes have come here."""
        self.gather(None)

    @contextmanager
    def one_by_one_per_machine(self) -> Iterator[None]:
        """The first process of each machine runs the block, then its others: for files that they share."""
        if self.local_rank == 0:
            yield
        self.wait()
        if self.local_rank != 0:
            yield

    def first_failure(self, reason: str) -> str:
        """Reports why this process fails; returns what the first one to fail has reported, with its rank.

        Processes that only fail because a neighbour has gone thus find out why.
        """
        if self.store is None:
            return reason
        said = f"process {self.rank} of {self.world}: {reason}"
        try:
            return self.store.compare_set(FAILURE, "", said).decode()
        except RuntimeError:  # the store has gone with the machine that held it
            return said


@contextmanager
def join_processes(device: str = "cpu") -> Iterator[Processes]:
    """Meets the other processes that torchrun started; alone without it.

    Args:
        device: "cpu" (tensors go through gloo) or "cuda" (nccl).

    Raises:
        ValueError: more processes on this machine than GPUs, or variables that make no sense.
        RuntimeError: the others did not come.
    """
    rank, world = rank_and_world()
    if world == 1:
        yield Processes()
        return
    _check_meeting_point()
    # DDP copies gradients whose strides differ in an axis of length 1; nothing to do about it, and nothing lost
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    local = int(os.environ.get("LOCAL_RANK", rank))
    backend = "gloo"
    if device.startswith("cuda"):
        count = torch.cuda.device_count()
        if local >= count:
            raise ValueError(
                f"process {local} of this machine has no GPU: there are {count}; lower --nproc-per-node, or give "
                "--device cpu"
            )
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    # If DDP imports this later, default arguments of its functions (group=group.WORLD) keep the process group and its
    # threads until the interpreter ends: a thread that then still frees a tensor aborts the process.
    importlib.import_module("torch.distributed.nn.functional")
    store = _meet(world)
    dist.init_process_group(backend, store=dist.PrefixStore("group", store), rank=rank, world_size=world)
    yield Processes(rank, world, local, dist.PrefixStore("patrack", store))
    gc.collect()  # a trainer in a reference cycle holds the group through its DDP
    dist.destroy_process_group()  # not after a failure: it would wait for the others, who wait for this one to end


def _meet(world: int) -> Any:
    """The store that all processes share, once they are there."""
    place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    logger.info("waiting for all %d processes at %s", world, place)
    try:
        store, _, _ = next(dist.rendezvous("env://", timeout=MEETING))
    except RuntimeError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RuntimeError(
            f"not all {world} processes (WORLD_SIZE) met at {place} within {MEETING}: {reason}; start all of them, "
            "with the same MASTER_ADDR and MASTER_PORT, or use torchrun"
        ) from error
    store.set_timeout(PATIENCE)
    return store


def lost_neighbour(error: BaseException) -> str:
    """What the error of a broken connection means, in words; empty for other errors."""
    if not (isinstance(error, RuntimeError) and any(word in str(error) for word in BROKEN)):
        return ""
    return (
        "another process has ended without a word (killed, out of memory, or its machine is lost): torchrun names it "
        f"as the root cause ({str(error).splitlines()[0].split('. ')[0]})"
    )


def reason_of(error: BaseException) -> str:
    """An exception in one text for the log and the manifest."""
    return lost_neighbour(error) or f"{type(error).__name__}: {error}"


def device_of(device: str, processes: Processes) -> torch.device:
    """The device of this process: "cuda" becomes its own GPU.

    Raises:
        ValueError: it can't be used here, or one GPU is named for several processes.
    """
    if processes.world > 1 and device.startswith("cuda"):
        if device != "cuda":
            raise ValueError(f"--device {device} names one GPU for {processes.world} processes; give --device cuda")
        return torch.device("cuda", processes.local_rank)
    return usable_device(device)


class WholeSum(torch.autograd.Function):
    """Sum of a tensor over all processes, through which gradients flow back to all of them."""

    @staticmethod
    def forward(_: Any, tensor: Tensor) -> Tensor:
        """(...) -> (...), the sum."""
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        """Every process's gradient reaches every process."""
        total = gradient.clone()
        dist.all_reduce(total)
        return total
