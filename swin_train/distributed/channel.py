"""Small messages between the processes of a run, on the host: JSON and flags, never pickled objects."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from swin_train.errors import PeerLost


@dataclass(frozen=True)
class Channel:
    """Collectives on JSON values over a gloo group; all processes call them in the same order.

    Attributes:
        group: of all processes; None where there is one, which then speaks with itself.
        rank: of this process.
        world_size: number of processes.

    Raises:
        PeerLost: by every method, when another process is gone or does not come within the group's timeout.
    """

    group: dist.ProcessGroup | None = None
    rank: int = 0
    world_size: int = 1

    def meet(self) -> None:
        """Wait until every process is here."""
        if self.group is not None:
            self._reach(lambda: dist.barrier(self.group))

    def largest(self, numbers: Sequence[int]) -> list[int]:
        """Return the largest value of each place over all processes."""
        if self.group is None:
            return list(numbers)
        tensor = torch.tensor(numbers, dtype=torch.int64)
        self._reach(lambda: dist.all_reduce(tensor, dist.ReduceOp.MAX, group=self.group))
        return tensor.tolist()

    def from_main(self, value: Any) -> Any:
        """Return the JSON value of the main process; those of others are not looked at."""
        if self.group is None:
            return value
        data = json.dumps(value).encode() if self.rank == 0 else b""
        length = torch.tensor([len(data)], dtype=torch.int64)
        self._reach(lambda: dist.broadcast(length, src=0, group=self.group))
        buffer = _bytes_tensor(data, int(length))
        self._reach(lambda: dist.broadcast(buffer, src=0, group=self.group))
        return json.loads(bytes(buffer.tolist()))

    def gather(self, value: Any) -> list[Any]:
        """Return the JSON value of every process, by rank."""
        if self.group is None:
            return [value]
        data = json.dumps(value).encode()
        longest = self.largest([len(data)])[0]
        own = torch.cat([torch.tensor([len(data)]).view(torch.uint8), _bytes_tensor(data, longest)])
        all_of_them = [torch.empty_like(own) for _ in range(self.world_size)]
        self._reach(lambda: dist.all_gather(all_of_them, own, group=self.group))
        return [_content(tensor) for tensor in all_of_them]

    def _reach(self, collective: Callable[[], object]) -> None:
        try:
            collective()
        except RuntimeError as error:
            raise PeerLost(str(error).splitlines()[0]) from error


def _bytes_tensor(data: bytes, length: int) -> torch.Tensor:
    tensor = torch.zeros(max(1, length), dtype=torch.uint8)
    if data:
        tensor[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return tensor


def _content(tensor: torch.Tensor) -> Any:
    length = int(tensor[:8].clone().view(torch.int64))
    return json.loads(bytes(tensor[8 : 8 + length].tolist()))
