"""Who is still there: asked once a process has lost another, to name it."""

import threading
import time

import torch.distributed as dist

_PATIENCE_S = 3.0  # the others notice the same loss at about the same time
_BOARD_PATIENCE_S = (
    1.0  # beside it: asked through a cut cable, the store gives no answer for a quarter of an hour
)
_GONE = "does not answer: it is dead, hangs, or its network is cut"
NO_RANK = "rank {rank} " + _GONE
NO_BOARD = f"the process that holds the meeting point, usually rank 0, {_GONE}"


class RollCall:
    """A board that all processes can write on and read, whatever became of the others.

    Args:
        store: of the launch.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(self, store: dist.Store, rank: int, world_size: int) -> None:
        self._store, self._rank, self._world_size = store, rank, world_size

    def answer(self, reason: str) -> None:
        """Say why this process ends."""
        try:
            self._store.set(str(self._rank), reason)
        except RuntimeError:  # the board is gone with the process that held it
            return

    def culprits(self) -> list[str]:
        """Say which processes ended for a reason of their own, or do not answer: "rank 3: out of memory".

        An empty reason means that a process has lost another one itself.
        """
        read: list[list[str]] = []
        reader = threading.Thread(target=self._read_into, args=(read,), name="roll call", daemon=True)
        reader.start()
        reader.join(_PATIENCE_S + _BOARD_PATIENCE_S)
        return read[0] if read else [NO_BOARD]

    def _read_into(self, read: list[list[str]]) -> None:
        self.answer("")
        try:
            read.append(self._read())
        except RuntimeError:  # the board is gone
            return

    def _read(self) -> list[str]:
        waiting = set(range(self._world_size))
        reasons: dict[int, str] = {}
        deadline = time.monotonic() + _PATIENCE_S
        while waiting and time.monotonic() < deadline:
            for rank in sorted(waiting):
                if self._store.check([str(rank)]):
                    reasons[rank] = self._store.get(str(rank)).decode()
                    waiting.discard(rank)
            time.sleep(0.05)
        named = [f"rank {rank}: {reason}" for rank, reason in sorted(reasons.items()) if reason]
        return named + [NO_RANK.format(rank=rank) for rank in sorted(waiting)]
