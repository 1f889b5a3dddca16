"""Losses that jump: noticed against the last 200, so that the checkpoint before can be kept or returned to."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_WINDOW = 200  # losses that tell what is usual
_FEWEST = 50  # before there are that many, nothing is called unusual
_LASTING = 20  # updates in a row that are no spike but another level, as after another loss was chosen
_MOST_KEPT = 3  # checkpoints from before spikes
MOST_ROLLBACKS = 3  # of a run; a loss that spikes again and again has another reason than its images


@dataclass
class SpikeWatch:
    """The losses of the last updates, and what was done about spikes.

    Attributes:
        losses: of the last updates, oldest first; spikes are not among them.
        left_out: updates whose images are passed over, as (first, last).
        kept: checkpoints before the last spikes, by their update.
        num_rollbacks: times that the run went back.
        num_in_row: updates that were spikes, up to the last.
    """

    losses: list[float] = field(default_factory=list)
    left_out: list[tuple[int, int]] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    num_rollbacks: int = 0
    num_in_row: int = 0

    def find(self, losses: Mapping[int, float], sigma: float) -> tuple[int, str] | None:
        """Take note of the losses of updates; return the first update whose loss jumps up, and why in words.

        A loss that stays up has jumped once, and after ``_LASTING`` updates is what is usual.

        Args:
            losses: by the number of the update; one that is not finite, because the update was left out, is passed
                over.
            sigma: how many standard deviations above the mean a spike is; 0 finds none.
        """
        found = None
        for step, loss in losses.items():
            if not math.isfinite(loss):
                continue
            why = self._jump_to(loss, sigma)
            if not why:
                self.losses = [*self.losses[1 - _WINDOW :], loss]
                self.num_in_row = 0
                continue
            if self.num_in_row == 0 and found is None:
                found = step, why
            self.num_in_row += 1
            if self.num_in_row == _LASTING:
                self.losses, self.num_in_row = [], 0
        return found

    def _jump_to(self, loss: float, sigma: float) -> str:
        """Say from what to what a loss jumps; nothing where it does not."""
        if not sigma or len(self.losses) < _FEWEST:
            return ""
        mean, deviation = statistics.fmean(self.losses), statistics.pstdev(self.losses)
        if loss <= mean + sigma * deviation:
            return ""
        return f"from what the {len(self.losses)} before had {mean:.4g} +- {deviation:.2g} to {loss:.4g}"

    def keep(self, step: int) -> None:
        """Keep the checkpoint of ``step`` updates, and forget the oldest of too many."""
        if step not in self.kept:
            self.kept = [*self.kept, step][-_MOST_KEPT:]

    def is_left_out(self, step: int) -> bool:
        """Whether the images of update ``step``, counted from 1, are passed over."""
        return any(first <= step <= last for first, last in self.left_out)

    def numbers(self) -> dict[str, Any]:
        """What has to be saved."""
        return {
            "losses": self.losses,
            "left_out": self.left_out,
            "kept": self.kept,
            "num_rollbacks": self.num_rollbacks,
            "num_in_row": self.num_in_row,
        }

    @classmethod
    def from_numbers(cls, numbers: dict[str, Any]) -> "SpikeWatch":
        """Return what was saved."""
        left_out = [(first, last) for first, last in numbers["left_out"]]
        return cls(
            losses=list(numbers["losses"]),
            left_out=left_out,
            kept=list(numbers["kept"]),
            num_rollbacks=numbers["num_rollbacks"],
            num_in_row=numbers.get("num_in_row", 0),  # which the first states of this schema do not hold
        )
