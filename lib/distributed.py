"""The device and the processes that a command runs on: what `--device` and `torchrun` say.

Without torchrun there is one process, and every method of `DistributedContext` is trivial. The launcher is PyTorch's
own: it sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, and ends all processes when one of them fails.
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
from typing import TypeGuard, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from patrack.devices import first_line, usable_device

__all__ = [
    "DistributedContext",
    "device_of",
    "distributed_context",
    "lost_peer",
    "rank_and_world",
    "reason_of",
    "set_up_logging",
]

logger = logging.getLogger(__name__)

T = TypeVar("T")
START_TIMEOUT = timedelta(minutes=10)
"""How long a process waits at the start for the others to come."""
TIMEOUT = timedelta(hours=2)
"""How long they wait for each other afterwards: as long as the first one may need to decode a data set."""
FAILURE = "first failure"
BROKEN = ("gloo/transport", "Connection closed by peer", "NCCL")
"""Parts of the errors that PyTorch raises in a process whose peer has gone."""


def rank_and_world() -> tuple[int, int]:
    """Reads this process's rank and the world size, as torchrun says: (0, 1) without it.

    Raises:
        ValueError: the variables make no sense.
    """
    rank, world_size = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    if rank is None and world_size is None:
        return 0, 1
    if not (_is_number(rank) and _is_number(world_size) and int(rank) < int(world_size)):
        raise ValueError(
            f"RANK={rank!r} and WORLD_SIZE={world_size!r} are set wrongly: they must be a process's number, from 0, "
            "and the number of all; start with torchrun, or unset both"
        )
    return int(rank), int(world_size)


def _is_number(text: str | None) -> TypeGuard[str]:
    return text is not None and text.isascii() and text.isdecimal()


def set_up_logging() -> None:
    """Shows log lines of the first process; of the others errors only, with their number.

    Raises:
        ValueError: see `rank_and_world`; what is logged about it is shown.
    """
    try:
        rank, world_size = rank_and_world()
    except ValueError:
        logging.basicConfig(format="%(levelname)s %(message)s")
        raise
    who = f"[process {rank}] " if world_size > 1 else ""
    logging.basicConfig(level=logging.ERROR if rank else logging.INFO, format=f"{who}%(levelname)s %(message)s")


@dataclass(frozen=True)
class DistributedContext:
    """All processes of a job, seen from one of them.

    Attributes:
        rank: of this one, from 0.
        world_size: number of processes.
        local_rank: number on this machine, from 0.
        store: key-value store that all share; None for a single process.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    store: dist.Store | None = field(default=None, repr=False)

    @property
    def is_main(self) -> bool:
        """True in the process that logs and writes files."""
        return self.rank == 0

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Adds up a tensor over all processes, in place."""
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def all_gather(self, value: T) -> list[T]:
        """Returns everybody's value, by rank; it must be picklable."""
        values = [value] * self.world_size
        if self.world_size > 1:
            dist.all_gather_object(values, value)
        return values

    def broadcast(self, value: T) -> T:
        """Returns the value of process 0 to everybody; it must be picklable."""
        box = [value]
        if self.world_size > 1:
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def barrier(self) -> None:
        """Waits until all processes have come here."""
        self.all_gather(None)

    @contextmanager
    def first_on_machine_first(self) -> Iterator[None]:
        """Lets the first process of each machine run the block, then its others: for files that they share."""
        if self.local_rank == 0:
            yield
        self.barrier()
        if self.local_rank != 0:
            yield

    def first_failure(self, reason: str) -> str:
        """Reports why this process fails; returns what the first one to fail has reported, with its rank.

        Processes that only fail because a peer has gone thus find out why.
        """
        if self.store is None:
            return reason
        report = f"process {self.rank} of {self.world_size}: {reason}"
        try:
            return self.store.compare_set(FAILURE, "", report).decode()
        except RuntimeError:  # the store has gone with the machine that held it
            return report


@contextmanager
def distributed_context(device: str = "cpu") -> Iterator[DistributedContext]:
    """Meets the other processes that torchrun started; alone without it.

    Args:
        device: "cpu" (tensors go through gloo) or "cuda" (nccl).

    Raises:
        ValueError: more processes on this machine than GPUs, or variables that make no sense.
        RuntimeError: the others did not come.
    """
    rank, world_size = rank_and_world()
    if world_size == 1:
        yield DistributedContext()
        return

    # PyTorch takes these variables as they are; processes that were started by hand may lack them
    address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    local_rank = os.environ.get("LOCAL_RANK", str(rank))
    if not address or not _is_number(port) or not 0 < int(port) < 65536:
        raise ValueError(
            f"MASTER_ADDR={address!r} and MASTER_PORT={port!r} must be the host of process 0 and a free port there, 1 "
            "to 65535; start with torchrun, which sets them, or unset RANK and WORLD_SIZE"
        )
    if not _is_number(local_rank):
        raise ValueError(f"LOCAL_RANK={local_rank!r} must be the process's number on its machine, from 0")
    backend = "gloo"
    if device.startswith("cuda"):
        count = torch.cuda.device_count()
        if int(local_rank) >= count:
            raise ValueError(
                f"process {local_rank} of this machine has no GPU: there are {count}; lower --nproc-per-node, or give "
                "--device cpu"
            )
        torch.cuda.set_device(int(local_rank))
        backend = "cpu:gloo,cuda:nccl"

    logger.info("waiting for all %d processes at %s:%s", world_size, address, port)
    try:
        store, _, _ = next(dist.rendezvous("env://", timeout=START_TIMEOUT))
    except RuntimeError as error:
        raise RuntimeError(
            f"not all {world_size} processes (WORLD_SIZE) met at {address}:{port} within {START_TIMEOUT}: "
            f"{first_line(error)}; start all of them, with the same MASTER_ADDR and MASTER_PORT, or use torchrun"
        ) from error
    store.set_timeout(TIMEOUT)
    # DDP copies gradients whose strides differ in an axis of length 1; nothing to do about it, and nothing lost
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    # If DDP imports this later, default arguments of its functions (group=group.WORLD) keep the process group and its
    # threads until the interpreter ends: a thread that then still frees a tensor aborts the process.
    importlib.import_module("torch.distributed.nn.functional")
    dist.init_process_group(
        backend, store=dist.PrefixStore("group", store), rank=rank, world_size=world_size, timeout=TIMEOUT
    )
    yield DistributedContext(rank, world_size, int(local_rank), dist.PrefixStore("patrack", store))
    gc.collect()  # a trainer in a reference cycle holds the group through its DDP
    dist.destroy_process_group()  # not after a failure: it would wait for the others, who wait for this one to end


def lost_peer(error: BaseException) -> str:
    """Says in words what the error of a broken connection means; empty for other errors."""
    if not (isinstance(error, RuntimeError) and any(word in str(error) for word in BROKEN)):
        return ""
    return (
        "another process has ended without a word (killed, out of memory, or its machine is lost): torchrun names it "
        f"as the root cause ({str(error).splitlines()[0].split('. ')[0]})"
    )


def reason_of(error: BaseException) -> str:
    """Puts an exception into one text for the log and the manifest."""
    return lost_peer(error) or f"{type(error).__name__}: {error}"


def device_of(device: str, context: DistributedContext) -> torch.device:
    """Returns the device of this process: "cuda" becomes its own GPU.

    Raises:
        ValueError: it can't be used here, or one GPU is named for several processes.
    """
    if context.world_size > 1 and device.startswith("cuda"):
        if device != "cuda":
            raise ValueError(f"--device {device} names one GPU for {context.world_size} processes; give --device cuda")
        return torch.device("cuda", context.local_rank)
    return usable_device(device)
