"""Updates that must not be made: those whose gradients are not finite in any process."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_WINDOW = 1000  # updates in which those left out are counted against the limit


@dataclass(frozen=True)
class BadSteps:
    """What was found since the last look.

    Attributes:
        count: updates left out.
        last: number of the last of them.
        norms: L2 norms of its gradients, one for each parameter.
        scale: of the loss, then.
    """

    count: int
    last: int
    norms: list[float]
    scale: float


class StepGuard:
    """Judges each update by the norms of its gradients, which are the same in all processes.

    What it finds stays on the device until someone looks, so that no update waits.
    """

    def __init__(self) -> None:
        self._count: Tensor | None = None
        self._last: Tensor | None = None
        self._norms: Tensor | None = None
        self._scale: Tensor | None = None
        self.recent: list[tuple[int, int]] = []  # (update, number left out up to it) of the last 1,000

    def judge(self, norms: Tensor, total: Tensor, step: int, scale: Tensor) -> Tensor:
        """Return whether an update must be left out, bool [].

        Args:
            norms: of the gradient of each parameter, [P].
            total: of all gradients, [].
            step: number of the update, from 1.
            scale: of the loss, [].
        """
        is_bad = total.isfinite().logical_not()
        if self._norms is None or self._last is None or self._count is None or self._scale is None:
            self._count = torch.zeros((), dtype=torch.int64, device=total.device)
            self._last = torch.zeros_like(self._count)
            self._norms, self._scale = torch.zeros_like(norms), torch.zeros_like(scale)
        self._count = self._count + is_bad
        self._last = torch.where(is_bad, step, self._last)
        self._norms = torch.where(is_bad, norms, self._norms)
        self._scale = torch.where(is_bad, scale, self._scale)
        return is_bad

    def look(self) -> BadSteps | None:
        """Return what was found since the last call; waits for the device."""
        count = 0 if self._count is None else int(self._count)
        if not count or self._last is None or self._norms is None or self._scale is None:
            return None
        found = BadSteps(count, int(self._last), self._norms.tolist(), self._scale.item())
        self._count = self._last = self._norms = self._scale = None
        self.recent.append((found.last, count))
        self.num_recent(found.last)  # forgets older ones
        return found

    def num_recent(self, step: int) -> int:
        """Return how many of the last 1,000 updates before ``step`` were left out."""
        self.recent = [(last, count) for last, count in self.recent if last > step - _WINDOW]
        return sum(count for _, count in self.recent)

    def numbers(self) -> dict[str, Any]:
        """What has to be saved."""
        return {"recent": self.recent}

    def restore(self, numbers: dict[str, Any]) -> None:
        """Take over what was saved."""
        self.recent = [(last, count) for last, count in numbers["recent"]]
        self._count = None
