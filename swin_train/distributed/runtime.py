"""What a process knows of itself and how it speaks with the others."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from swin_train.distributed.channel import Channel
from swin_train.distributed.heartbeat import Heartbeat
from swin_train.distributed.roll_call import RollCall
from swin_train.errors import as_told, told


@dataclass(frozen=True)
class Runtime:
    """Facts of one process of the run, fixed at launch, and the collectives built on them.

    All processes must call a collective in the same order; with one process each is a no-op.

    Attributes:
        device: what this process computes on.
        rank: of this process among all.
        local_rank: of this process among those of its machine.
        world_size: number of processes.
        local_world_size: number of processes of a machine.
        steps: for what happens at every update; who does not come within ``DIST.TIMEOUT_S`` is lost.
        files: for what may take long in one process alone, such as writing; waits ``DIST.SETUP_TIMEOUT_S``.
        saver: as ``files``, for the thread that writes checkpoints alone.
        launcher: the process that started this one.
        roll_call: names who is gone; None where there is one process, or whoever calls this has joined them.
        heartbeat: notices who is gone, also where ``files`` and ``saver`` would wait on; None where ``roll_call`` is.
    """

    device: torch.device
    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    local_world_size: int = 1
    steps: Channel = field(default_factory=Channel)
    files: Channel = field(default_factory=Channel)
    saver: Channel = field(default_factory=Channel)
    launcher: int = 0
    roll_call: RollCall | None = None
    heartbeat: Heartbeat | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes what the run leaves behind."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Return ``tensor`` summed over all processes; ``tensor`` itself is left as it was."""
        total = tensor.detach().clone()
        if self.world_size > 1:
            dist.all_reduce(total)
        return total

    def from_main(self, work: Callable[[], Any]) -> Any:
        """Do ``work`` in the main process alone and give its JSON value to all.

        Raises:
            UserError: in the other processes, of the kind, message and status of what ``work`` raised in the main
                process, so that none is left waiting; PeerLost where that was no UserError.
        """
        if self.world_size == 1:
            return work()
        answer: dict[str, Any] = {}
        if self.is_main:
            try:
                answer = {"value": work()}
            except Exception as error:
                self.files.from_main({"error": told(error)})
                raise
        answer = self.files.from_main(answer)
        if "error" in answer:
            raise as_told(answer["error"])
        return answer["value"]
