"""What a process knows of itself and how it speaks with the others."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from swin_train.errors import UserError


@dataclass(frozen=True)
class Runtime:
    """Facts of one process of the run, fixed at launch, and the collectives built on them.

    All processes must call a collective in the same order; with one process each is a no-op.
    """

    device: torch.device
    rank: int = 0
    local_rank: int = 0
    world_size: int = 1

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
            UserError: in the other processes, where ``work`` raised anything in the main process, so that
                all of them end with the same message and none is left waiting.
        """
        if self.world_size == 1:
            return work()
        answer: dict[str, Any] = {}
        if self.is_main:
            try:
                answer = {"value": work()}
            except Exception as error:
                status = error.exit_status if isinstance(error, UserError) else 1
                self._broadcast_json({"error": str(error) or repr(error), "status": status})
                raise
        answer = self._broadcast_json(answer)
        if "error" in answer:
            failure = UserError(answer["error"])
            failure.exit_status = answer["status"]
            raise failure
        return answer["value"]

    def _broadcast_json(self, value: Any) -> Any:
        # JSON, not object collectives: those unpickle what the network sends.
        data = bytearray(json.dumps(value).encode())
        length = torch.tensor([len(data)], dtype=torch.int64, device=self.device)
        dist.broadcast(length, src=0)
        if self.is_main:
            buffer = torch.frombuffer(data, dtype=torch.uint8).to(self.device)
        else:
            buffer = torch.empty(int(length), dtype=torch.uint8, device=self.device)
        dist.broadcast(buffer, src=0)
        return json.loads(bytes(buffer.cpu().tolist()))
