"""The processes that `torchrun` started together: who is who, sums over all of them, and why one of them failed.

Without torchrun there is one process, and every function here is trivial. The launcher is PyTorch's own: it sets
RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, and ends all processes when one of them fails.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from lib.devices import usable_device

__all__ = ["Processes", "WholeSum", "device_of", "join_processes", "rank_and_world", "set_up_logging"]

T = TypeVar("T")
PATIENCE = timedelta(hours=2)
"""How long processes wait for each other: as long as the first one may need to decode a data set."""
FAILURE = "patrack/first failure"


def rank_and_world() -> tuple[int, int]:
    """This process's number and their count, as torchrun says: (0, 1) without it.

    Raises:
        ValueError: the variables make no sense.
    """
    rank, world = (os.environ.get(name, default) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    if not (rank.isdigit() and world.isdigit() and int(rank) < int(world)):
        raise ValueError(f"RANK={rank!r} and WORLD_SIZE={world!r} are set wrongly; start with torchrun, or unset both")
    return int(rank), int(world)


def set_up_logging() -> None:
    """Log lines of the first process; of the others errors only, with their number."""
    rank, world = rank_and_world()
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
    """
    rank, world = rank_and_world()
    if world == 1:
        yield Processes()
        return
    local = int(os.environ.get("LOCAL_RANK", rank))
    backend = "gloo"
    if device.startswith("cuda"):
        count = torch.cuda.device_count()
        if local >= count:
            raise ValueError(f"process {local} of this machine has no GPU: there are {count}; lower --nproc-per-node")
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    store, _, _ = next(dist.rendezvous("env://", timeout=PATIENCE))
    dist.init_process_group(backend, store=dist.PrefixStore("group", store), rank=rank, world_size=world)
    yield Processes(rank, world, local, dist.PrefixStore("patrack", store))
    dist.destroy_process_group()  # not after a failure: it would wait for the others, who wait for this one to end


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
