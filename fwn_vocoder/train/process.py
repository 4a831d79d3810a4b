"""The processes of a training run: ranks under torchrun, and signals that ask it to stop."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """Average a module's gradients over the ranks; all start with the first one's weights."""
        return nn.parallel.DistributedDataParallel(module) if self.world_size > 1 else module

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set on any rank, so that all stop at the same step."""
        if self.world_size == 1:
            return flag
        value = torch.tensor(float(flag), device=self.device)
        torch.distributed.all_reduce(value, torch.distributed.ReduceOp.MAX)
        return bool(value)

    def leave(self) -> None:
        """Leave the process group, if there is one."""
        if self.world_size > 1:
            torch.distributed.destroy_process_group()


def join_ranks(device: torch.device | None) -> Ranks:
    """Join torchrun's process group if there is one; choose a device where none is given."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if device is None:
        device = torch.device(f"cuda:{local_rank}" if torch.cuda.is_available() else "cpu")
    if world_size == 1:
        return Ranks(0, 1, device)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Ranks(torch.distributed.get_rank(), world_size, device)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT in a list instead of dying; a second one is not caught."""
    received: list[int] = []

    def on_signal(number: int, frame: object) -> None:
        log.info("received signal %d: stopping after this step", number)
        received.append(number)
        signal.signal(number, previous[number])

    previous = {n: signal.signal(n, on_signal) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
